#include "safetensors.h"

#include "json_scan.h"

#include <stdio.h>
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

/* What lies around the object. */
static enum moeq_status check_text(const struct moeq_safetensors *st, size_t n, struct moeq_error *err)
{
    size_t bad = 0, begin = 0, end = n;
    if (!moeq_utf8_valid((const uint8_t *)st->text, n, &bad)) {
        moeq_fail(err, MOEQ_DAMAGED, "the header is not UTF-8");
        moeq_error_at(err, LENGTH_BYTES + bad);
        return MOEQ_DAMAGED;
    }
    const char *padding = st->strictness == MOEQ_LENIENT ? " \t\n\r" : " ";
    if (st->strictness == MOEQ_LENIENT)
        begin = strspn(st->text, padding);
    if (st->text[begin] != '{') {
        moeq_fail(err, MOEQ_DAMAGED, "the header must start with '{'");
        moeq_error_at(err, LENGTH_BYTES + begin);
        return MOEQ_DAMAGED;
    }
    while (end > begin && st->text[end - 1] && strchr(padding, st->text[end - 1]))
        end--;
    if (st->text[end - 1] != '}') {
        moeq_fail(err, MOEQ_DAMAGED, "the header must end with '}' and spaces");
        moeq_error_at(err, LENGTH_BYTES + end - 1);
        return MOEQ_DAMAGED;
    }
    return moeq_json_check(st->text, n, LENGTH_BYTES, err);
}

struct entry {
    struct moeq_tensor tensor;
    size_t first_dim; /* in the dimensions */
    size_t order;     /* in the header */
    uint64_t begin, end;
};

struct parser {
    struct moeq_safetensors *st;
    struct moeq_json_scan scan;
    struct entry *entries;
    size_t n_entries, entry_capacity, n_dims, dim_capacity, metadata_capacity;
    bool has_metadata;
    const char *conflict; /* a name that stands twice, with different ranges; NULL: none */
    struct moeq_error *err;
};

static bool is_lenient(const struct parser *p)
{
    return p->st->strictness == MOEQ_LENIENT;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct moeq_metadata *)a)->key, ((const struct moeq_metadata *)b)->key);
}

/* Two readers that choose different ones of two equal keys see two different files. The later one is kept
 * where the file is read leniently: moeq_safetensors_metadata looks from the end. */
static enum moeq_status check_keys(const struct parser *p)
{
    const size_t n = p->st->n_metadata;
    struct moeq_metadata *sorted = moeq_calloc(n, sizeof *sorted, p->err);
    enum moeq_status status = sorted ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (!status && n) {
        memcpy(sorted, p->st->metadata, n * sizeof *sorted);
        qsort(sorted, n, sizeof *sorted, by_key);
    }
    for (size_t i = 1; !status && i < n; i++)
        if (strcmp(sorted[i].key, sorted[i - 1].key) == 0)
            status =
                moeq_fail(p->err, MOEQ_DAMAGED, "__metadata__ has the duplicate key \"%s\"", sorted[i].key);
    free(sorted);
    return status;
}

static enum moeq_status parse_metadata(struct parser *p)
{
    const char kind = moeq_json_scan_kind(&p->scan);
    if (p->has_metadata)
        return moeq_fail(p->err, MOEQ_DAMAGED, "duplicate __metadata__");
    p->has_metadata = true;
    if (kind == 'n' && is_lenient(p)) {
        moeq_json_scan_skip(&p->scan);
        return MOEQ_OK;
    }
    if (kind != '{')
        return moeq_fail(p->err, MOEQ_DAMAGED, "__metadata__ must be an object of strings");
    for (moeq_json_scan_enter(&p->scan); moeq_json_scan_next(&p->scan);) {
        struct moeq_metadata item = {.key = moeq_json_scan_key(&p->scan)};
        if (moeq_json_scan_kind(&p->scan) != '"')
            return moeq_fail(p->err, MOEQ_DAMAGED, "__metadata__ value of \"%s\" is not a string", item.key);
        item.value = moeq_json_scan_string(&p->scan);
        struct moeq_metadata *grown =
            moeq_grown(p->st->metadata, p->st->n_metadata, &p->metadata_capacity, sizeof item, p->err);
        if (!grown)
            return MOEQ_OVER_MEMORY;
        p->st->metadata = grown;
        grown[p->st->n_metadata++] = item;
    }
    return is_lenient(p) ? MOEQ_OK : check_keys(p);
}

/* Plain digits: "-0", "1e0" and "1.0" are no dimensions. */
static enum moeq_status take_integer(struct parser *p, const char *what, uint64_t *out)
{
    const bool number = moeq_json_scan_kind(&p->scan) == '0';
    if (!number || !moeq_json_scan_uint(&p->scan, out) || (*out > INT64_MAX && !is_lenient(p)))
        return moeq_fail(p->err, MOEQ_DAMAGED, "%s must be whole numbers below 2^63", what);
    return MOEQ_OK;
}

static enum moeq_status take_array(struct parser *p, const char *key)
{
    if (moeq_json_scan_kind(&p->scan) != '[')
        return moeq_fail(p->err, MOEQ_DAMAGED, "\"%s\" must be an array", key);
    moeq_json_scan_enter(&p->scan);
    return MOEQ_OK;
}

static enum moeq_status parse_shape(struct parser *p, struct entry *e)
{
    enum moeq_status status = take_array(p, "shape");
    e->first_dim = p->n_dims;
    while (!status && moeq_json_scan_next(&p->scan)) {
        uint64_t *grown = moeq_grown(p->st->shapes, p->n_dims, &p->dim_capacity, sizeof *grown, p->err);
        if (!grown)
            return MOEQ_OVER_MEMORY;
        p->st->shapes = grown;
        status = take_integer(p, "shape: dimensions", &grown[p->n_dims++]);
    }
    e->tensor.n_dims = p->n_dims - e->first_dim;
    if (!status && e->tensor.n_dims > MOEQ_MAX_DIMS)
        return moeq_fail(p->err, MOEQ_DAMAGED, "%zu dimensions, more than the limit of %d", e->tensor.n_dims,
                         MOEQ_MAX_DIMS);
    return status;
}

static enum moeq_status parse_offsets(struct parser *p, struct entry *e)
{
    uint64_t range[2];
    size_t n = 0;
    enum moeq_status status = take_array(p, "data_offsets");
    for (; !status && moeq_json_scan_next(&p->scan); n++)
        status = n < 2 ? take_integer(p, "data_offsets", &range[n])
                       : moeq_fail(p->err, MOEQ_DAMAGED, "data_offsets must be two numbers");
    if (status || n != 2)
        return moeq_fail(p->err, MOEQ_DAMAGED, "data_offsets must be two numbers");
    e->begin = range[0];
    e->end = range[1];
    return MOEQ_OK;
}

/* Also as the reference's reader takes it, where it is lenient: {"U8": null}. */
static enum moeq_status parse_dtype(struct parser *p, struct entry *e)
{
    const char kind = moeq_json_scan_kind(&p->scan);
    const bool wrapped = kind == '{' && is_lenient(p);
    const char *name = "";
    if (wrapped) {
        moeq_json_scan_enter(&p->scan);
        bool single = moeq_json_scan_next(&p->scan);
        if (single) {
            name = moeq_json_scan_key(&p->scan);
            single = moeq_json_scan_kind(&p->scan) == 'n';
            moeq_json_scan_skip(&p->scan);
        }
        if (!single || moeq_json_scan_next(&p->scan))
            return moeq_fail(p->err, MOEQ_DAMAGED, "\"dtype\" must be a string");
    } else if (kind == '"') {
        name = moeq_json_scan_string(&p->scan);
    } else {
        return moeq_fail(p->err, MOEQ_DAMAGED, "\"dtype\" must be a string");
    }
    return moeq_dtype_find(name, &e->tensor.dtype)
               ? MOEQ_OK
               : moeq_fail(p->err, MOEQ_DAMAGED, "unknown dtype \"%s\"", name);
}

static const struct field {
    const char *key;
    enum moeq_status (*parse)(struct parser *p, struct entry *e);
} fields[] = {{"dtype", parse_dtype}, {"shape", parse_shape}, {"data_offsets", parse_offsets}};

#define N_FIELDS (sizeof fields / sizeof *fields)

static enum moeq_status parse_object(struct parser *p, struct entry *e)
{
    bool seen[N_FIELDS] = {false};
    enum moeq_status status = MOEQ_OK;
    for (moeq_json_scan_enter(&p->scan); !status && moeq_json_scan_next(&p->scan);) {
        const char *key = moeq_json_scan_key(&p->scan);
        size_t f = 0;
        while (f < N_FIELDS && strcmp(key, fields[f].key) != 0)
            f++;
        if (f < N_FIELDS && seen[f])
            status = moeq_fail(p->err, MOEQ_DAMAGED, "the duplicate key \"%s\"", key);
        else if (f < N_FIELDS) {
            seen[f] = true;
            status = fields[f].parse(p, e);
        } else if (is_lenient(p)) {
            moeq_json_scan_skip(&p->scan);
        } else {
            status = moeq_fail(p->err, MOEQ_DAMAGED,
                               "has fields other than dtype, shape and data_offsets: \"%s\"", key);
        }
    }
    for (size_t f = 0; !status && f < N_FIELDS; f++)
        if (!seen[f])
            status = moeq_fail(p->err, MOEQ_DAMAGED, "the key \"%s\" is missing", fields[f].key);
    return status;
}

/* ["U8", [4], [0, 4]], which the reference's reader takes as well. */
static enum moeq_status parse_array(struct parser *p, struct entry *e)
{
    size_t f = 0;
    enum moeq_status status = MOEQ_OK;
    for (moeq_json_scan_enter(&p->scan); !status && moeq_json_scan_next(&p->scan); f++)
        status = f < N_FIELDS ? fields[f].parse(p, e) : MOEQ_DAMAGED;
    return status || f != N_FIELDS
               ? moeq_fail(p->err, MOEQ_DAMAGED, "as an array, must be dtype, shape and data_offsets")
               : MOEQ_OK;
}

static enum moeq_status parse_entry(struct parser *p, const char *name)
{
    struct entry *grown = moeq_grown(p->entries, p->n_entries, &p->entry_capacity, sizeof *grown, p->err);
    if (!grown)
        return MOEQ_OVER_MEMORY;
    p->entries = grown;
    struct entry *e = &grown[p->n_entries];
    *e = (struct entry){.tensor.name = name, .order = p->n_entries};
    p->n_entries++;
    const char kind = moeq_json_scan_kind(&p->scan);
    if (kind == '{')
        return parse_object(p, e);
    if (kind == '[' && is_lenient(p))
        return parse_array(p, e);
    return moeq_fail(p->err, MOEQ_DAMAGED, "must be an object with dtype, shape and data_offsets");
}

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = strcmp(x->tensor.name, y->tensor.name);
    return order ? order : (x->order > y->order) - (x->order < y->order);
}

static enum moeq_status duplicate_name(const struct parser *p, const char *name, const char *why)
{
    moeq_fail(p->err, MOEQ_DAMAGED, "a duplicate name%s", why);
    moeq_error_in_tensor(p->err, name);
    return MOEQ_DAMAGED;
}

/* Of duplicate names the last counts where the file is read leniently. If it stands for other bytes than the
 * one before, those are nobody's, and the data are not tiled: then this is the reason to give. */
static enum moeq_status drop_duplicates(struct parser *p)
{
    size_t n = 0;
    if (p->n_entries)
        qsort(p->entries, p->n_entries, sizeof *p->entries, by_name);
    for (size_t i = 0; i < p->n_entries; i++) {
        const struct entry *e = &p->entries[i];
        if (n && strcmp(e->tensor.name, p->entries[n - 1].tensor.name) == 0) {
            const struct entry *before = &p->entries[--n];
            if (!is_lenient(p))
                return duplicate_name(p, e->tensor.name, "");
            if (e->begin != before->begin || e->end != before->end)
                p->conflict = e->tensor.name;
        }
        p->entries[n++] = *e;
    }
    p->n_entries = n;
    return MOEQ_OK;
}

/* Shape, dtype and range must agree, and the data must hold them. */
static enum moeq_status check_entry(const struct parser *p, struct entry *e)
{
    const uint64_t n_data = p->st->n_bytes - p->st->data_offset;
    struct moeq_tensor *t = &e->tensor;
    uint64_t n_bits;
    t->shape = p->st->shapes + e->first_dim;
    if (!moeq_shape_elements(t->shape, t->n_dims, &n_bits) ||
        !moeq_mul(n_bits, moeq_dtype_bits(t->dtype), &n_bits))
        return moeq_fail(p->err, MOEQ_DAMAGED, "the shape overflows 64 bits");
    if (n_bits % 8)
        return moeq_fail(p->err, MOEQ_DAMAGED, "%llu bits do not fill whole bytes",
                         (unsigned long long)n_bits);
    t->n_bytes = n_bits / 8;
    if (e->begin > e->end)
        return moeq_fail(p->err, MOEQ_DAMAGED, "data_offsets end before they begin");
    if (e->end > n_data) {
        moeq_fail(p->err, MOEQ_DAMAGED, "truncated: data end at %llu, the file has %llu bytes of data",
                  (unsigned long long)e->end, (unsigned long long)n_data);
        moeq_error_hint(p->err, "download it again");
        return MOEQ_DAMAGED;
    }
    if (e->end - e->begin != t->n_bytes)
        return moeq_fail(p->err, MOEQ_DAMAGED, "dtype and shape need %llu bytes, data_offsets give %llu",
                         (unsigned long long)t->n_bytes, (unsigned long long)(e->end - e->begin));
    t->offset = p->st->data_offset + e->begin;
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

static enum moeq_status parse_header(struct parser *p)
{
    enum moeq_status status = MOEQ_OK;
    for (moeq_json_scan_enter(&p->scan); !status && moeq_json_scan_next(&p->scan);) {
        const char *name = moeq_json_scan_key(&p->scan);
        const bool metadata = strcmp(name, "__metadata__") == 0;
        status = metadata ? parse_metadata(p) : parse_entry(p, name);
        if (status && !metadata)
            moeq_error_in_tensor(p->err, name);
    }
    if (!status && p->scan.nul_at && !is_lenient(p)) {
        status = moeq_fail(p->err, MOEQ_DAMAGED, "a JSON string with a NUL in it");
        moeq_error_at(p->err, LENGTH_BYTES + p->scan.nul_at);
    }
    return status ? status : drop_duplicates(p);
}

static enum moeq_status parse_text(struct moeq_safetensors *st, struct moeq_error *err)
{
    struct parser p = {.st = st, .scan = {.text = st->text}, .err = err};
    enum moeq_status status = parse_header(&p);
    if (!status && !st->shapes) /* no shape is NULL, though none may have a dimension */
        st->shapes = moeq_calloc(1, sizeof *st->shapes, err);
    if (!status && (!st->shapes || !(st->tensors = moeq_calloc(p.n_entries, sizeof *st->tensors, err))))
        status = MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < p.n_entries; i++) {
        status = check_entry(&p, &p.entries[i]);
        if (status)
            moeq_error_in_tensor(err, p.entries[i].tensor.name);
        st->tensors[st->n_tensors++] = p.entries[i].tensor;
    }
    free(p.entries);
    if (status)
        return status;
    qsort(st->tensors, st->n_tensors, sizeof *st->tensors, by_offset);
    status = check_tiling(st, p.conflict ? NULL : err);
    return status && p.conflict ? duplicate_name(&p, p.conflict, " for different ranges of the data")
                                : status;
}

enum moeq_status moeq_safetensors_parse(struct moeq_safetensors *st, const uint8_t *head, size_t n_head,
                                        uint64_t n_file, enum moeq_strictness strictness,
                                        struct moeq_error *err)
{
    *st = (struct moeq_safetensors){.n_bytes = n_file, .strictness = strictness};
    uint64_t n_json;
    enum moeq_status status = check_length(head, n_head, n_file, &n_json, err);
    if (status)
        return status;
    st->data_offset = LENGTH_BYTES + n_json;
    st->text = moeq_calloc((size_t)n_json + 1, 1, err);
    if (!st->text)
        return MOEQ_OVER_MEMORY;
    memcpy(st->text, head + LENGTH_BYTES, (size_t)n_json);
    status = check_text(st, (size_t)n_json, err);
    if (!status)
        status = parse_text(st, err);
    if (status)
        moeq_safetensors_free(st);
    return status;
}

enum moeq_status moeq_safetensors_read(struct moeq_safetensors *st, const struct moeq_file *file,
                                       enum moeq_strictness strictness, struct moeq_error *err)
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
        status = moeq_safetensors_parse(st, head.data, head.n_bytes, file->n_bytes, strictness, err);
    moeq_error_in_file(err, file->path);
    moeq_bytes_free(&head);
    return status;
}

void moeq_safetensors_free(struct moeq_safetensors *st)
{
    free(st->tensors);
    free(st->shapes);
    free(st->metadata);
    free(st->text);
    *st = (struct moeq_safetensors){0};
}

const char *moeq_safetensors_metadata(const struct moeq_safetensors *st, const char *key)
{
    for (size_t i = st->n_metadata; i-- > 0;)
        if (strcmp(st->metadata[i].key, key) == 0)
            return st->metadata[i].value;
    return NULL;
}

json_t *moeq_safetensors_metadata_json(const struct moeq_safetensors *st)
{
    json_t *json = json_object();
    for (size_t i = 0; i < st->n_metadata; i++)
        moeq_json_set(&json, st->metadata[i].key, json_string(st->metadata[i].value));
    return json;
}

/* ---- writing ---- */

/* The header's JSON, written straight away: a tree of it would be many times as large. */
struct header_text {
    char *data;
    size_t n, capacity;
};

static enum moeq_status append(struct header_text *t, const char *piece, struct moeq_error *err)
{
    const size_t n = strlen(piece) + 1; /* with the NUL, which the next piece overwrites */
    while (t->capacity - t->n < n) {
        char *grown = moeq_grown(t->data, t->capacity, &t->capacity, 1, err);
        if (!grown)
            return MOEQ_OVER_MEMORY;
        t->data = grown;
    }
    memcpy(t->data + t->n, piece, n);
    t->n += n - 1;
    return MOEQ_OK;
}

/* Any JSON value; takes it over. */
static enum moeq_status append_json(struct header_text *t, json_t *value, struct moeq_error *err)
{
    char *text = value ? moeq_json_text(value, false) : NULL;
    enum moeq_status status = text ? append(t, text, err) : moeq_fail_alloc(err, 0);
    free(text);
    json_decref(value);
    return status;
}

static enum moeq_status append_entry(struct header_text *t, const struct moeq_tensor *tensor, uint64_t begin,
                                     struct moeq_error *err)
{
    char piece[96];
    enum moeq_status status = append_json(t, json_string(tensor->name), err);
    snprintf(piece, sizeof piece, ":{\"dtype\":\"%s\",\"shape\":[", moeq_dtype_name(tensor->dtype));
    if (!status)
        status = append(t, piece, err);
    for (size_t d = 0; !status && d < tensor->n_dims; d++) {
        snprintf(piece, sizeof piece, "%s%llu", d ? "," : "", (unsigned long long)tensor->shape[d]);
        status = append(t, piece, err);
    }
    snprintf(piece, sizeof piece, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
             (unsigned long long)(begin + tensor->n_bytes));
    return status ? status : append(t, piece, err);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A header that lost a tensor must never be written. */
static enum moeq_status check_names(const struct moeq_tensor *tensors, size_t n, struct moeq_error *err)
{
    const char **names = moeq_calloc(n, sizeof *names, err);
    enum moeq_status status = names ? MOEQ_OK : MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < n; i++)
        names[i] = tensors[i].name;
    if (!status)
        qsort(names, n, sizeof *names, by_text);
    for (size_t i = 1; !status && i < n; i++)
        if (strcmp(names[i], names[i - 1]) == 0)
            status = moeq_fail(err, MOEQ_BUG, "two tensors of one name");
    free(names);
    return status;
}

static enum moeq_status place_head(const char *text, size_t n, struct moeq_bytes *head,
                                   struct moeq_error *err)
{
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

enum moeq_status moeq_safetensors_pad_head(struct moeq_bytes *head, uint64_t n_bytes, struct moeq_error *err)
{
    struct moeq_bytes padded = {0};
    if (head->n_bytes >= n_bytes)
        return MOEQ_OK;
    enum moeq_status status = moeq_bytes_resize(&padded, (size_t)n_bytes, err);
    if (!status) {
        moeq_store_u64le(padded.data, n_bytes - LENGTH_BYTES);
        memset(padded.data + LENGTH_BYTES, ' ', (size_t)n_bytes - LENGTH_BYTES);
        memcpy(padded.data + LENGTH_BYTES, head->data + LENGTH_BYTES, head->n_bytes - LENGTH_BYTES);
    }
    moeq_bytes_free(head);
    *head = padded;
    return status;
}

enum moeq_status moeq_safetensors_build(struct moeq_tensor *tensors, size_t n_tensors, const json_t *metadata,
                                        struct moeq_bytes *head, struct moeq_error *err)
{
    struct header_text text = {0};
    uint64_t end = 0;
    enum moeq_status status = check_names(tensors, n_tensors, err);
    if (!status)
        status = append(&text, "{", err);
    if (!status && metadata) {
        status = append(&text, "\"__metadata__\":", err);
        if (!status)
            status = append_json(&text, json_incref((json_t *)metadata), err);
    }
    for (size_t i = 0; !status && i < n_tensors; i++) {
        status = i || metadata ? append(&text, ",", err) : MOEQ_OK;
        if (!status)
            status = append_entry(&text, &tensors[i], end, err);
        tensors[i].offset = end;
        end += tensors[i].n_bytes;
    }
    if (!status)
        status = append(&text, "}", err);
    if (!status)
        status = place_head(text.data, text.n, head, err);
    for (size_t i = 0; !status && i < n_tensors; i++)
        tensors[i].offset += head->n_bytes;
    free(text.data);
    return status;
}
