#include "cmd_eval.h"

#include "eval_tasks.h"
#include "evaluate.h"
#include "model.h"
#include "text.h"
#include "verb.h"

#include <stdlib.h>

struct eval_options {
    struct moeq_common common;
    const char *text, *reference, *convention;
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
    bool llama;
    struct moeq_source source, reference;
    struct moeq_windows windows;
    struct moeq_evaluation result;
    struct moeq_evaluation_plan plan;
    double seconds;
};

static uint64_t context_of(const struct eval_options *o, bool llama)
{
    return o->context ? o->context : llama ? 512 : 256;
}

/* Opens a model and checks it, before anything is sized by its config.json. */
static enum moeq_status open_model(struct moeq_source *source, const char *path,
                                   enum moeq_strictness strictness, struct moeq_error *err)
{
    enum moeq_status status = moeq_source_open_as(source, path, strictness, err);
    return status ? status : moeq_model_check(source, err);
}

static enum moeq_status cut_text(struct eval *e, struct moeq_error *err)
{
    struct moeq_bytes text = {0};
    struct moeq_tokenizer *tokenizer = NULL;
    enum moeq_status status = moeq_text_read(e->options->text, MOEQ_MAX_TEXT_BYTES, &text, err);
    if (!status && !(tokenizer = moeq_tokenizer_open(e->source.path, err)))
        status = err->status;
    if (!status)
        status = moeq_windows_cut(&e->windows, tokenizer, e->source.config.bos, text.data, text.n_bytes,
                                  e->llama ? MOEQ_CONVENTION_LLAMA : MOEQ_CONVENTION_WINDOWS,
                                  context_of(e->options, e->llama), e->options->windows, err);
    if (!status && e->windows.context > e->source.config.max_positions && !e->options->common.quiet)
        fprintf(stderr, "moeq eval: note: windows of %llu tokens, the model was made for %u\n",
                (unsigned long long)e->windows.context, (unsigned)e->source.config.max_positions);
    moeq_error_in_file(err, e->options->text);
    moeq_tokenizer_close(tokenizer);
    moeq_bytes_free(&text);
    return status;
}

static enum moeq_arithmetic arithmetic_of(const struct eval_options *o)
{
    return !o->exact && moeq_has_fast_products() ? MOEQ_FAST : MOEQ_EXACT;
}

static const char *arithmetic_name(const struct eval_options *o)
{
    return arithmetic_of(o) == MOEQ_FAST ? "bf16" : "float32";
}

static enum moeq_status share_memory(struct eval *e, unsigned n_jobs, struct moeq_error *err)
{
    const struct moeq_source *reference = e->options->reference ? &e->reference : NULL;
    const struct moeq_budget budget = moeq_verb_budget(e->options->memory, 0);
    e->plan = moeq_evaluate_plan(&e->source, reference, &e->windows, n_jobs, budget.n_bytes);
    const uint64_t least = moeq_evaluate_plan(&e->source, reference, &e->windows, n_jobs, 0).total;
    return moeq_verb_check_budget(&budget, e->plan.total, least, e->source.path, err);
}

static enum moeq_status evaluate(struct eval *e, struct moeq_error *err)
{
    const struct moeq_source *reference = e->options->reference ? &e->reference : NULL;
    struct moeq_pool *pool = moeq_verb_pool(&e->options->common, err);
    if (!pool)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = share_memory(e, moeq_pool_jobs(pool), err);
    if (status) {
        moeq_pool_join(pool);
        return status;
    }
    uint64_t n_layers = e->source.config.n_layers + (reference ? reference->config.n_layers : 0);
    struct moeq_progress *progress =
        moeq_progress_start("eval", "layers", n_layers, e->options->common.quiet);
    const double begin = moeq_clock();
    status = moeq_evaluate(&e->source, reference, &e->windows, arithmetic_of(e->options), &e->plan, pool,
                           progress, &e->result, err);
    e->seconds = moeq_clock() - begin;
    moeq_progress_end(progress);
    moeq_pool_join(pool);
    return status;
}

/* ---- what is printed ---- */

struct weight_sizes {
    uint64_t n_weights, n_bytes, n_expert_weights, n_expert_bytes;
};

static struct weight_sizes measure(const struct moeq_source *source)
{
    struct weight_sizes s = {0};
    for (size_t i = 0; i < source->n_weights; i++) {
        const struct moeq_weight *w = &source->weights[i];
        s.n_weights += w->rows * w->cols;
        s.n_bytes += moeq_weight_stored_bytes(w);
        if (moeq_part_role(w->id.part) == MOEQ_ROLE_EXPERTS) {
            s.n_expert_weights += w->rows * w->cols;
            s.n_expert_bytes += moeq_weight_stored_bytes(w);
        }
    }
    return s;
}

static double bits_per_weight(uint64_t n_bytes, uint64_t n_weights)
{
    return n_weights ? 8.0 * (double)n_bytes / (double)n_weights : 0;
}

static double tokens_per_second(const struct eval *e)
{
    uint64_t n = e->windows.n_windows * e->windows.context * (e->options->reference ? 2 : 1);
    return e->seconds > 0 ? (double)n / e->seconds : 0;
}

static json_t *eval_json(const struct eval *e)
{
    const struct moeq_evaluation *r = &e->result;
    const struct weight_sizes s = measure(&e->source);
    json_t *json = json_pack(
        "{s:s, s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:o, s:o}", "moeq", "eval",
        "version", 1, "model", e->source.path, "text", e->options->text, "convention",
        e->llama ? "llama" : "windows", "context", (json_int_t)e->windows.context, "windows",
        (json_int_t)e->windows.n_windows, "text_tokens", (json_int_t)e->windows.n_text_tokens, "scored",
        (json_int_t)r->n_scored, "weight_bytes", (json_int_t)s.n_bytes, "bits_per_weight",
        bits_per_weight(s.n_bytes, s.n_weights), "bits_per_expert_weight",
        bits_per_weight(s.n_expert_bytes, s.n_expert_weights), "nll", moeq_json_real(r->nll), "perplexity",
        moeq_json_real(r->perplexity), "perplexity_error", moeq_json_real(r->perplexity_error));
    if (r->has_reference)
        moeq_json_set(&json, "reference",
                      json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:f}", "model", e->options->reference,
                                "perplexity", moeq_json_real(r->reference_perplexity), "kld_mean",
                                moeq_json_real(r->kld), "kld_error", moeq_json_real(r->kld_error), "kld_p999",
                                moeq_json_real(r->kld_999), "kld_max", moeq_json_real(r->kld_max), "top1",
                                r->top1));
    moeq_json_set(&json, "arithmetic", json_string(arithmetic_name(e->options)));
    moeq_json_set(&json, "memory",
                  json_pack("{s:I}", "layer_float32_bytes", (json_int_t)e->plan.sweep.layer_float32));
    moeq_json_set(&json, "timing", /* what depends on the machine and on --jobs */
                  json_pack("{s:f, s:f, s:I, s:I, s:I, s:I}", "seconds", e->seconds, "tokens_per_second",
                            tokens_per_second(e), "peak_memory_bytes", (json_int_t)moeq_peak_memory(),
                            "planned_memory_bytes", (json_int_t)e->plan.total, "hidden_states_bytes",
                            (json_int_t)e->plan.sweep.hidden, "temporary_file_bytes",
                            (json_int_t)e->plan.sweep.file));
    return json;
}

static void print_text(const struct eval *e)
{
    const struct moeq_evaluation *r = &e->result;
    const struct weight_sizes s = measure(&e->source);
    char a[MOEQ_SIZE_TEXT], b[MOEQ_SIZE_TEXT], c[MOEQ_SIZE_TEXT], d[MOEQ_SIZE_TEXT];
    printf("model          %s: %s of weights, %.3f bits per weight (experts %.3f)\n", e->source.path,
           moeq_size_text((double)s.n_bytes, a), bits_per_weight(s.n_bytes, s.n_weights),
           bits_per_weight(s.n_expert_bytes, s.n_expert_weights));
    printf("text           %s: %llu window%s of %llu tokens, %llu scored (convention %s)\n", e->options->text,
           (unsigned long long)e->windows.n_windows, e->windows.n_windows == 1 ? "" : "s",
           (unsigned long long)e->windows.context, (unsigned long long)r->n_scored,
           e->llama ? "llama" : "windows");
    printf("arithmetic     %s\n", arithmetic_of(e->options) == MOEQ_FAST
                                      ? "products of BF16, sums of float32 (--exact: float32 throughout)"
                                      : "float32");
    printf("perplexity     %.4f +- %.4f   (nll %.6f)\n", r->perplexity, r->perplexity_error, r->nll);
    if (r->has_reference) {
        printf("reference      %s: perplexity %.4f, ratio %.5f\n", e->options->reference,
               r->reference_perplexity, r->perplexity / r->reference_perplexity);
        printf("KL divergence  mean %.6f +- %.6f, 99.9%% %.5f, max %.5f\n", r->kld, r->kld_error, r->kld_999,
               r->kld_max);
        printf("top-1          %.3f%% agree\n", 100 * r->top1);
    }
    printf("speed          %.0f tokens/s, %.1f s\n", tokens_per_second(e), e->seconds);
    printf("memory         peak %s, with program, text and tokenizer\n",
           moeq_size_text((double)moeq_peak_memory(), a));
    printf("planned        at most %s: hidden states %s, weights, work; a layer as float32 has %s\n",
           moeq_size_text((double)e->plan.total, b), moeq_size_text((double)e->plan.sweep.hidden, c),
           moeq_size_text((double)e->plan.sweep.layer_float32, d));
    if (e->plan.sweep.file)
        printf("               the other hidden states in a temporary file of %s\n",
               moeq_size_text((double)e->plan.sweep.file, a));
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    struct eval e = {.options = options};
    (void)n_positional;
    e.llama = e.options->convention && strcmp(e.options->convention, "llama") == 0;
    if (e.options->tasks.file && (e.options->text || e.options->reference))
        return moeq_fail(err, MOEQ_USAGE, "--tasks goes without --text and --reference");
    if (moeq_eval_tasks_check(&e.options->tasks, err))
        return MOEQ_USAGE;
    if (e.options->tasks.file)
        return moeq_eval_tasks(positional[0], &e.options->common, &e.options->tasks, arithmetic_of(e.options),
                               e.options->memory, err);
    if (!e.options->text) {
        moeq_fail(err, MOEQ_USAGE, "on what? --text or --tasks is missing");
        return MOEQ_USAGE;
    }
    const enum moeq_strictness strictness = moeq_verb_strictness(&e.options->common);
    enum moeq_status status = open_model(&e.source, positional[0], strictness, err);
    if (!status && e.options->reference)
        status = open_model(&e.reference, e.options->reference, strictness, err);
    if (!status)
        status = cut_text(&e, err);
    if (!status)
        status = evaluate(&e, err);
    if (!status && e.options->common.json)
        status = moeq_verb_print_json(eval_json(&e), err);
    else if (!status)
        print_text(&e);
    moeq_windows_free(&e.windows);
    moeq_source_close(&e.source);
    moeq_source_close(&e.reference);
    return status;
}

const struct moeq_verb moeq_verb_eval = {
    .name = "eval",
    .arguments = "PKG|SRC --text FILE|--tasks FILE",
    .summary = "perplexity, and KL divergence and top-1 agreement against a reference; answers to questions",
    .details =
        "All windows go through the model together, one layer at a time, so memory holds the hidden "
        "states and a part "
        "of one layer. Results do not depend on --jobs. Routers are always computed in float32; the "
        "rest in BF16 with float32 sums where the CPU multiplies BF16, or in float32 with --exact.\n\n"
        "With --reference the same windows go through a second model; KL divergence is KL(reference "
        "|| model), the "
        "mean over the scored tokens with its standard error.\n\n"
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
