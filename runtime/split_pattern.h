/* Split patterns, written for Oniguruma with Ruby's syntax (tokenizer.json) or for Rust's regex (tiktoken),
 * rewritten for PCRE2.
 *
 * What the engines read alike is copied. \s and \S become the White_Space property, which PCRE2's \s exceeds
 * by U+180E; a script as in \p{Han} is the script, not its extensions; a class intersection [A&&B], where A
 * and B are members or one inner class, becomes a look-ahead and a class. What the engines read differently,
 * what could cost time beyond the text's length uncounted (an unbounded or long repeat in a look-around or
 * atomic group, or a possessive one that something behind it can fail), or what no released tokenizer uses
 * (other inner classes, word boundaries, named groups, inline options other than (?i:...) around ASCII, back
 * references), is MOEQ_UNSUPPORTED, so that no pattern silently gives other tokens. */
#ifndef MOEQ_SPLIT_PATTERN_H
#define MOEQ_SPLIT_PATTERN_H

#include "status.h"

#define MOEQ_MAX_SPLIT_PATTERN 8192 /* bytes; each start in a text may cost as much */

/* The pattern on the heap, to be compiled with UTF, UCP, MULTILINE and LF as the only newline; NULL and *err
 * set where it cannot be rewritten or memory is out. */
char *moeq_split_pattern(const char *pattern, struct moeq_error *err);

#endif
