/* The columns of a matrix at level ec: exponents, order, classes, tables; for ec*.c alone. */
#ifndef MOEQ_EC_COLUMNS_H
#define MOEQ_EC_COLUMNS_H

#include "ec.h"
#include "rans.h"

#define MOEQ_EC_MAX_CODE    127
#define MOEQ_EC_MAX_CLASSES 17

struct moeq_ec_columns {
    uint64_t rows, n;
    float step;
    unsigned fineness;
    int origin;         /* the exponent that those in the stream are counted from */
    int16_t *exponents; /* [n] */
    float *scales;      /* [n] */
    uint32_t *order;    /* [n]: the column that is the i-th of the codes' stream */
    size_t n_classes;
    uint64_t ends[MOEQ_EC_MAX_CLASSES]; /* columns, in that order */
};

enum moeq_status moeq_ec_columns_init(struct moeq_ec_columns *columns, uint64_t rows, uint64_t n,
                                      struct moeq_error *err);
void moeq_ec_columns_free(struct moeq_ec_columns *columns);

/* Exponents for pivots N_jj^2 in a factor's order (NULL: all 1), and steps wide enough for the largest
 * magnitude of each column. */
void moeq_ec_columns_choose(struct moeq_ec_columns *columns, const struct moeq_gptq_factor *factor,
                            float step, const float *largest);

/* Scales, order and classes, which follow from the exponents. */
void moeq_ec_columns_derive(struct moeq_ec_columns *columns);

/* What stands before the tables of the classes. */
enum moeq_status moeq_ec_columns_write(const struct moeq_ec_columns *columns, struct moeq_bytes *out,
                                       struct moeq_error *err);

/* The same read back, into columns that were initialized; *n_used are its bytes. */
enum moeq_status moeq_ec_columns_read(struct moeq_ec_columns *columns, const uint8_t *bytes, uint64_t n_bytes,
                                      uint64_t *n_used, struct moeq_error *err);

#endif
