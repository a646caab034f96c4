/* The verb `moeq bench`. */
#ifndef MOEQ_CMD_BENCH_H
#define MOEQ_CMD_BENCH_H

#include "options.h"

extern const struct moeq_verb moeq_verb_bench;

#endif
