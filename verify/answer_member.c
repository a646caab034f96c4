#include "answer_member.h"

#include <stdlib.h>
#include <string.h>

enum moeq_status moeq_answer_member(const json_t *line, const char *key, char number[MOEQ_ANSWER_NUMBER],
                                    const char **out, size_t *n, struct moeq_error *err)
{
    const json_t *value = json_object_get(line, key);
    *out = number;
    number[0] = '\0';
    if (!value)
        return moeq_fail(err, MOEQ_DAMAGED, "the key \"%s\" is missing", key);
    if (json_is_string(value)) {
        *out = json_string_value(value);
        *n = json_string_length(value);
        return MOEQ_OK;
    }
    if (json_is_integer(value))
        snprintf(number, MOEQ_ANSWER_NUMBER, "%lld", (long long)json_integer_value(value));
    else if (json_is_boolean(value))
        snprintf(number, MOEQ_ANSWER_NUMBER, "%s", json_is_true(value) ? "true" : "false");
    else if (json_is_real(value)) /* the shortest decimal that gives the same number */
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(number, MOEQ_ANSWER_NUMBER, "%.*g", digits, json_real_value(value));
            if (strtod(number, NULL) == json_real_value(value))
                break;
        }
    else if (!json_is_null(value))
        return moeq_fail(err, MOEQ_DAMAGED, "\"%s\" must be a string or a number", key);
    *n = strlen(number);
    return MOEQ_OK;
}
