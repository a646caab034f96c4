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
    /* Of a layer with experts. */
    int mean_layer;
    double *counts, *squares;      /* [n_experts] tokens, sums of squared router weights */
    struct moeq_hessian all, down; /* what gate and up, and down, borrow */
    /* Of the inputs that came last: gate and up share theirs. */
    int layer;
    char name[MOEQ_MAX_STATISTICS_NAME];
    struct moeq_gptq_factor factor;
    struct moeq_bytes w, moved; /* a matrix in float32; corrected */
    struct moeq_bytes coded;
};

/* Borrows statistics, which may be NULL, and pool. */
void moeq_calibrated_init(struct moeq_calibrated *calibrated, const struct moeq_statistics *statistics,
                          struct moeq_pool *pool);
void moeq_calibrated_free(struct moeq_calibrated *calibrated);

/* The tensor of the statistics with a weight's inputs; NULL where none are collected. */
const char *moeq_calibrated_name(const struct moeq_weight *weight, char name[MOEQ_MAX_STATISTICS_NAME]);

/* Whether a weight that becomes a format is encoded with statistics: a matrix of a main layer whose inputs
 * are collected, at a level of integers or FP8. MTP layers are not run, and so not calibrated. */
bool moeq_calibrated_applies(const struct moeq_statistics *statistics, const struct moeq_weight *weight,
                             const struct moeq_format *format);

/* Encodes the matrix of a weight into `packed`, all zero, of the format's size; *error is that of its
 * outputs, with its importance (moeq_calibrated_weigh). One call at a time; uses the pool. Results do not
 * depend on what was encoded before. */
enum moeq_status moeq_calibrated_encode(struct moeq_calibrated *calibrated, const struct moeq_weight *weight,
                                        const struct moeq_format *format, const struct moeq_matrix *matrix,
                                        uint8_t *packed, double *error, struct moeq_error *err);

/* The same for a format that is coded (coded.h): the coded bytes are in calibrated->coded until the next
 * call. With statistics where `is_calibrated`, otherwise as if all inputs were alike; then *error is that. */
enum moeq_status moeq_calibrated_code(struct moeq_calibrated *calibrated, const struct moeq_weight *weight,
                                      bool is_calibrated, const struct moeq_format *format,
                                      const struct moeq_matrix *matrix, double *error,
                                      struct moeq_error *err);

/* The parts of that: the factor of the second moments of a weight's inputs: those of the statistics, an
 * expert's mixed with its layer's. */
enum moeq_status moeq_calibrated_prepare(struct moeq_calibrated *calibrated, const struct moeq_weight *weight,
                                         struct moeq_error *err);

/* Inputs that were seen elsewhere, instead of those of the statistics. */
struct moeq_seen {
    struct moeq_hessian own; /* [cols, cols] */
    /* Not NULL: cross moments with what the original model puts in, sum of v x~ x^T: [cols, cols], C[a][b] of
     * x~_a x_b. */
    double *cross;
};

/* The same of such inputs; an expert's are mixed with its layer's of the statistics, cross moments as if
 * there had been no drift. What `seen` has is changed. */
enum moeq_status moeq_calibrated_prepare_seen(struct moeq_calibrated *calibrated,
                                              const struct moeq_weight *weight, struct moeq_seen *seen,
                                              struct moeq_error *err);

/* Encodes a matrix on the factor that was prepared last; with `cross`, the mean cross moments that were mixed
 * then, toward what the original model's inputs give (moeq_gptq_correct). */
enum moeq_status moeq_calibrated_encode_seen(struct moeq_calibrated *calibrated,
                                             const struct moeq_weight *weight,
                                             const struct moeq_format *format,
                                             const struct moeq_matrix *matrix, const double *cross,
                                             uint8_t *packed, double *error, struct moeq_error *err);

/* The matrix in float32, [rows, cols], valid until the next; the rows from `first` on, every step-th. */
enum moeq_status moeq_calibrated_decode(struct moeq_calibrated *calibrated, const struct moeq_matrix *matrix,
                                        uint64_t first, uint64_t step, float **w, struct moeq_error *err);

/* Tokens that a weight's inputs were seen at, and what an error of its outputs weighs: for each token of the
 * texts the mean of the squared router weight, 0 where it goes elsewhere; an expert has borrowed tokens with
 * the mean of its layer beside its own. 1 for other weights. */
enum moeq_status moeq_calibrated_weigh(struct moeq_calibrated *calibrated, const struct moeq_weight *weight,
                                       double *n_tokens, double *importance, struct moeq_error *err);

/* Bytes that encoding a weight holds at most. */
uint64_t moeq_calibrated_bytes(const struct moeq_weight *weight);

#endif
