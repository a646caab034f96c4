/* The routed experts of a layer: tokens sorted by expert, experts in the order of the disk, each loaded once
 * whatever the number of tokens, and not at all where no token goes to it. Where hidden states are in memory
 * by groups, as many experts as fit the loader are held while the groups go by. */
#ifndef MOEQ_EXPERTS_H
#define MOEQ_EXPERTS_H

#include "layer.h"

/* Asks the loader for those experts that run->experts names. */
enum moeq_status moeq_experts_ask(struct moeq_run *run, int layer, struct moeq_error *err);

/* Adds their weighted outputs to the hidden states. They are what was asked for next. */
enum moeq_status moeq_experts_run(struct moeq_run *run, int layer, struct moeq_error *err);

#endif
