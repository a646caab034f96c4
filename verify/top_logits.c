#include "top_logits.h"

#include <math.h>
#include <stdlib.h>

#define PIECE 32u /* values that are compared at once */

uint32_t moeq_top_capacity(uint32_t k)
{
    return 2 * k + PIECE;
}

void moeq_top_begin(struct moeq_top *top, uint32_t k, struct moeq_top_entry *entries)
{
    *top = (struct moeq_top){
        .k = k, .capacity = moeq_top_capacity(k), .threshold = -INFINITY, .entries = entries};
}

static bool before(const struct moeq_top_entry *a, const struct moeq_top_entry *b)
{
    return a->key > b->key || (a->key == b->key && a->id < b->id);
}

static void swap(struct moeq_top_entry *a, struct moeq_top_entry *b)
{
    const struct moeq_top_entry kept = *a;
    *a = *b;
    *b = kept;
}

/* Hoare's selection: the k largest come to the front. 0 < k < n. */
static void select_front(struct moeq_top_entry *e, uint32_t n, uint32_t k)
{
    uint32_t begin = 0, end = n; /* of the part that the border lies in */
    while (end - begin > 1) {
        const struct moeq_top_entry pivot = e[begin + (end - begin) / 2];
        uint32_t i = begin, j = end - 1;
        for (;;) {
            while (before(&e[i], &pivot))
                i++;
            while (before(&pivot, &e[j]))
                j--;
            if (i >= j)
                break;
            swap(&e[i++], &e[j--]);
        }
        /* All before i are at least as large as all from i on; entries differ, so both parts are smaller. */
        const uint32_t border = i > begin ? i : begin + 1;
        if (k == border)
            return;
        if (k < border)
            end = border;
        else
            begin = border;
    }
}

static void prune(struct moeq_top *top)
{
    if (top->n <= top->k)
        return;
    select_front(top->entries, top->n, top->k);
    top->n = top->k;
    float least = top->entries[0].key;
    for (uint32_t i = 1; i < top->n; i++)
        least = top->entries[i].key < least ? top->entries[i].key : least;
    top->threshold = least;
}

/* Without branches, so that compilers make vectors of it. */
static bool any_above(const float *logits, const float *noise, uint64_t n, float threshold)
{
    int above = 0;
    if (noise)
        for (uint64_t i = 0; i < n; i++)
            above |= logits[i] + noise[i] > threshold;
    else
        for (uint64_t i = 0; i < n; i++)
            above |= logits[i] > threshold;
    return above != 0;
}

void moeq_top_add(struct moeq_top *top, const float *logits, const float *noise, uint64_t first, uint64_t n)
{
    for (uint64_t at = 0; at < n; at += PIECE) {
        const float *piece = logits + at, *offsets = noise ? noise + at : NULL;
        const uint64_t n_piece = n - at < PIECE ? n - at : PIECE;
        if (n_piece == PIECE ? !any_above(piece, offsets, PIECE, top->threshold)
                             : !any_above(piece, offsets, n_piece, top->threshold))
            continue;
        if (top->n + PIECE > top->capacity)
            prune(top);
        for (uint64_t i = 0; i < n_piece; i++) {
            const float key = piece[i] + (offsets ? offsets[i] : 0);
            top->entries[top->n] = (struct moeq_top_entry){key, piece[i], (uint32_t)(first + at + i)};
            top->n += key > top->threshold;
        }
    }
}

static int by_key(const void *a, const void *b)
{
    const struct moeq_top_entry *x = a, *y = b;
    return before(x, y) ? -1 : before(y, x);
}

void moeq_top_end(struct moeq_top *top)
{
    prune(top);
    qsort(top->entries, top->n, sizeof *top->entries, by_key);
}
