#include "statistics.h"

#include "hash.h"
#include "interrupt.h"
#include "package.h"

#include <stdlib.h>

#define READ_BYTES (1u << 20)

static const struct {
    enum moeq_part part;
    const char *name; /* %d: the expert */
} names[] = {
    {MOEQ_PART_Q, "q"},
    {MOEQ_PART_Q_A, "q"},
    {MOEQ_PART_Q_B, "q_b"},
    {MOEQ_PART_KV_B, "kv_b"},
    {MOEQ_PART_O, "o"},
    {MOEQ_PART_DENSE_GATE, "dense_gate"},
    {MOEQ_PART_DENSE_DOWN, "dense_down"},
    {MOEQ_PART_ROUTER, "all"},
    {MOEQ_PART_SHARED_DOWN, "shared_down"},
    {MOEQ_PART_EXPERT_GATE, "experts.%d.gate"},
    {MOEQ_PART_EXPERT_DOWN, "experts.%d.down"},
};

const char *moeq_statistics_name(enum moeq_part part, int expert, char name[MOEQ_MAX_STATISTICS_NAME])
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].part == part) {
            const char *percent = strstr(names[i].name, "%d");
            if (percent)
                snprintf(name, MOEQ_MAX_STATISTICS_NAME, "%.*s%d%s", (int)(percent - names[i].name),
                         names[i].name, expert, percent + 2);
            else
                snprintf(name, MOEQ_MAX_STATISTICS_NAME, "%s", names[i].name);
            return name;
        }
    return NULL;
}

enum moeq_status moeq_statistics_hash_file(const char *path, struct moeq_hash *hash, struct moeq_error *err)
{
    struct moeq_file file;
    enum moeq_status status = moeq_file_open(&file, path, err);
    if (status)
        return status;
    struct moeq_hasher *hasher = moeq_hasher_create(err);
    uint8_t *buffer = malloc(READ_BYTES);
    status = hasher && buffer ? MOEQ_OK : moeq_fail_alloc(err, READ_BYTES);
    for (uint64_t at = 0; !status && at < file.n_bytes;) {
        const uint64_t left = file.n_bytes - at;
        const size_t n = left < READ_BYTES ? (size_t)left : READ_BYTES;
        status = moeq_interrupt_check(err);
        if (!status && !(status = moeq_file_read(&file, at, buffer, n, err)))
            moeq_hasher_update(hasher, buffer, n);
        at += n;
    }
    if (!status)
        *hash = moeq_hasher_finish(hasher);
    free(buffer);
    moeq_hasher_free(hasher);
    moeq_file_close(&file);
    return status;
}

enum moeq_status moeq_statistics_model(const struct moeq_source *source, char hex[MOEQ_HASH_HEX],
                                       struct moeq_error *err)
{
    struct moeq_bytes config = {0};
    struct moeq_hasher *hasher = moeq_hasher_create(err);
    enum moeq_status status = hasher
                                  ? moeq_file_read_member(source->path, "config.json", SIZE_MAX, &config, err)
                                  : MOEQ_OVER_MEMORY;
    if (!status)
        moeq_hasher_update(hasher, config.data, config.n_bytes);
    for (size_t i = 0; !status && i < source->n_weights; i++) {
        char format[MOEQ_FORMAT_BYTES], line[128];
        const struct moeq_weight *w = &source->weights[i];
        moeq_hasher_update(hasher, w->name, strlen(w->name) + 1);
        snprintf(line, sizeof line, "%s %llu %llu", moeq_format_text(w->format, format),
                 (unsigned long long)w->rows, (unsigned long long)w->cols);
        moeq_hasher_update(hasher, line, strlen(line) + 1);
    }
    if (!status)
        moeq_hash_hex(moeq_hasher_finish(hasher), hex);
    moeq_hasher_free(hasher);
    moeq_bytes_free(&config);
    return status;
}

/* ---- the manifest ---- */

json_t *moeq_statistics_parse(const void *text, size_t n_bytes, struct moeq_error *err)
{
    static const struct moeq_manifest_kind kind = {MOEQ_STATISTICS_FORMAT, MOEQ_STATISTICS_VERSION,
                                                   "statistics", "calibrate again"};
    return moeq_manifest_parse_as(&kind, text, n_bytes, err);
}

static enum moeq_status read_file(struct moeq_statistics_file *file, const struct moeq_statistics *s,
                                  const char *folder, const json_t *json, struct moeq_error *err)
{
    const char *name, *hex;
    char inside[600];
    enum moeq_status status = moeq_json_string(json, "file", &name, err);
    if (!status)
        status = moeq_json_string(json, "xxh3_128", &hex, err);
    if (!status && (!moeq_name_is_plain(name) || strlen(name) > 250 || !moeq_hash_parse(hex, &file->hash)))
        status = moeq_fail(err, MOEQ_DAMAGED, "a file's name or hash is none");
    if (status)
        return status;
    snprintf(inside, sizeof inside, "%s/%s", folder, name);
    file->path = moeq_path_join(s->path, inside, err);
    return file->path ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

static enum moeq_status read_text(struct moeq_statistics_text *text, const struct moeq_statistics *s,
                                  const json_t *json, struct moeq_error *err)
{
    enum moeq_status status = moeq_json_string(json, "text", &text->name, err);
    if (!status)
        status = moeq_json_string(json, "folder", &text->folder, err);
    if (!status && (!moeq_name_is_plain(text->folder) || strlen(text->folder) > 250))
        status = moeq_fail(err, MOEQ_DAMAGED, "a folder's name is none");
    if (!status)
        status = moeq_json_uint(json, "windows", UINT32_MAX, &text->n_windows, err);
    const json_t *tokens = status ? NULL : moeq_json_object_at(json, "tokens", err);
    const json_t *layers = tokens ? moeq_json_array_at(json, "layers", err) : NULL;
    if (!layers)
        return status ? status : MOEQ_DAMAGED;
    status = read_file(&text->tokens, s, text->folder, tokens, err);
    if (!status && json_array_size(layers) != s->n_layers)
        status = moeq_fail(err, MOEQ_DAMAGED, "a text with %zu layers instead of %llu",
                           json_array_size(layers), (unsigned long long)s->n_layers);
    if (!status && !(text->layers = moeq_calloc((size_t)s->n_layers, sizeof *text->layers, err)))
        status = MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < s->n_layers; i++)
        status = read_file(&text->layers[i], s, text->folder, json_array_get(layers, i), err);
    return status;
}

static enum moeq_status read_manifest(struct moeq_statistics *s, struct moeq_error *err)
{
    const json_t *m = s->manifest;
    enum moeq_status status = moeq_json_string(m, "model", &s->model, err);
    if (!status)
        status = moeq_json_string(m, "arithmetic", &s->arithmetic, err);
    if (!status)
        status = moeq_json_uint(m, "layers", 100000, &s->n_layers, err);
    if (!status)
        status = moeq_json_uint(m, "experts", 100000, &s->n_experts, err);
    if (!status)
        status = moeq_json_uint(m, "context", UINT32_MAX, &s->context, err);
    const json_t *texts = status ? NULL : moeq_json_array_at(m, "texts", err);
    if (!texts)
        return status ? status : MOEQ_DAMAGED;
    s->texts = moeq_calloc(json_array_size(texts), sizeof *s->texts, err);
    if (!s->texts)
        return MOEQ_OVER_MEMORY;
    for (; !status && s->n_texts < json_array_size(texts); s->n_texts++)
        status = read_text(&s->texts[s->n_texts], s, json_array_get(texts, s->n_texts), err);
    return status;
}

static enum moeq_status read_text_of(const char *folder, struct moeq_bytes *text, struct moeq_error *err)
{
    char *path = moeq_path_join(folder, MOEQ_MANIFEST_NAME, err);
    if (!path)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = MOEQ_OK;
    if (moeq_path_is_dir(folder) && !moeq_path_exists(path)) {
        status = moeq_fail(err, MOEQ_DAMAGED, "these are no finished statistics: %s is missing",
                           MOEQ_MANIFEST_NAME);
        moeq_error_hint(err, "finish them with the command that began them");
    } else {
        status = moeq_file_read_all(path, SIZE_MAX, text, err);
    }
    free(path);
    return status;
}

enum moeq_status moeq_statistics_open(struct moeq_statistics *statistics, const char *path,
                                      struct moeq_error *err)
{
    struct moeq_bytes text = {0};
    *statistics = (struct moeq_statistics){0};
    if (!(statistics->path = moeq_strdup(path, err)))
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = read_text_of(path, &text, err);
    if (!status && !(statistics->manifest = moeq_statistics_parse(text.data, text.n_bytes, err)))
        status = err ? err->status : MOEQ_DAMAGED;
    if (!status) {
        statistics->hash = moeq_hash_bytes(text.data, text.n_bytes);
        status = read_manifest(statistics, err);
    }
    moeq_bytes_free(&text);
    if (status) {
        moeq_error_in_file(err, path);
        moeq_statistics_close(statistics);
    }
    return status;
}

void moeq_statistics_close(struct moeq_statistics *statistics)
{
    for (size_t t = 0; t < statistics->n_texts; t++) {
        struct moeq_statistics_text *text = &statistics->texts[t];
        for (size_t i = 0; text->layers && i < statistics->n_layers; i++)
            free(text->layers[i].path);
        free(text->layers);
        free(text->tokens.path);
    }
    free(statistics->texts);
    json_decref(statistics->manifest);
    free(statistics->path);
    *statistics = (struct moeq_statistics){0};
}

/* ---- tensors ---- */

static void add_values(enum moeq_dtype dtype, const uint8_t *bytes, uint64_t n, double *sums)
{
    for (uint64_t i = 0; i < n; i++) {
        float single;
        double number;
        int64_t whole;
        if (dtype == MOEQ_F32) {
            memcpy(&single, bytes + i * sizeof single, sizeof single);
            sums[i] += (double)single;
        } else if (dtype == MOEQ_F64) {
            memcpy(&number, bytes + i * sizeof number, sizeof number);
            sums[i] += number;
        } else {
            memcpy(&whole, bytes + i * sizeof whole, sizeof whole);
            sums[i] += (double)whole;
        }
    }
}

static enum moeq_status add_tensor(const struct moeq_file *file, const struct moeq_tensor *tensor, uint64_t n,
                                   double *sums, struct moeq_error *err)
{
    const uint64_t size = moeq_dtype_bits(tensor->dtype) / 8;
    struct moeq_bytes bytes = {0};
    if ((tensor->dtype != MOEQ_F32 && tensor->dtype != MOEQ_F64 && tensor->dtype != MOEQ_I64) ||
        tensor->n_bytes != n * size)
        return moeq_fail(err, MOEQ_DAMAGED, "%s has not %llu values", tensor->name, (unsigned long long)n);
    enum moeq_status status = moeq_bytes_resize(&bytes, READ_BYTES, err);
    for (uint64_t at = 0; !status && at < tensor->n_bytes; at += READ_BYTES) {
        const uint64_t left = tensor->n_bytes - at, n_here = left < READ_BYTES ? left : READ_BYTES;
        status = moeq_file_read(file, tensor->offset + at, bytes.data, (size_t)n_here, err);
        if (!status)
            add_values(tensor->dtype, bytes.data, n_here / size, sums + at / size);
    }
    moeq_bytes_free(&bytes);
    return status;
}

enum moeq_status moeq_statistics_add(const struct moeq_statistics *statistics, int layer, const char *name,
                                     uint64_t n, double *sums, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t t = 0; !status && t < statistics->n_texts; t++) {
        struct moeq_safetensors st = {0};
        struct moeq_file file;
        const char *path = statistics->texts[t].layers[layer].path;
        if ((status = moeq_file_open(&file, path, err)))
            return status;
        status = moeq_safetensors_read(&st, &file, MOEQ_STRICT, err);
        for (size_t i = 0; !status && i < st.n_tensors; i++)
            if (strcmp(st.tensors[i].name, name) == 0)
                status = add_tensor(&file, &st.tensors[i], n, sums, err);
        moeq_error_in_file(err, path);
        moeq_safetensors_free(&st);
        moeq_file_close(&file);
    }
    return status;
}

enum moeq_status moeq_statistics_read_tokens(const struct moeq_statistics *statistics, size_t text,
                                             int32_t *tokens, struct moeq_error *err)
{
    const struct moeq_statistics_text *t = &statistics->texts[text];
    const uint64_t n = t->n_windows * statistics->context * sizeof *tokens;
    struct moeq_safetensors st = {0};
    struct moeq_file file;
    enum moeq_status status = moeq_file_open(&file, t->tokens.path, err);
    if (status)
        return status;
    status = moeq_safetensors_read(&st, &file, MOEQ_STRICT, err);
    if (!status && (st.n_tensors != 1 || st.tensors[0].dtype != MOEQ_I32 || st.tensors[0].n_bytes != n))
        status = moeq_fail(err, MOEQ_DAMAGED, "not the tokens of %llu windows of %llu",
                           (unsigned long long)t->n_windows, (unsigned long long)statistics->context);
    if (!status)
        status = moeq_file_read(&file, st.tensors[0].offset, (uint8_t *)tokens, (size_t)n, err);
    moeq_error_in_file(err, t->tokens.path);
    moeq_safetensors_free(&st);
    moeq_file_close(&file);
    return status;
}

uint64_t moeq_statistics_tokens(const struct moeq_statistics *statistics)
{
    uint64_t n = 0;
    for (size_t t = 0; t < statistics->n_texts; t++)
        n += statistics->texts[t].n_windows * statistics->context;
    return n;
}

int32_t *moeq_statistics_windows(const struct moeq_statistics *statistics, uint64_t n, struct moeq_error *err)
{
    const struct moeq_statistics *st = statistics;
    const uint64_t context = st->context, n_all = moeq_statistics_tokens(st);
    int32_t *all = moeq_calloc(n_all, sizeof *all, err), *chosen = moeq_calloc(n * context, sizeof *all, err);
    enum moeq_status status = all && chosen ? MOEQ_OK : MOEQ_OVER_MEMORY;
    int32_t *to = all;
    for (size_t t = 0; !status && t < st->n_texts; t++) {
        status = moeq_statistics_read_tokens(st, t, to, err);
        to += st->texts[t].n_windows * context;
    }
    for (uint64_t i = 0; !status && i < n; i++)
        memcpy(chosen + i * context, all + i * (n_all / context) / n * context, context * sizeof *chosen);
    free(all);
    if (!status)
        return chosen;
    free(chosen);
    return NULL;
}

static enum moeq_status check_file(const struct moeq_statistics_file *file, struct moeq_error *err)
{
    struct moeq_hash found;
    enum moeq_status status = moeq_statistics_hash_file(file->path, &found, err);
    if (!status && !moeq_hash_equal(found, file->hash)) {
        status = moeq_fail(err, MOEQ_DAMAGED, "its hash is not the one in the manifest");
        moeq_error_in_file(err, file->path);
        moeq_error_hint(err, "copy it again, or calibrate again");
    }
    return status;
}

enum moeq_status moeq_statistics_check(const struct moeq_statistics *statistics, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t t = 0; !status && t < statistics->n_texts; t++) {
        const struct moeq_statistics_text *text = &statistics->texts[t];
        status = check_file(&text->tokens, err);
        for (size_t i = 0; !status && i < statistics->n_layers; i++)
            status = check_file(&text->layers[i], err);
    }
    return status;
}
