#define FUSED_TABLE moeq_fused_avx512
#define FUSED_LANES 8
#define FUSED_ROWS  12
#include "fused.inc"
