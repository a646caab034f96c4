/* Level ec: what is decoded is what was encoded, the same bytes on every machine, of the size that was asked
 * for, with a smaller error than integers of as many bytes have; damage is found. */
#include "plain_factor.h"
#include "sets.h"

#include "ec.h"
#include "hash.h"

#include <math.h>
#include <sys/mman.h>

/* A matrix, and what came of it. */
struct coded {
    uint64_t rows, cols;
    float *w;
    struct moeq_hessian h;
    struct moeq_gptq_factor factor;
    struct moeq_bytes bytes, packed, scratch;
    struct moeq_matrix m; /* of packed */
    struct moeq_ec_report report;
};

static struct coded make(struct moeq_pool *pool, uint64_t rows, uint64_t cols, uint64_t dead)
{
    struct coded c = {.rows = rows, .cols = cols};
    correlated_moments(&c.h, pool, cols, 3 * cols + 7, dead, 1);
    CU_ASSERT_EQUAL_FATAL(
        moeq_gptq_prepare(&c.factor, &c.h, (struct moeq_gptq_options){0.02, true, true}, pool, NULL),
        MOEQ_OK);
    c.w = random_weights(rows * cols, rows + cols);
    return c;
}

static void free_coded(struct coded *c)
{
    moeq_hessian_free(&c->h);
    moeq_gptq_free(&c->factor);
    moeq_bytes_free(&c->bytes);
    moeq_bytes_free(&c->packed);
    moeq_bytes_free(&c->scratch);
    free(c->w);
}

static enum moeq_status decode(struct coded *c, struct moeq_error *err)
{
    uint64_t n, n_padded;
    c->m = (struct moeq_matrix){.format = format_of("ec"), .rows = c->rows, .cols = c->cols};
    moeq_packed_size(c->m.format, c->rows, c->cols, &n, &n_padded, NULL);
    CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(&c->packed, n_padded, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(&c->scratch, c->rows * c->cols, NULL), MOEQ_OK);
    c->m.data = c->packed.data;
    c->m.n_bytes = n;
    return moeq_ec_decode(c->bytes.data, c->bytes.n_bytes, c->rows, c->cols, (int8_t *)c->scratch.data,
                          c->packed.data, err);
}

static bool encode_it(struct coded *c, const struct moeq_gptq_factor *factor, struct moeq_ec_goal goal,
                      struct moeq_pool *pool)
{
    return !moeq_ec_encode(factor, c->rows, c->cols, c->w, goal, pool, &c->bytes, &c->report, NULL) &&
           !decode(c, NULL);
}

static double bits_of(const struct coded *c)
{
    return 8.0 * (double)c->bytes.n_bytes / (double)(c->rows * c->cols);
}

static const struct {
    uint64_t rows, cols, dead;
} shapes[] = {{96, 256, 0}, {256, 96, 3}, {33, 17, 0}, {1, 1, 0}, {5, 130, 2}, {1100, 300, 0}, {64, 1, 0}};

#define N_SHAPES (sizeof shapes / sizeof *shapes)

/* Decoded values lie on the columns' grids near the weights, and their error is the one reported. */
static int check_values(void)
{
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    int n_wrong = 0;
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct coded c = make(pool, shapes[i].rows, shapes[i].cols, shapes[i].dead);
        float *q = malloc(c.rows * c.cols * sizeof *q);
        double error = 0;
        bool is_right = encode_it(&c, &c.factor, (struct moeq_ec_goal){.step = 0.004}, pool);
        for (uint64_t r = 0; is_right && r < c.rows; r++)
            moeq_decode(&c.m, r, 0, c.cols, q + r * c.cols);
        is_right = is_right && !moeq_gptq_measure(&c.factor, c.rows, c.w, q, pool, &error, NULL) &&
                   fabs(error - c.report.error) <= 1e-6 * error + 1e-12;
        if (!is_right)
            printf("[%llu x %llu: %g, measured %g] ", (unsigned long long)c.rows, (unsigned long long)c.cols,
                   c.report.error, error);
        n_wrong += !is_right;
        free(q);
        free_coded(&c);
    }
    moeq_pool_join(pool);
    return n_wrong;
}

static void errors_are_those_reported(void)
{
    in_every_set(check_values);
}

/* The hash of everything that is made, which must be the same everywhere. */
static struct moeq_hash hash_all(unsigned jobs)
{
    struct moeq_pool *pool = moeq_pool_create(jobs, NULL);
    struct moeq_hasher *hasher = moeq_hasher_create(NULL);
    for (size_t i = 0; i < N_SHAPES; i++) {
        struct coded c = make(pool, shapes[i].rows, shapes[i].cols, shapes[i].dead);
        for (int with = 0; with < 2; with++) {
            CU_ASSERT_TRUE(
                encode_it(&c, with ? &c.factor : NULL, (struct moeq_ec_goal){.bits = 2.5 + with}, pool));
            moeq_hasher_update(hasher, c.bytes.data, c.bytes.n_bytes);
            moeq_hasher_update(hasher, c.packed.data, c.m.n_bytes);
            moeq_hasher_update(hasher, &c.report.error, sizeof c.report.error);
        }
        free_coded(&c);
    }
    const struct moeq_hash hash = moeq_hasher_finish(hasher);
    moeq_hasher_free(hasher);
    moeq_pool_join(pool);
    return hash;
}

static struct moeq_hash *expected; /* shared with the children */

static int check_bytes(void)
{
    return !moeq_hash_equal(hash_all(1), *expected) + !moeq_hash_equal(hash_all(3), *expected);
}

static int note_bytes(void)
{
    *expected = hash_all(2);
    return 0;
}

static void bytes_are_the_same_everywhere(void)
{
    expected = mmap(NULL, sizeof *expected, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_PTR_NOT_EQUAL_FATAL(expected, MAP_FAILED);
    in_every_set(note_bytes);
    in_every_set(check_bytes);
    munmap(expected, sizeof *expected);
}

static void size_is_as_asked(void)
{
    static const double goals[] = {1.25, 2, 3, 4.5, 6};
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    struct coded c = make(pool, 640, 384, 0);
    for (size_t i = 0; i < sizeof goals / sizeof *goals; i++)
        for (int with = 0; with < 2; with++) {
            CU_ASSERT_TRUE(
                encode_it(&c, with ? &c.factor : NULL, (struct moeq_ec_goal){.bits = goals[i]}, pool));
            CU_ASSERT_DOUBLE_EQUAL(bits_of(&c), goals[i], 0.01 * goals[i]);
            struct moeq_ec_report plain;
            CU_ASSERT_EQUAL(moeq_ec_encode(with ? &c.factor : NULL, c.rows, c.cols, c.w,
                                           (struct moeq_ec_goal){.step = c.report.step}, pool, NULL, &plain,
                                           NULL),
                            MOEQ_OK);
            CU_ASSERT_EQUAL(plain.error, c.report.error);
            CU_ASSERT_DOUBLE_EQUAL((double)plain.n_bytes, (double)c.bytes.n_bytes,
                                   0.005 * (double)c.bytes.n_bytes);
        }
    free_coded(&c);
    moeq_pool_join(pool);
}

/* At the bytes of GPTQ's int4, int3 and int2 in groups of 64: half the error, or what the wider gap at few
 * bits makes. */
static void it_is_better_than_groups(void)
{
    static const struct {
        const char *format;
        double most;
    } rivals[] = {{"int4-g64", 0.5}, {"int3-g64", 0.45}, {"int2-g64", 0.35}};
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    struct coded c = make(pool, 640, 384, 0);
    for (size_t i = 0; i < sizeof rivals / sizeof *rivals; i++) {
        struct moeq_format format = format_of(rivals[i].format);
        struct moeq_gptq_report report;
        struct moeq_bytes packed = {0};
        uint64_t n, n_padded;
        moeq_packed_size(format, c.rows, c.cols, &n, &n_padded, NULL);
        CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(&packed, n_padded, NULL), MOEQ_OK);
        memset(packed.data, 0, packed.n_bytes);
        CU_ASSERT_EQUAL(
            moeq_gptq_encode(&c.factor, &format, c.rows, c.w, false, pool, packed.data, &report, NULL),
            MOEQ_OK);
        CU_ASSERT_TRUE(encode_it(
            &c, &c.factor, (struct moeq_ec_goal){.bits = 8.0 * (double)n / (double)(c.rows * c.cols)}, pool));
        printf("%s %.3f ", rivals[i].format, c.report.error / report.error);
        CU_ASSERT_TRUE(c.report.error < rivals[i].most * report.error);
        moeq_bytes_free(&packed);
    }
    free_coded(&c);
    moeq_pool_join(pool);
}

/* A column far beyond all others gets a step of its own; a matrix of zeros is one of zeros. */
static void outliers_and_zeros(void)
{
    struct moeq_pool *pool = moeq_pool_create(1, NULL);
    struct coded c = make(pool, 64, 48, 0);
    float row[48];
    for (uint64_t r = 0; r < c.rows; r++)
        c.w[r * c.cols + 7] *= 1000;
    CU_ASSERT_TRUE(encode_it(&c, NULL, (struct moeq_ec_goal){.bits = 3}, pool));
    for (uint64_t r = 0; r < c.rows; r++) {
        moeq_decode(&c.m, r, 0, c.cols, row);
        CU_ASSERT_DOUBLE_EQUAL(row[7], c.w[r * c.cols + 7], 0.6);
    }
    memset(c.w, 0, c.rows * c.cols * sizeof *c.w);
    CU_ASSERT_TRUE(encode_it(&c, NULL, (struct moeq_ec_goal){.bits = 3}, pool));
    for (uint64_t r = 0; r < c.rows; r++) {
        moeq_decode(&c.m, r, 0, c.cols, row);
        for (int i = 0; i < 48; i++)
            CU_ASSERT_EQUAL(row[i], 0);
    }
    c.w[100] = NAN;
    struct moeq_error err = {0};
    CU_ASSERT_EQUAL(moeq_ec_encode(NULL, c.rows, c.cols, c.w, (struct moeq_ec_goal){.bits = 3}, pool,
                                   &c.bytes, &c.report, &err),
                    MOEQ_DAMAGED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "row 2, column 4"));
    free_coded(&c);
    moeq_pool_join(pool);
}

/* No step is too fine for a code of 8 bits: it grows until nothing is cut off, however far apart columns are.
 */
static int nothing_is_cut_off(void)
{
    static const struct moeq_ec_goal goals[] = {
        {.bits = 8}, {.bits = 7.5}, {.step = (double)MOEQ_LEAST_EC_STEP}, {.step = 1e-6}, {.step = 0.01}};
    struct moeq_pool *pool = moeq_pool_create(1, NULL);
    int n_wrong = 0;
    for (size_t g = 0; g < sizeof goals / sizeof *goals; g++)
        for (int spread = 0; spread < 2; spread++) {
            struct coded c = make(pool, 70, 40, 0);
            float row[40];
            bool is_right = true;
            for (uint64_t i = 0; spread && i < c.rows * c.cols; i++)
                c.w[i] = ldexpf(c.w[i], (int)(i % c.cols) * 4 - 100);
            is_right = encode_it(&c, NULL, goals[g], pool);
            for (uint64_t r = 0; is_right && r < c.rows; r++) {
                moeq_decode(&c.m, r, 0, c.cols, row);
                for (uint64_t i = 0; i < c.cols; i++) {
                    const float scale =
                        ((const float *)(const void *)(c.packed.data + c.m.n_bytes))[(int64_t)i - 40];
                    is_right = is_right && fabsf(row[i] - c.w[r * c.cols + i]) <= 0.7501f * scale;
                }
            }
            if (!is_right)
                printf("[goal %zu, spread %d] ", g, spread);
            n_wrong += !is_right;
            free_coded(&c);
        }
    moeq_pool_join(pool);
    return n_wrong;
}

static void steps_are_wide_enough(void)
{
    in_every_set(nothing_is_cut_off);
}

/* Weights for whose codes float32 has no scale. */
static void scales_that_there_are_not(void)
{
    struct moeq_pool *pool = moeq_pool_create(1, NULL);
    struct coded c = make(pool, 64, 48, 0);
    struct moeq_error err = {0};
    for (uint64_t i = 0; i < c.rows * c.cols; i++)
        c.w[i] = 3.3e38f;
    CU_ASSERT_EQUAL(moeq_ec_encode(NULL, c.rows, c.cols, c.w, (struct moeq_ec_goal){.step = 1}, pool,
                                   &c.bytes, &c.report, &err),
                    MOEQ_UNSUPPORTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "column 0"));
    c.w[100] = INFINITY; /* is told before */
    err = (struct moeq_error){0};
    for (uint64_t i = 0; i < c.rows * c.cols; i++)
        c.w[i] = i == 100 ? INFINITY : 1;
    CU_ASSERT_EQUAL(moeq_ec_encode(NULL, c.rows, c.cols, c.w, (struct moeq_ec_goal){.step = 0.1}, pool,
                                   &c.bytes, &c.report, &err),
                    MOEQ_DAMAGED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "row 2, column 4"));
    free_coded(&c);
    moeq_pool_join(pool);
}

/* Longer than a chunk, either way; of a size that is sampled, estimated as it turns out. */
static int check_long(void)
{
    static const struct {
        uint64_t rows, cols;
    } longs[] = {{3, 70001}, {1, 66000}, {70001, 2}, {65537, 1}, {2049, 33}, {65536, 1}};
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    int n_wrong = 0;
    for (size_t i = 0; i < sizeof longs / sizeof *longs; i++) {
        struct coded c = {.rows = longs[i].rows, .cols = longs[i].cols};
        float *q = malloc(c.cols * sizeof *q);
        double off = 0, all = 0;
        c.w = random_weights(c.rows * c.cols, i);
        bool is_right = q && encode_it(&c, NULL, (struct moeq_ec_goal){.bits = 4}, pool) &&
                        c.bytes.n_bytes <= moeq_ec_most_bytes(c.rows, c.cols);
        for (uint64_t r = 0; is_right && r < c.rows; r++) {
            moeq_decode(&c.m, r, 0, c.cols, q);
            for (uint64_t k = 0; k < c.cols; k++) {
                const double x = (double)c.w[r * c.cols + k];
                off += (x - (double)q[k]) * (x - (double)q[k]);
                all += x * x;
            }
        }
        is_right = is_right && fabs(bits_of(&c) - 4) < 0.12 && off < all / 130;
        if (!is_right)
            printf("[%llu x %llu: %.3f bits, error %.4f] ", (unsigned long long)c.rows,
                   (unsigned long long)c.cols, bits_of(&c), off / all);
        n_wrong += !is_right;
        free(q);
        free_coded(&c);
    }
    moeq_pool_join(pool);
    return n_wrong;
}

static void long_matrices(void)
{
    in_every_set(check_long);
}

/* Nothing crashes (the sanitizers see to that), and what is cut off or has other codes is damaged. */
static void damage_is_found(void)
{
    struct moeq_pool *pool = moeq_pool_create(1, NULL);
    struct coded c = make(pool, 64, 48, 0);
    CU_ASSERT_TRUE(encode_it(&c, &c.factor, (struct moeq_ec_goal){.bits = 3}, pool));
    const size_t n = c.bytes.n_bytes;
    unsigned n_found = 0;
    for (size_t i = 0; i < n; i++) {
        struct moeq_error err = {0};
        c.bytes.n_bytes = i;
        uint8_t *cut = malloc(i + 1); /* so that reading beyond is seen */
        memcpy(cut, c.bytes.data, i);
        CU_ASSERT_EQUAL(moeq_ec_decode(cut, i, c.rows, c.cols, (int8_t *)c.scratch.data, c.packed.data, &err),
                        MOEQ_DAMAGED);
        CU_ASSERT_TRUE(err.has_offset && err.offset <= i);
        free(cut);
        c.bytes.n_bytes = n;
        c.bytes.data[i] ^= 0x10;
        n_found += decode(&c, &err) == MOEQ_DAMAGED;
        c.bytes.data[i] ^= 0x10;
    }
    CU_ASSERT_TRUE(n_found > n * 9 / 10); /* hashes find the rest */
    CU_ASSERT_EQUAL(decode(&c, NULL), MOEQ_OK);
    free_coded(&c);
    moeq_pool_join(pool);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"errors are those reported", errors_are_those_reported},
        {"bytes are the same everywhere", bytes_are_the_same_everywhere},
        {"steps are wide enough", steps_are_wide_enough},
        {"long matrices", long_matrices},
        {"scales that there are not", scales_that_there_are_not},
        {"size is as asked", size_is_as_asked},
        {"it is better than groups", it_is_better_than_groups},
        {"outliers and zeros", outliers_and_zeros},
        {"damage is found", damage_is_found},
        {NULL, NULL},
    };
    return unit_main("ec", tests);
}
