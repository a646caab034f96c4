#include "copy.h"

#include "interrupt.h"

#include <stdlib.h>

#define PIECE_BYTES (MOEQ_COPIER_BYTES / 2) /* as it is read, and as it reads back */
#define RUN_BYTES   (2u << 20) /* of segments that a worker takes at once, if one is not larger */

struct moeq_copy_worker {
    uint8_t *piece, *scratch; /* [PIECE_BYTES] each */
    struct moeq_hasher *slices, *segments;
};

/* Segments [first, first + n) of the batch, and where they lie in the file. */
struct run {
    size_t first, n;
    uint64_t offset, n_bytes;
};

struct copying {
    const struct moeq_copy *copy;
    struct moeq_copier *copier;
    struct run *runs;
    size_t n_runs;
};

enum moeq_status moeq_copier_init(struct moeq_copier *copier, struct moeq_pool *pool, struct moeq_error *err)
{
    const unsigned n = moeq_pool_jobs(pool);
    *copier = (struct moeq_copier){.pool = pool};
    copier->workers = moeq_calloc(n, sizeof *copier->workers, err);
    if (!copier->workers)
        return MOEQ_OVER_MEMORY;
    for (unsigned i = 0; i < n; i++) {
        struct moeq_copy_worker *w = &copier->workers[i];
        w->piece = moeq_calloc(MOEQ_COPIER_BYTES, 1, err);
        w->slices = w->piece ? moeq_hasher_create(err) : NULL;
        w->segments = w->slices ? moeq_hasher_create(err) : NULL;
        if (!w->segments)
            return MOEQ_OVER_MEMORY;
        w->scratch = w->piece + PIECE_BYTES;
    }
    return MOEQ_OK;
}

void moeq_copier_free(struct moeq_copier *copier)
{
    for (unsigned i = 0; copier->workers && i < moeq_pool_jobs(copier->pool); i++) {
        free(copier->workers[i].piece);
        moeq_hasher_free(copier->workers[i].slices);
        moeq_hasher_free(copier->workers[i].segments);
    }
    free(copier->workers);
    *copier = (struct moeq_copier){0};
}

static enum moeq_status copy_item(const struct moeq_copy *c, struct moeq_copy_worker *w, size_t item,
                                  uint64_t offset, struct moeq_error *err)
{
    const struct moeq_plan_item *it = &c->plan->items[item];
    enum moeq_status status = MOEQ_OK;
    for (uint64_t from = 0, n; !status && from < it->n_bytes; from += n) {
        n = it->n_bytes - from < PIECE_BYTES ? it->n_bytes - from : PIECE_BYTES;
        status = moeq_interrupt_check(err);
        if (!status)
            status = moeq_source_read_packed(c->plan->source, it->weight, from, n, w->piece, err);
        if (status)
            break;
        moeq_provenance_add(c->provenance, item, from, w->piece, n, w->slices);
        moeq_hasher_update(w->segments, w->piece, (size_t)n);
        status = moeq_out_write_at(c->out, offset + from, w->piece, (size_t)n, w->scratch, err);
    }
    return status;
}

static enum moeq_status copy_run(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                 struct moeq_error *err)
{
    const struct copying *copying = context;
    const struct moeq_copy *c = copying->copy;
    struct moeq_copy_worker *w = &copying->copier->workers[worker];
    enum moeq_status status = MOEQ_OK;
    for (uint64_t r = begin; !status && r < end; r++) {
        const struct run *run = &copying->runs[r];
        uint64_t offset = run->offset;
        for (size_t s = run->first; !status && s < run->first + run->n; s++) {
            const struct moeq_plan_segment *segment = &c->plan->segments[c->batch->segment + s];
            for (size_t i = segment->first; !status && i < segment->first + segment->n_items; i++) {
                status = copy_item(c, w, i, offset, err);
                offset += c->plan->items[i].n_bytes;
                moeq_progress_add(c->progress, c->plan->items[i].weight->n_bytes,
                                  c->plan->files[c->batch->file].name);
            }
            c->hashes[s] = moeq_hasher_finish(w->segments);
        }
        moeq_out_begin_sync(c->out, run->offset, run->n_bytes);
    }
    return status;
}

enum moeq_status moeq_copy_batch(struct moeq_copier *copier, const struct moeq_copy *copy,
                                 struct moeq_error *err)
{
    const struct moeq_batch *b = copy->batch;
    struct copying copying = {copy, copier, moeq_calloc(b->n_segments, sizeof *copying.runs, err), 0};
    if (!copying.runs)
        return MOEQ_OVER_MEMORY;
    uint64_t offset = b->offset;
    for (size_t s = 0; s < b->n_segments; s++) {
        const uint64_t n = copy->plan->segments[b->segment + s].n_bytes;
        struct run *last = copying.n_runs ? &copying.runs[copying.n_runs - 1] : NULL;
        if (!last || last->n_bytes + n > RUN_BYTES)
            *(last = &copying.runs[copying.n_runs++]) = (struct run){.first = s, .offset = offset};
        last->n++;
        last->n_bytes += n;
        offset += n;
    }
    enum moeq_status status = moeq_pool_for(copier->pool, copying.n_runs, 1, copy_run, &copying, err);
    free(copying.runs);
    return status;
}
