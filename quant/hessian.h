#ifndef MOEQ_HESSIAN_H
#define MOEQ_HESSIAN_H
#include "pool.h"
struct moeq_hessian { uint64_t n; double *sums; };
enum moeq_status moeq_hessian_init(struct moeq_hessian *h, uint64_t n, struct moeq_error *err);
void moeq_hessian_free(struct moeq_hessian *h);
enum moeq_status moeq_hessian_add(struct moeq_hessian *h, struct moeq_pool *pool, const float *x, uint64_t ldx, const uint32_t *rows, const float *weights, uint64_t n_tokens, struct moeq_error *err);
#endif
