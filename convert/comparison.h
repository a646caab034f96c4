/* A plan's prediction against what came of it. */
#ifndef MOEQ_COMPARISON_H
#define MOEQ_COMPARISON_H

#include "level_plan.h"
#include "probes.h"
#include "statistics.h"

/* An expert of a package alone in the source's model. */
struct moeq_compared_expert {
    int layer, expert;
    /* Its matrices in place of the source's, all others as they are: forecast (forecast.h) from errors and
     * gains of the plan, and measured. */
    double predicted, kld, kld_error;
};

struct moeq_comparison {
    /* Of matrices whose error both the plan and this run know. */
    size_t n_matrices;
    double predicted_error, measured_error; /* sums */
    double error_rank;                      /* rank correlation (Spearman); NAN for fewer than 3 */
    /* Of experts that were probed. */
    struct moeq_compared_expert *experts; /* [n_experts], the largest prediction first */
    size_t n_experts;
    double kld_rank;
};

/* Measures those errors [items of `plan`] that are NAN, of matrices that an earlier run has made: on the
 * plan's statistics, from what the package has. */
enum moeq_status moeq_compare_measure(const struct moeq_plan *plan, const struct moeq_source *package,
                                      struct moeq_pool *pool, double *errors, struct moeq_error *err);

/* Compares errors [items of `plan`], NAN where not known. Nothing of *comparison needs to be set. */
enum moeq_status moeq_compare_errors(const struct moeq_level_plan *levels, const struct moeq_plan *plan,
                                     const double *errors, struct moeq_comparison *comparison,
                                     struct moeq_error *err);

/* Probes at most n of the experts of which the plan says errors and gains, evenly by what it predicts, with
 * the package's matrices on `n_tokens` tokens of the statistics (at least a window), in a sweep of at most
 * `budget` bytes.
 */
enum moeq_status moeq_compare_experts(const struct moeq_level_plan *levels, const struct moeq_source *source,
                                      const struct moeq_source *package,
                                      const struct moeq_statistics *statistics, size_t n, uint64_t n_tokens,
                                      uint64_t budget, struct moeq_pool *pool, struct moeq_progress *progress,
                                      struct moeq_comparison *comparison, struct moeq_error *err);
void moeq_comparison_free(struct moeq_comparison *comparison);

/* Spearman's rank correlation of x and y [n]; equal values share their ranks. NAN where n < 3, where all of
 * one are equal, or memory is out. */
double moeq_rank_correlation(const double *x, const double *y, size_t n);

#endif
