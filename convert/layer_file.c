#include "layer_file.h"

#include "interrupt.h"

#include <stdlib.h>

#define READ_BYTES   (1u << 20)
#define ROWS_AT_ONCE 16 /* that a worker decodes to float32, if blocks of the level are not larger */

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
    uint64_t base; /* row that packed[0] begins with, where one item is encoded window by window */
    struct moeq_layer_buffers *buffers;
};

static bool is_copied(const struct moeq_plan_item *item)
{
    return item->n_bytes == 0 || moeq_format_equal(item->format, item->weight->format);
}

/* Items from `first` on that fit into a batch; at least one, and all that are read together. */
static size_t count_items(const struct moeq_plan *plan, size_t first, size_t end)
{
    uint64_t total = 0;
    size_t i = first;
    for (; i < end; i++) {
        const struct moeq_plan_item *item = &plan->items[i];
        uint64_t n = item->weight->n_padded + (is_copied(item) ? 0 : item->n_bytes);
        if (i > first && total + n > MOEQ_BATCH_BYTES &&
            !moeq_source_one_read(plan->source, item->weight, plan->items[i - 1].weight))
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
        n_pieces +=
            is_copied(&items[i]) ? 0 : (size_t)moeq_div_up(items[i].weight->rows, MOEQ_ROWS_PER_PIECE);
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

/* A single item too large to be in memory twice, at a level whose rows follow each other, is encoded and
 * written window by window. */
static bool is_windowed(const struct moeq_plan_item *items, size_t n)
{
    return n == 1 && !is_copied(items) && items->format.level->rows_only && items->n_bytes > MOEQ_BATCH_BYTES;
}

static uint64_t row_bytes(const struct moeq_plan_item *item)
{
    return item->weight->cols * item->format.level->bits / 8;
}

static uint64_t window_rows(const struct moeq_plan_item *item)
{
    const uint64_t fitting = MOEQ_BATCH_BYTES / row_bytes(item) / MOEQ_ROWS_PER_PIECE * MOEQ_ROWS_PER_PIECE;
    return fitting ? fitting : MOEQ_ROWS_PER_PIECE;
}

uint64_t moeq_layer_rows_at_once(const struct moeq_level *level)
{
    return level->block_rows > ROWS_AT_ONCE ? level->block_rows : ROWS_AT_ONCE;
}

/* The buffers only grow: each counts with the largest that any batch needs. */
uint64_t moeq_layer_files_memory(const struct moeq_plan *plan, unsigned n_jobs)
{
    uint64_t source = 0, packed = 0, worker = 0;
    for (size_t f = 0; f < plan->n_files; f++) {
        const struct moeq_plan_segment *first = &plan->segments[plan->files[f].first];
        const struct moeq_plan_segment *last = first + plan->files[f].n_segments - 1;
        const size_t end = last->first + last->n_items;
        for (size_t i = first->first, n; i < end; i += n) {
            const struct moeq_plan_item *items = &plan->items[i];
            uint64_t n_source = 0, n_packed = 0;
            n = count_items(plan, i, end);
            for (size_t k = 0; k < n; k++) {
                n_source += items[k].weight->n_padded;
                n_packed += is_copied(&items[k]) ? 0 : items[k].n_bytes;
                if (!is_copied(&items[k]))
                    worker = moeq_larger(worker, moeq_layer_rows_at_once(items[k].format.level) *
                                                     items[k].weight->cols);
            }
            if (is_windowed(items, n))
                n_packed = window_rows(items) * row_bytes(items);
            source = moeq_larger(source, n_source);
            packed = moeq_larger(packed, n_packed);
        }
    }
    return source + packed + n_jobs * worker * sizeof(float);
}

static void add_pieces(struct batch *b, size_t item, uint64_t row, uint64_t n_rows)
{
    for (uint64_t end = row + n_rows; row < end; row += MOEQ_ROWS_PER_PIECE) {
        const uint64_t left = end - row;
        b->pieces[b->n_pieces++] =
            (struct piece){item, row, left < MOEQ_ROWS_PER_PIECE ? left : MOEQ_ROWS_PER_PIECE};
    }
}

/* Gives every item that must be encoded its place and its pieces. */
static enum moeq_status batch_place(struct batch *b, struct moeq_error *err)
{
    uint64_t n_packed = 0;
    for (size_t i = 0; i < b->n_items; i++)
        n_packed += is_copied(&b->items[i]) ? 0 : b->items[i].n_bytes;
    enum moeq_status status = moeq_bytes_resize(&b->buffers->packed, (size_t)n_packed, err);
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
        add_pieces(b, i, 0, b->matrices[i].rows);
    }
    return MOEQ_OK;
}

/* Encodes rows [row, row + n_rows), a few at a time so that a worker's float32 copy stays small. `base` is
 * the row that `packed` begins with: 0, or for a level of rows alone that of a window. */
static enum moeq_status encode_rows(const struct moeq_matrix *m, const struct moeq_format *format,
                                    uint64_t base, uint64_t row, uint64_t n_rows, struct moeq_bytes *scratch,
                                    uint8_t *packed, struct moeq_error *err)
{
    const struct moeq_level *level = format->level;
    const uint64_t step = moeq_layer_rows_at_once(level);
    enum moeq_status status = moeq_bytes_resize(scratch, (size_t)(step * m->cols * sizeof(float)), err);
    float *w = (float *)(void *)scratch->data;
    for (const uint64_t end = row + n_rows; !status && row < end; row += step) {
        const uint64_t n = end - row < step ? end - row : step;
        for (uint64_t r = 0; r < n; r++)
            moeq_decode(m, row + r, 0, m->cols, w + r * m->cols);
        if (base && level->lossy) /* here, where the row's own number is known */
            status = moeq_check_finite(w, n, m->cols, row, err);
        if (!status)
            status = level->encode(format, m->rows, m->cols, row - base, n, w, packed, err);
    }
    return status;
}

static enum moeq_status encode_piece(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                     struct moeq_error *err)
{
    const struct batch *b = context;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t p = begin; !status && p < end; p++) {
        const struct piece *piece = &b->pieces[p];
        status = encode_rows(&b->matrices[piece->item], &b->items[piece->item].format, b->base, piece->row,
                             piece->n_rows, &b->buffers->workers[worker], b->packed[piece->item], err);
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

static enum moeq_status write_part(struct writing *w, const uint8_t *bytes, uint64_t n_bytes,
                                   struct moeq_error *err)
{
    moeq_hasher_update(w->hasher, bytes, (size_t)n_bytes);
    return moeq_out_write(&w->out, bytes, (size_t)n_bytes, err);
}

static void end_item(struct writing *w)
{
    if (!w->n_left)
        w->n_left = w->plan->segments[w->file->first + w->segment].n_items;
    if (--w->n_left == 0)
        w->hashes->segments[w->segment++] = moeq_hasher_finish(w->hasher);
}

static enum moeq_status write_items(struct writing *w, struct batch *b, struct moeq_pool *pool,
                                    struct moeq_error *err)
{
    enum moeq_status status = batch_place(b, err);
    if (!status)
        status = moeq_pool_for(pool, b->n_pieces, 1, encode_piece, b, err);
    for (size_t i = 0; !status && i < b->n_items; i++) {
        status = write_part(w, b->packed[i], b->items[i].n_bytes, err);
        end_item(w);
    }
    return status;
}

static enum moeq_status write_windows(struct writing *w, struct batch *b, struct moeq_pool *pool,
                                      struct moeq_error *err)
{
    static const uint8_t padding[MOEQ_PACKED_ALIGNMENT];
    const struct moeq_matrix *m = &b->matrices[0];
    const uint64_t n_row = row_bytes(&b->items[0]), n_window = window_rows(&b->items[0]);
    enum moeq_status status = MOEQ_OK;
    for (b->base = 0; !status && b->base < m->rows; b->base += n_window) {
        const uint64_t n = m->rows - b->base < n_window ? m->rows - b->base : n_window;
        status = moeq_bytes_resize(&b->buffers->packed, (size_t)(n * n_row), err);
        b->packed[0] = b->buffers->packed.data;
        b->n_pieces = 0;
        add_pieces(b, 0, b->base, n);
        if (!status)
            status = moeq_pool_for(pool, b->n_pieces, 1, encode_piece, b, err);
        if (!status)
            status = write_part(w, b->packed[0], n * n_row, err);
    }
    if (!status)
        status = write_part(w, padding, b->items[0].n_bytes - m->rows * n_row, err);
    end_item(w);
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
    status = moeq_source_load(w->plan->source, b.weights, b.n_items, &buffers->source, b.matrices, err);
    if (!status)
        status =
            is_windowed(b.items, b.n_items) ? write_windows(w, &b, pool, err) : write_items(w, &b, pool, err);
    for (size_t i = 0; !status && i < n; i++)
        moeq_progress_add(progress, b.items[i].weight->n_bytes, w->file->name);
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
        status = moeq_out_write(&w->out, w->hashes->segments, w->file->n_segments * MOEQ_HASH_BYTES, err);
    w->hashes->hashes = moeq_hash_bytes(w->hashes->segments, w->file->n_segments * MOEQ_HASH_BYTES);
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
        enum moeq_status status = moeq_interrupt_check(err);
        if (!status)
            status = moeq_file_read(file, offset, buffer, n, err);
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
    enum moeq_status status = moeq_safetensors_read(&st, f, MOEQ_STRICT, err);
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
        status = moeq_file_read(f, offset, stored, file->n_segments * MOEQ_HASH_BYTES, err);
    if (!status && memcmp(stored, hashes->segments, file->n_segments * MOEQ_HASH_BYTES) != 0)
        status = moeq_fail(err, MOEQ_DAMAGED, "the data do not match their own hashes");
    if (!status)
        hashes->hashes = moeq_hash_bytes(stored, file->n_segments * MOEQ_HASH_BYTES);
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
