#include "sweep.h"

#include "indexer.h"
#include "interrupt.h"
#include "model.h"

#include <stdlib.h>

static enum moeq_status allocate(struct moeq_run *run, const struct moeq_sweep_plan *plan,
                                 struct moeq_error *err)
{
    const struct moeq_config *c = run->config;
    enum moeq_status status = moeq_states_init(&run->states, run->n_tokens, plan->group, c->hidden, err);
    if (status)
        return status;
    run->experts = moeq_calloc(run->n_tokens * c->top_k, sizeof *run->experts, err);
    run->weights = moeq_calloc(run->n_tokens * c->top_k, sizeof *run->weights, err);
    if (moeq_indexer_is_needed(c, run->context) &&
        !(run->selected = moeq_calloc(run->n_tokens, moeq_selected_row(run->context), err)))
        return MOEQ_OVER_MEMORY;
    run->loader = moeq_loader_create(run->source, run->ring, err);
    if (!run->experts || !run->weights || !run->loader)
        return MOEQ_OVER_MEMORY;
    status = moeq_rope_init(&run->rope, c, (uint32_t)run->context, err);
    return status ? status : moeq_scratch_init(&run->scratch, run->pool, err);
}

enum moeq_status moeq_sweep_init(struct moeq_sweep *sweep, const struct moeq_source *source,
                                 struct moeq_pool *pool, uint64_t n_windows, uint64_t context,
                                 enum moeq_arithmetic arithmetic, const struct moeq_sweep_plan *plan,
                                 struct moeq_error *err)
{
    *sweep = (struct moeq_sweep){.run.states.fd = -1};
    struct moeq_run *run = &sweep->run;
    if (context < 1 || context > UINT32_MAX || n_windows < 1 || n_windows > UINT32_MAX / context)
        return moeq_fail(err, MOEQ_USAGE, "windows x context must be between 1 and 2^32 tokens");
    run->source = source;
    run->config = &source->config;
    run->pool = pool;
    run->context = context;
    run->n_tokens = n_windows * context;
    run->arithmetic = arithmetic == MOEQ_FAST && run->n_tokens <= MOEQ_FEW_TOKENS ? MOEQ_FEW : arithmetic;
    run->attention_scale = (float)moeq_attention_scale(run->config);
    enum moeq_status status = moeq_model_check(source, err);
    if (status)
        return status;
    struct moeq_sweep_plan everything;
    if (!plan) {
        const struct moeq_sweep_weights weights = moeq_sweep_weights(source, context);
        everything =
            moeq_sweep_plan(run->config, &weights, n_windows, context, moeq_pool_jobs(pool), UINT64_MAX);
        plan = &everything;
    }
    run->chunk = plan->chunk;
    run->ring = plan->ring;
    status = allocate(run, plan, err);
    if (status)
        moeq_sweep_free(sweep);
    return status;
}

/* Everything but the hidden states. */
static void release_work(struct moeq_run *run)
{
    free(run->experts);
    free(run->weights);
    moeq_loader_rest(run->loader);
    moeq_scratch_rest(&run->scratch);
    moeq_bytes_free(&run->packed);
    moeq_bytes_free(&run->work);
    moeq_bytes_free(&run->observed);
    moeq_activations_free(&run->inputs);
    moeq_activations_free(&run->gated);
    free(run->selected);
    moeq_bytes_free(&run->indexer_packed);
    moeq_bytes_free(&run->indexer_work);
    run->selected = NULL;
    run->experts = NULL;
    run->weights = NULL;
}

void moeq_sweep_free(struct moeq_sweep *sweep)
{
    release_work(&sweep->run);
    moeq_loader_free(sweep->run.loader);
    moeq_states_free(&sweep->run.states);
    moeq_rope_free(&sweep->run.rope);
    moeq_scratch_free(&sweep->run.scratch);
    moeq_activations_free(&sweep->run.inputs);
    moeq_bytes_free(&sweep->head_bytes);
    *sweep = (struct moeq_sweep){0};
}

/* ---- before and behind the layers ---- */

struct embedding {
    struct moeq_run *run;
    struct moeq_matrix table;
    const int32_t *tokens;
};

static enum moeq_status embed_group(void *context, struct moeq_error *err)
{
    const struct embedding *e = context;
    struct moeq_states *states = &e->run->states;
    for (uint64_t t = 0; t < states->n; t++) {
        const int32_t token = e->tokens[states->first + t];
        if (token < 0 || (uint64_t)token >= e->table.rows)
            return moeq_fail(err, MOEQ_DAMAGED,
                             "the tokenizer gives the id %d, the model has %llu embeddings", (int)token,
                             (unsigned long long)e->table.rows);
        moeq_decode(&e->table, (uint64_t)token, 0, e->table.cols, states->hidden + t * e->table.cols);
    }
    return MOEQ_OK;
}

static enum moeq_status embed(struct moeq_run *run, const int32_t *tokens, struct moeq_error *err)
{
    struct embedding e = {.run = run, .tokens = tokens};
    const struct moeq_weight *weight = moeq_source_part(run->source, MOEQ_PART_EMBED, -1, -1);
    enum moeq_status status = moeq_source_load(run->source, &weight, 1, &run->packed, &e.table, err);
    if (!status)
        status = moeq_states_each(&run->states, 0, MOEQ_HIDDEN, embed_group, &e, err);
    moeq_bytes_free(&run->packed);
    return status;
}

struct norming {
    struct moeq_run *run;
    float *gain;
};

static enum moeq_status norm_group(void *context, struct moeq_error *err)
{
    const struct norming *n = context;
    float *hidden = n->run->states.hidden;
    const uint64_t width = n->run->config->hidden;
    return moeq_norm_rows(n->run->pool, hidden, width, n->gain, n->run->states.n, width,
                          n->run->config->norm_eps, hidden, width, err);
}

static enum moeq_status apply_final_norm(struct moeq_run *run, struct moeq_error *err)
{
    struct norming n = {.run = run};
    enum moeq_status status = moeq_model_vector(run->source, MOEQ_PART_FINAL_NORM, -1, &n.gain, err);
    if (!status)
        status = moeq_states_each(&run->states, MOEQ_HIDDEN, MOEQ_HIDDEN, norm_group, &n, err);
    free(n.gain);
    return status;
}

/* ---- the layers ---- */

struct visit {
    const struct moeq_run *run;
    const struct moeq_visitor *visitor;
    int layer;
};

static enum moeq_status visit_group(void *context, struct moeq_error *err)
{
    const struct visit *v = context;
    const struct moeq_run *run = v->run;
    const uint64_t first = run->states.first, pick = first * run->config->top_k;
    const bool moe = moeq_config_layer_is_moe(run->config, (uint32_t)v->layer);
    const struct moeq_layer_result result = {.layer = v->layer,
                                             .first = first,
                                             .n = run->states.n,
                                             .hidden = run->states.hidden,
                                             .experts = moe ? run->experts + pick : NULL,
                                             .weights = moe ? run->weights + pick : NULL};
    return v->visitor->layer(v->visitor->context, &result, err);
}

static enum moeq_status run_layer(struct moeq_run *run, int layer, const struct moeq_visitor *visitor,
                                  struct moeq_error *err)
{
    enum moeq_status status = moeq_interrupt_check(err);
    if (!status)
        status = moeq_layer_attention(run, layer, err);
    if (!status)
        status = moeq_layer_ffn(run, layer, err);
    struct visit visit = {run, visitor, layer};
    if (!status && visitor && visitor->layer)
        status = moeq_states_each(&run->states, MOEQ_HIDDEN, 0, visit_group, &visit, err);
    if (!status && visitor && visitor->done)
        status = visitor->done(visitor->context, layer, err);
    if (visitor)
        moeq_progress_add(visitor->progress, 1, NULL);
    return status;
}

static void set_visitor(struct moeq_run *run, const struct moeq_visitor *visitor)
{
    run->observer = visitor && visitor->observer.inputs ? &visitor->observer : NULL;
    run->branches = visitor ? visitor->branches : NULL;
    run->ends = run->branches ? run->branches->ends : run->observer ? run->observer->ends : NULL;
    run->n_ends = run->branches ? run->branches->n : run->observer ? run->observer->n_ends : 0;
}

enum moeq_status moeq_sweep_run(struct moeq_sweep *sweep, const int32_t *tokens,
                                const struct moeq_visitor *visitor, struct moeq_error *err)
{
    struct moeq_run *run = &sweep->run;
    set_visitor(run, visitor);
    enum moeq_status status = embed(run, tokens, err);
    if (!status)
        status = moeq_layer_ask(run, 0, err);
    for (uint32_t layer = 0; !status && layer < run->config->n_layers; layer++)
        status = run_layer(run, (int)layer, visitor, err);
    if (!status)
        status = apply_final_norm(run, err);
    moeq_error_in_file(err, run->source->path);
    release_work(run);
    moeq_states_rest(&run->states);
    return status;
}

/* ---- the head ---- */

enum moeq_status moeq_sweep_choose(struct moeq_sweep *sweep, const uint64_t *positions, uint64_t n,
                                   struct moeq_error *err)
{
    struct moeq_run *run = &sweep->run;
    const uint64_t width = run->config->hidden;
    enum moeq_status status = MOEQ_OK;
    if (!sweep->head.data) {
        const struct moeq_weight *weight = moeq_source_part(run->source, MOEQ_PART_HEAD, -1, -1);
        status = moeq_source_load(run->source, &weight, 1, &sweep->head_bytes, &sweep->head, err);
    }
    if (!status)
        status = moeq_bytes_resize(&run->work, (size_t)(n * width * sizeof(float)), err);
    if (status)
        return status;
    float *x = (float *)(void *)run->work.data;
    status = moeq_states_gather(&run->states, MOEQ_HIDDEN, positions, n, x, err);
    return status ? status
                  : moeq_activations_set(&run->inputs, run->pool, run->arithmetic, x, width, NULL, n, width,
                                         err);
}

enum moeq_status moeq_sweep_logits(struct moeq_sweep *sweep, uint64_t first_row, uint64_t n_rows,
                                   float *logits, struct moeq_error *err)
{
    struct moeq_run *run = &sweep->run;
    return moeq_matmul_rows(run->pool, &run->scratch, &sweep->head, first_row, n_rows, &run->inputs, logits,
                            n_rows, err);
}
