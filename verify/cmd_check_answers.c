#include "cmd_check_answers.h"

#include "answer_member.h"
#include "answers.h"
#include "text.h"
#include "tokenizer.h"
#include "verb.h"

#include <stdlib.h>

struct check_answers_options {
    struct moeq_common common;
};

static const struct moeq_option options_table[] = {
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

/* Results are printed when all lines were read, so that a damaged line leaves none. */
struct result {
    size_t line;
    struct moeq_answer answer;
};

struct results {
    struct result *items;
    size_t n_items, capacity;
    size_t n[3]; /* by verdict */
};

static enum moeq_status check_line(const json_t *line, struct moeq_answer *answer, struct moeq_error *err)
{
    char numbers[2][MOEQ_ANSWER_NUMBER];
    const char *reference, *response;
    size_t n_reference = 0, n_response = 0;
    enum moeq_status status = moeq_answer_member(line, "answer", numbers[0], &reference, &n_reference, err);
    if (!status)
        status = moeq_answer_member(line, "response", numbers[1], &response, &n_response, err);
    return status ? status : moeq_answer_check(reference, n_reference, response, n_response, answer, err);
}

static enum moeq_status check_lines(struct moeq_json_lines *lines, struct results *results,
                                    struct moeq_error *err)
{
    struct moeq_error why = {0};
    json_t *json;
    while ((json = moeq_json_lines_next(lines, err))) {
        struct result *items =
            moeq_grown(results->items, results->n_items, &results->capacity, sizeof *items, &why);
        if (items) {
            struct result *result = &items[results->n_items++];
            *result = (struct result){.line = lines->number};
            results->items = items;
            if (!check_line(json, &result->answer, &why))
                results->n[result->answer.verdict]++;
        }
        json_decref(json);
        if (why.status)
            return moeq_json_lines_fail(lines, &why, err);
    }
    return err->status;
}

/* ---- printing ---- */

static double share(size_t part, size_t whole)
{
    return whole ? 100 * (double)part / (double)whole : 0;
}

static enum moeq_status print_line(json_t *json, struct moeq_error *err)
{
    char *text = json ? moeq_json_text(json, false) : NULL;
    json_decref(json);
    if (!text)
        return moeq_fail_alloc(err, 0);
    puts(text);
    free(text);
    return MOEQ_OK;
}

static enum moeq_status print_json(const char *file, const struct results *results, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; i < results->n_items && !status; i++) {
        const struct moeq_answer *answer = &results->items[i].answer;
        json_t *json = json_object();
        moeq_json_set(&json, "correct",
                      answer->verdict == MOEQ_ANSWER_NONE
                          ? json_null()
                          : json_boolean(answer->verdict == MOEQ_ANSWER_RIGHT));
        moeq_json_set(&json, "extracted", answer->extracted ? json_string(answer->extracted) : json_null());
        status = print_line(json, err);
    }
    if (status)
        return status;
    const json_int_t n = (json_int_t)results->n_items, n_right = (json_int_t)results->n[MOEQ_ANSWER_RIGHT];
    json_t *json =
        json_pack("{s:s, s:i, s:s, s:I, s:I, s:I, s:I}", "moeq", "check-answers", "version", 1, "file", file,
                  "n_answers", n, "n_correct", n_right, "n_wrong", (json_int_t)results->n[MOEQ_ANSWER_WRONG],
                  "n_undecided", (json_int_t)results->n[MOEQ_ANSWER_NONE]);
    moeq_json_set(&json, "accuracy", n ? json_real((double)n_right / (double)n) : json_null());
    return print_line(json, err);
}

static void print_text(const struct results *results)
{
    for (size_t i = 0; i < results->n_items; i++) {
        const struct result *r = &results->items[i];
        if (r->answer.verdict == MOEQ_ANSWER_RIGHT)
            continue;
        printf("line %zu: %s, expected ", r->line,
               r->answer.verdict == MOEQ_ANSWER_WRONG ? "wrong"
               : r->answer.extracted                  ? "no reference"
                                                      : "no answer");
        moeq_print_text(stdout, r->answer.expected ? r->answer.expected : "nothing", 0);
        if (r->answer.extracted) {
            printf(", found ");
            moeq_print_text(stdout, r->answer.extracted, 0);
        }
        putchar('\n');
    }
    printf("%zu answers: %zu right (%.2f%%), %zu wrong, %zu undecided\n", results->n_items,
           results->n[MOEQ_ANSWER_RIGHT], share(results->n[MOEQ_ANSWER_RIGHT], results->n_items),
           results->n[MOEQ_ANSWER_WRONG], results->n[MOEQ_ANSWER_NONE]);
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    const struct check_answers_options *o = options;
    struct moeq_bytes bytes = {0};
    struct results results = {0};
    (void)n_positional;
    enum moeq_status status = moeq_text_read_bytes(positional[0], MOEQ_MAX_TEXT_BYTES, &bytes, err);
    if (!status) {
        struct moeq_json_lines lines = {.data = bytes.data, .n_bytes = bytes.n_bytes};
        status = check_lines(&lines, &results, err);
        if (status == MOEQ_DAMAGED)
            moeq_error_hint(err, "every line is one object with \"answer\" and \"response\"");
        moeq_error_in_file(err, moeq_text_name(positional[0]));
    }
    if (!status && o->common.json)
        status = print_json(positional[0], &results, err);
    else if (!status)
        print_text(&results);
    for (size_t i = 0; i < results.n_items; i++)
        moeq_answer_free(&results.items[i].answer);
    free(results.items);
    moeq_bytes_free(&bytes);
    return status;
}

const struct moeq_verb moeq_verb_check_answers = {
    .name = "check-answers",
    .arguments = "FILE.jsonl",
    .summary = "whether a model's answers are the references', by rule",
    .details =
        "Each line of FILE is an object: \"answer\", the reference, which may be a solution that ends with "
        "#### 42 or \\boxed{42}, and \"response\", the text of a model. Other members are ignored, and so "
        "are "
        "blank lines. FILE may be gzip; - is standard input.\n\n"
        "The response's answer is the last \\boxed{} or #### line, or else what \"the answer is\" says last, "
        "or else the last number. Text within <think> does not count; where that does not end, there is no "
        "answer. Numbers are compared exactly, whatever their separators, as fractions or with exponents; a "
        "unit is not asked for but must not be another one; percent is a unit, and a reference in percent "
        "also takes the fraction (50% takes 50 and 0.5, 0.5 does not take 50%). Tuples have an order, lists "
        "and sets have none.\n\n"
        "What is printed: a line for each answer that is not right (\"line 3: wrong, expected 42, found "
        "41\", "
        "\"line 4: no answer, expected 42\", \"line 5: no reference, …\") and a summary (\"5 answers: 2 "
        "right "
        "(40.00%), 1 wrong, 2 undecided\"). With --json, for each line of FILE that is not blank, in order, "
        "one line:\n\n"
        "  {\"correct\":true|false|null,\"extracted\":\"…\"|null}\n\n"
        "(null: no answer in the response, or none in the reference), and then one line:\n\n"
        "  {\"moeq\":\"check-answers\",\"version\":1,\"file\":\"…\",\"n_answers\":N,\"n_correct\":N,"
        "\"n_wrong\":N,\n   \"n_undecided\":N,\"accuracy\":SHARE|null}\n\n"
        "The share is of all answers; undecided ones count as not right. Exit code 0 whatever the answers "
        "are; 3 where a line is not such an object, and then nothing is printed but its number.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 1,
    .options_size = sizeof(struct check_answers_options),
    .run = run,
};
