#include "paired.h"

#include "bytes.h"

#include <math.h>
#include <stdlib.h>

/* ---- what is averaged ---- */

typedef double value_of(const struct moeq_score *s);

static bool is_right(uint32_t best, const struct moeq_score *s)
{
    return (int64_t)best == s->target;
}

static double nll(const struct moeq_score *s)
{
    return s->nll;
}

static double reference_nll(const struct moeq_score *s)
{
    return s->reference_nll;
}

static double nll_difference(const struct moeq_score *s)
{
    return s->nll - s->reference_nll;
}

static double kld(const struct moeq_score *s)
{
    return s->kld;
}

static double kld_lower(const struct moeq_score *s)
{
    return s->kld_lower;
}

static double top1(const struct moeq_score *s)
{
    return s->best == s->reference_best;
}

static double top5(const struct moeq_score *s)
{
    return s->overlap / (double)MOEQ_COMPARED_BEST;
}

static double right(const struct moeq_score *s)
{
    return is_right(s->best, s);
}

static double flips_worse(const struct moeq_score *s)
{
    return is_right(s->reference_best, s) && !is_right(s->best, s);
}

static double flips_better(const struct moeq_score *s)
{
    return !is_right(s->reference_best, s) && is_right(s->best, s);
}

/* ---- means and errors ---- */

/* Mean of n values and the standard error of the mean. */
static struct moeq_estimate mean_of(const double *x, uint64_t n)
{
    struct moeq_estimate e = {0};
    double squares = 0;
    for (uint64_t i = 0; i < n; i++)
        e.value += x[i];
    e.value /= (double)n;
    for (uint64_t i = 0; i < n; i++)
        squares += (x[i] - e.value) * (x[i] - e.value);
    e.error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : (double)NAN;
    return e;
}

struct blocks {
    const struct moeq_score *scores;
    uint64_t n_windows, n_scored;
    double *values; /* room for one of each token */
};

/* The mean is summed over the tokens in their order, whatever the windows. */
static struct moeq_estimate blocked(const struct blocks *b, value_of *value)
{
    const uint64_t n = b->n_windows * b->n_scored;
    for (uint64_t i = 0; i < n; i++)
        b->values[i] = value(&b->scores[i]);
    struct moeq_estimate e = mean_of(b->values, n);
    if (b->n_windows == 1)
        return e;
    for (uint64_t w = 0; w < b->n_windows; w++) {
        double sum = 0;
        for (uint64_t i = 0; i < b->n_scored; i++)
            sum += b->values[w * b->n_scored + i];
        b->values[w] = sum / (double)b->n_scored;
    }
    e.error = mean_of(b->values, b->n_windows).error;
    return e;
}

/* exp of a mean, its error in first order. */
static struct moeq_estimate exponential(struct moeq_estimate e)
{
    const double value = exp(e.value);
    return (struct moeq_estimate){value, value * e.error};
}

/* ---- percentiles ---- */

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double percentile(const double *sorted, uint64_t n, double share)
{
    const double rank = ceil(share * (double)n);
    return sorted[rank < 1 ? 0 : (uint64_t)rank - 1];
}

static void summarise_kld(const struct blocks *b, struct moeq_paired *out)
{
    const uint64_t n = b->n_windows * b->n_scored;
    double squares = 0;
    for (uint64_t i = 0; i < n; i++) {
        const double estimated = b->scores[i].kld - b->scores[i].kld_lower;
        squares += estimated * estimated;
        b->values[i] = b->scores[i].kld;
    }
    out->kld_sampling_error = sqrt(squares) / (double)n;
    qsort(b->values, n, sizeof *b->values, by_value);
    out->kld_median = percentile(b->values, n, 0.5);
    out->kld_p95 = percentile(b->values, n, 0.95);
    out->kld_p99 = percentile(b->values, n, 0.99);
    out->kld_p999 = percentile(b->values, n, 0.999);
    out->kld_max = b->values[n - 1];
}

enum moeq_status moeq_paired_of(const struct moeq_score *scores, uint64_t n_windows, uint64_t n_scored,
                                bool compared, struct moeq_paired *out, struct moeq_error *err)
{
    struct blocks b = {scores, n_windows, n_scored, NULL};
    *out = (struct moeq_paired){
        .n_windows = n_windows, .n_scored = n_windows * n_scored, .by_window = n_windows > 1};
    if (!(b.values = moeq_calloc(n_windows * n_scored, sizeof *b.values, err)))
        return MOEQ_OVER_MEMORY;
    out->nll = blocked(&b, nll);
    out->perplexity = exponential(out->nll);
    out->right = blocked(&b, right);
    if (compared) {
        out->reference_perplexity = exponential(blocked(&b, reference_nll));
        out->nll_difference = blocked(&b, nll_difference);
        out->ppl_ratio = exponential(out->nll_difference);
        out->kld = blocked(&b, kld);
        out->kld_lower = blocked(&b, kld_lower).value;
        out->top1 = blocked(&b, top1);
        out->top5 = blocked(&b, top5);
        out->flips_worse = blocked(&b, flips_worse);
        out->flips_better = blocked(&b, flips_better);
        summarise_kld(&b, out);
    }
    free(b.values);
    return MOEQ_OK;
}

/* ---- intervals ---- */

/* The 97.5th percentile of Student's t: exact for few degrees of freedom, by the expansion of Cornish and
 * Fisher (Abramowitz and Stegun, 26.7.5) for more, where it is right to 4 digits. */
static double student(uint64_t degrees)
{
    static const double few[] = {12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060};
    if (degrees >= 1 && degrees <= sizeof few / sizeof *few)
        return few[degrees - 1];
    const double x = 1.959964, x3 = x * x * x, x5 = x3 * x * x, x7 = x5 * x * x, n = (double)degrees;
    return x + (x3 + x) / (4 * n) + (5 * x5 + 16 * x3 + 3 * x) / (96 * n * n) +
           (3 * x7 + 19 * x5 + 17 * x3 - 15 * x) / (384 * n * n * n);
}

double moeq_paired_interval(const struct moeq_paired *paired, struct moeq_estimate estimate)
{
    const uint64_t n = paired->by_window ? paired->n_windows : paired->n_scored;
    return n > 1 ? student(n - 1) * estimate.error : (double)NAN;
}
