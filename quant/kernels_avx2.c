#define KERNELS_NAME         "avx2"
#define KERNELS_TABLE        moeq_kernels_avx2
#define KERNELS_LANES        8
#define KERNELS_ROWS         6
#define KERNELS_ENCODE_GROUP moeq_encode_group_avx2
#define KERNELS_FUSED        moeq_fused_avx2
#define KERNELS_RANS         moeq_rans_avx2
#include "kernels_table.h"
#include "kernels.inc"
