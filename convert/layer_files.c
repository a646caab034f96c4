#include "layer_files.h"

#include "encode.h"
#include "interrupt.h"
#include "stages.h"

#include <assert.h>
#include <stdlib.h>

#define READ_BYTES      (128u << 10) /* at once: they are hashed while they are in the second-level cache */
#define BEGIN_SYNC      (8u << 20)   /* written bytes that the disk is asked to begin with */
#define FILES_UNDER_WAY 3            /* that have not yet got their names */

/* A batch on its way. */
struct slot {
    struct moeq_batch batch;
    uint8_t *source;                    /* its bytes, of a copy those of the file */
    const struct moeq_weight **weights; /* [n_items]; these three not of a copy */
    struct moeq_matrix *matrices;       /* [n_items]: as loaded */
    uint8_t **parts;                    /* [n_items]: as written */
    uint64_t n_work;                    /* bytes of the source, for the progress */
    struct moeq_hash hash;              /* of the bytes as written */
};

struct run {
    const struct moeq_layer_files *files;
    struct moeq_stages *stages;
    struct slot *slots;    /* [MOEQ_MAX_BATCHES] */
    struct moeq_out *outs; /* [files of the plan] */
    struct moeq_encoder encoder;
};

static struct slot *slot_of(const struct run *r, uint64_t k)
{
    return &r->slots[k % MOEQ_MAX_BATCHES];
}

static void slot_free(struct slot *slot)
{
    free(slot->weights);
    free(slot->matrices);
    free(slot->parts);
    *slot = (struct slot){0};
}

/* ---- loading ---- */

struct loading {
    struct run *run;
    struct moeq_cut cut;
    struct moeq_hasher *slices, *copies;
    struct moeq_matrix window; /* the tensor that windows are being cut from, */
    uint8_t *places[2];        /* where they go by turns, */
    unsigned n_windows;        /* and how many there were of it */
};

/* Packed bytes [from, from + n) of an item of a checkpoint, which are hashed as they come: as slices, and
 * where `hasher` is not NULL as what will be written. */
static enum moeq_status read_item(struct loading *l, size_t item, uint64_t from, uint64_t n_bytes,
                                  uint8_t *dst, struct moeq_hasher *hasher, struct moeq_error *err)
{
    const struct moeq_layer_files *files = l->run->files;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t done = 0, n; !status && done < n_bytes; done += n) {
        n = n_bytes - done < READ_BYTES ? n_bytes - done : READ_BYTES;
        status = moeq_source_read_packed(files->plan->source, files->plan->items[item].weight, from + done, n,
                                         dst + done, err);
        if (status)
            break;
        moeq_provenance_add(files->provenance, item, from + done, dst + done, n, l->slices);
        if (hasher)
            moeq_hasher_update(hasher, dst + done, (size_t)n);
    }
    return status;
}

static enum moeq_status load_copy(struct loading *l, struct slot *slot, struct moeq_error *err)
{
    const struct moeq_batch *b = &slot->batch;
    const struct moeq_plan_item *items = l->run->files->plan->items;
    enum moeq_status status = MOEQ_OK;
    uint64_t done = 0, from = b->from;
    for (size_t i = b->first; !status && i < b->first + b->n_items; i++, from = 0) {
        const uint64_t left = items[i].n_bytes - from, room = b->n_bytes - done;
        const uint64_t n = left < room ? left : room;
        status = read_item(l, i, from, n, slot->source + done, l->copies, err);
        done += n;
    }
    slot->n_work = b->n_bytes;
    slot->hash = moeq_hasher_finish(l->copies);
    return status;
}

static enum moeq_status load_items(struct loading *l, struct slot *slot, struct moeq_error *err)
{
    const struct moeq_batch *b = &slot->batch;
    const struct moeq_source *source = l->run->files->plan->source;
    if (source->is_package)
        return moeq_source_load_at(source, slot->weights, b->n_items, slot->source, slot->matrices, err);
    enum moeq_status status = MOEQ_OK;
    uint8_t *next = slot->source;
    for (size_t i = 0; !status && i < b->n_items; i++) {
        const struct moeq_weight *w = slot->weights[i];
        status = read_item(l, b->first + i, 0, w->n_padded, next, NULL, err);
        slot->matrices[i] = (struct moeq_matrix){w->format, w->rows, w->cols, next, w->n_bytes};
        next += w->n_padded;
    }
    return status;
}

static enum moeq_status slot_init(struct slot *slot, const struct moeq_plan *plan, struct moeq_error *err)
{
    const size_t n = slot->batch.n_items;
    slot->weights = moeq_calloc(n, sizeof *slot->weights, err);
    slot->matrices = moeq_calloc(n, sizeof *slot->matrices, err);
    slot->parts = moeq_calloc(n, sizeof *slot->parts, err);
    if (!slot->weights || !slot->matrices || !slot->parts)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < n; i++)
        slot->weights[i] = plan->items[slot->batch.first + i].weight;
    return MOEQ_OK;
}

static enum moeq_status load_whole(struct loading *l, struct slot *slot, struct moeq_error *err)
{
    const struct moeq_batch *b = &slot->batch;
    const struct moeq_plan *plan = l->run->files->plan;
    enum moeq_status status = slot_init(slot, plan, err);
    if (!status)
        status = load_items(l, slot, err);
    uint8_t *packed = slot->source + b->n_source;
    for (size_t i = 0; !status && i < b->n_items; i++) {
        const struct moeq_plan_item *item = &plan->items[b->first + i];
        const bool is_copied = moeq_item_is_copied(item); /* loaded bytes carry their padding with them */
        slot->parts[i] = is_copied ? (uint8_t *)slot->matrices[i].data : packed;
        packed += is_copied ? 0 : item->n_bytes;
        slot->n_work += item->weight->n_bytes;
    }
    return status;
}

/* The first window loads the tensor for all; they take turns in two places for what they become. */
static enum moeq_status load_window(struct loading *l, struct slot *slot, struct moeq_error *err)
{
    const struct moeq_plan *plan = l->run->files->plan;
    const struct moeq_batch *b = &slot->batch;
    enum moeq_status status = slot_init(slot, plan, err);
    if (status)
        return status;
    if (b->from == 0) {
        status = load_items(l, slot, err);
        l->window = slot->matrices[0];
        l->places[0] = slot->source + b->n_source;
        l->places[1] = l->places[0] + moeq_window_bytes(&plan->items[b->first]);
        l->n_windows = 0;
        slot->n_work = slot->weights[0]->n_bytes;
    }
    slot->matrices[0] = l->window;
    slot->parts[0] = l->places[l->n_windows++ % 2];
    return status;
}

/* Memory for a batch; false where there is no point in it any more. */
static bool take_memory(struct loading *l, uint64_t k, struct slot *slot)
{
    const struct moeq_batch *b = &slot->batch;
    struct moeq_stages *stages = l->run->stages;
    if (b->kind == MOEQ_BATCH_WINDOW && b->from > 0)
        return true;
    if (b->kind == MOEQ_BATCH_COPY && k >= MOEQ_COPIES_AHEAD &&
        !moeq_stages_wait_passed(stages, MOEQ_WRITING, k - MOEQ_COPIES_AHEAD))
        return false;
    slot->source = moeq_stages_memory(stages, b->n_source + b->n_packed, k + b->n_later);
    return slot->source != NULL;
}

static enum moeq_status load_batch(struct loading *l, struct slot *slot, struct moeq_error *err)
{
    enum moeq_status status = moeq_interrupt_check(err);
    if (status)
        return status;
    switch (slot->batch.kind) {
    case MOEQ_BATCH_COPY:
        return load_copy(l, slot, err);
    case MOEQ_BATCH_WHOLE:
        return load_whole(l, slot, err);
    default:
        return load_window(l, slot, err);
    }
}

static void load_all(struct loading *l)
{
    struct moeq_stages *stages = l->run->stages;
    struct moeq_error err = {0};
    for (uint64_t k = 0; moeq_stages_wait(stages, MOEQ_LOADING, k); k++) {
        struct slot *slot = slot_of(l->run, k);
        slot_free(slot);
        if (!moeq_cut_next(&l->cut, &slot->batch)) {
            moeq_stages_end(stages, k);
            break;
        }
        if (!take_memory(l, k, slot))
            break;
        if (load_batch(l, slot, &err)) {
            moeq_stages_fail(stages, k, &err);
            break;
        }
        moeq_stages_pass(stages, MOEQ_LOADING,
                         slot->batch.kind != MOEQ_BATCH_WINDOW && !slot->batch.n_packed);
    }
}

static void *load_main(void *context)
{
    struct run *r = context;
    struct moeq_error err = {0};
    struct loading l = {.run = r, .cut = {.plan = r->files->plan, .is_kept = r->files->is_kept}};
    l.slices = moeq_hasher_create(&err);
    l.copies = l.slices ? moeq_hasher_create(&err) : NULL;
    if (l.copies)
        load_all(&l);
    else
        moeq_stages_fail(r->stages, 0, &err);
    moeq_hasher_free(l.slices);
    moeq_hasher_free(l.copies);
    return NULL;
}

/* ---- encoding ---- */

static void encode_all(struct run *r)
{
    struct moeq_error err = {0};
    uint64_t k;
    while (moeq_stages_wait_to_encode(r->stages, &k)) {
        const struct slot *slot = slot_of(r, k);
        const bool is_window = slot->batch.kind == MOEQ_BATCH_WINDOW;
        if (is_window && k >= 2 && !moeq_stages_wait_passed(r->stages, MOEQ_WRITING, k - 2))
            break; /* what lies in its place is not yet written */
        if (moeq_encode_batch(&r->encoder, r->files->plan, &slot->batch, slot->matrices, slot->parts, &err)) {
            moeq_stages_fail(r->stages, k, &err);
            break;
        }
        moeq_stages_pass(r->stages, MOEQ_ENCODING, false);
    }
}

/* ---- writing ---- */

struct writing {
    struct run *run;
    struct moeq_hasher *hasher;
    uint64_t ends[FILES_UNDER_WAY]; /* the last batches of the files before, by turns */
    uint64_t n_files;
};

/* The header comes last, when its hash of the source is known. Until then there are zeros. */
static enum moeq_status begin_file(struct writing *w, size_t f, struct moeq_error *err)
{
    const struct moeq_layer_files *files = w->run->files;
    const struct moeq_plan_file *file = &files->plan->files[f];
    struct moeq_bytes head = {0};
    enum moeq_status status = moeq_bytes_resize(&head, (size_t)file->n_head, err);
    if (!status)
        status = moeq_out_create(&w->run->outs[f], files->dir, file->name, file->n_bytes, err);
    if (!status) {
        memset(head.data, 0, head.n_bytes);
        status = moeq_out_write(&w->run->outs[f], head.data, head.n_bytes, err);
    }
    moeq_bytes_free(&head);
    return status;
}

static enum moeq_status write_batch(struct writing *w, struct slot *slot, struct moeq_error *err)
{
    const struct moeq_batch *b = &slot->batch;
    const struct moeq_plan *plan = w->run->files->plan;
    struct moeq_out *out = &w->run->outs[b->file];
    enum moeq_status status = b->begins_file ? begin_file(w, b->file, err) : MOEQ_OK;
    if (b->kind == MOEQ_BATCH_COPY)
        return status ? status : moeq_out_write(out, slot->source, (size_t)b->n_bytes, err);
    for (size_t i = 0; !status && i < b->n_items; i++) {
        const size_t n =
            (size_t)(b->kind == MOEQ_BATCH_WINDOW ? b->n_bytes : plan->items[b->first + i].n_bytes);
        moeq_hasher_update(w->hasher, slot->parts[i], n);
        status = moeq_out_write(out, slot->parts[i], n, err);
    }
    slot->hash = moeq_hasher_finish(w->hasher);
    return status;
}

/* No more files than that are open, and none begins before one of them is complete. */
static bool wait_for_files(struct writing *w)
{
    return w->n_files < FILES_UNDER_WAY ||
           moeq_stages_wait_passed(w->run->stages, MOEQ_READING_BACK, w->ends[w->n_files % FILES_UNDER_WAY]);
}

static void write_all(struct writing *w)
{
    struct moeq_stages *stages = w->run->stages;
    struct moeq_error err = {0};
    for (uint64_t k = 0; moeq_stages_wait(stages, MOEQ_WRITING, k); k++) {
        struct slot *slot = slot_of(w->run, k);
        const struct moeq_plan_file *file = &w->run->files->plan->files[slot->batch.file];
        if (slot->batch.begins_file && !wait_for_files(w))
            break;
        if (write_batch(w, slot, &err)) {
            moeq_stages_fail(stages, k, &err);
            break;
        }
        if (slot->batch.ends_file)
            w->ends[w->n_files++ % FILES_UNDER_WAY] = k;
        moeq_progress_add(w->run->files->progress, slot->n_work, file->name);
        moeq_stages_pass(stages, MOEQ_WRITING, false);
    }
}

static void *write_main(void *context)
{
    struct moeq_error err = {0};
    struct writing w = {.run = context, .hasher = moeq_hasher_create(&err)};
    if (w.hasher)
        write_all(&w);
    else
        moeq_stages_fail(w.run->stages, 0, &err);
    moeq_hasher_free(w.hasher);
    return NULL;
}

/* ---- reading back, and finishing a file ---- */

/* The hashes of segments are those of the bytes in the file, which are compared batch by batch with what was
 * to be written. */
struct reading_back {
    struct run *run;
    struct moeq_hasher *segments, *batches;
    uint8_t *buffer;  /* [READ_BYTES] */
    uint64_t at;      /* in the file */
    uint64_t syncing; /* up to there the disk has been asked */
    size_t segment;   /* of the file */
    uint64_t n_left;  /* bytes of it that have not come */
};

static void hash_segments(struct reading_back *b, size_t f, const uint8_t *data, uint64_t n)
{
    const struct moeq_plan *plan = b->run->files->plan;
    const struct moeq_plan_file *file = &plan->files[f];
    for (;;) {
        while (b->segment < file->n_segments && b->n_left == 0) {
            b->run->files->hashes[f].segments[b->segment++] = moeq_hasher_finish(b->segments);
            b->n_left = b->segment < file->n_segments ? plan->segments[file->first + b->segment].n_bytes : 0;
        }
        if (!n)
            return;
        assert(b->n_left > 0);
        const uint64_t take = n < b->n_left ? n : b->n_left;
        moeq_hasher_update(b->segments, data, (size_t)take);
        b->n_left -= take;
        data += take;
        n -= take;
    }
}

static enum moeq_status differs(const char *how, struct moeq_error *err)
{
    moeq_fail(err, MOEQ_IO, "what was written reads back differently: %.300s", how);
    moeq_error_hint(err, "check the disk");
    return MOEQ_IO;
}

static enum moeq_status read_back(struct reading_back *b, const struct slot *slot, struct moeq_error *err)
{
    const struct moeq_plan *plan = b->run->files->plan;
    const size_t f = slot->batch.file;
    const struct moeq_out *out = &b->run->outs[f];
    enum moeq_status status = MOEQ_OK;
    if (slot->batch.begins_file) {
        b->at = b->syncing = plan->files[f].n_head;
        b->segment = 0;
        b->n_left = plan->segments[plan->files[f].first].n_bytes;
    }
    hash_segments(b, f, NULL, 0);
    for (uint64_t left = slot->batch.n_bytes, n; left; left -= n, b->at += n) {
        n = left < READ_BYTES ? left : READ_BYTES;
        status = moeq_out_read(out, b->at, b->buffer, (size_t)n, err);
        if (status)
            return status;
        moeq_hasher_update(b->batches, b->buffer, (size_t)n);
        hash_segments(b, f, b->buffer, n);
    }
    if (!moeq_hash_equal(moeq_hasher_finish(b->batches), slot->hash))
        return differs("the data do not match their hash", err);
    if (b->at - b->syncing >= BEGIN_SYNC) {
        moeq_out_begin_sync(out, b->syncing, b->at - b->syncing);
        b->syncing = b->at;
    }
    return MOEQ_OK;
}

struct finishing {
    struct moeq_layer_check check;
    struct moeq_layer_hashes *hashes;
};

static enum moeq_status check_written(void *context, const char *path, struct moeq_error *err)
{
    struct finishing *f = context;
    struct moeq_error problem = {0};
    enum moeq_status status = moeq_layer_file_check_outside(&f->check, path, f->hashes, &problem);
    if (status == MOEQ_DAMAGED || status == MOEQ_CHECK_FAILED)
        return differs(problem.message, err);
    if (status && err)
        *err = problem;
    return status;
}

static enum moeq_status finish_file(struct reading_back *b, size_t f, struct moeq_error *err)
{
    const struct moeq_layer_files *files = b->run->files;
    const struct moeq_plan_file *file = &files->plan->files[f];
    struct moeq_out *out = &b->run->outs[f];
    struct finishing finishing = {
        {files->plan, file, files->plan_hash, moeq_provenance_of_file(files->provenance, file)},
        &files->hashes[f]};
    struct moeq_bytes head = {0};
    enum moeq_status status =
        moeq_plan_file_head(files->plan, file, files->plan_hash, finishing.check.made_from, &head, err);
    if (!status)
        status = moeq_out_write(out, finishing.hashes->segments, file->n_segments * MOEQ_HASH_BYTES, err);
    if (!status)
        status = moeq_out_rewrite(out, 0, head.data, head.n_bytes, err);
    if (!status)
        status = moeq_out_finish(out, check_written, &finishing, err);
    moeq_bytes_free(&head);
    return status;
}

static void read_all_back(struct reading_back *b)
{
    struct moeq_stages *stages = b->run->stages;
    struct moeq_error err = {0};
    for (uint64_t k = 0; moeq_stages_wait(stages, MOEQ_READING_BACK, k); k++) {
        const struct slot *slot = slot_of(b->run, k);
        enum moeq_status status = read_back(b, slot, &err);
        if (!status && slot->batch.ends_file)
            status = finish_file(b, slot->batch.file, &err);
        if (status) {
            moeq_stages_fail(stages, k, &err);
            break;
        }
        moeq_stages_pass(stages, MOEQ_READING_BACK, false);
    }
}

static void *read_back_main(void *context)
{
    struct moeq_error err = {0};
    struct reading_back b = {.run = context, .segments = moeq_hasher_create(&err)};
    b.batches = b.segments ? moeq_hasher_create(&err) : NULL;
    b.buffer = b.batches ? malloc(READ_BYTES) : NULL;
    if (!b.buffer) {
        moeq_fail_alloc(&err, READ_BYTES);
        moeq_stages_fail(b.run->stages, 0, &err);
    } else {
        read_all_back(&b);
    }
    free(b.buffer);
    moeq_hasher_free(b.segments);
    moeq_hasher_free(b.batches);
    return NULL;
}

/* ---- all of it ---- */

static enum moeq_status run_init(struct run *r, struct moeq_error *err)
{
    const struct moeq_layer_files *files = r->files;
    r->stages = moeq_stages_create(moeq_batches_memory(moeq_batches_largest(files->plan)), err);
    r->slots = moeq_calloc(MOEQ_MAX_BATCHES, sizeof *r->slots, err);
    r->outs = moeq_calloc(files->plan->n_files, sizeof *r->outs, err);
    if (!r->stages || !r->slots || !r->outs)
        return MOEQ_OVER_MEMORY;
    return moeq_encoder_init(&r->encoder, files->pool, err);
}

static void run_free(struct run *r)
{
    for (size_t i = 0; r->outs && i < r->files->plan->n_files; i++)
        moeq_out_abandon(&r->outs[i]);
    for (size_t i = 0; r->slots && i < MOEQ_MAX_BATCHES; i++)
        slot_free(&r->slots[i]);
    moeq_encoder_free(&r->encoder);
    moeq_stages_free(r->stages);
    free(r->slots);
    free(r->outs);
}

/* The calling thread encodes, since the pool is its own. */
static void run_stages(struct run *r)
{
    void *(*const mains[])(void *) = {load_main, write_main, read_back_main};
    enum { N = sizeof mains / sizeof *mains };
    pthread_t threads[N];
    size_t n = 0;
    for (int error_number = 0; n < N && !error_number; n += !error_number) {
        error_number = moeq_thread_start(&threads[n], mains[n], r);
        if (error_number) {
            struct moeq_error err = {0};
            moeq_fail(&err, MOEQ_OVER_MEMORY, "cannot start a thread: %s", strerror(error_number));
            moeq_stages_fail(r->stages, 0, &err);
        }
    }
    encode_all(r);
    while (n > 0)
        pthread_join(threads[--n], NULL);
}

enum moeq_status moeq_layer_files_write(const struct moeq_layer_files *files, struct moeq_error *err)
{
    struct run r = {.files = files};
    enum moeq_status status = run_init(&r, err);
    if (!status) {
        run_stages(&r);
        status = moeq_stages_result(r.stages, err);
    }
    run_free(&r);
    return status;
}

uint64_t moeq_layer_files_memory(const struct moeq_plan *plan, unsigned n_jobs)
{
    uint64_t worker = 0;
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct moeq_plan_item *item = &plan->items[i];
        if (!moeq_item_is_copied(item))
            worker = moeq_larger(worker, moeq_encoder_rows_at_once(item->format.level) * item->weight->cols);
    }
    return moeq_batches_memory(moeq_batches_largest(plan)) + n_jobs * worker * sizeof(float);
}
