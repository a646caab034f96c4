#include "inspection.h"

#include "model.h"
#include "rope.h"
#include "verb.h"

static void add(struct moeq_share *share, const struct moeq_weight *w)
{
    share->n_tensors++;
    share->n_weights += w->rows * w->cols;
    share->n_bytes += w->n_bytes;
}

static void add_format(struct moeq_inspection *in, const struct moeq_weight *w)
{
    size_t f = 0;
    while (f < in->n_formats && !moeq_format_equal(in->format_keys[f], w->format))
        f++;
    if (f == MOEQ_MAX_FORMATS) /* more levels than any package has: the rest counts with the last */
        f--;
    else if (f == in->n_formats)
        in->format_keys[in->n_formats++] = w->format;
    add(&in->formats[f], w);
}

static void count_files(struct moeq_inspection *in, const struct moeq_source *s)
{
    in->n_files = s->is_package ? s->package.n_files : s->checkpoint.n_shards;
    for (size_t i = 0; i < in->n_files; i++)
        in->n_file_bytes +=
            s->is_package ? s->package.files[i].file.n_bytes : s->checkpoint.shards[i].file.n_bytes;
}

void moeq_inspection_take(struct moeq_inspection *inspection, const struct moeq_config *config,
                          const struct moeq_source *source)
{
    *inspection = (struct moeq_inspection){.config = config, .source = source};
    inspection->census = moeq_census_take(config);
    if (!source)
        return;
    count_files(inspection, source);
    for (size_t i = 0; i < source->n_weights; i++) {
        const struct moeq_weight *w = &source->weights[i];
        add(&inspection->all, w);
        add(&inspection->roles[moeq_part_role(w->id.part)], w);
        add_format(inspection, w);
        inspection->has_fp8 = inspection->has_fp8 || w->format.level == &moeq_level_fp8;
    }
    moeq_model_check(source, &inspection->cannot_run);
}

/* ---- text ---- */

static const char *number(uint64_t n, char dst[32])
{
    char plain[24];
    int length = snprintf(plain, sizeof plain, "%llu", (unsigned long long)n);
    char *to = dst;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = plain[i];
    }
    *to = '\0';
    return dst;
}

static uint32_t count_moe(const struct moeq_config *c)
{
    uint32_t n = 0;
    for (uint32_t layer = 0; layer < c->n_layers; layer++)
        n += moeq_config_layer_is_moe(c, layer);
    return n;
}

static void print_model(FILE *out, const struct moeq_config *c)
{
    const uint32_t n_moe = count_moe(c);
    fprintf(out, "architecture   %s (model type %s)\n", c->architecture, c->model_type);
    fprintf(out, "layers         %u: %u dense, %u with experts; %u for further tokens (MTP)\n", c->n_layers,
            c->n_layers - n_moe, n_moe, c->n_mtp_layers);
    fprintf(out, "widths         hidden %u, dense %u, expert %u; vocabulary %u; up to %u positions\n",
            c->hidden, c->dense_width, c->expert_width, c->vocabulary, c->max_positions);
    fprintf(out, "attention      MLA, %u heads, head %u + %u rotary, value %u; latents q %u, kv %u\n",
            c->n_heads, c->qk_nope, c->qk_rope, c->v_width, c->q_rank, c->kv_rank);
    if (c->index_heads)
        fprintf(out, "sparse         indexer of %u heads of %u, keeps %u keys\n", c->index_heads,
                c->index_width, c->index_top_k);
    fprintf(out, "RoPE           theta %g", c->rope_theta);
    if (c->yarn)
        fprintf(out, ", YaRN factor %g over %g positions", c->yarn_factor, c->yarn_original_positions);
    fprintf(out, "; softmax scale %.7f\n", moeq_attention_scale(c));
    fprintf(out, "experts        %u routed, %u a token, %u shared; router %s", c->n_experts, c->top_k,
            c->n_shared, c->scoring == MOEQ_SCORING_SIGMOID ? "sigmoid" : "softmax");
    if (c->group_score != MOEQ_GROUP_NONE)
        fprintf(out, ", %u of %u groups by %s", c->top_groups, c->n_groups,
                c->group_score == MOEQ_GROUP_TOP2 ? "their two best" : "their best");
    fprintf(out, "%s%s, scaled by %g\n", c->correction_bias ? ", correction bias" : "",
            c->norm_topk ? ", weights normalised" : "", c->routed_scale);
}

static void print_census(FILE *out, const struct moeq_census *census)
{
    char a[32], b[32];
    fprintf(out, "parameters     %s, of which %s active a token\n", number(census->total, a),
            number(census->active, b));
    fprintf(out, "  without embedding and head   %s, %s active\n",
            number(census->total - census->embeddings, a), number(census->active - census->embeddings, b));
    if (census->mtp)
        fprintf(out, "  MTP on top                   %s, and %s in copies of embedding and head\n",
                number(census->mtp, a), number(census->mtp_copies, b));
    fprintf(out,
            "KV cache       %s bytes a token in BF16; full multi-head attention would need %s (%.1f times)\n",
            number(census->kv_mla, a), number(census->kv_full, b),
            (double)census->kv_full / (double)census->kv_mla);
    if (census->kv_indexer)
        fprintf(out, "               and %s for the indexer's keys\n", number(census->kv_indexer, a));
}

static void print_share(FILE *out, const char *name, const struct moeq_share *share)
{
    char size[MOEQ_SIZE_TEXT], n[32];
    fprintf(out, "  %-14s %9s tensors %12s  %7.3f bits per weight\n", name, number(share->n_tensors, n),
            moeq_size_text((double)share->n_bytes, size),
            share->n_weights ? 8.0 * (double)share->n_bytes / (double)share->n_weights : 0);
}

static void print_tensors(FILE *out, const struct moeq_inspection *in)
{
    char size[MOEQ_SIZE_TEXT], n[32], line[1600], text[MOEQ_FORMAT_BYTES];
    const struct moeq_source *s = in->source;
    fprintf(out, "files          %zu %s, %s\n", in->n_files, s->is_package ? "package files" : "shards",
            moeq_size_text((double)in->n_file_bytes, size));
    if (!s->is_package)
        fprintf(out, "tensors        %s in the files; config.json calls for %s\n",
                number(s->checkpoint.n_tensors, n), number(in->census.n_tensors, line));
    for (size_t i = 0; i < in->n_formats; i++)
        print_share(out, moeq_format_text(in->format_keys[i], text), &in->formats[i]);
    fprintf(out, "roles\n");
    for (int i = 0; i < MOEQ_N_ROLES; i++)
        if (in->roles[i].n_tensors)
            print_share(out, moeq_role_name((enum moeq_role)i), &in->roles[i]);
    if (!s->is_package && in->has_fp8 != in->config->says_fp8)
        fprintf(out, "note           config.json %s FP8, the tensors %s; moeq goes by the tensors\n",
                in->config->says_fp8 ? "says" : "does not say", in->has_fp8 ? "are" : "are not");
    if (in->cannot_run.status)
        fprintf(out, "moeq can       convert and verify it, not run it: %s\n",
                moeq_error_format(&in->cannot_run, line, sizeof line));
    else
        fprintf(out, "moeq can       convert, verify and evaluate it%s\n",
                in->config->index_top_k ? " (windows up to the indexer's keys)" : "");
}

void moeq_inspection_print(FILE *out, const struct moeq_inspection *inspection)
{
    char n[32];
    print_model(out, inspection->config);
    print_census(out, &inspection->census);
    if (inspection->source)
        print_tensors(out, inspection);
    else
        fprintf(out, "files          only config.json; a release would have %s tensors\n",
                number(inspection->census.n_tensors, n));
}

/* ---- JSON ---- */

static json_t *integer(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *share_json(const struct moeq_share *share)
{
    return json_pack("{s:o, s:o, s:o}", "tensors", integer(share->n_tensors), "weights",
                     integer(share->n_weights), "bytes", integer(share->n_bytes));
}

static json_t *config_json(const struct moeq_config *c)
{
    const struct {
        const char *key;
        uint64_t value;
    } rows[] = {
        {"layers", c->n_layers},         {"moe_layers", count_moe(c)},
        {"mtp_layers", c->n_mtp_layers}, {"hidden", c->hidden},
        {"vocabulary", c->vocabulary},   {"positions", c->max_positions},
        {"heads", c->n_heads},           {"q_rank", c->q_rank},
        {"kv_rank", c->kv_rank},         {"qk_nope", c->qk_nope},
        {"qk_rope", c->qk_rope},         {"v_width", c->v_width},
        {"dense_width", c->dense_width}, {"expert_width", c->expert_width},
        {"experts", c->n_experts},       {"experts_per_token", c->top_k},
        {"shared_experts", c->n_shared}, {"groups", c->n_groups},
        {"groups_kept", c->top_groups},  {"index_heads", c->index_heads},
        {"index_top_k", c->index_top_k},
    };
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:f, s:f, s:b}", "architecture", c->architecture, "model_type", c->model_type,
        "router", c->scoring == MOEQ_SCORING_SIGMOID ? "sigmoid" : "softmax", "rope_theta", c->rope_theta,
        "softmax_scale", moeq_attention_scale(c), "says_fp8", c->says_fp8);
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

json_t *moeq_inspection_json(const struct moeq_inspection *in)
{
    char text[MOEQ_FORMAT_BYTES], line[1600];
    json_t *json = json_pack("{s:s, s:i, s:o, s:o}", "moeq", "inspect", "version", 1, "model",
                             config_json(in->config), "parameters", census_json(&in->census));
    if (!in->source)
        return json;
    json_t *formats = json_object(), *roles = json_object();
    for (size_t i = 0; i < in->n_formats; i++)
        moeq_json_set(&formats, moeq_format_text(in->format_keys[i], text), share_json(&in->formats[i]));
    for (int i = 0; i < MOEQ_N_ROLES; i++)
        if (in->roles[i].n_tensors)
            moeq_json_set(&roles, moeq_role_name((enum moeq_role)i), share_json(&in->roles[i]));
    moeq_json_set(&json, "package", json_boolean(in->source->is_package));
    moeq_json_set(&json, "files", integer(in->n_files));
    moeq_json_set(&json, "file_bytes", integer(in->n_file_bytes));
    if (!in->source->is_package)
        moeq_json_set(&json, "file_tensors", integer(in->source->checkpoint.n_tensors));
    moeq_json_set(&json, "weights", share_json(&in->all));
    moeq_json_set(&json, "formats", formats);
    moeq_json_set(&json, "roles", roles);
    moeq_json_set(&json, "runs", json_boolean(!in->cannot_run.status));
    if (in->cannot_run.status)
        moeq_json_set(&json, "why_not", json_string(moeq_error_format(&in->cannot_run, line, sizeof line)));
    return json;
}
