/* Added tokens: literals that are cut out of a text before anything else looks at it. */
#ifndef MOEQ_ADDED_TOKENS_H
#define MOEQ_ADDED_TOKENS_H

#include "status.h"

struct moeq_added_token {
    const uint8_t *bytes; /* borrowed for the life of the set */
    uint32_t n_bytes;     /* at least 1 */
    int32_t id;
};

/* Read-only once sorted; may be shared by threads. {0} is a valid empty one; the caller frees `tokens`. */
struct moeq_added_tokens {
    struct moeq_added_token *tokens; /* [n_tokens] on the heap */
    size_t n_tokens;
    bool first_bytes[256]; /* whether any token begins with the byte */
};

/* Brings the tokens into the order that finding needs. Two tokens of the same bytes are MOEQ_DAMAGED. */
enum moeq_status moeq_added_tokens_sort(struct moeq_added_tokens *set, struct moeq_error *err);

/* Offset of the leftmost token in text[from..n), the longest one there, and that token; n where there is
 * none. A text without any of the first bytes costs one look at each byte. */
size_t moeq_added_tokens_find(const struct moeq_added_tokens *set, const uint8_t *text, size_t n, size_t from,
                              const struct moeq_added_token **token);

#endif
