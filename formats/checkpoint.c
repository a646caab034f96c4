#include "checkpoint.h"

#include <assert.h>
#include <stdlib.h>

#define SINGLE_NAME "model.safetensors"

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* ---- index ---- */

static enum moeq_status collect_shards(const json_t *weight_map, const char ***shards, size_t *n_shards,
                                       struct moeq_error *err)
{
    const char *tensor;
    json_t *value;
    size_t n = 0;
    const char **names = moeq_calloc(json_object_size(weight_map), sizeof *names, err);
    if (!names)
        return MOEQ_OVER_MEMORY;
    json_object_foreach((json_t *)weight_map, tensor, value)
    {
        const char *shard = json_string_value(value);
        if (!shard || !moeq_name_is_plain(shard)) {
            moeq_fail(err, MOEQ_DAMAGED,
                      shard ? "the index names the shard \"%s\", which leaves the folder"
                            : "the index names no shard",
                      shard ? shard : "");
            moeq_error_in_tensor(err, tensor);
            free(names);
            return MOEQ_DAMAGED;
        }
        names[n++] = shard;
    }
    if (n == 0) {
        free(names);
        return moeq_fail(err, MOEQ_DAMAGED, "the index lists no tensor");
    }
    qsort(names, n, sizeof *names, by_text);
    size_t unique = 0;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i], names[unique - 1]) != 0)
            names[unique++] = names[i];
    *shards = names;
    *n_shards = unique;
    return MOEQ_OK;
}

enum moeq_status moeq_index_parse(const void *text, size_t n_bytes, json_t **json, const char ***shards,
                                  size_t *n_shards, struct moeq_error *err)
{
    struct moeq_error local = {0};
    err = err ? err : &local;
    *json = moeq_json_parse(text, n_bytes, err);
    if (!*json)
        return err->status;
    json_t *weight_map = moeq_json_object_at(*json, "weight_map", err);
    enum moeq_status status = weight_map ? collect_shards(weight_map, shards, n_shards, err) : MOEQ_DAMAGED;
    if (status) {
        json_decref(*json);
        *json = NULL;
    }
    return status;
}

static enum moeq_status load_index(const char *path, json_t **json, const char ***shards, size_t *n_shards,
                                   struct moeq_error *err)
{
    struct moeq_bytes text = {0};
    enum moeq_status status = moeq_file_read_all(path, MOEQ_MAX_INDEX_BYTES, &text, err);
    if (!status)
        status = moeq_index_parse(text.data, text.n_bytes, json, shards, n_shards, err);
    moeq_error_in_file(err, path);
    moeq_error_hint(err, "download it again");
    moeq_bytes_free(&text);
    return status;
}

/* ---- folders without an index ---- */

struct single {
    char *name; /* on the heap */
    size_t n;   /* of .safetensors files */
};

static enum moeq_status meet_file(void *context, const char *name, struct moeq_error *err)
{
    struct single *single = context;
    if (!moeq_has_suffix(name, ".safetensors"))
        return MOEQ_OK;
    single->n++;
    if (single->name && strcmp(name, SINGLE_NAME) != 0)
        return MOEQ_OK;
    free(single->name);
    single->name = moeq_strdup(name, err);
    return single->name ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

/* The one safetensors file of a folder without an index, as a heap string in *name. */
static enum moeq_status find_single(const char *dir, char **name, struct moeq_error *err)
{
    struct single single = {0};
    enum moeq_status status = moeq_folder_list(dir, meet_file, &single, err);
    if (!status && single.n == 0) {
        status = moeq_fail(err, MOEQ_DAMAGED, "no model here: neither %s nor a .safetensors file",
                           MOEQ_INDEX_NAME);
        moeq_error_hint(err, "give the folder of a downloaded checkpoint, or a finished .moeq package");
    } else if (!status && single.n > 1 && strcmp(single.name, SINGLE_NAME) != 0) {
        status = moeq_fail(err, MOEQ_DAMAGED, "%zu .safetensors files but no %s", single.n, MOEQ_INDEX_NAME);
        moeq_error_hint(err, "download the index file too");
    }
    moeq_error_in_file(err, dir);
    *name = single.name;
    return status;
}

struct contents {
    bool has_config, has_weights;
};

static enum moeq_status meet_name(void *context, const char *name, struct moeq_error *err)
{
    struct contents *contents = context;
    (void)err;
    contents->has_config = contents->has_config || strcmp(name, "config.json") == 0;
    contents->has_weights =
        contents->has_weights || strcmp(name, MOEQ_INDEX_NAME) == 0 || moeq_has_suffix(name, ".safetensors");
    return MOEQ_OK;
}

bool moeq_checkpoint_is_bare(const char *dir)
{
    struct contents contents = {0};
    moeq_folder_list(dir, meet_name, &contents, NULL);
    return contents.has_config && !contents.has_weights;
}

/* ---- opening ---- */

static enum moeq_status read_header(struct moeq_shard *shard, enum moeq_strictness strictness,
                                    struct moeq_error *err)
{
    enum moeq_status status = moeq_safetensors_read(&shard->st, &shard->file, strictness, err);
    if (status != MOEQ_DAMAGED)
        return status;
    if (strictness == MOEQ_STRICT &&
        moeq_safetensors_read(&shard->st, &shard->file, MOEQ_LENIENT, NULL) == MOEQ_OK) {
        moeq_safetensors_free(&shard->st);
        moeq_error_hint(err, "give --lenient to read it as the reference implementation does");
    }
    moeq_error_hint(err, "download it again");
    return status;
}

static enum moeq_status open_shard(struct moeq_checkpoint *c, const char *name, struct moeq_error *err)
{
    struct moeq_shard *shard = &c->shards[c->n_shards];
    shard->file.fd = -1;
    char *path = c->dir ? moeq_path_join(c->dir, name, err) : moeq_strdup(name, err);
    shard->name = path ? moeq_strdup(name, err) : NULL;
    enum moeq_status status = shard->name ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (!status) {
        c->n_shards++;
        if (c->dir && !moeq_path_leads_to_file(path)) {
            status = moeq_fail(err, MOEQ_DAMAGED,
                               moeq_path_exists(path) ? "the shard is a link that leads nowhere"
                                                      : "the shard is missing");
            moeq_error_in_file(err, path);
            moeq_error_hint(err, "download it; the rest of the folder can stay");
        }
    }
    if (!status)
        status = moeq_file_open(&shard->file, path, err);
    if (!status)
        status = read_header(shard, c->strictness, err);
    free(path);
    return status;
}

static int by_name(const void *a, const void *b)
{
    const struct moeq_located *x = a, *y = b;
    return strcmp(x->tensor->name, y->tensor->name);
}

static enum moeq_status sort_tensors(struct moeq_checkpoint *c, struct moeq_error *err)
{
    size_t n = 0;
    for (size_t s = 0; s < c->n_shards; s++)
        n += c->shards[s].st.n_tensors;
    c->tensors = moeq_calloc(n, sizeof *c->tensors, err);
    if (!c->tensors)
        return MOEQ_OVER_MEMORY;
    for (size_t s = 0; s < c->n_shards; s++)
        for (size_t i = 0; i < c->shards[s].st.n_tensors; i++)
            c->tensors[c->n_tensors++] = (struct moeq_located){&c->shards[s].st.tensors[i], (uint32_t)s};
    qsort(c->tensors, n, sizeof *c->tensors, by_name);
    for (size_t i = 1; i < n; i++)
        if (strcmp(c->tensors[i].tensor->name, c->tensors[i - 1].tensor->name) == 0) {
            moeq_fail(err, MOEQ_DAMAGED, "the tensor is in two shards, %s and %s",
                      c->shards[c->tensors[i - 1].shard].name, c->shards[c->tensors[i].shard].name);
            moeq_error_in_file(err, c->dir);
            moeq_error_in_tensor(err, c->tensors[i].tensor->name);
            return MOEQ_DAMAGED;
        }
    return MOEQ_OK;
}

static void name_shard(const struct moeq_checkpoint *c, const char *name, struct moeq_error *err)
{
    char *path = moeq_path_join(c->dir, name, NULL);
    moeq_error_in_file(err, path ? path : name);
    free(path);
}

/* Index and shards must agree both ways. */
static enum moeq_status compare_index(const struct moeq_checkpoint *c, const json_t *weight_map,
                                      struct moeq_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)weight_map, name, value)
    {
        const struct moeq_located *located = moeq_checkpoint_find(c, name);
        if (!located || strcmp(c->shards[located->shard].name, json_string_value(value)) != 0) {
            moeq_fail(err, MOEQ_DAMAGED, "the index promises the tensor %s, which is not there", name);
            name_shard(c, json_string_value(value), err);
            moeq_error_hint(err, "index and shards are of different downloads: download both again");
            return MOEQ_DAMAGED;
        }
    }
    for (size_t i = 0; i < c->n_tensors; i++)
        if (!json_object_get(weight_map, c->tensors[i].tensor->name)) {
            moeq_fail(err, MOEQ_DAMAGED, "the tensor %s is not in the index", c->tensors[i].tensor->name);
            name_shard(c, c->shards[c->tensors[i].shard].name, err);
            moeq_error_hint(err, "index and shards are of different downloads: download both again");
            return MOEQ_DAMAGED;
        }
    return MOEQ_OK;
}

static enum moeq_status open_shards(struct moeq_checkpoint *c, const char *const *names, size_t n,
                                    struct moeq_error *err)
{
    c->shards = moeq_calloc(n, sizeof *c->shards, err);
    if (!c->shards)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < n; i++) {
        enum moeq_status status = open_shard(c, names[i], err);
        if (status)
            return status;
    }
    return sort_tensors(c, err);
}

static enum moeq_status open_single(struct moeq_checkpoint *c, struct moeq_error *err)
{
    char *name = NULL;
    enum moeq_status status = find_single(c->dir, &name, err);
    if (!status)
        status = open_shards(c, (const char *const *)&name, 1, err);
    free(name);
    return status;
}

static enum moeq_status open_indexed(struct moeq_checkpoint *c, const char *index_path,
                                     struct moeq_error *err)
{
    json_t *index = NULL;
    const char **names = NULL;
    size_t n = 0;
    enum moeq_status status = load_index(index_path, &index, &names, &n, err);
    if (!status)
        status = open_shards(c, names, n, err);
    if (!status)
        status = compare_index(c, json_object_get(index, "weight_map"), err);
    free(names);
    json_decref(index);
    return status;
}

enum moeq_status moeq_checkpoint_open(struct moeq_checkpoint *checkpoint, const char *dir,
                                      struct moeq_error *err)
{
    return moeq_checkpoint_open_as(checkpoint, dir, MOEQ_STRICT, err);
}

enum moeq_status moeq_checkpoint_open_file(struct moeq_checkpoint *checkpoint, const char *path,
                                           enum moeq_strictness strictness, struct moeq_error *err)
{
    *checkpoint = (struct moeq_checkpoint){.strictness = strictness};
    enum moeq_status status = open_shards(checkpoint, &path, 1, err);
    if (status)
        moeq_checkpoint_close(checkpoint);
    return status;
}

enum moeq_status moeq_checkpoint_open_as(struct moeq_checkpoint *checkpoint, const char *dir,
                                         enum moeq_strictness strictness, struct moeq_error *err)
{
    *checkpoint = (struct moeq_checkpoint){.strictness = strictness};
    enum moeq_status status;
    char *index_path = moeq_path_join(dir, MOEQ_INDEX_NAME, err);
    checkpoint->dir = index_path ? moeq_strdup(dir, err) : NULL;
    if (!checkpoint->dir)
        status = MOEQ_OVER_MEMORY;
    else if (moeq_path_exists(index_path))
        status = open_indexed(checkpoint, index_path, err);
    else
        status = open_single(checkpoint, err);
    if (status)
        moeq_checkpoint_close(checkpoint);
    free(index_path);
    return status;
}

void moeq_checkpoint_close(struct moeq_checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->n_shards; i++) {
        free(checkpoint->shards[i].name);
        moeq_file_close(&checkpoint->shards[i].file);
        moeq_safetensors_free(&checkpoint->shards[i].st);
    }
    free(checkpoint->shards);
    free(checkpoint->tensors);
    free(checkpoint->dir);
    *checkpoint = (struct moeq_checkpoint){0};
}

const struct moeq_located *moeq_checkpoint_find(const struct moeq_checkpoint *checkpoint, const char *name)
{
    const struct moeq_tensor key_tensor = {.name = name};
    const struct moeq_located key = {.tensor = &key_tensor};
    return checkpoint->n_tensors ? bsearch(&key, checkpoint->tensors, checkpoint->n_tensors,
                                           sizeof *checkpoint->tensors, by_name)
                                 : NULL;
}

enum moeq_status moeq_checkpoint_read_part(const struct moeq_checkpoint *checkpoint,
                                           const struct moeq_located *located, uint64_t from,
                                           uint64_t n_bytes, void *dst, struct moeq_error *err)
{
    const struct moeq_tensor *tensor = located->tensor;
    assert(from <= tensor->n_bytes && n_bytes <= tensor->n_bytes - from);
    enum moeq_status status = moeq_file_read(&checkpoint->shards[located->shard].file, tensor->offset + from,
                                             dst, (size_t)n_bytes, err);
    moeq_error_in_tensor(err, tensor->name);
    return status;
}

enum moeq_status moeq_checkpoint_read(const struct moeq_checkpoint *checkpoint,
                                      const struct moeq_located *located, void *dst, struct moeq_error *err)
{
    return moeq_checkpoint_read_part(checkpoint, located, 0, located->tensor->n_bytes, dst, err);
}
