/* The verb `moeq generate`. */
#ifndef MOEQ_CMD_GENERATE_H
#define MOEQ_CMD_GENERATE_H

#include "options.h"

extern const struct moeq_verb moeq_verb_generate;

#endif
