#include "top_logits.h"

#include <math.h>

#define PIECE 32u /* values that are compared at once */

static uint32_t capacity_of(uint32_t k)
{
    return 3 * k + PIECE;
}

/* Floats that the scratch needs: the keys of all candidates, or less than 4 k maxima. */
static uint32_t scratch_of(uint32_t k)
{
    return 4 * k + PIECE;
}

uint32_t moeq_top_room(uint32_t k)
{
    return capacity_of(k) +
           scratch_of(k) * (uint32_t)sizeof(float) / (uint32_t)sizeof(struct moeq_top_entry) + 1;
}

void moeq_top_begin(struct moeq_top *top, uint32_t k, struct moeq_top_entry *entries)
{
    *top = (struct moeq_top){.k = k,
                             .capacity = capacity_of(k),
                             .threshold = -INFINITY,
                             .entries = entries,
                             .scratch = (float *)(void *)(entries + capacity_of(k))};
}

/* ---- selecting ---- */

/* The k-th largest of n values, none of them NaN, which are put in another order. 1 <= k <= n. */
static float largest_at(float *x, uint32_t n, uint32_t k)
{
    const int64_t wanted = (int64_t)k - 1;
    int64_t first = 0, last = (int64_t)n - 1;
    while (first < last) {
        const float pivot = x[first + (last - first) / 2];
        int64_t i = first, j = last;
        while (i <= j) {
            while (x[i] > pivot)
                i++;
            while (x[j] < pivot)
                j--;
            if (i <= j) {
                const float kept = x[i];
                x[i++] = x[j];
                x[j--] = kept;
            }
        }
        if (wanted <= j)
            last = j;
        else if (wanted >= i)
            first = i;
        else
            break;
    }
    return x[wanted];
}

void moeq_top_keep(struct moeq_top *top, uint32_t k)
{
    struct moeq_top_entry *e = top->entries;
    if (top->n <= k)
        return;
    for (uint32_t i = 0; i < top->n; i++)
        top->scratch[i] = e[i].key;
    const float least = largest_at(top->scratch, top->n, k);
    uint32_t n_above = 0, n = 0;
    for (uint32_t i = 0; i < top->n; i++)
        n_above += e[i].key > least;
    uint32_t n_equal = k - n_above; /* of those that may stay */
    for (uint32_t i = 0; i < top->n; i++) {
        const bool equal = e[i].key == least && n_equal;
        e[n] = e[i];
        n += e[i].key > least || equal;
        n_equal -= equal;
    }
    top->n = n;
    top->threshold = least;
}

void moeq_top_end(struct moeq_top *top)
{
    moeq_top_keep(top, top->k);
}

/* Shell's sort, with Ciura's gaps. */
void moeq_top_sort(struct moeq_top_entry *entries, uint32_t n)
{
    static const uint32_t gaps[] = {57, 23, 10, 4, 1};
    for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++)
        for (uint32_t i = gaps[g]; i < n; i++) {
            const struct moeq_top_entry e = entries[i];
            uint32_t at = i;
            for (; at >= gaps[g]; at -= gaps[g]) {
                const struct moeq_top_entry *other = &entries[at - gaps[g]];
                if (other->logit > e.logit || (other->logit == e.logit && other->id < e.id))
                    break;
                entries[at] = *other;
            }
            entries[at] = e;
        }
}

/* ---- scanning ---- */

/* A threshold to begin with, from the first slice: its values are dealt out to 2 k groups or more, and k of
 * the groups' largest are not above the k-th largest of all. */
static void guess_threshold(struct moeq_top *top, const float *logits, const float *noise, uint64_t n)
{
    uint64_t n_rows = 1; /* values of a group */
    while (n_rows * 2 <= n / (2 * (uint64_t)top->k))
        n_rows *= 2;
    if (n_rows < 2)
        return;
    const uint64_t n_groups = n / n_rows; /* below 4 k, but for its rounding */
    float *largest = top->scratch;
    for (uint64_t i = 0; i < n_groups; i++)
        largest[i] = -INFINITY;
    for (uint64_t row = 0; row < n_rows; row++) {
        const float *values = logits + row * n_groups, *offsets = noise ? noise + row * n_groups : NULL;
        if (offsets)
            for (uint64_t i = 0; i < n_groups; i++) {
                const float key = values[i] + offsets[i];
                largest[i] = key > largest[i] ? key : largest[i];
            }
        else
            for (uint64_t i = 0; i < n_groups; i++)
                largest[i] = values[i] > largest[i] ? values[i] : largest[i];
    }
    top->threshold = nextafterf(largest_at(largest, (uint32_t)n_groups, top->k), -INFINITY);
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
    if (first == 0)
        guess_threshold(top, logits, noise, n);
    for (uint64_t at = 0; at < n; at += PIECE) {
        const float *piece = logits + at, *offsets = noise ? noise + at : NULL;
        const uint64_t n_piece = n - at < PIECE ? n - at : PIECE;
        if (n_piece == PIECE ? !any_above(piece, offsets, PIECE, top->threshold)
                             : !any_above(piece, offsets, n_piece, top->threshold))
            continue;
        if (top->n + PIECE > top->capacity)
            moeq_top_keep(top, top->k);
        for (uint64_t i = 0; i < n_piece; i++) {
            const float key = piece[i] + (offsets ? offsets[i] : 0);
            top->entries[top->n] = (struct moeq_top_entry){key, piece[i], (uint32_t)(first + at + i)};
            top->n += key > top->threshold;
        }
    }
}
