#include "pieces.h"

#include <stdlib.h>

/* A piece of very long rows would be larger than its stream may be. */
#define MOST_PIECE_BYTES (256u << 20)

static const struct coding {
    const struct moeq_level *level;
    enum moeq_lossless kind;
    double share;
} codings[] = {
    {&moeq_level_bf16, MOEQ_LOSSLESS_BF16, 0.66},  {&moeq_level_fp8, MOEQ_LOSSLESS_FP8_PAIRS, 0.82},
    {&moeq_level_int8, MOEQ_LOSSLESS_BYTES, 0.96}, {&moeq_level_int4, MOEQ_LOSSLESS_BYTES, 0.95},
    {&moeq_level_int2, MOEQ_LOSSLESS_BYTES, 0.94},
};

bool moeq_pieces_of(struct moeq_format format, uint64_t rows, uint64_t cols, struct moeq_pieces *pieces)
{
    uint64_t bits, n_padded;
    *pieces = (struct moeq_pieces){0};
    for (size_t i = 0; i < sizeof codings / sizeof *codings; i++) {
        if (codings[i].level != format.level)
            continue;
        if (moeq_packed_size(format, rows, cols, &pieces->n_bytes, &n_padded, NULL) || !pieces->n_bytes ||
            !moeq_mul(cols, format.level->bits, &bits) ||
            moeq_div_up(bits, 8) > MOST_PIECE_BYTES / MOEQ_ROWS_PER_PIECE)
            return false;
        const uint64_t row = moeq_div_up(bits, 8), fitting = MOEQ_PIECE_BYTES / row / MOEQ_ROWS_PER_PIECE;
        pieces->kind = codings[i].kind;
        pieces->share = codings[i].share;
        pieces->row_bytes = row;
        pieces->piece_rows = moeq_larger(fitting, 1) * MOEQ_ROWS_PER_PIECE;
        pieces->piece_bytes = pieces->piece_rows * row;
        pieces->n_codes = rows * row;
        return true;
    }
    return false;
}

static uint64_t count(const struct moeq_pieces *pieces, uint64_t n_bytes)
{
    return moeq_div_up(n_bytes, pieces->piece_bytes);
}

uint64_t moeq_pieces_lead(const struct moeq_pieces *pieces, uint64_t n_bytes)
{
    return moeq_round_up(count(pieces, n_bytes) * sizeof(uint32_t), MOEQ_PACKED_ALIGNMENT);
}

uint64_t moeq_pieces_worker_bytes(const struct moeq_pieces *pieces)
{
    return 3 * pieces->piece_bytes; /* coded, and its stream twice */
}

/* ---- encoding ---- */

struct piece {
    const struct moeq_pieces_job *job;
    uint64_t from, n; /* bytes of the job's */
    uint32_t n_coded; /* n where nothing is gained */
};

struct encoding {
    struct piece *pieces;
    struct moeq_bytes *workers;
};

/* Where a piece is coded: never before where it may lie itself. */
static uint8_t *place_of(const struct piece *piece)
{
    return piece->job->out + moeq_pieces_lead(&piece->job->pieces, piece->job->n_bytes) + piece->from;
}

static enum moeq_status encode_piece(struct piece *piece, struct moeq_bytes *coded, struct moeq_error *err)
{
    const enum moeq_lossless kind = piece->job->pieces.kind;
    const uint8_t *codes = piece->job->codes + piece->from;
    struct moeq_rans_histogram histogram = {0};
    struct moeq_rans_table table;
    uint8_t bytes[MOEQ_RANS_TABLE_BYTES], *to = place_of(piece);
    moeq_lossless_count(kind, codes, piece->n, &histogram);
    moeq_rans_table_make(&histogram, &table);
    const size_t n_table = moeq_rans_table_write(&table, bytes);
    enum moeq_status status = moeq_lossless_encode(kind, &table, codes, piece->n, NULL, coded, err);
    if (status)
        return status;
    if (n_table + coded->n_bytes < piece->n) {
        memcpy(to, bytes, n_table);
        memcpy(to + n_table, coded->data, coded->n_bytes);
        piece->n_coded = (uint32_t)(n_table + coded->n_bytes);
    } else {
        memmove(to, codes, (size_t)piece->n);
        piece->n_coded = (uint32_t)piece->n;
    }
    return MOEQ_OK;
}

static enum moeq_status encode_pieces(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                      struct moeq_error *err)
{
    const struct encoding *e = context;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t i = begin; !status && i < end; i++)
        status = encode_piece(&e->pieces[i], &e->workers[worker], err);
    return status;
}

/* Moves the pieces of a job together, each behind its number of bytes. */
static void join(struct moeq_pieces_job *job, const struct piece *pieces, uint64_t n)
{
    uint8_t *to = job->out;
    for (uint64_t i = 0; i < n; i++) {
        moeq_store_u32le(to, pieces[i].n_coded);
        memmove(to + sizeof(uint32_t), place_of(&pieces[i]), pieces[i].n_coded);
        to += sizeof(uint32_t) + pieces[i].n_coded;
    }
    memmove(to, job->codes + job->n_bytes, (size_t)job->n_rest);
    job->n_out = (uint64_t)(to - job->out) + job->n_rest;
}

enum moeq_status moeq_pieces_encode(struct moeq_pieces_job *jobs, size_t n_jobs, struct moeq_pool *pool,
                                    struct moeq_bytes *workers, struct moeq_error *err)
{
    uint64_t n = 0;
    for (size_t i = 0; i < n_jobs; i++)
        n += count(&jobs[i].pieces, jobs[i].n_bytes);
    struct encoding e = {moeq_calloc((size_t)n, sizeof *e.pieces, err), workers};
    if (!e.pieces)
        return MOEQ_OVER_MEMORY;
    n = 0;
    for (size_t i = 0; i < n_jobs; i++)
        for (uint64_t from = 0, left = jobs[i].n_bytes, now; left; from += now, left -= now) {
            now = left < jobs[i].pieces.piece_bytes ? left : jobs[i].pieces.piece_bytes;
            e.pieces[n++] = (struct piece){.job = &jobs[i], .from = from, .n = now};
        }
    enum moeq_status status = moeq_pool_for(pool, n, 1, encode_pieces, &e, err);
    n = 0;
    for (size_t i = 0; !status && i < n_jobs; i++) {
        const uint64_t n_pieces = count(&jobs[i].pieces, jobs[i].n_bytes);
        join(&jobs[i], e.pieces + n, n_pieces);
        n += n_pieces;
    }
    free(e.pieces);
    return status;
}

/* ---- decoding ---- */

static enum moeq_status damaged(uint64_t offset, const char *what, struct moeq_error *err)
{
    moeq_fail(err, MOEQ_DAMAGED, "coded weights: %s", what);
    moeq_error_at(err, offset);
    return MOEQ_DAMAGED;
}

static enum moeq_status decode_piece(const struct moeq_pieces *pieces, const uint8_t *coded, uint64_t n_coded,
                                     uint64_t n, uint8_t *out, struct moeq_error *err)
{
    struct moeq_rans_table table;
    struct moeq_rans_decoder decoder;
    size_t n_table;
    if (n_coded == n) {
        memcpy(out, coded, (size_t)n);
        return MOEQ_OK;
    }
    enum moeq_status status = moeq_rans_table_read(coded, n_coded, &table, &n_table, err);
    if (status)
        return status;
    moeq_rans_decoder_init(&decoder, &table);
    status =
        moeq_lossless_decode(pieces->kind, &decoder, coded + n_table, n_coded - n_table, n, NULL, out, err);
    if (status && err && err->has_offset)
        err->offset += n_table;
    return status;
}

/* The bytes of the next piece, of which there are n and no more coded. */
static enum moeq_status take_length(const uint8_t *coded, uint64_t n_coded, uint64_t at, uint64_t n,
                                    uint64_t *length, struct moeq_error *err)
{
    if (n_coded - at < sizeof(uint32_t))
        return damaged(at, "they end before a piece", err);
    *length = moeq_load_u32le(coded + at);
    if (*length > n_coded - at - sizeof(uint32_t))
        return damaged(at, "a piece is longer than all", err);
    return *length > n ? damaged(at, "a piece takes more bytes than it has", err) : MOEQ_OK;
}

/* What a piece gives must not reach what is yet to be read. */
static bool overlaps(const uint8_t *out, uint64_t n, const uint8_t *coded, uint64_t n_coded)
{
    const uintptr_t a = (uintptr_t)out, b = (uintptr_t)coded;
    return a < b + n_coded && b < a + n;
}

uint64_t moeq_pieces_slack(const struct moeq_pieces *pieces)
{
    const uint64_t piece = pieces->n_codes < pieces->piece_bytes ? pieces->n_codes : pieces->piece_bytes;
    return moeq_round_up(piece, MOEQ_PACKED_ALIGNMENT) + moeq_pieces_lead(pieces, pieces->n_codes) +
           MOEQ_PACKED_ALIGNMENT;
}

enum moeq_status moeq_pieces_decode(const struct moeq_pieces *pieces, const uint8_t *coded, uint64_t n_coded,
                                    uint8_t *packed, struct moeq_error *err)
{
    const struct moeq_pieces *p = pieces;
    const uint64_t n_rest = p->n_bytes - p->n_codes;
    uint64_t at = 0, length;
    for (uint64_t done = 0, n; done < p->n_codes; done += n, at += length) {
        n = p->n_codes - done < p->piece_bytes ? p->n_codes - done : p->piece_bytes;
        struct moeq_error own = {0};
        enum moeq_status status = take_length(coded, n_coded, at, n, &length, err);
        if (status)
            return status;
        if (overlaps(packed + done, n, coded + at, n_coded - at))
            return damaged(at, "more zeros behind them than padding", err);
        at += sizeof(uint32_t);
        status = decode_piece(p, coded + at, length, n, packed + done, &own);
        if (status) {
            moeq_fail(err, status, "%s", own.message);
            moeq_error_at(err, at + own.offset);
            return status;
        }
    }
    if (n_coded - at < n_rest)
        return damaged(at, "they end before the scales", err);
    memmove(packed + p->n_codes, coded + at, (size_t)n_rest);
    at += n_rest;
    for (; at < n_coded; at++)
        if (coded[at])
            return damaged(at, "bytes behind the last", err);
    return MOEQ_OK;
}
