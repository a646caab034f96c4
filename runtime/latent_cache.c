#include "latent_cache.h"

#include "bytes.h"

#include <stdlib.h>

uint64_t moeq_latent_cache_bytes(const struct moeq_config *config, uint64_t n_sequences, uint64_t n_positions)
{
    uint64_t n = ((uint64_t)config->kv_rank + config->qk_rope) * sizeof(float);
    const bool fits =
        moeq_mul(n, config->n_layers, &n) && moeq_mul(n, n_sequences, &n) && moeq_mul(n, n_positions, &n);
    return fits ? n : UINT64_MAX;
}

enum moeq_status moeq_latent_cache_init(struct moeq_latent_cache *cache, const struct moeq_config *config,
                                        uint64_t n_sequences, uint64_t n_positions, struct moeq_error *err)
{
    *cache = (struct moeq_latent_cache){.width = (uint64_t)config->kv_rank + config->qk_rope,
                                        .n_sequences = n_sequences,
                                        .n_positions = n_positions};
    const uint64_t n_bytes = moeq_latent_cache_bytes(config, n_sequences, n_positions);
    if (n_bytes > SIZE_MAX / 2)
        return moeq_fail_alloc(err, SIZE_MAX);
    cache->rows = moeq_calloc((size_t)n_bytes / sizeof *cache->rows, sizeof *cache->rows, err);
    return cache->rows ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

void moeq_latent_cache_free(struct moeq_latent_cache *cache)
{
    free(cache->rows);
    *cache = (struct moeq_latent_cache){0};
}
