/* Where the planes of packed integers and FP8 lie (level.h says what they are); for the levels themselves and
 * for the vector code that decodes them. */
#ifndef MOEQ_LEVEL_PLANES_H
#define MOEQ_LEVEL_PLANES_H

#include "level.h"
#include "scalar.h"

/* Element `index` of a row of codes; no byte is read that has no bit of it. */
static inline unsigned moeq_code_at(const uint8_t *row, unsigned bits, uint64_t index)
{
    const uint8_t *at = row + index * bits / 8;
    const unsigned shift = (unsigned)(index * bits % 8);
    const unsigned low = (unsigned)at[0] >> shift,
                   high = shift + bits > 8 ? (unsigned)at[1] << (8 - shift) : 0;
    return (low | high) & ((1u << bits) - 1);
}

/* Into a row that has zeros there. */
static inline void moeq_put_code(uint8_t *row, unsigned bits, uint64_t index, unsigned code)
{
    uint8_t *at = row + index * bits / 8;
    const unsigned shift = (unsigned)(index * bits % 8);
    at[0] = (uint8_t)(at[0] | code << shift);
    if (shift + bits > 8)
        at[1] = (uint8_t)(at[1] | code >> (8 - shift));
}

struct moeq_planes {
    uint64_t row_bytes, n_groups, zero_row_bytes;
    uint64_t scale_offset, zero_offset, n_bytes;
};

/* False on overflow. */
static inline bool moeq_place_planes(const struct moeq_format *format, uint64_t rows, uint64_t cols,
                                     struct moeq_planes *p)
{
    uint64_t bits, codes, scales, zeros;
    if (!moeq_mul(cols, format->level->bits, &bits))
        return false;
    p->row_bytes = moeq_div_up(bits, 8);
    p->n_groups = moeq_div_up(cols, format->group);
    p->zero_row_bytes = format->asymmetric ? moeq_div_up(p->n_groups * format->level->bits, 8) : 0;
    if (!moeq_mul(rows, p->row_bytes, &codes) || codes > INT64_MAX ||
        !moeq_mul(rows, p->n_groups * 2, &scales) || !moeq_mul(rows, p->zero_row_bytes, &zeros))
        return false;
    p->scale_offset = moeq_round_up(codes, 2);
    return moeq_add(p->scale_offset, scales, &p->zero_offset) && moeq_add(p->zero_offset, zeros, &p->n_bytes);
}

/* The code of the value 0 in a group of a row. */
static inline int moeq_zero_point(const struct moeq_matrix *m, const struct moeq_planes *p, uint64_t row,
                                  uint64_t group)
{
    if (!m->format.asymmetric)
        return 1 << (m->format.level->bits - 1);
    return (int)moeq_code_at(m->data + p->zero_offset + row * p->zero_row_bytes, m->format.level->bits,
                             group);
}

#define MOEQ_FP8_SCALE_BLOCK 128u

/* The FP8 scales of the blocks from (row, col) on to the right. */
static inline const float *moeq_fp8_scales(const struct moeq_matrix *m, uint64_t row, uint64_t col)
{
    const uint64_t offset = moeq_round_up(m->rows * m->cols, sizeof(float));
    return (const float *)(const void *)(m->data + offset) +
           row / MOEQ_FP8_SCALE_BLOCK * moeq_div_up(m->cols, MOEQ_FP8_SCALE_BLOCK) +
           col / MOEQ_FP8_SCALE_BLOCK;
}

/* The scales of the columns of level ec. */
static inline const float *moeq_ec_scales(const struct moeq_matrix *m)
{
    const uint64_t offset = moeq_round_up(m->rows * m->cols, MOEQ_PACKED_ALIGNMENT);
    return (const float *)(const void *)(m->data + offset);
}

/* Codes of a row that share a scale, and the scales of a row, one for each; 0: the level has none. */
static inline uint32_t moeq_scale_group(const struct moeq_format *format)
{
    return format->level->fast == MOEQ_FAST_FP8 ? MOEQ_FP8_SCALE_BLOCK : format->group;
}

static inline void moeq_row_scales(const struct moeq_matrix *m, uint64_t row, float *out)
{
    const uint64_t n = moeq_div_up(m->cols, moeq_scale_group(&m->format));
    if (m->format.level->fast == MOEQ_FAST_FP8) {
        memcpy(out, moeq_fp8_scales(m, row, 0), n * sizeof *out);
        return;
    }
    struct moeq_planes p = {0};
    moeq_place_planes(&m->format, m->rows, m->cols, &p);
    const uint8_t *scales = m->data + p.scale_offset + row * n * 2;
    for (uint64_t g = 0; g < n; g++)
        out[g] = moeq_bf16_decode((uint16_t)(scales[2 * g] | scales[2 * g + 1] << 8));
}

#endif
