#include "gptq.h"
#include "gptq_lanes.h"
#include "kernels.h"
#include "level_planes.h"
#include "scalar.h"

#include <stdlib.h>

/* Rows of T that meet the lanes of a block's errors before the next ones are read. */
#define UPDATE_ROWS MOEQ_STRIP

void moeq_lanes_of_rows(const float *w, uint64_t n_rows, uint64_t n, float *lanes)
{
    for (uint64_t begin = 0; begin < n; begin += 16)
        for (uint64_t r = 0; r < MOEQ_LANES; r++)
            for (uint64_t c = begin; c < n && c < begin + 16; c++)
                lanes[c * MOEQ_LANES + r] = r < n_rows ? w[r * n + c] : 0;
}

void moeq_gptq_update(const struct moeq_fused *fused, const struct moeq_gptq_factor *factor, uint64_t begin,
                      uint64_t end, const double *errors, double *to)
{
    for (uint64_t j = end; j < factor->n; j += UPDATE_ROWS) {
        const uint64_t left = factor->n - j, n_rows = left < UPDATE_ROWS ? left : UPDATE_ROWS;
        for (uint64_t l = 0; l < MOEQ_LANES; l += fused->lanes)
            fused->subtract(factor->t + j * factor->ld + begin, (ptrdiff_t)factor->ld, 1, errors + l,
                            MOEQ_LANES, end - begin, to + j * MOEQ_LANES + l, MOEQ_LANES, n_rows);
    }
}

/* ---- a matrix ---- */

struct encoding {
    const struct moeq_fused *fused;
    const struct moeq_gptq_factor *factor;
    const struct moeq_format *format;
    uint64_t rows;
    const float *w;
    struct moeq_planes planes; /* of integers */
    uint8_t *packed;
    const float *given;              /* [rows, n]: values whose error is asked for; NULL: codes are chosen */
    double *errors, *nearest_errors; /* [rows]; the second NULL: not asked for */
    uint8_t *workers;                /* [jobs, n_worker_bytes] */
    uint64_t n_worker_bytes;
};

/* MOEQ_LANES rows of it, and a worker's memory. */
struct lanes {
    const struct encoding *e;
    uint64_t row, n_rows;
    struct moeq_lane_scales *scales; /* [groups] */
    double *moved;                   /* [n, MOEQ_LANES]: W', in the factor's order */
    double *block;                   /* [MOEQ_GPTQ_BLOCK, MOEQ_LANES]: errors */
    float *w, *given;                /* [n, MOEQ_LANES], zeros in dead columns */
    uint8_t *codes;                  /* [n, MOEQ_LANES] */
};

static bool is_fp8(const struct encoding *e)
{
    return e->format->level == &moeq_level_fp8;
}

static uint64_t count_groups(const struct encoding *e)
{
    return e->given ? 0 : moeq_div_up(e->factor->n, moeq_scale_group(e->format));
}

static uint64_t worker_bytes(const struct encoding *e)
{
    const uint64_t n = e->factor->n * MOEQ_LANES;
    return moeq_round_up(count_groups(e) * sizeof(struct moeq_lane_scales) +
                             (n + MOEQ_GPTQ_BLOCK * MOEQ_LANES) * sizeof(double) +
                             (e->given ? 2 : 1) * n * sizeof(float) + n,
                         64);
}

static struct lanes lanes_of(const struct encoding *e, unsigned worker, uint64_t row, uint64_t n_rows)
{
    const uint64_t n = e->factor->n * MOEQ_LANES;
    struct lanes l = {.e = e, .row = row, .n_rows = n_rows};
    l.scales = (struct moeq_lane_scales *)(void *)(e->workers + worker * e->n_worker_bytes);
    l.moved = (double *)(l.scales + count_groups(e));
    l.block = l.moved + n;
    l.w = (float *)(l.block + MOEQ_GPTQ_BLOCK * MOEQ_LANES);
    l.given = e->given ? l.w + n : NULL;
    l.codes = (uint8_t *)(l.w + (e->given ? 2 : 1) * n);
    return l;
}

/* ---- scales ---- */

static void find_integer_scales(struct lanes *l)
{
    const struct encoding *e = l->e;
    const uint32_t group = e->format->group;
    for (uint64_t g = 0, begin = 0; begin < e->factor->n; g++, begin += group) {
        const uint64_t left = e->factor->n - begin;
        e->fused->search_scales(l->w + begin * MOEQ_LANES, e->factor->weights + begin,
                                left < group ? (uint32_t)left : group, e->format->level->bits,
                                e->format->asymmetric, &l->scales[g]);
    }
}

/* Those of the level itself, which has encoded the matrix before. */
static void read_fp8_scales(struct lanes *l)
{
    const struct encoding *e = l->e;
    const struct moeq_matrix m = {
        .format = *e->format, .rows = e->rows, .cols = e->factor->n, .data = e->packed};
    const float *scales = moeq_fp8_scales(&m, l->row, 0);
    for (uint64_t g = 0; g < count_groups(e); g++)
        for (uint64_t r = 0; r < MOEQ_LANES; r++)
            l->scales[g].scale[r] = (double)scales[g];
}

static void prepare_lanes(struct lanes *l)
{
    const struct moeq_gptq_factor *f = l->e->factor;
    moeq_lanes_of_rows(l->e->w + l->row * f->n, l->n_rows, f->n, l->w);
    if (l->given)
        moeq_lanes_of_rows(l->e->given + l->row * f->n, l->n_rows, f->n, l->given);
    for (uint64_t c = 0; f->n_dead && c < f->n; c++)
        if (f->diagonal[c] <= 0) {
            memset(l->w + c * MOEQ_LANES, 0, MOEQ_LANES * sizeof *l->w);
            if (l->given)
                memset(l->given + c * MOEQ_LANES, 0, MOEQ_LANES * sizeof *l->given);
        }
    if (l->given)
        return;
    if (is_fp8(l->e))
        read_fp8_scales(l);
    else
        find_integer_scales(l);
}

/* ---- codes ---- */

static void round_to_fp8(const double *w, const struct moeq_lane_scales *scales, uint8_t *codes,
                         double *values)
{
    for (int r = 0; r < MOEQ_LANES; r++) {
        codes[r] = moeq_e4m3_encode((float)(w[r] / scales->scale[r]));
        values[r] = (double)(moeq_e4m3_decode(codes[r]) * (float)scales->scale[r]);
    }
}

/* The values that a column's codes stand for: of those nearest to W', or W without feedback, or those given.
 */
static void choose_values(struct lanes *l, uint64_t column, const double *from, double *values)
{
    const struct encoding *e = l->e;
    if (l->given) {
        for (int r = 0; r < MOEQ_LANES; r++)
            values[r] = (double)l->given[column * MOEQ_LANES + (uint64_t)r];
        return;
    }
    const struct moeq_lane_scales *scales = &l->scales[column / moeq_scale_group(e->format)];
    if (is_fp8(e))
        round_to_fp8(from, scales, l->codes + column * MOEQ_LANES, values);
    else
        e->fused->round_column(from, scales, e->format->level->bits, l->codes + column * MOEQ_LANES, values);
}

/* Column j of the factor's order, as the i-th of its block. The sums are of N_jj^2 (W' - Q)^2 and of
 * (W - Q)^2. */
static void encode_column(struct lanes *l, uint64_t j, uint64_t i, bool feed_back, double *damped,
                          double *plain)
{
    const struct encoding *e = l->e;
    const struct moeq_gptq_factor *f = e->factor;
    const uint64_t column = f->order[j];
    const float *w = l->w + column * MOEQ_LANES;
    double *moved = l->moved + j * MOEQ_LANES, *errors = l->block + i * MOEQ_LANES;
    double original[MOEQ_LANES], values[MOEQ_LANES];
    e->fused->subtract_row(f->t + j * f->ld + (j - i), 1, l->block, MOEQ_LANES, i, moved);
    for (int r = 0; r < MOEQ_LANES; r++)
        original[r] = (double)w[r];
    choose_values(l, column, feed_back ? moved : original, values);
    for (int r = 0; r < MOEQ_LANES; r++) {
        const double off = moved[r] - values[r];
        errors[r] = values[r] - original[r];
        damped[r] += f->pivots[j] * (off * off);
        plain[r] += errors[r] * errors[r];
    }
}

/* One pass over all columns; dead ones have no error. */
static void encode_lanes(struct lanes *l, bool feed_back, double *errors)
{
    const struct moeq_gptq_factor *f = l->e->factor;
    double damped[MOEQ_LANES] = {0}, plain[MOEQ_LANES] = {0};
    for (uint64_t j = 0; j < f->n; j++)
        for (int r = 0; r < MOEQ_LANES; r++)
            l->moved[j * MOEQ_LANES + (uint64_t)r] =
                (double)l->w[f->order[j] * (uint64_t)MOEQ_LANES + (uint64_t)r];
    for (uint64_t begin = 0, end; begin < f->n; begin = end) {
        end = f->n - begin < MOEQ_GPTQ_BLOCK ? f->n : begin + MOEQ_GPTQ_BLOCK;
        for (uint64_t j = begin; j < end; j++)
            encode_column(l, j, j - begin, feed_back, damped, plain);
        moeq_gptq_update(l->e->fused, f, begin, end, l->block, l->moved);
    }
    for (uint64_t r = 0; r < l->n_rows; r++) {
        const double error = damped[r] - f->added * plain[r];
        errors[l->row + r] = error > 0 ? error : 0;
    }
}

/* ---- packing ---- */

static void pack_row(const struct lanes *l, uint64_t r)
{
    const struct encoding *e = l->e;
    const struct moeq_planes *p = &e->planes;
    const unsigned bits = e->format->level->bits;
    const uint64_t row = l->row + r;
    uint8_t *codes = e->packed + row * p->row_bytes;
    uint8_t *zeros = e->packed + p->zero_offset + row * p->zero_row_bytes;
    uint16_t *scales = (uint16_t *)(void *)(e->packed + p->scale_offset) + row * p->n_groups;
    for (uint64_t c = 0; c < e->factor->n; c++)
        moeq_put_code(codes, bits, c, l->codes[c * MOEQ_LANES + r]);
    for (uint64_t g = 0; g < p->n_groups; g++) {
        scales[g] = moeq_bf16_encode((float)l->scales[g].scale[r]);
        if (e->format->asymmetric)
            moeq_put_code(zeros, bits, g, (unsigned)l->scales[g].zero[r]);
    }
}

static enum moeq_status encode_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                    struct moeq_error *err)
{
    const struct encoding *e = context;
    const uint64_t n = e->factor->n;
    struct lanes l = lanes_of(e, worker, begin, end - begin);
    enum moeq_status status = moeq_check_finite(e->w + begin * n, end - begin, n, begin, err);
    if (status)
        return status;
    prepare_lanes(&l);
    if (e->nearest_errors)
        encode_lanes(&l, false, e->nearest_errors);
    encode_lanes(&l, true, e->errors);
    for (uint64_t r = 0; r < l.n_rows; r++) {
        if (!is_fp8(e))
            pack_row(&l, r);
        for (uint64_t c = 0; is_fp8(e) && c < n; c++)
            e->packed[(begin + r) * n + c] = l.codes[c * MOEQ_LANES + r];
    }
    return MOEQ_OK;
}

/* FP8 as the level encodes it, for its scales. */
static enum moeq_status encode_plainly(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                       struct moeq_error *err)
{
    const struct encoding *e = context;
    (void)worker;
    return e->format->level->encode(e->format, e->rows, e->factor->n, begin, end - begin,
                                    e->w + begin * e->factor->n, e->packed, err);
}

static double sum_of(const double *x, uint64_t n)
{
    double sum = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

enum moeq_status moeq_gptq_encode(const struct moeq_gptq_factor *factor, const struct moeq_format *format,
                                  uint64_t rows, const float *w, bool compare, struct moeq_pool *pool,
                                  uint8_t *packed, struct moeq_gptq_report *report, struct moeq_error *err)
{
    struct encoding e = {moeq_kernels()->fused, factor, format, rows, w, .packed = packed};
    struct moeq_bytes scratch = {0};
    double *errors = NULL;
    *report = (struct moeq_gptq_report){0};
    if (!is_fp8(&e) && !format->level->grouped)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "level %s has no codes to calibrate", format->level->name);
    if (!is_fp8(&e) && !moeq_place_planes(format, rows, factor->n, &e.planes))
        return moeq_fail_alloc(err, 0);
    e.n_worker_bytes = worker_bytes(&e);
    enum moeq_status status = moeq_bytes_resize(&scratch, moeq_pool_jobs(pool) * e.n_worker_bytes, err);
    if (!status && !(errors = moeq_calloc(2 * rows, sizeof *errors, err)))
        status = MOEQ_OVER_MEMORY;
    e.workers = scratch.data;
    e.errors = errors;
    e.nearest_errors = compare && errors ? errors + rows : NULL;
    if (!status && is_fp8(&e))
        status = moeq_pool_for(pool, rows, MOEQ_ROWS_PER_PIECE, encode_plainly, &e, err);
    if (!status)
        status = moeq_pool_for(pool, rows, MOEQ_LANES, encode_rows, &e, err);
    if (!status) {
        report->error = sum_of(errors, rows);
        report->nearest_error = compare ? sum_of(errors + rows, rows) : 0;
    }
    free(errors);
    moeq_bytes_free(&scratch);
    return status;
}

static enum moeq_status measure_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                     struct moeq_error *err)
{
    const struct encoding *e = context;
    struct lanes l = lanes_of(e, worker, begin, end - begin);
    (void)err;
    prepare_lanes(&l);
    encode_lanes(&l, false, e->errors);
    return MOEQ_OK;
}

enum moeq_status moeq_gptq_measure(const struct moeq_gptq_factor *factor, uint64_t rows, const float *w,
                                   const float *q, struct moeq_pool *pool, double *error,
                                   struct moeq_error *err)
{
    struct encoding e = {.fused = moeq_kernels()->fused, .factor = factor, .rows = rows, .w = w, .given = q};
    struct moeq_bytes scratch = {0};
    e.n_worker_bytes = worker_bytes(&e);
    enum moeq_status status = moeq_bytes_resize(&scratch, moeq_pool_jobs(pool) * e.n_worker_bytes, err);
    e.workers = scratch.data;
    e.errors = moeq_calloc(rows, sizeof *e.errors, err);
    if (!status && !e.errors)
        status = MOEQ_OVER_MEMORY;
    if (!status)
        status = moeq_pool_for(pool, rows, MOEQ_LANES, measure_rows, &e, err);
    *error = status ? 0 : sum_of(e.errors, rows);
    free(e.errors);
    moeq_bytes_free(&scratch);
    return status;
}
