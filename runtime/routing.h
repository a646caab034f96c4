/* A router over many tokens at once: its product, always in float32, and the choice of router.h. */
#ifndef MOEQ_ROUTING_H
#define MOEQ_ROUTING_H

#include "layer.h"

/* Everything is borrowed. */
struct moeq_routing {
    struct moeq_matrix router; /* [n_experts, hidden] */
    const float *bias;         /* [n_experts] or NULL */
    float *logits;             /* [n, n_experts]: room for those of a call */
    float *scratch;            /* [jobs, 2 * n_experts]: room */
};

/* Chooses the experts [n, top_k] of tokens x [n, hidden], ascending, with their weights. MOEQ_DAMAGED where
 * logits are not finite. */
enum moeq_status moeq_route(struct moeq_run *run, const struct moeq_routing *routing, const float *x,
                            uint64_t n, int32_t *experts, float *weights, struct moeq_error *err);

#endif
