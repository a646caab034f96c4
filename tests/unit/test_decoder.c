/* Generation computes what a sweep computes, token by token, whatever the steps and the memory. */
#include "unit.h"

#include "decoder.h"
#include "sweep.h"

#include <math.h>

enum { WINDOWS = 3, CONTEXT = 40, TOKENS = WINDOWS * CONTEXT };

static struct moeq_source source;
static struct moeq_pool *pool;
static int32_t tokens[TOKENS];
static uint64_t vocabulary;

static float *floats(uint64_t n)
{
    float *x = malloc(n * sizeof *x);
    CU_ASSERT_PTR_NOT_NULL_FATAL(x);
    return x;
}

static void open_all(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/nano-v3", getenv("MOEQ_MODELS"));
    pool = moeq_pool_create(2, NULL);
    if (!pool || moeq_source_open(&source, path, NULL))
        exit(2);
    vocabulary = source.config.vocabulary;
    for (int t = 0; t < TOKENS; t++)
        tokens[t] = t % CONTEXT ? t * 37 % 1900 : 0;
}

static void close_all(void)
{
    moeq_source_close(&source);
    moeq_pool_join(pool);
}

/* Latents as they go into kv_b: [n_layers, TOKENS, kv_rank]. */
struct latents {
    float *rows;
};

static enum moeq_status see(void *context, const struct moeq_inputs *in, struct moeq_error *err)
{
    const struct latents *l = context;
    (void)err;
    if (in->part == MOEQ_PART_KV_B)
        memcpy(l->rows + ((uint64_t)in->layer * TOKENS + in->first) * in->width, in->x,
               in->n * in->width * sizeof *in->x);
    return MOEQ_OK;
}

static float *sweep_logits(enum moeq_arithmetic arithmetic, const struct latents *latents)
{
    struct moeq_sweep sweep;
    uint64_t positions[TOKENS];
    float *logits = floats(TOKENS * vocabulary);
    struct moeq_visitor visitor = {0};
    if (latents)
        visitor.observer = (struct moeq_observer){.context = (void *)(uintptr_t)latents, .inputs = see};
    for (uint64_t t = 0; t < TOKENS; t++)
        positions[t] = t;
    CU_ASSERT_EQUAL_FATAL(moeq_sweep_init(&sweep, &source, pool, WINDOWS, CONTEXT, arithmetic, NULL, NULL),
                          MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_sweep_run(&sweep, tokens, &visitor, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_sweep_choose(&sweep, positions, TOKENS, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_sweep_logits(&sweep, 0, vocabulary, logits, NULL), MOEQ_OK);
    moeq_sweep_free(&sweep);
    return logits;
}

/* `together` sequences at once, each `length` tokens further in a step. Where the latents are asked for, all
 * windows must be in the decoder at the end. */
static float *decoder_logits(uint64_t together, uint64_t length, uint64_t budget,
                             enum moeq_arithmetic arithmetic, struct latents *latents,
                             struct moeq_expert_cache_counts *counts)
{
    struct moeq_decoder d;
    struct moeq_decoder_row rows[TOKENS];
    float *logits = floats(TOKENS * vocabulary), *some = floats(TOKENS * vocabulary);
    const struct moeq_decoder_plan plan =
        moeq_decoder_plan(&source, together, CONTEXT, together * length, 2, budget);
    CU_ASSERT_EQUAL_FATAL(moeq_decoder_init(&d, &source, pool, &plan, NULL), MOEQ_OK);
    for (uint64_t w = 0; w < WINDOWS; w += together) {
        for (uint64_t t = 0; t < CONTEXT; t += length) {
            const uint64_t here = CONTEXT - t < length ? CONTEXT - t : length;
            uint64_t n = 0;
            for (uint64_t s = 0; s < together; s++)
                for (uint64_t i = 0; i < here; i++)
                    rows[n++] =
                        (struct moeq_decoder_row){(uint32_t)s, tokens[(w + s) * CONTEXT + t + i], true};
            CU_ASSERT_EQUAL_FATAL(moeq_decoder_step(&d, rows, n, arithmetic, some, NULL), MOEQ_OK);
            for (uint64_t s = 0; s < together; s++)
                memcpy(logits + ((w + s) * CONTEXT + t) * vocabulary, some + s * here * vocabulary,
                       here * vocabulary * sizeof *some);
        }
        for (uint64_t s = 0; s < together && w + together < WINDOWS; s++)
            moeq_decoder_clear(&d, (uint32_t)s);
    }
    for (uint64_t layer = 0; latents && layer < source.config.n_layers; layer++)
        for (uint64_t t = 0; t < TOKENS; t++)
            memcpy(latents->rows + (layer * TOKENS + t) * source.config.kv_rank,
                   moeq_latent_row(&d.latents, layer, t / CONTEXT, t % CONTEXT),
                   source.config.kv_rank * sizeof *some);
    if (counts)
        *counts = moeq_expert_cache_counts(d.experts);
    moeq_decoder_free(&d);
    free(some);
    return logits;
}

static double worst_difference(const float *a, const float *b, uint64_t n)
{
    double worst = 0;
    for (uint64_t i = 0; i < n; i++)
        worst = fmax(worst, isfinite(a[i]) ? fabs((double)a[i] - b[i]) : INFINITY);
    return worst;
}

static void test_equals_sweep(void)
{
    const uint64_t n_latents = (uint64_t)source.config.n_layers * TOKENS * source.config.kv_rank;
    struct latents of_sweep = {floats(n_latents)}, of_decoder = {floats(n_latents)};
    float *expected = sweep_logits(MOEQ_EXACT, &of_sweep);
    float *found = decoder_logits(WINDOWS, 1, UINT64_MAX, MOEQ_EXACT, &of_decoder, NULL);
    const double worst = worst_difference(found, expected, TOKENS * vocabulary);
    const double latents = worst_difference(of_decoder.rows, of_sweep.rows, n_latents);
    printf("\n    logits differ by %.1e, latents by %.1e at most ", worst, latents);
    CU_ASSERT(worst <= 1e-3);
    CU_ASSERT(latents <= 1e-3);
    free(expected);
    free(found);
    free(of_sweep.rows);
    free(of_decoder.rows);
}

/* Prompts at once or in pieces, alone or beside others: the same bits in exact arithmetic. */
static void test_steps(void)
{
    static const uint64_t steps[][2] = {{1, 1}, {1, 7}, {1, CONTEXT}, {3, 7}, {3, CONTEXT}};
    float *expected = decoder_logits(WINDOWS, 1, UINT64_MAX, MOEQ_EXACT, NULL, NULL);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        float *found = decoder_logits(steps[i][0], steps[i][1], UINT64_MAX, MOEQ_EXACT, NULL, NULL);
        CU_ASSERT(memcmp(found, expected, TOKENS * vocabulary * sizeof *found) == 0);
        free(found);
    }
    free(expected);
}

/* From everything in memory to one expert at a time: the same bits, and more reading. */
static void test_memory(void)
{
    struct moeq_expert_cache_counts all, counts;
    float *expected = decoder_logits(1, 1, UINT64_MAX, MOEQ_EXACT, NULL, &all);
    const struct moeq_decoder_plan most = moeq_decoder_plan(&source, 1, CONTEXT, 1, 2, UINT64_MAX);
    const struct moeq_decoder_plan least = moeq_decoder_plan(&source, 1, CONTEXT, 1, 2, 0);
    uint64_t n_misses = UINT64_MAX;
    CU_ASSERT(all.n_misses <= (uint64_t)source.config.n_layers * source.config.n_experts);
    CU_ASSERT_EQUAL(most.kept_layers, source.config.n_layers);
    CU_ASSERT_EQUAL(least.kept_layers, 0);
    for (int i = 0; i <= 4; i++) {
        const uint64_t budget = least.total + (most.total - least.total) * (uint64_t)i / 4;
        const struct moeq_decoder_plan plan = moeq_decoder_plan(&source, 1, CONTEXT, 1, 2, budget);
        CU_ASSERT(plan.total <= budget);
        float *found = decoder_logits(1, 1, budget, MOEQ_EXACT, NULL, &counts);
        CU_ASSERT(memcmp(found, expected, TOKENS * vocabulary * sizeof *found) == 0);
        CU_ASSERT_EQUAL(counts.n_hits + counts.n_misses, all.n_hits + all.n_misses);
        CU_ASSERT(counts.n_held_bytes <= plan.experts);
        CU_ASSERT(counts.n_misses <= n_misses);
        n_misses = counts.n_misses;
        free(found);
    }
    CU_ASSERT_EQUAL(n_misses, all.n_misses);
    free(expected);
}

/* What rounding costs: of most tokens little; a router that tips makes the few large differences. */
static void test_fast(void)
{
    static const enum moeq_arithmetic arithmetics[] = {MOEQ_FEW, MOEQ_FAST};
    float *expected = sweep_logits(MOEQ_EXACT, NULL);
    for (size_t i = 0; i < 2; i++) {
        double sum = 0;
        float *found = decoder_logits(WINDOWS, 1, UINT64_MAX, arithmetics[i], NULL, NULL);
        for (uint64_t k = 0; k < TOKENS * vocabulary; k++)
            sum += fabs((double)found[k] - expected[k]);
        CU_ASSERT(sum / (double)(TOKENS * vocabulary) < 0.03);
        printf("\n    %s: logits differ by %.4f in the mean ", i ? "fast" : "few",
               sum / (double)(TOKENS * vocabulary));
        free(found);
    }
    free(expected);
}

/* A plan keeps to its budget, or says that it cannot. */
static void test_plans(void)
{
    const uint64_t least = moeq_decoder_plan(&source, 4, 512, 256, 2, 0).total;
    const uint64_t most = moeq_decoder_plan(&source, 4, 512, 256, 2, UINT64_MAX).total;
    for (uint64_t budget = least; budget <= most + most / 10; budget += most / 200) {
        const struct moeq_decoder_plan plan = moeq_decoder_plan(&source, 4, 512, 256, 2, budget);
        CU_ASSERT(plan.total <= budget);
        CU_ASSERT(plan.chunk >= 4 && plan.chunk <= 256);
    }
    CU_ASSERT(moeq_decoder_plan(&source, 4, 512, 256, 2, least - 1).total > least - 1);
    CU_ASSERT(moeq_decoder_plan(&source, UINT64_MAX / 2, 512, 256, 2, UINT64_MAX).total > UINT64_MAX / 4);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"logits and latents equal the sweep's in each position", test_equals_sweep},
        {"steps and neighbours change no bit", test_steps},
        {"memory changes no bit", test_memory},
        {"the fast arithmetics are close", test_fast},
        {"plans keep to their budget", test_plans},
        {NULL, NULL},
    };
    open_all();
    const int code = unit_main("decoder", tests);
    close_all();
    return code;
}
