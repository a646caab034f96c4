/* Random weights, the same on every machine, and matrices packed from them. */
#ifndef MOEQ_WEIGHTS_H
#define MOEQ_WEIGHTS_H

#include "level.h"
#include "unit.h"

static uint64_t random_state;

/* splitmix64, so that the numbers are the same everywhere. */
static inline double uniform(void)
{
    return (double)(moeq_mixed(random_state += MOEQ_MIX_STEP) >> 11) * 0x1p-53;
}

static inline float gaussian(void)
{
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += uniform();
    return (float)(sum - 6);
}

static inline float *random_weights(uint64_t n, uint64_t seed)
{
    float *w = malloc(n * sizeof *w);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w);
    random_state = seed;
    for (uint64_t i = 0; i < n; i++)
        w[i] = 0.02f * gaussian();
    return w;
}

static inline struct moeq_format format_of(const char *text)
{
    struct moeq_format format = {0};
    CU_ASSERT_EQUAL_FATAL(moeq_format_parse(text, (struct moeq_format){.group = 128}, &format, NULL),
                          MOEQ_OK);
    return format;
}

/* Encodes a whole matrix as convert does: piece by piece, last piece first. */
static inline enum moeq_status encode(struct moeq_matrix *m, struct moeq_bytes *bytes, const char *text,
                                      const float *w, uint64_t rows, uint64_t cols, struct moeq_error *err)
{
    uint64_t n_bytes, n_padded;
    *m = (struct moeq_matrix){.format = format_of(text), .rows = rows, .cols = cols};
    enum moeq_status status = moeq_packed_size(m->format, rows, cols, &n_bytes, &n_padded, err);
    if (status || (status = moeq_bytes_resize(bytes, n_padded, err)))
        return status;
    memset(bytes->data, 0, n_padded);
    m->data = bytes->data;
    m->n_bytes = n_bytes;
    uint64_t n_pieces = moeq_div_up(rows, MOEQ_ROWS_PER_PIECE);
    for (uint64_t p = n_pieces; !status && p-- > 0;) {
        uint64_t row = p * MOEQ_ROWS_PER_PIECE, left = rows - row;
        status = m->format.level->encode(&m->format, rows, cols, row,
                                         left < MOEQ_ROWS_PER_PIECE ? left : MOEQ_ROWS_PER_PIECE,
                                         w + row * cols, bytes->data, err);
    }
    return status;
}

#endif
