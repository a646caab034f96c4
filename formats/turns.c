#include "turns.h"

#include "bytes.h"
#include "mount.h"

#include <stdlib.h>

struct run {
    const struct moeq_turns *turns;
    moeq_turn_visit *visit;
    void *context;
    size_t n_streamed; /* the first ones */
    uint64_t n_pieces;
    unsigned n_workers;
};

enum moeq_status moeq_turns_add(struct moeq_turns *turns, size_t file, const char *path, uint64_t n_bytes,
                                struct moeq_error *err)
{
    struct moeq_turn *items = moeq_grown(turns->items, turns->n, &turns->capacity, sizeof *items, err);
    if (!items)
        return MOEQ_OVER_MEMORY;
    turns->items = items;
    items[turns->n++] = (struct moeq_turn){file, moeq_mounted_place(path), n_bytes};
    return MOEQ_OK;
}

void moeq_turns_free(struct moeq_turns *turns)
{
    free(turns->items);
    *turns = (struct moeq_turns){0};
}

static int by_turn(const void *a, const void *b)
{
    const struct moeq_turn *x = a, *y = b;
    if (!x->place != !y->place)
        return x->place ? -1 : 1;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    if (x->n_bytes != y->n_bytes)
        return x->n_bytes > y->n_bytes ? -1 : 1;
    return (x->file > y->file) - (x->file < y->file);
}

/* Piece 0 has all that must be decompressed, where there is any. */
static enum moeq_status visit_pieces(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                     struct moeq_error *err)
{
    const struct run *r = context;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t piece = begin; !status && piece < end; piece++) {
        const size_t n = piece == 0 && r->n_streamed ? r->n_streamed : 1;
        const size_t first = piece && r->n_streamed ? (size_t)piece + r->n_streamed - 1 : (size_t)piece;
        for (size_t i = first; !status && i < first + n; i++)
            status = r->visit(r->context, worker, r->turns->items[i].file, r->n_pieces - piece < r->n_workers,
                              err);
    }
    return status;
}

enum moeq_status moeq_turns_run(struct moeq_turns *turns, struct moeq_pool *pool, moeq_turn_visit *visit,
                                void *context, struct moeq_error *err)
{
    struct run run = {.turns = turns, .visit = visit, .context = context, .n_workers = moeq_pool_jobs(pool)};
    if (turns->n)
        qsort(turns->items, turns->n, sizeof *turns->items, by_turn);
    while (run.n_streamed < turns->n && turns->items[run.n_streamed].place)
        run.n_streamed++;
    run.n_pieces = turns->n - run.n_streamed + (run.n_streamed ? 1 : 0);
    return moeq_pool_for(pool, run.n_pieces, 1, visit_pieces, &run, err);
}
