/* Statistics: what a calibration writes must be the second moments of what each matrix gets to see, of every
 * token, and of texts that were put together those of all. */
#include "unit.h"

#include "calibration.h"
#include "statistics.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { WINDOWS = 3, CONTEXT = 40 };

/* Plain sums of one tensor's moments. */
struct plain {
    enum moeq_part part;
    int layer, expert;
    uint64_t width, n_tokens;
    double *sums;
};

static enum moeq_status sum(void *context, const struct moeq_inputs *in, struct moeq_error *err)
{
    struct plain *p = context;
    (void)err;
    if (in->part != p->part || in->layer != p->layer || in->expert != p->expert)
        return MOEQ_OK;
    if (!p->sums)
        p->sums = calloc(in->width * in->width, sizeof *p->sums);
    p->width = in->width;
    p->n_tokens += in->n;
    for (uint64_t t = 0; t < in->n; t++) {
        const double w = in->weights ? (double)in->weights[t] * (double)in->weights[t] : 1;
        const float *x = in->x + t * in->width;
        for (uint64_t i = 0; i < in->width; i++)
            for (uint64_t k = 0; k <= i; k++)
                p->sums[i * in->width + k] += w * (double)x[i] * (double)x[k];
    }
    return MOEQ_OK;
}

static void cut(struct moeq_calibration_text *text, const char *name, int seed)
{
    *text = (struct moeq_calibration_text){.name = name};
    text->windows = (struct moeq_windows){.n_windows = WINDOWS, .context = CONTEXT};
    text->windows.tokens = malloc(WINDOWS * CONTEXT * sizeof *text->windows.tokens);
    for (int i = 0; i < WINDOWS * CONTEXT; i++)
        text->windows.tokens[i] = (i * seed + 11) % 1000;
}

static void check_tensor(const struct moeq_source *source, struct moeq_pool *pool,
                         const struct moeq_calibration_text *texts, const char *folder, struct plain p)
{
    struct moeq_statistics s;
    struct moeq_sweep sweep;
    char name[MOEQ_MAX_STATISTICS_NAME];
    int32_t tokens[2 * WINDOWS * CONTEXT];
    const struct moeq_visitor visitor = {.observer = {.context = &p, .inputs = sum}};
    for (int t = 0; t < 2; t++)
        memcpy(tokens + t * WINDOWS * CONTEXT, texts[t].windows.tokens, sizeof tokens / 2);
    CU_ASSERT_EQUAL_FATAL(moeq_sweep_init(&sweep, source, pool, 2 * WINDOWS, CONTEXT, MOEQ_EXACT, NULL, NULL),
                          MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_sweep_run(&sweep, tokens, &visitor, NULL), MOEQ_OK);
    moeq_sweep_free(&sweep);
    CU_ASSERT_EQUAL_FATAL(moeq_statistics_open(&s, folder, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_statistics_check(&s, NULL), MOEQ_OK);
    CU_ASSERT_FATAL(p.sums != NULL);
    double *found = calloc(moeq_triangle(p.width), sizeof *found), worst = 0, largest = 0;
    moeq_statistics_name(p.part, p.expert, name);
    CU_ASSERT_EQUAL(moeq_statistics_add(&s, p.layer, name, moeq_triangle(p.width), found, NULL), MOEQ_OK);
    for (uint64_t i = 0; i < p.width; i++)
        for (uint64_t k = 0; k <= i; k++) {
            worst = fmax(worst, fabs(found[moeq_triangle(i) + k] - p.sums[i * p.width + k]));
            largest = fmax(largest, fabs(p.sums[i * p.width + k]));
        }
    CU_ASSERT(largest > 0 && worst <= 1e-6 * largest);
    if (p.expert >= 0) {
        double *counts = calloc(s.n_experts, sizeof *counts);
        CU_ASSERT_EQUAL(moeq_statistics_add(&s, p.layer, "counts", s.n_experts, counts, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL((uint64_t)counts[p.expert], p.n_tokens);
        free(counts);
    }
    free(found);
    free(p.sums);
    moeq_statistics_close(&s);
}

static void test_moments(void)
{
    static const struct plain tensors[] = {
        {MOEQ_PART_Q_A, 0, -1, 0, 0, NULL},        {MOEQ_PART_Q_B, 2, -1, 0, 0, NULL},
        {MOEQ_PART_KV_B, 1, -1, 0, 0, NULL},       {MOEQ_PART_O, 3, -1, 0, 0, NULL},
        {MOEQ_PART_DENSE_GATE, 0, -1, 0, 0, NULL}, {MOEQ_PART_DENSE_DOWN, 0, -1, 0, 0, NULL},
        {MOEQ_PART_ROUTER, 1, -1, 0, 0, NULL},     {MOEQ_PART_SHARED_DOWN, 2, -1, 0, 0, NULL},
        {MOEQ_PART_EXPERT_GATE, 1, 3, 0, 0, NULL}, {MOEQ_PART_EXPERT_DOWN, 3, 5, 0, 0, NULL}};
    char path[4096], folder[] = "/tmp/moeq-calibration-XXXXXX", out[64];
    struct moeq_source source;
    struct moeq_calibration_text texts[2];
    struct moeq_calibration_result result;
    struct moeq_error err = {0};
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    snprintf(path, sizeof path, "%s/nano-v3", getenv("MOEQ_MODELS"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    snprintf(out, sizeof out, "%s/stats", folder);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, path, NULL), MOEQ_OK);
    cut(&texts[0], "one", 37);
    cut(&texts[1], "two", 91);
    const struct moeq_sweep_weights weights = moeq_sweep_weights(&source, CONTEXT);
    const struct moeq_sweep_plan plan =
        moeq_sweep_plan(&source.config, &weights, 2 * WINDOWS, CONTEXT, 2, UINT64_MAX);
    const struct moeq_calibration c = {&source, pool, texts, 2, MOEQ_EXACT, out, &plan, NULL};
    CU_ASSERT_EQUAL(moeq_calibration_run(&c, &result, &err), MOEQ_OK);
    CU_ASSERT(!result.was_complete);
    CU_ASSERT_EQUAL(moeq_calibration_run(&c, &result, &err), MOEQ_OK);
    CU_ASSERT(result.was_complete);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        check_tensor(&source, pool, texts, out, tensors[i]);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    CU_ASSERT_EQUAL(system(command), 0);
    for (int t = 0; t < 2; t++)
        free(texts[t].windows.tokens);
    moeq_source_close(&source);
    moeq_pool_join(pool);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"moments of what matrices see", test_moments},
        {NULL, NULL},
    };
    return unit_main("calibration", tests);
}
