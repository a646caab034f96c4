/* Second moments: a package must not depend on the machine that calibrated it, so they are to be the bits of
 * the plain loop that hessian.h states, in every instruction set and with any number of threads. */
#include "sets.h"
#include "weights.h"

#include "hessian.h"
#include "scalar.h"

#include <math.h>

#define MOST_N      257
#define MOST_TOKENS 1300
#define BETWEEN     3

struct tokens {
    const float *x, *weights;
    const uint32_t *rows;
    uint64_t n, ldx;
};

static float input(const struct tokens *t, uint64_t token, uint64_t column)
{
    return t->x[(t->rows ? t->rows[token] : token) * t->ldx + column] *
           (t->weights ? sqrtf(t->weights[token]) : 1);
}

/* The definition, element by element; and beside it the sum in float64 alone, that it must be close to. */
static int compare_plainly(const struct moeq_hessian *h, const struct tokens *t, uint64_t n_tokens)
{
    int n_wrong = 0;
    for (uint64_t i = 0; i < t->n; i++)
        for (uint64_t j = 0; j <= i; j++) {
            double sum = 0, plain = 0, size = 1e-30;
            for (uint64_t begin = 0; begin < n_tokens; begin += MOEQ_HESSIAN_TOKENS) {
                float block = 0;
                for (uint64_t k = begin; k < n_tokens && k < begin + MOEQ_HESSIAN_TOKENS; k++) {
                    const float a = input(t, k, i), b = input(t, k, j);
                    block = fmaf(a, b, block);
                    plain += (double)a * (double)b;
                    size += fabs((double)a * (double)b);
                }
                sum += (double)block;
            }
            n_wrong += h->sums[i * t->n + j] != sum || !(fabs(sum - plain) <= 1e-6 * size);
        }
    return n_wrong;
}

static int check_tokens(const struct tokens *t, uint64_t n_tokens, struct moeq_pool *pool)
{
    struct moeq_hessian h = {0};
    struct moeq_bytes scratch = {0};
    double weight = 0;
    int n_wrong = moeq_hessian_init(&h, t->n, NULL) != MOEQ_OK;
    n_wrong += moeq_hessian_add(&h, pool, &scratch, t->x, t->ldx, t->rows, t->weights, n_tokens, NULL) != 0;
    n_wrong += compare_plainly(&h, t, n_tokens);
    for (uint64_t k = 0; k < n_tokens; k++)
        weight += t->weights ? (double)t->weights[k] : 1;
    n_wrong += h.n_tokens != n_tokens || h.weight != weight;
    /* The same tokens again, cut where calls may be cut. */
    struct moeq_hessian cut = {0};
    n_wrong += moeq_hessian_init(&cut, t->n, NULL) != MOEQ_OK;
    for (uint64_t begin = 0, n; begin < n_tokens; begin += n) {
        const uint64_t piece = begin ? MOEQ_HESSIAN_TOKENS : 2 * MOEQ_HESSIAN_TOKENS;
        n = n_tokens - begin < piece ? n_tokens - begin : piece;
        n_wrong += moeq_hessian_add(&cut, pool, &scratch, t->rows ? t->x : t->x + begin * t->ldx, t->ldx,
                                    t->rows ? t->rows + begin : NULL, t->weights ? t->weights + begin : NULL,
                                    n, NULL) != 0;
    }
    for (uint64_t i = 0; i < t->n; i++)
        n_wrong += memcmp(h.sums + i * t->n, cut.sums + i * t->n, (i + 1) * sizeof *h.sums) != 0;
    moeq_hessian_free(&h);
    moeq_hessian_free(&cut);
    moeq_bytes_free(&scratch);
    return n_wrong;
}

static int check_all(void)
{
    static const uint64_t sizes[][2] = {{1, 1},    {2, 300},   {5, 256},   {31, 255},        {64, 257},
                                        {130, 40}, {130, 600}, {257, 513}, {97, MOST_TOKENS}};
    static float weights[MOST_TOKENS];
    static uint32_t rows[MOST_TOKENS];
    struct moeq_pool *pools[2] = {moeq_pool_create(1, NULL), moeq_pool_create(3, NULL)};
    float *x = random_weights(MOST_TOKENS * (MOST_N + BETWEEN), 1);
    int n_wrong = !pools[0] || !pools[1];
    for (uint32_t t = 0; t < MOST_TOKENS; t++) {
        weights[t] = (float)uniform();
        rows[t] = t * 7 % MOST_TOKENS;
    }
    for (size_t s = 0; !n_wrong && s < sizeof sizes / sizeof *sizes; s++)
        for (unsigned kind = 0; kind < 4; kind++) {
            const struct tokens t = {.x = x,
                                     .weights = kind & 1 ? weights : NULL,
                                     .rows = kind & 2 ? rows : NULL,
                                     .n = sizes[s][0],
                                     .ldx = sizes[s][0] + BETWEEN};
            const int n = check_tokens(&t, sizes[s][1], pools[(kind + s) % 2]);
            if (n)
                printf("\n    %s, %llu inputs, %llu tokens, kind %u: %d wrong", moeq_kernels()->name,
                       (unsigned long long)sizes[s][0], (unsigned long long)sizes[s][1], kind, n);
            n_wrong += n;
        }
    moeq_pool_join(pools[0]);
    moeq_pool_join(pools[1]);
    free(x);
    return n_wrong;
}

static void test_every_set(void)
{
    in_every_set(check_all);
}

/* An expert's few tokens count as what they are, and the layer's mean as tau of them. */
static void test_mix(void)
{
    struct moeq_hessian expert = {0}, layer = {0};
    CU_ASSERT_EQUAL_FATAL(moeq_hessian_init(&expert, 2, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_hessian_init(&layer, 2, NULL), MOEQ_OK);
    memcpy(expert.sums, (double[]){6, 0, 3, 12}, 4 * sizeof(double)); /* mean 4, 2, 8 */
    expert.n_tokens = 3;
    expert.weight = 1.5;
    memcpy(layer.sums, (double[]){100, 0, -50, 200}, 4 * sizeof(double)); /* mean 1, -0.5, 2 */
    layer.n_tokens = 100;
    layer.weight = 100;
    moeq_hessian_mix(&expert, &layer, 5);
    CU_ASSERT_EQUAL(expert.n_tokens, 3);
    CU_ASSERT_EQUAL(expert.weight, 8);
    CU_ASSERT_DOUBLE_EQUAL(expert.sums[0] / expert.weight, (3 * 4 + 5 * 1) / 8.0, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(expert.sums[2] / expert.weight, (3 * 2 - 5 * 0.5) / 8.0, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(expert.sums[3] / expert.weight, (3 * 8 + 5 * 2) / 8.0, 1e-15);
    moeq_hessian_clear(&expert); /* no token at all: the layer's own mean */
    moeq_hessian_mix(&expert, &layer, 5);
    CU_ASSERT_DOUBLE_EQUAL(expert.sums[2] / expert.weight, -0.5, 1e-15);
    moeq_hessian_free(&expert);
    moeq_hessian_free(&layer);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"the bits of the plain loop in every instruction set", test_every_set},
        {"rare experts borrow from their layer", test_mix},
        {NULL, NULL},
    };
    return unit_main("hessian", tests);
}
