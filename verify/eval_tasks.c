#include "eval_tasks.h"

#include "model.h"
#include "out.h"
#include "progress.h"
#include "tasks.h"

#include <stdlib.h>

#define TOGETHER 8

struct eval_tasks {
    const struct moeq_common *common;
    const struct moeq_eval_tasks *options;
    enum moeq_arithmetic arithmetic;
    uint64_t memory;
    struct moeq_writing writing; /* the options', with the stop of the template */
    const char **stops;          /* [n_stops + 1] of them */
    struct moeq_source source;
    struct moeq_prompts prompts;
    struct moeq_task_list tasks, examples;
    struct moeq_task_set set;
    struct moeq_task_run run;
    struct moeq_task_score score;
    struct moeq_decoder_plan plan;
    struct moeq_expert_cache_counts experts;
    uint64_t n_tokens; /* that went through the model */
    double seconds;
    struct moeq_progress *progress;
};

static uint64_t together(const struct eval_tasks *e)
{
    return e->options->n_together ? e->options->n_together : TOGETHER;
}

enum moeq_status moeq_eval_tasks_check(const struct moeq_eval_tasks *options, struct moeq_error *err)
{
    const struct moeq_eval_tasks *o = options;
    const struct moeq_writing *w = &o->writing;
    const bool others = o->few_shot || o->template || o->answers || o->n_samples || o->n_together ||
                        w->chat || w->system || w->think || w->temperature > 0 || w->top_p > 0 || w->seed ||
                        w->max_tokens || w->stops.n_items;
    return !o->file && others
               ? moeq_fail(err, MOEQ_USAGE, "some of these options are for tasks: --tasks is missing")
               : MOEQ_OK;
}

static enum moeq_status check_options(const struct eval_tasks *e, struct moeq_error *err)
{
    const struct moeq_eval_tasks *o = e->options;
    struct moeq_out_dir dir;
    const char *name;
    if (o->n_samples > 1 && o->writing.temperature <= 0)
        return moeq_fail(err, MOEQ_USAGE, "--samples are all the same without a --temperature");
    if (o->template && !strstr(o->template, MOEQ_TASK_QUESTION))
        return moeq_fail(err, MOEQ_USAGE, "--template has no " MOEQ_TASK_QUESTION " in it");
    if (!o->answers)
        return MOEQ_OK;
    if (moeq_path_is_same(o->answers, o->file) || (o->few_shot && moeq_path_is_same(o->answers, o->few_shot)))
        return moeq_fail(err, MOEQ_USAGE, "--answers would replace the questions: choose another output");
    const enum moeq_status status = moeq_out_dir_of_file(&dir, o->answers, &name, err); /* before the work */
    if (!status)
        moeq_out_dir_close(&dir);
    return status;
}

/* Outside of a chat, and where the template is ours, another question ends an answer. */
static enum moeq_status set_stops(struct eval_tasks *e, struct moeq_error *err)
{
    const struct moeq_list *given = &e->options->writing.stops;
    e->writing = e->options->writing;
    if (e->options->template || e->writing.chat)
        return MOEQ_OK;
    if (!(e->stops = moeq_calloc(given->n_items + 1, sizeof *e->stops, err)))
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < given->n_items; i++)
        e->stops[i] = given->items[i];
    e->stops[given->n_items] = moeq_task_stop;
    e->writing.stops = (struct moeq_list){.items = e->stops, .n_items = given->n_items + 1};
    return MOEQ_OK;
}

static enum moeq_status prepare(struct eval_tasks *e, const char *path, struct moeq_error *err)
{
    const struct moeq_eval_tasks *o = e->options;
    enum moeq_status status = set_stops(e, err);
    if (!status)
        status = moeq_source_open_as(&e->source, path, moeq_verb_strictness(e->common), err);
    if (!status)
        status = moeq_model_check(&e->source, err);
    if (!status)
        status = moeq_prompts_init(&e->prompts, &e->writing, &e->source, err);
    if (!status)
        status = moeq_task_list_read(&e->tasks, o->file, err);
    if (!status && o->few_shot)
        status = moeq_task_list_read(&e->examples, o->few_shot, err);
    e->set = (struct moeq_task_set){.tasks = &e->tasks,
                                    .examples = &e->examples,
                                    .template = o->template       ? o->template
                                                : e->prompts.chat ? moeq_task_chat_template
                                                                  : moeq_task_template,
                                    .n_samples = o->n_samples ? o->n_samples : 1,
                                    .prompts = &e->prompts,
                                    .writing = &e->writing};
    if (!status)
        status = moeq_task_run_init(&e->run, &e->set, err);
    moeq_error_in_file(err, o->file);
    return status;
}

/* ---- the run ---- */

static void note_end(void *context, size_t index)
{
    const struct eval_tasks *e = context;
    (void)index;
    moeq_progress_add(e->progress, 1, NULL);
}

static void note_step(void *context, bool of_prompts, uint64_t n_tokens)
{
    struct eval_tasks *e = context;
    (void)of_prompts;
    e->n_tokens += n_tokens;
}

static enum moeq_status share_memory(struct eval_tasks *e, uint64_t max_tokens, unsigned n_jobs,
                                     struct moeq_error *err)
{
    struct moeq_budget budget = moeq_verb_budget(e->memory, 0);
    budget.instead = "a smaller --together or --max-tokens";
    e->plan = moeq_generate_plan(&e->source, e->run.generations, e->run.n, max_tokens, together(e), n_jobs,
                                 budget.n_bytes);
    const uint64_t least =
        moeq_generate_plan(&e->source, e->run.generations, e->run.n, max_tokens, together(e), n_jobs, 0)
            .total;
    return moeq_verb_check_budget(&budget, e->plan.total, least, e->source.path, err);
}

static enum moeq_status answer_all(struct eval_tasks *e, struct moeq_error *err)
{
    struct moeq_decoder decoder = {0};
    struct moeq_generator generator = moeq_writing_generator(&e->writing, &e->prompts, e->arithmetic);
    struct moeq_pool *pool = moeq_verb_pool(e->common, err);
    if (!pool)
        return MOEQ_OVER_MEMORY;
    generator.context = e;
    generator.ended = note_end;
    generator.stepped = note_step;
    enum moeq_status status = share_memory(e, generator.max_tokens, moeq_pool_jobs(pool), err);
    const double begin = moeq_clock();
    if (!status)
        status = moeq_decoder_init(&decoder, &e->source, pool, &e->plan, err);
    e->progress = moeq_progress_start("eval", "texts", e->run.n, e->common->quiet);
    if (!status)
        status = moeq_generate(&decoder, &generator, e->run.generations, e->run.n, err);
    if (!status)
        e->experts = moeq_expert_cache_counts(decoder.experts);
    e->seconds = moeq_clock() - begin;
    moeq_progress_end(e->progress);
    moeq_decoder_free(&decoder);
    moeq_pool_join(pool);
    return status ? status : moeq_task_run_score(&e->run, &e->set, &e->score, err);
}

static enum moeq_status write_answers(const struct eval_tasks *e, struct moeq_error *err)
{
    char *lines = moeq_task_run_lines(&e->run, &e->set, err);
    const enum moeq_status status =
        lines ? moeq_out_write_text(e->options->answers, lines, err) : MOEQ_OVER_MEMORY;
    free(lines);
    return status;
}

/* ---- what is printed ---- */

static double rate(const struct eval_tasks *e)
{
    return e->seconds > 0 ? (double)e->n_tokens / e->seconds : 0;
}

static json_t *share_json(const struct moeq_task_share *s)
{
    return json_pack("{s:f, s:f, s:f}", "share", s->share, "low", s->low, "high", s->high);
}

static json_t *result_json(const struct eval_tasks *e)
{
    const struct moeq_task_score *s = &e->score;
    json_t *json =
        json_pack("{s:s, s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "moeq", "eval", "version", 2, "model",
                  e->source.path, "tasks", e->options->file, "n_tasks", (json_int_t)s->n_tasks, "n_texts",
                  (json_int_t)s->n_texts, "n_right", (json_int_t)s->n_by_verdict[MOEQ_ANSWER_RIGHT],
                  "n_wrong", (json_int_t)s->n_by_verdict[MOEQ_ANSWER_WRONG], "n_undecided",
                  (json_int_t)s->n_by_verdict[MOEQ_ANSWER_NONE], "n_cut", (json_int_t)s->n_cut);
    moeq_json_set(&json, "accuracy", share_json(&s->accuracy));
    moeq_json_set(&json, "right_once", share_json(&s->once));
    moeq_json_set(&json, "chat",
                  e->prompts.chat ? json_string(moeq_chat_name(e->prompts.chat)) : json_null());
    moeq_json_set(&json, "template", json_string(e->set.template));
    moeq_json_set(&json, "n_examples", json_integer((json_int_t)e->examples.n));
    moeq_json_set(&json, "temperature", json_real(e->writing.temperature));
    moeq_json_set(&json, "top_p", json_real(e->writing.top_p > 0 ? e->writing.top_p : 1));
    moeq_json_set(&json, "arithmetic", json_string(e->arithmetic == MOEQ_FAST ? "bf16" : "float32"));
    moeq_json_set(&json, "timing", /* what depends on the machine, --jobs and --mem */
                  json_pack("{s:f, s:f, s:I, s:I, s:I}", "seconds", e->seconds, "tokens_per_second", rate(e),
                            "peak_memory_bytes", (json_int_t)moeq_peak_memory(), "planned_memory_bytes",
                            (json_int_t)e->plan.total, "expert_bytes_loaded",
                            (json_int_t)e->experts.n_loaded_bytes));
    return json;
}

static void print_share(const char *label, const struct moeq_task_share *s, size_t n, const char *what)
{
    printf("%-14s %.2f%%, 95%% between %.2f%% and %.2f%% (%zu %s)\n", label, 100 * s->share, 100 * s->low,
           100 * s->high, n, what);
}

static void print_text(const struct eval_tasks *e)
{
    const struct moeq_task_score *s = &e->score;
    char a[MOEQ_SIZE_TEXT], b[MOEQ_SIZE_TEXT];
    printf("model          %s\n", e->source.path);
    printf("tasks          %s: %zu questions, %zu texts, %zu examples, %s\n", e->options->file, s->n_tasks,
           s->n_texts, e->examples.n, e->prompts.chat ? moeq_chat_name(e->prompts.chat) : "no chat");
    printf("arithmetic     %s\n", e->arithmetic == MOEQ_FAST
                                      ? "products of BF16, sums of float32 (--exact: float32 throughout)"
                                      : "float32");
    print_share("accuracy", &s->accuracy, s->n_by_verdict[MOEQ_ANSWER_RIGHT], "right");
    if (s->n_texts > s->n_tasks)
        print_share("right once", &s->once, s->n_texts / s->n_tasks, "texts for each question");
    printf("not right      %zu wrong, %zu without an answer; %zu texts ended by --max-tokens\n",
           s->n_by_verdict[MOEQ_ANSWER_WRONG], s->n_by_verdict[MOEQ_ANSWER_NONE], s->n_cut);
    printf("speed          %.0f tokens/s, %.1f s\n", rate(e), e->seconds);
    printf("memory         peak %s, with program, texts and tokenizer\n",
           moeq_size_text((double)moeq_peak_memory(), a));
    printf("planned        at most %s: %llu texts together, latents of up to %llu tokens each\n",
           moeq_size_text((double)e->plan.total, b), (unsigned long long)e->plan.n_sequences,
           (unsigned long long)e->plan.n_positions);
}

enum moeq_status moeq_eval_tasks(const char *path, const struct moeq_common *common,
                                 const struct moeq_eval_tasks *options, enum moeq_arithmetic arithmetic,
                                 uint64_t memory, struct moeq_error *err)
{
    struct eval_tasks e = {.common = common, .options = options, .arithmetic = arithmetic, .memory = memory};
    enum moeq_status status = check_options(&e, err);
    if (!status)
        status = prepare(&e, path, err);
    if (!status)
        status = answer_all(&e, err);
    if (!status && options->answers)
        status = write_answers(&e, err);
    if (!status && common->json)
        status = moeq_verb_print_json(result_json(&e), err);
    else if (!status)
        print_text(&e);
    moeq_task_run_free(&e.run);
    moeq_task_list_free(&e.tasks);
    moeq_task_list_free(&e.examples);
    moeq_prompts_free(&e.prompts);
    moeq_source_close(&e.source);
    free(e.stops);
    return status;
}
