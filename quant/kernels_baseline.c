#define KERNELS_NAME  "baseline"
#define KERNELS_TABLE moeq_kernels_baseline
#include "kernels_table.h"
#include "kernels.inc"
