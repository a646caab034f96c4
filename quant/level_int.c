/* Levels int8 and int4: integers with one BF16 scale for each group of a row, found by search.
 */
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

static void decode_int(const struct moeq_matrix *matrix, uint64_t row, uint64_t col, uint64_t n, float *out)
{
    struct moeq_planes p = {0};
    moeq_place_planes(&matrix->format, matrix->rows, matrix->cols, &p);
    const uint32_t group = matrix->format.group;
    const unsigned bits = matrix->format.level->bits;
    const uint8_t *codes = matrix->data + row * p.row_bytes + col * bits / 8;
    const uint16_t *scales =
        (const uint16_t *)(const void *)(matrix->data + p.scale_offset) + row * p.n_groups;
    for (uint64_t begin = 0; begin < n; begin += group) {
        uint64_t end = n - begin < group ? n : begin + group;
        uint64_t g = (col + begin) / group;
        float scale = moeq_bf16_decode(scales[g]);
        int zero = moeq_zero_point(matrix, &p, row, g);
        if (bits == 8)
            for (uint64_t i = begin; i < end; i++)
                out[i] = (float)(codes[i] - zero) * scale;
        else
            for (uint64_t i = begin; i < end; i++)
                out[i] = (float)((codes[i / 2] >> 4 * (i % 2) & 15) - zero) * scale;
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
            const uint64_t of_row = (g + i) % p->n_groups;
            uint8_t *pair =
                packed + p->zero_offset + (row + (g + i) / p->n_groups) * p->zero_row_bytes + of_row / 2;
            *pair = (uint8_t)(*pair | zeros[i] << 4 * (of_row % 2));
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

#define INT_LEVEL(text, n_bits, asym, quick)                                                                 \
    {                                                                                                        \
        .name = text, .bits = n_bits, .dtype = MOEQ_U8, .grouped = true, .may_be_asymmetric = asym,          \
        .lossy = true, .block_rows = 1, .fast = quick, .size = size_int, .decode = decode_int,               \
        .encode = encode_int                                                                                 \
    }

const struct moeq_level moeq_level_int8 = INT_LEVEL("int8", 8, false, MOEQ_FAST_INT8);
const struct moeq_level moeq_level_int4 = INT_LEVEL("int4", 4, true, MOEQ_FAST_INT4);
