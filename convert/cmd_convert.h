/* The verb `moeq convert`. */
#ifndef MOEQ_CMD_CONVERT_H
#define MOEQ_CMD_CONVERT_H

#include "options.h"

extern const struct moeq_verb moeq_verb_convert;

#endif
