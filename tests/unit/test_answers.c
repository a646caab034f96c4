/* Answers by rule: every labelled case of tests/data/answers.jsonl, hostile texts in bounded time, any bytes.
 */
#include "unit.h"

#include "answers.h"
#include "text.h"

#include <time.h>

static enum moeq_verdict verdict_of(const char *reference, const char *response, size_t n_response)
{
    struct moeq_answer answer;
    CU_ASSERT_EQUAL(moeq_answer_check(reference, strlen(reference), response, n_response, &answer, NULL),
                    MOEQ_OK);
    const enum moeq_verdict verdict = answer.verdict;
    moeq_answer_free(&answer);
    return verdict;
}

static void test_labelled(void)
{
    char path[1024];
    const char *source = getenv("MOEQ_SOURCE");
    struct moeq_bytes bytes = {0};
    size_t n = 0;
    json_t *line;
    snprintf(path, sizeof path, "%s/tests/data/answers.jsonl", source ? source : ".");
    CU_ASSERT_EQUAL_FATAL(moeq_text_read_bytes(path, 1 << 24, &bytes, NULL), MOEQ_OK);
    struct moeq_json_lines lines = {.data = bytes.data, .n_bytes = bytes.n_bytes};
    while ((line = moeq_json_lines_next(&lines, NULL))) {
        const char *reference = json_string_value(json_object_get(line, "answer"));
        const char *response = json_string_value(json_object_get(line, "response"));
        const json_t *label = json_object_get(line, "label");
        const enum moeq_verdict expected = json_is_null(label)   ? MOEQ_ANSWER_NONE
                                           : json_is_true(label) ? MOEQ_ANSWER_RIGHT
                                                                 : MOEQ_ANSWER_WRONG;
        const enum moeq_verdict found = verdict_of(reference, response, strlen(response));
        if (found != expected) {
            printf("\n  line %zu: verdict %d, labelled %d", lines.number, found, expected);
            CU_FAIL("another verdict");
        }
        n++;
        json_decref(line);
    }
    CU_ASSERT(n >= 300);
    moeq_bytes_free(&bytes);
}

/* A megabyte of each is looked through in a few seconds at most, also under sanitizers. */
static void test_hostile(void)
{
    static const char *const pieces[] = {
        "{",       "\\boxed{",     "\\boxed",         "\\boxed{1}, ", "$",  "\\(",     "\\frac{",
        "((1,",    "#### ",        "the answer is (", "answer",       "1,", "1 1/",    "**5",
        "<think>", "<<1",          "\\text{",         "one hundred ", "A ", "yes no ", "\\pm ",
        "5 cm/",   "\xe2\x88\x9a", "\xff\xc2",        "1^{"};
    static const char *const references[] = {"42", "B", "yes", "Monday", "(1, \\sqrt{2})"};
    const size_t n = 1 << 20;
    char *text = malloc(n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        const size_t n_piece = strlen(pieces[i]);
        for (size_t k = 0; k < n; k++)
            text[k] = pieces[i][k % n_piece];
        for (size_t k = 0; k < sizeof references / sizeof *references; k++) {
            const clock_t begin = clock();
            verdict_of(references[k], text, n);
            const double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
            if (seconds > 20) {
                printf("\n  \"%s\" against %s took %.1f s", pieces[i], references[k], seconds);
                CU_FAIL("too slow");
            }
        }
        struct moeq_answer answer; /* as the reference */
        CU_ASSERT_EQUAL(moeq_answer_check(text, n, "42", 2, &answer, NULL), MOEQ_OK);
        moeq_answer_free(&answer);
    }
    free(text);
}

/* NULs, control characters and bytes that are not UTF-8 hide no answer and are shown as text. */
static void test_any_bytes(void)
{
    static const char response[] = "\x01\x02 the answer\0 is \\boxed{4\x7f"
                                   "2} \xff\xfe\n";
    struct moeq_answer answer;
    CU_ASSERT_EQUAL(moeq_answer_check("7", 1, response, sizeof response - 1, &answer, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(answer.verdict, MOEQ_ANSWER_WRONG);
    CU_ASSERT_STRING_EQUAL(answer.extracted, "4 2");
    moeq_answer_free(&answer);
    CU_ASSERT_EQUAL(verdict_of("5", "\xff\xc2 so it is 5\xe2\x88", 15), MOEQ_ANSWER_RIGHT);
    CU_ASSERT_EQUAL(verdict_of("", "", 0), MOEQ_ANSWER_NONE);
}

/* Longer than what is computed, numbers are compared digit by digit. */
static void test_long_numbers(void)
{
    const size_t n = 20000;
    char *reference = malloc(n + 1), *response = malloc(n + 20);
    CU_ASSERT_PTR_NOT_NULL_FATAL(reference);
    CU_ASSERT_PTR_NOT_NULL_FATAL(response);
    for (size_t digits = 3000; digits <= n; digits += 17000) {
        memset(reference, '7', digits);
        reference[digits] = '\0';
        const int n_response = snprintf(response, n + 20, "\\boxed{%s}", reference);
        CU_ASSERT_EQUAL(verdict_of(reference, response, (size_t)n_response), MOEQ_ANSWER_RIGHT);
        response[n_response - 2] = '8';
        CU_ASSERT_EQUAL(verdict_of(reference, response, (size_t)n_response), MOEQ_ANSWER_WRONG);
    }
    free(reference);
    free(response);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"labelled cases", test_labelled},
        {"hostile texts", test_hostile},
        {"any bytes", test_any_bytes},
        {"long numbers", test_long_numbers},
        {NULL, NULL},
    };
    return unit_main("answers", tests);
}
