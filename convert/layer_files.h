/* Writing the layer files of a package, in the order of the plan. Batch by batch, what becomes another level
 * is loaded, encoded on the pool and written, all at once; what is copied goes from file to file on the pool
 * (copy.h). A complete file gets durable and its name while the next is written.
 *
 * A file that has its final name was read back: the data piece by piece behind the writing, against what was
 * in memory; header and list of hashes by the strict parser at the end. */
#ifndef MOEQ_LAYER_FILES_H
#define MOEQ_LAYER_FILES_H

#include "layer_file.h"
#include "out.h"
#include "pool.h"
#include "progress.h"
#include "provenance.h"
#include "supply.h"

struct moeq_layer_files {
    struct moeq_plan *plan; /* of coded items, and of their files, it gets the sizes */
    struct moeq_hash plan_hash;
    const bool *is_kept; /* [files of the plan] that are complete already */
    const struct moeq_out_dir *dir;
    struct moeq_pool *pool;             /* encodes and copies; three more threads load, write and finish */
    struct moeq_progress *progress;     /* counts bytes of the source as they are written */
    struct moeq_provenance *provenance; /* gets the slices of what is not kept */
    struct moeq_layer_hashes *hashes;   /* [files of the plan]: likewise */
    const struct moeq_supply *supply;   /* where calibrated items come from; NULL: they are made here */
    double *errors; /* [items of the plan]: gets those of calibrated items that are made here; or NULL */
};

/* Of several failures that of the lowest batch is reported; files before it are complete, nothing is left of
 * those behind it. */
enum moeq_status moeq_layer_files_write(const struct moeq_layer_files *files, struct moeq_error *err);

/* Bytes of weights that this holds at most: batches as they are and as they become, and the workers' rows in
 * float32. */
uint64_t moeq_layer_files_memory(const struct moeq_plan *plan, unsigned n_jobs);

#endif
