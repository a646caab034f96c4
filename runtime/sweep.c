#include "sweep.h"

#include "heads.h"
#include "indexer.h"
#include "interrupt.h"
#include "model.h"

#include <stdlib.h>

#define CHUNK_TOKENS 1024 /* enough for a decoded tile to be used often, few enough to stay small */
#define TOKEN_GRAIN  16

static uint64_t chunk_tokens(uint64_t context)
{
    return context >= CHUNK_TOKENS ? context : CHUNK_TOKENS / context * context;
}

static enum moeq_status allocate(struct moeq_run *run, struct moeq_error *err)
{
    const struct moeq_config *c = run->config;
    run->hidden = moeq_calloc(run->n_tokens * c->hidden, sizeof *run->hidden, err);
    run->normed = moeq_calloc(run->n_tokens * c->hidden, sizeof *run->normed, err);
    run->experts = moeq_calloc(run->n_tokens * c->top_k, sizeof *run->experts, err);
    run->weights = moeq_calloc(run->n_tokens * c->top_k, sizeof *run->weights, err);
    if (moeq_indexer_is_needed(c, run->context) &&
        !(run->selected = moeq_calloc(run->n_tokens, moeq_selected_row(run->context), err)))
        return MOEQ_OVER_MEMORY;
    run->loader = moeq_loader_create(run->source, err);
    if (!run->hidden || !run->normed || !run->experts || !run->weights || !run->loader)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = moeq_rope_init(&run->rope, c, (uint32_t)run->context, err);
    return status ? status : moeq_scratch_init(&run->scratch, run->pool, err);
}

enum moeq_status moeq_sweep_init(struct moeq_sweep *sweep, const struct moeq_source *source,
                                 struct moeq_pool *pool, uint64_t n_windows, uint64_t context,
                                 enum moeq_arithmetic arithmetic, struct moeq_error *err)
{
    *sweep = (struct moeq_sweep){0};
    struct moeq_run *run = &sweep->run;
    if (context < 1 || context > UINT32_MAX || n_windows < 1 || n_windows > UINT32_MAX / context)
        return moeq_fail(err, MOEQ_USAGE, "windows x context must be between 1 and 2^32 tokens");
    run->source = source;
    run->config = &source->config;
    run->pool = pool;
    run->arithmetic = arithmetic;
    run->context = context;
    run->n_tokens = n_windows * context;
    run->chunk = chunk_tokens(context);
    if (run->chunk > run->n_tokens)
        run->chunk = run->n_tokens;
    run->attention_scale = (float)moeq_attention_scale(run->config);
    enum moeq_status status = moeq_model_check(source, err);
    if (!status)
        status = allocate(run, err);
    if (status)
        moeq_sweep_free(sweep);
    return status;
}

/* Everything but the hidden states. */
static void release_work(struct moeq_run *run)
{
    free(run->normed);
    free(run->experts);
    free(run->weights);
    moeq_loader_rest(run->loader);
    moeq_bytes_free(&run->packed);
    moeq_bytes_free(&run->work);
    moeq_activations_free(&run->inputs);
    moeq_activations_free(&run->gated);
    free(run->selected);
    moeq_bytes_free(&run->indexer_packed);
    moeq_bytes_free(&run->indexer_work);
    run->selected = NULL;
    run->normed = NULL;
    run->experts = NULL;
    run->weights = NULL;
}

void moeq_sweep_free(struct moeq_sweep *sweep)
{
    release_work(&sweep->run);
    moeq_loader_free(sweep->run.loader);
    free(sweep->run.hidden);
    moeq_rope_free(&sweep->run.rope);
    moeq_scratch_free(&sweep->run.scratch);
    moeq_activations_free(&sweep->run.inputs);
    moeq_bytes_free(&sweep->head_bytes);
    *sweep = (struct moeq_sweep){0};
}

static enum moeq_status embed(struct moeq_run *run, const int32_t *tokens, struct moeq_error *err)
{
    struct moeq_matrix table;
    const struct moeq_weight *weight = moeq_source_part(run->source, MOEQ_PART_EMBED, -1, -1);
    enum moeq_status status = moeq_source_load(run->source, &weight, 1, &run->packed, &table, err);
    for (uint64_t t = 0; !status && t < run->n_tokens; t++) {
        if (tokens[t] < 0 || (uint64_t)tokens[t] >= table.rows)
            status =
                moeq_fail(err, MOEQ_DAMAGED, "the tokenizer gives the id %d, the model has %llu embeddings",
                          (int)tokens[t], (unsigned long long)table.rows);
        else
            moeq_decode(&table, (uint64_t)tokens[t], 0, table.cols, run->hidden + t * table.cols);
    }
    moeq_bytes_free(&run->packed);
    return status;
}

static enum moeq_status run_layer(struct moeq_run *run, int layer, const struct moeq_visitor *visitor,
                                  struct moeq_error *err)
{
    enum moeq_status status = moeq_interrupt_check(err);
    if (!status)
        status = moeq_layer_attention(run, layer, err);
    if (!status)
        status = moeq_layer_ffn(run, layer, err);
    const bool moe = moeq_config_layer_is_moe(run->config, (uint32_t)layer);
    if (!status && visitor && visitor->layer)
        status = visitor->layer(visitor->context, layer, run->hidden, moe ? run->experts : NULL,
                                moe ? run->weights : NULL, err);
    if (visitor)
        moeq_progress_add(visitor->progress, 1, NULL);
    return status;
}

static enum moeq_status apply_final_norm(struct moeq_run *run, struct moeq_error *err)
{
    float *gain;
    const uint64_t width = run->config->hidden;
    enum moeq_status status = moeq_model_vector(run->source, MOEQ_PART_FINAL_NORM, -1, &gain, err);
    for (uint64_t t = 0; !status && t < run->n_tokens; t++)
        moeq_rms_norm(run->hidden + t * width, gain, width, run->config->norm_eps, run->hidden + t * width);
    free(gain);
    return status;
}

enum moeq_status moeq_sweep_run(struct moeq_sweep *sweep, const int32_t *tokens,
                                const struct moeq_visitor *visitor, struct moeq_error *err)
{
    struct moeq_run *run = &sweep->run;
    enum moeq_status status = embed(run, tokens, err);
    for (uint32_t layer = 0; !status && layer < run->config->n_layers; layer++)
        status = run_layer(run, (int)layer, visitor, err);
    if (!status)
        status = apply_final_norm(run, err);
    moeq_error_in_file(err, run->source->path);
    release_work(run);
    return status;
}

enum moeq_status moeq_sweep_logits(struct moeq_sweep *sweep, const uint64_t *positions, uint64_t n,
                                   float *logits, struct moeq_error *err)
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
    for (uint64_t i = 0; i < n; i++)
        memcpy(x + i * width, run->hidden + positions[i] * width, width * sizeof *x);
    status = moeq_activations_set(&run->inputs, run->pool, run->arithmetic, x, width, NULL, n, width, err);
    return status ? status
                  : moeq_matmul(run->pool, &run->scratch, &sweep->head, &run->inputs, logits,
                                run->config->vocabulary, err);
}

/* ---- memory ---- */

static uint64_t attention_bytes(const struct moeq_source *s, int layer, bool sparse)
{
    static const enum moeq_part parts[] = {
        MOEQ_PART_Q, MOEQ_PART_Q_A,       MOEQ_PART_Q_B,       MOEQ_PART_KV_A,           MOEQ_PART_KV_B,
        MOEQ_PART_O, MOEQ_PART_INDEXER_Q, MOEQ_PART_INDEXER_K, MOEQ_PART_INDEXER_WEIGHTS};
    const size_t n_parts = sizeof parts / sizeof *parts - (sparse ? 0 : 3);
    const struct moeq_weight *present[sizeof parts / sizeof *parts];
    size_t n = 0;
    for (size_t i = 0; i < n_parts; i++)
        if ((present[n] = moeq_source_part(s, parts[i], layer, -1)))
            n++;
    return moeq_source_load_bytes(s, present, n);
}

static uint64_t mlp_bytes(const struct moeq_source *s, enum moeq_part gate, int layer, int expert)
{
    const struct moeq_weight *w[3];
    for (int i = 0; i < 3; i++)
        if (!(w[i] = moeq_source_part(s, (enum moeq_part)((int)gate + i), layer, expert)))
            return 0;
    return moeq_source_load_bytes(s, w, 3);
}

/* The packed weights that are in memory at once: those computed with and those being loaded. */
static uint64_t weights_at_once(const struct moeq_source *source, bool sparse)
{
    const struct moeq_config *c = &source->config;
    const struct moeq_weight *embed_weight = moeq_source_part(source, MOEQ_PART_EMBED, -1, -1);
    const struct moeq_weight *head = moeq_source_part(source, MOEQ_PART_HEAD, -1, -1);
    uint64_t n = 0;
    for (uint32_t layer = 0; layer < c->n_layers; layer++) {
        n = moeq_larger(n, attention_bytes(source, (int)layer, sparse));
        n = moeq_larger(n, mlp_bytes(source, MOEQ_PART_DENSE_GATE, (int)layer, -1));
        n = moeq_larger(n, mlp_bytes(source, MOEQ_PART_SHARED_GATE, (int)layer, -1));
        for (uint32_t e = 0; e < c->n_experts && moeq_config_layer_is_moe(c, layer); e++)
            n = moeq_larger(n, mlp_bytes(source, MOEQ_PART_EXPERT_GATE, (int)layer, (int)e));
    }
    const uint64_t alone = moeq_larger(embed_weight ? embed_weight->n_padded : 0, head ? head->n_padded : 0);
    return moeq_larger(alone, 2 * n);
}

struct moeq_sweep_memory moeq_sweep_memory_of(const struct moeq_config *config, uint64_t weights,
                                              uint64_t head, uint64_t n_windows, uint64_t context,
                                              unsigned n_jobs)
{
    const struct moeq_config *c = config;
    const uint64_t n = n_windows * context, chunk = chunk_tokens(context) < n ? chunk_tokens(context) : n;
    struct moeq_sweep_memory m = {.weights = weights, .head = head};
    m.hidden = 2 * n * c->hidden * sizeof(float);
    m.routing = 2 * n * c->top_k * (sizeof(int32_t) + sizeof(float));
    uint64_t widest =
        moeq_larger(moeq_larger(c->hidden, moeq_ffn_width(c)), (uint64_t)c->n_heads * c->v_width);
    uint64_t panel = moeq_matmul_scratch_bytes(widest);
    uint64_t one_head = moeq_heads_scratch_bytes(c, context);
    m.work = moeq_layer_work_bytes(c, chunk) + n_jobs * moeq_larger(panel, one_head) +
             moeq_activations_bytes(chunk, widest) + moeq_activations_bytes(chunk, moeq_ffn_width(c));
    if (moeq_indexer_is_needed(c, context)) {
        m.routing += n * moeq_selected_row(context);
        m.work += moeq_indexer_work_bytes(c, chunk, context);
    }
    return m;
}

struct moeq_sweep_memory moeq_sweep_memory(const struct moeq_source *source, uint64_t n_windows,
                                           uint64_t context, unsigned n_jobs)
{
    const struct moeq_weight *head = moeq_source_part(source, MOEQ_PART_HEAD, -1, -1);
    struct moeq_sweep_memory m = moeq_sweep_memory_of(
        &source->config, weights_at_once(source, moeq_indexer_is_needed(&source->config, context)),
        head ? head->n_padded : 0, n_windows, context, n_jobs);
    m.layer_float32 = moeq_model_layer_bytes(source);
    return m;
}
