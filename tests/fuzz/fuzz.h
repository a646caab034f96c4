/* What the fuzz targets share. Each fuzz_NAME.c defines LLVMFuzzerTestOneInput; clang's libFuzzer calls it in
 * a build with MOEQ_FUZZ, replay.c in every other. */
#ifndef MOEQ_FUZZ_H
#define MOEQ_FUZZ_H

#include "status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Stops where something that must hold does not: the fuzzer, a sanitizer and a plain run all see it. */
static inline void fuzz_require(bool holds)
{
    if (!holds)
        __builtin_trap();
}

/* A failure leaves an error that can be shown; a success leaves none. */
static inline void fuzz_require_error(enum moeq_status status, const struct moeq_error *err)
{
    char line[256];
    fuzz_require(status == err->status && status <= MOEQ_BUG && status != MOEQ_BUG);
    if (status) {
        fuzz_require(err->message[0] != '\0');
        moeq_error_format(err, line, sizeof line);
    }
}

#endif
