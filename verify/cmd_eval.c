#include "cmd_eval.h"

#include "baseline_match.h"
#include "eval_tasks.h"
#include "gates.h"
#include "model.h"
#include "text.h"
#include "verb.h"

struct eval_options {
    struct moeq_common common;
    const char *text, *reference, *convention, *baseline, *save;
    struct moeq_list gates;
    const char *gates_file, *junit, *markdown, *html;
    uint64_t context, windows, memory;
    bool exact;
    struct moeq_eval_tasks tasks;
};

#define OPTION(field) offsetof(struct eval_options, field)

static const struct moeq_option options_table[] = {
    {"text", 't', MOEQ_OPTION_TEXT, "FILE",
     "text to evaluate on: UTF-8, also gzip or .jsonl; - is standard input", OPTION(text), 0, 0, NULL},
    {"reference", 'r', MOEQ_OPTION_TEXT, "SRC|PKG",
     "model to compare with: KL divergence and top-1 agreement", OPTION(reference), 0, 0, NULL},
    {"save-baseline", 0, MOEQ_OPTION_TEXT, "FILE",
     "write what a later comparison needs of this model on this text, instead of the model itself",
     OPTION(save), 0, 0, NULL},
    {"baseline", 'b', MOEQ_OPTION_TEXT, "FILE",
     "compare with the model that this baseline was saved of; text, windows and arithmetic are the "
     "baseline's",
     OPTION(baseline), 0, 0, NULL},
    {"gate", 'g', MOEQ_OPTION_LIST, "NAME<LIMIT",
     "exit with 1 where this does not hold, as mean_kld<0.03 or top1>0.95", OPTION(gates), 0, 0, NULL},
    {"gates", 0, MOEQ_OPTION_TEXT, "FILE.json", "the same from a document", OPTION(gates_file), 0, 0, NULL},
    {"junit", 0, MOEQ_OPTION_TEXT, "FILE", "write the gates as JUnit XML", OPTION(junit), 0, 0, NULL},
    {"markdown", 0, MOEQ_OPTION_TEXT, "FILE",
     "write a summary in Markdown; - prints it instead of the usual text", OPTION(markdown), 0, 0, NULL},
    {"html", 0, MOEQ_OPTION_TEXT, "FILE", "write a report as one HTML page", OPTION(html), 0, 0, NULL},
    {"convention", 0, MOEQ_OPTION_CHOICE, "NAME",
     "windows: BOS and ctx-1 tokens, all scored; llama: as llama.cpp's perplexity, second half of each "
     "window scored",
     OPTION(convention), 0, 0, "windows|llama"},
    {"exact", 'x', MOEQ_OPTION_FLAG, NULL,
     "compute in float32 throughout; otherwise activations are rounded to BF16 where the CPU multiplies that",
     OPTION(exact), 0, 0, NULL},
    {"ctx", 'c', MOEQ_OPTION_NUMBER, "N", "tokens of a window; default 256, with --convention llama 512",
     OPTION(context), 2, 1u << 20, NULL},
    {"windows", 'w', MOEQ_OPTION_NUMBER, "N", "evaluate only the first N windows", OPTION(windows), 1,
     1u << 30, NULL},
    {"mem", 'm', MOEQ_OPTION_BYTES, "SIZE",
     "memory to use at most, as 4G; default: most of what is free. Hidden states that have no room go to a "
     "file in $TMPDIR, or /var/tmp; does not count what a compressed archive is decompressed to",
     OPTION(memory), 0, 0, NULL},
    MOEQ_EVAL_TASKS_OPTIONS(OPTION(tasks)),
    MOEQ_LENIENT_OPTION,
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

struct eval {
    const struct eval_options *options;
    enum moeq_convention convention;
    enum moeq_arithmetic arithmetic;
    struct moeq_source source, reference;
    struct moeq_baseline baseline;
    struct moeq_baseline_header saved; /* the header of what is saved */
    struct moeq_baseline_writer save;
    struct moeq_bytes text;
    struct moeq_windows windows;
    struct moeq_evaluation result;
    struct moeq_evaluation_plan plan;
    struct moeq_gates gates;
    double seconds;
};

static uint64_t context_of(const struct eval *e)
{
    const bool llama = e->convention == MOEQ_CONVENTION_LLAMA;
    return e->options->context ? e->options->context : llama ? 512 : 256;
}

/* ---- what is evaluated ---- */

static bool prints_markdown(const struct eval_options *o)
{
    return o->markdown && strcmp(o->markdown, "-") == 0;
}

static enum moeq_status check_options(const struct eval_options *o, struct moeq_error *err)
{
    if (!o->text && !o->baseline)
        return moeq_fail(err, MOEQ_USAGE, "on what? --text or --tasks is missing");
    if (o->reference && o->baseline)
        return moeq_fail(err, MOEQ_USAGE,
                         "--reference and --baseline are both what to compare with: give one");
    if (o->save && (o->reference || o->baseline))
        return moeq_fail(err, MOEQ_USAGE, "--save-baseline is of the model that is evaluated: leave %s out",
                         o->reference ? "--reference" : "--baseline");
    if (o->common.json && prints_markdown(o))
        return moeq_fail(err, MOEQ_USAGE, "--json and --markdown - both go to standard output");
    return MOEQ_OK;
}

static enum moeq_status read_gates(struct eval *e, struct moeq_error *err)
{
    const struct eval_options *o = e->options;
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < o->gates.n_items; i++)
        status = moeq_gates_add(&e->gates, o->gates.items[i], 0, err);
    if (!status && o->gates_file)
        status = moeq_gates_load(&e->gates, o->gates_file, err);
    const bool compares = o->reference || o->baseline;
    return status ? status
                  : moeq_gates_check(&e->gates, compares ? MOEQ_NEEDS_LAYERS : MOEQ_NEEDS_NOTHING, err);
}

/* Whether a file that is written can be, before all the work. */
static enum moeq_status check_output(const char *path, const char *const *others, size_t n_others,
                                     struct moeq_error *err)
{
    struct moeq_out_dir dir;
    const char *name;
    if (strcmp(path, "-") == 0)
        return moeq_fail(err, MOEQ_USAGE, "of all that is written only --markdown may be -: name a file");
    for (size_t i = 0; i < n_others; i++)
        if (others[i] && moeq_path_is_same(path, others[i])) {
            moeq_fail(err, MOEQ_USAGE, "what is written here would replace what another option names");
            moeq_error_in_file(err, path);
            moeq_error_hint(err, "choose another output");
            return MOEQ_USAGE;
        }
    const enum moeq_status status = moeq_out_dir_of_file(&dir, path, &name, err);
    if (!status)
        moeq_out_dir_close(&dir);
    return status;
}

static enum moeq_status check_outputs(const struct eval_options *o, struct moeq_error *err)
{
    const char *const files[] = {o->text, o->baseline, o->gates_file,
                                 o->save, o->junit,    prints_markdown(o) ? NULL : o->markdown,
                                 o->html};
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 3; !status && i < sizeof files / sizeof *files; i++)
        if (files[i])
            status = check_output(files[i], files, i, err);
    return status;
}

/* Opens a model and checks it, before anything is sized by its config.json. */
static enum moeq_status open_model(struct moeq_source *source, const char *path,
                                   enum moeq_strictness strictness, struct moeq_error *err)
{
    enum moeq_status status = moeq_source_open_as(source, path, strictness, err);
    return status ? status : moeq_model_check(source, err);
}

static enum moeq_status open_models(struct eval *e, const char *path, struct moeq_error *err)
{
    const enum moeq_strictness strictness = moeq_verb_strictness(&e->options->common);
    enum moeq_status status = open_model(&e->source, path, strictness, err);
    if (!status && e->options->reference)
        status = open_model(&e->reference, e->options->reference, strictness, err);
    if (!status && e->options->baseline)
        status = moeq_baseline_open(&e->baseline, e->options->baseline, err);
    return status;
}

static enum moeq_status cut_text(struct eval *e, struct moeq_error *err)
{
    struct moeq_tokenizer *tokenizer = moeq_tokenizer_open(e->source.path, err);
    enum moeq_status status = tokenizer ? MOEQ_OK : err->status;
    if (!status)
        status = moeq_windows_cut(&e->windows, tokenizer, e->source.config.bos, e->text.data, e->text.n_bytes,
                                  e->convention, context_of(e), e->options->windows, err);
    moeq_tokenizer_close(tokenizer);
    return status;
}

/* The tokens that the baseline has. */
static enum moeq_status take_windows(struct eval *e, struct moeq_error *err)
{
    const struct moeq_baseline_header *h = &e->baseline.header;
    const struct eval_options *o = e->options;
    const struct moeq_baseline_wish wish = {.convention = o->convention,
                                            .context = o->context,
                                            .windows = o->windows,
                                            .exact = o->exact,
                                            .text = o->text ? &e->text : NULL};
    enum moeq_status status = moeq_baseline_check(h, &e->source, &wish, err);
    moeq_error_in_file(err, o->baseline);
    e->convention = h->convention;
    e->arithmetic = h->arithmetic;
    e->windows = (struct moeq_windows){.tokens = e->baseline.tokens,
                                       .n_windows = h->n_windows,
                                       .context = h->context,
                                       .first = h->first,
                                       .n_scored = h->n_scored,
                                       .n_text_tokens = h->n_text_tokens};
    e->baseline.tokens = NULL; /* the windows' now */
    return status;
}

static enum moeq_status make_windows(struct eval *e, struct moeq_error *err)
{
    const struct eval_options *o = e->options;
    enum moeq_status status = o->text ? moeq_text_read(o->text, MOEQ_MAX_TEXT_BYTES, &e->text, err) : MOEQ_OK;
    if (!status)
        status = o->baseline ? take_windows(e, err) : cut_text(e, err);
    moeq_error_in_file(err, o->text ? o->text : o->baseline);
    if (!status && e->windows.context > e->source.config.max_positions && !o->common.quiet)
        fprintf(stderr, "moeq eval: note: windows of %llu tokens, the model was made for %u\n",
                (unsigned long long)e->windows.context, (unsigned)e->source.config.max_positions);
    return status;
}

/* ---- evaluating ---- */

static struct moeq_evaluation_task task_of(struct eval *e)
{
    return (struct moeq_evaluation_task){.source = &e->source,
                                         .reference = e->options->reference ? &e->reference : NULL,
                                         .baseline = e->options->baseline ? &e->baseline : NULL,
                                         .save = e->save.header ? &e->save : NULL,
                                         .will_save = e->options->save != NULL,
                                         .windows = &e->windows,
                                         .arithmetic = e->arithmetic};
}

static enum moeq_status share_memory(struct eval *e, unsigned n_jobs, struct moeq_error *err)
{
    const struct moeq_evaluation_task task = task_of(e);
    const struct moeq_budget budget = moeq_verb_budget(e->options->memory, 0);
    e->plan = moeq_evaluate_plan(&task, n_jobs, budget.n_bytes);
    const uint64_t least = moeq_evaluate_plan(&task, n_jobs, 0).total;
    return moeq_verb_check_budget(&budget, e->plan.total, least, e->source.path, err);
}

static enum moeq_status begin_saving(struct eval *e, struct moeq_error *err)
{
    const struct moeq_baseline_text text = {.name = e->options->text,
                                            .bytes = &e->text,
                                            .windows = &e->windows,
                                            .convention = e->convention,
                                            .arithmetic = e->arithmetic};
    enum moeq_status status = moeq_baseline_describe(&e->saved, &e->source, &text, err);
    return status ? status
                  : moeq_baseline_create(&e->save, e->options->save, &e->saved, e->windows.tokens, err);
}

static enum moeq_status run_models(struct eval *e, struct moeq_pool *pool, struct moeq_error *err)
{
    const struct moeq_evaluation_task task = task_of(e);
    const uint64_t n_layers =
        e->source.config.n_layers + (task.reference ? task.reference->config.n_layers : 0);
    struct moeq_progress *progress =
        moeq_progress_start("eval", "layers", n_layers, e->options->common.quiet);
    const double begin = moeq_clock();
    enum moeq_status status = moeq_evaluate(&task, &e->plan, pool, progress, &e->result, err);
    e->seconds = moeq_clock() - begin;
    moeq_progress_end(progress);
    return status;
}

/* Once the models are known. */
static enum moeq_status check_gates(struct eval *e, struct moeq_error *err)
{
    const struct moeq_evaluation_task task = task_of(e);
    const bool compares = task.reference || task.baseline;
    return moeq_gates_check(&e->gates,
                            !compares                           ? MOEQ_NEEDS_NOTHING
                            : moeq_evaluation_has_layers(&task) ? MOEQ_NEEDS_LAYERS
                                                                : MOEQ_NEEDS_COMPARISON,
                            err);
}

static enum moeq_status evaluate(struct eval *e, struct moeq_error *err)
{
    struct moeq_pool *pool = moeq_verb_pool(&e->options->common, err);
    if (!pool)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = check_gates(e, err);
    if (!status)
        status = share_memory(e, moeq_pool_jobs(pool), err);
    if (!status && e->options->save)
        status = begin_saving(e, err);
    if (!status)
        status = run_models(e, pool, err);
    if (!status && e->options->save)
        status = moeq_baseline_finish(&e->save, err);
    if (e->save.header)
        moeq_baseline_abandon(&e->save);
    moeq_pool_join(pool);
    return status;
}

/* ---- reporting ---- */

static enum moeq_status set_worst(struct moeq_report *r, struct moeq_error *err)
{
    struct moeq_tokenizer *tokenizer = moeq_tokenizer_open(r->source->path, err);
    enum moeq_status status =
        tokenizer ? moeq_worst_of(&r->worst, r->evaluation, r->windows, tokenizer, err) : err->status;
    moeq_tokenizer_close(tokenizer);
    return status;
}

static enum moeq_status write_reports(const struct eval_options *o, const struct moeq_report *r,
                                      struct moeq_error *err)
{
    const struct {
        const char *path;
        moeq_report_write *write;
    } files[] = {
        {o->junit, moeq_report_junit}, {o->markdown, moeq_report_markdown}, {o->html, moeq_report_html}};
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < sizeof files / sizeof *files; i++)
        if (files[i].path)
            status = moeq_report_save(r, files[i].write, files[i].path, err);
    if (!status && o->common.json)
        status = moeq_verb_print_json(moeq_report_json(r), err);
    else if (!status && !prints_markdown(o))
        moeq_report_print(r);
    return status;
}

static enum moeq_status report(struct eval *e, struct moeq_error *err)
{
    const struct eval_options *o = e->options;
    struct moeq_report r = {.source = &e->source,
                            .model = e->source.path,
                            .text = o->text ? o->text : e->baseline.header.text_name,
                            .reference = o->baseline ? o->baseline : o->reference,
                            .baseline = o->baseline ? &e->baseline.header : NULL,
                            .saved = o->save,
                            .convention = e->convention,
                            .arithmetic = e->arithmetic,
                            .windows = &e->windows,
                            .evaluation = &e->result,
                            .plan = &e->plan,
                            .gates = &e->gates,
                            .seconds = e->seconds,
                            .n_swept = e->windows.n_windows * e->windows.context * (o->reference ? 2 : 1)};
    enum moeq_status status = moeq_weight_budget_of(&r.weights, &e->source, err);
    if (!status && e->result.compared)
        status = set_worst(&r, err);
    moeq_gates_judge(&e->gates, &r);
    if (!status)
        status = write_reports(o, &r, err);
    moeq_weight_budget_free(&r.weights);
    moeq_worst_free(&r.worst);
    return !status && e->gates.n_failed ? MOEQ_CHECK_FAILED : status;
}

/* Questions instead of a text; what is for a text has no place beside them. */
static enum moeq_status run_tasks(const struct eval *e, const char *path, struct moeq_error *err)
{
    const struct eval_options *o = e->options;
    if (o->text || o->convention || o->context || o->windows || o->reference || o->baseline || o->save ||
        o->gates.n_items || o->gates_file || o->junit || o->markdown || o->html)
        return moeq_fail(
            err, MOEQ_USAGE,
            "--tasks goes without --text and its windows, what to compare with, gates and reports");
    return moeq_eval_tasks(path, &o->common, &o->tasks, e->arithmetic, o->memory, err);
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    struct eval e = {.options = options, .baseline.file.fd = -1};
    const struct eval_options *o = e.options;
    (void)n_positional;
    if (o->convention && strcmp(o->convention, "llama") == 0)
        e.convention = MOEQ_CONVENTION_LLAMA;
    e.arithmetic = !o->exact && moeq_has_fast_products() ? MOEQ_FAST : MOEQ_EXACT;
    enum moeq_status status = moeq_eval_tasks_check(&o->tasks, err);
    if (!status && o->tasks.file)
        return run_tasks(&e, positional[0], err);
    if (!status)
        status = check_options(o, err);
    if (!status)
        status = read_gates(&e, err);
    if (!status)
        status = check_outputs(o, err);
    if (!status)
        status = open_models(&e, positional[0], err);
    if (!status)
        status = make_windows(&e, err);
    if (!status)
        status = evaluate(&e, err);
    if (!status)
        status = report(&e, err);
    moeq_evaluation_free(&e.result);
    moeq_gates_free(&e.gates);
    moeq_windows_free(&e.windows);
    moeq_bytes_free(&e.text);
    moeq_baseline_close(&e.baseline);
    moeq_source_close(&e.source);
    moeq_source_close(&e.reference);
    return status;
}

const struct moeq_verb moeq_verb_eval = {
    .name = "eval",
    .arguments = "PKG|SRC --text FILE|--tasks FILE",
    .summary =
        "perplexity, what quantizing cost against a reference, and gates on both; answers to questions",
    .details =
        "All windows go through the model together, one layer at a time, so memory holds the hidden "
        "states and a part of one layer. Results do not depend on --jobs. Routers are always computed in "
        "float32; the rest in BF16 with float32 sums where the CPU multiplies BF16, or in float32 with "
        "--exact.\n\n"
        "With --reference the same windows go through a second model: KL divergence is KL(reference || "
        "model), the mean over the scored tokens. Ranges are 95% intervals; since tokens of a window depend "
        "on each other, their errors come from whole windows.\n\n"
        "--save-baseline keeps of a model what such a comparison needs, some hundred bytes a token, and "
        "--baseline compares with that. The KL divergence of the tokens' tails is then estimated from a "
        "sample; what is certain of it, and the standard error, are printed.\n\n"
        "--gate NAME<LIMIT makes the exit code 1 where it does not hold. Names:\n"
        " ppl nll right weight_bytes bits_per_weight\n"
        " ppl_ratio nll_difference mean_kld median_kld p95_kld p99_kld p999_kld max_kld\n"
        " top1 top5 flips_worse flips_better router_agreement layer_error\n"
        "A document of --gates is {\"moeq\": \"gates\", \"version\": 1, \"gates\": [{\"gate\": "
        "\"mean_kld<0.03\", \"sigma\": 2}]}; a gate with a sigma fails only where it is missed by more than "
        "so many standard errors.\n\n"
        "With --tasks the model answers questions, as 'moeq generate' writes texts, and the answers are "
        "scored as 'moeq check-answers' does. The prompt is BOS and \"Question: {question}\", a newline "
        "and \"Answer:\", and a text ends where another question begins; with --chat it is the "
        "question and a request to think and to box the answer. --template replaces it. Examples of "
        "--few-shot stand before it, each with a space, its answer and an empty line behind; in a chat "
        "they are earlier turns. The accuracy is the share of right texts; its interval, after Wilson, "
        "counts questions, since samples of one question are alike.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 1,
    .options_size = sizeof(struct eval_options),
    .run = run,
};
