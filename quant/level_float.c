/* Levels f32, f16 and bf16: the values themselves. */
#include "level.h"
#include "scalar.h"

static bool size_float(const struct moeq_format *format, uint64_t rows, uint64_t cols, uint64_t *n_bytes)
{
    uint64_t n;
    return moeq_mul(rows, cols, &n) && moeq_mul(n, format->level->bits / 8, n_bytes);
}

static const uint16_t *halves(const struct moeq_matrix *matrix, uint64_t row, uint64_t col)
{
    return (const uint16_t *)(const void *)matrix->data + row * matrix->cols + col;
}

static void decode_f32(const struct moeq_matrix *matrix, uint64_t row, uint64_t col, uint64_t n, float *out)
{
    memcpy(out, (const float *)(const void *)matrix->data + row * matrix->cols + col, n * sizeof *out);
}

static void decode_f16(const struct moeq_matrix *matrix, uint64_t row, uint64_t col, uint64_t n, float *out)
{
    const uint16_t *from = halves(matrix, row, col);
    for (uint64_t i = 0; i < n; i++)
        out[i] = moeq_f16_decode(from[i]);
}

static void decode_bf16(const struct moeq_matrix *matrix, uint64_t row, uint64_t col, uint64_t n, float *out)
{
    const uint16_t *from = halves(matrix, row, col);
    for (uint64_t i = 0; i < n; i++)
        out[i] = moeq_bf16_decode(from[i]);
}

static enum moeq_status encode_f32(const struct moeq_format *format, uint64_t rows, uint64_t cols,
                                   uint64_t row, uint64_t n_rows, const float *w, uint8_t *packed,
                                   struct moeq_error *err)
{
    (void)format;
    (void)rows;
    (void)err;
    memcpy((float *)(void *)packed + row * cols, w, n_rows * cols * sizeof *w);
    return MOEQ_OK;
}

static enum moeq_status encode_bf16(const struct moeq_format *format, uint64_t rows, uint64_t cols,
                                    uint64_t row, uint64_t n_rows, const float *w, uint8_t *packed,
                                    struct moeq_error *err)
{
    (void)format;
    (void)rows;
    uint16_t *to = (uint16_t *)(void *)packed + row * cols;
    for (uint64_t i = 0; i < n_rows * cols; i++) {
        to[i] = moeq_bf16_encode(w[i]);
        if ((to[i] & 0x7fff) == 0x7f80) /* beyond the largest BF16: saturate, as the other levels do */
            to[i]--;
    }
    return moeq_check_finite(w, n_rows, cols, row, err);
}

const struct moeq_level moeq_level_f32 = {.name = "f32",
                                          .bits = 32,
                                          .dtype = MOEQ_F32,
                                          .block_rows = 1,
                                          .rows_only = true,
                                          .size = size_float,
                                          .decode = decode_f32,
                                          .encode = encode_f32};

/* Only read: no release asks for it as an output, and its range is narrower than BF16's. */
const struct moeq_level moeq_level_f16 = {.name = "f16",
                                          .bits = 16,
                                          .dtype = MOEQ_F16,
                                          .block_rows = 1,
                                          .rows_only = true,
                                          .size = size_float,
                                          .decode = decode_f16};

const struct moeq_level moeq_level_bf16 = {.name = "bf16",
                                           .bits = 16,
                                           .dtype = MOEQ_BF16,
                                           .lossy = true,
                                           .block_rows = 1,
                                           .rows_only = true,
                                           .fast = MOEQ_FAST_BF16,
                                           .size = size_float,
                                           .decode = decode_bf16,
                                           .encode = encode_bf16};
