/* Statistics and gates: errors must be those of windows, and a gate must fail where and only where it says.
 */
#include "unit.h"

#include "cmd_eval.h"
#include "gates.h"

#include <math.h>

enum { WINDOWS = 8, SCORED = 16 };

static void make_scores(struct moeq_score *scores)
{
    for (int i = 0; i < WINDOWS * SCORED; i++) {
        const int w = i / SCORED;
        scores[i] = (struct moeq_score){.nll = 3 + 0.1 * w + 0.01 * (i % 5),
                                        .reference_nll = 3 + 0.01 * (i % 5),
                                        .kld = 0.001 * (i + 1),
                                        .kld_lower = 0.001 * i,
                                        .target = i % 4,
                                        .best = (uint32_t)(i % 3),
                                        .reference_best = (uint32_t)(i % 2),
                                        .overlap = 4};
    }
}

static void test_paired(void)
{
    struct moeq_score scores[WINDOWS * SCORED];
    struct moeq_paired p;
    make_scores(scores);
    CU_ASSERT_EQUAL_FATAL(moeq_paired_of(scores, WINDOWS, SCORED, true, &p, NULL), MOEQ_OK);
    /* Differences are 0.1 w in window w: mean 0.35, variance of 8 windows 0.06. */
    CU_ASSERT_DOUBLE_EQUAL(p.nll_difference.value, 0.35, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(p.nll_difference.error, sqrt(0.06 / 8), 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(p.ppl_ratio.value, exp(0.35), 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(p.ppl_ratio.error, exp(0.35) * sqrt(0.06 / 8), 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(moeq_paired_interval(&p, p.nll_difference), 2.3646 * sqrt(0.06 / 8), 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(p.kld.value, 0.0645, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(p.kld_lower, 0.0635, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(p.kld_sampling_error, 0.001 * sqrt(128) / 128, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(p.kld_median, 0.064, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(p.kld_p95, 0.122, 1e-12); /* rank 121.6 up */
    CU_ASSERT_DOUBLE_EQUAL(p.kld_p999, 0.128, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(p.top5.value, 0.8, 1e-12);
    /* Period 12 of (target, best, reference_best): 0 0 0, 1 1 1, 2 2 0, 3 0 1, 0 1 0, 1 2 1, 2 0 0, 3 1 1, 0
     * 2 0, 1 0 1, 2 1 0, 3 2 1; and of the last 8 of 128 the first 8. */
    CU_ASSERT_DOUBLE_EQUAL(p.right.value, (10 * 3 + 3) / 128.0, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(p.flips_worse.value, (10 * 4 + 2) / 128.0, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(p.flips_better.value, (10 * 1 + 1) / 128.0, 1e-12);
    /* A single window: tokens are all there is. */
    CU_ASSERT_EQUAL_FATAL(moeq_paired_of(scores, 1, SCORED, true, &p, NULL), MOEQ_OK);
    CU_ASSERT(!p.by_window && p.kld.error > 0);
}

static void test_student(void)
{
    const struct {
        uint64_t windows;
        double t;
    } known[] = {{2, 12.7062}, {9, 2.3060}, {10, 2.2622}, {21, 2.0860}, {31, 2.0423}, {1001, 1.9623}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct moeq_paired p = {.n_windows = known[i].windows, .by_window = true};
        CU_ASSERT_DOUBLE_EQUAL(moeq_paired_interval(&p, (struct moeq_estimate){0, 1}), known[i].t, 3e-4);
    }
}

static void test_reading(void)
{
    static const struct {
        const char *text, *means; /* NULL: refused */
    } cases[] = {{"mean_kld<0.03", "mean_kld<0.03"},
                 {" mean_kld <= 3e-2 ", "mean_kld<=0.03"},
                 {"top1>.95", "top1>0.95"},
                 {"weight_bytes<1e9", "weight_bytes<1000000000"},
                 {"mean_kld>0.03", NULL},
                 {"top1<0.9", NULL},
                 {"mean_kld", NULL},
                 {"mean_kld<", NULL},
                 {"mean_kld<x", NULL},
                 {"mean_kld<0.03x", NULL},
                 {"mean_kld<nan", NULL},
                 {"mean_kld=0.03", NULL},
                 {"kld<0.03", NULL},
                 {"<0.03", NULL},
                 {"", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_gates gates = {0};
        struct moeq_error err = {0};
        const enum moeq_status status = moeq_gates_add(&gates, cases[i].text, 0, &err);
        CU_ASSERT_EQUAL(status, cases[i].means ? MOEQ_OK : MOEQ_USAGE);
        if (cases[i].means && !status)
            CU_ASSERT_STRING_EQUAL(gates.gates[0].text, cases[i].means);
        moeq_gates_free(&gates);
    }
}

static void test_document(void)
{
    static const struct {
        const char *text;
        enum moeq_status status;
    } cases[] = {
        {"{'moeq': 'gates', 'version': 1, 'gates': [{'gate': 'top1>0.9'}, {'gate': 'ppl<9', 'sigma': 3}]}",
         MOEQ_OK},
        {"{'moeq': 'gates', 'version': 2, 'gates': []}", MOEQ_UNSUPPORTED},
        {"{'moeq': 'gate', 'version': 1, 'gates': []}", MOEQ_DAMAGED},
        {"{'moeq': 'gates', 'version': 1}", MOEQ_DAMAGED},
        {"{'moeq': 'gates', 'version': 1, 'gates': [{'gate': 'top1>0.9', 'sigm': 1}]}", MOEQ_DAMAGED},
        {"{'moeq': 'gates', 'version': 1, 'gates': [{'gate': 'top1>0.9', 'sigma': -1}]}", MOEQ_DAMAGED},
        {"{'moeq': 'gates', 'version': 1, 'gates': ['top1>0.9']}", MOEQ_DAMAGED},
        {"{'moeq': 'gates', 'version': 1, 'gates': [{'gate': 'top2>0.9'}]}", MOEQ_USAGE},
        {"[]", MOEQ_DAMAGED}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        struct moeq_gates gates = {0};
        struct moeq_error err = {0};
        snprintf(text, sizeof text, "%s", cases[i].text);
        for (char *c = text; *c; c++)
            *c = *c == '\'' ? '"' : *c;
        CU_ASSERT_EQUAL(moeq_gates_parse(&gates, text, strlen(text), &err), cases[i].status);
        if (!cases[i].status) {
            CU_ASSERT_EQUAL_FATAL(gates.n, 2);
            CU_ASSERT_EQUAL(gates.gates[0].sigma, 0);
            CU_ASSERT_EQUAL(gates.gates[1].sigma, 3);
        }
        moeq_gates_free(&gates);
    }
}

static void test_judging(void)
{
    static const struct {
        const char *text;
        double sigma;
        bool passes, is_close;
    } cases[] = {{"mean_kld<0.13", 0, true, false},    {"mean_kld<0.11", 0, true, true},
                 {"mean_kld<0.09", 0, false, true},    {"mean_kld<0.09", 2, true, true},
                 {"mean_kld<0.09", 0.5, false, false}, {"mean_kld<0.05", 2, false, false},
                 {"mean_kld<0.1", 0, false, true},     {"mean_kld<=0.1", 0, true, true},
                 {"max_kld<0.4", 2, false, false},     {"max_kld<0.6", 2, true, false}};
    const struct moeq_evaluation evaluation = {.compared = true,
                                               .paired = {.kld = {0.1, 0.01}, .kld_max = 0.5}};
    const struct moeq_windows windows = {.n_windows = 10};
    const struct moeq_report report = {.evaluation = &evaluation, .windows = &windows};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_gates gates = {0};
        CU_ASSERT_EQUAL_FATAL(moeq_gates_add(&gates, cases[i].text, cases[i].sigma, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL(moeq_gates_check(&gates, MOEQ_NEEDS_NOTHING, NULL), MOEQ_USAGE);
        CU_ASSERT_EQUAL(moeq_gates_check(&gates, MOEQ_NEEDS_COMPARISON, NULL), MOEQ_OK);
        moeq_gates_judge(&gates, &report);
        CU_ASSERT_EQUAL(gates.gates[0].passed, cases[i].passes);
        CU_ASSERT_EQUAL(gates.n_failed, !cases[i].passes);
        CU_ASSERT_EQUAL(gates.gates[0].is_close, cases[i].is_close);
        CU_ASSERT(!cases[i].is_close || gates.gates[0].note[0]);
        moeq_gates_free(&gates);
    }
    struct moeq_gates layers = {0}; /* there are none to compare */
    CU_ASSERT_EQUAL_FATAL(moeq_gates_add(&layers, "router_agreement>0.9", 0, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_gates_check(&layers, MOEQ_NEEDS_COMPARISON, NULL), MOEQ_USAGE);
    CU_ASSERT_EQUAL(moeq_gates_check(&layers, MOEQ_NEEDS_LAYERS, NULL), MOEQ_OK);
    moeq_gates_free(&layers);
}

/* The help lists what the table has. */
static void test_help(void)
{
    size_t n_words = 0;
    for (const struct moeq_metric *m = moeq_metrics; m->name; m++) {
        const char *at = moeq_verb_eval.details;
        const size_t n = strlen(m->name);
        while ((at = strstr(at, m->name)) && (at[-1] != ' ' || (at[n] != ' ' && at[n] != '\n')))
            at += n;
        CU_ASSERT_PTR_NOT_NULL(at);
        n_words++;
    }
    CU_ASSERT(n_words > 10);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"paired statistics are those of windows", test_paired},
        {"intervals are Student's", test_student},
        {"gates are read strictly", test_reading},
        {"documents of gates are read strictly", test_document},
        {"gates fail where they say", test_judging},
        {"the help names all metrics", test_help},
        {NULL, NULL},
    };
    return unit_main("gates", tests);
}
