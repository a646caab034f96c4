/* Integers: a model must be quantized to the same bytes on every machine, and by the arithmetic that is
 * stated, which stands here once more in plain loops. */
#include "weights.h"

#include "kernels.h"
#include "level_planes.h"
#include "scalar.h"

#include <math.h>

#define LANES   16
#define MOST    (MOEQ_GROUPS_AT_ONCE * 128)
#define GUARD   8
#define PATTERN 0xa5

/* ---- plain loops ---- */

static float bf16(float x)
{
    return moeq_bf16_decode(moeq_bf16_encode(x));
}

struct slow {
    float scale, error; /* INFINITY: none will do */
    int zero;
};

struct group {
    const float *w;
    uint32_t n;
    unsigned bits;
    int last; /* code */
};

/* Scales that are tried, as parts of what spans all codes. */
static const struct {
    unsigned bits;
    bool asymmetric;
    float from, step;
    int n;
} steps[] = {
    {2, false, 1.15f, 0.08f, 9},  {3, false, 1.20f, 0.06f, 10},  {4, false, 1.14f, 0.055f, 9},
    {5, false, 1.14f, 0.02f, 13}, {6, false, 1.16f, 0.015f, 14}, {8, false, 1.01f, 0.005f, 7},
    {2, true, 0.95f, 0.06f, 9},   {3, true, 1.10f, 0.05f, 9},    {4, true, 1.04f, 0.05f, 9},
    {5, true, 1.14f, 0.02f, 12},  {6, true, 1.12f, 0.0125f, 13},
};

static float code_of(float x, float inverse, int zero, int last)
{
    return fminf(fmaxf(nearbyintf(x * inverse), (float)-zero), (float)(last - zero));
}

static float sum_of_lanes(float lanes[LANES])
{
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++)
            lanes[i] += lanes[i + width];
    return lanes[0];
}

static void slow_offer(struct slow *best, const struct group *g, float scale, int zero)
{
    float lanes[LANES] = {0};
    if (!isfinite(scale) || !isfinite(1 / scale) || zero < 0 || zero > g->last)
        return;
    for (uint32_t i = 0; i < g->n; i++) {
        const float e = g->w[i] - code_of(g->w[i], 1 / scale, zero, g->last) * scale;
        lanes[i % LANES] += e * e;
    }
    const float error = sum_of_lanes(lanes);
    if (error < best->error)
        *best = (struct slow){scale, error, zero};
}

static void slow_refit(struct slow *best, const struct group *g)
{
    float wq[LANES] = {0}, qq[LANES] = {0};
    for (uint32_t i = 0; i < g->n; i++) {
        const float q = code_of(g->w[i], 1 / best->scale, best->zero, g->last);
        wq[i % LANES] += g->w[i] * q;
        qq[i % LANES] += q * q;
    }
    const float product = sum_of_lanes(wq), square = sum_of_lanes(qq);
    if (square > 0)
        slow_offer(best, g, bf16(product / square), best->zero);
}

static struct slow slow_search(const struct group *g, bool asymmetric, float above, float below)
{
    const int half = (g->last + 1) / 2;
    const float largest = fmaxf(above, below), last = (float)g->last;
    struct slow best = {0, INFINITY, half};
    size_t s = 0;
    while (steps[s].bits != g->bits || steps[s].asymmetric != asymmetric)
        s++;
    for (int i = 0; i < steps[s].n && !asymmetric; i++) {
        const float scale = bf16(largest / (float)half * (steps[s].from - (float)i * steps[s].step));
        slow_offer(&best, g, scale, half);
        slow_offer(&best, g, -scale, half);
    }
    for (int i = 0; i < steps[s].n && asymmetric; i++) {
        const float scale = (above + below) / last * (steps[s].from - (float)i * steps[s].step);
        const int middle = (int)nearbyintf(fminf(below / scale, last));
        for (int zero = middle - 1; scale > 0 && zero <= middle + 1; zero++)
            slow_offer(&best, g, bf16(scale), zero);
    }
    for (int i = 0; i < 2 && best.error < INFINITY; i++)
        slow_refit(&best, g);
    return best;
}

static struct slow slow_absmax(const struct group *g, bool asymmetric, float above, float below)
{
    const int half = (g->last + 1) / 2;
    const float largest = above >= below ? -above : below;
    const float scale = bf16(asymmetric ? (above + below) / (float)g->last : largest / (float)half);
    const bool usable = isfinite(1 / scale);
    return (struct slow){scale, usable ? 0 : INFINITY,
                         usable && asymmetric ? (int)nearbyintf(fminf(below / scale, (float)g->last)) : half};
}

/* One group; codes are not packed. */
static void slow_encode(const struct moeq_format *format, const float *row, uint32_t n, uint8_t *codes,
                        uint16_t *scale, uint8_t *zero)
{
    float w[128], above = 0, below = 0;
    const struct group g = {w, n, format->level->bits, (1 << format->level->bits) - 1};
    for (uint32_t i = 0; i < n; i++) {
        above = fmaxf(above, row[i]);
        below = fmaxf(below, -row[i]);
    }
    const float largest = fmaxf(above, below);
    const int exponent = largest > 0x1p60f ? -80 : largest > 0 && largest < 0x1p-60f ? 60 : 0;
    for (uint32_t i = 0; i < n; i++)
        w[i] = ldexpf(row[i], exponent);
    above = ldexpf(above, exponent);
    below = ldexpf(below, exponent);
    struct slow s = format->scales == MOEQ_SCALES_ABSMAX ? slow_absmax(&g, format->asymmetric, above, below)
                                                         : slow_search(&g, format->asymmetric, above, below);
    const float stored = ldexpf(s.scale, -exponent);
    const bool is_zero = !(s.error < INFINITY) || !isnormal(stored);
    *zero = (uint8_t)(is_zero ? (g.last + 1) / 2 : s.zero);
    *scale = is_zero ? 0 : moeq_bf16_encode(stored);
    for (uint32_t i = 0; i < n; i++)
        codes[i] = (uint8_t)(code_of(w[i], is_zero ? 0 : 1 / s.scale, *zero, g.last) + *zero);
}

/* ---- weights of every kind ---- */

static float weight(int kind, uint32_t i)
{
    const float g = gaussian();
    switch (kind) {
    case 0:
        return 0.02f * g;
    case 1: /* one tail, or all of one sign */
        return fabsf(0.02f * g) + (float)(i / 128 % 3) * 0.01f;
    case 2: /* ties everywhere */
        return (float)((int)(uniform() * 31) - 15) * 0.0078125f;
    case 3: /* groups of zeros, and few others */
        return uniform() < 0.98 ? i % 2 ? -0.0f : 0.0f : g;
    case 4: /* subnormal: below every BF16 scale, or not */
        return g * (i / 128 % 2 ? 1e-42f : 1e-37f);
    case 5: /* squares overflow */
        return g * 5e37f;
    case 6: /* outliers */
        return uniform() < 0.01 ? 30 * g : 0.02f * g;
    default: /* all magnitudes, group by group and within one */
        return ldexpf(g, (int)(i / 97 % 240) - 140 + (int)(uniform() * 12));
    }
}

enum { N_KINDS = 8 };

/* ---- comparison ---- */

struct encoded {
    uint8_t codes[MOST + GUARD], zeros[MOEQ_GROUPS_AT_ONCE + GUARD];
    uint16_t scales[MOEQ_GROUPS_AT_ONCE + GUARD];
};

static void slow_encode_all(const struct moeq_format *format, const float *w, uint32_t n, struct encoded *out)
{
    const unsigned bits = format->level->bits;
    memset(out, PATTERN, sizeof *out);
    memset(out->codes, 0, moeq_div_up(n * bits, 8));
    for (uint32_t begin = 0, g = 0; begin < n; begin += format->group, g++) {
        const uint32_t left = n - begin, size = left < format->group ? left : format->group;
        uint8_t codes[128];
        slow_encode(format, w + begin, size, codes, &out->scales[g], &out->zeros[g]);
        for (uint64_t bit = 0; bit < (uint64_t)size * bits; bit++) {
            uint8_t *to = &out->codes[(begin * bits + bit) / 8];
            *to = (uint8_t)(*to | (codes[bit / bits] >> bit % bits & 1) << bit % 8);
        }
    }
}

/* Every set, from memory that ends with the last weight (sanitizers find what is read behind it) and from
 * memory that goes on with NaN. */
static void check_sets(const struct moeq_format *format, const float *w, uint32_t n, int *n_wrong)
{
    const struct moeq_kernels *k;
    static struct encoded expected, found;
    float *exact = malloc(n * sizeof *exact), *followed = malloc((n + 128) * sizeof *followed);
    memcpy(exact, w, n * sizeof *exact);
    memcpy(followed, w, n * sizeof *followed);
    for (uint32_t i = n; i < n + 128; i++)
        followed[i] = NAN;
    slow_encode_all(format, w, n, &expected);
    for (size_t set = 0; (k = moeq_kernels_at(set)); set++)
        for (int i = 0; i < 2; i++) {
            memset(&found, PATTERN, sizeof found);
            memset(found.codes, 0, moeq_div_up(n * format->level->bits, 8));
            k->encode_group(format, i ? followed : exact, n, found.codes, found.scales, found.zeros);
            *n_wrong += memcmp(&expected, &found, sizeof found) != 0;
        }
    free(exact);
    free(followed);
}

static void check_scales(enum moeq_scales scales)
{
    static const char *const formats[] = {
        "int4-g32", "int4-g64", "int4-g128",     "int4-g32-asym", "int4-g64-asym", "int4-g128-asym",
        "int8-g32", "int8-g64", "int8-g128",     "int2-g32",      "int3-g64",      "int5-g128",
        "int6-g32", "int6-g64", "int2-g64-asym", "int3-g32-asym", "int5-g64-asym", "int6-g128-asym"};
    static const uint32_t lengths[] = {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 301, 511};
    static float w[MOST];
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (int kind = 0; kind < N_KINDS; kind++) {
            struct moeq_format format = format_of(formats[f]);
            int n_wrong = 0;
            format.scales = scales;
            random_state = 1000 * f + (uint64_t)kind;
            for (uint32_t i = 0; i < MOST; i++)
                w[i] = weight(kind, i);
            for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
                check_sets(&format, w + 3 * i, lengths[i], &n_wrong);
            check_sets(&format, w, MOEQ_GROUPS_AT_ONCE * format.group, &n_wrong);
            check_sets(&format, w, MOEQ_GROUPS_AT_ONCE * format.group - 5, &n_wrong);
            if (n_wrong)
                printf("\n    %s, weights of kind %d: %d wrong", formats[f], kind, n_wrong);
            CU_ASSERT_EQUAL(n_wrong, 0);
        }
}

static void test_search(void)
{
    check_scales(MOEQ_SCALES_SEARCH);
}

static void test_absmax(void)
{
    check_scales(MOEQ_SCALES_ABSMAX);
}

/* Rows that are encoded together, as many as there are, become what each becomes alone. */
static void test_rows_together(void)
{
    static const char *const formats[] = {"int4-g32",      "int4-g32-asym", "int4-g64-asym", "int8-g32",
                                          "int2-g32-asym", "int3-g64-asym", "int5-g32-asym", "int6-g32-asym"};
    static const uint64_t widths[] = {1, 32, 33, 64, 96, 128, 320, 1088};
    enum { ROWS = 37 };
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
            const struct moeq_format format = format_of(formats[f]);
            const uint64_t cols = widths[i];
            uint64_t n_bytes, n_padded;
            float *w = random_weights(ROWS * cols, cols);
            CU_ASSERT_EQUAL(moeq_packed_size(format, ROWS, cols, &n_bytes, &n_padded, NULL), MOEQ_OK);
            uint8_t *together = calloc(n_bytes, 1), *alone = calloc(n_bytes, 1);
            for (uint64_t r = 0; r < ROWS; r++)
                format.level->encode(&format, ROWS, cols, r, 1, w + r * cols, alone, NULL);
            format.level->encode(&format, ROWS, cols, 3, ROWS - 3, w + 3 * cols, together, NULL);
            format.level->encode(&format, ROWS, cols, 0, 3, w, together, NULL);
            CU_ASSERT_EQUAL(memcmp(together, alone, n_bytes), 0);
            free(w);
            free(together);
            free(alone);
        }
}

/* ---- packing ---- */

/* The layout as level.h states it, bit by bit; what is put can be taken out again, and nothing else changes.
 */
static void test_bit_streams(void)
{
    enum { N = 41 };
    for (unsigned bits = 2; bits <= 8; bits++) {
        const size_t n_bytes = (N * bits + 7) / 8;
        uint8_t *row = calloc(n_bytes, 1); /* not a byte more */
        int n_wrong = 0;
        for (unsigned i = 0; i < N; i++)
            moeq_put_code(row, bits, i, (i * 37 + 11) & ((1u << bits) - 1));
        for (unsigned i = 0; i < N; i++) {
            unsigned code = 0;
            for (unsigned b = 0; b < bits; b++)
                code |= (row[(i * bits + b) / 8] >> (i * bits + b) % 8 & 1u) << b;
            n_wrong += code != ((i * 37 + 11) & ((1u << bits) - 1)) || code != moeq_code_at(row, bits, i);
        }
        CU_ASSERT_EQUAL(n_wrong, 0);
        free(row);
    }
}

/* ---- what a search promises ---- */

/* The squared error of a group under the best of all BF16 scales from a quarter to one and a half of what
 * spans all codes. */
static double least_error(const struct group *g, float largest)
{
    const int half = (g->last + 1) / 2;
    const float span = largest / (float)half;
    double least = INFINITY;
    for (uint32_t bits = moeq_bf16_encode(span / 4); bits < moeq_bf16_encode(1.5f * span); bits++)
        for (int sign = -1; sign <= 1; sign += 2) {
            const float scale = (float)sign * moeq_bf16_decode((uint16_t)bits), inverse = 1 / scale;
            double error = 0;
            for (uint32_t i = 0; i < g->n; i++) {
                const float e = g->w[i] - code_of(g->w[i], inverse, half, g->last) * scale;
                error += (double)e * (double)e;
            }
            least = fmin(least, error);
        }
    return least;
}

static void test_search_is_near_the_best(void)
{
    static const struct {
        const char *format;
        double most; /* above the least error */
    } cases[] = {{"int2-g32", 0.003}, {"int2-g128", 0.003}, {"int3-g32", 0.004}, {"int3-g128", 0.004},
                 {"int4-g64", 0.01},  {"int5-g64", 0.01},   {"int6-g64", 0.02}};
    enum { N_GROUPS = 100 };
    random_state = 17;
    printf("\n    ");
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const struct moeq_format format = format_of(cases[c].format);
        double found = 0, least = 0;
        for (int i = 0; i < N_GROUPS; i++) {
            float w[128], largest = 0;
            uint8_t codes[128], zero;
            uint16_t scale;
            for (uint32_t k = 0; k < format.group; k++) {
                w[k] = 0.02f * gaussian();
                largest = fmaxf(largest, fabsf(w[k]));
            }
            const struct group g = {w, format.group, format.level->bits, (1 << format.level->bits) - 1};
            slow_encode(&format, w, g.n, codes, &scale, &zero);
            for (uint32_t k = 0; k < g.n; k++) {
                const double e = (double)w[k] - (codes[k] - zero) * (double)moeq_bf16_decode(scale);
                found += e * e;
            }
            least += least_error(&g, largest);
        }
        printf("%s %.2f%%  ", cases[c].format, 100 * (found / least - 1));
        CU_ASSERT_TRUE(found <= least * (1 + cases[c].most));
    }
}

/* ---- what absmax promises ---- */

static void test_absmax_by_hand(void)
{
    const struct moeq_kernels *k = moeq_kernels();
    struct moeq_format format = format_of("int4-g32");
    float w[32] = {0};
    uint8_t codes[16], zero;
    uint16_t scale;
    format.scales = MOEQ_SCALES_ABSMAX;
    w[0] = 4;
    w[1] = -3.5f;
    w[2] = 1.25f; /* a tie goes to the even code */
    k->encode_group(&format, w, 32, codes, &scale, &zero);
    CU_ASSERT_EQUAL(moeq_bf16_decode(scale), -0.5f); /* the largest gets code -8, the one without opposite */
    CU_ASSERT_EQUAL(codes[0], 15 << 4 | 0);
    CU_ASSERT_EQUAL(codes[1], 8 << 4 | (8 - 2));
    w[1] = -4; /* of two of the largest magnitude the positive one; the other gets the last code */
    k->encode_group(&format, w, 32, codes, &scale, &zero);
    CU_ASSERT_EQUAL(moeq_bf16_decode(scale), -0.5f);
    CU_ASSERT_EQUAL(codes[0], 15 << 4 | 0);
    format = format_of("int4-g32-asym");
    format.scales = MOEQ_SCALES_ABSMAX;
    w[1] = -3.5f;
    k->encode_group(&format, w, 32, codes, &scale, &zero);
    CU_ASSERT_EQUAL(moeq_bf16_decode(scale), 0.5f);
    CU_ASSERT_EQUAL(zero, 7);
    CU_ASSERT_EQUAL(codes[0], 0 << 4 | 15);
    CU_ASSERT_EQUAL(codes[1], 7 << 4 | (7 + 2));
}

int main(void)
{
    const struct unit_test tests[] = {
        {"searched scales in every instruction set", test_search},
        {"scales of the largest magnitude in every instruction set", test_absmax},
        {"rows together and alone", test_rows_together},
        {"codes of any number of bits in a row", test_bit_streams},
        {"searched scales are near the best of all", test_search_is_near_the_best},
        {"scales of the largest magnitude by hand", test_absmax_by_hand},
        {NULL, NULL},
    };
    return unit_main("encoding", tests);
}
