/* Questions that a model answers and rules score (answers.h): the texts that it is to write, and what came of
 * them.
 *
 * A file of tasks is JSON lines with "question" and "answer", as GSM8K's; an answer may be a solution that
 * ends with its result. The prompt is the template with the question in place of {question}. Examples with
 * their answers may stand before it: in a chat as earlier turns, otherwise as template, space, answer, empty
 * line. */
#ifndef MOEQ_TASKS_H
#define MOEQ_TASKS_H

#include "answers.h"
#include "writing.h"

#define MOEQ_TASK_QUESTION "{question}"

/* Where the user gives none. */
extern const char moeq_task_template[], moeq_task_chat_template[];
/* Ends a text that begins another question in that template; not in a chat. */
extern const char moeq_task_stop[];

struct moeq_task {
    char *question, *answer; /* owned */
    size_t line;             /* of its file, from 1 */
};

struct moeq_task_list {
    struct moeq_task *items; /* [n] */
    size_t n, capacity;
};

/* MOEQ_DAMAGED names the line; a file without tasks is MOEQ_USAGE. Free the list also after a failure. */
enum moeq_status moeq_task_list_read(struct moeq_task_list *list, const char *path, struct moeq_error *err);
void moeq_task_list_free(struct moeq_task_list *list);

/* The text of a question in a template, a heap string. */
char *moeq_task_fill(const char *template, const char *question, struct moeq_error *err);

/* What is asked. Borrowed. */
struct moeq_task_set {
    const struct moeq_task_list *tasks, *examples; /* examples may be empty */
    const char *template;
    uint64_t n_samples; /* texts for each task */
    const struct moeq_prompts *prompts;
    const struct moeq_writing *writing;
};

/* One text, of task i / n_samples. */
struct moeq_task_text {
    struct moeq_tokens prompt; /* of the first text of each task; the others share it */
    struct moeq_answer answer;
};

struct moeq_task_run {
    size_t n; /* tasks * n_samples */
    struct moeq_generation *generations;
    struct moeq_task_text *texts;
};

/* Makes the prompts and seeds: the seed of text i is r(seed, i) / 2 of sampler.h, so that it can be given as
 * a seed again. Free the run also after a failure. */
enum moeq_status moeq_task_run_init(struct moeq_task_run *run, const struct moeq_task_set *set,
                                    struct moeq_error *err);
void moeq_task_run_free(struct moeq_task_run *run);

/* Shares of n, with a 95% confidence interval after Wilson (1927): for p = share, z = 1.96,
 *   (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n). */
struct moeq_task_share {
    double share, low, high;
};

struct moeq_task_share moeq_task_share(double share, double n);

struct moeq_task_score {
    size_t n_tasks, n_texts;
    size_t n_by_verdict[3];          /* texts, by enum moeq_verdict */
    size_t n_cut;                    /* texts that ended by their length */
    struct moeq_task_share accuracy; /* right texts; the interval as of n_tasks, since samples of one task are
                                        alike */
    struct moeq_task_share once;     /* tasks with at least one right text */
};

/* Judges all texts, once they are written. */
enum moeq_status moeq_task_run_score(struct moeq_task_run *run, const struct moeq_task_set *set,
                                     struct moeq_task_score *score, struct moeq_error *err);

/* A line of JSON for each text, which check-answers reads; a heap string. */
char *moeq_task_run_lines(const struct moeq_task_run *run, const struct moeq_task_set *set,
                          struct moeq_error *err);

#endif
