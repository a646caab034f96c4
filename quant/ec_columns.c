#include "ec_columns.h"
#include "normal.h"
#include "scalar.h"

#include <math.h>
#include <stdlib.h>

#define HEAD_BYTES  8
#define MANY_ROWS   512 /* from here on finer exponents cost less than they are worth */
#define MOST_OFF    127 /* exponents from their origin */
#define MOST_ORIGIN 960 /* of any: scales stay finite and normal far beyond weights */
#define PER_CLASS   16
#define CODE_ROOM   120 /* of MOEQ_EC_MAX_CODE: feedback moves weights a little */

/* 2^(i / 16) */
static const double roots[16] = {
    1.0,
    1.0442737824274138,
    1.0905077326652577,
    1.1387886347566916,
    1.189207115002721,
    1.2418578120734840,
    1.2968395546510096,
    1.3542555469368927,
    1.4142135623730951,
    1.4768261459394993,
    1.5422108254079407,
    1.6104903319492543,
    1.681792830507429,
    1.7562521603732995,
    1.8340080864093424,
    1.9152065613971474,
};

enum moeq_status moeq_ec_columns_init(struct moeq_ec_columns *columns, uint64_t rows, uint64_t n,
                                      struct moeq_error *err)
{
    *columns = (struct moeq_ec_columns){.rows = rows, .n = n, .fineness = rows < MANY_ROWS ? 4 : 8};
    columns->exponents = moeq_calloc(n, sizeof *columns->exponents, err);
    columns->scales = moeq_calloc(n, sizeof *columns->scales, err);
    columns->order = moeq_calloc(n, sizeof *columns->order, err);
    return columns->exponents && columns->scales && columns->order ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

void moeq_ec_columns_free(struct moeq_ec_columns *columns)
{
    free(columns->exponents);
    free(columns->scales);
    free(columns->order);
    *columns = (struct moeq_ec_columns){0};
}

/* The nearest e to fineness * log2(x), by comparisons; x > 0. */
static int exponent_of(double x, unsigned fineness)
{
    int octave;
    const double mantissa = 2 * frexp(x, &octave); /* in [1, 2) */
    const unsigned step = 16 / fineness;
    int e = (octave - 1) * (int)fineness;
    for (unsigned i = step / 2; i < 16; i += step)
        e += mantissa >= roots[i];
    return e;
}

static float scale_of(const struct moeq_ec_columns *c, int exponent)
{
    const int fineness = (int)c->fineness,
              octave = exponent >= 0 ? exponent / fineness : -((fineness - 1 - exponent) / fineness);
    const int rest = exponent - octave * fineness;
    return (float)ldexp((double)c->step * roots[16 / fineness * rest], octave);
}

static int clamp(int x, int low, int high)
{
    return x < low ? low : x > high ? high : x;
}

/* The origin is in the middle of the exponents, and none is too far from it. */
static void find_origin(struct moeq_ec_columns *c)
{
    int64_t sum = 0;
    for (uint64_t i = 0; i < c->n; i++)
        sum += c->exponents[i];
    c->origin = clamp((int)(sum / (int64_t)(c->n ? c->n : 1)), -MOST_ORIGIN, MOST_ORIGIN);
    for (uint64_t i = 0; i < c->n; i++)
        c->exponents[i] = (int16_t)clamp(c->exponents[i], c->origin - MOST_OFF, c->origin + MOST_OFF);
}

/* The step of a column is wide enough for its largest weight. Where that is too far from the origin, this
 * follows, and finer columns get wider, too. */
static void widen(struct moeq_ec_columns *c, uint64_t i, float largest)
{
    while (largest > CODE_ROOM * scale_of(c, c->exponents[i]) && c->exponents[i] < MOST_ORIGIN + MOST_OFF)
        c->exponents[i]++;
    if (c->exponents[i] <= c->origin + MOST_OFF)
        return;
    c->origin = c->exponents[i] - MOST_OFF;
    for (uint64_t k = 0; k < c->n; k++)
        c->exponents[k] = (int16_t)clamp(c->exponents[k], c->origin - MOST_OFF, c->origin + MOST_OFF);
}

void moeq_ec_columns_choose(struct moeq_ec_columns *columns, const struct moeq_gptq_factor *factor,
                            float step, const float *largest)
{
    struct moeq_ec_columns *c = columns;
    c->step = step;
    for (uint64_t j = 0; j < c->n; j++) {
        const double pivot = factor ? factor->pivots[j] : 1;
        const uint64_t column = factor ? factor->order[j] : j;
        const int e = pivot > 0 ? exponent_of(1 / sqrt(pivot), c->fineness) : 0;
        c->exponents[column] = (int16_t)clamp(e, -2 * MOST_ORIGIN, 2 * MOST_ORIGIN);
    }
    find_origin(c);
    for (uint64_t i = 0; i < c->n; i++)
        widen(c, i, largest[i]);
    moeq_ec_columns_derive(c);
}

/* Counts how many columns have each exponent: there are few, and they are near each other. */
static void sort_columns(struct moeq_ec_columns *c)
{
    uint32_t begins[2 * MOST_OFF + 2] = {0};
    for (uint64_t i = 0; i < c->n; i++)
        begins[c->exponents[i] - c->origin + MOST_OFF + 1]++;
    for (unsigned i = 1; i < sizeof begins / sizeof *begins; i++)
        begins[i] += begins[i - 1];
    for (uint64_t i = 0; i < c->n; i++)
        c->order[begins[c->exponents[i] - c->origin + MOST_OFF]++] = (uint32_t)i;
}

void moeq_ec_columns_derive(struct moeq_ec_columns *columns)
{
    struct moeq_ec_columns *c = columns;
    const uint64_t least = moeq_div_up(c->n, PER_CLASS);
    uint64_t begin = 0;
    for (uint64_t i = 0; i < c->n; i++)
        c->scales[i] = scale_of(c, c->exponents[i]);
    sort_columns(c);
    c->n_classes = 0;
    for (uint64_t i = 1; i <= c->n; i++)
        if (i == c->n || (i - begin >= least && c->exponents[c->order[i]] != c->exponents[c->order[i - 1]])) {
            if (i - begin < least && c->n_classes)
                c->n_classes--;
            c->ends[c->n_classes++] = i;
            begin = i;
        }
}

/* ---- bytes ---- */

enum moeq_status moeq_ec_columns_write(const struct moeq_ec_columns *columns, struct moeq_bytes *out,
                                       struct moeq_error *err)
{
    const struct moeq_ec_columns *c = columns;
    struct moeq_rans_histogram histogram = {0};
    struct moeq_bytes stream = {0};
    uint64_t cost;
    int8_t *codes = moeq_calloc(c->n, 1, err);
    if (!codes)
        return MOEQ_OVER_MEMORY;
    for (uint64_t i = 0; i < c->n; i++)
        codes[i] = (int8_t)(c->exponents[i] - c->origin);
    moeq_rans_count_bytes(&histogram, codes, c->n);
    const unsigned k = moeq_normal_best(&histogram, &cost);
    const struct moeq_rans_run run = {.end = c->n, .table = moeq_normal_table(k)};
    enum moeq_status status = moeq_rans_encode_runs(&run, 1, codes, MOEQ_RANS_MAX_CHUNK, NULL, &stream, err);
    if (!status)
        status = moeq_bytes_resize(out, HEAD_BYTES + stream.n_bytes, err);
    if (!status) {
        moeq_store_u32le(out->data, moeq_float_bits(c->step));
        out->data[4] = (uint8_t)c->fineness;
        out->data[5] = (uint8_t)k;
        moeq_store_u16le(out->data + 6, (uint32_t)(uint16_t)c->origin);
        memcpy(out->data + HEAD_BYTES, stream.data, stream.n_bytes);
    }
    free(codes);
    moeq_bytes_free(&stream);
    return status;
}

static enum moeq_status damaged(const char *what, uint64_t offset, struct moeq_error *err)
{
    const enum moeq_status status = moeq_fail(err, MOEQ_DAMAGED, "level ec: %s", what);
    moeq_error_at(err, offset);
    return status;
}

enum moeq_status moeq_ec_columns_read(struct moeq_ec_columns *columns, const uint8_t *bytes, uint64_t n_bytes,
                                      uint64_t *n_used, struct moeq_error *err)
{
    struct moeq_ec_columns *c = columns;
    struct moeq_rans_stream stream;
    uint64_t n_stream;
    if (n_bytes < HEAD_BYTES)
        return damaged("it ends before its columns", 0, err);
    c->step = moeq_bits_float(moeq_load_u32le(bytes));
    c->fineness = bytes[4];
    c->origin = (int16_t)moeq_load_u16le(bytes + 6);
    if (!(c->step > 0) || !isfinite(c->step) || (c->fineness != 4 && c->fineness != 8) ||
        bytes[5] >= MOEQ_NORMAL_TABLES || abs(c->origin) > MOST_ORIGIN)
        return damaged("its head is not one", 0, err);
    enum moeq_status status = moeq_rans_stream_length(bytes + HEAD_BYTES, n_bytes - HEAD_BYTES, c->n,
                                                      MOEQ_RANS_MAX_CHUNK, &n_stream, err);
    if (!status)
        status = moeq_rans_stream_open(&stream, bytes + HEAD_BYTES, n_stream, c->n, MOEQ_RANS_MAX_CHUNK, err);
    int8_t *codes = status ? NULL : moeq_calloc(c->n, 1, err);
    if (!status && !codes)
        status = MOEQ_OVER_MEMORY;
    if (!status)
        status =
            moeq_rans_decode(moeq_normal_decoder(bytes[5]), &stream, 0, stream.n_chunks, codes, NULL, err);
    for (uint64_t i = 0; !status && i < c->n; i++) {
        c->exponents[i] = (int16_t)(c->origin + codes[i]);
        if (codes[i] < -MOST_OFF)
            status = damaged("an exponent that no column has", HEAD_BYTES, err);
    }
    free(codes);
    if (status)
        return status;
    moeq_ec_columns_derive(c);
    for (uint64_t i = 0; i < c->n; i++)
        if (!isfinite(c->scales[i] * -(float)INT8_MIN))
            return damaged("the step of a column is beyond all numbers", 0, err);
    *n_used = HEAD_BYTES + n_stream;
    return MOEQ_OK;
}
