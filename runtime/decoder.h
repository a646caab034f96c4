/* The model a few tokens at a time: sequences that grow, each with its latents in memory. Every step takes
 * some tokens, of one or several sequences, through all layers; a sequence's tokens come in their order, be
 * it all of a prompt at once or one by one.
 *
 * Computes what a sweep computes (sweep.h), but that attention is in its absorbed form (absorbed.h). In exact
 * arithmetic a token's outputs depend only on its sequence, not on the steps that it was cut into, nor on
 * other sequences: to the bit.
 *
 * What every token needs stays in memory as far as there is room (layer_weights.h), experts that were used
 * last likewise (expert_cache.h), so that from a model which does not fit most reading is of experts. */
#ifndef MOEQ_DECODER_H
#define MOEQ_DECODER_H

#include "absorbed.h"
#include "assignment.h"
#include "expert_cache.h"
#include "layer_weights.h"

/* How memory is shared out; results do not depend on it. */
struct moeq_decoder_plan {
    uint64_t n_sequences, n_positions; /* sequences beside each other, tokens of the longest */
    uint64_t chunk;                    /* tokens of a step, at most */
    uint32_t kept_layers;              /* whose weights stay, of what every token needs */
    uint64_t ends;                     /* bytes of embedding and head */
    uint64_t layers;                   /* of the layers that are kept, or pass by, and of all vectors */
    uint64_t latents;
    uint64_t work;    /* activations, tiles of the workers, logits */
    uint64_t experts; /* for the experts used last: all of them, or what is left */
    uint64_t total;
};

/* Plans in `budget` bytes; UINT64_MAX: everything stays in memory. Where even the least does not fit, that is
 * planned: total is then above the budget; with a budget of 0 it is the least that will do. */
struct moeq_decoder_plan moeq_decoder_plan(const struct moeq_source *source, uint64_t n_sequences,
                                           uint64_t n_positions, uint64_t chunk, unsigned n_jobs,
                                           uint64_t budget);

/* A token that goes through the model. */
struct moeq_decoder_row {
    uint32_t sequence;
    int32_t token;
    bool wants_logits; /* those of the token that follows it */
};

struct moeq_decoder {
    struct moeq_run run; /* of which sweeps need more */
    struct moeq_decoder_plan plan;
    struct moeq_layers layers;
    struct moeq_expert_cache *experts;
    struct moeq_latent_cache latents;
    uint64_t *lengths; /* [n_sequences]: tokens so far */
    struct moeq_assignment assignment;
    struct moeq_bytes embed_bytes, head_bytes;
    struct moeq_matrix embed, head;
    float *final_norm;
    float *router_scratch;              /* [jobs, 2 * n_experts] */
    struct moeq_place_of_token *places; /* [chunk] */
    struct moeq_decoder_work {          /* all [chunk, …] */
        float *hidden, *normed;         /* hidden */
        float *latent, *q, *kv_a;       /* q_rank; n_heads * (qk_nope + qk_rope); kv_rank + qk_rope */
        float *heads, *logits;          /* n_heads * v_width; n_experts */
        float *all;
    } work;
};

/* Checks the model's tensors, and loads embedding and head. MOEQ_UNSUPPORTED where sequences may be longer
 * than index_topk: the indexer of sparse attention is not computed here. Source and pool are borrowed. On
 * failure nothing to free. */
enum moeq_status moeq_decoder_init(struct moeq_decoder *decoder, const struct moeq_source *source,
                                   struct moeq_pool *pool, const struct moeq_decoder_plan *plan,
                                   struct moeq_error *err);
void moeq_decoder_free(struct moeq_decoder *decoder);

/* Takes n <= chunk tokens through the model, behind those of their sequences, in the arithmetic given
 * (MOEQ_FEW: n <= MOEQ_FEW_TOKENS), routers exactly. Gives logits [those that are wanted, vocabulary] in the
 * order of the rows. After a failure the decoder can only be freed. */
enum moeq_status moeq_decoder_step(struct moeq_decoder *decoder, const struct moeq_decoder_row *rows,
                                   uint64_t n, enum moeq_arithmetic arithmetic, float *logits,
                                   struct moeq_error *err);

/* Forgets a sequence's tokens. */
void moeq_decoder_clear(struct moeq_decoder *decoder, uint32_t sequence);

#endif
