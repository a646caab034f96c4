/* Stopping on a signal: the handler sets a flag, long loops look at it between pieces of work. */
#ifndef MOEQ_INTERRUPT_H
#define MOEQ_INTERRUPT_H

#include "status.h"

/* Makes SIGINT, SIGTERM and SIGHUP set the flag; a second SIGINT ends the process at once. For main only. */
void moeq_interrupt_install(void);

/* MOEQ_INTERRUPTED once a signal has come. */
enum moeq_status moeq_interrupt_check(struct moeq_error *err);

#endif
