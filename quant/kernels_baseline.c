#define KERNELS_NAME  "baseline"
#define KERNELS_TABLE moeq_kernels_baseline
#define KERNELS_LANES 4
#define KERNELS_ROWS  6
#include "kernels_table.h"
#include "kernels.inc"
