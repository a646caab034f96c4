/* The tables of the instruction sets, for kernels.c alone. */
#ifndef MOEQ_KERNELS_TABLE_H
#define MOEQ_KERNELS_TABLE_H

#include "kernels.h"

extern const struct moeq_kernels moeq_kernels_baseline, moeq_kernels_avx2, moeq_kernels_avx512,
    moeq_kernels_avx512bf16;

extern const struct moeq_fused moeq_fused_baseline, moeq_fused_avx2, moeq_fused_avx512;

extern const struct moeq_rans_rows moeq_rans_baseline, moeq_rans_avx2, moeq_rans_avx512;

typedef void moeq_encode_group_function(const struct moeq_format *format, const float *row, uint32_t n,
                                        uint8_t *codes, uint16_t *scales, uint8_t *zeros);

extern moeq_encode_group_function moeq_encode_group_baseline, moeq_encode_group_avx2,
    moeq_encode_group_avx512;

#endif
