/* One layer file of a package: written, or recognised as complete. */
#ifndef MOEQ_LAYER_FILE_H
#define MOEQ_LAYER_FILE_H

#include "out.h"
#include "plan.h"
#include "pool.h"
#include "progress.h"

/* Source and packed bytes that are in memory at once, if a tensor is not larger. */
#define MOEQ_BATCH_BYTES (16u << 20)

/* Rows of a matrix that a worker has in float32 at once while they become this level. */
uint64_t moeq_layer_rows_at_once(const struct moeq_level *level);

/* What the manifest says of a file. */
struct moeq_layer_hashes {
    struct moeq_hash head, hashes;
    struct moeq_hash *segments; /* [n_segments]; owned by the caller */
};

/* Memory that is reused from file to file. {0} is valid. */
struct moeq_layer_buffers {
    struct moeq_bytes source, packed;
    struct moeq_bytes *workers; /* [n_workers] */
    unsigned n_workers;
};

void moeq_layer_buffers_free(struct moeq_layer_buffers *buffers);

/* Bytes that writing all files of a plan holds at most: a batch of tensors as they are and as they become,
 * and the workers' rows in float32. */
uint64_t moeq_layer_files_memory(const struct moeq_plan *plan, unsigned n_jobs);

/* Converts and writes the file. */
enum moeq_status moeq_layer_file_write(const struct moeq_plan *plan, const struct moeq_plan_file *file,
                                       struct moeq_hash plan_hash, const struct moeq_out_dir *dir,
                                       struct moeq_pool *pool, struct moeq_layer_buffers *buffers,
                                       struct moeq_progress *progress, struct moeq_layer_hashes *hashes,
                                       struct moeq_error *err);

/* Reads a file back in full: MOEQ_OK where header, segments and their hashes are what this plan asks for;
 * MOEQ_CHECK_FAILED where it is another plan's; MOEQ_DAMAGED where it is neither. Fills *hashes. */
enum moeq_status moeq_layer_file_check(const struct moeq_plan *plan, const struct moeq_plan_file *file,
                                       struct moeq_hash plan_hash, const char *path,
                                       struct moeq_layer_hashes *hashes, struct moeq_error *err);

#endif
