/* The indexer of DeepSeek Sparse Attention: which keys a query attends to in windows longer than index_topk.
 *
 *   I(t, s) = sum over heads h of w(t, h) * relu(q(t, h) . k(s)),  s <= t
 *   q = rope(wq_b * c_q), c_q the normed query latent; k = rope(LayerNorm(wk * x), eps 1e-6);
 *   w = weights_proj * x / sqrt(heads * width)
 *
 * RoPE turns the first qk_rope elements of each vector, as halves (DeepSeek-V3.2) or as neighbours (GLM-5).
 * The index_topk keys of the largest scores stay, the lower index first among equals. The released code turns
 * both vectors by a Hadamard matrix and rounds them to FP8 for speed: the first changes no product, the
 * second is left out. Sources: DeepSeek-V3.2-Exp report and its corrected inference code; GLM-5's
 * configuration. */
#ifndef MOEQ_INDEXER_H
#define MOEQ_INDEXER_H

#include "layer.h"

struct moeq_indexer {
    struct moeq_matrix q, k, weights;
    float *k_norm, *k_bias; /* [index_width] */
};

/* Whether windows of this length need the indexer at all. */
bool moeq_indexer_is_needed(const struct moeq_config *config, uint64_t context);

/* Bytes of a row of the bits that say which keys a query keeps: bit s of row t. */
static inline uint64_t moeq_selected_row(uint64_t context)
{
    return (context + 7) / 8;
}

static inline bool moeq_is_selected(const uint8_t *row, uint64_t key)
{
    return row[key / 8] >> key % 8 & 1;
}

/* Loads a layer's indexer; its matrices live in run->indexer_packed. */
enum moeq_status moeq_indexer_load(struct moeq_indexer *indexer, struct moeq_run *run, int layer,
                                   struct moeq_error *err);
void moeq_indexer_free(struct moeq_indexer *indexer);

/* Writes the rows of n tokens (whole windows) into `selected`; x [n, hidden] is the normed input of the
 * attention, latent [n, q_rank] the normed query latent. Queries with at most index_topk keys keep no row. */
enum moeq_status moeq_indexer_choose(const struct moeq_indexer *indexer, struct moeq_run *run, const float *x,
                                     const float *latent, uint64_t n, uint8_t *selected,
                                     struct moeq_error *err);

/* Bytes of activations that a chunk needs. */
uint64_t moeq_indexer_work_bytes(const struct moeq_config *config, uint64_t chunk, uint64_t context);

#endif
