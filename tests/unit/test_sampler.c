/* Tokens are drawn as documented: in which order, from how many, with which random numbers. */
#include "unit.h"

#include "sampler.h"

#include <math.h>

/* By a program of its own, in Python's integers:
 *   M=2**64-1; g=0x9e3779b97f4a7c15
 *   def mix(z): z=((z^z>>30)*0xbf58476d1ce4e5b9)&M; z=((z^z>>27)*0x94d049bb133111eb)&M; return z^z>>31
 *   u=lambda s,i:(mix((mix((s+g)&M)+(i+1)*g)&M)>>11)*2.0**-53 */
static const struct {
    uint64_t seed, i;
    double u;
} known[] = {{0, 0, 0x1.4e0dba5e9a32fp-1},
             {0, 1, 0x1.6705460be8829p-1},
             {1, 0, 0x1.7906ac21d0e58p-2},
             {42, 1000, 0x1.63f919049aa49p-1},
             {18446744073709551615u, 7, 0x1.729d8d409af68p-1}};

static void test_random_numbers(void)
{
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        CU_ASSERT_EQUAL(moeq_random(known[k].seed, known[k].i), known[k].u);
    double sum = 0;
    for (uint64_t i = 0; i < 100000; i++)
        sum += moeq_random(1, i);
    CU_ASSERT_DOUBLE_EQUAL(sum / 100000, 0.5, 0.005);
}

static int32_t sample(const float *logits, uint32_t n, double temperature, double top_p, double u)
{
    struct moeq_sampler sampler;
    int32_t token = -1;
    const struct moeq_sampling sampling = {temperature, top_p};
    CU_ASSERT_EQUAL_FATAL(moeq_sampler_init(&sampler, n, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_sample(&sampler, logits, &sampling, u, &token, NULL), MOEQ_OK);
    moeq_sampler_free(&sampler);
    return token;
}

/* Probabilities 0.1, 0.4, 0.2, 0, 0.2, 0.1: in order 1, 2, 4, 0, 5. */
static void test_order(void)
{
    const float logits[] = {logf(0.1f), logf(0.4f), logf(0.2f), -INFINITY, logf(0.2f), logf(0.1f)};
    static const struct {
        double top_p, u;
        int32_t token;
    } cases[] = {{1, 0, 1},    {1, 0.39, 1},   {1, 0.41, 2},   {1, 0.61, 4},        {1, 0.81, 0},
                 {1, 0.91, 5}, {0, 0.91, 5},   {0.4, 0.99, 1}, {0.5, 0.65, 1},      {0.5, 0.67, 2},
                 {0.7, 0, 1},  {0.7, 0.99, 4}, {1e-9, 0.5, 1}, {1, 1 - 0x1p-53, 5}, {0.85, 0.99, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CU_ASSERT_EQUAL(sample(logits, 6, 1, cases[i].top_p, cases[i].u), cases[i].token);
    CU_ASSERT_EQUAL(sample(logits, 6, 0, 0, 0.99), 1);
    const float equal[] = {1, 3, 3, 2};
    CU_ASSERT_EQUAL(sample(equal, 4, 0, 0, 0), 1);
    CU_ASSERT_EQUAL(sample(equal, 4, 1e-3, 1, 0.49), 1);
    CU_ASSERT_EQUAL(sample(equal, 4, 1e-3, 1, 0.51), 2);
}

/* Frequencies are those of the softmax at the temperature, cut at top_p. */
static void test_frequencies(void)
{
    enum { N = 50, DRAWS = 40000 };
    float logits[N];
    unsigned counts[N] = {0};
    double total = 0;
    for (int i = 0; i < N; i++) {
        logits[i] = (float)(i * 7 % N) / 8;
        total += exp((double)logits[i] / 1.5);
    }
    for (uint64_t i = 0; i < DRAWS; i++)
        counts[sample(logits, N, 1.5, 1, moeq_random(7, i))]++;
    for (int i = 0; i < N; i++) {
        const double p = exp((double)logits[i] / 1.5) / total, error = sqrt(p * (1 - p) / DRAWS);
        CU_ASSERT_DOUBLE_EQUAL((double)counts[i] / DRAWS, p, 5 * error);
    }
    memset(counts, 0, sizeof counts);
    for (uint64_t i = 0; i < DRAWS / 10; i++)
        counts[sample(logits, N, 1.5, 0.6, moeq_random(8, i))]++;
    double kept = 0, smallest = 1;
    for (int i = 0; i < N; i++) {
        const double p = exp((double)logits[i] / 1.5) / total;
        kept += counts[i] ? p : 0;
        smallest = counts[i] && p < smallest ? p : smallest;
    }
    CU_ASSERT(kept >= 0.6 && kept - smallest < 0.6);
}

static void test_damage(void)
{
    static const float cases[][2] = {{NAN, 1}, {INFINITY, 1}, {-INFINITY, -INFINITY}};
    struct moeq_sampler sampler;
    int32_t token;
    CU_ASSERT_EQUAL_FATAL(moeq_sampler_init(&sampler, 2, NULL), MOEQ_OK);
    for (size_t i = 0; i < 3; i++)
        for (int warm = 0; warm < 2; warm++)
            CU_ASSERT_EQUAL(
                moeq_sample(&sampler, cases[i], &(struct moeq_sampling){warm, 1}, 0.5, &token, NULL),
                MOEQ_DAMAGED);
    moeq_sampler_free(&sampler);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"random numbers are those of the header", test_random_numbers},
        {"the order of drawing", test_order},
        {"frequencies are the probabilities", test_frequencies},
        {"logits that are none", test_damage},
        {NULL, NULL},
    };
    return unit_main("sampler", tests);
}
