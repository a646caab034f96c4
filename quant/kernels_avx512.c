#define KERNELS_NAME  "avx512"
#define KERNELS_TABLE moeq_kernels_avx512
#include "kernels_table.h"
#include "kernels.inc"
