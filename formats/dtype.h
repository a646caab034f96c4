/* Element types of safetensors files (the names of the format text, case-sensitive). */
#ifndef MOEQ_DTYPE_H
#define MOEQ_DTYPE_H

#include <stdbool.h>
#include <stdint.h>

enum moeq_dtype {
    MOEQ_BOOL,
    MOEQ_F4,
    MOEQ_F6_E2M3,
    MOEQ_F6_E3M2,
    MOEQ_U8,
    MOEQ_I8,
    MOEQ_F8_E5M2,
    MOEQ_F8_E4M3,
    MOEQ_F8_E8M0,
    MOEQ_F8_E4M3FNUZ,
    MOEQ_F8_E5M2FNUZ,
    MOEQ_I16,
    MOEQ_U16,
    MOEQ_F16,
    MOEQ_BF16,
    MOEQ_I32,
    MOEQ_U32,
    MOEQ_F32,
    MOEQ_C64,
    MOEQ_F64,
    MOEQ_I64,
    MOEQ_U64,
    MOEQ_N_DTYPES
};

const char *moeq_dtype_name(enum moeq_dtype dtype);
unsigned moeq_dtype_bits(enum moeq_dtype dtype); /* bits of one element */
bool moeq_dtype_find(const char *name, enum moeq_dtype *out);

#endif
