/* What this machine can do, and what our code makes of it, measured in one run so that noise cancels.
 *
 * Rates are medians of a few runs. One core is measured by the thread's own CPU time, several threads and
 * files by the clock. 0 stands for what cannot be measured here.
 */
#ifndef MOEQ_BENCH_H
#define MOEQ_BENCH_H

#include "matmul.h"

/* What it is measured on, and what was built. */
struct moeq_machine {
    char cpu[128];     /* as it names itself */
    char system[256];  /* kernel, architecture, distribution */
    unsigned n_cpus;   /* that this process may use */
    uint64_t n_memory; /* bytes */
    double load;       /* of the last minute: what else ran; -1: unknown */
    const char *kernels;
    const char *compiler, *flags; /* without those that kernels add for their instruction set */
};

void moeq_machine_describe(struct moeq_machine *machine);

/* Rates of one core; of all the pool's threads where the name says so. */
struct moeq_peaks {
    double f32, bf16, int8; /* 10^9 operations a second, from registers */
    double f32_all, bf16_all, int8_all;
    double copy, read; /* 10^9 bytes a second, memory far larger than the caches; copy counts bytes once */
    double copy_all, read_all;
};

enum moeq_status moeq_bench_peaks(struct moeq_pool *pool, struct moeq_peaks *peaks, struct moeq_error *err);

/* Reading a file from its begin with moeq_file_read, piece by piece, on one thread. */
struct moeq_file_rates {
    double warm, cold; /* 10^9 bytes a second, out of the page cache, and after it was dropped; cold is 0
                          where the system kept more than a hundredth of the pages in spite of that */
    uint64_t n_bytes;  /* that were read each time: of large files the first 1 GiB */
};

/* path NULL: a file of `n_own` bytes in moeq_temporary_folder, gone afterwards. */
enum moeq_status moeq_bench_file(const char *path, uint64_t n_own, struct moeq_file_rates *rates,
                                 struct moeq_error *err);

/* Up to so many tokens the weights are read out of memory, as in a model that is much larger than the caches:
 * the products go round copies of the matrix that have MOEQ_BENCH_STREAMED bytes together. With more tokens
 * the matrix may stay in the caches, where arithmetic hides its reading anyway. */
#define MOEQ_BENCH_FEW      4
#define MOEQ_BENCH_STREAMED (256u << 20)

/* Products of [n_tokens, cols] with a matrix [rows, cols] of a level, for several numbers of tokens; laying
 * out the activations and decoding the weights included. */
struct moeq_product_case {
    uint64_t rows, cols;
    struct moeq_format format;
    const uint64_t *n_tokens; /* [n] */
    size_t n;
    uint64_t blas_tokens; /* the number for which OpenBLAS is measured, too */
};

struct moeq_product_rate {
    double exact, fast; /* 10^9 operations a second, one core */
    double all_jobs;    /* fast, with all threads of the pool */
    double
        blas; /* decoding to float32, then cblas_sgemm of OpenBLAS, one core; 0: not installed, not asked */
    double weights; /* 10^9 bytes of packed weights a second, fast, one core, up to MOEQ_BENCH_FEW tokens */
    double weights_all; /* with all threads */
};

/* rates is [product->n]. */
enum moeq_status moeq_bench_product(const struct moeq_product_case *product, struct moeq_pool *pool,
                                    struct moeq_product_rate *rates, struct moeq_error *err);

/* 10^9 bytes of BF16 weights a second, one core, that become a level as in a conversion: a few rows at a time
 * decoded to float32, then encoded. */
enum moeq_status moeq_bench_encode(struct moeq_format format, double *rate, struct moeq_error *err);

/* 10^9 bytes a second, one core. */
enum moeq_status moeq_bench_hashes(double *xxh3, double *sha256, struct moeq_error *err);

#endif
