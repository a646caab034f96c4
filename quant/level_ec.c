/* Level ec as it lies in memory: int8 codes and a float32 scale for each column; ec.h has what it is coded
 * as. */
#include "level_planes.h"

static bool size_ec(const struct moeq_format *format, uint64_t rows, uint64_t cols, uint64_t *n_bytes)
{
    uint64_t n, scales;
    (void)format;
    if (cols > UINT32_MAX || !moeq_mul(rows, cols, &n) || n > INT64_MAX / 2 ||
        !moeq_mul(cols, sizeof(float), &scales))
        return false;
    return moeq_add(moeq_round_up(n, MOEQ_PACKED_ALIGNMENT), scales, n_bytes);
}

static void decode_ec(const struct moeq_matrix *matrix, uint64_t row, uint64_t col, uint64_t n, float *out)
{
    const int8_t *codes = (const int8_t *)matrix->data + row * matrix->cols + col;
    const float *scales = moeq_ec_scales(matrix) + col;
    for (uint64_t i = 0; i < n; i++)
        out[i] = (float)codes[i] * scales[i];
}

const struct moeq_level moeq_level_ec = {.name = "ec",
                                         .bits = 8,
                                         .dtype = MOEQ_U8,
                                         .lossy = true,
                                         .is_coded = true,
                                         .block_rows = 1,
                                         .fast = MOEQ_FAST_EC,
                                         .size = size_ec,
                                         .decode = decode_ec};
