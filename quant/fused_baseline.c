#define FUSED_TABLE moeq_fused_baseline
#define FUSED_LANES 2
#define FUSED_ROWS  4
#include "fused.inc"
