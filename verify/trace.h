/* What the layers of a model did with the tokens of a sweep: the experts that its routers chose, and of the
 * hidden states behind each layer a sketch; enough to tell, from another model on the same tokens, how many
 * choices are the same, and how large the error of each layer is.
 *
 * The sketch of a state h is MOEQ_SKETCH numbers, sums of its features with random signs: s = R h. Signs are
 * drawn for each token from a fixed seed and are the same behind all layers, so that sketches can be
 * subtracted like states. Then |s|^2 / MOEQ_SKETCH is |h|^2 without bias, and a sum of squares over n tokens
 * has a relative standard error of about sqrt(2 / (MOEQ_SKETCH * n)) where they are alike (Achlioptas:
 * Database-friendly random projections, 2003). */
#ifndef MOEQ_TRACE_H
#define MOEQ_TRACE_H

#include "sweep.h"

#define MOEQ_SKETCH 2u

/* Models whose traces can be compared have the same. */
struct moeq_trace_shape {
    uint32_t hidden, n_layers, n_experts, top_k;
    bool moe[MOEQ_MAX_LAYERS]; /* whether a layer has experts */
};

struct moeq_trace_shape moeq_trace_shape(const struct moeq_config *config);
bool moeq_trace_shape_equal(const struct moeq_trace_shape *a, const struct moeq_trace_shape *b);

/* One layer's. */
struct moeq_trace_layer {
    uint16_t *experts; /* [n_tokens, top_k], ascending; of a dense layer not set */
    float *sketches;   /* [n_tokens, MOEQ_SKETCH] */
};

/* Where layers go to or come from, in order. */
struct moeq_trace_store {
    void *context;
    enum moeq_status (*keep)(void *context, int layer, const struct moeq_trace_layer *trace,
                             struct moeq_error *err);
    enum moeq_status (*fetch)(void *context, int layer, struct moeq_trace_layer *trace,
                              struct moeq_error *err);
};

struct moeq_layer_drift {
    bool is_moe;
    double router; /* share of the reference's expert choices that are also the model's; 1 of a dense layer */
    double error;  /* |h' - h| / |h| of the hidden states behind the layer */
    double own_error; /* of what the layer adds to them; of layer 0, of all that it leaves */
};

/* The norms are root sums of squares over all tokens but the first of each window, whose states are far
 * larger than all others. Of an expert: over the tokens that the reference sends to it. */
struct moeq_expert_drift {
    uint64_t n_tokens;
    double router, own_error;
};

struct moeq_drift {
    uint32_t n_layers, n_experts;
    struct moeq_layer_drift *layers;   /* [n_layers] */
    struct moeq_expert_drift *experts; /* [n_layers, n_experts] */
};

enum moeq_status moeq_drift_init(struct moeq_drift *drift, const struct moeq_trace_shape *shape,
                                 struct moeq_error *err);
void moeq_drift_free(struct moeq_drift *drift);

struct moeq_trace {
    const struct moeq_trace_shape *shape;
    struct moeq_pool *pool;
    uint64_t n_tokens, context;
    struct moeq_trace_layer layer; /* of the model */
    float *before;                 /* [n_tokens, MOEQ_SKETCH]: behind the layer before */
    struct moeq_trace_layer reference;
    float *reference_before;
    struct moeq_trace_store store;
    struct moeq_drift *drift; /* NULL: traces are kept, not compared */
};

/* A trace of n_tokens in windows of `context`, kept in the store, or compared with what the store has where
 * `drift` is not NULL. All is borrowed. On failure nothing needs to be freed. */
enum moeq_status moeq_trace_init(struct moeq_trace *trace, const struct moeq_trace_shape *shape,
                                 struct moeq_pool *pool, uint64_t n_tokens, uint64_t context,
                                 const struct moeq_trace_store *store, struct moeq_drift *drift,
                                 struct moeq_error *err);
void moeq_trace_free(struct moeq_trace *trace);

/* Lets a sweep's visitor see all layers. */
void moeq_trace_visit(struct moeq_trace *trace, struct moeq_visitor *visitor);

/* A store of all layers in memory. */
struct moeq_trace_memory {
    const struct moeq_trace_shape *shape;
    uint64_t n_tokens;
    struct moeq_trace_layer *layers; /* [n_layers] */
};

enum moeq_status moeq_trace_memory_init(struct moeq_trace_memory *memory,
                                        const struct moeq_trace_shape *shape, uint64_t n_tokens,
                                        struct moeq_error *err);
void moeq_trace_memory_free(struct moeq_trace_memory *memory);
struct moeq_trace_store moeq_trace_memory_store(struct moeq_trace_memory *memory);

/* Bytes of a trace that is compared, at most, and of a store in memory. */
uint64_t moeq_trace_bytes(const struct moeq_config *config, uint64_t n_tokens);
uint64_t moeq_trace_memory_bytes(const struct moeq_config *config, uint64_t n_tokens);

#endif
