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
    SLOW_SHARED_SCALED = 512     /* routed_scaling_factor on shared experts too */
};

struct miniature {
    const char *name;
    uint64_t seed;
    bool v3; /* DeepseekV3ForCausalLM, sigmoid; else DeepseekV2ForCausalLM, softmax */
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
    size_t index_heads, index_width, index_top_k; /* 0: no indexer; otherwise DeepseekV32ForCausalLM */
    bool rope_parameters;                         /* the keys as transformers 5 writes them */

    enum moeq_dtype matrices; /* of all matrices but embedding, head and router, which are not FP8 */
    enum moeq_dtype norms;
    size_t n_shards; /* 1: model.safetensors without an index */
    double bias;     /* middle of the correction bias */
    double latent;   /* size of the latents before their norms */
    bool inv_freq; /* every layer holds a rotary_emb.inv_freq of the wrong length, as some Kimi-K2 files do */
    unsigned notices; /* of enum slow_mistake */
};

struct miniature_tensor {
    char name[128];
    enum moeq_dtype dtype;
    size_t n_dims, rows, cols; /* of one dimension: rows is 1 */
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

#define MINIATURE_N_SPECS 10
extern const struct miniature miniature_specs[MINIATURE_N_SPECS];

/* Makes the weights. Memory that is not there ends the program, as in all that follows. */
void miniature_make(struct miniature_model *model, const struct miniature *spec);
void miniature_free(struct miniature_model *model);

/* Writes config.json and the shards into a folder that exists. */
enum moeq_status miniature_write(const struct miniature_model *model, const char *dir,
                                 struct moeq_error *err);

/* A weight's values [rows, cols]; the name is made as by printf. Ends the program where there is none. */
const double *miniature_values(const struct miniature_model *model, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Decodes packed bytes of int8 and int4 by the layout that level.h describes, into out [rows, cols]. */
void miniature_unpack(const struct moeq_matrix *matrix, double *out);

/* Random tokens below the vocabulary's size. */
void miniature_tokens(const struct miniature *spec, int32_t *tokens, size_t n);

/* calloc that ends the program where memory is out. */
void *miniature_calloc(size_t count, size_t size);

#endif
