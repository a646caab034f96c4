#include "outlook.h"

#include "anatomy.h"
#include "evaluate.h"
#include "copy.h"
#include "encode.h"
#include "layer_files.h"
#include "repack.h"

#include <stdlib.h>

static const char *const levels[MOEQ_OUTLOOK_LEVELS] = {NULL,   "bf16",     "fp8",      "int8",
                                                        "int4", "int4-g32", "int3-g64", "int2-g64"};
static const struct moeq_format defaults = {.group = 128};

static const struct moeq_windows windows = {
    .n_windows = MOEQ_OUTLOOK_WINDOWS, .context = MOEQ_OUTLOOK_CONTEXT, .n_scored = MOEQ_OUTLOOK_CONTEXT - 1};

/* ---- from headers ---- */

struct plan {
    struct moeq_plan plan;
    json_t *options;
};

static void plan_free(struct plan *p)
{
    moeq_plan_free(&p->plan);
    json_decref(p->options);
    *p = (struct plan){0};
}

static enum moeq_status plan_make(struct plan *p, const struct moeq_source *source, const char *level,
                                  struct moeq_error *err)
{
    struct moeq_plan_request request = {.has_level = level != NULL};
    enum moeq_status status = level ? moeq_format_parse(level, defaults, &request.level, err) : MOEQ_OK;
    *p = (struct plan){0};
    if (!status)
        status = moeq_plan_make(&p->plan, source, &request, err);
    if (status)
        return status;
    p->options = moeq_repack_options(level, NULL, false, json_array());
    if (p->options)
        return MOEQ_OK;
    plan_free(p);
    return moeq_fail_alloc(err, 0);
}

/* What evaluating the package would need: the source's weights, each at its planned level. */
static enum moeq_status eval_bytes(const struct moeq_plan *plan, unsigned n_jobs, uint64_t *n_bytes,
                                   struct moeq_error *err)
{
    struct moeq_source planned = *plan->source;
    planned.is_package = false;
    planned.weights = moeq_calloc(planned.n_weights, sizeof *planned.weights, err);
    planned.by_part = moeq_calloc(planned.n_by_part, sizeof *planned.by_part, err);
    enum moeq_status status = planned.weights && planned.by_part ? MOEQ_OK : MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < planned.n_by_part; i++)
        planned.by_part[i] = planned.weights + (plan->source->by_part[i] - plan->source->weights);
    for (size_t i = 0; !status && i < plan->n_items; i++) {
        const struct moeq_plan_item *item = &plan->items[i];
        struct moeq_weight *w = &planned.weights[item->weight - plan->source->weights];
        *w = *item->weight;
        w->format = item->format;
        w->is_coded = item->is_coded;
        w->n_stored = item->n_bytes;
        status = moeq_packed_size(w->format, w->rows, w->cols, &w->n_bytes, &w->n_padded, err);
    }
    if (!status)
        *n_bytes = moeq_evaluate_plan(&(struct moeq_evaluation_task){.source = &planned, .windows = &windows},
                                      n_jobs, UINT64_MAX)
                       .total;
    free(planned.weights);
    free(planned.by_part);
    return status;
}

static enum moeq_status add_row(struct moeq_outlook *o, const struct plan *p, const struct plan *base,
                                const char *level, bool runs, struct moeq_error *err)
{
    struct moeq_outlook_row *row = &o->rows[o->n];
    size_t n_files;
    *row = (struct moeq_outlook_row){.level = level};
    row->convert_bytes = moeq_layer_files_memory(&p->plan, o->n_jobs);
    enum moeq_status status =
        p == base ? moeq_repack_bytes(&p->plan, p->options, &row->package_bytes, &n_files, err)
                  : moeq_repack_bytes_alike(&p->plan, p->options, &base->plan, base->options,
                                            o->rows[0].package_bytes, &row->package_bytes, err);
    if (!status && runs)
        status = eval_bytes(&p->plan, o->n_jobs, &row->eval_bytes, err);
    o->n += !status;
    return status;
}

enum moeq_status moeq_outlook_of_source(struct moeq_outlook *outlook, const struct moeq_source *source,
                                        bool runs, unsigned n_jobs, struct moeq_error *err)
{
    struct plan base;
    *outlook = (struct moeq_outlook){.exact = true, .n_jobs = n_jobs};
    enum moeq_status status = plan_make(&base, source, NULL, &outlook->cannot_convert);
    if (status)
        return status == MOEQ_OVER_MEMORY ? moeq_fail_alloc(err, 0) : MOEQ_OK;
    status = add_row(outlook, &base, &base, NULL, runs, err);
    for (size_t i = 1; !status && i < MOEQ_OUTLOOK_LEVELS; i++) {
        struct moeq_error problem = {0};
        struct plan p;
        if (plan_make(&p, source, levels[i], &problem)) {
            status = problem.status == MOEQ_OVER_MEMORY ? moeq_fail_alloc(err, 0) : MOEQ_OK;
            continue;
        }
        status = add_row(outlook, &p, &base, levels[i], runs, err);
        plan_free(&p);
    }
    plan_free(&base);
    return status;
}

/* ---- from config.json alone ---- */

/* How a release stores a kind of tensor that moeq decodes. */
static struct moeq_format release_format(const struct moeq_config *c, const struct moeq_kind *kind)
{
    if (c->int4_group && moeq_part_role(kind->part) == MOEQ_ROLE_EXPERTS)
        return (struct moeq_format){.level = &moeq_level_int4, .group = c->int4_group, .dtype = MOEQ_U8};
    if (c->says_fp8 && moeq_part_fp8_in_releases(kind->part))
        return (struct moeq_format){.level = &moeq_level_fp8, .dtype = MOEQ_U8};
    return moeq_format_of_dtype(kind->part == MOEQ_PART_ROUTER_BIAS ? MOEQ_F32 : MOEQ_BF16);
}

struct tally {
    const struct moeq_config *config;
    const struct moeq_format *level; /* NULL: as in the release */
    uint64_t n_bytes;                /* of the package */
    struct moeq_sweep_weights weights;
    uint64_t batch, worker; /* of converting */
};

/* What DeepSeek-V4's tensors hold, scales included. */
static uint64_t stored_bytes(const struct moeq_kind *kind)
{
    const uint64_t n = kind->rows * kind->cols;
    if (kind->storage == MOEQ_STORED_E8M0_8)
        return n + moeq_div_up(kind->rows, 128) * moeq_div_up(kind->cols, 128);
    if (kind->storage == MOEQ_STORED_E8M0_4)
        return n / 2 + n / 32;
    return n * moeq_dtype_bits(kind->dtype) / 8;
}

/* Padded bytes; the bounds of config.h keep sizes far below 2^63. */
static uint64_t padded(struct moeq_format format, const struct moeq_kind *kind)
{
    uint64_t n = 0, n_padded = 0;
    if (kind->name)
        return stored_bytes(kind);
    moeq_packed_size(format, kind->rows, kind->cols, &n, &n_padded, NULL);
    return n_padded;
}

/* The group of weights that evaluating has in memory at once: attention, an MLP, or a tensor alone. */
static size_t group_of(enum moeq_role role)
{
    return role == MOEQ_ROLE_ATTENTION ? 0 : role == MOEQ_ROLE_DENSE ? 1 : role == MOEQ_ROLE_SHARED ? 2 : 3;
}

static void count_kinds(struct tally *t, const struct moeq_kind *kinds, size_t n, bool main_layer)
{
    uint64_t groups[4] = {0};
    for (size_t i = 0; i < n; i++) {
        const enum moeq_role role = moeq_part_role(kinds[i].part);
        const struct moeq_format from = release_format(t->config, &kinds[i]);
        const bool outside = role == MOEQ_ROLE_EMBED || role == MOEQ_ROLE_HEAD;
        const bool changes = t->level && moeq_part_quantizable(kinds[i].part) && !outside &&
                             !moeq_format_equal(*t->level, from);
        const struct moeq_format to = changes ? *t->level : from;
        const uint64_t n_bytes = padded(to, &kinds[i]);
        t->n_bytes += n_bytes * (kinds[i].each_expert ? t->config->n_experts : 1);
        const uint64_t made = !changes                                            ? 0
                              : to.level->rows_only && n_bytes > MOEQ_BATCH_BYTES ? MOEQ_BATCH_BYTES
                                                                                  : n_bytes;
        t->batch = moeq_larger(t->batch, changes ? padded(from, &kinds[i]) + made : 0);
        if (changes)
            t->worker =
                moeq_larger(t->worker, moeq_encoder_rows_at_once(to.level) * kinds[i].cols * sizeof(float));
        if (kinds[i].part == MOEQ_PART_EMBED)
            t->weights.embed = n_bytes;
        if (kinds[i].part == MOEQ_PART_HEAD)
            t->weights.head = n_bytes;
        if (role <= MOEQ_ROLE_ATTENTION)
            groups[group_of(role)] += n_bytes;
    }
    for (size_t g = 0; main_layer && g < sizeof groups / sizeof *groups; g++)
        t->weights.largest = moeq_larger(t->weights.largest, groups[g]);
}

static void estimate(struct moeq_outlook *o, const struct moeq_config *c, const char *level)
{
    struct moeq_kind kinds[MOEQ_MAX_KINDS];
    struct moeq_format format;
    struct tally t = {.config = c, .level = level ? &format : NULL, .batch = level ? MOEQ_BATCH_BYTES : 0};
    if (level && moeq_format_parse(level, defaults, &format, NULL))
        return;
    count_kinds(&t, kinds, moeq_anatomy_outside(c, kinds), false);
    for (uint32_t layer = 0; layer < c->n_layers + c->n_mtp_layers; layer++)
        count_kinds(&t, kinds, moeq_anatomy_layer(c, layer, kinds), layer < c->n_layers);
    const struct moeq_sweep_plan sweep =
        moeq_sweep_plan(c, &t.weights, windows.n_windows, windows.context, o->n_jobs, UINT64_MAX);
    struct moeq_outlook_row *row = &o->rows[o->n++];
    *row = (struct moeq_outlook_row){.level = level,
                                     .package_bytes = t.n_bytes,
                                     .convert_bytes = moeq_batches_memory(t.batch) +
                                                      o->n_jobs * (t.worker + MOEQ_COPIER_BYTES)};
    if (moeq_config_is_computed(c))
        row->eval_bytes = moeq_evaluate_plan_of(c, &sweep, &windows, o->n_jobs).total;
}

void moeq_outlook_of_config(struct moeq_outlook *outlook, const struct moeq_config *config, unsigned n_jobs)
{
    *outlook = (struct moeq_outlook){.n_jobs = n_jobs};
    const size_t n = moeq_config_is_computed(config) ? MOEQ_OUTLOOK_LEVELS : 1; /* others only as they are */
    for (size_t i = 0; i < n; i++)
        estimate(outlook, config, levels[i]);
}
