/* DeepSeek-V4: another design than the rest, known by its tensors only. Source: the headers of V4-Flash and
 * V4-Pro (48 + 64 shards), whose numbers of tensors this table gives. */
#include "anatomy_rows.h"

#define FP8 MOEQ_F8_E4M3, MOEQ_STORED_E8M0_8
#define FP4 MOEQ_I8, MOEQ_STORED_E8M0_4

#define PLAIN(part, rows, cols, name, dtype)                                                                 \
    {                                                                                                        \
        MOEQ_PART_V4_##part, (rows), (cols), false, (name), (dtype), 0                                       \
    }
#define STORED(part, rows, cols, each, name, how)                                                            \
    {                                                                                                        \
        MOEQ_PART_V4_##part, (rows), (cols), (each), (name), how                                             \
    }

size_t moeq_anatomy_v4_outside(const struct moeq_config *c, struct moeq_kind kinds[MOEQ_MAX_KINDS])
{
    const uint64_t streams = c->n_streams;
    const struct row rows[] = {
        {true, PLAIN(EMBED, c->vocabulary, c->hidden, "embed.weight", MOEQ_BF16)},
        {true, PLAIN(NORM, 1, c->hidden, "norm.weight", MOEQ_BF16)},
        {true, PLAIN(HEAD, c->vocabulary, c->hidden, "head.weight", MOEQ_BF16)},
        {true, PLAIN(STREAMS, streams, streams * c->hidden, "hc_head_fn", MOEQ_F32)},
        {true, PLAIN(STREAMS, 1, streams, "hc_head_base", MOEQ_F32)},
        {true, PLAIN(STREAMS, 1, 1, "hc_head_scale", MOEQ_F32)},
    };
    return KEEP(rows, kinds, 0);
}

static size_t add_streams(const struct moeq_config *c, struct moeq_kind kinds[MOEQ_MAX_KINDS], size_t n)
{
    const uint64_t streams = c->n_streams, mixes = streams * (streams + 2);
    const struct row rows[] = {
        {true, PLAIN(STREAMS, mixes, streams * c->hidden, "hc_attn_fn", MOEQ_F32)},
        {true, PLAIN(STREAMS, 1, mixes, "hc_attn_base", MOEQ_F32)},
        {true, PLAIN(STREAMS, 1, 3, "hc_attn_scale", MOEQ_F32)},
        {true, PLAIN(STREAMS, mixes, streams * c->hidden, "hc_ffn_fn", MOEQ_F32)},
        {true, PLAIN(STREAMS, 1, mixes, "hc_ffn_base", MOEQ_F32)},
        {true, PLAIN(STREAMS, 1, 3, "hc_ffn_scale", MOEQ_F32)},
    };
    return KEEP(rows, kinds, n);
}

static size_t add_attention(const struct moeq_config *c, uint64_t ratio,
                            struct moeq_kind kinds[MOEQ_MAX_KINDS], size_t n)
{
    const uint64_t width = c->head_width, heads = (uint64_t)c->n_heads * width;
    const uint64_t out = (uint64_t)c->o_groups * c->o_rank;
    const uint64_t twice = ratio == 4 ? 2 : 1; /* entries of 4 tokens overlap */
    const bool compressed = ratio > 0, indexer = ratio == 4 && c->index_heads > 0;
    const struct row rows[] = {
        {true, PLAIN(NORM, 1, c->hidden, "attn_norm.weight", MOEQ_BF16)},
        {true, STORED(ATTENTION, c->q_rank, c->hidden, false, "attn.wq_a.weight", FP8)},
        {true, PLAIN(NORM, 1, c->q_rank, "attn.q_norm.weight", MOEQ_BF16)},
        {true, STORED(ATTENTION, heads, c->q_rank, false, "attn.wq_b.weight", FP8)},
        {true, STORED(ATTENTION, width, c->hidden, false, "attn.wkv.weight", FP8)},
        {true, PLAIN(NORM, 1, width, "attn.kv_norm.weight", MOEQ_BF16)},
        {true, PLAIN(ATTENTION, 1, c->n_heads, "attn.attn_sink", MOEQ_F32)},
        {true, STORED(ATTENTION, out, heads / c->o_groups, false, "attn.wo_a.weight", FP8)},
        {true, STORED(ATTENTION, c->hidden, out, false, "attn.wo_b.weight", FP8)},
        {compressed, PLAIN(ATTENTION, twice * width, c->hidden, "attn.compressor.wkv.weight", MOEQ_BF16)},
        {compressed, PLAIN(ATTENTION, twice * width, c->hidden, "attn.compressor.wgate.weight", MOEQ_BF16)},
        {compressed, PLAIN(ATTENTION, ratio, twice * width, "attn.compressor.ape", MOEQ_F32)},
        {compressed, PLAIN(NORM, 1, width, "attn.compressor.norm.weight", MOEQ_BF16)},
        {indexer, STORED(INDEXER, (uint64_t)c->index_heads * c->index_width, c->q_rank, false,
                         "attn.indexer.wq_b.weight", FP8)},
        {indexer, PLAIN(INDEXER, c->index_heads, c->hidden, "attn.indexer.weights_proj.weight", MOEQ_BF16)},
        {indexer,
         PLAIN(INDEXER, twice * c->index_width, c->hidden, "attn.indexer.compressor.wkv.weight", MOEQ_BF16)},
        {indexer, PLAIN(INDEXER, twice * c->index_width, c->hidden, "attn.indexer.compressor.wgate.weight",
                        MOEQ_BF16)},
        {indexer, PLAIN(INDEXER, ratio, twice * c->index_width, "attn.indexer.compressor.ape", MOEQ_F32)},
        {indexer, PLAIN(INDEXER, 1, c->index_width, "attn.indexer.compressor.norm.weight", MOEQ_BF16)},
    };
    return KEEP(rows, kinds, n);
}

static size_t add_ffn(const struct moeq_config *c, bool hashed, struct moeq_kind kinds[MOEQ_MAX_KINDS],
                      size_t n)
{
    const uint64_t shared = (uint64_t)c->n_shared * c->expert_width;
    const struct row rows[] = {
        {true, PLAIN(NORM, 1, c->hidden, "ffn_norm.weight", MOEQ_BF16)},
        {true, PLAIN(ROUTER, c->n_experts, c->hidden, "ffn.gate.weight", MOEQ_BF16)},
        {!hashed, PLAIN(ROUTER, 1, c->n_experts, "ffn.gate.bias", MOEQ_F32)},
        {hashed, PLAIN(ROUTER, c->vocabulary, c->top_k, "ffn.gate.tid2eid", MOEQ_I64)},
        {shared > 0, STORED(SHARED, shared, c->hidden, false, "ffn.shared_experts.w1.weight", FP8)},
        {shared > 0, STORED(SHARED, c->hidden, shared, false, "ffn.shared_experts.w2.weight", FP8)},
        {shared > 0, STORED(SHARED, shared, c->hidden, false, "ffn.shared_experts.w3.weight", FP8)},
        {true, STORED(EXPERT, c->expert_width, c->hidden, true, "ffn.experts.%d.w1.weight", FP4)},
        {true, STORED(EXPERT, c->hidden, c->expert_width, true, "ffn.experts.%d.w2.weight", FP4)},
        {true, STORED(EXPERT, c->expert_width, c->hidden, true, "ffn.experts.%d.w3.weight", FP4)},
    };
    return KEEP(rows, kinds, n);
}

static size_t add_mtp(const struct moeq_config *c, struct moeq_kind kinds[MOEQ_MAX_KINDS], size_t n)
{
    const uint64_t streams = c->n_streams;
    const struct row rows[] = {
        {true, STORED(MTP, c->hidden, c->hidden, false, "e_proj.weight", FP8)},
        {true, STORED(MTP, c->hidden, c->hidden, false, "h_proj.weight", FP8)},
        {true, PLAIN(NORM, 1, c->hidden, "enorm.weight", MOEQ_BF16)},
        {true, PLAIN(NORM, 1, c->hidden, "hnorm.weight", MOEQ_BF16)},
        {true, PLAIN(NORM, 1, c->hidden, "norm.weight", MOEQ_BF16)},
        {true, PLAIN(STREAMS, streams, streams * c->hidden, "hc_head_fn", MOEQ_F32)},
        {true, PLAIN(STREAMS, 1, streams, "hc_head_base", MOEQ_F32)},
        {true, PLAIN(STREAMS, 1, 1, "hc_head_scale", MOEQ_F32)},
    };
    return KEEP(rows, kinds, n);
}

size_t moeq_anatomy_v4_layer(const struct moeq_config *c, uint32_t layer,
                             struct moeq_kind kinds[MOEQ_MAX_KINDS])
{
    const bool mtp = layer >= c->n_layers;
    size_t n = add_streams(c, kinds, 0);
    n = add_attention(c, mtp ? 0 : c->compress_ratio[layer], kinds, n);
    n = add_ffn(c, layer < c->n_hash_layers, kinds, n);
    return mtp ? add_mtp(c, kinds, n) : n;
}
