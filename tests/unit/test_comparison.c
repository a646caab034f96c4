/* Predictions against what came of them: ranks with ties, and which matrices are compared. */
#include "made_package.h"

#include "comparison.h"

#include <math.h>

static bool is_close(double found, double expected)
{
    return fabs(found - expected) <= 1e-14;
}

/* Ranks by hand; of equal values each has their mean. */
static void test_ranks(void)
{
    static const struct {
        double x[6], y[6];
        size_t n;
        double expected;
    } cases[] = {
        {{1, 2, 3}, {10, 20, 30}, 3, 1},
        {{1, 2, 3}, {3, 2, 1}, 3, -1},
        /* 1 - 6 * 4 / (5 * 24) */
        {{1, 2, 3, 4, 5}, {2, 1, 4, 3, 5}, 5, 0.8},
        /* whatever the values: only their order */
        {{-1e300, -3, 0, 1e-300, 1e300}, {2, 1.5, 4, 3, (double)INFINITY}, 5, 0.8},
        /* x: 1, 2.5, 2.5, 4, y: 1, 3, 2, 4: 4.5 / sqrt(4.5 * 5) */
        {{1, 2, 2, 3}, {1, 3, 2, 4}, 4, 0.94868329805051377},
        /* x: 1.5, 1.5, 3.5, 3.5, y: 1.5, 3.5, 3.5, 1.5 */
        {{1, 1, 2, 2}, {1, 2, 2, 1}, 4, 0},
        /* x: 2, 2, 2, 4, 5.5, 5.5, y: 6, 4.5, 4.5, 3, 1, 2: -15 / sqrt(15 * 17) */
        {{0, 0, 0, 1, 7, 7}, {9, 8, 8, 7, 1, 2}, 6, -0.93933643662772433},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CU_ASSERT(is_close(moeq_rank_correlation(cases[i].x, cases[i].y, cases[i].n), cases[i].expected));
        CU_ASSERT(is_close(moeq_rank_correlation(cases[i].y, cases[i].x, cases[i].n), cases[i].expected));
    }
}

static void test_no_ranks(void)
{
    static const double x[] = {1, 2, 3, 4}, equal[] = {5, 5, 5, 5};
    CU_ASSERT(isnan(moeq_rank_correlation(NULL, NULL, 0)));
    CU_ASSERT(isnan(moeq_rank_correlation(x, x, 1)));
    CU_ASSERT(isnan(moeq_rank_correlation(x, x, 2)));
    CU_ASSERT(isnan(moeq_rank_correlation(x, equal, 4)));
    CU_ASSERT(isnan(moeq_rank_correlation(equal, x, 4)));
    CU_ASSERT(isnan(moeq_rank_correlation(equal, equal, 4)));
    CU_ASSERT_EQUAL(moeq_rank_correlation(x, x, 3), 1);
}

/* Only matrices whose error the plan names and this run has: a layer that was kept has none. */
static void test_errors(void)
{
    static const char text[] =
        "{\"format\": \"moeq-plan\", \"version\": 1, \"model\": "
        "\"00000000000000000000000000000000\",\"matrices\": {"
        "\"model.layers.1.mlp.experts.0.gate_proj.weight\": {\"level\": \"int3-g64\", \"error\": 1},"
        "\"model.layers.1.mlp.experts.1.gate_proj.weight\": {\"level\": \"int3-g64\", \"error\": 2},"
        "\"model.layers.1.mlp.experts.2.gate_proj.weight\": {\"level\": \"int3-g64\", \"error\": 4},"
        "\"model.layers.1.mlp.experts.3.gate_proj.weight\": {\"level\": \"int3-g64\", \"error\": 8},"
        "\"model.layers.1.mlp.experts.4.gate_proj.weight\": {\"level\": \"int3-g64\"}}}";
    static const double measured[] = {1.5, 1.25, 5, (double)NAN, 3};
    struct moeq_source source;
    struct moeq_level_plan levels;
    struct moeq_plan plan;
    struct moeq_comparison c;
    struct moeq_error err = {0};
    open_nano(&source);
    CU_ASSERT_EQUAL_FATAL(moeq_level_plan_parse(&levels, text, strlen(text), &err), MOEQ_OK);
    const struct moeq_plan_request request = {.levels = &levels};
    CU_ASSERT_EQUAL_FATAL(moeq_plan_make(&plan, &source, &request, &err), MOEQ_OK);
    double *errors = malloc(plan.n_items * sizeof *errors);
    for (size_t i = 0; i < plan.n_items; i++) {
        const struct moeq_name *id = &plan.items[i].weight->id;
        errors[i] =
            id->part == MOEQ_PART_EXPERT_GATE && id->layer == 1 && id->expert < 5 ? measured[id->expert] : 7;
    }
    CU_ASSERT_EQUAL(moeq_compare_errors(&levels, &plan, errors, &c, &err), MOEQ_OK);
    CU_ASSERT_EQUAL(c.n_matrices, 3);
    CU_ASSERT_EQUAL(c.predicted_error, 7);
    CU_ASSERT_EQUAL(c.measured_error, 7.75);
    CU_ASSERT(is_close(c.error_rank, 0.5));
    CU_ASSERT(c.n_experts == 0 && isnan(c.kld_rank));
    moeq_comparison_free(&c);
    for (size_t i = 0; i < plan.n_items; i++)
        errors[i] = (double)NAN;
    CU_ASSERT_EQUAL(moeq_compare_errors(&levels, &plan, errors, &c, &err), MOEQ_OK);
    CU_ASSERT(c.n_matrices == 0 && c.predicted_error == 0 && c.measured_error == 0 && isnan(c.error_rank));
    moeq_comparison_free(&c);
    free(errors);
    moeq_plan_free(&plan);
    moeq_level_plan_close(&levels);
    moeq_source_close(&source);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"rank correlation", test_ranks},
        {"no rank correlation", test_no_ranks},
        {"errors that are compared", test_errors},
        {NULL, NULL},
    };
    return unit_main("comparison", tests);
}
