/* Forecasts: gains must be those that probes show, and levels the best there are: against all plans where
 * there are few, against the plain ones where there are many. */
#include "weights.h"

#include "forecast.h"

#include <math.h>

enum { MOST_ITEMS = 200, MOST_GROUPS = 12, MOST_CHOICES = 8 };

/* ---- gains ---- */

static double kld_of(struct moeq_gain gain, double error)
{
    return gain.linear * error + gain.root * sqrt(error);
}

static void test_exact_points(void)
{
    static const double linears[] = {0, 1e-9, 0.003, 1, 2e5}, roots[] = {0, 1e-7, 0.02, 1, 3e4};
    for (size_t l = 0; l < 5; l++)
        for (size_t r = 0; r < 5; r++)
            for (size_t n = 2; n <= 5; n++) {
                const struct moeq_gain gain = {linears[l], roots[r]};
                double errors[5], klds[5];
                if (gain.linear + gain.root == 0)
                    continue;
                for (size_t i = 0; i < n; i++) {
                    errors[i] = 0.07 * pow(20, (double)i);
                    klds[i] = kld_of(gain, errors[i]);
                }
                const struct moeq_gain found = moeq_gain_fit(errors, klds, n);
                CU_ASSERT(found.linear >= 0 && found.root >= 0);
                for (size_t i = 0; i < n; i++) /* each in what it adds, where both differ by magnitudes */
                    CU_ASSERT(fabs(found.linear - gain.linear) * errors[i] +
                                  fabs(found.root - gain.root) * sqrt(errors[i]) <=
                              1e-9 * klds[i]);
            }
    const double error = 4, kld = 0.3;
    const struct moeq_gain one = moeq_gain_fit(&error, &kld, 1);
    CU_ASSERT(fabs(kld_of(one, 4) - 0.3) < 1e-15 && one.root == 0); /* of one point: linear */
}

static double deviation(struct moeq_gain gain, const double *errors, const double *klds, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += pow(kld_of(gain, errors[i]) / klds[i] - 1, 2);
    return sum;
}

/* Whatever the probes: gains are not negative, and no others around them fit better. */
static void test_any_points(void)
{
    unsigned n_both = 0, n_linear = 0, n_root = 0;
    random_state = 1;
    for (int round = 0; round < 4000; round++) {
        const size_t n = 1 + (size_t)(uniform() * 4);
        const double power = 0.2 + 1.2 * uniform(), size = exp(20 * uniform() - 10);
        double errors[4], klds[4];
        for (size_t i = 0; i < n; i++) {
            errors[i] = size * exp(6 * uniform());
            klds[i] = 1e-3 * pow(errors[i], power) * (0.5 + uniform());
        }
        const struct moeq_gain found = moeq_gain_fit(errors, klds, n);
        CU_ASSERT(found.linear >= 0 && found.root >= 0 && found.linear + found.root > 0);
        CU_ASSERT(isfinite(found.linear) && isfinite(found.root));
        const double least = deviation(found, errors, klds, n);
        const double steps[2] = {1e-3 * klds[0] / errors[0], 1e-3 * klds[0] / sqrt(errors[0])};
        for (int k = 0; k < 9; k++) {
            const struct moeq_gain other = {fmax(0, found.linear + steps[0] * (k % 3 - 1)),
                                            fmax(0, found.root + steps[1] * (k / 3 - 1))};
            CU_ASSERT(deviation(other, errors, klds, n) >= least - 1e-9 * (1 + least));
        }
        n_both += found.linear > 0 && found.root > 0;
        n_linear += found.root == 0;
        n_root += found.linear == 0;
    }
    CU_ASSERT(n_both > 100 && n_linear > 100 && n_root > 100);
}

/* ---- plans ---- */

struct instance {
    struct moeq_forecast f;
    struct moeq_gain gains[MOST_GROUPS];
    uint32_t groups[MOST_ITEMS];
    uint64_t n_bytes[MOST_ITEMS * MOST_CHOICES];
    double errors[MOST_ITEMS * MOST_CHOICES];
    uint64_t least, most; /* bytes of all at the smallest, at the largest */
};

/* As matrices are: errors fall by 4 with a bit, and differ by magnitudes between items; of groups some have
 * both gains, some one, some none. The last choice keeps what is there. */
static void make(struct instance *x, size_t n_items, size_t n_groups, size_t n_choices)
{
    static const uint64_t sizes[] = {10240, 10240, 12288};
    *x = (struct instance){.f = {.n_groups = n_groups, .n_items = n_items, .n_choices = n_choices}};
    x->f.gains = x->gains;
    x->f.groups = x->groups;
    x->f.n_bytes = x->n_bytes;
    x->f.errors = x->errors;
    for (size_t g = 0; g < n_groups; g++) {
        const double linear = 1e-3 * exp(3 * uniform()), root = 1e-3 * exp(3 * uniform());
        x->gains[g] = (struct moeq_gain){uniform() < 0.2 ? 0 : linear, uniform() < 0.2 ? 0 : root};
    }
    for (size_t i = 0; i < n_items; i++) {
        const double weight = exp(4 * uniform() - 2);
        x->groups[i] = (uint32_t)(i * n_groups / n_items);
        for (size_t k = 0; k < n_choices; k++) {
            const double bits = 2 + 6 * (double)k / (double)(n_choices - 1);
            const size_t at = i * n_choices + k;
            x->n_bytes[at] = (uint64_t)((double)sizes[x->groups[i] % 3] * (bits + 0.25) / 8);
            x->errors[at] = k + 1 == n_choices ? 0 : weight * exp2(-2 * bits) * (0.7 + 0.6 * uniform());
        }
        x->least += x->n_bytes[i * n_choices];
        x->most += x->n_bytes[i * n_choices + n_choices - 1];
    }
}

static double forecast(const struct instance *x, const uint32_t *chosen)
{
    double errors[MOST_GROUPS], parts[MOST_GROUPS], sum = 0;
    const double kld = moeq_forecast_kld(&x->f, chosen, parts, errors);
    for (size_t g = 0; g < x->f.n_groups; g++) {
        CU_ASSERT(parts[g] >= 0);
        sum += parts[g];
    }
    CU_ASSERT(fabs(sum - kld) <= 1e-12 * kld); /* parts are all of it */
    return kld;
}

/* The least forecast within the budget of all plans there are. */
static double least_of_all(const struct instance *x, uint64_t budget)
{
    uint32_t chosen[MOST_ITEMS] = {0};
    double best = (double)INFINITY, errors[MOST_GROUPS];
    for (size_t i = 0; i < x->f.n_items;) {
        if (moeq_forecast_bytes(&x->f, chosen) <= budget)
            best = fmin(best, moeq_forecast_kld(&x->f, chosen, NULL, errors));
        for (i = 0; i < x->f.n_items && ++chosen[i] == x->f.n_choices; i++)
            chosen[i] = 0;
    }
    return best;
}

/* The search goes from tangent to tangent and may end beside the best where few items have something to lose.
 */
static void test_against_all(void)
{
    double worst = 0, sum = 0;
    int n = 0, n_best = 0, n_far = 0;
    random_state = 2;
    for (int round = 0; round < 60; round++) {
        struct instance x;
        struct moeq_forecaster fc;
        uint32_t chosen[MOST_ITEMS];
        make(&x, 6, 1 + (size_t)round % 4, 4);
        CU_ASSERT_EQUAL_FATAL(moeq_forecaster_init(&fc, &x.f, NULL), MOEQ_OK);
        for (int k = 0; k <= 10; k++) {
            const uint64_t budget = x.least + (x.most - x.least) * (uint64_t)k / 10;
            const double best = least_of_all(&x, budget);
            CU_ASSERT_EQUAL_FATAL(moeq_forecaster_plan(&fc, budget, chosen, NULL), MOEQ_OK);
            CU_ASSERT(moeq_forecast_bytes(&x.f, chosen) <= budget);
            const double found = forecast(&x, chosen);
            CU_ASSERT(found >= best * (1 - 1e-12));
            const double over = best > 0 ? found / best - 1 : found;
            worst = fmax(worst, over);
            sum += over;
            n_best += over < 1e-9;
            n_far += over > 0.1;
            n++;
        }
        moeq_forecaster_free(&fc);
    }
    printf("%d of %d are the best there are, the mean is %.2f%% above, the worst %.1f%% ", n_best, n,
           100 * sum / n, 100 * worst);
    CU_ASSERT(n_best * 100 > n * 95);
    CU_ASSERT(n_far * 100 < n * 2);
    CU_ASSERT(sum <= 0.005 * n);
}

/* Never worse than one level for all, and never worse than what less could buy. */
static void test_many(void)
{
    double worst_uniform = 0, worst_less = 0;
    random_state = 3;
    for (int round = 0; round < 16; round++) {
        struct instance x;
        struct moeq_forecaster fc;
        uint32_t chosen[MOST_ITEMS], uniform_plan[MOST_ITEMS];
        double before = (double)INFINITY;
        make(&x, 20 + (size_t)round * 12, 1 + (size_t)round % MOST_GROUPS, 3 + (size_t)round % 6);
        CU_ASSERT_EQUAL_FATAL(moeq_forecaster_init(&fc, &x.f, NULL), MOEQ_OK);
        for (int k = 0; k <= 24; k++) {
            const uint64_t budget = x.least + (x.most - x.least) * (uint64_t)k / 24;
            CU_ASSERT_EQUAL_FATAL(moeq_forecaster_plan(&fc, budget, chosen, NULL), MOEQ_OK);
            CU_ASSERT(moeq_forecast_bytes(&x.f, chosen) <= budget);
            const double found = forecast(&x, chosen);
            for (uint32_t level = 0; level < x.f.n_choices; level++) {
                for (size_t i = 0; i < x.f.n_items; i++)
                    uniform_plan[i] = level;
                if (moeq_forecast_bytes(&x.f, uniform_plan) <= budget)
                    worst_uniform = fmax(worst_uniform, found - forecast(&x, uniform_plan));
            }
            worst_less = fmax(worst_less, before < (double)INFINITY ? found / before - 1 : 0);
            before = found;
            CU_ASSERT(k < 24 || found == 0); /* all is kept */
        }
        moeq_forecaster_free(&fc);
    }
    printf("above a uniform plan %.2g, above a smaller budget %.2g ", worst_uniform, worst_less);
    CU_ASSERT(worst_uniform <= 1e-15);
    CU_ASSERT(worst_less <= 1e-9);
}

static void test_refusals(void)
{
    struct instance x;
    struct moeq_forecaster fc;
    struct moeq_error err = {0};
    uint32_t chosen[MOST_ITEMS];
    random_state = 4;
    make(&x, 12, 3, 4);
    CU_ASSERT_EQUAL_FATAL(moeq_forecaster_init(&fc, &x.f, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_forecaster_plan(&fc, x.least - 1, chosen, &err), MOEQ_USAGE);
    CU_ASSERT_EQUAL(moeq_forecaster_plan(&fc, x.least, chosen, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_forecast_bytes(&x.f, chosen), x.least);
    x.errors[4] = (double)INFINITY; /* not to be had: the next larger one is taken */
    CU_ASSERT_EQUAL(moeq_forecaster_plan(&fc, x.least, chosen, NULL), MOEQ_USAGE);
    CU_ASSERT_EQUAL(moeq_forecaster_plan(&fc, x.least - x.n_bytes[4] + x.n_bytes[5], chosen, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(chosen[1], 1);
    moeq_forecaster_free(&fc);
}

int main(void)
{
    static const struct unit_test tests[] = {{"gains of exact points", test_exact_points},
                                             {"gains of any points", test_any_points},
                                             {"against all plans", test_against_all},
                                             {"against uniform plans and smaller budgets", test_many},
                                             {"refusals", test_refusals},
                                             {NULL, NULL}};
    return unit_main("forecast", tests);
}
