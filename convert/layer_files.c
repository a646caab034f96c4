#include "layer_files.h"

#include "coded.h"
#include "copy.h"
#include "ec.h"
#include "encode.h"
#include "interrupt.h"
#include "pieces.h"
#include "stages.h"

#include <stdlib.h>

#define FILES_UNDER_WAY (MOEQ_COPIES_AT_ONCE + 2) /* that have not yet got their names */

/* What a batch that is not a copy has on its way. */
struct slot {
    uint8_t *source;                    /* its memory */
    const struct moeq_weight **weights; /* [n_items] */
    struct moeq_matrix *matrices;       /* [n_items]: as loaded */
    uint8_t **parts;                    /* [n_items]: as written */
    uint64_t n_work;                    /* bytes of the source, for the progress */
};

struct run {
    const struct moeq_layer_files *files;
    struct moeq_stages *stages;
    struct moeq_batch *batches; /* [MOEQ_MAX_BATCHES]: those on their way, batch k at k % MOEQ_MAX_BATCHES */
    struct slot *slots;         /* likewise */
    struct moeq_out *outs;      /* [files of the plan] */
    struct moeq_encoder encoder;
    struct moeq_copier copier;
};

static struct moeq_batch *batch_of(const struct run *r, uint64_t k)
{
    return &r->batches[k % MOEQ_MAX_BATCHES];
}

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
    struct moeq_hasher *slices;
    uint64_t ends[FILES_UNDER_WAY]; /* the last batches of the files before, by turns */
    uint64_t n_files;
    struct moeq_matrix window; /* the tensor that windows are being cut from, */
    uint8_t *places[2];        /* where they go by turns, */
    unsigned n_windows;        /* and how many there were of it */
};

/* The packed bytes of an item of a checkpoint, whose slices are hashed as they come. */
static enum moeq_status read_item(struct loading *l, size_t item, uint8_t *dst, struct moeq_error *err)
{
    const struct moeq_layer_files *files = l->run->files;
    const struct moeq_weight *w = files->plan->items[item].weight;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t from = 0, n; !status && from < w->n_padded; from += n) {
        n = w->n_padded - from < MOEQ_HASH_PIECE ? w->n_padded - from : MOEQ_HASH_PIECE;
        status = moeq_provenance_load(files->provenance, item, from, n, dst + from, l->slices, err);
    }
    return status;
}

/* Items of a package: coded ones stay so where they are carried. */
static enum moeq_status load_packed(const struct loading *l, const struct moeq_batch *b, struct slot *slot,
                                    struct moeq_error *err)
{
    const struct moeq_plan *plan = l->run->files->plan;
    uint8_t *next, *end = slot->source + b->n_source;
    enum moeq_status status = moeq_source_read_at(plan->source, slot->weights, b->n_items, slot->source,
                                                  &next, slot->matrices, err);
    for (size_t i = 0; !status && i < b->n_items; i++) {
        const struct moeq_weight *w = slot->weights[i];
        if (!w->is_coded || moeq_item_is_carried(&plan->items[b->first + i]))
            continue;
        status =
            moeq_source_unpack(plan->source, w, end - moeq_coded_scratch_bytes(w->format, w->rows, w->cols),
                               next, &slot->matrices[i], err);
        next += w->n_padded;
    }
    return status;
}

static enum moeq_status load_items(struct loading *l, const struct moeq_batch *b, struct slot *slot,
                                   struct moeq_error *err)
{
    const struct moeq_source *source = l->run->files->plan->source;
    if (b->kind == MOEQ_BATCH_WINDOW && source->is_package) /* it becomes something else: all is unpacked */
        return moeq_source_load_at(source, slot->weights, 1, slot->source, slot->matrices, err);
    if (source->is_package)
        return load_packed(l, b, slot, err);
    enum moeq_status status = MOEQ_OK;
    uint8_t *next = slot->source;
    for (size_t i = 0; !status && i < b->n_items; i++) {
        const struct moeq_weight *w = slot->weights[i];
        status = read_item(l, b->first + i, next, err);
        slot->matrices[i] = (struct moeq_matrix){w->format, w->rows, w->cols, next, w->n_bytes};
        next += w->n_padded;
    }
    return status;
}

static enum moeq_status slot_init(struct slot *slot, const struct moeq_batch *b, const struct moeq_plan *plan,
                                  struct moeq_error *err)
{
    const size_t n = b->n_items;
    slot->weights = moeq_calloc(n, sizeof *slot->weights, err);
    slot->matrices = moeq_calloc(n, sizeof *slot->matrices, err);
    slot->parts = moeq_calloc(n, sizeof *slot->parts, err);
    if (!slot->weights || !slot->matrices || !slot->parts)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < n; i++)
        slot->weights[i] = plan->items[b->first + i].weight;
    return MOEQ_OK;
}

static enum moeq_status load_whole(struct loading *l, const struct moeq_batch *b, struct slot *slot,
                                   struct moeq_error *err)
{
    const struct moeq_plan *plan = l->run->files->plan;
    enum moeq_status status = slot_init(slot, b, plan, err);
    if (!status)
        status = load_items(l, b, slot, err);
    uint8_t *packed = slot->source + b->n_source;
    for (size_t i = 0; !status && i < b->n_items; i++) {
        const struct moeq_plan_item *item = &plan->items[b->first + i];
        const bool stays = moeq_item_is_copied(item) && !item->is_coded; /* with its padding */
        slot->parts[i] = stays ? (uint8_t *)slot->matrices[i].data : packed;
        if (item->is_coded && moeq_item_is_carried(item)) /* what lies behind them is not their padding */
            memcpy(packed, slot->matrices[i].data, (size_t)slot->matrices[i].n_bytes);
        packed += stays ? 0 : item->n_room;
        slot->n_work += item->weight->n_bytes;
    }
    return status;
}

/* The first window loads the tensor for all; they take turns in two places for what they become. */
static enum moeq_status load_window(struct loading *l, const struct moeq_batch *b, struct slot *slot,
                                    struct moeq_error *err)
{
    const struct moeq_plan *plan = l->run->files->plan;
    enum moeq_status status = slot_init(slot, b, plan, err);
    if (status)
        return status;
    if (b->row == 0) {
        status = load_items(l, b, slot, err);
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

/* Starts a file. No more than a few are open: none begins before one of them is complete. */
static enum moeq_status begin_file(struct loading *l, size_t f, struct moeq_error *err)
{
    const struct moeq_layer_files *files = l->run->files;
    const struct moeq_plan_file *file = &files->plan->files[f];
    if (l->n_files >= FILES_UNDER_WAY &&
        !moeq_stages_wait_passed(l->run->stages, MOEQ_FINISHING, l->ends[l->n_files % FILES_UNDER_WAY]))
        return MOEQ_OK; /* the batch will not be waited for */
    return moeq_out_create(&l->run->outs[f], files->dir, file->name, file->n_bytes, err);
}

static enum moeq_status load_batch(struct loading *l, uint64_t k, struct moeq_error *err)
{
    const struct moeq_batch *b = batch_of(l->run, k);
    struct slot *slot = slot_of(l->run, k);
    enum moeq_status status = moeq_interrupt_check(err);
    if (!status && b->begins_file)
        status = begin_file(l, b->file, err);
    if (status || b->kind == MOEQ_BATCH_COPY)
        return status;
    if (b->kind == MOEQ_BATCH_WHOLE || b->row == 0) {
        slot->source = moeq_stages_memory(l->run->stages, b->n_source + b->n_packed, k + b->n_later);
        if (!slot->source)
            return MOEQ_OK; /* likewise */
    }
    return b->kind == MOEQ_BATCH_WHOLE ? load_whole(l, b, slot, err) : load_window(l, b, slot, err);
}

static void load_all(struct loading *l)
{
    struct moeq_stages *stages = l->run->stages;
    struct moeq_error err = {0};
    for (uint64_t k = 0; moeq_stages_wait(stages, MOEQ_LOADING, k); k++) {
        struct moeq_batch *b = batch_of(l->run, k);
        slot_free(slot_of(l->run, k));
        if (!moeq_cut_next(&l->cut, b)) {
            moeq_stages_end(stages, k);
            break;
        }
        if (load_batch(l, k, &err)) {
            moeq_stages_fail(stages, k, &err);
            break;
        }
        if (b->ends_file)
            l->ends[l->n_files++ % FILES_UNDER_WAY] = k;
        moeq_stages_pass(stages, MOEQ_LOADING, b->kind == MOEQ_BATCH_WHOLE && !b->n_packed);
    }
}

static void *load_main(void *context)
{
    struct run *r = context;
    struct moeq_error err = {0};
    struct loading l = {.run = r, .cut = {.plan = r->files->plan, .is_kept = r->files->is_kept}};
    l.slices = moeq_hasher_create(&err);
    if (l.slices)
        load_all(&l);
    else
        moeq_stages_fail(r->stages, 0, &err);
    moeq_hasher_free(l.slices);
    return NULL;
}

/* ---- encoding and copying ---- */

static void encode_all(struct run *r)
{
    const struct moeq_layer_files *files = r->files;
    const struct moeq_copy copy = {.plan = files->plan,
                                   .stages = r->stages,
                                   .batches = r->batches,
                                   .outs = r->outs,
                                   .provenance = files->provenance,
                                   .hashes = files->hashes,
                                   .progress = files->progress};
    struct moeq_error err = {0};
    uint64_t k;
    while (moeq_stages_wait_to_encode(r->stages, &k)) {
        struct moeq_batch *b = batch_of(r, k);
        const struct slot *slot = slot_of(r, k);
        if (b->kind == MOEQ_BATCH_COPY) {
            moeq_copy_batches(&r->copier, &copy, k);
            continue;
        }
        if (b->kind == MOEQ_BATCH_WINDOW && k >= 2 &&
            !moeq_stages_wait_passed(r->stages, MOEQ_WRITING, k - 2))
            break; /* what lies in its place is not yet written */
        if (moeq_encode_batch(&r->encoder, files->plan, b, slot->matrices, slot->parts, &err)) {
            moeq_stages_fail(r->stages, k, &err);
            break;
        }
        moeq_stages_pass(r->stages, MOEQ_ENCODING, false);
    }
}

/* ---- writing ---- */

/* The segment that is being written. */
struct writing {
    struct run *run;
    struct moeq_hasher *hasher;
    uint8_t *scratch; /* [MOEQ_OUT_SCRATCH] */
    size_t segment;   /* of the plan */
    uint64_t offset;  /* in a file with coded items, of which no batch knows its place */
};

static enum moeq_status write_part(struct writing *w, const struct moeq_batch *b, uint64_t offset,
                                   const uint8_t *data, uint64_t n_bytes, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (uint64_t done = 0, n; !status && done < n_bytes; done += n) {
        n = n_bytes - done < MOEQ_HASH_PIECE ? n_bytes - done : MOEQ_HASH_PIECE;
        moeq_hasher_update(w->hasher, data + done, (size_t)n);
        status =
            moeq_out_write_at(&w->run->outs[b->file], offset + done, data + done, (size_t)n, w->scratch, err);
    }
    return status;
}

/* Takes the hash of a segment with its last item. */
static void end_item(struct writing *w, const struct moeq_batch *b, size_t item)
{
    const struct moeq_layer_files *files = w->run->files;
    const struct moeq_plan_segment *segment = &files->plan->segments[w->segment];
    if (item + 1 < segment->first + segment->n_items)
        return;
    const size_t first = files->plan->files[b->file].first;
    files->hashes[b->file].segments[w->segment++ - first] = moeq_hasher_finish(w->hasher);
}

static enum moeq_status write_batch(struct writing *w, const struct moeq_batch *b, const struct slot *slot,
                                    struct moeq_error *err)
{
    struct moeq_plan *plan = w->run->files->plan;
    const bool is_window = b->kind == MOEQ_BATCH_WINDOW, has_coded = plan->files[b->file].has_coded;
    enum moeq_status status = MOEQ_OK;
    if (b->kind == MOEQ_BATCH_COPY)
        return MOEQ_OK; /* it is there already */
    if (b->begins_segment)
        w->segment = b->segment;
    if (b->begins_file)
        w->offset = b->offset;
    const uint64_t begin = has_coded ? w->offset : b->offset;
    uint64_t offset = begin;
    for (size_t i = 0; !status && i < b->n_items; i++) {
        const uint64_t n = is_window ? b->n_bytes : plan->items[b->first + i].n_bytes;
        status = write_part(w, b, offset, slot->parts[i], n, err);
        offset += n;
        if (!is_window || !b->n_later)
            end_item(w, b, b->first + i);
    }
    w->offset = offset;
    if (b->ends_file && has_coded)
        moeq_plan_sum_file(plan, b->file);
    moeq_out_begin_sync(&w->run->outs[b->file], begin, offset - begin);
    moeq_progress_add(w->run->files->progress, slot->n_work, plan->files[b->file].name);
    return status;
}

static void write_all(struct writing *w)
{
    struct moeq_stages *stages = w->run->stages;
    struct moeq_error err = {0};
    for (uint64_t k = 0; moeq_stages_wait(stages, MOEQ_WRITING, k); k++) {
        if (write_batch(w, batch_of(w->run, k), slot_of(w->run, k), &err)) {
            moeq_stages_fail(stages, k, &err);
            break;
        }
        moeq_stages_pass(stages, MOEQ_WRITING, false);
    }
}

static void *write_main(void *context)
{
    struct moeq_error err = {0};
    struct writing w = {.run = context, .hasher = moeq_hasher_create(&err)};
    w.scratch = w.hasher ? malloc(MOEQ_OUT_SCRATCH) : NULL;
    if (w.scratch) {
        write_all(&w);
    } else {
        moeq_fail_alloc(&err, MOEQ_OUT_SCRATCH);
        moeq_stages_fail(w.run->stages, 0, &err);
    }
    free(w.scratch);
    moeq_hasher_free(w.hasher);
    return NULL;
}

/* ---- finishing files ---- */

static enum moeq_status differs(const char *how, struct moeq_error *err)
{
    moeq_fail(err, MOEQ_IO, "what was written reads back differently: %.300s", how);
    moeq_error_hint(err, "check the disk");
    return MOEQ_IO;
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

/* The list of hashes and the header, which has the hash of what the file was made from, come last. */
static enum moeq_status finish_file(const struct run *r, size_t f, struct moeq_error *err)
{
    const struct moeq_layer_files *files = r->files;
    const struct moeq_plan_file *file = &files->plan->files[f];
    const size_t n_list = file->n_segments * MOEQ_HASH_BYTES;
    struct finishing finishing = {
        {files->plan, file, files->plan_hash, moeq_provenance_of_file(files->provenance, file)},
        &files->hashes[f]};
    struct moeq_out *out = &r->outs[f];
    struct moeq_bytes head = {0}, scratch = {0};
    enum moeq_status status =
        moeq_plan_file_head(files->plan, file, files->plan_hash, finishing.check.made_from, &head, err);
    if (!status)
        status = moeq_bytes_resize(&scratch, MOEQ_OUT_SCRATCH, err);
    if (!status)
        status = moeq_out_write_at(out, file->n_bytes - n_list, finishing.hashes->segments, n_list,
                                   scratch.data, err);
    if (!status)
        status = moeq_out_write_at(out, 0, head.data, head.n_bytes, scratch.data, err);
    out->n_written = file->n_bytes;
    if (!status)
        status = moeq_out_finish(out, check_written, &finishing, err);
    moeq_bytes_free(&head);
    moeq_bytes_free(&scratch);
    return status;
}

static void *finish_main(void *context)
{
    const struct run *r = context;
    struct moeq_error err = {0};
    for (uint64_t k = 0; moeq_stages_wait(r->stages, MOEQ_FINISHING, k); k++) {
        const struct moeq_batch *b = batch_of(r, k);
        if (b->ends_file && finish_file(r, b->file, &err)) {
            moeq_stages_fail(r->stages, k, &err);
            break;
        }
        moeq_stages_pass(r->stages, MOEQ_FINISHING, false);
    }
    return NULL;
}

/* ---- all of it ---- */

static enum moeq_status run_init(struct run *r, struct moeq_error *err)
{
    const struct moeq_layer_files *files = r->files;
    r->stages = moeq_stages_create(moeq_batches_memory(moeq_batches_largest(files->plan)), err);
    r->batches = moeq_calloc(MOEQ_MAX_BATCHES, sizeof *r->batches, err);
    r->slots = moeq_calloc(MOEQ_MAX_BATCHES, sizeof *r->slots, err);
    r->outs = moeq_calloc(files->plan->n_files, sizeof *r->outs, err);
    if (!r->stages || !r->batches || !r->slots || !r->outs)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = moeq_encoder_init(&r->encoder, files->plan, files->pool, err);
    r->encoder.supply = files->supply;
    r->encoder.errors = files->errors;
    return status ? status : moeq_copier_init(&r->copier, files->pool, err);
}

static void run_free(struct run *r)
{
    for (size_t i = 0; r->outs && i < r->files->plan->n_files; i++)
        moeq_out_abandon(&r->outs[i]);
    for (size_t i = 0; r->slots && i < MOEQ_MAX_BATCHES; i++)
        slot_free(&r->slots[i]);
    moeq_copier_free(&r->copier);
    moeq_encoder_free(&r->encoder);
    moeq_stages_free(r->stages);
    free(r->slots);
    free(r->batches);
    free(r->outs);
}

/* The calling thread encodes and copies, since the pool is its own. */
static void run_stages(struct run *r)
{
    void *(*const mains[])(void *) = {load_main, write_main, finish_main};
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

/* That an item takes while it is encoded as a whole, beside what is loaded and written. */
static uint64_t whole_bytes(const struct moeq_plan_item *item, unsigned n_jobs)
{
    const struct moeq_weight *w = item->weight;
    if (moeq_item_is_copied(item) || !(item->is_calibrated || item->format.level->is_coded))
        return 0;
    const uint64_t coded =
        item->format.level->is_coded ? moeq_ec_encode_bytes(w->rows, w->cols, item->n_bytes, n_jobs) : 0;
    return coded + (item->is_calibrated ? moeq_calibrated_bytes(w) : w->rows * w->cols * sizeof(float));
}

uint64_t moeq_layer_files_memory(const struct moeq_plan *plan, unsigned n_jobs)
{
    uint64_t worker = 0, whole = 0;
    struct moeq_pieces pieces;
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct moeq_plan_item *item = &plan->items[i];
        const struct moeq_weight *w = item->weight;
        whole = moeq_larger(whole, whole_bytes(item, n_jobs));
        if (!moeq_item_is_copied(item) && !item->format.level->is_coded)
            worker =
                moeq_larger(worker, moeq_encoder_rows_at_once(item->format.level) * w->cols * sizeof(float));
        if (item->is_coded && moeq_pieces_of(item->format, w->rows, w->cols, &pieces))
            worker = moeq_larger(worker, moeq_pieces_worker_bytes(&pieces));
    }
    return moeq_batches_memory(moeq_batches_largest(plan)) + whole + n_jobs * (worker + MOEQ_COPIER_BYTES);
}
