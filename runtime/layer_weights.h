/* What every token needs of the layers, for generation, which goes through all of them for each token: of the
 * first layers it is kept in memory, as many as are to be kept; of the others it is loaded when their turn
 * comes, into one place. Experts are not among it: expert_cache.h. */
#ifndef MOEQ_LAYER_WEIGHTS_H
#define MOEQ_LAYER_WEIGHTS_H

#include "mlp.h"

struct moeq_layer_weights {
    struct moeq_matrix q, q_b, kv_a, kv_b, o; /* q is q_a where q_rank > 0; without that there is no q_b */
    struct moeq_matrix router;                /* of a MoE layer */
    struct moeq_mlp mlp;                      /* dense, or the shared experts */
    bool is_moe, has_mlp;
    float *attention_norm, *q_norm, *kv_norm, *ffn_norm, *router_bias; /* NULL where there is none */
};

struct moeq_layers {
    const struct moeq_source *source;
    uint32_t n_kept;
    struct moeq_layer_slot *slots; /* [n_layers] */
    struct moeq_bytes passing;     /* of the layer that is not kept and was got last */
    uint64_t n_loaded_bytes;       /* so far */
};

/* Bytes of the matrices of a layer. */
uint64_t moeq_layer_weights_bytes(const struct moeq_source *source, uint32_t layer);

/* Bytes of the norms and biases of all layers, which are always kept. */
uint64_t moeq_layers_vector_bytes(const struct moeq_config *config);

/* Borrows the source, whose tensors were checked. Keeps the first n_kept layers. On failure nothing to free.
 */
enum moeq_status moeq_layers_init(struct moeq_layers *layers, const struct moeq_source *source,
                                  uint32_t n_kept, struct moeq_error *err);
void moeq_layers_free(struct moeq_layers *layers);

/* Gives a layer's weights, which live until another layer is got. */
enum moeq_status moeq_layers_get(struct moeq_layers *layers, uint32_t layer,
                                 const struct moeq_layer_weights **weights, struct moeq_error *err);

#endif
