/* Packed matrices from those of another level, on a pool. Numbers go through float32, a few rows at a time.
 */
#ifndef MOEQ_ENCODE_H
#define MOEQ_ENCODE_H

#include "batches.h"
#include "calibrated.h"
#include "pool.h"
#include "supply.h"

struct moeq_encoder {
    struct moeq_pool *pool;            /* borrowed */
    struct moeq_bytes *workers;        /* [jobs of the pool]: rows in float32 */
    struct moeq_calibrated calibrated; /* for plans with statistics, */
    const struct moeq_supply *supply;  /* if this is not where their bytes come from; NULL: it is not */
    double *errors;                    /* [items of the plan]: gets those of calibrated items; or NULL */
    uint64_t n_windows;                /* bytes of the windows of an item so far, where it is coded */
};

enum moeq_status moeq_encoder_init(struct moeq_encoder *encoder, const struct moeq_plan *plan,
                                   struct moeq_pool *pool, struct moeq_error *err);
void moeq_encoder_free(struct moeq_encoder *encoder);

/* Encodes the items of a batch that are not carried: matrices[i], of item i, to parts[i], of its n_bytes; of
 * a window its rows, to the beginning of parts[0]. What no code fills becomes zero. Items that are coded,
 * with room for n_room, get their n_bytes, with the last of their windows, which get their own. */
enum moeq_status moeq_encode_batch(struct moeq_encoder *encoder, struct moeq_plan *plan,
                                   struct moeq_batch *batch, const struct moeq_matrix *matrices,
                                   uint8_t *const *parts, struct moeq_error *err);

/* Rows of a matrix that a worker has in float32 at once while they become this level. */
uint64_t moeq_encoder_rows_at_once(const struct moeq_level *level);

#endif
