#include "tasks.h"

#include "answer_member.h"
#include "text.h"

#include <math.h>
#include <stdlib.h>

const char moeq_task_template[] = "Question: " MOEQ_TASK_QUESTION "\nAnswer:";
const char moeq_task_chat_template[] =
    MOEQ_TASK_QUESTION "\n\nThink it through step by step, then write the final answer as \\boxed{...}.";
const char moeq_task_stop[] = "\nQuestion:";

/* ---- the file ---- */

static char *copy_member(const json_t *line, const char *key, struct moeq_error *err)
{
    char number[MOEQ_ANSWER_NUMBER];
    const char *text;
    size_t n = 0;
    if (moeq_answer_member(line, key, number, &text, &n, err))
        return NULL;
    char *copy = moeq_calloc(n + 1, 1, err);
    if (copy)
        memcpy(copy, text, n);
    return copy;
}

static enum moeq_status add_task(struct moeq_task_list *list, const json_t *json, size_t line,
                                 struct moeq_error *err)
{
    struct moeq_task *items = moeq_grown(list->items, list->n, &list->capacity, sizeof *items, err);
    if (!items)
        return MOEQ_OVER_MEMORY;
    list->items = items;
    struct moeq_task *task = &items[list->n++];
    *task = (struct moeq_task){.line = line, .question = copy_member(json, "question", err)};
    task->answer = task->question ? copy_member(json, "answer", err) : NULL;
    return task->answer ? MOEQ_OK : err->status;
}

enum moeq_status moeq_task_list_read(struct moeq_task_list *list, const char *path, struct moeq_error *err)
{
    struct moeq_bytes bytes = {0};
    struct moeq_error why = {0};
    *list = (struct moeq_task_list){0};
    enum moeq_status status = moeq_text_read_bytes(path, MOEQ_MAX_TEXT_BYTES, &bytes, err);
    struct moeq_json_lines lines = {.data = bytes.data, .n_bytes = bytes.n_bytes};
    for (json_t *json; !status && (json = moeq_json_lines_next(&lines, &why)); json_decref(json))
        if (add_task(list, json, lines.number, &why))
            status = moeq_json_lines_fail(&lines, &why, err);
    if (!status && why.status) { /* of a line that is no object: it names the line already */
        if (err)
            *err = why;
        status = why.status;
    }
    if (!status && !list->n)
        status = moeq_fail(err, MOEQ_USAGE, "there are no tasks in it");
    if (status == MOEQ_DAMAGED)
        moeq_error_hint(err, "every line is one object with \"question\" and \"answer\"");
    moeq_error_in_file(err, moeq_text_name(path));
    moeq_bytes_free(&bytes);
    return status;
}

void moeq_task_list_free(struct moeq_task_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->items[i].question);
        free(list->items[i].answer);
    }
    free(list->items);
    *list = (struct moeq_task_list){0};
}

/* ---- prompts ---- */

char *moeq_task_fill(const char *template, const char *question, struct moeq_error *err)
{
    const size_t n_mark = strlen(MOEQ_TASK_QUESTION), n_question = strlen(question);
    size_t n = strlen(template) + 1;
    for (const char *at = template; (at = strstr(at, MOEQ_TASK_QUESTION)); at += n_mark)
        n += n_question;
    char *text = moeq_calloc(n, 1, err), *to = text;
    for (const char *at; text && (at = strstr(template, MOEQ_TASK_QUESTION)); template = at + n_mark) {
        to = mempcpy(to, template, (size_t)(at - template));
        to = mempcpy(to, question, n_question);
    }
    if (text)
        memcpy(to, template, strlen(template));
    return text;
}

/* All turns as one question, which the caller frees. */
static char *join_turns(const struct moeq_turn *turns, size_t n, struct moeq_error *err)
{
    size_t n_bytes = 1;
    for (size_t i = 0; i < n; i++)
        n_bytes += strlen(turns[i].question) + (turns[i].answer ? strlen(turns[i].answer) + 3 : 0);
    char *text = moeq_calloc(n_bytes, 1, err), *to = text;
    for (size_t i = 0; text && i < n; i++) {
        to = stpcpy(to, turns[i].question);
        if (turns[i].answer)
            to = stpcpy(stpcpy(stpcpy(to, " "), turns[i].answer), "\n\n");
    }
    return text;
}

/* turns [examples + 1], of which the first are filled in. */
static enum moeq_status encode_task(const struct moeq_task_set *set, const struct moeq_task *task,
                                    struct moeq_turn *turns, struct moeq_tokens *prompt,
                                    struct moeq_error *err)
{
    const size_t n = set->examples->n + 1;
    char *question = moeq_task_fill(set->template, task->question, err), *joined = NULL;
    enum moeq_status status = question ? MOEQ_OK : MOEQ_OVER_MEMORY;
    turns[n - 1] = (struct moeq_turn){question, NULL};
    if (!status && set->prompts->chat) {
        status = moeq_prompts_encode(set->prompts, set->writing, turns, n, prompt, err);
    } else if (!status) {
        joined = join_turns(turns, n, err);
        const struct moeq_turn all = {joined, NULL};
        status =
            joined ? moeq_prompts_encode(set->prompts, set->writing, &all, 1, prompt, err) : MOEQ_OVER_MEMORY;
    }
    free(question);
    free(joined);
    return status;
}

static void free_turns(struct moeq_turn *turns, size_t n)
{
    for (size_t i = 0; turns && i < n; i++)
        free((void *)(uintptr_t)turns[i].question);
    free(turns);
}

static enum moeq_status encode_all(struct moeq_task_run *run, const struct moeq_task_set *set,
                                   struct moeq_error *err)
{
    const size_t n_examples = set->examples->n;
    struct moeq_turn *turns = moeq_calloc(n_examples + 1, sizeof *turns, err);
    enum moeq_status status = turns ? MOEQ_OK : MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < n_examples; i++) {
        turns[i] = (struct moeq_turn){moeq_task_fill(set->template, set->examples->items[i].question, err),
                                      set->examples->items[i].answer};
        status = turns[i].question ? MOEQ_OK : MOEQ_OVER_MEMORY;
    }
    for (size_t i = 0; !status && i < run->n; i++) {
        struct moeq_task_text *text = &run->texts[i / set->n_samples * set->n_samples];
        if (i % set->n_samples == 0)
            status = encode_task(set, &set->tasks->items[i / set->n_samples], turns, &text->prompt, err);
        run->generations[i] = (struct moeq_generation){.prompt = text->prompt.ids,
                                                       .n_prompt = text->prompt.n_tokens,
                                                       .seed = moeq_random_bits(set->writing->seed, i) >> 1};
    }
    free_turns(turns, n_examples);
    return status;
}

enum moeq_status moeq_task_run_init(struct moeq_task_run *run, const struct moeq_task_set *set,
                                    struct moeq_error *err)
{
    uint64_t n;
    *run = (struct moeq_task_run){0};
    if (!moeq_mul(set->tasks->n, set->n_samples, &n) || n > SIZE_MAX / sizeof *run->generations)
        return moeq_fail_alloc(err, SIZE_MAX);
    run->generations = moeq_calloc((size_t)n, sizeof *run->generations, err);
    run->texts = moeq_calloc((size_t)n, sizeof *run->texts, err);
    if (!run->generations || !run->texts)
        return MOEQ_OVER_MEMORY;
    run->n = (size_t)n;
    return encode_all(run, set, err);
}

void moeq_task_run_free(struct moeq_task_run *run)
{
    for (size_t i = 0; i < run->n; i++) {
        moeq_generation_free(&run->generations[i]);
        moeq_tokens_free(&run->texts[i].prompt);
        moeq_answer_free(&run->texts[i].answer);
    }
    free(run->generations);
    free(run->texts);
    *run = (struct moeq_task_run){0};
}

/* ---- scores ---- */

struct moeq_task_share moeq_task_share(double share, double n)
{
    const double z = 1.959963984540054, s = z * z / n; /* the normal distribution's 97.5% */
    const double middle = (share + s / 2) / (1 + s);
    const double half = z * sqrt(share * (1 - share) / n + s / (4 * n)) / (1 + s);
    return (struct moeq_task_share){share, fmax(middle - half, 0), fmin(middle + half, 1)};
}

/* What the model said, with what the prompt said for it. */
static char *response_of(const struct moeq_task_set *set, const struct moeq_generation *g,
                         struct moeq_error *err)
{
    const char *opening =
        set->prompts->chat ? moeq_chat_opening(set->prompts->chat, set->writing->think) : "";
    char *response = moeq_calloc(strlen(opening) + g->text.n_text + 1, 1, err);
    if (response)
        memcpy(stpcpy(response, opening), g->text.text, g->text.n_text);
    return response;
}

enum moeq_status moeq_task_run_score(struct moeq_task_run *run, const struct moeq_task_set *set,
                                     struct moeq_task_score *score, struct moeq_error *err)
{
    *score = (struct moeq_task_score){.n_tasks = set->tasks->n, .n_texts = run->n};
    size_t n_once = 0;
    for (size_t i = 0; i < set->tasks->n; i++) {
        const char *reference = set->tasks->items[i].answer;
        bool once = false;
        for (size_t k = i * set->n_samples; k < (i + 1) * set->n_samples; k++) {
            struct moeq_answer *answer = &run->texts[k].answer;
            char *response = response_of(set, &run->generations[k], err);
            enum moeq_status status = response ? moeq_answer_check(reference, strlen(reference), response,
                                                                   strlen(response), answer, err)
                                               : MOEQ_OVER_MEMORY;
            free(response);
            if (status)
                return status;
            score->n_by_verdict[answer->verdict]++;
            score->n_cut += run->generations[k].finish == MOEQ_FINISH_LENGTH;
            once = once || answer->verdict == MOEQ_ANSWER_RIGHT;
        }
        n_once += once;
    }
    const double n_tasks = (double)score->n_tasks;
    score->accuracy =
        moeq_task_share((double)score->n_by_verdict[MOEQ_ANSWER_RIGHT] / (double)score->n_texts, n_tasks);
    score->once = moeq_task_share((double)n_once / n_tasks, n_tasks);
    return MOEQ_OK;
}

static json_t *text_or_null(const char *text)
{
    return text ? json_string(text) : json_null();
}

static char *text_line(const struct moeq_task_run *run, const struct moeq_task_set *set, size_t i,
                       struct moeq_error *err)
{
    const struct moeq_task *task = &set->tasks->items[i / set->n_samples];
    const struct moeq_generation *g = &run->generations[i];
    const struct moeq_answer *answer = &run->texts[i].answer;
    char *response = response_of(set, g, err);
    json_t *json = response ? json_object() : NULL;
    moeq_json_set(&json, "line", json_integer((json_int_t)task->line));
    moeq_json_set(&json, "sample", json_integer((json_int_t)(i % set->n_samples)));
    moeq_json_set(&json, "seed", json_integer((json_int_t)g->seed));
    moeq_json_set(&json, "correct",
                  answer->verdict == MOEQ_ANSWER_NONE ? json_null()
                                                      : json_boolean(answer->verdict == MOEQ_ANSWER_RIGHT));
    moeq_json_set(&json, "expected", text_or_null(answer->expected));
    moeq_json_set(&json, "extracted", text_or_null(answer->extracted));
    moeq_json_set(&json, "finish", json_string(moeq_finish_names[g->finish]));
    moeq_json_set(&json, "n_tokens", json_integer((json_int_t)g->tokens.n_tokens));
    moeq_json_set(&json, "question", json_string(task->question));
    moeq_json_set(&json, "answer", json_string(task->answer));
    moeq_json_set(&json, "response", response ? json_string(response) : NULL);
    char *line = json ? moeq_json_text(json, false) : NULL;
    if (!line)
        moeq_fail_alloc(err, 0);
    json_decref(json);
    free(response);
    return line;
}

char *moeq_task_run_lines(const struct moeq_task_run *run, const struct moeq_task_set *set,
                          struct moeq_error *err)
{
    char *all = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&all, &n_bytes);
    bool fits = out != NULL;
    for (size_t i = 0; fits && i < run->n; i++) {
        char *line = text_line(run, set, i, err);
        fits = line && fprintf(out, "%s\n", line) >= 0;
        free(line);
    }
    if (out && fclose(out) != 0)
        fits = false;
    if (fits)
        return all;
    free(all);
    moeq_fail_alloc(err, 0);
    return NULL;
}
