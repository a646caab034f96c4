/* Matrices of level ec. The first byte says what the others are: a shape and coded bytes, which need not be
 * any; or a shape and weights, which are coded, come back within their steps, and are decoded once more with
 * some bytes changed. */
#include "fuzz.h"

#include "coded.h"
#include "ec.h"

#include <math.h>
#include <stdlib.h>

#define SHAPE_BYTES   2
#define GOAL_BYTES    2
#define CHANGE_BYTES  3 /* a place, and what is turned round there */
#define MOST_CHANGES  4
#define MOST_OFF      0.7501f /* of a step: rounding prefers the smaller code by a quarter */
#define WEIGHT_FACTOR 0x1p-9f

/* A matrix, in blocks of exactly its sizes, so that a sanitizer sees the first byte beyond. */
struct shape {
    struct moeq_format format;
    uint64_t rows, cols, n_bytes, n_padded;
    uint8_t *scratch, *packed[2];
};

static void *block(size_t alignment, size_t n)
{
    void *made = aligned_alloc(alignment, n ? n : alignment);
    if (!made)
        exit(2);
    return made;
}

static struct shape shape_of(uint64_t rows, uint64_t cols)
{
    struct shape s = {.format = {.level = &moeq_level_ec, .dtype = MOEQ_U8}, .rows = rows, .cols = cols};
    fuzz_require(moeq_packed_size(s.format, rows, cols, &s.n_bytes, &s.n_padded, NULL) == MOEQ_OK);
    s.scratch = block(64, moeq_coded_scratch_bytes(s.format, rows, cols));
    for (int i = 0; i < 2; i++)
        s.packed[i] = block(64, s.n_padded);
    return s;
}

static void shape_free(struct shape *s)
{
    free(s->scratch);
    free(s->packed[0]);
    free(s->packed[1]);
}

/* Into two different blocks: they are alike where every byte is written. All values are numbers. */
static enum moeq_status decode(struct shape *s, const uint8_t *bytes, size_t n)
{
    uint8_t *coded = block(1, n);
    struct moeq_error err = {0};
    float row[256];
    memcpy(coded, bytes, n);
    memset(s->packed[0], 0, s->n_padded);
    memset(s->packed[1], 0xff, s->n_padded);
    const enum moeq_status status =
        moeq_coded_decode(s->format, s->rows, s->cols, coded, n, s->scratch, s->packed[0], &err);
    fuzz_require_error(status, &err);
    fuzz_require(status == MOEQ_OK || (status == MOEQ_DAMAGED && err.has_offset && err.offset <= n));
    fuzz_require(moeq_coded_decode(s->format, s->rows, s->cols, coded, n, s->scratch, s->packed[1], NULL) ==
                 status);
    fuzz_require(status || memcmp(s->packed[0], s->packed[1], s->n_padded) == 0);
    const struct moeq_matrix m = {s->format, s->rows, s->cols, s->packed[0], s->n_bytes};
    for (uint64_t r = 0; !status && r < s->rows; r++) {
        moeq_decode(&m, r, 0, s->cols, row);
        for (uint64_t c = 0; c < s->cols; c++)
            fuzz_require(isfinite(row[c]));
    }
    free(coded);
    return status;
}

static void decode_anything(const uint8_t *data, size_t n)
{
    struct shape s = shape_of(data[0], data[1]);
    decode(&s, data + SHAPE_BYTES, n - SHAPE_BYTES);
    shape_free(&s);
}

static void require_near(const struct shape *s, const float *w)
{
    const struct moeq_matrix m = {s->format, s->rows, s->cols, s->packed[0], s->n_bytes};
    const float *scales = (const float *)(const void *)(s->packed[0] + s->n_bytes) - s->cols;
    float row[256];
    for (uint64_t r = 0; r < s->rows; r++) {
        moeq_decode(&m, r, 0, s->cols, row);
        for (uint64_t c = 0; c < s->cols; c++)
            fuzz_require(fabsf(row[c] - w[r * s->cols + c]) <= MOST_OFF * scales[c]);
    }
}

/* An even byte of the goal is bits a weight, an odd one a step. */
static struct moeq_ec_goal goal_of(const uint8_t *data)
{
    if (data[0] % 2)
        return (struct moeq_ec_goal){.step = ldexp(1 + data[1] / 256.0, data[0] % 32 - 24)};
    return (struct moeq_ec_goal){.bits = (double)MOEQ_LEAST_EC_BITS + data[1] / 32.0};
}

static void encode_and_decode(struct moeq_pool *pool, const uint8_t *data, size_t n)
{
    struct shape s = shape_of(1 + data[0] % 48u, 1 + data[1] % 48u);
    const uint64_t n_weights = s.rows * s.cols;
    const uint8_t *changes = data + SHAPE_BYTES + GOAL_BYTES, *codes = changes + MOST_CHANGES * CHANGE_BYTES;
    const size_t n_codes = n - (size_t)(codes - data);
    struct moeq_bytes coded = {0};
    struct moeq_ec_report report;
    float *w = block(4, n_weights * sizeof *w);
    for (uint64_t i = 0; i < n_weights; i++)
        w[i] = n_codes ? (float)(int8_t)codes[i % n_codes] * WEIGHT_FACTOR : 0;
    fuzz_require(moeq_ec_encode(NULL, s.rows, s.cols, w, goal_of(data + SHAPE_BYTES), pool, &coded, &report,
                                NULL) == MOEQ_OK);
    fuzz_require(coded.n_bytes <= moeq_ec_most_bytes(s.rows, s.cols));
    fuzz_require(decode(&s, coded.data, coded.n_bytes) == MOEQ_OK);
    require_near(&s, w);
    for (int i = 0; i < MOST_CHANGES; i++, changes += CHANGE_BYTES)
        coded.data[(changes[0] + 256u * changes[1]) % coded.n_bytes] ^= changes[2];
    decode(&s, coded.data, coded.n_bytes);
    moeq_bytes_free(&coded);
    free(w);
    shape_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct moeq_pool *pool;
    if (!pool)
        pool = moeq_pool_create(1, NULL);
    if (pool && n > SHAPE_BYTES && data[0] % 2 == 0)
        decode_anything(data + 1, n - 1);
    else if (pool && n > SHAPE_BYTES + GOAL_BYTES + MOST_CHANGES * CHANGE_BYTES)
        encode_and_decode(pool, data + 1, n - 1);
    return 0;
}
