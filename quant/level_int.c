/* Levels of integers, int8 to int2: one BF16 scale for each group of a row. */
#include "kernels.h"
#include "level_planes.h"
#include "scalar.h"

#include <math.h>

static bool size_int(const struct moeq_format *format, uint64_t rows, uint64_t cols, uint64_t *n_bytes)
{
    struct moeq_planes p;
    if (!moeq_place_planes(format, rows, cols, &p))
        return false;
    *n_bytes = p.n_bytes;
    return true;
}

/* ---- decoding ---- */

/* `bits` is a constant where this is inlined. */
static inline __attribute__((always_inline)) void decode_int(unsigned bits, const struct moeq_matrix *matrix,
                                                             uint64_t row, uint64_t col, uint64_t n,
                                                             float *out)
{
    struct moeq_planes p = {0};
    moeq_place_planes(&matrix->format, matrix->rows, matrix->cols, &p);
    const uint32_t group = matrix->format.group;
    const uint8_t *codes = matrix->data + row * p.row_bytes + col * bits / 8;
    const uint16_t *scales =
        (const uint16_t *)(const void *)(matrix->data + p.scale_offset) + row * p.n_groups;
    for (uint64_t begin = 0; begin < n; begin += group) {
        uint64_t end = n - begin < group ? n : begin + group;
        uint64_t g = (col + begin) / group;
        float scale = moeq_bf16_decode(scales[g]);
        int zero = moeq_zero_point(matrix, &p, row, g);
        uint64_t i = begin;
        for (; bits < 8 && i + 8 <= end; i += 8) /* whole bytes: where the codes lie in them is constant */
            for (unsigned k = 0; k < 8; k++)
                out[i + k] = (float)((int)moeq_code_at(codes + i / 8 * bits, bits, k) - zero) * scale;
        for (; i < end; i++)
            out[i] = (float)((int)(bits == 8 ? codes[i] : moeq_code_at(codes, bits, i)) - zero) * scale;
    }
}

/* ---- encoding: scales and codes are found in search.inc ---- */

/* n weights from the begin of a row on: those of one row, or of several whose groups are all whole, so that
 * codes and scales follow each other without a gap. */
static void encode_run(const struct moeq_format *format, const struct moeq_planes *p, uint64_t row,
                       uint64_t n, const float *w, uint8_t *packed)
{
    const uint64_t n_groups = moeq_div_up(n, format->group);
    uint8_t *codes = packed + row * p->row_bytes;
    uint16_t *scales = (uint16_t *)(void *)(packed + p->scale_offset) + row * p->n_groups;
    for (uint64_t g = 0; g < n_groups; g += MOEQ_GROUPS_AT_ONCE) {
        const uint64_t begin = g * format->group, left = n - begin,
                       most = (uint64_t)MOEQ_GROUPS_AT_ONCE * format->group;
        const uint32_t n_now = (uint32_t)(left < most ? left : most);
        uint8_t zeros[MOEQ_GROUPS_AT_ONCE];
        moeq_kernels()->encode_group(format, w + begin, n_now, codes + begin * format->level->bits / 8,
                                     scales + g, zeros);
        for (uint64_t i = 0; format->asymmetric && i < moeq_div_up(n_now, format->group); i++) {
            const uint64_t of = row + (g + i) / p->n_groups;
            moeq_put_code(packed + p->zero_offset + of * p->zero_row_bytes, format->level->bits,
                          (g + i) % p->n_groups, zeros[i]);
        }
    }
}

static enum moeq_status encode_int(const struct moeq_format *format, uint64_t rows, uint64_t cols,
                                   uint64_t row, uint64_t n_rows, const float *w, uint8_t *packed,
                                   struct moeq_error *err)
{
    struct moeq_planes p = {0};
    enum moeq_status status = moeq_check_finite(w, n_rows, cols, row, err);
    if (status)
        return status;
    moeq_place_planes(format, rows, cols, &p);
    const uint64_t n_together = cols % format->group ? 1 : n_rows;
    for (uint64_t r = 0; n_together && r < n_rows; r += n_together)
        encode_run(format, &p, row + r, n_together * cols, w + r * cols, packed);
    return MOEQ_OK;
}

#define INT_LEVEL(n_bits, asym)                                                                              \
    static void decode_int##n_bits(const struct moeq_matrix *matrix, uint64_t row, uint64_t col, uint64_t n, \
                                   float *out)                                                               \
    {                                                                                                        \
        decode_int(n_bits, matrix, row, col, n, out);                                                        \
    }                                                                                                        \
                                                                                                             \
    const struct moeq_level moeq_level_int##n_bits = {.name = "int" #n_bits,                                 \
                                                      .bits = n_bits,                                        \
                                                      .dtype = MOEQ_U8,                                      \
                                                      .grouped = true,                                       \
                                                      .may_be_asymmetric = asym,                             \
                                                      .lossy = true,                                         \
                                                      .block_rows = 1,                                       \
                                                      .fast = MOEQ_FAST_INT##n_bits,                         \
                                                      .size = size_int,                                      \
                                                      .decode = decode_int##n_bits,                          \
                                                      .encode = encode_int}

INT_LEVEL(8, false);
INT_LEVEL(6, true);
INT_LEVEL(5, true);
INT_LEVEL(4, true);
INT_LEVEL(3, true);
INT_LEVEL(2, true);
