#include "bpe.h"

#include "bytes.h"

#include <stdlib.h>

#define FREE_SLOT      UINT32_MAX
#define NO_RANK        UINT32_MAX
#define SHORT_WORD     48   /* up to here a scan beats the heap */
#define MAX_PROBES     1024 /* honest tables stay far below; a crafted one must not make loading quadratic */
#define MAX_WORD_BYTES INT32_MAX /* positions fit 32 bits */
#define MAX_MERGES     (1u << 26)

/* Bytes 21-7E, A1-AC and AE-FF stand for themselves; the other 68 follow each other from U+0100. */
uint32_t moeq_byte_symbol(uint8_t byte)
{
    if (byte <= 0x20)
        return 0x100u + byte;
    if (byte >= 0x7F && byte <= 0xA0)
        return 0x121u + (byte - 0x7Fu);
    return byte == 0xAD ? 0x143 : byte;
}

int moeq_symbol_byte(uint32_t code_point)
{
    if (code_point >= 0x100 && code_point <= 0x120)
        return (int)(code_point - 0x100);
    if (code_point >= 0x121 && code_point <= 0x142)
        return (int)(code_point - 0x121 + 0x7F);
    if (code_point == 0x143)
        return 0xAD;
    bool itself = (code_point >= 0x21 && code_point <= 0x7E) ||
                  (code_point >= 0xA1 && code_point <= 0xFF && code_point != 0xAD);
    return itself ? (int)code_point : -1;
}

enum moeq_status moeq_tokens_reserve(struct moeq_tokens *tokens, size_t n, struct moeq_error *err)
{
    if (n <= tokens->capacity - tokens->n_tokens)
        return MOEQ_OK;
    uint64_t wanted = 0, n_bytes = SIZE_MAX;
    if (!moeq_add(tokens->n_tokens, n, &wanted) || !moeq_add(wanted, wanted / 2 + 64, &wanted) ||
        !moeq_mul(wanted, sizeof *tokens->ids, &n_bytes))
        return moeq_fail_alloc(err, SIZE_MAX);
    int32_t *ids = realloc(tokens->ids, n_bytes);
    if (!ids)
        return moeq_fail_alloc(err, n_bytes);
    tokens->ids = ids;
    tokens->capacity = wanted;
    return MOEQ_OK;
}

/* ---- the merge table ---- */

/* Two multiplications spread both ids over the low bits that choose the slot. */
static uint32_t slot_of(uint32_t left, uint32_t right, uint32_t n_slots)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 32) * 0xD6E8FEB86659FD93u;
    return (uint32_t)(h >> 32) & (n_slots - 1);
}

static const struct moeq_bpe_merge *find_merge(const struct moeq_bpe *bpe, uint32_t left, uint32_t right)
{
    uint32_t mask = bpe->n_slots - 1;
    uint32_t i = slot_of(left, right, bpe->n_slots);
    for (int probe = 0; probe < MAX_PROBES; probe++, i = (i + 1) & mask) {
        const struct moeq_bpe_merge *slot = &bpe->slots[i];
        if (slot->left == left && slot->right == right)
            return slot->rank == FREE_SLOT ? NULL : slot;
        if (slot->rank == FREE_SLOT)
            return NULL;
    }
    return NULL;
}

static enum moeq_status insert_merge(struct moeq_bpe *bpe, const struct moeq_bpe_merge *merge,
                                     struct moeq_error *err)
{
    uint32_t mask = bpe->n_slots - 1;
    uint32_t i = slot_of(merge->left, merge->right, bpe->n_slots);
    for (int probe = 0; probe < MAX_PROBES; probe++, i = (i + 1) & mask) {
        struct moeq_bpe_merge *slot = &bpe->slots[i];
        if (slot->rank == FREE_SLOT || (slot->left == merge->left && slot->right == merge->right)) {
            *slot = *merge;
            return MOEQ_OK;
        }
    }
    return moeq_fail(err, MOEQ_DAMAGED, "merge %u: too many merges collide", merge->rank);
}

/* ---- reading the model ---- */

/* The symbol is shown with its first bytes only, cut between characters. */
static enum moeq_status look_up(const json_t *vocab, const char *symbol, size_t rank, uint64_t max_id,
                                uint32_t *id, struct moeq_error *err)
{
    const json_t *value = json_object_get(vocab, symbol);
    uint64_t number = 0;
    if (!value) {
        int shown = 0;
        while (symbol[shown] && (shown < 40 || (symbol[shown] & 0xC0) == 0x80))
            shown++;
        return moeq_fail(err, MOEQ_DAMAGED, "merge %zu needs the symbol \"%.*s\", which the vocabulary lacks",
                         rank, shown, symbol);
    }
    enum moeq_status status = moeq_json_value_uint(value, symbol, max_id, &number, err);
    *id = (uint32_t)number;
    return status;
}

/* The two symbols of a merge, "a b" or ["a", "b"], as "a\0b\0" in *pair; *n_left is the length of the first.
 */
static enum moeq_status merge_symbols(const json_t *item, size_t rank, struct moeq_bytes *pair,
                                      size_t *n_left, struct moeq_error *err)
{
    const char *left = NULL, *right = NULL;
    if (json_is_string(item)) {
        left = json_string_value(item);
        const char *space = strchr(left, ' ');
        right = space && !strchr(space + 1, ' ') ? space + 1 : NULL;
        *n_left = space ? (size_t)(space - left) : 0;
    } else if (json_array_size(item) == 2) {
        left = json_string_value(json_array_get(item, 0));
        right = json_string_value(json_array_get(item, 1));
        *n_left = left ? strlen(left) : 0;
    }
    if (!left || !right || !*n_left || !*right)
        return moeq_fail(err, MOEQ_DAMAGED, "merge %zu is not a pair of symbols", rank);
    size_t n_right = strlen(right);
    enum moeq_status status = moeq_bytes_resize(pair, *n_left + n_right + 2, err);
    if (!status) {
        memcpy(pair->data, left, *n_left);
        pair->data[*n_left] = 0;
        memcpy(pair->data + *n_left + 1, right, n_right + 1);
    }
    return status;
}

static enum moeq_status read_merge(struct moeq_bpe *bpe, const json_t *vocab, const json_t *item, size_t rank,
                                   uint64_t max_id, struct moeq_bytes *pair, struct moeq_error *err)
{
    size_t n_left = 0;
    enum moeq_status status = merge_symbols(item, rank, pair, &n_left, err);
    if (status)
        return status;
    struct moeq_bpe_merge merge = {.rank = (uint32_t)rank};
    char *text = (char *)pair->data;
    if ((status = look_up(vocab, text, rank, max_id, &merge.left, err)) ||
        (status = look_up(vocab, text + n_left + 1, rank, max_id, &merge.right, err)))
        return status;
    memmove(text + n_left, text + n_left + 1, pair->n_bytes - n_left - 1);
    if ((status = look_up(vocab, text, rank, max_id, &merge.merged, err)))
        return status;
    return insert_merge(bpe, &merge, err);
}

static enum moeq_status read_byte_ids(struct moeq_bpe *bpe, const json_t *vocab, uint64_t max_id,
                                      struct moeq_error *err)
{
    for (int byte = 0; byte < 256; byte++) {
        uint32_t c = moeq_byte_symbol((uint8_t)byte);
        char symbol[3] = {(char)c};
        if (c >= 0x80) {
            symbol[0] = (char)(0xC0 | c >> 6);
            symbol[1] = (char)(0x80 | (c & 0x3F));
        }
        bpe->byte_ids[byte] = -1;
        uint32_t id = 0;
        if (!json_object_get(vocab, symbol))
            continue;
        enum moeq_status status = look_up(vocab, symbol, 0, max_id, &id, err);
        if (status)
            return status;
        bpe->byte_ids[byte] = (int32_t)id;
    }
    return MOEQ_OK;
}

static enum moeq_status make_slots(struct moeq_bpe *bpe, size_t n_merges, struct moeq_error *err)
{
    if (n_merges > MAX_MERGES)
        return moeq_fail(err, MOEQ_DAMAGED, "%zu merges, more than the limit of %u", n_merges, MAX_MERGES);
    bpe->n_slots = 2;
    while (bpe->n_slots < 2 * n_merges)
        bpe->n_slots *= 2;
    bpe->slots = moeq_calloc(bpe->n_slots, sizeof *bpe->slots, err);
    if (!bpe->slots)
        return MOEQ_OVER_MEMORY;
    for (uint32_t i = 0; i < bpe->n_slots; i++)
        bpe->slots[i].rank = FREE_SLOT;
    return MOEQ_OK;
}

enum moeq_status moeq_bpe_init(struct moeq_bpe *bpe, const json_t *model, uint64_t max_id,
                               struct moeq_error *err)
{
    *bpe = (struct moeq_bpe){0};
    struct moeq_bytes pair = {0};
    json_t *vocab = moeq_json_object_at(model, "vocab", err);
    json_t *merges = vocab ? moeq_json_array_at(model, "merges", err) : NULL;
    if (!merges)
        return MOEQ_DAMAGED;
    enum moeq_status status = make_slots(bpe, json_array_size(merges), err);
    if (!status)
        status = read_byte_ids(bpe, vocab, max_id, err);
    for (size_t rank = 0; !status && rank < json_array_size(merges); rank++)
        status = read_merge(bpe, vocab, json_array_get(merges, rank), rank, max_id, &pair, err);
    moeq_bytes_free(&pair);
    if (status)
        moeq_bpe_free(bpe);
    return status;
}

void moeq_bpe_free(struct moeq_bpe *bpe)
{
    free(bpe->slots);
    *bpe = (struct moeq_bpe){0};
}

/* ---- short words: look at every pair for the lowest rank ---- */

struct pair_rank {
    uint32_t rank, merged;
};

static struct pair_rank rank_pair(const struct moeq_bpe *bpe, uint32_t left, uint32_t right)
{
    const struct moeq_bpe_merge *merge = find_merge(bpe, left, right);
    return merge ? (struct pair_rank){merge->rank, merge->merged} : (struct pair_rank){NO_RANK, 0};
}

/* Merges ids[0..n) in place and returns how many are left. */
static size_t merge_short(const struct moeq_bpe *bpe, int32_t *ids, size_t n)
{
    struct pair_rank pairs[SHORT_WORD];
    for (size_t i = 0; i + 1 < n; i++)
        pairs[i] = rank_pair(bpe, (uint32_t)ids[i], (uint32_t)ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (pairs[i].rank < pairs[best].rank)
                best = i;
        if (pairs[best].rank == NO_RANK)
            break;
        ids[best] = (int32_t)pairs[best].merged;
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        memmove(pairs + best, pairs + best + 1, (n - best - 1) * sizeof *pairs);
        if (best + 1 < n)
            pairs[best] = rank_pair(bpe, (uint32_t)ids[best], (uint32_t)ids[best + 1]);
        if (best > 0)
            pairs[best - 1] = rank_pair(bpe, (uint32_t)ids[best - 1], (uint32_t)ids[best]);
    }
    return n;
}

/* ---- long words: a heap of candidate pairs over a linked list of symbols ---- */

struct moeq_bpe_node {
    uint32_t id;
    int32_t previous, next; /* places in the word, -1 at its ends */
};

struct moeq_bpe_candidate {
    uint64_t order; /* rank << 32 | place of the left symbol: lowest rank first, leftmost on ties */
    uint32_t left, right;
};

static enum moeq_status reserve_nodes(struct moeq_bpe_scratch *scratch, size_t n, struct moeq_error *err)
{
    if (n <= scratch->n_nodes)
        return MOEQ_OK;
    free(scratch->nodes);
    free(scratch->heap);
    *scratch = (struct moeq_bpe_scratch){0};
    /* At most n - 1 candidates to begin with; each of the n - 1 merges takes one and adds two. */
    scratch->nodes = moeq_calloc(n, sizeof *scratch->nodes, err);
    scratch->heap = moeq_calloc(2 * n, sizeof *scratch->heap, err);
    if (!scratch->nodes || !scratch->heap)
        return MOEQ_OVER_MEMORY;
    scratch->n_nodes = n;
    scratch->heap_capacity = 2 * n;
    return MOEQ_OK;
}

void moeq_bpe_scratch_free(struct moeq_bpe_scratch *scratch)
{
    free(scratch->nodes);
    free(scratch->heap);
    *scratch = (struct moeq_bpe_scratch){0};
}

static void push_candidate(struct moeq_bpe_candidate *heap, size_t *n_heap, struct moeq_bpe_candidate added)
{
    size_t i = (*n_heap)++;
    for (; i > 0 && heap[(i - 1) / 2].order > added.order; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = added;
}

static struct moeq_bpe_candidate pop_candidate(struct moeq_bpe_candidate *heap, size_t *n_heap)
{
    struct moeq_bpe_candidate top = heap[0], moved = heap[--*n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < *n_heap; i = child) {
        if (child + 1 < *n_heap && heap[child + 1].order < heap[child].order)
            child++;
        if (heap[child].order >= moved.order)
            break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
    return top;
}

static void consider_pair(const struct moeq_bpe *bpe, struct moeq_bpe_scratch *scratch, size_t *n_heap,
                          int32_t at)
{
    if (at < 0 || scratch->nodes[at].next < 0)
        return;
    uint32_t left = scratch->nodes[at].id, right = scratch->nodes[scratch->nodes[at].next].id;
    const struct moeq_bpe_merge *merge = find_merge(bpe, left, right);
    if (merge)
        push_candidate(scratch->heap, n_heap,
                       (struct moeq_bpe_candidate){(uint64_t)merge->rank << 32 | (uint32_t)at, left, right});
}

/* Merges ids[0..n) in place; *n_left is how many are left. */
static enum moeq_status merge_long(const struct moeq_bpe *bpe, struct moeq_bpe_scratch *scratch, int32_t *ids,
                                   size_t n, size_t *n_left, struct moeq_error *err)
{
    enum moeq_status status = reserve_nodes(scratch, n, err);
    if (status)
        return status;
    struct moeq_bpe_node *nodes = scratch->nodes;
    for (size_t i = 0; i < n; i++)
        nodes[i] = (struct moeq_bpe_node){(uint32_t)ids[i], (int32_t)i - 1, i + 1 < n ? (int32_t)i + 1 : -1};
    size_t n_heap = 0;
    for (size_t i = 0; i + 1 < n; i++)
        consider_pair(bpe, scratch, &n_heap, (int32_t)i);
    while (n_heap) {
        struct moeq_bpe_candidate best = pop_candidate(scratch->heap, &n_heap);
        int32_t at = (int32_t)(best.order & UINT32_MAX);
        int32_t next = nodes[at].next;
        /* Symbols only grow, so a candidate whose two ids still stand there is current. */
        if (nodes[at].id != best.left || next < 0 || nodes[next].id != best.right)
            continue;
        nodes[at].id = find_merge(bpe, best.left, best.right)->merged;
        nodes[at].next = nodes[next].next;
        if (nodes[at].next >= 0)
            nodes[nodes[at].next].previous = at;
        nodes[next].id = UINT32_MAX; /* gone: no candidate names this id */
        consider_pair(bpe, scratch, &n_heap, nodes[at].previous);
        consider_pair(bpe, scratch, &n_heap, at);
    }
    *n_left = 0;
    for (int32_t at = 0; at >= 0; at = nodes[at].next)
        ids[(*n_left)++] = (int32_t)nodes[at].id;
    return MOEQ_OK;
}

enum moeq_status moeq_bpe_encode(const struct moeq_bpe *bpe, struct moeq_bpe_scratch *scratch,
                                 const uint8_t *word, size_t n, struct moeq_tokens *out,
                                 struct moeq_error *err)
{
    if (n > MAX_WORD_BYTES)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "one word of %zu bytes, more than the limit of %d", n,
                         MAX_WORD_BYTES);
    enum moeq_status status = moeq_tokens_reserve(out, n, err);
    if (status)
        return status;
    int32_t *ids = out->ids + out->n_tokens;
    for (size_t i = 0; i < n; i++) {
        ids[i] = bpe->byte_ids[word[i]];
        if (ids[i] < 0)
            return moeq_fail(err, MOEQ_DAMAGED,
                             "the vocabulary has no symbol for the byte 0x%02X of the text", word[i]);
    }
    if (n <= SHORT_WORD)
        n = merge_short(bpe, ids, n);
    else
        status = merge_long(bpe, scratch, ids, n, &n, err);
    if (!status)
        out->n_tokens += n;
    return status;
}

/* ---- merges out of ranks ---- */

static enum moeq_status find_bytes(struct moeq_bpe *bpe, const struct moeq_vocabulary *vocabulary,
                                   struct moeq_error *err)
{
    for (int i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        bpe->byte_ids[i] = moeq_vocabulary_find(vocabulary, &byte, 1);
        if (bpe->byte_ids[i] < 0)
            return moeq_fail(err, MOEQ_DAMAGED, "the byte 0x%02X is no token", byte);
    }
    return MOEQ_OK;
}

/* The ids 0 to n - 1 in the order of their tokens' lengths, on the heap. */
static uint32_t *sort_by_length(const struct moeq_vocabulary *vocabulary, uint32_t n, struct moeq_error *err)
{
    uint32_t *ids = moeq_calloc(n, sizeof *ids, err);
    uint32_t *starts = moeq_calloc((size_t)vocabulary->longest + 2, sizeof *starts, err);
    if (ids && starts) {
        for (uint32_t id = 0; id < n; id++)
            starts[vocabulary->tokens[id].n_bytes + 1]++;
        for (uint32_t i = 1; i <= vocabulary->longest; i++)
            starts[i] += starts[i - 1];
        for (uint32_t id = 0; id < n; id++)
            ids[starts[vocabulary->tokens[id].n_bytes]++] = id;
    } else {
        free(ids);
        ids = NULL;
    }
    free(starts);
    return ids;
}

/* A token that the merges so far bring down to two symbols is what these two make; one of more symbols is
 * never made by merging. */
static enum moeq_status add_token(struct moeq_bpe *bpe, struct moeq_bpe_scratch *scratch,
                                  const struct moeq_vocabulary *vocabulary, uint32_t id,
                                  struct moeq_tokens *symbols, struct moeq_error *err)
{
    size_t n = 0;
    const uint8_t *bytes = moeq_vocabulary_bytes(vocabulary, id, &n);
    symbols->n_tokens = 0;
    if (n < 2)
        return MOEQ_OK;
    enum moeq_status status = moeq_bpe_encode(bpe, scratch, bytes, n, symbols, err);
    if (status || symbols->n_tokens != 2)
        return status;
    const struct moeq_bpe_merge merge = {(uint32_t)symbols->ids[0], (uint32_t)symbols->ids[1], id, id};
    return insert_merge(bpe, &merge, err);
}

/* tiktoken joins any two neighbours whose bytes together are a token. A table with one pair for each token
 * gives the same: where a word's merges make the token t, none of them crosses t's borders before that, so
 * what happens inside them is what happens to t alone: always the same steps, and the same last pair. It can
 * be no other, whatever stands around t. The steps before the last make proper parts of t, which are shorter;
 * so, shorter tokens first, the table holds all that t needs, whatever their ranks. And a token that alone is
 * not brought down to two symbols is made nowhere. */
enum moeq_status moeq_bpe_init_ranks(struct moeq_bpe *bpe, const struct moeq_vocabulary *vocabulary,
                                     uint32_t n_ranks, struct moeq_error *err)
{
    *bpe = (struct moeq_bpe){0};
    struct moeq_bpe_scratch scratch = {0};
    struct moeq_tokens symbols = {0};
    uint32_t *ids = NULL;
    enum moeq_status status = make_slots(bpe, n_ranks, err);
    if (!status)
        status = find_bytes(bpe, vocabulary, err);
    if (!status && !(ids = sort_by_length(vocabulary, n_ranks, err)))
        status = MOEQ_OVER_MEMORY;
    for (uint32_t i = 0; !status && i < n_ranks; i++)
        status = add_token(bpe, &scratch, vocabulary, ids[i], &symbols, err);
    free(ids);
    moeq_tokens_free(&symbols);
    moeq_bpe_scratch_free(&scratch);
    if (status)
        moeq_bpe_free(bpe);
    return status;
}
