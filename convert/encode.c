#include "encode.h"

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
    uint8_t *const *parts;
    uint64_t base; /* row that parts[0] begins with */
    struct piece *pieces;
    size_t n_pieces;
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
                             piece->n_rows, &e->encoder->workers[worker], e->parts[piece->item], err);
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

/* Sets the size of a coded item, whose n bytes are in its part. */
static enum moeq_status pad_coded(struct moeq_plan *plan, size_t i, uint64_t n, uint8_t *part,
                                  struct moeq_error *err)
{
    struct moeq_plan_item *item = &plan->items[i];
    const uint64_t n_padded = moeq_plan_padded(plan, i, n);
    if (n > item->n_room || n_padded > item->n_room)
        return moeq_fail(err, MOEQ_BUG, "%llu coded bytes where %llu have room", (unsigned long long)n_padded,
                         (unsigned long long)item->n_room);
    memset(part + n, 0, (size_t)(n_padded - n));
    item->n_bytes = n_padded;
    return MOEQ_OK;
}

/* What comes as a whole: the pool works on one after the other. */
static enum moeq_status encode_coded(struct moeq_encoder *encoder, struct moeq_plan *plan, size_t i,
                                     const struct moeq_matrix *matrix, uint8_t *part, struct moeq_error *err)
{
    const struct moeq_plan_item *item = &plan->items[i];
    const struct moeq_bytes *coded = &encoder->calibrated.coded;
    double error;
    if (moeq_item_is_copied(item))
        return pad_coded(plan, i, item->weight->n_stored, part, err);
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

static enum moeq_status encode_whole(struct moeq_encoder *encoder, struct moeq_plan *plan, size_t i,
                                     const struct moeq_matrix *matrix, uint8_t *part, struct moeq_error *err)
{
    const struct moeq_plan_item *item = &plan->items[i];
    if (!item->is_coded && (moeq_item_is_copied(item) || !item->is_calibrated))
        return MOEQ_OK;
    return item->is_coded ? encode_coded(encoder, plan, i, matrix, part, err)
                          : encode_calibrated(encoder, item, i, matrix, part, err);
}

enum moeq_status moeq_encode_batch(struct moeq_encoder *encoder, struct moeq_plan *plan,
                                   const struct moeq_batch *batch, const struct moeq_matrix *matrices,
                                   uint8_t *const *parts, struct moeq_error *err)
{
    const bool is_window = batch->kind == MOEQ_BATCH_WINDOW;
    struct encoding e = {.encoder = encoder,
                         .items = &plan->items[batch->first],
                         .matrices = matrices,
                         .parts = parts,
                         .base = is_window ? batch->row : 0};
    size_t n_pieces = 0;
    for (size_t i = 0; i < batch->n_items; i++)
        n_pieces += (size_t)moeq_div_up(is_window ? batch->n_rows : matrices[i].rows, MOEQ_ROWS_PER_PIECE);
    e.pieces = moeq_calloc(n_pieces, sizeof *e.pieces, err);
    if (!e.pieces)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < batch->n_items; i++) {
        if (moeq_item_is_copied(&e.items[i]) || e.items[i].is_coded)
            continue;
        memset(parts[i], 0, (size_t)(is_window ? batch->n_bytes : e.items[i].n_bytes));
        if (!e.items[i].is_calibrated)
            add_pieces(&e, i, e.base, is_window ? batch->n_rows : matrices[i].rows);
    }
    enum moeq_status status = moeq_pool_for(encoder->pool, e.n_pieces, 1, encode_piece, &e, err);
    for (size_t i = 0; !status && i < batch->n_items; i++)
        status = encode_whole(encoder, plan, batch->first + i, &matrices[i], parts[i], err);
    free(e.pieces);
    return status;
}
