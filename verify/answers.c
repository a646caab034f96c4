#include "answers.h"

#include "answer_parts.h"

#include <stdlib.h>

/* A copy to show: without the marks of bold text, and cut where it is very long. */
static enum moeq_status show(struct moeq_span text, char **out, struct moeq_error *err)
{
    size_t n = 0, bad;
    const size_t n_text = text.n < MOEQ_MAX_ANSWER ? text.n : MOEQ_MAX_ANSWER;
    char *copy = malloc(n_text + 1);
    if (!copy)
        return moeq_fail_alloc(err, n_text + 1);
    for (size_t i = 0; i < n_text; i++)
        if (text.at[i] != MOEQ_BOLD)
            copy[n++] = text.at[i];
    if (!moeq_utf8_valid((const uint8_t *)copy, n, &bad))
        n = bad;
    copy[n] = '\0';
    *out = copy;
    return MOEQ_OK;
}

/* The answer alone, and then, where the response shows several in boxes of their own, all of them. */
static enum moeq_status judge(struct moeq_span expected, struct moeq_span found, struct moeq_span several,
                              struct moeq_answer *out, struct moeq_error *err)
{
    bool equal = false;
    enum moeq_status status = moeq_answers_equal(expected, found, &equal, err);
    if (!status && !equal && several.at && several.n <= MOEQ_MAX_ANSWER) {
        status = moeq_answers_equal(expected, several, &equal, err);
        found = equal ? several : found;
    }
    out->verdict = equal ? MOEQ_ANSWER_RIGHT : MOEQ_ANSWER_WRONG;
    return status ? status : show(found, &out->extracted, err);
}

enum moeq_status moeq_answer_check(const char *reference, size_t n_reference, const char *response,
                                   size_t n_response, struct moeq_answer *out, struct moeq_error *err)
{
    struct moeq_bytes texts[2] = {{0}, {0}};
    struct moeq_span expected = {NULL, 0}, found = {NULL, 0}, several = {NULL, 0};
    enum moeq_answer_kind kind = MOEQ_KIND_ANY;
    *out = (struct moeq_answer){MOEQ_ANSWER_NONE, NULL, NULL};
    enum moeq_status status = moeq_answer_clean(reference, n_reference, &texts[0], err);
    if (!status)
        status = moeq_answer_clean(response, n_response, &texts[1], err);
    if (!status)
        status = moeq_answer_reference((struct moeq_span){(char *)texts[0].data, texts[0].n_bytes}, &expected,
                                       &kind, err);
    if (!status)
        status = moeq_answer_find((struct moeq_span){(char *)texts[1].data, texts[1].n_bytes}, kind, &found,
                                  &several, err);
    if (!status && expected.at)
        status = show(expected, &out->expected, err);
    if (!status && expected.at && found.at)
        status = judge(expected, found, several, out, err);
    else if (!status && found.at)
        status = show(found, &out->extracted, err);
    moeq_bytes_free(&texts[0]);
    moeq_bytes_free(&texts[1]);
    return status;
}

void moeq_answer_free(struct moeq_answer *answer)
{
    free(answer->expected);
    free(answer->extracted);
    answer->expected = answer->extracted = NULL;
}
