#include "batches.h"

#define WINDOW_BYTES (MOEQ_BATCH_BYTES / 2) /* two of them: one is encoded while the other is written */

bool moeq_item_is_copied(const struct moeq_plan_item *item)
{
    return item->n_bytes == 0 || moeq_format_equal(item->format, item->weight->format);
}

uint64_t moeq_window_row_bytes(const struct moeq_plan_item *item)
{
    return item->weight->cols * item->format.level->bits / 8;
}

static uint64_t window_rows(const struct moeq_plan_item *item)
{
    const uint64_t fitting =
        WINDOW_BYTES / moeq_window_row_bytes(item) / MOEQ_ROWS_PER_PIECE * MOEQ_ROWS_PER_PIECE;
    return fitting ? fitting : MOEQ_ROWS_PER_PIECE;
}

uint64_t moeq_window_bytes(const struct moeq_plan_item *item)
{
    return moeq_round_up(window_rows(item) * moeq_window_row_bytes(item), MOEQ_PACKED_ALIGNMENT);
}

/* A single item too large to be in memory twice, at a level whose rows follow each other. */
static bool is_windowed(const struct moeq_plan_item *item)
{
    return !moeq_item_is_copied(item) && item->format.level->rows_only && item->n_bytes > MOEQ_BATCH_BYTES;
}

/* Consecutive bytes of the file, of as many items as they take. */
static void cut_copy(struct moeq_cut *cut, struct moeq_batch *b, size_t end)
{
    const struct moeq_plan_item *items = cut->plan->items;
    b->kind = MOEQ_BATCH_COPY;
    b->from = cut->from;
    while (cut->item < end && moeq_item_is_copied(&items[cut->item]) && b->n_bytes < MOEQ_COPY_BYTES) {
        const uint64_t left = items[cut->item].n_bytes - cut->from, room = MOEQ_COPY_BYTES - b->n_bytes;
        b->n_bytes += left < room ? left : room;
        cut->from += left < room ? left : room;
        b->n_items = cut->item - b->first + 1;
        if (cut->from == items[cut->item].n_bytes) {
            cut->item++;
            cut->from = 0;
        }
    }
    b->n_source = b->n_bytes;
}

/* Items that fit; at least one, and all that are read together. */
static void cut_whole(struct moeq_cut *cut, struct moeq_batch *b, size_t end)
{
    const struct moeq_source *source = cut->plan->source;
    b->kind = MOEQ_BATCH_WHOLE;
    for (; cut->item < end; cut->item++) {
        const struct moeq_plan_item *item = &cut->plan->items[cut->item];
        const bool is_copied = moeq_item_is_copied(item);
        const bool is_read =
            cut->item > b->first && moeq_source_one_read(source, item->weight, item[-1].weight);
        const uint64_t n_source = is_read ? 0 : moeq_source_load_bytes(source, &item->weight, 1);
        const uint64_t n_packed = is_copied ? 0 : item->n_bytes;
        const bool fits = b->n_source + b->n_packed + n_source + n_packed <= MOEQ_BATCH_BYTES;
        if (cut->item > b->first && !is_read &&
            (!fits || (is_copied && !source->is_package) || is_windowed(item)))
            break;
        b->n_source += n_source;
        b->n_packed += n_packed;
        b->n_bytes += item->n_bytes;
        b->n_items++;
    }
}

static void cut_window(struct moeq_cut *cut, struct moeq_batch *b)
{
    const struct moeq_plan_item *item = &cut->plan->items[cut->item];
    const uint64_t step = window_rows(item), left = item->weight->rows - cut->from;
    b->kind = MOEQ_BATCH_WINDOW;
    b->n_items = 1;
    b->from = cut->from;
    b->n_rows = left < step ? left : step;
    b->n_later = moeq_div_up(left, step) - 1;
    b->n_bytes = b->n_rows * moeq_window_row_bytes(item);
    if (cut->from == 0) {
        b->n_source = moeq_source_load_bytes(cut->plan->source, &item->weight, 1);
        b->n_packed = 2 * moeq_window_bytes(item);
    }
    cut->from += b->n_rows;
    if (cut->from < item->weight->rows)
        return;
    b->n_bytes += item->n_bytes - item->weight->rows * moeq_window_row_bytes(item); /* padding */
    cut->item++;
    cut->from = 0;
}

/* An item that shares its segment of a package with the next is read with it. */
static bool is_alone(const struct moeq_cut *cut, size_t end)
{
    const struct moeq_plan_item *item = &cut->plan->items[cut->item];
    return cut->item + 1 == end || !moeq_source_one_read(cut->plan->source, item->weight, item[1].weight);
}

bool moeq_cut_next(struct moeq_cut *cut, struct moeq_batch *batch)
{
    const struct moeq_plan *plan = cut->plan;
    size_t first, n;
    while (cut->file < plan->n_files && cut->is_kept && cut->is_kept[cut->file])
        cut->file++;
    if (cut->file == plan->n_files)
        return false;
    moeq_plan_file_items(plan, &plan->files[cut->file], &first, &n);
    cut->item = cut->item < first ? first : cut->item;
    *batch = (struct moeq_batch){.file = cut->file, .first = cut->item};
    batch->begins_file = cut->item == first && cut->from == 0;
    const struct moeq_plan_item *item = &plan->items[cut->item];
    if (!plan->source->is_package && moeq_item_is_copied(item))
        cut_copy(cut, batch, first + n);
    else if (is_windowed(item) && is_alone(cut, first + n))
        cut_window(cut, batch);
    else
        cut_whole(cut, batch, first + n);
    batch->ends_file = cut->item == first + n;
    cut->file += batch->ends_file;
    return true;
}

uint64_t moeq_batches_memory(uint64_t largest)
{
    const uint64_t beside = 2 * (uint64_t)MOEQ_BATCH_BYTES;
    if (largest <= MOEQ_COPY_BYTES)
        return MOEQ_COPIES_AHEAD * moeq_round_up(largest, MOEQ_PACKED_ALIGNMENT);
    return largest + (largest < beside ? largest : beside);
}

uint64_t moeq_batches_largest(const struct moeq_plan *plan)
{
    struct moeq_cut cut = {.plan = plan};
    struct moeq_batch batch;
    uint64_t largest = 0;
    while (moeq_cut_next(&cut, &batch))
        largest = moeq_larger(largest, batch.n_source + batch.n_packed);
    return largest;
}
