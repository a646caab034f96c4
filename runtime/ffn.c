/* The feed-forward half of a layer: dense, or router, shared experts and routed experts. */
#include "branches.h"
#include "experts.h"
#include "mlp.h"
#include "model.h"
#include "routing.h"

#include <stdlib.h>

struct ffn {
    struct moeq_run *run;
    int layer;
    bool moe;
    float *norm;
    struct moeq_routing routing;
    float *router_bias, *router_scratch;
    struct moeq_mlp mlp;   /* that every token goes through; as loaded, then that of the current branch */
    struct moeq_mlp *sets; /* [branches], NULL: none */
    size_t branch;         /* whose inputs are shown */
};

uint64_t moeq_chunk_tokens(const struct moeq_run *run, uint64_t first, uint64_t left)
{
    uint64_t n = left < run->chunk ? left : run->chunk;
    for (size_t i = 0; i < run->n_ends; i++)
        if (run->ends[i] > first)
            return run->ends[i] - first < n ? run->ends[i] - first : n;
    return n;
}

/* ---- norm and router ---- */

static enum moeq_status route_group(struct ffn *f, struct moeq_error *err)
{
    struct moeq_run *run = f->run;
    const struct moeq_states *states = &run->states;
    const uint64_t top_k = run->config->top_k;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t first = 0; !status && first < states->n; first += run->chunk) {
        const uint64_t left = states->n - first, n = left < run->chunk ? left : run->chunk;
        const uint64_t at = (states->first + first) * top_k;
        status = moeq_route(run, &f->routing, states->normed + first * states->width, n, run->experts + at,
                            run->weights + at, err);
    }
    return status;
}

static enum moeq_status observe_router(const struct ffn *f, struct moeq_error *err)
{
    const struct moeq_states *states = &f->run->states;
    const struct moeq_observer *o = f->run->observer;
    const struct moeq_inputs inputs = {.layer = f->layer,
                                       .expert = -1,
                                       .part = MOEQ_PART_ROUTER,
                                       .width = states->width,
                                       .n = states->n,
                                       .x = states->normed,
                                       .first = states->first};
    return o->inputs(o->context, &inputs, err);
}

static enum moeq_status prepare_group(void *context, struct moeq_error *err)
{
    struct ffn *f = context;
    const struct moeq_states *states = &f->run->states;
    const uint64_t width = states->width;
    enum moeq_status status = moeq_norm_rows(f->run->pool, states->hidden, width, f->norm, states->n, width,
                                             f->run->config->norm_eps, states->normed, width, err);
    if (!status && f->moe && f->run->observer)
        status = observe_router(f, err);
    return status || !f->moe ? status : route_group(f, err);
}

static enum moeq_status load_router(struct ffn *f, struct moeq_error *err)
{
    struct moeq_run *run = f->run;
    const struct moeq_config *c = run->config;
    const struct moeq_weight *weight = moeq_source_part(run->source, MOEQ_PART_ROUTER, f->layer, -1);
    enum moeq_status status =
        moeq_source_load(run->source, &weight, 1, &run->packed, &f->routing.router, err);
    if (!status && c->correction_bias)
        status = moeq_model_vector(run->source, MOEQ_PART_ROUTER_BIAS, f->layer, &f->router_bias, err);
    if (!status && !(f->router_scratch = moeq_calloc((uint64_t)moeq_pool_jobs(run->pool) * 2 * c->n_experts,
                                                     sizeof *f->router_scratch, err)))
        status = MOEQ_OVER_MEMORY;
    f->routing.bias = f->router_bias;
    f->routing.scratch = f->router_scratch;
    return status;
}

/* Norms all tokens, and chooses their experts. */
static enum moeq_status prepare(struct ffn *f, struct moeq_error *err)
{
    struct moeq_run *run = f->run;
    enum moeq_status status = moeq_model_vector(run->source, MOEQ_PART_FFN_NORM, f->layer, &f->norm, err);
    if (!status)
        status = moeq_bytes_resize(&run->work, (size_t)moeq_layer_work_bytes(run->config, run->chunk), err);
    f->routing.logits = (float *)(void *)run->work.data;
    if (!status && f->moe)
        status = load_router(f, err);
    if (!status)
        status = moeq_states_each(&run->states, MOEQ_HIDDEN, MOEQ_NORMED, prepare_group, f, err);
    if (status == MOEQ_DAMAGED && f->moe)
        moeq_error_in_tensor(err, moeq_source_part(run->source, MOEQ_PART_ROUTER, f->layer, -1)->name);
    return status;
}

/* ---- the MLP that every token goes through ---- */

static enum moeq_status ask_mlp(struct moeq_run *run, int layer, struct moeq_error *err)
{
    if (!moeq_config_layer_is_moe(run->config, (uint32_t)layer))
        return moeq_mlp_ask(run, MOEQ_PART_DENSE_GATE, layer, -1, err);
    return run->config->n_shared ? moeq_mlp_ask(run, MOEQ_PART_SHARED_GATE, layer, -1, err) : MOEQ_OK;
}

enum moeq_status moeq_layer_ask(struct moeq_run *run, int layer, struct moeq_error *err)
{
    if ((uint32_t)layer >= run->config->n_layers)
        return MOEQ_OK;
    enum moeq_status status = moeq_layer_ask_attention(run, layer, err);
    return status ? status : ask_mlp(run, layer, err);
}

/* Shows the inputs of a chunk of the group, and adds the outputs if asked for. */
static enum moeq_status show_chunk(struct ffn *f, struct moeq_seer seer, uint64_t t, uint64_t n, bool adds,
                                   struct moeq_error *err)
{
    struct moeq_states *states = &f->run->states;
    const uint64_t width = states->width;
    const struct moeq_inputs inputs = {.layer = f->layer,
                                       .expert = -1,
                                       .part = f->moe ? MOEQ_PART_SHARED_GATE : MOEQ_PART_DENSE_GATE,
                                       .width = width,
                                       .n = n,
                                       .x = states->normed + t * width,
                                       .first = states->first + t};
    const struct moeq_sums to = {.y = states->hidden + t * width, .ldy = width};
    return moeq_mlp_show(f->run, &f->mlp, seer, &inputs, adds ? &to : NULL, err);
}

static enum moeq_status add_group(void *context, struct moeq_error *err)
{
    struct ffn *f = context;
    struct moeq_run *run = f->run;
    const struct moeq_observer *o = run->observer;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t t = 0, n; !status && t < run->states.n; t += n) {
        const uint64_t first = run->states.first + t;
        n = moeq_chunk_tokens(run, first, run->states.n - t);
        if (f->sets)
            f->mlp = f->sets[moeq_branch_of(run->branches, first)];
        status = o ? show_chunk(f, (struct moeq_seer){o->context, o->inputs}, t, n, true, err)
                   : moeq_mlp_add(run, &f->mlp, t, NULL, NULL, n, err);
    }
    return status;
}

static enum moeq_status show_group(void *context, struct moeq_error *err)
{
    struct ffn *f = context;
    struct moeq_run *run = f->run;
    const struct moeq_seer seer = {run->branches->context, run->branches->inputs};
    enum moeq_status status = MOEQ_OK;
    for (uint64_t t = 0, n; !status && t < run->states.n; t += n) {
        const uint64_t first = run->states.first + t;
        n = moeq_chunk_tokens(run, first, run->states.n - t);
        if (moeq_branch_of(run->branches, first) == f->branch)
            status = show_chunk(f, seer, t, n, false, err);
    }
    return status;
}

static enum moeq_status show_branch(void *context, size_t branch, struct moeq_error *err)
{
    struct ffn *f = context;
    f->branch = branch;
    return moeq_states_each(&f->run->states, MOEQ_NORMED, 0, show_group, f, err);
}

static enum moeq_status replace_mlp(struct ffn *f, struct moeq_error *err)
{
    const struct moeq_run *run = f->run;
    const struct moeq_weight *weights[3];
    const struct moeq_unit unit = {f->layer, -1, weights, 3};
    const struct moeq_matrix loaded[3] = {f->mlp.gate, f->mlp.up, f->mlp.down};
    moeq_mlp_weights(run->source, f->moe ? MOEQ_PART_SHARED_GATE : MOEQ_PART_DENSE_GATE, f->layer, -1,
                     weights);
    f->sets = moeq_calloc(run->branches->n, sizeof *f->sets, err);
    return f->sets ? moeq_branches_replace(run->branches, &unit, loaded, show_branch, f, &f->sets->gate, err)
                   : MOEQ_OVER_MEMORY;
}

static enum moeq_status run_for_all(struct ffn *f, struct moeq_error *err)
{
    struct moeq_run *run = f->run;
    enum moeq_status status = moeq_mlp_get(run, &f->mlp, err);
    if (!status && run->branches)
        status = replace_mlp(f, err);
    if (!status)
        status = moeq_states_each(&run->states, MOEQ_HIDDEN | MOEQ_NORMED, MOEQ_HIDDEN, add_group, f, err);
    moeq_loader_release(run->loader);
    free(f->sets);
    return status;
}

enum moeq_status moeq_layer_ffn(struct moeq_run *run, int layer, struct moeq_error *err)
{
    struct ffn f = {
        .run = run, .layer = layer, .moe = moeq_config_layer_is_moe(run->config, (uint32_t)layer)};
    enum moeq_status status = prepare(&f, err);
    if (!status && f.moe)
        status = moeq_experts_ask(run, layer, err);
    if (!status)
        status = moeq_layer_ask(run, layer + 1, err);
    if (!status && (!f.moe || run->config->n_shared))
        status = run_for_all(&f, err);
    if (!status && f.moe)
        status = moeq_experts_run(run, layer, err);
    free(f.norm);
    free(f.router_bias);
    free(f.router_scratch);
    return status;
}
