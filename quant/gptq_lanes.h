/* MOEQ_LANES rows of a matrix at a time, one in a lane: [columns, MOEQ_LANES]; for gptq.c and gptq_factor.c.
 */
#ifndef MOEQ_GPTQ_LANES_H
#define MOEQ_GPTQ_LANES_H

#include "fused.h"
#include "gptq.h"

/* Columns whose errors are summed up before they are taken to the columns behind. */
#define MOEQ_GPTQ_BLOCK 128u

/* lanes [n, MOEQ_LANES] from w [n_rows, n]; zeros where there is no row. */
void moeq_lanes_of_rows(const float *w, uint64_t n_rows, uint64_t n, float *lanes);

/* Takes errors [end - begin, MOEQ_LANES] of columns [begin, end) times T from all columns behind them:
 * to [n, MOEQ_LANES], in the factor's order. */
void moeq_gptq_update(const struct moeq_fused *fused, const struct moeq_gptq_factor *factor, uint64_t begin,
                      uint64_t end, const double *errors, double *to);

#endif
