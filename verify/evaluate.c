#include "evaluate.h"

#include <stdlib.h>

/* One evaluation while it runs. */
struct run {
    const struct moeq_evaluation_task *task;
    const struct moeq_evaluation_plan *plan;
    struct moeq_pool *pool;
    struct moeq_progress *progress;
    struct moeq_trace_shape shape;
    struct moeq_trace_memory memory; /* of the reference */
    struct moeq_sweep sweep, reference;
    struct moeq_evaluation *out;
};

void moeq_evaluation_free(struct moeq_evaluation *evaluation)
{
    free(evaluation->scores);
    moeq_drift_free(&evaluation->drift);
    *evaluation = (struct moeq_evaluation){0};
}

/* ---- sweeps ---- */

/* Runs one model; its layers go to the store, or are compared with what that has, or neither. */
static enum moeq_status sweep_model(struct run *r, struct moeq_sweep *sweep, const struct moeq_source *source,
                                    const struct moeq_sweep_plan *plan, const struct moeq_trace_store *store,
                                    struct moeq_drift *drift, struct moeq_error *err)
{
    const struct moeq_windows *w = r->task->windows;
    struct moeq_visitor visitor = {.progress = r->progress};
    struct moeq_trace trace = {0};
    enum moeq_status status =
        moeq_sweep_init(sweep, source, r->pool, w->n_windows, w->context, r->task->arithmetic, plan, err);
    if (!status && store) {
        status = moeq_trace_init(&trace, &r->shape, r->pool, w->n_windows * w->context, w->context, store,
                                 drift, err);
        moeq_trace_visit(&trace, &visitor);
    }
    if (!status)
        status = moeq_sweep_run(sweep, w->tokens, &visitor, err);
    moeq_trace_free(&trace);
    return status;
}

static enum moeq_status sweep_reference(struct run *r, struct moeq_error *err)
{
    const struct moeq_windows *w = r->task->windows;
    const struct moeq_trace_store store = moeq_trace_memory_store(&r->memory);
    enum moeq_status status = MOEQ_OK;
    if (r->out->has_drift)
        status = moeq_trace_memory_init(&r->memory, &r->shape, w->n_windows * w->context, err);
    return status ? status
                  : sweep_model(r, &r->reference, r->task->reference, &r->plan->reference,
                                r->out->has_drift ? &store : NULL, NULL, err);
}

static enum moeq_status sweep_source(struct run *r, struct moeq_error *err)
{
    const struct moeq_evaluation_task *t = r->task;
    const struct moeq_trace_store store = t->save       ? moeq_baseline_keep(t->save)
                                          : t->baseline ? moeq_baseline_fetch(t->baseline)
                                                        : moeq_trace_memory_store(&r->memory);
    enum moeq_status status = MOEQ_OK;
    if (r->out->has_drift)
        status = moeq_drift_init(&r->out->drift, &r->shape, err);
    return status ? status
                  : sweep_model(r, &r->sweep, t->source, &r->plan->sweep,
                                t->save || r->out->has_drift ? &store : NULL,
                                r->out->has_drift ? &r->out->drift : NULL, err);
}

/* ---- all of it ---- */

static enum moeq_status check_vocabularies(const struct moeq_evaluation_task *t, struct moeq_error *err)
{
    const uint32_t has = t->source->config.vocabulary, other = t->reference  ? t->reference->config.vocabulary
                                                               : t->baseline ? t->baseline->header.vocabulary
                                                                             : has;
    return has == other ? MOEQ_OK
                        : moeq_fail(err, MOEQ_USAGE, "the reference has a vocabulary of %u, the model of %u",
                                    other, has);
}

bool moeq_evaluation_has_layers(const struct moeq_evaluation_task *t)
{
    const struct moeq_trace_shape shape = moeq_trace_shape(&t->source->config);
    if (!t->reference)
        return t->baseline && moeq_trace_shape_equal(&shape, &t->baseline->header.trace);
    const struct moeq_trace_shape other = moeq_trace_shape(&t->reference->config);
    return moeq_trace_shape_equal(&shape, &other);
}

static enum moeq_status score(struct run *r, struct moeq_error *err)
{
    const struct moeq_evaluation_task *t = r->task;
    const struct moeq_windows *w = t->windows;
    const struct moeq_scoring_task scoring = {.windows = w,
                                              .sweep = &r->sweep,
                                              .reference = t->reference ? &r->reference : NULL,
                                              .baseline = t->baseline,
                                              .save = t->save,
                                              .scores = r->out->scores};
    enum moeq_status status = moeq_score_all(&scoring, err);
    return status ? status
                  : moeq_paired_of(r->out->scores, w->n_windows, w->n_scored, r->out->compared,
                                   &r->out->paired, err);
}

enum moeq_status moeq_evaluate(const struct moeq_evaluation_task *task,
                               const struct moeq_evaluation_plan *plan, struct moeq_pool *pool,
                               struct moeq_progress *progress, struct moeq_evaluation *out,
                               struct moeq_error *err)
{
    struct run r = {.task = task,
                    .plan = plan,
                    .pool = pool,
                    .progress = progress,
                    .shape = moeq_trace_shape(&task->source->config),
                    .sweep.run.states.fd = -1,
                    .reference.run.states.fd = -1,
                    .out = out};
    *out = (struct moeq_evaluation){.compared = task->reference || task->baseline,
                                    .has_drift = moeq_evaluation_has_layers(task)};
    enum moeq_status status = check_vocabularies(task, err);
    if (!status && !(out->scores = moeq_calloc(task->windows->n_windows * task->windows->n_scored,
                                               sizeof *out->scores, err)))
        status = MOEQ_OVER_MEMORY;
    if (!status && task->reference)
        status = sweep_reference(&r, err);
    if (!status)
        status = sweep_source(&r, err);
    moeq_trace_memory_free(&r.memory);
    if (!status)
        status = score(&r, err);
    moeq_sweep_free(&r.sweep);
    moeq_sweep_free(&r.reference);
    if (status)
        moeq_evaluation_free(out);
    return status;
}

/* ---- memory ---- */

/* What is kept of tokens from beginning to end. */
static uint64_t token_bytes(const struct moeq_evaluation_task *task)
{
    const struct moeq_windows *w = task->windows;
    const struct moeq_config *config = &task->source->config;
    const uint64_t n_tokens = w->n_windows * w->context;
    const bool traced = task->reference || task->baseline || task->save || task->will_save;
    return w->n_windows * w->n_scored * sizeof(struct moeq_score) +
           (traced ? moeq_trace_bytes(config, n_tokens) : 0) +
           (task->reference ? moeq_trace_memory_bytes(config, n_tokens) : 0);
}

struct moeq_evaluation_plan moeq_evaluate_plan_of(const struct moeq_config *config,
                                                  const struct moeq_sweep_plan *sweep,
                                                  const struct moeq_windows *windows, unsigned n_jobs)
{
    struct moeq_evaluation_plan plan = {
        .sweep = *sweep,
        .tokens = windows->n_windows * windows->n_scored * sizeof(struct moeq_score),
        .scoring = sweep->head + moeq_scoring_bytes(config, windows, n_jobs, 1, false)};
    plan.total = plan.tokens + moeq_larger(sweep->total, sweep->kept + plan.scoring);
    return plan;
}

/* Both sweeps in `budget`, each with its hidden states in a file where they need more; the reference goes
 * first. */
static struct moeq_evaluation_plan plan_both(const struct moeq_evaluation_task *task, unsigned n_jobs,
                                             uint64_t budget)
{
    const struct moeq_windows *w = task->windows;
    const struct moeq_source *const models[2] = {task->source, task->reference};
    const bool excerpts = task->baseline || task->save || task->will_save;
    struct moeq_evaluation_plan plan = {.tokens = token_bytes(task)};
    struct moeq_sweep_plan sweeps[2] = {{0}};
    for (int i = 0; i < 2 && models[i]; i++) {
        const struct moeq_sweep_weights weights = moeq_sweep_weights(models[i], w->context);
        sweeps[i] = moeq_sweep_plan(&models[i]->config, &weights, w->n_windows, w->context, n_jobs, budget);
        plan.scoring += sweeps[i].head;
    }
    plan.sweep = sweeps[0];
    plan.reference = sweeps[1];
    plan.scoring += moeq_scoring_bytes(&task->source->config, w, n_jobs, models[1] ? 2 : 1, excerpts);
    const uint64_t kept = plan.reference.kept;
    plan.total = moeq_larger(plan.reference.total, kept + plan.sweep.total);
    plan.total = plan.tokens + moeq_larger(plan.total, kept + plan.sweep.kept + plan.scoring);
    return plan;
}

struct moeq_evaluation_plan moeq_evaluate_plan(const struct moeq_evaluation_task *task, unsigned n_jobs,
                                               uint64_t budget)
{
    const struct moeq_evaluation_plan all = plan_both(task, n_jobs, UINT64_MAX);
    if (all.total <= budget)
        return all;
    /* In memory neither may be: what one keeps is not there for the other, nor for the heads. */
    uint64_t least = all.sweep.total;
    if (task->reference && all.reference.total < least)
        least = all.reference.total;
    const uint64_t left = budget < all.tokens ? 0 : budget - all.tokens;
    return plan_both(task, n_jobs, left < least ? left : least - 1);
}
