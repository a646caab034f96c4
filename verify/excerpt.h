/* What is kept of a token's distribution over the vocabulary, so that the KL divergence of another model from
 * it can be told without its logits.
 *
 * Kept are the k entries of the largest logits, and of the others, the tail, their probability T together
 * and a sample of s entries: by priority sampling (Duffield, Lund, Thorup: Priority sampling for estimation
 * of arbitrary subset sums, J. ACM 54, 2007) the s largest p / u, u uniform in (0, 1) and drawn for each
 * token and entry from a fixed seed; tau is the largest p / u that is not kept, and an entry of the sample
 * stands for max(p, tau) / p of its kind. For any sum over the tail that gives an estimate without bias.
 *
 * With p the probabilities of the excerpt, q those of a model, P and Q the two after dividing by their sums T
 * and U over the tail,
 *
 *     KL(p || q) = sum over the top of p ln(p / q) + T ln(T / U)      the lower bound: the tail as one entry
 *                + T * sum over the tail of (P ln(P / Q) - P + Q)     all summands at least 0
 *
 * The second line is what the sample estimates. So what is certain of one token is
 *
 *     lower <= KL <= lower + T ln(p_k / (T * min Q)),     p_k the least probability of the top,
 *
 * the estimate's expectation over the seeds is KL, and, samples of tokens being drawn independently, the mean
 * of n tokens has a standard error from sampling of at most
 *
 *     sqrt(expectation of the sum over the tokens of (estimate - lower)^2) / n.
 *
 * Where the vocabulary has at most k + s entries, the estimate is KL.
 *
 * Stored, log-probabilities are rounded to multiples of a 65535th of their range in the token (at most 200
 * nats; what is further below the largest is taken to lie there), and the top is scaled to 1 - T again, so
 * that errors e of single log-probabilities, at most half a step, are felt in second order: below a mean of
 * e^2, some 1e-8 nats at a range of 20. */
#ifndef MOEQ_EXCERPT_H
#define MOEQ_EXCERPT_H

#include "tally.h"
#include "top_logits.h"

#define MOEQ_EXCERPT_TOP    64u
#define MOEQ_EXCERPT_SAMPLE 32u

/* Sizes of all excerpts of a vocabulary. */
struct moeq_excerpt_shape {
    uint32_t top, sample;
};

struct moeq_excerpt_shape moeq_excerpt_shape(uint32_t vocabulary, uint32_t top, uint32_t sample);

/* One token's. */
struct moeq_excerpt {
    float nll;           /* -ln p of the token that follows */
    float total;         /* ln of the sum of exp(logit): a log-probability plus this is the logit */
    float largest, step; /* log-probability i is largest - step * codes[i] */
    float tail;          /* T */
    float threshold;     /* ln tau; minus infinity where the whole tail is in the sample */
    uint32_t *ids;       /* [top + sample]: of each part by descending probability; the caller's */
    uint16_t *codes;     /* [top + sample] */
};

/* ---- making one ---- */

struct moeq_excerpt_maker {
    struct moeq_top top, sample;
};

/* Entries of the two lists together. */
uint32_t moeq_excerpt_entries(struct moeq_excerpt_shape shape);

/* What ln(1 / u) is looked up from, made once. NULL and *err set where memory is out; free() it. */
float *moeq_excerpt_noise(struct moeq_error *err);

void moeq_excerpt_begin(struct moeq_excerpt_maker *maker, struct moeq_excerpt_shape shape,
                        struct moeq_top_entry *entries);

#define MOEQ_EXCERPT_SLICE 2048u /* entries of the vocabulary at most at a time */

/* Adds a slice of logits; `token` is the number of the scored token. */
void moeq_excerpt_add(struct moeq_excerpt_maker *maker, const float *noise, uint64_t token,
                      const float *logits, uint64_t first, uint64_t n);

/* The excerpt, with the tally of the same logits. Logits that are not finite are MOEQ_DAMAGED. */
enum moeq_status moeq_excerpt_end(struct moeq_excerpt_maker *maker, struct moeq_excerpt_shape shape,
                                  const struct moeq_tally *tally, struct moeq_excerpt *out,
                                  struct moeq_error *err);

/* ---- comparing with one ---- */

struct moeq_excerpt_divergence {
    double lower, estimate; /* nats */
};

/* KL(excerpt || model), given the model's logits [top + sample] of the excerpt's entries and ln of the sum of
 * exp of all. */
struct moeq_excerpt_divergence moeq_excerpt_compare(const struct moeq_excerpt *excerpt,
                                                    struct moeq_excerpt_shape shape, const float *logits,
                                                    double total);

#endif
