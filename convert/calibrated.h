/* Encoding with error feedback (gptq.h) on the statistics of a calibration (statistics.h). */
#ifndef MOEQ_CALIBRATED_H
#define MOEQ_CALIBRATED_H

#include "gptq.h"
#include "source.h"
#include "statistics.h"

/* An expert borrows from its layer as if it had seen so many tokens of it; see moeq_hessian_mix. */
#define MOEQ_BORROWED_TOKENS 256.0

struct moeq_calibrated {
    const struct moeq_statistics *statistics;
    struct moeq_pool *pool;
    struct moeq_gptq_options options;
    double borrowed; /* tokens */
    /* Of the inputs that came last: gate and up share theirs. */
    int layer;
    char name[MOEQ_MAX_STATISTICS_NAME];
    struct moeq_gptq_factor factor;
    struct moeq_bytes w; /* a matrix in float32 */
};

/* Borrows statistics and pool. */
void moeq_calibrated_init(struct moeq_calibrated *calibrated, const struct moeq_statistics *statistics,
                          struct moeq_pool *pool);
void moeq_calibrated_free(struct moeq_calibrated *calibrated);

/* Whether a weight that becomes a format is encoded with statistics: a matrix of a main layer whose inputs
 * are collected, at a level of integers or FP8. MTP layers are not run, and so not calibrated. */
bool moeq_calibrated_applies(const struct moeq_statistics *statistics, const struct moeq_weight *weight,
                             const struct moeq_format *format);

/* Encodes the matrix of a weight into `packed`, all zero, of the format's size. One call at a time; uses the
 * pool. Results do not depend on what was encoded before. */
enum moeq_status moeq_calibrated_encode(struct moeq_calibrated *calibrated, const struct moeq_weight *weight,
                                        const struct moeq_format *format, const struct moeq_matrix *matrix,
                                        uint8_t *packed, struct moeq_error *err);

/* Bytes that encoding a weight holds at most. */
uint64_t moeq_calibrated_bytes(const struct moeq_weight *weight);

#endif
