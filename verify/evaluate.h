/* Perplexity of a model on windows of tokens, and its distance to a reference model, or to what a baseline
 * holds of one.
 *
 * Negative log-likelihoods are natural logarithms, summed in float64 in the order of the tokens. KL
 * divergence is KL(reference || model) = sum of p_ref * (ln p_ref - ln p) over the vocabulary, per scored
 * token; with a baseline it is the estimate of excerpt.h. What is made of the tokens is in paired.h, what
 * layers did to them in trace.h. */
#ifndef MOEQ_EVALUATE_H
#define MOEQ_EVALUATE_H

#include "paired.h"

struct moeq_evaluation_task {
    const struct moeq_source *source;
    const struct moeq_source *reference; /* or NULL */
    struct moeq_baseline *baseline;      /* instead of a reference; or NULL */
    struct moeq_baseline_writer *save;   /* what the source gives goes there, without a comparison; or NULL */
    bool will_save;                      /* for the plan, where `save` is not open yet */
    const struct moeq_windows *windows;
    enum moeq_arithmetic arithmetic; /* of both models */
};

struct moeq_evaluation {
    struct moeq_score *scores; /* [windows, scored of a window] */
    struct moeq_paired paired;
    bool compared, has_drift;
    struct moeq_drift drift; /* where both models have the same layers */
};

/* Whether both models of a comparison have the same layers, so that these can be compared. */
bool moeq_evaluation_has_layers(const struct moeq_evaluation_task *task);

void moeq_evaluation_free(struct moeq_evaluation *evaluation);

/* How an evaluation shares out memory, beyond what the process has already; computed from headers. Results do
 * not depend on it. */
struct moeq_evaluation_plan {
    struct moeq_sweep_plan sweep, reference; /* reference: zeros where there is none */
    uint64_t tokens;                         /* scores, choices of experts, sketches */
    uint64_t scoring;                        /* heads, and logits of a chunk */
    uint64_t total;                          /* at most at any time */
};

/* Plans in `budget` bytes; UINT64_MAX: hidden states are in memory. Where the budget is too small for
 * anything, total is above it: with a budget of 0 it is the least that will do. */
struct moeq_evaluation_plan moeq_evaluate_plan(const struct moeq_evaluation_task *task, unsigned n_jobs,
                                               uint64_t budget);

/* The same without a reference and a budget, from what the sweep needs. */
struct moeq_evaluation_plan moeq_evaluate_plan_of(const struct moeq_config *config,
                                                  const struct moeq_sweep_plan *sweep,
                                                  const struct moeq_windows *windows, unsigned n_jobs);

/* Runs the reference, if there is one, and the source over the windows. Vocabularies must agree (MOEQ_USAGE).
 * progress counts the layers of both and may be NULL. What `save` is given is not finished. On failure
 * nothing needs to be freed. */
enum moeq_status moeq_evaluate(const struct moeq_evaluation_task *task,
                               const struct moeq_evaluation_plan *plan, struct moeq_pool *pool,
                               struct moeq_progress *progress, struct moeq_evaluation *out,
                               struct moeq_error *err);

#endif
