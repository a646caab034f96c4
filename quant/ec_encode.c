#include "ec_columns.h"
#include "gptq_lanes.h"
#include "kernels.h"
#include "normal.h"
#include "powers.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define EXPLICIT 255 /* a table of its own */
/* Of squared steps, for a bit: what held-out text likes best at 1.6 and 2.3 bits; it hardly matters above 3.
 */
#define BIT_PRICE      0.05
#define BITS_OF_SQUARE 0.7213475204444817 /* of q^2 / variance: half a nat */
#define SAMPLE_ROWS    (4 * MOEQ_LANES)
#define CHUNK_BYTES    30.0 /* that a chunk adds to its information */
#define MOST_BISECTS   60

struct encoding {
    const struct moeq_fused *fused;
    const struct moeq_gptq_factor *factor; /* or NULL */
    uint64_t rows, n;
    uint64_t all_rows; /* of which these are a sample */
    unsigned without;
    const float *w;
    struct moeq_pool *pool;
    struct moeq_ec_columns columns;
    struct moeq_lane_grid *grids; /* [n], by column */
    uint32_t *places;             /* [n]: where a column lies in the order of the codes */
    float *largest;               /* [n]: magnitudes, by column */
    double *squares;              /* [n]: mean of squares, by column */
    uint64_t step_rows;           /* of blocks of MOEQ_LANES rows every step_rows-th is encoded */
    uint64_t n_rows;              /* that are encoded */
    int8_t *codes;                /* [n, n_rows], columns in their order */
    double *errors;               /* [n_rows] */
    uint8_t *workers;             /* [jobs, n_worker_bytes] */
    uint64_t n_worker_bytes;
};

/* ---- columns ---- */

/* In the order of the rows, whoever does it. */
static enum moeq_status measure_columns(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                        struct moeq_error *err)
{
    const struct encoding *e = context;
    (void)worker;
    (void)err;
    for (uint64_t r = 0; r < e->rows; r++)
        for (uint64_t c = begin; c < end; c++) {
            const float x = e->w[r * e->n + c], magnitude = fabsf(x);
            e->squares[c] += (double)x * (double)x;
            e->largest[c] = magnitude > e->largest[c] ? magnitude : e->largest[c];
        }
    for (uint64_t c = begin; c < end; c++) {
        const bool is_dead = e->factor && e->factor->diagonal[c] <= 0;
        e->squares[c] = is_dead ? 0 : e->squares[c] / (double)e->rows;
        e->largest[c] = is_dead ? 0 : e->largest[c];
    }
    return MOEQ_OK;
}

/* Of codes: rounding adds 1/12 of a step. */
static double variance_of(const struct encoding *e, uint64_t column)
{
    const double scale = (double)e->columns.scales[column];
    return e->squares[column] / (scale * scale) + 1.0 / 12;
}

/* Bits that codes cost go with their squares: q^2 / (2 variance) nats. So does what the smaller of two may be
 * further off by. */
static void set_step(struct encoding *e, double step)
{
    const double price = e->without & MOEQ_EC_PRICE ? 0 : BIT_PRICE;
    moeq_ec_columns_choose(&e->columns, e->without & MOEQ_EC_COLUMN_STEPS ? NULL : e->factor, (float)step,
                           e->largest);
    if (e->without & MOEQ_EC_CLASSES) {
        e->columns.n_classes = 1;
        e->columns.ends[0] = e->n;
    }
    for (uint64_t i = 0; i < e->n; i++) {
        const double scale = (double)e->columns.scales[i];
        const double variance = variance_of(e, i);
        e->grids[i] = (struct moeq_lane_grid){scale, 1 / scale, price * BITS_OF_SQUARE / variance / 2,
                                              MOEQ_EC_MAX_CODE};
        e->places[e->columns.order[i]] = (uint32_t)i;
    }
}

/* ---- codes ---- */

/* MOEQ_LANES rows of it, and a worker's memory. */
struct lanes {
    const struct encoding *e;
    uint64_t row, n_rows; /* of the codes */
    double *moved;        /* [n, MOEQ_LANES]: W', in the factor's order */
    double *block;        /* [MOEQ_GPTQ_BLOCK, MOEQ_LANES]: errors */
    float *w;             /* [n, MOEQ_LANES] */
};

static uint64_t worker_bytes(uint64_t n)
{
    return MOEQ_LANES * (n * (sizeof(double) + sizeof(float)) + MOEQ_GPTQ_BLOCK * sizeof(double));
}

static struct lanes lanes_of(const struct encoding *e, unsigned worker, uint64_t row, uint64_t n_rows)
{
    struct lanes l = {.e = e, .row = row, .n_rows = n_rows};
    l.moved = (double *)(void *)(e->workers + worker * e->n_worker_bytes);
    l.block = l.moved + e->n * MOEQ_LANES;
    l.w = (float *)(l.block + MOEQ_GPTQ_BLOCK * MOEQ_LANES);
    return l;
}

/* Column j of the factor's order, as the i-th of its block; as in gptq.c. */
static void encode_column(struct lanes *l, uint64_t j, uint64_t i, double *damped, double *plain)
{
    const struct encoding *e = l->e;
    const struct moeq_gptq_factor *f = e->factor;
    const uint64_t column = f ? f->order[j] : j;
    const float *w = l->w + column * MOEQ_LANES;
    double *moved = l->moved + j * MOEQ_LANES, *errors = l->block + i * MOEQ_LANES;
    double original[MOEQ_LANES], values[MOEQ_LANES];
    int8_t codes[MOEQ_LANES];
    const double pivot = f ? f->pivots[j] : 1;
    if (f)
        e->fused->subtract_row(f->t + j * f->ld + (j - i), 1, l->block, MOEQ_LANES, i, moved);
    for (int r = 0; r < MOEQ_LANES; r++)
        original[r] = (double)w[r];
    e->fused->round_to_grid(e->without & MOEQ_EC_FEEDBACK ? original : moved, &e->grids[column], codes,
                            values);
    for (int r = 0; r < MOEQ_LANES; r++) {
        const double off = moved[r] - values[r];
        errors[r] = values[r] - original[r];
        damped[r] += pivot * (off * off);
        plain[r] += errors[r] * errors[r];
    }
    memcpy(e->codes + e->places[column] * e->n_rows + l->row, codes, (size_t)l->n_rows);
}

static void encode_lanes(struct lanes *l)
{
    const struct encoding *e = l->e;
    const struct moeq_gptq_factor *f = e->factor;
    double damped[MOEQ_LANES] = {0}, plain[MOEQ_LANES] = {0};
    for (uint64_t j = 0; j < e->n; j++) {
        const uint64_t column = f ? f->order[j] : j;
        for (uint64_t r = 0; r < MOEQ_LANES; r++)
            l->moved[j * MOEQ_LANES + r] = (double)l->w[column * MOEQ_LANES + r];
    }
    for (uint64_t begin = 0, end; begin < e->n; begin = end) {
        end = e->n - begin < MOEQ_GPTQ_BLOCK ? e->n : begin + MOEQ_GPTQ_BLOCK;
        for (uint64_t j = begin; j < end; j++)
            encode_column(l, j, j - begin, damped, plain);
        if (f)
            moeq_gptq_update(e->fused, f, begin, end, l->block, l->moved);
    }
    for (uint64_t r = 0; r < l->n_rows; r++) {
        const double error = damped[r] - (f ? f->added * plain[r] : 0);
        e->errors[l->row + r] = error > 0 ? error : 0;
    }
}

/* Rows [begin, end) of the codes. */
static enum moeq_status encode_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                    struct moeq_error *err)
{
    const struct encoding *e = context;
    struct lanes l = lanes_of(e, worker, begin, end - begin);
    const uint64_t row = begin * e->step_rows;
    enum moeq_status status = moeq_check_finite(e->w + row * e->n, end - begin, e->n, row, err);
    if (status)
        return status;
    moeq_lanes_of_rows(e->w + row * e->n, end - begin, e->n, l.w);
    for (uint64_t c = 0; e->factor && e->factor->n_dead && c < e->n; c++)
        if (e->factor->diagonal[c] <= 0)
            memset(l.w + c * MOEQ_LANES, 0, MOEQ_LANES * sizeof *l.w);
    encode_lanes(&l);
    return MOEQ_OK;
}

/* Codes of all rows, or of blocks of rows here and there. */
static enum moeq_status encode_pass(struct encoding *e, double step, uint64_t step_rows,
                                    struct moeq_error *err)
{
    set_step(e, step);
    for (uint64_t i = 0; i < e->n; i++) {
        const float scale = e->columns.scales[i];
        if (isfinite(e->largest[i]) && !(scale >= FLT_MIN && scale <= FLT_MAX / -(float)INT8_MIN))
            return moeq_fail(err, MOEQ_UNSUPPORTED,
                             "level ec has no step for the weights and inputs of column %llu",
                             (unsigned long long)i);
    }
    e->step_rows = step_rows;
    e->n_rows = step_rows == 1 ? e->rows : e->rows / MOEQ_LANES / step_rows * MOEQ_LANES;
    return moeq_pool_for(e->pool, e->n_rows, MOEQ_LANES, encode_rows, e, err);
}

/* ---- tables ---- */

struct tables {
    struct moeq_rans_table own[MOEQ_EC_MAX_CLASSES];
    struct moeq_rans_run runs[MOEQ_EC_MAX_CLASSES];
    uint8_t bytes[MOEQ_EC_MAX_CLASSES * (1 + MOEQ_RANS_TABLE_BYTES)];
    size_t n_bytes;
    double n_bits; /* that the codes take */
};

static void find_table(const struct moeq_rans_histogram *histogram, struct tables *t, size_t class)
{
    uint64_t cost;
    uint8_t *bytes = t->bytes + t->n_bytes;
    const unsigned k = moeq_normal_best(histogram, &cost);
    moeq_rans_table_make(histogram, &t->own[class]);
    const size_t n = moeq_rans_table_write(&t->own[class], bytes + 1);
    const uint64_t own_cost = moeq_rans_cost(histogram, &t->own[class]);
    const bool is_own = own_cost + 8 * 65536 * (uint64_t)n < cost;
    bytes[0] = is_own ? EXPLICIT : (uint8_t)k;
    t->runs[class].table = is_own ? &t->own[class] : moeq_normal_table(k);
    t->n_bytes += is_own ? 1 + n : 1;
    t->n_bits += (double)(is_own ? own_cost : cost) / 65536;
}

static void find_tables(const struct encoding *e, struct tables *t)
{
    uint64_t begin = 0;
    t->n_bytes = 0;
    t->n_bits = 0;
    for (size_t i = 0; i < e->columns.n_classes; i++) {
        const uint64_t end = e->columns.ends[i];
        struct moeq_rans_histogram histogram = {0};
        moeq_rans_count_bytes(&histogram, e->codes + begin * e->n_rows, (end - begin) * e->n_rows);
        find_table(&histogram, t, i);
        t->runs[i].end = end * e->n_rows;
        begin = end;
    }
}

/* Bytes of all that was encoded, as if all rows had been. */
static double estimate_bytes(const struct encoding *e, const struct tables *t, size_t n_head)
{
    const double n = (double)e->all_rows * (double)e->n, chunk = moeq_rans_rows_chunk(e->all_rows);
    return (double)(n_head + t->n_bytes) + t->n_bits / 8 * ((double)e->all_rows / (double)e->n_rows) +
           ceil(n / chunk) * CHUNK_BYTES;
}

/* ---- the step for a number of bits ---- */

/* Bits of a code, if weights were normal and no error were fed back. */
static double forecast_bits(struct encoding *e, double step)
{
    double sum = 0;
    set_step(e, step);
    for (uint64_t i = 0; i < e->n; i++) {
        const double variance = variance_of(e, i);
        const unsigned k = moeq_normal_nearest(variance);
        sum += moeq_normal_bits(k);
    }
    return e->n ? sum / (double)e->n : 0;
}

/* Half an octave of the step is half a bit. */
static double forecast_step(struct encoding *e, double bits)
{
    double low = (double)MOEQ_LEAST_EC_STEP, high = (double)MOEQ_MOST_EC_STEP;
    for (int i = 0; i < MOST_BISECTS && high > low * 1.004; i++) {
        const double middle = sqrt(low) * sqrt(high);
        if (forecast_bits(e, middle) > bits)
            low = middle;
        else
            high = middle;
    }
    return high;
}

/* A step by the forecast, then corrected by what codes of a few rows, or all of them, take. */
static enum moeq_status find_step(struct encoding *e, double bits, struct tables *t, double *step,
                                  struct moeq_error *err)
{
    const double n = (double)e->all_rows * (double)e->n;
    const uint64_t blocks = e->rows / MOEQ_LANES;
    const uint64_t step_rows = e->rows > 2 * SAMPLE_ROWS ? blocks / (SAMPLE_ROWS / MOEQ_LANES) : 1;
    struct moeq_bytes head = {0};
    enum moeq_status status = MOEQ_OK;
    *step = forecast_step(e, bits);
    for (int i = 0; !status && i < 2; i++) {
        status = encode_pass(e, *step, step_rows, err);
        if (!status)
            status = moeq_ec_columns_write(&e->columns, &head, err);
        if (status)
            break;
        find_tables(e, t);
        const double off = 8 * estimate_bytes(e, t, head.n_bytes) / n - bits;
        *step *= moeq_exp2(off > 1 ? 1 : off < -1 ? -1 : off);
        if (fabs(off) < 0.05)
            break;
    }
    moeq_bytes_free(&head);
    return status;
}

/* ---- a matrix ---- */

static enum moeq_status write_coded(const struct encoding *e, const struct tables *t,
                                    const struct moeq_bytes *head, struct moeq_bytes *out,
                                    struct moeq_error *err)
{
    struct moeq_bytes stream = {0};
    const size_t n = head->n_bytes + t->n_bytes;
    enum moeq_status status = moeq_rans_encode_runs(t->runs, e->columns.n_classes, e->codes,
                                                    moeq_rans_rows_chunk(e->rows), e->pool, &stream, err);
    if (!status)
        status = moeq_bytes_resize(out, n + stream.n_bytes, err);
    if (!status) {
        memcpy(out->data, head->data, head->n_bytes);
        memcpy(out->data + head->n_bytes, t->bytes, t->n_bytes);
        memcpy(out->data + n, stream.data, stream.n_bytes);
    }
    moeq_bytes_free(&stream);
    return status;
}

static enum moeq_status encode(struct encoding *e, struct moeq_ec_goal goal, struct tables *t,
                               struct moeq_bytes *out, struct moeq_ec_report *report, struct moeq_error *err)
{
    struct moeq_bytes head = {0};
    enum moeq_status status = moeq_pool_for(e->pool, e->n, MOEQ_LANES, measure_columns, e, err);
    report->step = goal.step;
    if (!status && !(goal.step > 0))
        status = find_step(e, goal.bits, t, &report->step, err);
    report->step = (double)(float)report->step;
    if (!status)
        status = encode_pass(e, report->step, 1, err);
    if (!status)
        status = moeq_ec_columns_write(&e->columns, &head, err);
    if (!status) {
        find_tables(e, t);
        report->n_bytes = (uint64_t)estimate_bytes(e, t, head.n_bytes);
        report->error = 0;
        for (uint64_t r = 0; r < e->n_rows; r++)
            report->error += e->errors[r];
    }
    if (!status && out) {
        status = write_coded(e, t, &head, out, err);
        report->n_bytes = out->n_bytes;
    }
    moeq_bytes_free(&head);
    return status;
}

enum moeq_status moeq_ec_encode(const struct moeq_gptq_factor *factor, uint64_t rows, uint64_t cols,
                                const float *w, struct moeq_ec_goal goal, struct moeq_pool *pool,
                                struct moeq_bytes *out, struct moeq_ec_report *report, struct moeq_error *err)
{
    struct encoding e = {.fused = moeq_kernels()->fused,
                         .factor = factor,
                         .rows = rows,
                         .n = cols,
                         .all_rows = goal.of_rows ? goal.of_rows : rows,
                         .without = goal.without,
                         .w = w,
                         .pool = pool};
    struct moeq_bytes scratch = {0}, codes = {0};
    *report = (struct moeq_ec_report){0};
    enum moeq_status status = moeq_ec_columns_init(&e.columns, e.all_rows, cols, err);
    struct tables *tables = moeq_calloc(1, sizeof *tables, err);
    e.grids = moeq_calloc(cols, sizeof *e.grids, err);
    e.places = moeq_calloc(cols, sizeof *e.places, err);
    e.largest = moeq_calloc(cols, sizeof *e.largest, err);
    e.squares = moeq_calloc(cols, sizeof *e.squares, err);
    e.errors = moeq_calloc(rows, sizeof *e.errors, err);
    if (!tables || !e.grids || !e.places || !e.largest || !e.squares || !e.errors)
        status = MOEQ_OVER_MEMORY;
    e.n_worker_bytes = worker_bytes(cols);
    if (!status)
        status = moeq_bytes_resize(&scratch, moeq_pool_jobs(pool) * e.n_worker_bytes, err);
    if (!status)
        status = moeq_bytes_resize(&codes, (size_t)(rows * cols), err);
    e.workers = scratch.data;
    e.codes = (int8_t *)codes.data;
    if (!status)
        status = encode(&e, goal, tables, out, report, err);
    moeq_bytes_free(&scratch);
    moeq_bytes_free(&codes);
    free(e.errors);
    free(e.squares);
    free(e.largest);
    free(e.places);
    free(e.grids);
    free(tables);
    moeq_ec_columns_free(&e.columns);
    return status;
}

uint64_t moeq_ec_encode_bytes(uint64_t rows, uint64_t cols, uint64_t n_coded, unsigned n_jobs)
{
    const uint64_t column = sizeof(struct moeq_lane_grid) + sizeof(double) + sizeof(float) +
                            2 * sizeof(uint32_t) + sizeof(float) + sizeof(int16_t);
    /* The bytes that were made before, chunks, and the stream of them. */
    return rows * (cols + sizeof(double)) + cols * column + 3 * n_coded + sizeof(struct tables) +
           n_jobs * (worker_bytes(cols) + MOEQ_RANS_WORKER_BYTES);
}

uint64_t moeq_ec_most_bytes(uint64_t rows, uint64_t cols)
{
    const uint64_t n = rows * cols, n_chunks = moeq_div_up(n, moeq_rans_rows_chunk(rows));
    return n * 3 / 2 + 256 * n_chunks + 2 * cols + MOEQ_EC_MAX_CLASSES * (1 + MOEQ_RANS_TABLE_BYTES) + 1024;
}
