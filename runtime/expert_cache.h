/* Experts in memory: those used last, as many as a budget holds.
 *
 * Generation needs a few experts of each layer for every token, and mostly those that it has needed before.
 * An expert is loaded, and its hash checked, when it is acquired and not there; where there is no room, those
 * that were released longest ago leave. What is held is the packed matrices: those that are entropy-coded in
 * a package are decoded once, when they are loaded.
 *
 * For one thread. */
#ifndef MOEQ_EXPERT_CACHE_H
#define MOEQ_EXPERT_CACHE_H

#include "mlp.h"

struct moeq_expert_cache;

struct moeq_expert_cache_counts {
    uint64_t n_hits, n_misses; /* acquired: was there, was loaded */
    uint64_t n_loaded_bytes;   /* as they are stored */
    uint64_t n_held_bytes;     /* now */
};

/* Bytes that one expert takes; 0 where the layer has none of that number. */
uint64_t moeq_expert_cache_bytes(const struct moeq_source *source, int layer, int expert);

/* Bytes beside the budget that loading an expert takes, once for all: 0 where nothing of it is coded. */
uint64_t moeq_expert_cache_staging(const struct moeq_source *source, int layer, int expert);

/* Borrows the source. Holds at most n_bytes, but always what is acquired: a budget below the largest expert
 * is exceeded by it. NULL and *err set on failure. */
struct moeq_expert_cache *moeq_expert_cache_create(const struct moeq_source *source, uint64_t n_bytes,
                                                   struct moeq_error *err);
void moeq_expert_cache_free(struct moeq_expert_cache *cache); /* NULL allowed */

/* Tells the system which of these experts of a layer will be read soon. */
void moeq_expert_cache_announce(const struct moeq_expert_cache *cache, int layer, const int32_t *experts,
                                size_t n);

/* Gives an expert's matrices, which stay until it is released as often as it was acquired. MOEQ_DAMAGED,
 * naming the expert, where the bytes do not have their hash. */
enum moeq_status moeq_expert_cache_acquire(struct moeq_expert_cache *cache, int layer, int expert,
                                           struct moeq_mlp *mlp, struct moeq_error *err);
void moeq_expert_cache_release(struct moeq_expert_cache *cache, int layer, int expert);

struct moeq_expert_cache_counts moeq_expert_cache_counts(const struct moeq_expert_cache *cache);

#endif
