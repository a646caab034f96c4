#include "source.h"

#include <stdlib.h>

#define SCALE_SUFFIX "_scale_inv"
#define NO_PLACE     SIZE_MAX

bool moeq_stored_natively(enum moeq_part part, struct moeq_format format)
{
    if (format.level == &moeq_level_raw)
        return true;
    return !moeq_part_quantizable(part) && format.level != &moeq_level_fp8;
}

/* ---- describing weights ---- */

static enum moeq_status set_shape(struct moeq_weight *w, const uint64_t *shape, size_t n_dims,
                                  struct moeq_error *err)
{
    w->shape = shape;
    w->n_dims = n_dims;
    w->cols = n_dims ? shape[n_dims - 1] : 1;
    w->rows = 1;
    if (n_dims > 1 && !moeq_shape_elements(shape, n_dims - 1, &w->rows))
        return moeq_fail(err, MOEQ_DAMAGED, "the shape overflows 64 bits");
    enum moeq_status status = moeq_packed_size(w->format, w->rows, w->cols, &w->n_bytes, &w->n_padded, err);
    moeq_error_in_tensor(err, w->name);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct moeq_weight *)a)->name, ((const struct moeq_weight *)b)->name);
}

/* The scale of an FP8 weight must be float32 with one element for each block. */
static enum moeq_status find_scale(const struct moeq_checkpoint *c, const struct moeq_tensor *weight,
                                   size_t *place, struct moeq_error *err)
{
    size_t n = strlen(weight->name);
    char *name = moeq_calloc(n + sizeof SCALE_SUFFIX, 1, err);
    if (!name)
        return MOEQ_OVER_MEMORY;
    memcpy(name, weight->name, n);
    strcpy(name + n, SCALE_SUFFIX);
    const struct moeq_located *found = moeq_checkpoint_find(c, name);
    free(name);
    if (!found)
        return moeq_fail(err, MOEQ_DAMAGED, "FP8 weight without its " SCALE_SUFFIX " tensor");
    const struct moeq_tensor *scale = found->tensor;
    if (weight->n_dims != 2 || scale->n_dims != 2 || scale->dtype != MOEQ_F32)
        return moeq_fail(err, MOEQ_UNSUPPORTED,
                         "FP8 weights must be matrices with F32 block scales, this scale is "
                         "%s",
                         moeq_dtype_name(scale->dtype));
    for (size_t i = 0; i < 2; i++)
        if (scale->shape[i] != moeq_div_up(weight->shape[i], MOEQ_FP8_BLOCK))
            return moeq_fail(err, MOEQ_DAMAGED,
                             "a weight of %llu x %llu needs %llu x %llu block scales, it has "
                             "%llu x %llu",
                             (unsigned long long)weight->shape[0], (unsigned long long)weight->shape[1],
                             (unsigned long long)moeq_div_up(weight->shape[0], MOEQ_FP8_BLOCK),
                             (unsigned long long)moeq_div_up(weight->shape[1], MOEQ_FP8_BLOCK),
                             (unsigned long long)scale->shape[0], (unsigned long long)scale->shape[1]);
    *place = (size_t)(found - c->tensors);
    return MOEQ_OK;
}

static enum moeq_status describe_tensor(const struct moeq_source *s, size_t place, struct moeq_weight *w,
                                        struct moeq_error *err)
{
    const struct moeq_located *located = &s->checkpoint.tensors[place];
    const struct moeq_tensor *tensor = located->tensor;
    *w = (struct moeq_weight){.name = tensor->name, .place = place, .scale_place = NO_PLACE};
    w->id = moeq_name_parse(tensor->name);
    enum moeq_status status = MOEQ_OK;
    if (tensor->dtype == MOEQ_F8_E4M3) {
        w->format = (struct moeq_format){.level = &moeq_level_fp8, .dtype = MOEQ_U8};
        status = find_scale(&s->checkpoint, tensor, &w->scale_place, err);
    } else {
        w->format = moeq_format_of_dtype(tensor->dtype);
    }
    if (!status)
        status = set_shape(w, tensor->shape, tensor->n_dims, err);
    if (status) {
        moeq_error_in_file(err, s->checkpoint.shards[located->shard].file.path);
        moeq_error_in_tensor(err, tensor->name);
    }
    return status;
}

/* The tensors that are scales of an FP8 weight belong to it and are no weights of their own. */
static enum moeq_status list_tensors(struct moeq_source *s, bool *is_scale, struct moeq_error *err)
{
    const struct moeq_checkpoint *c = &s->checkpoint;
    struct moeq_weight weight;
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < c->n_tensors; i++)
        if (c->tensors[i].tensor->dtype == MOEQ_F8_E4M3 && !(status = describe_tensor(s, i, &weight, err)))
            is_scale[weight.scale_place] = true;
    for (size_t i = 0; !status && i < c->n_tensors; i++)
        if (!is_scale[i])
            status = describe_tensor(s, i, &s->weights[s->n_weights++], err);
    return status; /* in the order of the checkpoint's tensors: by name */
}

static enum moeq_status list_checkpoint(struct moeq_source *s, struct moeq_error *err)
{
    const size_t n = s->checkpoint.n_tensors;
    bool *is_scale = moeq_calloc(n, sizeof *is_scale, err);
    s->weights = moeq_calloc(n, sizeof *s->weights, err);
    enum moeq_status status = is_scale && s->weights ? list_tensors(s, is_scale, err) : MOEQ_OVER_MEMORY;
    free(is_scale);
    return status;
}

/* The level that the manifest states against the bytes that the file has. */
static enum moeq_status describe_packed(const struct moeq_source *s, size_t place, struct moeq_weight *w,
                                        struct moeq_error *err)
{
    const struct moeq_package *p = &s->package;
    const struct moeq_packed *packed = &p->tensors[place];
    *w = (struct moeq_weight){.name = packed->name, .place = place, .scale_place = NO_PLACE};
    w->id = moeq_name_parse(packed->name);
    enum moeq_status status = MOEQ_OK;
    if (strcmp(packed->level, moeq_level_raw.name) == 0)
        w->format = (struct moeq_format){.level = &moeq_level_raw, .dtype = packed->stored->dtype};
    else
        status = moeq_format_parse(packed->level, (struct moeq_format){0}, &w->format, NULL);
    if (status || (w->format.level->grouped && !w->format.group))
        return moeq_fail(err, MOEQ_UNSUPPORTED, "unknown level \"%s\"", packed->level);
    const bool native = moeq_stored_natively(w->id.part, w->format);
    if (packed->stored->dtype != (native ? w->format.dtype : MOEQ_U8))
        return moeq_fail(err, MOEQ_DAMAGED, "level %s is stored as %s", packed->level,
                         moeq_dtype_name(packed->stored->dtype));
    if ((status = set_shape(w, packed->shape, packed->n_dims, err)))
        return status;
    if ((packed->stored->offset - p->segments[packed->segment].offset) % MOEQ_PACKED_ALIGNMENT != 0)
        return moeq_fail(err, MOEQ_DAMAGED, "the bytes are not aligned to %d in their segment",
                         MOEQ_PACKED_ALIGNMENT);
    uint64_t expected = native ? w->n_bytes : w->n_padded;
    if (packed->stored->n_bytes != expected)
        return moeq_fail(err, MOEQ_DAMAGED, "level %s needs %llu bytes, the file has %llu", packed->level,
                         (unsigned long long)expected, (unsigned long long)packed->stored->n_bytes);
    return MOEQ_OK;
}

static enum moeq_status list_package(struct moeq_source *s, struct moeq_error *err)
{
    const struct moeq_package *p = &s->package;
    s->weights = moeq_calloc(p->n_tensors, sizeof *s->weights, err);
    if (!s->weights)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < p->n_tensors; i++) {
        struct moeq_error local = {0};
        struct moeq_error *e = err ? err : &local;
        if (describe_packed(s, i, &s->weights[i], e)) {
            moeq_error_in_file(e, p->files[p->segments[p->tensors[i].segment].file].file.path);
            moeq_error_in_tensor(e, p->tensors[i].name);
            return e->status;
        }
        s->n_weights++;
    }
    return MOEQ_OK;
}

static enum moeq_status open_either(struct moeq_source *s, enum moeq_strictness strictness,
                                    struct moeq_error *err)
{
    enum moeq_status status;
    s->is_package = moeq_package_is_at(s->path);
    if (s->is_package) {
        status = moeq_package_open(&s->package, s->path, err);
        if (!status)
            status = moeq_package_check_outside(&s->package, err);
        return status ? status : moeq_config_load(&s->config, s->path, err);
    }
    /* The configuration first: an unknown architecture is a better answer than a detail of its files. */
    status = moeq_config_load(&s->config, s->path, err);
    return status ? status : moeq_checkpoint_open_as(&s->checkpoint, s->path, strictness, err);
}

enum moeq_status moeq_source_open(struct moeq_source *source, const char *path, struct moeq_error *err)
{
    return moeq_source_open_as(source, path, MOEQ_STRICT, err);
}

enum moeq_status moeq_source_open_as(struct moeq_source *source, const char *path,
                                     enum moeq_strictness strictness, struct moeq_error *err)
{
    *source = (struct moeq_source){0};
    enum moeq_status status = moeq_place_open(&source->place, path, err);
    source->path = source->place.path;
    if (!status)
        status = open_either(source, strictness, err);
    if (!status)
        status = source->is_package ? list_package(source, err) : list_checkpoint(source, err);
    if (status)
        moeq_source_close(source);
    return status;
}

void moeq_source_close(struct moeq_source *source)
{
    free(source->weights);
    moeq_checkpoint_close(&source->checkpoint);
    moeq_package_close(&source->package);
    moeq_place_close(&source->place);
    *source = (struct moeq_source){0};
}

const struct moeq_weight *moeq_source_find(const struct moeq_source *source, const char *name)
{
    const struct moeq_weight key = {.name = name};
    return source->n_weights
               ? bsearch(&key, source->weights, source->n_weights, sizeof *source->weights, by_name)
               : NULL;
}

/* ---- loading ---- */

static const struct moeq_segment *segment_of(const struct moeq_source *s, const struct moeq_weight *w)
{
    return &s->package.segments[s->package.tensors[w->place].segment];
}

static bool shares_segment(const struct moeq_source *s, const struct moeq_weight *const *weights, size_t i)
{
    return s->is_package && i > 0 && segment_of(s, weights[i]) == segment_of(s, weights[i - 1]);
}

static uint64_t padded_bytes(const struct moeq_source *s, const struct moeq_weight *w)
{
    return s->is_package ? moeq_round_up(segment_of(s, w)->n_bytes, MOEQ_PACKED_ALIGNMENT) : w->n_padded;
}

uint64_t moeq_source_load_bytes(const struct moeq_source *source, const struct moeq_weight *const *weights,
                                size_t n)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++)
        if (!shares_segment(source, weights, i))
            total +=
                padded_bytes(source, weights[i]); /* each below 2^63 and in a file: the sum cannot wrap */
    return total;
}

/* An FP8 weight becomes codes, zeros up to a multiple of 4, scales: the packed form of level fp8. */
static enum moeq_status load_from_checkpoint(const struct moeq_source *s, const struct moeq_weight *w,
                                             uint8_t *dst, struct moeq_error *err)
{
    const struct moeq_located *located = &s->checkpoint.tensors[w->place];
    uint64_t n = located->tensor->n_bytes, n_scale = 0;
    enum moeq_status status = moeq_checkpoint_read(&s->checkpoint, located, dst, err);
    if (!status && w->scale_place != NO_PLACE) {
        const struct moeq_located *scale = &s->checkpoint.tensors[w->scale_place];
        n_scale = scale->tensor->n_bytes;
        memset(dst + n, 0, w->n_bytes - n_scale - n);
        status = moeq_checkpoint_read(&s->checkpoint, scale, dst + w->n_bytes - n_scale, err);
    }
    memset(dst + w->n_bytes, 0, w->n_padded - w->n_bytes);
    return status;
}

enum moeq_status moeq_source_load(const struct moeq_source *source, const struct moeq_weight *const *weights,
                                  size_t n, struct moeq_bytes *buffer, struct moeq_matrix *matrices,
                                  struct moeq_error *err)
{
    enum moeq_status status =
        moeq_bytes_resize(buffer, (size_t)moeq_source_load_bytes(source, weights, n), err);
    uint8_t *next = buffer->data, *base = NULL;
    for (size_t i = 0; !status && i < n; i++) {
        const struct moeq_weight *w = weights[i];
        if (!shares_segment(source, weights, i)) {
            base = next;
            next += padded_bytes(source, w);
            status = source->is_package
                         ? moeq_package_read_segment(&source->package, segment_of(source, w), base, err)
                         : load_from_checkpoint(source, w, base, err);
        }
        uint64_t offset = source->is_package ? source->package.tensors[w->place].stored->offset -
                                                   segment_of(source, w)->offset
                                             : 0;
        matrices[i] = (struct moeq_matrix){w->format, w->rows, w->cols, base + offset, w->n_bytes};
    }
    return status;
}
