#include "config.h"

#include "file.h"
#include "json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_CONFIG_BYTES (16u << 20)
#define MAX_LAYERS       4096u
#define MAX_WIDTH        (1u << 20)
#define MAX_HEADS        4096u
#define MAX_EXPERTS      65536u
#define MAX_VOCABULARY   (1u << 24)
#define MAX_POSITIONS    (1u << 30)
#define MAX_WEIGHTS      0x1p58 /* so that no sum over a model leaves 64 bits */

/* The architectures that the runtime computes. The first row whose architecture or model type fits is taken.
 */
static const struct architecture {
    const char *architecture;
    const char *model_type;
    enum moeq_scoring scoring; /* where config.json does not say */
    const char *topk_method;   /* likewise */
    bool scale_after_norm;     /* false: norm_topk_prob replaces routed_scaling_factor (V2's own code) */
} architectures[] = {
    {"DeepseekV2ForCausalLM", "deepseek_v2", MOEQ_SCORING_SOFTMAX, "greedy", false},
    {"DeepseekV3ForCausalLM", "deepseek_v3", MOEQ_SCORING_SIGMOID, "noaux_tc", true},
    {"DeepseekV32ForCausalLM", "deepseek_v32", MOEQ_SCORING_SIGMOID, "noaux_tc", true},
};

/* Keys that are plain bounded numbers. */
static const struct number_key {
    const char *key;
    size_t offset;
    uint32_t min, max;
    int64_t fallback; /* -1: required */
} number_keys[] = {
#define FIELD(name) offsetof(struct moeq_config, name)
    {"num_hidden_layers", FIELD(n_layers), 1, MAX_LAYERS, -1},
    {"num_nextn_predict_layers", FIELD(n_mtp_layers), 0, 64, 0},
    {"hidden_size", FIELD(hidden), 1, MAX_WIDTH, -1},
    {"vocab_size", FIELD(vocabulary), 1, MAX_VOCABULARY, -1},
    {"max_position_embeddings", FIELD(max_positions), 1, MAX_POSITIONS, 4096},
    {"num_attention_heads", FIELD(n_heads), 1, MAX_HEADS, -1},
    {"q_lora_rank", FIELD(q_rank), 0, MAX_WIDTH, 0},
    {"kv_lora_rank", FIELD(kv_rank), 1, MAX_WIDTH, -1},
    {"qk_nope_head_dim", FIELD(qk_nope), 1, MAX_WIDTH, -1},
    {"qk_rope_head_dim", FIELD(qk_rope), 2, MAX_WIDTH, -1},
    {"v_head_dim", FIELD(v_width), 1, MAX_WIDTH, -1},
    {"intermediate_size", FIELD(dense_width), 1, MAX_WIDTH, -1},
    {"first_k_dense_replace", FIELD(first_dense), 0, MAX_LAYERS, 0},
    {"moe_layer_freq", FIELD(layer_freq), 1, MAX_LAYERS, 1},
    {"n_routed_experts", FIELD(n_experts), 1, MAX_EXPERTS, -1},
    {"n_shared_experts", FIELD(n_shared), 0, 1024, 0},
    {"num_experts_per_tok", FIELD(top_k), 1, 256, -1},
    {"moe_intermediate_size", FIELD(expert_width), 1, MAX_WIDTH, -1},
    {"n_group", FIELD(n_groups), 1, MAX_EXPERTS, 1},
    {"topk_group", FIELD(top_groups), 1, MAX_EXPERTS, 1},
    {"index_n_heads", FIELD(index_heads), 0, MAX_HEADS, 0},
    {"index_head_dim", FIELD(index_width), 0, MAX_WIDTH, 0},
    {"index_topk", FIELD(index_top_k), 0, MAX_POSITIONS, 0},
#undef FIELD
};

static enum moeq_status read_numbers(struct moeq_config *config, const json_t *json, struct moeq_error *err)
{
    for (size_t i = 0; i < sizeof number_keys / sizeof *number_keys; i++) {
        const struct number_key *row = &number_keys[i];
        uint64_t value;
        enum moeq_status status = row->fallback < 0 ? moeq_json_uint(json, row->key, row->max, &value, err)
                                                    : moeq_json_uint_or(json, row->key, row->max,
                                                                        (uint64_t)row->fallback, &value, err);
        if (status)
            return status;
        if (value < row->min)
            return moeq_fail(err, MOEQ_DAMAGED, "\"%s\" is %llu, less than %u", row->key,
                             (unsigned long long)value, row->min);
        *(uint32_t *)((char *)config + row->offset) = (uint32_t)value;
    }
    return MOEQ_OK;
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

static const struct architecture *find_architecture(struct moeq_config *config, const json_t *json,
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
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++)
        if (strcmp(name, architectures[i].architecture) == 0 ||
            (!*name && strcmp(type, architectures[i].model_type) == 0))
            return &architectures[i];
    moeq_fail(err, MOEQ_UNSUPPORTED, "the architecture \"%s\" (model_type \"%s\") is not supported", name,
              type);
    moeq_error_hint(err, "supported: DeepseekV2ForCausalLM, DeepseekV3ForCausalLM, DeepseekV32ForCausalLM");
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

static enum moeq_status read_router(struct moeq_config *config, const struct architecture *family,
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

/* No fewer than the weights of a model, in floating point, which cannot wrap. */
static double weights_at_most(const struct moeq_config *c)
{
    const double heads = c->n_heads, head = (double)c->qk_nope + c->qk_rope + c->v_width;
    const double attention = heads * head * ((double)c->hidden + c->q_rank + 2.0 * c->kv_rank) +
                             ((double)c->q_rank + c->kv_rank + c->qk_rope) * c->hidden +
                             ((double)c->q_rank + c->hidden) * c->index_heads * c->index_width;
    const double ffn = ((double)c->n_experts + c->n_shared) * c->expert_width + c->dense_width;
    const double layers = (double)c->n_layers + c->n_mtp_layers;
    return layers * (attention + 3.0 * ffn * c->hidden + 4.0 * c->vocabulary * c->hidden);
}

static enum moeq_status check_consistency(const struct moeq_config *config, const json_t *json,
                                          struct moeq_error *err)
{
    const char *activation;
    bool flag;
    if (weights_at_most(config) > MAX_WEIGHTS)
        return moeq_fail(err, MOEQ_DAMAGED,
                         "\"num_hidden_layers\", \"n_routed_experts\" and the sizes describe more than 2^58 "
                         "weights");
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

static enum moeq_status read_quantization(struct moeq_config *config, const json_t *json,
                                          struct moeq_error *err)
{
    const json_t *quantization = json_object_get(json, "quantization_config");
    const json_t *block = json_object_get(quantization, "weight_block_size");
    const char *method;
    if (!json_is_object(quantization))
        return MOEQ_OK;
    enum moeq_status status = moeq_json_string_or(quantization, "quant_method", "fp8", &method, err);
    if (status)
        return status;
    if (strcmp(method, "fp8") != 0)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "weights quantized by \"%s\" are not supported", method);
    config->says_fp8 = true;
    for (size_t i = 0; block && !json_is_null(block) && i < 2; i++)
        if (json_number_value(json_array_get(block, i)) != MOEQ_FP8_BLOCK)
            return moeq_fail(err, MOEQ_UNSUPPORTED, "FP8 blocks other than 128x128 are not supported");
    return MOEQ_OK;
}

static enum moeq_status read_config(struct moeq_config *config, const json_t *json, struct moeq_error *err)
{
    uint64_t bos;
    const struct architecture *family = find_architecture(config, json, err);
    if (!family)
        return err ? err->status : MOEQ_UNSUPPORTED;
    enum moeq_status status = read_numbers(config, json, err);
    if (status || (status = READ_REALS(config, json, real_keys, err)) ||
        (status = moeq_json_uint_or(json, "bos_token_id", MAX_VOCABULARY, UINT64_MAX, &bos, err)) ||
        (status = read_rope(config, json, err)) || (status = read_router(config, family, json, err)))
        return status;
    config->latent_norm_eps = 1e-6;
    config->stray_inv_freq = strcmp(config->model_type, "kimi_k2") == 0;
    config->bos = bos < config->vocabulary ? (int32_t)bos : -1;
    if ((status = check_consistency(config, json, err)))
        return status;
    return read_quantization(config, json, err);
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
    enum moeq_status status = json_is_object(json)
                                  ? read_config(config, json, err)
                                  : moeq_fail(err, MOEQ_DAMAGED, "expected a JSON object at the top level");
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
