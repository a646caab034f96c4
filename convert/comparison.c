#include "comparison.h"

#include "interrupt.h"
#include "measured.h"

#include <math.h>
#include <stdlib.h>

/* ---- ranks ---- */

struct ranked {
    double value;
    size_t place;
};

static int by_value(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static bool rank(const double *x, size_t n, double *ranks)
{
    struct ranked *r = calloc(n, sizeof *r);
    for (size_t i = 0; r && i < n; i++)
        r[i] = (struct ranked){x[i], i};
    if (r)
        qsort(r, n, sizeof *r, by_value);
    for (size_t i = 0, end; r && i < n; i = end) {
        for (end = i; end < n && r[end].value == r[i].value; end++)
            ;
        for (size_t k = i; k < end; k++)
            ranks[r[k].place] = (double)(i + end - 1) / 2;
    }
    free(r);
    return r != NULL;
}

double moeq_rank_correlation(const double *x, const double *y, size_t n)
{
    double *ranks = n < 3 ? NULL : calloc(2 * n, sizeof *ranks);
    double xx = 0, yy = 0, xy = 0;
    if (!ranks || !rank(x, n, ranks) || !rank(y, n, ranks + n)) {
        free(ranks);
        return NAN;
    }
    const double mean = (double)(n - 1) / 2;
    for (size_t i = 0; i < n; i++) {
        const double a = ranks[i] - mean, b = ranks[n + i] - mean;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    free(ranks);
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : NAN;
}

/* ---- errors of matrices ---- */

struct remeasuring {
    struct moeq_calibrated calibrated;
    struct moeq_bytes source, package, w;
};

static enum moeq_status measure(struct remeasuring *r, const struct moeq_source *source,
                                const struct moeq_weight *weight, const struct moeq_source *package,
                                double *error, struct moeq_error *err)
{
    const struct moeq_weight *other = moeq_source_find(package, weight->name);
    struct moeq_matrix from, to;
    double n_tokens, importance = 0;
    float *w, *q;
    if (!other || other->rows != weight->rows || other->cols != weight->cols)
        return moeq_fail(err, MOEQ_USAGE, "the package has not this matrix");
    const size_t n = (size_t)(weight->rows * weight->cols);
    enum moeq_status status = moeq_source_load(source, &weight, 1, &r->source, &from, err);
    if (!status)
        status = moeq_source_load(package, &other, 1, &r->package, &to, err);
    if (!status)
        status = moeq_calibrated_prepare(&r->calibrated, weight, err);
    if (!status)
        status = moeq_calibrated_weigh(&r->calibrated, weight, &n_tokens, &importance, err);
    if (!status)
        status = moeq_calibrated_decode(&r->calibrated, &from, 0, 1, &w, err);
    if (!status && !(status = moeq_bytes_resize(&r->w, n * sizeof *w, err)))
        memcpy(r->w.data, w, n * sizeof *w); /* the next decoding takes its place */
    if (!status)
        status = moeq_calibrated_decode(&r->calibrated, &to, 0, 1, &q, err);
    if (!status)
        status = moeq_gptq_measure(&r->calibrated.factor, weight->rows,
                                   (const float *)(const void *)r->w.data, q, r->calibrated.pool, error, err);
    *error *= importance;
    return status;
}

enum moeq_status moeq_compare_measure(const struct moeq_plan *plan, const struct moeq_source *package,
                                      struct moeq_pool *pool, double *errors, struct moeq_error *err)
{
    struct remeasuring r = {0};
    enum moeq_status status = MOEQ_OK;
    moeq_calibrated_init(&r.calibrated, plan->statistics, pool);
    for (size_t i = 0; !status && i < plan->n_items; i++) {
        const struct moeq_plan_item *item = &plan->items[i];
        if (!item->is_calibrated || !isnan(errors[i]))
            continue;
        status = moeq_interrupt_check(err);
        if (!status)
            status = measure(&r, plan->source, item->weight, package, &errors[i], err);
        if (status)
            moeq_error_in_tensor(err, item->weight->name);
    }
    moeq_calibrated_free(&r.calibrated);
    moeq_bytes_free(&r.source);
    moeq_bytes_free(&r.package);
    moeq_bytes_free(&r.w);
    return status;
}

enum moeq_status moeq_compare_errors(const struct moeq_level_plan *levels, const struct moeq_plan *plan,
                                     const double *errors, struct moeq_comparison *comparison,
                                     struct moeq_error *err)
{
    double *x = moeq_calloc(plan->n_items, sizeof *x, err), *y = moeq_calloc(plan->n_items, sizeof *y, err);
    *comparison = (struct moeq_comparison){.error_rank = NAN, .kld_rank = NAN};
    for (size_t i = 0; x && y && i < plan->n_items; i++) {
        const struct moeq_level_entry *entry = moeq_level_plan_find(levels, plan->items[i].weight->name);
        if (!entry || !isfinite(entry->error) || !isfinite(errors[i]))
            continue;
        x[comparison->n_matrices] = entry->error;
        y[comparison->n_matrices++] = errors[i];
        comparison->predicted_error += entry->error;
        comparison->measured_error += errors[i];
    }
    if (x && y)
        comparison->error_rank = moeq_rank_correlation(x, y, comparison->n_matrices);
    free(x);
    free(y);
    return x && y ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

/* ---- divergence of experts ---- */

static int by_prediction(const void *a, const void *b)
{
    const struct moeq_compared_expert *x = a, *y = b;
    if (x->predicted != y->predicted)
        return x->predicted > y->predicted ? -1 : 1;
    return x->layer != y->layer ? x->layer - y->layer : x->expert - y->expert;
}

/* Gains of a kind in a layer, as the plan says them. */
static bool find_gain(const struct moeq_level_plan *levels, int layer, int kind, struct moeq_gain *gain)
{
    const json_t *rows = json_object_get(levels->document, "layers");
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *name = json_object_get(row, "kind");
        const json_t *linear = json_object_get(row, "linear_gain"), *root = json_object_get(row, "root_gain");
        if (json_integer_value(json_object_get(row, "layer")) != layer || !json_is_string(name) ||
            strcmp(json_string_value(name), moeq_expert_kinds[kind]) != 0)
            continue;
        *gain = (struct moeq_gain){json_number_value(linear), json_number_value(root)};
        return json_is_number(linear) && json_is_number(root);
    }
    return false;
}

/* What a plan predicts of an expert alone; false where it does not say enough. */
static bool predict(const struct moeq_level_plan *levels, const struct moeq_source *source, int layer,
                    int expert, const struct moeq_gain gains[MOEQ_EXPERT_KINDS], double *kld)
{
    double linear = 0, roots = 0;
    for (int k = 0; k < MOEQ_EXPERT_KINDS; k++) {
        const struct moeq_weight *w =
            moeq_source_part(source, (enum moeq_part)((int)MOEQ_PART_EXPERT_GATE + k), layer, expert);
        const struct moeq_level_entry *entry = w ? moeq_level_plan_find(levels, w->name) : NULL;
        if (!entry || !(entry->error >= 0))
            return false;
        linear += gains[k].linear * entry->error;
        roots += gains[k].root * gains[k].root * entry->error;
    }
    *kld = linear + sqrt(roots);
    return true;
}

/* The experts that a plan predicts something of; returns how many. */
static size_t list_experts(const struct moeq_level_plan *levels, const struct moeq_source *source,
                           struct moeq_compared_expert *list)
{
    const struct moeq_config *c = &source->config;
    size_t n = 0;
    for (int l = 0; l < (int)c->n_layers; l++) {
        struct moeq_gain gains[MOEQ_EXPERT_KINDS];
        bool known = moeq_config_layer_is_moe(c, (uint32_t)l);
        for (int k = 0; known && k < MOEQ_EXPERT_KINDS; k++)
            known = find_gain(levels, l, k, &gains[k]);
        for (int e = 0; known && e < (int)c->n_experts; e++) {
            list[n] = (struct moeq_compared_expert){.layer = l, .expert = e};
            n += predict(levels, source, l, e, gains, &list[n].predicted);
        }
    }
    qsort(list, n, sizeof *list, by_prediction);
    return n;
}

struct taking {
    const struct moeq_source *package;
};

static enum moeq_status take_from_package(void *replacer, const struct moeq_probe *probe,
                                          const struct moeq_weight *weight, struct moeq_matrix *matrix,
                                          struct moeq_bytes *bytes, struct moeq_error *err)
{
    const struct moeq_source *package = ((const struct taking *)replacer)->package;
    const struct moeq_weight *other = moeq_source_find(package, weight->name);
    (void)probe;
    if (!other || other->rows != matrix->rows || other->cols != matrix->cols)
        return moeq_fail(err, MOEQ_USAGE, "the package has not this matrix");
    return moeq_source_load(package, &other, 1, bytes, matrix, err);
}

static enum moeq_status probe(const struct moeq_probing *probing, struct moeq_comparison *c,
                              struct moeq_error *err)
{
    double *x = moeq_calloc(c->n_experts, sizeof *x, err), *y = moeq_calloc(c->n_experts, sizeof *y, err);
    enum moeq_status status = x && y ? moeq_probes_run(probing, err) : MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < c->n_experts; i++) {
        c->experts[i].kld = probing->probes[i].kld;
        c->experts[i].kld_error = probing->probes[i].kld_error;
        x[i] = c->experts[i].predicted;
        y[i] = c->experts[i].kld;
    }
    if (!status)
        c->kld_rank = moeq_rank_correlation(x, y, c->n_experts);
    free(x);
    free(y);
    return status;
}

enum moeq_status moeq_compare_experts(const struct moeq_level_plan *levels, const struct moeq_source *source,
                                      const struct moeq_source *package,
                                      const struct moeq_statistics *statistics, size_t n, uint64_t n_tokens,
                                      uint64_t budget, struct moeq_pool *pool, struct moeq_progress *progress,
                                      struct moeq_comparison *comparison, struct moeq_error *err)
{
    struct moeq_comparison *c = comparison;
    const struct moeq_config *config = &source->config;
    const uint64_t context = statistics->context, all = moeq_statistics_tokens(statistics) / context;
    uint64_t n_windows = n_tokens / context ? n_tokens / context : 1;
    n_windows = n_windows > all ? all : n_windows;
    c->experts = moeq_calloc((uint64_t)config->n_layers * config->n_experts, sizeof *c->experts, err);
    struct moeq_probe *probes = moeq_calloc(n, sizeof *probes, err);
    int32_t *tokens = moeq_statistics_windows(statistics, n_windows, err);
    enum moeq_status status = c->experts && probes && tokens ? MOEQ_OK : MOEQ_OVER_MEMORY;
    const size_t n_known = status ? 0 : list_experts(levels, source, c->experts);
    c->n_experts = n < n_known ? n : n_known;
    for (size_t i = 0; i < c->n_experts; i++) {
        c->experts[i] = c->experts[i * n_known / c->n_experts];
        probes[i] = (struct moeq_probe){
            .layer = c->experts[i].layer, .expert = c->experts[i].expert, .part = MOEQ_PART_OTHER};
    }
    struct taking taking = {package};
    const struct moeq_probing probing = {.source = source,
                                         .pool = pool,
                                         .tokens = tokens,
                                         .n_windows = n_windows,
                                         .context = context,
                                         .arithmetic = MOEQ_EXACT,
                                         .replace = take_from_package,
                                         .replacer = &taking,
                                         .probes = probes,
                                         .n_probes = c->n_experts,
                                         .budget = budget,
                                         .progress = progress};
    if (!status && c->n_experts)
        status = probe(&probing, c, err);
    free(probes);
    free(tokens);
    return status;
}

void moeq_comparison_free(struct moeq_comparison *comparison)
{
    free(comparison->experts);
    *comparison = (struct moeq_comparison){0};
}
