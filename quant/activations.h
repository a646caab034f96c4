/* The inputs of products: tokens laid out in blocks, so that a vector register holds one input feature of
 * several tokens (kernels.h). Laid out once, they meet any number of matrices. */
#ifndef MOEQ_ACTIVATIONS_H
#define MOEQ_ACTIVATIONS_H

#include "bytes.h"
#include "kernels.h"
#include "pool.h"

/* How products are computed. Sums are float32 in all, in the order of the input features in the first two. */
enum moeq_arithmetic {
    MOEQ_EXACT, /* weights and activations in float32 */
    /* Where the CPU multiplies BF16: activations, and weights without a level, rounded to it, codes as they
     * are and scales in float32; otherwise as MOEQ_EXACT. */
    MOEQ_FAST,
    /* For at most MOEQ_FEW_TOKENS tokens, while the weights stream by: activations rounded as in MOEQ_FAST,
     * weights not at all, sums in an order of the instruction set's own. */
    MOEQ_FEW
};

/* Whether this CPU multiplies BF16, so that the two differ. */
bool moeq_has_fast_products(void);

/* {0} is valid. */
struct moeq_activations {
    struct moeq_bytes bytes;
    bool bf16; /* in blocks of pairs; otherwise of floats */
    bool few;  /* or not in blocks, but [n_tokens, width] */
    uint64_t n_tokens, width;
    uint64_t n_k; /* width, made even for BF16 */
};

/* Makes room for [n_tokens, width]; the bytes are kept from call to call. */
enum moeq_status moeq_activations_size(struct moeq_activations *activations, enum moeq_arithmetic arithmetic,
                                       uint64_t n_tokens, uint64_t width, struct moeq_error *err);
void moeq_activations_free(struct moeq_activations *activations);

/* Lays out x [n_tokens, width] with ldx floats a row; of `rows` not NULL, row rows[t] of x is token t. */
enum moeq_status moeq_activations_set(struct moeq_activations *activations, struct moeq_pool *pool,
                                      enum moeq_arithmetic arithmetic, const float *x, uint64_t ldx,
                                      const uint32_t *rows, uint64_t n_tokens, uint64_t width,
                                      struct moeq_error *err);

/* Where the block of tokens begins that starts with token block * kernels->tokens. */
uint8_t *moeq_activations_block(const struct moeq_activations *activations, uint64_t block);

/* Lays out one block by hand: n <= kernels->tokens rows of `width` floats with ldx from one to the next, or
 * rows[t] of them, become a block of floats [width, tokens] or of BF16 pairs [width / 2 rounded up, tokens,
 * 2]. Tokens that are not there are zeros. */
void moeq_pack_block(bool bf16, const float *x, uint64_t ldx, const uint32_t *rows, uint64_t n,
                     uint64_t width, void *to);

/* Rounds plain activations as MOEQ_FEW does. */
void moeq_activations_round(float *x, uint64_t n);

/* Bytes that activations need at most. */
uint64_t moeq_activations_bytes(uint64_t n_tokens, uint64_t width);

#endif
