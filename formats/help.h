/* What help.c and completion.c share; the texts themselves are declared in options.h. */
#ifndef MOEQ_HELP_H
#define MOEQ_HELP_H

#include "options.h"

/* Row i of a verb's options, then --help, which every verb understands, then NULL. */
const struct moeq_option *moeq_help_option_at(const struct moeq_verb *verb, size_t i);

/* What stands for a character in some language; a table of these ends with a NULL text. */
struct moeq_help_escape {
    char character;
    const char *text;
};

void moeq_help_put_bytes(FILE *out, const struct moeq_help_escape *escapes, const char *text, size_t n_bytes);
void moeq_help_put(FILE *out, const struct moeq_help_escape *escapes, const char *text);

#endif
