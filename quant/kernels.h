/* The inner loops, compiled once for each instruction set and chosen once at start. */
#ifndef MOEQ_KERNELS_H
#define MOEQ_KERNELS_H

#include "status.h"

#define MOEQ_TILE_ROWS 32 /* output features of one tile */

struct moeq_kernels {
    const char *name; /* "baseline", "avx2", "avx512" */
    /* y[t][r] = sum over k of tile[k][r] * x[t][k], for t < n_tokens, r < n_rows <= MOEQ_TILE_ROWS. tile is
     * [n_k, MOEQ_TILE_ROWS]; x and y have ldx and ldy floats a row. Each sum runs over k in ascending order
     * in float32 without contraction, so every instruction set gives the same bits. */
    void (*multiply_tile)(const float *tile, uint64_t n_k, const float *x, uint64_t ldx, uint64_t n_tokens,
                          float *y, uint64_t ldy, uint64_t n_rows);
};

/* The best set that this CPU and operating system support, or the one named by MOEQ_CPU in the environment
 * (scalar, avx2, avx512) where it is supported. Constant after the first call. */
const struct moeq_kernels *moeq_kernels(void);

/* All sets that this machine can run, for tests: NULL past the last. */
const struct moeq_kernels *moeq_kernels_at(size_t index);

#endif
