/* Copying segments of a checkpoint into a layer file, on a pool: each piece of bytes is read, hashed, written
 * and read back by one thread while it lies in that core's cache. Nothing of a tensor is in memory as a
 * whole. */
#ifndef MOEQ_COPY_H
#define MOEQ_COPY_H

#include "batches.h"
#include "out.h"
#include "pool.h"
#include "progress.h"
#include "provenance.h"

/* Memory of a worker. */
#define MOEQ_COPIER_BYTES (256u << 10)

struct moeq_copier {
    struct moeq_pool *pool; /* borrowed */
    struct moeq_copy_worker *workers;
};

enum moeq_status moeq_copier_init(struct moeq_copier *copier, struct moeq_pool *pool, struct moeq_error *err);
void moeq_copier_free(struct moeq_copier *copier);

struct moeq_copy {
    const struct moeq_plan *plan;
    const struct moeq_batch *batch; /* of the kind MOEQ_BATCH_COPY */
    const struct moeq_out *out;
    struct moeq_provenance *provenance; /* gets the slices of its items */
    struct moeq_hash *hashes;           /* [n_segments of the batch] */
    struct moeq_progress *progress;
};

enum moeq_status moeq_copy_batch(struct moeq_copier *copier, const struct moeq_copy *copy,
                                 struct moeq_error *err);

#endif
