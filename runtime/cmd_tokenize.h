/* The verb `moeq tokenize`. */
#ifndef MOEQ_CMD_TOKENIZE_H
#define MOEQ_CMD_TOKENIZE_H

#include "options.h"

extern const struct moeq_verb moeq_verb_tokenize;

#endif
