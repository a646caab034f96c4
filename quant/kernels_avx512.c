#define KERNELS_NAME  "avx512"
#define KERNELS_TABLE moeq_kernels_avx512
#define KERNELS_LANES 16
#define KERNELS_ROWS  12
#include "kernels_table.h"
#include "kernels.inc"
