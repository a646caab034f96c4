#include "hessian.h"
#include "kernels.h"
#include "triangle.h"

#include <math.h>
#include <stdlib.h>

/* Tokens that are laid out at once, so that a tile of sums is fetched once for several blocks. */
#define CHUNK (4 * MOEQ_HESSIAN_TOKENS)

enum moeq_status moeq_hessian_init(struct moeq_hessian *h, uint64_t n, struct moeq_error *err)
{
    uint64_t n_sums;
    *h = (struct moeq_hessian){.n = n};
    if (!moeq_mul(n, n, &n_sums))
        return moeq_fail_alloc(err, 0);
    h->sums = moeq_calloc(n_sums, sizeof *h->sums, err);
    return h->sums ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

void moeq_hessian_clear(struct moeq_hessian *h)
{
    memset(h->sums, 0, h->n * h->n * sizeof *h->sums);
    h->n_tokens = 0;
    h->weight = 0;
}

void moeq_hessian_free(struct moeq_hessian *h)
{
    free(h->sums);
    *h = (struct moeq_hessian){0};
}

/* ---- adding tokens ---- */

/* A strip of MOEQ_STRIP columns is laid out twice, as rows and as columns of tiles: panel after panel of
 * `width` columns, each [n_tokens, width]. */
struct adding {
    const struct moeq_fused *fused;
    struct moeq_hessian *h;
    const float *x;
    uint64_t ldx;
    const uint32_t *rows;
    const float *weights;
    uint64_t first, n_tokens; /* of the chunk */
    float *as_rows, *as_lanes;
};

static void lay_out(const struct adding *a, uint64_t col, uint32_t width, float *to)
{
    const uint64_t left = a->h->n > col ? a->h->n - col : 0, n = left < width ? left : width;
    for (uint64_t t = a->first; t < a->first + a->n_tokens; t++, to += width) {
        const float *from = a->x + (a->rows ? a->rows[t] : t) * a->ldx + col;
        const float factor = a->weights ? sqrtf(a->weights[t]) : 1;
        for (uint64_t c = 0; c < n; c++)
            to[c] = from[c] * factor;
        memset(to + n, 0, (width - n) * sizeof *to);
    }
}

static enum moeq_status lay_out_strip(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                      struct moeq_error *err)
{
    const struct adding *a = context;
    const uint32_t n_rows = a->fused->moment_rows, n_lanes = a->fused->moment_lanes;
    (void)worker;
    (void)err;
    for (uint64_t col = begin * MOEQ_STRIP; col < end * MOEQ_STRIP; col += n_rows)
        lay_out(a, col, n_rows, a->as_rows + col * a->n_tokens);
    for (uint64_t col = begin * MOEQ_STRIP; col < end * MOEQ_STRIP; col += n_lanes)
        lay_out(a, col, n_lanes, a->as_lanes + col * a->n_tokens);
    return MOEQ_OK;
}

static uint64_t at_most(uint64_t n, uint64_t most)
{
    return n < most ? n : most;
}

static void add_block(const struct adding *a, const struct moeq_triangle_block *b, uint64_t first,
                      uint64_t n_tokens)
{
    const uint32_t n_rows = a->fused->moment_rows, n_lanes = a->fused->moment_lanes;
    for (uint64_t col = b->col; col < b->col_end; col += n_lanes)
        for (uint64_t row = b->row; row < b->row_end; row += n_rows)
            if (row + n_rows > col) /* not wholly above the diagonal */
                a->fused->add_moments(a->as_rows + row * a->n_tokens + first * n_rows,
                                      a->as_lanes + col * a->n_tokens + first * n_lanes, n_tokens,
                                      a->h->sums + row * a->h->n + col, a->h->n,
                                      at_most(b->row_end - row, n_rows), at_most(b->col_end - col, n_lanes));
}

static enum moeq_status add_blocks(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                   struct moeq_error *err)
{
    const struct adding *a = context;
    (void)worker;
    (void)err;
    for (uint64_t i = begin; i < end; i++) {
        const struct moeq_triangle_block b = moeq_triangle_at(i, a->h->n);
        for (uint64_t t = 0; t < a->n_tokens; t += MOEQ_HESSIAN_TOKENS)
            add_block(a, &b, t, at_most(a->n_tokens - t, MOEQ_HESSIAN_TOKENS));
    }
    return MOEQ_OK;
}

enum moeq_status moeq_hessian_add(struct moeq_hessian *h, struct moeq_pool *pool, struct moeq_bytes *scratch,
                                  const float *x, uint64_t ldx, const uint32_t *rows, const float *weights,
                                  uint64_t n_tokens, struct moeq_error *err)
{
    const uint64_t n_strips = moeq_div_up(h->n, MOEQ_STRIP), most = at_most(n_tokens, CHUNK);
    const uint64_t n_floats = n_strips * MOEQ_STRIP * most;
    enum moeq_status status = moeq_bytes_resize(scratch, 2 * n_floats * sizeof(float), err);
    if (status)
        return status;
    struct adding a = {.fused = moeq_kernels()->fused,
                       .h = h,
                       .x = x,
                       .ldx = ldx,
                       .rows = rows,
                       .weights = weights,
                       .as_rows = (float *)(void *)scratch->data};
    a.as_lanes = a.as_rows + n_floats;
    for (; !status && a.first < n_tokens; a.first += a.n_tokens) {
        a.n_tokens = at_most(n_tokens - a.first, CHUNK);
        status = moeq_pool_for(pool, n_strips, 1, lay_out_strip, &a, err);
        if (!status)
            status = moeq_pool_for(pool, moeq_triangle_blocks(h->n), 1, add_blocks, &a, err);
    }
    h->n_tokens += n_tokens;
    for (uint64_t t = 0; t < n_tokens; t++)
        h->weight += weights ? (double)weights[t] : 1;
    return status;
}

void moeq_hessian_mix(struct moeq_hessian *h, const struct moeq_hessian *layer, double tau)
{
    const double n = (double)h->n_tokens, own = h->weight > 0 ? n / h->weight : 0,
                 others = tau / layer->weight;
    for (uint64_t row = 0; row < h->n; row++)
        for (uint64_t i = row * h->n; i <= row * h->n + row; i++)
            h->sums[i] = own * h->sums[i] + others * layer->sums[i];
    h->weight = n + tau;
}
