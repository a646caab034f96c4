#include "safetensors.h"

#include <stdlib.h>

#define LENGTH_BYTES   8
#define DATA_ALIGNMENT 64

bool moeq_shape_elements(const uint64_t *shape, size_t n_dims, uint64_t *out)
{
    uint64_t n = 1;
    for (size_t i = 0; i < n_dims; i++)
        if (!moeq_mul(n, shape[i], &n))
            return false;
    *out = n;
    return true;
}

/* ---- reading ---- */

static enum moeq_status check_length(const uint8_t *head, size_t n_head, uint64_t n_file, uint64_t *n_json,
                                     struct moeq_error *err)
{
    if (n_file < LENGTH_BYTES || n_head < LENGTH_BYTES)
        return moeq_fail(err, MOEQ_DAMAGED, "only %llu bytes: not a safetensors file",
                         (unsigned long long)n_file);
    if (n_head >= 8 && memcmp(head, "version ", 8) == 0) {
        moeq_fail(err, MOEQ_DAMAGED, "this is a Git LFS pointer, not the weights");
        moeq_error_hint(err, "fetch the real file with 'git lfs pull' or 'hf download'");
        return MOEQ_DAMAGED;
    }
    uint64_t n = moeq_load_u64le(head);
    if (n > MOEQ_SAFETENSORS_MAX_HEADER) {
        moeq_fail(err, MOEQ_DAMAGED, "the header claims %llu bytes, more than the limit of %u",
                  (unsigned long long)n, MOEQ_SAFETENSORS_MAX_HEADER);
        moeq_error_hint(err, "this is not a safetensors file, or it is damaged: download it again");
        return MOEQ_DAMAGED;
    }
    if (n == 0)
        return moeq_fail(err, MOEQ_DAMAGED, "the header is empty");
    if (n > n_file - LENGTH_BYTES || n > n_head - LENGTH_BYTES) {
        moeq_fail(err, MOEQ_DAMAGED,
                  "truncated: the header claims %llu bytes, the file has %llu behind its length",
                  (unsigned long long)n, (unsigned long long)(n_file - LENGTH_BYTES));
        moeq_error_hint(err, "download it again");
        return MOEQ_DAMAGED;
    }
    *n_json = n;
    return MOEQ_OK;
}

/* What the JSON library lets pass and the format does not: text before '{', padding other than spaces, and a
 * minus sign outside a string (no number of a header is negative; "-0" would be read as 0). */
static enum moeq_status check_text(const uint8_t *json, size_t n, struct moeq_error *err)
{
    size_t bad = 0;
    if (!moeq_utf8_valid(json, n, &bad)) {
        moeq_fail(err, MOEQ_DAMAGED, "the header is not UTF-8");
        moeq_error_at(err, LENGTH_BYTES + bad);
        return MOEQ_DAMAGED;
    }
    if (json[0] != '{') {
        moeq_fail(err, MOEQ_DAMAGED, "the header must start with '{'");
        moeq_error_at(err, LENGTH_BYTES);
        return MOEQ_DAMAGED;
    }
    size_t end = n;
    while (end && json[end - 1] == ' ')
        end--;
    if (json[end - 1] != '}') {
        moeq_fail(err, MOEQ_DAMAGED, "the header must end with '}' and spaces");
        moeq_error_at(err, LENGTH_BYTES + end - 1);
        return MOEQ_DAMAGED;
    }
    bool in_string = false;
    for (size_t i = 0; i < end; i++) {
        if (json[i] == '"')
            in_string = !in_string;
        else if (in_string && json[i] == '\\')
            i++;
        else if (!in_string && json[i] == '-') {
            moeq_fail(err, MOEQ_DAMAGED, "a negative number in the header");
            moeq_error_at(err, LENGTH_BYTES + i);
            return MOEQ_DAMAGED;
        }
    }
    return MOEQ_OK;
}

static enum moeq_status check_metadata(const json_t *metadata, struct moeq_error *err)
{
    if (!json_is_object(metadata))
        return moeq_fail(err, MOEQ_DAMAGED, "__metadata__ must be an object of strings");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)metadata, key, value) if (!json_is_string(value)) return moeq_fail(
        err, MOEQ_DAMAGED, "__metadata__ value of \"%s\" is not a string", key);
    return MOEQ_OK;
}

/* An element that must be an integer literal: jansson reads "1e0" and 2^64 as reals, the format knows
 * neither. */
static enum moeq_status integer_at(const json_t *array, size_t i, const char *what, uint64_t *out,
                                   struct moeq_error *err)
{
    const json_t *value = json_array_get(array, i);
    if (!json_is_integer(value))
        return moeq_fail(err, MOEQ_DAMAGED, "%s must be whole numbers below 2^63", what);
    return moeq_json_value_uint(value, what, INT64_MAX, out, err);
}

static enum moeq_status parse_shape(const json_t *json, uint64_t *shape, struct moeq_tensor *tensor,
                                    struct moeq_error *err)
{
    size_t n = json_array_size(json);
    for (size_t i = 0; i < n; i++) {
        enum moeq_status status = integer_at(json, i, "shape: dimensions", &shape[i], err);
        if (status)
            return status;
    }
    tensor->shape = shape;
    tensor->n_dims = n;
    uint64_t n_bits;
    if (!moeq_shape_elements(shape, n, &n_bits) || !moeq_mul(n_bits, moeq_dtype_bits(tensor->dtype), &n_bits))
        return moeq_fail(err, MOEQ_DAMAGED, "the shape overflows 64 bits");
    if (n_bits % 8)
        return moeq_fail(err, MOEQ_DAMAGED, "%llu bits do not fill whole bytes", (unsigned long long)n_bits);
    tensor->n_bytes = n_bits / 8;
    return MOEQ_OK;
}

static enum moeq_status parse_offsets(const json_t *json, const struct moeq_safetensors *st,
                                      struct moeq_tensor *tensor, struct moeq_error *err)
{
    uint64_t range[2];
    if (json_array_size(json) != 2)
        return moeq_fail(err, MOEQ_DAMAGED, "data_offsets must be two numbers");
    for (size_t i = 0; i < 2; i++) {
        enum moeq_status status = integer_at(json, i, "data_offsets", &range[i], err);
        if (status)
            return status;
    }
    uint64_t n_data = st->n_bytes - st->data_offset;
    if (range[0] > range[1])
        return moeq_fail(err, MOEQ_DAMAGED, "data_offsets end before they begin");
    if (range[1] > n_data) {
        moeq_fail(err, MOEQ_DAMAGED, "truncated: data end at %llu, the file has %llu bytes of data",
                  (unsigned long long)range[1], (unsigned long long)n_data);
        moeq_error_hint(err, "download it again");
        return MOEQ_DAMAGED;
    }
    if (range[1] - range[0] != tensor->n_bytes)
        return moeq_fail(err, MOEQ_DAMAGED, "dtype and shape need %llu bytes, data_offsets give %llu",
                         (unsigned long long)tensor->n_bytes, (unsigned long long)(range[1] - range[0]));
    tensor->offset = st->data_offset + range[0];
    return MOEQ_OK;
}

static enum moeq_status parse_tensor(const json_t *json, uint64_t *shape, const struct moeq_safetensors *st,
                                     struct moeq_tensor *tensor, struct moeq_error *err)
{
    if (!json_is_object(json))
        return moeq_fail(err, MOEQ_DAMAGED, "must be an object with dtype, shape and data_offsets");
    const char *dtype;
    enum moeq_status status = moeq_json_string(json, "dtype", &dtype, err);
    if (status)
        return status;
    json_t *shape_json = moeq_json_array_at(json, "shape", err);
    json_t *offsets = shape_json ? moeq_json_array_at(json, "data_offsets", err) : NULL;
    if (!offsets)
        return MOEQ_DAMAGED;
    if (json_object_size(json) != 3)
        return moeq_fail(err, MOEQ_DAMAGED, "has fields other than dtype, shape and data_offsets");
    if (!moeq_dtype_find(dtype, &tensor->dtype))
        return moeq_fail(err, MOEQ_DAMAGED, "unknown dtype \"%s\"", dtype);
    if ((status = parse_shape(shape_json, shape, tensor, err)))
        return status;
    return parse_offsets(offsets, st, tensor, err);
}

/* Room for all shapes at once; also refuses shapes that are not arrays of a sane length. */
static enum moeq_status count_dimensions(const json_t *header, size_t *n_dims, struct moeq_error *err)
{
    const char *name;
    json_t *value;
    *n_dims = 0;
    json_object_foreach((json_t *)header, name, value)
    {
        size_t n = json_array_size(json_object_get(value, "shape"));
        if (n > MOEQ_MAX_DIMS) {
            moeq_fail(err, MOEQ_DAMAGED, "%zu dimensions, more than the limit of %d", n, MOEQ_MAX_DIMS);
            moeq_error_in_tensor(err, name);
            return MOEQ_DAMAGED;
        }
        *n_dims += n;
    }
    return MOEQ_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct moeq_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->n_bytes != y->n_bytes)
        return x->n_bytes < y->n_bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static enum moeq_status check_tiling(const struct moeq_safetensors *st, struct moeq_error *err)
{
    uint64_t end = st->data_offset;
    for (size_t i = 0; i < st->n_tensors; i++) {
        const struct moeq_tensor *t = &st->tensors[i];
        if (t->offset != end) {
            moeq_fail(err, MOEQ_DAMAGED,
                      t->offset < end ? "overlaps the tensor before it" : "a hole before it");
            moeq_error_in_tensor(err, t->name);
            moeq_error_at(err, t->offset);
            return MOEQ_DAMAGED;
        }
        end += t->n_bytes;
    }
    if (end != st->n_bytes) {
        moeq_fail(err, MOEQ_DAMAGED, "%llu bytes behind the last tensor",
                  (unsigned long long)(st->n_bytes - end));
        moeq_error_at(err, end);
        return MOEQ_DAMAGED;
    }
    return MOEQ_OK;
}

static enum moeq_status parse_entries(struct moeq_safetensors *st, struct moeq_error *err)
{
    size_t n_dims;
    enum moeq_status status = count_dimensions(st->json, &n_dims, err);
    if (status)
        return status;
    st->tensors = moeq_calloc(json_object_size(st->json), sizeof *st->tensors, err);
    st->shapes = moeq_calloc(n_dims, sizeof *st->shapes, err);
    if (!st->tensors || !st->shapes)
        return MOEQ_OVER_MEMORY;
    uint64_t *shape = st->shapes;
    const char *name;
    json_t *value;
    json_object_foreach(st->json, name, value)
    {
        if (strcmp(name, "__metadata__") == 0) {
            if ((status = check_metadata(value, err)))
                return status;
            continue;
        }
        struct moeq_tensor *tensor = &st->tensors[st->n_tensors];
        tensor->name = name;
        if ((status = parse_tensor(value, shape, st, tensor, err))) {
            moeq_error_in_tensor(err, name);
            return status;
        }
        shape += tensor->n_dims;
        st->n_tensors++;
    }
    qsort(st->tensors, st->n_tensors, sizeof *st->tensors, by_offset);
    return check_tiling(st, err);
}

enum moeq_status moeq_safetensors_parse(struct moeq_safetensors *st, const uint8_t *head, size_t n_head,
                                        uint64_t n_file, struct moeq_error *err)
{
    *st = (struct moeq_safetensors){.n_bytes = n_file};
    uint64_t n_json;
    enum moeq_status status = check_length(head, n_head, n_file, &n_json, err);
    if (status || (status = check_text(head + LENGTH_BYTES, (size_t)n_json, err)))
        return status;
    st->data_offset = LENGTH_BYTES + n_json;
    struct moeq_error local = {0};
    err = err ? err : &local;
    st->json = moeq_json_parse(head + LENGTH_BYTES, (size_t)n_json, err);
    status = st->json ? parse_entries(st, err) : err->status;
    if (status)
        moeq_safetensors_free(st);
    return status;
}

enum moeq_status moeq_safetensors_read(struct moeq_safetensors *st, const struct moeq_file *file,
                                       struct moeq_error *err)
{
    uint8_t length[LENGTH_BYTES] = {0};
    struct moeq_bytes head = {0};
    *st = (struct moeq_safetensors){0};
    size_t n_length = file->n_bytes < LENGTH_BYTES ? (size_t)file->n_bytes : LENGTH_BYTES;
    uint64_t n_json = 0;
    enum moeq_status status = moeq_file_read(file, 0, length, n_length, err);
    if (!status)
        status =
            check_length(length, n_length == LENGTH_BYTES ? SIZE_MAX : n_length, file->n_bytes, &n_json, err);
    if (!status)
        status = moeq_bytes_resize(&head, (size_t)(LENGTH_BYTES + n_json), err);
    if (!status)
        status = moeq_file_read(file, 0, head.data, head.n_bytes, err);
    if (!status)
        status = moeq_safetensors_parse(st, head.data, head.n_bytes, file->n_bytes, err);
    moeq_error_in_file(err, file->path);
    moeq_bytes_free(&head);
    return status;
}

void moeq_safetensors_free(struct moeq_safetensors *st)
{
    free(st->tensors);
    free(st->shapes);
    json_decref(st->json);
    *st = (struct moeq_safetensors){0};
}

const char *moeq_safetensors_metadata(const struct moeq_safetensors *st, const char *key)
{
    return json_string_value(json_object_get(json_object_get(st->json, "__metadata__"), key));
}

/* ---- writing ---- */

static json_t *tensor_entry(const struct moeq_tensor *t, uint64_t begin)
{
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", moeq_dtype_name(t->dtype), "shape",
                     moeq_json_shape(t->shape, t->n_dims), "data_offsets", (json_int_t)begin,
                     (json_int_t)(begin + t->n_bytes));
}

static enum moeq_status place_head(const char *text, struct moeq_bytes *head, struct moeq_error *err)
{
    size_t n = strlen(text);
    size_t total = moeq_round_up(LENGTH_BYTES + n, DATA_ALIGNMENT);
    if (total - LENGTH_BYTES > MOEQ_SAFETENSORS_MAX_HEADER)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "too many tensors for one safetensors header");
    enum moeq_status status = moeq_bytes_resize(head, total, err);
    if (status)
        return status;
    moeq_store_u64le(head->data, total - LENGTH_BYTES);
    memset(head->data + LENGTH_BYTES, ' ', total - LENGTH_BYTES);
    memcpy(head->data + LENGTH_BYTES, text, n);
    return MOEQ_OK;
}

enum moeq_status moeq_safetensors_build(struct moeq_tensor *tensors, size_t n_tensors, const json_t *metadata,
                                        struct moeq_bytes *head, struct moeq_error *err)
{
    json_t *header = json_object();
    if (metadata)
        moeq_json_set(&header, "__metadata__", json_incref((json_t *)metadata));
    uint64_t end = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        moeq_json_set(&header, tensors[i].name, tensor_entry(&tensors[i], end));
        tensors[i].offset = end;
        end += tensors[i].n_bytes;
    }
    if (header && json_object_size(header) != n_tensors + (metadata != NULL)) {
        json_decref(header);
        return moeq_fail(err, MOEQ_BUG, "two tensors of one name");
    }
    char *text = header ? moeq_json_text(header, false) : NULL;
    enum moeq_status status = text ? place_head(text, head, err) : moeq_fail_alloc(err, n_tensors);
    for (size_t i = 0; !status && i < n_tensors; i++)
        tensors[i].offset += head->n_bytes;
    free(text);
    json_decref(header);
    return status;
}
