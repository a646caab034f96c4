/* The header sets of real releases, generated: every shard's header with the names, dtypes and shapes that
 * the released files have, and holes in place of the data, so that a terabyte needs a few megabytes of disk.
 * What is generated comes from the tables of release_table.c alone, none of the product's: the two must
 * agree. */
#ifndef RELEASE_H
#define RELEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the sizes of a shape are called in the tables. */
enum dim {
    D_NONE, /* behind the only dimension of a vector */
    D_HIDDEN,
    D_TWICE_HIDDEN,
    D_VOCABULARY,
    D_DENSE,  /* intermediate_size */
    D_EXPERT, /* moe_intermediate_size */
    D_SHARED, /* of all shared experts together */
    D_EXPERTS,
    D_Q_RANK,
    D_Q_ROWS, /* heads x (nope + rope) */
    D_KV_RANK,
    D_KV_A_ROWS, /* latent and rotary part */
    D_KV_B_ROWS, /* heads x (nope + value) */
    D_VALUES,    /* heads x value */
    D_INDEX_ROWS,
    D_INDEX_HEADS,
    D_INDEX_WIDTH,
    D_STRAY,  /* of Kimi-K2's rotary_emb.inv_freq: 56 */
    D_BIAS,   /* a condition only: the router has a correction bias */
    D_COPIES, /* likewise: an MTP layer has its own copies of embedding and head */
    N_DIMS
};

enum scope { IN_MODEL, IN_LAYER, IN_DENSE, IN_MOE, IN_EXPERT, IN_MTP };

/* How a release stores a kind of tensor; see the columns of `stored` in struct release. */
enum kind { PLAIN, MATRIX, EXPERT_MATRIX, NORM, FLOAT32, N_KINDS };

enum storage {
    BF16,
    F32,
    FP8,      /* F8_E4M3, and NAME_scale_inv F32 with one element for 128 x 128 */
    PACKED_4, /* compressed-tensors: NAME_packed I32, NAME_scale BF16 for 32 columns, NAME_shape I32 [2] */
};

/* A tensor is there where `needs` is not zero, and `lacks` is zero. D_NONE: no condition. */
struct tensor_row {
    enum scope scope;
    const char *name;
    enum kind kind;
    enum dim rows, cols;
    enum dim needs, lacks;
};

struct release {
    const char *name;
    const char *architecture, *model_type;
    const struct tensor_row *tensors; /* ends with a NULL name */
    const char *prefix;               /* before every name; NULL: nothing */
    uint32_t layers, mtp_layers, hidden, heads, q_rank, experts, shared, top_k;
    uint32_t expert_width, dense_width, first_dense, groups, top_groups, vocabulary;
    uint32_t index_heads, stray;
    uint32_t nope, value;         /* widths of a head; 0: 128 */
    bool router_bias, mtp_shares; /* the latter: an MTP layer uses the main embedding and head */
    bool nested;                  /* config.json describes the language model in text_config */
    enum storage stored[N_KINDS];
    const char *rules; /* the rest of config.json: router, RoPE, quantization */
    const char *shard; /* file name, from number and count */
    uint32_t shards;
    /* What the reference states; 0 where it does not. */
    uint64_t total, active, mtp, tensors_in_files, tensor_bytes, cache_bytes;
};

extern const struct release releases[]; /* ends with a NULL name */

/* Writes config.json, index and shards into the folder, which exists. False and a line on stderr where the
 * system refuses. */
bool release_write(const struct release *release, const char *dir);

#endif
