/* config.json of any bytes. A configuration that is accepted is one that the runtime can size its buffers by.
 */
#include "config.h"
#include "fuzz.h"

#include <math.h>
#include <string.h>

static void check_router(const struct moeq_config *c)
{
    fuzz_require(c->n_experts >= 1 && c->top_k >= 1 && c->top_k <= c->n_experts);
    fuzz_require(c->n_groups >= 1 && c->n_experts % c->n_groups == 0);
    fuzz_require(c->top_groups >= 1 && c->top_groups <= c->n_groups);
    if (c->group_score != MOEQ_GROUP_NONE)
        fuzz_require(c->top_k <= c->n_experts / c->n_groups * c->top_groups);
    if (c->group_score == MOEQ_GROUP_TOP2)
        fuzz_require(c->n_experts / c->n_groups >= 2);
    fuzz_require(isfinite(c->routed_scale));
}

static void check_config(const struct moeq_config *c)
{
    const uint32_t widths[] = {c->hidden,  c->kv_rank,     c->qk_nope,     c->qk_rope,
                               c->v_width, c->dense_width, c->expert_width};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        fuzz_require(widths[i] >= 1 && widths[i] <= 1u << 20);
    fuzz_require(c->n_layers >= 1 && c->n_layers <= 4096 && c->n_mtp_layers <= 64);
    fuzz_require(c->vocabulary >= 1 && c->max_positions >= 1 && c->n_heads >= 1 && c->n_heads <= 4096);
    fuzz_require(c->q_rank <= 1u << 20 && c->qk_rope % 2 == 0 && c->layer_freq >= 1);
    fuzz_require(c->bos >= -1 && (c->bos == -1 || (uint32_t)c->bos < c->vocabulary));
    fuzz_require(c->norm_eps >= 0 && isfinite(c->norm_eps) && c->rope_theta > 1 && isfinite(c->rope_theta));
    if (c->yarn) {
        fuzz_require(c->yarn_factor > 0 && c->yarn_beta_fast > 0 && c->yarn_beta_slow > 0);
        fuzz_require(c->yarn_original_positions >= 1 && isfinite(c->yarn_mscale) &&
                     isfinite(c->yarn_mscale_all_dim));
    }
    fuzz_require(strlen(c->architecture) < sizeof c->architecture &&
                 strlen(c->model_type) < sizeof c->model_type);
    fuzz_require(moeq_config_layer_is_moe(c, c->n_layers));
    for (uint32_t i = 0; i < c->n_layers && i < 8; i++)
        moeq_config_layer_is_moe(c, i);
    check_router(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct moeq_config config;
    struct moeq_error err = {0};
    enum moeq_status status = moeq_config_parse(&config, data, n, &err);
    fuzz_require_error(status, &err);
    if (!status)
        check_config(&config);
    return 0;
}
