#include "moments.h"

#include <stdlib.h>

enum moeq_status moeq_moments_init(struct moeq_moments *moments, uint64_t n, struct moeq_error *err)
{
    *moments = (struct moeq_moments){.pending = moeq_calloc(MOEQ_HESSIAN_TOKENS * n, sizeof(float), err)};
    return moments->pending ? moeq_hessian_init(&moments->sums, n, err) : MOEQ_OVER_MEMORY;
}

void moeq_moments_free(struct moeq_moments *moments)
{
    moeq_hessian_free(&moments->sums);
    free(moments->pending);
    moments->pending = NULL;
}

enum moeq_status moeq_moments_add(struct moeq_moments *moments, float weight, struct moeq_moments_work *work,
                                  struct moeq_error *err)
{
    moments->weights[moments->n_pending++] = weight;
    return moments->n_pending == MOEQ_HESSIAN_TOKENS ? moeq_moments_end(moments, work, err) : MOEQ_OK;
}

enum moeq_status moeq_moments_end(struct moeq_moments *moments, struct moeq_moments_work *work,
                                  struct moeq_error *err)
{
    const uint64_t n = moments->n_pending;
    moments->n_pending = 0;
    return n ? moeq_hessian_add(&moments->sums, work->pool, &work->scratch, moments->pending, moments->sums.n,
                                NULL, moments->weights, n, err)
             : MOEQ_OK;
}

uint64_t moeq_moments_bytes(uint64_t n)
{
    return n * n * sizeof(double) + MOEQ_HESSIAN_TOKENS * n * sizeof(float) + 8192 * moeq_round_up(n, 96);
}
