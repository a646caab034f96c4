#include "census.h"

#define BF16_BYTES 2

static uint64_t n_tensors(const struct moeq_config *c, const struct moeq_kind *kind)
{
    uint64_t beside = c->says_fp8 && moeq_part_fp8_in_releases(kind->part) ? 1 : 0; /* scales */
    if (c->int4_group && moeq_part_role(kind->part) == MOEQ_ROLE_EXPERTS)
        beside = 2; /* scales and shape */
    if (kind->storage != MOEQ_STORED_PLAIN)
        beside = 1;
    return (kind->each_expert ? c->n_experts : 1) * (1 + beside);
}

static bool is_copy(enum moeq_part part)
{
    return part == MOEQ_PART_MTP_HEAD || part == MOEQ_PART_MTP_EMBED;
}

static bool is_embedding(enum moeq_part part)
{
    const enum moeq_role role = moeq_part_role(part);
    return role == MOEQ_ROLE_EMBED || role == MOEQ_ROLE_HEAD;
}

/* Of DeepSeek-V4: one vector for so many tokens, key and value in one, and the indexer's beside it. */
static void count_compressed_cache(struct moeq_census *census, const struct moeq_config *c)
{
    double bytes = 0, indexer = 0;
    for (uint32_t layer = 0; layer < c->n_layers; layer++) {
        const double ratio = c->compress_ratio[layer];
        bytes += ratio > 0 ? BF16_BYTES * c->head_width / ratio : 0;
        indexer += ratio == 4 ? BF16_BYTES * c->index_width / ratio : 0;
    }
    census->kv_mla = (uint64_t)bytes;
    census->kv_indexer = (uint64_t)indexer;
    census->kv_full = (uint64_t)BF16_BYTES * c->n_layers * c->n_heads * c->head_width * 2;
}

static void count_layer(struct moeq_census *census, const struct moeq_config *c, uint32_t layer)
{
    struct moeq_kind kinds[MOEQ_MAX_KINDS];
    size_t n = moeq_anatomy_layer(c, layer, kinds);
    for (size_t i = 0; i < n; i++) {
        const uint64_t all = moeq_kind_weights(c, &kinds[i]);
        const uint64_t one = kinds[i].each_expert ? all / c->n_experts : all;
        census->n_tensors += n_tensors(c, &kinds[i]);
        if (layer < c->n_layers) {
            census->total += all;
            census->active += kinds[i].each_expert ? one * c->top_k : all;
        } else if (is_copy(kinds[i].part)) {
            census->mtp_copies += all;
        } else {
            census->mtp += all;
        }
    }
}

struct moeq_census moeq_census_take(const struct moeq_config *config)
{
    const struct moeq_config *c = config;
    struct moeq_census census = {0};
    struct moeq_kind kinds[MOEQ_MAX_KINDS];
    size_t n = moeq_anatomy_outside(c, kinds);
    for (size_t i = 0; i < n; i++) {
        const uint64_t weights = moeq_kind_weights(c, &kinds[i]);
        census.total += weights;
        census.active += weights;
        census.embeddings += is_embedding(kinds[i].part) ? weights : 0;
        census.n_tensors++;
    }
    for (uint32_t layer = 0; layer < c->n_layers + c->n_mtp_layers; layer++)
        count_layer(&census, c, layer);
    if (c->stray_inv_freq)
        census.n_tensors += c->n_layers;
    if (c->design == MOEQ_DESIGN_V4) {
        count_compressed_cache(&census, c);
        return census;
    }
    census.kv_mla = (uint64_t)BF16_BYTES * c->n_layers * (c->kv_rank + c->qk_rope);
    census.kv_full =
        (uint64_t)BF16_BYTES * c->n_layers * c->n_heads * ((uint64_t)c->qk_nope + c->qk_rope + c->v_width);
    for (uint32_t layer = 0; layer < c->n_layers; layer++)
        census.kv_indexer += moeq_config_layer_has_indexer(c, layer) ? BF16_BYTES * c->index_width : 0;
    return census;
}
