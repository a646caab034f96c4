/* RMS norms (Zhang and Sennrich, arXiv 1910.07467), with sums in float64. */
#ifndef MOEQ_NORM_H
#define MOEQ_NORM_H

#include "pool.h"

/* Norms n rows: out[i] = x[i] * gain[i] / sqrt(mean(x^2) + eps). Rows of x and out are [width], with ldx and
 * ldo floats from one to the next; out may be x. */
enum moeq_status moeq_norm_rows(struct moeq_pool *pool, const float *x, uint64_t ldx, const float *gain,
                                uint64_t n, uint64_t width, double eps, float *out, uint64_t ldo,
                                struct moeq_error *err);

#endif
