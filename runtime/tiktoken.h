/* Tokenizers of the Kimi models (Moonlight, K2 and its successors): tiktoken.model, lines of a token in
 * base64 and its rank, and what Moonshot's Python class TikTokenTokenizer adds to it.
 *
 * Ids are ranks. The 256 ids behind them are special tokens, named by "added_tokens_decoder" of
 * tokenizer_config.json or else "<|reserved_token_ID|>". The pattern that splits words stands in the class.
 * A word that is a token is that token; in any other one the adjacent pair whose bytes together are the token
 * of the lowest rank is joined, the leftmost on ties, until there is no such pair.
 *
 * Before all this, the class cuts a text every 400,000 characters, and each part where more than 25,000
 * characters in a row are white space, or are not (in Python's sense). Tokens do not cross these cuts. */
#ifndef MOEQ_TIKTOKEN_H
#define MOEQ_TIKTOKEN_H

#include "tokenizer_parts.h"

/* Fills a tokenizer that is {0} from tiktoken.model. Ranks must be 0 to n - 1, each once, and every byte a
 * token; anything else is MOEQ_DAMAGED, with the line. The caller closes the tokenizer on failure too. */
enum moeq_status moeq_tiktoken_read(struct moeq_tokenizer *tokenizer, const uint8_t *text, size_t n,
                                    struct moeq_error *err);

/* The special tokens, out of tokenizer_config.json; NULL where there is none. A config that names another
 * class or ids outside the 256 is MOEQ_UNSUPPORTED. */
enum moeq_status moeq_tiktoken_read_config(struct moeq_tokenizer *tokenizer, const json_t *config,
                                           struct moeq_error *err);

/* End of the part of text[0..n), valid UTF-8, that begins at from < n. *n_characters is how many of the
 * current 400,000 lie before `from`: 0 at first, kept from call to call. */
size_t moeq_tiktoken_cut(const uint8_t *text, size_t n, size_t from, uint32_t *n_characters);

#endif
