#include "source.h"

#include "coded.h"

#include "mount.h"
#include "release.h"

#include <stdlib.h>

bool moeq_stored_natively(enum moeq_part part, struct moeq_format format)
{
    if (format.level == &moeq_level_raw)
        return true;
    return !moeq_part_quantizable(part) && format.level != &moeq_level_fp8;
}

/* ---- describing weights ---- */

enum moeq_status moeq_weight_set_shape(struct moeq_weight *weight, const uint64_t *shape, size_t n_dims,
                                       struct moeq_error *err)
{
    struct moeq_weight *w = weight;
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

/* A coded matrix has as many bytes as it takes. */
static enum moeq_status describe_coded(const struct moeq_weight *w, struct moeq_error *err)
{
    char level[MOEQ_FORMAT_BYTES];
    uint64_t most;
    if (!w->is_coded || moeq_stored_natively(w->id.part, w->format))
        return moeq_fail(err, MOEQ_DAMAGED, "level %s is %s coded", moeq_format_text(w->format, level),
                         w->is_coded ? "never" : "always");
    enum moeq_status status = moeq_coded_most_bytes(w->format, w->rows, w->cols, &most, err);
    const uint64_t least = w->n_bytes / MOEQ_CODED_MOST_DENSE;
    if (!status && (w->n_stored < least || w->n_stored > moeq_round_up(most, MOEQ_PACKED_ALIGNMENT)))
        status = moeq_fail(err, MOEQ_DAMAGED, "level %s coded takes %llu to %llu bytes, the file has %llu",
                           moeq_format_text(w->format, level), (unsigned long long)least,
                           (unsigned long long)most, (unsigned long long)w->n_stored);
    return status;
}

/* The level that the manifest states against the bytes that the file has. */
static enum moeq_status describe_packed(const struct moeq_source *s, size_t place, struct moeq_weight *w,
                                        struct moeq_error *err)
{
    const struct moeq_package *p = &s->package;
    const struct moeq_packed *packed = &p->tensors[place];
    *w = (struct moeq_weight){.name = packed->name, .place = place};
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
    if ((status = moeq_weight_set_shape(w, packed->shape, packed->n_dims, err)))
        return status;
    w->had_goal = w->format.bits > 0 || w->format.step > 0;
    w->format.bits = w->format.step = 0; /* they were asked for; the bytes say what came of it */
    w->is_coded = packed->is_coded;
    w->n_stored = packed->stored->n_bytes;
    if (w->is_coded || w->format.level->is_coded)
        return describe_coded(w, err);
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

/* ---- finding ---- */

static int by_part(const void *a, const void *b)
{
    const struct moeq_name *x = &(*(const struct moeq_weight *const *)a)->id;
    const struct moeq_name *y = &(*(const struct moeq_weight *const *)b)->id;
    const int keys[][2] = {{(int)x->part, (int)y->part}, {x->layer, y->layer}, {x->expert, y->expert}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (keys[i][0] != keys[i][1])
            return keys[i][0] < keys[i][1] ? -1 : 1;
    return 0;
}

static enum moeq_status twice(const struct moeq_source *s, const struct moeq_weight *a,
                              const struct moeq_weight *b, struct moeq_error *err)
{
    moeq_fail(err, MOEQ_DAMAGED, "the files hold this weight twice, also as %s", a->name);
    moeq_error_in_file(err, s->path);
    moeq_error_in_tensor(err, b->name);
    return MOEQ_DAMAGED;
}

/* Two tensors for one part, or for one name, would make it unclear which is meant. */
static enum moeq_status index_weights(struct moeq_source *s, struct moeq_error *err)
{
    qsort(s->weights, s->n_weights, sizeof *s->weights, by_name);
    for (size_t i = 1; i < s->n_weights; i++)
        if (by_name(&s->weights[i - 1], &s->weights[i]) == 0)
            return twice(s, &s->weights[i - 1], &s->weights[i], err);
    s->by_part = moeq_calloc(s->n_weights, sizeof *s->by_part, err);
    if (!s->by_part)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < s->n_weights; i++)
        if (s->weights[i].id.part < MOEQ_PART_VISION)
            s->by_part[s->n_by_part++] = &s->weights[i];
    qsort(s->by_part, s->n_by_part, sizeof *s->by_part, by_part);
    for (size_t i = 1; i < s->n_by_part; i++)
        if (by_part(&s->by_part[i - 1], &s->by_part[i]) == 0)
            return twice(s, s->by_part[i - 1], s->by_part[i], err);
    return MOEQ_OK;
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
        status = source->is_package ? list_package(source, err) : moeq_release_list(source, err);
    if (!status)
        status = index_weights(source, err);
    if (status)
        moeq_source_close(source);
    return status;
}

void moeq_source_close(struct moeq_source *source)
{
    for (size_t i = 0; i < source->n_made_names; i++)
        free(source->made_names[i]);
    free(source->made_names);
    free(source->made_shapes);
    free(source->by_part);
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

const struct moeq_weight *moeq_source_part(const struct moeq_source *source, enum moeq_part part, int layer,
                                           int expert)
{
    const struct moeq_weight key = {.id = {part, layer, expert}}, *wanted = &key;
    const struct moeq_weight **found =
        source->n_by_part
            ? bsearch(&wanted, source->by_part, source->n_by_part, sizeof *source->by_part, by_part)
            : NULL;
    return found ? *found : NULL;
}

/* ---- loading ---- */

const struct moeq_segment *moeq_source_segment(const struct moeq_source *source,
                                               const struct moeq_weight *weight)
{
    return &source->package.segments[source->package.tensors[weight->place].segment];
}

bool moeq_source_is_decompressed(const struct moeq_source *source)
{
    bool found = false;
    for (size_t i = 0; source->is_package && !found && i < source->package.n_files; i++)
        found = moeq_mounted_place(source->package.files[i].file.path) > 0;
    for (size_t i = 0; !source->is_package && !found && i < source->checkpoint.n_shards; i++)
        found = moeq_mounted_place(source->checkpoint.shards[i].file.path) > 0;
    return found;
}

bool moeq_source_one_read(const struct moeq_source *source, const struct moeq_weight *a,
                          const struct moeq_weight *b)
{
    return source->is_package && moeq_source_segment(source, a) == moeq_source_segment(source, b);
}

const char *moeq_source_file(const struct moeq_source *source, const struct moeq_weight *weight)
{
    if (source->is_package)
        return source->package.files[moeq_source_segment(source, weight)->file].file.path;
    const struct moeq_checkpoint *c = &source->checkpoint;
    return c->shards[c->tensors[weight->spans[0].tensor].shard].file.path;
}

static bool shares_segment(const struct moeq_source *s, const struct moeq_weight *const *weights, size_t i)
{
    return i > 0 && moeq_source_one_read(s, weights[i], weights[i - 1]);
}

uint64_t moeq_source_read_bytes(const struct moeq_source *source, const struct moeq_weight *weight)
{
    const uint64_t n = source->is_package ? moeq_source_segment(source, weight)->n_bytes
                       : weight->is_coded ? weight->n_stored
                                          : weight->n_padded;
    return moeq_round_up(n, MOEQ_PACKED_ALIGNMENT);
}

/* Memory for a coded matrix that is unpacked in place: alone in its segment, and large enough for that to be
 * less than both take. 0: it is not. */
static uint64_t in_place_bytes(const struct moeq_source *s, const struct moeq_weight *w)
{
    const bool is_alone =
        s->is_package ? moeq_source_segment(s, w)->n_bytes == w->n_stored : w->id.expert < 0;
    if (!w->is_coded || !is_alone)
        return 0;
    const uint64_t slack = moeq_coded_slack_bytes(w->format, w->rows, w->cols);
    return slack < w->n_stored ? w->n_padded + slack : 0;
}

uint64_t moeq_source_load_bytes(const struct moeq_source *source, const struct moeq_weight *const *weights,
                                size_t n)
{
    uint64_t total = 0, scratch = 0, in_place;
    for (size_t i = 0; i < n; i++) {
        const struct moeq_weight *w = weights[i];
        if ((in_place = in_place_bytes(source, w))) {
            total += in_place;
            continue;
        }
        if (!shares_segment(source, weights, i)) /* each below 2^63 and in a file: the sum cannot wrap */
            total += moeq_source_read_bytes(source, w);
        if (!w->is_coded)
            continue;
        total += w->n_padded; /* coded in not much less */
        scratch = moeq_larger(scratch, moeq_coded_scratch_bytes(w->format, w->rows, w->cols));
    }
    return total + scratch;
}

/* The two numbers of a "weight_shape" tensor must be those that the other tensors imply. */
static enum moeq_status check_shape(const struct moeq_source *s, const struct moeq_weight *w,
                                    struct moeq_error *err)
{
    const struct moeq_located *located = &s->checkpoint.tensors[w->shape_tensor];
    uint8_t bytes[2 * sizeof(uint64_t)] = {0};
    uint64_t shape[2] = {0};
    const size_t n = (size_t)located->tensor->n_bytes / 2; /* 4 or 8: it is two I32 or I64 */
    enum moeq_status status = moeq_checkpoint_read(&s->checkpoint, located, bytes, err);
    for (size_t i = 0; i < 2; i++)
        for (size_t b = n; b-- > 0;)
            shape[i] = shape[i] << 8 | bytes[i * n + b];
    if (!status && (shape[0] != w->rows || shape[1] != w->cols)) {
        status = moeq_fail(err, MOEQ_DAMAGED, "says %llu x %llu, the codes beside it are %llu x %llu",
                           (unsigned long long)shape[0], (unsigned long long)shape[1],
                           (unsigned long long)w->rows, (unsigned long long)w->cols);
        moeq_error_in_file(err, s->checkpoint.shards[located->shard].file.path);
        moeq_error_in_tensor(err, located->tensor->name);
        moeq_error_hint(err, "download it again");
    }
    return status;
}

enum moeq_status moeq_source_read_packed(const struct moeq_source *source, const struct moeq_weight *weight,
                                         uint64_t from, uint64_t n_bytes, uint8_t *dst,
                                         struct moeq_error *err)
{
    const struct moeq_checkpoint *c = &source->checkpoint;
    const uint64_t end = from + n_bytes;
    const bool is_first = from == 0 && weight->shape_tensor != SIZE_MAX;
    enum moeq_status status = is_first ? check_shape(source, weight, err) : MOEQ_OK;
    for (size_t i = 0; !status && i < weight->n_spans; i++) {
        const struct moeq_span *span = &weight->spans[i];
        const uint64_t begin = from < span->at ? span->at : from;
        const uint64_t until = end < span->at + span->n_bytes ? end : span->at + span->n_bytes;
        if (begin >= until)
            continue;
        memset(dst, 0, begin - from);
        dst += begin - from;
        status = moeq_checkpoint_read_part(c, &c->tensors[span->tensor], span->from + (begin - span->at),
                                           until - begin, dst, err);
        dst += until - begin;
        from = until;
    }
    if (!status)
        memset(dst, 0, end - from);
    return status;
}

/* What is unpacked in place lies at the end of its memory. */
static enum moeq_status read_all(const struct moeq_source *source, const struct moeq_weight *const *weights,
                                 size_t n, bool in_place, uint8_t *dst, uint8_t **end,
                                 struct moeq_matrix *matrices, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    uint8_t *base = NULL;
    for (size_t i = 0; !status && i < n; i++) {
        const struct moeq_weight *w = weights[i];
        if (!shares_segment(source, weights, i)) {
            const uint64_t n_bytes = moeq_source_read_bytes(source, w);
            const uint64_t n_place = in_place ? in_place_bytes(source, w) : 0;
            dst += moeq_larger(n_place, n_bytes);
            base = dst - n_bytes;
            status = source->is_package ? moeq_package_read_segment(&source->package,
                                                                    moeq_source_segment(source, w), base, err)
                                        : moeq_source_read_packed(source, w, 0, w->n_padded, base, err);
        }
        uint64_t offset = source->is_package ? source->package.tensors[w->place].stored->offset -
                                                   moeq_source_segment(source, w)->offset
                                             : 0;
        matrices[i] = (struct moeq_matrix){w->format, w->rows, w->cols, base + offset,
                                           w->is_coded ? w->n_stored : w->n_bytes};
    }
    *end = dst;
    return status;
}

enum moeq_status moeq_source_read_at(const struct moeq_source *source,
                                     const struct moeq_weight *const *weights, size_t n, uint8_t *dst,
                                     uint8_t **end, struct moeq_matrix *matrices, struct moeq_error *err)
{
    return read_all(source, weights, n, false, dst, end, matrices, err);
}

enum moeq_status moeq_source_unpack(const struct moeq_source *source, const struct moeq_weight *weight,
                                    uint8_t *scratch, uint8_t *packed, struct moeq_matrix *matrix,
                                    struct moeq_error *err)
{
    enum moeq_status status = moeq_coded_decode(weight->format, weight->rows, weight->cols, matrix->data,
                                                matrix->n_bytes, scratch, packed, err);
    matrix->data = packed;
    matrix->n_bytes = weight->n_bytes;
    if (!status)
        return MOEQ_OK;
    const struct moeq_packed *stored = &source->package.tensors[weight->place];
    if (err && err->has_offset)
        err->offset += stored->stored->offset;
    moeq_error_in_file(err, moeq_source_file(source, weight));
    moeq_error_in_tensor(err, weight->name);
    moeq_error_hint(err, "its hash is right, so it was written so: make the package again");
    return status;
}

/* Where the memory begins that a matrix is unpacked in, of which the coded bytes are the end. */
static uint8_t *place_of(const uint8_t *coded, uint64_t n_coded, uint64_t in_place)
{
    return (uint8_t *)(uintptr_t)coded + moeq_round_up(n_coded, MOEQ_PACKED_ALIGNMENT) - in_place;
}

enum moeq_status moeq_source_load_at(const struct moeq_source *source,
                                     const struct moeq_weight *const *weights, size_t n, uint8_t *dst,
                                     struct moeq_matrix *matrices, struct moeq_error *err)
{
    uint8_t *next, *scratch = dst + moeq_source_load_bytes(source, weights, n);
    enum moeq_status status = read_all(source, weights, n, true, dst, &next, matrices, err);
    for (size_t i = 0; !status && i < n; i++) {
        const struct moeq_weight *w = weights[i];
        const uint64_t in_place = in_place_bytes(source, w);
        if (!w->is_coded)
            continue;
        uint8_t *packed = in_place ? place_of(matrices[i].data, w->n_stored, in_place) : next;
        status =
            moeq_source_unpack(source, w, scratch - moeq_coded_scratch_bytes(w->format, w->rows, w->cols),
                               packed, &matrices[i], err);
        next += in_place ? 0 : w->n_padded;
    }
    return status;
}

enum moeq_status moeq_source_load(const struct moeq_source *source, const struct moeq_weight *const *weights,
                                  size_t n, struct moeq_bytes *buffer, struct moeq_matrix *matrices,
                                  struct moeq_error *err)
{
    enum moeq_status status =
        moeq_bytes_resize(buffer, (size_t)moeq_source_load_bytes(source, weights, n), err);
    return status ? status : moeq_source_load_at(source, weights, n, buffer->data, matrices, err);
}

void moeq_source_advise(const struct moeq_source *source, const struct moeq_weight *const *weights, size_t n,
                        enum moeq_file_advice advice)
{
    for (size_t i = 0; i < n; i++) {
        const struct moeq_weight *w = weights[i];
        if (source->is_package && !shares_segment(source, weights, i)) {
            const struct moeq_segment *segment = moeq_source_segment(source, w);
            moeq_file_advise(&source->package.files[segment->file].file, segment->offset, segment->n_bytes,
                             advice);
        }
        for (size_t k = 0; !source->is_package && k < w->n_spans; k++) {
            const struct moeq_located *located = &source->checkpoint.tensors[w->spans[k].tensor];
            moeq_file_advise(&source->checkpoint.shards[located->shard].file,
                             located->tensor->offset + w->spans[k].from, w->spans[k].n_bytes, advice);
        }
    }
}
