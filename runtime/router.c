#include "router.h"

#include <math.h>
#include <string.h>

static void softmax(float *x, uint32_t n)
{
    float largest = x[0], sum = 0;
    for (uint32_t i = 1; i < n; i++)
        largest = x[i] > largest ? x[i] : largest;
    for (uint32_t i = 0; i < n; i++)
        sum += x[i] = expf(x[i] - largest);
    for (uint32_t i = 0; i < n; i++)
        x[i] /= sum;
}

static void sigmoid(float *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        x[i] = 1 / (1 + expf(-x[i]));
}

/* The best score that was not taken yet, lowest index first; it becomes NaN, which marks it as taken. Only
 * scores that were NaN from the start (a damaged model) can leave nothing to take: then index 0, again. */
static uint32_t take_best(float *scores, uint32_t n)
{
    uint32_t best = n;
    for (uint32_t i = 0; i < n; i++)
        if (!isnan(scores[i]) && (best == n || scores[i] > scores[best]))
            best = i;
    if (best == n)
        best = 0;
    scores[best] = NAN;
    return best;
}

static float group_score(const float *scores, uint32_t n, enum moeq_group_score kind)
{
    float first = -INFINITY, second = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        if (scores[i] > first) {
            second = first;
            first = scores[i];
        } else if (scores[i] > second) {
            second = scores[i];
        }
    }
    return kind == MOEQ_GROUP_TOP2 ? first + second : first;
}

/* Leaves the scores of the best groups and masks the others. */
static void mask_groups(const struct moeq_config *config, float *scores, float *groups)
{
    const uint32_t size = config->n_experts / config->n_groups;
    const float masked = config->group_score == MOEQ_GROUP_TOP2 ? -INFINITY : 0;
    for (uint32_t g = 0; g < config->n_groups; g++)
        groups[g] = group_score(scores + g * size, size, config->group_score);
    for (uint32_t i = 0; i < config->top_groups; i++)
        take_best(groups, config->n_groups);
    for (uint32_t g = 0; g < config->n_groups; g++)
        for (uint32_t i = 0; !isnan(groups[g]) && i < size; i++)
            scores[g * size + i] = masked;
}

void moeq_router_choose(const struct moeq_config *config, float *logits, const float *bias, float *scratch,
                        int32_t *experts, float *weights)
{
    const uint32_t n = config->n_experts;
    if (config->scoring == MOEQ_SCORING_SOFTMAX)
        softmax(logits, n);
    else
        sigmoid(logits, n);
    for (uint32_t i = 0; i < n; i++)
        scratch[i] = bias ? logits[i] + bias[i] : logits[i];
    if (config->group_score != MOEQ_GROUP_NONE)
        mask_groups(config, scratch, scratch + n);
    float sum = 0;
    for (uint32_t k = 0; k < config->top_k; k++) {
        uint32_t e = take_best(scratch, n), at = k;
        for (; at > 0 && experts[at - 1] > (int32_t)e; at--) {
            experts[at] = experts[at - 1];
            weights[at] = weights[at - 1];
        }
        experts[at] = (int32_t)e;
        weights[at] = logits[e];
        sum += logits[e];
    }
    const float divisor = config->norm_topk && config->top_k > 1 ? sum + 1e-20f : 1;
    for (uint32_t k = 0; k < config->top_k; k++)
        weights[k] = weights[k] / divisor * (float)config->routed_scale;
}
