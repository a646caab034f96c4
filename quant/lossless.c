#include "lossless.h"

#include <stdlib.h>

#define PIECE 2 /* chunks that a thread decodes at once */

const char *const moeq_lossless_names[] = {"bf16", "fp8 pairs", "bytes"};

/* ---- splitting and merging: loops that the compiler makes vectors of ---- */

static inline uint16_t load(const uint8_t *data, uint64_t i)
{
    uint16_t v;
    memcpy(&v, data + 2 * i, sizeof v);
    return v;
}

static inline void store(uint8_t *data, uint64_t i, unsigned value)
{
    const uint16_t v = (uint16_t)value;
    memcpy(data + 2 * i, &v, sizeof v);
}

static void bf16_symbols(const uint8_t *restrict data, uint64_t n, int8_t *restrict symbols)
{
    for (uint64_t i = 0; i < n; i++)
        symbols[i] = (int8_t)(uint8_t)((load(data, i) >> 7 & 0xff) ^ 0x80);
}

static void bf16_rest(const uint8_t *restrict data, uint64_t n, uint8_t *restrict rest)
{
    for (uint64_t i = 0; i < n; i++)
        rest[i] = (uint8_t)((load(data, i) & 0x7f) | (load(data, i) >> 8 & 0x80));
}

static void bf16_merge(const int8_t *restrict symbols, const uint8_t *restrict rest, uint64_t n,
                       uint8_t *restrict data)
{
    for (uint64_t i = 0; i < n; i++) {
        const unsigned exponent = (uint8_t)symbols[i] ^ 0x80u;
        store(data, i, exponent << 7 | (rest[i] & 0x7fu) | (rest[i] & 0x80u) << 8);
    }
}

/* Of two values in 16 bits, seeemmm each with the first one below. */
static void pair_symbols(const uint8_t *restrict data, uint64_t n, int8_t *restrict symbols)
{
    for (uint64_t i = 0; i < n; i++)
        symbols[i] = (int8_t)(uint8_t)((load(data, i) >> 3 & 0x0f) | (load(data, i) >> 7 & 0xf0));
}

static void pair_rest(const uint8_t *restrict data, uint64_t n, uint8_t *restrict rest)
{
    for (uint64_t i = 0; i < n; i++) {
        const unsigned v = load(data, i);
        rest[i] = (uint8_t)((v & 0x07) | (v >> 4 & 0x08) | (v >> 4 & 0x70) | (v >> 8 & 0x80));
    }
}

static void pair_merge(const int8_t *restrict symbols, const uint8_t *restrict rest, uint64_t n,
                       uint8_t *restrict data)
{
    for (uint64_t i = 0; i < n; i++) {
        const unsigned e = (uint8_t)symbols[i], r = rest[i];
        store(data, i,
              (e & 0x0f) << 3 | (e & 0xf0) << 7 | (r & 0x07) | (r & 0x08) << 4 | (r & 0x70) << 4 |
                  (r & 0x80) << 8);
    }
}

/* By enum moeq_lossless; width: bytes of data that a symbol stands for. NULL: symbols are the data. */
static const struct split {
    unsigned width;
    void (*symbols)(const uint8_t *restrict data, uint64_t n, int8_t *restrict symbols);
    void (*rest)(const uint8_t *restrict data, uint64_t n, uint8_t *restrict rest);
    void (*merge)(const int8_t *restrict symbols, const uint8_t *restrict rest, uint64_t n,
                  uint8_t *restrict data);
} splits[] = {
    {2, bf16_symbols, bf16_rest, bf16_merge},
    {2, pair_symbols, pair_rest, pair_merge},
    {1, NULL, NULL, NULL},
};

/* ---- data ---- */

struct job {
    const struct split *split;
    const uint8_t *data;
    uint64_t n_data, n_symbols;
    uint8_t *rest; /* while encoding; NULL: there is none */
    /* while decoding */
    const uint8_t *coded_rest;
    const struct moeq_rans_decoder *decoder;
    struct moeq_rans_stream stream;
    uint64_t stream_offset;
    uint8_t *out;
    struct moeq_bytes *scratch; /* of each worker */
};

static struct job job_of(enum moeq_lossless kind, const uint8_t *data, uint64_t n)
{
    return (struct job){
        .split = &splits[kind], .data = data, .n_data = n, .n_symbols = moeq_div_up(n, splits[kind].width)};
}

/* Number of symbols of [begin, begin + n) that have all their bytes; the last of all may lack one. */
static uint64_t whole(const struct job *job, uint64_t begin, uint64_t n)
{
    return (begin + n) * job->split->width <= job->n_data ? n : n - 1;
}

static const int8_t *symbols_of(const void *context, uint64_t begin, uint32_t n, int8_t *room)
{
    const struct job *job = context;
    const uint8_t *data = job->data + begin * job->split->width;
    if (!job->split->symbols)
        return (const int8_t *)data;
    const uint64_t n_whole = whole(job, begin, n);
    job->split->symbols(data, n_whole, room);
    if (n_whole < n)
        job->split->symbols((const uint8_t[2]){data[2 * n_whole]}, 1, room + n_whole);
    return room;
}

static enum moeq_status write_rest(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                   struct moeq_error *err)
{
    const struct job *job = context;
    const uint8_t *data = job->data + begin * job->split->width;
    const uint64_t n_whole = whole(job, begin, end - begin);
    (void)worker;
    (void)err;
    job->split->rest(data, n_whole, job->rest + begin);
    if (n_whole < end - begin)
        job->split->rest((const uint8_t[2]){data[2 * n_whole]}, 1, job->rest + begin + n_whole);
    return MOEQ_OK;
}

void moeq_lossless_count(enum moeq_lossless kind, const uint8_t *data, uint64_t n,
                         struct moeq_rans_histogram *histogram)
{
    const struct job job = job_of(kind, data, n);
    int8_t room[4096];
    for (uint64_t i = 0; i < job.n_symbols; i += sizeof room) {
        const uint32_t n_now =
            job.n_symbols - i < sizeof room ? (uint32_t)(job.n_symbols - i) : (uint32_t)sizeof room;
        moeq_rans_count_bytes(histogram, symbols_of(&job, i, n_now, room), n_now);
    }
}

/* ---- encoding ---- */

enum moeq_status moeq_lossless_encode(enum moeq_lossless kind, const struct moeq_rans_table *table,
                                      const uint8_t *data, uint64_t n, struct moeq_pool *pool,
                                      struct moeq_bytes *out, struct moeq_error *err)
{
    struct job job = job_of(kind, data, n);
    struct moeq_bytes stream = {0};
    const uint64_t n_rest = job.split->rest ? job.n_symbols : 0;
    if (!n_rest)
        return moeq_rans_encode_symbols(table, symbols_of, &job, job.n_symbols, MOEQ_RANS_MAX_CHUNK, pool,
                                        out, err);
    enum moeq_status status = moeq_rans_encode_symbols(table, symbols_of, &job, job.n_symbols,
                                                       MOEQ_RANS_MAX_CHUNK, pool, &stream, err);
    if (!status)
        status = moeq_bytes_resize(out, (size_t)n_rest + stream.n_bytes, err);
    if (!status) {
        memcpy(out->data + n_rest, stream.data, stream.n_bytes);
        job.rest = out->data;
        if (pool)
            status = moeq_pool_for(pool, n_rest, MOEQ_RANS_MAX_CHUNK, write_rest, &job, err);
        else
            status = write_rest(&job, 0, 0, n_rest, err);
    }
    moeq_bytes_free(&stream);
    return status;
}

/* ---- decoding ---- */

/* Of the last symbol, which may stand for a byte more than there is: it must be 0. */
static enum moeq_status merge(const struct job *job, uint64_t begin, uint64_t n, const int8_t *symbols,
                              struct moeq_error *err)
{
    const uint8_t *rest = job->coded_rest + begin;
    const uint64_t n_whole = whole(job, begin, n);
    uint8_t *to = job->out + begin * job->split->width, last[2];
    job->split->merge(symbols, rest, n_whole, to);
    if (n_whole == n)
        return MOEQ_OK;
    job->split->merge(symbols + n_whole, rest + n_whole, 1, last);
    to[2 * n_whole] = last[0];
    if (!last[1])
        return MOEQ_OK;
    const enum moeq_status status =
        moeq_fail(err, MOEQ_DAMAGED, "entropy-coded data: a value behind the last one");
    moeq_error_at(err, begin + n_whole);
    return status;
}

static enum moeq_status decode_pieces(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                      struct moeq_error *err)
{
    const struct job *job = context;
    const struct moeq_rans_stream *s = &job->stream;
    struct moeq_bytes *scratch = &job->scratch[worker];
    enum moeq_status status = MOEQ_OK;
    if (job->split->merge && !scratch->data)
        status = moeq_bytes_resize(scratch, PIECE * MOEQ_RANS_MAX_CHUNK, err);
    for (uint64_t c = begin; !status && c < end; c += PIECE) {
        const uint64_t n_chunks = end - c < PIECE ? end - c : PIECE, first = c * s->chunk;
        const uint64_t n =
            job->n_symbols - first < n_chunks * s->chunk ? job->n_symbols - first : n_chunks * s->chunk;
        int8_t *symbols = job->split->merge ? (int8_t *)scratch->data : (int8_t *)job->out + first;
        struct moeq_error own = {0};
        uint64_t n_outside = 0;
        status = moeq_rans_decode(job->decoder, s, c, n_chunks, symbols, &n_outside, &own);
        if (status) {
            moeq_fail(err, status, "%s", own.message);
            moeq_error_at(err, job->stream_offset + own.offset);
        } else if (n_outside) {
            status = moeq_fail(err, MOEQ_DAMAGED, "entropy-coded data: an exception is not a byte");
            moeq_error_at(err, job->stream_offset);
        } else if (job->split->merge) {
            status = merge(job, first, n, symbols, err);
        }
    }
    return status;
}

enum moeq_status moeq_lossless_decode(enum moeq_lossless kind, const struct moeq_rans_decoder *decoder,
                                      const uint8_t *coded, uint64_t n_coded, uint64_t n,
                                      struct moeq_pool *pool, uint8_t *data, struct moeq_error *err)
{
    struct job job = job_of(kind, NULL, n);
    struct moeq_error own = {0};
    const unsigned jobs = pool ? moeq_pool_jobs(pool) : 1;
    job.stream_offset = job.split->rest ? job.n_symbols : 0;
    job.coded_rest = coded;
    job.decoder = decoder;
    job.out = data;
    if (n_coded < job.stream_offset) {
        moeq_fail(err, MOEQ_DAMAGED, "entropy-coded data: %llu bytes, fewer than its raw part has",
                  (unsigned long long)n_coded);
        moeq_error_at(err, n_coded);
        return MOEQ_DAMAGED;
    }
    enum moeq_status status =
        moeq_rans_stream_open(&job.stream, coded + job.stream_offset, n_coded - job.stream_offset,
                              job.n_symbols, MOEQ_RANS_MAX_CHUNK, &own);
    if (status) {
        moeq_fail(err, status, "%s", own.message);
        moeq_error_at(err, job.stream_offset + own.offset);
        return status;
    }
    job.scratch = moeq_calloc(jobs, sizeof *job.scratch, err);
    if (!job.scratch)
        return MOEQ_OVER_MEMORY;
    if (pool)
        status = moeq_pool_for(pool, job.stream.n_chunks, PIECE, decode_pieces, &job, err);
    else
        status = decode_pieces(&job, 0, 0, job.stream.n_chunks, err);
    for (unsigned i = 0; i < jobs; i++)
        moeq_bytes_free(&job.scratch[i]);
    free(job.scratch);
    return status;
}
