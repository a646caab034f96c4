#ifndef MOEQ_CMD_PLAN_H
#define MOEQ_CMD_PLAN_H

#include "options.h"

extern const struct moeq_verb moeq_verb_plan;

#endif
