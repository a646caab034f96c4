#include "layer_file.h"

#include "interrupt.h"

#include <stdlib.h>

#define BATCH_BYTES                                                                                          \
    (16u << 20) /* source and packed bytes that are in memory at once, if a tensor is not larger */
#define READ_BYTES (1u << 20)
#define HASH_BYTES sizeof(struct moeq_hash)

void moeq_layer_buffers_free(struct moeq_layer_buffers *buffers)
{
    moeq_bytes_free(&buffers->source);
    moeq_bytes_free(&buffers->packed);
    for (unsigned i = 0; i < buffers->n_workers; i++)
        moeq_bytes_free(&buffers->workers[i]);
    free(buffers->workers);
    *buffers = (struct moeq_layer_buffers){0};
}

/* ---- converting a batch of items ---- */

/* A piece is up to MOEQ_ROWS_PER_PIECE rows of one item. */
struct piece {
    size_t item; /* in the batch */
    uint64_t row, n_rows;
};

struct batch {
    const struct moeq_plan_item *items;
    size_t n_items;
    const struct moeq_weight **weights;
    struct moeq_matrix *matrices; /* as loaded */
    uint8_t **packed;             /* as written: the loaded bytes, or a place in the buffer */
    struct piece *pieces;
    size_t n_pieces;
    struct moeq_layer_buffers *buffers;
};

static bool is_copied(const struct moeq_plan_item *item)
{
    return moeq_format_equal(item->format, item->weight->format);
}

/* Items from `first` on that fit into a batch; at least one. */
static size_t count_items(const struct moeq_plan *plan, size_t first, size_t end)
{
    uint64_t total = 0;
    size_t i = first;
    for (; i < end; i++) {
        const struct moeq_plan_item *item = &plan->items[i];
        uint64_t n = item->weight->n_padded + (is_copied(item) ? 0 : item->n_bytes);
        if (i > first && total + n > BATCH_BYTES)
            break;
        total += n;
    }
    return i - first;
}

static void batch_free(struct batch *b)
{
    free(b->weights);
    free(b->matrices);
    free(b->packed);
    free(b->pieces);
}

static enum moeq_status batch_init(struct batch *b, const struct moeq_plan_item *items, size_t n,
                                   struct moeq_layer_buffers *buffers, struct moeq_error *err)
{
    *b = (struct batch){.items = items, .n_items = n, .buffers = buffers};
    size_t n_pieces = 0;
    for (size_t i = 0; i < n; i++)
        n_pieces += (size_t)moeq_div_up(items[i].weight->rows, MOEQ_ROWS_PER_PIECE);
    b->weights = moeq_calloc(n, sizeof *b->weights, err);
    b->matrices = moeq_calloc(n, sizeof *b->matrices, err);
    b->packed = moeq_calloc(n, sizeof *b->packed, err);
    b->pieces = moeq_calloc(n_pieces, sizeof *b->pieces, err);
    if (!b->weights || !b->matrices || !b->packed || !b->pieces) {
        batch_free(b);
        return MOEQ_OVER_MEMORY;
    }
    for (size_t i = 0; i < n; i++)
        b->weights[i] = items[i].weight;
    return MOEQ_OK;
}

/* Loads the batch and gives every item that must be encoded its place and its pieces. */
static enum moeq_status batch_load(struct batch *b, const struct moeq_source *source, struct moeq_error *err)
{
    uint64_t n_packed = 0;
    for (size_t i = 0; i < b->n_items; i++)
        n_packed += is_copied(&b->items[i]) ? 0 : b->items[i].n_bytes;
    enum moeq_status status =
        moeq_source_load(source, b->weights, b->n_items, &b->buffers->source, b->matrices, err);
    if (!status)
        status = moeq_bytes_resize(&b->buffers->packed, (size_t)n_packed, err);
    if (status)
        return status;
    memset(b->buffers->packed.data, 0, (size_t)n_packed);
    uint8_t *next = b->buffers->packed.data;
    for (size_t i = 0; i < b->n_items; i++) {
        if (is_copied(&b->items[i])) { /* loaded bytes carry their padding with them */
            b->packed[i] = (uint8_t *)b->matrices[i].data;
            continue;
        }
        b->packed[i] = next;
        next += b->items[i].n_bytes;
        for (uint64_t row = 0; row < b->matrices[i].rows; row += MOEQ_ROWS_PER_PIECE) {
            uint64_t left = b->matrices[i].rows - row;
            b->pieces[b->n_pieces++] =
                (struct piece){i, row, left < MOEQ_ROWS_PER_PIECE ? left : MOEQ_ROWS_PER_PIECE};
        }
    }
    return MOEQ_OK;
}

static enum moeq_status encode_piece(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                     struct moeq_error *err)
{
    const struct batch *b = context;
    struct moeq_bytes *scratch = &b->buffers->workers[worker];
    enum moeq_status status = MOEQ_OK;
    for (uint64_t p = begin; !status && p < end; p++) {
        const struct piece *piece = &b->pieces[p];
        const struct moeq_matrix *m = &b->matrices[piece->item];
        const struct moeq_format *format = &b->items[piece->item].format;
        status = moeq_bytes_resize(scratch, (size_t)(piece->n_rows * m->cols * sizeof(float)), err);
        if (status)
            return status;
        float *w = (float *)(void *)scratch->data;
        for (uint64_t r = 0; r < piece->n_rows; r++)
            moeq_decode(m, piece->row + r, 0, m->cols, w + r * m->cols);
        status = format->level->encode(format, m->rows, m->cols, piece->row, piece->n_rows, w,
                                       b->packed[piece->item], err);
        if (status)
            moeq_error_in_tensor(err, b->weights[piece->item]->name);
    }
    return status;
}

/* ---- writing ---- */

struct writing {
    const struct moeq_plan *plan;
    const struct moeq_plan_file *file;
    struct moeq_out out;
    struct moeq_hasher *hasher;
    size_t segment; /* of the file: the one that is being written */
    size_t n_left;  /* items of it that are not yet written */
    struct moeq_layer_hashes *hashes;
};

static enum moeq_status write_item(struct writing *w, const struct moeq_plan_item *item, const uint8_t *bytes,
                                   struct moeq_error *err)
{
    if (!w->n_left)
        w->n_left = w->plan->segments[w->file->first + w->segment].n_items;
    moeq_hasher_update(w->hasher, bytes, (size_t)item->n_bytes);
    enum moeq_status status = moeq_out_write(&w->out, bytes, (size_t)item->n_bytes, err);
    if (--w->n_left == 0)
        w->hashes->segments[w->segment++] = moeq_hasher_finish(w->hasher);
    return status;
}

static enum moeq_status write_batch(struct writing *w, size_t first, size_t n, struct moeq_pool *pool,
                                    struct moeq_layer_buffers *buffers, struct moeq_progress *progress,
                                    struct moeq_error *err)
{
    struct batch b;
    enum moeq_status status = batch_init(&b, &w->plan->items[first], n, buffers, err);
    if (status)
        return status;
    status = batch_load(&b, w->plan->source, err);
    if (!status)
        status = moeq_pool_for(pool, b.n_pieces, 1, encode_piece, &b, err);
    for (size_t i = 0; !status && i < n; i++) {
        status = write_item(w, &b.items[i], b.packed[i], err);
        moeq_progress_add(progress, b.items[i].weight->n_bytes, w->file->name);
    }
    batch_free(&b);
    return status;
}

static enum moeq_status write_data(struct writing *w, struct moeq_pool *pool,
                                   struct moeq_layer_buffers *buffers, struct moeq_progress *progress,
                                   struct moeq_error *err)
{
    const struct moeq_plan_segment *last = &w->plan->segments[w->file->first + w->file->n_segments - 1];
    const size_t end = last->first + last->n_items;
    enum moeq_status status = MOEQ_OK;
    for (size_t i = w->plan->segments[w->file->first].first; !status && i < end;) {
        size_t n = count_items(w->plan, i, end);
        status = moeq_interrupt_check(err);
        if (!status)
            status = write_batch(w, i, n, pool, buffers, progress, err);
        i += n;
    }
    if (!status)
        status = moeq_out_write(&w->out, w->hashes->segments, w->file->n_segments * HASH_BYTES, err);
    w->hashes->hashes = moeq_hash_bytes(w->hashes->segments, w->file->n_segments * HASH_BYTES);
    return status;
}

struct read_back {
    const struct moeq_plan *plan;
    const struct moeq_plan_file *file;
    struct moeq_hash plan_hash;
};

static enum moeq_status check_written(void *context, const char *path, struct moeq_error *err)
{
    const struct read_back *r = context;
    struct moeq_layer_hashes found = {0};
    found.segments = moeq_calloc(r->file->n_segments, sizeof *found.segments, err);
    if (!found.segments)
        return MOEQ_OVER_MEMORY;
    struct moeq_error problem = {0};
    enum moeq_status status = moeq_layer_file_check(r->plan, r->file, r->plan_hash, path, &found, &problem);
    free(found.segments);
    if (status == MOEQ_DAMAGED || status == MOEQ_CHECK_FAILED) {
        status = moeq_fail(err, MOEQ_IO, "what was written reads back differently: %.300s", problem.message);
        moeq_error_hint(err, "check the disk");
    } else if (status && err) {
        *err = problem;
    }
    return status;
}

static enum moeq_status prepare_buffers(struct moeq_layer_buffers *buffers, const struct moeq_pool *pool,
                                        struct moeq_error *err)
{
    if (buffers->workers)
        return MOEQ_OK;
    buffers->workers = moeq_calloc(moeq_pool_jobs(pool), sizeof *buffers->workers, err);
    buffers->n_workers = buffers->workers ? moeq_pool_jobs(pool) : 0;
    return buffers->workers ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

enum moeq_status moeq_layer_file_write(const struct moeq_plan *plan, const struct moeq_plan_file *file,
                                       struct moeq_hash plan_hash, const struct moeq_out_dir *dir,
                                       struct moeq_pool *pool, struct moeq_layer_buffers *buffers,
                                       struct moeq_progress *progress, struct moeq_layer_hashes *hashes,
                                       struct moeq_error *err)
{
    struct writing w = {.plan = plan, .file = file, .out = {.fd = -1}, .hashes = hashes};
    struct moeq_bytes head = {0};
    w.hasher = moeq_hasher_create(err);
    enum moeq_status status = w.hasher ? prepare_buffers(buffers, pool, err) : MOEQ_OVER_MEMORY;
    if (!status)
        status = moeq_plan_file_head(plan, file, plan_hash, &head, err);
    if (!status)
        status = moeq_out_create(&w.out, dir, file->name, file->n_bytes, err);
    if (!status) {
        hashes->head = moeq_hash_bytes(head.data, head.n_bytes);
        status = moeq_out_write(&w.out, head.data, head.n_bytes, err);
    }
    if (!status)
        status = write_data(&w, pool, buffers, progress, err);
    if (!status) {
        struct read_back back = {plan, file, plan_hash};
        status = moeq_out_finish(&w.out, check_written, &back, err);
    }
    moeq_out_abandon(&w.out);
    moeq_bytes_free(&head);
    moeq_hasher_free(w.hasher);
    return status;
}

/* ---- reading back ---- */

static enum moeq_status hash_range(const struct moeq_file *file, uint64_t offset, uint64_t n_bytes,
                                   uint8_t *buffer, struct moeq_hasher *hasher, struct moeq_hash *out,
                                   struct moeq_error *err)
{
    while (n_bytes) {
        size_t n = n_bytes < READ_BYTES ? (size_t)n_bytes : READ_BYTES;
        enum moeq_status status = moeq_file_read(file, offset, buffer, n, err);
        if (status)
            return status;
        moeq_hasher_update(hasher, buffer, n);
        offset += n;
        n_bytes -= n;
    }
    *out = moeq_hasher_finish(hasher);
    return MOEQ_OK;
}

/* The header must be the planned one byte for byte, and pass the strict parser. */
static enum moeq_status check_head(const struct moeq_file *f, const struct moeq_bytes *head,
                                   const struct moeq_plan_file *file, struct moeq_error *err)
{
    struct moeq_safetensors st;
    enum moeq_status status = moeq_safetensors_read(&st, f, err);
    if (status)
        return status;
    moeq_safetensors_free(&st);
    struct moeq_bytes found = {0};
    if (f->n_bytes == file->n_bytes && !(status = moeq_bytes_resize(&found, head->n_bytes, err)))
        status = moeq_file_read(f, 0, found.data, found.n_bytes, err);
    if (!status && (!found.data || memcmp(found.data, head->data, head->n_bytes) != 0))
        status = moeq_fail(err, MOEQ_CHECK_FAILED, "written under another plan");
    moeq_bytes_free(&found);
    return status;
}

static enum moeq_status check_segments(const struct moeq_plan *plan, const struct moeq_plan_file *file,
                                       const struct moeq_file *f, struct moeq_layer_hashes *hashes,
                                       struct moeq_error *err)
{
    uint8_t *buffer = malloc(READ_BYTES);
    struct moeq_hasher *hasher = moeq_hasher_create(err);
    struct moeq_hash *stored = moeq_calloc(file->n_segments, sizeof *stored, err);
    enum moeq_status status = buffer && hasher && stored ? MOEQ_OK : moeq_fail_alloc(err, READ_BYTES);
    uint64_t offset = file->n_head;
    for (size_t i = 0; !status && i < file->n_segments; i++) {
        uint64_t n = plan->segments[file->first + i].n_bytes;
        status = hash_range(f, offset, n, buffer, hasher, &hashes->segments[i], err);
        offset += n;
    }
    if (!status)
        status = moeq_file_read(f, offset, stored, file->n_segments * HASH_BYTES, err);
    if (!status && memcmp(stored, hashes->segments, file->n_segments * HASH_BYTES) != 0)
        status = moeq_fail(err, MOEQ_DAMAGED, "the data do not match their own hashes");
    if (!status)
        hashes->hashes = moeq_hash_bytes(stored, file->n_segments * HASH_BYTES);
    free(buffer);
    free(stored);
    moeq_hasher_free(hasher);
    return status;
}

enum moeq_status moeq_layer_file_check(const struct moeq_plan *plan, const struct moeq_plan_file *file,
                                       struct moeq_hash plan_hash, const char *path,
                                       struct moeq_layer_hashes *hashes, struct moeq_error *err)
{
    struct moeq_file f;
    struct moeq_bytes head = {0};
    enum moeq_status status = moeq_file_open(&f, path, err);
    if (status)
        return status;
    status = moeq_plan_file_head(plan, file, plan_hash, &head, err);
    if (!status)
        status = check_head(&f, &head, file, err);
    if (!status) {
        hashes->head = moeq_hash_bytes(head.data, head.n_bytes);
        status = check_segments(plan, file, &f, hashes, err);
    }
    moeq_error_in_file(err, path);
    moeq_bytes_free(&head);
    moeq_file_close(&f);
    return status;
}
