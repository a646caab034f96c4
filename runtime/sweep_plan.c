#include "sweep_plan.h"

#include "heads.h"
#include "indexer.h"
#include "layer.h"
#include "mlp.h"
#include "model.h"

#define CHUNK_TOKENS 1024 /* enough for a decoded tile to be used often, few enough to stay small */

/* ---- weights ---- */

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

struct moeq_sweep_weights moeq_sweep_weights(const struct moeq_source *source, uint64_t context)
{
    const struct moeq_config *c = &source->config;
    const struct moeq_weight *embed = moeq_source_part(source, MOEQ_PART_EMBED, -1, -1);
    const struct moeq_weight *head = moeq_source_part(source, MOEQ_PART_HEAD, -1, -1);
    struct moeq_sweep_weights w = {.embed = embed ? moeq_source_load_bytes(source, &embed, 1) : 0,
                                   .head = head ? moeq_source_load_bytes(source, &head, 1) : 0};
    for (uint32_t layer = 0; layer < c->n_layers; layer++) {
        uint64_t experts = 0;
        w.largest =
            moeq_larger(w.largest, attention_bytes(source, (int)layer, moeq_indexer_is_needed(c, context)));
        w.largest = moeq_larger(w.largest, moeq_mlp_bytes(source, MOEQ_PART_DENSE_GATE, (int)layer, -1));
        w.largest = moeq_larger(w.largest, moeq_mlp_bytes(source, MOEQ_PART_SHARED_GATE, (int)layer, -1));
        for (uint32_t e = 0; e < c->n_experts && moeq_config_layer_is_moe(c, layer); e++) {
            const uint64_t n = moeq_mlp_bytes(source, MOEQ_PART_EXPERT_GATE, (int)layer, (int)e);
            w.largest = moeq_larger(w.largest, n);
            experts += n;
        }
        w.experts = moeq_larger(w.experts, experts);
    }
    w.layer_float32 = moeq_model_layer_bytes(source);
    return w;
}

/* ---- the plan ---- */

struct planning {
    const struct moeq_config *config;
    const struct moeq_sweep_weights *weights;
    uint64_t n_tokens, context, budget;
    unsigned n_jobs;
};

static uint64_t default_chunk(const struct planning *p)
{
    const uint64_t n = p->context >= CHUNK_TOKENS ? p->context : CHUNK_TOKENS / p->context * p->context;
    return n < p->n_tokens ? n : p->n_tokens;
}

static uint64_t work_bytes(const struct planning *p, uint64_t chunk)
{
    const struct moeq_config *c = p->config;
    const uint64_t widest =
        moeq_larger(moeq_larger(c->hidden, moeq_ffn_width(c)), (uint64_t)c->n_heads * c->v_width);
    const uint64_t worker =
        moeq_larger(moeq_matmul_scratch_bytes(widest), moeq_heads_scratch_bytes(c, p->context));
    uint64_t n = moeq_layer_work_bytes(c, chunk) + p->n_jobs * worker +
                 moeq_activations_bytes(chunk, widest) + moeq_activations_bytes(chunk, moeq_ffn_width(c));
    if (moeq_indexer_is_needed(c, p->context))
        n += moeq_indexer_work_bytes(c, chunk, p->context);
    return n;
}

static void fill_in(const struct planning *p, struct moeq_sweep_plan *plan)
{
    const struct moeq_config *c = p->config;
    const uint64_t pick = c->top_k * (sizeof(int32_t) + sizeof(float));
    const bool all = plan->group == p->n_tokens;
    plan->hidden = moeq_states_bytes(plan->group, c->hidden);
    plan->file = all ? 0 : moeq_states_bytes(p->n_tokens, c->hidden);
    plan->kept = all ? plan->hidden / 2 : 0;
    plan->routing = (p->n_tokens + plan->group) * pick;
    if (moeq_indexer_is_needed(c, p->context))
        plan->routing += p->n_tokens * moeq_selected_row(p->context);
    plan->work = work_bytes(p, plan->chunk);
    plan->head = p->weights->head;
    plan->layer_float32 = p->weights->layer_float32;
    plan->total = plan->hidden + plan->routing + moeq_larger(p->weights->embed, plan->ring + plan->work);
}

/* Hidden states by groups: half of what is free for them, the rest for the experts that a group meets while
 * they are in memory. */
static struct moeq_sweep_plan plan_groups(const struct planning *p, uint64_t chunk)
{
    const uint64_t all_experts = moeq_loader_ring(p->weights->experts, p->weights->largest);
    struct moeq_sweep_plan plan = {.chunk = chunk, .group = chunk, .ring = p->weights->largest};
    fill_in(p, &plan);
    if (plan.total > p->budget)
        return plan;
    const uint64_t free_bytes = p->budget - plan.total;
    const uint64_t ring =
        plan.ring + (free_bytes / 2 < all_experts - plan.ring ? free_bytes / 2 : all_experts - plan.ring);
    const uint64_t token = moeq_states_bytes(1, p->config->hidden) + plan.routing / p->n_tokens + 1;
    plan.group += (free_bytes - (ring - plan.ring)) / token / chunk * chunk;
    plan.ring = ring;
    if (plan.group >= p->n_tokens) /* no: in memory as a whole it had no room */
        plan.group = (p->n_tokens - 1) / chunk * chunk;
    fill_in(p, &plan);
    return plan;
}

struct moeq_sweep_plan moeq_sweep_plan(const struct moeq_config *config,
                                       const struct moeq_sweep_weights *weights, uint64_t n_windows,
                                       uint64_t context, unsigned n_jobs, uint64_t budget)
{
    const struct planning p = {config, weights, n_windows * context, context, budget, n_jobs};
    const uint64_t chunk = default_chunk(&p);
    struct moeq_sweep_plan plan = {.chunk = chunk, .group = p.n_tokens, .ring = 2 * weights->largest};
    fill_in(&p, &plan);
    if (plan.total <= budget)
        return plan;
    if (chunk < p.n_tokens)
        plan = plan_groups(&p, chunk);
    return plan.total <= budget || chunk == context ? plan : plan_groups(&p, context);
}
