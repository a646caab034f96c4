/* The work of a conversion cut into batches: what is loaded, encoded and written together. The cut follows
 * from the plan alone, so neither bytes nor memory depend on threads. */
#ifndef MOEQ_BATCHES_H
#define MOEQ_BATCHES_H

#include "plan.h"

/* Source and packed bytes of a batch that is encoded, if a tensor is not larger. */
#define MOEQ_BATCH_BYTES (16u << 20)

enum moeq_batch_kind {
    MOEQ_BATCH_COPY,  /* segments of a file whose bytes are those of a checkpoint: copied without being loaded
                       */
    MOEQ_BATCH_WHOLE, /* items as a whole, encoded or, of a package or in one segment with such, copied */
    MOEQ_BATCH_WINDOW /* rows of one item that is too large to be in memory twice; all of it is loaded with
                         the first window */
};

struct moeq_batch {
    enum moeq_batch_kind kind;
    size_t file; /* of the plan, like those that follow */
    size_t first, n_items;
    size_t segment, n_segments;  /* where it begins; how many it is, of a copy */
    uint64_t offset;             /* in the file, where no items of it are coded */
    uint64_t n_bytes;            /* likewise; of windows that are coded set by who encodes them */
    uint64_t row, n_rows;        /* of a window */
    uint64_t n_later;            /* of a window: those that come after it */
    uint64_t n_source, n_packed; /* memory that loading and encoding need, of windows all with the first */
    bool begins_file, begins_segment, ends_file;
};

/* Goes through the batches of a plan. Zero but for plan and is_kept to begin with. */
struct moeq_cut {
    const struct moeq_plan *plan;
    const bool *is_kept;        /* [files of the plan] that need nothing; NULL: none */
    size_t file, segment, item; /* that come next */
    uint64_t row;               /* of the item, which is being cut into windows */
    uint64_t offset;            /* in the file; 0: at its beginning */
};

/* The next batch; false where there is none. */
bool moeq_cut_next(struct moeq_cut *cut, struct moeq_batch *batch);

/* Whether the item's packed bytes are those of the source, */
bool moeq_item_is_copied(const struct moeq_plan_item *item);
/* and those in the file, too, since both are coded or neither is. */
bool moeq_item_is_carried(const struct moeq_plan_item *item);

/* Bytes of the memory for one window of an item that is converted by windows. */
uint64_t moeq_window_bytes(const struct moeq_plan_item *item);

/* Memory for all batches that are under way at once, where the largest needs `largest` bytes: two of them, or
 * a large one and beside it what comes before or after. */
uint64_t moeq_batches_memory(uint64_t largest);

/* The largest batch of a plan: what it needs in memory. */
uint64_t moeq_batches_largest(const struct moeq_plan *plan);

#endif
