/* Tables for codes that are normally distributed around 0, as quantized weights are: nothing of them is
 * stored but which one. All are made once, in arithmetic that is the same on every machine.
 *
 * Table k is for a standard deviation of 2^(k / 8 - 2). Its frequencies are those of moeq_rans_table_make for
 * counts of 2^38 * P(v), P(v) being 0.97 of a normal distribution's probability of [v - 1/2, v + 1/2] and
 * 0.03 of one that is twice as wide: tails of weights are a little heavier. */
#ifndef MOEQ_NORMAL_H
#define MOEQ_NORMAL_H

#include "rans.h"

#define MOEQ_NORMAL_TABLES 64 /* the last is for a standard deviation of 58.7 */

const struct moeq_rans_table *moeq_normal_table(unsigned k);
const struct moeq_rans_decoder *moeq_normal_decoder(unsigned k);

/* Bits a code that the table's own codes take. */
double moeq_normal_bits(unsigned k);

/* The table for a variance: the nearest that there is. */
unsigned moeq_normal_nearest(double variance);

/* The table under which codes of this histogram take least, of equals the first; *cost is that of
 * moeq_rans_cost. */
unsigned moeq_normal_best(const struct moeq_rans_histogram *histogram, uint64_t *cost);

#endif
