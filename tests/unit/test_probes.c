/* Probes: what replaced experts do to the output must be what evaluating a model with them gives, whatever
 * else is probed beside, and nothing where nothing was replaced. */
#include "made_package.h"

#include "evaluate.h"
#include "probes.h"

enum { WINDOWS = 4, CONTEXT = 40, TOKENS = WINDOWS * CONTEXT };

static int32_t tokens[TOKENS + 1]; /* the last one is scored in an evaluation, never computed with */

static void set_tokens(void)
{
    for (int t = 0; t <= TOKENS; t++)
        tokens[t] = t * 53 % 701;
}

/* From a package, or, NULL, what is there already, copied. */
static enum moeq_status take(void *replacer, const struct moeq_probe *probe, const struct moeq_weight *weight,
                             struct moeq_matrix *matrix, struct moeq_bytes *bytes, struct moeq_error *err)
{
    const struct moeq_source *package = replacer;
    CU_ASSERT_EQUAL(weight->id.layer, probe->layer);
    CU_ASSERT(probe->expert < 0 || weight->id.expert == probe->expert);
    CU_ASSERT(probe->part == MOEQ_PART_OTHER || weight->id.part == probe->part);
    if (package) {
        const struct moeq_weight *other = moeq_source_find(package, weight->name);
        return moeq_source_load(package, &other, 1, bytes, matrix, err);
    }
    enum moeq_status status = moeq_bytes_resize(bytes, matrix->n_bytes, err);
    if (!status) {
        memcpy(bytes->data, matrix->data, matrix->n_bytes);
        matrix->data = bytes->data;
    }
    return status;
}

static void probe(const struct moeq_source *source, struct moeq_pool *pool, struct moeq_source *package,
                  struct moeq_probe *probes, size_t n, uint64_t budget)
{
    const struct moeq_probing probing = {.source = source,
                                         .pool = pool,
                                         .tokens = tokens,
                                         .n_windows = WINDOWS,
                                         .context = CONTEXT,
                                         .arithmetic = MOEQ_EXACT,
                                         .replace = take,
                                         .replacer = package,
                                         .probes = probes,
                                         .n_probes = n,
                                         .budget = budget};
    struct moeq_error err = {0};
    CU_ASSERT_EQUAL_FATAL(moeq_probes_run(&probing, &err), MOEQ_OK);
    CU_ASSERT(moeq_probes_bytes(&probing, moeq_pool_jobs(pool)) > 0);
}

static void test_nothing(void)
{
    struct moeq_source source;
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    struct moeq_probe probes[] = {
        {.layer = 1, .expert = -1, .part = MOEQ_PART_OTHER, .kld = 1, .kld_error = 1},
        {.layer = 3, .expert = -1, .part = MOEQ_PART_EXPERT_UP, .kld = 1},
        {.layer = 2, .expert = 5, .part = MOEQ_PART_OTHER, .kld = 1}};
    set_tokens();
    open_nano(&source);
    probe(&source, pool, NULL, probes, 3, UINT64_MAX);
    for (size_t i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(probes[i].kld, 0);
        CU_ASSERT_EQUAL(probes[i].kld_error, 0);
    }
    moeq_source_close(&source);
    moeq_pool_join(pool);
}

/* Probes, and rules of a package that has just their matrices at another level. */
static const struct {
    struct moeq_probe probe;
    const char *rule;
} cases[] = {
    {{.layer = 1, .expert = -1, .part = MOEQ_PART_OTHER}, "layers.1.mlp.experts.*=int2"},
    {{.layer = 2, .expert = -1, .part = MOEQ_PART_EXPERT_GATE},
     "layers.2.mlp.experts.*.gate_proj.weight=int2"},
    {{.layer = 2, .expert = -1, .part = MOEQ_PART_EXPERT_UP}, "layers.2.mlp.experts.*.up_proj.weight=int2"},
    {{.layer = 3, .expert = -1, .part = MOEQ_PART_EXPERT_DOWN},
     "layers.3.mlp.experts.*.down_proj.weight=int2"},
    {{.layer = 1, .expert = 7, .part = MOEQ_PART_OTHER}, "layers.1.mlp.experts.7.*=int2"},
    {{.layer = 3, .expert = 2, .part = MOEQ_PART_EXPERT_DOWN},
     "layers.3.mlp.experts.2.down_proj.weight=int2"},
};

enum { N_CASES = sizeof cases / sizeof *cases };

/* Of the mean divergence, tokens taken to be independent, as probes do. */
static double error_of_tokens(const struct moeq_evaluation *e)
{
    const double n = (double)e->paired.n_scored;
    double squares = 0;
    for (uint64_t i = 0; i < e->paired.n_scored; i++)
        squares += pow(e->scores[i].kld - e->paired.kld.value, 2);
    return sqrt(squares / (n - 1) / n);
}

static void test_against_evaluation(void)
{
    struct moeq_source source;
    struct made all;
    struct moeq_pool *pool = moeq_pool_create(2, NULL), *other = moeq_pool_create(3, NULL);
    struct moeq_probe probes[N_CASES];
    static const char *const experts[] = {"experts=int2"};
    const struct moeq_windows windows = {
        .tokens = tokens, .n_windows = WINDOWS, .context = CONTEXT, .n_scored = CONTEXT};
    set_tokens();
    open_nano(&source);
    make_package(&all, &source, pool, experts, 1);
    for (size_t i = 0; i < N_CASES; i++)
        probes[i] = cases[i].probe;
    probe(&source, pool, &all.source, probes, N_CASES, UINT64_MAX);
    for (size_t i = 0; i < N_CASES; i++) {
        struct made made;
        struct moeq_evaluation found;
        struct moeq_probe alone = cases[i].probe;
        make_package(&made, &source, pool, &cases[i].rule, 1);
        const struct moeq_evaluation_task task = {
            .source = &made.source, .reference = &source, .windows = &windows, .arithmetic = MOEQ_EXACT};
        const struct moeq_evaluation_plan plan = moeq_evaluate_plan(&task, 2, UINT64_MAX);
        CU_ASSERT_EQUAL_FATAL(moeq_evaluate(&task, &plan, pool, NULL, &found, NULL), MOEQ_OK);
        const double kld = found.paired.kld.value;
        CU_ASSERT(kld > 0);
        CU_ASSERT_EQUAL(probes[i].kld, kld);
        CU_ASSERT_DOUBLE_EQUAL(probes[i].kld_error, error_of_tokens(&found), 1e-12 * kld);
        probe(&source, other, &all.source, &alone, 1, 0); /* in as little memory as there can be */
        CU_ASSERT_EQUAL(alone.kld, kld);
        CU_ASSERT_EQUAL(alone.kld_error, probes[i].kld_error);
        moeq_evaluation_free(&found);
        remove_package(&made);
    }
    remove_package(&all);
    moeq_source_close(&source);
    moeq_pool_join(pool);
    moeq_pool_join(other);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"the same matrices change nothing", test_nothing},
        {"the divergence of a model with these matrices", test_against_evaluation},
        {NULL, NULL},
    };
    return unit_main("probes", tests);
}
