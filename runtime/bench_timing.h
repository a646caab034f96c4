/* What the measurements of bench.h share: the clock, the median, numbers to compute with. */
#ifndef MOEQ_BENCH_TIMING_H
#define MOEQ_BENCH_TIMING_H

#include "level.h"

#include <time.h>

#define MOEQ_BENCH_RUNS       5    /* of which the median is taken */
#define MOEQ_BENCH_LEAST_TIME 0.02 /* seconds that a run should take */

double moeq_bench_clock(clockid_t clock);

/* Sorts them. */
double moeq_bench_median(double values[MOEQ_BENCH_RUNS]);

typedef enum moeq_status moeq_bench_call(void *context, struct moeq_error *err);

/* How many calls a second there are, as the median of runs of as many calls as take the least time. One call
 * before that warms up. */
enum moeq_status moeq_bench_rate(clockid_t clock, moeq_bench_call *call, void *context, double *per_second,
                                 struct moeq_error *err);

/* n numbers of about normal size, times `size`: the same ones every time. */
void moeq_bench_fill(float *x, uint64_t n, float size);

/* Encodes all rows of w [rows, cols]; packed has the padded size. */
enum moeq_status moeq_bench_pack(struct moeq_format format, uint64_t rows, uint64_t cols, const float *w,
                                 struct moeq_bytes *packed, struct moeq_error *err);

#endif
