/* A DeepSeek-V4 in small: the names, dtypes and shapes of its files, of four layers (one whose experts a
 * table gives by token, and the three kinds of compression) and one MTP layer. Written out from the headers
 * of the release, not from the product's table, which it tests. Nothing computes with it, so its bytes are a
 * pattern. */
#include "miniature.h"

#include <stdarg.h>
#include <stdio.h>

enum { HIDDEN = 256, HEADS = 4, WIDTH = 64, Q_RANK = 128, GROUPS = 2, O_RANK = 32, EXPERTS = 4, TOP_K = 2 };
enum { EXPERT_WIDTH = 128, VOCABULARY = 96, STREAMS = 4, MIXES = 24, INDEX_HEADS = 2, INDEX_WIDTH = 32 };
enum { N_LAYERS = 4, N_HASHED = 1, MAX_V4_TENSORS = 512 };

static const int ratios[N_LAYERS + 1] = {0, 4, 128, 4, 0};

struct v4 {
    struct moeq_tensor tensors[MAX_V4_TENSORS];
    uint64_t shapes[MAX_V4_TENSORS][2];
    char names[MAX_V4_TENSORS][96];
    size_t n;
};

/* rows 0: a vector. */
static void add(struct v4 *v, enum moeq_dtype dtype, uint64_t rows, uint64_t cols, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

static void add(struct v4 *v, enum moeq_dtype dtype, uint64_t rows, uint64_t cols, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(v->names[v->n], sizeof v->names[v->n], format, arguments);
    va_end(arguments);
    v->shapes[v->n][0] = rows ? rows : cols;
    v->shapes[v->n][1] = cols;
    v->tensors[v->n] = (struct moeq_tensor){.name = v->names[v->n],
                                            .dtype = dtype,
                                            .n_dims = rows ? 2 : 1,
                                            .shape = v->shapes[v->n],
                                            .n_bytes = (rows ? rows : 1) * cols * moeq_dtype_bits(dtype) / 8};
    v->n++;
}

static void add_fp8(struct v4 *v, uint64_t rows, uint64_t cols, const char *prefix, const char *name)
{
    add(v, MOEQ_F8_E4M3, rows, cols, "%s%s.weight", prefix, name);
    add(v, MOEQ_F8_E8M0, (rows + 127) / 128, (cols + 127) / 128, "%s%s.scale", prefix, name);
}

static void add_fp4(struct v4 *v, uint64_t rows, uint64_t cols, const char *prefix, int expert,
                    const char *name)
{
    add(v, MOEQ_I8, rows, cols / 2, "%sffn.experts.%d.%s.weight", prefix, expert, name);
    add(v, MOEQ_F8_E8M0, rows, cols / 32, "%sffn.experts.%d.%s.scale", prefix, expert, name);
}

static void add_streams(struct v4 *v, const char *prefix, const char *name, uint64_t rows, uint64_t scales)
{
    add(v, MOEQ_F32, rows, STREAMS * HIDDEN, "%shc_%s_fn", prefix, name);
    add(v, MOEQ_F32, 0, rows, "%shc_%s_base", prefix, name);
    add(v, MOEQ_F32, 0, scales, "%shc_%s_scale", prefix, name);
}

static void add_compressor(struct v4 *v, const char *prefix, const char *at, uint64_t ratio, uint64_t width)
{
    const uint64_t all = ratio == 4 ? 2 * width : width;
    add(v, MOEQ_BF16, all, HIDDEN, "%s%scompressor.wkv.weight", prefix, at);
    add(v, MOEQ_BF16, all, HIDDEN, "%s%scompressor.wgate.weight", prefix, at);
    add(v, MOEQ_F32, ratio, all, "%s%scompressor.ape", prefix, at);
    add(v, MOEQ_BF16, 0, width, "%s%scompressor.norm.weight", prefix, at);
}

static void add_attention(struct v4 *v, const char *prefix, int ratio)
{
    add_fp8(v, Q_RANK, HIDDEN, prefix, "attn.wq_a");
    add(v, MOEQ_BF16, 0, Q_RANK, "%sattn.q_norm.weight", prefix);
    add_fp8(v, HEADS * WIDTH, Q_RANK, prefix, "attn.wq_b");
    add_fp8(v, WIDTH, HIDDEN, prefix, "attn.wkv");
    add(v, MOEQ_BF16, 0, WIDTH, "%sattn.kv_norm.weight", prefix);
    add(v, MOEQ_F32, 0, HEADS, "%sattn.attn_sink", prefix);
    add_fp8(v, GROUPS * O_RANK, HEADS * WIDTH / GROUPS, prefix, "attn.wo_a");
    add_fp8(v, HIDDEN, GROUPS * O_RANK, prefix, "attn.wo_b");
    if (ratio)
        add_compressor(v, prefix, "attn.", (uint64_t)ratio, WIDTH);
    if (ratio == 4) {
        add_fp8(v, INDEX_HEADS * INDEX_WIDTH, Q_RANK, prefix, "attn.indexer.wq_b");
        add(v, MOEQ_BF16, INDEX_HEADS, HIDDEN, "%sattn.indexer.weights_proj.weight", prefix);
        add_compressor(v, prefix, "attn.indexer.", 4, INDEX_WIDTH);
    }
}

static void add_layer(struct v4 *v, const char *prefix, int ratio, bool hashed)
{
    add(v, MOEQ_BF16, 0, HIDDEN, "%sattn_norm.weight", prefix);
    add(v, MOEQ_BF16, 0, HIDDEN, "%sffn_norm.weight", prefix);
    add_streams(v, prefix, "attn", MIXES, 3);
    add_streams(v, prefix, "ffn", MIXES, 3);
    add_attention(v, prefix, ratio);
    add(v, MOEQ_BF16, EXPERTS, HIDDEN, "%sffn.gate.weight", prefix);
    if (hashed)
        add(v, MOEQ_I64, VOCABULARY, TOP_K, "%sffn.gate.tid2eid", prefix);
    else
        add(v, MOEQ_F32, 0, EXPERTS, "%sffn.gate.bias", prefix);
    add_fp8(v, EXPERT_WIDTH, HIDDEN, prefix, "ffn.shared_experts.w1");
    add_fp8(v, HIDDEN, EXPERT_WIDTH, prefix, "ffn.shared_experts.w2");
    add_fp8(v, EXPERT_WIDTH, HIDDEN, prefix, "ffn.shared_experts.w3");
    for (int e = 0; e < EXPERTS; e++) {
        add_fp4(v, EXPERT_WIDTH, HIDDEN, prefix, e, "w1");
        add_fp4(v, HIDDEN, EXPERT_WIDTH, prefix, e, "w2");
        add_fp4(v, EXPERT_WIDTH, HIDDEN, prefix, e, "w3");
    }
}

static void add_all(struct v4 *v)
{
    char prefix[32];
    add(v, MOEQ_BF16, VOCABULARY, HIDDEN, "embed.weight");
    add(v, MOEQ_BF16, VOCABULARY, HIDDEN, "head.weight");
    add(v, MOEQ_BF16, 0, HIDDEN, "norm.weight");
    add_streams(v, "", "head", STREAMS, 1);
    for (int layer = 0; layer < N_LAYERS; layer++) {
        snprintf(prefix, sizeof prefix, "layers.%d.", layer);
        add_layer(v, prefix, ratios[layer], layer < N_HASHED);
    }
    add_layer(v, "mtp.0.", 0, false);
    add_fp8(v, HIDDEN, HIDDEN, "mtp.0.", "e_proj");
    add_fp8(v, HIDDEN, HIDDEN, "mtp.0.", "h_proj");
    add(v, MOEQ_BF16, 0, HIDDEN, "mtp.0.enorm.weight");
    add(v, MOEQ_BF16, 0, HIDDEN, "mtp.0.hnorm.weight");
    add(v, MOEQ_BF16, 0, HIDDEN, "mtp.0.norm.weight");
    add_streams(v, "mtp.0.", "head", STREAMS, 1);
}

static bool write_file(const char *dir, const char *name, const void *head, size_t n_head, uint64_t n_pattern)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    bool written = file && fwrite(head, 1, n_head, file) == n_head;
    for (uint64_t i = 0; written && i < n_pattern; i++)
        written = putc((int)(i * 37 % 251), file) != EOF;
    return (!file || fclose(file) == 0) && written;
}

enum moeq_status miniature_write_v4(const char *dir, struct moeq_error *err)
{
    char config[2048];
    const int n = snprintf(
        config, sizeof config,
        "{\"architectures\": [\"DeepseekV4ForCausalLM\"], \"model_type\": \"deepseek_v4\",\n"
        " \"num_hidden_layers\": %d, \"num_nextn_predict_layers\": 1, \"hidden_size\": %d, \"vocab_size\": "
        "%d,\n"
        " \"num_attention_heads\": %d, \"num_key_value_heads\": 1, \"head_dim\": %d, \"qk_rope_head_dim\": "
        "16,\n"
        " \"q_lora_rank\": %d, \"o_groups\": %d, \"o_lora_rank\": %d, \"n_routed_experts\": %d,\n"
        " \"n_shared_experts\": 1, \"num_experts_per_tok\": %d, \"moe_intermediate_size\": %d,\n"
        " \"num_hash_layers\": %d, \"hc_mult\": %d, \"index_n_heads\": %d, \"index_head_dim\": %d,\n"
        " \"index_topk\": 16, \"compress_ratios\": [%d, %d, %d, %d, %d], \"rope_theta\": 10000,\n"
        " \"scoring_func\": \"sqrtsoftplus\", \"topk_method\": \"noaux_tc\", \"routed_scaling_factor\": "
        "1.5,\n"
        " \"quantization_config\": {\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128]}}\n",
        N_LAYERS, HIDDEN, VOCABULARY, HEADS, WIDTH, Q_RANK, GROUPS, O_RANK, EXPERTS, TOP_K, EXPERT_WIDTH,
        N_HASHED, STREAMS, INDEX_HEADS, INDEX_WIDTH, ratios[0], ratios[1], ratios[2], ratios[3], ratios[4]);
    struct v4 *v = miniature_calloc(1, sizeof *v);
    struct moeq_bytes head = {0};
    uint64_t n_data = 0;
    add_all(v);
    for (size_t i = 0; i < v->n; i++)
        n_data += v->tensors[i].n_bytes;
    enum moeq_status status = moeq_safetensors_build(v->tensors, v->n, NULL, &head, err);
    if (!status && (!write_file(dir, "config.json", config, (size_t)n, 0) ||
                    !write_file(dir, "model.safetensors", head.data, head.n_bytes, n_data)))
        status = moeq_fail(err, MOEQ_IO, "cannot write to %s", dir);
    moeq_bytes_free(&head);
    free(v);
    return status;
}
