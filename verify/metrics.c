#include "metrics.h"

#include <math.h>
#include <stdio.h>

#define OF_PAIRED(name, field)                                                                               \
    static struct moeq_estimate name(const struct moeq_report *r)                                            \
    {                                                                                                        \
        return r->evaluation->paired.field;                                                                  \
    }
#define OF_PERCENTILE(name, field)                                                                           \
    static struct moeq_estimate name(const struct moeq_report *r)                                            \
    {                                                                                                        \
        return (struct moeq_estimate){r->evaluation->paired.field, (double)NAN};                             \
    }

OF_PAIRED(nll, nll)
OF_PAIRED(ppl, perplexity)
OF_PAIRED(ppl_ratio, ppl_ratio)
OF_PAIRED(nll_difference, nll_difference)
OF_PAIRED(mean_kld, kld)
OF_PERCENTILE(median_kld, kld_median)
OF_PERCENTILE(p95_kld, kld_p95)
OF_PERCENTILE(p99_kld, kld_p99)
OF_PERCENTILE(p999_kld, kld_p999)
OF_PERCENTILE(max_kld, kld_max)
OF_PAIRED(top1, top1)
OF_PAIRED(top5, top5)
OF_PAIRED(right, right)
OF_PAIRED(flips_worse, flips_worse)
OF_PAIRED(flips_better, flips_better)

static struct moeq_estimate router_agreement(const struct moeq_report *r)
{
    const struct moeq_drift *d = &r->evaluation->drift;
    struct moeq_estimate least = {1, (double)NAN};
    for (uint32_t i = 0; i < d->n_layers; i++)
        least.value = fmin(least.value, d->layers[i].router);
    return least;
}

static struct moeq_estimate layer_error(const struct moeq_report *r)
{
    const struct moeq_drift *d = &r->evaluation->drift;
    struct moeq_estimate most = {0, (double)NAN};
    for (uint32_t i = 0; i < d->n_layers; i++)
        most.value = fmax(most.value, d->layers[i].error);
    return most;
}

static struct moeq_estimate weight_bytes(const struct moeq_report *r)
{
    return (struct moeq_estimate){(double)r->weights.n_bytes, 0};
}

static struct moeq_estimate bits_per_weight(const struct moeq_report *r)
{
    return (struct moeq_estimate){moeq_bits_per_weight(r->weights.n_bytes, r->weights.n_weights), 0};
}

const struct moeq_metric moeq_metrics[] = {
    {"ppl", false, MOEQ_NEEDS_NOTHING, "perplexity", ppl},
    {"nll", false, MOEQ_NEEDS_NOTHING, "negative log-likelihood, nats", nll},
    {"right", true, MOEQ_NEEDS_NOTHING, "likeliest token is the one that follows", right},
    {"weight_bytes", false, MOEQ_NEEDS_NOTHING, "bytes of all weights", weight_bytes},
    {"bits_per_weight", false, MOEQ_NEEDS_NOTHING, "bits per weight", bits_per_weight},
    {"ppl_ratio", false, MOEQ_NEEDS_COMPARISON, "perplexity over the reference's", ppl_ratio},
    {"nll_difference", false, MOEQ_NEEDS_COMPARISON, "negative log-likelihood less the reference's, nats",
     nll_difference},
    {"mean_kld", false, MOEQ_NEEDS_COMPARISON, "mean KL divergence, nats", mean_kld},
    {"median_kld", false, MOEQ_NEEDS_COMPARISON, "median KL divergence", median_kld},
    {"p95_kld", false, MOEQ_NEEDS_COMPARISON, "95th percentile of KL divergence", p95_kld},
    {"p99_kld", false, MOEQ_NEEDS_COMPARISON, "99th percentile of KL divergence", p99_kld},
    {"p999_kld", false, MOEQ_NEEDS_COMPARISON, "99.9th percentile of KL divergence", p999_kld},
    {"max_kld", false, MOEQ_NEEDS_COMPARISON, "largest KL divergence of a token", max_kld},
    {"top1", true, MOEQ_NEEDS_COMPARISON, "same likeliest token", top1},
    {"top5", true, MOEQ_NEEDS_COMPARISON, "of the reference's 5 likeliest tokens also the model's", top5},
    {"flips_worse", false, MOEQ_NEEDS_COMPARISON, "reference right, model wrong", flips_worse},
    {"flips_better", true, MOEQ_NEEDS_COMPARISON, "reference wrong, model right", flips_better},
    {"router_agreement", true, MOEQ_NEEDS_LAYERS, "experts that stay the same, in the worst layer",
     router_agreement},
    {"layer_error", false, MOEQ_NEEDS_LAYERS, "relative error of hidden states, behind the worst layer",
     layer_error},
    {NULL, false, MOEQ_NEEDS_NOTHING, NULL, NULL},
};

const struct moeq_metric *moeq_metric_find(const char *name, size_t n)
{
    for (const struct moeq_metric *m = moeq_metrics; m->name; m++)
        if (strlen(m->name) == n && memcmp(m->name, name, n) == 0)
            return m;
    return NULL;
}

const char *moeq_metric_names(char names[MOEQ_METRIC_NAMES])
{
    size_t n = 0;
    names[0] = '\0';
    for (const struct moeq_metric *m = moeq_metrics; m->name && n < MOEQ_METRIC_NAMES; m++)
        n += (size_t)snprintf(names + n, MOEQ_METRIC_NAMES - n, "%s%s", n ? ", " : "", m->name);
    return names;
}

bool moeq_metric_is_known(const struct moeq_metric *metric, const struct moeq_report *report)
{
    const bool known[] = {[MOEQ_NEEDS_NOTHING] = true,
                          [MOEQ_NEEDS_COMPARISON] = report->evaluation->compared,
                          [MOEQ_NEEDS_LAYERS] = report->evaluation->has_drift};
    return known[metric->needs];
}

const char *moeq_metric_text(double value, char dst[MOEQ_METRIC_TEXT])
{
    if (isnan(value))
        snprintf(dst, MOEQ_METRIC_TEXT, "-");
    else if (fabs(value) >= 1000)
        snprintf(dst, MOEQ_METRIC_TEXT, "%.0f", value);
    else if (fabs(value) >= 10)
        snprintf(dst, MOEQ_METRIC_TEXT, "%.3f", value);
    else
        snprintf(dst, MOEQ_METRIC_TEXT, "%.5f", value);
    return dst;
}

const char *moeq_interval_text(const struct moeq_paired *paired, struct moeq_estimate estimate,
                               const char *sign, char dst[MOEQ_INTERVAL_TEXT])
{
    char value[MOEQ_METRIC_TEXT], half[MOEQ_METRIC_TEXT];
    moeq_metric_text(estimate.value, value);
    if (estimate.error > 0)
        snprintf(dst, MOEQ_INTERVAL_TEXT, "%s %s %s", value, sign,
                 moeq_metric_text(moeq_paired_interval(paired, estimate), half));
    else
        snprintf(dst, MOEQ_INTERVAL_TEXT, "%s", value);
    return dst;
}
