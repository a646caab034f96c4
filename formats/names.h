/* Tensor names of released checkpoints as a table: every name of DeepSeek-V2/V3-style files, what part of the
 * model it is, and what may be done with it. Source: the released files' own headers (Hugging Face naming).
 *
 * Models that also see put "language_model." before the names of their text part; it is read and otherwise
 * ignored. Names without a dot-number of an expert but "mlp.experts.gate_up_proj" hold all experts of a layer
 * in one tensor, as newer versions of transformers write them. */
#ifndef MOEQ_NAMES_H
#define MOEQ_NAMES_H

#include "status.h"

/* Every kind of tensor of the architecture, in the order in which a layer file holds them. */
enum moeq_part {
    MOEQ_PART_EMBED,
    MOEQ_PART_FINAL_NORM,
    MOEQ_PART_HEAD,
    MOEQ_PART_ATTENTION_NORM,
    MOEQ_PART_Q,
    MOEQ_PART_Q_A,
    MOEQ_PART_Q_A_NORM,
    MOEQ_PART_Q_B,
    MOEQ_PART_KV_A,
    MOEQ_PART_KV_A_NORM,
    MOEQ_PART_KV_B,
    MOEQ_PART_O,
    MOEQ_PART_INDEXER_Q, /* DeepSeek Sparse Attention (V3.2): scores which keys a query attends to */
    MOEQ_PART_INDEXER_K,
    MOEQ_PART_INDEXER_K_NORM,
    MOEQ_PART_INDEXER_K_BIAS,
    MOEQ_PART_INDEXER_WEIGHTS,
    MOEQ_PART_FFN_NORM,
    MOEQ_PART_DENSE_GATE,
    MOEQ_PART_DENSE_UP,
    MOEQ_PART_DENSE_DOWN,
    MOEQ_PART_ROUTER,
    MOEQ_PART_ROUTER_BIAS,
    MOEQ_PART_SHARED_GATE,
    MOEQ_PART_SHARED_UP,
    MOEQ_PART_SHARED_DOWN,
    MOEQ_PART_EXPERT_GATE,
    MOEQ_PART_EXPERT_UP,
    MOEQ_PART_EXPERT_DOWN,
    MOEQ_PART_MTP_EMBED_NORM,
    MOEQ_PART_MTP_HIDDEN_NORM,
    MOEQ_PART_MTP_PROJECTION,
    MOEQ_PART_MTP_HEAD_NORM,
    MOEQ_PART_MTP_HEAD,
    MOEQ_PART_MTP_EMBED,
    MOEQ_PART_FUSED_GATE_UP, /* [experts, 2 * width, hidden]: gate rows, then up rows, of every expert */
    MOEQ_PART_FUSED_DOWN,    /* [experts, hidden, width] */
    MOEQ_PART_INV_FREQ,      /* in some Kimi-K2 files, of the wrong length: carried, never used */
    MOEQ_PART_VISION,        /* of the part that sees: carried or left out, never used */
    MOEQ_PART_V4_EMBED,      /* of DeepSeek-V4, by role only: carried, never used */
    MOEQ_PART_V4_HEAD,
    MOEQ_PART_V4_NORM,
    MOEQ_PART_V4_ATTENTION,
    MOEQ_PART_V4_INDEXER,
    MOEQ_PART_V4_ROUTER,
    MOEQ_PART_V4_SHARED,
    MOEQ_PART_V4_EXPERT,
    MOEQ_PART_V4_STREAMS,
    MOEQ_PART_V4_MTP,
    MOEQ_PART_OTHER, /* not of this architecture */
    MOEQ_N_PARTS
};

/* What users call a group of parts in rules. */
enum moeq_role {
    MOEQ_ROLE_EXPERTS,
    MOEQ_ROLE_SHARED,
    MOEQ_ROLE_DENSE,
    MOEQ_ROLE_ATTENTION,
    MOEQ_ROLE_EMBED,
    MOEQ_ROLE_HEAD,
    MOEQ_ROLE_MTP,     /* what only a multi-token-prediction layer has */
    MOEQ_ROLE_ROUTER,  /* router weights and correction bias: never quantized */
    MOEQ_ROLE_NORM,    /* never quantized */
    MOEQ_ROLE_INDEXER, /* of sparse attention: never quantized */
    MOEQ_ROLE_VISION,  /* never quantized */
    MOEQ_ROLE_STREAMS, /* what mixes several residual streams: never quantized */
    MOEQ_ROLE_OTHER,
    MOEQ_N_ROLES
};

struct moeq_name {
    enum moeq_part part;
    int layer;  /* -1: not in a layer */
    int expert; /* -1: not a routed expert's */
};

#define MOEQ_TEXT_PREFIX "language_model."

/* The name without MOEQ_TEXT_PREFIX. */
const char *moeq_name_in_text(const char *tensor);

/* Splits a tensor name. Unknown names are MOEQ_PART_OTHER, with the layer where they say one. */
struct moeq_name moeq_name_parse(const char *tensor);

/* The name of a part's weight in a layer (and of an expert where the part is one), without MOEQ_TEXT_PREFIX;
 * `capacity` bytes suffice at MOEQ_NAME_BYTES. Returns dst. */
#define MOEQ_NAME_BYTES 128
const char *moeq_name_format(enum moeq_part part, int layer, int expert, char *dst, size_t capacity);

enum moeq_role moeq_part_role(enum moeq_part part);
/* True for matrices that a level may be chosen for; the others keep the precision of the source. */
bool moeq_part_quantizable(enum moeq_part part);

/* True for the matrices that an FP8 release stores as FP8, with a scale tensor beside them. */
bool moeq_part_fp8_in_releases(enum moeq_part part);

const char *moeq_role_name(enum moeq_role role);
bool moeq_role_find(const char *name, enum moeq_role *out);

/* Shell-style match of a whole name: '*' any run of characters, '?' one. */
bool moeq_glob_match(const char *glob, const char *name);

#endif
