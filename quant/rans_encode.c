#include "rans_chunk.h"

#include <stdlib.h>

/* Of a chunk: each code may be an exception and take 12 bits as well; states, room to write beyond words. */
#define CHUNK_BYTES                                                                                          \
    (MOEQ_RANS_HEAD_BYTES + MOEQ_RANS_MAX_CHUNK * MOEQ_RANS_EXCEPTION_BYTES +                                \
     MOEQ_RANS_MAX_CHUNK * MOEQ_RANS_BITS / 8 + 4 * MOEQ_RANS_STATE_BYTES)

uint32_t moeq_rans_rows_chunk(uint64_t cols)
{
    if (cols == 0 || cols > MOEQ_RANS_MAX_CHUNK)
        return MOEQ_RANS_MAX_CHUNK;
    return (uint32_t)(MOEQ_RANS_MAX_CHUNK / cols * cols);
}

/* ---- encoding a chunk ---- */

/* What stays as it is while a stream is encoded. */
struct job {
    const struct moeq_rans_run *runs;
    size_t n_runs;
    const struct moeq_rans_rows *rows;
    struct moeq_rans_encoder *encoders; /* [n_runs] */
    const int16_t *wide;                /* the codes; NULL: symbols, which `source` has */
    moeq_rans_source *source;
    const void *context;
    uint64_t n;
    uint32_t chunk;
    struct moeq_bytes *scratch; /* of each worker: symbols, then a chunk */
    struct moeq_bytes *chunks;  /* the results */
};

/* The row, of a chunk that begins with code `begin`, with which run i begins there. */
static uint32_t first_row(const struct moeq_rans_run *runs, size_t i, uint64_t begin)
{
    return i && runs[i - 1].end > begin ? (uint32_t)moeq_div_up(runs[i - 1].end - begin, MOEQ_RANS_LANES) : 0;
}

static const struct moeq_rans_encoder *encoder_of(const struct job *job, uint64_t begin, uint32_t i)
{
    const uint64_t first = begin + i / MOEQ_RANS_LANES * MOEQ_RANS_LANES;
    return &job->encoders[job->n_runs == 1 ? 0 : moeq_rans_find_run(job->runs, first)];
}

/* The tail: from the last code backwards, as many rows as the low halves of the states have room for. */
struct tail {
    uint32_t n, n_rows;
    unsigned n_words;
    uint16_t words[MOEQ_RANS_LANES]; /* as they are decoded; zeros behind n_words */
};

static void encode_tail(const struct job *job, uint64_t begin, const int8_t *symbols, uint32_t n,
                        struct tail *tail)
{
    uint16_t made[2 * MOEQ_RANS_LANES];
    uint32_t x = MOEQ_RANS_TAIL_STATE, n_done = 0, state = x;
    unsigned n_made = 0, n_kept = 0;
    *tail = (struct tail){.n = n % MOEQ_RANS_LANES};
    for (uint32_t goal = tail->n, rows = 0;; goal += MOEQ_RANS_LANES, rows++) {
        for (; n_done < goal; n_done++) {
            const uint32_t i = n - 1 - n_done;
            const struct moeq_rans_symbol *s = &encoder_of(job, begin, i)->symbols[(uint8_t)symbols[i]];
            if (!moeq_rans_has_room(x, s)) {
                made[n_made++] = (uint16_t)x;
                x >>= 16;
            }
            x = moeq_rans_push(x, s);
        }
        if (n_made + MOEQ_RANS_TAIL_STATE_WORDS > MOEQ_RANS_LANES)
            break;
        tail->n = goal;
        tail->n_rows = rows;
        n_kept = n_made;
        state = x;
        if (rows == MOEQ_RANS_MAX_TAIL_ROWS || n - goal < MOEQ_RANS_LANES)
            break;
    }
    tail->n_words = n_kept + MOEQ_RANS_TAIL_STATE_WORDS;
    tail->words[0] = (uint16_t)state;
    tail->words[1] = (uint16_t)(state >> 16);
    for (unsigned i = 0; i < n_kept; i++)
        tail->words[MOEQ_RANS_TAIL_STATE_WORDS + i] = made[n_kept - 1 - i];
}

/* Codes as bytes; false where one is beyond int8. */
static bool narrow(const int16_t *codes, uint32_t n, int8_t *symbols)
{
    int16_t lowest = 0, highest = 0;
    for (uint32_t i = 0; i < n; i++) {
        lowest = codes[i] < lowest ? codes[i] : lowest;
        highest = codes[i] > highest ? codes[i] : highest;
        symbols[i] = (int8_t)codes[i];
    }
    return lowest >= INT8_MIN && highest <= INT8_MAX;
}

/* What a chunk is split into: symbols, of which some stand in an exception's place, and the exceptions. */
struct parts {
    const int8_t *symbols; /* the caller's own, or `room` */
    int8_t *room;          /* [n] */
    int16_t *codes;        /* of exceptions [n] */
    uint8_t *positions;    /* of exceptions [n], 2 bytes each */
    uint32_t n_exceptions;
};

static void add_exception(const struct moeq_rans_table *table, uint32_t position, int code,
                          struct parts *parts)
{
    moeq_store_u16le(parts->positions + 2 * (size_t)parts->n_exceptions, position);
    parts->codes[parts->n_exceptions++] = (int16_t)code;
    parts->room[position] = (int8_t)table->filler;
}

/* Codes of one run: those without a place in its table. */
static void split_run(const struct job *job, size_t run, uint32_t from, uint32_t end, struct parts *parts,
                      uint32_t n)
{
    const struct moeq_rans_encoder *encoder = &job->encoders[run];
    for (uint32_t i = from; (i = job->rows->find_absent(encoder, parts->symbols, i, end)) < end; i++) {
        if (parts->symbols != parts->room) {
            memcpy(parts->room, parts->symbols, n);
            parts->symbols = parts->room;
        }
        add_exception(job->runs[run].table, i, parts->symbols[i], parts);
    }
}

static void split(const struct job *job, uint64_t begin, uint32_t n, struct parts *parts)
{
    const int16_t *wide = job->wide ? job->wide + begin : NULL;
    parts->symbols = wide ? parts->room : job->source(job->context, begin, n, parts->room);
    if (wide && !narrow(wide, n, parts->room)) { /* such codes have one table */
        for (uint32_t i = 0; i < n; i++)
            if (wide[i] != parts->room[i] || !job->encoders->packed[(uint8_t)wide[i]])
                add_exception(job->runs->table, i, wide[i], parts);
        return;
    }
    for (uint32_t from = 0, end; from < n; from = end) {
        const size_t run = moeq_rans_find_run(job->runs, begin + from);
        end = run + 1 < job->n_runs ? MOEQ_RANS_LANES * first_row(job->runs, run + 1, begin) : n;
        end = end < n ? end : n;
        split_run(job, run, from, end, parts, n);
    }
}

/* States are as often of one length as of another: their lengths beside them save 18 bytes of 128. */
static uint8_t *write_states(const uint32_t states[MOEQ_RANS_LANES], uint8_t *to)
{
    uint8_t lengths[MOEQ_RANS_LENGTH_BYTES] = {0};
    uint64_t bits = 0;
    unsigned n_bits = 0, n_all = 0;
    for (unsigned lane = 0; lane < MOEQ_RANS_LANES; lane++) {
        const unsigned length = 31 - (unsigned)__builtin_clz(states[lane]);
        lengths[lane / 2] = (uint8_t)(lengths[lane / 2] | (length - 16) << 4 * (lane % 2));
        bits |= (uint64_t)(states[lane] - (1u << length)) << n_bits;
        n_all += length;
        for (n_bits += length; n_bits >= 8; n_bits -= 8, bits >>= 8)
            *to++ = (uint8_t)bits;
    }
    for (; n_all % 16; n_all += n_all % 8 ? 8 - n_all % 8 : 8, bits >>= 8)
        *to++ = (uint8_t)bits;
    memcpy(to, lengths, sizeof lengths);
    return to + sizeof lengths;
}

/* Writes a chunk of n symbols behind its exceptions, at `to`; returns its end. */
static uint8_t *encode_symbols(const struct job *job, uint64_t begin, const int8_t *symbols, uint32_t n,
                               const struct tail *tail, uint8_t *to)
{
    uint32_t states[MOEQ_RANS_LANES];
    if (tail->n == n) { /* read from the last to the first */
        for (unsigned i = tail->n_words; i--; to += 2)
            moeq_store_u16le(to, tail->words[i]);
        return to;
    }
    for (int lane = 0; lane < MOEQ_RANS_LANES; lane++)
        states[lane] = MOEQ_RANS_TAIL_STATE | tail->words[lane];
    for (uint32_t end = (n - tail->n) / MOEQ_RANS_LANES, row; end; end = row) {
        const size_t run = moeq_rans_find_run(job->runs, begin + MOEQ_RANS_LANES * (uint64_t)(end - 1));
        row = first_row(job->runs, run, begin);
        to = job->rows->encode(&job->encoders[run], symbols + MOEQ_RANS_LANES * (size_t)row, end - row,
                               states, to);
    }
    return write_states(states, to);
}

#define SYMBOL_BYTES  MOEQ_RANS_MAX_CHUNK
#define CODE_BYTES    (2 * MOEQ_RANS_MAX_CHUNK)
#define SCRATCH_BYTES (SYMBOL_BYTES + CODE_BYTES + CHUNK_BYTES)
_Static_assert(SCRATCH_BYTES <= MOEQ_RANS_WORKER_BYTES, "what rans.h says");

static enum moeq_status encode_chunks(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                      struct moeq_error *err)
{
    const struct job *job = context;
    struct moeq_bytes *scratch = &job->scratch[worker];
    enum moeq_status status = scratch->data ? MOEQ_OK : moeq_bytes_resize(scratch, SCRATCH_BYTES, err);
    for (uint64_t c = begin; !status && c < end; c++) {
        const uint64_t from = c * job->chunk;
        const uint32_t n = job->n - from < job->chunk ? (uint32_t)(job->n - from) : job->chunk;
        uint8_t *bytes = scratch->data + SYMBOL_BYTES + CODE_BYTES, *to = bytes + MOEQ_RANS_HEAD_BYTES;
        struct parts parts = {.room = (int8_t *)scratch->data,
                              .codes = (int16_t *)(void *)(scratch->data + SYMBOL_BYTES),
                              .positions = to};
        struct tail tail;
        split(job, from, n, &parts);
        to += 2 * (size_t)parts.n_exceptions;
        for (uint32_t i = 0; i < parts.n_exceptions; i++, to += 2)
            moeq_store_u16le(to, (uint16_t)parts.codes[i]);
        encode_tail(job, from, parts.symbols, n, &tail);
        moeq_store_u32le(bytes, tail.n_rows | parts.n_exceptions << 8);
        to = encode_symbols(job, from, parts.symbols, n, &tail, to);
        const size_t n_bytes = (size_t)(to - bytes);
        status = moeq_bytes_resize(&job->chunks[c], n_bytes, err);
        if (!status)
            memcpy(job->chunks[c].data, bytes, n_bytes);
    }
    return status;
}

/* ---- encoding a stream ---- */

static enum moeq_status join(const struct job *job, uint64_t n_chunks, struct moeq_bytes *out,
                             struct moeq_error *err)
{
    uint64_t n_bytes = 0;
    for (uint64_t c = 0; c < n_chunks; c++)
        n_bytes += job->chunks[c].n_bytes;
    if (n_bytes > UINT32_MAX)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "%llu codes take 4 GiB or more when coded",
                         (unsigned long long)job->n);
    const enum moeq_status status = moeq_bytes_resize(out, (size_t)(4 * n_chunks + n_bytes), err);
    if (status)
        return status;
    uint8_t *const first = out->data + 4 * n_chunks, *to = first;
    for (uint64_t c = 0; c < n_chunks; c++) {
        memcpy(to, job->chunks[c].data, job->chunks[c].n_bytes);
        to += job->chunks[c].n_bytes;
        moeq_store_u32le(out->data + 4 * c, (uint32_t)(to - first));
    }
    return MOEQ_OK;
}

static enum moeq_status encode(struct job *job, struct moeq_pool *pool, struct moeq_bytes *out,
                               struct moeq_error *err)
{
    const uint64_t n_chunks = moeq_div_up(job->n, job->chunk);
    const unsigned jobs = pool ? moeq_pool_jobs(pool) : 1;
    enum moeq_status status = MOEQ_OK;
    job->rows = moeq_kernels()->rans;
    job->encoders = moeq_calloc(job->n_runs, sizeof *job->encoders, err);
    for (size_t i = 0; job->encoders && i < job->n_runs; i++)
        moeq_rans_encoder_init(&job->encoders[i], job->runs[i].table);
    job->chunks = moeq_calloc(n_chunks, sizeof *job->chunks, err);
    job->scratch = job->chunks ? moeq_calloc(jobs, sizeof *job->scratch, err) : NULL;
    if (!job->scratch || !job->encoders)
        status = MOEQ_OVER_MEMORY;
    else if (pool)
        status = moeq_pool_for(pool, n_chunks, 1, encode_chunks, job, err);
    else
        status = encode_chunks(job, 0, 0, n_chunks, err);
    if (!status)
        status = join(job, n_chunks, out, err);
    for (uint64_t c = 0; job->chunks && c < n_chunks; c++)
        moeq_bytes_free(&job->chunks[c]);
    for (unsigned i = 0; job->scratch && i < jobs; i++)
        moeq_bytes_free(&job->scratch[i]);
    free(job->encoders);
    free(job->chunks);
    free(job->scratch);
    return status;
}

enum moeq_status moeq_rans_encode(const struct moeq_rans_table *table, const int16_t *codes, uint64_t n,
                                  uint32_t chunk, struct moeq_pool *pool, struct moeq_bytes *out,
                                  struct moeq_error *err)
{
    const struct moeq_rans_run run = {.end = n, .table = table};
    struct job job = {.runs = &run, .n_runs = 1, .wide = codes, .n = n, .chunk = chunk};
    return encode(&job, pool, out, err);
}

enum moeq_status moeq_rans_encode_symbols(const struct moeq_rans_table *table, moeq_rans_source *source,
                                          const void *context, uint64_t n, uint32_t chunk,
                                          struct moeq_pool *pool, struct moeq_bytes *out,
                                          struct moeq_error *err)
{
    const struct moeq_rans_run run = {.end = n, .table = table};
    struct job job = {
        .runs = &run, .n_runs = 1, .source = source, .context = context, .n = n, .chunk = chunk};
    return encode(&job, pool, out, err);
}

static const int8_t *where_they_lie(const void *symbols, uint64_t begin, uint32_t n, int8_t *room)
{
    (void)n;
    (void)room;
    return (const int8_t *)symbols + begin;
}

enum moeq_status moeq_rans_encode_runs(const struct moeq_rans_run *runs, size_t n_runs, const int8_t *symbols,
                                       uint32_t chunk, struct moeq_pool *pool, struct moeq_bytes *out,
                                       struct moeq_error *err)
{
    struct job job = {.runs = runs,
                      .n_runs = n_runs,
                      .source = where_they_lie,
                      .context = symbols,
                      .n = n_runs ? runs[n_runs - 1].end : 0,
                      .chunk = chunk};
    return encode(&job, pool, out, err);
}
