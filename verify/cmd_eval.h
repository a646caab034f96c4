/* The verb `moeq eval`. */
#ifndef MOEQ_CMD_EVAL_H
#define MOEQ_CMD_EVAL_H

#include "options.h"

extern const struct moeq_verb moeq_verb_eval;

#endif
