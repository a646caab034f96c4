/* Writes a checkpoint of a real model's geometry with seeded random weights, to measure speed and memory on:
 * true shapes, weights of a realistic size, experts of unequal popularity. The same bytes on every machine.
 *
 *   make_model                                                lists the geometries
 *   make_model [OPTION]... GEOMETRY DIR [LAYERS [EXPERTS]]    shards, one a layer, their index and
 * config.json; a tokenizer is not written
 *   --fp8      matrices of the layers in FP8 with 128 x 128 scales, as DeepSeek-V3 is released; otherwise
 * BF16
 *   --sparse   matrices of the routed experts are holes in the files: zeros that take no room on the disk
 */
#include "anatomy.h"
#include "checkpoint.h"
#include "level.h"
#include "scalar.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* `config` is without num_hidden_layers and n_routed_experts. */
static const struct geometry {
    const char *name, *what;
    uint32_t n_layers, n_experts;
    const char *config;
} geometries[] = {
    {"peer", "a small DeepSeek-V3", 8, 32,
     "\"architectures\": [\"DeepseekV3ForCausalLM\"], \"model_type\": \"deepseek_v3\", "
     "\"hidden_size\": 1024, \"vocab_size\": 8192, \"num_attention_heads\": 16, "
     "\"q_lora_rank\": 512, \"kv_lora_rank\": 512, \"qk_nope_head_dim\": 128, "
     "\"qk_rope_head_dim\": 64, \"v_head_dim\": 128, \"intermediate_size\": 2048, "
     "\"first_k_dense_replace\": 1, \"n_shared_experts\": 1, \"num_experts_per_tok\": 4, "
     "\"moe_intermediate_size\": 512, \"n_group\": 1, \"topk_group\": 1, "
     "\"norm_topk_prob\": true, \"routed_scaling_factor\": 2.5, \"bos_token_id\": 0, "
     "\"max_position_embeddings\": 4096"},
    {"v2-lite", "the layers of DeepSeek-V2-Lite", 27, 64,
     "\"architectures\": [\"DeepseekV2ForCausalLM\"], \"model_type\": \"deepseek_v2\", "
     "\"hidden_size\": 2048, \"vocab_size\": 102400, \"num_attention_heads\": 16, "
     "\"q_lora_rank\": null, \"kv_lora_rank\": 512, \"qk_nope_head_dim\": 128, "
     "\"qk_rope_head_dim\": 64, \"v_head_dim\": 128, \"intermediate_size\": 10944, "
     "\"first_k_dense_replace\": 1, \"n_shared_experts\": 2, \"num_experts_per_tok\": 6, "
     "\"moe_intermediate_size\": 1408, \"n_group\": 1, \"topk_group\": 1, "
     "\"norm_topk_prob\": false, \"routed_scaling_factor\": 1.0, \"bos_token_id\": 0, "
     "\"max_position_embeddings\": 4096, \"scoring_func\": \"softmax\", "
     "\"topk_method\": \"greedy\""},
    {"v3-slice",
     "the layers of DeepSeek-V3, one of them dense, with a small vocabulary; experts: a multiple of 8", 2,
     256,
     "\"architectures\": [\"DeepseekV3ForCausalLM\"], \"model_type\": \"deepseek_v3\", "
     "\"hidden_size\": 7168, \"vocab_size\": 8192, \"num_attention_heads\": 128, "
     "\"q_lora_rank\": 1536, \"kv_lora_rank\": 512, \"qk_nope_head_dim\": 128, "
     "\"qk_rope_head_dim\": 64, \"v_head_dim\": 128, \"intermediate_size\": 18432, "
     "\"first_k_dense_replace\": 1, \"n_shared_experts\": 1, \"num_experts_per_tok\": 8, "
     "\"moe_intermediate_size\": 2048, \"n_group\": 8, \"topk_group\": 4, "
     "\"scoring_func\": \"sigmoid\", \"topk_method\": \"noaux_tc\", \"norm_topk_prob\": true, "
     "\"routed_scaling_factor\": 2.5, \"bos_token_id\": 0, \"max_position_embeddings\": 4096"},
    {"wide", "8 GB of experts of which a token uses little, for memory", 5, 160,
     "\"architectures\": [\"DeepseekV3ForCausalLM\"], \"model_type\": \"deepseek_v3\", "
     "\"hidden_size\": 1024, \"vocab_size\": 8192, \"num_attention_heads\": 8, "
     "\"q_lora_rank\": null, \"kv_lora_rank\": 256, \"qk_nope_head_dim\": 128, "
     "\"qk_rope_head_dim\": 64, \"v_head_dim\": 128, \"intermediate_size\": 2048, "
     "\"first_k_dense_replace\": 1, \"n_shared_experts\": 1, \"num_experts_per_tok\": 2, "
     "\"moe_intermediate_size\": 2048, \"n_group\": 1, \"topk_group\": 1, "
     "\"norm_topk_prob\": true, \"routed_scaling_factor\": 2.5, \"bos_token_id\": 0, "
     "\"max_position_embeddings\": 4096"},
    {"nano", "for a quick look whether a script runs", 3, 8,
     "\"architectures\": [\"DeepseekV3ForCausalLM\"], \"model_type\": \"deepseek_v3\", "
     "\"hidden_size\": 128, \"vocab_size\": 8192, \"num_attention_heads\": 2, "
     "\"q_lora_rank\": 64, \"kv_lora_rank\": 64, \"qk_nope_head_dim\": 32, "
     "\"qk_rope_head_dim\": 16, \"v_head_dim\": 32, \"intermediate_size\": 256, "
     "\"first_k_dense_replace\": 1, \"n_shared_experts\": 1, \"num_experts_per_tok\": 2, "
     "\"moe_intermediate_size\": 96, \"n_group\": 1, \"topk_group\": 1, \"norm_topk_prob\": true, "
     "\"routed_scaling_factor\": 2.5, \"bos_token_id\": 0, \"max_position_embeddings\": 4096"},
};

#define N_GEOMETRIES (sizeof geometries / sizeof *geometries)
#define MAX_TENSORS  4096

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* ---- numbers ---- */

/* Four draws of 16 bits from one of 64: nearly normal, quick, the same everywhere. */
static float normal(uint64_t *state)
{
    const uint64_t z = moeq_mixed(*state += MOEQ_MIX_STEP);
    float sum = -131070;
    for (int i = 0; i < 4; i++)
        sum += (float)(z >> 16 * i & 0xffff);
    return sum * (1 / 37837.2f);
}

/* Size of the numbers of row `row` of a part: outputs near 1 for inputs near 1; routers prefer some experts.
 */
static float row_size(enum moeq_part part, uint64_t cols, uint64_t row)
{
    if (part == MOEQ_PART_EMBED)
        return 1;
    const float size = 1 / sqrtf((float)cols);
    return part == MOEQ_PART_ROUTER ? size * (0.5f + 1.5f / (1 + 0.1f * (float)row)) : size;
}

static float value(enum moeq_part part, float size, uint64_t *seed)
{
    if (moeq_part_role(part) == MOEQ_ROLE_NORM)
        return 1 + 0.1f * normal(seed);
    return (part == MOEQ_PART_ROUTER_BIAS ? 0.05f : size) * normal(seed);
}

static void *allocate(size_t n_bytes)
{
    void *data = calloc(1, n_bytes);
    if (!data)
        fail("memory");
    return data;
}

static void write_bytes(FILE *file, const void *data, size_t n_bytes)
{
    if (fwrite(data, 1, n_bytes, file) != n_bytes)
        fail("write");
}

/* ---- tensors ---- */

enum contents { NUMBERS, CODES, SCALES /* of the codes before */ };

struct item {
    enum contents contents;
    enum moeq_part part;
    uint64_t rows, cols;
    uint64_t shape[2];
    char name[MOEQ_NAME_BYTES + sizeof "_scale_inv"];
};

struct shard {
    bool fp8, sparse;
    struct moeq_tensor tensors[MAX_TENSORS];
    struct item items[MAX_TENSORS];
    size_t n;
    float *scales; /* of the codes that were written last */
};

static void write_numbers(FILE *file, const struct item *i, uint64_t seed)
{
    uint16_t *row = allocate(i->cols * sizeof *row);
    for (uint64_t r = 0; r < i->rows; r++) {
        const float size = row_size(i->part, i->cols, r);
        for (uint64_t c = 0; c < i->cols; c++) {
            const float x = value(i->part, size, &seed);
            if (i->part == MOEQ_PART_ROUTER_BIAS)
                write_bytes(file, &x, sizeof x);
            row[c] = moeq_bf16_encode(x);
        }
        if (i->part != MOEQ_PART_ROUTER_BIAS)
            write_bytes(file, row, i->cols * sizeof *row);
    }
    free(row);
}

static uint64_t n_scales(const struct item *i)
{
    return moeq_div_up(i->rows, MOEQ_FP8_BLOCK) * moeq_div_up(i->cols, MOEQ_FP8_BLOCK);
}

/* A row of blocks at a time, each as a matrix of its own; shard->scales gets their scales. */
static void write_codes(struct shard *s, FILE *file, const struct item *i, uint64_t seed)
{
    const struct moeq_format format = {.level = &moeq_level_fp8};
    const uint64_t of_row = moeq_div_up(i->cols, MOEQ_FP8_BLOCK), codes = MOEQ_FP8_BLOCK * i->cols;
    float *w = allocate(codes * sizeof *w);
    uint8_t *packed = allocate(codes + of_row * sizeof(float));
    s->scales = allocate(n_scales(i) * sizeof *s->scales);
    for (uint64_t r = 0; r < i->rows; r += MOEQ_FP8_BLOCK) {
        const uint64_t n = i->rows - r < MOEQ_FP8_BLOCK ? i->rows - r : MOEQ_FP8_BLOCK;
        const float size = row_size(i->part, i->cols, r);
        for (uint64_t k = 0; k < n * i->cols; k++)
            w[k] = value(i->part, size, &seed);
        if (format.level->encode(&format, n, i->cols, 0, n, w, packed, NULL))
            exit(1);
        write_bytes(file, packed, n * i->cols);
        memcpy(s->scales + r / MOEQ_FP8_BLOCK * of_row, packed + moeq_round_up(n * i->cols, sizeof(float)),
               of_row * sizeof *s->scales);
    }
    free(w);
    free(packed);
}

static void write_scales(struct shard *s, FILE *file, const struct item *i)
{
    for (uint64_t k = 0; k < n_scales(i); k++) {
        const float scale = s->scales ? s->scales[k] : 1;
        write_bytes(file, &scale, sizeof scale);
    }
    free(s->scales);
    s->scales = NULL;
}

static void write_item(struct shard *s, FILE *file, const struct item *i, uint64_t n_bytes)
{
    uint64_t seed = 0xcbf29ce484222325u;
    for (const char *c = i->name; *c; c++)
        seed = (seed ^ (unsigned char)*c) * 0x100000001b3u;
    if (i->contents == SCALES)
        write_scales(s, file, i);
    else if (s->sparse && moeq_part_role(i->part) == MOEQ_ROLE_EXPERTS) {
        if (fseeko(file, (off_t)n_bytes, SEEK_CUR) != 0)
            fail("seek");
    } else if (i->contents == CODES)
        write_codes(s, file, i, seed);
    else
        write_numbers(file, i, seed);
}

/* ---- shards ---- */

static struct item *add_item(struct shard *s, const struct moeq_kind *kind, enum contents contents,
                             enum moeq_dtype dtype, uint64_t rows, uint64_t cols)
{
    if (s->n == MAX_TENSORS)
        exit(1);
    struct item *i = &s->items[s->n];
    const bool vector = kind->rows == 1;
    *i = (struct item){.contents = contents, .part = kind->part, .rows = kind->rows, .cols = kind->cols};
    i->shape[0] = vector ? cols : rows;
    i->shape[1] = cols;
    s->tensors[s->n++] = (struct moeq_tensor){i->name,  dtype, vector ? 1 : 2,
                                              i->shape, 0,     rows * cols * moeq_dtype_bits(dtype) / 8};
    return i;
}

/* What DeepSeek's releases have in FP8. */
static bool is_fp8(const struct shard *s, const struct moeq_kind *kind)
{
    const enum moeq_role role = moeq_part_role(kind->part);
    return s->fp8 && kind->rows > 1 &&
           (role == MOEQ_ROLE_EXPERTS || role == MOEQ_ROLE_SHARED || role == MOEQ_ROLE_DENSE ||
            role == MOEQ_ROLE_ATTENTION);
}

static void add(struct shard *s, const struct moeq_kind *kind, int layer, int expert)
{
    const bool fp8 = is_fp8(s, kind);
    const enum moeq_dtype dtype = kind->part == MOEQ_PART_ROUTER_BIAS ? MOEQ_F32
                                  : fp8                               ? MOEQ_F8_E4M3
                                                                      : MOEQ_BF16;
    char name[MOEQ_NAME_BYTES];
    moeq_name_format(kind->part, layer, expert, name, sizeof name);
    struct item *i = add_item(s, kind, fp8 ? CODES : NUMBERS, dtype, kind->rows, kind->cols);
    snprintf(i->name, sizeof i->name, "%s", name);
    if (!fp8)
        return;
    i = add_item(s, kind, SCALES, MOEQ_F32, moeq_div_up(kind->rows, MOEQ_FP8_BLOCK),
                 moeq_div_up(kind->cols, MOEQ_FP8_BLOCK));
    snprintf(i->name, sizeof i->name, "%s_scale_inv", name);
}

static void write_shard(struct shard *s, const char *dir, const char *name, json_t *map)
{
    struct moeq_bytes head = {0};
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (moeq_safetensors_build(s->tensors, s->n, NULL, &head, NULL))
        exit(1);
    FILE *file = fopen(path, "wb");
    if (!file)
        fail(path);
    write_bytes(file, head.data, head.n_bytes);
    for (size_t i = 0; i < s->n; i++) {
        write_item(s, file, &s->items[i], s->tensors[i].n_bytes);
        json_object_set_new(map, s->items[i].name, json_string(name));
    }
    /* a hole at the end */
    if (fflush(file) != 0 || ftruncate(fileno(file), ftello(file)) != 0 || fclose(file) != 0)
        fail(path);
    moeq_bytes_free(&head);
    s->n = 0;
}

static void write_model(const struct moeq_config *c, const char *dir, bool fp8, bool sparse)
{
    struct shard *s = allocate(sizeof *s);
    struct moeq_kind kinds[MOEQ_MAX_KINDS];
    char name[64], path[4096];
    json_t *map = json_object();
    s->fp8 = fp8;
    s->sparse = sparse;
    size_t n = moeq_anatomy_outside(c, kinds);
    for (size_t i = 0; i < n; i++)
        add(s, &kinds[i], -1, -1);
    write_shard(s, dir, "model-outside.safetensors", map);
    for (uint32_t layer = 0; layer < c->n_layers; layer++) {
        n = moeq_anatomy_layer(c, layer, kinds);
        for (size_t i = 0; i < n; i++)
            for (uint32_t e = 0; e < (kinds[i].each_expert ? c->n_experts : 1); e++)
                add(s, &kinds[i], (int)layer, kinds[i].each_expert ? (int)e : -1);
        snprintf(name, sizeof name, "model-%05u.safetensors", layer);
        write_shard(s, dir, name, map);
    }
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    json_t *index = json_pack("{s:{}, s:o}", "metadata", "weight_map", map);
    if (!index || json_dump_file(index, path, JSON_INDENT(1)))
        fail(path);
    json_decref(index);
    free(s);
}

/* ---- the command ---- */

/* config.json into `dir`, which is made. */
static void write_config(struct moeq_config *config, const struct geometry *g, const char *dir,
                         uint32_t n_layers, uint32_t n_experts, bool fp8)
{
    static const char quantization[] = ", \"quantization_config\": {\"activation_scheme\": \"dynamic\", "
                                       "\"fmt\": \"e4m3\", \"quant_method\": "
                                       "\"fp8\", \"weight_block_size\": [128, 128]}";
    char text[4096], path[4096], line[1024];
    struct moeq_error error = {0};
    const int n = snprintf(text, sizeof text, "{\"num_hidden_layers\": %u, \"n_routed_experts\": %u, %s%s}\n",
                           n_layers, n_experts, g->config, fp8 ? quantization : "");
    if (moeq_config_parse(config, text, (size_t)n, &error)) {
        fprintf(stderr, "make_model: %s\n", moeq_error_format(&error, line, sizeof line));
        exit(2);
    }
    snprintf(path, sizeof path, "%s/config.json", dir);
    FILE *file = mkdir(dir, 0777) == 0 ? fopen(path, "wb") : NULL;
    if (!file)
        fail(path);
    write_bytes(file, text, (size_t)n);
    if (fclose(file) != 0)
        fail(path);
}

static const struct geometry *find_geometry(const char *name)
{
    for (size_t i = 0; i < N_GEOMETRIES; i++)
        if (strcmp(name, geometries[i].name) == 0)
            return &geometries[i];
    fprintf(stderr, "make_model: no geometry %s\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    const char *words[4] = {0};
    int n = 0;
    bool fp8 = false, sparse = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--fp8") == 0)
            fp8 = true;
        else if (strcmp(argv[i], "--sparse") == 0)
            sparse = true;
        else if (argv[i][0] == '-' || n == 4)
            return 2;
        else
            words[n++] = argv[i];
    }
    if (n < 2) {
        for (size_t i = 0; i < N_GEOMETRIES; i++)
            printf("%-10s %2u layers, %3u experts: %s\n", geometries[i].name, geometries[i].n_layers,
                   geometries[i].n_experts, geometries[i].what);
        return 0;
    }
    const struct geometry *g = find_geometry(words[0]);
    struct moeq_config config;
    write_config(&config, g, words[1], words[2] ? (uint32_t)atoi(words[2]) : g->n_layers,
                 words[3] ? (uint32_t)atoi(words[3]) : g->n_experts, fp8);
    write_model(&config, words[1], fp8, sparse);
    return 0;
}
