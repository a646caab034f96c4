#include "inspection.h"

#include "rope.h"

static json_t *integer(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *share_json(const struct moeq_share *share)
{
    return json_pack("{s:o, s:o, s:o}", "tensors", integer(share->n_tensors), "weights",
                     integer(share->n_weights), "bytes", integer(share->n_bytes));
}

json_t *moeq_dtype_shares_json(const struct moeq_dtype_shares *shares)
{
    json_t *json = json_object();
    for (int d = 0; d < MOEQ_N_DTYPES; d++)
        if (shares->dtypes[d].n_tensors)
            moeq_json_set(&json, moeq_dtype_name((enum moeq_dtype)d),
                          json_pack("{s:o, s:o}", "tensors", integer(shares->dtypes[d].n_tensors), "bytes",
                                    integer(shares->dtypes[d].n_bytes)));
    return json;
}

static json_t *yarn_json(const struct moeq_config *c)
{
    return c->yarn ? json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "factor", c->yarn_factor,
                               "original_positions", c->yarn_original_positions, "beta_fast",
                               c->yarn_beta_fast, "beta_slow", c->yarn_beta_slow, "mscale", c->yarn_mscale,
                               "mscale_all_dim", c->yarn_mscale_all_dim)
                   : json_null();
}

static const char *group_rule(const struct moeq_config *c)
{
    static const char *const rules[] = {
        [MOEQ_GROUP_NONE] = "none", [MOEQ_GROUP_MAX] = "best", [MOEQ_GROUP_TOP2] = "two best"};
    return rules[c->group_score];
}

static json_t *config_json(const struct moeq_config *c)
{
    const struct {
        const char *key;
        uint64_t value;
    } rows[] = {
        {"layers", c->n_layers},         {"moe_layers", moeq_count_moe_layers(c)},
        {"mtp_layers", c->n_mtp_layers}, {"hidden", c->hidden},
        {"vocabulary", c->vocabulary},   {"positions", c->max_positions},
        {"heads", c->n_heads},           {"q_rank", c->q_rank},
        {"kv_rank", c->kv_rank},         {"qk_nope", c->qk_nope},
        {"qk_rope", c->qk_rope},         {"v_width", c->v_width},
        {"dense_width", c->dense_width}, {"expert_width", c->expert_width},
        {"experts", c->n_experts},       {"experts_per_token", c->top_k},
        {"shared_experts", c->n_shared}, {"groups", c->n_groups},
        {"groups_kept", c->top_groups},  {"index_heads", c->index_heads},
        {"index_width", c->index_width}, {"index_top_k", c->index_top_k},
        {"head_width", c->head_width},   {"o_groups", c->o_groups},
        {"o_rank", c->o_rank},           {"hash_layers", c->n_hash_layers},
        {"streams", c->n_streams},       {"says_int4_group", c->int4_group},
    };
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:f, s:f, s:o, s:f, s:b}", "architecture",
                  c->architecture, "family", moeq_family_name(c), "model_type", c->model_type, "router",
                  moeq_router_name(c), "group_rule", group_rule(c), "correction_bias", c->correction_bias,
                  "normalised", c->norm_topk, "routed_scale", c->routed_scale, "rope_theta", c->rope_theta,
                  "yarn", yarn_json(c), "softmax_scale", moeq_attention_scale(c), "says_fp8", c->says_fp8);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        moeq_json_set(&json, rows[i].key, integer(rows[i].value));
    return json;
}

static json_t *census_json(const struct moeq_census *census)
{
    const struct {
        const char *key;
        uint64_t value;
    } rows[] = {
        {"total", census->total},
        {"active", census->active},
        {"total_without_embeddings", census->total - census->embeddings},
        {"active_without_embeddings", census->active - census->embeddings},
        {"mtp", census->mtp},
        {"mtp_copies", census->mtp_copies},
        {"release_tensors", census->n_tensors},
        {"kv_bytes_per_token", census->kv_mla},
        {"kv_bytes_per_token_full_attention", census->kv_full},
        {"kv_bytes_per_token_indexer", census->kv_indexer},
    };
    json_t *json = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        moeq_json_set(&json, rows[i].key, integer(rows[i].value));
    return json;
}

static json_t *outlook_json(const struct moeq_outlook *o)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < o->n; i++) {
        const struct moeq_outlook_row *row = &o->rows[i];
        moeq_json_append(
            &rows, json_pack("{s:s, s:o, s:o, s:o}", "level", row->level ? row->level : "lossless", "bytes",
                             integer(row->package_bytes), "convert_memory_bytes", integer(row->convert_bytes),
                             "eval_memory_bytes", row->eval_bytes ? integer(row->eval_bytes) : json_null()));
    }
    return json_pack("{s:b, s:i, s:i, s:i, s:o}", "exact", o->exact, "threads", (int)o->n_jobs,
                     "eval_windows", MOEQ_OUTLOOK_WINDOWS, "eval_context", MOEQ_OUTLOOK_CONTEXT, "levels",
                     rows);
}

/* The quantized formats found, and "e8m0" for what has F8_E8M0 scales and is not decoded. */
static json_t *quantization_json(const struct moeq_inspection *in)
{
    char text[MOEQ_FORMAT_BYTES];
    json_t *list = json_array();
    for (size_t i = 0; i < in->n_formats; i++)
        if (moeq_is_quantized(in->format_keys[i]))
            moeq_json_append(&list, json_string(moeq_format_text(in->format_keys[i], text)));
    if (in->stored.dtypes[MOEQ_F8_E8M0].n_tensors)
        moeq_json_append(&list, json_string("e8m0"));
    return list;
}

static void add_tensors(json_t **json, const struct moeq_inspection *in)
{
    char text[MOEQ_FORMAT_BYTES], line[1600];
    json_t *formats = json_object(), *roles = json_object();
    for (size_t i = 0; i < in->n_formats; i++)
        moeq_json_set(&formats, moeq_format_name(in->format_keys[i], text), share_json(&in->formats[i]));
    for (int i = 0; i < MOEQ_N_ROLES; i++)
        if (in->roles[i].n_tensors)
            moeq_json_set(&roles, moeq_role_name((enum moeq_role)i), share_json(&in->roles[i]));
    moeq_json_set(json, "package", json_boolean(in->source->is_package));
    moeq_json_set(json, "files", integer(in->n_files));
    moeq_json_set(json, "file_bytes", integer(in->n_file_bytes));
    if (!in->source->is_package) {
        moeq_json_set(json, "file_tensors", integer(in->stored.all.n_tensors));
        moeq_json_set(json, "tensor_bytes", integer(in->stored.all.n_bytes));
        moeq_json_set(json, "quantization", quantization_json(in));
        moeq_json_set(json, "config_agrees", json_boolean(moeq_config_agrees(in)));
        moeq_json_set(json, "dtypes", moeq_dtype_shares_json(&in->stored));
    }
    moeq_json_set(json, "weights", share_json(&in->all));
    moeq_json_set(json, "formats", formats);
    moeq_json_set(json, "roles", roles);
    moeq_json_set(json, "converts", json_boolean(!in->outlook.cannot_convert.status));
    moeq_json_set(json, "runs", json_boolean(!in->cannot_run.status));
    if (in->cannot_run.status)
        moeq_json_set(json, "why_not", json_string(moeq_error_format(&in->cannot_run, line, sizeof line)));
}

json_t *moeq_inspection_json(const struct moeq_inspection *in)
{
    json_t *json = json_pack("{s:s, s:i, s:o, s:o}", "moeq", "inspect", "version", 1, "model",
                             config_json(in->config), "parameters", census_json(&in->census));
    if (in->source)
        add_tensors(&json, in);
    if (in->outlook.n)
        moeq_json_set(&json, "as_package", outlook_json(&in->outlook));
    return json;
}
