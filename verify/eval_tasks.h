/* What `moeq eval --tasks` does: a part of cmd_eval.c. */
#ifndef MOEQ_EVAL_TASKS_H
#define MOEQ_EVAL_TASKS_H

#include "verb.h"
#include "writing.h"

struct moeq_eval_tasks {
    const char *file, *few_shot, *template, *answers;
    uint64_t n_samples, n_together;
    struct moeq_writing writing;
};

#define MOEQ_EVAL_TASKS_ROW(name, kind, value, help, at, member, min, max)                                   \
    {                                                                                                        \
        name, 0, kind, value, help, (at) + offsetof(struct moeq_eval_tasks, member), min, max, NULL          \
    }

/* Rows for the verb's table, whose struct moeq_eval_tasks stands at the offset `at`. */
#define MOEQ_EVAL_TASKS_OPTIONS(at)                                                                          \
    MOEQ_EVAL_TASKS_ROW("tasks", MOEQ_OPTION_TEXT, "FILE",                                                   \
                        "instead of --text: let the model answer questions, JSON lines with \"question\" "   \
                        "and \"answer\", and score the answers by rule",                                     \
                        at, file, 0, 0),                                                                     \
        MOEQ_EVAL_TASKS_ROW("few-shot", MOEQ_OPTION_TEXT, "FILE",                                            \
                            "with --tasks: show these questions and answers before each question", at,       \
                            few_shot, 0, 0),                                                                 \
        MOEQ_EVAL_TASKS_ROW("template", MOEQ_OPTION_TEXT, "TEXT",                                            \
                            "with --tasks: the prompt around {question}", at, template, 0, 0),               \
        MOEQ_EVAL_TASKS_ROW("samples", MOEQ_OPTION_NUMBER, "N",                                              \
                            "with --tasks: texts for each question, each with random numbers of its own",    \
                            at, n_samples, 1, 100000),                                                       \
        MOEQ_EVAL_TASKS_ROW("together", MOEQ_OPTION_NUMBER, "N",                                             \
                            "with --tasks: texts that are written at a time; default: 8", at, n_together, 1, \
                            65536),                                                                          \
        MOEQ_EVAL_TASKS_ROW("answers", MOEQ_OPTION_TEXT, "FILE",                                             \
                            "with --tasks: also write what the model said and how it was judged, a line of " \
                            "JSON for each text",                                                            \
                            at, answers, 0, 0),                                                              \
        MOEQ_WRITING_OPTIONS((at) + offsetof(struct moeq_eval_tasks, writing))

/* MOEQ_USAGE where options speak of tasks and there are none. */
enum moeq_status moeq_eval_tasks_check(const struct moeq_eval_tasks *options, struct moeq_error *err);

/* Runs the tasks on the model at `path` and prints what came of it. `memory` is --mem, 0 for none. */
enum moeq_status moeq_eval_tasks(const char *path, const struct moeq_common *common,
                                 const struct moeq_eval_tasks *options, enum moeq_arithmetic arithmetic,
                                 uint64_t memory, struct moeq_error *err);

#endif
