/* Byte-level byte-pair encoding of one word.
 *
 * A word is a run of bytes that no merge may cross. Its bytes become vocabulary symbols; then the adjacent
 * pair with the lowest merge rank is joined, the leftmost one on ties, until no pair is left that a merge
 * names (Sennrich et al. 2016, in the form of Hugging Face's BPE model). */
#ifndef MOEQ_BPE_H
#define MOEQ_BPE_H

#include "json.h"
#include "tokenizer.h"
#include "vocabulary.h"

/* GPT-2's alphabet: the code point that stands for a byte in vocabulary and merges, U+0021 to U+0143; and the
 * byte that a code point stands for, or -1. */
uint32_t moeq_byte_symbol(uint8_t byte);
int moeq_symbol_byte(uint32_t code_point);

struct moeq_bpe_merge {
    uint32_t left, right; /* ids of the pair */
    uint32_t rank;        /* place in the merges list, or rank of the token; UINT32_MAX in a free slot */
    uint32_t merged;      /* id of the joined symbol */
};

/* Read-only once initialised; may be shared by threads. */
struct moeq_bpe {
    int32_t byte_ids[256];        /* id of each byte's symbol, -1 where the vocabulary has none */
    struct moeq_bpe_merge *slots; /* [n_slots] open addressing, at most half full */
    uint32_t n_slots;             /* a power of two */
};

/* Reads "vocab" and "merges" of a model object. Ids above max_id, merges that are not two symbols, and merges
 * that name or give a symbol the vocabulary lacks are MOEQ_DAMAGED. A pair listed twice has its last rank, as
 * in Hugging Face's library. Keeps nothing of the JSON. On failure there is nothing to free. */
enum moeq_status moeq_bpe_init(struct moeq_bpe *bpe, const json_t *model, uint64_t max_id,
                               struct moeq_error *err);

/* Makes the merges of a vocabulary that has ranks in their place, as tiktoken's: its tokens 0 to n_ranks - 1
 * can be found by their bytes, and their ids are their ranks. A byte that is no token is MOEQ_DAMAGED. Pairs
 * merge as in tiktoken; that a word which is a token is taken whole is the caller's part. */
enum moeq_status moeq_bpe_init_ranks(struct moeq_bpe *bpe, const struct moeq_vocabulary *vocabulary,
                                     uint32_t n_ranks, struct moeq_error *err);
void moeq_bpe_free(struct moeq_bpe *bpe);

/* Working memory of one thread, kept from word to word. {0} is a valid empty one. */
struct moeq_bpe_scratch {
    struct moeq_bpe_node *nodes; /* [n_nodes] */
    size_t n_nodes;
    struct moeq_bpe_candidate *heap; /* [heap_capacity] */
    size_t heap_capacity;
};

void moeq_bpe_scratch_free(struct moeq_bpe_scratch *scratch);

/* Appends the ids of one word of n >= 1 bytes. A byte without a symbol is MOEQ_DAMAGED. n log n. */
enum moeq_status moeq_bpe_encode(const struct moeq_bpe *bpe, struct moeq_bpe_scratch *scratch,
                                 const uint8_t *word, size_t n, struct moeq_tokens *out,
                                 struct moeq_error *err);

/* Makes room for n more ids. */
enum moeq_status moeq_tokens_reserve(struct moeq_tokens *tokens, size_t n, struct moeq_error *err);

#endif
