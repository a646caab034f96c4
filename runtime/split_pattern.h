/* Split patterns of tokenizer.json, written for Oniguruma with Ruby's syntax, rewritten for PCRE2.
 *
 * What the two engines read alike is copied; \s and \S become the White_Space property, which PCRE2's \s
 * exceeds by U+180E; what they read differently, or what no released tokenizer uses (class intersection, word
 * boundaries, named groups, inline options other than (?i:...), back references), is MOEQ_UNSUPPORTED, so
 * that no pattern silently gives other tokens. */
#ifndef MOEQ_SPLIT_PATTERN_H
#define MOEQ_SPLIT_PATTERN_H

#include "status.h"

/* The pattern on the heap, to be compiled with UTF, UCP, MULTILINE and LF as the only newline; NULL and *err
 * set where it cannot be rewritten or memory is out. */
char *moeq_split_pattern(const char *pattern, struct moeq_error *err);

#endif
