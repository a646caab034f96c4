/* Questions, answers and responses as members of a line of JSON. */
#ifndef MOEQ_ANSWER_MEMBER_H
#define MOEQ_ANSWER_MEMBER_H

#include "json.h"

#define MOEQ_ANSWER_NUMBER 32

/* The text of a member, of *n bytes, borrowed from the line or from `number`: a number or a truth value
 * counts as its text, null as an empty one. MOEQ_DAMAGED where it is missing or anything else. */
enum moeq_status moeq_answer_member(const json_t *line, const char *key, char number[MOEQ_ANSWER_NUMBER],
                                    const char **out, size_t *n, struct moeq_error *err);

#endif
