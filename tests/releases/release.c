#include "release.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_NAME   256
#define ALIGN      8
#define SCALE_AWAY 7 /* every so many-th scale lies in the next shard */

/* The same in all releases; a head is 128 wide where a release does not say otherwise. */
enum { KV_RANK = 512, QK_ROPE = 64, INDEX_WIDTH = 128, HEAD_WIDTH = 128 };

static uint32_t nope_of(const struct release *r)
{
    return r->nope ? r->nope : HEAD_WIDTH;
}

static uint32_t value_of(const struct release *r)
{
    return r->value ? r->value : HEAD_WIDTH;
}

/* A text that grows. */
struct text {
    char *data;
    size_t n, capacity;
};

static void add(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *format, ...)
{
    char piece[2048];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(piece, sizeof piece, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof piece)
        abort();
    if (t->n + (size_t)n >= t->capacity) {
        t->capacity = 2 * t->capacity + sizeof piece;
        t->data = realloc(t->data, t->capacity);
        if (!t->data)
            abort();
    }
    memcpy(t->data + t->n, piece, (size_t)n + 1);
    t->n += (size_t)n;
}

struct shard {
    struct text header;
    uint64_t n_data;
};

struct writing {
    const struct release *release;
    uint64_t dims[N_DIMS];
    struct shard *shards; /* NULL: only counted */
    struct text index;
    uint64_t n_bytes, total_bytes;
    uint64_t n_scales;
};

static void shard_name(const struct release *r, uint32_t shard, char name[MAX_NAME])
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(name, MAX_NAME, r->shard, shard + 1, r->shards);
#pragma GCC diagnostic pop
}

/* One tensor: cols 0 is a vector. */
static void put(struct writing *w, const char *name, const char *dtype, unsigned size, uint64_t rows,
                uint64_t cols, uint32_t shards_away)
{
    const struct release *r = w->release;
    const uint64_t n = rows * (cols ? cols : 1) * size;
    if (w->shards) {
        char file[MAX_NAME];
        uint32_t number = (uint32_t)((double)w->n_bytes / (double)w->total_bytes * r->shards);
        number = (number + shards_away) % r->shards;
        struct shard *shard = &w->shards[number];
        shard_name(r, number, file);
        add(&shard->header, "%c\"%s\":{\"dtype\":\"%s\",\"shape\":[%llu", shard->n_data ? ',' : '{', name,
            dtype, (unsigned long long)rows);
        if (cols)
            add(&shard->header, ",%llu", (unsigned long long)cols);
        add(&shard->header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)shard->n_data,
            (unsigned long long)(shard->n_data + n));
        shard->n_data += n;
        add(&w->index, "%s\n    \"%s\": \"%s\"", w->n_bytes ? "," : "", name, file);
    }
    w->n_bytes += n;
}

static uint64_t blocks(uint64_t n, uint64_t block)
{
    return (n + block - 1) / block;
}

static void put_row(struct writing *w, const struct tensor_row *row, const char *name)
{
    const uint64_t rows = w->dims[row->rows], cols = w->dims[row->cols];
    char other[MAX_NAME + 16];
    switch (w->release->stored[row->kind]) {
    case BF16:
        put(w, name, "BF16", 2, rows, cols, 0);
        break;
    case F32:
        put(w, name, "F32", 4, rows, cols, 0);
        break;
    case FP8:
        put(w, name, "F8_E4M3", 1, rows, cols, 0);
        snprintf(other, sizeof other, "%s_scale_inv", name);
        put(w, other, "F32", 4, blocks(rows, 128), blocks(cols, 128), w->n_scales++ % SCALE_AWAY == 0);
        break;
    case PACKED_4:
        snprintf(other, sizeof other, "%s_packed", name);
        put(w, other, "I32", 4, rows, cols / 8, 0);
        snprintf(other, sizeof other, "%s_scale", name);
        put(w, other, "BF16", 2, rows, cols / 32, w->n_scales++ % SCALE_AWAY == 0);
        snprintf(other, sizeof other, "%s_shape", name);
        put(w, other, "I32", 4, 2, 0, 0);
        break;
    }
}

static bool is_present(const struct writing *w, const struct tensor_row *row)
{
    return (!row->needs || w->dims[row->needs]) && (!row->lacks || !w->dims[row->lacks]);
}

static void put_scope(struct writing *w, enum scope scope, const char *prefix)
{
    char name[MAX_NAME];
    const char *before = w->release->prefix ? w->release->prefix : "";
    for (const struct tensor_row *row = w->release->tensors; row->name; row++)
        if (row->scope == scope && is_present(w, row)) {
            snprintf(name, sizeof name, "%s%s%s", before, prefix, row->name);
            put_row(w, row, name);
        }
}

static void put_layer(struct writing *w, uint32_t layer)
{
    const struct release *r = w->release;
    char prefix[64];
    snprintf(prefix, sizeof prefix, "model.layers.%u.", layer);
    put_scope(w, IN_LAYER, prefix);
    if (layer < r->first_dense) {
        put_scope(w, IN_DENSE, prefix);
    } else {
        put_scope(w, IN_MOE, prefix);
        for (uint32_t e = 0; e < r->experts; e++) {
            snprintf(prefix, sizeof prefix, "model.layers.%u.mlp.experts.%u.", layer, e);
            put_scope(w, IN_EXPERT, prefix);
        }
    }
    snprintf(prefix, sizeof prefix, "model.layers.%u.", layer);
    if (layer >= r->layers)
        put_scope(w, IN_MTP, prefix);
}

static void put_all(struct writing *w)
{
    w->n_bytes = w->n_scales = 0;
    put_scope(w, IN_MODEL, "");
    for (uint32_t layer = 0; layer < w->release->layers + w->release->mtp_layers; layer++)
        put_layer(w, layer);
}

static void set_dims(struct writing *w)
{
    const struct release *r = w->release;
    const uint64_t dims[N_DIMS] = {
        [D_HIDDEN] = r->hidden,
        [D_TWICE_HIDDEN] = 2u * r->hidden,
        [D_VOCABULARY] = r->vocabulary,
        [D_DENSE] = r->dense_width,
        [D_EXPERT] = r->expert_width,
        [D_SHARED] = r->shared * r->expert_width,
        [D_EXPERTS] = r->experts,
        [D_Q_RANK] = r->q_rank,
        [D_Q_ROWS] = r->heads * (nope_of(r) + QK_ROPE),
        [D_KV_RANK] = KV_RANK,
        [D_KV_A_ROWS] = KV_RANK + QK_ROPE,
        [D_KV_B_ROWS] = r->heads * (nope_of(r) + value_of(r)),
        [D_VALUES] = r->heads * value_of(r),
        [D_INDEX_ROWS] = r->index_heads * INDEX_WIDTH,
        [D_INDEX_HEADS] = r->index_heads,
        [D_INDEX_WIDTH] = INDEX_WIDTH,
        [D_STRAY] = r->stray,
        [D_BIAS] = r->router_bias,
        [D_COPIES] = !r->mtp_shares,
    };
    memcpy(w->dims, dims, sizeof dims);
}

/* ---- files ---- */

static bool write_file(const char *dir, const char *name, const void *data, size_t n, uint64_t n_total)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    bool good = fd >= 0 && write(fd, data, n) == (ssize_t)n && ftruncate(fd, (off_t)n_total) == 0;
    if (!good)
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return good;
}

static bool write_shard(const struct writing *w, const char *dir, uint32_t number)
{
    struct text *header = &w->shards[number].header;
    struct text file = {0};
    char name[MAX_NAME];
    add(header, "}");
    while (header->n % ALIGN)
        add(header, " ");
    for (size_t i = 0; i < 8; i++)
        add(&file, "%c", 'x'); /* room for the length */
    for (size_t i = 0; i < header->n; i += 1024)
        add(&file, "%.1024s", header->data + i);
    for (size_t i = 0; i < 8; i++)
        file.data[i] = (char)(header->n >> (8 * i));
    shard_name(w->release, number, name);
    bool good = write_file(dir, name, file.data, file.n, file.n + w->shards[number].n_data);
    free(file.data);
    return good;
}

static bool write_config(const struct release *r, const char *dir)
{
    struct text t = {0};
    add(&t, "{\"architectures\":[\"%s\"],\"model_type\":\"%s\",%s\"hidden_act\":\"silu\",", r->architecture,
        r->model_type, r->nested ? "\"text_config\":{\"model_type\":\"kimi_k2\"," : "");
    add(&t, "\"num_hidden_layers\":%u,\"num_nextn_predict_layers\":%u,\"hidden_size\":%u,", r->layers,
        r->mtp_layers, r->hidden);
    add(&t, "\"num_attention_heads\":%u,\"num_key_value_heads\":%u,", r->heads, r->heads);
    add(&t, r->q_rank ? "\"q_lora_rank\":%u," : "\"q_lora_rank\":null,", r->q_rank);
    add(&t, "\"kv_lora_rank\":%d,\"qk_nope_head_dim\":%u,\"qk_rope_head_dim\":%d,\"v_head_dim\":%u,", KV_RANK,
        nope_of(r), QK_ROPE, value_of(r));
    add(&t, "\"n_routed_experts\":%u,\"n_shared_experts\":%u,\"num_experts_per_tok\":%u,", r->experts,
        r->shared, r->top_k);
    add(&t, "\"moe_intermediate_size\":%u,\"intermediate_size\":%u,\"first_k_dense_replace\":%u,",
        r->expert_width, r->dense_width, r->first_dense);
    add(&t, "\"moe_layer_freq\":1,\"n_group\":%u,\"topk_group\":%u,\"vocab_size\":%u,", r->groups,
        r->top_groups, r->vocabulary);
    add(&t, "\"attention_bias\":false,\"tie_word_embeddings\":false,\"torch_dtype\":\"bfloat16\",%s}%s\n",
        r->rules, r->nested ? "}" : "");
    bool good = write_file(dir, "config.json", t.data, t.n, t.n);
    free(t.data);
    return good;
}

bool release_write(const struct release *release, const char *dir)
{
    struct writing w = {.release = release};
    set_dims(&w);
    put_all(&w);
    w.total_bytes = w.n_bytes;
    w.shards = calloc(release->shards, sizeof *w.shards);
    if (!w.shards)
        abort();
    add(&w.index, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n  \"weight_map\": {",
        (unsigned long long)w.total_bytes);
    put_all(&w);
    add(&w.index, "\n  }\n}\n");
    bool good = write_config(release, dir) &&
                write_file(dir, "model.safetensors.index.json", w.index.data, w.index.n, w.index.n);
    for (uint32_t i = 0; i < release->shards; i++) {
        good = good && write_shard(&w, dir, i);
        free(w.shards[i].header.data);
    }
    free(w.shards);
    free(w.index.data);
    return good;
}
