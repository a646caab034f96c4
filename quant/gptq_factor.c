/* The factor that matrices with the same inputs share, and what is solved with it. */
#include "cholesky.h"
#include "gptq.h"
#include "gptq_lanes.h"
#include "kernels.h"

#include <math.h>
#include <stdlib.h>

#define LEAST_RAISED_DAMPING 1e-8
#define MOST_DAMPING         1.0
/* Rows that one piece of a simple loop takes, and a square that is mirrored at once: a line of the cache. */
#define ROWS_PER_PIECE 64
#define MIRROR         8

/* ---- preparing ---- */

struct preparing {
    struct moeq_gptq_factor *factor;
    struct moeq_hessian *h;
    const struct moeq_gptq_options *options;
};

/* Above the diagonal what is below it, so that permuted rows can be read along rows. */
static enum moeq_status mirror(void *context, unsigned worker, uint64_t begin, uint64_t end,
                               struct moeq_error *err)
{
    const struct preparing *p = context;
    const uint64_t n = p->h->n;
    double *s = p->h->sums;
    (void)worker;
    (void)err;
    for (uint64_t row = begin; row < end; row += MIRROR)
        for (uint64_t col = row; col < n; col += MIRROR)
            for (uint64_t r = row; r < end && r < row + MIRROR; r++)
                for (uint64_t c = col > r ? col : r + 1; c < n && c < col + MIRROR; c++)
                    s[r * n + c] = s[c * n + r];
    return MOEQ_OK;
}

static bool is_dead(const struct moeq_hessian *h, uint64_t column)
{
    return h->sums[column * h->n + column] <= 0;
}

/* Rows of the damped mean, in the factor's order. */
static enum moeq_status fill_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                  struct moeq_error *err)
{
    const struct preparing *p = context;
    const struct moeq_gptq_factor *f = p->factor;
    (void)worker;
    (void)err;
    for (uint64_t j = begin; j < end; j++) {
        const double *from = p->h->sums + (uint64_t)f->order[j] * f->n;
        double *to = f->t + j * f->ld;
        const bool row_is_dead = f->diagonal[f->order[j]] <= 0;
        for (uint64_t i = 0; i < j; i++)
            to[i] = row_is_dead ? 0 : from[f->order[i]] / p->h->weight;
        for (uint64_t i = 0; !row_is_dead && f->n_dead && i < j; i++)
            if (f->diagonal[f->order[i]] <= 0)
                to[i] = 0;
        to[j] = row_is_dead ? 1 : f->diagonal[f->order[j]];
    }
    return MOEQ_OK;
}

/* N to T, pivots and weights. */
static enum moeq_status divide_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                    struct moeq_error *err)
{
    const struct preparing *p = context;
    const struct moeq_gptq_factor *f = p->factor;
    (void)worker;
    (void)err;
    for (uint64_t j = begin; j < end; j++) {
        double *row = f->t + j * f->ld;
        const double root = row[j];
        const uint64_t column = f->order[j];
        f->pivots[j] = root * root;
        f->weights[column] =
            p->options->pivot_weights && f->diagonal[column] > 0 ? f->pivots[j] : f->diagonal[column];
        for (uint64_t i = 0; i < j; i++)
            row[i] /= root;
        row[j] = 1;
    }
    return MOEQ_OK;
}

struct column {
    double size;
    uint32_t index;
};

static int by_size(const void *a, const void *b)
{
    const struct column *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

static enum moeq_status find_order(struct preparing *p, struct moeq_error *err)
{
    struct moeq_gptq_factor *f = p->factor;
    struct column *columns = moeq_calloc(f->n, sizeof *columns, err);
    if (!columns)
        return MOEQ_OVER_MEMORY;
    for (uint64_t i = 0; i < f->n; i++)
        columns[i] = (struct column){is_dead(p->h, i) ? 0 : p->h->sums[i * f->n + i], (uint32_t)i};
    if (p->options->activation_order)
        qsort(columns, f->n, sizeof *columns, by_size);
    for (uint64_t i = 0; i < f->n; i++)
        f->order[i] = columns[i].index;
    free(columns);
    return MOEQ_OK;
}

/* The mean of what is on the diagonal of the live columns, of the mean H. */
static enum moeq_status find_mean(struct preparing *p, double *mean, struct moeq_error *err)
{
    const struct moeq_hessian *h = p->h;
    double sum = 0;
    p->factor->n_dead = 0;
    for (uint64_t i = 0; i < h->n; i++) {
        const double d = h->sums[i * h->n + i];
        if (!isfinite(d))
            return moeq_fail(err, MOEQ_DAMAGED, "the second moment of input %llu is not a finite number",
                             (unsigned long long)i);
        p->factor->n_dead += d <= 0;
        sum += d > 0 ? d / h->weight : 0;
    }
    const uint64_t n_live = h->n - p->factor->n_dead;
    *mean = n_live ? sum / (double)n_live : 0;
    return MOEQ_OK;
}

static enum moeq_status try_damping(struct preparing *p, struct moeq_pool *pool, double mean,
                                    bool *is_positive, struct moeq_error *err)
{
    struct moeq_gptq_factor *f = p->factor;
    f->added = f->damping * mean;
    for (uint64_t i = 0; i < f->n; i++)
        f->diagonal[i] = is_dead(p->h, i) ? 0 : p->h->sums[i * f->n + i] / p->h->weight + f->added;
    enum moeq_status status = moeq_pool_for(pool, f->n, ROWS_PER_PIECE, fill_rows, p, err);
    return status ? status : moeq_cholesky(pool, f->t, f->n, is_positive, err);
}

static enum moeq_status factor_damped(struct preparing *p, struct moeq_pool *pool, struct moeq_error *err)
{
    struct moeq_gptq_factor *f = p->factor;
    double mean = 0;
    bool is_positive = false;
    enum moeq_status status = find_mean(p, &mean, err);
    if (!status)
        status = find_order(p, err);
    if (!status)
        status = moeq_pool_for(pool, f->n, ROWS_PER_PIECE, mirror, p, err);
    f->damping = p->options->damping;
    for (;; f->n_raised++) {
        if (!status)
            status = try_damping(p, pool, mean, &is_positive, err);
        if (status || is_positive)
            break;
        if (f->damping >= MOST_DAMPING)
            return moeq_fail(err, MOEQ_DAMAGED,
                             "the second moments are not those of any inputs: not positive with damping %g",
                             f->damping);
        f->damping = fmin(fmax(10 * f->damping, LEAST_RAISED_DAMPING), MOST_DAMPING);
    }
    return status ? status : moeq_pool_for(pool, f->n, ROWS_PER_PIECE, divide_rows, p, err);
}

/* Memory for n columns, or what the factor has of an earlier call. */
static enum moeq_status make_room(struct moeq_gptq_factor *f, uint64_t n, struct moeq_error *err)
{
    uint64_t n_doubles;
    if (f->n == n && f->order)
        return MOEQ_OK;
    moeq_gptq_free(f);
    if (!moeq_mul(n, moeq_cholesky_stride(n), &n_doubles))
        return moeq_fail_alloc(err, 0);
    f->ld = moeq_cholesky_stride(n);
    f->t = moeq_calloc(n_doubles, sizeof *f->t, err);
    f->pivots = moeq_calloc(n, sizeof *f->pivots, err);
    f->diagonal = moeq_calloc(n, sizeof *f->diagonal, err);
    f->weights = moeq_calloc(n, sizeof *f->weights, err);
    f->order = moeq_calloc(n, sizeof *f->order, err);
    if (!f->order || !f->weights || !f->t || !f->pivots || !f->diagonal)
        return MOEQ_OVER_MEMORY;
    f->n = n;
    return MOEQ_OK;
}

enum moeq_status moeq_gptq_prepare(struct moeq_gptq_factor *factor, struct moeq_hessian *h,
                                   struct moeq_gptq_options options, struct moeq_pool *pool,
                                   struct moeq_error *err)
{
    if (!(h->weight > 0))
        return moeq_fail(err, MOEQ_USAGE, "no token came to this matrix, so its second moments are unknown");
    enum moeq_status status = make_room(factor, h->n, err);
    if (status)
        return status;
    factor->n_raised = 0;
    struct preparing p = {factor, h, &options};
    return factor_damped(&p, pool, err);
}

void moeq_gptq_free(struct moeq_gptq_factor *factor)
{
    free(factor->order);
    free(factor->t);
    free(factor->pivots);
    free(factor->diagonal);
    free(factor->weights);
    *factor = (struct moeq_gptq_factor){0};
}

/* ---- correcting ---- */

struct correcting {
    const struct moeq_fused *fused;
    const struct moeq_gptq_factor *factor;
    const double *cross;
    uint64_t rows;
    const float *w;
    float *out;
    uint8_t *workers; /* [jobs, bytes_of_correcting] */
};

/* Lanes of w (float32), and of the sums. */
static uint64_t bytes_of_correcting(uint64_t n)
{
    return n * MOEQ_LANES * (sizeof(float) + 2 * sizeof(double));
}

/* y [n, MOEQ_LANES] in the factor's order: less (-W) C^T, on top of added W; dead columns keep W. */
static void multiply_cross(const struct correcting *c, const float *w, double *wide, double *y)
{
    const struct moeq_gptq_factor *f = c->factor;
    for (uint64_t i = 0; i < f->n * MOEQ_LANES; i++)
        wide[i] = -(double)w[i];
    for (uint64_t j = 0; j < f->n; j++) {
        const uint64_t column = f->order[j];
        const bool dead = f->diagonal[column] <= 0;
        double *row = y + j * MOEQ_LANES;
        for (uint64_t l = 0; l < MOEQ_LANES; l++)
            row[l] = (dead ? 1 : f->added) * (double)w[column * MOEQ_LANES + l];
        if (!dead)
            c->fused->subtract_row(c->cross + column * f->n, 1, wide, MOEQ_LANES, f->n, row);
    }
}

/* x T^T D T = y in place: first z T = y from the last column to the first, then x T^T = z / D. */
static void solve(const struct moeq_fused *fused, const struct moeq_gptq_factor *f, double *y)
{
    const ptrdiff_t ld = (ptrdiff_t)f->ld;
    for (uint64_t end = f->n, begin; end; end = begin) {
        begin = (end - 1) / MOEQ_GPTQ_BLOCK * MOEQ_GPTQ_BLOCK;
        const double *last = f->t + (end - 1) * f->ld, *of_last = y + (end - 1) * MOEQ_LANES;
        for (uint64_t j = end; j-- > begin;)
            fused->subtract_row(last + j, -ld, of_last, -MOEQ_LANES, end - 1 - j, y + j * MOEQ_LANES);
        for (uint64_t l = 0; l < MOEQ_LANES; l += fused->lanes)
            fused->subtract(last, 1, -ld, of_last + l, -MOEQ_LANES, end - begin, y + l, MOEQ_LANES, begin);
    }
    for (uint64_t j = 0; j < f->n; j++)
        for (uint64_t l = 0; l < MOEQ_LANES; l++)
            y[j * MOEQ_LANES + l] /= f->pivots[j];
    for (uint64_t begin = 0, end; begin < f->n; begin = end) {
        end = f->n - begin < MOEQ_GPTQ_BLOCK ? f->n : begin + MOEQ_GPTQ_BLOCK;
        for (uint64_t j = begin; j < end; j++)
            fused->subtract_row(f->t + j * f->ld + begin, 1, y + begin * MOEQ_LANES, MOEQ_LANES, j - begin,
                                y + j * MOEQ_LANES);
        moeq_gptq_update(fused, f, begin, end, y + begin * MOEQ_LANES, y);
    }
}

static enum moeq_status correct_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                     struct moeq_error *err)
{
    const struct correcting *c = context;
    const uint64_t n = c->factor->n;
    double *wide = (double *)(void *)(c->workers + worker * bytes_of_correcting(n));
    double *y = wide + n * MOEQ_LANES;
    float *w = (float *)(void *)(y + n * MOEQ_LANES);
    enum moeq_status status = moeq_check_finite(c->w + begin * n, end - begin, n, begin, err);
    if (status)
        return status;
    moeq_lanes_of_rows(c->w + begin * n, end - begin, n, w);
    multiply_cross(c, w, wide, y);
    solve(c->fused, c->factor, y);
    for (uint64_t r = begin; r < end; r++)
        for (uint64_t j = 0; j < n; j++)
            c->out[r * n + c->factor->order[j]] = (float)y[j * MOEQ_LANES + (r - begin)];
    return MOEQ_OK;
}

enum moeq_status moeq_gptq_correct(const struct moeq_gptq_factor *factor, const double *cross, uint64_t rows,
                                   const float *w, struct moeq_pool *pool, float *out, struct moeq_error *err)
{
    struct moeq_bytes scratch = {0};
    enum moeq_status status =
        moeq_bytes_resize(&scratch, moeq_pool_jobs(pool) * bytes_of_correcting(factor->n), err);
    struct correcting c = {moeq_kernels()->fused, factor, cross, rows, w, out, scratch.data};
    if (!status)
        status = moeq_pool_for(pool, rows, MOEQ_LANES, correct_rows, &c, err);
    moeq_bytes_free(&scratch);
    return status;
}
