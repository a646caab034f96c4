/* The answer check on any bytes: a reference, a NUL byte, a response. Whatever is found can be shown, and a
 * verdict needs an answer on both sides. */
#include "answers.h"
#include "bytes.h"
#include "fuzz.h"

#include <string.h>

static void check_shown(const char *text)
{
    fuzz_require(text[0] != '\0' && strlen(text) <= MOEQ_MAX_ANSWER);
    fuzz_require(moeq_utf8_valid((const uint8_t *)text, strlen(text), NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct moeq_answer answer;
    struct moeq_error err = {0};
    const char *reference = (const char *)data;
    const uint8_t *end = n ? memchr(data, '\0', n) : NULL;
    const size_t n_reference = end ? (size_t)(end - data) : n;
    const char *response = end ? (const char *)end + 1 : reference;
    const size_t n_response = end ? n - n_reference - 1 : n;
    fuzz_require_error(moeq_answer_check(reference, n_reference, response, n_response, &answer, &err), &err);
    if (answer.expected)
        check_shown(answer.expected);
    if (answer.extracted)
        check_shown(answer.extracted);
    fuzz_require((answer.verdict == MOEQ_ANSWER_NONE) == (!answer.expected || !answer.extracted));
    moeq_answer_free(&answer);
    return 0;
}
