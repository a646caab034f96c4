/* Which experts a token goes to, and with what weights.
 *
 * V2 (softmax): scores are probabilities; with groups, a group counts as its best expert, and experts of the
 * other groups score 0. V3 (sigmoid, noaux_tc): a correction bias is added for the selection only; with
 * groups, a group counts as the sum of its two best biased scores, and experts of the other groups are
 * excluded (minus infinity, as in DeepSeek's inference/model.py). Weights are the unbiased scores, divided by
 * their sum where norm_topk_prob says so, times routed_scaling_factor. Ties go to the lowest index. All in
 * float32. */
#ifndef MOEQ_ROUTER_H
#define MOEQ_ROUTER_H

#include "config.h"

#define MOEQ_MAX_TOP_K 256

/* Routes one token: logits [n_experts] (overwritten), bias [n_experts] or NULL, scratch [2 * n_experts];
 * experts and weights [top_k] come out by ascending expert. */
void moeq_router_choose(const struct moeq_config *config, float *logits, const float *bias, float *scratch,
                        int32_t *experts, float *weights);

#endif
