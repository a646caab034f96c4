/* Copying segments of a checkpoint into layer files, on a pool: each piece of bytes is read, hashed, written
 * and read back by one thread while it lies in that core's cache. Nothing of a tensor is in memory as a
 * whole.
 *
 * The file system lets one thread at a time write to a file, so each thread has a file of its own while there
 * are enough, and helps with another's at the end. */
#ifndef MOEQ_COPY_H
#define MOEQ_COPY_H

#include "batches.h"
#include "layer_file.h"
#include "out.h"
#include "pool.h"
#include "progress.h"
#include "provenance.h"
#include "stages.h"

/* Memory of a worker. */
#define MOEQ_COPIER_BYTES ((256u << 10) + MOEQ_OUT_SCRATCH)

struct moeq_copier {
    struct moeq_pool *pool; /* borrowed */
    struct moeq_copy_worker *workers;
};

enum moeq_status moeq_copier_init(struct moeq_copier *copier, struct moeq_pool *pool, struct moeq_error *err);
void moeq_copier_free(struct moeq_copier *copier);

/* Files that are being copied at once. */
#define MOEQ_COPIES_AT_ONCE 4

struct moeq_copy {
    const struct moeq_plan *plan;
    struct moeq_stages *stages;
    const struct moeq_batch *batches;   /* [MOEQ_MAX_BATCHES]: batch k at k % MOEQ_MAX_BATCHES */
    const struct moeq_out *outs;        /* [files of the plan] */
    struct moeq_provenance *provenance; /* gets the slices of the items */
    struct moeq_layer_hashes *hashes;   /* [files of the plan]: gets those of the segments */
    struct moeq_progress *progress;
};

/* Copies batch `first`, which must be of the kind MOEQ_BATCH_COPY, and those of that kind which follow it;
 * passes each on from the stage of encoding, or lets it fail there. */
void moeq_copy_batches(struct moeq_copier *copier, const struct moeq_copy *copy, uint64_t first);

#endif
