/* The feed-forward half of a layer: dense, or router, shared experts and routed experts. */
#include "kernels.h"
#include "layer.h"
#include "model.h"
#include "router.h"

#include <math.h>
#include <stdlib.h>

#define TOKEN_GRAIN 16

struct ffn {
    struct moeq_run *run;
    float *norm;
    float *router_bias;
    struct moeq_matrix gate, up, down;
    float *logits;           /* [chunk, n_experts] */
    float *router_scratch;   /* [jobs, 2 * n_experts] */
    uint64_t first, n_chunk; /* tokens of the current chunk */
};

static enum moeq_status norm_tokens(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                    struct moeq_error *err)
{
    const struct ffn *f = context;
    const struct moeq_run *run = f->run;
    const uint64_t width = run->config->hidden;
    (void)worker;
    (void)err;
    for (uint64_t t = begin; t < end; t++)
        moeq_rms_norm(run->hidden + t * width, f->norm, width, run->config->norm_eps,
                      run->normed + t * width);
    return MOEQ_OK;
}

/* hidden += weight * down(silu(gate x) * (up x)) for n tokens; x [·, hidden] are rows of `normed`. */
static enum moeq_status run_mlp(const struct ffn *f, const float *x, uint64_t n, const struct moeq_sums *to,
                                struct moeq_error *err)
{
    struct moeq_run *run = f->run;
    const uint64_t hidden = run->config->hidden;
    enum moeq_status status =
        moeq_activations_set(&run->inputs, run->pool, run->arithmetic, x, hidden, to->rows, n, hidden, err);
    if (!status)
        status =
            moeq_matmul_gated(run->pool, &run->scratch, &f->gate, &f->up, &run->inputs, &run->gated, err);
    return status ? status : moeq_matmul_add(run->pool, &run->scratch, &f->down, &run->gated, to, err);
}

static void list_mlp(const struct ffn *f, enum moeq_part gate, int layer, int expert,
                     const struct moeq_weight *weights[3])
{
    for (int i = 0; i < 3; i++) /* gate, up and down follow each other in the table of parts */
        weights[i] = moeq_source_part(f->run->source, (enum moeq_part)((int)gate + i), layer, expert);
}

static void ask_mlp(const struct ffn *f, enum moeq_part gate, int layer, int expert)
{
    const struct moeq_weight *weights[3];
    list_mlp(f, gate, layer, expert, weights);
    moeq_loader_ask(f->run->loader, weights, 3);
}

void moeq_layer_ask_ffn(struct moeq_run *run, int layer)
{
    const struct ffn f = {.run = run};
    if (!moeq_config_layer_is_moe(run->config, (uint32_t)layer))
        ask_mlp(&f, MOEQ_PART_DENSE_GATE, layer, -1);
    else if (run->config->n_shared)
        ask_mlp(&f, MOEQ_PART_SHARED_GATE, layer, -1);
}

static enum moeq_status load_mlp(struct ffn *f, enum moeq_part gate, int layer, int expert,
                                 struct moeq_error *err)
{
    struct moeq_matrix m[3];
    const struct moeq_weight *weights[3];
    list_mlp(f, gate, layer, expert, weights);
    enum moeq_status status = moeq_loader_get(f->run->loader, weights, 3, m, err);
    if (status)
        return status;
    f->gate = m[0];
    f->up = m[1];
    f->down = m[2];
    return MOEQ_OK;
}

/* ---- an MLP that every token goes through ---- */

/* `then` is the expert that comes next, or n_experts: the next layer. */
static void ask_next(const struct ffn *f, int layer, uint32_t then)
{
    if (then < f->run->config->n_experts)
        ask_mlp(f, MOEQ_PART_EXPERT_GATE, layer, (int)then);
    else
        moeq_layer_ask_attention(f->run, layer + 1);
}

static enum moeq_status run_for_all(struct ffn *f, enum moeq_part gate, int layer, uint32_t then,
                                    struct moeq_error *err)
{
    struct moeq_run *run = f->run;
    enum moeq_status status = load_mlp(f, gate, layer, -1, err);
    if (!status)
        ask_next(f, layer, then);
    for (f->first = 0; !status && f->first < run->n_tokens; f->first += run->chunk) {
        uint64_t left = run->n_tokens - f->first;
        f->n_chunk = left < run->chunk ? left : run->chunk;
        const uint64_t at = f->first * run->config->hidden;
        const struct moeq_sums to = {.y = run->hidden + at, .ldy = run->config->hidden};
        status = run_mlp(f, run->normed + at, f->n_chunk, &to, err);
    }
    return status;
}

/* ---- router ---- */

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
        uint64_t at = (f->first + t) * c->top_k;
        moeq_router_choose(c, logits, f->router_bias, scratch, f->run->experts + at, f->run->weights + at);
    }
    return MOEQ_OK;
}

static enum moeq_status route(struct ffn *f, int layer, struct moeq_error *err)
{
    struct moeq_run *run = f->run;
    const struct moeq_config *c = run->config;
    struct moeq_matrix router;
    const struct moeq_weight *weight = moeq_source_part(run->source, MOEQ_PART_ROUTER, layer, -1);
    enum moeq_status status = moeq_source_load(run->source, &weight, 1, &run->packed, &router, err);
    if (!status && c->correction_bias)
        status = moeq_model_vector(run->source, MOEQ_PART_ROUTER_BIAS, layer, &f->router_bias, err);
    if (!status && !(f->router_scratch = moeq_calloc((uint64_t)moeq_pool_jobs(run->pool) * 2 * c->n_experts,
                                                     sizeof *f->router_scratch, err)))
        status = MOEQ_OVER_MEMORY;
    for (f->first = 0; !status && f->first < run->n_tokens; f->first += run->chunk) {
        uint64_t left = run->n_tokens - f->first;
        f->n_chunk = left < run->chunk ? left : run->chunk;
        status = moeq_activations_set(&run->inputs, run->pool, MOEQ_EXACT, run->normed + f->first * c->hidden,
                                      c->hidden, NULL, f->n_chunk, c->hidden, err);
        if (!status)
            status =
                moeq_matmul(run->pool, &run->scratch, &router, &run->inputs, f->logits, c->n_experts, err);
        if (!status)
            status = moeq_pool_for(run->pool, f->n_chunk, TOKEN_GRAIN, route_tokens, f, err);
    }
    if (status)
        moeq_error_in_tensor(err, weight->name);
    return status;
}

/* ---- routed experts ---- */

/* Tokens sorted by expert, ascending in both: begins[e] … begins[e+1] index tokens and weights. */
struct assignment {
    uint64_t *begins;
    uint32_t *tokens;
    float *weights;
};

static void free_assignment(struct assignment *a)
{
    free(a->begins);
    free(a->tokens);
    free(a->weights);
}

static enum moeq_status assign(const struct moeq_run *run, struct assignment *a, struct moeq_error *err)
{
    const struct moeq_config *c = run->config;
    const uint64_t n = run->n_tokens * c->top_k;
    *a = (struct assignment){0};
    a->begins = moeq_calloc((uint64_t)c->n_experts + 2, sizeof *a->begins, err);
    a->tokens = moeq_calloc(n, sizeof *a->tokens, err);
    a->weights = moeq_calloc(n, sizeof *a->weights, err);
    if (!a->begins || !a->tokens || !a->weights)
        return MOEQ_OVER_MEMORY;
    for (uint64_t i = 0; i < n; i++)
        a->begins[run->experts[i] + 2]++;
    for (uint32_t e = 2; e < c->n_experts + 2; e++)
        a->begins[e] += a->begins[e - 1];
    for (uint64_t i = 0; i < n; i++) { /* begins[e + 1] walks from the start of e to its end */
        uint64_t at = a->begins[run->experts[i] + 1]++;
        a->tokens[at] = (uint32_t)(i / c->top_k);
        a->weights[at] = run->weights[i];
    }
    return MOEQ_OK;
}

/* The first expert from `expert` on that has tokens, or n_experts. */
static uint32_t next_expert(const struct ffn *f, const struct assignment *a, uint32_t expert)
{
    while (expert < f->run->config->n_experts && a->begins[expert] == a->begins[expert + 1])
        expert++;
    return expert;
}

static enum moeq_status run_expert(struct ffn *f, const struct assignment *a, int layer, uint32_t expert,
                                   struct moeq_error *err)
{
    struct moeq_run *run = f->run;
    const uint64_t begin = a->begins[expert], end = a->begins[expert + 1];
    enum moeq_status status = load_mlp(f, MOEQ_PART_EXPERT_GATE, layer, (int)expert, err);
    if (!status)
        ask_next(f, layer, next_expert(f, a, expert + 1));
    for (uint64_t i = begin; !status && i < end; i += run->chunk) {
        const struct moeq_sums to = {run->hidden, run->config->hidden, a->tokens + i, a->weights + i};
        status = run_mlp(f, run->normed, end - i < run->chunk ? end - i : run->chunk, &to, err);
    }
    return status;
}

static enum moeq_status run_moe(struct ffn *f, int layer, struct moeq_error *err)
{
    const struct moeq_config *c = f->run->config;
    struct assignment a = {0};
    enum moeq_status status = route(f, layer, err);
    if (!status)
        status = assign(f->run, &a, err);
    const uint32_t first = status ? c->n_experts : next_expert(f, &a, 0);
    if (!status && c->n_shared)
        status = run_for_all(f, MOEQ_PART_SHARED_GATE, layer, first, err);
    for (uint32_t e = first; !status && e < c->n_experts; e = next_expert(f, &a, e + 1))
        status = run_expert(f, &a, layer, e, err);
    free_assignment(&a);
    return status;
}

enum moeq_status moeq_layer_ffn(struct moeq_run *run, int layer, struct moeq_error *err)
{
    struct ffn f = {.run = run};
    enum moeq_status status = moeq_model_vector(run->source, MOEQ_PART_FFN_NORM, layer, &f.norm, err);
    if (!status)
        status = moeq_bytes_resize(&run->work, (size_t)moeq_layer_work_bytes(run->config, run->chunk), err);
    if (!status) {
        f.logits = (float *)(void *)run->work.data;
        status = moeq_pool_for(run->pool, run->n_tokens, TOKEN_GRAIN, norm_tokens, &f, err);
    }
    if (!status)
        status = moeq_config_layer_is_moe(run->config, (uint32_t)layer)
                     ? run_moe(&f, layer, err)
                     : run_for_all(&f, MOEQ_PART_DENSE_GATE, layer, run->config->n_experts, err);
    free(f.norm);
    free(f.router_bias);
    free(f.router_scratch);
    return status;
}
