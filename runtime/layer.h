/* The two halves of a decoder layer over many tokens at once. Both add to the hidden states in place:
 *   x += attention(rms_norm(x));  x += ffn(rms_norm(x)).
 * Weights are loaded when needed and released before the next: attention as a whole, experts one by one, each
 * read once whatever the number of tokens, and not at all where no token goes to it. */
#ifndef MOEQ_LAYER_H
#define MOEQ_LAYER_H

#include "loader.h"
#include "matmul.h"
#include "norm.h"
#include "rope.h"
#include "source.h"
#include "states.h"

/* Inputs of one matrix, or of those that share them, for some tokens of a sweep. Borrowed for the call. */
struct moeq_inputs {
    int layer, expert;   /* expert -1 where the part has none */
    enum moeq_part part; /* q or q_a, whose inputs kv_a shares; q_b; kv_b; o; router; gate, whose inputs up
                            shares; down */
    uint64_t width, n;
    const float *x;         /* [n, width] */
    uint64_t first;         /* tokens first … first + n - 1 of the sweep, */
    const uint32_t *tokens; /* or, if not NULL, [n] these, ascending */
    const float *weights;   /* [n]: the router's; NULL: 1 */
    bool is_twin;           /* of the tokens' twins, see branches.h */
};

/* Who is shown inputs. */
struct moeq_seer {
    void *context;
    enum moeq_status (*inputs)(void *context, const struct moeq_inputs *inputs, struct moeq_error *err);
};

/* Sees the inputs of all matrices but the indexers, embedding and head, a chunk of tokens after the
 * other, in the order in which they are computed; those of an expert one expert after the other. What a sweep
 * computes is the same with an observer. */
struct moeq_observer {
    void *context;
    enum moeq_status (*inputs)(void *context, const struct moeq_inputs *inputs, struct moeq_error *err);
    const uint64_t *ends; /* [n_ends] tokens at which a part of the sweep ends, ascending, whole windows, the
                             last the end of all: chunks do not cross them. NULL: one part */
    size_t n_ends;
};

#define MOEQ_MAX_UNIT 5 /* matrices of attention, and the most that are loaded as one */

/* What the layers of a sweep share. */
struct moeq_run {
    const struct moeq_source *source;
    const struct moeq_config *config; /* of the source */
    struct moeq_pool *pool;
    struct moeq_scratch scratch;
    enum moeq_arithmetic arithmetic; /* of all products but the router's, which are exact */
    struct moeq_activations inputs;  /* of the next product */
    struct moeq_activations gated;   /* those of down_proj */
    struct moeq_rope rope;
    float attention_scale;
    uint64_t n_tokens, context; /* n_tokens is a multiple of context: windows that do not see each other */
    uint64_t chunk;             /* tokens that a matrix is multiplied by at once: a multiple of context */
    struct moeq_states states;  /* of all tokens, or of a group after the other: a multiple of chunk */
    int32_t *experts;           /* [n_tokens, top_k], ascending; of the last MoE layer */
    float *weights;             /* [n_tokens, top_k] */
    struct moeq_loader *loader; /* of the weights */
    uint64_t ring;              /* its bytes */
    const struct moeq_observer *observer; /* or NULL */
    const struct moeq_branches *branches; /* or NULL; then without an observer */
    const uint64_t *ends;                 /* [n_ends]: those of the observer's parts, or of branches */
    size_t n_ends;
    struct moeq_bytes observed; /* of an MLP: gate and up */
    struct moeq_bytes packed;   /* small ones, of the router */
    struct moeq_bytes work;     /* activations */
    /* Only where windows are longer than index_topk: which keys each token attends to, chosen by the last
     * layer that has an indexer; see indexer.h. */
    uint8_t *selected; /* [n_tokens, moeq_selected_row(context)] or NULL */
    struct moeq_bytes indexer_packed, indexer_work;
};

enum moeq_status moeq_layer_attention(struct moeq_run *run, int layer, struct moeq_error *err);
enum moeq_status moeq_layer_ffn(struct moeq_run *run, int layer, struct moeq_error *err);

/* Asks the loader for what a layer needs whatever its router says, in the order in which the two functions
 * get it: its attention, and the MLP that all tokens go through. Nothing where there is no such layer. */
enum moeq_status moeq_layer_ask(struct moeq_run *run, int layer, struct moeq_error *err);

/* The first part of that. */
enum moeq_status moeq_layer_ask_attention(struct moeq_run *run, int layer, struct moeq_error *err);

/* Tokens of a chunk that begins with token `first` of the sweep, of which `left` are to come. */
uint64_t moeq_chunk_tokens(const struct moeq_run *run, uint64_t first, uint64_t left);

/* Bytes of activations (`work`) that the layers need at most. */
uint64_t moeq_layer_work_bytes(const struct moeq_config *config, uint64_t chunk);

/* The widest MLP: dense, shared or routed. */
uint64_t moeq_ffn_width(const struct moeq_config *config);

/* The matrices of a layer's attention: q, or q_a and q_b, then kv_a, kv_b, o; returns how many. */
size_t moeq_attention_weights(const struct moeq_source *source, int layer,
                              const struct moeq_weight *weights[MOEQ_MAX_UNIT]);

#endif
