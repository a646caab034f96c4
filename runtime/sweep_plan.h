/* How a sweep shares out memory, computed from headers before it begins. Results do not depend on it. */
#ifndef MOEQ_SWEEP_PLAN_H
#define MOEQ_SWEEP_PLAN_H

#include "source.h"

/* Packed bytes of a model's weights, in memory. */
struct moeq_sweep_weights {
    uint64_t largest; /* of the largest of what is loaded at once: attention, one MLP, one expert */
    uint64_t experts; /* of all experts of a layer, at most */
    uint64_t embed, head;
    uint64_t layer_float32; /* for comparison: the largest layer, if it were float32 */
};

struct moeq_sweep_weights moeq_sweep_weights(const struct moeq_source *source, uint64_t context);

struct moeq_sweep_plan {
    uint64_t chunk; /* tokens that a matrix is multiplied by at once: a multiple of context */
    uint64_t group; /* tokens whose hidden states are in memory: all, or a multiple of chunk */
    uint64_t ring;  /* bytes of packed weights, those being loaded included */
    /* Bytes that this comes to. */
    uint64_t hidden;  /* of a group, as residual stream and as input of the experts */
    uint64_t file;    /* of the temporary file, 0 for none */
    uint64_t routing; /* chosen experts and their weights, chosen keys */
    uint64_t work;    /* activations of a chunk, tiles of the workers */
    uint64_t head;    /* the packed head, which comes once the layers are done */
    uint64_t kept;    /* hidden states that stay in memory then */
    uint64_t total;   /* at most at any time until then */
    uint64_t layer_float32;
};

/* Plans n_windows windows of `context` tokens in `budget` bytes; UINT64_MAX: everything in memory. Where even
 * the least does not fit, that is planned: total is then above the budget. */
struct moeq_sweep_plan moeq_sweep_plan(const struct moeq_config *config,
                                       const struct moeq_sweep_weights *weights, uint64_t n_windows,
                                       uint64_t context, unsigned n_jobs, uint64_t budget);

#endif
