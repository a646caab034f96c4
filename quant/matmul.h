/* y = x * W^T for a packed matrix W: a panel of rows is decoded into a cache-resident tile and multiplied by
 * all tokens. The whole matrix is never decoded at once. */
#ifndef MOEQ_MATMUL_H
#define MOEQ_MATMUL_H

#include "level.h"
#include "pool.h"

/* Scratch memory of the workers, reused by every multiplication. */
struct moeq_scratch {
    struct moeq_bytes *workers; /* [jobs] */
    unsigned n_workers;
};

enum moeq_status moeq_scratch_init(struct moeq_scratch *scratch, const struct moeq_pool *pool,
                                   struct moeq_error *err);
void moeq_scratch_free(struct moeq_scratch *scratch);

/* Floats of scratch that a worker needs for each column of W. */
#define MOEQ_SCRATCH_FLOATS_PER_COLUMN 33

/* x is [n_tokens, W.cols] with ldx floats a row, y [n_tokens, W.rows] with ldy. y must not overlap x. The
 * result does not depend on the number of threads. */
enum moeq_status moeq_matmul(struct moeq_pool *pool, struct moeq_scratch *scratch,
                             const struct moeq_matrix *w, const float *x, uint64_t ldx, uint64_t n_tokens,
                             float *y, uint64_t ldy, struct moeq_error *err);

#endif
