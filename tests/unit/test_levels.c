/* Levels: a user's weights must come back as close as the level promises, whatever the shape. */
#include "weights.h"

#include "kernels.h"
#include "level_planes.h"
#include "matmul.h"
#include "scalar.h"

#include <math.h>

static double snr(const char *text, const float *w, uint64_t rows, uint64_t cols)
{
    struct moeq_matrix m;
    struct moeq_bytes bytes = {0};
    float *row = malloc(cols * sizeof *row);
    double signal = 0, noise = 0;
    CU_ASSERT_EQUAL_FATAL(encode(&m, &bytes, text, w, rows, cols, NULL), MOEQ_OK);
    for (uint64_t r = 0; r < rows; r++) {
        moeq_decode(&m, r, 0, cols, row);
        for (uint64_t c = 0; c < cols; c++) {
            double e = (double)row[c] - (double)w[r * cols + c];
            noise += e * e;
            signal += (double)w[r * cols + c] * (double)w[r * cols + c];
        }
    }
    free(row);
    moeq_bytes_free(&bytes);
    return 10 * log10(signal / noise);
}

/* ---- scalars ---- */

static void test_e4m3_all_codes(void)
{
    for (int code = 0; code < 256; code++) {
        float value = moeq_e4m3_decode((uint8_t)code);
        if ((code & 0x7f) == 0x7f) {
            CU_ASSERT_TRUE(isnan(value));
            CU_ASSERT_EQUAL(moeq_e4m3_encode(value) & 0x7f, 0x7f);
        } else {
            CU_ASSERT_EQUAL(moeq_e4m3_encode(value), code);
        }
    }
    CU_ASSERT_EQUAL(moeq_e4m3_decode(0x7e), 448);
    CU_ASSERT_EQUAL(moeq_e4m3_decode(0x01), 0x1p-9f);
}

/* Nearest code, ties to the even one, found by looking at all codes. */
static uint8_t nearest_e4m3(float x)
{
    int best = 0;
    for (int code = 1; code < 0x7f; code++) {
        double d = fabs((double)moeq_e4m3_decode((uint8_t)code) - fabs((double)x));
        double b = fabs((double)moeq_e4m3_decode((uint8_t)best) - fabs((double)x));
        if (d < b || (d == b && code % 2 == 0))
            best = code;
    }
    return (uint8_t)(best | (signbit(x) ? 0x80 : 0));
}

static void test_e4m3_rounds_to_nearest(void)
{
    int n_wrong = 0;
    random_state = 1;
    for (int i = 0; i < 20000; i++) {
        float x = (float)((uniform() - 0.5) * exp2(uniform() * 24 - 13));
        n_wrong += moeq_e4m3_encode(x) != nearest_e4m3(x);
    }
    for (int code = 0; code < 0x7e; code++) { /* ties */
        float x = (moeq_e4m3_decode((uint8_t)code) + moeq_e4m3_decode((uint8_t)(code + 1))) / 2;
        n_wrong += moeq_e4m3_encode(x) != nearest_e4m3(x);
    }
    CU_ASSERT_EQUAL(n_wrong, 0);
    CU_ASSERT_EQUAL(moeq_e4m3_encode(1e9f), 0x7e);
    CU_ASSERT_EQUAL(moeq_e4m3_encode(-INFINITY), 0xfe);
}

static void test_halves(void)
{
    for (uint32_t code = 0; code < 0x10000; code++) {
        float value = moeq_bf16_decode((uint16_t)code);
        if (!isnan(value))
            CU_ASSERT_EQUAL(moeq_bf16_encode(value), code);
    }
    CU_ASSERT_TRUE(isnan(moeq_bf16_decode(moeq_bf16_encode(NAN))));
    CU_ASSERT_EQUAL(moeq_bf16_encode(1.00390625f), 0x3f80); /* a tie goes to the even code */
    CU_ASSERT_EQUAL(moeq_bf16_encode(1.01171875f), 0x3f82);
    CU_ASSERT_EQUAL(moeq_f16_decode(0x3c00), 1);
    CU_ASSERT_EQUAL(moeq_f16_decode(0x7bff), 65504);
    CU_ASSERT_EQUAL(moeq_f16_decode(0x8001), -0x1p-24f);
    CU_ASSERT_TRUE(isinf(moeq_f16_decode(0xfc00)));
}

/* ---- formats ---- */

static const char *const good_formats[] = {"f32",
                                           "bf16",
                                           "fp8",
                                           "int8-g32",
                                           "int8-g64",
                                           "int8-g128",
                                           "int4-g32",
                                           "int4-g128",
                                           "int4-g64-asym",
                                           "int6-g64",
                                           "int5-g128",
                                           "int3-g64",
                                           "int2-g32",
                                           "int6-g32-asym",
                                           "int2-g64-asym",
                                           "ec",
                                           "ec:2.5",
                                           "ec:0.75",
                                           "ec:8",
                                           "ec@0.001",
                                           "ec:2.5@0.001",
                                           "ec@8.6736174e-19",
                                           "ec:3.1415927@1.2345679e-05"};
static const char *const bad_formats[] = {"",
                                          "int",
                                          "int4-",
                                          "int4-g65",
                                          "fp8-g64",
                                          "int8-asym",
                                          "int7",
                                          "int1",
                                          "int3-g16",
                                          "int2-g256",
                                          "int3g64",
                                          "raw",
                                          "int4-g64-x",
                                          "INT4",
                                          "int4 g64",
                                          "int4-g64-g32",
                                          "bf16-asym",
                                          "-int4x",
                                          "int4-asym-asym",
                                          "int4-g64-asym-and-a-very-long-tail",
                                          "ec:",
                                          "ec@",
                                          "ec:9",
                                          "ec:0.1",
                                          "ec:0.749",
                                          "ec:8.001",
                                          "ec:0",
                                          "ec@0",
                                          "ec@1e99",
                                          "ec@1e-44",
                                          "ec@1e38",
                                          "ec-g64",
                                          "ec-asym",
                                          "ec:0x3",
                                          "ec@0x1",
                                          "ec:nan",
                                          "ec:inf",
                                          "ec@inf",
                                          "ec:-3",
                                          "ec@-1",
                                          "ec:+3",
                                          "ec: 3",
                                          "ec:3 ",
                                          "ec:3:3",
                                          "ec@1@1",
                                          "ec@1:3",
                                          "ec:3@",
                                          "ec:.",
                                          "ec:3@.",
                                          "EC:3",
                                          "ec3",
                                          "ec:3-g64"};

static void test_format_text(void)
{
    for (size_t i = 0; i < sizeof good_formats / sizeof *good_formats; i++) {
        char text[MOEQ_FORMAT_BYTES];
        CU_ASSERT_STRING_EQUAL(moeq_format_text(format_of(good_formats[i]), text), good_formats[i]);
    }
    for (size_t i = 0; i < sizeof bad_formats / sizeof *bad_formats; i++) {
        struct moeq_format format;
        CU_ASSERT_EQUAL(moeq_format_parse(bad_formats[i], (struct moeq_format){.group = 64}, &format, NULL),
                        MOEQ_USAGE);
    }
    struct moeq_format format;
    moeq_format_parse("int4", (struct moeq_format){.group = 32, .asymmetric = true}, &format, NULL);
    CU_ASSERT_TRUE(format.group == 32 && format.asymmetric);
}

static void test_what_can_be_made(void)
{
    struct moeq_error err = {0};
    CU_ASSERT_EQUAL(moeq_format_check_made(format_of("int4-g64"), NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_format_check_made(format_of("ec:3"), NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_format_check_made(format_of("ec@0.01"), NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_format_check_made(format_of("f16"), NULL), MOEQ_USAGE);
    CU_ASSERT_EQUAL(moeq_format_check_made(format_of("ec"), &err), MOEQ_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "bits or step"));
}

static void test_packed_sizes(void)
{
    /* counted by hand from the layout in level.h */
    static const struct {
        const char *format;
        uint64_t rows, cols, n_bytes, n_padded;
    } cases[] = {
        {"bf16", 3, 5, 30, 64},
        {"fp8", 3, 5, 16 + 4, 64},
        {"fp8", 576, 7168, 576 * 7168 + 5 * 56 * 4, 4129920},
        {"int8-g32", 2, 33, 66 + 2 * 2 * 2, 128},
        {"int4-g64", 1, 1408, 704 + 22 * 2, 768},
        {"int4-g128", 3, 5, 10 + 3 * 2, 64}, /* 9 bytes of codes, 1 of padding */
        {"int4-g64-asym", 2, 192, 192 + 12 + 4, 256},
        {"int4-g128", 0, 128, 0, 0},
        {"int3-g64", 3, 5, 6 + 3 * 2, 64},                   /* 15 bits a row */
        {"int3-g64", 1, 1408, 528 + 22 * 2, 576},            /* 572 */
        {"int2-g32-asym", 3, 5 * 32, 120 + 30 + 3 * 2, 192}, /* zero points: 10 bits a row */
        {"int5-g32-asym", 2, 33, 42 + 8 + 2 * 2, 64},
        {"int6-g128", 5, 3, 16 + 5 * 2, 64}, /* 15 bytes of codes, 1 of padding */
        {"ec", 3, 5, 64 + 5 * 4, 128},
        {"ec", 2, 64, 128 + 64 * 4, 384},
        {"ec", 0, 3, 12, 64},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t n_bytes = 1, n_padded = 1;
        CU_ASSERT_EQUAL(moeq_packed_size(format_of(cases[i].format), cases[i].rows, cases[i].cols, &n_bytes,
                                         &n_padded, NULL),
                        MOEQ_OK);
        CU_ASSERT_EQUAL(n_bytes, cases[i].n_bytes);
        CU_ASSERT_EQUAL(n_padded, cases[i].n_padded);
    }
    uint64_t n;
    CU_ASSERT_EQUAL(moeq_packed_size(format_of("int4"), UINT64_MAX, 2, &n, &n, NULL), MOEQ_DAMAGED);
    CU_ASSERT_EQUAL(moeq_packed_size(format_of("fp8"), (uint64_t)1 << 32, (uint64_t)1 << 32, &n, &n, NULL),
                    MOEQ_DAMAGED);
    CU_ASSERT_EQUAL(moeq_packed_size(format_of("bf16"), (uint64_t)1 << 62, 2, &n, &n, NULL), MOEQ_DAMAGED);
    CU_ASSERT_EQUAL(moeq_packed_size(format_of("ec"), 1, (uint64_t)1 << 32, &n, &n, NULL), MOEQ_DAMAGED);
    CU_ASSERT_EQUAL(moeq_packed_size(format_of("ec"), (uint64_t)1 << 62, 2, &n, &n, NULL), MOEQ_DAMAGED);
}

/* ---- quality ---- */

/* Signal to noise on Gaussian weights. The bounds are 0.05 dB below what was measured; plain absmax scales
 * give 18.9 dB for int4-g128, a scale search without negative scales 20.2. */
static void test_quality(void)
{
    static const struct {
        const char *format;
        double least;
    } cases[] = {
        {"int4-g32", 21.90},
        {"int4-g64", 21.05},
        {"int4-g128", 20.45},
        {"int4-g64-asym", 21.30},
        {"int8-g32", 46.0},
        {"int8-g128", 44.25},
        {"fp8", 31.4},
        {"bf16", 55.5},
        {"int6-g64", 33.10},
        {"int6-g64-asym", 33.80},
        {"int5-g64", 27.00},
        {"int5-g64-asym", 27.55},
        {"int3-g32", 15.85},
        {"int3-g64", 15.15},
        {"int3-g64-asym", 15.15},
        {"int2-g32", 9.60},
        {"int2-g64", 9.15},
        {"int2-g128", 8.85},
        {"int2-g32-asym", 9.60},
    };
    float *w = random_weights(256 * 1024, 7);
    printf("\n    ");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double found = snr(cases[i].format, w, 256, 1024);
        printf("%s %.2f dB  ", cases[i].format, found);
        CU_ASSERT_TRUE(found >= cases[i].least);
    }
    free(w);
}

/* The first columns of a matrix must not notice that the row goes on. */
static void test_ragged_rows(void)
{
    static const struct {
        const char *format;
        float most; /* error of a weight */
    } cases[] = {{"int4-g32", 0.02f},
                 {"int4-g64", 0.02f},
                 {"int4-g128", 0.02f},
                 {"int4-g64-asym", 0.02f},
                 {"int8-g64", 0.02f},
                 {"bf16", 0.02f},
                 {"f32", 0},
                 {"int6-g32", 0.01f},
                 {"int6-g128-asym", 0.01f},
                 {"int5-g64", 0.01f},
                 {"int5-g32-asym", 0.01f},
                 {"int3-g64", 0.03f},
                 {"int3-g32-asym", 0.03f},
                 {"int2-g32", 0.05f},
                 {"int2-g64-asym", 0.05f}};
    static const uint64_t widths[] = {1, 2, 31, 32, 33, 63, 65, 127, 129, 200, 1408 % 256};
    for (size_t f = 0; f < sizeof cases / sizeof *cases; f++)
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
            const uint64_t cols = widths[i], rows = 131;
            float *w = random_weights(rows * cols, 100 + cols), row[256];
            struct moeq_matrix m;
            struct moeq_bytes bytes = {0};
            int n_bad = 0;
            CU_ASSERT_EQUAL_FATAL(encode(&m, &bytes, cases[f].format, w, rows, cols, NULL), MOEQ_OK);
            for (uint64_t r = 0; r < rows; r++) {
                moeq_decode(&m, r, 0, cols, row);
                for (uint64_t c = 0; c < cols; c++)
                    n_bad += !(fabsf(row[c] - w[r * cols + c]) <= cases[f].most);
            }
            CU_ASSERT_EQUAL(n_bad, 0);
            free(w);
            moeq_bytes_free(&bytes);
        }
}

/* A row decoded from its middle equals the row decoded whole. */
static void test_partial_decode(void)
{
    static const char *const formats[] = {
        "int4-g32", "int4-g128-asym", "int8-g64", "fp8",       "bf16",          "f32",
        "int2-g32", "int3-g64",       "int5-g32", "int6-g128", "int2-g32-asym", "int5-g64-asym"};
    const uint64_t rows = 130, cols = 333;
    float *w = random_weights(rows * cols, 3), whole[333], part[333];
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        struct moeq_matrix m;
        struct moeq_bytes bytes = {0};
        CU_ASSERT_EQUAL_FATAL(encode(&m, &bytes, formats[f], w, rows, cols, NULL), MOEQ_OK);
        for (uint64_t r = 0; r < rows; r += 43) {
            moeq_decode(&m, r, 0, cols, whole);
            for (uint64_t col = 0; col < cols; col += 128) {
                uint64_t n = cols - col < 150 ? cols - col : 150;
                moeq_decode(&m, r, col, n, part);
                CU_ASSERT_EQUAL(memcmp(part, whole + col, n * sizeof *part), 0);
            }
        }
        moeq_bytes_free(&bytes);
    }
    free(w);
}

static void expect_row(const char *format, const float *w, uint64_t cols, const float *expected,
                       float tolerance)
{
    struct moeq_matrix m;
    struct moeq_bytes bytes = {0};
    float row[256];
    CU_ASSERT_EQUAL_FATAL(encode(&m, &bytes, format, w, 1, cols, NULL), MOEQ_OK);
    moeq_decode(&m, 0, 0, cols, row);
    for (uint64_t c = 0; c < cols; c++)
        CU_ASSERT_TRUE(fabsf(row[c] - expected[c]) <= tolerance * fabsf(expected[c]));
    moeq_bytes_free(&bytes);
}

static void test_extreme_rows(void)
{
    static const char *const formats[] = {"int4-g32",     "int4-g64-asym", "int8-g128",     "fp8",
                                          "bf16",         "int6-g64",      "int5-g32",      "int3-g64",
                                          "int2-g32",     "int6-g64-asym", "int5-g32-asym", "int3-g64-asym",
                                          "int2-g32-asym"};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        float zeros[64] = {0}, same[64], tiny[64], huge[64];
        for (int i = 0; i < 64; i++) {
            same[i] = -0.25f;
            tiny[i] = 1e-40f; /* below every scale: may become 0, must not become NaN */
            huge[i] = 3e38f;
        }
        expect_row(formats[f], zeros, 64, zeros, 0);
        expect_row(formats[f], same, 64, same, 0.004f);
        expect_row(formats[f], tiny, 64, tiny, 1);
        expect_row(formats[f], huge, 64, huge, 0.01f);
    }
}

/* Weights that lie on the grid of a level come back exactly: as its codes are, mirrored, which needs a
 * negative scale, and shifted, which needs a zero point. */
static void test_any_grid_is_exact(void)
{
    float w[64];
    for (int bits = 2; bits <= 6; bits++) {
        const int n = 1 << bits;
        char format[MOEQ_FORMAT_BYTES];
        for (int sign = -1; sign <= 1; sign += 2) {
            for (int i = 0; i < 64; i++)
                w[i] = (float)sign * 0.125f * (float)(i % n - n / 2);
            snprintf(format, sizeof format, "int%d-g64", bits);
            expect_row(format, w, 64, w, 0);
        }
        for (int i = 0; i < 64; i++)
            w[i] = 0.125f * (float)(i % n - n / 4);
        snprintf(format, sizeof format, "int%d-g64-asym", bits);
        expect_row(format, w, 64, w, 0);
    }
}

/* Weights that lie on a grid of 16 levels come back exactly. */
static void test_grid_is_exact(void)
{
    float w[64];
    for (int i = 0; i < 64; i++)
        w[i] = 0.125f * (float)(i % 16 - 8);
    expect_row("int4-g32", w, 64, w, 0);
    expect_row("int4-g64", w, 64, w, 0);
    for (int i = 0; i < 64; i++)
        w[i] = -w[i]; /* needs a negative scale */
    expect_row("int4-g64", w, 64, w, 0);
    for (int i = 0; i < 64; i++)
        w[i] = 0.125f * (float)(i % 16 - 3); /* needs a zero point */
    expect_row("int4-g64-asym", w, 64, w, 0);
}

static void test_not_finite(void)
{
    static const char *const formats[] = {"int4", "int8", "fp8", "bf16"};
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (int kind = 0; kind < 2; kind++) {
            float *w = random_weights(300 * 70, 5);
            struct moeq_matrix m;
            struct moeq_bytes bytes = {0};
            struct moeq_error err = {0};
            w[200 * 70 + 69] = kind ? INFINITY : NAN;
            CU_ASSERT_EQUAL(encode(&m, &bytes, formats[f], w, 300, 70, &err), MOEQ_DAMAGED);
            CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "row 200, column 69"));
            free(w);
            moeq_bytes_free(&bytes);
        }
}

/* ---- multiplication ---- */

static void check_product(struct moeq_pool *pool, const struct moeq_matrix *m, uint64_t n_tokens,
                          enum moeq_arithmetic arithmetic, uint64_t *checksum)
{
    struct moeq_activations activations = {0};
    /* Both factors of a product are rounded to 8 bits. */
    const double bound = arithmetic == MOEQ_FAST && moeq_has_fast_products() ? 0x1.02p-7 : 2e-6;
    struct moeq_scratch scratch;
    const uint64_t ldx = m->cols + 3, ldy = m->rows + 5;
    float *x = random_weights(n_tokens * ldx + 1, 11), *y = malloc((n_tokens * ldy + 1) * sizeof *y);
    float *row = malloc((m->cols + 1) * sizeof *row);
    double worst = 0;
    for (uint64_t i = 0; i < n_tokens * ldy; i++)
        y[i] = 12345;
    CU_ASSERT_EQUAL_FATAL(moeq_scratch_init(&scratch, pool, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(
        moeq_activations_set(&activations, pool, arithmetic, x, ldx, NULL, n_tokens, m->cols, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_matmul(pool, &scratch, m, &activations, y, ldy, NULL), MOEQ_OK);
    for (uint64_t r = 0; r < m->rows; r++) {
        moeq_decode(m, r, 0, m->cols, row);
        for (uint64_t t = 0; t < n_tokens; t++) {
            double sum = 0, scale = 1e-9;
            for (uint64_t c = 0; c < m->cols; c++) {
                sum += (double)row[c] * (double)x[t * ldx + c];
                scale += fabs((double)row[c] * (double)x[t * ldx + c]);
            }
            worst = fmax(worst, fabs(sum - (double)y[t * ldy + r]) / scale);
        }
    }
    CU_ASSERT_TRUE(worst < bound);
    for (uint64_t t = 0; t < n_tokens; t++) /* nothing is written between the rows */
        for (uint64_t i = m->rows; i < ldy; i++)
            CU_ASSERT_EQUAL(y[t * ldy + i], 12345);
    for (uint64_t i = 0; i < n_tokens * ldy; i++)
        *checksum = *checksum * 31 + moeq_float_bits(y[i]);
    free(x);
    free(y);
    free(row);
    moeq_activations_free(&activations);
    moeq_scratch_free(&scratch);
}

/* Every level, ragged shapes, 0 to 70 tokens; the same bits for 1 and 3 threads. */
static void test_products(void)
{
    static const char *const formats[] = {
        "f32",      "bf16",     "fp8",      "int8-g64",       "int4-g32",
        "int6-g64", "int3-g32", "int2-g64", "int4-g128-asym", "int5-g64-asym"};
    static const uint64_t shapes[][2] = {{1, 1}, {31, 7}, {33, 129}, {96, 256}, {200, 80}};
    static const uint64_t n_tokens[] = {0, 1, 3, 15, 16, 17, 33, 64, 70};
    uint64_t checksums[2] = {0, 0};
    for (int jobs = 0; jobs < 2; jobs++) {
        struct moeq_pool *pool = moeq_pool_create(jobs ? 3 : 1, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
        for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
                struct moeq_matrix m;
                struct moeq_bytes bytes = {0};
                float *w = random_weights(shapes[s][0] * shapes[s][1], s);
                CU_ASSERT_EQUAL_FATAL(encode(&m, &bytes, formats[f], w, shapes[s][0], shapes[s][1], NULL),
                                      MOEQ_OK);
                for (size_t n = 0; n < sizeof n_tokens / sizeof *n_tokens; n++) {
                    check_product(pool, &m, n_tokens[n], MOEQ_EXACT, &checksums[jobs]);
                    check_product(pool, &m, n_tokens[n], MOEQ_FAST, &checksums[jobs]);
                }
                free(w);
                moeq_bytes_free(&bytes);
            }
        moeq_pool_join(pool);
    }
    CU_ASSERT_EQUAL(checksums[0], checksums[1]);
}

/* Codes times the scales of their groups are the values, to the bit. */
static void check_codes(const struct moeq_kernels *k, const struct moeq_matrix *m, uint64_t row,
                        const float *expected)
{
    float codes[301], scales[301];
    if (!k->decode_codes[m->format.level->fast])
        return;
    const uint32_t group = moeq_scale_group(&m->format);
    k->decode_codes[m->format.level->fast](m, row, m->cols, codes);
    moeq_row_scales(m, row, scales);
    for (uint64_t c = 0; c < m->cols; c++) {
        const float value = codes[c] * scales[c / group];
        CU_ASSERT(memcmp(&expected[c], &value, sizeof value) == 0 || (isnan(expected[c]) && isnan(value)));
    }
}

/* What vectors decode is what the level decodes, for every code there is and rows of any length. */
static void test_vector_decoding(void)
{
    static const char *const formats[] = {
        "bf16",     "fp8",           "int8-g32", "int8-g128",     "int4-g32", "int4-g128-asym",
        "int6-g32", "int6-g64-asym", "int5-g64", "int5-g32-asym", "int3-g32", "int3-g128-asym",
        "int2-g64", "int2-g32-asym"};
    enum { ROWS = 3, COLS = 301 };
    const struct moeq_kernels *k;
    float expected[COLS], found[COLS];
    size_t n_checked = 0;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (uint64_t cols = 1; cols <= COLS; cols += 1 + cols / 9) {
            struct moeq_matrix m = {.rows = ROWS, .cols = cols};
            uint64_t n_padded;
            CU_ASSERT_EQUAL_FATAL(moeq_format_parse(formats[f], (struct moeq_format){0}, &m.format, NULL),
                                  MOEQ_OK);
            CU_ASSERT_EQUAL_FATAL(moeq_packed_size(m.format, ROWS, cols, &m.n_bytes, &n_padded, NULL),
                                  MOEQ_OK);
            uint8_t *bytes = malloc(m.n_bytes); /* not a byte more: reading beyond is found by sanitizers */
            for (size_t i = 0; i < m.n_bytes; i++)
                bytes[i] = (uint8_t)(i * 7 + cols);
            m.data = bytes;
            for (size_t set = 0; (k = moeq_kernels_at(set)); set++) {
                if (!k->decode[m.format.level->fast])
                    continue;
                for (uint64_t row = 0; row < ROWS; row++) {
                    m.format.level->decode(&m, row, 0, cols, expected);
                    k->decode[m.format.level->fast](&m, row, 0, cols, found);
                    check_codes(k, &m, row, expected);
                    for (uint64_t c = 0; c < cols; c++) /* a NaN may be any */
                        CU_ASSERT(memcmp(&expected[c], &found[c], sizeof *found) == 0 ||
                                  (isnan(expected[c]) && isnan(found[c])));
                    n_checked++;
                }
            }
            free(bytes);
        }
    printf("%zu rows ", n_checked);
}

/* One block of every set against sums in double precision: nothing beside it is written, and a token's sums
 * do not depend on the others. */
static void check_block(const struct moeq_kernels *k, uint64_t n_k, uint64_t n_rows, uint64_t n_tokens)
{
    enum { LDO = MOEQ_MAX_BLOCK_TOKENS + 3 };
    const uint64_t ldw = n_k + 3, lanes = k->tokens, n_written = n_tokens > lanes / 2 ? lanes : lanes / 2;
    float *w = random_weights(MOEQ_MAX_BLOCK_ROWS * ldw, 21), *x = random_weights(n_k * lanes, 22);
    float out[MOEQ_MAX_BLOCK_ROWS * LDO], alone[MOEQ_MAX_BLOCK_ROWS * LDO];
    for (size_t i = 0; i < sizeof out / sizeof *out; i++)
        out[i] = 12345;
    k->multiply(w, ldw, x, n_k, out, LDO, n_rows, n_tokens);
    for (uint64_t r = 0; r < MOEQ_MAX_BLOCK_ROWS; r++)
        for (uint64_t t = 0; t < LDO; t++) {
            double sum = 0, scale = 1e-9;
            for (uint64_t i = 0; i < n_k && t < n_written && r < n_rows; i++) {
                sum += (double)w[r * ldw + i] * (double)x[i * lanes + t];
                scale += fabs((double)w[r * ldw + i] * (double)x[i * lanes + t]);
            }
            if (t >= n_written || r >= n_rows)
                CU_ASSERT_EQUAL(out[r * LDO + t], 12345)
            else
                CU_ASSERT(fabs(sum - (double)out[r * LDO + t]) / scale < 2e-6);
        }
    k->multiply(w, ldw, x, n_k, alone, LDO, n_rows, 1);
    for (uint64_t r = 0; r < n_rows; r++)
        CU_ASSERT_EQUAL(memcmp(alone + r * LDO, out + r * LDO, lanes / 2 * sizeof *alone), 0);
    free(w);
    free(x);
}

static void test_blocks_of_every_set(void)
{
    static const uint64_t depths[] = {0, 1, 2, 37, 301};
    const struct moeq_kernels *k;
    for (size_t set = 0; (k = moeq_kernels_at(set)); set++)
        for (size_t d = 0; d < sizeof depths / sizeof *depths; d++)
            for (uint64_t n_rows = 1; n_rows <= k->rows; n_rows++)
                for (uint64_t n_tokens = 1; n_tokens <= k->tokens; n_tokens += n_tokens < 5 ? 1 : 3)
                    check_block(k, depths[d], n_rows, n_tokens);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"E4M3: every code survives a round trip", test_e4m3_all_codes},
        {"E4M3: the nearest code, ties to even", test_e4m3_rounds_to_nearest},
        {"BF16 and F16", test_halves},
        {"formats are read and written", test_format_text},
        {"what can be made", test_what_can_be_made},
        {"packed sizes are those of the layout", test_packed_sizes},
        {"each level is as good as it should be", test_quality},
        {"rows of any length", test_ragged_rows},
        {"a row may be decoded in parts", test_partial_decode},
        {"zeros, equal, tiny and huge weights", test_extreme_rows},
        {"weights on the grid are exact", test_grid_is_exact},
        {"weights on the grid of any number of bits", test_any_grid_is_exact},
        {"NaN and infinity are refused and located", test_not_finite},
        {"products equal those of decoded weights", test_products},
        {"vectors decode what the levels decode", test_vector_decoding},
        {"blocks of every instruction set", test_blocks_of_every_set},
        {NULL, NULL},
    };
    return unit_main("levels", tests);
}
