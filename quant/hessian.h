/* Second moments of what goes into a matrix: the Hessian of its squared output error, up to a factor.
 *
 * For a matrix W [rows, n] and inputs x_t [n] with weights v_t >= 0, the sum over t of v_t ||(W - Q) x_t||^2
 * is tr((W - Q) S (W - Q)^T) with S = sum of v_t x_t x_t^T [n, n]: GPTQ (arXiv 2210.17323). Matrices with the
 * same inputs (gate and up) share one.
 *
 * Tokens are taken in their order in blocks of MOEQ_HESSIAN_TOKENS, counted from the first of a call. An
 * element of a block's matrix is the float32 sum, from 0 on in the order of the tokens, of products with
 * fused multiply-add; it is then added to the float64 sum. Both factors of a product are x * sqrtf(v),
 * rounded to float32. So the bits depend neither on threads nor on the instruction set, nor on how tokens are
 * cut into calls where every call but the last has a multiple of MOEQ_HESSIAN_TOKENS tokens. Squares of
 * inputs must not leave the range of float32: sums that are not finite are found by moeq_gptq_prepare. */
#ifndef MOEQ_HESSIAN_H
#define MOEQ_HESSIAN_H

#include "bytes.h"
#include "pool.h"

#define MOEQ_HESSIAN_TOKENS 256u

struct moeq_hessian {
    uint64_t n;
    double *sums; /* [n, n], row-major: S on and below the diagonal; what is above it means nothing */
    uint64_t n_tokens;
    double weight; /* sum of the tokens' weights, in their order; S / weight is the mean */
};

/* Zeros. */
enum moeq_status moeq_hessian_init(struct moeq_hessian *h, uint64_t n, struct moeq_error *err);
/* Zeros again, for other tokens. */
void moeq_hessian_clear(struct moeq_hessian *h);
void moeq_hessian_free(struct moeq_hessian *h);

/* Adds tokens: x [·, n] with ldx floats a row, of which token t is row rows[t] (NULL: t), with weights[t]
 * (NULL: 1). The scratch only grows: 8 KiB for each of n, rounded up to 96, at most. */
enum moeq_status moeq_hessian_add(struct moeq_hessian *h, struct moeq_pool *pool, struct moeq_bytes *scratch,
                                  const float *x, uint64_t ldx, const uint32_t *rows, const float *weights,
                                  uint64_t n_tokens, struct moeq_error *err);

/* An expert with few tokens borrows from its layer: with means H = S / weight and n its tokens,
 * H <- (n H + tau H_layer) / (n + tau). Then h->weight is n + tau and h->n_tokens as before; without tokens
 * of its own it is the layer's. `layer` is of the same size and has tokens; tau > 0. */
void moeq_hessian_mix(struct moeq_hessian *h, const struct moeq_hessian *layer, double tau);

#endif
