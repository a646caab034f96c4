#define KERNELS_NAME         "baseline"
#define KERNELS_TABLE        moeq_kernels_baseline
#define KERNELS_LANES        4
#define KERNELS_ROWS         6
#define KERNELS_ENCODE_GROUP moeq_encode_group_baseline
#define KERNELS_FUSED        moeq_fused_baseline
#define KERNELS_RANS         moeq_rans_baseline
#include "kernels_table.h"
#include "kernels.inc"
