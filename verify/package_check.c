#include "package_check.h"

#include "interrupt.h"
#include "mount.h"
#include "turns.h"

#include <math.h>
#include <stdlib.h>

/* ---- integrity ---- */

struct checking {
    const struct moeq_package *package;
    struct moeq_progress *progress;
    struct moeq_bytes *buffers; /* [jobs] */
    struct moeq_error *results; /* one for each thing that is checked */
};

static size_t n_things(const struct moeq_package *p)
{
    return p->n_files + p->n_copies + p->n_segments;
}

uint64_t moeq_integrity_work(const struct moeq_package *package)
{
    uint64_t n = 0;
    for (size_t i = 0; i < package->n_segments; i++)
        n += package->segments[i].n_bytes;
    return n;
}

static void check_segment(struct checking *c, unsigned worker, const struct moeq_segment *segment,
                          struct moeq_error *result)
{
    struct moeq_bytes *buffer = &c->buffers[worker];
    if (moeq_bytes_resize(buffer, (size_t)segment->n_bytes, result))
        return;
    moeq_package_read_segment(c->package, segment, buffer->data, result);
    moeq_progress_add(c->progress, segment->n_bytes, NULL);
}

static enum moeq_status check_thing(void *context, unsigned worker, size_t i, bool is_last,
                                    struct moeq_error *err)
{
    struct checking *c = context;
    const struct moeq_package *p = c->package;
    struct moeq_error *result = &c->results[i];
    (void)is_last;
    enum moeq_status status = moeq_interrupt_check(err);
    if (status)
        return status;
    if (i < p->n_files)
        moeq_package_check_head(p, i, result);
    else if (i < p->n_files + p->n_copies)
        moeq_package_check_copy(p, i - p->n_files, result);
    else
        check_segment(c, worker, &p->segments[i - p->n_files - p->n_copies], result);
    if (result->status && result->status != MOEQ_DAMAGED) { /* no verdict: the system refused */
        if (err)
            *err = *result;
        return result->status;
    }
    return MOEQ_OK;
}

static enum moeq_status check_things(struct checking *c, struct moeq_pool *pool, struct moeq_error *err)
{
    const struct moeq_package *p = c->package;
    struct moeq_turns turns = {0};
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < n_things(p); i++) {
        if (i >= p->n_files && i < p->n_files + p->n_copies) {
            char *path = moeq_path_join(p->dir, p->copies[i - p->n_files].name, err);
            status = path ? moeq_turns_add(&turns, i, path, 0, err) : MOEQ_OVER_MEMORY;
            free(path);
            continue;
        }
        const size_t file = i < p->n_files ? i : p->segments[i - p->n_files - p->n_copies].file;
        status = moeq_turns_add(&turns, i, p->files[file].file.path, 0, err);
    }
    if (!status)
        status = moeq_turns_run(&turns, pool, check_thing, c, err);
    moeq_turns_free(&turns);
    return status;
}

/* Moves the failures to the front and gives them to the caller. */
static void collect_failures(struct checking *c, struct moeq_integrity *out)
{
    for (size_t i = 0; i < n_things(c->package); i++)
        if (c->results[i].status)
            c->results[out->n_failures++] = c->results[i];
    out->n_segments = c->package->n_segments;
    out->n_bytes = moeq_integrity_work(c->package);
    out->failures = c->results;
    c->results = NULL;
}

enum moeq_status moeq_integrity_check(const struct moeq_package *package, struct moeq_pool *pool,
                                      struct moeq_progress *progress, struct moeq_integrity *out,
                                      struct moeq_error *err)
{
    const unsigned n_jobs = moeq_pool_jobs(pool);
    struct checking c = {.package = package, .progress = progress};
    *out = (struct moeq_integrity){0};
    c.buffers = moeq_calloc(n_jobs, sizeof *c.buffers, err);
    c.results = moeq_calloc(n_things(package), sizeof *c.results, err);
    enum moeq_status status = c.buffers && c.results ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (!status)
        status = check_things(&c, pool, err);
    if (!status)
        collect_failures(&c, out);
    for (unsigned i = 0; c.buffers && i < n_jobs; i++)
        moeq_bytes_free(&c.buffers[i]);
    free(c.buffers);
    free(c.results);
    return status;
}

/* ---- against a source ---- */

struct comparing {
    const struct moeq_source *package, *source;
    struct moeq_progress *progress;
    struct moeq_bytes *buffers; /* [jobs, 3]: package, source, two rows */
    struct moeq_difference *differences;
};

bool moeq_difference_is_good(const struct moeq_difference *difference)
{
    return difference->source && difference->same_shape &&
           (difference->lossless ? difference->identical : isfinite(difference->relative_rms));
}

static bool same_shape(const struct moeq_weight *a, const struct moeq_weight *b)
{
    return a->n_dims == b->n_dims && memcmp(a->shape, b->shape, a->n_dims * sizeof *a->shape) == 0;
}

static void measure_error(const struct moeq_matrix *a, const struct moeq_matrix *b, float *rows,
                          struct moeq_difference *d)
{
    if (a->rows == 0 || a->cols == 0)
        return;
    float *x = rows, *y = rows + a->cols;
    for (uint64_t r = 0; r < a->rows; r++) {
        moeq_decode(a, r, 0, a->cols, x);
        moeq_decode(b, r, 0, b->cols, y);
        for (uint64_t c = 0; c < a->cols; c++) {
            double e = (double)x[c] - (double)y[c];
            d->error_squares += e * e;
            d->source_squares += (double)y[c] * (double)y[c];
            if (fabs(e) > d->worst) {
                d->worst = fabs(e);
                d->worst_row = r;
                d->worst_col = c;
            }
        }
    }
    d->relative_rms = d->error_squares == 0 ? 0 : sqrt(d->error_squares / d->source_squares);
}

static enum moeq_status compare_one(struct comparing *c, struct moeq_bytes *buffers,
                                    struct moeq_difference *d, struct moeq_error *err)
{
    struct moeq_matrix a, b;
    enum moeq_status status = moeq_source_load(c->package, &d->weight, 1, &buffers[0], &a, err);
    if (!status)
        status = moeq_source_load(c->source, &d->source, 1, &buffers[1], &b, err);
    if (status)
        return status;
    if (d->lossless) {
        d->identical = a.n_bytes == b.n_bytes && memcmp(a.data, b.data, (size_t)a.n_bytes) == 0;
        if (d->identical || !a.format.level->decode)
            return MOEQ_OK;
    }
    if (!a.format.level->decode || !b.format.level->decode)
        return MOEQ_OK;
    status = moeq_bytes_resize(&buffers[2], (size_t)(2 * a.cols * sizeof(float)), err);
    if (!status)
        measure_error(&a, &b, (float *)(void *)buffers[2].data, d);
    return status;
}

static enum moeq_status compare_weight(void *context, unsigned worker, size_t i, bool is_last,
                                       struct moeq_error *err)
{
    struct comparing *c = context;
    struct moeq_difference *d = &c->differences[i];
    (void)is_last;
    enum moeq_status status = moeq_interrupt_check(err);
    d->same_shape = d->source && same_shape(d->weight, d->source);
    d->lossless =
        d->source && moeq_format_equal(d->weight->format, d->source->format) && !d->weight->had_goal;
    if (!status && d->same_shape)
        status = compare_one(c, &c->buffers[3 * worker], d, err);
    moeq_progress_add(c->progress, d->weight->n_bytes, NULL);
    return status;
}

/* Of two archives, the source's order counts: it is the larger one. */
static enum moeq_status compare_weights(struct comparing *c, struct moeq_pool *pool, struct moeq_error *err)
{
    struct moeq_turns turns = {0};
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < c->package->n_weights; i++) {
        struct moeq_difference *d = &c->differences[i];
        d->weight = &c->package->weights[i];
        d->source = moeq_source_find(c->source, d->weight->name);
        const char *path = d->source ? moeq_source_file(c->source, d->source) : NULL;
        if (!path || !moeq_mounted_place(path))
            path = moeq_source_file(c->package, d->weight);
        status = moeq_turns_add(&turns, i, path, 0, err);
    }
    if (!status)
        status = moeq_turns_run(&turns, pool, compare_weight, c, err);
    moeq_turns_free(&turns);
    return status;
}

static bool was_left_out(const struct moeq_source *package, const struct moeq_weight *weight)
{
    return weight->id.part == MOEQ_PART_VISION && package->is_package &&
           moeq_package_is_text_only(&package->package);
}

enum moeq_status moeq_compare_sources(const struct moeq_source *package, const struct moeq_source *source,
                                      struct moeq_pool *pool, struct moeq_progress *progress,
                                      struct moeq_difference **out, size_t *n_missing,
                                      const char **first_missing, struct moeq_error *err)
{
    const size_t n_buffers = 3 * (size_t)moeq_pool_jobs(pool);
    struct comparing c = {.package = package, .source = source, .progress = progress};
    c.buffers = moeq_calloc(n_buffers, sizeof *c.buffers, err);
    c.differences = moeq_calloc(package->n_weights, sizeof *c.differences, err);
    enum moeq_status status = c.buffers && c.differences ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (!status)
        status = compare_weights(&c, pool, err);
    *n_missing = 0;
    *first_missing = NULL;
    for (size_t i = 0; !status && i < source->n_weights; i++)
        if (!moeq_source_find(package, source->weights[i].name) &&
            !was_left_out(package, &source->weights[i]) && (*n_missing)++ == 0)
            *first_missing = source->weights[i].name;
    for (size_t i = 0; c.buffers && i < n_buffers; i++)
        moeq_bytes_free(&c.buffers[i]);
    free(c.buffers);
    if (status)
        free(c.differences);
    else
        *out = c.differences;
    return status;
}
