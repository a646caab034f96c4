/* Products for at most MOEQ_FEW_TOKENS tokens: nothing is decoded into a panel, codes are multiplied as they
 * are unpacked, and the weights stream by once at the speed of the memory. Sums are in an order of the
 * instruction set's own, so that a token's bits are not those that it has among many. */
#ifndef MOEQ_FEW_H
#define MOEQ_FEW_H

#include "matmul.h"

/* y[t * ldy + r] = sum over k of W[first_row + r, k] * x[t, k] for r < n_rows; x is laid out for MOEQ_FEW. */
enum moeq_status moeq_few_multiply(struct moeq_pool *pool, struct moeq_scratch *scratch,
                                   const struct moeq_matrix *w, uint64_t first_row, uint64_t n_rows,
                                   const struct moeq_activations *x, float *y, uint64_t ldy,
                                   struct moeq_error *err);

/* Bytes of scratch->few, for so many columns. */
uint64_t moeq_few_bytes(uint64_t cols);

#endif
