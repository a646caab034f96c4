#include "calibration.h"

#include "collector.h"
#include "interrupt.h"
#include "package.h"
#include "statistics.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_BYTES 24 /* "text-" and 16 digits */
#define LAYER_BYTES  40 /* "layer-000.safetensors" */

/* One text while the sweep runs. */
struct text {
    const struct moeq_calibration_text *given;
    uint64_t first, end; /* its tokens in the sweep */
    char folder[FOLDER_BYTES];
    struct moeq_out_dir dir;
    char identity[MOEQ_HASH_HEX];
    struct moeq_collector *collector; /* of the current layer */
};

struct job {
    const struct moeq_calibration *c;
    struct moeq_out_dir dir;
    struct text *texts; /* [n_texts] */
    char model[MOEQ_HASH_HEX];
    int layer;      /* that is being collected, -1 before the first */
    int n_kept;     /* layers whose files are all there */
    size_t current; /* text whose inputs came last */
};

/* ---- identities ---- */

static const char *arithmetic_name(const struct job *j)
{
    return j->c->arithmetic == MOEQ_EXACT ? "float32" : "bf16";
}

/* Of what a text's files are made from: model, arithmetic, context, tokens, version. */
static void identify_text(const struct job *j, struct text *t)
{
    const struct moeq_windows *w = &t->given->windows;
    char hex[MOEQ_HASH_HEX], line[200];
    moeq_hash_hex(moeq_hash_bytes(w->tokens, (size_t)(w->n_windows * w->context) * sizeof *w->tokens), hex);
    snprintf(t->folder, sizeof t->folder, "text-%.16s", hex);
    const int n = snprintf(line, sizeof line, "%s %s %llu %s %s", j->model, arithmetic_name(j),
                           (unsigned long long)w->context, hex, MOEQ_VERSION);
    moeq_hash_hex(moeq_hash_bytes(line, (size_t)n), t->identity);
}

/* ---- the folder ---- */

static void layer_name(char name[LAYER_BYTES], int layer)
{
    snprintf(name, LAYER_BYTES, "layer-%03d.safetensors", layer);
}

/* Whether a layer's file is there: under its name it is complete, and its metadata say of what. */
static enum moeq_status is_collected(const struct text *t, int layer, bool *found, struct moeq_error *err)
{
    char name[LAYER_BYTES];
    struct moeq_file file;
    struct moeq_safetensors st;
    layer_name(name, layer);
    char *path = moeq_path_join(t->dir.path, name, err);
    *found = false;
    if (!path)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = MOEQ_OK;
    if (moeq_path_exists(path) && !(status = moeq_file_open(&file, path, err))) {
        status = moeq_safetensors_read(&st, &file, MOEQ_STRICT, err);
        const char *identity = status ? NULL : moeq_safetensors_metadata(&st, MOEQ_STATISTICS_KEY);
        *found = identity && strcmp(identity, t->identity) == 0;
        if (!status && !*found) {
            status = moeq_fail(err, MOEQ_IO, "the output exists, from another model, context or arithmetic");
            moeq_error_hint(err, "choose another output, or remove it");
        }
        if (identity || !status)
            moeq_safetensors_free(&st);
        moeq_error_in_file(err, path);
        moeq_file_close(&file);
    }
    free(path);
    return status;
}

static enum moeq_status write_tokens(const struct text *t, struct moeq_error *err)
{
    const struct moeq_windows *w = &t->given->windows;
    const uint64_t shape[2] = {w->n_windows, w->context}, n = w->n_windows * w->context * sizeof *w->tokens;
    struct moeq_tensor tensor = {
        .name = "tokens", .dtype = MOEQ_I32, .n_dims = 2, .shape = shape, .n_bytes = n};
    struct moeq_bytes head = {0};
    struct moeq_out out = {.fd = -1};
    json_t *metadata = json_pack("{s:s}", MOEQ_STATISTICS_KEY, t->identity);
    enum moeq_status status =
        metadata ? moeq_safetensors_build(&tensor, 1, metadata, &head, err) : moeq_fail_alloc(err, 0);
    if (!status)
        status = moeq_out_create(&out, &t->dir, "tokens.safetensors", head.n_bytes + n, err);
    if (!status)
        status = moeq_out_write(&out, head.data, head.n_bytes, err);
    if (!status)
        status = moeq_out_write(&out, w->tokens, (size_t)n, err);
    if (!status)
        status = moeq_out_finish(&out, NULL, NULL, err);
    moeq_out_abandon(&out);
    json_decref(metadata);
    moeq_bytes_free(&head);
    return status;
}

static enum moeq_status open_folder(const struct moeq_out_dir *parent, const char *name,
                                    struct moeq_out_dir *dir, struct moeq_error *err)
{
    char *path = moeq_path_join(parent->path, name, err);
    enum moeq_status status = path ? moeq_out_dir_open(dir, path, err) : MOEQ_OVER_MEMORY;
    free(path);
    return status;
}

static enum moeq_status identify_texts(struct job *j, struct moeq_error *err)
{
    uint64_t first = 0;
    for (size_t i = 0; i < j->c->n_texts; i++) {
        struct text *t = &j->texts[i];
        const struct moeq_windows *w = &j->c->texts[i].windows;
        t->given = &j->c->texts[i];
        t->first = first;
        first = t->end = first + w->n_windows * w->context;
        identify_text(j, t);
        for (size_t k = 0; k < i; k++)
            if (strcmp(t->folder, j->texts[k].folder) == 0) {
                moeq_fail(err, MOEQ_USAGE, "this text has the tokens of %s", j->texts[k].given->name);
                moeq_error_in_file(err, t->given->name);
                return MOEQ_USAGE;
            }
    }
    return MOEQ_OK;
}

/* Layers from the first on whose files are there for all texts. */
static enum moeq_status find_kept(struct job *j, struct moeq_error *err)
{
    const int n_layers = (int)j->c->source->config.n_layers;
    enum moeq_status status = MOEQ_OK;
    bool all = true;
    for (j->n_kept = 0; !status && all && j->n_kept < n_layers; j->n_kept += all)
        for (size_t i = 0; !status && all && i < j->c->n_texts; i++)
            status = is_collected(&j->texts[i], j->n_kept, &all, err);
    return status;
}

/* ---- the sweep's observer ---- */

static enum moeq_status end_layer(struct job *j, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; i < j->c->n_texts; i++) {
        struct text *t = &j->texts[i];
        if (!status && t->collector)
            status = moeq_collector_finish(t->collector, err);
        moeq_collector_free(t->collector);
        t->collector = NULL;
    }
    return status;
}

static enum moeq_status begin_layer(struct job *j, int layer, struct moeq_error *err)
{
    char name[LAYER_BYTES];
    enum moeq_status status = end_layer(j, err);
    layer_name(name, layer);
    j->layer = layer;
    j->current = 0;
    for (size_t i = 0; !status && i < j->c->n_texts; i++) {
        struct text *t = &j->texts[i];
        t->collector =
            moeq_collector_create(&j->c->source->config, j->c->pool, &t->dir, name, t->identity, err);
        if (!t->collector)
            status = err && err->status ? err->status : MOEQ_OVER_MEMORY;
    }
    return status;
}

/* The inputs of tokens [begin, end) of the given ones, all of one text. */
static enum moeq_status add_part(struct job *j, size_t text, const struct moeq_inputs *in, uint64_t begin,
                                 uint64_t end, struct moeq_error *err)
{
    struct moeq_inputs part = *in;
    enum moeq_status status = MOEQ_OK;
    if (text != j->current) /* what is in memory is one text's */
        status = moeq_collector_flush(j->texts[j->current].collector, err);
    j->current = text;
    part.n = end - begin;
    part.x += begin * in->width;
    part.first += begin;
    part.tokens = in->tokens ? in->tokens + begin : NULL;
    part.weights = in->weights ? in->weights + begin : NULL;
    return status ? status : moeq_collector_add(j->texts[text].collector, &part, err);
}

static enum moeq_status see_inputs(void *context, const struct moeq_inputs *in, struct moeq_error *err)
{
    struct job *j = context;
    enum moeq_status status = MOEQ_OK;
    if (in->layer < j->n_kept)
        return MOEQ_OK;
    if (in->layer != j->layer)
        status = begin_layer(j, in->layer, err);
    for (uint64_t begin = 0, end; !status && begin < in->n; begin = end) {
        const uint64_t token = in->tokens ? in->tokens[begin] : in->first + begin;
        size_t text = 0;
        while (token >= j->texts[text].end)
            text++;
        for (end = begin; end < in->n; end++)
            if ((in->tokens ? in->tokens[end] : in->first + end) >= j->texts[text].end)
                break;
        status = add_part(j, text, in, begin, end, err);
    }
    return status;
}

static enum moeq_status sweep(struct job *j, struct moeq_error *err)
{
    const struct moeq_calibration *c = j->c;
    const uint64_t context = c->texts[0].windows.context, n_tokens = j->texts[c->n_texts - 1].end;
    struct moeq_visitor visitor = {.observer = {j, see_inputs, NULL, c->n_texts}, .progress = c->progress};
    struct moeq_sweep sweep;
    int32_t *tokens = moeq_calloc(n_tokens, sizeof *tokens, err);
    uint64_t *ends = moeq_calloc(c->n_texts, sizeof *ends, err);
    if (!tokens || !ends) {
        free(tokens);
        free(ends);
        return MOEQ_OVER_MEMORY;
    }
    visitor.observer.ends = ends;
    for (size_t i = 0; i < c->n_texts; i++)
        ends[i] = j->texts[i].end;
    for (size_t i = 0; i < c->n_texts; i++)
        memcpy(tokens + j->texts[i].first, c->texts[i].windows.tokens,
               (j->texts[i].end - j->texts[i].first) * sizeof *tokens);
    enum moeq_status status =
        moeq_sweep_init(&sweep, c->source, c->pool, n_tokens / context, context, c->arithmetic, c->plan, err);
    if (!status) {
        status = moeq_sweep_run(&sweep, tokens, &visitor, err);
        moeq_sweep_free(&sweep);
    }
    if (!status)
        status = end_layer(j, err);
    free(tokens);
    free(ends);
    return status;
}

/* ---- the manifest ---- */

static json_t *file_json(const struct moeq_out_dir *dir, const char *name, struct moeq_error *err)
{
    struct moeq_hash hash;
    char hex[MOEQ_HASH_HEX];
    char *path = moeq_path_join(dir->path, name, err);
    const bool hashed = path && moeq_statistics_hash_file(path, &hash, err) == MOEQ_OK;
    free(path);
    if (!hashed)
        return NULL;
    moeq_hash_hex(hash, hex);
    return json_pack("{s:s, s:s}", "file", name, "xxh3_128", hex);
}

static json_t *text_json(const struct job *j, const struct text *t, struct moeq_error *err)
{
    json_t *layers = json_array();
    for (uint32_t i = 0; i < j->c->source->config.n_layers; i++) {
        char name[LAYER_BYTES];
        layer_name(name, (int)i);
        moeq_json_append(&layers, file_json(&t->dir, name, err));
    }
    return json_pack("{s:s, s:s, s:I, s:o, s:o}", "text",
                     moeq_path_name(t->given->name) /* where it lay does not matter */, "folder", t->folder,
                     "windows", (json_int_t)t->given->windows.n_windows, "tokens",
                     file_json(&t->dir, "tokens.safetensors", err), "layers", layers);
}

static enum moeq_status write_sealed(const struct moeq_out_dir *dir, json_t *manifest, struct moeq_error *err)
{
    char *text = manifest ? moeq_manifest_seal(manifest, err) : NULL;
    if (!text)
        return err && err->status ? err->status : moeq_fail_alloc(err, 0);
    enum moeq_status status =
        moeq_out_write_whole(dir, MOEQ_MANIFEST_NAME, text, strlen(text), NULL, NULL, err);
    free(text);
    return status;
}

static enum moeq_status write_manifest(const struct job *j, struct moeq_error *err)
{
    const struct moeq_config *config = &j->c->source->config;
    json_t *texts = json_array();
    for (size_t i = 0; i < j->c->n_texts; i++)
        moeq_json_append(&texts, text_json(j, &j->texts[i], err));
    json_t *manifest = json_pack(
        "{s:s, s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:o}", "format", MOEQ_STATISTICS_FORMAT, "version",
        MOEQ_STATISTICS_VERSION, "tool", "moeq " MOEQ_VERSION, "model", j->model, "arithmetic",
        arithmetic_name(j), "layers", (json_int_t)config->n_layers, "experts", (json_int_t)config->n_experts,
        "context", (json_int_t)j->c->texts[0].windows.context, "texts", texts);
    enum moeq_status status = write_sealed(&j->dir, manifest, err);
    json_decref(manifest);
    return status;
}

/* ---- all of it ---- */

/* A finished folder: ours, or not to be touched. */
static enum moeq_status meet_finished(struct job *j, bool *was_complete, struct moeq_error *err)
{
    struct moeq_statistics s;
    char *path = moeq_path_join(j->c->out, MOEQ_MANIFEST_NAME, err);
    const bool is_there = path && moeq_path_exists(path);
    free(path);
    *was_complete = false;
    if (!is_there)
        return MOEQ_OK;
    enum moeq_status status = moeq_statistics_open(&s, j->c->out, err);
    if (status)
        return status;
    bool same = strcmp(s.model, j->model) == 0 && strcmp(s.arithmetic, arithmetic_name(j)) == 0 &&
                s.n_texts == j->c->n_texts && s.context == j->c->texts[0].windows.context;
    for (size_t i = 0; same && i < s.n_texts; i++)
        same = strcmp(s.texts[i].folder, j->texts[i].folder) == 0;
    moeq_statistics_close(&s);
    *was_complete = same;
    if (same)
        return MOEQ_OK;
    moeq_fail(err, MOEQ_IO, "the output exists and holds other statistics");
    moeq_error_in_file(err, j->c->out);
    moeq_error_hint(err, "choose another output");
    return MOEQ_IO;
}

static enum moeq_status calibrate(struct job *j, struct moeq_calibration_result *result,
                                  struct moeq_error *err)
{
    enum moeq_status status = identify_texts(j, err);
    if (!status)
        status = meet_finished(j, &result->was_complete, err);
    if (status || result->was_complete)
        return status;
    for (size_t i = 0; !status && i < j->c->n_texts; i++)
        status = open_folder(&j->dir, j->texts[i].folder, &j->texts[i].dir, err);
    if (!status)
        status = find_kept(j, err);
    result->n_layers_kept = (uint64_t)j->n_kept;
    for (size_t i = 0; !status && i < j->c->n_texts; i++)
        status = write_tokens(&j->texts[i], err);
    if (!status && j->n_kept < (int)j->c->source->config.n_layers)
        status = sweep(j, err);
    return status ? status : write_manifest(j, err);
}

enum moeq_status moeq_calibration_run(const struct moeq_calibration *calibration,
                                      struct moeq_calibration_result *result, struct moeq_error *err)
{
    struct job j = {.c = calibration, .layer = -1, .dir = {.fd = -1}};
    *result = (struct moeq_calibration_result){0};
    j.texts = moeq_calloc(calibration->n_texts, sizeof *j.texts, err);
    if (!j.texts)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < calibration->n_texts; i++)
        j.texts[i].dir.fd = -1;
    enum moeq_status status = moeq_statistics_model(calibration->source, j.model, err);
    if (!status && !(status = moeq_out_dir_open(&j.dir, calibration->out, err))) {
        status = calibrate(&j, result, err);
        for (size_t i = 0; i < calibration->n_texts; i++) {
            moeq_collector_free(j.texts[i].collector);
            if (status)
                moeq_out_dir_discard(&j.texts[i].dir);
            moeq_out_dir_close(&j.texts[i].dir);
        }
        if (status)
            moeq_out_dir_discard(&j.dir);
        moeq_out_dir_close(&j.dir);
    }
    free(j.texts);
    return status;
}

/* ---- merging ---- */

static enum moeq_status copy_file(const struct moeq_statistics_file *from, const struct moeq_out_dir *dir,
                                  struct moeq_error *err)
{
    enum { BLOCK = 1 << 20 };
    struct moeq_file file;
    struct moeq_out out = {.fd = -1};
    struct moeq_bytes block = {0};
    struct moeq_hasher *hasher = moeq_hasher_create(err);
    enum moeq_status status = hasher ? moeq_file_open(&file, from->path, err) : MOEQ_OVER_MEMORY;
    if (status) {
        moeq_hasher_free(hasher);
        return status;
    }
    status = moeq_bytes_resize(&block, BLOCK, err);
    if (!status)
        status = moeq_out_create(&out, dir, strrchr(from->path, '/') + 1, file.n_bytes, err);
    for (uint64_t at = 0; !status && at < file.n_bytes; at += BLOCK) {
        const uint64_t left = file.n_bytes - at;
        const size_t n = left < BLOCK ? (size_t)left : BLOCK;
        status = moeq_interrupt_check(err);
        if (!status)
            status = moeq_file_read(&file, at, block.data, n, err);
        if (!status)
            status = moeq_out_write(&out, block.data, n, err);
        if (!status)
            moeq_hasher_update(hasher, block.data, n);
    }
    if (!status && !moeq_hash_equal(moeq_hasher_finish(hasher), from->hash)) {
        status = moeq_fail(err, MOEQ_DAMAGED, "its hash is not the one in the manifest");
        moeq_error_in_file(err, from->path);
        moeq_error_hint(err, "copy it again, or calibrate again");
    }
    if (!status)
        status = moeq_out_finish(&out, NULL, NULL, err);
    moeq_out_abandon(&out);
    moeq_bytes_free(&block);
    moeq_hasher_free(hasher);
    moeq_file_close(&file);
    return status;
}

static enum moeq_status copy_text(const struct moeq_statistics *s, const struct moeq_statistics_text *text,
                                  const struct moeq_out_dir *out, struct moeq_error *err)
{
    struct moeq_out_dir dir;
    enum moeq_status status = open_folder(out, text->folder, &dir, err);
    if (status)
        return status;
    status = copy_file(&text->tokens, &dir, err);
    for (size_t i = 0; !status && i < s->n_layers; i++)
        status = copy_file(&text->layers[i], &dir, err);
    moeq_out_dir_close(&dir);
    return status;
}

/* Appends the texts of `from` to those of the first manifest. */
static enum moeq_status append_texts(json_t *manifest, const struct moeq_statistics *first,
                                     const struct moeq_statistics *from, struct moeq_error *err)
{
    json_t *texts = json_object_get(manifest, "texts");
    if (strcmp(first->model, from->model) != 0 || strcmp(first->arithmetic, from->arithmetic) != 0 ||
        first->context != from->context) {
        moeq_fail(err, MOEQ_USAGE, "of another model, context or arithmetic than %s", first->path);
        moeq_error_in_file(err, from->path);
        return MOEQ_USAGE;
    }
    for (size_t t = 0; t < from->n_texts; t++)
        for (size_t i = 0; i < json_array_size(texts); i++)
            if (strcmp(json_string_value(json_object_get(json_array_get(texts, i), "folder")),
                       from->texts[t].folder) == 0) {
                moeq_fail(err, MOEQ_USAGE, "the text %s is in an earlier one, too", from->texts[t].name);
                moeq_error_in_file(err, from->path);
                return MOEQ_USAGE;
            }
    return json_array_extend(texts, json_object_get(from->manifest, "texts")) ? moeq_fail_alloc(err, 0)
                                                                              : MOEQ_OK;
}

static enum moeq_status merge(const struct moeq_statistics *all, size_t n, const char *out,
                              struct moeq_error *err)
{
    struct moeq_out_dir dir;
    json_t *manifest = json_deep_copy(all[0].manifest);
    enum moeq_status status = manifest ? MOEQ_OK : moeq_fail_alloc(err, 0);
    for (size_t i = 1; !status && i < n; i++)
        status = append_texts(manifest, &all[0], &all[i], err);
    if (!status && !(status = moeq_out_dir_open(&dir, out, err))) {
        char *there = moeq_path_join(out, MOEQ_MANIFEST_NAME, err);
        if (!there)
            status = MOEQ_OVER_MEMORY;
        else if (moeq_path_exists(there)) {
            status = moeq_fail(err, MOEQ_IO, "the output exists and holds statistics");
            moeq_error_in_file(err, out);
            moeq_error_hint(err, "choose another output");
        }
        free(there);
        for (size_t i = 0; !status && i < n; i++)
            for (size_t t = 0; !status && t < all[i].n_texts; t++)
                status = copy_text(&all[i], &all[i].texts[t], &dir, err);
        if (!status)
            status = write_sealed(&dir, manifest, err);
        if (status)
            moeq_out_dir_discard(&dir);
        moeq_out_dir_close(&dir);
    }
    json_decref(manifest);
    return status;
}

enum moeq_status moeq_calibration_merge(const char *const *folders, size_t n, const char *out,
                                        struct moeq_error *err)
{
    struct moeq_statistics *all = moeq_calloc(n, sizeof *all, err);
    enum moeq_status status = all ? MOEQ_OK : MOEQ_OVER_MEMORY;
    size_t n_open = 0;
    while (!status && n_open < n && !(status = moeq_statistics_open(&all[n_open], folders[n_open], err)))
        n_open++;
    if (!status)
        status = merge(all, n, out, err);
    for (size_t i = 0; i < n_open; i++)
        moeq_statistics_close(&all[i]);
    free(all);
    return status;
}

uint64_t moeq_calibration_bytes(const struct moeq_config *config)
{
    return moeq_collector_bytes(config);
}
