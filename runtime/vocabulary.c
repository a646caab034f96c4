#include "vocabulary.h"

#include "bytes.h"

#include <stdlib.h>

#define NONE       UINT32_MAX
#define MAX_PROBES 1024 /* as in bpe.c: a crafted vocabulary must not make loading quadratic */

enum moeq_status moeq_vocabulary_init(struct moeq_vocabulary *vocabulary, uint32_t n_ids, size_t n_bytes,
                                      uint32_t n_words, struct moeq_error *err)
{
    vocabulary->n_ids = n_ids;
    vocabulary->n_slots = n_words ? 2 : 0;
    while (n_words && vocabulary->n_slots < 2 * n_words)
        vocabulary->n_slots *= 2;
    vocabulary->blob = moeq_calloc(n_bytes, 1, err);
    vocabulary->tokens = moeq_calloc(n_ids, sizeof *vocabulary->tokens, err);
    vocabulary->slots = moeq_calloc(vocabulary->n_slots, sizeof *vocabulary->slots, err);
    if (!vocabulary->blob || !vocabulary->tokens || !vocabulary->slots)
        return MOEQ_OVER_MEMORY;
    for (uint32_t i = 0; i < n_ids; i++)
        vocabulary->tokens[i].offset = NONE;
    for (uint32_t i = 0; i < vocabulary->n_slots; i++)
        vocabulary->slots[i] = NONE;
    return MOEQ_OK;
}

void moeq_vocabulary_free(struct moeq_vocabulary *vocabulary)
{
    free(vocabulary->tokens);
    free(vocabulary->blob);
    free(vocabulary->slots);
    *vocabulary = (struct moeq_vocabulary){0};
}

bool moeq_vocabulary_has(const struct moeq_vocabulary *vocabulary, uint32_t id)
{
    return id < vocabulary->n_ids && vocabulary->tokens[id].offset != NONE;
}

uint8_t *moeq_vocabulary_end(const struct moeq_vocabulary *vocabulary)
{
    return vocabulary->blob + vocabulary->blob_bytes;
}

void moeq_vocabulary_store(struct moeq_vocabulary *vocabulary, uint32_t id, size_t n_bytes)
{
    vocabulary->tokens[id] = (struct moeq_vocabulary_token){vocabulary->blob_bytes, (uint32_t)n_bytes};
    vocabulary->blob_bytes += (uint32_t)n_bytes;
}

const uint8_t *moeq_vocabulary_bytes(const struct moeq_vocabulary *vocabulary, uint32_t id, size_t *n_bytes)
{
    if (!moeq_vocabulary_has(vocabulary, id))
        return NULL;
    *n_bytes = vocabulary->tokens[id].n_bytes;
    return vocabulary->blob + vocabulary->tokens[id].offset;
}

/* ---- finding by bytes ---- */

static uint64_t mix(uint64_t h)
{
    h *= 0x9E3779B97F4A7C15u;
    return (h ^ h >> 32) * 0xD6E8FEB86659FD93u;
}

/* Most words have one or two rounds of eight bytes. */
static uint32_t slot_of(const struct moeq_vocabulary *v, const uint8_t *word, size_t n)
{
    uint64_t h = n, part;
    for (; n > sizeof part; n -= sizeof part, word += sizeof part) {
        memcpy(&part, word, sizeof part);
        h = mix(h ^ part);
    }
    part = 0;
    memcpy(&part, word, n);
    return (uint32_t)(mix(h ^ part) >> 32) & (v->n_slots - 1);
}

static bool is_word(const struct moeq_vocabulary *v, uint32_t id, const uint8_t *word, size_t n)
{
    return v->tokens[id].n_bytes == n && memcmp(v->blob + v->tokens[id].offset, word, n) == 0;
}

enum moeq_status moeq_vocabulary_add_word(struct moeq_vocabulary *vocabulary, uint32_t id,
                                          struct moeq_error *err)
{
    const struct moeq_vocabulary_token *token = &vocabulary->tokens[id];
    const uint8_t *word = vocabulary->blob + token->offset;
    uint32_t i = slot_of(vocabulary, word, token->n_bytes);
    for (int probe = 0; probe < MAX_PROBES; probe++, i = (i + 1) & (vocabulary->n_slots - 1)) {
        if (vocabulary->slots[i] == NONE) {
            vocabulary->slots[i] = id;
            if (token->n_bytes > vocabulary->longest)
                vocabulary->longest = token->n_bytes;
            return MOEQ_OK;
        }
        if (is_word(vocabulary, vocabulary->slots[i], word, token->n_bytes))
            return moeq_fail(err, MOEQ_DAMAGED, "the tokens %u and %u have the same bytes",
                             vocabulary->slots[i], id);
    }
    return moeq_fail(err, MOEQ_DAMAGED, "token %u: too many tokens collide", id);
}

int32_t moeq_vocabulary_find(const struct moeq_vocabulary *vocabulary, const uint8_t *word, size_t n)
{
    if (n > vocabulary->longest)
        return -1;
    uint32_t i = slot_of(vocabulary, word, n);
    for (int probe = 0; probe < MAX_PROBES; probe++, i = (i + 1) & (vocabulary->n_slots - 1)) {
        if (vocabulary->slots[i] == NONE)
            return -1;
        if (is_word(vocabulary, vocabulary->slots[i], word, n))
            return (int32_t)vocabulary->slots[i];
    }
    return -1;
}
