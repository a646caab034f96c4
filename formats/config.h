/* config.json of a checkpoint: the dimensions and rules of the model.
 *
 * Read after the released files: rope_scaling.type and .rope_type are synonyms; transformers 5 writes
 * rope_parameters instead of rope_scaling and rope_theta; q_lora_rank null or 0 means "no compression of q";
 * whole numbers may be reals; eos_token_id may be a list; models that also see nest the language model in
 * text_config. Training-only keys are ignored. */
#ifndef MOEQ_CONFIG_H
#define MOEQ_CONFIG_H

#include "json.h"

#define MOEQ_FP8_BLOCK  128  /* rows and columns that share one scale (weight_block_size) */
#define MOEQ_MAX_LAYERS 4096 /* MTP layers included */

/* How a model computes. */
enum moeq_design {
    MOEQ_DESIGN_MLA, /* latent attention and experts: DeepSeek-V2 to V3.2, Kimi, GLM */
    MOEQ_DESIGN_V4   /* DeepSeek-V4: compressed attention, several residual streams; not computed */
};

enum moeq_scoring { MOEQ_SCORING_SOFTMAX, MOEQ_SCORING_SIGMOID };

/* How a group of experts is scored when the router first chooses groups. */
enum moeq_group_score {
    MOEQ_GROUP_NONE, /* no groups: plain top-k */
    MOEQ_GROUP_MAX,  /* V2 group_limited_greedy: the best expert */
    MOEQ_GROUP_TOP2  /* V3 noaux_tc: the sum of the two best biased scores */
};

struct moeq_config {
    char architecture[64]; /* "DeepseekV3ForCausalLM" */
    char model_type[64];
    enum moeq_design design;
    uint32_t n_layers; /* main layers; layers n_layers … n_layers+n_mtp_layers-1 predict further tokens */
    uint32_t n_mtp_layers;
    uint32_t hidden;
    uint32_t vocabulary;
    uint32_t max_positions;
    int32_t bos; /* -1: none */
    double norm_eps;
    double latent_norm_eps; /* of q_a_layernorm and kv_a_layernorm: 1e-6 whatever norm_eps is */

    uint32_t n_heads;
    uint32_t q_rank; /* 0: q is one matrix */
    uint32_t kv_rank;
    uint32_t qk_nope, qk_rope, v_width; /* per head */

    double rope_theta;
    bool yarn;
    double yarn_factor, yarn_beta_fast, yarn_beta_slow, yarn_mscale, yarn_mscale_all_dim;
    double yarn_original_positions;

    uint32_t dense_width; /* of the first dense layers */
    uint32_t first_dense; /* layers before this one are dense */
    uint32_t layer_freq;  /* of the others, those that it divides are MoE */
    uint32_t n_experts, n_shared, top_k, expert_width;
    uint32_t n_groups, top_groups;
    enum moeq_scoring scoring;
    enum moeq_group_score group_score;
    bool correction_bias; /* e_score_correction_bias takes part in the selection */
    bool norm_topk;       /* weights are divided by their sum */
    double routed_scale;

    uint32_t index_heads, index_width;  /* of the indexer of sparse attention; 0: none */
    uint32_t index_top_k;               /* keys that it keeps: up to so many, attention is exactly dense */
    bool index_interleaved;             /* its RoPE turns pairs (2i, 2i+1); otherwise (i, i + n/2) */
    bool index_shared[MOEQ_MAX_LAYERS]; /* the layer has no indexer and takes what the one before it chose */

    bool mtp_copies;     /* MTP layers hold copies of embedding and head */
    bool says_fp8;       /* quantization_config names FP8 blocks; the tensors decide */
    uint32_t int4_group; /* it names packed INT4 experts with so many weights a scale; 0: it does not */
    bool stray_inv_freq; /* the release carries a rotary_emb.inv_freq in every layer, which nobody uses */

    /* Only of MOEQ_DESIGN_V4, which has no kv_rank, qk_nope, v_width and no dense layers. */
    uint32_t head_width;
    uint32_t o_groups, o_rank;
    uint32_t n_hash_layers;                   /* first layers, whose experts a table gives by token */
    uint32_t n_streams;                       /* residual streams */
    uint16_t compress_ratio[MOEQ_MAX_LAYERS]; /* tokens a compressed entry stands for; 0: none */
};

/* Whether the runtime computes this design; others are inspected, checked and carried. */
static inline bool moeq_config_is_computed(const struct moeq_config *config)
{
    return config->design == MOEQ_DESIGN_MLA;
}

/* Whether a layer, main or MTP, has an indexer of its own. */
static inline bool moeq_config_layer_has_indexer(const struct moeq_config *config, uint32_t layer)
{
    return config->index_heads && !(layer < MOEQ_MAX_LAYERS && config->index_shared[layer]);
}

/* Parses the text of a config.json. An architecture outside the table is MOEQ_UNSUPPORTED and named; values
 * that cannot describe a model are MOEQ_DAMAGED and name the key. */
enum moeq_status moeq_config_parse(struct moeq_config *config, const void *text, size_t n_bytes,
                                   struct moeq_error *err);

/* The same of what is parsed already. */
enum moeq_status moeq_config_read(struct moeq_config *config, const json_t *json, struct moeq_error *err);

/* The same from DIR/config.json. */
enum moeq_status moeq_config_load(struct moeq_config *config, const char *dir, struct moeq_error *err);

/* Whether a main layer has experts (an MTP layer always has). */
bool moeq_config_layer_is_moe(const struct moeq_config *config, uint32_t layer);

#endif
