/* Perplexity of a model on windows of tokens, and its distance to a reference model.
 *
 * Negative log-likelihoods are natural logarithms, summed in float64 in the order of the tokens. KL
 * divergence is KL(reference || model) = sum of p_ref * (ln p_ref - ln p) over the vocabulary, per scored
 * token; top-1 agreement is the share of scored tokens for which both give the same token the largest logit
 * (ties: lowest id). */
#ifndef MOEQ_EVALUATE_H
#define MOEQ_EVALUATE_H

#include "sweep.h"
#include "windows.h"

struct moeq_evaluation {
    uint64_t n_scored;
    double nll;              /* mean */
    double nll_error;        /* standard error of the mean */
    double perplexity;       /* exp(nll) */
    double perplexity_error; /* perplexity * nll_error */
    bool has_reference;
    double reference_perplexity;
    double kld, kld_error; /* mean and its standard error */
    double kld_999;        /* 99.9th percentile, nearest rank */
    double kld_max;
    double top1; /* share, 0 … 1 */
};

/* How an evaluation shares out memory, beyond what the process has already; computed from headers. Results do
 * not depend on it. */
struct moeq_evaluation_plan {
    struct moeq_sweep_plan sweep, reference; /* reference: zeros where there is none */
    uint64_t scoring;                        /* logits of a chunk, heads, scores of the tokens */
    uint64_t total;                          /* at most at any time */
};

/* Plans in `budget` bytes; UINT64_MAX: hidden states are in memory. Where the budget is too small for
 * anything, total is above it: with a budget of 0 it is the least that will do. */
struct moeq_evaluation_plan moeq_evaluate_plan(const struct moeq_source *source,
                                               const struct moeq_source *reference,
                                               const struct moeq_windows *windows, unsigned n_jobs,
                                               uint64_t budget);

/* The same without a reference and a budget, from what the sweep needs. */
struct moeq_evaluation_plan moeq_evaluate_plan_of(const struct moeq_config *config,
                                                  const struct moeq_sweep_plan *sweep,
                                                  const struct moeq_windows *windows, unsigned n_jobs);

/* Runs `source`, and `reference` if not NULL, over the windows, both in the same arithmetic. Vocabularies
 * must agree (MOEQ_USAGE). progress counts the layers of both and may be NULL. */
enum moeq_status moeq_evaluate(const struct moeq_source *source, const struct moeq_source *reference,
                               const struct moeq_windows *windows, enum moeq_arithmetic arithmetic,
                               const struct moeq_evaluation_plan *plan, struct moeq_pool *pool,
                               struct moeq_progress *progress, struct moeq_evaluation *out,
                               struct moeq_error *err);

#endif
