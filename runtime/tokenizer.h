/* Byte-level BPE tokenizers: Hugging Face's tokenizer.json (DeepSeek V2/V3, GLM-4 and 5, and alike), and the
 * tiktoken.model of the Kimi models, of which tiktoken.h says what is different.
 *
 * Encoding: added tokens are cut out first (leftmost, longest literal match; those with "normalized": false
 * before the others); every remaining piece goes through the Split stages in order, each re-splitting the
 * pieces of the one before, matches and gaps both kept; bytes are mapped to vocabulary symbols; pairs merge
 * by rank, lowest first, leftmost on ties.
 *
 * Supported: model BPE without byte fallback, merges as "a b" or ["a","b"], ignore_merges (a word that is in
 * the vocabulary is taken whole); pre-tokenizers Sequence, Split
 * (Isolated, not inverted, Regex or String), Digits, ByteLevel (at the end; no prefix space; use_regex
 * false); an absent or empty normalizer. Anything else that would change ids is MOEQ_UNSUPPORTED, named.
 * Truncation, padding and the post-processor are not part of encoding a text and are ignored.
 *
 * \p{...} classes are those of the Unicode version of the PCRE2 library: a character assigned later counts as
 * unassigned, and may be split off differently than by a newer library. */
#ifndef MOEQ_TOKENIZER_H
#define MOEQ_TOKENIZER_H

#include "hash.h"

#define MOEQ_MAX_TEXT_BYTES ((size_t)1 << 32) /* of a text file that verbs read */

struct moeq_tokenizer;

/* Token ids of a text. {0} is a valid empty one; free with moeq_tokens_free. */
struct moeq_tokens {
    int32_t *ids;
    size_t n_tokens;
    size_t capacity;
};

void moeq_tokens_free(struct moeq_tokens *tokens);

/* Loads DIR/tokenizer.json, or DIR/tiktoken.model where only that is there, and DIR/tokenizer_config.json
 * where present (add_bos_token, and the special tokens of a tiktoken.model). NULL and *err set on failure.
 * The tokenizer is read-only afterwards and may be shared by threads. */
struct moeq_tokenizer *moeq_tokenizer_open(const char *dir, struct moeq_error *err);

/* The same from bytes of tokenizer.json or tiktoken.model: the fuzz target's entries. `config` may be NULL.
 */
struct moeq_tokenizer *moeq_tokenizer_parse(const void *json, size_t n_json, const void *config,
                                            size_t n_config, struct moeq_error *err);
struct moeq_tokenizer *moeq_tokenizer_parse_ranks(const void *model, size_t n_model, const void *config,
                                                  size_t n_config, struct moeq_error *err);
void moeq_tokenizer_close(struct moeq_tokenizer *tokenizer); /* NULL allowed */

/* Appends the ids of n bytes of UTF-8 text; on failure *out is as before. No BOS is added. Text that is not
 * UTF-8 is MOEQ_DAMAGED with the offset; so is a byte for which the vocabulary has no symbol, with the offset
 * of its word. A pattern that backtracks more than the text's length justifies is MOEQ_UNSUPPORTED. Time
 * is linear for ordinary text and n log n at worst (one word of a megabyte). */
enum moeq_status moeq_tokenizer_encode(const struct moeq_tokenizer *tokenizer, const void *text,
                                       size_t n_bytes, struct moeq_tokens *out, struct moeq_error *err);

/* Bytes of one token, borrowed from the tokenizer; NULL for an id that no token has. Those of all ids of a
 * text, put together, are the text. */
const uint8_t *moeq_tokenizer_bytes(const struct moeq_tokenizer *tokenizer, int32_t id, size_t *n_bytes);

/* The hash of the file that moeq_tokenizer_open would read: tokenizer.json or tiktoken.model. */
enum moeq_status moeq_tokenizer_hash(const char *dir, struct moeq_hash *hash, struct moeq_error *err);

/* 1 + the highest id; at most 2^20. A model may have more rows. */
int32_t moeq_tokenizer_vocabulary(const struct moeq_tokenizer *tokenizer);

/* Whether tokenizer_config.json asks for a BOS before the text (add_bos_token); false where it is silent. */
bool moeq_tokenizer_adds_bos(const struct moeq_tokenizer *tokenizer);

#endif
