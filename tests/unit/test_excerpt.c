/* What a baseline keeps of a distribution must tell its divergence from others: for certain what is certain,
 * without bias what is estimated. */
#include "unit.h"

#include "bytes.h"
#include "excerpt.h"
#include "trace.h"

#include <math.h>

/* ---- the largest ---- */

static uint64_t state = 1;

static double uniform(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(state >> 11) + 0.5) * 0x1p-53;
}

static double gaussian(void)
{
    return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

/* Whether entry i is one of the k largest, by counting. */
static bool belongs(const float *x, uint32_t n, uint32_t i, uint32_t k)
{
    uint32_t larger = 0;
    for (uint32_t j = 0; j < n; j++)
        larger += x[j] > x[i] || (x[j] == x[i] && j < i);
    return larger < k && x[i] > -INFINITY;
}

static void check_top(const float *x, uint32_t n, uint32_t k, uint32_t slice)
{
    struct moeq_top top;
    struct moeq_top_entry *entries = moeq_calloc(moeq_top_room(k), sizeof *entries, NULL);
    uint32_t found = 0, wrong = 0, wanted = 0;
    moeq_top_begin(&top, k, entries);
    for (uint32_t first = 0; first < n; first += slice)
        moeq_top_add(&top, x + first, NULL, first, n - first < slice ? n - first : slice);
    moeq_top_end(&top);
    for (uint32_t i = 0; i < n; i++)
        wanted += belongs(x, n, i, k);
    for (uint32_t i = 0; i < top.n; i++) {
        wrong += !belongs(x, n, entries[i].id, k) || entries[i].logit != x[entries[i].id];
        found += i == 0 || entries[i].id > entries[i - 1].id;
    }
    CU_ASSERT_EQUAL(top.n, wanted);
    CU_ASSERT_EQUAL(found, top.n);
    CU_ASSERT_EQUAL(wrong, 0);
    moeq_top_sort(entries, top.n);
    for (uint32_t i = 1; i < top.n; i++)
        CU_ASSERT(entries[i - 1].logit > entries[i].logit ||
                  (entries[i - 1].logit == entries[i].logit && entries[i - 1].id < entries[i].id));
    free(entries);
}

static void test_top(void)
{
    static const uint32_t sizes[] = {1, 5, 31, 33, 500, 3000}, counts[] = {1, 5, 64, 97},
                          slices[] = {7, 2048};
    float x[3000];
    for (int kind = 0; kind < 5; kind++)
        for (size_t s = 0; s < 6; s++)
            for (size_t k = 0; k < 4; k++)
                for (size_t l = 0; l < 2; l++) {
                    for (uint32_t i = 0; i < sizes[s]; i++)
                        x[i] = kind == 0   ? (float)gaussian()
                               : kind == 1 ? (float)(i % 7) /* many that are equal */
                               : kind == 2 ? (float)i       /* each larger than all before */
                               : kind == 3 ? -(float)i
                               : i % 3     ? -INFINITY
                                           : NAN;
                    check_top(x, sizes[s], counts[k], slices[l]);
                }
}

/* ---- excerpts ---- */

enum { VOCABULARY = 3000, TOKENS = 400 };

static float reference[VOCABULARY], model[VOCABULARY];

/* Logits with a heavy tail, and those of a damaged model. */
static void make_logits(double noise)
{
    for (int i = 0; i < VOCABULARY; i++) {
        reference[i] = (float)(2.5 * gaussian());
        model[i] = (float)((double)reference[i] + noise * gaussian());
    }
}

static double total_of(const float *logits)
{
    double sum = 0;
    for (int i = 0; i < VOCABULARY; i++)
        sum += exp((double)logits[i]);
    return log(sum);
}

static double divergence(void)
{
    const double r = total_of(reference), m = total_of(model);
    double sum = 0;
    for (int i = 0; i < VOCABULARY; i++)
        sum += exp((double)reference[i] - r) * (((double)reference[i] - r) - ((double)model[i] - m));
    return sum;
}

struct excerpted {
    struct moeq_excerpt_shape shape;
    struct moeq_excerpt excerpt;
    struct moeq_top_entry *entries;
    float *noise;
    uint32_t ids[VOCABULARY];
    uint16_t codes[VOCABULARY];
};

static void begin_excerpts(struct excerpted *e, uint32_t top, uint32_t sample)
{
    e->shape = moeq_excerpt_shape(VOCABULARY, top, sample);
    e->entries = moeq_calloc(moeq_excerpt_entries(e->shape), sizeof *e->entries, NULL);
    e->noise = moeq_excerpt_noise(NULL);
    e->excerpt = (struct moeq_excerpt){.ids = e->ids, .codes = e->codes};
    CU_ASSERT_FATAL(e->entries && e->noise);
}

static void end_excerpts(struct excerpted *e)
{
    free(e->entries);
    free(e->noise);
}

static struct moeq_excerpt_divergence through_excerpt(struct excerpted *e, uint64_t token)
{
    struct moeq_excerpt_maker maker;
    struct moeq_tally tally = {0};
    double ignored = 0;
    float gathered[VOCABULARY];
    moeq_excerpt_begin(&maker, e->shape, e->entries);
    for (uint32_t first = 0; first < VOCABULARY; first += MOEQ_EXCERPT_SLICE) {
        const uint32_t left = VOCABULARY - first, n = left < MOEQ_EXCERPT_SLICE ? left : MOEQ_EXCERPT_SLICE;
        moeq_tally_add(&tally, reference + first, first, n, 17, NULL, &ignored);
        moeq_excerpt_add(&maker, e->noise, token, reference + first, first, n);
    }
    CU_ASSERT_EQUAL_FATAL(moeq_excerpt_end(&maker, e->shape, &tally, &e->excerpt, NULL), MOEQ_OK);
    CU_ASSERT_DOUBLE_EQUAL((double)e->excerpt.nll, total_of(reference) - (double)reference[17], 1e-5);
    for (uint32_t i = 0; i < e->shape.top + e->shape.sample; i++)
        gathered[i] = model[e->ids[i]];
    return moeq_excerpt_compare(&e->excerpt, e->shape, gathered, total_of(model));
}

static void test_estimate(void)
{
    static const double noises[] = {0.02, 0.3, 1};
    for (size_t k = 0; k < 3; k++) {
        struct excerpted e;
        double exact = 0, lower = 0, estimate = 0, squares = 0;
        begin_excerpts(&e, MOEQ_EXCERPT_TOP, MOEQ_EXCERPT_SAMPLE);
        for (uint64_t token = 0; token < TOKENS; token++) {
            make_logits(noises[k]);
            const double kld = divergence();
            const struct moeq_excerpt_divergence d = through_excerpt(&e, token);
            CU_ASSERT(d.lower <= kld + 1e-7);
            CU_ASSERT(d.estimate >= d.lower);
            exact += kld;
            lower += d.lower;
            estimate += d.estimate;
            squares += (d.estimate - d.lower) * (d.estimate - d.lower);
        }
        CU_ASSERT(lower < 0.9 * exact); /* there is something to estimate */
        CU_ASSERT(fabs(estimate - exact) < 2 * sqrt(squares));
        CU_ASSERT(fabs(estimate / exact - 1) < 0.01);
        end_excerpts(&e);
    }
}

/* Where everything is kept, nothing is estimated. */
static void test_whole(void)
{
    static const uint32_t shapes[][2] = {{VOCABULARY, 0}, {100, VOCABULARY}, {VOCABULARY + 5, 16}};
    for (size_t k = 0; k < 3; k++) {
        struct excerpted e;
        begin_excerpts(&e, shapes[k][0], shapes[k][1]);
        for (uint64_t token = 0; token < 3; token++) {
            make_logits(0.2);
            const double kld = divergence();
            CU_ASSERT_DOUBLE_EQUAL(through_excerpt(&e, token).estimate, kld, 1e-3 * kld);
        }
        end_excerpts(&e);
    }
}

/* The same model diverges from itself by what rounding costs. */
static void test_same(void)
{
    struct excerpted e;
    begin_excerpts(&e, MOEQ_EXCERPT_TOP, MOEQ_EXCERPT_SAMPLE);
    make_logits(0);
    const struct moeq_excerpt_divergence d = through_excerpt(&e, 3);
    CU_ASSERT(fabs(d.estimate) < 1e-7 && fabs(d.lower) < 1e-7);
    reference[5] = NAN;
    struct moeq_excerpt_maker maker;
    struct moeq_tally tally = {0};
    double ignored = 0;
    moeq_excerpt_begin(&maker, e.shape, e.entries);
    moeq_tally_add(&tally, reference, 0, MOEQ_EXCERPT_SLICE, 17, NULL, &ignored);
    moeq_excerpt_add(&maker, e.noise, 0, reference, 0, MOEQ_EXCERPT_SLICE);
    CU_ASSERT_EQUAL(moeq_excerpt_end(&maker, e.shape, &tally, &e.excerpt, NULL), MOEQ_DAMAGED);
    end_excerpts(&e);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"the largest are those that sorting gives", test_top},
        {"the estimate has no bias and its error is as stated", test_estimate},
        {"what is kept whole is exact", test_whole},
        {"a model does not diverge from itself", test_same},
        {NULL, NULL},
    };
    return unit_main("excerpt", tests);
}
