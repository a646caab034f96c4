/* What a sweep reads: each weight that has tokens once, experts without tokens never; and that memory decides
 * nothing but time. */
#include "unit.h"

#include "evaluate.h"
#include "pool.h"
#include "sweep.h"

struct counted {
    const struct moeq_source *source;
    uint64_t n_bytes; /* of the layers' weights that the tokens need */
    unsigned n_unused;
};

static uint64_t bytes_of(const struct moeq_source *s, enum moeq_part part, int layer, int expert)
{
    const struct moeq_weight *w = moeq_source_part(s, part, layer, expert);
    return w ? w->n_bytes : 0;
}

static uint64_t mlp(const struct moeq_source *s, enum moeq_part gate, int layer, int expert)
{
    uint64_t n = 0;
    for (int i = 0; i < 3; i++)
        n += bytes_of(s, (enum moeq_part)((int)gate + i), layer, expert);
    return n;
}

static enum moeq_status count_layer(void *context, const struct moeq_layer_result *result,
                                    struct moeq_error *err)
{
    static const enum moeq_part attention[] = {MOEQ_PART_Q,    MOEQ_PART_Q_A,  MOEQ_PART_Q_B,
                                               MOEQ_PART_KV_A, MOEQ_PART_KV_B, MOEQ_PART_O};
    struct counted *c = context;
    const struct moeq_config *config = &c->source->config;
    const int layer = result->layer;
    const int32_t *experts = result->experts;
    (void)err;
    for (size_t i = 0; i < sizeof attention / sizeof *attention; i++)
        c->n_bytes += bytes_of(c->source, attention[i], layer, -1);
    if (!experts) {
        c->n_bytes += mlp(c->source, MOEQ_PART_DENSE_GATE, layer, -1);
        return MOEQ_OK;
    }
    c->n_bytes += mlp(c->source, MOEQ_PART_SHARED_GATE, layer, -1);
    for (int e = 0; e < (int)config->n_experts; e++) {
        bool used = false;
        for (uint32_t i = 0; i < config->top_k; i++) /* of the only token */
            used = used || experts[i] == e;
        c->n_bytes += used ? mlp(c->source, MOEQ_PART_EXPERT_GATE, layer, e) : 0;
        c->n_unused += !used;
    }
    return MOEQ_OK;
}

static void test_reads_once(void)
{
    char path[4096];
    struct moeq_source source;
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    const int32_t token = 7;
    snprintf(path, sizeof path, "%s/nano-v3", getenv("MOEQ_MODELS"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, path, NULL), MOEQ_OK);
    for (int times = 0; times < 3; times++) {
        struct moeq_sweep sweep;
        struct counted counted = {.source = &source};
        const struct moeq_visitor visitor = {.context = &counted, .layer = count_layer};
        CU_ASSERT_EQUAL_FATAL(moeq_sweep_init(&sweep, &source, pool, 1, 1, MOEQ_FAST, NULL, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL(moeq_sweep_run(&sweep, &token, &visitor, NULL), MOEQ_OK);
        moeq_loader_rest(sweep.run.loader); /* so that nothing is still being read */
        CU_ASSERT_EQUAL(moeq_loader_bytes(sweep.run.loader), counted.n_bytes);
        CU_ASSERT(counted.n_unused > 0);
        moeq_sweep_free(&sweep);
    }
    moeq_source_close(&source);
    moeq_pool_join(pool);
}

struct seen {
    const struct moeq_source *source;
    uint64_t n_tokens[MOEQ_PART_OTHER]; /* by part; of experts, all together */
    int last_layer, last_expert;
};

static enum moeq_status see(void *context, const struct moeq_inputs *in, struct moeq_error *err)
{
    struct seen *seen = context;
    const struct moeq_weight *w = moeq_source_part(seen->source, in->part, in->layer, in->expert);
    (void)err;
    CU_ASSERT_PTR_NOT_NULL_FATAL(w);
    CU_ASSERT_EQUAL(w->cols, in->width);
    CU_ASSERT(in->layer > seen->last_layer ||
              (in->layer == seen->last_layer && in->expert >= seen->last_expert));
    for (uint64_t i = 0; i < in->n * in->width; i++)
        CU_ASSERT_FATAL(in->x[i] == in->x[i]);
    for (uint64_t i = 1; in->tokens && i < in->n; i++)
        CU_ASSERT(in->tokens[i] > in->tokens[i - 1]);
    seen->n_tokens[in->part] += in->n;
    seen->last_layer = in->layer;
    seen->last_expert = in->expert;
    return MOEQ_OK;
}

/* An observer sees every token at every matrix, an expert's at top_k of them. */
static void check_seen(const struct seen *seen, uint64_t n_tokens)
{
    const struct moeq_config *c = &seen->source->config;
    const uint64_t dense = c->first_dense, moe = c->n_layers - dense;
    CU_ASSERT_EQUAL(seen->n_tokens[MOEQ_PART_O], n_tokens * c->n_layers);
    CU_ASSERT_EQUAL(seen->n_tokens[MOEQ_PART_KV_B], n_tokens * c->n_layers);
    CU_ASSERT_EQUAL(seen->n_tokens[MOEQ_PART_DENSE_DOWN], n_tokens * dense);
    CU_ASSERT_EQUAL(seen->n_tokens[MOEQ_PART_SHARED_GATE], n_tokens * moe);
    CU_ASSERT_EQUAL(seen->n_tokens[MOEQ_PART_EXPERT_GATE], n_tokens * moe * c->top_k);
    CU_ASSERT_EQUAL(seen->n_tokens[MOEQ_PART_EXPERT_DOWN], n_tokens * moe * c->top_k);
}

/* Hidden states by groups of every size, experts held in every number: the same bits, each weight read once.
 */
static void test_groups(void)
{
    enum { WINDOWS = 7, CONTEXT = 24, TOKENS = WINDOWS * CONTEXT };
    static const enum moeq_arithmetic arithmetics[] = {MOEQ_EXACT, MOEQ_FAST};
    char path[4096];
    struct moeq_source source;
    int32_t tokens[TOKENS];
    uint64_t positions[TOKENS];
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    snprintf(path, sizeof path, "%s/nano-v3", getenv("MOEQ_MODELS"));
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, path, NULL), MOEQ_OK);
    const uint64_t n = TOKENS * (uint64_t)source.config.hidden;
    float *expected = malloc(n * sizeof *expected), *found = malloc(n * sizeof *found);
    for (int t = 0; t < TOKENS; t++) {
        tokens[t] = t * 37 % 500;
        positions[t] = (uint64_t)t;
    }
    const struct moeq_sweep_weights weights = moeq_sweep_weights(&source, CONTEXT);
    for (size_t a = 0; a < 2; a++) {
        uint64_t n_bytes = 0;
        for (uint64_t run = 0; run <= 13; run++) { /* the second half with an observer */
            const uint64_t group = run % 7;
            struct seen seen = {.source = &source, .last_layer = -1};
            const struct moeq_visitor visitor = {.observer = {.context = &seen, .inputs = see}};
            struct moeq_sweep sweep;
            struct moeq_sweep_plan plan =
                moeq_sweep_plan(&source.config, &weights, WINDOWS, CONTEXT, 2, UINT64_MAX);
            if (group) { /* windows of a group */
                plan.chunk = group % 2 ? CONTEXT : group * CONTEXT;
                plan.group = group * CONTEXT;
                plan.ring = weights.largest * group;
            }
            CU_ASSERT_EQUAL_FATAL(
                moeq_sweep_init(&sweep, &source, pool, WINDOWS, CONTEXT, arithmetics[a], &plan, NULL),
                MOEQ_OK);
            CU_ASSERT_EQUAL(moeq_sweep_run(&sweep, tokens, run > 6 ? &visitor : NULL, NULL), MOEQ_OK);
            if (run > 6)
                check_seen(&seen, TOKENS);
            CU_ASSERT_EQUAL(moeq_states_gather(&sweep.run.states, MOEQ_HIDDEN, positions, TOKENS,
                                               run ? found : expected, NULL),
                            MOEQ_OK);
            CU_ASSERT(!run || memcmp(found, expected, n * sizeof *found) == 0);
            n_bytes = run ? n_bytes : moeq_loader_bytes(sweep.run.loader);
            CU_ASSERT_EQUAL(moeq_loader_bytes(sweep.run.loader), n_bytes);
            moeq_sweep_free(&sweep);
        }
    }
    free(expected);
    free(found);
    moeq_source_close(&source);
    moeq_pool_join(pool);
}

/* Whatever the budget, the plan keeps to it or says that it cannot. */
static void test_plans(void)
{
    char path[4096];
    struct moeq_source source;
    unsigned n_kept = 0, n_not = 0;
    snprintf(path, sizeof path, "%s/nano-v3", getenv("MOEQ_MODELS"));
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, path, NULL), MOEQ_OK);
    const struct moeq_sweep_weights weights = moeq_sweep_weights(&source, 256);
    const uint64_t all = moeq_sweep_plan(&source.config, &weights, 100, 256, 2, UINT64_MAX).total;
    for (uint64_t budget = 0; budget <= all; budget += all / 300) {
        const struct moeq_sweep_plan p = moeq_sweep_plan(&source.config, &weights, 100, 256, 2, budget);
        CU_ASSERT(p.ring >= weights.largest);
        CU_ASSERT(p.chunk % 256 == 0 && p.chunk <= p.group && p.group <= 100 * 256);
        CU_ASSERT(p.group == 100 * 256 || p.group % p.chunk == 0);
        CU_ASSERT((p.file == 0) == (p.group == 100 * 256));
        n_kept += p.total <= budget;
        n_not += p.total > budget;
        CU_ASSERT(!n_kept || p.total <= budget); /* more never fits less */
    }
    CU_ASSERT(n_kept > 200 && n_not > 10);
    /* The same of an evaluation, alone and against a reference; what a budget of 0 asks for is enough. */
    const struct moeq_windows windows = {.n_windows = 100, .context = 256, .n_scored = 255};
    for (int both = 0; both < 2; both++) {
        const struct moeq_evaluation_task task = {
            .source = &source, .reference = both ? &source : NULL, .will_save = !both, .windows = &windows};
        const uint64_t least = moeq_evaluate_plan(&task, 2, 0).total;
        const uint64_t most = moeq_evaluate_plan(&task, 2, UINT64_MAX).total;
        for (uint64_t budget = least; budget <= most + most / 10; budget += most / 300)
            CU_ASSERT(moeq_evaluate_plan(&task, 2, budget).total <= budget);
        CU_ASSERT(least < most);
    }
    moeq_source_close(&source);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"each weight is read once", test_reads_once},
        {"groups of tokens change no bit", test_groups},
        {"plans keep to their budget", test_plans},
        {NULL, NULL},
    };
    return unit_main("sweep", tests);
}
