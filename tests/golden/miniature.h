/* Miniatures: small seeded checkpoints of every kind that the architecture knows, made here rather than
 * stored. A miniature has the names, shapes, dtypes and config.json of a release; its weights are random, of
 * such a size that activations stay near 1. The same description gives the same bytes on every machine.
 *
 * The decoded values are kept in double precision for the slow forward pass (slow.h); their decoders are
 * written here, from the format descriptions, so that those of the product are tested too. */
#ifndef MINIATURE_H
#define MINIATURE_H

#include "level.h"
#include "safetensors.h"

#include <stdlib.h>

struct miniature_yarn {
    double factor; /* 0: no YaRN */
    double beta_fast, beta_slow;
    double mscale, mscale_all_dim; /* both 0: config.json has neither */
    double original_positions;
};

/* Formulas that are easily confused; see slow.h. A miniature names those that it would notice. */
enum slow_mistake {
    SLOW_MASKED_ZERO = 1,        /* experts of groups not kept score 0 instead of minus infinity */
    SLOW_LATENT_EPS = 2,         /* the latent norms use rms_norm_eps */
    SLOW_NO_SOFTMAX_SCALE = 4,   /* the square of mscale left out */
    SLOW_NO_ROTARY_FACTOR = 8,   /* cos and sin not multiplied by the ratio of the mscales */
    SLOW_HALF_SPLIT = 16,        /* RoPE turns pairs (i, i + d/2) */
    SLOW_PLAIN_FREQUENCIES = 32, /* YaRN's frequencies left out */
    SLOW_OTHER_GROUP_SCORE = 64, /* maximum for the sum of two and the reverse */
    SLOW_OTHER_SCALING = 128,    /* V2 scales normalised weights, V3 does not */
    SLOW_BIASED_WEIGHTS = 256,   /* the correction bias stays in the weights */
    SLOW_SHARED_SCALED = 512,    /* routed_scaling_factor on shared experts too */
    SLOW_DENSE = 1024,           /* every key attended to, whatever the indexer says */
    SLOW_INDEX_PAIRS = 2048,     /* the indexer's RoPE turns halves for neighbours and the reverse */
    SLOW_INDEX_LAST = 4096,      /* the indexer's RoPE turns the last elements, not the first */
    SLOW_INDEX_OWN = 8192        /* a layer that shares an indexer attends to every key */
};

/* How the routed experts are stored. */
enum miniature_experts {
    MINIATURE_SEPARATE, /* a tensor for each matrix */
    MINIATURE_FUSED,    /* two tensors of three dimensions a layer, as transformers 5 writes them */
    MINIATURE_INT4      /* packed into words, with BF16 scales for 32 weights (compressed-tensors) */
};

struct miniature {
    const char *name;
    uint64_t seed;
    bool v3;                               /* sigmoid and a correction bias; else softmax */
    const char *architecture, *model_type; /* NULL: DeepSeek's, by v3 and index_heads */
    bool nested; /* a model that also sees: text_config, "language_model." before names, vision tensors */
    enum miniature_experts experts;
    size_t n_layers, hidden, vocabulary, n_heads;
    size_t q_rank;    /* 0: q is one matrix */
    bool q_rank_null; /* then written as null, otherwise as 0 */
    size_t kv_rank, qk_nope, qk_rope, v_width;
    size_t dense_width, first_dense, layer_freq;
    size_t n_experts, n_shared, top_k, expert_width, n_groups, top_groups;
    const char *topk_method;
    bool norm_topk;
    double routed_scale, norm_eps, rope_theta;
    struct miniature_yarn yarn;
    size_t index_heads, index_width, index_top_k; /* 0: no indexer */
    bool index_interleaved;
    size_t index_every, index_offset; /* index_topk_freq and index_skip_topk_offset; 0: not in config.json */
    bool rope_parameters;             /* the keys as transformers 5 writes them */

    enum moeq_dtype matrices; /* of all matrices but embedding, head and router, which are not FP8 */
    enum moeq_dtype norms;
    size_t n_shards; /* 1: model.safetensors without an index */
    double bias;     /* middle of the correction bias */
    double latent;   /* size of the latents before their norms */
    bool mtp;        /* one layer more, which predicts the token after the next */
    bool mtp_copies;
    bool inv_freq; /* every layer holds a rotary_emb.inv_freq of the wrong length, as some Kimi-K2 files do */
    unsigned notices; /* of enum slow_mistake */
};

struct miniature_tensor {
    char name[128];
    char file_name[160]; /* as in the files */
    bool elsewhere;      /* not stored under its name: another tensor holds it */
    enum moeq_dtype dtype;
    size_t n_dims, rows, cols; /* of one dimension: rows is 1 */
    size_t stack;              /* of three dimensions: the first */
    size_t shard;
    uint8_t *data;
    size_t n_bytes;
    double *values; /* [rows, cols]; NULL for what the forward pass does not use */
};

struct miniature_model {
    const struct miniature *spec;
    struct miniature_tensor *tensors;
    size_t n_tensors;
};

#define MINIATURE_N_SPECS 15
extern const struct miniature miniature_specs[MINIATURE_N_SPECS];

/* Makes the weights. Memory that is not there ends the program, as in all that follows. */
void miniature_make(struct miniature_model *model, const struct miniature *spec);
void miniature_free(struct miniature_model *model);

/* Writes config.json and the shards into a folder that exists. */
enum moeq_status miniature_write(const struct miniature_model *model, const char *dir,
                                 struct moeq_error *err);

/* Writes a DeepSeek-V4, which is no row of the table as nothing computes it. */
enum moeq_status miniature_write_v4(const char *dir, struct moeq_error *err);

/* A weight's values [rows, cols]; the name is made as by printf. Ends the program where there is none. */
const double *miniature_values(const struct miniature_model *model, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Adds a tensor of zeros; for miniature_forms.c. */
struct miniature_tensor *miniature_add(struct miniature_model *model, enum moeq_dtype dtype, size_t n_dims,
                                       size_t rows, size_t cols, const char *name);

/* Rounds a matrix to INT4 with a BF16 scale for 32 weights of a row, and adds the three tensors that hold it
 * instead of itself. cols is a multiple of 8. */
void miniature_store_int4(struct miniature_model *model, struct miniature_tensor *matrix);

/* Adds the two tensors that hold the experts of a layer instead of their own. */
void miniature_store_fused(struct miniature_model *model, size_t layer);

/* Whether a layer has an indexer of its own. */
bool miniature_has_indexer(const struct miniature *spec, size_t layer);

/* Decodes packed bytes of integers by the layout that level.h describes, into out [rows, cols]. */
void miniature_unpack(const struct moeq_matrix *matrix, double *out);

/* Random tokens below the vocabulary's size. */
void miniature_tokens(const struct miniature *spec, int32_t *tokens, size_t n);

/* calloc that ends the program where memory is out. */
void *miniature_calloc(size_t count, size_t size);

#endif
