/* Multi-head latent attention in its expanded form (DeepSeek-V2, arXiv 2405.04434, section 2.1): keys and
 * values are restored from the latent vector for every token, and each window is ordinary causal attention.
 */
#include "branches.h"
#include "heads.h"
#include "indexer.h"
#include "kernels.h"
#include "model.h"

#include <stdlib.h>

/* Activations of a chunk of tokens; every array is [chunk, its width]. */
struct attention_work {
    float *input;  /* hidden: normed */
    float *latent; /* q_rank */
    float *q;      /* n_heads * (qk_nope + qk_rope) */
    float *kv_a;   /* kv_rank + qk_rope */
    float *c_kv;   /* kv_rank: normed latent */
    float *kv;     /* n_heads * (qk_nope + v_width) */
    float *heads;  /* n_heads * v_width */
};

struct attention {
    struct moeq_run *run;
    int layer;
    struct moeq_matrix q, q_b, kv_a, kv_b, o; /* q is q_a where q_rank > 0 */
    float *norm, *q_norm, *kv_norm;
    struct attention_work work;
    uint64_t q_width, kv_width, v_width; /* floats a token */
    uint64_t n_chunk;                    /* tokens of the current chunk */
    float *hidden;                       /* of the current chunk */
    struct moeq_indexer indexer;         /* where the layer has one and the windows need it */
    uint8_t *selected;                   /* of the current chunk, or NULL: every key */
    struct moeq_matrix loaded[MOEQ_MAX_UNIT];
    size_t n_loaded;
    struct moeq_matrix *sets; /* [branches, n_loaded], NULL: none */
    struct moeq_seer seer;    /* of the inputs of the current chunk */
    bool dry;                 /* whose outputs nobody wants */
    size_t branch;            /* if so, of that one alone */
};

size_t moeq_attention_weights(const struct moeq_source *source, int layer,
                              const struct moeq_weight *weights[MOEQ_MAX_UNIT])
{
    const struct moeq_source *s = source;
    const bool low_rank = s->config.q_rank > 0;
    size_t n = 0;
    weights[n++] = moeq_source_part(s, low_rank ? MOEQ_PART_Q_A : MOEQ_PART_Q, layer, -1);
    if (low_rank)
        weights[n++] = moeq_source_part(s, MOEQ_PART_Q_B, layer, -1);
    weights[n++] = moeq_source_part(s, MOEQ_PART_KV_A, layer, -1);
    weights[n++] = moeq_source_part(s, MOEQ_PART_KV_B, layer, -1);
    weights[n++] = moeq_source_part(s, MOEQ_PART_O, layer, -1);
    return n;
}

enum moeq_status moeq_layer_ask_attention(struct moeq_run *run, int layer, struct moeq_error *err)
{
    const struct moeq_weight *weights[MOEQ_MAX_UNIT];
    return moeq_loader_ask(run->loader, weights, moeq_attention_weights(run->source, layer, weights), err);
}

static void use_matrices(struct attention *a, const struct moeq_matrix *m)
{
    const size_t n = a->n_loaded;
    a->q = m[0];
    if (a->run->config->q_rank > 0)
        a->q_b = m[1];
    a->kv_a = m[n - 3];
    a->kv_b = m[n - 2];
    a->o = m[n - 1];
}

static enum moeq_status get_matrices(struct attention *a, int layer, struct moeq_error *err)
{
    const struct moeq_source *s = a->run->source;
    const bool low_rank = a->run->config->q_rank > 0;
    a->n_loaded = low_rank ? MOEQ_MAX_UNIT : MOEQ_MAX_UNIT - 1;
    enum moeq_status status = moeq_loader_get(a->run->loader, a->loaded, a->n_loaded, err);
    if (status)
        return status;
    use_matrices(a, a->loaded);
    status = moeq_model_vector(s, MOEQ_PART_ATTENTION_NORM, layer, &a->norm, err);
    if (!status)
        status = moeq_model_vector(s, MOEQ_PART_KV_A_NORM, layer, &a->kv_norm, err);
    if (!status && low_rank)
        status = moeq_model_vector(s, MOEQ_PART_Q_A_NORM, layer, &a->q_norm, err);
    return status;
}

static uint64_t floats_per_token(const struct moeq_config *c)
{
    const uint64_t heads = c->n_heads;
    return (uint64_t)c->hidden + c->q_rank + heads * (c->qk_nope + c->qk_rope) + c->kv_rank + c->qk_rope +
           c->kv_rank + heads * (c->qk_nope + c->v_width) + heads * c->v_width;
}

static void place_work(struct attention *a, float *base)
{
    const struct moeq_config *c = a->run->config;
    const uint64_t n = a->run->chunk;
    struct attention_work *w = &a->work;
    w->input = base;
    w->latent = w->input + n * c->hidden;
    w->q = w->latent + n * c->q_rank;
    w->kv_a = w->q + n * a->q_width;
    w->c_kv = w->kv_a + n * (c->kv_rank + c->qk_rope);
    w->kv = w->c_kv + n * c->kv_rank;
    w->heads = w->kv + n * a->kv_width;
}

static enum moeq_status norm_input(const struct attention *a, struct moeq_error *err)
{
    const struct moeq_config *c = a->run->config;
    return moeq_norm_rows(a->run->pool, a->hidden, c->hidden, a->norm, a->n_chunk, c->hidden, c->norm_eps,
                          a->work.input, c->hidden, err);
}

static enum moeq_status norm_latents(const struct attention *a, struct moeq_error *err)
{
    const struct moeq_run *run = a->run;
    const struct moeq_config *c = run->config;
    const struct attention_work *w = &a->work;
    enum moeq_status status = MOEQ_OK;
    if (c->q_rank)
        status = moeq_norm_rows(run->pool, w->latent, c->q_rank, a->q_norm, a->n_chunk, c->q_rank,
                                c->latent_norm_eps, w->latent, c->q_rank, err);
    return status ? status
                  : moeq_norm_rows(run->pool, w->kv_a, c->kv_rank + c->qk_rope, a->kv_norm, a->n_chunk,
                                   c->kv_rank, c->latent_norm_eps, w->c_kv, c->kv_rank, err);
}

/* Positions count from the start of each window. */
static enum moeq_status rotate(void *context, unsigned worker, uint64_t begin, uint64_t end,
                               struct moeq_error *err)
{
    const struct attention *a = context;
    const struct moeq_config *c = a->run->config;
    (void)worker;
    (void)err;
    for (uint64_t t = begin; t < end; t++) {
        uint32_t position = (uint32_t)(t % a->run->context);
        float *q = a->work.q + t * a->q_width;
        for (uint32_t h = 0; h < c->n_heads; h++)
            moeq_rope_apply(&a->run->rope, position, q + h * (c->qk_nope + c->qk_rope) + c->qk_nope);
        moeq_rope_apply(&a->run->rope, position, a->work.kv_a + t * (c->kv_rank + c->qk_rope) + c->kv_rank);
    }
    return MOEQ_OK;
}

static enum moeq_status attend_heads(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                     struct moeq_error *err)
{
    const struct attention *a = context;
    const struct moeq_run *run = a->run;
    const struct moeq_config *c = run->config;
    const struct moeq_heads heads = {.config = c,
                                     .arithmetic = run->arithmetic,
                                     .context = run->context,
                                     .scale = run->attention_scale,
                                     .q = a->work.q,
                                     .kv = a->work.kv,
                                     .k_rope = a->work.kv_a + c->kv_rank,
                                     .selected = a->selected,
                                     .out = a->work.heads};
    struct moeq_bytes *bytes = &run->scratch.workers[worker];
    enum moeq_status status =
        moeq_bytes_resize(bytes, (size_t)moeq_heads_scratch_bytes(c, run->context), err);
    for (uint64_t i = begin; !status && i < end; i++)
        moeq_heads_attend(&heads, i / c->n_heads, i % c->n_heads, bytes->data);
    return status;
}

/* Lays out the inputs [chunk, width] of matrices, of which `part` is the first. */
static enum moeq_status set_inputs(const struct attention *a, enum moeq_part part, const float *x,
                                   uint64_t width, struct moeq_error *err)
{
    struct moeq_run *run = a->run;
    const uint64_t n = a->n_chunk, first = run->states.first +
                                           (uint64_t)(a->hidden - run->states.hidden) / run->config->hidden;
    const struct moeq_inputs inputs = {
        .layer = a->layer, .expert = -1, .part = part, .width = width, .n = n, .x = x, .first = first};
    enum moeq_status status = a->seer.inputs ? a->seer.inputs(a->seer.context, &inputs, err) : MOEQ_OK;
    return status ? status
                  : moeq_activations_set(&run->inputs, run->pool, run->arithmetic, x, width, NULL, n, width,
                                         err);
}

#define TOKEN_GRAIN 16

static enum moeq_status attend_chunk(struct attention *a, struct moeq_error *err)
{
    struct moeq_run *run = a->run;
    const struct moeq_config *c = run->config;
    const struct attention_work *w = &a->work;
    const uint64_t n = a->n_chunk, kv_a_width = c->kv_rank + c->qk_rope;
    enum moeq_status status = norm_input(a, err);
#define INPUT(part, from, width)                                                                             \
    if (!status)                                                                                             \
    status = set_inputs(a, part, (from), (width), err)
#define MULTIPLY(matrix, to, to_width)                                                                       \
    if (!status)                                                                                             \
    status = moeq_matmul(run->pool, &run->scratch, &(matrix), &run->inputs, (to), (to_width), err)
    INPUT(c->q_rank ? MOEQ_PART_Q_A : MOEQ_PART_Q, w->input, c->hidden);
    MULTIPLY(a->q, c->q_rank ? w->latent : w->q, c->q_rank ? c->q_rank : a->q_width);
    MULTIPLY(a->kv_a, w->kv_a, kv_a_width);
    if (!status)
        status = norm_latents(a, err);
    if (!status && a->indexer.k_norm)
        status = moeq_indexer_choose(&a->indexer, run, w->input, w->latent, n, a->selected, err);
    if (c->q_rank) {
        INPUT(MOEQ_PART_Q_B, w->latent, c->q_rank);
        MULTIPLY(a->q_b, w->q, a->q_width);
    }
    INPUT(MOEQ_PART_KV_B, w->c_kv, c->kv_rank);
    MULTIPLY(a->kv_b, w->kv, a->kv_width);
    if (!status)
        status = moeq_pool_for(run->pool, n, TOKEN_GRAIN, rotate, a, err);
    if (!status)
        status = moeq_pool_for(run->pool, n / run->context * c->n_heads, 1, attend_heads, a, err);
    INPUT(MOEQ_PART_O, w->heads, a->v_width);
#undef INPUT
#undef MULTIPLY
    const struct moeq_sums to = {.y = a->hidden, .ldy = c->hidden};
    return status || a->dry ? status
                            : moeq_matmul_add(run->pool, &run->scratch, &a->o, &run->inputs, &to, err);
}

static enum moeq_status attend_group(void *context, struct moeq_error *err)
{
    struct attention *a = context;
    struct moeq_run *run = a->run;
    const struct moeq_states *states = &run->states;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t t = 0; !status && t < states->n; t += a->n_chunk) {
        const size_t branch = run->branches ? moeq_branch_of(run->branches, states->first + t) : 0;
        a->n_chunk = moeq_chunk_tokens(run, states->first + t, states->n - t);
        if (a->dry && branch != a->branch)
            continue;
        if (!a->dry && a->sets)
            use_matrices(a, a->sets + branch * a->n_loaded);
        a->hidden = states->hidden + t * run->config->hidden;
        a->selected =
            run->selected ? run->selected + (states->first + t) * moeq_selected_row(run->context) : NULL;
        status = attend_chunk(a, err);
    }
    return status;
}

static enum moeq_status show_branch(void *context, size_t branch, struct moeq_error *err)
{
    struct attention *a = context;
    const struct moeq_branches *branches = a->run->branches;
    a->dry = true;
    a->branch = branch;
    a->seer = (struct moeq_seer){branches->context, branches->inputs};
    enum moeq_status status = moeq_states_each(&a->run->states, MOEQ_HIDDEN, 0, attend_group, a, err);
    a->dry = false;
    a->seer = (struct moeq_seer){0};
    return status;
}

static enum moeq_status replace_matrices(struct attention *a, struct moeq_error *err)
{
    const struct moeq_run *run = a->run;
    const struct moeq_weight *weights[MOEQ_MAX_UNIT];
    const struct moeq_unit unit = {a->layer, -1, weights,
                                   moeq_attention_weights(run->source, a->layer, weights)};
    a->sets = moeq_calloc(run->branches->n * unit.n, sizeof *a->sets, err);
    return a->sets ? moeq_branches_replace(run->branches, &unit, a->loaded, show_branch, a, a->sets, err)
                   : MOEQ_OVER_MEMORY;
}

enum moeq_status moeq_layer_attention(struct moeq_run *run, int layer, struct moeq_error *err)
{
    const struct moeq_config *c = run->config;
    struct attention a = {.run = run, .layer = layer};
    a.q_width = (uint64_t)c->n_heads * (c->qk_nope + c->qk_rope);
    a.kv_width = (uint64_t)c->n_heads * (c->qk_nope + c->v_width);
    a.v_width = (uint64_t)c->n_heads * c->v_width;
    if (run->observer)
        a.seer = (struct moeq_seer){run->observer->context, run->observer->inputs};
    enum moeq_status status = get_matrices(&a, layer, err);
    if (!status)
        status = moeq_bytes_resize(&run->work, (size_t)moeq_layer_work_bytes(c, run->chunk), err);
    if (!status)
        place_work(&a, (float *)(void *)run->work.data);
    if (!status && run->selected && moeq_config_layer_has_indexer(c, (uint32_t)layer))
        status = moeq_indexer_load(&a.indexer, run, layer, err);
    if (!status && run->branches)
        status = replace_matrices(&a, err);
    if (!status)
        status = moeq_states_each(&run->states, MOEQ_HIDDEN, MOEQ_HIDDEN, attend_group, &a, err);
    moeq_loader_release(run->loader);
    moeq_indexer_free(&a.indexer);
    free(a.sets);
    free(a.norm);
    free(a.q_norm);
    free(a.kv_norm);
    return status;
}

uint64_t moeq_ffn_width(const struct moeq_config *config)
{
    uint64_t shared = (uint64_t)config->n_shared * config->expert_width, width = config->dense_width;
    width = shared > width ? shared : width;
    return config->expert_width > width ? config->expert_width : width;
}

uint64_t moeq_layer_work_bytes(const struct moeq_config *config, uint64_t chunk)
{
    /* Queries are multiplied in whole blocks: behind the last of a chunk there is something to read. */
    const uint64_t behind =
        (MOEQ_MAX_BLOCK_ROWS - 1) * (uint64_t)config->n_heads * (config->qk_nope + config->qk_rope);
    const uint64_t attention = floats_per_token(config) * chunk + behind, router = config->n_experts * chunk;
    return (attention > router ? attention : router) * sizeof(float);
}
