/* A plan as a person wants to read it: what becomes of which tensors, with alike tensors in one line. */
#ifndef MOEQ_SUMMARY_H
#define MOEQ_SUMMARY_H

#include "plan.h"

#include <stdio.h>

/* One line for all tensors of the same part, shape and decision: count, shape, level before and after, bytes,
 * bits per weight, the layers, the reason; then totals. */
enum moeq_status moeq_summary_print(FILE *out, const struct moeq_plan *plan, struct moeq_error *err);

/* Every tensor with name, shape, both levels, bytes and reason. NULL where memory is out. */
json_t *moeq_summary_json(const struct moeq_plan *plan);

#endif
