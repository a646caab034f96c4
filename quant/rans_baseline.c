#include "rans_rows.h"

static void decode_one(struct moeq_rans_cursor *cursor)
{
    const struct moeq_rans_decoder *decoder = cursor->decoder;
    const uint8_t *words = cursor->words;
    int8_t *out = cursor->out;
    uint64_t n_rows = cursor->n_rows;
    uint32_t *states = cursor->states;
    for (; n_rows && words - cursor->begin >= MOEQ_RANS_ROW_READ; n_rows--, out += MOEQ_RANS_LANES)
        for (int lane = MOEQ_RANS_LANES - 1; lane >= 0; lane--) {
            const uint32_t slot = decoder->slots[states[lane] % MOEQ_RANS_SLOTS];
            const uint32_t x = moeq_rans_step(states[lane], slot);
            /* No branch: it would be mispredicted every few codes. */
            const uint32_t is_low = 0u - (x < MOEQ_RANS_LOW);
            const uint32_t refilled = x << 16 | moeq_load_u16le(words - 2);
            out[lane] = (int8_t)(slot >> 24);
            words -= 2 & is_low;
            states[lane] = (refilled & is_low) | (x & ~is_low);
        }
    cursor->words = words;
    cursor->out = out;
    cursor->n_rows = n_rows;
}

static void decode(struct moeq_rans_cursor *cursors, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        decode_one(&cursors[i]);
}

static uint8_t *encode(const struct moeq_rans_encoder *encoder, const int8_t *symbols, uint64_t n_rows,
                       uint32_t states[MOEQ_RANS_LANES], uint8_t *words)
{
    while (n_rows--)
        for (int lane = 0; lane < MOEQ_RANS_LANES; lane++) {
            const struct moeq_rans_symbol *s =
                &encoder->symbols[(uint8_t)symbols[n_rows * MOEQ_RANS_LANES + (unsigned)lane]];
            const uint32_t x = states[lane];
            const bool has_room = moeq_rans_has_room(x, s);
            moeq_store_u16le(words, x);
            words += 2 * !has_room;
            states[lane] = moeq_rans_push(has_room ? x : x >> 16, s);
        }
    return words;
}

const struct moeq_rans_rows moeq_rans_baseline = {decode, encode, moeq_rans_find_absent};
