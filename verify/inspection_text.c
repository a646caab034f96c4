#include "inspection.h"

#include "rope.h"
#include "verb.h"

#define NAME_WIDTH 14 /* of the left column */

static void print_router(FILE *out, const struct moeq_config *c)
{
    fprintf(out, "router         %s%s%s, scaled by %g\n", moeq_router_name(c),
            c->correction_bias ? ", correction bias" : "", c->norm_topk ? ", weights normalised" : "",
            c->routed_scale);
    if (c->group_score != MOEQ_GROUP_NONE)
        fprintf(out, "               %u of %u groups of experts, by %s\n", c->top_groups, c->n_groups,
                c->group_score == MOEQ_GROUP_TOP2 ? "the two best of each" : "the best of each");
}

static void print_attention(FILE *out, const struct moeq_config *c)
{
    fprintf(out, "attention      MLA, %u heads: %u + %u rotary, value %u; latents q ", c->n_heads, c->qk_nope,
            c->qk_rope, c->v_width);
    if (c->q_rank)
        fprintf(out, "%u, kv %u\n", c->q_rank, c->kv_rank);
    else
        fprintf(out, "none, kv %u\n", c->kv_rank);
}

static void print_v4_attention(FILE *out, const struct moeq_config *c)
{
    uint32_t n_compressed = 0;
    for (uint32_t layer = 0; layer < c->n_layers; layer++)
        n_compressed += c->compress_ratio[layer] > 0;
    fprintf(out,
            "attention      %u heads of %u, %u of it rotary; latent q %u; output in %u groups of rank %u\n",
            c->n_heads, c->head_width, c->qk_rope, c->q_rank, c->o_groups, c->o_rank);
    fprintf(
        out,
        "               compressed keys in %u layers; %u residual streams; experts by token in %u layers\n",
        n_compressed, c->n_streams, c->n_hash_layers);
}

static void print_model(FILE *out, const struct moeq_config *c)
{
    const uint32_t n_moe = moeq_count_moe_layers(c);
    fprintf(out, "architecture   ");
    moeq_print_text(out, c->architecture, 0);
    fprintf(out, ", family ");
    moeq_print_text(out, moeq_family_name(c), 0);
    fprintf(out, " (model type ");
    moeq_print_text(out, c->model_type, 0);
    fprintf(out, ")\nlayers         %u: %u dense, %u with experts", c->n_layers, c->n_layers - n_moe, n_moe);
    if (c->n_mtp_layers)
        fprintf(out, "; %u more for further tokens (MTP)", c->n_mtp_layers);
    fprintf(out, "\n");
    fprintf(out, "widths         hidden %u, dense %u, expert %u; vocabulary %u\n", c->hidden, c->dense_width,
            c->expert_width, c->vocabulary);
    if (c->design == MOEQ_DESIGN_V4)
        print_v4_attention(out, c);
    else
        print_attention(out, c);
    if (c->index_heads)
        fprintf(out, "               sparse: an indexer of %u heads of %u keeps %u keys\n", c->index_heads,
                c->index_width, c->index_top_k);
    fprintf(out, "RoPE           theta %g, up to %u positions; softmax scale %.7f\n", c->rope_theta,
            c->max_positions, moeq_attention_scale(c));
    if (c->yarn)
        fprintf(out, "               YaRN: factor %g over %g positions, beta %g and %g, mscale %g and %g\n",
                c->yarn_factor, c->yarn_original_positions, c->yarn_beta_fast, c->yarn_beta_slow,
                c->yarn_mscale, c->yarn_mscale_all_dim);
    fprintf(out, "experts        %u routed, %u a token, %u shared\n", c->n_experts, c->top_k, c->n_shared);
    print_router(out, c);
}

static void print_census(FILE *out, const struct moeq_census *census)
{
    char a[32], b[32];
    fprintf(out, "parameters     %s, of which %s active a token\n", moeq_number_text(census->total, a),
            moeq_number_text(census->active, b));
    fprintf(out, "               without embedding and head %s, %s active\n",
            moeq_number_text(census->total - census->embeddings, a),
            moeq_number_text(census->active - census->embeddings, b));
    if (census->mtp)
        fprintf(out, "               MTP on top %s, and %s in copies of embedding and head\n",
                moeq_number_text(census->mtp, a), moeq_number_text(census->mtp_copies, b));
    fprintf(out, "KV cache       %s bytes a token in BF16; full multi-head attention: %s (%.1f times)\n",
            moeq_number_text(census->kv_mla, a), moeq_number_text(census->kv_full, b),
            (double)census->kv_full / (double)census->kv_mla);
    if (census->kv_indexer)
        fprintf(out, "               and %s for the indexer's keys\n",
                moeq_number_text(census->kv_indexer, a));
}

static void print_share(FILE *out, const char *name, const struct moeq_share *share)
{
    char size[MOEQ_SIZE_TEXT], n[32];
    fprintf(out, "  %-12s %12s %14s", name, moeq_number_text(share->n_tensors, n),
            moeq_size_text((double)share->n_bytes, size));
    if (share->n_weights)
        fprintf(out, " %10.3f", 8.0 * (double)share->n_bytes / (double)share->n_weights);
    fprintf(out, "\n");
}

static void print_share_heading(FILE *out, const char *name, bool weights)
{
    fprintf(out, "%-*s %12s %14s%s\n", NAME_WIDTH, name, "tensors", "bytes",
            weights ? "  bits per weight" : "");
}

void moeq_dtype_shares_print(FILE *out, const struct moeq_dtype_shares *shares)
{
    print_share_heading(out, "dtypes", false);
    for (int d = 0; d < MOEQ_N_DTYPES; d++)
        if (shares->dtypes[d].n_tensors)
            print_share(out, moeq_dtype_name((enum moeq_dtype)d), &shares->dtypes[d]);
}

/* What the tensors are quantized by, whatever config.json says. */
static void print_quantization(FILE *out, const struct moeq_inspection *in)
{
    char n[32], text[MOEQ_FORMAT_BYTES];
    const char *left = "quantization";
    for (size_t i = 0; i < in->n_formats; i++) {
        const struct moeq_format f = in->format_keys[i];
        if (!moeq_is_quantized(f))
            continue;
        fprintf(out, "%-*s %s: %s matrices, %.1f%% of the bytes\n", NAME_WIDTH, left,
                f.level == &moeq_level_fp8 ? "FP8 E4M3 with 128x128 float32 scales"
                                           : moeq_format_text(f, text),
                moeq_number_text(in->formats[i].n_tensors, n),
                100.0 * (double)in->formats[i].n_bytes / (double)(in->all.n_bytes ? in->all.n_bytes : 1));
        left = "";
    }
    if (in->stored.dtypes[MOEQ_F8_E8M0].n_tensors) {
        fprintf(out, "%-*s codes with F8_E8M0 scales, kept as they are\n", NAME_WIDTH, left);
        left = "";
    }
    if (*left)
        fprintf(out, "%-*s none in the tensors\n", NAME_WIDTH, left);
    if (!moeq_config_agrees(in))
        fprintf(out, "               config.json says %s; moeq goes by the tensors\n",
                in->config->says_fp8     ? "FP8"
                : in->config->int4_group ? "INT4"
                                         : "nothing of it");
}

static void print_tensors(FILE *out, const struct moeq_inspection *in)
{
    char size[MOEQ_SIZE_TEXT], a[32], b[32], text[MOEQ_FORMAT_BYTES];
    const struct moeq_source *s = in->source;
    fprintf(out, "files          %zu %s, %s\n", in->n_files, s->is_package ? "package files" : "shards",
            moeq_size_text((double)in->n_file_bytes, size));
    if (!s->is_package) {
        fprintf(out, "tensors        %s in the files, %s bytes; config.json calls for %s\n",
                moeq_number_text(in->stored.all.n_tensors, a), moeq_number_text(in->stored.all.n_bytes, b),
                moeq_number_text(in->census.n_tensors, size));
        print_quantization(out, in);
        moeq_dtype_shares_print(out, &in->stored);
    } else {
        print_share_heading(out, "levels", true);
        for (size_t i = 0; i < in->n_formats; i++)
            print_share(out, moeq_format_name(in->format_keys[i], text), &in->formats[i]);
    }
    print_share_heading(out, "roles", true);
    for (int i = 0; i < MOEQ_N_ROLES; i++)
        if (in->roles[i].n_tensors)
            print_share(out, moeq_role_name((enum moeq_role)i), &in->roles[i]);
}

static void print_outlook(FILE *out, const struct moeq_outlook *o)
{
    char package[MOEQ_SIZE_TEXT], convert[MOEQ_SIZE_TEXT], eval[MOEQ_SIZE_TEXT], n[32];
    if (!o->n)
        return;
    fprintf(out, "%-*s %22s %20s %14s\n", NAME_WIDTH, "as a package", o->exact ? "bytes" : "bytes, about",
            "memory to convert", "to evaluate");
    for (size_t i = 0; i < o->n; i++) {
        const struct moeq_outlook_row *row = &o->rows[i];
        fprintf(out, "  %-12s %22s %20s %14s\n", row->level ? row->level : "lossless",
                o->exact ? moeq_number_text(row->package_bytes, n)
                         : moeq_size_text((double)row->package_bytes, package),
                moeq_size_text((double)row->convert_bytes, convert),
                row->eval_bytes ? moeq_size_text((double)row->eval_bytes, eval) : "-");
    }
    fprintf(out, "               memory for %u thread%s and, to evaluate, %d windows of %d tokens\n",
            o->n_jobs, o->n_jobs == 1 ? "" : "s", MOEQ_OUTLOOK_WINDOWS, MOEQ_OUTLOOK_CONTEXT);
    if (!o->exact)
        fprintf(out, "               an estimate, from config.json alone\n");
}

static void print_abilities(FILE *out, const struct moeq_inspection *in)
{
    char line[1600];
    const bool converts = !in->outlook.cannot_convert.status, runs = !in->cannot_run.status;
    if (converts || runs)
        fprintf(out, "moeq can       %s it\n",
                !runs       ? "convert and verify"
                : !converts ? "evaluate"
                            : "convert, verify and evaluate");
    if (!converts)
        fprintf(out, "moeq cannot    convert it: %s\n",
                moeq_error_format(&in->outlook.cannot_convert, line, sizeof line));
    if (!runs)
        fprintf(out, "moeq cannot    evaluate it: %s\n",
                moeq_error_format(&in->cannot_run, line, sizeof line));
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
                moeq_number_text(inspection->census.n_tensors, n));
    print_outlook(out, &inspection->outlook);
    if (inspection->source)
        print_abilities(out, inspection);
}
