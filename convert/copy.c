#include "copy.h"

#include "interrupt.h"

#include <stdlib.h>

#define WRITE_BYTES (256u << 10) /* at once: larger ones make the page cache look for larger pages */
#define RUN_BYTES   (8u << 20)   /* of segments that a worker takes at once, if one is not larger */

_Static_assert(WRITE_BYTES + MOEQ_OUT_SCRATCH <= MOEQ_COPIER_BYTES, "a worker's memory");

struct moeq_copy_worker {
    uint8_t *bytes, *scratch; /* [WRITE_BYTES], [MOEQ_OUT_SCRATCH] */
    uint64_t offset, n_bytes; /* of those that are read and not yet written, in the file */
    struct moeq_hasher *slices, *segments;
};

/* Segments [first, first + n) of the plan, and where they lie in the file. */
struct run {
    size_t first, n;
    uint64_t offset, n_bytes;
};

/* A batch that is being copied. */
struct under_way {
    const struct moeq_batch *batch;
    struct run *runs;
    size_t n_runs, n_taken, n_done;
    size_t failed; /* the lowest run that failed, or SIZE_MAX */
    struct moeq_error why;
};

struct copying {
    const struct moeq_copy *copy;
    struct moeq_copier *copier;
    pthread_mutex_t lock; /* for all that follows */
    uint64_t n_at_once;   /* batches */
    uint64_t n_begun;     /* batches before this one have begun, */
    uint64_t n_ended;     /* those before this one have come to an end */
    uint64_t failed;      /* the lowest batch that failed, or UINT64_MAX: nothing behind it goes on */
    struct under_way batches[MOEQ_COPIES_AT_ONCE]; /* by turns */
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
        w->bytes = moeq_calloc(WRITE_BYTES + MOEQ_OUT_SCRATCH, 1, err);
        w->slices = w->bytes ? moeq_hasher_create(err) : NULL;
        w->segments = w->slices ? moeq_hasher_create(err) : NULL;
        if (!w->segments)
            return MOEQ_OVER_MEMORY;
        w->scratch = w->bytes + WRITE_BYTES;
    }
    return MOEQ_OK;
}

void moeq_copier_free(struct moeq_copier *copier)
{
    for (unsigned i = 0; copier->workers && i < moeq_pool_jobs(copier->pool); i++) {
        free(copier->workers[i].bytes);
        moeq_hasher_free(copier->workers[i].slices);
        moeq_hasher_free(copier->workers[i].segments);
    }
    free(copier->workers);
    *copier = (struct moeq_copier){0};
}

static enum moeq_status write_out(const struct moeq_copy *c, struct moeq_copy_worker *w, size_t file,
                                  struct moeq_error *err)
{
    enum moeq_status status =
        moeq_out_write_at(&c->outs[file], w->offset, w->bytes, (size_t)w->n_bytes, w->scratch, err);
    w->offset += w->n_bytes;
    w->n_bytes = 0;
    return status;
}

static enum moeq_status copy_item(const struct moeq_copy *c, struct moeq_copy_worker *w, size_t file,
                                  size_t item, struct moeq_error *err)
{
    const struct moeq_plan_item *it = &c->plan->items[item];
    enum moeq_status status = MOEQ_OK;
    for (uint64_t from = 0, n; !status && from < it->n_bytes; from += n) {
        const uint64_t left = it->n_bytes - from, room = WRITE_BYTES - (w->offset + w->n_bytes) % WRITE_BYTES;
        uint8_t *bytes = w->bytes + w->n_bytes;
        n = left < MOEQ_HASH_PIECE ? left : MOEQ_HASH_PIECE;
        n = n < room ? n : room;
        status = moeq_interrupt_check(err);
        if (!status)
            status = moeq_provenance_load(c->provenance, item, from, n, bytes, w->slices, err);
        if (status)
            break;
        moeq_hasher_update(w->segments, bytes, (size_t)n);
        w->n_bytes += n;
        if (n == room) /* writes end at whole pages, however large the file system makes them */
            status = write_out(c, w, file, err);
    }
    return status;
}

static enum moeq_status copy_run(const struct moeq_copy *c, struct moeq_copy_worker *w,
                                 const struct moeq_batch *b, const struct run *run, struct moeq_error *err)
{
    const struct moeq_plan_file *file = &c->plan->files[b->file];
    enum moeq_status status = MOEQ_OK;
    w->offset = run->offset;
    w->n_bytes = 0;
    for (size_t s = run->first; !status && s < run->first + run->n; s++) {
        const struct moeq_plan_segment *segment = &c->plan->segments[s];
        for (size_t i = segment->first; !status && i < segment->first + segment->n_items; i++) {
            status = copy_item(c, w, b->file, i, err);
            moeq_progress_add(c->progress, c->plan->items[i].weight->n_bytes, file->name);
        }
        c->hashes[b->file].segments[s - file->first] = moeq_hasher_finish(w->segments);
    }
    if (!status)
        status = write_out(c, w, b->file, err);
    moeq_out_begin_sync(&c->outs[b->file], run->offset, run->n_bytes);
    return status;
}

/* ---- which thread copies what; all of it under the lock ---- */

static struct under_way *batch_of(struct copying *c, uint64_t k)
{
    return &c->batches[k % MOEQ_COPIES_AT_ONCE];
}

static void begin_batch(struct copying *c)
{
    struct under_way *u = batch_of(c, c->n_begun);
    const struct moeq_batch *b = &c->copy->batches[c->n_begun++ % MOEQ_MAX_BATCHES];
    *u = (struct under_way){.batch = b, .failed = SIZE_MAX};
    u->runs = moeq_calloc(b->n_segments, sizeof *u->runs, &u->why);
    if (!u->runs) {
        u->failed = 0;
        c->failed = c->n_begun - 1;
    }
    uint64_t offset = b->offset;
    for (size_t s = b->segment; u->runs && s < b->segment + b->n_segments; s++) {
        const uint64_t n = c->copy->plan->segments[s].n_bytes;
        struct run *last = u->n_runs ? &u->runs[u->n_runs - 1] : NULL;
        if (!last || last->n_bytes + n > RUN_BYTES) {
            last = &u->runs[u->n_runs++];
            *last = (struct run){.first = s, .offset = offset};
        }
        last->n++;
        last->n_bytes += n;
        offset += n;
    }
}

static bool has_run(const struct copying *c, uint64_t k)
{
    const struct under_way *u = &c->batches[k % MOEQ_COPIES_AT_ONCE];
    return k >= c->n_ended && k < c->n_begun && k < c->failed && u->n_taken < u->n_runs;
}

/* Passes on what is done, in order; behind a failure nothing is. */
static void end_batches(struct copying *c)
{
    for (; c->n_ended < c->n_begun && c->n_ended <= c->failed; c->n_ended++) {
        struct under_way *u = batch_of(c, c->n_ended);
        const bool has_failed = u->failed != SIZE_MAX;
        if (u->n_done < u->n_taken || (u->n_taken < u->n_runs && !has_failed))
            break;
        if (has_failed)
            moeq_stages_fail(c->copy->stages, c->n_ended, &u->why);
        else
            moeq_stages_pass(c->copy->stages, MOEQ_ENCODING, false);
        free(u->runs);
        u->runs = NULL;
    }
}

static void end_run(struct copying *c, uint64_t k, size_t run, const struct moeq_error *why)
{
    struct under_way *u = batch_of(c, k);
    u->n_done++;
    if (why->status && run < u->failed) {
        u->failed = run;
        u->why = *why;
        c->failed = k < c->failed ? k : c->failed;
    }
    end_batches(c);
}

/* Whether there may be something to do once another batch was loaded, or one came to an end: waits for that,
 * without the lock. */
static bool wait_for_more(struct copying *c)
{
    const uint64_t next = c->n_begun, oldest = c->n_ended;
    const bool has_room = next - oldest < c->n_at_once;
    if (c->failed != UINT64_MAX)
        return false;
    pthread_mutex_unlock(&c->lock);
    bool more = has_room ? moeq_stages_wait(c->copy->stages, MOEQ_ENCODING, next)
                         : moeq_stages_wait_passed(c->copy->stages, MOEQ_ENCODING, oldest);
    more = more && (!has_room || c->copy->batches[next % MOEQ_MAX_BATCHES].kind == MOEQ_BATCH_COPY);
    pthread_mutex_lock(&c->lock);
    return more;
}

/* The batch of the next run for a thread that works on batch `own`: that one, else one that nobody has begun,
 * else the oldest with something left. False where there is none and will be none. */
static bool choose(struct copying *c, uint64_t *own)
{
    for (;;) {
        if (has_run(c, *own))
            return true;
        if (c->failed == UINT64_MAX && c->n_begun - c->n_ended < c->n_at_once &&
            moeq_stages_has(c->copy->stages, MOEQ_ENCODING, c->n_begun) &&
            c->copy->batches[c->n_begun % MOEQ_MAX_BATCHES].kind == MOEQ_BATCH_COPY) {
            *own = c->n_begun;
            begin_batch(c);
            end_batches(c);
            continue;
        }
        for (*own = c->n_ended; *own < c->n_begun; ++*own)
            if (has_run(c, *own))
                return true;
        if (!wait_for_more(c))
            return false;
    }
}

static enum moeq_status copy_on(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                struct moeq_error *err)
{
    struct copying *c = context;
    uint64_t own = UINT64_MAX;
    (void)begin;
    (void)end;
    (void)err;
    pthread_mutex_lock(&c->lock);
    while (choose(c, &own)) {
        struct moeq_error why = {0};
        struct under_way *u = batch_of(c, own);
        const size_t run = u->n_taken++;
        pthread_mutex_unlock(&c->lock);
        copy_run(c->copy, &c->copier->workers[worker], u->batch, &u->runs[run], &why);
        pthread_mutex_lock(&c->lock);
        end_run(c, own, run, &why);
    }
    pthread_mutex_unlock(&c->lock);
    return MOEQ_OK;
}

void moeq_copy_batches(struct moeq_copier *copier, const struct moeq_copy *copy, uint64_t first)
{
    /* Several threads would drive an archive that must be decompressed back and forth. */
    const bool in_order = moeq_source_is_decompressed(copy->plan->source);
    struct copying c = {.copy = copy,
                        .copier = copier,
                        .n_at_once = in_order ? 1 : MOEQ_COPIES_AT_ONCE,
                        .n_begun = first,
                        .n_ended = first,
                        .failed = UINT64_MAX};
    pthread_mutex_init(&c.lock, NULL);
    moeq_pool_for(copier->pool, in_order ? 1 : moeq_pool_jobs(copier->pool), 1, copy_on, &c, NULL);
    pthread_mutex_destroy(&c.lock);
    for (size_t i = 0; i < MOEQ_COPIES_AT_ONCE; i++)
        free(c.batches[i].runs);
}
