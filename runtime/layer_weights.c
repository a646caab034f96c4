#include "layer_weights.h"

#include "model.h"

#include <stdlib.h>

#define MAX_MATRICES (MOEQ_MAX_UNIT + 1 + 3) /* attention, router, an MLP */

struct moeq_layer_slot {
    struct moeq_layer_weights weights;
    struct moeq_bytes bytes; /* of a kept layer */
};

/* Attention, then the router where there is one, then the MLP where there is one; returns how many. */
static size_t list_weights(const struct moeq_source *source, uint32_t layer,
                           const struct moeq_weight *weights[MAX_MATRICES])
{
    const struct moeq_config *c = &source->config;
    const bool moe = moeq_config_layer_is_moe(c, layer);
    size_t n = moeq_attention_weights(source, (int)layer, weights);
    if (moe)
        weights[n++] = moeq_source_part(source, MOEQ_PART_ROUTER, (int)layer, -1);
    if (!moe || c->n_shared) {
        moeq_mlp_weights(source, moe ? MOEQ_PART_SHARED_GATE : MOEQ_PART_DENSE_GATE, (int)layer, -1,
                         weights + n);
        n += 3;
    }
    return n;
}

uint64_t moeq_layer_weights_bytes(const struct moeq_source *source, uint32_t layer)
{
    const struct moeq_weight *weights[MAX_MATRICES];
    return moeq_source_load_bytes(source, weights, list_weights(source, layer, weights));
}

uint64_t moeq_layers_vector_bytes(const struct moeq_config *config)
{
    const uint64_t layer =
        2 * (uint64_t)config->hidden + config->q_rank + config->kv_rank + config->n_experts;
    return config->n_layers * (layer * sizeof(float) + sizeof(struct moeq_layer_slot));
}

static void describe(const struct moeq_source *source, uint32_t layer, const struct moeq_matrix *m,
                     struct moeq_layer_weights *w)
{
    const struct moeq_config *c = &source->config;
    w->is_moe = moeq_config_layer_is_moe(c, layer);
    w->has_mlp = !w->is_moe || c->n_shared;
    w->q = *m++;
    if (c->q_rank)
        w->q_b = *m++;
    w->kv_a = *m++;
    w->kv_b = *m++;
    w->o = *m++;
    if (w->is_moe)
        w->router = *m++;
    if (w->has_mlp)
        w->mlp = (struct moeq_mlp){m[0], m[1], m[2]};
}

/* What was loaded already is not loaded again. */
static enum moeq_status load_vectors(const struct moeq_source *source, uint32_t layer,
                                     struct moeq_layer_weights *w, struct moeq_error *err)
{
    const struct moeq_config *c = &source->config;
    const bool moe = moeq_config_layer_is_moe(c, layer);
    const struct {
        enum moeq_part part;
        bool is_there;
        float **to;
    } vectors[] = {
        {MOEQ_PART_ATTENTION_NORM, true, &w->attention_norm},
        {MOEQ_PART_Q_A_NORM, c->q_rank > 0, &w->q_norm},
        {MOEQ_PART_KV_A_NORM, true, &w->kv_norm},
        {MOEQ_PART_FFN_NORM, true, &w->ffn_norm},
        {MOEQ_PART_ROUTER_BIAS, moe && c->correction_bias, &w->router_bias},
    };
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < sizeof vectors / sizeof *vectors; i++)
        if (vectors[i].is_there && !*vectors[i].to)
            status = moeq_model_vector(source, vectors[i].part, (int)layer, vectors[i].to, err);
    return status;
}

enum moeq_status moeq_layers_init(struct moeq_layers *layers, const struct moeq_source *source,
                                  uint32_t n_kept, struct moeq_error *err)
{
    *layers = (struct moeq_layers){.source = source, .n_kept = n_kept};
    layers->slots = moeq_calloc(source->config.n_layers, sizeof *layers->slots, err);
    return layers->slots ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

void moeq_layers_free(struct moeq_layers *layers)
{
    for (uint32_t i = 0; layers->slots && i < layers->source->config.n_layers; i++) {
        const struct moeq_layer_weights *w = &layers->slots[i].weights;
        free(w->attention_norm);
        free(w->q_norm);
        free(w->kv_norm);
        free(w->ffn_norm);
        free(w->router_bias);
        moeq_bytes_free(&layers->slots[i].bytes);
    }
    free(layers->slots);
    moeq_bytes_free(&layers->passing);
    *layers = (struct moeq_layers){0};
}

/* The layer whose turn comes next, if it will be read then. */
static void announce_next(const struct moeq_layers *layers, uint32_t layer)
{
    const struct moeq_weight *weights[MAX_MATRICES];
    const uint32_t next = (layer + 1) % layers->source->config.n_layers;
    if (next >= layers->n_kept)
        moeq_source_advise(layers->source, weights, list_weights(layers->source, next, weights),
                           MOEQ_FILE_SOON);
}

enum moeq_status moeq_layers_get(struct moeq_layers *layers, uint32_t layer,
                                 const struct moeq_layer_weights **weights, struct moeq_error *err)
{
    struct moeq_layer_slot *slot = &layers->slots[layer];
    const bool is_kept = layer < layers->n_kept;
    enum moeq_status status = MOEQ_OK;
    announce_next(layers, layer);
    if (!slot->bytes.data) {
        const struct moeq_weight *list[MAX_MATRICES];
        struct moeq_matrix m[MAX_MATRICES];
        struct moeq_bytes *bytes = is_kept ? &slot->bytes : &layers->passing;
        status = load_vectors(layers->source, layer, &slot->weights, err);
        const size_t n = list_weights(layers->source, layer, list);
        if (!status)
            status = moeq_source_load(layers->source, list, n, bytes, m, err);
        if (!status) {
            describe(layers->source, layer, m, &slot->weights);
            layers->n_loaded_bytes += bytes->n_bytes;
        }
    }
    *weights = &slot->weights;
    return status;
}
