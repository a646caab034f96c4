#include "cmd_calibrate.h"

#include "calibration.h"
#include "coverage.h"
#include "memory.h"
#include "model.h"
#include "out.h"
#include "text.h"
#include "verb.h"

#include <stdlib.h>

#define DEFAULT_CONTEXT 512

struct calibrate_options {
    struct moeq_common common;
    struct moeq_list texts;
    const char *out, *svg;
    uint64_t tokens, context, memory;
    bool merge, exact;
};

#define OPTION(field) offsetof(struct calibrate_options, field)

static const struct moeq_option options_table[] = {
    {"text", 't', MOEQ_OPTION_LIST, "FILE", "text to calibrate on, as for eval; may be given several times",
     OPTION(texts), 0, 0, NULL},
    {"output", 'o', MOEQ_OPTION_TEXT, "STATS", "folder to write", OPTION(out), 0, 0, NULL},
    {"tokens", 'n', MOEQ_OPTION_NUMBER, "N",
     "use so many tokens, shared out evenly among the texts; default all", OPTION(tokens), 2, 1u << 30, NULL},
    {"ctx", 'c', MOEQ_OPTION_NUMBER, "N", "tokens of a window; default 512", OPTION(context), 2, 1u << 20,
     NULL},
    {"merge", 0, MOEQ_OPTION_FLAG, NULL,
     "put the statistics of several texts, given instead of SRC, together", OPTION(merge), 0, 0, NULL},
    {"svg", 0, MOEQ_OPTION_TEXT, "FILE", "also draw how many tokens each expert saw", OPTION(svg), 0, 0,
     NULL},
    {"exact", 'x', MOEQ_OPTION_FLAG, NULL, "compute in float32 throughout, as for eval", OPTION(exact), 0, 0,
     NULL},
    {"mem", 'm', MOEQ_OPTION_BYTES, "SIZE", "memory to use at most, as for eval", OPTION(memory), 0, 0, NULL},
    MOEQ_LENIENT_OPTION,
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

struct calibrate {
    const struct calibrate_options *options;
    struct moeq_source source;
    struct moeq_calibration_text *texts; /* [n_texts] */
    size_t n_texts;
    struct moeq_calibration_result result;
    double seconds;
};

static uint64_t context_of(const struct calibrate *c)
{
    return c->options->context ? c->options->context : DEFAULT_CONTEXT;
}

static enum moeq_status cut_text(struct calibrate *c, const struct moeq_tokenizer *tokenizer,
                                 const char *name, uint64_t n_most, struct moeq_error *err)
{
    struct moeq_bytes bytes = {0};
    struct moeq_calibration_text *text = &c->texts[c->n_texts];
    const uint64_t context = context_of(c), most = n_most / context ? n_most / context : 1;
    text->name = name;
    enum moeq_status status = moeq_text_read(name, MOEQ_MAX_TEXT_BYTES, &bytes, err);
    if (!status)
        status = moeq_windows_cut(&text->windows, tokenizer, c->source.config.bos, bytes.data, bytes.n_bytes,
                                  MOEQ_CONVENTION_WINDOWS, context, most, err);
    moeq_error_in_file(err, name);
    moeq_bytes_free(&bytes);
    c->n_texts += !status;
    return status;
}

/* --tokens is shared out evenly; what a short text leaves goes to those behind it. */
static enum moeq_status cut_texts(struct calibrate *c, struct moeq_error *err)
{
    const struct moeq_list *names = &c->options->texts;
    uint64_t n_left = c->options->tokens ? c->options->tokens : UINT32_MAX;
    struct moeq_tokenizer *tokenizer = moeq_tokenizer_open(c->source.path, err);
    c->texts = moeq_calloc(names->n_items, sizeof *c->texts, err);
    enum moeq_status status = tokenizer && c->texts ? MOEQ_OK : err->status;
    for (size_t i = 0; !status && i < names->n_items; i++) {
        status = cut_text(c, tokenizer, names->items[i], n_left / (names->n_items - i), err);
        const uint64_t n = status ? 0 : c->texts[i].windows.n_windows * context_of(c);
        n_left -= n < n_left ? n : n_left;
    }
    moeq_tokenizer_close(tokenizer);
    return status;
}

/* The sweep gets what --mem leaves, or most of what is free, beside the moments. */
static enum moeq_status plan_memory(const struct calibrate *c, unsigned n_jobs, struct moeq_sweep_plan *plan,
                                    struct moeq_error *err)
{
    const uint64_t context = context_of(c);
    const struct moeq_budget budget =
        moeq_verb_budget(c->options->memory, moeq_calibration_bytes(&c->source.config));
    const struct moeq_sweep_weights weights = moeq_sweep_weights(&c->source, context);
    uint64_t n_windows = 0;
    for (size_t i = 0; i < c->n_texts; i++)
        n_windows += c->texts[i].windows.n_windows;
    *plan = moeq_sweep_plan(&c->source.config, &weights, n_windows, context, n_jobs, budget.n_bytes);
    const uint64_t least = moeq_sweep_plan(&c->source.config, &weights, n_windows, context, n_jobs, 0).total;
    return moeq_verb_check_budget(&budget, plan->total, least, c->source.path, err);
}

static enum moeq_status collect(struct calibrate *c, struct moeq_error *err)
{
    struct moeq_sweep_plan plan;
    struct moeq_pool *pool = moeq_verb_pool(&c->options->common, err);
    if (!pool)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = plan_memory(c, moeq_pool_jobs(pool), &plan, err);
    if (!status) {
        const bool fast = !c->options->exact && moeq_has_fast_products();
        struct moeq_calibration job = {.source = &c->source,
                                       .pool = pool,
                                       .texts = c->texts,
                                       .n_texts = c->n_texts,
                                       .arithmetic = fast ? MOEQ_FAST : MOEQ_EXACT,
                                       .out = c->options->out,
                                       .plan = &plan};
        job.progress =
            moeq_progress_start("calibrate", "layers", c->source.config.n_layers, c->options->common.quiet);
        const double begin = moeq_clock();
        status = moeq_calibration_run(&job, &c->result, err);
        c->seconds = moeq_clock() - begin;
        moeq_progress_end(job.progress);
    }
    moeq_pool_join(pool);
    return status;
}

/* ---- the report ---- */

static enum moeq_status write_svg(const struct calibrate *c, const struct moeq_coverage *coverage,
                                  struct moeq_error *err)
{
    char title[600];
    snprintf(title, sizeof title, "Tokens that each expert of %.400s saw", moeq_path_name(c->source.path));
    char *svg = moeq_coverage_svg(coverage, title, err);
    enum moeq_status status = svg ? moeq_out_write_text(c->options->svg, svg, err) : MOEQ_OVER_MEMORY;
    free(svg);
    return status;
}

static json_t *report_json(const struct calibrate *c, const struct moeq_coverage *coverage)
{
    return json_pack(
        "{s:s, s:i, s:s, s:s, s:b, s:I, s:o, s:o}", "moeq", "calibrate", "version", 1, "model",
        c->source.path, "statistics", c->options->out, "was_complete", c->result.was_complete, "layers_kept",
        (json_int_t)c->result.n_layers_kept, "coverage", moeq_coverage_json(coverage), "timing",
        json_pack("{s:f, s:I}", "seconds", c->seconds, "peak_memory_bytes", (json_int_t)moeq_peak_memory()));
}

static enum moeq_status report(const struct calibrate *c, struct moeq_error *err)
{
    struct moeq_statistics statistics;
    struct moeq_coverage coverage;
    char size[MOEQ_SIZE_TEXT];
    enum moeq_status status = moeq_statistics_open(&statistics, c->options->out, err);
    if (status)
        return status;
    status = moeq_coverage_read(&coverage, &statistics, &c->source.config, err);
    if (!status) {
        if (c->options->svg)
            status = write_svg(c, &coverage, err);
        if (!status && c->options->common.json) {
            status = moeq_verb_print_json(report_json(c, &coverage), err);
        } else if (!status) {
            moeq_coverage_print(&coverage, stdout);
            printf("%s: %zu text%s%s, %.1f s, peak memory %s\n", c->options->out, statistics.n_texts,
                   statistics.n_texts == 1 ? "" : "s", c->result.was_complete ? ", was there already" : "",
                   c->seconds, moeq_size_text((double)moeq_peak_memory(), size));
        }
        moeq_coverage_free(&coverage);
    }
    moeq_statistics_close(&statistics);
    return status;
}

static enum moeq_status calibrate(struct calibrate *c, const char *src, struct moeq_error *err)
{
    if (!c->options->texts.n_items)
        return moeq_fail(err, MOEQ_USAGE, "on what text? --text is missing");
    enum moeq_status status =
        moeq_source_open_as(&c->source, src, moeq_verb_strictness(&c->options->common), err);
    if (!status)
        status = moeq_model_check(&c->source, err);
    if (!status)
        status = cut_texts(c, err);
    if (!status)
        status = collect(c, err);
    if (!status)
        status = report(c, err);
    for (size_t i = 0; i < c->n_texts; i++)
        moeq_windows_free(&c->texts[i].windows);
    free(c->texts);
    moeq_source_close(&c->source);
    return status;
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    struct calibrate c = {.options = options};
    if (!c.options->out)
        return moeq_fail(err, MOEQ_USAGE, "where to? -o STATS is missing");
    if (!c.options->merge && n_positional != 1)
        return moeq_fail(err, MOEQ_USAGE, "one SRC, or --merge with several STATS");
    if (!c.options->merge)
        return calibrate(&c, positional[0], err);
    enum moeq_status status = moeq_calibration_merge(positional, n_positional, c.options->out, err);
    if (!status && !c.options->common.quiet)
        printf("%s: %zu merged\n", c.options->out, n_positional);
    return status;
}

const struct moeq_verb moeq_verb_calibrate = {
    .name = "calibrate",
    .arguments = "SRC --text FILE… -o STATS | --merge STATS… -o STATS",
    .summary = "what each matrix gets to see: second moments of its inputs, expert by expert",
    .details =
        "All windows of all texts go through the model in one sweep, a layer at a time, as in eval. Of every "
        "matrix the second moments of its inputs are kept, an expert's weighted by the squared router "
        "weight; they tell how much an error of each weight matters. The report says how many tokens each "
        "expert saw: below d of them (the width of the hidden states) its moments are incomplete.\n\n"
        "A calibration that was stopped continues with the same command. Statistics of different texts "
        "merge to the same bytes as one run over all of them.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 64,
    .options_size = sizeof(struct calibrate_options),
    .run = run,
};
