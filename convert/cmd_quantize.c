#include "cmd_quantize.h"

#include "batches.h"
#include "comparison.h"
#include "coverage.h"
#include "layer_files.h"
#include "memory.h"
#include "model.h"
#include "planner.h"
#include "repack.h"
#include "sequence.h"
#include "summary.h"
#include "verb.h"

#include <math.h>
#include <stdlib.h>

#define PROBE_TOKENS 4096

struct quantize_options {
    struct moeq_common common;
    const char *statistics, *plan, *out;
    uint64_t memory, probes;
    bool sequential, correct, exact, sha256, dry_run, force;
};

#define OPTION(field) offsetof(struct quantize_options, field)

static const struct moeq_option options_table[] = {
    {"stats", 0, MOEQ_OPTION_TEXT, "STATS", "statistics of moeq calibrate", OPTION(statistics), 0, 0, NULL},
    {"plan", 'p', MOEQ_OPTION_TEXT, "PLAN", "levels of moeq plan", OPTION(plan), 0, 0, NULL},
    {"output", 'o', MOEQ_OPTION_TEXT, "PKG", "folder of the package, usually NAME.moeq", OPTION(out), 0, 0,
     NULL},
    {"probes", 0, MOEQ_OPTION_NUMBER, "N",
     "afterwards measure what N of the quantized experts do to the output, each alone, beside what the plan "
     "predicts",
     OPTION(probes), 1, 1u << 20, NULL},
    {"sequential", 0, MOEQ_OPTION_FLAG, NULL,
     "quantize each layer on what the quantized layers before it give, in a sweep over the tokens of the "
     "statistics",
     OPTION(sequential), 0, 0, NULL},
    {"correct", 0, MOEQ_OPTION_FLAG, NULL,
     "with --sequential, experts toward what the source's experts would have given", OPTION(correct), 0, 0,
     NULL},
    {"exact", 'x', MOEQ_OPTION_FLAG, NULL, "with --sequential, compute in float32 throughout, as for eval",
     OPTION(exact), 0, 0, NULL},
    {"sha256", 0, MOEQ_OPTION_FLAG, NULL,
     "put the SHA-256 of every source file into the manifest, which reads the source once more",
     OPTION(sha256), 0, 0, NULL},
    {"dry-run", 'n', MOEQ_OPTION_FLAG, NULL,
     "print what each tensor would become and the bytes, exact but for level ec; write nothing",
     OPTION(dry_run), 0, 0, NULL},
    {"force", 'f', MOEQ_OPTION_FLAG, NULL,
     "replace a package that is there; the old one is gone once writing begins", OPTION(force), 0, 0, NULL},
    {"mem", 'm', MOEQ_OPTION_BYTES, "SIZE", "memory to use at most, as for eval", OPTION(memory), 0, 0, NULL},
    MOEQ_LENIENT_OPTION,
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

struct quantization {
    const struct quantize_options *options;
    struct moeq_source source;
    struct moeq_statistics statistics;
    struct moeq_level_plan levels;
    struct moeq_plan plan;
    json_t *asked;  /* for the manifest */
    double *errors; /* [items of the plan]: of what was encoded in this run */
    struct moeq_repack_result result;
    struct moeq_comparison comparison;
    struct moeq_coverage coverage;
    double seconds;
};

static bool is_fast(const struct quantization *q)
{
    return !q->options->exact && moeq_has_fast_products();
}

/* A plan that names statistics was measured on them. */
static enum moeq_status check_statistics(const struct quantization *q, struct moeq_error *err)
{
    char hex[MOEQ_HASH_HEX];
    moeq_hash_hex(q->statistics.hash, hex);
    if (!*q->levels.statistics || strcmp(q->levels.statistics, hex) == 0)
        return MOEQ_OK;
    moeq_fail(err, MOEQ_USAGE, "the plan was made from other statistics, %.12s", q->levels.statistics);
    moeq_error_in_file(err, q->options->plan);
    moeq_error_hint(err, "give those, plan again, or set \"statistics\" to null in the plan");
    return MOEQ_USAGE;
}

/* What decides bytes beside the statistics: the arithmetic, too, through the inputs that are seen. NULL:
 * nothing. The longest is known to planner.c. */
static const char *how(const struct quantization *q)
{
    static const char *const hows[2][2] = {
        {"in sequence, float32", "in sequence, bf16"},
        {"in sequence, corrected, float32", "in sequence, corrected, bf16"}};
    return q->options->sequential ? hows[q->options->correct][is_fast(q)] : NULL;
}

/* A sweep needs the packed bytes of what it has quantized, and finds the coded ones. */
static enum moeq_status check_sequence(const struct quantization *q, struct moeq_error *err)
{
    for (size_t i = 0; q->options->sequential && i < q->plan.n_items; i++) {
        const struct moeq_plan_item *item = &q->plan.items[i];
        if (!item->is_coded || moeq_item_is_copied(item))
            continue;
        moeq_fail(err, MOEQ_UNSUPPORTED, "level ec cannot be made in sequence");
        moeq_error_in_tensor(err, item->weight->name);
        moeq_error_hint(err, "drop --sequential, or give it another level in %s", q->options->plan);
        return MOEQ_UNSUPPORTED;
    }
    return MOEQ_OK;
}

static enum moeq_status prepare(struct quantization *q, const char *src, struct moeq_error *err)
{
    const struct quantize_options *o = q->options;
    enum moeq_status status = moeq_source_open_as(&q->source, src, moeq_verb_strictness(&o->common), err);
    if (!status)
        status = moeq_model_check(&q->source, err);
    if (!status)
        status = moeq_statistics_open_for(&q->statistics, o->statistics, &q->source, err);
    if (!status && !o->common.quiet)
        moeq_statistics_warn(&q->statistics, &q->source, "quantize");
    if (!status)
        status = moeq_level_plan_open(&q->levels, o->plan, err);
    if (!status)
        status = moeq_level_plan_check_source(&q->levels, &q->source, err);
    if (!status)
        status = check_statistics(q, err);
    const struct moeq_plan_request request = {
        .levels = &q->levels, .statistics = &q->statistics, .how = how(q)};
    if (!status)
        status = moeq_plan_make(&q->plan, &q->source, &request, err);
    if (!status)
        status = check_sequence(q, err);
    if (!status && !(q->asked = moeq_quantize_options(&q->levels, &q->statistics, how(q), o->sha256)))
        status = moeq_fail_alloc(err, 0);
    if (!status && !(q->errors = moeq_calloc(q->plan.n_items, sizeof *q->errors, err)))
        status = MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < q->plan.n_items; i++)
        q->errors[i] = NAN;
    return status;
}

static json_t *result_json(const struct quantization *q, uint64_t n_bytes)
{
    return json_pack("{s:s, s:i, s:s, s:s, s:O, s:I}", "moeq", "quantize", "version", 1, "source",
                     q->source.path, "architecture", q->source.config.architecture, "options", q->asked,
                     "n_bytes", (json_int_t)n_bytes);
}

static enum moeq_status dry_run(const struct quantization *q, struct moeq_error *err)
{
    const bool is_estimated = moeq_plan_is_estimated(&q->plan);
    uint64_t n_bytes = 0;
    size_t n_files = 0;
    char size[MOEQ_SIZE_TEXT];
    enum moeq_status status = moeq_repack_bytes(&q->plan, q->asked, &n_bytes, &n_files, err);
    if (status)
        return status;
    if (q->options->common.json) {
        json_t *result = result_json(q, n_bytes);
        moeq_json_set(&result, "dry_run", json_true());
        moeq_json_set(&result, "estimated", json_boolean(is_estimated));
        moeq_json_set(&result, "tensors", moeq_summary_json(&q->plan));
        return moeq_verb_print_json(result, err);
    }
    status = moeq_summary_print(stdout, &q->plan, err);
    printf("the package would have %s%llu bytes (%s) in %zu files\n", is_estimated ? "about " : "",
           (unsigned long long)n_bytes, moeq_size_text((double)n_bytes, size), n_files);
    return status;
}

/* ---- reports ---- */

static json_t *comparison_json(const struct moeq_comparison *c)
{
    json_t *experts = json_array();
    for (size_t i = 0; i < c->n_experts; i++)
        moeq_json_append(&experts,
                         json_pack("{s:i, s:i, s:f, s:f, s:f}", "layer", c->experts[i].layer, "expert",
                                   c->experts[i].expert, "predicted", c->experts[i].predicted, "kld",
                                   c->experts[i].kld, "kld_error", c->experts[i].kld_error));
    return json_pack("{s:I, s:f, s:f, s:o, s:o, s:o}", "matrices", (json_int_t)c->n_matrices,
                     "predicted_error", c->predicted_error, "measured_error", c->measured_error,
                     "error_rank_correlation", moeq_json_real(c->error_rank), "kld_rank_correlation",
                     moeq_json_real(c->kld_rank), "experts", experts);
}

static void print_comparison(const struct moeq_comparison *c)
{
    if (c->n_matrices)
        printf("errors of %zu matrices: predicted %.6g, measured %.6g in all, rank correlation %.4f\n",
               c->n_matrices, c->predicted_error, c->measured_error, c->error_rank);
    if (!c->n_experts)
        return;
    printf(
        "experts alone, by what the plan predicts of them:\nlayer expert  predicted   KL, nats       SE\n");
    for (size_t i = 0; i < c->n_experts; i++)
        printf("%5d %6d  %9.3g  %9.3g  %7.1g\n", c->experts[i].layer, c->experts[i].expert,
               c->experts[i].predicted, c->experts[i].kld, c->experts[i].kld_error);
    printf("rank correlation of %zu experts: %.4f\n", c->n_experts, c->kld_rank);
}

static enum moeq_status report(const struct quantization *q, struct moeq_error *err)
{
    const struct quantize_options *o = q->options;
    const struct moeq_repack_result *result = &q->result;
    char size[MOEQ_SIZE_TEXT], peak[MOEQ_SIZE_TEXT];
    if (o->common.json) {
        json_t *json = result_json(q, result->n_bytes);
        moeq_json_set(&json, "package", json_string(o->out));
        moeq_json_set(&json, "already_complete", json_boolean(result->was_complete));
        moeq_json_set(&json, "files_kept", json_integer((json_int_t)result->n_files_kept));
        moeq_json_set(&json, "comparison", comparison_json(&q->comparison));
        moeq_json_set(&json, "unseen", moeq_coverage_unseen_json(&q->coverage));
        moeq_json_set(&json, "timing",
                      json_pack("{s:f, s:I}", "seconds", q->seconds, "peak_memory_bytes",
                                (json_int_t)moeq_peak_memory()));
        return moeq_verb_print_json(json, err);
    }
    enum moeq_status status = MOEQ_OK;
    if (result->was_complete)
        printf("%s: already complete, from the same source, plan and statistics; nothing to do\n", o->out);
    else
        status = moeq_summary_print(stdout, &q->plan, err);
    moeq_coverage_print_unseen(&q->coverage, stdout);
    print_comparison(&q->comparison);
    if (result->was_complete)
        return status;
    printf("%s: %s", o->out, moeq_size_text((double)result->n_bytes, size));
    if (result->n_files_kept)
        printf(", %zu of %zu layer files kept from the run before", result->n_files_kept, q->plan.n_files);
    printf(", %.1f s, peak memory %s\n", q->seconds, moeq_size_text((double)moeq_peak_memory(), peak));
    return status;
}

/* ---- all of it ---- */

static enum moeq_status run_sequence(struct quantization *q, struct moeq_repack *repack,
                                     struct moeq_error *err)
{
    const struct quantize_options *o = q->options;
    uint64_t beside;
    const uint64_t least = moeq_sequence_bytes(&q->plan, o->correct, moeq_pool_jobs(repack->pool), &beside);
    const struct moeq_budget budget = moeq_verb_budget(o->memory, beside);
    enum moeq_status status =
        moeq_verb_check_budget(&budget, least - beside, least - beside, q->source.path, err);
    if (status)
        return status;
    struct moeq_sequence_options options = {.pool = repack->pool,
                                            .arithmetic = is_fast(q) ? MOEQ_FAST : MOEQ_EXACT,
                                            .corrects = o->correct,
                                            .out = o->out,
                                            .budget = moeq_larger(budget.n_bytes, least - beside),
                                            .errors = q->errors};
    options.progress = moeq_progress_start("quantize", "layers", q->source.config.n_layers, o->common.quiet);
    struct moeq_sequence *sequence = moeq_sequence_create(&q->plan, &options, err);
    if (sequence) {
        const struct moeq_supply supply = moeq_sequence_supply(sequence);
        repack->supply = &supply;
        status = moeq_repack_run(repack, &q->result, err);
        moeq_sequence_free(sequence);
    } else {
        status = err && err->status ? err->status : MOEQ_OVER_MEMORY;
    }
    moeq_progress_end(options.progress);
    return status;
}

static enum moeq_status write_package(struct quantization *q, struct moeq_pool *pool, struct moeq_error *err)
{
    const struct quantize_options *o = q->options;
    struct moeq_repack repack = {.plan = &q->plan,
                                 .out = o->out,
                                 .options = q->asked,
                                 .force = o->force,
                                 .pool = pool,
                                 .errors = q->errors};
    if (o->sequential)
        return run_sequence(q, &repack, err);
    const struct moeq_budget budget = moeq_verb_budget(o->memory, 0);
    const uint64_t least = moeq_layer_files_memory(&q->plan, moeq_pool_jobs(pool));
    enum moeq_status status = moeq_verb_check_budget(&budget, least, least, q->source.path, err);
    if (status)
        return status;
    repack.progress =
        moeq_progress_start("quantize", "bytes", moeq_repack_work(&q->plan, q->asked), o->common.quiet);
    status = moeq_repack_run(&repack, &q->result, err);
    moeq_progress_end(repack.progress);
    return status;
}

static bool knows_all_errors(const struct quantization *q)
{
    for (size_t i = 0; i < q->plan.n_items; i++)
        if (q->plan.items[i].is_calibrated && isnan(q->errors[i]))
            return false;
    return true;
}

static enum moeq_status probe_experts(struct quantization *q, const struct moeq_source *package,
                                      struct moeq_pool *pool, struct moeq_error *err)
{
    const struct quantize_options *o = q->options;
    struct moeq_progress *progress =
        moeq_progress_start("quantize: probes", "layers", q->source.config.n_layers, o->common.quiet);
    enum moeq_status status =
        moeq_compare_experts(&q->levels, &q->source, package, &q->statistics, o->probes, PROBE_TOKENS,
                             moeq_verb_budget(o->memory, 0).n_bytes, pool, progress, &q->comparison, err);
    moeq_progress_end(progress);
    return status;
}

/* What an earlier run has made is read back to be measured. */
static enum moeq_status compare(struct quantization *q, struct moeq_pool *pool, struct moeq_error *err)
{
    const bool needs_package = !knows_all_errors(q) || q->options->probes;
    struct moeq_source package;
    enum moeq_status status = needs_package ? moeq_source_open(&package, q->options->out, err) : MOEQ_OK;
    if (status)
        return status;
    if (needs_package)
        status = moeq_compare_measure(&q->plan, &package, pool, q->errors, err);
    if (!status)
        status = moeq_compare_errors(&q->levels, &q->plan, q->errors, &q->comparison, err);
    if (!status && q->options->probes)
        status = probe_experts(q, &package, pool, err);
    if (needs_package)
        moeq_source_close(&package);
    return status;
}

static enum moeq_status quantize(struct quantization *q, struct moeq_error *err)
{
    const double begin = moeq_clock();
    struct moeq_pool *pool = moeq_verb_pool(&q->options->common, err);
    if (!pool)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = write_package(q, pool, err);
    if (!status)
        status = compare(q, pool, err);
    if (!status)
        status = moeq_coverage_read(&q->coverage, &q->statistics, &q->source.config, err);
    q->seconds = moeq_clock() - begin;
    moeq_pool_join(pool);
    return status ? status : report(q, err);
}

static enum moeq_status check_options(const struct quantize_options *o, struct moeq_error *err)
{
    if (!o->statistics)
        return moeq_fail(err, MOEQ_USAGE, "--stats is missing: moeq calibrate SRC --text FILE -o STATS");
    if (!o->plan)
        return moeq_fail(err, MOEQ_USAGE,
                         "--plan is missing: moeq plan SRC --stats STATS --budget 4.0bpw -o PLAN");
    if (!o->sequential && (o->correct || o->exact))
        return moeq_fail(err, MOEQ_USAGE, "--%s is a matter of --sequential",
                         o->correct ? "correct" : "exact");
    if (o->out || o->dry_run)
        return MOEQ_OK;
    moeq_fail(err, MOEQ_USAGE, "where to? -o is missing");
    moeq_error_hint(err, "give -o NAME.moeq, or --dry-run to see what would be done");
    return MOEQ_USAGE;
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    struct quantization q = {.options = options};
    (void)n_positional;
    enum moeq_status status = check_options(q.options, err);
    if (!status)
        status = prepare(&q, positional[0], err);
    if (!status)
        status = q.options->dry_run ? dry_run(&q, err) : quantize(&q, err);
    json_decref(q.asked);
    free(q.errors);
    moeq_comparison_free(&q.comparison);
    moeq_coverage_free(&q.coverage);
    moeq_plan_free(&q.plan);
    moeq_level_plan_close(&q.levels);
    moeq_statistics_close(&q.statistics);
    moeq_source_close(&q.source);
    return status;
}

const struct moeq_verb moeq_verb_quantize = {
    .name = "quantize",
    .arguments = "SRC --stats STATS --plan PLAN -o PKG",
    .summary = "make the package of a plan, calibrated",
    .details =
        "Each matrix is rounded with error feedback (GPTQ) on the second moments of its inputs. They are "
        "those "
        "of the statistics, so that the same codes come out on every machine; with --sequential they are "
        "collected anew, layer by layer, in the model as it is quantized. What the plan predicts of each "
        "matrix "
        "is compared with what came of it.\n\n"
        "PKG appears complete and checked, or not as a package at all. A run that was stopped is finished by "
        "the "
        "same command: layers that are complete are kept. The bytes do not depend on --jobs or --mem.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 1,
    .options_size = sizeof(struct quantize_options),
    .run = run,
};
