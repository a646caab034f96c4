#include "nearest.h"

struct rounding {
    const struct moeq_matrix *from;
    const struct moeq_format *format;
    float *rows;
    uint8_t *packed;
};

static enum moeq_status round_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                   struct moeq_error *err)
{
    const struct rounding *r = context;
    const uint64_t cols = r->from->cols;
    (void)worker;
    for (uint64_t row = begin; row < end; row++)
        moeq_decode(r->from, row, 0, cols, r->rows + row * cols);
    return r->format->level->encode(r->format, r->from->rows, cols, begin, end - begin,
                                    r->rows + begin * cols, r->packed, err);
}

enum moeq_status moeq_encode_nearest(struct moeq_pool *pool, const struct moeq_matrix *matrix,
                                     const struct moeq_format *format, struct moeq_bytes *scratch,
                                     uint8_t *packed, struct moeq_error *err)
{
    uint64_t n_bytes, n_padded;
    enum moeq_status status = moeq_packed_size(*format, matrix->rows, matrix->cols, &n_bytes, &n_padded, err);
    if (!status)
        status = moeq_bytes_resize(scratch, (size_t)(matrix->rows * matrix->cols * sizeof(float)), err);
    if (status)
        return status;
    memset(packed, 0, (size_t)n_padded);
    struct rounding r = {matrix, format, (float *)(void *)scratch->data, packed};
    return moeq_pool_for(pool, matrix->rows, MOEQ_ROWS_PER_PIECE, round_rows, &r, err);
}
