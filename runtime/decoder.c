#include "decoder.h"

#include "indexer.h"
#include "interrupt.h"
#include "model.h"
#include "routing.h"

#include <stdlib.h>

#define TOKEN_GRAIN 16

/* ---- making one ---- */

static uint64_t q_width(const struct moeq_config *c)
{
    return (uint64_t)c->n_heads * (c->qk_nope + c->qk_rope);
}

static uint64_t kv_a_width(const struct moeq_config *c)
{
    return (uint64_t)c->kv_rank + c->qk_rope;
}

static enum moeq_status check(const struct moeq_source *source, uint64_t n_positions, struct moeq_error *err)
{
    enum moeq_status status = moeq_model_check(source, err);
    if (status || !moeq_indexer_is_needed(&source->config, n_positions))
        return status;
    moeq_fail(
        err, MOEQ_UNSUPPORTED,
        "prompt and answer have up to %llu tokens: beyond %u this model attends to keys that an indexer "
        "chooses, which generating does not compute",
        (unsigned long long)n_positions, source->config.index_top_k);
    moeq_error_in_file(err, source->path);
    moeq_error_hint(err, "give a shorter prompt, or a smaller --max-tokens");
    return MOEQ_UNSUPPORTED;
}

static enum moeq_status allocate_work(struct moeq_decoder *d, struct moeq_error *err)
{
    const struct moeq_config *c = d->run.config;
    const uint64_t n = d->plan.chunk, v_width = (uint64_t)c->n_heads * c->v_width;
    struct moeq_decoder_work *w = &d->work;
    const struct {
        float **to;
        uint64_t width;
    } arrays[] = {{&w->hidden, c->hidden},   {&w->normed, c->hidden},   {&w->latent, c->q_rank},
                  {&w->q, q_width(c)},       {&w->kv_a, kv_a_width(c)}, {&w->heads, v_width},
                  {&w->logits, c->n_experts}};
    const size_t n_arrays = sizeof arrays / sizeof *arrays;
    uint64_t width = 0;
    for (size_t i = 0; i < n_arrays; i++)
        width += arrays[i].width;
    w->all = moeq_calloc(n * width, sizeof(float), err);
    float *next = w->all;
    for (size_t i = 0; next && i < n_arrays; next += n * arrays[i++].width)
        *arrays[i].to = next;
    d->run.experts = moeq_calloc(n * c->top_k, sizeof *d->run.experts, err);
    d->run.weights = moeq_calloc(n * c->top_k, sizeof *d->run.weights, err);
    d->router_scratch =
        moeq_calloc((uint64_t)moeq_pool_jobs(d->run.pool) * 2 * c->n_experts, sizeof(float), err);
    d->places = moeq_calloc(n, sizeof *d->places, err);
    d->lengths = moeq_calloc(d->plan.n_sequences, sizeof *d->lengths, err);
    if (!w->all || !d->run.experts || !d->run.weights || !d->router_scratch || !d->places || !d->lengths)
        return MOEQ_OVER_MEMORY;
    return moeq_assignment_init(&d->assignment, c->n_experts, n * c->top_k, err);
}

static enum moeq_status load_ends(struct moeq_decoder *d, struct moeq_error *err)
{
    const struct moeq_source *s = d->run.source;
    const struct moeq_weight *embed = moeq_source_part(s, MOEQ_PART_EMBED, -1, -1);
    const struct moeq_weight *head = moeq_source_part(s, MOEQ_PART_HEAD, -1, -1);
    enum moeq_status status = moeq_source_load(s, &embed, 1, &d->embed_bytes, &d->embed, err);
    if (!status)
        status = moeq_source_load(s, &head, 1, &d->head_bytes, &d->head, err);
    return status ? status : moeq_model_vector(s, MOEQ_PART_FINAL_NORM, -1, &d->final_norm, err);
}

enum moeq_status moeq_decoder_init(struct moeq_decoder *decoder, const struct moeq_source *source,
                                   struct moeq_pool *pool, const struct moeq_decoder_plan *plan,
                                   struct moeq_error *err)
{
    struct moeq_decoder *d = decoder;
    *d = (struct moeq_decoder){
        .run = {.source = source, .config = &source->config, .pool = pool, .states.fd = -1}, .plan = *plan};
    enum moeq_status status = check(source, plan->n_positions, err);
    if (!status && (plan->n_positions > UINT32_MAX || plan->n_sequences > UINT32_MAX))
        status = moeq_fail(err, MOEQ_USAGE, "a sequence can have 2^32 tokens at most");
    if (status)
        return status;
    d->run.attention_scale = (float)moeq_attention_scale(d->run.config);
    status = moeq_rope_init(&d->run.rope, d->run.config, (uint32_t)plan->n_positions, err);
    if (!status)
        status = moeq_scratch_init(&d->run.scratch, pool, err);
    if (!status)
        status = moeq_layers_init(&d->layers, source, plan->kept_layers, err);
    if (!status)
        status =
            moeq_latent_cache_init(&d->latents, d->run.config, plan->n_sequences, plan->n_positions, err);
    if (!status && !(d->experts = moeq_expert_cache_create(source, plan->experts, err)))
        status = MOEQ_OVER_MEMORY;
    if (!status)
        status = allocate_work(d, err);
    if (!status)
        status = load_ends(d, err);
    moeq_error_in_file(err, source->path);
    if (status)
        moeq_decoder_free(d);
    return status;
}

void moeq_decoder_free(struct moeq_decoder *decoder)
{
    struct moeq_decoder *d = decoder;
    if (!d->run.source)
        return;
    moeq_rope_free(&d->run.rope);
    moeq_scratch_free(&d->run.scratch);
    moeq_activations_free(&d->run.inputs);
    moeq_activations_free(&d->run.gated);
    moeq_layers_free(&d->layers);
    moeq_latent_cache_free(&d->latents);
    moeq_expert_cache_free(d->experts);
    moeq_assignment_free(&d->assignment);
    moeq_bytes_free(&d->embed_bytes);
    moeq_bytes_free(&d->head_bytes);
    free(d->final_norm);
    free(d->run.experts);
    free(d->run.weights);
    free(d->router_scratch);
    free(d->places);
    free(d->lengths);
    free(d->work.all);
    *d = (struct moeq_decoder){0};
}

/* ---- a layer ---- */

/* One step's way through one layer. */
struct passage {
    struct moeq_decoder *d;
    const struct moeq_layer_weights *w;
    uint32_t layer;
    uint64_t n;
};

/* Turns the rope parts of queries and key, and keeps what the tokens behind will look at. */
static enum moeq_status turn_and_keep(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                      struct moeq_error *err)
{
    const struct passage *p = context;
    const struct moeq_decoder *d = p->d;
    const struct moeq_config *c = d->run.config;
    (void)worker;
    (void)err;
    for (uint64_t t = begin; t < end; t++) {
        const struct moeq_place_of_token place = d->places[t];
        float *q = d->work.q + t * q_width(c), *kv_a = d->work.kv_a + t * kv_a_width(c);
        for (uint32_t h = 0; h < c->n_heads; h++)
            moeq_rope_apply(&d->run.rope, place.position, q + h * (c->qk_nope + c->qk_rope) + c->qk_nope);
        moeq_rope_apply(&d->run.rope, place.position, kv_a + c->kv_rank);
        memcpy(moeq_latent_row(&d->latents, p->layer, place.sequence, place.position), kv_a,
               kv_a_width(c) * sizeof *kv_a);
    }
    return MOEQ_OK;
}

static enum moeq_status set_inputs(struct moeq_run *run, const float *x, uint64_t width, uint64_t n,
                                   struct moeq_error *err)
{
    return moeq_activations_set(&run->inputs, run->pool, run->arithmetic, x, width, NULL, n, width, err);
}

static enum moeq_status project(const struct passage *p, struct moeq_error *err)
{
    struct moeq_decoder *d = p->d;
    struct moeq_run *run = &d->run;
    const struct moeq_config *c = run->config;
    const struct moeq_decoder_work *w = &d->work;
    enum moeq_status status = moeq_norm_rows(run->pool, w->hidden, c->hidden, p->w->attention_norm, p->n,
                                             c->hidden, c->norm_eps, w->normed, c->hidden, err);
    if (!status)
        status = set_inputs(run, w->normed, c->hidden, p->n, err);
    if (!status)
        status = moeq_matmul(run->pool, &run->scratch, &p->w->q, &run->inputs, c->q_rank ? w->latent : w->q,
                             c->q_rank ? c->q_rank : q_width(c), err);
    if (!status)
        status =
            moeq_matmul(run->pool, &run->scratch, &p->w->kv_a, &run->inputs, w->kv_a, kv_a_width(c), err);
    if (!status)
        status = moeq_norm_rows(run->pool, w->kv_a, kv_a_width(c), p->w->kv_norm, p->n, c->kv_rank,
                                c->latent_norm_eps, w->kv_a, kv_a_width(c), err);
    if (status || !c->q_rank)
        return status;
    status = moeq_norm_rows(run->pool, w->latent, c->q_rank, p->w->q_norm, p->n, c->q_rank,
                            c->latent_norm_eps, w->latent, c->q_rank, err);
    if (!status)
        status = set_inputs(run, w->latent, c->q_rank, p->n, err);
    return status ? status
                  : moeq_matmul(run->pool, &run->scratch, &p->w->q_b, &run->inputs, w->q, q_width(c), err);
}

static enum moeq_status attend(struct passage *p, struct moeq_error *err)
{
    struct moeq_decoder *d = p->d;
    struct moeq_run *run = &d->run;
    const struct moeq_config *c = run->config;
    const struct moeq_absorbed absorbed = {.config = c,
                                           .kv_b = &p->w->kv_b,
                                           .cache = &d->latents,
                                           .layer = p->layer,
                                           .scale = run->attention_scale,
                                           .q = d->work.q,
                                           .places = d->places,
                                           .n = p->n,
                                           .out = d->work.heads};
    const struct moeq_sums to = {.y = d->work.hidden, .ldy = c->hidden};
    enum moeq_status status = project(p, err);
    if (!status)
        status = moeq_pool_for(run->pool, p->n, TOKEN_GRAIN, turn_and_keep, p, err);
    if (!status)
        status = moeq_absorbed_attend(&absorbed, run->pool, &run->scratch, err);
    if (!status)
        status = set_inputs(run, d->work.heads, (uint64_t)c->n_heads * c->v_width, p->n, err);
    return status ? status : moeq_matmul_add(run->pool, &run->scratch, &p->w->o, &run->inputs, &to, err);
}

/* ---- its experts ---- */

static enum moeq_status route(const struct passage *p, struct moeq_error *err)
{
    struct moeq_decoder *d = p->d;
    const struct moeq_config *c = d->run.config;
    const struct moeq_routing routing = {.router = p->w->router,
                                         .bias = p->w->router_bias,
                                         .logits = d->work.logits,
                                         .scratch = d->router_scratch};
    enum moeq_status status =
        moeq_route(&d->run, &routing, d->work.normed, p->n, d->run.experts, d->run.weights, err);
    if (status == MOEQ_DAMAGED)
        moeq_error_in_tensor(err, moeq_source_part(d->run.source, MOEQ_PART_ROUTER, (int)p->layer, -1)->name);
    if (status)
        return status;
    moeq_expert_cache_announce(d->experts, (int)p->layer, d->run.experts, p->n * c->top_k);
    moeq_assignment_sort(&d->assignment, c->n_experts, d->run.experts, d->run.weights, p->n, c->top_k);
    return MOEQ_OK;
}

static enum moeq_status add_experts(const struct passage *p, struct moeq_error *err)
{
    struct moeq_decoder *d = p->d;
    const struct moeq_assignment *a = &d->assignment;
    enum moeq_status status = MOEQ_OK;
    for (uint32_t e = 0; !status && e < d->run.config->n_experts; e++) {
        const uint64_t first = a->begins[e], n = a->begins[e + 1] - first;
        const struct moeq_sums to = {.y = d->work.hidden,
                                     .ldy = d->run.config->hidden,
                                     .rows = a->rows + first,
                                     .weights = a->weights + first};
        struct moeq_mlp mlp;
        if (!n)
            continue;
        status = moeq_expert_cache_acquire(d->experts, (int)p->layer, (int)e, &mlp, err);
        if (status)
            break;
        status = moeq_mlp_apply(&d->run, &mlp, d->work.normed, a->rows + first, n, &to, err);
        moeq_expert_cache_release(d->experts, (int)p->layer, (int)e);
    }
    return status;
}

static enum moeq_status feed_forward(const struct passage *p, struct moeq_error *err)
{
    struct moeq_decoder *d = p->d;
    const struct moeq_config *c = d->run.config;
    const struct moeq_sums to = {.y = d->work.hidden, .ldy = c->hidden};
    enum moeq_status status = moeq_norm_rows(d->run.pool, d->work.hidden, c->hidden, p->w->ffn_norm, p->n,
                                             c->hidden, c->norm_eps, d->work.normed, c->hidden, err);
    if (!status && p->w->is_moe)
        status = route(p, err);
    if (!status && p->w->has_mlp)
        status = moeq_mlp_apply(&d->run, &p->w->mlp, d->work.normed, NULL, p->n, &to, err);
    return status || !p->w->is_moe ? status : add_experts(p, err);
}

/* ---- a step ---- */

static enum moeq_status take_rows(struct moeq_decoder *d, const struct moeq_decoder_row *rows, uint64_t n,
                                  struct moeq_error *err)
{
    const uint64_t width = d->run.config->hidden;
    for (uint64_t t = 0; t < n; t++) {
        uint64_t *length = &d->lengths[rows[t].sequence];
        if (*length >= d->plan.n_positions)
            return moeq_fail(err, MOEQ_BUG, "a sequence grows beyond %llu tokens",
                             (unsigned long long)d->plan.n_positions);
        if (rows[t].token < 0 || (uint64_t)rows[t].token >= d->embed.rows)
            return moeq_fail(err, MOEQ_DAMAGED,
                             "the tokenizer gives the id %d, the model has %llu embeddings",
                             (int)rows[t].token, (unsigned long long)d->embed.rows);
        d->places[t] = (struct moeq_place_of_token){rows[t].sequence, (uint32_t)(*length)++};
        moeq_decode(&d->embed, (uint64_t)rows[t].token, 0, width, d->work.hidden + t * width);
    }
    return MOEQ_OK;
}

/* The wanted rows come together at the front, normed. */
static enum moeq_status give_logits(struct moeq_decoder *d, const struct moeq_decoder_row *rows, uint64_t n,
                                    float *logits, struct moeq_error *err)
{
    struct moeq_run *run = &d->run;
    const uint64_t width = run->config->hidden;
    float *hidden = d->work.hidden;
    uint64_t n_wanted = 0;
    for (uint64_t t = 0; t < n; t++)
        if (rows[t].wants_logits)
            memmove(hidden + n_wanted++ * width, hidden + t * width, width * sizeof *hidden);
    if (!n_wanted)
        return MOEQ_OK;
    enum moeq_status status = moeq_norm_rows(run->pool, hidden, width, d->final_norm, n_wanted, width,
                                             run->config->norm_eps, hidden, width, err);
    if (!status)
        status = set_inputs(run, hidden, width, n_wanted, err);
    return status ? status
                  : moeq_matmul(run->pool, &run->scratch, &d->head, &run->inputs, logits, d->head.rows, err);
}

enum moeq_status moeq_decoder_step(struct moeq_decoder *decoder, const struct moeq_decoder_row *rows,
                                   uint64_t n, enum moeq_arithmetic arithmetic, float *logits,
                                   struct moeq_error *err)
{
    struct moeq_decoder *d = decoder;
    d->run.arithmetic = arithmetic;
    if (n > d->plan.chunk || (arithmetic == MOEQ_FEW && n > MOEQ_FEW_TOKENS))
        return moeq_fail(err, MOEQ_BUG, "%llu tokens in one step", (unsigned long long)n);
    enum moeq_status status = take_rows(d, rows, n, err);
    for (uint32_t layer = 0; !status && layer < d->run.config->n_layers; layer++) {
        struct passage p = {.d = d, .layer = layer, .n = n};
        status = moeq_interrupt_check(err);
        if (!status)
            status = moeq_layers_get(&d->layers, layer, &p.w, err);
        if (!status)
            status = attend(&p, err);
        if (!status)
            status = feed_forward(&p, err);
    }
    if (!status)
        status = give_logits(d, rows, n, logits, err);
    moeq_error_in_file(err, d->run.source->path);
    return status;
}

void moeq_decoder_clear(struct moeq_decoder *decoder, uint32_t sequence)
{
    decoder->lengths[sequence] = 0;
}
