/* Second moments of inputs that come one token after the other: added to a hessian (hessian.h) in blocks of
 * MOEQ_HESSIAN_TOKENS of them, however they come. */
#ifndef MOEQ_MOMENTS_H
#define MOEQ_MOMENTS_H

#include "hessian.h"

struct moeq_moments {
    struct moeq_hessian sums;
    uint64_t n_pending;
    float *pending; /* [MOEQ_HESSIAN_TOKENS, n] */
    float weights[MOEQ_HESSIAN_TOKENS];
};

/* What all moments of a run share. */
struct moeq_moments_work {
    struct moeq_pool *pool;
    struct moeq_bytes scratch;
};

enum moeq_status moeq_moments_init(struct moeq_moments *moments, uint64_t n, struct moeq_error *err);
void moeq_moments_free(struct moeq_moments *moments);

/* Where the next token's inputs [n] go; then it is added with its weight. */
static inline float *moeq_moments_next(const struct moeq_moments *moments)
{
    return moments->pending + moments->n_pending * moments->sums.n;
}
enum moeq_status moeq_moments_add(struct moeq_moments *moments, float weight, struct moeq_moments_work *work,
                                  struct moeq_error *err);

/* The sums are complete after this. */
enum moeq_status moeq_moments_end(struct moeq_moments *moments, struct moeq_moments_work *work,
                                  struct moeq_error *err);

/* Bytes of moments of n features, the scratch included. */
uint64_t moeq_moments_bytes(uint64_t n);

#endif
