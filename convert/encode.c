#include "encode.h"

#include "pieces.h"

#include <stdlib.h>

#define ROWS_AT_ONCE 16 /* that a worker decodes to float32, if blocks of the level are not larger */

/* Up to MOEQ_ROWS_PER_PIECE rows of one item. */
struct piece {
    size_t item; /* in the batch */
    uint64_t row, n_rows;
};

struct encoding {
    struct moeq_encoder *encoder;
    const struct moeq_plan_item *items;
    const struct moeq_matrix *matrices;
    uint8_t **packed; /* where packed bytes are made: in the part, so that they can be coded in place */
    uint64_t base;    /* row that packed[0] begins with */
    struct piece *pieces;
    size_t n_pieces;
    struct moeq_pieces_job *jobs;    /* what is to be coded, */
    struct moeq_pieces_job **job_of; /* [items]: of each item, or NULL */
};

enum moeq_status moeq_encoder_init(struct moeq_encoder *encoder, const struct moeq_plan *plan,
                                   struct moeq_pool *pool, struct moeq_error *err)
{
    *encoder = (struct moeq_encoder){.pool = pool};
    moeq_calibrated_init(&encoder->calibrated, plan->statistics, pool);
    encoder->workers = moeq_calloc(moeq_pool_jobs(pool), sizeof *encoder->workers, err);
    return encoder->workers ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

void moeq_encoder_free(struct moeq_encoder *encoder)
{
    for (unsigned i = 0; encoder->workers && i < moeq_pool_jobs(encoder->pool); i++)
        moeq_bytes_free(&encoder->workers[i]);
    free(encoder->workers);
    moeq_calibrated_free(&encoder->calibrated);
    *encoder = (struct moeq_encoder){0};
}

uint64_t moeq_encoder_rows_at_once(const struct moeq_level *level)
{
    return level->block_rows > ROWS_AT_ONCE ? level->block_rows : ROWS_AT_ONCE;
}

/* Encodes rows [row, row + n_rows), a few at a time so that a worker's float32 copy stays small. `base` is
 * the row that `packed` begins with: 0, or for a level of rows alone that of a window. */
static enum moeq_status encode_rows(const struct moeq_matrix *m, const struct moeq_format *format,
                                    uint64_t base, uint64_t row, uint64_t n_rows, struct moeq_bytes *scratch,
                                    uint8_t *packed, struct moeq_error *err)
{
    const struct moeq_level *level = format->level;
    const uint64_t step = moeq_encoder_rows_at_once(level);
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
    const struct encoding *e = context;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t p = begin; !status && p < end; p++) {
        const struct piece *piece = &e->pieces[p];
        status = encode_rows(&e->matrices[piece->item], &e->items[piece->item].format, e->base, piece->row,
                             piece->n_rows, &e->encoder->workers[worker], e->packed[piece->item], err);
        if (status)
            moeq_error_in_tensor(err, e->items[piece->item].weight->name);
    }
    return status;
}

static void add_pieces(struct encoding *e, size_t item, uint64_t row, uint64_t n_rows)
{
    for (uint64_t end = row + n_rows; row < end; row += MOEQ_ROWS_PER_PIECE) {
        const uint64_t left = end - row;
        e->pieces[e->n_pieces++] =
            (struct piece){item, row, left < MOEQ_ROWS_PER_PIECE ? left : MOEQ_ROWS_PER_PIECE};
    }
}

static enum moeq_status encode_calibrated(struct moeq_encoder *encoder, const struct moeq_plan_item *item,
                                          size_t i, const struct moeq_matrix *matrix, uint8_t *packed,
                                          struct moeq_error *err)
{
    double error;
    if (encoder->supply)
        return encoder->supply->read(encoder->supply->context, i, packed, err);
    enum moeq_status status = moeq_calibrated_encode(&encoder->calibrated, item->weight, &item->format,
                                                     matrix, packed, &error, err);
    if (!status && encoder->errors)
        encoder->errors[i] = error;
    return status;
}

/* Sets the size of a coded item that takes n bytes; *n_padding are to follow them. */
static enum moeq_status set_size(struct moeq_plan *plan, size_t i, uint64_t n, uint64_t *n_padding,
                                 struct moeq_error *err)
{
    struct moeq_plan_item *item = &plan->items[i];
    const uint64_t n_padded = moeq_plan_padded(plan, i, n);
    if (n > item->n_room || n_padded > item->n_room)
        return moeq_fail(err, MOEQ_BUG, "%llu coded bytes where %llu have room", (unsigned long long)n_padded,
                         (unsigned long long)item->n_room);
    item->n_bytes = n_padded;
    *n_padding = n_padded - n;
    return MOEQ_OK;
}

static enum moeq_status pad_coded(struct moeq_plan *plan, size_t i, uint64_t n, uint8_t *part,
                                  struct moeq_error *err)
{
    uint64_t n_padding = 0;
    enum moeq_status status = set_size(plan, i, n, &n_padding, err);
    memset(part + n, 0, status ? 0 : (size_t)n_padding);
    return status;
}

/* A matrix of level ec comes as a whole: the pool works on one after the other. */
static enum moeq_status encode_ec(struct moeq_encoder *encoder, struct moeq_plan *plan, size_t i,
                                  const struct moeq_matrix *matrix, uint8_t *part, struct moeq_error *err)
{
    const struct moeq_plan_item *item = &plan->items[i];
    const struct moeq_bytes *coded = &encoder->calibrated.coded;
    double error;
    enum moeq_status status = moeq_calibrated_code(&encoder->calibrated, item->weight, item->is_calibrated,
                                                   &item->format, matrix, &error, err);
    if (status)
        return status;
    if (encoder->errors && item->is_calibrated)
        encoder->errors[i] = error;
    if (coded->n_bytes <= item->n_room)
        memcpy(part, coded->data, coded->n_bytes);
    return pad_coded(plan, i, coded->n_bytes, part, err);
}

/* Whether an item's packed bytes are to be coded as they are. */
static bool find_pieces(const struct moeq_plan_item *item, struct moeq_pieces *pieces)
{
    return item->is_coded && !moeq_item_is_carried(item) &&
           moeq_pieces_of(item->format, item->weight->rows, item->weight->cols, pieces);
}

static bool is_made(const struct moeq_plan_item *item)
{
    return !moeq_item_is_copied(item) && !item->format.level->is_coded;
}

/* Packed bytes of what is neither copied nor of level ec. */
static enum moeq_status make_packed(struct encoding *e, const struct moeq_batch *b, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < b->n_items; i++) {
        const uint64_t rows = b->kind == MOEQ_BATCH_WINDOW ? b->n_rows : e->matrices[i].rows;
        uint64_t n, n_padded;
        if (!is_made(&e->items[i]))
            continue;
        status = moeq_packed_size(e->items[i].format, rows, e->matrices[i].cols, &n, &n_padded, err);
        if (!status)
            memset(e->packed[i], 0, (size_t)n_padded);
        if (!status && !e->items[i].is_calibrated)
            add_pieces(e, i, e->base, rows);
    }
    if (!status)
        status = moeq_pool_for(e->encoder->pool, e->n_pieces, 1, encode_piece, e, err);
    for (size_t i = 0; !status && i < b->n_items; i++)
        if (is_made(&e->items[i]) && e->items[i].is_calibrated)
            status =
                encode_calibrated(e->encoder, &e->items[i], b->first + i, &e->matrices[i], e->packed[i], err);
    return status;
}

/* ---- coding ---- */

/* What is to be coded of a batch; n_out stays 0 for other items. */
static enum moeq_status code(struct encoding *e, const struct moeq_batch *b, uint8_t *const *parts,
                             struct moeq_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n_items; i++) {
        struct moeq_pieces_job job = {.out = parts[i]};
        if (!find_pieces(&e->items[i], &job.pieces))
            continue;
        const bool is_window = b->kind == MOEQ_BATCH_WINDOW;
        job.n_bytes = is_window ? b->n_rows * job.pieces.row_bytes : job.pieces.n_codes;
        job.n_rest = is_window ? 0 : job.pieces.n_bytes - job.pieces.n_codes;
        job.codes =
            is_made(&e->items[i]) ? e->packed[i] : e->matrices[i].data + e->base * job.pieces.row_bytes;
        e->jobs[n] = job;
        e->job_of[i] = &e->jobs[n++];
    }
    return moeq_pieces_encode(e->jobs, n, e->encoder->pool, e->encoder->workers, err);
}

/* The bytes of a window, and with the last one those of its item. */
static enum moeq_status end_window(struct moeq_encoder *encoder, struct moeq_plan *plan, struct moeq_batch *b,
                                   uint64_t n, uint8_t *part, struct moeq_error *err)
{
    uint64_t n_padding = 0;
    encoder->n_windows = b->row ? encoder->n_windows + n : n;
    b->n_bytes = n;
    if (b->n_later)
        return MOEQ_OK;
    enum moeq_status status = set_size(plan, b->first, encoder->n_windows, &n_padding, err);
    memset(part + n, 0, (size_t)n_padding);
    b->n_bytes += n_padding;
    return status;
}

/* Sizes of coded items follow from those before them. */
static enum moeq_status end_item(struct encoding *e, struct moeq_plan *plan, struct moeq_batch *b, size_t i,
                                 uint8_t *part, struct moeq_error *err)
{
    const struct moeq_plan_item *item = &e->items[i];
    if (!item->is_coded)
        return MOEQ_OK;
    if (moeq_item_is_carried(item))
        return pad_coded(plan, b->first + i, item->weight->n_stored, part, err);
    if (!e->job_of[i])
        return encode_ec(e->encoder, plan, b->first + i, &e->matrices[i], part, err);
    return b->kind == MOEQ_BATCH_WINDOW ? end_window(e->encoder, plan, b, e->job_of[i]->n_out, part, err)
                                        : pad_coded(plan, b->first + i, e->job_of[i]->n_out, part, err);
}

static enum moeq_status encoding_init(struct encoding *e, const struct moeq_batch *b, uint8_t *const *parts,
                                      struct moeq_error *err)
{
    size_t n_pieces = 0;
    for (size_t i = 0; i < b->n_items; i++)
        n_pieces += (size_t)moeq_div_up(b->kind == MOEQ_BATCH_WINDOW ? b->n_rows : e->matrices[i].rows,
                                        MOEQ_ROWS_PER_PIECE);
    e->pieces = moeq_calloc(n_pieces, sizeof *e->pieces, err);
    e->packed = moeq_calloc(b->n_items, sizeof *e->packed, err);
    e->jobs = moeq_calloc(b->n_items, sizeof *e->jobs, err);
    e->job_of = moeq_calloc(b->n_items, sizeof *e->job_of, err);
    if (!e->pieces || !e->packed || !e->jobs || !e->job_of)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < b->n_items; i++) {
        struct moeq_pieces pieces;
        e->packed[i] = parts[i];
        if (find_pieces(&e->items[i], &pieces))
            e->packed[i] += moeq_pieces_lead(
                &pieces, b->kind == MOEQ_BATCH_WINDOW ? b->n_rows * pieces.row_bytes : pieces.n_codes);
    }
    return MOEQ_OK;
}

static void encoding_free(struct encoding *e)
{
    free(e->pieces);
    free(e->packed);
    free(e->jobs);
    free(e->job_of);
}

enum moeq_status moeq_encode_batch(struct moeq_encoder *encoder, struct moeq_plan *plan,
                                   struct moeq_batch *batch, const struct moeq_matrix *matrices,
                                   uint8_t *const *parts, struct moeq_error *err)
{
    struct encoding e = {.encoder = encoder,
                         .items = &plan->items[batch->first],
                         .matrices = matrices,
                         .base = batch->kind == MOEQ_BATCH_WINDOW ? batch->row : 0};
    enum moeq_status status = encoding_init(&e, batch, parts, err);
    if (!status)
        status = make_packed(&e, batch, err);
    if (!status)
        status = code(&e, batch, parts, err);
    for (size_t i = 0; !status && i < batch->n_items; i++)
        status = end_item(&e, plan, batch, i, parts[i], err);
    encoding_free(&e);
    return status;
}
