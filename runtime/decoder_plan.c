#include "decoder.h"

#include "model.h"

/* Least tokens of a step where memory is short. */
#define LEAST_CHUNK 16

struct planning {
    const struct moeq_source *source;
    uint64_t budget, largest_expert, all_experts, staging;
    unsigned n_jobs;
};

static uint64_t work_floats(const struct moeq_config *c)
{
    const uint64_t heads = c->n_heads;
    return 2 * (uint64_t)c->hidden + c->q_rank + heads * (c->qk_nope + c->qk_rope) + c->kv_rank + c->qk_rope +
           heads * c->v_width + c->n_experts + 4 * (uint64_t)c->top_k;
}

static uint64_t work_bytes(const struct planning *p, const struct moeq_decoder_plan *plan)
{
    const struct moeq_config *c = &p->source->config;
    const uint64_t widest =
        moeq_larger(moeq_larger(c->hidden, moeq_ffn_width(c)), (uint64_t)c->n_heads * c->v_width);
    const uint64_t worker =
        moeq_larger(moeq_matmul_scratch_bytes(widest), moeq_absorbed_scratch_bytes(c, plan->n_positions));
    return plan->chunk * work_floats(c) * sizeof(float) + p->n_jobs * worker +
           moeq_activations_bytes(plan->chunk, widest) +
           moeq_activations_bytes(plan->chunk, moeq_ffn_width(c)) +
           plan->n_sequences * c->vocabulary * sizeof(float) +
           plan->n_positions * c->qk_rope * sizeof(float) /* sines and cosines */ + p->staging;
}

/* Keeps as many layers as fit, then as many experts. */
static void share(const struct planning *p, struct moeq_decoder_plan *plan)
{
    const struct moeq_config *c = &p->source->config;
    const uint64_t vectors = moeq_layers_vector_bytes(c);
    plan->work = work_bytes(p, plan);
    const uint64_t fixed = plan->ends + vectors + plan->latents + plan->work + p->largest_expert;
    uint64_t passing = 0, kept = 0, all = 0;
    for (uint32_t layer = 0; layer < c->n_layers; layer++) {
        const uint64_t n = moeq_layer_weights_bytes(p->source, layer);
        passing = moeq_larger(passing, n);
        all += n;
    }
    if (fixed + all <= p->budget) {
        plan->kept_layers = c->n_layers;
        kept = all;
        passing = 0;
    }
    for (plan->kept_layers = kept ? c->n_layers : 0; plan->kept_layers < c->n_layers; plan->kept_layers++) {
        const uint64_t n = moeq_layer_weights_bytes(p->source, plan->kept_layers);
        if (fixed + kept + n + passing > p->budget)
            break;
        kept += n;
    }
    plan->layers = vectors + kept + passing;
    const uint64_t rest = fixed - p->largest_expert - vectors + plan->layers;
    plan->experts = p->budget > rest && p->budget - rest < p->all_experts ? p->budget - rest : p->all_experts;
    if (p->budget <= rest || plan->experts < p->largest_expert)
        plan->experts = p->largest_expert;
    plan->total = rest + plan->experts;
}

struct moeq_decoder_plan moeq_decoder_plan(const struct moeq_source *source, uint64_t n_sequences,
                                           uint64_t n_positions, uint64_t chunk, unsigned n_jobs,
                                           uint64_t budget)
{
    const struct moeq_config *c = &source->config;
    struct planning p = {.source = source, .budget = budget, .n_jobs = n_jobs};
    for (uint32_t layer = 0; layer < c->n_layers; layer++)
        for (uint32_t e = 0; e < c->n_experts && moeq_config_layer_is_moe(c, layer); e++) {
            const uint64_t n = moeq_expert_cache_bytes(source, (int)layer, (int)e);
            p.largest_expert = moeq_larger(p.largest_expert, n);
            p.all_experts += n;
            p.staging = moeq_larger(p.staging, moeq_expert_cache_staging(source, (int)layer, (int)e));
        }
    const struct moeq_weight *embed = moeq_source_part(source, MOEQ_PART_EMBED, -1, -1);
    const struct moeq_weight *head = moeq_source_part(source, MOEQ_PART_HEAD, -1, -1);
    struct moeq_decoder_plan plan = {.n_sequences = n_sequences,
                                     .n_positions = n_positions,
                                     .chunk = moeq_larger(chunk, n_sequences),
                                     .ends = (embed ? moeq_source_load_bytes(source, &embed, 1) : 0) +
                                             (head ? moeq_source_load_bytes(source, &head, 1) : 0) +
                                             c->hidden * sizeof(float),
                                     .latents = moeq_latent_cache_bytes(c, n_sequences, n_positions)};
    if (plan.latents > UINT64_MAX / 4) { /* no machine has that: say so where it is compared */
        plan.total = UINT64_MAX / 2;
        return plan;
    }
    share(&p, &plan);
    while (plan.total > budget && plan.chunk / 2 >= moeq_larger(LEAST_CHUNK, n_sequences)) {
        plan.chunk /= 2;
        share(&p, &plan);
    }
    return plan;
}
