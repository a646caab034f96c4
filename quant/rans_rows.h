/* The inner loops of entropy coding, one set of them for each instruction set; for rans*.c alone. */
#ifndef MOEQ_RANS_ROWS_H
#define MOEQ_RANS_ROWS_H

#include "kernels_table.h"
#include "rans.h"

#define MOEQ_RANS_LOW      65536u                /* states are at least that, and less than 2^32 */
#define MOEQ_RANS_ROW_READ (2 * MOEQ_RANS_LANES) /* the most bytes of words that a row takes */

/* A place in the body of a chunk: words are read backwards from `words` down to `begin`. Behind `words` there
 * are at least MOEQ_RANS_ROW_READ bytes that may be read. */
struct moeq_rans_cursor {
    _Alignas(64) uint32_t states[MOEQ_RANS_LANES];
    const uint8_t *begin, *words;
    int8_t *out;
    uint64_t n_rows;
    const struct moeq_rans_decoder *decoder; /* of these rows */
};

/* What encoding needs of a symbol. */
struct moeq_rans_symbol {
    uint32_t frequency, first;
    uint64_t reciprocal; /* ceil(2^63 / frequency) */
};

struct moeq_rans_encoder {
    struct moeq_rans_symbol symbols[MOEQ_RANS_SYMBOLS]; /* symbol v at [(uint8_t)v] */
    /* frequency + first << 16, at the same places. */
    _Alignas(64) uint32_t packed[MOEQ_RANS_SYMBOLS];
    /* Which symbols have a frequency: bit (v >> 4 & 7) of byte [(uint8_t)v >> 7][v & 15]. */
    uint8_t present[2][16];
};

void moeq_rans_encoder_init(struct moeq_rans_encoder *encoder, const struct moeq_rans_table *table);

struct moeq_rans_rows {
    /* In each of n chunks, 1 or 2: decodes rows of MOEQ_RANS_LANES codes while there are rows and
     * MOEQ_RANS_ROW_READ bytes of words, and moves the cursor. What is left is for the caller. */
    void (*decode)(struct moeq_rans_cursor *cursors, unsigned n);
    /* Encodes rows from the last to the first, writing words from `words` on; returns where they end. Up to
     * MOEQ_RANS_ROW_READ bytes behind that may be written. Every symbol has a frequency. */
    uint8_t *(*encode)(const struct moeq_rans_encoder *encoder, const int8_t *symbols, uint64_t n_rows,
                       uint32_t states[MOEQ_RANS_LANES], uint8_t *words);
    /* The first of n symbols, from `begin` on, that has no frequency; n where all have one. */
    uint32_t (*find_absent)(const struct moeq_rans_encoder *encoder, const int8_t *symbols, uint32_t begin,
                            uint32_t n);
};

static inline uint32_t moeq_rans_find_absent(const struct moeq_rans_encoder *encoder, const int8_t *symbols,
                                             uint32_t begin, uint32_t n)
{
    while (begin < n && encoder->symbols[(uint8_t)symbols[begin]].frequency)
        begin++;
    return begin;
}

/* One step of a state. */
static inline uint32_t moeq_rans_step(uint32_t x, uint32_t slot)
{
    return (x >> MOEQ_RANS_BITS) * (slot >> 12 & 0xfff) + (slot & 0xfff);
}

/* The inverse, of a state that has room: x < frequency * 2^20. x / frequency is the high half of a product
 * with the reciprocal, exact for any x of 32 bits. */
static inline uint32_t moeq_rans_push(uint32_t x, const struct moeq_rans_symbol *s)
{
    const uint32_t quotient = (uint32_t)((unsigned __int128)((uint64_t)x << 1) * s->reciprocal >> 64);
    return x + quotient * (MOEQ_RANS_SLOTS - s->frequency) + s->first;
}

static inline bool moeq_rans_has_room(uint32_t x, const struct moeq_rans_symbol *s)
{
    return x < s->frequency << (32 - MOEQ_RANS_BITS);
}

#endif
