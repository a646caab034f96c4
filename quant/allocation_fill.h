/* The last bytes of a budget: from a point of the Lagrangian walk (allocation.h) to the best that is found
 * within what the budget leaves.
 *
 * A move gives an item another choice; its regret is what it loses at the price of the next step of the walk.
 * Moves with little regret are what optimal solutions consist of. The items with the least are the core, and
 * combinations of one move each are tried by dynamic programming over the change of bytes, forth and back in
 * a window, in buckets of which each keeps its best (after D. Pisinger, A minimal algorithm for the
 * multiple-choice knapsack problem, 1995, which keeps all). To each combination the best single move of all
 * other items that fits is added.
 *
 * Core, window and buckets depend on the point, not on the bytes left, which only decide what of the
 * combinations found is taken: so more bytes never give more damage. */
#ifndef MOEQ_ALLOCATION_FILL_H
#define MOEQ_ALLOCATION_FILL_H

#include "allocation.h"

/* Improves `chosen`, a point of the walk, by at most `left` more bytes, fewer than next_bytes: those of the
 * next step, which saves `rate` of damage a byte. */
enum moeq_status moeq_allocation_fill(const struct moeq_allocation *allocation, double rate,
                                      uint64_t next_bytes, uint64_t left, uint32_t *chosen,
                                      struct moeq_error *err);

#endif
