#include "package.h"

#include <stdlib.h>

#define MAX_MANIFEST_BYTES (1u << 30)

static bool has_any(const char *dir, const char *const *names, size_t n)
{
    bool found = false;
    for (size_t i = 0; !found && i < n; i++) {
        char *path = moeq_path_join(dir, names[i], NULL);
        found = path && moeq_path_exists(path);
        free(path);
    }
    return found;
}

/* Other tools write a manifest.json, too; none of ours lies beside a checkpoint's files. */
bool moeq_package_is_at(const char *dir)
{
    static const char *const package[] = {MOEQ_MANIFEST_NAME, "embed.safetensors", "embed.safetensors.part",
                                          "layer-000.safetensors"};
    static const char *const checkpoint[] = {"model.safetensors.index.json", "model.safetensors"};
    return has_any(dir, package, sizeof package / sizeof *package) &&
           !has_any(dir, checkpoint, sizeof checkpoint / sizeof *checkpoint);
}

/* ---- manifest to tables ---- */

static enum moeq_status hash_member(const json_t *object, const char *key, struct moeq_hash *out,
                                    struct moeq_error *err)
{
    const char *hex;
    enum moeq_status status = moeq_json_string(object, key, &hex, err);
    if (!status && !moeq_hash_parse(hex, out))
        status = moeq_fail(err, MOEQ_DAMAGED, "\"%s\" is not an XXH3-128 hash", key);
    return status;
}

static enum moeq_status plain_name(const json_t *object, const char **out, struct moeq_error *err)
{
    enum moeq_status status = moeq_json_string(object, "file", out, err);
    if (!status && !moeq_name_is_plain(*out))
        status = moeq_fail(err, MOEQ_DAMAGED, "the file name \"%s\" leaves the folder", *out);
    return status;
}

/* Counts what the manifest lists, so that each table is allocated once. */
static enum moeq_status count_tables(struct moeq_package *p, const json_t *files, size_t *n_segments,
                                     size_t *n_tensors, size_t *n_dims, struct moeq_error *err)
{
    size_t f, s, t;
    json_t *file, *segment, *tensor;
    *n_segments = *n_tensors = *n_dims = 0;
    json_array_foreach(files, f, file)
    {
        json_t *segments = moeq_json_array_at(file, "segments", err);
        if (!segments)
            return MOEQ_DAMAGED;
        *n_segments += json_array_size(segments);
        json_array_foreach(segments, s, segment)
        {
            json_t *tensors = moeq_json_array_at(segment, "tensors", err);
            if (!tensors)
                return MOEQ_DAMAGED;
            *n_tensors += json_array_size(tensors);
            json_array_foreach(tensors, t, tensor) *n_dims +=
                json_array_size(json_object_get(tensor, "shape"));
        }
    }
    p->files = moeq_calloc(json_array_size(files), sizeof *p->files, err);
    p->segments = moeq_calloc(*n_segments, sizeof *p->segments, err);
    p->tensors = moeq_calloc(*n_tensors, sizeof *p->tensors, err);
    p->shapes = moeq_calloc(*n_dims, sizeof *p->shapes, err);
    return p->files && p->segments && p->tensors && p->shapes ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

/* One tensor of a segment against the next tensor of the file's header. */
static enum moeq_status read_tensor(struct moeq_package *p, const json_t *json,
                                    const struct moeq_tensor *stored, uint64_t **shape,
                                    struct moeq_error *err)
{
    struct moeq_packed *out = &p->tensors[p->n_tensors];
    enum moeq_status status = moeq_json_string(json, "name", &out->name, err);
    if (status || (status = moeq_json_string(json, "level", &out->level, err)) ||
        (status = moeq_json_string_or(json, "reason", "", &out->reason, err)))
        return status;
    out->is_coded = json_is_true(json_object_get(json, "coded"));
    json_t *dims = moeq_json_array_at(json, "shape", err);
    if (!dims || json_array_size(dims) > MOEQ_MAX_DIMS)
        return moeq_fail(err, MOEQ_DAMAGED, "shape of more than %d dimensions", MOEQ_MAX_DIMS);
    out->shape = *shape;
    out->n_dims = json_array_size(dims);
    for (size_t i = 0; i < out->n_dims; i++)
        if ((status = moeq_json_value_uint(json_array_get(dims, i), "shape", INT64_MAX, (*shape)++, err)))
            return status;
    if (strcmp(stored->name, out->name) != 0)
        return moeq_fail(err, MOEQ_DAMAGED, "the manifest has %s where the file has %s", out->name,
                         stored->name);
    out->segment = (uint32_t)p->n_segments;
    out->stored = stored;
    p->n_tensors++;
    return MOEQ_OK;
}

static enum moeq_status read_segment(struct moeq_package *p, const json_t *json, size_t *next,
                                     uint64_t **shape, struct moeq_error *err)
{
    struct moeq_package_file *file = &p->files[p->n_files - 1];
    struct moeq_segment *out = &p->segments[p->n_segments];
    enum moeq_status status = moeq_json_string(json, "name", &out->name, err);
    if (status || (status = moeq_json_uint(json, "n_bytes", INT64_MAX, &out->n_bytes, err)) ||
        (status = hash_member(json, "xxh3_128", &out->hash, err)))
        return status;
    out->file = (uint32_t)(p->n_files - 1);
    size_t i;
    json_t *tensor;
    uint64_t n_bytes = 0;
    json_array_foreach(json_object_get(json, "tensors"), i, tensor)
    {
        if (*next >= file->st.n_tensors)
            return moeq_fail(err, MOEQ_DAMAGED, "the manifest lists more tensors than the file has");
        const struct moeq_tensor *stored = &file->st.tensors[(*next)++];
        if (i == 0)
            out->offset = stored->offset;
        n_bytes += stored->n_bytes; /* bounded by the file's size: the tensors tile it */
        if ((status = read_tensor(p, tensor, stored, shape, err)))
            return status;
    }
    if (i == 0 || n_bytes != out->n_bytes)
        return moeq_fail(err, MOEQ_DAMAGED, "segment %s: the manifest says %llu bytes, the file %llu",
                         out->name, (unsigned long long)out->n_bytes, (unsigned long long)n_bytes);
    p->n_segments++;
    return MOEQ_OK;
}

static enum moeq_status open_layer_file(struct moeq_package *p, const json_t *json, struct moeq_error *err)
{
    struct moeq_package_file *file = &p->files[p->n_files];
    const char *name;
    uint64_t n_bytes;
    enum moeq_status status = plain_name(json, &name, err);
    if (status || (status = moeq_json_uint(json, "n_bytes", INT64_MAX, &n_bytes, err)) ||
        (status = hash_member(json, "head_xxh3_128", &file->head_hash, err)) ||
        (status = hash_member(json, "hashes_xxh3_128", &file->hashes_hash, err)))
        return status;
    char *path = moeq_path_join(p->dir, name, err);
    file->name = path ? moeq_strdup(name, err) : NULL;
    file->file.fd = -1;
    p->n_files++;
    if (!file->name)
        status = MOEQ_OVER_MEMORY;
    else if (!moeq_path_leads_to_file(path))
        status = moeq_fail(err, MOEQ_DAMAGED, "the file is missing");
    else if (!(status = moeq_file_open(&file->file, path, err))) {
        if (file->file.n_bytes != n_bytes)
            status = moeq_fail(err, MOEQ_DAMAGED, "%llu bytes, the manifest says %llu",
                               (unsigned long long)file->file.n_bytes, (unsigned long long)n_bytes);
        else
            status = moeq_safetensors_read(&file->st, &file->file, MOEQ_STRICT, err);
    }
    if (status) {
        moeq_error_in_file(err, path);
        moeq_error_hint(err, "copy the package again, or convert again with --force");
    }
    free(path);
    return status;
}

static enum moeq_status read_file(struct moeq_package *p, const json_t *json, uint64_t **shape,
                                  struct moeq_error *err)
{
    enum moeq_status status = open_layer_file(p, json, err);
    if (status)
        return status;
    const struct moeq_package_file *file = &p->files[p->n_files - 1];
    size_t i, next = 0, first = p->n_segments;
    json_t *segment;
    json_array_foreach(json_object_get(json, "segments"), i,
                       segment) if ((status = read_segment(p, segment, &next, shape, err))) break;
    if (!status) {
        const struct moeq_tensor *last = next < file->st.n_tensors ? &file->st.tensors[next] : NULL;
        if (!last || next + 1 != file->st.n_tensors || strcmp(last->name, MOEQ_HASHES_TENSOR) != 0 ||
            last->n_bytes != (p->n_segments - first) * MOEQ_HASH_BYTES)
            status =
                moeq_fail(err, MOEQ_DAMAGED, "must end with %s and hold no tensor that the manifest lacks",
                          MOEQ_HASHES_TENSOR);
    }
    moeq_error_in_file(err, file->file.path);
    return status;
}

static enum moeq_status read_copies(struct moeq_package *p, struct moeq_error *err)
{
    json_t *copies = moeq_json_array_at(p->manifest, "copies", err);
    if (!copies)
        return MOEQ_DAMAGED;
    p->copies = moeq_calloc(json_array_size(copies), sizeof *p->copies, err);
    if (!p->copies)
        return MOEQ_OVER_MEMORY;
    size_t i;
    json_t *json;
    json_array_foreach(copies, i, json)
    {
        struct moeq_package_copy *copy = &p->copies[i];
        enum moeq_status status = plain_name(json, &copy->name, err);
        if (status || (status = moeq_json_uint(json, "n_bytes", INT64_MAX, &copy->n_bytes, err)) ||
            (status = hash_member(json, "xxh3_128", &copy->hash, err)))
            return status;
        p->n_copies++;
    }
    return MOEQ_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct moeq_packed *)a)->name, ((const struct moeq_packed *)b)->name);
}

static enum moeq_status read_tables(struct moeq_package *p, struct moeq_error *err)
{
    size_t n_segments, n_tensors, n_dims, i;
    json_t *file;
    json_t *files = moeq_json_array_at(p->manifest, "files", err);
    if (!files)
        return MOEQ_DAMAGED;
    enum moeq_status status = moeq_json_string(p->manifest, "architecture", &p->architecture, err);
    if (status || (status = count_tables(p, files, &n_segments, &n_tensors, &n_dims, err)) ||
        (status = read_copies(p, err)))
        return status;
    uint64_t *shape = p->shapes;
    json_array_foreach(files, i, file) if ((status = read_file(p, file, &shape, err))) return status;
    qsort(p->tensors, p->n_tensors, sizeof *p->tensors, by_name);
    for (i = 1; i < p->n_tensors; i++)
        if (by_name(&p->tensors[i - 1], &p->tensors[i]) == 0)
            return moeq_fail(err, MOEQ_DAMAGED, "the tensor %s is listed twice", p->tensors[i].name);
    return MOEQ_OK;
}

static enum moeq_status without_manifest(const char *dir, struct moeq_error *err)
{
    enum moeq_status status;
    if (moeq_package_is_at(dir)) {
        status = moeq_fail(err, MOEQ_DAMAGED, "the package is incomplete: it has no %s", MOEQ_MANIFEST_NAME);
        moeq_error_hint(err, "run the same 'moeq convert' again: it continues where it stopped");
    } else {
        status = !moeq_path_exists(dir) ? moeq_fail(err, MOEQ_IO, "no such folder")
                 : !moeq_path_is_dir(dir)
                     ? moeq_fail(err, MOEQ_IO, "not a folder")
                     : moeq_fail(err, MOEQ_DAMAGED, "not a package: it has no %s", MOEQ_MANIFEST_NAME);
        moeq_error_hint(err, "give the folder that 'moeq convert' wrote");
    }
    moeq_error_in_file(err, dir);
    return status;
}

static enum moeq_status load_manifest(struct moeq_package *p, const char *path, struct moeq_error *err)
{
    struct moeq_bytes text = {0};
    if (!moeq_path_exists(path))
        return without_manifest(p->dir, err);
    enum moeq_status status = moeq_file_read_all(path, MAX_MANIFEST_BYTES, &text, err);
    if (!status) {
        struct moeq_error local = {0};
        p->manifest = moeq_manifest_parse(text.data, text.n_bytes, err ? err : &local);
        status = p->manifest ? MOEQ_OK : err ? err->status : local.status;
    }
    moeq_bytes_free(&text);
    return status;
}

enum moeq_status moeq_package_open(struct moeq_package *package, const char *dir, struct moeq_error *err)
{
    *package = (struct moeq_package){0};
    char *path = moeq_path_join(dir, MOEQ_MANIFEST_NAME, err);
    package->dir = path ? moeq_strdup(dir, err) : NULL;
    enum moeq_status status = package->dir ? load_manifest(package, path, err) : MOEQ_OVER_MEMORY;
    if (!status)
        status = read_tables(package, err);
    if (status) {
        moeq_error_in_file(err, path);
        moeq_package_close(package);
    }
    free(path);
    return status;
}

void moeq_package_close(struct moeq_package *package)
{
    for (size_t i = 0; i < package->n_files; i++) {
        free(package->files[i].name);
        moeq_file_close(&package->files[i].file);
        moeq_safetensors_free(&package->files[i].st);
    }
    free(package->files);
    free(package->segments);
    free(package->tensors);
    free(package->copies);
    free(package->shapes);
    free(package->dir);
    json_decref(package->manifest);
    *package = (struct moeq_package){0};
}

bool moeq_package_is_text_only(const struct moeq_package *package)
{
    return json_is_true(json_object_get(json_object_get(package->manifest, "options"), MOEQ_TEXT_ONLY_KEY));
}

const struct moeq_packed *moeq_package_find(const struct moeq_package *package, const char *name)
{
    const struct moeq_packed key = {.name = name};
    return package->n_tensors
               ? bsearch(&key, package->tensors, package->n_tensors, sizeof *package->tensors, by_name)
               : NULL;
}

/* ---- hashes ---- */

static enum moeq_status mismatch(const char *file, struct moeq_error *err, const char *what, const char *name)
{
    moeq_fail(err, MOEQ_DAMAGED, "the bytes of %s%s do not match their XXH3-128 in the manifest", what, name);
    moeq_error_in_file(err, file);
    moeq_error_hint(err, "copy the package again, or convert again with --force");
    return MOEQ_DAMAGED;
}

enum moeq_status moeq_package_read_segment(const struct moeq_package *package,
                                           const struct moeq_segment *segment, void *dst,
                                           struct moeq_error *err)
{
    const struct moeq_file *file = &package->files[segment->file].file;
    enum moeq_status status = moeq_file_read(file, segment->offset, dst, (size_t)segment->n_bytes, err);
    if (status || moeq_hash_equal(moeq_hash_bytes(dst, (size_t)segment->n_bytes), segment->hash))
        return status;
    mismatch(file->path, err, "segment ", segment->name);
    moeq_error_at(err, segment->offset);
    return MOEQ_DAMAGED;
}

static enum moeq_status check_range(const struct moeq_file *file, uint64_t offset, uint64_t n_bytes,
                                    struct moeq_hash hash, const char *what, struct moeq_error *err)
{
    struct moeq_bytes bytes = {0};
    enum moeq_status status = moeq_bytes_resize(&bytes, (size_t)n_bytes, err);
    if (!status)
        status = moeq_file_read(file, offset, bytes.data, bytes.n_bytes, err);
    if (!status && !moeq_hash_equal(moeq_hash_bytes(bytes.data, bytes.n_bytes), hash)) {
        status = mismatch(file->path, err, what, "");
        moeq_error_at(err, offset);
    }
    moeq_bytes_free(&bytes);
    return status;
}

enum moeq_status moeq_package_check_head(const struct moeq_package *package, size_t file,
                                         struct moeq_error *err)
{
    const struct moeq_package_file *f = &package->files[file];
    const struct moeq_tensor *hashes = &f->st.tensors[f->st.n_tensors - 1];
    enum moeq_status status = check_range(&f->file, 0, f->st.data_offset, f->head_hash, "the header", err);
    if (!status)
        status =
            check_range(&f->file, hashes->offset, hashes->n_bytes, f->hashes_hash, "the list of hashes", err);
    return status;
}

enum moeq_status moeq_package_check_outside(const struct moeq_package *package, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < package->n_files; i++)
        status = moeq_package_check_head(package, i, err);
    for (size_t i = 0; !status && i < package->n_copies; i++)
        status = moeq_package_check_copy(package, i, err);
    return status;
}

enum moeq_status moeq_package_check_copy(const struct moeq_package *package, size_t copy,
                                         struct moeq_error *err)
{
    const struct moeq_package_copy *c = &package->copies[copy];
    char *path = moeq_path_join(package->dir, c->name, err);
    if (!path)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status;
    struct moeq_file file = {.fd = -1};
    if (!moeq_path_leads_to_file(path))
        status = moeq_fail(err, MOEQ_DAMAGED, "the file is missing");
    else if (!(status = moeq_file_open(&file, path, err)))
        status = file.n_bytes == c->n_bytes
                     ? check_range(&file, 0, c->n_bytes, c->hash, "the file", err)
                     : moeq_fail(err, MOEQ_DAMAGED, "%llu bytes, the manifest says %llu",
                                 (unsigned long long)file.n_bytes, (unsigned long long)c->n_bytes);
    if (status) {
        moeq_error_in_file(err, path);
        moeq_error_hint(err, "copy the package again, or convert again with --force");
    }
    moeq_file_close(&file);
    free(path);
    return status;
}
