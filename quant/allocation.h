/* Allocation of bytes: one choice for each of many items, so that the damage is least within a budget of
 * bytes; a knapsack problem with multiple choices.
 *
 * Method: Lagrangian relaxation. At a price of a byte each item takes the choice with the least damage plus
 * price; as the price falls, it walks along the lower convex hull of its choices. The steps of all hulls,
 * sorted once by damage saved per byte, are therefore every solution that some price gives, one after the
 * other, and each is the best of all that take no more bytes than it does (H. Everett, Generalized Lagrange
 * Multiplier Method, 1963; P. Sinha and A. Zoltners, The Multiple-Choice Knapsack Problem, 1979). A budget
 * lies between two of them. From the smaller one the rest is filled by a search over the items that lose
 * least by leaving it (allocation_fill.h), which also takes choices beside the hull and exchanges items.
 *
 * Results depend on nothing but the arguments; more budget never gives more damage, but for the rounding of
 * sums. */
#ifndef MOEQ_ALLOCATION_H
#define MOEQ_ALLOCATION_H

#include "status.h"

#define MOEQ_MAX_CHOICES      1000
#define MOEQ_MAX_CHOICE_BYTES ((uint64_t)1 << 50)

/* An item at a level. */
struct moeq_choice {
    uint64_t n_bytes;
    double damage; /* of any unit in which damages add up; not finite: not to be had */
};

struct moeq_allocation {
    size_t n_items, n_choices;         /* at most UINT32_MAX, MOEQ_MAX_CHOICES */
    const struct moeq_choice *choices; /* [n_items, n_choices] */
};

/* The least damage within the budget that the search finds: at most one step of a hull above the least there
 * is. MOEQ_USAGE where the cheapest choices take more than the budget, or an item has none that can be had;
 * MOEQ_UNSUPPORTED above MOEQ_MAX_CHOICE_BYTES for a choice or all of the largest together. */
enum moeq_status moeq_allocate(const struct moeq_allocation *allocation, uint64_t budget,
                               uint32_t *chosen /* [n_items] */, struct moeq_error *err);

/* Of choices made. */
double moeq_allocation_damage(const struct moeq_allocation *allocation, const uint32_t *chosen);
uint64_t moeq_allocation_bytes(const struct moeq_allocation *allocation, const uint32_t *chosen);

/* The same for many budgets: what does not depend on the budget is done once. */
struct moeq_allocator {
    const struct moeq_allocation *allocation; /* borrowed */
    struct moeq_allocation_step *steps; /* [n_steps] of all hulls, the most damage saved per byte first */
    size_t n_steps;
    uint32_t *cheapest; /* [n_items] */
    uint64_t *n_bytes;  /* [n_steps + 1] after so many steps */
    double *damage;     /* [n_steps + 1] */
};

/* From one point of an item's hull to the next. */
struct moeq_allocation_step {
    double rate; /* damage saved per byte */
    uint32_t item;
    uint16_t place, choice; /* the how manieth of its item; where it leads */
};

enum moeq_status moeq_allocator_init(struct moeq_allocator *allocator,
                                     const struct moeq_allocation *allocation, struct moeq_error *err);
void moeq_allocator_free(struct moeq_allocator *allocator);

enum moeq_status moeq_allocator_solve(const struct moeq_allocator *allocator, uint64_t budget,
                                      uint32_t *chosen /* [n_items] */, struct moeq_error *err);

/* What no choices within the budget can be below: the least damage where parts of steps may be taken, which
 * is what the relaxation gives. INFINITY where the cheapest choices take more than the budget. */
double moeq_allocator_bound(const struct moeq_allocator *allocator, uint64_t budget);

/* Bytes of the cheapest choices, and of those with the least damage: where budgets begin and end to matter.
 */
uint64_t moeq_allocator_least_bytes(const struct moeq_allocator *allocator);
uint64_t moeq_allocator_most_bytes(const struct moeq_allocator *allocator);

#endif
