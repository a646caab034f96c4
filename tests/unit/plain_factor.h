/* Calibrated inputs for tests, and their factor by the plain loops of cholesky.h and gptq.h. */
#ifndef MOEQ_PLAIN_FACTOR_H
#define MOEQ_PLAIN_FACTOR_H

#include "weights.h"

#include "gptq.h"

#include <math.h>

/* Moments of n_tokens tokens whose features are correlated and of different sizes; columns c with
 * c % dead == dead - 1 are zero (0: none). */
static inline void correlated_moments(struct moeq_hessian *h, struct moeq_pool *pool, uint64_t n,
                                      uint64_t n_tokens, uint64_t dead, float size)
{
    float *x = random_weights(n * n_tokens, n + n_tokens);
    struct moeq_bytes scratch = {0};
    for (uint64_t t = 0; t < n_tokens; t++) {
        float shared = gaussian();
        for (uint64_t c = 0; c < n; c++) {
            shared = 0.9f * shared + 0.4f * gaussian();
            x[t * n + c] = dead && c % dead == dead - 1 ? 0 : size * shared * (c % 7 == 3 ? 3.0f : 1.0f);
        }
    }
    CU_ASSERT_EQUAL_FATAL(moeq_hessian_init(h, n, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_hessian_add(h, pool, &scratch, x, n, NULL, NULL, n_tokens, NULL), MOEQ_OK);
    moeq_bytes_free(&scratch);
    free(x);
}

/* The mean of an element, on either side of the diagonal. */
static inline double mean_at(const struct moeq_hessian *h, uint64_t r, uint64_t c)
{
    return h->sums[(r > c ? r : c) * h->n + (r > c ? c : r)] / h->weight;
}

/* N of H = N^T N in place, [n, n]; false where a pivot is not positive. */
static inline bool plain_cholesky(double *a, uint64_t n)
{
    for (uint64_t j = n; j-- > 0;) {
        for (uint64_t i = 0; i <= j; i++)
            for (uint64_t k = n; --k > j;)
                a[j * n + i] = fma(-a[k * n + j], a[k * n + i], a[j * n + i]);
        if (!(a[j * n + j] > 0) || isinf(a[j * n + j]))
            return false;
        const double root = a[j * n + j] = sqrt(a[j * n + j]);
        for (uint64_t i = 0; i < j; i++)
            a[j * n + i] /= root;
    }
    return true;
}

/* The damped mean in the given order of columns, both triangles: [n, n]. */
static inline double *damped_mean(const struct moeq_hessian *h, const uint32_t *order, double damping)
{
    const uint64_t n = h->n;
    double *a = malloc(n * n * sizeof *a), sum = 0;
    uint64_t n_live = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    for (uint64_t i = 0; i < n; i++)
        if (h->sums[i * n + i] > 0) {
            sum += mean_at(h, i, i);
            n_live++;
        }
    const double added = n_live ? damping * (sum / (double)n_live) : 0;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < n; c++) {
            const bool dead = !(h->sums[order[r] * n + order[r]] > 0 && h->sums[order[c] * n + order[c]] > 0);
            a[r * n + c] = dead ? r == c : mean_at(h, order[r], order[c]) + (r == c ? added : 0);
        }
    return a;
}

/* Columns by their diagonal from the largest on, without a sort that could be the same one. */
static inline uint32_t *plain_order(const struct moeq_hessian *h, bool by_diagonal)
{
    const uint64_t n = h->n;
    uint32_t *order = malloc(n * sizeof *order);
    CU_ASSERT_PTR_NOT_NULL_FATAL(order);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t place = i;
        if (by_diagonal) {
            place = 0;
            for (uint64_t j = 0; j < n; j++)
                place += h->sums[j * n + j] > h->sums[i * n + i] ||
                         (j < i && h->sums[j * n + j] == h->sums[i * n + i]);
        }
        order[place] = i;
    }
    return order;
}

#endif
