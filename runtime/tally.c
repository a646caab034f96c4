#include "tally.h"

#include "kernels.h"

#include <math.h>
#include <stddef.h>

void moeq_tally_add(struct moeq_tally *tally, const float *logits, uint64_t first, uint64_t n,
                    uint32_t target, const float *other, double *cross)
{
    struct moeq_tally *t = tally;
    uint64_t best = 0;
    double crosses = 0;
    for (uint64_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    if (first == 0 || (double)logits[best] > t->largest) {
        const double shrink = first == 0 ? 0 : exp(t->largest - (double)logits[best]);
        t->largest = (double)logits[best];
        t->best = (uint32_t)(first + best);
        t->sum *= shrink;
        *cross *= shrink;
    }
    t->sum += moeq_kernels()->sum_exponentials(logits, n, t->largest, other, &crosses);
    *cross += crosses;
    if (target >= first && target - first < n)
        t->target = (double)logits[target - first];
}

void moeq_tally_pair_add(struct moeq_tally_pair *pair, const float *model, const float *reference,
                         uint64_t first, uint64_t n, uint32_t target)
{
    double ignored = 0;
    moeq_tally_add(&pair->model, model, first, n, target, NULL, &ignored);
    if (reference)
        moeq_tally_add(&pair->reference, reference, first, n, target, model, &pair->cross);
}

double moeq_tally_total(const struct moeq_tally *tally)
{
    return tally->largest + log(tally->sum);
}

double moeq_tally_divergence(const struct moeq_tally_pair *pair)
{
    return pair->cross / pair->reference.sum -
           (moeq_tally_total(&pair->reference) - moeq_tally_total(&pair->model));
}
