#include "matmul.h"

#include "kernels.h"

#include <stdlib.h>

enum moeq_status moeq_scratch_init(struct moeq_scratch *scratch, const struct moeq_pool *pool,
                                   struct moeq_error *err)
{
    scratch->n_workers = moeq_pool_jobs(pool);
    scratch->workers = moeq_calloc(scratch->n_workers, sizeof *scratch->workers, err);
    return scratch->workers ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

void moeq_scratch_free(struct moeq_scratch *scratch)
{
    for (unsigned i = 0; scratch->workers && i < scratch->n_workers; i++)
        moeq_bytes_free(&scratch->workers[i]);
    free(scratch->workers);
    *scratch = (struct moeq_scratch){0};
}

struct multiplication {
    const struct moeq_kernels *kernels;
    struct moeq_scratch *scratch;
    const struct moeq_matrix *w;
    const float *x;
    float *y;
    uint64_t ldx, ldy, n_tokens;
};

_Static_assert(MOEQ_SCRATCH_FLOATS_PER_COLUMN == MOEQ_TILE_ROWS + 1, "a tile and one decoded row");

/* Rows [begin, end) of W as columns of a tile [cols, MOEQ_TILE_ROWS]; missing rows are zeros. */
static void decode_tile(const struct moeq_matrix *w, uint64_t begin, uint64_t end, float *row, float *tile)
{
    if (end - begin < MOEQ_TILE_ROWS)
        memset(tile, 0, w->cols * MOEQ_TILE_ROWS * sizeof *tile);
    for (uint64_t r = begin; r < end; r++) {
        moeq_decode(w, r, 0, w->cols, row);
        for (uint64_t k = 0; k < w->cols; k++)
            tile[k * MOEQ_TILE_ROWS + (r - begin)] = row[k];
    }
}

static enum moeq_status multiply_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                      struct moeq_error *err)
{
    const struct multiplication *m = context;
    struct moeq_bytes *bytes = &m->scratch->workers[worker];
    enum moeq_status status =
        moeq_bytes_resize(bytes, m->w->cols * MOEQ_SCRATCH_FLOATS_PER_COLUMN * sizeof(float), err);
    if (status)
        return status;
    float *tile = (float *)(void *)bytes->data, *row = tile + m->w->cols * MOEQ_TILE_ROWS;
    decode_tile(m->w, begin, end, row, tile);
    m->kernels->multiply_tile(tile, m->w->cols, m->x, m->ldx, m->n_tokens, m->y + begin, m->ldy, end - begin);
    return MOEQ_OK;
}

enum moeq_status moeq_matmul(struct moeq_pool *pool, struct moeq_scratch *scratch,
                             const struct moeq_matrix *w, const float *x, uint64_t ldx, uint64_t n_tokens,
                             float *y, uint64_t ldy, struct moeq_error *err)
{
    struct multiplication m = {moeq_kernels(), scratch, w, x, y, ldx, ldy, n_tokens};
    if (!w->format.level->decode)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "a matrix of dtype %s cannot be computed with",
                         moeq_dtype_name(w->format.dtype));
    return moeq_pool_for(pool, n_tokens ? w->rows : 0, MOEQ_TILE_ROWS, multiply_rows, &m, err);
}
