#include "rans_rows.h"

#include <stdlib.h>

#define HEAD_BYTES      4
#define LENGTH_BYTES    (MOEQ_RANS_LANES / 2)                /* of the states */
#define STATE_BYTES     (2 * MOEQ_RANS_LANES + LENGTH_BYTES) /* the fewest; and room behind the words */
#define MAX_TAIL_ROWS   63
#define LAST_STATE      MOEQ_RANS_LOW /* that encoding begins with, and decoding ends with */
#define STATE_WORDS     2             /* of the tail */
#define EXCEPTION_BYTES 4
#define AT_ONCE         2 /* chunks that are decoded together */
/* Of a chunk: each code may be an exception and take 12 bits as well; states, room to write beyond words. */
#define CHUNK_BYTES                                                                                          \
    (HEAD_BYTES + MOEQ_RANS_MAX_CHUNK * EXCEPTION_BYTES + MOEQ_RANS_MAX_CHUNK * MOEQ_RANS_BITS / 8 +         \
     4 * STATE_BYTES)

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

/* The run that a code belongs to. */
static size_t find_run(const struct moeq_rans_run *runs, uint64_t code)
{
    size_t i = 0;
    while (runs[i].end <= code)
        i++;
    return i;
}

/* The row, of a chunk that begins with code `begin`, with which run i begins there. */
static uint32_t first_row(const struct moeq_rans_run *runs, size_t i, uint64_t begin)
{
    return i && runs[i - 1].end > begin ? (uint32_t)moeq_div_up(runs[i - 1].end - begin, MOEQ_RANS_LANES) : 0;
}

static const struct moeq_rans_encoder *encoder_of(const struct job *job, uint64_t begin, uint32_t i)
{
    const uint64_t first = begin + i / MOEQ_RANS_LANES * MOEQ_RANS_LANES;
    return &job->encoders[job->n_runs == 1 ? 0 : find_run(job->runs, first)];
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
    uint32_t x = LAST_STATE, n_done = 0, state = x;
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
        if (n_made + STATE_WORDS > MOEQ_RANS_LANES)
            break;
        tail->n = goal;
        tail->n_rows = rows;
        n_kept = n_made;
        state = x;
        if (rows == MAX_TAIL_ROWS || n - goal < MOEQ_RANS_LANES)
            break;
    }
    tail->n_words = n_kept + STATE_WORDS;
    tail->words[0] = (uint16_t)state;
    tail->words[1] = (uint16_t)(state >> 16);
    for (unsigned i = 0; i < n_kept; i++)
        tail->words[STATE_WORDS + i] = made[n_kept - 1 - i];
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
        const size_t run = find_run(job->runs, begin + from);
        end = run + 1 < job->n_runs ? MOEQ_RANS_LANES * first_row(job->runs, run + 1, begin) : n;
        end = end < n ? end : n;
        split_run(job, run, from, end, parts, n);
    }
}

/* States are as often of one length as of another: their lengths beside them save 18 bytes of 128. */
static uint8_t *write_states(const uint32_t states[MOEQ_RANS_LANES], uint8_t *to)
{
    uint8_t lengths[LENGTH_BYTES] = {0};
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
        states[lane] = LAST_STATE | tail->words[lane];
    for (uint32_t end = (n - tail->n) / MOEQ_RANS_LANES, row; end; end = row) {
        const size_t run = find_run(job->runs, begin + MOEQ_RANS_LANES * (uint64_t)(end - 1));
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
        uint8_t *bytes = scratch->data + SYMBOL_BYTES + CODE_BYTES, *to = bytes + HEAD_BYTES;
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

/* ---- streams ---- */

static enum moeq_status damaged(struct moeq_error *err, uint64_t offset, const char *what)
{
    const enum moeq_status status = moeq_fail(err, MOEQ_DAMAGED, "entropy-coded data: %s", what);
    moeq_error_at(err, offset);
    return status;
}

enum moeq_status moeq_rans_stream_length(const uint8_t *bytes, uint64_t n_bytes, uint64_t n, uint32_t chunk,
                                         uint64_t *length, struct moeq_error *err)
{
    const uint64_t n_chunks = moeq_div_up(n, chunk);
    if (n_chunks > n_bytes / 4)
        return damaged(err, n_bytes, "it ends in the list of its chunks");
    *length = 4 * n_chunks + (n_chunks ? moeq_load_u32le(bytes + 4 * (n_chunks - 1)) : 0);
    return *length <= n_bytes ? MOEQ_OK : damaged(err, n_bytes, "it ends before its last chunk");
}

enum moeq_status moeq_rans_stream_open(struct moeq_rans_stream *stream, const uint8_t *bytes,
                                       uint64_t n_bytes, uint64_t n, uint32_t chunk, struct moeq_error *err)
{
    const uint64_t n_chunks = moeq_div_up(n, chunk);
    uint64_t end = 0;
    *stream = (struct moeq_rans_stream){bytes, n_bytes, n_chunks, n, chunk};
    if (n_chunks > n_bytes / 4)
        return damaged(err, n_bytes, "it ends in the list of its chunks");
    for (uint64_t c = 0; c < n_chunks; c++) {
        const uint64_t next = moeq_load_u32le(bytes + 4 * c);
        if (next < end || next > n_bytes - 4 * n_chunks)
            return damaged(err, 4 * c, "a chunk ends before it begins, or behind the end");
        end = next;
    }
    if (end != n_bytes - 4 * n_chunks)
        return damaged(err, 4 * n_chunks + end, "bytes behind the last chunk");
    return MOEQ_OK;
}

uint32_t moeq_rans_chunk_codes(const struct moeq_rans_stream *stream, uint64_t index)
{
    const uint64_t left = stream->n_codes - index * stream->chunk;
    return left < stream->chunk ? (uint32_t)left : stream->chunk;
}

/* The parts of a chunk. */
struct chunk {
    uint64_t offset; /* in the stream */
    uint64_t begin;  /* the code that it begins with */
    uint32_t n, n_tail;
    const uint8_t *words, *states, *end; /* without a body there are no states */
    struct moeq_rans_exceptions exceptions;
    int8_t *out;
};

static bool has_body(const struct chunk *c)
{
    return c->n_tail < c->n;
}

static unsigned state_length(const uint8_t *lengths, unsigned lane)
{
    return 16 + ((unsigned)lengths[lane / 2] >> 4 * (lane % 2) & 15u);
}

/* Bytes of the states that end at `end`; 0 where there are not so many. */
static uint64_t state_bytes(const uint8_t *end, uint64_t n_bytes)
{
    uint64_t n_bits = 0;
    if (n_bytes < STATE_BYTES)
        return 0;
    for (unsigned lane = 0; lane < MOEQ_RANS_LANES; lane++)
        n_bits += state_length(end - LENGTH_BYTES, lane);
    const uint64_t n = 2 * moeq_div_up(n_bits, 16) + LENGTH_BYTES;
    return n <= n_bytes ? n : 0;
}

static enum moeq_status open_chunk(const struct moeq_rans_stream *stream, uint64_t index, struct chunk *c,
                                   struct moeq_error *err)
{
    const uint8_t *first = stream->bytes + 4 * stream->n_chunks;
    const uint8_t *begin = first + (index ? moeq_load_u32le(stream->bytes + 4 * (index - 1)) : 0);
    c->end = first + moeq_load_u32le(stream->bytes + 4 * index);
    c->offset = (uint64_t)(begin - stream->bytes);
    c->begin = index * stream->chunk;
    c->n = moeq_rans_chunk_codes(stream, index);
    uint64_t n_bytes = (uint64_t)(c->end - begin);
    if (n_bytes < HEAD_BYTES)
        return damaged(err, c->offset, "a chunk of an impossible size");
    const uint32_t head = moeq_load_u32le(begin), n_exceptions = head >> 8;
    n_bytes -= HEAD_BYTES;
    c->n_tail = c->n % MOEQ_RANS_LANES + MOEQ_RANS_LANES * (head & 0xff);
    if (c->n_tail > c->n || (head & 0xff) > MAX_TAIL_ROWS || n_exceptions > c->n ||
        n_exceptions > n_bytes / EXCEPTION_BYTES)
        return damaged(err, c->offset,
                       "a chunk has more codes in its tail, or exceptions, than it has room for");
    c->exceptions.n = n_exceptions;
    c->exceptions.positions = begin + HEAD_BYTES;
    c->exceptions.codes = c->exceptions.positions + 2 * (size_t)n_exceptions;
    c->words = c->exceptions.positions + EXCEPTION_BYTES * (size_t)n_exceptions;
    n_bytes -= EXCEPTION_BYTES * (uint64_t)n_exceptions;
    const uint64_t n_states = has_body(c) ? state_bytes(c->end, n_bytes) : 0;
    c->states = c->end - n_states;
    n_bytes -= n_states;
    if (n_bytes % 2 || (has_body(c) ? !n_states : n_bytes < 2 * STATE_WORDS || n_bytes > 2 * MOEQ_RANS_LANES))
        return damaged(err, c->offset, "a chunk of an impossible size");
    return MOEQ_OK;
}

static enum moeq_status check_exceptions(const struct chunk *c, struct moeq_error *err)
{
    const uint8_t *at = c->exceptions.positions;
    int64_t before = -1;
    for (uint32_t i = 0; i < c->exceptions.n; i++, at += 2) {
        const int64_t position = moeq_load_u16le(at);
        if (position <= before || position >= c->n)
            return damaged(err, c->offset + HEAD_BYTES + 2 * (uint64_t)i,
                           "the positions of exceptions do not rise, or lie outside");
        before = position;
    }
    return MOEQ_OK;
}

enum moeq_status moeq_rans_exceptions(const struct moeq_rans_stream *stream, uint64_t index,
                                      struct moeq_rans_exceptions *out, struct moeq_error *err)
{
    struct chunk c;
    enum moeq_status status = open_chunk(stream, index, &c, err);
    if (!status)
        status = check_exceptions(&c, err);
    if (!status)
        *out = c.exceptions;
    return status;
}

/* ---- decoding a chunk ---- */

/* Rows for which there may not be enough words; false where there are not. */
static bool last_rows(struct moeq_rans_cursor *cursor)
{
    const struct moeq_rans_decoder *decoder = cursor->decoder;
    for (; cursor->n_rows; cursor->n_rows--, cursor->out += MOEQ_RANS_LANES)
        for (int lane = MOEQ_RANS_LANES - 1; lane >= 0; lane--) {
            const uint32_t slot = decoder->slots[cursor->states[lane] % MOEQ_RANS_SLOTS];
            uint32_t x = moeq_rans_step(cursor->states[lane], slot);
            if (x < MOEQ_RANS_LOW) {
                if (cursor->words == cursor->begin)
                    return false;
                cursor->words -= 2;
                x = x << 16 | moeq_load_u16le(cursor->words);
            }
            cursor->out[lane] = (int8_t)(slot >> 24);
            cursor->states[lane] = x;
        }
    return true;
}

/* Sets the cursor to the beginning; false where bits behind the states are not zero. */
static bool begin_body(const struct chunk *c, struct moeq_rans_cursor *cursor)
{
    const uint8_t *lengths = c->end - LENGTH_BYTES, *at = c->states;
    uint64_t bits = 0;
    unsigned n_bits = 0;
    for (unsigned lane = 0; lane < MOEQ_RANS_LANES; lane++) {
        const unsigned length = state_length(lengths, lane);
        for (; n_bits < length; n_bits += 8)
            bits |= (uint64_t)*at++ << n_bits;
        cursor->states[lane] = 1u << length | ((uint32_t)bits & ((1u << length) - 1));
        bits >>= length;
        n_bits -= length;
    }
    cursor->begin = c->words;
    cursor->words = c->states;
    cursor->out = c->out;
    cursor->n_rows = 0;
    return !bits && (at == lengths || (at + 1 == lengths && !*at));
}

/* The body is decoded; leaves the words of the tail. */
static enum moeq_status end_body(const struct chunk *c, const struct moeq_rans_cursor *cursor,
                                 uint16_t words[MOEQ_RANS_LANES], struct moeq_error *err)
{
    if (cursor->words != cursor->begin)
        return damaged(err, c->offset, "a chunk has more words than its codes need");
    for (int lane = 0; lane < MOEQ_RANS_LANES; lane++) {
        if (cursor->states[lane] >> 16 != 1)
            return damaged(err, c->offset, "the states of a chunk do not end where they began");
        words[lane] = (uint16_t)cursor->states[lane];
    }
    return MOEQ_OK;
}

static enum moeq_status decode_tail(const struct moeq_rans_run *runs, const struct chunk *c,
                                    const uint16_t words[MOEQ_RANS_LANES], unsigned n_words,
                                    struct moeq_error *err)
{
    int8_t *out = c->out + (c->n - c->n_tail);
    uint32_t x = words[0] | (uint32_t)words[1] << 16;
    unsigned n_read = STATE_WORDS;
    bool left_over = false;
    const struct moeq_rans_decoder *decoder = NULL;
    for (uint32_t i = 0; i < c->n_tail; i++) {
        if (i % MOEQ_RANS_LANES == 0)
            decoder = runs[find_run(runs, c->begin + (c->n - c->n_tail) + i)].decoder;
        const uint32_t slot = decoder->slots[x % MOEQ_RANS_SLOTS];
        x = moeq_rans_step(x, slot);
        if (x < MOEQ_RANS_LOW) {
            if (n_read == n_words)
                return damaged(err, c->offset, "the tail of a chunk has fewer words than its codes need");
            x = x << 16 | words[n_read++];
        }
        out[i] = (int8_t)(slot >> 24);
    }
    if (c->n_tail == c->n)
        left_over = n_read != n_words;
    else
        while (n_read < n_words)
            left_over |= words[n_read++] != 0;
    if (left_over || x != LAST_STATE)
        return damaged(err, c->offset, "the tail of a chunk does not end where it began");
    return MOEQ_OK;
}

static enum moeq_status end_chunk(const struct moeq_rans_run *runs, const struct chunk *c,
                                  const struct moeq_rans_cursor *cursor, struct moeq_error *err)
{
    uint16_t words[MOEQ_RANS_LANES] = {0};
    unsigned n_words = MOEQ_RANS_LANES;
    enum moeq_status status = MOEQ_OK;
    if (has_body(c)) {
        status = end_body(c, cursor, words, err);
    } else {
        n_words = (unsigned)(c->end - c->words) / 2;
        for (unsigned i = 0; i < n_words; i++)
            words[i] = (uint16_t)moeq_load_u16le(c->end - 2 * (i + 1));
    }
    if (!status)
        status = decode_tail(runs, c, words, n_words, err);
    if (!status)
        status = check_exceptions(c, err);
    return status;
}

static uint32_t body_rows(const struct chunk *c)
{
    return (c->n - c->n_tail) / MOEQ_RANS_LANES;
}

/* Rows from `row` on that have one table, which the cursor gets. */
static uint32_t begin_run(const struct moeq_rans_run *runs, const struct chunk *c, uint32_t row,
                          struct moeq_rans_cursor *cursor)
{
    const size_t run = find_run(runs, c->begin + MOEQ_RANS_LANES * (uint64_t)row);
    const uint64_t rows = moeq_div_up(runs[run].end - c->begin, MOEQ_RANS_LANES);
    cursor->decoder = runs[run].decoder;
    return (rows < body_rows(c) ? (uint32_t)rows : body_rows(c)) - row;
}

/* Goes on with n chunks, 1 or 2, until one of them is at its end. */
static enum moeq_status decode_together(const struct moeq_rans_run *runs, const struct chunk *const *chunks,
                                        struct moeq_rans_cursor *cursors, uint32_t *rows, unsigned n,
                                        struct moeq_error *err)
{
    while (rows[0] < body_rows(chunks[0]) && rows[n - 1] < body_rows(chunks[n - 1])) {
        uint32_t n_rows = UINT32_MAX;
        for (unsigned i = 0; i < n; i++) {
            const uint32_t n_left = begin_run(runs, chunks[i], rows[i], &cursors[i]);
            n_rows = n_left < n_rows ? n_left : n_rows;
        }
        for (unsigned i = 0; i < n; i++)
            cursors[i].n_rows = n_rows;
        moeq_kernels()->rans->decode(cursors, n);
        for (unsigned i = 0; i < n; i++) {
            if (!last_rows(&cursors[i]))
                return damaged(err, chunks[i]->offset, "a chunk has fewer words than its codes need");
            rows[i] += n_rows;
        }
    }
    return MOEQ_OK;
}

static enum moeq_status decode_bodies(const struct moeq_rans_run *runs, const struct chunk *const *chunks,
                                      struct moeq_rans_cursor *cursors, unsigned n, struct moeq_error *err)
{
    uint32_t rows[AT_ONCE] = {0};
    enum moeq_status status = n > 1 ? decode_together(runs, chunks, cursors, rows, n, err) : MOEQ_OK;
    for (unsigned i = 0; !status && i < n; i++)
        status = decode_together(runs, &chunks[i], &cursors[i], &rows[i], 1, err);
    return status;
}

/* The symbols of 1 or 2 chunks. */
static enum moeq_status decode_symbols(const struct moeq_rans_run *runs, const struct chunk *chunks,
                                       unsigned n, struct moeq_error *err)
{
    struct moeq_rans_cursor cursors[AT_ONCE];
    const struct chunk *with_body[AT_ONCE];
    enum moeq_status status = MOEQ_OK;
    unsigned n_bodies = 0;
    for (unsigned i = 0; i < n; i++) {
        if (!has_body(&chunks[i]))
            continue;
        with_body[n_bodies] = &chunks[i];
        if (!begin_body(&chunks[i], &cursors[n_bodies++]))
            return damaged(err, chunks[i].offset, "a chunk has bits behind its states");
    }
    status = decode_bodies(runs, with_body, cursors, n_bodies, err);
    n_bodies = 0;
    for (unsigned i = 0; !status && i < n; i++)
        status = end_chunk(runs, &chunks[i], &cursors[has_body(&chunks[i]) ? n_bodies++ : 0], err);
    return status;
}

/* Puts exceptions into their places; returns the number of those beyond int8. */
static uint32_t put_exceptions(const struct chunk *c)
{
    uint32_t n_outside = 0;
    for (uint32_t i = 0; i < c->exceptions.n; i++) {
        const int code = (int16_t)moeq_load_u16le(c->exceptions.codes + 2 * i);
        const int nearest = code > INT8_MAX ? INT8_MAX : code < INT8_MIN ? INT8_MIN : code;
        c->out[moeq_load_u16le(c->exceptions.positions + 2 * i)] = (int8_t)nearest;
        n_outside += nearest != code;
    }
    return n_outside;
}

enum moeq_status moeq_rans_decode_runs(const struct moeq_rans_run *runs,
                                       const struct moeq_rans_stream *stream, uint64_t index,
                                       uint64_t n_chunks, int8_t *out, uint64_t *n_outside,
                                       struct moeq_error *err)
{
    uint64_t n_beyond = 0;
    for (uint64_t begin = index, end = index + n_chunks; begin < end; begin += AT_ONCE) {
        struct chunk chunks[AT_ONCE];
        const unsigned n = end - begin < AT_ONCE ? (unsigned)(end - begin) : AT_ONCE;
        enum moeq_status status = MOEQ_OK;
        for (unsigned i = 0; !status && i < n; i++) {
            status = open_chunk(stream, begin + i, &chunks[i], err);
            chunks[i].out = out;
            out += chunks[i].n;
        }
        if (!status)
            status = decode_symbols(runs, chunks, n, err);
        if (status)
            return status;
        for (unsigned i = 0; i < n; i++)
            n_beyond += put_exceptions(&chunks[i]);
    }
    if (n_outside)
        *n_outside = n_beyond;
    return MOEQ_OK;
}

enum moeq_status moeq_rans_decode(const struct moeq_rans_decoder *decoder,
                                  const struct moeq_rans_stream *stream, uint64_t index, uint64_t n_chunks,
                                  int8_t *out, uint64_t *n_outside, struct moeq_error *err)
{
    const struct moeq_rans_run run = {.end = stream->n_codes, .decoder = decoder};
    return moeq_rans_decode_runs(&run, stream, index, n_chunks, out, n_outside, err);
}

enum moeq_status moeq_rans_decode_wide(const struct moeq_rans_decoder *decoder,
                                       const struct moeq_rans_stream *stream, uint64_t index, int16_t *out,
                                       struct moeq_error *err)
{
    const struct moeq_rans_run run = {.end = stream->n_codes, .decoder = decoder};
    struct chunk c;
    enum moeq_status status = open_chunk(stream, index, &c, err);
    /* The symbols lie in the upper half of the codes that they become: none is written over before its turn.
     */
    if (!status) {
        c.out = (int8_t *)(void *)out + c.n;
        status = decode_symbols(&run, &c, 1, err);
    }
    if (status)
        return status;
    for (uint32_t i = 0; i < c.n; i++)
        out[i] = c.out[i];
    for (uint32_t i = 0; i < c.exceptions.n; i++)
        out[moeq_load_u16le(c.exceptions.positions + 2 * i)] =
            (int16_t)moeq_load_u16le(c.exceptions.codes + 2 * i);
    return MOEQ_OK;
}
