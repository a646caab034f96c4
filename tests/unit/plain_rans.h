/* The layout of rans.h once more, read word by word as its text says: slow, and of no other use. */
#ifndef MOEQ_PLAIN_RANS_H
#define MOEQ_PLAIN_RANS_H

#include "rans.h"

static inline uint32_t plain_number(const uint8_t *at, int n)
{
    uint32_t number = 0;
    while (n--)
        number = number << 8 | at[n];
    return number;
}

/* The symbol of a state, which moves on. */
static inline int plain_symbol(const struct moeq_rans_table *t, uint32_t *x)
{
    const uint32_t slot = *x % 4096;
    int v = -128;
    while (!t->frequency[v + 128] || slot < t->first[v + 128] ||
           slot >= (uint32_t)t->first[v + 128] + t->frequency[v + 128])
        v++;
    *x = t->frequency[v + 128] * (*x / 4096) + slot - t->first[v + 128];
    return v;
}

/* Of the 32 codes that begin with this one. */
static inline const struct moeq_rans_table *plain_table(const struct moeq_rans_run *runs, uint64_t code)
{
    while (runs->end <= code)
        runs++;
    return runs->table;
}

/* A chunk that begins with code `first`. */
static inline bool plain_chunk(const struct moeq_rans_run *runs, uint64_t first, const uint8_t *at,
                               const uint8_t *end, uint32_t n, int16_t *out)
{
    const uint32_t head = plain_number(at, 4), n_tail = n % 32 + 32 * (head & 255), n_exceptions = head >> 8;
    const uint8_t *positions = at + 4, *codes = positions + 2 * n_exceptions,
                  *begin = codes + 2 * n_exceptions, *words = end;
    uint32_t x[32], tail[32] = {0}, n_tail_words = 0;
    uint32_t i = 0;
    if (n_tail < n) {
        const uint8_t *lengths = end - 16;
        unsigned length[32], n_bits = 0;
        for (int k = 0; k < 32; k++)
            n_bits += length[k] = 16 + ((unsigned)lengths[k / 2] >> (k % 2 ? 4 : 0)) % 16;
        words = lengths - (n_bits + 15) / 16 * 2;
        n_bits = 0;
        for (int k = 0; k < 32; k++) {
            x[k] = 1;
            for (unsigned bit = length[k]; bit--;)
                x[k] = x[k] * 2 + ((unsigned)words[(n_bits + bit) / 8] >> (n_bits + bit) % 8) % 2;
            n_bits += length[k];
        }
        for (; i < n - n_tail; i += 32) {
            for (int k = 0; k < 32; k++)
                out[i + (uint32_t)k] = (int16_t)plain_symbol(plain_table(runs, first + i), &x[k]);
            for (int k = 31; k >= 0; k--)
                if (x[k] < 65536)
                    x[k] = x[k] * 65536 + plain_number(words -= 2, 2);
        }
        if (words != begin)
            return false;
        for (; n_tail_words < 32; n_tail_words++) {
            if (x[n_tail_words] < 65536 || x[n_tail_words] >= 131072)
                return false;
            tail[n_tail_words] = x[n_tail_words] % 65536;
        }
    } else {
        while (words != begin)
            tail[n_tail_words++] = plain_number(words -= 2, 2);
    }
    uint32_t next = 2, state = tail[0] + tail[1] * 65536;
    for (; i < n; i++) {
        out[i] = (int16_t)plain_symbol(plain_table(runs, first + i / 32 * 32), &state);
        if (state < 65536)
            state = state * 65536 + tail[next++];
    }
    for (i = 0; i < n_exceptions; i++)
        out[plain_number(positions + 2 * i, 2)] = (int16_t)plain_number(codes + 2 * i, 2);
    return state == 65536 && next <= n_tail_words;
}

/* A whole stream that is not damaged; false where it is not what it should be. */
static inline bool plain_decode_runs(const struct moeq_rans_run *runs, const uint8_t *bytes, uint64_t n_bytes,
                                     uint64_t n, uint32_t chunk, int16_t *out)
{
    const uint64_t n_chunks = (n + chunk - 1) / chunk;
    const uint8_t *first = bytes + 4 * n_chunks, *begin = first;
    for (uint64_t c = 0; c < n_chunks; c++) {
        const uint8_t *end = first + plain_number(bytes + 4 * c, 4);
        const uint64_t left = n - c * chunk;
        if (!plain_chunk(runs, c * chunk, begin, end, left < chunk ? (uint32_t)left : chunk, out + c * chunk))
            return false;
        begin = end;
    }
    return begin == bytes + n_bytes;
}

static inline bool plain_decode(const struct moeq_rans_table *t, const uint8_t *bytes, uint64_t n_bytes,
                                uint64_t n, uint32_t chunk, int16_t *out)
{
    return plain_decode_runs(&(struct moeq_rans_run){.end = n, .table = t}, bytes, n_bytes, n, chunk, out);
}

#endif
