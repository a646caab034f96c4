/* Tokens sorted by the experts that they go to. */
#ifndef MOEQ_ASSIGNMENT_H
#define MOEQ_ASSIGNMENT_H

#include "status.h"

/* Those of expert e are begins[e] … begins[e+1] - 1, ascending. */
struct moeq_assignment {
    uint64_t *begins; /* [n_experts + 2] */
    uint32_t *rows;   /* tokens */
    float *weights;   /* of the router */
};

/* Room for n_picks: tokens times top_k. On failure there is what moeq_assignment_free takes. */
enum moeq_status moeq_assignment_init(struct moeq_assignment *assignment, uint32_t n_experts,
                                      uint64_t n_picks, struct moeq_error *err);
void moeq_assignment_free(struct moeq_assignment *assignment);

/* Sorts the picks of n tokens, experts and weights [n, top_k], the tokens numbered from 0. */
void moeq_assignment_sort(struct moeq_assignment *assignment, uint32_t n_experts, const int32_t *experts,
                          const float *weights, uint64_t n, uint32_t top_k);

#endif
