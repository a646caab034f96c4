/* Powers and logarithms of 2 whose digits no C library decides: IEEE arithmetic in a stated order, for
 * numbers that choose codes, steps or levels. Within a few units in the last place. */
#ifndef MOEQ_POWERS_H
#define MOEQ_POWERS_H

/* 2^x; beyond float64 infinity or 0, NaN for NaN. */
double moeq_exp2(double x);

/* log2(x); NaN unless x is a positive number. */
double moeq_log2(double x);

#endif
