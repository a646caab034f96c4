#include "norm.h"

#include <math.h>

#define ROW_GRAIN 16

struct norm {
    const float *x, *gain;
    float *out;
    uint64_t ldx, ldo, width;
    double eps;
};

static void norm_row(const struct norm *n, const float *x, float *out)
{
    double sum = 0;
    for (uint64_t i = 0; i < n->width; i++)
        sum += (double)x[i] * x[i];
    const float factor = (float)(1 / sqrt(sum / (double)n->width + n->eps));
    for (uint64_t i = 0; i < n->width; i++)
        out[i] = n->gain[i] * (x[i] * factor);
}

static enum moeq_status norm_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                  struct moeq_error *err)
{
    const struct norm *n = context;
    (void)worker;
    (void)err;
    for (uint64_t r = begin; r < end; r++)
        norm_row(n, n->x + r * n->ldx, n->out + r * n->ldo);
    return MOEQ_OK;
}

enum moeq_status moeq_norm_rows(struct moeq_pool *pool, const float *x, uint64_t ldx, const float *gain,
                                uint64_t n, uint64_t width, double eps, float *out, uint64_t ldo,
                                struct moeq_error *err)
{
    struct norm norm = {.x = x, .gain = gain, .out = out, .ldx = ldx, .ldo = ldo, .width = width, .eps = eps};
    return moeq_pool_for(pool, n, ROW_GRAIN, norm_rows, &norm, err);
}
