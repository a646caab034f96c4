#include "ec_columns.h"
#include "normal.h"

#include <stdlib.h>

#define EXPLICIT 255
#define TILE     16

/* ---- columns to rows ---- */

typedef uint8_t sixteen __attribute__((vector_size(TILE), aligned(1), may_alias));

/* From 16 columns of 16 codes, 16 rows: four times the first halves of two are interleaved, and the second.
 */
static void transpose(const uint8_t *const columns[TILE], uint64_t row, uint8_t *out, uint64_t ld)
{
    sixteen a[TILE], b[TILE];
    for (int i = 0; i < TILE; i++)
        a[i] = *(const sixteen *)(columns[i] + row);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < TILE / 2; i++) {
            const sixteen x = a[i], y = a[i + TILE / 2];
            b[2 * i] = __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            b[2 * i + 1] =
                __builtin_shufflevector(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(a, b, sizeof a);
    }
    for (int i = 0; i < TILE; i++)
        *(sixteen *)(out + (uint64_t)i * ld) = a[i];
}

/* out [rows, n] from the columns' codes [rows] each. */
static void lay_rows(const uint8_t *const *columns, uint64_t rows, uint64_t n, uint8_t *out)
{
    const uint64_t whole = n / TILE * TILE;
    for (uint64_t r = 0; r < rows / TILE * TILE; r += TILE)
        for (uint64_t c = 0; c < whole; c += TILE)
            transpose(columns + c, r, out + r * n + c, n);
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = r < rows / TILE * TILE ? whole : 0; c < n; c++)
            out[r * n + c] = columns[c][r];
}

/* ---- coded bytes ---- */

struct decoding {
    const uint8_t *coded;
    uint64_t n_coded, at; /* `at` has been read */
    struct moeq_ec_columns columns;
    struct moeq_rans_run runs[MOEQ_EC_MAX_CLASSES];
    struct moeq_rans_decoder *own; /* [classes] */
};

static enum moeq_status damaged(const struct decoding *d, const char *what, struct moeq_error *err)
{
    const enum moeq_status status = moeq_fail(err, MOEQ_DAMAGED, "level ec: %s", what);
    moeq_error_at(err, d->at);
    return status;
}

/* A failure of a part that begins where we are. */
static enum moeq_status in_part(const struct decoding *d, enum moeq_status status, struct moeq_error *err)
{
    if (status && err) {
        err->offset = d->at + (err->has_offset ? err->offset : 0);
        err->has_offset = true;
    }
    return status;
}

static enum moeq_status read_table(struct decoding *d, size_t class, struct moeq_error *err)
{
    struct moeq_rans_table table;
    size_t n_used;
    if (d->at == d->n_coded)
        return damaged(d, "it ends before its tables", err);
    const unsigned k = d->coded[d->at++];
    if (k < MOEQ_NORMAL_TABLES) {
        d->runs[class].decoder = moeq_normal_decoder(k);
        return MOEQ_OK;
    }
    if (k != EXPLICIT)
        return damaged(d, "no such table", err);
    enum moeq_status status =
        moeq_rans_table_read(d->coded + d->at, d->n_coded - d->at, &table, &n_used, err);
    if (status)
        return in_part(d, status, err);
    d->at += n_used;
    moeq_rans_decoder_init(&d->own[class], &table);
    d->runs[class].decoder = &d->own[class];
    return MOEQ_OK;
}

static enum moeq_status read_codes(struct decoding *d, int8_t *codes, struct moeq_error *err)
{
    const uint32_t chunk = moeq_rans_rows_chunk(d->columns.rows);
    const uint64_t n = d->columns.rows * d->columns.n;
    struct moeq_rans_stream stream;
    uint64_t length, n_outside;
    enum moeq_status status =
        moeq_rans_stream_length(d->coded + d->at, d->n_coded - d->at, n, chunk, &length, err);
    if (!status)
        status = moeq_rans_stream_open(&stream, d->coded + d->at, length, n, chunk, err);
    if (!status)
        status = moeq_rans_decode_runs(d->runs, &stream, 0, stream.n_chunks, codes, &n_outside, err);
    if (status)
        return in_part(d, status, err);
    if (n_outside)
        return damaged(d, "codes beyond 8 bits", err);
    d->at += length;
    for (uint64_t i = d->at; i < d->n_coded; i++)
        if (d->coded[i])
            return damaged(d, "bytes behind its codes", err);
    return MOEQ_OK;
}

static enum moeq_status lay_out(const struct decoding *d, const int8_t *codes, uint8_t *packed,
                                struct moeq_error *err)
{
    const struct moeq_ec_columns *c = &d->columns;
    const uint64_t n = c->rows * c->n, padded = moeq_round_up(n, MOEQ_PACKED_ALIGNMENT);
    const uint8_t **columns = moeq_calloc(c->n, sizeof *columns, err);
    if (!columns)
        return MOEQ_OVER_MEMORY;
    for (uint64_t i = 0; i < c->n; i++)
        columns[c->order[i]] = (const uint8_t *)codes + i * c->rows;
    lay_rows(columns, c->rows, c->n, packed);
    memset(packed + n, 0, (size_t)(padded - n));
    memcpy(packed + padded, c->scales, (size_t)c->n * sizeof *c->scales);
    free(columns);
    return MOEQ_OK;
}

static enum moeq_status decode(struct decoding *d, int8_t *codes, uint8_t *packed, struct moeq_error *err)
{
    struct moeq_ec_columns *c = &d->columns;
    enum moeq_status status = moeq_ec_columns_read(c, d->coded, d->n_coded, &d->at, err);
    d->own = status ? NULL : aligned_alloc(64, (c->n_classes + 1) * sizeof *d->own);
    if (!status && !d->own)
        status = moeq_fail_alloc(err, c->n_classes * sizeof *d->own);
    for (size_t i = 0; !status && i < c->n_classes; i++) {
        d->runs[i].end = c->ends[i] * c->rows;
        status = read_table(d, i, err);
    }
    if (!status)
        status = read_codes(d, codes, err);
    if (!status)
        status = lay_out(d, codes, packed, err);
    free(d->own);
    return status;
}

enum moeq_status moeq_ec_decode(const uint8_t *coded, uint64_t n_coded, uint64_t rows, uint64_t cols,
                                int8_t *codes, uint8_t *packed, struct moeq_error *err)
{
    struct decoding d = {.coded = coded, .n_coded = n_coded};
    enum moeq_status status = moeq_ec_columns_init(&d.columns, rows, cols, err);
    if (!status)
        status = decode(&d, codes, packed, err);
    moeq_ec_columns_free(&d.columns);
    return status;
}
