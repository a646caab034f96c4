/* The runtime against an independent implementation: hidden states after each layer, the experts chosen with
 * their weights, and the logits, stored beside each model by that implementation.
 *
 * Usage: golden MODEL GOLDEN.safetensors [JOBS]   (MODEL: checkpoint or package) */
#include "unit.h"

#include "decoder.h"
#include "sweep.h"

#include <math.h>

static const char *model_path, *golden_path;
static unsigned n_jobs = 2;

static struct moeq_error error;
static struct moeq_file file;
static struct moeq_safetensors golden;
static double worst_hidden, worst_weight, worst_logit;
static size_t n_other_experts, n_layers_seen;

static const struct moeq_tensor *find(const char *name)
{
    for (size_t i = 0; i < golden.n_tensors; i++)
        if (strcmp(golden.tensors[i].name, name) == 0)
            return &golden.tensors[i];
    return NULL;
}

static void *load(const char *name)
{
    const struct moeq_tensor *t = find(name);
    void *data = t ? malloc(t->n_bytes) : NULL;
    if (data && moeq_file_read(&file, t->offset, data, t->n_bytes, &error)) {
        free(data);
        data = NULL;
    }
    return data;
}

static double worst_difference(const float *a, const float *b, uint64_t n)
{
    double worst = 0;
    for (uint64_t i = 0; i < n; i++)
        worst = fmax(worst, isfinite(a[i]) ? fabs((double)a[i] - b[i]) : INFINITY);
    return worst;
}

static double largest(const float *a, uint64_t n)
{
    double most = 0;
    for (uint64_t i = 0; i < n; i++)
        most = fmax(most, fabs((double)a[i]));
    return most;
}

static enum moeq_status compare_layer(void *context, const struct moeq_layer_result *result,
                                      struct moeq_error *err)
{
    const int layer = result->layer;
    const float *hidden = result->hidden, *weights = result->weights;
    const int32_t *experts = result->experts;
    const struct moeq_run *run = context;
    char name[64];
    (void)err;
    snprintf(name, sizeof name, "layer%d.hidden", layer);
    float *expected = load(name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(expected);
    uint64_t n = run->n_tokens * run->config->hidden;
    worst_hidden = fmax(worst_hidden, worst_difference(hidden, expected, n) / largest(expected, n));
    free(expected);
    n_layers_seen++;
    if (!experts)
        return MOEQ_OK;
    n = run->n_tokens * run->config->top_k;
    snprintf(name, sizeof name, "layer%d.experts", layer);
    int32_t *expected_experts = load(name);
    snprintf(name, sizeof name, "layer%d.weights", layer);
    float *expected_weights = load(name);
    CU_ASSERT_PTR_NOT_NULL_FATAL(expected_experts);
    CU_ASSERT_PTR_NOT_NULL_FATAL(expected_weights);
    for (uint64_t i = 0; i < n; i++)
        n_other_experts += experts[i] != expected_experts[i];
    worst_weight = fmax(worst_weight, worst_difference(weights, expected_weights, n));
    free(expected_experts);
    free(expected_weights);
    return MOEQ_OK;
}

static void compare_logits(struct moeq_sweep *sweep)
{
    const uint64_t n = sweep->run.n_tokens, vocabulary = sweep->run.config->vocabulary;
    uint64_t *positions = malloc(n * sizeof *positions);
    float *logits = malloc(n * vocabulary * sizeof *logits), *expected = load("logits");
    CU_ASSERT_TRUE_FATAL(positions && logits && expected);
    for (uint64_t i = 0; i < n; i++)
        positions[i] = i;
    CU_ASSERT_EQUAL(moeq_sweep_choose(sweep, positions, n, &error), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_sweep_logits(sweep, 0, vocabulary, logits, &error), MOEQ_OK);
    worst_logit = worst_difference(logits, expected, n * vocabulary);
    free(positions);
    free(logits);
    free(expected);
}

static void test_forward_pass(void)
{
    struct moeq_source source;
    struct moeq_sweep sweep;
    struct moeq_pool *pool = moeq_pool_create(n_jobs, &error);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, model_path, &error), MOEQ_OK);
    const struct moeq_tensor *t = find("tokens");
    int32_t *tokens = load("tokens");
    CU_ASSERT_TRUE_FATAL(pool && tokens && t->n_dims == 2);
    CU_ASSERT_EQUAL_FATAL(
        moeq_sweep_init(&sweep, &source, pool, t->shape[0], t->shape[1], MOEQ_EXACT, NULL, &error), MOEQ_OK);
    struct moeq_visitor visitor = {.context = &sweep.run, .layer = compare_layer};
    CU_ASSERT_EQUAL_FATAL(moeq_sweep_run(&sweep, tokens, &visitor, &error), MOEQ_OK);
    compare_logits(&sweep);
    printf("\n    hidden states: %.2e of the largest; router weights: %.2e; logits: %.2e\n    ", worst_hidden,
           worst_weight, worst_logit);
    CU_ASSERT_EQUAL(n_layers_seen, source.config.n_layers);
    CU_ASSERT_EQUAL(n_other_experts, 0);
    CU_ASSERT_TRUE(worst_hidden <= 2e-4);
    CU_ASSERT_TRUE(worst_weight <= 2e-4);
    CU_ASSERT_TRUE(worst_logit <= 2e-4);
    free(tokens);
    moeq_sweep_free(&sweep);
    moeq_source_close(&source);
    moeq_pool_join(pool);
}

/* ---- token by token ---- */

static void test_generation(void)
{
    struct moeq_source source;
    struct moeq_decoder decoder;
    struct moeq_pool *pool = moeq_pool_create(n_jobs, &error);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, model_path, &error), MOEQ_OK);
    const struct moeq_tensor *t = find("tokens");
    const int32_t *tokens = load("tokens");
    const float *expected = load("logits");
    CU_ASSERT_TRUE_FATAL(pool && tokens && expected && t->n_dims == 2);
    const uint64_t n_windows = t->shape[0], context = t->shape[1], vocabulary = source.config.vocabulary;
    struct moeq_decoder_row *rows = calloc(n_windows, sizeof *rows);
    float *logits = malloc(n_windows * vocabulary * sizeof *logits);
    double worst = 0;
    CU_ASSERT_TRUE_FATAL(rows && logits);
    const struct moeq_decoder_plan plan =
        moeq_decoder_plan(&source, n_windows, context, n_windows, n_jobs, UINT64_MAX);
    CU_ASSERT_EQUAL_FATAL(moeq_decoder_init(&decoder, &source, pool, &plan, &error), MOEQ_OK);
    for (uint64_t i = 0; i < context; i++) {
        for (uint64_t w = 0; w < n_windows; w++)
            rows[w] = (struct moeq_decoder_row){(uint32_t)w, tokens[w * context + i], true};
        CU_ASSERT_EQUAL_FATAL(moeq_decoder_step(&decoder, rows, n_windows, MOEQ_EXACT, logits, &error),
                              MOEQ_OK);
        for (uint64_t w = 0; w < n_windows; w++)
            worst = fmax(worst, worst_difference(logits + w * vocabulary,
                                                 expected + (w * context + i) * vocabulary, vocabulary));
    }
    printf("\n    token by token: logits: %.2e\n    ", worst);
    CU_ASSERT_TRUE(worst <= 2e-4);
    moeq_decoder_free(&decoder);
    free(rows);
    free(logits);
    free((void *)(uintptr_t)tokens);
    free((void *)(uintptr_t)expected);
    moeq_source_close(&source);
    moeq_pool_join(pool);
}

/* ---- the fast arithmetic ---- */

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double log_sum_exp(const float *x, uint64_t n)
{
    double most = x[0], sum = 0;
    for (uint64_t i = 1; i < n; i++)
        most = fmax(most, (double)x[i]);
    for (uint64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - most);
    return most + log(sum);
}

/* KL(expected || found) of one token. */
static double divergence(const float *expected, const float *found, uint64_t n)
{
    const double a = log_sum_exp(expected, n), b = log_sum_exp(found, n);
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        const double log_p = (double)expected[i] - a;
        sum += exp(log_p) * (log_p - ((double)found[i] - b));
    }
    return sum;
}

static float *logits_of(const struct moeq_source *source, struct moeq_pool *pool,
                        enum moeq_arithmetic arithmetic, const struct moeq_tensor *t, const int32_t *tokens)
{
    struct moeq_sweep sweep;
    const uint64_t n = t->shape[0] * t->shape[1], vocabulary = source->config.vocabulary;
    uint64_t *positions = malloc(n * sizeof *positions);
    float *logits = malloc(n * vocabulary * sizeof *logits);
    CU_ASSERT_TRUE_FATAL(positions && logits);
    for (uint64_t i = 0; i < n; i++)
        positions[i] = i;
    CU_ASSERT_EQUAL_FATAL(
        moeq_sweep_init(&sweep, source, pool, t->shape[0], t->shape[1], arithmetic, NULL, &error), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_sweep_run(&sweep, tokens, NULL, &error), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_sweep_choose(&sweep, positions, n, &error), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_sweep_logits(&sweep, 0, vocabulary, logits, &error), MOEQ_OK);
    moeq_sweep_free(&sweep);
    free(positions);
    return logits;
}

struct divergences {
    double mean, median, max;
};

static struct divergences compare(const float *expected, const float *found, uint64_t n_tokens,
                                  uint64_t vocabulary)
{
    double *kld = malloc(n_tokens * sizeof *kld), sum = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(kld);
    for (uint64_t i = 0; i < n_tokens; i++)
        sum += kld[i] = divergence(expected + i * vocabulary, found + i * vocabulary, vocabulary);
    qsort(kld, n_tokens, sizeof *kld, by_value);
    const struct divergences d = {sum / (double)n_tokens, kld[n_tokens / 2], kld[n_tokens - 1]};
    free(kld);
    return d;
}

/* What rounding activations, and weights without a level, to BF16 costs. The mean is made by the few tokens
 * whose nearly equal router scores fall the other way. */
static void test_fast_arithmetic(void)
{
    struct moeq_source source;
    struct moeq_pool *pool = moeq_pool_create(n_jobs, &error);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, model_path, &error), MOEQ_OK);
    const struct moeq_tensor *t = find("tokens");
    int32_t *tokens = load("tokens");
    float *expected = load("logits");
    CU_ASSERT_TRUE_FATAL(pool && tokens && expected);
    const uint64_t n = t->shape[0] * t->shape[1], vocabulary = source.config.vocabulary;
    float *fast = logits_of(&source, pool, MOEQ_FAST, t, tokens);
    float *exact = logits_of(&source, pool, MOEQ_EXACT, t, tokens);
    const struct divergences golden_fast = compare(expected, fast, n, vocabulary);
    const struct divergences exact_fast = compare(exact, fast, n, vocabulary);
    printf("\n    fast arithmetic (%s): KL divergence from the golden logits mean %.1e, median %.1e, max %.1e"
           "\n    fast arithmetic: KL divergence from the exact one's logits mean %.1e, median %.1e, max "
           "%.1e\n    ",
           moeq_has_fast_products() ? "BF16 products" : "float32: no BF16 products here", golden_fast.mean,
           golden_fast.median, golden_fast.max, exact_fast.mean, exact_fast.median, exact_fast.max);
    /* tests/golden/figures is stricter where there are more tokens */
    CU_ASSERT_TRUE(golden_fast.mean <= 1e-3);
    CU_ASSERT_TRUE(golden_fast.median <= 1e-5);
    CU_ASSERT_TRUE(moeq_has_fast_products() || exact_fast.max == 0);
    free(exact);
    free(fast);
    free(expected);
    free(tokens);
    moeq_source_close(&source);
    moeq_pool_join(pool);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    model_path = argv[1];
    golden_path = argv[2];
    if (argc > 3)
        n_jobs = (unsigned)atoi(argv[3]);
    if (moeq_file_open(&file, golden_path, &error) ||
        moeq_safetensors_read(&golden, &file, MOEQ_STRICT, &error)) {
        char line[1024];
        printf("%s\n", moeq_error_format(&error, line, sizeof line));
        return 1;
    }
    const struct unit_test tests[] = {{"forward pass equals the golden outputs", test_forward_pass},
                                      {"so does generation, token by token", test_generation},
                                      {"the fast arithmetic is close", test_fast_arithmetic},
                                      {NULL, NULL}};
    int code = unit_main("golden", tests);
    if (error.status) {
        char line[1024];
        printf("%s\n", moeq_error_format(&error, line, sizeof line));
    }
    moeq_safetensors_free(&golden);
    moeq_file_close(&file);
    return code;
}
