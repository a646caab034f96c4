/* The sweep: the hidden states of all windows go through one layer at a time; a layer's weights are loaded
 * when its turn comes and released before the next, so that every weight is read once whatever the number of
 * tokens.
 *
 * Evaluation, and later calibration, are visitors of the same sweep. */
#ifndef MOEQ_SWEEP_H
#define MOEQ_SWEEP_H

#include "layer.h"
#include "progress.h"

/* Called after each layer with what it left; arrays are borrowed for the call. Any member may be NULL. */
struct moeq_visitor {
    void *context;
    /* hidden [n_tokens, hidden] after the layer; experts and weights [n_tokens, top_k] of its router, experts
     * ascending, or NULL for a dense layer. */
    enum moeq_status (*layer)(void *context, int layer, const float *hidden, const int32_t *experts,
                              const float *weights, struct moeq_error *err);
    struct moeq_progress *progress; /* counts layers */
};

struct moeq_sweep {
    struct moeq_run run;
    struct moeq_bytes head_bytes;
    struct moeq_matrix head;
};

/* Prepares a sweep of n_windows windows of `context` tokens each, computed in the arithmetic given, but for
 * the routers, which are exact. Source and pool are borrowed. Checks the model's tensors. On failure nothing
 * needs to be freed. */
enum moeq_status moeq_sweep_init(struct moeq_sweep *sweep, const struct moeq_source *source,
                                 struct moeq_pool *pool, uint64_t n_windows, uint64_t context,
                                 enum moeq_arithmetic arithmetic, struct moeq_error *err);
void moeq_sweep_free(struct moeq_sweep *sweep);

/* Runs all layers over tokens [n_windows * context] and applies the final norm. `visitor` may be NULL.
 * Afterwards only the hidden states are kept in memory. */
enum moeq_status moeq_sweep_run(struct moeq_sweep *sweep, const int32_t *tokens,
                                const struct moeq_visitor *visitor, struct moeq_error *err);

/* Logits [n, vocabulary] of the tokens at `positions` (indices into the n_tokens of the sweep), after
 * moeq_sweep_run. The head is loaded at the first call and stays. */
enum moeq_status moeq_sweep_logits(struct moeq_sweep *sweep, const uint64_t *positions, uint64_t n,
                                   float *logits, struct moeq_error *err);

/* What a sweep needs at most, in bytes; computed before it runs, from headers. */
struct moeq_sweep_memory {
    uint64_t hidden;  /* the hidden states of all tokens, as residual stream and as input of the experts */
    uint64_t routing; /* chosen experts and their weights, chosen keys */
    uint64_t weights; /* packed weights that are in memory at once, those being loaded included */
    uint64_t head;    /* of the packed head, which stays for the logits once the layers are done */
    uint64_t work;    /* activations of a chunk, tiles of the workers */
    uint64_t layer_float32; /* for comparison: the largest layer, if it were float32 */
};

struct moeq_sweep_memory moeq_sweep_memory(const struct moeq_source *source, uint64_t n_windows,
                                           uint64_t context, unsigned n_jobs);

/* The same for a model of which only config.json and the bytes of `weights` and `head` are known; without
 * layer_float32. */
struct moeq_sweep_memory moeq_sweep_memory_of(const struct moeq_config *config, uint64_t weights,
                                              uint64_t head, uint64_t n_windows, uint64_t context,
                                              unsigned n_jobs);

#endif
