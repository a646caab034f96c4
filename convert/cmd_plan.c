#include "cmd_plan.h"

#include "ladder.h"
#include "memory.h"
#include "model.h"
#include "plan_report.h"
#include "planner.h"
#include "verb.h"

#include <stdlib.h>

#define DEFAULT_PROBE_TOKENS 8192
#define DEFAULT_LEVELS                                                                                       \
    "int2-g128,int2-g64,int2-g32,int2-g32-asym,int3-g128,int3-g64,int3-g32,int4-g128,int4-g64,int4-g32,"     \
    "int5-g64,int6-g64,int8-g64"
#define MAX_LEVELS 64

struct plan_options {
    struct moeq_common common;
    const char *statistics, *budget, *out, *levels, *uniform, *group, *work, *csv, *svg;
    struct moeq_list rules;
    uint64_t probe_tokens, memory;
    bool asymmetric;
};

#define OPTION(field) offsetof(struct plan_options, field)

static const struct moeq_option options_table[] = {
    {"stats", 0, MOEQ_OPTION_TEXT, "STATS", "statistics of moeq calibrate", OPTION(statistics), 0, 0, NULL},
    {"budget", 'b', MOEQ_OPTION_TEXT, "SIZE",
     "4.0bpw: bits for each weight of the matrices that levels are chosen for; 180GiB: bytes of the whole "
     "package",
     OPTION(budget), 0, 0, NULL},
    {"output", 'o', MOEQ_OPTION_TEXT, "PLAN", "file to write, usually NAME.plan.json", OPTION(out), 0, 0,
     NULL},
    {"levels", 'l', MOEQ_OPTION_TEXT, "LEVEL,…",
     "levels to choose from, beside the source's own bits; ec stands for every rate that level ec has; "
     "default " DEFAULT_LEVELS,
     OPTION(levels), 0, 0, NULL},
    {"rule", 'r', MOEQ_OPTION_LIST, "KEY=LEVEL,…",
     "pins a role or names to a level, as for convert; what is left of the experts is planned", OPTION(rules),
     0, 0, NULL},
    {"uniform", 'u', MOEQ_OPTION_TEXT, "LEVEL", "no choice: the same level for all", OPTION(uniform), 0, 0,
     NULL},
    {"group", 'g', MOEQ_OPTION_CHOICE, "N",
     "weights of a row that share a scale, where a level leaves it open; default 128", OPTION(group), 0, 0,
     "32|64|128"},
    {"asym", 0, MOEQ_OPTION_FLAG, NULL, "asymmetric integers, where a level leaves it open",
     OPTION(asymmetric), 0, 0, NULL},
    {"csv", 0, MOEQ_OPTION_TEXT, "FILE", "write what any budget would give, as a table", OPTION(csv), 0, 0,
     NULL},
    {"svg", 0, MOEQ_OPTION_TEXT, "FILE", "draw it", OPTION(svg), 0, 0, NULL},
    {"probe-tokens", 0, MOEQ_OPTION_NUMBER, "N", "tokens of the statistics that probes go over; default 8192",
     OPTION(probe_tokens), 1, 1u << 30, NULL},
    {"work", 0, MOEQ_OPTION_TEXT, "DIR",
     "folder that keeps what was measured; default: one in that of the statistics", OPTION(work), 0, 0, NULL},
    {"mem", 'm', MOEQ_OPTION_BYTES, "SIZE", "memory to use at most, as for eval", OPTION(memory), 0, 0, NULL},
    MOEQ_LENIENT_OPTION,
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

struct planning {
    const struct plan_options *options;
    struct moeq_source source;
    struct moeq_statistics statistics;
    struct moeq_rules rules;
    struct moeq_format levels[MAX_LEVELS + MOEQ_LADDER_ANCHORS];
    size_t n_levels; /* without level ec, */
    bool has_ec;     /* which is measured at its anchors, behind the others */
    struct moeq_measured measured;
    struct moeq_planner planner;
    struct moeq_plan_budget budget;
    uint32_t *chosen;
    double seconds;
};

/* ---- what was asked for ---- */

static struct moeq_format defaults_of(const struct plan_options *o)
{
    return (struct moeq_format){.group = o->group ? (uint32_t)atoi(o->group) : 128,
                                .asymmetric = o->asymmetric};
}

/* A plan chooses bits for level ec; where there is no choice, they are given. */
static enum moeq_status take_ec(struct planning *p, const struct moeq_format *level, const char *text,
                                struct moeq_error *err)
{
    const bool has_bits = level->bits > 0 && !(level->step > 0),
               has_goal = level->bits > 0 || level->step > 0;
    if (p->options->uniform && !has_bits)
        return moeq_fail(err, MOEQ_USAGE, "--uniform %s: give its bits a weight, as ec:3.25", text);
    if (!p->options->uniform && has_goal)
        return moeq_fail(err, MOEQ_USAGE,
                         "level %s is not one to choose: give ec, and the plan finds its bits", text);
    if (p->has_ec)
        return moeq_fail(err, MOEQ_USAGE, "level %s is given twice", text);
    p->has_ec = !p->options->uniform;
    p->n_levels += p->options->uniform != NULL;
    return MOEQ_OK;
}

static enum moeq_status parse_levels(struct planning *p, const char *list, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (const char *at = list; !status && at;) {
        const char *comma = strchr(at, ',');
        char text[MOEQ_FORMAT_BYTES] = "";
        const size_t n = comma ? (size_t)(comma - at) : strlen(at);
        if (n >= sizeof text || p->n_levels == MAX_LEVELS)
            return moeq_fail(err, MOEQ_USAGE, "--levels: at most %d levels such as int4-g64, found \"%.40s\"",
                             MAX_LEVELS, at);
        memcpy(text, at, n);
        struct moeq_format *level = &p->levels[p->n_levels];
        status = moeq_format_parse(text, defaults_of(p->options), level, err);
        at = comma ? comma + 1 : NULL;
        if (!status && level->level->is_coded) {
            status = take_ec(p, level, text, err);
            continue;
        }
        if (!status && (!level->level->encode || !level->level->lossy || level->level->bits > 8))
            status = moeq_fail(err, MOEQ_USAGE, "level %s is not one to choose: integers and fp8 are", text);
        for (size_t i = 0; !status && i < p->n_levels; i++)
            if (moeq_format_equal(p->levels[i], *level))
                status = moeq_fail(err, MOEQ_USAGE, "level %s is given twice", text);
        p->n_levels += !status;
    }
    for (size_t i = 0; p->has_ec && i < MOEQ_LADDER_ANCHORS; i++)
        p->levels[p->n_levels + i] = moeq_ladder_anchor(i);
    return status;
}

static enum moeq_status parse_budget(struct planning *p, struct moeq_error *err)
{
    const char *text = p->options->budget;
    char *end;
    const double bits = strtod(text, &end);
    if (end != text && strcmp(end, "bpw") == 0 && bits > 0 && bits <= 64) {
        p->budget.n_bytes = (uint64_t)(bits * (double)p->planner.n_weights / 8);
        return MOEQ_OK;
    }
    /* A bare number is bytes, but not where bits are what was meant. */
    const bool is_meant = text[strspn(text, "0123456789.")] != '\0' || bits > 64;
    p->budget = (struct moeq_plan_budget){is_meant ? moeq_bytes_parse(text) : 0, true};
    if (p->budget.n_bytes)
        return MOEQ_OK;
    moeq_fail(err, MOEQ_USAGE, "--budget is 4.0bpw or a size as 180GiB, found '%.60s'", text);
    return MOEQ_USAGE;
}

static enum moeq_status check_options(const struct plan_options *o, struct moeq_error *err)
{
    if (!o->out && !o->csv && !o->svg)
        return moeq_fail(err, MOEQ_USAGE, "where to? -o PLAN is missing");
    if (o->uniform && (o->budget || o->levels))
        return moeq_fail(err, MOEQ_USAGE, "--uniform leaves nothing to choose: drop --budget and --levels");
    if (o->uniform && (o->csv || o->svg))
        return moeq_fail(err, MOEQ_USAGE, "--csv and --svg are of plans by --budget");
    if (!o->uniform && !o->statistics) {
        moeq_fail(err, MOEQ_USAGE, "--stats is missing: what a level does is measured on them");
        moeq_error_hint(err, "moeq calibrate SRC --text FILE -o STATS, or --uniform int4 for no choice");
        return MOEQ_USAGE;
    }
    if (!o->uniform && !o->budget)
        return moeq_fail(err, MOEQ_USAGE, "--budget is missing: 4.0bpw or a size as 180GiB");
    return MOEQ_OK;
}

/* ---- measuring ---- */

static enum moeq_status measure(struct planning *p, struct moeq_pool *pool, struct moeq_error *err)
{
    const struct plan_options *o = p->options;
    struct moeq_measuring m = {.source = &p->source,
                               .statistics = &p->statistics,
                               .pool = pool,
                               .levels = p->levels,
                               .n_levels = p->n_levels + (p->has_ec ? MOEQ_LADDER_ANCHORS : 0),
                               .probe_tokens = o->probe_tokens ? o->probe_tokens : DEFAULT_PROBE_TOKENS,
                               .folder = o->work};
    uint64_t beside;
    const uint64_t least = moeq_measured_bytes(&m, moeq_pool_jobs(pool), &beside);
    const struct moeq_budget budget = moeq_verb_budget(o->memory, 0);
    enum moeq_status status = moeq_verb_check_budget(&budget, least, least, p->source.path, err);
    m.budget = moeq_larger(budget.n_bytes, least);
    if (status || (status = moeq_measured_open(&p->measured, &m, err)))
        return status;
    uint64_t n = 0;
    for (size_t i = 0; i < p->measured.n_layers; i++)
        n += MOEQ_EXPERT_KINDS * p->source.config.n_experts;
    struct moeq_progress *progress = moeq_progress_start("plan", "matrices", n, o->common.quiet);
    status = moeq_measured_damages(&p->measured, progress, err);
    moeq_progress_end(progress);
    if (status)
        return status;
    progress = moeq_progress_start("plan: probes", "layers", p->source.config.n_layers, o->common.quiet);
    status = moeq_measured_probes(&p->measured, progress, err);
    moeq_progress_end(progress);
    return status;
}

static enum moeq_status measure_on_pool(struct planning *p, struct moeq_error *err)
{
    struct moeq_pool *pool = moeq_verb_pool(&p->options->common, err);
    if (!pool)
        return MOEQ_OVER_MEMORY;
    const double begin = moeq_clock();
    enum moeq_status status = measure(p, pool, err);
    p->seconds = moeq_clock() - begin;
    moeq_pool_join(pool);
    moeq_out_dir_close(&p->measured.dir); /* whose lock the PLAN would wait for in the same folder */
    return status;
}

/* ---- all of it ---- */

static enum moeq_status refine(struct planning *p, struct moeq_error *err)
{
    struct moeq_pool *pool = moeq_verb_pool(&p->options->common, err);
    if (!pool)
        return MOEQ_OVER_MEMORY;
    const double begin = moeq_clock();
    struct moeq_progress *progress =
        moeq_progress_start("plan: sizes", "matrices", p->planner.n_items, p->options->common.quiet);
    enum moeq_status status = moeq_planner_refine(&p->planner, p->budget, p->chosen, pool, progress, err);
    moeq_progress_end(progress);
    moeq_pool_join(pool);
    p->seconds += moeq_clock() - begin;
    return status;
}

static enum moeq_status choose(struct planning *p, struct moeq_error *err)
{
    const struct plan_options *o = p->options;
    enum moeq_status status = moeq_planner_init(
        &p->planner, &p->source, o->statistics ? &p->statistics : NULL, o->uniform ? NULL : &p->measured,
        p->levels, p->n_levels, p->has_ec, &p->rules, err);
    if (!status && !(p->chosen = moeq_calloc(p->planner.n_items, sizeof *p->chosen, err)))
        status = MOEQ_OVER_MEMORY;
    if (status || o->uniform) /* the only level */
        return status;
    status = parse_budget(p, err);
    if (!status)
        status = moeq_planner_choose(&p->planner, p->budget, p->chosen, err);
    return status || !p->has_ec ? status : refine(p, err);
}

static enum moeq_status report(struct planning *p, struct moeq_error *err)
{
    const struct plan_options *o = p->options;
    const struct moeq_plan_report r = {.planner = &p->planner,
                                       .chosen = p->chosen,
                                       .budget = o->budget,
                                       .path = o->out,
                                       .csv = o->csv,
                                       .svg = o->svg,
                                       .seconds = p->seconds};
    enum moeq_status status = moeq_plan_report_write(&r, err);
    if (status)
        return status;
    if (o->common.json) {
        json_t *json = moeq_plan_report_json(&r, err);
        return json ? moeq_verb_print_json(json, err) : err->status;
    }
    return moeq_plan_report_print(&r, err);
}

static enum moeq_status plan(struct planning *p, const char *src, struct moeq_error *err)
{
    const struct plan_options *o = p->options;
    enum moeq_status status = check_options(o, err);
    if (!status && o->budget) /* a wrong one before anything is measured; in bytes once weights are counted */
        status = parse_budget(p, err);
    if (!status)
        status = moeq_source_open_as(&p->source, src, moeq_verb_strictness(&o->common), err);
    if (!status)
        status = moeq_model_check(&p->source, err);
    if (!status)
        status = parse_levels(p, o->uniform ? o->uniform : o->levels ? o->levels : DEFAULT_LEVELS, err);
    if (!status)
        status = moeq_rules_parse(&p->rules, &o->rules, defaults_of(o), err);
    if (!status)
        status = moeq_rules_spell_out(&p->rules, err);
    if (!status && o->statistics)
        status = moeq_statistics_open_for(&p->statistics, o->statistics, &p->source, err);
    if (!status && o->statistics && !o->common.quiet)
        moeq_statistics_warn(&p->statistics, &p->source, "plan");
    if (!status && !o->uniform)
        status = measure_on_pool(p, err);
    if (!status)
        status = choose(p, err);
    return status ? status : report(p, err);
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    struct planning p = {.options = options, .measured = {.dir = {.fd = -1}}};
    (void)n_positional;
    enum moeq_status status = plan(&p, positional[0], err);
    moeq_planner_free(&p.planner);
    moeq_measured_close(&p.measured);
    moeq_rules_free(&p.rules);
    moeq_statistics_close(&p.statistics);
    moeq_source_close(&p.source);
    free(p.chosen);
    return status;
}

const struct moeq_verb moeq_verb_plan = {
    .name = "plan",
    .arguments = "SRC --stats STATS --budget SIZE -o PLAN",
    .summary = "choose the level of every expert under a budget of bytes",
    .details =
        "For each matrix of each routed expert the error of every level is measured on the statistics, and "
        "for "
        "each kind of matrix in each layer probes measure what errors there do to the model's output. The "
        "plan "
        "is the choice with the least forecast KL divergence that the budget allows; never above it.\n\n"
        "What was measured is kept beside the statistics, so that other budgets take seconds, and a run that "
        "was stopped continues with the same command. PLAN is JSON, a matrix a line: edit it at will, moeq "
        "quantize checks it. Matrices outside of the experts become int8 where they have more bits, unless a "
        "rule says otherwise; norms, routers and the embedding stay.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 1,
    .options_size = sizeof(struct plan_options),
    .run = run,
};
