#include "added_tokens.h"

#include <stdlib.h>
#include <string.h>

/* Bytewise order, a prefix before what it begins: tokens that share their first d bytes stand side by side,
 * and the one that is d bytes long, if any, comes first. */
static int compare(const void *a, const void *b)
{
    const struct moeq_added_token *x = a, *y = b;
    uint32_t common = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
    int order = memcmp(x->bytes, y->bytes, common);
    return order ? order : (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

enum moeq_status moeq_added_tokens_sort(struct moeq_added_tokens *set, struct moeq_error *err)
{
    if (set->n_tokens)
        qsort(set->tokens, set->n_tokens, sizeof *set->tokens, compare);
    for (size_t i = 0; i < set->n_tokens; i++) {
        set->first_bytes[set->tokens[i].bytes[0]] = true;
        if (i && compare(&set->tokens[i - 1], &set->tokens[i]) == 0)
            return moeq_fail(err, MOEQ_DAMAGED, "the added token \"%.*s\" is listed twice",
                             (int)set->tokens[i].n_bytes, (const char *)set->tokens[i].bytes);
    }
    return MOEQ_OK;
}

/* The first of tokens[low..high), which share `depth` bytes, whose next byte is at least `byte`. */
static size_t lower_bound(const struct moeq_added_tokens *set, size_t low, size_t high, uint32_t depth,
                          unsigned byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->tokens[middle].bytes[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that text[0..n) begins with, or NULL: the range of tokens that agree so far narrows by a
 * byte at a time. */
static const struct moeq_added_token *longest_at(const struct moeq_added_tokens *set, const uint8_t *text,
                                                 size_t n)
{
    const struct moeq_added_token *longest = NULL;
    size_t low = 0, high = set->n_tokens;
    for (uint32_t depth = 0; low < high && depth < n; depth++) {
        unsigned byte = text[depth];
        low = lower_bound(set, low, high, depth, byte);
        high = lower_bound(set, low, high, depth, byte + 1);
        if (low < high && set->tokens[low].n_bytes == depth + 1)
            longest = &set->tokens[low++];
    }
    return longest;
}

size_t moeq_added_tokens_find(const struct moeq_added_tokens *set, const uint8_t *text, size_t n, size_t from,
                              const struct moeq_added_token **token)
{
    if (set->n_tokens == 0)
        return n;
    for (size_t at = from; at < n; at++) {
        if (set->first_bytes[text[at]] && (*token = longest_at(set, text + at, n - at)) != NULL)
            return at;
    }
    return n;
}
