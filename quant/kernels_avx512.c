#define KERNELS_NAME         "avx512"
#define KERNELS_TABLE        moeq_kernels_avx512
#define KERNELS_LANES        16
#define KERNELS_ROWS         12
#define KERNELS_ENCODE_GROUP moeq_encode_group_avx512
#define KERNELS_FUSED        moeq_fused_avx512
#define KERNELS_RANS         moeq_rans_avx512
#include "kernels_table.h"
#include "kernels.inc"
