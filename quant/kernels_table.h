/* The tables of the instruction sets, for kernels.c alone. */
#ifndef MOEQ_KERNELS_TABLE_H
#define MOEQ_KERNELS_TABLE_H

#include "kernels.h"

extern const struct moeq_kernels moeq_kernels_baseline, moeq_kernels_avx2, moeq_kernels_avx512,
    moeq_kernels_avx512bf16;

#endif
