/* The factor that calibration rests on: for any number of inputs the bits of the plain loops, an honest
 * answer where the moments are not those of any inputs, and solutions that solve. */
#include "plain_factor.h"
#include "sets.h"

#include "cholesky.h"

static const uint64_t sizes[] = {1, 2, 5, 31, 64, 127, 130, 193, 257, 400};

#define N_SIZES (sizeof sizes / sizeof *sizes)

/* ---- the factorization ---- */

static int check_cholesky(uint64_t n, struct moeq_pool *pool)
{
    struct moeq_hessian h = {0};
    correlated_moments(&h, pool, n, n / 2 + 1, 0, 1); /* of half the rank: damping is needed */
    uint32_t *order = plain_order(&h, false);
    double *plain = damped_mean(&h, order, 0.01);
    const uint64_t ld = moeq_cholesky_stride(n);
    double *a = malloc(n * ld * sizeof *a);
    bool is_positive = false;
    int n_wrong = 0;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < ld; c++)
            a[r * ld + c] = c <= r ? plain[r * n + c] : (double)NAN; /* above the diagonal: never read */
    n_wrong += moeq_cholesky(pool, a, n, &is_positive, NULL) != MOEQ_OK || !is_positive;
    n_wrong += !plain_cholesky(plain, n);
    for (uint64_t r = 0; r < n; r++)
        n_wrong += memcmp(a + r * ld, plain + r * n, (r + 1) * sizeof *a) != 0;
    if (n_wrong)
        printf("\n    %s, %llu: %d wrong", moeq_kernels()->name, (unsigned long long)n, n_wrong);
    free(a);
    free(plain);
    free(order);
    moeq_hessian_free(&h);
    return n_wrong;
}

static int check_all(void)
{
    struct moeq_pool *pools[2] = {moeq_pool_create(1, NULL), moeq_pool_create(3, NULL)};
    int n_wrong = !pools[0] || !pools[1];
    for (size_t s = 0; !n_wrong && s < N_SIZES; s++)
        n_wrong += check_cholesky(sizes[s], pools[0]) + check_cholesky(sizes[s], pools[1]);
    moeq_pool_join(pools[0]);
    moeq_pool_join(pools[1]);
    return n_wrong;
}

static void test_every_set(void)
{
    in_every_set(check_all);
}

static void test_not_positive(void)
{
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    static const double bad[] = {0, -1, NAN, INFINITY};
    const uint64_t n = 150, ld = moeq_cholesky_stride(n);
    double *a = malloc(n * ld * sizeof *a);
    CU_ASSERT_FATAL(pool && a);
    for (size_t b = 0; b < 4; b++)
        for (uint64_t at = 0; at < n; at += 149) { /* in the first and the last block */
            bool is_positive = true;
            memset(a, 0, n * ld * sizeof *a);
            for (uint64_t i = 0; i < n; i++)
                a[i * ld + i] = i == at ? bad[b] : 1;
            CU_ASSERT_EQUAL(moeq_cholesky(pool, a, n, &is_positive, NULL), MOEQ_OK);
            CU_ASSERT_FALSE(is_positive);
        }
    free(a);
    moeq_pool_join(pool);
}

/* ---- preparing ---- */

/* T, pivots and order as gptq.h defines them. */
static void check_prepared(uint64_t n, uint64_t n_tokens, uint64_t dead, bool by_diagonal)
{
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    struct moeq_hessian h = {0};
    struct moeq_gptq_factor f = {0};
    correlated_moments(&h, pool, n, n_tokens, dead, 1);
    CU_ASSERT_EQUAL_FATAL(
        moeq_gptq_prepare(&f, &h, (struct moeq_gptq_options){0.01, by_diagonal, by_diagonal}, pool, NULL),
        MOEQ_OK);
    uint32_t *order = plain_order(&h, by_diagonal);
    double *plain = damped_mean(&h, order, 0.01);
    CU_ASSERT_TRUE_FATAL(plain_cholesky(plain, n));
    int n_wrong = memcmp(order, f.order, n * sizeof *order) != 0;
    for (uint64_t j = 0; j < n; j++) {
        const double root = plain[j * n + j];
        const bool is_dead = h.sums[order[j] * n + order[j]] <= 0;
        n_wrong += f.pivots[j] != root * root;
        n_wrong += f.weights[order[j]] != (is_dead       ? 0
                                           : by_diagonal ? root * root
                                                         : mean_at(&h, order[j], order[j]) + f.added);
        for (uint64_t i = 0; i < j; i++)
            n_wrong += f.t[j * f.ld + i] != plain[j * n + i] / root;
    }
    CU_ASSERT_EQUAL(n_wrong, 0);
    CU_ASSERT_EQUAL(f.n_dead, dead ? n / dead : 0);
    CU_ASSERT_TRUE(f.damping == 0.01 && f.n_raised == 0);
    free(plain);
    free(order);
    moeq_gptq_free(&f);
    moeq_hessian_free(&h);
    moeq_pool_join(pool);
}

static void test_prepare(void)
{
    for (size_t s = 0; s < N_SIZES; s++)
        for (int by_diagonal = 0; by_diagonal < 2; by_diagonal++) {
            check_prepared(sizes[s], 2 * sizes[s], 0, by_diagonal);
            check_prepared(sizes[s], 1, 5, by_diagonal); /* one token: rank 1 */
        }
}

static enum moeq_status prepare_of(const double *sums, uint64_t n, double weight, double damping,
                                   struct moeq_gptq_factor *f, struct moeq_error *err)
{
    struct moeq_pool *pool = moeq_pool_create(1, NULL);
    struct moeq_hessian h = {0};
    CU_ASSERT_EQUAL_FATAL(moeq_hessian_init(&h, n, NULL), MOEQ_OK);
    memcpy(h.sums, sums, n * n * sizeof *sums);
    h.weight = weight;
    const enum moeq_status status =
        moeq_gptq_prepare(f, &h, (struct moeq_gptq_options){.damping = damping}, pool, err);
    moeq_hessian_free(&h);
    moeq_pool_join(pool);
    return status;
}

static void test_prepare_damaged(void)
{
    static const double slightly[] = {1, 0, 1.05, 1}, hopeless[] = {1, 0, 3, 1}, dead[] = {0, 0, 0, 0},
                        infinite[] = {INFINITY, 0, 0, 1}, nan_beside[] = {1, 0, NAN, 1};
    struct moeq_gptq_factor f = {0};
    struct moeq_error err = {0};
    /* Not positive as it is: tenfold damping is, and is said. */
    CU_ASSERT_EQUAL(prepare_of(slightly, 2, 1, 0.01, &f, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(f.n_raised, 1);
    CU_ASSERT_DOUBLE_EQUAL(f.damping, 0.1, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(f.diagonal[1], 1.1, 1e-15);
    CU_ASSERT_EQUAL(prepare_of(hopeless, 2, 1, 0, &f, &err), MOEQ_DAMAGED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "not positive with damping 1"));
    CU_ASSERT_EQUAL(prepare_of(infinite, 2, 1, 0.01, &f, NULL), MOEQ_DAMAGED);
    CU_ASSERT_EQUAL(prepare_of(nan_beside, 2, 1, 0.01, &f, NULL), MOEQ_DAMAGED);
    CU_ASSERT_EQUAL(prepare_of(slightly, 2, 0, 0.01, &f, NULL), MOEQ_USAGE); /* no tokens */
    /* The memory of all these serves again; only another size needs other memory. */
    CU_ASSERT_EQUAL(prepare_of(slightly, 2, 1, 0.1, &f, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(f.n_raised, 0);
    CU_ASSERT_EQUAL(prepare_of((const double[]){2}, 1, 1, 0.5, &f, NULL), MOEQ_OK);
    CU_ASSERT_TRUE(f.n == 1 && f.pivots[0] > 2.99 && f.pivots[0] < 3.01);
    CU_ASSERT_EQUAL(prepare_of(dead, 2, 7, 0.01, &f, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(f.n_dead, 2);
    CU_ASSERT_TRUE(f.pivots[0] == 1 && f.pivots[1] == 1 && f.t[f.ld] == 0);
    moeq_gptq_free(&f);
}

/* ---- correcting ---- */

/* Largest |W' (H + added) - (W C^T + added W)| over the largest element of its right side. */
static double residual_of(const struct moeq_hessian *h, const struct moeq_gptq_factor *f, const double *cross,
                          uint64_t rows, const float *w, const float *corrected)
{
    const uint64_t n = h->n;
    double largest = 0, off = 0;
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t j = 0; j < n; j++) {
            double left = 0, right = f->added * (double)w[r * n + j];
            for (uint64_t i = 0; i < n; i++) {
                left += (double)corrected[r * n + i] * (mean_at(h, i, j) + (i == j ? f->added : 0));
                right += (double)w[r * n + i] * cross[j * n + i];
            }
            off = fmax(off, fabs(left - right));
            largest = fmax(largest, fabs(right));
        }
    return off / largest;
}

/* A row by the plain loops of gptq.h; cross [n, n]. */
static void correct_plainly(const struct moeq_gptq_factor *f, const double *cross, const float *w, float *out)
{
    const uint64_t n = f->n;
    double *y = malloc(n * sizeof *y);
    CU_ASSERT_PTR_NOT_NULL_FATAL(y);
    for (uint64_t j = 0; j < n; j++) {
        const uint64_t column = f->order[j];
        const bool dead = !(f->diagonal[column] > 0);
        y[j] = (dead ? 1 : f->added) * (double)w[column];
        for (uint64_t i = 0; !dead && i < n; i++)
            y[j] = fma(cross[column * n + i], (double)w[i], y[j]);
    }
    for (uint64_t j = n; j-- > 0;)
        for (uint64_t k = n; --k > j;)
            y[j] = fma(-f->t[k * f->ld + j], y[k], y[j]);
    for (uint64_t j = 0; j < n; j++)
        y[j] /= f->pivots[j];
    for (uint64_t j = 0; j < n; j++)
        for (uint64_t i = 0; i < j; i++)
            y[j] = fma(-f->t[j * f->ld + i], y[i], y[j]);
    for (uint64_t j = 0; j < n; j++)
        out[f->order[j]] = (float)y[j];
    free(y);
}

/* rows [rows, n] corrected with cross moments that are H, and H with some of it missing. */
static int check_correct(uint64_t n, uint64_t rows, uint64_t dead)
{
    struct moeq_pool *pools[2] = {moeq_pool_create(1, NULL), moeq_pool_create(3, NULL)};
    struct moeq_hessian h = {0};
    struct moeq_gptq_factor f = {0};
    float *w = random_weights(rows * n, n), *out = malloc(rows * n * sizeof *out),
          *again = malloc(rows * n * sizeof *out);
    double *cross = malloc(n * n * sizeof *cross), most = 0;
    int n_wrong = 0;
    correlated_moments(&h, pools[0], n, 2 * n, dead, 1);
    n_wrong +=
        moeq_gptq_prepare(&f, &h, (struct moeq_gptq_options){0.01, true, false}, pools[0], NULL) != MOEQ_OK;
    for (uint64_t i = 0; i < n * n; i++)
        cross[i] = mean_at(&h, i / n, i % n);
    n_wrong += moeq_gptq_correct(&f, cross, rows, w, pools[0], out, NULL) != MOEQ_OK;
    for (uint64_t i = 0; i < rows * n; i++)
        most = fmax(most, fabs((double)(out[i] - w[i])));
    n_wrong += !(most < 1e-8); /* nothing to correct */
    for (uint64_t i = 0; i < n * n; i++)
        cross[i] *= 0.8 + 0.3 * uniform();
    n_wrong += moeq_gptq_correct(&f, cross, rows, w, pools[1], out, NULL) != MOEQ_OK;
    n_wrong += !(residual_of(&h, &f, cross, rows, w, out) < 1e-5); /* as W' is float32 */
    for (uint64_t r = 0; r < rows; r++)
        correct_plainly(&f, cross, w + r * n, again + r * n);
    n_wrong += memcmp(out, again, rows * n * sizeof *out) != 0;
    for (uint64_t r = 0; r < rows; r++)
        for (uint64_t c = 0; dead && c < n; c++)
            n_wrong += c % dead == dead - 1 && out[r * n + c] != w[r * n + c];
    free(w);
    free(out);
    free(again);
    free(cross);
    moeq_gptq_free(&f);
    moeq_hessian_free(&h);
    moeq_pool_join(pools[0]);
    moeq_pool_join(pools[1]);
    return n_wrong;
}

static int check_corrections(void)
{
    return check_correct(1, 1, 0) + check_correct(5, 3, 0) + check_correct(64, 65, 7) +
           check_correct(257, 70, 5);
}

static void test_correct(void)
{
    in_every_set(check_corrections);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"Cholesky: the bits of the plain loop in every instruction set", test_every_set},
        {"corrected weights, in every instruction set", test_correct},
        {"what is not positive", test_not_positive},
        {"order, damping and dead columns", test_prepare},
        {"moments that cannot be", test_prepare_damaged},
        {NULL, NULL},
    };
    return unit_main("cholesky", tests);
}
