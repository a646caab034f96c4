/* The feed-forward half of a layer: dense, or router, shared experts and routed experts. */
#include "branches.h"
#include "experts.h"
#include "mlp.h"
#include "model.h"
#include "router.h"

#include <math.h>
#include <stdlib.h>

#define TOKEN_GRAIN 16

struct ffn {
    struct moeq_run *run;
    int layer;
    bool moe;
    float *norm;
    struct moeq_matrix router;
    float *router_bias;
    struct moeq_mlp mlp;   /* that every token goes through; as loaded, then that of the current branch */
    struct moeq_mlp *sets; /* [branches], NULL: none */
    size_t branch;         /* whose inputs are shown */
    float *logits;         /* [chunk, n_experts] */
    float *router_scratch; /* [jobs, 2 * n_experts] */
    uint64_t first;        /* token of the group that the current chunk begins with */
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

static enum moeq_status norm_tokens(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                    struct moeq_error *err)
{
    const struct ffn *f = context;
    const struct moeq_states *states = &f->run->states;
    const uint64_t width = states->width;
    (void)worker;
    (void)err;
    for (uint64_t t = begin; t < end; t++)
        moeq_rms_norm(states->hidden + t * width, f->norm, width, f->run->config->norm_eps,
                      states->normed + t * width);
    return MOEQ_OK;
}

static enum moeq_status route_tokens(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                     struct moeq_error *err)
{
    const struct ffn *f = context;
    const struct moeq_config *c = f->run->config;
    float *scratch = f->router_scratch + (uint64_t)worker * 2 * c->n_experts;
    for (uint64_t t = begin; t < end; t++) {
        float *logits = f->logits + t * c->n_experts;
        for (uint32_t e = 0; e < c->n_experts; e++)
            if (!isfinite(logits[e]))
                return moeq_fail(err, MOEQ_DAMAGED,
                                 "the router's output is not finite: weights of this or an "
                                 "earlier layer are damaged");
        const uint64_t at = (f->run->states.first + f->first + t) * c->top_k;
        moeq_router_choose(c, logits, f->router_bias, scratch, f->run->experts + at, f->run->weights + at);
    }
    return MOEQ_OK;
}

static enum moeq_status route_group(struct ffn *f, struct moeq_error *err)
{
    struct moeq_run *run = f->run;
    const struct moeq_config *c = run->config;
    const struct moeq_states *states = &run->states;
    enum moeq_status status = MOEQ_OK;
    for (f->first = 0; !status && f->first < states->n; f->first += run->chunk) {
        const uint64_t left = states->n - f->first, n = left < run->chunk ? left : run->chunk;
        status =
            moeq_activations_set(&run->inputs, run->pool, MOEQ_EXACT, states->normed + f->first * c->hidden,
                                 c->hidden, NULL, n, c->hidden, err);
        if (!status)
            status =
                moeq_matmul(run->pool, &run->scratch, &f->router, &run->inputs, f->logits, c->n_experts, err);
        if (!status)
            status = moeq_pool_for(run->pool, n, TOKEN_GRAIN, route_tokens, f, err);
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
    enum moeq_status status = moeq_pool_for(f->run->pool, f->run->states.n, TOKEN_GRAIN, norm_tokens, f, err);
    if (!status && f->moe && f->run->observer)
        status = observe_router(f, err);
    return status || !f->moe ? status : route_group(f, err);
}

static enum moeq_status load_router(struct ffn *f, struct moeq_error *err)
{
    struct moeq_run *run = f->run;
    const struct moeq_config *c = run->config;
    const struct moeq_weight *weight = moeq_source_part(run->source, MOEQ_PART_ROUTER, f->layer, -1);
    enum moeq_status status = moeq_source_load(run->source, &weight, 1, &run->packed, &f->router, err);
    if (!status && c->correction_bias)
        status = moeq_model_vector(run->source, MOEQ_PART_ROUTER_BIAS, f->layer, &f->router_bias, err);
    if (!status && !(f->router_scratch = moeq_calloc((uint64_t)moeq_pool_jobs(run->pool) * 2 * c->n_experts,
                                                     sizeof *f->router_scratch, err)))
        status = MOEQ_OVER_MEMORY;
    return status;
}

/* Norms all tokens, and chooses their experts. */
static enum moeq_status prepare(struct ffn *f, struct moeq_error *err)
{
    struct moeq_run *run = f->run;
    enum moeq_status status = moeq_model_vector(run->source, MOEQ_PART_FFN_NORM, f->layer, &f->norm, err);
    if (!status)
        status = moeq_bytes_resize(&run->work, (size_t)moeq_layer_work_bytes(run->config, run->chunk), err);
    f->logits = (float *)(void *)run->work.data;
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
