#include "assignment.h"

#include "bytes.h"

#include <stdlib.h>

enum moeq_status moeq_assignment_init(struct moeq_assignment *assignment, uint32_t n_experts,
                                      uint64_t n_picks, struct moeq_error *err)
{
    struct moeq_assignment *a = assignment;
    a->begins = moeq_calloc((uint64_t)n_experts + 2, sizeof *a->begins, err);
    a->rows = moeq_calloc(n_picks, sizeof *a->rows, err);
    a->weights = moeq_calloc(n_picks, sizeof *a->weights, err);
    return a->begins && a->rows && a->weights ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

void moeq_assignment_free(struct moeq_assignment *assignment)
{
    free(assignment->begins);
    free(assignment->rows);
    free(assignment->weights);
    *assignment = (struct moeq_assignment){0};
}

void moeq_assignment_sort(struct moeq_assignment *assignment, uint32_t n_experts, const int32_t *experts,
                          const float *weights, uint64_t n, uint32_t top_k)
{
    const struct moeq_assignment *a = assignment;
    memset(a->begins, 0, ((uint64_t)n_experts + 2) * sizeof *a->begins);
    for (uint64_t i = 0; i < n * top_k; i++)
        a->begins[experts[i] + 2]++;
    for (uint32_t e = 2; e < n_experts + 2; e++)
        a->begins[e] += a->begins[e - 1];
    for (uint64_t i = 0; i < n * top_k; i++) { /* begins[e + 1] walks from the start of e to its end */
        const uint64_t at = a->begins[experts[i] + 1]++;
        a->rows[at] = (uint32_t)(i / top_k);
        a->weights[at] = weights[i];
    }
}
