/* The verb `moeq check`. */
#ifndef MOEQ_CMD_CHECK_H
#define MOEQ_CMD_CHECK_H

#include "options.h"

extern const struct moeq_verb moeq_verb_check;

#endif
