/* What a plan gives each layer, as a table to read. */
#ifndef MOEQ_PLAN_SUMMARY_H
#define MOEQ_PLAN_SUMMARY_H

#include "status.h"

#include <stdio.h>

/* The matrices of one kind in one layer. */
struct moeq_plan_row {
    int layer;
    const char *kind; /* "gate", "up", "down" */
    uint64_t n_weights;
    double gain; /* damage to the model's output for a unit of error in this layer's; not finite: not known */
    double bits; /* per weight */
    double damage;        /* predicted KL divergence, nats, of all together */
    const double *shares; /* [n_levels] of the weights; they add up to 1 */
};

/* All is borrowed. */
struct moeq_plan_summary {
    const char *const *levels; /* [n_levels] names */
    size_t n_levels;
    const struct moeq_plan_row *rows; /* [n_rows] */
    size_t n_rows;
};

/* A line a row, with a column for each level that any row has, and a line for all together. */
void moeq_plan_summary_print(FILE *out, const struct moeq_plan_summary *summary);

#endif
