/* y = x * W^T for a packed matrix W: a panel of rows is decoded and stays in the cache while all tokens run
 * over it. The whole matrix is never decoded at once. */
#ifndef MOEQ_MATMUL_H
#define MOEQ_MATMUL_H

#include "level.h"
#include "pool.h"

/* How products are computed. Sums are float32 in both, in the order of the input features. */
enum moeq_arithmetic {
    MOEQ_EXACT, /* weights and activations in float32 */
    MOEQ_FAST /* where the CPU multiplies BF16: activations, and weights without a level, rounded to it, codes
                 as they are and scales in float32; otherwise as MOEQ_EXACT */
};

/* Whether this CPU multiplies BF16, so that the two differ. */
bool moeq_has_fast_products(void);

/* Scratch memory of the workers, reused by every multiplication. */
struct moeq_scratch {
    struct moeq_bytes *workers; /* [jobs] */
    unsigned n_workers;
};

enum moeq_status moeq_scratch_init(struct moeq_scratch *scratch, const struct moeq_pool *pool,
                                   struct moeq_error *err);
void moeq_scratch_free(struct moeq_scratch *scratch);

/* Activations of some tokens, laid out for multiplication by any number of matrices. {0} is valid. */
struct moeq_activations {
    struct moeq_bytes bytes;
    bool bf16;
    uint64_t n_tokens, width;
    uint64_t n_k; /* width, made even for BF16 */
};

/* Lays out x [n_tokens, width] with ldx floats a row; the bytes are kept from call to call. */
enum moeq_status moeq_activations_set(struct moeq_activations *activations, struct moeq_pool *pool,
                                      enum moeq_arithmetic arithmetic, const float *x, uint64_t ldx,
                                      uint64_t n_tokens, uint64_t width, struct moeq_error *err);
void moeq_activations_free(struct moeq_activations *activations);

/* y is [n_tokens, W.rows] with ldy floats a row. The result does not depend on the number of threads, and
 * that of a token not on which others there are. */
enum moeq_status moeq_matmul(struct moeq_pool *pool, struct moeq_scratch *scratch,
                             const struct moeq_matrix *w, const struct moeq_activations *x, float *y,
                             uint64_t ldy, struct moeq_error *err);

/* Bytes that these need: activations at most, and scratch of one worker for a matrix of so many columns. */
uint64_t moeq_activations_bytes(uint64_t n_tokens, uint64_t width);
uint64_t moeq_matmul_scratch_bytes(uint64_t cols);

#endif
