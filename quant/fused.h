/* The inner loops of calibration: sums that decide codes, and so must be the same bits on every machine.
 *
 * All of them are sums of products with fused multiply-add, one rounding for each product, in a stated order;
 * a vector holds independent sums. So a set's vectors may have any width, loops may be cut into blocks of any
 * size, and the result is that of the plain loop that the comment states, with fma() of <math.h>. */
#ifndef MOEQ_FUSED_H
#define MOEQ_FUSED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Rows of a matrix that are encoded together, one in a lane; a multiple of every set's `lanes`. */
#define MOEQ_LANES 64
/* Multiples of every set's rows and lanes. */
#define MOEQ_STRIP            96
#define MOEQ_MAX_MOMENT_ROWS  12
#define MOEQ_MAX_MOMENT_LANES 32

/* The scales of one group in MOEQ_LANES rows; value = (code - zero) * scale. */
struct moeq_lane_scales {
    double scale[MOEQ_LANES];   /* exact in BF16, or 0: all of the group is 0 */
    double inverse[MOEQ_LANES]; /* 1 / scale; 0 where that is 0 */
    double zero[MOEQ_LANES];    /* code of the value 0 */
};

/* A column of level ec. */
struct moeq_lane_grid {
    double scale, inverse; /* 1 / scale */
    double bias; /* what a code one larger must be nearer by, for each of its magnitude; see below */
    double most; /* the largest code; less than 2^31 */
};

struct moeq_fused {
    /* Of float32 products: rows and columns of a tile. */
    uint32_t moment_rows, moment_lanes;
    /* sums[r * ld + c] += (double)m, m the float32 sum over t = 0, 1, … < n_t of a[t * moment_rows + r] *
     * b[t * moment_lanes + c], from 0 on; r < n_rows, c < n_columns. All of a and b can be read. */
    void (*add_moments)(const float *a, const float *b, uint64_t n_t, double *sums, uint64_t ld,
                        uint64_t n_rows, uint64_t n_columns);

    /* Of float64 products: columns of a tile, and rows at which it is fastest. */
    uint32_t rows, lanes;
    /* c[r * ldc + l] -= a[r * a_row + k * a_k] * b[k * b_k + l] for k = 0, 1, … < n_k; r < n_rows, l < lanes.
     */
    void (*subtract)(const double *a, ptrdiff_t a_row, ptrdiff_t a_k, const double *b, ptrdiff_t b_k,
                     uint64_t n_k, double *c, uint64_t ldc, uint64_t n_rows);
    /* The same for one row and l < MOEQ_LANES. */
    void (*subtract_row)(const double *a, ptrdiff_t a_k, const double *b, ptrdiff_t b_k, uint64_t n_k,
                         double *c);

    /* The scales of a group of n columns in MOEQ_LANES rows; w [n, MOEQ_LANES]. Smallest is the sum over the
     * columns, in their order, of weights[column] * (w - value)^2, of the candidates that search.inc tries,
     * one after the other: of equals the first. */
    void (*search_scales)(const float *w, const double *weights, uint32_t n, unsigned bits, bool asymmetric,
                          struct moeq_lane_scales *out);
    /* The nearest codes of a column, ties to even, and their values. */
    void (*round_column)(const double w[MOEQ_LANES], const struct moeq_lane_scales *scales, unsigned bits,
                         uint8_t codes[MOEQ_LANES], double values[MOEQ_LANES]);

    /* Codes of a column of level ec: with u = w * inverse, no further out than `most`, and f the integer
     * below it, f + 1 where u - f is more than 1/2 + bias * (2f + 1), of which the second term is 1/4 at
     * most; otherwise f. */
    void (*round_to_grid)(const double w[MOEQ_LANES], const struct moeq_lane_grid *grid,
                          int8_t codes[MOEQ_LANES], double values[MOEQ_LANES]);
};

#endif
