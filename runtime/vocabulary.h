/* The tokens of a vocabulary: from an id to its bytes, and from bytes to the id. */
#ifndef MOEQ_VOCABULARY_H
#define MOEQ_VOCABULARY_H

#include "status.h"

#define MOEQ_MAX_TOKEN_ID (1u << 20) /* ids are below; the largest released vocabulary has 262,144 */

struct moeq_vocabulary_token {
    uint32_t offset, n_bytes; /* in blob; offset UINT32_MAX where no token has the id */
};

/* Read-only once filled; may be shared by threads. {0} is a valid empty one. */
struct moeq_vocabulary {
    struct moeq_vocabulary_token *tokens; /* [n_ids] */
    uint32_t n_ids;                       /* 1 + the highest id */
    uint8_t *blob;                        /* [blob_bytes] the bytes of all tokens */
    uint32_t blob_bytes;
    uint32_t *slots;  /* [n_slots] ids by the hash of their bytes, UINT32_MAX where free; at most half full */
    uint32_t n_slots; /* a power of two; 0 where words are not looked up */
    uint32_t longest; /* bytes of the longest token in slots */
};

/* Makes room for ids below n_ids with n_bytes (less than 2^32) in all, and for finding up to n_words of them
 * by their bytes. On failure the caller frees as well. */
enum moeq_status moeq_vocabulary_init(struct moeq_vocabulary *vocabulary, uint32_t n_ids, size_t n_bytes,
                                      uint32_t n_words, struct moeq_error *err);
void moeq_vocabulary_free(struct moeq_vocabulary *vocabulary);

bool moeq_vocabulary_has(const struct moeq_vocabulary *vocabulary, uint32_t id);

/* Where the bytes of the next token go; and gives them, once written, to an id. */
uint8_t *moeq_vocabulary_end(const struct moeq_vocabulary *vocabulary);
void moeq_vocabulary_store(struct moeq_vocabulary *vocabulary, uint32_t id, size_t n_bytes);

/* Lets a token of at least one byte be found. Bytes that another one has are MOEQ_DAMAGED, as is a vocabulary
 * made so that finding would take long. */
enum moeq_status moeq_vocabulary_add_word(struct moeq_vocabulary *vocabulary, uint32_t id,
                                          struct moeq_error *err);

/* The id of the token with these bytes, -1 where there is none that can be found. */
int32_t moeq_vocabulary_find(const struct moeq_vocabulary *vocabulary, const uint8_t *word, size_t n);

/* Bytes of a token, borrowed; NULL where no token has the id. */
const uint8_t *moeq_vocabulary_bytes(const struct moeq_vocabulary *vocabulary, uint32_t id, size_t *n_bytes);

#endif
