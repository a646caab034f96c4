#include "config.h"

#include "file.h"
#include "json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_CONFIG_BYTES (16u << 20)
#define MAX_MTP_LAYERS   64u
#define MAX_LAYERS       (MOEQ_MAX_LAYERS - MAX_MTP_LAYERS)
#define MAX_WIDTH        (1u << 20)
#define MAX_HEADS        4096u
#define MAX_EXPERTS      65536u
#define MAX_VOCABULARY   (1u << 24)
#define MAX_POSITIONS    (1u << 30)
#define MAX_WEIGHTS      0x1p58 /* so that no sum over a model leaves 64 bits */

/* The architectures that there are. The first row whose architecture or model type fits is taken. */
static const struct family {
    const char *architecture;
    const char *model_type;
    enum moeq_design design;
    enum moeq_scoring scoring; /* where config.json does not say */
    const char *topk_method;   /* likewise */
    bool scale_after_norm;     /* false: norm_topk_prob replaces routed_scaling_factor (V2's own code) */
    bool nested;               /* the language model is described in text_config */
    bool mtp_copies;
    bool index_interleaved; /* where config.json does not say */
} families[] = {
    {"DeepseekV2ForCausalLM", "deepseek_v2", MOEQ_DESIGN_MLA, MOEQ_SCORING_SOFTMAX, "greedy", false, false,
     true, false},
    {"DeepseekV3ForCausalLM", "deepseek_v3", MOEQ_DESIGN_MLA, MOEQ_SCORING_SIGMOID, "noaux_tc", true, false,
     true, false},
    {"DeepseekV32ForCausalLM", "deepseek_v32", MOEQ_DESIGN_MLA, MOEQ_SCORING_SIGMOID, "noaux_tc", true, false,
     true, false},
    {"KimiK25ForConditionalGeneration", "kimi_k25", MOEQ_DESIGN_MLA, MOEQ_SCORING_SIGMOID, "noaux_tc", true,
     true, true, false},
    {"Glm4MoeLiteForCausalLM", "glm4_moe_lite", MOEQ_DESIGN_MLA, MOEQ_SCORING_SIGMOID, "noaux_tc", true,
     false, true, false},
    {"GlmMoeDsaForCausalLM", "glm_moe_dsa", MOEQ_DESIGN_MLA, MOEQ_SCORING_SIGMOID, "noaux_tc", true, false,
     false, true},
    {"DeepseekV4ForCausalLM", "deepseek_v4", MOEQ_DESIGN_V4, MOEQ_SCORING_SIGMOID, "noaux_tc", true, false,
     false, false},
};

#define IN_MLA  (1u << MOEQ_DESIGN_MLA)
#define IN_V4   (1u << MOEQ_DESIGN_V4)
#define IN_BOTH (IN_MLA | IN_V4)

/* Keys that are plain bounded numbers. */
static const struct number_key {
    unsigned designs;
    const char *key, *alias; /* another name for it, or NULL */
    size_t offset;
    uint32_t min, max;
    int64_t fallback; /* -1: required */
} number_keys[] = {
#define FIELD(name) offsetof(struct moeq_config, name)
    {IN_BOTH, "num_hidden_layers", NULL, FIELD(n_layers), 1, MAX_LAYERS, -1},
    {IN_BOTH, "num_nextn_predict_layers", NULL, FIELD(n_mtp_layers), 0, MAX_MTP_LAYERS, 0},
    {IN_BOTH, "hidden_size", NULL, FIELD(hidden), 1, MAX_WIDTH, -1},
    {IN_BOTH, "vocab_size", NULL, FIELD(vocabulary), 1, MAX_VOCABULARY, -1},
    {IN_BOTH, "max_position_embeddings", NULL, FIELD(max_positions), 1, MAX_POSITIONS, 4096},
    {IN_BOTH, "num_attention_heads", NULL, FIELD(n_heads), 1, MAX_HEADS, -1},
    {IN_MLA, "q_lora_rank", NULL, FIELD(q_rank), 0, MAX_WIDTH, 0},
    {IN_MLA, "kv_lora_rank", NULL, FIELD(kv_rank), 1, MAX_WIDTH, -1},
    {IN_MLA, "qk_nope_head_dim", NULL, FIELD(qk_nope), 1, MAX_WIDTH, -1},
    {IN_BOTH, "qk_rope_head_dim", NULL, FIELD(qk_rope), 2, MAX_WIDTH, -1},
    {IN_MLA, "v_head_dim", NULL, FIELD(v_width), 1, MAX_WIDTH, -1},
    {IN_MLA, "intermediate_size", NULL, FIELD(dense_width), 1, MAX_WIDTH, -1},
    {IN_MLA, "first_k_dense_replace", NULL, FIELD(first_dense), 0, MAX_LAYERS, 0},
    {IN_MLA, "moe_layer_freq", NULL, FIELD(layer_freq), 1, MAX_LAYERS, 1},
    {IN_BOTH, "n_routed_experts", "num_experts", FIELD(n_experts), 1, MAX_EXPERTS, -1},
    {IN_BOTH, "n_shared_experts", NULL, FIELD(n_shared), 0, 1024, 0},
    {IN_BOTH, "num_experts_per_tok", NULL, FIELD(top_k), 1, 256, -1},
    {IN_BOTH, "moe_intermediate_size", NULL, FIELD(expert_width), 1, MAX_WIDTH, -1},
    {IN_MLA, "n_group", NULL, FIELD(n_groups), 1, MAX_EXPERTS, 1},
    {IN_MLA, "topk_group", NULL, FIELD(top_groups), 1, MAX_EXPERTS, 1},
    {IN_BOTH, "index_n_heads", NULL, FIELD(index_heads), 0, MAX_HEADS, 0},
    {IN_BOTH, "index_head_dim", NULL, FIELD(index_width), 0, MAX_WIDTH, 0},
    {IN_BOTH, "index_topk", NULL, FIELD(index_top_k), 0, MAX_POSITIONS, 0},
    {IN_V4, "q_lora_rank", NULL, FIELD(q_rank), 1, MAX_WIDTH, -1},
    {IN_V4, "head_dim", NULL, FIELD(head_width), 1, MAX_WIDTH, -1},
    {IN_V4, "o_groups", NULL, FIELD(o_groups), 1, MAX_HEADS, -1},
    {IN_V4, "o_lora_rank", NULL, FIELD(o_rank), 1, MAX_WIDTH, -1},
    {IN_V4, "num_hash_layers", NULL, FIELD(n_hash_layers), 0, MAX_LAYERS, 0},
    {IN_V4, "hc_mult", NULL, FIELD(n_streams), 1, 64, -1},
#undef FIELD
};

static enum moeq_status read_number(struct moeq_config *config, const json_t *json,
                                    const struct number_key *row, struct moeq_error *err)
{
    uint64_t value;
    const bool other_name = row->alias && !json_object_get(json, row->key);
    const char *key = other_name && json_object_get(json, row->alias) ? row->alias : row->key;
    enum moeq_status status =
        row->fallback < 0 ? moeq_json_uint(json, key, row->max, &value, err)
                          : moeq_json_uint_or(json, key, row->max, (uint64_t)row->fallback, &value, err);
    if (status)
        return status;
    if (value < row->min)
        return moeq_fail(err, MOEQ_DAMAGED, "\"%s\" is %llu, less than %u", key, (unsigned long long)value,
                         row->min);
    *(uint32_t *)((char *)config + row->offset) = (uint32_t)value;
    return MOEQ_OK;
}

static enum moeq_status read_numbers(struct moeq_config *config, const json_t *json, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < sizeof number_keys / sizeof *number_keys; i++)
        if (number_keys[i].designs & 1u << config->design)
            status = read_number(config, json, &number_keys[i], err);
    return status;
}

/* Keys that are bounded real numbers. The bounds are far beyond any model and keep arithmetic finite. */
struct real_key {
    const char *key;
    size_t offset;
    double min, max;
    double fallback; /* NAN: required */
};

#define FIELD(name) offsetof(struct moeq_config, name)
static const struct real_key real_keys[] = {
    {"rms_norm_eps", FIELD(norm_eps), 0, 1, 1e-6},
    {"routed_scaling_factor", FIELD(routed_scale), 0, 1e6, 1},
};
static const struct real_key rope_keys[] = {{"rope_theta", FIELD(rope_theta), 1 + 1e-6, 1e12, 10000}};
static const struct real_key yarn_keys[] = {
    {"factor", FIELD(yarn_factor), 1e-6, 1e6, NAN},
    {"beta_fast", FIELD(yarn_beta_fast), 1e-6, 1e6, 32},
    {"beta_slow", FIELD(yarn_beta_slow), 1e-6, 1e6, 1},
    {"mscale", FIELD(yarn_mscale), 0, 1e3, 1},
    {"mscale_all_dim", FIELD(yarn_mscale_all_dim), 0, 1e3, 0},
};
#undef FIELD

static enum moeq_status read_real(const struct real_key *row, const json_t *json, double fallback,
                                  double *value, struct moeq_error *err)
{
    enum moeq_status status = moeq_json_real_or(json, row->key, fallback, value, err);
    if (status)
        return status;
    if (isnan(*value))
        return moeq_fail(err, MOEQ_DAMAGED, "the key \"%s\" is missing", row->key);
    return *value >= row->min && *value <= row->max
               ? MOEQ_OK
               : moeq_fail(err, MOEQ_DAMAGED, "\"%s\" is %g, it must be from %g to %g", row->key, *value,
                           row->min, row->max);
}

static enum moeq_status read_reals(struct moeq_config *config, const json_t *json,
                                   const struct real_key *rows, size_t n_rows, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < n_rows; i++)
        status =
            read_real(&rows[i], json, rows[i].fallback, (double *)((char *)config + rows[i].offset), err);
    return status;
}

#define READ_REALS(config, json, rows, err) read_reals(config, json, rows, sizeof(rows) / sizeof *(rows), err)

static const struct family *find_family(struct moeq_config *config, const json_t *json,
                                        struct moeq_error *err)
{
    const char *type;
    if (moeq_json_string_or(json, "model_type", "", &type, err))
        return NULL;
    const char *name = json_string_value(json_array_get(json_object_get(json, "architectures"), 0));
    if (!name)
        name = "";
    snprintf(config->architecture, sizeof config->architecture, "%s", name);
    snprintf(config->model_type, sizeof config->model_type, "%s", type);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(name, families[i].architecture) == 0 ||
            (!*name && strcmp(type, families[i].model_type) == 0))
            return &families[i];
    moeq_fail(err, MOEQ_UNSUPPORTED, "the architecture \"%s\" (model_type \"%s\") is not supported", name,
              type);
    moeq_error_hint(err, "supported: DeepSeek-V2 to V3.2, Moonlight, Kimi-K2, GLM-4.7-Flash, GLM-5; "
                         "DeepSeek-V4 to inspect and check");
    return NULL;
}

static enum moeq_status read_yarn(struct moeq_config *config, const json_t *scaling, struct moeq_error *err)
{
    const char *type;
    const char *key = json_object_get(scaling, "rope_type") ? "rope_type" : "type";
    enum moeq_status status = moeq_json_string_or(scaling, key, "default", &type, err);
    if (status || strcmp(type, "default") == 0)
        return status;
    if (strcmp(type, "yarn") != 0)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "RoPE scaling \"%s\" is not supported", type);
    config->yarn = true;
    static const struct real_key length = {"original_max_position_embeddings", 0, 1, MAX_POSITIONS, 0};
    status = READ_REALS(config, scaling, yarn_keys, err);
    return status ? status
                  : read_real(&length, scaling, config->max_positions, &config->yarn_original_positions, err);
}

static enum moeq_status read_rope(struct moeq_config *config, const json_t *json, struct moeq_error *err)
{
    const json_t *parameters = json_object_get(json, "rope_parameters");
    const json_t *scaling = json_object_get(json, "rope_scaling");
    const json_t *theta_holder = json_is_object(parameters) ? parameters : json;
    if (json_is_object(parameters))
        scaling = parameters;
    enum moeq_status status = READ_REALS(config, theta_holder, rope_keys, err);
    if (status)
        return status;
    if (json_is_object(scaling))
        return read_yarn(config, scaling, err);
    return scaling && !json_is_null(scaling)
               ? moeq_fail(err, MOEQ_DAMAGED, "\"rope_scaling\" must be an object or null")
               : MOEQ_OK;
}

static enum moeq_status read_router(struct moeq_config *config, const struct family *family,
                                    const json_t *json, struct moeq_error *err)
{
    const char *scoring, *method;
    const char *fallback = family->scoring == MOEQ_SCORING_SIGMOID ? "sigmoid" : "softmax";
    enum moeq_status status = moeq_json_string_or(json, "scoring_func", fallback, &scoring, err);
    if (status || (status = moeq_json_string_or(json, "topk_method", family->topk_method, &method, err)) ||
        (status = moeq_json_bool_or(json, "norm_topk_prob", false, &config->norm_topk, err)))
        return status;
    if (strcmp(scoring, "sigmoid") == 0)
        config->scoring = MOEQ_SCORING_SIGMOID;
    else if (strcmp(scoring, "softmax") == 0)
        config->scoring = MOEQ_SCORING_SOFTMAX;
    else
        return moeq_fail(err, MOEQ_UNSUPPORTED, "router scoring \"%s\" is not supported", scoring);
    config->correction_bias = strcmp(method, "noaux_tc") == 0;
    if (config->correction_bias)
        config->group_score = config->n_groups > 1 ? MOEQ_GROUP_TOP2 : MOEQ_GROUP_NONE;
    else if (strcmp(method, "group_limited_greedy") == 0)
        config->group_score = config->n_groups > 1 ? MOEQ_GROUP_MAX : MOEQ_GROUP_NONE;
    else if (strcmp(method, "greedy") == 0)
        config->group_score = MOEQ_GROUP_NONE;
    else
        return moeq_fail(err, MOEQ_UNSUPPORTED, "router method \"%s\" is not supported", method);
    if (config->norm_topk && !family->scale_after_norm && config->top_k > 1)
        config->routed_scale = 1;
    return MOEQ_OK;
}

static enum moeq_status check_consistency(const struct moeq_config *config, const json_t *json,
                                          struct moeq_error *err)
{
    const char *activation;
    bool flag;
    enum moeq_status status = moeq_json_string_or(json, "hidden_act", "silu", &activation, err);
    if (status)
        return status;
    if (strcmp(activation, "silu") != 0)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "activation \"%s\" is not supported", activation);
    if ((status = moeq_json_bool_or(json, "attention_bias", false, &flag, err)))
        return status;
    if (flag)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "attention biases are not supported");
    if ((status = moeq_json_bool_or(json, "rope_interleave", true, &flag, err)))
        return status;
    if (!flag)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "half-split RoPE (rope_interleave false) is not supported");
    if (config->qk_rope % 2)
        return moeq_fail(err, MOEQ_DAMAGED, "\"qk_rope_head_dim\" must be even");
    if (config->top_k > config->n_experts)
        return moeq_fail(err, MOEQ_DAMAGED, "\"num_experts_per_tok\" exceeds \"n_routed_experts\"");
    if (config->n_experts % config->n_groups || config->top_groups > config->n_groups)
        return moeq_fail(err, MOEQ_DAMAGED,
                         "\"n_group\" must divide \"n_routed_experts\" and be at least "
                         "\"topk_group\"");
    if (!config->index_heads != !config->index_width || !config->index_heads != !config->index_top_k)
        return moeq_fail(err, MOEQ_DAMAGED,
                         "\"index_n_heads\", \"index_head_dim\" and \"index_topk\" go together");
    if (config->index_heads && config->index_width < config->qk_rope)
        return moeq_fail(err, MOEQ_DAMAGED, "\"index_head_dim\" is less than \"qk_rope_head_dim\"");
    if (config->index_heads && !config->q_rank)
        return moeq_fail(err, MOEQ_DAMAGED, "an indexer needs \"q_lora_rank\"");
    if (config->group_score == MOEQ_GROUP_TOP2 && config->n_experts / config->n_groups < 2)
        return moeq_fail(err, MOEQ_DAMAGED, "groups of one expert have no two best");
    if (config->group_score != MOEQ_GROUP_NONE &&
        config->top_k > config->n_experts / config->n_groups * config->top_groups)
        return moeq_fail(err, MOEQ_DAMAGED,
                         "the chosen groups hold fewer experts than \"num_experts_per_tok\"");
    return MOEQ_OK;
}

/* ---- quantization ---- */

static enum moeq_status read_fp8(struct moeq_config *config, const json_t *quantization,
                                 struct moeq_error *err)
{
    const json_t *block = json_object_get(quantization, "weight_block_size");
    config->says_fp8 = true;
    for (size_t i = 0; block && !json_is_null(block) && i < 2; i++)
        if (json_number_value(json_array_get(block, i)) != MOEQ_FP8_BLOCK)
            return moeq_fail(err, MOEQ_UNSUPPORTED, "FP8 blocks other than 128x128 are not supported");
    return MOEQ_OK;
}

/* compressed-tensors: symmetric INT4 in groups along the rows, packed into words. */
static enum moeq_status read_packed_int4(struct moeq_config *config, const json_t *quantization,
                                         struct moeq_error *err)
{
    const char *format, *type, *strategy, *name;
    json_t *group;
    enum moeq_status status = moeq_json_string_or(quantization, "format", "", &format, err);
    if (status)
        return status;
    if (strcmp(format, "pack-quantized") != 0)
        return moeq_fail(err, MOEQ_UNSUPPORTED,
                         "compressed-tensors of format \"%s\" are not supported, only \"pack-quantized\"",
                         format);
    json_object_foreach(json_object_get(quantization, "config_groups"), name, group)
    {
        const json_t *weights = json_object_get(group, "weights");
        uint64_t n_bits, size;
        bool symmetric;
        if ((status = moeq_json_uint_or(weights, "num_bits", 64, 4, &n_bits, err)) ||
            (status = moeq_json_uint_or(weights, "group_size", MAX_WIDTH, 0, &size, err)) ||
            (status = moeq_json_bool_or(weights, "symmetric", true, &symmetric, err)) ||
            (status = moeq_json_string_or(weights, "type", "int", &type, err)) ||
            (status = moeq_json_string_or(weights, "strategy", "group", &strategy, err)))
            return status;
        if (n_bits != 4 || !symmetric || strcmp(type, "int") != 0 || strcmp(strategy, "group") != 0 ||
            (size != 32 && size != 64 && size != 128))
            return moeq_fail(err, MOEQ_UNSUPPORTED,
                             "packed weights must be symmetric INT4 in groups of 32, 64 or 128");
        config->int4_group = (uint32_t)size;
    }
    return MOEQ_OK;
}

/* Kimi-K2.5 says it inside text_config, outside of it, or both. */
static enum moeq_status read_quantization(struct moeq_config *config, const json_t *outer,
                                          const json_t *inner, struct moeq_error *err)
{
    static const struct {
        const char *method;
        enum moeq_status (*read)(struct moeq_config *, const json_t *, struct moeq_error *);
    } methods[] = {{"fp8", read_fp8}, {"compressed-tensors", read_packed_int4}};
    const json_t *quantization = json_object_get(inner, "quantization_config");
    const char *method;
    if (!json_is_object(quantization))
        quantization = json_object_get(outer, "quantization_config");
    if (!json_is_object(quantization) || !moeq_config_is_computed(config))
        return MOEQ_OK;
    enum moeq_status status = moeq_json_string_or(quantization, "quant_method", "fp8", &method, err);
    if (status)
        return status;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(method, methods[i].method) == 0)
            return methods[i].read(config, quantization, err);
    return moeq_fail(err, MOEQ_UNSUPPORTED, "weights quantized by \"%s\" are not supported", method);
}

/* ---- by layer ---- */

/* GLM-5.2: a list of "full" and "shared", or a text of F and S, or a rule by numbers; without any, every
 * layer has an indexer. */
static enum moeq_status read_shared_indexers(struct moeq_config *config, const json_t *json,
                                             struct moeq_error *err)
{
    const json_t *types = json_object_get(json, "indexer_types");
    const json_t *pattern = json_object_get(json, "index_topk_pattern");
    uint64_t every, offset;
    enum moeq_status status = moeq_json_uint_or(json, "index_topk_freq", MAX_LAYERS, 1, &every, err);
    if (status || (status = moeq_json_uint_or(json, "index_skip_topk_offset", MAX_LAYERS, 2, &offset, err)))
        return status;
    for (uint32_t layer = 0; layer < config->n_layers; layer++) {
        const char *type = json_string_value(json_array_get(types, layer));
        if (type)
            config->index_shared[layer] = strcmp(type, "shared") == 0;
        else if (layer < json_string_length(pattern))
            config->index_shared[layer] = json_string_value(pattern)[layer] == 'S';
        else
            config->index_shared[layer] = every > 1 && layer + 1 > offset && (layer + 1 - offset) % every;
    }
    if (config->index_heads && config->index_shared[0])
        return moeq_fail(err, MOEQ_DAMAGED, "layer 0 shares the indexer of a layer before it");
    return MOEQ_OK;
}

/* Newer configurations list the kind of each layer; models of this design begin with the dense ones. */
static enum moeq_status read_layer_types(struct moeq_config *config, const json_t *json,
                                         struct moeq_error *err)
{
    const json_t *types = json_object_get(json, "mlp_layer_types");
    uint32_t n_dense = 0;
    if (!json_is_array(types))
        return MOEQ_OK;
    for (uint32_t layer = 0; layer < config->n_layers; layer++) {
        const char *type = json_string_value(json_array_get(types, layer));
        const bool dense = type && strcmp(type, "dense") == 0;
        if (!type || (!dense && strcmp(type, "sparse") != 0))
            return moeq_fail(err, MOEQ_DAMAGED,
                             "\"mlp_layer_types\" must be \"dense\" or \"sparse\" a layer");
        if (dense && layer != n_dense)
            return moeq_fail(err, MOEQ_UNSUPPORTED, "dense layers behind layers with experts");
        n_dense += dense;
    }
    if (json_object_get(json, "first_k_dense_replace") && config->first_dense != n_dense)
        return moeq_fail(err, MOEQ_DAMAGED,
                         "\"first_k_dense_replace\" is %u, \"mlp_layer_types\" begins with %u dense layers",
                         config->first_dense, n_dense);
    config->first_dense = n_dense;
    return MOEQ_OK;
}

static enum moeq_status read_compression(struct moeq_config *config, const json_t *json,
                                         struct moeq_error *err)
{
    const json_t *ratios = moeq_json_array_at(json, "compress_ratios", err);
    if (!ratios)
        return MOEQ_DAMAGED;
    const size_t n = json_array_size(ratios);
    if (n < config->n_layers || n > MOEQ_MAX_LAYERS)
        return moeq_fail(err, MOEQ_DAMAGED, "\"compress_ratios\" has %zu numbers for %u layers", n,
                         config->n_layers);
    for (size_t i = 0; i < n; i++) {
        uint64_t ratio;
        enum moeq_status status =
            moeq_json_value_uint(json_array_get(ratios, i), "compress_ratios", 4096, &ratio, err);
        if (status)
            return status;
        config->compress_ratio[i] = (uint16_t)ratio;
    }
    return MOEQ_OK;
}

/* ---- the whole ---- */

static enum moeq_status read_mla(struct moeq_config *config, const struct family *family, const json_t *json,
                                 struct moeq_error *err)
{
    enum moeq_status status = read_rope(config, json, err);
    if (status || (status = read_router(config, family, json, err)) ||
        (status = read_layer_types(config, json, err)) ||
        (status = read_shared_indexers(config, json, err)) ||
        (status = moeq_json_bool_or(json, "indexer_rope_interleave", family->index_interleaved,
                                    &config->index_interleaved, err)))
        return status;
    return check_consistency(config, json, err);
}

static enum moeq_status read_v4(struct moeq_config *config, const struct family *family, const json_t *json,
                                struct moeq_error *err)
{
    (void)family;
    config->correction_bias = true;
    config->layer_freq = 1;
    enum moeq_status status = read_rope(config, json, err);
    if (status)
        return status;
    if (config->top_k > config->n_experts)
        return moeq_fail(err, MOEQ_DAMAGED, "\"num_experts_per_tok\" exceeds \"n_routed_experts\"");
    if ((uint64_t)config->n_heads * config->head_width % config->o_groups)
        return moeq_fail(err, MOEQ_DAMAGED, "\"o_groups\" must divide the width of all heads");
    return read_compression(config, json, err);
}

/* No fewer than the weights of a model, in floating point, which cannot wrap. */
static double weights_at_most(const struct moeq_config *c)
{
    const double heads = c->n_heads, head = (double)c->qk_nope + c->qk_rope + c->v_width + c->head_width;
    const double attention = heads * head * ((double)c->hidden + c->q_rank + 2.0 * c->kv_rank) +
                             ((double)c->q_rank + c->kv_rank + c->qk_rope) * c->hidden +
                             ((double)c->q_rank + c->hidden) * c->index_heads * c->index_width +
                             ((double)c->hidden + heads * head) * c->o_groups * c->o_rank;
    const double ffn = ((double)c->n_experts + c->n_shared) * c->expert_width + c->dense_width;
    const double layers = (double)c->n_layers + c->n_mtp_layers;
    const double tables = 2.0 + 2.0 * c->n_mtp_layers; /* embedding and head */
    return layers * (attention + 3.0 * ffn * c->hidden) + tables * c->vocabulary * c->hidden;
}

static enum moeq_status read_config(struct moeq_config *config, const json_t *outer, struct moeq_error *err)
{
    static enum moeq_status (*const designs[])(struct moeq_config *, const struct family *, const json_t *,
                                               struct moeq_error *) = {
        [MOEQ_DESIGN_MLA] = read_mla, [MOEQ_DESIGN_V4] = read_v4};
    uint64_t bos;
    const struct family *family = find_family(config, outer, err);
    if (!family)
        return err ? err->status : MOEQ_UNSUPPORTED;
    const json_t *json = family->nested ? moeq_json_object_at(outer, "text_config", err) : outer;
    if (!json)
        return MOEQ_DAMAGED;
    config->design = family->design;
    enum moeq_status status = read_numbers(config, json, err);
    if (!status && weights_at_most(config) > MAX_WEIGHTS)
        status =
            moeq_fail(err, MOEQ_DAMAGED,
                      "\"num_hidden_layers\", \"n_routed_experts\" and the sizes describe more than 2^58 "
                      "weights");
    if (status || (status = READ_REALS(config, json, real_keys, err)) ||
        (status = moeq_json_uint_or(json, "bos_token_id", MAX_VOCABULARY, UINT64_MAX, &bos, err)) ||
        (status = designs[config->design](config, family, json, err)))
        return status;
    config->latent_norm_eps = 1e-6;
    config->mtp_copies = family->mtp_copies;
    config->bos = bos < config->vocabulary ? (int32_t)bos : -1;
    if ((status = read_quantization(config, outer, json, err)))
        return status;
    config->stray_inv_freq = strcmp(config->model_type, "kimi_k2") == 0 && config->says_fp8;
    return MOEQ_OK;
}

enum moeq_status moeq_config_read(struct moeq_config *config, const json_t *json, struct moeq_error *err)
{
    *config = (struct moeq_config){0};
    return json_is_object(json) ? read_config(config, json, err)
                                : moeq_fail(err, MOEQ_DAMAGED, "expected a JSON object at the top level");
}

enum moeq_status moeq_config_parse(struct moeq_config *config, const void *text, size_t n_bytes,
                                   struct moeq_error *err)
{
    struct moeq_error local = {0};
    if (!err)
        err = &local;
    *config = (struct moeq_config){0};
    json_t *json = moeq_json_parse(text, n_bytes, err);
    if (!json)
        return err->status;
    enum moeq_status status = moeq_config_read(config, json, err);
    json_decref(json);
    return status;
}

enum moeq_status moeq_config_load(struct moeq_config *config, const char *dir, struct moeq_error *err)
{
    struct moeq_bytes text = {0};
    char *path = moeq_path_join(dir, "config.json", err);
    enum moeq_status status =
        path ? moeq_file_read_member(dir, "config.json", MAX_CONFIG_BYTES, &text, err) : MOEQ_OVER_MEMORY;
    if (!status)
        status = moeq_config_parse(config, text.data, text.n_bytes, err);
    moeq_error_in_file(err, path);
    if (status == MOEQ_DAMAGED)
        moeq_error_hint(err, "download it again");
    moeq_bytes_free(&text);
    free(path);
    return status;
}

bool moeq_config_layer_is_moe(const struct moeq_config *config, uint32_t layer)
{
    return layer >= config->n_layers || (layer >= config->first_dense && layer % config->layer_freq == 0);
}
