/* Products x * W^T with a packed matrix W: a panel of rows is decoded and stays in the cache while all tokens
 * run over it. The whole matrix is never decoded at once. Results do not depend on the number of threads, and
 * that of a token not on which others there are. */
#ifndef MOEQ_MATMUL_H
#define MOEQ_MATMUL_H

#include "activations.h"
#include "level.h"

/* Scratch memory of the workers, reused by every multiplication. */
struct moeq_scratch {
    struct moeq_bytes *workers; /* [jobs] */
    unsigned n_workers;
    struct moeq_bytes few, values; /* of products with few tokens: laid out; what they give */
};

enum moeq_status moeq_scratch_init(struct moeq_scratch *scratch, const struct moeq_pool *pool,
                                   struct moeq_error *err);
void moeq_scratch_free(struct moeq_scratch *scratch);

/* Gives the memory back, until it is needed again. */
void moeq_scratch_rest(struct moeq_scratch *scratch);

/* y[t, r] = sum over k of W[r, k] * x[t, k]; y is [n_tokens, W.rows] with ldy floats a row. */
enum moeq_status moeq_matmul(struct moeq_pool *pool, struct moeq_scratch *scratch,
                             const struct moeq_matrix *w, const struct moeq_activations *x, float *y,
                             uint64_t ldy, struct moeq_error *err);

/* The same for rows [first_row, first_row + n_rows) of W alone; y is [n_tokens, n_rows]. */
enum moeq_status moeq_matmul_rows(struct moeq_pool *pool, struct moeq_scratch *scratch,
                                  const struct moeq_matrix *w, uint64_t first_row, uint64_t n_rows,
                                  const struct moeq_activations *x, float *y, uint64_t ldy,
                                  struct moeq_error *err);

/* Where products are added up. */
struct moeq_sums {
    float *y; /* [·, W.rows] with ldy floats a row */
    uint64_t ldy;
    const uint32_t *rows; /* [n_tokens], none twice: the row of y that is a token's; NULL: its own number */
    const float *weights; /* [n_tokens]; NULL: 1 */
};

/* y[rows[t], r] += weights[t] * (W x)[t, r] */
enum moeq_status moeq_matmul_add(struct moeq_pool *pool, struct moeq_scratch *scratch,
                                 const struct moeq_matrix *w, const struct moeq_activations *x,
                                 const struct moeq_sums *to, struct moeq_error *err);

/* out[t, r] = silu((gate x)[t, r]) * (up x)[t, r], laid out as the input of the next product in the
 * arithmetic of x; silu(g) = g / (1 + exp(-g)). gate and up have the same shape; out is not x. */
enum moeq_status moeq_matmul_gated(struct moeq_pool *pool, struct moeq_scratch *scratch,
                                   const struct moeq_matrix *gate, const struct moeq_matrix *up,
                                   const struct moeq_activations *x, struct moeq_activations *out,
                                   struct moeq_error *err);

/* Bytes of scratch that a worker needs for a matrix of so many columns. */
uint64_t moeq_matmul_scratch_bytes(uint64_t cols);

#endif
