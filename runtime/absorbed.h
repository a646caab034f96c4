/* Attention of some tokens over the latents of those before them, in the absorbed form (DeepSeek-V2, arXiv
 * 2405.04434, section 2.1.2): kv_b's key part goes into the query and its value part behind the mixture, so
 * that neither keys nor values are restored.
 *
 *   q~ = W_UK^T q_nope;  score(s) = scale * (q~ . latent[s] + q_rope . k_rope[s]);  p = softmax(score);
 *   out = W_UV (sum over s of p[s] * latent[s])
 *
 * All in float32, kv_b decoded. A token's result does not depend on which others are computed with it. */
#ifndef MOEQ_ABSORBED_H
#define MOEQ_ABSORBED_H

#include "latent_cache.h"
#include "matmul.h"

/* Where a token stands. */
struct moeq_place_of_token {
    uint32_t sequence, position;
};

struct moeq_absorbed {
    const struct moeq_config *config;
    const struct moeq_matrix *kv_b; /* [n_heads * (qk_nope + v_width), kv_rank] */
    const struct moeq_latent_cache *cache;
    uint64_t layer;
    float scale;
    const float *q;                           /* [n, n_heads * (qk_nope + qk_rope)], rope parts turned */
    const struct moeq_place_of_token *places; /* [n]; the cache has the rows up to them */
    uint64_t n;
    float *out; /* [n, n_heads * v_width] */
};

/* Bytes of a worker's scratch memory. */
uint64_t moeq_absorbed_scratch_bytes(const struct moeq_config *config, uint64_t n_positions);

enum moeq_status moeq_absorbed_attend(const struct moeq_absorbed *absorbed, struct moeq_pool *pool,
                                      struct moeq_scratch *scratch, struct moeq_error *err);

#endif
