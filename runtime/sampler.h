/* Which token comes next, from logits: the likeliest one, or one drawn at random.
 *
 * Drawing. The entries of the vocabulary are ordered by their logit, the largest first, equal ones by their
 * number; entries of minus infinity are out. Their probabilities, of logits divided by the temperature, are
 * summed up in that order in float64, over the fewest entries that reach top_p of the whole (Holtzman et al.,
 * arXiv 1904.09751), of which there is at least one. The entry at which the sum first exceeds u times their
 * total is drawn. Without a temperature, the first entry in the order is taken and no random number needed.
 *
 * Random numbers. Those of a seed are numbered: number i is a function of seed and i alone, so that a text
 * does not depend on which others are drawn beside it. With mix(z) the finalizer of SplitMix64 (Steele, Lea
 * and Flood 2014; constants of its reference implementation) and g = 0x9e3779b97f4a7c15,
 *   r(seed, i) = mix(mix(seed + g) + (i + 1) * g),   u(seed, i) = (r(seed, i) >> 11) * 2^-53,   modulo 2^64,
 * and token i of a text takes u(seed, i). */
#ifndef MOEQ_SAMPLER_H
#define MOEQ_SAMPLER_H

#include "status.h"

struct moeq_sampling {
    double temperature; /* 0: the likeliest token */
    double top_p;       /* above 0, at most 1; 0 counts as 1 */
};

/* r and u of the above; 0 <= u < 1. */
uint64_t moeq_random_bits(uint64_t seed, uint64_t i);
double moeq_random(uint64_t seed, uint64_t i);

/* What sampling works in, for one vocabulary. */
struct moeq_sampler {
    struct moeq_candidate *candidates; /* [n] */
    uint32_t n;
};

enum moeq_status moeq_sampler_init(struct moeq_sampler *sampler, uint32_t n, struct moeq_error *err);
void moeq_sampler_free(struct moeq_sampler *sampler);

/* Chooses among logits [n] with the random number u. NaN, plus infinity and no entry above minus infinity are
 * MOEQ_DAMAGED. */
enum moeq_status moeq_sample(const struct moeq_sampler *sampler, const float *logits,
                             const struct moeq_sampling *sampling, double u, int32_t *token,
                             struct moeq_error *err);

#endif
