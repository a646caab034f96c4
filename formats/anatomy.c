#include "anatomy.h"
#include "anatomy_rows.h"

#define PART(part, rows, cols, each)                                                                         \
    {                                                                                                        \
        MOEQ_PART_##part, (rows), (cols), (each), NULL, MOEQ_BF16, MOEQ_STORED_PLAIN                         \
    }

size_t moeq_anatomy_outside(const struct moeq_config *c, struct moeq_kind kinds[MOEQ_MAX_KINDS])
{
    if (c->design == MOEQ_DESIGN_V4)
        return moeq_anatomy_v4_outside(c, kinds);
    const struct row rows[] = {
        {true, PART(EMBED, c->vocabulary, c->hidden, false)},
        {true, PART(FINAL_NORM, 1, c->hidden, false)},
        {true, PART(HEAD, c->vocabulary, c->hidden, false)},
    };
    return KEEP(rows, kinds, 0);
}

static size_t add_attention(const struct moeq_config *c, bool indexer, struct moeq_kind kinds[MOEQ_MAX_KINDS],
                            size_t n)
{
    const uint64_t q_rows = (uint64_t)c->n_heads * (c->qk_nope + c->qk_rope);
    const uint64_t kv_rows = (uint64_t)c->n_heads * (c->qk_nope + c->v_width);
    const uint64_t v_cols = (uint64_t)c->n_heads * c->v_width;
    const bool low_rank = c->q_rank > 0;
    const struct row rows[] = {
        {true, PART(ATTENTION_NORM, 1, c->hidden, false)},
        {!low_rank, PART(Q, q_rows, c->hidden, false)},
        {low_rank, PART(Q_A, c->q_rank, c->hidden, false)},
        {low_rank, PART(Q_A_NORM, 1, c->q_rank, false)},
        {low_rank, PART(Q_B, q_rows, c->q_rank, false)},
        {true, PART(KV_A, (uint64_t)c->kv_rank + c->qk_rope, c->hidden, false)},
        {true, PART(KV_A_NORM, 1, c->kv_rank, false)},
        {true, PART(KV_B, kv_rows, c->kv_rank, false)},
        {true, PART(O, c->hidden, v_cols, false)},
        {indexer, PART(INDEXER_Q, (uint64_t)c->index_heads * c->index_width, c->q_rank, false)},
        {indexer, PART(INDEXER_K, c->index_width, c->hidden, false)},
        {indexer, PART(INDEXER_K_NORM, 1, c->index_width, false)},
        {indexer, PART(INDEXER_K_BIAS, 1, c->index_width, false)},
        {indexer, PART(INDEXER_WEIGHTS, c->index_heads, c->hidden, false)},
        {true, PART(FFN_NORM, 1, c->hidden, false)},
    };
    return KEEP(rows, kinds, n);
}

static size_t add_ffn(const struct moeq_config *c, bool moe, struct moeq_kind kinds[MOEQ_MAX_KINDS], size_t n)
{
    const uint64_t shared = (uint64_t)c->n_shared * c->expert_width;
    const struct row rows[] = {
        {!moe, PART(DENSE_GATE, c->dense_width, c->hidden, false)},
        {!moe, PART(DENSE_UP, c->dense_width, c->hidden, false)},
        {!moe, PART(DENSE_DOWN, c->hidden, c->dense_width, false)},
        {moe, PART(ROUTER, c->n_experts, c->hidden, false)},
        {moe && c->correction_bias, PART(ROUTER_BIAS, 1, c->n_experts, false)},
        {moe && shared, PART(SHARED_GATE, shared, c->hidden, false)},
        {moe && shared, PART(SHARED_UP, shared, c->hidden, false)},
        {moe && shared, PART(SHARED_DOWN, c->hidden, shared, false)},
        {moe, PART(EXPERT_GATE, c->expert_width, c->hidden, true)},
        {moe, PART(EXPERT_UP, c->expert_width, c->hidden, true)},
        {moe, PART(EXPERT_DOWN, c->hidden, c->expert_width, true)},
    };
    return KEEP(rows, kinds, n);
}

/* Embedding and head of an MTP layer are copies of the main ones, where it has them. */
static size_t add_mtp(const struct moeq_config *c, bool mtp, struct moeq_kind kinds[MOEQ_MAX_KINDS], size_t n)
{
    const bool copies = mtp && c->mtp_copies;
    const struct row rows[] = {
        {mtp, PART(MTP_EMBED_NORM, 1, c->hidden, false)},
        {mtp, PART(MTP_HIDDEN_NORM, 1, c->hidden, false)},
        {mtp, PART(MTP_PROJECTION, c->hidden, 2 * (uint64_t)c->hidden, false)},
        {mtp, PART(MTP_HEAD_NORM, 1, c->hidden, false)},
        {copies, PART(MTP_HEAD, c->vocabulary, c->hidden, false)},
        {copies, PART(MTP_EMBED, c->vocabulary, c->hidden, false)},
    };
    return KEEP(rows, kinds, n);
}

size_t moeq_anatomy_layer(const struct moeq_config *c, uint32_t layer, struct moeq_kind kinds[MOEQ_MAX_KINDS])
{
    if (c->design == MOEQ_DESIGN_V4)
        return moeq_anatomy_v4_layer(c, layer, kinds);
    size_t n = add_attention(c, moeq_config_layer_has_indexer(c, layer), kinds, 0);
    n = add_ffn(c, moeq_config_layer_is_moe(c, layer), kinds, n);
    return add_mtp(c, layer >= c->n_layers, kinds, n);
}

uint64_t moeq_kind_weights(const struct moeq_config *config, const struct moeq_kind *kind)
{
    if (kind->dtype == MOEQ_I64 && kind->name) /* a table of indices */
        return 0;
    return kind->rows * kind->cols * (kind->each_expert ? config->n_experts : 1);
}
