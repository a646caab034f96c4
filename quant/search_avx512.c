#define SEARCH_ENCODE_GROUP moeq_encode_group_avx512
#include "search.inc"
