/* What the benchmarks share that are programs. */
#ifndef MOEQ_TEST_BENCH_H
#define MOEQ_TEST_BENCH_H

#include "status.h"

#include <stdio.h>
#include <stdlib.h>

/* Ends the program with the failure in one line, where there is one. */
static inline void bench_check(enum moeq_status status, const struct moeq_error *err)
{
    char text[1024];
    if (!status)
        return;
    fprintf(stderr, "%s\n", moeq_error_format(err, text, sizeof text));
    exit((int)status);
}

#endif
