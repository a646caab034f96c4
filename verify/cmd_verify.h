/* The verb `moeq verify`. */
#ifndef MOEQ_CMD_VERIFY_H
#define MOEQ_CMD_VERIFY_H

#include "options.h"

extern const struct moeq_verb moeq_verb_verify;

#endif
