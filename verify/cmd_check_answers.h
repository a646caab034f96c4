/* moeq check-answers: are a model's answers right? by rule, without a model. */
#ifndef MOEQ_CMD_CHECK_ANSWERS_H
#define MOEQ_CMD_CHECK_ANSWERS_H

#include "options.h"

extern const struct moeq_verb moeq_verb_check_answers;

#endif
