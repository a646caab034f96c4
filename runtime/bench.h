/* What this machine can do, and what our code makes of it, measured in one run so that noise cancels.
 *
 * Rates are medians of a few runs. One core is measured by the thread's own CPU time, several by the clock.
 */
#ifndef MOEQ_BENCH_H
#define MOEQ_BENCH_H

#include "matmul.h"

/* Rates of one core; of all the pool's where the name says so. 0: the CPU has no such instruction. */
struct moeq_peaks {
    double f32, bf16, int8; /* 10^9 operations a second, from registers */
    double f32_all, bf16_all;
    double copy, read; /* 10^9 bytes a second, memory far larger than the caches; copy counts bytes once */
};

enum moeq_status moeq_bench_peaks(struct moeq_pool *pool, struct moeq_peaks *peaks, struct moeq_error *err);

/* One product: [n_tokens, cols] times a matrix [rows, cols] of a level; laying out the activations and
 * decoding the weights included. */
struct moeq_product_case {
    uint64_t rows, cols, n_tokens;
    struct moeq_format format;
};

struct moeq_product_rate {
    double exact, fast; /* 10^9 operations a second, one core */
    double all_jobs;    /* fast, with all threads of the pool */
    double blas;        /* decoding to float32, then cblas_sgemm of OpenBLAS, one core; 0: not installed */
};

enum moeq_status moeq_bench_product(const struct moeq_product_case *product, struct moeq_pool *pool,
                                    struct moeq_product_rate *rate, struct moeq_error *err);

/* 10^9 bytes of BF16 weights a second, one core, that become a level as in a conversion: a few rows at a time
 * decoded to float32, then encoded. */
enum moeq_status moeq_bench_encode(struct moeq_format format, double *rate, struct moeq_error *err);

/* 10^9 bytes a second, one core. */
enum moeq_status moeq_bench_hashes(double *xxh3, double *sha256, struct moeq_error *err);

#endif
