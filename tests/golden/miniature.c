#include "miniature.h"

#include "scalar.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_TENSORS 4096
#define BLOCK       128 /* rows and columns of an FP8 scale */

void *miniature_calloc(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "out of memory\n");
        abort();
    }
    return memory;
}

/* ---- random numbers ---- */

static uint64_t next_random(uint64_t *state)
{
    return moeq_mixed(*state += MOEQ_MIX_STEP);
}

static double uniform(uint64_t *state)
{
    return (double)(next_random(state) >> 11) * 0x1p-53;
}

/* Nearly normal, of deviation 1; only sums, so that every machine gets the same bits. */
static double normal(uint64_t *state)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += uniform(state);
    return sum;
}

/* A stream for each name, so that one tensor's numbers do not depend on what else there is. */
static uint64_t stream(uint64_t seed, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash ^ seed * 0x9e3779b97f4a7c15u;
}

/* ---- formats ---- */

static double bits_to_bf16(unsigned bits)
{
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* IEEE 754 binary16 without infinities. */
static double bits_to_f16(unsigned bits)
{
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double magnitude = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return bits >> 15 ? -magnitude : magnitude;
}

static unsigned f16_from(double value)
{
    int exponent;
    double magnitude = fabs(value);
    frexp(magnitude, &exponent); /* magnitude < 2^exponent */
    if (exponent < -13 || magnitude == 0)
        exponent = -13; /* subnormals share the smallest exponent */
    unsigned units = (unsigned)nearbyint(ldexp(magnitude, 11 - exponent)); /* 1024 … 2048 where normal */
    return (value < 0 ? 0x8000u : 0) + ((unsigned)(exponent + 13) << 10) + units;
}

static double bits_to_e4m3(unsigned bits)
{
    int exponent = bits >> 3 & 15, mantissa = bits & 7;
    double magnitude = exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
    return bits >> 7 ? -magnitude : magnitude;
}

/* Stores values [n] in the tensor's dtype and replaces them by what was stored. */
static void store_floats(struct miniature_tensor *tensor)
{
    size_t n = tensor->rows * tensor->cols;
    for (size_t i = 0; i < n; i++) {
        float value = (float)tensor->values[i];
        if (tensor->dtype == MOEQ_F32) {
            memcpy(tensor->data + 4 * i, &value, 4);
            tensor->values[i] = value;
            continue;
        }
        bool bf16 = tensor->dtype == MOEQ_BF16;
        unsigned bits = bf16 ? moeq_bf16_encode(value) : f16_from(value);
        tensor->data[2 * i] = (uint8_t)bits;
        tensor->data[2 * i + 1] = (uint8_t)(bits >> 8);
        tensor->values[i] = bf16 ? bits_to_bf16(bits) : bits_to_f16(bits);
    }
}

/* One block of an FP8 matrix; returns its scale. */
static float store_block(struct miniature_tensor *tensor, size_t first_row, size_t first_col)
{
    size_t end_row = first_row + BLOCK < tensor->rows ? first_row + BLOCK : tensor->rows;
    size_t end_col = first_col + BLOCK < tensor->cols ? first_col + BLOCK : tensor->cols;
    double largest = 0;
    for (size_t r = first_row; r < end_row; r++)
        for (size_t c = first_col; c < end_col; c++)
            largest = fmax(largest, fabs(tensor->values[r * tensor->cols + c]));
    float scale = (float)(largest / 448);
    for (size_t r = first_row; r < end_row; r++)
        for (size_t c = first_col; c < end_col; c++) {
            size_t i = r * tensor->cols + c;
            tensor->data[i] = moeq_e4m3_encode((float)(tensor->values[i] / scale));
            tensor->values[i] = bits_to_e4m3(tensor->data[i]) * scale;
        }
    return scale;
}

/* ---- tensors ---- */

struct miniature_tensor *miniature_add(struct miniature_model *model, enum moeq_dtype dtype, size_t n_dims,
                                       size_t rows, size_t cols, const char *name)
{
    if (model->n_tensors == MAX_TENSORS)
        abort();
    struct miniature_tensor *tensor = &model->tensors[model->n_tensors++];
    *tensor = (struct miniature_tensor){.dtype = dtype, .n_dims = n_dims, .rows = rows, .cols = cols};
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    const bool in_text = model->spec->nested && strncmp(name, "vision_tower.", 13) != 0;
    snprintf(tensor->file_name, sizeof tensor->file_name, "%s%s", in_text ? "language_model." : "", name);
    tensor->shard = stream(model->spec->seed, name) % model->spec->n_shards;
    tensor->n_bytes = rows * cols * moeq_dtype_bits(dtype) / 8;
    tensor->data = miniature_calloc(tensor->n_bytes, 1);
    return tensor;
}

static void add_scales(struct miniature_model *model, struct miniature_tensor *weight)
{
    char name[160];
    snprintf(name, sizeof name, "%s_scale_inv", weight->name);
    size_t rows = (weight->rows + BLOCK - 1) / BLOCK, cols = (weight->cols + BLOCK - 1) / BLOCK;
    struct miniature_tensor *scales = miniature_add(model, MOEQ_F32, 2, rows, cols, name);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            float scale = store_block(weight, r * BLOCK, c * BLOCK);
            memcpy(scales->data + 4 * (r * cols + c), &scale, 4);
        }
}

/* A matrix whose outputs have the size `gain` for inputs of size 1; of its rows, those before n_small are
 * smaller by `small`. Neighbouring blocks of 128 differ in size, so that a scale that is taken from the wrong
 * block shows. */
static void add_matrix(struct miniature_model *model, enum moeq_dtype dtype, size_t rows, size_t cols,
                       double gain, size_t n_small, double small, const char *name)
{
    struct miniature_tensor *tensor = miniature_add(model, dtype, 2, rows, cols, name);
    uint64_t state = stream(model->spec->seed, name);
    tensor->values = miniature_calloc(rows * cols, sizeof(double));
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            double block = 0.7 + 0.3 * (double)((r / BLOCK * 3 + c / BLOCK) % 4);
            tensor->values[r * cols + c] =
                normal(&state) * gain * (r < n_small ? small : 1) * block / sqrt((double)cols);
        }
    if (dtype == MOEQ_F8_E4M3)
        add_scales(model, tensor);
    else
        store_floats(tensor);
}

/* A vector of numbers around `middle`. */
static void add_vector(struct miniature_model *model, enum moeq_dtype dtype, size_t n, double middle,
                       double spread, const char *name)
{
    struct miniature_tensor *tensor = miniature_add(model, dtype, 1, 1, n, name);
    uint64_t state = stream(model->spec->seed, name);
    tensor->values = miniature_calloc(n, sizeof(double));
    for (size_t i = 0; i < n; i++)
        tensor->values[i] = middle + spread * normal(&state);
    store_floats(tensor);
}

static void add_mlp(struct miniature_model *model, size_t width, const char *prefix)
{
    const struct miniature *s = model->spec;
    char name[128];
    snprintf(name, sizeof name, "%s.gate_proj.weight", prefix);
    add_matrix(model, s->matrices, width, s->hidden, 1.5, 0, 1, name);
    snprintf(name, sizeof name, "%s.up_proj.weight", prefix);
    add_matrix(model, s->matrices, width, s->hidden, 1, 0, 1, name);
    snprintf(name, sizeof name, "%s.down_proj.weight", prefix);
    add_matrix(model, s->matrices, s->hidden, width, 1, 0, 1, name);
}

/* What chooses keys in windows of more than index_top_k tokens. */
static void add_indexer(struct miniature_model *model, size_t layer)
{
    const struct miniature *s = model->spec;
    enum moeq_dtype outer = s->matrices == MOEQ_F8_E4M3 ? MOEQ_BF16 : s->matrices;
    char prefix[64], name[128];
    snprintf(prefix, sizeof prefix, "model.layers.%zu.self_attn.indexer", layer);
    snprintf(name, sizeof name, "%s.wq_b.weight", prefix);
    add_matrix(model, s->matrices, s->index_heads * s->index_width, s->q_rank, 1, 0, 1, name);
    snprintf(name, sizeof name, "%s.wk.weight", prefix);
    add_matrix(model, s->matrices, s->index_width, s->hidden, 1, 0, 1, name);
    snprintf(name, sizeof name, "%s.k_norm.weight", prefix);
    add_vector(model, s->norms, s->index_width, 1, 0.2, name);
    snprintf(name, sizeof name, "%s.k_norm.bias", prefix);
    add_vector(model, s->norms, s->index_width, 0, 0.2, name);
    snprintf(name, sizeof name, "%s.weights_proj.weight", prefix);
    add_matrix(model, outer, s->index_heads, s->hidden, 1, 0, 1, name);
}

bool miniature_has_indexer(const struct miniature *spec, size_t layer)
{
    if (!spec->index_heads || !spec->index_every || layer + 1 <= spec->index_offset)
        return spec->index_heads > 0;
    return (layer + 1 - spec->index_offset) % spec->index_every == 0;
}

static void add_attention(struct miniature_model *model, size_t layer)
{
    const struct miniature *s = model->spec;
    const size_t q = s->n_heads * (s->qk_nope + s->qk_rope);
    char prefix[64], name[128];
    snprintf(prefix, sizeof prefix, "model.layers.%zu.self_attn", layer);
#define NAME(part) (snprintf(name, sizeof name, "%s." part, prefix), name)
    if (s->q_rank) {
        add_matrix(model, s->matrices, s->q_rank, s->hidden, 1, s->q_rank, s->latent,
                   NAME("q_a_proj.weight"));
        add_vector(model, s->norms, s->q_rank, 1, 0.2, NAME("q_a_layernorm.weight"));
        add_matrix(model, s->matrices, q, s->q_rank, 1.5, 0, 1, NAME("q_b_proj.weight"));
    } else {
        add_matrix(model, s->matrices, q, s->hidden, 1.5, 0, 1, NAME("q_proj.weight"));
    }
    add_matrix(model, s->matrices, s->kv_rank + s->qk_rope, s->hidden, 1, s->kv_rank, s->latent,
               NAME("kv_a_proj_with_mqa.weight"));
    add_vector(model, s->norms, s->kv_rank, 1, 0.2, NAME("kv_a_layernorm.weight"));
    add_matrix(model, s->matrices, s->n_heads * (s->qk_nope + s->v_width), s->kv_rank, 1, 0, 1,
               NAME("kv_b_proj.weight"));
    add_matrix(model, s->matrices, s->hidden, s->n_heads * s->v_width, 1, 0, 1, NAME("o_proj.weight"));
    if (miniature_has_indexer(s, layer))
        add_indexer(model, layer);
    if (s->inv_freq)
        miniature_add(model, MOEQ_BF16, 1, 1, 56, NAME("rotary_emb.inv_freq"));
#undef NAME
}

static void add_experts(struct miniature_model *model, size_t layer)
{
    const struct miniature *s = model->spec;
    /* FP8 releases keep the router in BF16, and the bias is float32 in all. */
    enum moeq_dtype router = s->matrices == MOEQ_F8_E4M3 ? MOEQ_BF16 : s->matrices;
    char name[128];
    snprintf(name, sizeof name, "model.layers.%zu.mlp.gate.weight", layer);
    add_matrix(model, router, s->n_experts, s->hidden, 1.5, 0, 1, name);
    snprintf(name, sizeof name, "model.layers.%zu.mlp.gate.e_score_correction_bias", layer);
    if (s->v3)
        add_vector(model, MOEQ_F32, s->n_experts, s->bias, 0.1, name);
    const size_t first = model->n_tensors;
    for (size_t e = 0; e < s->n_experts; e++) {
        snprintf(name, sizeof name, "model.layers.%zu.mlp.experts.%zu", layer, e);
        add_mlp(model, s->expert_width, name);
    }
    const size_t end = model->n_tensors;
    for (size_t i = first; i < end && s->experts == MINIATURE_INT4; i++)
        miniature_store_int4(model, &model->tensors[i]);
    if (s->experts == MINIATURE_FUSED)
        miniature_store_fused(model, layer);
    snprintf(name, sizeof name, "model.layers.%zu.mlp.shared_experts", layer);
    if (s->n_shared)
        add_mlp(model, s->n_shared * s->expert_width, name);
}

static void add_layer(struct miniature_model *model, size_t layer)
{
    const struct miniature *spec = model->spec;
    char name[128];
    snprintf(name, sizeof name, "model.layers.%zu.input_layernorm.weight", layer);
    add_vector(model, spec->norms, spec->hidden, 1, 0.2, name);
    add_attention(model, layer);
    snprintf(name, sizeof name, "model.layers.%zu.post_attention_layernorm.weight", layer);
    add_vector(model, spec->norms, spec->hidden, 1, 0.2, name);
    snprintf(name, sizeof name, "model.layers.%zu.mlp", layer);
    if (layer < spec->n_layers && (layer < spec->first_dense || layer % spec->layer_freq != 0))
        add_mlp(model, spec->dense_width, name);
    else
        add_experts(model, layer);
}

/* What an MTP layer has beside a layer with experts. */
static void add_mtp(struct miniature_model *model, enum moeq_dtype outer)
{
    static const char *const norms[] = {"enorm", "hnorm", "shared_head.norm"};
    const struct miniature *spec = model->spec;
    char name[128];
    add_layer(model, spec->n_layers);
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        snprintf(name, sizeof name, "model.layers.%zu.%s.weight", spec->n_layers, norms[i]);
        add_vector(model, spec->norms, spec->hidden, 1, 0.2, name);
    }
    snprintf(name, sizeof name, "model.layers.%zu.eh_proj.weight", spec->n_layers);
    add_matrix(model, outer, spec->hidden, 2 * spec->hidden, 1, 0, 1, name);
    if (!spec->mtp_copies)
        return;
    snprintf(name, sizeof name, "model.layers.%zu.embed_tokens.weight", spec->n_layers);
    add_matrix(model, outer, spec->vocabulary, spec->hidden, 1, 0, 1, name);
    snprintf(name, sizeof name, "model.layers.%zu.shared_head.head.weight", spec->n_layers);
    add_matrix(model, outer, spec->vocabulary, spec->hidden, 1, 0, 1, name);
}

void miniature_make(struct miniature_model *model, const struct miniature *spec)
{
    enum moeq_dtype outer = spec->matrices == MOEQ_F8_E4M3 ? MOEQ_BF16 : spec->matrices;
    *model = (struct miniature_model){
        .spec = spec, .tensors = miniature_calloc(MAX_TENSORS, sizeof(struct miniature_tensor))};
    add_matrix(model, outer, spec->vocabulary, spec->hidden, sqrt((double)spec->hidden), 0, 1,
               "model.embed_tokens.weight");
    for (size_t layer = 0; layer < spec->n_layers; layer++)
        add_layer(model, layer);
    if (spec->mtp)
        add_mtp(model, outer);
    if (spec->nested)
        add_matrix(model, outer, 24, 40, 1, 0, 1, "vision_tower.encoder.blocks.0.mlp.fc0.weight");
    add_vector(model, spec->norms, spec->hidden, 1, 0.2, "model.norm.weight");
    add_matrix(model, outer, spec->vocabulary, spec->hidden, 1, 0, 1, "lm_head.weight");
}

void miniature_free(struct miniature_model *model)
{
    for (size_t i = 0; i < model->n_tensors; i++) {
        free(model->tensors[i].data);
        free(model->tensors[i].values);
    }
    free(model->tensors);
    *model = (struct miniature_model){0};
}

const double *miniature_values(const struct miniature_model *model, const char *format, ...)
{
    char name[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    for (size_t i = 0; i < model->n_tensors; i++)
        if (strcmp(model->tensors[i].name, name) == 0 && model->tensors[i].values)
            return model->tensors[i].values;
    fprintf(stderr, "the miniature has no %s\n", name);
    abort();
}

void miniature_tokens(const struct miniature *spec, int32_t *tokens, size_t n)
{
    uint64_t state = stream(spec->seed, "tokens");
    for (size_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(next_random(&state) % spec->vocabulary);
}

/* ---- config.json ---- */

static json_t *rope_scaling(const struct miniature *s)
{
    const struct miniature_yarn *yarn = &s->yarn;
    json_t *json = json_object();
    if (yarn->factor != 0)
        json_object_update_new(json, json_pack("{s:f, s:f, s:f, s:I}", "factor", yarn->factor, "beta_fast",
                                               yarn->beta_fast, "beta_slow", yarn->beta_slow,
                                               "original_max_position_embeddings",
                                               (json_int_t)yarn->original_positions));
    if (yarn->mscale != 0)
        json_object_update_new(
            json, json_pack("{s:f, s:f}", "mscale", yarn->mscale, "mscale_all_dim", yarn->mscale_all_dim));
    json_object_set_new(json, s->rope_parameters ? "rope_type" : "type",
                        json_string(yarn->factor != 0 ? "yarn" : "default"));
    return json;
}

static void set_rope(json_t *config, const struct miniature *s)
{
    if (s->rope_parameters) {
        json_t *parameters = rope_scaling(s);
        json_object_set_new(parameters, "rope_theta", json_real(s->rope_theta));
        json_object_set_new(config, "rope_parameters", parameters);
        return;
    }
    json_object_set_new(config, "rope_theta", json_real(s->rope_theta));
    json_object_set_new(config, "rope_scaling", s->yarn.factor != 0 ? rope_scaling(s) : json_null());
}

static json_t *int4_config(void)
{
    return json_pack("{s:s, s:s, s:n, s:{s:{s:[s], s:n, s:{s:i, s:s, s:b, s:s, s:i, s:n}}}, s:[s, s]}",
                     "quant_method", "compressed-tensors", "format", "pack-quantized", "kv_cache_scheme",
                     "config_groups", "group_0", "targets", "Linear", "input_activations", "weights",
                     "num_bits", 4, "type", "int", "symmetric", 1, "strategy", "group", "group_size", 32,
                     "actorder", "ignore", "lm_head", "re:.*self_attn.*");
}

static json_t *config_json(const struct miniature *s)
{
    static const char *const architectures[] = {"DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM",
                                                "DeepseekV32ForCausalLM"};
    static const char *const types[] = {"deepseek_v2", "deepseek_v3", "deepseek_v32"};
    const int family = s->index_heads ? 2 : s->v3;
    json_t *config = json_pack("{s:[s], s:s, s:s, s:s, s:b, s:s, s:f, s:f}", "architectures",
                               s->architecture ? s->architecture : architectures[family], "model_type",
                               s->model_type ? s->model_type : types[family], "hidden_act", "silu",
                               "topk_method", s->topk_method, "norm_topk_prob", (int)s->norm_topk,
                               "scoring_func", s->v3 ? "sigmoid" : "softmax", "routed_scaling_factor",
                               s->routed_scale, "rms_norm_eps", s->norm_eps);
    const struct {
        const char *key;
        size_t value;
    } numbers[] = {{"num_hidden_layers", s->n_layers},
                   {"hidden_size", s->hidden},
                   {"vocab_size", s->vocabulary},
                   {"num_attention_heads", s->n_heads},
                   {"num_key_value_heads", s->n_heads},
                   {"q_lora_rank", s->q_rank},
                   {"kv_lora_rank", s->kv_rank},
                   {"qk_nope_head_dim", s->qk_nope},
                   {"qk_rope_head_dim", s->qk_rope},
                   {"v_head_dim", s->v_width},
                   {"intermediate_size", s->dense_width},
                   {"first_k_dense_replace", s->first_dense},
                   {"moe_layer_freq", s->layer_freq},
                   {"n_routed_experts", s->n_experts},
                   {"n_shared_experts", s->n_shared},
                   {"num_experts_per_tok", s->top_k},
                   {"moe_intermediate_size", s->expert_width},
                   {"n_group", s->n_groups},
                   {"topk_group", s->top_groups},
                   {"index_n_heads", s->index_heads},
                   {"index_head_dim", s->index_width},
                   {"index_topk", s->index_top_k},
                   {"index_topk_freq", s->index_every},
                   {"index_skip_topk_offset", s->index_offset},
                   {"num_nextn_predict_layers", s->mtp},
                   {"max_position_embeddings", 4096}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value || strncmp(numbers[i].key, "index_", 6) != 0)
            json_object_set_new(config, numbers[i].key, json_integer((json_int_t)numbers[i].value));
    if (s->q_rank_null)
        json_object_set_new(config, "q_lora_rank", json_null());
    set_rope(config, s);
    if (s->index_interleaved)
        json_object_set_new(config, "indexer_rope_interleave", json_true());
    if (s->experts == MINIATURE_INT4)
        json_object_set_new(config, "quantization_config", int4_config());
    if (s->matrices == MOEQ_F8_E4M3)
        json_object_set_new(config, "quantization_config",
                            json_pack("{s:s, s:s, s:s, s:[i, i]}", "quant_method", "fp8", "fmt", "e4m3",
                                      "activation_scheme", "dynamic", "weight_block_size", BLOCK, BLOCK));
    if (!s->nested)
        return config;
    /* What stands outside is of the part that sees, or nothing. */
    return json_pack("{s:[s], s:s, s:o, s:{s:i}}", "architectures", s->architecture, "model_type",
                     s->model_type, "text_config", config, "vision_config", "hidden_size", 40);
}

/* ---- files ---- */

static enum moeq_status write_json(const char *dir, const char *name, json_t *json, struct moeq_error *err)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int failed = json_dump_file(json, path, JSON_INDENT(2));
    json_decref(json);
    return failed ? moeq_fail(err, MOEQ_IO, "cannot write %s", path) : MOEQ_OK;
}

static void shard_name(const struct miniature *spec, size_t shard, char name[64])
{
    if (spec->n_shards == 1)
        snprintf(name, 64, "model.safetensors");
    else
        snprintf(name, 64, "model-%05zu-of-%06zu.safetensors", shard + 1, spec->n_shards);
}

static enum moeq_status write_shard(const struct miniature_model *model, const char *dir, size_t shard,
                                    struct moeq_error *err)
{
    struct moeq_tensor *tensors = miniature_calloc(model->n_tensors, sizeof *tensors);
    uint64_t(*shapes)[3] = miniature_calloc(model->n_tensors, sizeof *shapes);
    struct moeq_bytes head = {0};
    size_t n = 0;
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct miniature_tensor *t = &model->tensors[i];
        if (t->shard != shard || t->elsewhere)
            continue;
        const uint64_t dims[3] = {t->stack, t->stack ? t->rows / t->stack : t->rows, t->cols};
        memcpy(shapes[n], dims + 3 - t->n_dims, t->n_dims * sizeof *dims);
        tensors[n] = (struct moeq_tensor){t->file_name, t->dtype, t->n_dims, shapes[n], 0, t->n_bytes};
        n++;
    }
    char name[64], path[4096];
    shard_name(model->spec, shard, name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    enum moeq_status status = moeq_safetensors_build(tensors, n, NULL, &head, err);
    FILE *file = status ? NULL : fopen(path, "wb");
    bool written = file && fwrite(head.data, 1, head.n_bytes, file) == head.n_bytes;
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct miniature_tensor *t = &model->tensors[i];
        if (t->shard == shard && !t->elsewhere)
            written = written && fwrite(t->data, 1, t->n_bytes, file) == t->n_bytes;
    }
    written = (!file || fclose(file) == 0) && written;
    moeq_bytes_free(&head);
    free(tensors);
    free(shapes);
    return status || written ? status : moeq_fail(err, MOEQ_IO, "cannot write %s", path);
}

enum moeq_status miniature_write(const struct miniature_model *model, const char *dir, struct moeq_error *err)
{
    const struct miniature *spec = model->spec;
    enum moeq_status status = write_json(dir, "config.json", config_json(spec), err);
    for (size_t shard = 0; !status && shard < spec->n_shards; shard++)
        status = write_shard(model, dir, shard, err);
    if (status || spec->n_shards == 1)
        return status;
    json_t *map = json_object();
    for (size_t i = 0; i < model->n_tensors; i++) {
        char name[64];
        shard_name(spec, model->tensors[i].shard, name);
        if (!model->tensors[i].elsewhere)
            json_object_set_new(map, model->tensors[i].file_name, json_string(name));
    }
    return write_json(dir, "model.safetensors.index.json",
                      json_pack("{s:{}, s:o}", "metadata", "weight_map", map), err);
}

/* ---- packed integers ---- */

static unsigned bit_field(const uint8_t *bytes, size_t index, unsigned n_bits)
{
    unsigned value = 0;
    for (unsigned i = 0; i < n_bits; i++) {
        size_t bit = index * n_bits + i;
        value |= (unsigned)(bytes[bit / 8] >> bit % 8 & 1) << i;
    }
    return value;
}

void miniature_unpack(const struct moeq_matrix *matrix, double *out)
{
    const size_t rows = matrix->rows, cols = matrix->cols, group = matrix->format.group;
    const unsigned bits = matrix->format.level->bits;
    const size_t n_groups = (cols + group - 1) / group, row_bytes = (cols * bits + 7) / 8;
    const uint8_t *scales = matrix->data + (rows * row_bytes + 1) / 2 * 2;
    const uint8_t *zeros = scales + 2 * rows * n_groups;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            const uint8_t *scale = scales + 2 * (r * n_groups + c / group);
            double zero = 1u << (bits - 1);
            if (matrix->format.asymmetric)
                zero = bit_field(zeros + r * ((n_groups * bits + 7) / 8), c / group, bits);
            out[r * cols + c] = (bit_field(matrix->data + r * row_bytes, c, bits) - zero) *
                                bits_to_bf16(scale[0] | (unsigned)scale[1] << 8);
        }
}
