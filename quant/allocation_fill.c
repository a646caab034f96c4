#include "allocation_fill.h"

#include "bytes.h"

#include <math.h>
#include <stdlib.h>

enum {
    N_CORE = 128,
    N_BUCKETS = 2048, /* on each side of no change */
    N_STATES = 2 * N_BUCKETS + 1,
    SAME = UINT16_MAX /* no move of this item */
};

struct core_item {
    uint32_t item;
    double regret; /* of its best move */
    uint64_t size; /* bytes that move changes */
};

/* A change of bytes and damage; INFINITY where there is none. */
struct change {
    int64_t n_bytes;
    double damage;
};

struct single {
    struct change change;
    uint32_t item, choice;
};

struct fill {
    const struct moeq_allocation *allocation;
    uint32_t *chosen;
    double rate;
    struct core_item core[N_CORE];
    size_t n_core;
    /* Bytes of a bucket; bucket b holds changes of ((b - 1) * width, b * width] bytes. */
    int64_t width, single_width;
    struct change states[2][N_STATES]; /* before and after an item of the core; index N_BUCKETS + bucket */
    uint16_t from[N_CORE][N_STATES], move[N_CORE][N_STATES]; /* where a state came from, by which choice */
    struct single singles[N_STATES];                         /* by bucket 0 to 2 * N_BUCKETS */
    uint16_t best_single[N_STATES];                          /* of buckets up to this one */
};

static struct change change_of(const struct fill *f, size_t item, size_t choice)
{
    const struct moeq_choice *choices = f->allocation->choices + item * f->allocation->n_choices;
    const struct moeq_choice *now = &choices[f->chosen[item]], *then = &choices[choice];
    if (choice == f->chosen[item] || !isfinite(then->damage))
        return (struct change){0, (double)INFINITY};
    return (struct change){(int64_t)then->n_bytes - (int64_t)now->n_bytes, then->damage - now->damage};
}

/* More damage for no bytes, or none of either. */
static bool is_useless(struct change c)
{
    return !isfinite(c.damage) || (c.n_bytes >= 0 && c.damage >= 0);
}

static bool is_better(struct change a, struct change b)
{
    return a.damage < b.damage || (a.damage == b.damage && a.n_bytes < b.n_bytes);
}

/* ---- the core ---- */

static void add_to_core(struct fill *f, struct core_item candidate)
{
    size_t at = f->n_core;
    if (at == N_CORE && !(candidate.regret < f->core[N_CORE - 1].regret))
        return;
    at -= at == N_CORE;
    for (; at > 0 && candidate.regret < f->core[at - 1].regret; at--)
        f->core[at] = f->core[at - 1];
    f->core[at] = candidate;
    f->n_core += f->n_core < N_CORE;
}

static void choose_core(struct fill *f)
{
    for (size_t i = 0; i < f->allocation->n_items; i++) {
        struct core_item best = {(uint32_t)i, (double)INFINITY, 0};
        for (size_t c = 0; c < f->allocation->n_choices; c++) {
            const struct change change = change_of(f, i, c);
            const double regret = change.damage + f->rate * (double)change.n_bytes;
            if (!is_useless(change) && regret < best.regret) {
                best.regret = regret;
                best.size = (uint64_t)llabs(change.n_bytes);
            }
        }
        if (isfinite(best.regret))
            add_to_core(f, best);
    }
}

static int by_size(const void *a, const void *b)
{
    const struct core_item *x = *(const struct core_item *const *)a, *y = *(const struct core_item *const *)b;
    return x->size < y->size ? -1 : x->size > y->size;
}

/* Combinations pass through changes of a few moves before they come back to few bytes: the window is eight of
 * the next step, and four of a usual move, on each side. Where all moves are multiples of some bytes so are
 * the buckets, and nothing is lost by them if there are enough. */
static void choose_width(struct fill *f, uint64_t next_bytes)
{
    const struct core_item *sorted[N_CORE];
    uint64_t divisor = 0;
    for (size_t k = 0; k < f->n_core; k++) {
        sorted[k] = &f->core[k];
        for (size_t c = 0; c < f->allocation->n_choices; c++) {
            const struct change change = change_of(f, f->core[k].item, c);
            uint64_t a = is_useless(change) ? 0 : (uint64_t)llabs(change.n_bytes);
            while (a) {
                const uint64_t rest = divisor % a;
                divisor = a;
                a = rest;
            }
        }
    }
    qsort(sorted, f->n_core, sizeof *sorted, by_size);
    const uint64_t usual = f->n_core ? sorted[f->n_core / 2]->size : 0;
    const uint64_t window = moeq_larger(next_bytes, usual / 2) / (N_BUCKETS / 8) + 1;
    f->width = (int64_t)moeq_round_up(window, divisor ? divisor : 1);
    f->single_width = (int64_t)(next_bytes / (N_BUCKETS / 4) + 1);
}

/* ---- combinations ---- */

/* The bucket, rounded up; SIZE_MAX outside of [0, N_STATES). `offset` is the index of no change. */
static size_t bucket_of(int64_t n_bytes, int64_t width, int64_t offset)
{
    const int64_t down = n_bytes / width, at = offset + down + (n_bytes > down * width);
    return at >= 0 && at < N_STATES ? (size_t)at : SIZE_MAX;
}

/* All states with one more item of the core, which stays or moves. */
static void add_moves(struct fill *f, size_t k, const struct change *before, struct change *after)
{
    for (size_t s = 0; s < N_STATES; s++) {
        after[s] = before[s];
        f->from[k][s] = (uint16_t)s;
        f->move[k][s] = SAME;
    }
    for (size_t c = 0; c < f->allocation->n_choices; c++) {
        const struct change move = change_of(f, f->core[k].item, c);
        if (is_useless(move))
            continue;
        for (size_t s = 0; s < N_STATES; s++) {
            if (!isfinite(before[s].damage))
                continue;
            const struct change sum = {before[s].n_bytes + move.n_bytes, before[s].damage + move.damage};
            const size_t to = bucket_of(sum.n_bytes, f->width, N_BUCKETS);
            if (to == SIZE_MAX || !is_better(sum, after[to]))
                continue;
            after[to] = sum;
            f->from[k][to] = (uint16_t)s;
            f->move[k][to] = (uint16_t)c;
        }
    }
}

static const struct change *combine(struct fill *f)
{
    for (size_t s = 0; s < N_STATES; s++)
        f->states[0][s] = (struct change){0, s == N_BUCKETS ? 0 : (double)INFINITY};
    for (size_t k = 0; k < f->n_core; k++)
        add_moves(f, k, f->states[k % 2], f->states[(k + 1) % 2]);
    return f->states[f->n_core % 2];
}

/* ---- one more move ---- */

static bool is_in_core(const struct fill *f, size_t item)
{
    bool found = false;
    for (size_t k = 0; !found && k < f->n_core; k++)
        found = f->core[k].item == item;
    return found;
}

static void list_singles(struct fill *f)
{
    const size_t n = f->allocation->n_items > f->n_core ? f->allocation->n_items : 0;
    for (size_t b = 0; b < N_STATES; b++)
        f->singles[b].change.damage = (double)INFINITY;
    for (size_t i = 0; i < n; i++) {
        for (size_t c = 0; c < f->allocation->n_choices; c++) {
            const struct change change = change_of(f, i, c);
            const size_t b = change.damage < 0 && change.n_bytes > 0
                                 ? bucket_of(change.n_bytes, f->single_width, 0)
                                 : SIZE_MAX;
            if (b != SIZE_MAX && is_better(change, f->singles[b].change) && !is_in_core(f, i))
                f->singles[b] = (struct single){change, (uint32_t)i, (uint32_t)c};
        }
    }
    for (size_t b = 1; b < N_STATES; b++) {
        const size_t before = f->best_single[b - 1];
        const bool is_best = is_better(f->singles[b].change, f->singles[before].change);
        f->best_single[b] = (uint16_t)(is_best ? b : before);
    }
}

/* The best that takes at most n_bytes; NULL where there is none. */
static const struct single *single_within(const struct fill *f, int64_t n_bytes)
{
    size_t b = bucket_of(n_bytes, f->single_width, 0);
    b = b == SIZE_MAX ? N_STATES - 1 : b;
    const struct single *here = &f->singles[b], *below = &f->singles[b ? f->best_single[b - 1] : 0];
    const struct single *best =
        here->change.n_bytes <= n_bytes && is_better(here->change, below->change) ? here : below;
    return best->change.n_bytes <= n_bytes && isfinite(best->change.damage) ? best : NULL;
}

/* ---- the best of all ---- */

static void take(struct fill *f, size_t state, const struct single *single)
{
    for (size_t k = f->n_core; state != SIZE_MAX && k-- > 0;) {
        if (f->move[k][state] != SAME)
            f->chosen[f->core[k].item] = f->move[k][state];
        state = f->from[k][state];
    }
    if (single)
        f->chosen[single->item] = single->choice;
}

static void take_best(struct fill *f, const struct change *states, int64_t left)
{
    struct change best = {0, 0};
    size_t best_state = SIZE_MAX; /* no combination: its bucket may have another that does not fit */
    const struct single *best_single = NULL;
    for (size_t s = 0; s <= N_STATES; s++) {
        struct change sum = s < N_STATES ? states[s] : (struct change){0, 0};
        if (!isfinite(sum.damage) || sum.n_bytes > left)
            continue;
        const struct single *single = single_within(f, left - sum.n_bytes);
        if (single)
            sum = (struct change){sum.n_bytes + single->change.n_bytes, sum.damage + single->change.damage};
        if (is_better(sum, best)) {
            best = sum;
            best_state = s < N_STATES ? s : SIZE_MAX;
            best_single = single;
        }
    }
    take(f, best_state, best_single);
}

enum moeq_status moeq_allocation_fill(const struct moeq_allocation *allocation, double rate,
                                      uint64_t next_bytes, uint64_t left, uint32_t *chosen,
                                      struct moeq_error *err)
{
    struct fill *f = moeq_calloc(1, sizeof *f, err);
    if (!f)
        return MOEQ_OVER_MEMORY;
    f->allocation = allocation;
    f->chosen = chosen;
    f->rate = rate;
    choose_core(f);
    choose_width(f, next_bytes);
    const struct change *states = combine(f);
    list_singles(f);
    take_best(f, states, (int64_t)left);
    free(f);
    return MOEQ_OK;
}
