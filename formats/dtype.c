#include "dtype.h"

#include <string.h>

static const struct {
    const char *name;
    unsigned bits;
} dtypes[MOEQ_N_DTYPES] = {
    [MOEQ_BOOL] = {"BOOL", 8},
    [MOEQ_F4] = {"F4", 4},
    [MOEQ_F6_E2M3] = {"F6_E2M3", 6},
    [MOEQ_F6_E3M2] = {"F6_E3M2", 6},
    [MOEQ_U8] = {"U8", 8},
    [MOEQ_I8] = {"I8", 8},
    [MOEQ_F8_E5M2] = {"F8_E5M2", 8},
    [MOEQ_F8_E4M3] = {"F8_E4M3", 8},
    [MOEQ_F8_E8M0] = {"F8_E8M0", 8},
    [MOEQ_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [MOEQ_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [MOEQ_I16] = {"I16", 16},
    [MOEQ_U16] = {"U16", 16},
    [MOEQ_F16] = {"F16", 16},
    [MOEQ_BF16] = {"BF16", 16},
    [MOEQ_I32] = {"I32", 32},
    [MOEQ_U32] = {"U32", 32},
    [MOEQ_F32] = {"F32", 32},
    [MOEQ_C64] = {"C64", 64},
    [MOEQ_F64] = {"F64", 64},
    [MOEQ_I64] = {"I64", 64},
    [MOEQ_U64] = {"U64", 64},
};

const char *moeq_dtype_name(enum moeq_dtype dtype)
{
    return dtypes[dtype].name;
}

unsigned moeq_dtype_bits(enum moeq_dtype dtype)
{
    return dtypes[dtype].bits;
}

bool moeq_dtype_find(const char *name, enum moeq_dtype *out)
{
    for (int i = 0; i < MOEQ_N_DTYPES; i++)
        if (strcmp(name, dtypes[i].name) == 0) {
            *out = (enum moeq_dtype)i;
            return true;
        }
    return false;
}
