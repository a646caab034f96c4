/* A text cut into windows of tokens, by one of two conventions.
 *
 * - windows, the convention of this project's golden.json: the whole text without special tokens, cut into
 *   consecutive pieces of context-1 tokens, each preceded by BOS; every window scores all its context-1
 * tokens; the tail is dropped.
 * - llama, llama.cpp's perplexity: one trailing newline of the text is dropped; tokenised with a BOS in front
 * if the tokenizer adds one; consecutive windows of context tokens; the first token of each is replaced by
 * BOS; the logits at positions context/2 … context-2 score the token that follows them.
 *
 * Where a model has no BOS, as GLM, windows are consecutive pieces of context tokens, and the first of each
 * is not scored. */
#ifndef MOEQ_WINDOWS_H
#define MOEQ_WINDOWS_H

#include "tokenizer.h"

enum moeq_convention { MOEQ_CONVENTION_WINDOWS, MOEQ_CONVENTION_LLAMA };

struct moeq_windows {
    int32_t *tokens; /* [n_windows, context] */
    uint64_t n_windows, context;
    uint64_t first, n_scored; /* positions first … first+n_scored-1 of each window score the next token */
    uint64_t n_text_tokens;   /* of the whole text */
};

/* Cuts at most max_windows (0: all). A text too short for one window and a context below 2 (llama: 4) are
 * MOEQ_USAGE. `bos` below 0: the model has none. */
enum moeq_status moeq_windows_cut(struct moeq_windows *windows, const struct moeq_tokenizer *tokenizer,
                                  int32_t bos, const void *text, size_t n_bytes,
                                  enum moeq_convention convention, uint64_t context, uint64_t max_windows,
                                  struct moeq_error *err);
void moeq_windows_free(struct moeq_windows *windows);

#endif
