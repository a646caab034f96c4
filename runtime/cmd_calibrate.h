#ifndef MOEQ_CMD_CALIBRATE_H
#define MOEQ_CMD_CALIBRATE_H

#include "options.h"

extern const struct moeq_verb moeq_verb_calibrate;

#endif
