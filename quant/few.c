#include "few.h"

#include "kernels.h"

#define ROW_GRAIN 64

struct few {
    const struct moeq_kernels *kernels;
    struct moeq_scratch *scratch;
    const struct moeq_matrix *w;
    const struct moeq_activations *x;
    uint64_t first_row;
    const uint16_t *laid_out; /* [n_tokens, stride], or NULL: rows are decoded */
    uint64_t stride;
    float *y;
    uint64_t ldy;
};

static enum moeq_status dot_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                 struct moeq_error *err)
{
    const struct few *f = context;
    (void)worker;
    (void)err;
    f->kernels->few_dot[f->w->format.level->fast](f->w, f->first_row + begin, end - begin, f->laid_out,
                                                  f->stride, f->x->n_tokens, f->y + begin, f->ldy);
    return MOEQ_OK;
}

static enum moeq_status decode_and_dot_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                            struct moeq_error *err)
{
    const struct few *f = context;
    const uint64_t cols = f->w->cols;
    const float *x = (const float *)(const void *)f->x->bytes.data;
    struct moeq_bytes *bytes = &f->scratch->workers[worker];
    enum moeq_status status = moeq_bytes_resize(bytes, (size_t)moeq_matmul_scratch_bytes(cols), err);
    float *row = (float *)(void *)bytes->data;
    for (uint64_t r = begin; !status && r < end; r++) {
        moeq_kernels_decode_row(f->kernels, f->w, f->first_row + r, row);
        for (uint64_t t = 0; t < f->x->n_tokens; t++)
            f->y[t * f->ldy + r] = f->kernels->dot(row, x + t * cols, cols);
    }
    return status;
}

uint64_t moeq_few_bytes(uint64_t cols)
{
    return MOEQ_FEW_TOKENS * moeq_round_up(2 * cols, 2 * MOEQ_FEW_CHUNK) * sizeof(uint16_t);
}

/* A level whose codes can be multiplied as they are unpacked. */
static bool has_dot(const struct few *f)
{
    const struct moeq_format *format = &f->w->format;
    const bool one_zero_point = !format->asymmetric || format->group == MOEQ_FEW_CHUNK;
    return f->kernels->few_dot[format->level->fast] && one_zero_point;
}

enum moeq_status moeq_few_multiply(struct moeq_pool *pool, struct moeq_scratch *scratch,
                                   const struct moeq_matrix *w, uint64_t first_row, uint64_t n_rows,
                                   const struct moeq_activations *x, float *y, uint64_t ldy,
                                   struct moeq_error *err)
{
    struct few f = {.kernels = moeq_kernels(),
                    .scratch = scratch,
                    .w = w,
                    .x = x,
                    .first_row = first_row,
                    .stride = moeq_round_up(2 * w->cols, 2 * MOEQ_FEW_CHUNK),
                    .y = y,
                    .ldy = ldy};
    if (!has_dot(&f))
        return moeq_pool_for(pool, x->n_tokens ? n_rows : 0, ROW_GRAIN, decode_and_dot_rows, &f, err);
    enum moeq_status status = moeq_bytes_resize(&scratch->few, (size_t)moeq_few_bytes(w->cols), err);
    if (status)
        return status;
    uint16_t *laid_out = (uint16_t *)(void *)scratch->few.data;
    const float *values = (const float *)(const void *)x->bytes.data;
    memset(laid_out, 0, scratch->few.n_bytes);
    for (uint64_t t = 0; t < x->n_tokens; t++)
        f.kernels->few_lay_out[w->format.level->fast](values + t * w->cols, w->cols, laid_out + t * f.stride);
    f.laid_out = laid_out;
    return moeq_pool_for(pool, x->n_tokens ? n_rows : 0, ROW_GRAIN, dot_rows, &f, err);
}
