/* What writing and reading a baseline share; private to them. */
#ifndef MOEQ_BASELINE_PARTS_H
#define MOEQ_BASELINE_PARTS_H

#include "baseline.h"

#define MOEQ_BASELINE_MAGIC    "moeqbase"
#define MOEQ_BASELINE_FORMAT   "moeq-baseline"
#define MOEQ_BASELINE_VERSION  1
#define MOEQ_BASELINE_FRAME    (8u + MOEQ_HASH_BYTES) /* bytes before those of a frame */
#define MOEQ_BASELINE_ID_BYTES 3u

json_t *moeq_baseline_header_json(const struct moeq_baseline_header *header);

/* Uncompressed bytes; all are bounded by what moeq_baseline_parse_header takes. */
uint64_t moeq_baseline_tokens_bytes(const struct moeq_baseline_header *header);
uint64_t moeq_baseline_layer_bytes(const struct moeq_baseline_header *header, uint32_t layer);
uint64_t moeq_baseline_chunk_bytes(const struct moeq_baseline_header *header, uint64_t n);

uint64_t moeq_baseline_scored(const struct moeq_baseline_header *header);

/* The lowest n_planes bytes of n elements of `size` bytes, plane by plane; both give what comes behind the
 * planes. The other bytes of elements are left as they are. */
uint8_t *moeq_planes_put(uint8_t *planes, const void *elements, uint64_t n, size_t size, size_t n_planes);
const uint8_t *moeq_planes_get(const uint8_t *planes, void *elements, uint64_t n, size_t size,
                               size_t n_planes);

#endif
