/* Batches on their way through the stages of a conversion, each stage on a thread of its own: loading,
 * encoding, writing, finishing.
 *
 * Batches have numbers, from 0 on, and pass every stage in that order. A stage waits for a batch, works on it
 * without any lock, and passes it on. The failure that counts is the one of the lowest batch:
 * batches before it go on to the end, it and all behind it go nowhere, whatever threads happen to run first.
 */
#ifndef MOEQ_STAGES_H
#define MOEQ_STAGES_H

#include "bytes.h"

enum moeq_stage { MOEQ_LOADING, MOEQ_ENCODING, MOEQ_WRITING, MOEQ_FINISHING, MOEQ_N_STAGES };

/* Batches that have been loaded and not yet finished: batch k may use slot k % MOEQ_MAX_BATCHES of the
 * caller's tables. */
#define MOEQ_MAX_BATCHES 64

struct moeq_stages;

/* `n_bytes` is the memory that batches share, reserved here. */
struct moeq_stages *moeq_stages_create(uint64_t n_bytes, struct moeq_error *err);
void moeq_stages_free(struct moeq_stages *stages); /* NULL allowed */

/* Waits until the batch has passed the stage before, and of loading, until its slot is free. False where it
 * will never come: then the stage's thread ends. */
bool moeq_stages_wait(struct moeq_stages *stages, enum moeq_stage stage, uint64_t batch);

/* The same without waiting. */
bool moeq_stages_has(struct moeq_stages *stages, enum moeq_stage stage, uint64_t batch);

/* For encoding: waits for the next batch that has something to encode, and gives its number. */
bool moeq_stages_wait_to_encode(struct moeq_stages *stages, uint64_t *batch);

/* Waits until `batch` has passed `stage`; false where it never will. */
bool moeq_stages_wait_passed(struct moeq_stages *stages, enum moeq_stage stage, uint64_t batch);

/* For loading, after moeq_stages_wait: n_bytes for this batch, 64-byte aligned, at most those that were
 * reserved; waits until they are free. They are given back once `until`, that batch or a later one, is
 * written; no memory may be asked for between the two. NULL where there is no point any more. */
uint8_t *moeq_stages_memory(struct moeq_stages *stages, uint64_t n_bytes, uint64_t until);

/* What was done to the batch can be seen by the next stage. After loading, `is_ready` tells that there is
 * nothing to encode. */
void moeq_stages_pass(struct moeq_stages *stages, enum moeq_stage stage, bool is_ready);

/* There are n batches and no more. */
void moeq_stages_end(struct moeq_stages *stages, uint64_t n);

/* The batch failed, for the reason in *why. */
void moeq_stages_fail(struct moeq_stages *stages, uint64_t batch, const struct moeq_error *why);

/* The failure, once all stages have ended. */
enum moeq_status moeq_stages_result(struct moeq_stages *stages, struct moeq_error *err);

#endif
