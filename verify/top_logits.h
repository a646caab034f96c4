/* The largest of a token's values over the vocabulary, found by a threshold while they come a slice at a
 * time: what is above the threshold is a candidate; where candidates are too many, the k largest stay and the
 * smallest of these is the new threshold. Almost all of a vocabulary only meets the comparison. */
#ifndef MOEQ_TOP_LOGITS_H
#define MOEQ_TOP_LOGITS_H

#include "status.h"

struct moeq_top_entry {
    float key, logit; /* that it is chosen by; the logit */
    uint32_t id;      /* entry of the vocabulary */
};

struct moeq_top {
    uint32_t k, n, capacity;
    float threshold;                /* a key must be above it */
    struct moeq_top_entry *entries; /* [moeq_top_room(k)]: the caller's; candidates, by ascending id */
    float *scratch;                 /* behind them */
};

/* Entries that the caller makes room for. */
uint32_t moeq_top_room(uint32_t k);

/* Begins with none; k >= 1. */
void moeq_top_begin(struct moeq_top *top, uint32_t k, struct moeq_top_entry *entries);

/* Adds entries first … first + n - 1, whose keys are their logits [n] plus noise [n] (NULL: 0); slices come
 * in order. NaN and minus infinity are never taken. */
void moeq_top_add(struct moeq_top *top, const float *logits, const float *noise, uint64_t first, uint64_t n);

/* Leaves the k largest (all, where there are fewer), by ascending id; of equals those of the lowest ids. */
void moeq_top_end(struct moeq_top *top);

/* The same for k <= top->k of the n <= moeq_top_room(k) entries that the caller left of it. */
void moeq_top_keep(struct moeq_top *top, uint32_t k);

/* By descending logit, of equals the lowest id first. For some hundreds at most. */
void moeq_top_sort(struct moeq_top_entry *entries, uint32_t n);

#endif
