/* Tasks: prompts as documented, shares with their intervals, and scores of what a model says. */
#include "unit.h"

#include "tasks.h"

static void test_intervals(void)
{
    /* A bound is a share from which the one found is z standard errors away. */
    static const struct {
        double share, n, low, high;
    } cases[] = {{0, 10, 0, 0.277533},
                 {1, 10, 0.722467, 1},
                 {0.5, 10, 0.236593, 0.763407},
                 {0.1, 100, 0.055229, 0.174366},
                 {0.45, 20, 0.258197, 0.657920}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct moeq_task_share s = moeq_task_share(cases[i].share, cases[i].n);
        CU_ASSERT_EQUAL(s.share, cases[i].share);
        CU_ASSERT_DOUBLE_EQUAL(s.low, cases[i].low, 1e-5);
        CU_ASSERT_DOUBLE_EQUAL(s.high, cases[i].high, 1e-5);
        for (int k = 0; k < 2; k++) {
            const double bound = k ? s.high : s.low, off = cases[i].share - bound;
            CU_ASSERT_DOUBLE_EQUAL(off * off, 3.841458820694124 * bound * (1 - bound) / cases[i].n, 1e-12);
        }
    }
}

static void test_templates(void)
{
    static const char *const cases[][3] = {
        {"Q: {question}\nA:", "1+1?", "Q: 1+1?\nA:"},
        {"{question}", "", ""},
        {"none", "1", "none"},
        {"{question}{question}.", "{question}", "{question}{question}."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = moeq_task_fill(cases[i][0], cases[i][1], NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(text);
        CU_ASSERT_STRING_EQUAL(text, cases[i][2]);
        free(text);
    }
}

static char *decode(const struct moeq_tokenizer *tokenizer, const struct moeq_generation *g)
{
    char *text = calloc(4096, 1);
    for (size_t i = 0; i < g->n_prompt; i++) {
        size_t n;
        const uint8_t *bytes = moeq_tokenizer_bytes(tokenizer, g->prompt[i], &n);
        strncat(text, (const char *)bytes, n);
    }
    return text;
}

/* What the model would have said, in place of a decoder. */
static void say(struct moeq_generation *g, const char *text, enum moeq_finish finish)
{
    g->finish = finish;
    CU_ASSERT_EQUAL(moeq_text_stream_add(&g->text, (const uint8_t *)text, strlen(text), NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_text_stream_end(&g->text, NULL), MOEQ_OK);
}

static void test_scores(void)
{
    char model[4096];
    struct moeq_source source;
    struct moeq_prompts prompts;
    struct moeq_task items[] = {{(char[]){"2 + 2?"}, (char[]){"2 + 2 = 4\n#### 4"}, 1},
                                {(char[]){"Half of 1?"}, (char[]){"1/2"}, 3}};
    struct moeq_task shown[] = {{(char[]){"1 + 1?"}, (char[]){"2"}, 1}};
    const struct moeq_task_list tasks = {items, 2, 2}, examples = {shown, 1, 1};
    const struct moeq_writing writing = {.seed = 5};
    const struct moeq_task_set set = {.tasks = &tasks,
                                      .examples = &examples,
                                      .template = moeq_task_template,
                                      .n_samples = 3,
                                      .prompts = &prompts,
                                      .writing = &writing};
    struct moeq_task_run run;
    struct moeq_task_score score;
    snprintf(model, sizeof model, "%s/nano-v3", getenv("MOEQ_MODELS"));
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, model, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_prompts_init(&prompts, &writing, &source, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_task_run_init(&run, &set, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(run.n, 6);
    char *prompt = decode(prompts.tokenizer, &run.generations[2]);
    CU_ASSERT_STRING_EQUAL(prompt,
                           "<｜begin▁of▁sentence｜>Question: 1 + 1?\nAnswer: 2\n\nQuestion: 2 + 2?\nAnswer:");
    free(prompt);
    for (size_t i = 0; i < 6; i++)
        for (size_t k = 0; k < i; k++)
            CU_ASSERT_NOT_EQUAL(run.generations[i].seed, run.generations[k].seed);
    static const char *const said[] = {" 4", " It is 5.", " four score #### 4", " 0.5", "", " 2"};
    for (size_t i = 0; i < 6; i++)
        say(&run.generations[i], said[i], i == 5 ? MOEQ_FINISH_LENGTH : MOEQ_FINISH_END);
    CU_ASSERT_EQUAL(moeq_task_run_score(&run, &set, &score, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(score.n_by_verdict[MOEQ_ANSWER_RIGHT], 3);
    CU_ASSERT_EQUAL(score.n_by_verdict[MOEQ_ANSWER_WRONG], 2);
    CU_ASSERT_EQUAL(score.n_by_verdict[MOEQ_ANSWER_NONE], 1);
    CU_ASSERT_EQUAL(score.n_cut, 1);
    CU_ASSERT_EQUAL(score.accuracy.share, 0.5);
    CU_ASSERT_EQUAL(score.once.share, 1);
    CU_ASSERT_EQUAL(score.accuracy.low, moeq_task_share(0.5, 2).low);
    char *lines = moeq_task_run_lines(&run, &set, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(lines);
    CU_ASSERT_PTR_NOT_NULL(strstr(lines, "\"line\":3,\"sample\":1,"));
    CU_ASSERT_PTR_NOT_NULL(strstr(lines, "\"correct\":true,\"expected\":\"1/2\",\"extracted\":\"0.5\""));
    free(lines);
    moeq_task_run_free(&run);
    moeq_prompts_free(&prompts);
    moeq_source_close(&source);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"intervals after Wilson", test_intervals},
        {"questions in templates", test_templates},
        {"prompts and scores", test_scores},
        {NULL, NULL},
    };
    return unit_main("tasks", tests);
}
