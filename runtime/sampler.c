#include "sampler.h"

#include "bytes.h"

#include <math.h>
#include <stdlib.h>

struct moeq_candidate {
    float logit;
    uint32_t token;
    double weight; /* of the largest: 1 */
};

uint64_t moeq_random_bits(uint64_t seed, uint64_t i)
{
    return moeq_mixed(moeq_mixed(seed + MOEQ_MIX_STEP) + (i + 1) * MOEQ_MIX_STEP);
}

double moeq_random(uint64_t seed, uint64_t i)
{
    return (double)(moeq_random_bits(seed, i) >> 11) * 0x1p-53;
}

enum moeq_status moeq_sampler_init(struct moeq_sampler *sampler, uint32_t n, struct moeq_error *err)
{
    *sampler = (struct moeq_sampler){.candidates = moeq_calloc(n, sizeof *sampler->candidates, err), .n = n};
    return sampler->candidates ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

void moeq_sampler_free(struct moeq_sampler *sampler)
{
    free(sampler->candidates);
    *sampler = (struct moeq_sampler){0};
}

static int by_logit(const void *a, const void *b)
{
    const struct moeq_candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->token < y->token ? -1 : 1;
}

static enum moeq_status find_largest(const float *logits, uint32_t n, uint32_t *best, struct moeq_error *err)
{
    *best = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return moeq_fail(err, MOEQ_DAMAGED, "the logits are not finite: weights are damaged");
        if (logits[i] > logits[*best])
            *best = i;
    }
    return logits[*best] == -INFINITY ? moeq_fail(err, MOEQ_DAMAGED, "no token can follow") : MOEQ_OK;
}

/* Tokens less likely than a share of 1 - top_p among all come behind those that reach top_p, since all such
 * together do not have that share: they need not be sorted. */
static uint32_t list_candidates(const struct moeq_sampler *s, const float *logits, double largest,
                                const struct moeq_sampling *sampling, double top_p, double *total)
{
    uint32_t n = 0;
    *total = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const double weight = exp(((double)logits[i] - largest) / sampling->temperature);
        *total += weight;
        if (weight > 0)
            s->candidates[n++] = (struct moeq_candidate){logits[i], i, weight};
    }
    const double least = (1 - top_p) * *total / s->n;
    uint32_t n_kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (s->candidates[i].weight >= least)
            s->candidates[n_kept++] = s->candidates[i];
    return n_kept;
}

enum moeq_status moeq_sample(const struct moeq_sampler *sampler, const float *logits,
                             const struct moeq_sampling *sampling, double u, int32_t *token,
                             struct moeq_error *err)
{
    const struct moeq_candidate *candidates = sampler->candidates;
    const double top_p = sampling->top_p > 0 ? sampling->top_p : 1;
    uint32_t best;
    enum moeq_status status = find_largest(logits, sampler->n, &best, err);
    *token = (int32_t)best;
    if (status || sampling->temperature <= 0)
        return status;
    double all, total = 0, sum = 0;
    const uint32_t n = list_candidates(sampler, logits, (double)logits[best], sampling, top_p, &all);
    uint32_t n_drawn = 0;
    qsort(sampler->candidates, n, sizeof *candidates, by_logit);
    while (n_drawn < n && (n_drawn == 0 || total < top_p * all))
        total += candidates[n_drawn++].weight;
    for (uint32_t i = 0; i < n_drawn; i++) {
        sum += candidates[i].weight;
        *token = (int32_t)candidates[i].token;
        if (sum > u * total)
            break;
    }
    return MOEQ_OK;
}
