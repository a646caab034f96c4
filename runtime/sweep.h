/* The sweep: the hidden states of all windows go through one layer at a time; a layer's weights are loaded
 * when its turn comes and released before the next, so that every weight is read once whatever the number of
 * tokens.
 *
 * Evaluation, and later calibration, are visitors of the same sweep. */
#ifndef MOEQ_SWEEP_H
#define MOEQ_SWEEP_H

#include "branches.h"
#include "layer.h"
#include "progress.h"
#include "sweep_plan.h"

/* What a layer left of some tokens: all, or a group of them where memory holds no more. Arrays are borrowed
 * for the call. */
struct moeq_layer_result {
    int layer;
    uint64_t first, n;      /* tokens first … first + n - 1 of the sweep */
    const float *hidden;    /* [n, hidden] */
    const int32_t *experts; /* [n, top_k], ascending; NULL for a dense layer */
    const float *weights;   /* [n, top_k] */
};

/* Called after each layer. Any member may be NULL. */
struct moeq_visitor {
    void *context;
    enum moeq_status (*layer)(void *context, const struct moeq_layer_result *result, struct moeq_error *err);
    struct moeq_observer observer;
    const struct moeq_branches *branches; /* instead of an observer */
    /* Once a layer is done for all tokens, before the next one. */
    enum moeq_status (*done)(void *context, int layer, struct moeq_error *err);
    struct moeq_progress *progress; /* counts layers */
};

struct moeq_sweep {
    struct moeq_run run;
    struct moeq_bytes head_bytes;
    struct moeq_matrix head;
};

/* Prepares a sweep of n_windows windows of `context` tokens each, computed in the arithmetic given, but for
 * the routers, which are exact; in memory as `plan` says, which is for as many, or NULL: all that it takes.
 * Source and pool are borrowed. Checks the model's tensors. On failure nothing needs to be freed. */
enum moeq_status moeq_sweep_init(struct moeq_sweep *sweep, const struct moeq_source *source,
                                 struct moeq_pool *pool, uint64_t n_windows, uint64_t context,
                                 enum moeq_arithmetic arithmetic, const struct moeq_sweep_plan *plan,
                                 struct moeq_error *err);
void moeq_sweep_free(struct moeq_sweep *sweep);

/* Runs all layers over tokens [n_windows * context] and applies the final norm. `visitor` may be NULL.
 * Afterwards only the hidden states are kept, in memory or in their file. */
enum moeq_status moeq_sweep_run(struct moeq_sweep *sweep, const int32_t *tokens,
                                const struct moeq_visitor *visitor, struct moeq_error *err);

/* After moeq_sweep_run: takes the hidden states of n tokens, given by their indices, as input of the head,
 * which is loaded at the first call and stays; then gives logits [n, n_rows] of the vocabulary's entries
 * first_row … first_row + n_rows - 1. */
enum moeq_status moeq_sweep_choose(struct moeq_sweep *sweep, const uint64_t *positions, uint64_t n,
                                   struct moeq_error *err);
enum moeq_status moeq_sweep_logits(struct moeq_sweep *sweep, uint64_t first_row, uint64_t n_rows,
                                   float *logits, struct moeq_error *err);

#endif
