/* Level ec: integers on a fine grid, entropy-coded. The step is a column's own, nothing is cut off, and the
 * codes take what their information is: for weights that are nearly normal a quarter of a bit above the bound
 * of any quantizer, where groups of integers of fixed width lose 0.7 (WaterSIC, arXiv 2603.04956).
 *
 * value = code * scale of the column, code in [-127, 127], scale = step * 2^(exponent / fineness). For the
 * error of the outputs, which with H = N^T N falls apart into columns (gptq.h), the best step of column j is
 * in proportion to 1 / N_jj: all columns then add the same error, and those that matter take more bits.
 * `step` is that of a column with N_jj = 1, so that all matrices with the same step have the same error for
 * each of their rows and columns, step^2 / 12, whatever their inputs are. Codes are chosen with error
 * feedback, each the nearest but for a slight preference for the smaller, which takes fewer bits
 * (struct moeq_lane_grid of fused.h).
 *
 * In memory a matrix is an ordinary packed one of this level: int8 codes [rows, cols]; zeros up to a multiple
 * of 64; float32 scales [cols]. In a package it is coded:
 *
 *   float32  step
 *   uint8    fineness, the steps of exponents in an octave: 4 or 8
 *   uint8    the normal table (normal.h) of the exponents' stream
 *   int16    the exponent that those in the stream are counted from
 *   stream   of rans.h: the exponents of the columns, as they lie, in chunks of MOEQ_RANS_MAX_CHUNK
 *   bytes    for each class of columns its table: the number of a normal table, or 255 and a table of rans.h
 *   stream   of rans.h: the codes, column by column, each with all its rows, the columns by their exponents,
 *            of equals as they lie; in chunks of as many whole columns as fit MOEQ_RANS_MAX_CHUNK
 *   zeros    up to the end of the tensor
 *
 * A class is columns with the same exponent or, in that order, as many exponents as it takes for a sixteenth
 * of all columns; what is left over at the end belongs to the class before. Since the deviation of codes goes
 * with the scale, a table for each class is worth 2 to 5% of the bytes. All is little-endian. */
#ifndef MOEQ_EC_H
#define MOEQ_EC_H

#include "gptq.h"

/* What is asked for: a step, or, where that is 0, bits a weight with all that is stored. */
enum moeq_ec_part {
    MOEQ_EC_FEEDBACK = 1,     /* of errors to the columns behind */
    MOEQ_EC_COLUMN_STEPS = 2, /* instead of one for all */
    MOEQ_EC_CLASSES = 4,      /* a table for each instead of one for all */
    MOEQ_EC_PRICE = 8,        /* the preference for smaller codes */
};

struct moeq_ec_goal {
    double step, bits;
    unsigned without; /* parts that are left out to measure what they are worth, for a report alone */
    uint64_t of_rows; /* rows of the matrix that w is a sample of, for a report alone; 0: it is all of it */
};

struct moeq_ec_report {
    double error;     /* tr((W - Q) H (W - Q)^T), as in gptq.h */
    double step;      /* that was taken */
    uint64_t n_bytes; /* coded, without padding; estimated where nothing was coded */
};

/* Encodes w [rows, cols] on a factor (of cols columns), or without one: then errors count alike in all
 * columns. With bits, a step is found under which the coded size is near them, by the same rule everywhere:
 * 1% off at most on matrices that are not tiny, but for weights whose codes of 8 bits do not take so many.
 * The same bytes for any threads and in every instruction set. `out` NULL: nothing is coded, for the report
 * alone. MOEQ_DAMAGED names a weight that is not finite, MOEQ_UNSUPPORTED a column of which no float32 is the
 * step. */
enum moeq_status moeq_ec_encode(const struct moeq_gptq_factor *factor, uint64_t rows, uint64_t cols,
                                const float *w, struct moeq_ec_goal goal, struct moeq_pool *pool,
                                struct moeq_bytes *out, struct moeq_ec_report *report,
                                struct moeq_error *err);

/* Memory that encoding takes beside w and the factor, for a matrix that becomes n_coded bytes. */
uint64_t moeq_ec_encode_bytes(uint64_t rows, uint64_t cols, uint64_t n_coded, unsigned n_jobs);

/* The most bytes that a matrix takes when coded. */
uint64_t moeq_ec_most_bytes(uint64_t rows, uint64_t cols);

/* The packed matrix of coded bytes. `codes` is scratch [rows, cols]. Whatever the bytes are, nothing outside
 * of them is read and nothing outside of `packed`, of moeq_packed_size, is written. MOEQ_DAMAGED with the
 * offset in `coded`. Uses one thread. */
enum moeq_status moeq_ec_decode(const uint8_t *coded, uint64_t n_coded, uint64_t rows, uint64_t cols,
                                int8_t *codes, uint8_t *packed, struct moeq_error *err);

#endif
