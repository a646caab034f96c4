/* How many parameters a model has, by its config.json alone, and what its key-value cache needs. */
#ifndef MOEQ_CENSUS_H
#define MOEQ_CENSUS_H

#include "anatomy.h"

/* Weights are counted without quantization scales. "Active" counts, of the routed experts, the top_k that a
 * token goes to. */
struct moeq_census {
    uint64_t total, active; /* main layers, embedding and head */
    uint64_t embeddings;    /* embedding and head, part of both */
    uint64_t mtp;           /* of the MTP layers, without their copies of embedding and head */
    uint64_t mtp_copies;
    uint64_t n_tensors;  /* of a release: with MTP layers and, where config.json says FP8, scales */
    uint64_t kv_mla;     /* bytes of cache a token in BF16: latent and rotary part of every layer */
    uint64_t kv_full;    /* the same for full multi-head attention */
    uint64_t kv_indexer; /* keys of the sparse-attention indexer, which come on top */
};

struct moeq_census moeq_census_take(const struct moeq_config *config);

#endif
