/* What is known of a token's logits while they come a slice of the vocabulary at a time: enough for the
 * log-probability of one entry, and for the KL divergence of one model from another.
 *
 * Sums follow the largest logit so far, in float64. */
#ifndef MOEQ_TALLY_H
#define MOEQ_TALLY_H

#include <stdint.h>

struct moeq_tally {
    double largest, sum; /* of exp(logit - largest) */
    double target;       /* logit of the entry that was asked for */
    uint32_t best;       /* entry of the largest logit; of equals the lowest */
};

struct moeq_tally_pair {
    struct moeq_tally model, reference;
    double cross; /* sum of exp(r - largest r) * (r - m), r and m the logits of reference and model */
};

/* Adds logits [n] of entries first … first + n - 1 to a tally that was zeros before the first; slices come in
 * order. With `other` [n] not NULL, *cross, of the same slices, follows. */
void moeq_tally_add(struct moeq_tally *tally, const float *logits, uint64_t first, uint64_t n,
                    uint32_t target, const float *other, double *cross);

/* The same for the logits of a model and, if not NULL, of its reference. */
void moeq_tally_pair_add(struct moeq_tally_pair *pair, const float *model, const float *reference,
                         uint64_t first, uint64_t n, uint32_t target);

/* ln of the sum of exp(logit). */
double moeq_tally_total(const struct moeq_tally *tally);

/* KL(reference || model) = sum of p_ref * (r - m) - (ln sum exp r - ln sum exp m), in nats. */
double moeq_tally_divergence(const struct moeq_tally_pair *pair);

#endif
