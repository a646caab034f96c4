/* The verb `moeq inspect`. */
#ifndef MOEQ_CMD_INSPECT_H
#define MOEQ_CMD_INSPECT_H

#include "options.h"

extern const struct moeq_verb moeq_verb_inspect;

#endif
