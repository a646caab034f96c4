#define SEARCH_ENCODE_GROUP moeq_encode_group_baseline
#include "search.inc"
