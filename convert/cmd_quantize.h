#ifndef MOEQ_CMD_QUANTIZE_H
#define MOEQ_CMD_QUANTIZE_H

#include "options.h"

extern const struct moeq_verb moeq_verb_quantize;

#endif
