#define FUSED_TABLE moeq_fused_avx2
#define FUSED_LANES 4
#define FUSED_ROWS  6
#include "fused.inc"
