/* What generation keeps of tokens that went through the model: of each, in each layer, the normed latent and
 * the turned rope key, from which attention in its absorbed form (absorbed.h) restores all heads
 * (DeepSeek-V2, arXiv 2405.04434, section 2.1.2). float32. */
#ifndef MOEQ_LATENT_CACHE_H
#define MOEQ_LATENT_CACHE_H

#include "config.h"

struct moeq_latent_cache {
    uint64_t width;       /* kv_rank + qk_rope */
    uint64_t n_sequences; /* that are kept beside each other */
    uint64_t n_positions; /* room for each */
    float *rows;          /* [n_layers, n_sequences, n_positions, width] */
};

/* Bytes of all rows; UINT64_MAX where that is more than can be counted. */
uint64_t moeq_latent_cache_bytes(const struct moeq_config *config, uint64_t n_sequences,
                                 uint64_t n_positions);

/* Memory that no token has reached yet costs nothing. */
enum moeq_status moeq_latent_cache_init(struct moeq_latent_cache *cache, const struct moeq_config *config,
                                        uint64_t n_sequences, uint64_t n_positions, struct moeq_error *err);
void moeq_latent_cache_free(struct moeq_latent_cache *cache);

/* The row of a position; those of the positions behind it follow. */
static inline float *moeq_latent_row(const struct moeq_latent_cache *cache, uint64_t layer, uint64_t sequence,
                                     uint64_t position)
{
    return cache->rows +
           ((layer * cache->n_sequences + sequence) * cache->n_positions + position) * cache->width;
}

#endif
