#include "cmd_convert.h"

#include "repack.h"
#include "request.h"
#include "summary.h"
#include "verb.h"

#include <stdlib.h>

struct convert_options {
    struct moeq_common common;
    const char *out, *level, *group, *scales;
    struct moeq_list rules;
    const char *statistics;
    bool asymmetric, code, plain, text_only, sha256, dry_run, force;
};

#define OPTION(field) offsetof(struct convert_options, field)

static const struct moeq_option options_table[] = {
    {"output", 'o', MOEQ_OPTION_TEXT, "PKG", "folder of the package, usually NAME.moeq", OPTION(out), 0, 0,
     NULL},
    {"level", 'l', MOEQ_OPTION_TEXT, "LEVEL",
     "level of every matrix of the layers: bf16, fp8, int8, int6, int5, int4, int3, int2, f32, also as "
     "int4-g64-asym; ec:3.25 for entropy-coded integers of so many bits a weight; without it all stay as "
     "they "
     "are",
     OPTION(level), 0, 0, NULL},
    {"group", 'g', MOEQ_OPTION_CHOICE, "N", "weights of a row that share a scale, for integers; default 128",
     OPTION(group), 0, 0, "32|64|128"},
    {"asym", 0, MOEQ_OPTION_FLAG, NULL, "asymmetric integers below 8 bits: a zero point for each group",
     OPTION(asymmetric), 0, 0, NULL},
    {"scales", 0, MOEQ_OPTION_CHOICE, "HOW",
     "how scales of integers are found: search tries some and takes the one of the smallest squared "
     "error; absmax takes that of the largest magnitude, which is faster and less exact; default search",
     OPTION(scales), 0, 0, "search|absmax"},
    {"rule", 'r', MOEQ_OPTION_LIST, "KEY=LEVEL,…",
     "level of a role (experts, shared, dense, attn, embed, head, mtp) or of names (layers.0.*); first match "
     "wins; "
     "keep leaves as it is",
     OPTION(rules), 0, 0, NULL},
    {"code", 'c', MOEQ_OPTION_FLAG, NULL,
     "entropy-code matrices at bf16, fp8, int8, int4 and int2, made or kept: fewer bytes, every bit as it "
     "was; "
     "those of a package that are coded stay so anyway",
     OPTION(code), 0, 0, NULL},
    {"plain", 0, MOEQ_OPTION_FLAG, NULL, "of a package, decode such matrices, so that none is coded",
     OPTION(plain), 0, 0, NULL},
    {"text-only", 0, MOEQ_OPTION_FLAG, NULL,
     "of a model that also sees, leave out what only seeing needs (vision_tower, mm_projector)",
     OPTION(text_only), 0, 0, NULL},
    {"stats", 0, MOEQ_OPTION_TEXT, "STATS",
     "round with error feedback on the statistics of moeq calibrate: less error at the same bytes",
     OPTION(statistics), 0, 0, NULL},
    {"sha256", 0, MOEQ_OPTION_FLAG, NULL,
     "put the SHA-256 of every source file into the manifest, which reads the source a second time",
     OPTION(sha256), 0, 0, NULL},
    {"dry-run", 'n', MOEQ_OPTION_FLAG, NULL,
     "print what each tensor would become and the exact bytes, or about how many where some are to be coded; "
     "write nothing",
     OPTION(dry_run), 0, 0, NULL},
    {"force", 'f', MOEQ_OPTION_FLAG, NULL,
     "replace a package that is there; the old one is gone once writing begins", OPTION(force), 0, 0, NULL},
    MOEQ_LENIENT_OPTION,
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

struct conversion {
    const struct convert_options *options;
    struct moeq_source source;
    struct moeq_statistics statistics;
    struct moeq_plan plan;
    struct moeq_rules rules;
    json_t *asked; /* the options that decide bytes, for the manifest */
};

static bool takes_absmax(const struct convert_options *o)
{
    return o->scales && strcmp(o->scales, moeq_scales_names[MOEQ_SCALES_ABSMAX]) == 0;
}

/* --asym, --group and --scales complete levels that leave them open; where there is none, they were given in
 * vain. */
static enum moeq_status check_defaults(const struct conversion *c, const struct moeq_plan_request *request,
                                       struct moeq_format defaults, struct moeq_error *err)
{
    const struct convert_options *o = c->options;
    bool asymmetric = request->has_level && request->level.asymmetric;
    bool group = request->has_level && request->level.group == defaults.group;
    bool has_scales = request->has_level && request->level.group;
    for (size_t i = 0; i < c->rules.n; i++) {
        asymmetric = asymmetric || c->rules.rules[i].format.asymmetric;
        group = group || c->rules.rules[i].format.group == defaults.group;
        has_scales = has_scales || c->rules.rules[i].format.group;
    }
    enum moeq_status status = MOEQ_OK;
    if (o->asymmetric && !asymmetric)
        status = moeq_fail(err, MOEQ_USAGE,
                           "--asym is for integers below 8 bits, which neither --level nor a rule makes");
    else if (o->group && !group)
        status = moeq_fail(err, MOEQ_USAGE,
                           "--group %s is for integers, and neither --level nor a rule takes it", o->group);
    else if (o->scales && !has_scales)
        status =
            moeq_fail(err, MOEQ_USAGE, "--scales is for integers, which neither --level nor a rule makes");
    moeq_error_hint(err, "drop it, or give --level int4 or a rule such as experts=int4");
    return status;
}

/* Statistics that no weight is encoded with were given in vain. */
static enum moeq_status check_statistics(const struct conversion *c, struct moeq_error *err)
{
    bool used = !c->options->statistics;
    for (size_t i = 0; !used && i < c->plan.n_items; i++)
        used = c->plan.items[i].is_calibrated;
    if (used)
        return MOEQ_OK;
    moeq_fail(err, MOEQ_USAGE, "--stats is for integers, fp8 and ec, which neither --level nor a rule makes");
    moeq_error_hint(err, "drop it, or give --level int4 or a rule such as experts=int4");
    return MOEQ_USAGE;
}

static enum moeq_status make_plan(struct conversion *c, struct moeq_error *err)
{
    const struct convert_options *o = c->options;
    const struct moeq_format defaults = {.group = o->group ? (uint32_t)atoi(o->group) : 128,
                                         .asymmetric = o->asymmetric,
                                         .scales = takes_absmax(o) ? MOEQ_SCALES_ABSMAX : MOEQ_SCALES_SEARCH};
    struct moeq_plan_request request = {0};
    enum moeq_status status = moeq_rules_parse(&c->rules, &o->rules, defaults, err);
    if (!status && o->statistics &&
        !(status = moeq_statistics_open_for(&c->statistics, o->statistics, &c->source, err))) {
        request.statistics = &c->statistics;
        if (!o->common.quiet)
            moeq_statistics_warn(&c->statistics, &c->source, "convert");
    }
    request.rules = c->rules.rules;
    request.n_rules = c->rules.n;
    request.text_only = o->text_only;
    request.coding = o->code ? MOEQ_CODING_CODED : o->plain ? MOEQ_CODING_PLAIN : MOEQ_CODING_KEEP;
    request.has_level = o->level && strcmp(o->level, "keep") != 0;
    if (!status && request.has_level)
        status = moeq_format_parse(o->level, defaults, &request.level, err);
    if (!status)
        status = check_defaults(c, &request, defaults, err);
    if (!status)
        status = moeq_plan_make(&c->plan, &c->source, &request, err);
    return status ? status : check_statistics(c, err);
}

static enum moeq_status describe_options(struct conversion *c, struct moeq_error *err)
{
    json_t *rules = json_array();
    for (size_t i = 0; i < c->rules.n; i++)
        moeq_json_append(&rules, json_string(c->rules.texts[i]));
    c->asked = moeq_repack_options(c->options->level, c->options->group, c->options->asymmetric, rules);
    if (c->options->text_only)
        moeq_json_set(&c->asked, MOEQ_TEXT_ONLY_KEY, json_true());
    if (c->options->code || c->options->plain)
        moeq_json_set(&c->asked, "coded", json_boolean(c->options->code));
    if (takes_absmax(c->options))
        moeq_json_set(&c->asked, "scales", json_string(c->options->scales));
    if (c->options->sha256)
        moeq_json_set(&c->asked, MOEQ_SHA256_KEY, json_true());
    if (c->options->statistics) {
        char hex[MOEQ_HASH_HEX];
        moeq_hash_hex(c->statistics.hash, hex);
        moeq_json_set(&c->asked, "statistics", json_string(hex));
    }
    return c->asked ? MOEQ_OK : moeq_fail_alloc(err, 0);
}

static json_t *result_json(const struct conversion *c, uint64_t n_bytes)
{
    return json_pack("{s:s, s:i, s:s, s:s, s:O, s:I}", "moeq", "convert", "version", 1, "source",
                     c->source.path, "architecture", c->source.config.architecture, "options", c->asked,
                     "n_bytes", (json_int_t)n_bytes);
}

static enum moeq_status dry_run(const struct conversion *c, struct moeq_error *err)
{
    const bool is_estimated = moeq_plan_is_estimated(&c->plan);
    uint64_t n_bytes = 0;
    size_t n_files = 0;
    enum moeq_status status = moeq_repack_bytes(&c->plan, c->asked, &n_bytes, &n_files, err);
    if (status)
        return status;
    if (c->options->common.json) {
        json_t *result = result_json(c, n_bytes);
        moeq_json_set(&result, "dry_run", json_true());
        moeq_json_set(&result, "estimated", json_boolean(is_estimated));
        moeq_json_set(&result, "tensors", moeq_summary_json(&c->plan));
        return moeq_verb_print_json(result, err);
    }
    char size[MOEQ_SIZE_TEXT];
    status = moeq_summary_print(stdout, &c->plan, err);
    printf("the package would have %s%llu bytes (%s) in %zu files\n", is_estimated ? "about " : "",
           (unsigned long long)n_bytes, moeq_size_text((double)n_bytes, size), n_files);
    return status;
}

static enum moeq_status report(const struct conversion *c, const struct moeq_repack_result *result,
                               double seconds, struct moeq_error *err)
{
    const struct convert_options *o = c->options;
    if (o->common.json) {
        json_t *json = result_json(c, result->n_bytes);
        moeq_json_set(&json, "package", json_string(o->out));
        moeq_json_set(&json, "already_complete", json_boolean(result->was_complete));
        moeq_json_set(&json, "files_kept", json_integer((json_int_t)result->n_files_kept));
        moeq_json_set(
            &json, "timing",
            json_pack("{s:f, s:I}", "seconds", seconds, "peak_memory_bytes", (json_int_t)moeq_peak_memory()));
        return moeq_verb_print_json(json, err);
    }
    if (result->was_complete) {
        printf("%s: already complete, from the same source and options; nothing to do\n", o->out);
        return MOEQ_OK;
    }
    char size[MOEQ_SIZE_TEXT], peak[MOEQ_SIZE_TEXT];
    enum moeq_status status = moeq_summary_print(stdout, &c->plan, err);
    printf("%s: %s", o->out, moeq_size_text((double)result->n_bytes, size));
    if (result->n_files_kept)
        printf(", %zu of %zu layer files kept from the run before", result->n_files_kept, c->plan.n_files);
    printf(", %.1f s, peak memory %s\n", seconds, moeq_size_text((double)moeq_peak_memory(), peak));
    return status;
}

static enum moeq_status convert(struct conversion *c, struct moeq_error *err)
{
    const struct convert_options *o = c->options;
    struct moeq_repack repack = {.plan = &c->plan, .out = o->out, .options = c->asked, .force = o->force};
    struct moeq_repack_result result;
    const double begin = moeq_clock();
    repack.pool = moeq_verb_pool(&o->common, err);
    if (!repack.pool)
        return MOEQ_OVER_MEMORY;
    repack.progress =
        moeq_progress_start("convert", "bytes", moeq_repack_work(&c->plan, c->asked), o->common.quiet);
    enum moeq_status status = moeq_repack_run(&repack, &result, err);
    moeq_progress_end(repack.progress);
    moeq_pool_join(repack.pool);
    return status ? status : report(c, &result, moeq_clock() - begin, err);
}

static void conversion_free(struct conversion *c)
{
    moeq_rules_free(&c->rules);
    json_decref(c->asked);
    moeq_plan_free(&c->plan);
    moeq_statistics_close(&c->statistics);
    moeq_source_close(&c->source);
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    struct conversion c = {.options = options};
    (void)n_positional;
    if (c.options->code && c.options->plain)
        return moeq_fail(err, MOEQ_USAGE, "--code and --plain contradict each other");
    if (!c.options->out && !c.options->dry_run) {
        moeq_fail(err, MOEQ_USAGE, "where to? -o is missing");
        moeq_error_hint(err, "give -o NAME.moeq, or --dry-run to see what would be done");
        return MOEQ_USAGE;
    }
    enum moeq_status status =
        moeq_source_open_as(&c.source, positional[0], moeq_verb_strictness(&c.options->common), err);
    if (!status)
        status = make_plan(&c, err);
    if (!status)
        status = describe_options(&c, err);
    if (!status)
        status = c.options->dry_run ? dry_run(&c, err) : convert(&c, err);
    conversion_free(&c);
    return status;
}

const struct moeq_verb moeq_verb_convert = {
    .name = "convert",
    .arguments = "SRC -o PKG",
    .summary = "repack a checkpoint expert by expert, losslessly or at other levels",
    .details =
        "SRC is a checkpoint folder as downloaded, a package, or an archive of either (.tar, .tar.gz, "
        ".tar.zst, .zip), of which nothing is unpacked to disk. Without --level and --rule every tensor "
        "keeps its "
        "bits: FP8 blocks with their scales, BF16, F32. With them, matrices are rounded to the nearest code "
        "under a "
        "scale found by search, or by the largest magnitude alone (--scales). Norms, router weights and the "
        "router's correction bias always keep their "
        "precision; "
        "embedding and head change only by a rule of their own.\n\n"
        "PKG appears complete and checked, or not as a package at all. A conversion that was stopped is "
        "finished by "
        "running the same command again: complete layer files are kept if what they were made from is still "
        "the "
        "same. "
        "The source is read once; the manifest has a hash of the contents of each of its files, which "
        "--sha256 "
        "supplements. The bytes do not depend on --jobs.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 1,
    .options_size = sizeof(struct convert_options),
    .run = run,
};
