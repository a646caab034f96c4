#include "rans_chunk.h"

#define AT_ONCE 2 /* chunks that are decoded together */

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
    if (n_bytes < MOEQ_RANS_STATE_BYTES)
        return 0;
    for (unsigned lane = 0; lane < MOEQ_RANS_LANES; lane++)
        n_bits += state_length(end - MOEQ_RANS_LENGTH_BYTES, lane);
    const uint64_t n = 2 * moeq_div_up(n_bits, 16) + MOEQ_RANS_LENGTH_BYTES;
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
    if (n_bytes < MOEQ_RANS_HEAD_BYTES)
        return damaged(err, c->offset, "a chunk of an impossible size");
    const uint32_t head = moeq_load_u32le(begin), n_exceptions = head >> 8;
    n_bytes -= MOEQ_RANS_HEAD_BYTES;
    c->n_tail = c->n % MOEQ_RANS_LANES + MOEQ_RANS_LANES * (head & 0xff);
    if (c->n_tail > c->n || (head & 0xff) > MOEQ_RANS_MAX_TAIL_ROWS || n_exceptions > c->n ||
        n_exceptions > n_bytes / MOEQ_RANS_EXCEPTION_BYTES)
        return damaged(err, c->offset,
                       "a chunk has more codes in its tail, or exceptions, than it has room for");
    c->exceptions.n = n_exceptions;
    c->exceptions.positions = begin + MOEQ_RANS_HEAD_BYTES;
    c->exceptions.codes = c->exceptions.positions + 2 * (size_t)n_exceptions;
    c->words = c->exceptions.positions + MOEQ_RANS_EXCEPTION_BYTES * (size_t)n_exceptions;
    n_bytes -= MOEQ_RANS_EXCEPTION_BYTES * (uint64_t)n_exceptions;
    const uint64_t n_states = has_body(c) ? state_bytes(c->end, n_bytes) : 0;
    c->states = c->end - n_states;
    n_bytes -= n_states;
    if (n_bytes % 2 ||
        (has_body(c) ? !n_states : n_bytes < 2 * MOEQ_RANS_TAIL_STATE_WORDS || n_bytes > 2 * MOEQ_RANS_LANES))
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
            return damaged(err, c->offset + MOEQ_RANS_HEAD_BYTES + 2 * (uint64_t)i,
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
    const uint8_t *lengths = c->end - MOEQ_RANS_LENGTH_BYTES, *at = c->states;
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
    unsigned n_read = MOEQ_RANS_TAIL_STATE_WORDS;
    bool left_over = false;
    const struct moeq_rans_decoder *decoder = NULL;
    for (uint32_t i = 0; i < c->n_tail; i++) {
        if (i % MOEQ_RANS_LANES == 0)
            decoder = runs[moeq_rans_find_run(runs, c->begin + (c->n - c->n_tail) + i)].decoder;
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
    if (left_over || x != MOEQ_RANS_TAIL_STATE)
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
    const size_t run = moeq_rans_find_run(runs, c->begin + MOEQ_RANS_LANES * (uint64_t)row);
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
