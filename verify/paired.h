/* Statistics of an evaluation, and of two models on the same tokens.
 *
 * Tokens of a window depend on each other, so standard errors are blocked: a mean over all tokens is a mean
 * of means of windows, all of the same size, and its error is theirs: sqrt(sum of (mean of window - mean)^2 /
 * (n - 1) / n). What is compared is paired: differences are taken token by token first, so that what makes a
 * text hard cancels. A single window has no such error; its tokens are then taken to be independent, which is
 * too good by a factor of perhaps two, and `by_window` is false.
 *
 * 95% intervals are Student's, n - 1 degrees of freedom. Percentiles are by nearest rank. */
#ifndef MOEQ_PAIRED_H
#define MOEQ_PAIRED_H

#include "scoring.h"

struct moeq_estimate {
    double value, error; /* standard error; NaN where it is not known */
};

struct moeq_paired {
    uint64_t n_windows, n_scored; /* of all windows */
    bool by_window;               /* the errors */
    struct moeq_estimate nll, perplexity;
    /* Of a comparison. Shares are of the scored tokens. */
    struct moeq_estimate reference_perplexity;
    struct moeq_estimate nll_difference; /* model - reference */
    struct moeq_estimate ppl_ratio;      /* model / reference: exp(nll_difference) */
    struct moeq_estimate kld;            /* mean */
    double kld_lower;                    /* mean of what is certain; less than kld only with a baseline */
    double kld_sampling_error; /* of kld, from a baseline's sample; 0 without one. Part of `error` */
    double kld_median, kld_p95, kld_p99, kld_p999, kld_max;
    struct moeq_estimate top1;         /* both give the same entry the largest logit */
    struct moeq_estimate top5;         /* share of the reference's 5 likeliest that are the model's, too */
    struct moeq_estimate right;        /* the model's likeliest is the token that follows */
    struct moeq_estimate flips_worse;  /* the reference's was, the model's is not */
    struct moeq_estimate flips_better; /* the reverse */
};

/* Of scores [n_windows, n_scored of a window]. */
enum moeq_status moeq_paired_of(const struct moeq_score *scores, uint64_t n_windows, uint64_t n_scored,
                                bool compared, struct moeq_paired *out, struct moeq_error *err);

/* Half of the 95% interval. */
double moeq_paired_interval(const struct moeq_paired *paired, struct moeq_estimate estimate);

#endif
