/* Writes a checkpoint of a real model's geometry with seeded random weights, to measure speed on: true
 * shapes, weights of a realistic size, experts of unequal popularity. The same bytes on every machine.
 *
 *   make_model                          lists the geometries
 *   make_model GEOMETRY DIR [LAYERS]    BF16 shards, one a layer, and config.json; a tokenizer is not written
 */
#include "anatomy.h"
#include "checkpoint.h"
#include "scalar.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const struct geometry {
    const char *name;
    uint32_t n_layers;
    const char *config; /* without num_hidden_layers */
} geometries[] = {
    {"peer", 8,
     "\"architectures\": [\"DeepseekV3ForCausalLM\"], \"model_type\": \"deepseek_v3\", \"hidden_size\": "
     "1024, "
     "\"vocab_size\": 8192, \"num_attention_heads\": 16, \"q_lora_rank\": 512, \"kv_lora_rank\": 512, "
     "\"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64, \"v_head_dim\": 128, \"intermediate_size\": 2048, "
     "\"first_k_dense_replace\": 1, \"n_routed_experts\": 32, \"n_shared_experts\": 1, "
     "\"num_experts_per_tok\": 4, "
     "\"moe_intermediate_size\": 512, \"n_group\": 1, \"topk_group\": 1, \"norm_topk_prob\": true, "
     "\"routed_scaling_factor\": 2.5, \"bos_token_id\": 0, \"max_position_embeddings\": 4096"},
    {"v2-lite", 27,
     "\"architectures\": [\"DeepseekV2ForCausalLM\"], \"model_type\": \"deepseek_v2\", \"hidden_size\": "
     "2048, "
     "\"vocab_size\": 102400, \"num_attention_heads\": 16, \"q_lora_rank\": null, \"kv_lora_rank\": 512, "
     "\"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64, \"v_head_dim\": 128, \"intermediate_size\": "
     "10944, "
     "\"first_k_dense_replace\": 1, \"n_routed_experts\": 64, \"n_shared_experts\": 2, "
     "\"num_experts_per_tok\": 6, "
     "\"moe_intermediate_size\": 1408, \"n_group\": 1, \"topk_group\": 1, \"norm_topk_prob\": false, "
     "\"routed_scaling_factor\": 1.0, \"bos_token_id\": 0, \"max_position_embeddings\": 4096, "
     "\"scoring_func\": \"softmax\", \"topk_method\": \"greedy\""},
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
    uint64_t z = *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
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

static void write_values(FILE *file, enum moeq_part part, uint64_t rows, uint64_t cols, uint64_t seed)
{
    const bool is_float = part == MOEQ_PART_ROUTER_BIAS, is_norm = moeq_part_role(part) == MOEQ_ROLE_NORM;
    uint16_t *row = malloc(cols * sizeof *row);
    if (!row)
        fail("memory");
    for (uint64_t r = 0; r < rows; r++) {
        const float size = row_size(part, cols, r);
        for (uint64_t c = 0; c < cols; c++) {
            const float x = is_norm    ? 1 + 0.1f * normal(&seed)
                            : is_float ? 0.05f * normal(&seed)
                                       : size * normal(&seed);
            if (is_float && fwrite(&x, sizeof x, 1, file) != 1)
                fail("write");
            row[c] = moeq_bf16_encode(x);
        }
        if (!is_float && fwrite(row, sizeof *row, cols, file) != cols)
            fail("write");
    }
    free(row);
}

/* ---- shards ---- */

struct shard {
    struct moeq_tensor tensors[MAX_TENSORS];
    uint64_t shapes[MAX_TENSORS][2];
    char names[MAX_TENSORS][MOEQ_NAME_BYTES];
    enum moeq_part parts[MAX_TENSORS];
    size_t n;
};

static void add(struct shard *s, const struct moeq_kind *kind, int layer, int expert)
{
    if (s->n == MAX_TENSORS)
        exit(1);
    const enum moeq_dtype dtype = kind->part == MOEQ_PART_ROUTER_BIAS ? MOEQ_F32 : MOEQ_BF16;
    const bool vector = kind->rows == 1;
    uint64_t *shape = s->shapes[s->n];
    shape[0] = vector ? kind->cols : kind->rows;
    shape[1] = kind->cols;
    s->parts[s->n] = kind->part;
    s->tensors[s->n] =
        (struct moeq_tensor){moeq_name_format(kind->part, layer, expert, s->names[s->n], MOEQ_NAME_BYTES),
                             dtype,
                             vector ? 1 : 2,
                             shape,
                             0,
                             kind->rows * kind->cols * moeq_dtype_bits(dtype) / 8};
    s->n++;
}

static void write_shard(struct shard *s, const char *dir, const char *name, json_t *map)
{
    struct moeq_bytes head = {0};
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (moeq_safetensors_build(s->tensors, s->n, NULL, &head, NULL))
        exit(1);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(head.data, 1, head.n_bytes, file) != head.n_bytes)
        fail(path);
    for (size_t i = 0; i < s->n; i++) {
        const uint64_t rows = s->tensors[i].n_dims == 1 ? 1 : s->shapes[i][0],
                       cols = s->shapes[i][s->tensors[i].n_dims - 1];
        uint64_t seed = 0xcbf29ce484222325u;
        for (const char *c = s->names[i]; *c; c++)
            seed = (seed ^ (unsigned char)*c) * 0x100000001b3u;
        write_values(file, s->parts[i], rows, cols, seed);
        json_object_set_new(map, s->names[i], json_string(name));
    }
    if (fclose(file) != 0)
        fail(path);
    moeq_bytes_free(&head);
    s->n = 0;
}

static void write_model(const struct moeq_config *c, const char *dir)
{
    struct shard *s = calloc(1, sizeof *s);
    struct moeq_kind kinds[MOEQ_MAX_KINDS];
    char name[64], path[4096];
    json_t *map = json_object();
    if (!s || !map)
        fail("memory");
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

int main(int argc, char **argv)
{
    if (argc < 3) {
        for (size_t i = 0; i < N_GEOMETRIES; i++)
            puts(geometries[i].name);
        return 0;
    }
    for (size_t i = 0; i < N_GEOMETRIES; i++) {
        char text[4096], path[4096];
        struct moeq_config config;
        if (strcmp(argv[1], geometries[i].name) != 0)
            continue;
        const unsigned n_layers = argc > 3 ? (unsigned)atoi(argv[3]) : geometries[i].n_layers;
        const int n =
            snprintf(text, sizeof text, "{\"num_hidden_layers\": %u, %s}\n", n_layers, geometries[i].config);
        if (moeq_config_parse(&config, text, (size_t)n, NULL))
            return 1;
        snprintf(path, sizeof path, "%s/config.json", argv[2]);
        FILE *file = mkdir(argv[2], 0777) == 0 ? fopen(path, "wb") : NULL;
        if (!file || fwrite(text, 1, (size_t)n, file) != (size_t)n || fclose(file) != 0)
            fail(path);
        write_model(&config, argv[2]);
        return 0;
    }
    fprintf(stderr, "no geometry %s\n", argv[1]);
    return 2;
}
