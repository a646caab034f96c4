#define SEARCH_ENCODE_GROUP moeq_encode_group_avx2
#include "search.inc"
