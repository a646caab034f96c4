#include "allocation_fill.h"

#include "bytes.h"

#include <math.h>
#include <stdlib.h>

/* ---- hulls ---- */

static const struct moeq_choice *choices_of(const struct moeq_allocation *a, size_t item)
{
    return a->choices + item * a->n_choices;
}

/* The choices of an item that can be had, by bytes, of equal bytes the least damage first. */
static size_t sort_choices(const struct moeq_choice *choices, size_t n_choices, uint16_t *order)
{
    size_t n = 0;
    for (size_t c = 0; c < n_choices; c++) {
        size_t at = n;
        if (!isfinite(choices[c].damage))
            continue;
        for (; at > 0; at--) {
            const struct moeq_choice *before = &choices[order[at - 1]];
            if (before->n_bytes < choices[c].n_bytes ||
                (before->n_bytes == choices[c].n_bytes && before->damage <= choices[c].damage))
                break;
            order[at] = order[at - 1];
        }
        order[at] = (uint16_t)c;
        n++;
    }
    return n;
}

/* Damage saved per byte by the larger choice b. */
static double rate(const struct moeq_choice *a, const struct moeq_choice *b)
{
    return (a->damage - b->damage) / (double)(b->n_bytes - a->n_bytes);
}

/* The lower convex hull of sorted choices: ever less damage, at rates that never rise. Rates are compared as
 * they are sorted later, so that the steps of an item stay in order however they are rounded; points on a
 * line stay, since small steps meet a budget better. */
static size_t make_hull(const struct moeq_choice *choices, const uint16_t *order, size_t n_order,
                        uint16_t *hull)
{
    size_t n = 0;
    for (size_t i = 0; i < n_order; i++) {
        const struct moeq_choice *c = &choices[order[i]];
        if (n && c->damage >= choices[hull[n - 1]].damage)
            continue;
        while (n >= 2 && rate(&choices[hull[n - 2]], &choices[hull[n - 1]]) < rate(&choices[hull[n - 1]], c))
            n--;
        hull[n++] = order[i];
    }
    return n;
}

static int by_rate(const void *a, const void *b)
{
    const struct moeq_allocation_step *x = a, *y = b;
    if (x->rate != y->rate)
        return x->rate > y->rate ? -1 : 1;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

/* Adds the steps of an item's hull; there is room for all. */
static enum moeq_status add_item(struct moeq_allocator *t, size_t item, struct moeq_error *err)
{
    const struct moeq_allocation *a = t->allocation;
    const struct moeq_choice *choices = choices_of(a, item);
    uint16_t order[MOEQ_MAX_CHOICES], hull[MOEQ_MAX_CHOICES];
    const size_t n_order = sort_choices(choices, a->n_choices, order);
    if (n_order == 0)
        return moeq_fail(err, MOEQ_USAGE, "item %zu has no choice that can be had", item);
    if (choices[order[n_order - 1]].n_bytes > MOEQ_MAX_CHOICE_BYTES)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "item %zu has a choice of more than 2^50 bytes", item);
    const size_t n_hull = make_hull(choices, order, n_order, hull);
    t->cheapest[item] = hull[0];
    for (size_t i = 1; i < n_hull; i++)
        t->steps[t->n_steps++] = (struct moeq_allocation_step){rate(&choices[hull[i - 1]], &choices[hull[i]]),
                                                               (uint32_t)item, (uint16_t)i, hull[i]};
    return MOEQ_OK;
}

/* ---- the walk ---- */

/* Bytes and damage after each step. */
static enum moeq_status add_up(struct moeq_allocator *t, struct moeq_error *err)
{
    const struct moeq_allocation *a = t->allocation;
    uint32_t *at = moeq_calloc(a->n_items, sizeof *at, err);
    if (!at)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < a->n_items; i++) {
        at[i] = t->cheapest[i];
        t->n_bytes[0] += choices_of(a, i)[at[i]].n_bytes;
        t->damage[0] += choices_of(a, i)[at[i]].damage;
        if (t->n_bytes[0] > MOEQ_MAX_CHOICE_BYTES)
            break;
    }
    for (size_t s = 0; s < t->n_steps && t->n_bytes[s] <= MOEQ_MAX_CHOICE_BYTES; s++) {
        const struct moeq_allocation_step *step = &t->steps[s];
        const struct moeq_choice *before = &choices_of(a, step->item)[at[step->item]],
                                 *after = &choices_of(a, step->item)[step->choice];
        at[step->item] = step->choice;
        t->n_bytes[s + 1] = t->n_bytes[s] + (after->n_bytes - before->n_bytes);
        t->damage[s + 1] = t->damage[s] - (before->damage - after->damage);
        if (t->n_bytes[s + 1] > MOEQ_MAX_CHOICE_BYTES)
            t->n_bytes[t->n_steps] = t->n_bytes[s + 1];
    }
    free(at);
    if (t->n_bytes[0] > MOEQ_MAX_CHOICE_BYTES || t->n_bytes[t->n_steps] > MOEQ_MAX_CHOICE_BYTES)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "all choices together have more than 2^50 bytes");
    return MOEQ_OK;
}

enum moeq_status moeq_allocator_init(struct moeq_allocator *allocator,
                                     const struct moeq_allocation *allocation, struct moeq_error *err)
{
    struct moeq_allocator *t = allocator;
    const struct moeq_allocation *a = allocation;
    *t = (struct moeq_allocator){.allocation = a};
    if (a->n_items > UINT32_MAX || a->n_choices > MOEQ_MAX_CHOICES || (a->n_items && !a->n_choices))
        return moeq_fail(err, MOEQ_BUG, "%zu items of %zu choices cannot be allocated", a->n_items,
                         a->n_choices);
    t->steps = moeq_calloc(a->n_items * a->n_choices, sizeof *t->steps, err);
    t->cheapest = moeq_calloc(a->n_items, sizeof *t->cheapest, err);
    enum moeq_status status = t->steps && t->cheapest ? MOEQ_OK : MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < a->n_items; i++)
        status = add_item(t, i, err);
    if (!status) {
        qsort(t->steps, t->n_steps, sizeof *t->steps, by_rate);
        t->n_bytes = moeq_calloc(t->n_steps + 1, sizeof *t->n_bytes, err);
        t->damage = moeq_calloc(t->n_steps + 1, sizeof *t->damage, err);
        status = t->n_bytes && t->damage ? add_up(t, err) : MOEQ_OVER_MEMORY;
    }
    if (status)
        moeq_allocator_free(t);
    return status;
}

void moeq_allocator_free(struct moeq_allocator *allocator)
{
    free(allocator->steps);
    free(allocator->cheapest);
    free(allocator->n_bytes);
    free(allocator->damage);
    *allocator = (struct moeq_allocator){0};
}

/* Steps that a budget, of at least the least bytes, suffices for. */
static size_t n_steps_within(const struct moeq_allocator *t, uint64_t budget)
{
    size_t low = 0, high = t->n_steps;
    while (low < high) {
        const size_t middle = low + (high - low + 1) / 2;
        if (t->n_bytes[middle] <= budget)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

enum moeq_status moeq_allocator_solve(const struct moeq_allocator *allocator, uint64_t budget,
                                      uint32_t *chosen, struct moeq_error *err)
{
    const struct moeq_allocator *t = allocator;
    if (budget < t->n_bytes[0]) {
        moeq_fail(err, MOEQ_USAGE, "the cheapest choices take %llu bytes, the budget is %llu",
                  (unsigned long long)t->n_bytes[0], (unsigned long long)budget);
        moeq_error_hint(err, "raise the budget to at least that, or allow cheaper levels");
        return MOEQ_USAGE;
    }
    const size_t n = n_steps_within(t, budget);
    for (size_t i = 0; i < t->allocation->n_items; i++)
        chosen[i] = t->cheapest[i];
    for (size_t s = 0; s < n; s++)
        chosen[t->steps[s].item] = t->steps[s].choice;
    if (n == t->n_steps)
        return MOEQ_OK;
    return moeq_allocation_fill(t->allocation, t->steps[n].rate, t->n_bytes[n + 1] - t->n_bytes[n],
                                budget - t->n_bytes[n], chosen, err);
}

double moeq_allocator_bound(const struct moeq_allocator *allocator, uint64_t budget)
{
    const struct moeq_allocator *t = allocator;
    if (budget < t->n_bytes[0])
        return (double)INFINITY;
    const size_t n = n_steps_within(t, budget);
    return n == t->n_steps ? t->damage[n]
                           : t->damage[n] - t->steps[n].rate * (double)(budget - t->n_bytes[n]);
}

uint64_t moeq_allocator_least_bytes(const struct moeq_allocator *allocator)
{
    return allocator->n_bytes[0];
}

uint64_t moeq_allocator_most_bytes(const struct moeq_allocator *allocator)
{
    return allocator->n_bytes[allocator->n_steps];
}

enum moeq_status moeq_allocate(const struct moeq_allocation *allocation, uint64_t budget, uint32_t *chosen,
                               struct moeq_error *err)
{
    struct moeq_allocator allocator;
    enum moeq_status status = moeq_allocator_init(&allocator, allocation, err);
    if (status)
        return status;
    status = moeq_allocator_solve(&allocator, budget, chosen, err);
    moeq_allocator_free(&allocator);
    return status;
}

double moeq_allocation_damage(const struct moeq_allocation *allocation, const uint32_t *chosen)
{
    double damage = 0;
    for (size_t i = 0; i < allocation->n_items; i++)
        damage += choices_of(allocation, i)[chosen[i]].damage;
    return damage;
}

uint64_t moeq_allocation_bytes(const struct moeq_allocation *allocation, const uint32_t *chosen)
{
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < allocation->n_items; i++)
        n_bytes += choices_of(allocation, i)[chosen[i]].n_bytes;
    return n_bytes;
}
