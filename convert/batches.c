#include "batches.h"

#include "coded.h"
#include "pieces.h"

#define WINDOW_BYTES (MOEQ_BATCH_BYTES / 2) /* two of them: one is encoded while the other is written */

bool moeq_item_is_copied(const struct moeq_plan_item *item)
{
    return item->weight->n_bytes == 0 || moeq_format_keeps(item->format, item->weight->format);
}

bool moeq_item_is_carried(const struct moeq_plan_item *item)
{
    return moeq_item_is_copied(item) && item->is_coded == item->weight->is_coded;
}

static uint64_t row_bytes(const struct moeq_plan_item *item)
{
    return item->weight->cols * item->format.level->bits / 8;
}

static uint64_t window_rows(const struct moeq_plan_item *item)
{
    struct moeq_pieces pieces = {.piece_rows = MOEQ_ROWS_PER_PIECE};
    if (item->is_coded)
        moeq_pieces_of(item->format, item->weight->rows, item->weight->cols, &pieces);
    const uint64_t fitting = WINDOW_BYTES / row_bytes(item) / pieces.piece_rows * pieces.piece_rows;
    return fitting ? fitting : pieces.piece_rows;
}

uint64_t moeq_window_bytes(const struct moeq_plan_item *item)
{
    const uint64_t n = window_rows(item) * row_bytes(item);
    struct moeq_pieces pieces;
    const bool is_coded =
        item->is_coded && moeq_pieces_of(item->format, item->weight->rows, item->weight->cols, &pieces);
    return moeq_round_up(n, MOEQ_PACKED_ALIGNMENT) +
           (is_coded ? moeq_pieces_lead(&pieces, n) + MOEQ_PACKED_ALIGNMENT : 0);
}

/* A single item too large to be in memory twice, at a level whose rows follow each other. */
static bool is_windowed(const struct moeq_plan_item *item)
{
    const bool has_room = moeq_item_is_carried(item) || (moeq_item_is_copied(item) && !item->is_coded);
    return !has_room && item->format.level->rows_only &&
           item->weight->rows * row_bytes(item) > MOEQ_BATCH_BYTES;
}

/* A package is read by whole segments, under their hashes; and behind coded items nothing has its place
 * before it is its turn. */
static bool is_copied_segment(const struct moeq_cut *cut, const struct moeq_plan_segment *segment)
{
    const struct moeq_plan *plan = cut->plan;
    if (plan->files[cut->file].has_coded)
        return false;
    for (size_t i = 0; i < segment->n_items; i++)
        if (!moeq_item_is_copied(&plan->items[segment->first + i]))
            return false;
    return !plan->source->is_package;
}

static void cut_copy(struct moeq_cut *cut, struct moeq_batch *b, size_t end)
{
    const struct moeq_plan *plan = cut->plan;
    b->kind = MOEQ_BATCH_COPY;
    for (; cut->item < end && is_copied_segment(cut, &plan->segments[cut->segment]); cut->segment++) {
        b->n_segments++;
        b->n_bytes += plan->segments[cut->segment].n_bytes;
        cut->item += plan->segments[cut->segment].n_items;
    }
    b->n_items = cut->item - b->first;
}

/* Memory to load an item: as it is read, and unpacked where it does not stay coded; scratch serves all. */
static uint64_t source_bytes(const struct moeq_source *source, const struct moeq_plan_item *item,
                             bool is_read, uint64_t *n_scratch)
{
    const struct moeq_weight *w = item->weight;
    const uint64_t n = is_read ? 0 : moeq_source_read_bytes(source, w);
    if (!w->is_coded || moeq_item_is_carried(item))
        return n;
    *n_scratch = moeq_larger(*n_scratch, moeq_coded_scratch_bytes(w->format, w->rows, w->cols));
    return n + w->n_padded;
}

/* Items that fit; at least one, and all that are read together. */
static void cut_whole(struct moeq_cut *cut, struct moeq_batch *b, size_t end)
{
    const struct moeq_plan *plan = cut->plan;
    uint64_t n_scratch = 0;
    b->kind = MOEQ_BATCH_WHOLE;
    while (cut->item < end) {
        const struct moeq_plan_item *item = &plan->items[cut->item];
        const struct moeq_plan_segment *segment = &plan->segments[cut->segment];
        const bool is_first = cut->item == b->first;
        const bool is_read = !is_first && moeq_source_one_read(plan->source, item->weight, item[-1].weight);
        const uint64_t n_source = source_bytes(plan->source, item, is_read, &n_scratch);
        const uint64_t n_packed = moeq_item_is_copied(item) && !item->is_coded ? 0 : item->n_room;
        if (!is_first && !is_read &&
            (b->n_source + b->n_packed + n_source + n_packed > MOEQ_BATCH_BYTES || is_windowed(item) ||
             (cut->item == segment->first && is_copied_segment(cut, segment))))
            break;
        b->n_source += n_source;
        b->n_packed += n_packed;
        b->n_bytes += item->n_bytes;
        b->n_items++;
        cut->item++;
        cut->segment += cut->item == segment->first + segment->n_items;
    }
    b->n_source += n_scratch;
}

static void cut_window(struct moeq_cut *cut, struct moeq_batch *b)
{
    const struct moeq_plan_item *item = &cut->plan->items[cut->item];
    const struct moeq_plan_segment *segment = &cut->plan->segments[cut->segment];
    const uint64_t step = window_rows(item), left = item->weight->rows - cut->row;
    b->kind = MOEQ_BATCH_WINDOW;
    b->n_items = 1;
    b->row = cut->row;
    b->n_rows = left < step ? left : step;
    b->n_later = moeq_div_up(left, step) - 1;
    b->n_bytes = b->n_rows * row_bytes(item);
    b->begins_segment = b->begins_segment && cut->row == 0;
    if (cut->row == 0) {
        b->n_source = moeq_source_load_bytes(cut->plan->source, &item->weight, 1);
        b->n_packed = 2 * moeq_window_bytes(item);
    }
    cut->row += b->n_rows;
    if (cut->row < item->weight->rows)
        return;
    if (!item->is_coded)
        b->n_bytes += item->n_bytes - item->weight->rows * row_bytes(item); /* padding */
    cut->item++;
    cut->row = 0;
    cut->segment += cut->item == segment->first + segment->n_items;
}

/* An item that shares its segment of a package with the next is read with it. */
static bool is_alone(const struct moeq_cut *cut, size_t end)
{
    const struct moeq_plan_item *item = &cut->plan->items[cut->item];
    return cut->item + 1 == end || !moeq_source_one_read(cut->plan->source, item->weight, item[1].weight);
}

/* To the beginning of the next file that is not kept. */
static bool find_file(struct moeq_cut *cut)
{
    while (cut->file < cut->plan->n_files && cut->is_kept && cut->is_kept[cut->file])
        cut->file++;
    if (cut->file == cut->plan->n_files)
        return false;
    const struct moeq_plan_file *file = &cut->plan->files[cut->file];
    cut->segment = file->first;
    cut->item = cut->plan->segments[file->first].first;
    cut->offset = file->n_head;
    return true;
}

bool moeq_cut_next(struct moeq_cut *cut, struct moeq_batch *batch)
{
    const struct moeq_plan *plan = cut->plan;
    size_t first, n;
    const bool begins = cut->offset == 0;
    if (begins && !find_file(cut))
        return false;
    moeq_plan_file_items(plan, &plan->files[cut->file], &first, &n);
    const struct moeq_plan_segment *segment = &plan->segments[cut->segment];
    *batch = (struct moeq_batch){.file = cut->file,
                                 .first = cut->item,
                                 .segment = cut->segment,
                                 .offset = cut->offset,
                                 .begins_file = begins,
                                 .begins_segment = cut->item == segment->first};
    if (batch->begins_segment && is_copied_segment(cut, segment))
        cut_copy(cut, batch, first + n);
    else if (is_windowed(&plan->items[cut->item]) && is_alone(cut, first + n))
        cut_window(cut, batch);
    else
        cut_whole(cut, batch, first + n);
    cut->offset += batch->n_bytes;
    batch->ends_file = cut->item == first + n;
    if (batch->ends_file) {
        cut->file++;
        cut->offset = 0;
    }
    return true;
}

uint64_t moeq_batches_memory(uint64_t largest)
{
    const uint64_t beside = 2 * (uint64_t)MOEQ_BATCH_BYTES;
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
