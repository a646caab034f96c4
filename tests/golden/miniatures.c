/* The runtime against the slow forward pass (slow.h) on miniatures of every kind of model that it accepts:
 * what the bundled model does not have (softmax routers, groups by maximum, q without compression, dense
 * layers between others, no shared experts, other dtypes, ragged shapes) would otherwise first fail for a
 * user. Packages made of them must give the same bits, or what their own rounded weights give. */
#include "unit.h"

#include "decoder.h"
#include "kernels.h"
#include "repack.h"
#include "router.h"
#include "slow.h"
#include "sweep.h"

#include <ftw.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TOLERANCE        2e-4 /* of logits, and of hidden states relative to the largest */
#define WEIGHT_TOLERANCE 1e-5 /* of router weights */
#define LEAST_GAP        1e-5 /* a closer decision of a router says nothing: take another seed */
#define NOTICED          5e-3 /* what a mistake must change in some logit */

#define WINDOWS 3
#define CONTEXT 17

static char root[4096];
static struct miniature_model models[MINIATURE_N_SPECS];
static struct moeq_error error;

/* An assertion that says which miniature it was. */
static bool check(bool holds, const struct miniature *spec, const char *what)
{
    if (!holds)
        printf("\n    %s: %s ", spec->name, what);
    CU_ASSERT(holds);
    return holds;
}

static void check_status(enum moeq_status status, const struct miniature *spec)
{
    char line[1024];
    if (!check(status == MOEQ_OK, spec, status ? moeq_error_format(&error, line, sizeof line) : ""))
        CU_FAIL_FATAL("cannot go on");
}

static void model_path(size_t index, const char *suffix, char path[4200])
{
    snprintf(path, 4200, "%s/%zu%s", root, index, suffix);
}

/* ---- running the runtime ---- */

struct outcome {
    const struct miniature *spec;
    size_t n_tokens;
    float *hidden;    /* [n_layers, n_tokens, hidden] */
    int32_t *experts; /* [n_layers, n_tokens, top_k], of dense layers -1 */
    float *weights;   /* likewise */
    float *logits;    /* [n_tokens, vocabulary] */
};

static enum moeq_status keep_layer(void *context, const struct moeq_layer_result *r, struct moeq_error *err)
{
    struct outcome *o = context;
    const size_t hidden = o->spec->hidden, top_k = o->spec->top_k, n = r->n * top_k;
    const size_t token = (size_t)r->layer * o->n_tokens + r->first;
    (void)err;
    memcpy(o->hidden + token * hidden, r->hidden, r->n * hidden * sizeof *r->hidden);
    for (size_t i = 0; i < n; i++) {
        o->experts[token * top_k + i] = r->experts ? r->experts[i] : -1;
        o->weights[token * top_k + i] = r->experts ? r->weights[i] : 0;
    }
    return MOEQ_OK;
}

static enum moeq_status sweep(struct outcome *o, const char *path, const int32_t *tokens, size_t n_windows,
                              size_t context, unsigned n_jobs)
{
    struct moeq_source source;
    struct moeq_sweep moeq;
    const struct moeq_visitor visitor = {.context = o, .layer = keep_layer};
    enum moeq_status status = moeq_source_open(&source, path, &error);
    if (status)
        return status;
    struct moeq_pool *pool = moeq_pool_create(n_jobs, &error);
    status = pool ? moeq_sweep_init(&moeq, &source, pool, n_windows, context, MOEQ_EXACT, NULL, &error)
                  : error.status;
    if (!status) {
        uint64_t *positions = miniature_calloc(o->n_tokens, sizeof *positions);
        for (size_t i = 0; i < o->n_tokens; i++)
            positions[i] = i;
        status = moeq_sweep_run(&moeq, tokens, &visitor, &error);
        if (!status)
            status = moeq_sweep_choose(&moeq, positions, o->n_tokens, &error);
        if (!status)
            status = moeq_sweep_logits(&moeq, 0, source.config.vocabulary, o->logits, &error);
        free(positions);
        moeq_sweep_free(&moeq);
    }
    moeq_pool_join(pool);
    moeq_source_close(&source);
    return status;
}

static enum moeq_status outcome_make(struct outcome *o, const struct miniature *spec, const char *path,
                                     const int32_t *tokens, size_t n_windows, size_t context, unsigned n_jobs)
{
    const size_t n = n_windows * context;
    *o = (struct outcome){spec,
                          n,
                          miniature_calloc(spec->n_layers * n * spec->hidden, sizeof(float)),
                          miniature_calloc(spec->n_layers * n * spec->top_k, sizeof(int32_t)),
                          miniature_calloc(spec->n_layers * n * spec->top_k, sizeof(float)),
                          miniature_calloc(n * spec->vocabulary, sizeof(float))};
    return sweep(o, path, tokens, n_windows, context, n_jobs);
}

static void outcome_free(struct outcome *o)
{
    free(o->hidden);
    free(o->experts);
    free(o->weights);
    free(o->logits);
}

/* ---- comparing ---- */

static double difference(const float *a, const double *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, isfinite(a[i]) ? fabs((double)a[i] - b[i]) : INFINITY);
    return worst;
}

static double largest(const double *a, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs(a[i]));
    return most;
}

struct worst {
    double hidden; /* relative to the layer's largest */
    double weights, logits, gap;
};

static void compare(const struct outcome *o, const struct slow_result *slow, struct worst *worst)
{
    const struct miniature *s = o->spec;
    const size_t n = o->n_tokens, n_chosen = s->n_layers * n * s->top_k;
    for (size_t layer = 0; layer < s->n_layers; layer++) {
        size_t at = layer * n * s->hidden;
        double relative = difference(o->hidden + at, slow->hidden + at, n * s->hidden) /
                          largest(slow->hidden + at, n * s->hidden);
        worst->hidden = fmax(worst->hidden, relative);
    }
    /* The weights of most models are at most about 1; those of V2 are scaled by 16. */
    double weights = difference(o->weights, slow->weights, n_chosen);
    worst->weights = fmax(worst->weights, weights / fmax(1, largest(slow->weights, n_chosen)));
    worst->logits = fmax(worst->logits, difference(o->logits, slow->logits, n * s->vocabulary));
    worst->gap = fmin(worst->gap, slow->least_gap);
    check(slow->least_gap >= LEAST_GAP, s, "a near-tie: take another seed");
    check(memcmp(o->experts, slow->experts, n_chosen * sizeof *o->experts) == 0, s, "other experts");
}

static void report(const struct miniature *spec, const char *what, const struct worst *worst)
{
    printf("\n    %s%s: hidden %.1e, weights %.1e, logits %.1e; gap %.1e", spec->name, what, worst->hidden,
           worst->weights, worst->logits, worst->gap);
    check(worst->hidden <= TOLERANCE, spec, "hidden states");
    check(worst->weights <= WEIGHT_TOLERANCE, spec, "router weights");
    check(worst->logits <= TOLERANCE, spec, "logits");
}

static bool same_bits(const struct outcome *a, const struct outcome *b)
{
    const struct miniature *s = a->spec;
    const size_t n = a->n_tokens, n_chosen = s->n_layers * n * s->top_k;
    return n == b->n_tokens &&
           memcmp(a->hidden, b->hidden, s->n_layers * n * s->hidden * sizeof(float)) == 0 &&
           memcmp(a->experts, b->experts, n_chosen * sizeof(int32_t)) == 0 &&
           memcmp(a->weights, b->weights, n_chosen * sizeof(float)) == 0 &&
           memcmp(a->logits, b->logits, n * s->vocabulary * sizeof(float)) == 0;
}

/* ---- tests ---- */

static void test_forward_pass(void)
{
    int32_t tokens[WINDOWS * CONTEXT];
    for (size_t i = 0; i < MINIATURE_N_SPECS; i++) {
        struct outcome outcome;
        struct slow_result slow;
        struct worst worst = {.gap = INFINITY};
        char path[4200];
        model_path(i, "", path);
        miniature_tokens(&miniature_specs[i], tokens, WINDOWS * CONTEXT);
        check_status(outcome_make(&outcome, &miniature_specs[i], path, tokens, WINDOWS, CONTEXT, 2),
                     &miniature_specs[i]);
        slow_run(&slow, &models[i], tokens, WINDOWS, CONTEXT, 0);
        compare(&outcome, &slow, &worst);
        report(&miniature_specs[i], "", &worst);
        slow_free(&slow);
        outcome_free(&outcome);
    }
    printf("\n    ");
}

/* Token by token: what generation computes. Where an indexer chooses keys, as far as it leaves all of them,
 * and one token further is refused. */
static void test_generation(void)
{
    int32_t tokens[CONTEXT];
    for (size_t i = 0; i < MINIATURE_N_SPECS; i++) {
        const struct miniature *spec = &miniature_specs[i];
        const size_t n = spec->index_heads && spec->index_top_k < CONTEXT ? spec->index_top_k : CONTEXT;
        struct moeq_source source;
        struct moeq_decoder decoder;
        struct slow_result slow;
        double worst = 0;
        char path[4200];
        float *logits = miniature_calloc(spec->vocabulary, sizeof *logits);
        struct moeq_pool *pool = moeq_pool_create(2, &error);
        model_path(i, "", path);
        miniature_tokens(spec, tokens, n);
        slow_run(&slow, &models[i], tokens, 1, n, 0);
        check_status(pool ? moeq_source_open(&source, path, &error) : error.status, spec);
        const struct moeq_decoder_plan plan = moeq_decoder_plan(&source, 1, n, 1, 2, UINT64_MAX);
        check_status(moeq_decoder_init(&decoder, &source, pool, &plan, &error), spec);
        for (size_t t = 0; t < n; t++) {
            const struct moeq_decoder_row row = {0, tokens[t], true};
            check_status(moeq_decoder_step(&decoder, &row, 1, MOEQ_EXACT, logits, &error), spec);
            worst = fmax(worst, difference(logits, slow.logits + t * spec->vocabulary, spec->vocabulary));
        }
        moeq_decoder_free(&decoder);
        if (spec->index_heads) {
            const struct moeq_decoder_plan longer =
                moeq_decoder_plan(&source, 1, spec->index_top_k + 1, 1, 2, UINT64_MAX);
            check(moeq_decoder_init(&decoder, &source, pool, &longer, NULL) == MOEQ_UNSUPPORTED, spec,
                  "sparse attention is taken for dense");
        }
        printf("\n    %s: logits %.1e", spec->name, worst);
        check(worst <= TOLERANCE, spec, "logits");
        moeq_source_close(&source);
        moeq_pool_join(pool);
        slow_free(&slow);
        free(logits);
    }
    printf("\n    ");
}

/* Without this, a test above might pass because its miniature does not depend on the formula. */
static void test_mistakes_are_noticed(void)
{
    int32_t tokens[WINDOWS * CONTEXT];
    for (size_t i = 0; i < MINIATURE_N_SPECS; i++) {
        struct slow_result right, wrong;
        const size_t n_logits = WINDOWS * CONTEXT * miniature_specs[i].vocabulary;
        miniature_tokens(&miniature_specs[i], tokens, WINDOWS * CONTEXT);
        slow_run(&right, &models[i], tokens, WINDOWS, CONTEXT, 0);
        for (unsigned mistake = 1; mistake <= miniature_specs[i].notices; mistake *= 2) {
            if (!(miniature_specs[i].notices & mistake))
                continue;
            slow_run(&wrong, &models[i], tokens, WINDOWS, CONTEXT, mistake);
            double worst = 0;
            for (size_t k = 0; k < n_logits; k++)
                worst = fmax(worst, fabs(right.logits[k] - wrong.logits[k]));
            if (!check(worst >= NOTICED, &miniature_specs[i], "a mistake is not noticed"))
                printf("(%u: %.1e)", mistake, worst);
            slow_free(&wrong);
        }
        slow_free(&right);
    }
}

/* One window alone gives what it gives among others. */
static void check_window(const struct outcome *all, const char *path, const int32_t *tokens, size_t window,
                         size_t context)
{
    const struct miniature *s = all->spec;
    struct outcome one;
    check_status(outcome_make(&one, s, path, tokens + window * context, 1, context, 1), s);
    bool same = memcmp(one.logits, all->logits + window * context * s->vocabulary,
                       context * s->vocabulary * sizeof(float)) == 0;
    for (size_t layer = 0; layer < s->n_layers; layer++) {
        size_t at = (layer * all->n_tokens + window * context) * s->hidden;
        same = same && memcmp(one.hidden + layer * context * s->hidden, all->hidden + at,
                              context * s->hidden * sizeof(float)) == 0;
    }
    check(same, s, "a window depends on others");
    outcome_free(&one);
}

static void check_shape(size_t index, size_t n_windows, size_t context, struct worst *worst)
{
    const struct miniature *spec = &miniature_specs[index];
    const size_t n = n_windows * context;
    int32_t *tokens = miniature_calloc(n, sizeof *tokens);
    struct outcome one_job, three_jobs;
    struct slow_result slow;
    char path[4200];
    model_path(index, "", path);
    miniature_tokens(spec, tokens, n);
    check_status(outcome_make(&one_job, spec, path, tokens, n_windows, context, 1), spec);
    check_status(outcome_make(&three_jobs, spec, path, tokens, n_windows, context, 3), spec);
    check(same_bits(&one_job, &three_jobs), spec, "the result depends on the number of jobs");
    for (size_t w = 0; w<n_windows; w += n_windows> 5 ? 3 : 1)
        check_window(&three_jobs, path, tokens, w, context);
    slow_run(&slow, &models[index], tokens, n_windows, context, 0);
    compare(&one_job, &slow, worst);
    slow_free(&slow);
    outcome_free(&one_job);
    outcome_free(&three_jobs);
    free(tokens);
}

static void test_windows(void)
{
    static const size_t shapes[][2] = {{1, 1}, {5, 1}, {3, 2}, {4, 17}, {2, 64}};
    for (size_t i = 0; i < MINIATURE_N_SPECS; i++) {
        struct worst worst = {.gap = INFINITY};
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++)
            check_shape(i, shapes[k][0], shapes[k][1], &worst);
        report(&miniature_specs[i], "", &worst);
    }
    printf("\n    ");
}

/* More tokens than the runtime takes at once, in many windows and in a single one. */
static void test_many_tokens(void)
{
    static const size_t shapes[][3] = {{3, 70, 17}, {9, 70, 17}, {9, 1, 1100}};
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        struct worst worst = {.gap = INFINITY};
        char what[64];
        check_shape(shapes[k][0], shapes[k][1], shapes[k][2], &worst);
        snprintf(what, sizeof what, ", %zu windows of %zu", shapes[k][1], shapes[k][2]);
        report(&miniature_specs[shapes[k][0]], what, &worst);
    }
    printf("\n    ");
}

static enum moeq_status convert(const char *from, const char *to, const char *level)
{
    struct moeq_source source;
    struct moeq_plan plan;
    struct moeq_plan_request request = {.has_level = level != NULL};
    struct moeq_repack_result result;
    enum moeq_status status = moeq_source_open(&source, from, &error);
    if (status)
        return status;
    if (level)
        status = moeq_format_parse(level, (struct moeq_format){.group = 128}, &request.level, &error);
    if (!status)
        status = moeq_plan_make(&plan, &source, &request, &error);
    if (!status) {
        struct moeq_pool *pool = moeq_pool_create(2, &error);
        json_t *options = json_object();
        const struct moeq_repack repack = {.plan = &plan, .out = to, .options = options, .pool = pool};
        status = pool ? moeq_repack_run(&repack, &result, &error) : error.status;
        json_decref(options);
        moeq_pool_join(pool);
        moeq_plan_free(&plan);
    }
    moeq_source_close(&source);
    return status;
}

static void test_lossless_packages(void)
{
    int32_t tokens[WINDOWS * CONTEXT];
    for (size_t i = 0; i < MINIATURE_N_SPECS; i++) {
        struct outcome from_checkpoint, from_package;
        char path[4200], package[4200];
        model_path(i, "", path);
        model_path(i, ".moeq", package);
        miniature_tokens(&miniature_specs[i], tokens, WINDOWS * CONTEXT);
        check_status(convert(path, package, NULL), &miniature_specs[i]);
        check_status(outcome_make(&from_checkpoint, &miniature_specs[i], path, tokens, WINDOWS, CONTEXT, 2),
                     &miniature_specs[i]);
        check_status(outcome_make(&from_package, &miniature_specs[i], package, tokens, WINDOWS, CONTEXT, 2),
                     &miniature_specs[i]);
        check(same_bits(&from_checkpoint, &from_package), &miniature_specs[i],
              "the package gives other bits");
        outcome_free(&from_checkpoint);
        outcome_free(&from_package);
    }
}

/* Replaces the values of the model by those of the package's integers; returns how many matrices it were. */
static size_t take_integers(struct miniature_model *model, const char *package)
{
    struct moeq_source source;
    struct moeq_bytes buffer = {0};
    size_t n = 0;
    check_status(moeq_source_open(&source, package, &error), model->spec);
    for (size_t i = 0; i < model->n_tensors; i++) {
        const struct moeq_weight *weight = moeq_source_find(&source, model->tensors[i].file_name);
        struct moeq_matrix matrix;
        if (!weight || !model->tensors[i].values || !weight->format.level->grouped)
            continue;
        check_status(moeq_source_load(&source, &weight, 1, &buffer, &matrix, &error), model->spec);
        miniature_unpack(&matrix, model->tensors[i].values);
        n++;
    }
    moeq_bytes_free(&buffer);
    moeq_source_close(&source);
    return n;
}

/* Groups that do not divide the rows: a package must compute with exactly the numbers that it holds. */
static void test_integer_packages(void)
{
    static const char *const levels[] = {"int4-g32-asym", "int8-g64",      "int4-g128", "int6-g64-asym",
                                         "int3-g64",      "int2-g32-asym", "int5-g32"};
    int32_t tokens[WINDOWS * CONTEXT];
    for (size_t i = 0; i < MINIATURE_N_SPECS; i++) {
        const char *level = levels[i % (sizeof levels / sizeof *levels)];
        struct miniature_model model;
        struct outcome outcome;
        struct slow_result slow;
        struct worst worst = {.gap = INFINITY};
        char path[4200], package[4200], what[64];
        model_path(i, "", path);
        model_path(i, ".integers", package);
        miniature_tokens(&miniature_specs[i], tokens, WINDOWS * CONTEXT);
        miniature_make(&model, &miniature_specs[i]);
        check_status(convert(path, package, level), &miniature_specs[i]);
        check(take_integers(&model, package) > 0, &miniature_specs[i], "nothing became integers");
        check_status(outcome_make(&outcome, &miniature_specs[i], package, tokens, WINDOWS, CONTEXT, 2),
                     &miniature_specs[i]);
        slow_run(&slow, &model, tokens, WINDOWS, CONTEXT, 0);
        snprintf(what, sizeof what, ", as %s", level);
        compare(&outcome, &slow, &worst);
        report(&miniature_specs[i], what, &worst);
        slow_free(&slow);
        outcome_free(&outcome);
        miniature_free(&model);
    }
    printf("\n    ");
}

/* The miniatures avoid ties, as the slow pass may not agree on them in the last bit; what is documented for
 * equal scores, the lowest index, is shown on the router alone. */
static void test_ties(void)
{
    static const struct {
        enum moeq_scoring scoring;
        enum moeq_group_score group_score;
        float logits[8];
        int32_t experts[3];
    } cases[] = {
        {MOEQ_SCORING_SOFTMAX, MOEQ_GROUP_NONE, {1, 1, 1, 1, 1, 1, 1, 1}, {0, 1, 2}},
        {MOEQ_SCORING_SOFTMAX, MOEQ_GROUP_NONE, {0, 1, 0, 2, 1, 0, 1, 0}, {1, 3, 4}},
        {MOEQ_SCORING_SOFTMAX, MOEQ_GROUP_MAX, {0, 0, 1, 0, 1, 0, 1, 0}, {2, 3, 4}}, /* of groups 1 and 2 */
        {MOEQ_SCORING_SIGMOID, MOEQ_GROUP_TOP2, {1, 1, 1, 1, 1, 1, 1, 1}, {0, 1, 2}},
        {MOEQ_SCORING_SIGMOID, MOEQ_GROUP_TOP2, {0, 0, 1, 0, 0, 1, 1, 0}, {2, 3, 5}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct moeq_config config = {.n_experts = 8,
                                           .n_groups = 4,
                                           .top_groups = 2,
                                           .top_k = 3,
                                           .scoring = cases[i].scoring,
                                           .group_score = cases[i].group_score,
                                           .routed_scale = 1};
        float logits[8], scratch[16], weights[3];
        int32_t experts[3];
        memcpy(logits, cases[i].logits, sizeof logits);
        moeq_router_choose(&config, logits, NULL, scratch, experts, weights);
        CU_ASSERT(memcmp(experts, cases[i].experts, sizeof experts) == 0);
    }
}

/* ---- instruction sets ---- */

static const struct moeq_kernels *kernels_named(const char *name)
{
    for (size_t i = 0; moeq_kernels_at(i); i++)
        if (strcmp(moeq_kernels_at(i)->name, name) == 0)
            return moeq_kernels_at(i);
    return NULL;
}

/* In a process of its own, as the set is chosen once. */
static void run_with(const char *variable, const struct moeq_kernels *kernels, size_t index, float *logits)
{
    pid_t child = fork();
    if (child == 0) {
        int32_t tokens[WINDOWS * CONTEXT];
        struct outcome outcome;
        char path[4200];
        model_path(index, "", path);
        miniature_tokens(&miniature_specs[index], tokens, WINDOWS * CONTEXT);
        setenv("MOEQ_CPU", variable, 1);
        if (moeq_kernels() != kernels ||
            outcome_make(&outcome, &miniature_specs[index], path, tokens, WINDOWS, CONTEXT, 1))
            _exit(1);
        memcpy(logits, outcome.logits, outcome.n_tokens * miniature_specs[index].vocabulary * sizeof *logits);
        _exit(0);
    }
    int code = 0;
    CU_ASSERT_FATAL(child > 0);
    CU_ASSERT_FATAL(waitpid(child, &code, 0) == child);
    check(WIFEXITED(code) && WEXITSTATUS(code) == 0, &miniature_specs[index], variable);
}

/* Must come before any test that lets the process choose its set. */
static void test_instruction_sets(void)
{
    static const char *const sets[][2] = {
        {"scalar", "baseline"}, {"avx2", "avx2"}, {"avx512", "avx512"}, {"avx512bf16", "avx512bf16"}};
    enum { N_SETS = sizeof sets / sizeof *sets };
    const size_t n_logits = WINDOWS * CONTEXT * 256, n_bytes = n_logits * sizeof(float);
    double worst[N_SETS] = {0};
    float *logits[N_SETS] = {NULL};
    for (size_t i = 0; i < MINIATURE_N_SPECS; i++)
        for (size_t k = 0; k < N_SETS; k++) {
            const struct moeq_kernels *kernels = kernels_named(sets[k][1]);
            if (!kernels)
                continue;
            if (!logits[k])
                logits[k] = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            CU_ASSERT_FATAL(logits[k] != MAP_FAILED && miniature_specs[i].vocabulary <= 256);
            run_with(sets[k][0], kernels, i, logits[k]);
            for (size_t l = 0; l < n_logits; l++)
                worst[k] = fmax(worst[k], fabs((double)logits[0][l] - logits[k][l]));
            check(worst[k] <= TOLERANCE, &miniature_specs[i], sets[k][0]);
        }
    for (size_t k = 0; k < N_SETS; k++)
        if (logits[k]) {
            printf("\n    %s: %.1e from the baseline", sets[k][1], worst[k]);
            munmap(logits[k], n_bytes);
        }
    printf("\n    ");
}

/* ---- set-up ---- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static bool make_models(void)
{
    const char *parent = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/moeq-miniatures-XXXXXX", parent ? parent : P_tmpdir);
    if (!mkdtemp(root))
        return false;
    for (size_t i = 0; i < MINIATURE_N_SPECS; i++) {
        char path[4200];
        model_path(i, "", path);
        miniature_make(&models[i], &miniature_specs[i]);
        if (mkdir(path, 0777) != 0 || miniature_write(&models[i], path, &error))
            return false;
    }
    return true;
}

int main(void)
{
    const struct unit_test tests[] = {
        {"every instruction set gives the same logits", test_instruction_sets},
        {"the forward pass equals the slow one", test_forward_pass},
        {"generation equals the slow pass, token by token", test_generation},
        {"confused formulas would be noticed", test_mistakes_are_noticed},
        {"windows do not see each other, whatever the context and the jobs", test_windows},
        {"more tokens than the runtime takes at once", test_many_tokens},
        {"of equal experts and groups the first are chosen", test_ties},
        {"a lossless package gives the same bits", test_lossless_packages},
        {"a package of integers computes with the numbers that it holds", test_integer_packages},
        {NULL, NULL}};
    int code = 2;
    if (make_models())
        code = unit_main("miniatures", tests);
    else
        perror(root);
    for (size_t i = 0; i < MINIATURE_N_SPECS; i++)
        miniature_free(&models[i]);
    nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    return code;
}
