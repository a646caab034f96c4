/* Causal attention of one head over one window: probabilities(scale * Q K^T) V.
 *
 * Keys and values are laid out once as the kernels want tokens; then a few queries go through together, with
 * their scores against all keys up to the last of them. Memory grows with the length of a window, not with
 * its square. */
#ifndef MOEQ_HEADS_H
#define MOEQ_HEADS_H

#include "activations.h"
#include "config.h"

/* A chunk of whole windows; every array is [tokens, its width]. */
struct moeq_heads {
    const struct moeq_config *config;
    enum moeq_arithmetic arithmetic; /* fast: queries, keys, values and probabilities in BF16, scores and sums
                                        in float32 */
    uint64_t context;                /* tokens of a window */
    float scale;
    const float *q; /* n_heads * (qk_nope + qk_rope); behind the last token, MOEQ_MAX_BLOCK_ROWS - 1 more rows
                       can be read */
    const float *kv; /* n_heads * (qk_nope + v_width): the first part of the keys, and the values */
    const float
        *k_rope; /* kv_rank + qk_rope from one token to the next: the second part, same in all heads */
    const uint8_t *selected; /* moeq_selected_row(context): keys that a query sees; NULL: all up to itself */
    float *out;              /* n_heads * v_width */
};

/* Bytes of scratch memory that one call needs. */
uint64_t moeq_heads_scratch_bytes(const struct moeq_config *config, uint64_t context);

/* Computes head `head` of window `window` of the chunk; calls for different ones may run at the same time.
 * `scratch` is aligned to 64 bytes. */
void moeq_heads_attend(const struct moeq_heads *heads, uint64_t window, uint64_t head, uint8_t *scratch);

#endif
