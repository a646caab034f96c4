/* A safetensors header that stands in memory alone. */
#ifndef MOEQ_TEST_HEADER_H
#define MOEQ_TEST_HEADER_H

#include "../fuzz/fixture.h"
#include "safetensors.h"

/* Parses a header of n bytes followed by n_data bytes of data that are never looked at. The bytes lie in a
 * block of exactly their size, so that a sanitizer sees the first byte read beyond them. */
static inline enum moeq_status header_parse(const void *header, size_t n, uint64_t n_data,
                                            enum moeq_strictness strictness, struct moeq_safetensors *st,
                                            struct moeq_error *err)
{
    uint8_t *head = malloc(8 + n);
    fixture_need(head != NULL, "memory");
    moeq_store_u64le(head, n);
    memcpy(head + 8, header, n);
    enum moeq_status status = moeq_safetensors_parse(st, head, 8 + n, 8 + n + n_data, strictness, err);
    free(head);
    return status;
}

#endif
