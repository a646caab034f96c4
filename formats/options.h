/* Verbs and their options as tables. Parsing, --help, the man page and shell completion all come out of the
 * same rows, so they cannot disagree.
 *
 * A verb is one constant struct moeq_verb defined in <folder>/cmd_<verb>.c. Its options point into a struct
 * of the verb's own. */
#ifndef MOEQ_OPTIONS_H
#define MOEQ_OPTIONS_H

#include "status.h"

#include <stdio.h>

enum moeq_option_kind {
    MOEQ_OPTION_FLAG,   /* bool */
    MOEQ_OPTION_TEXT,   /* const char *, NULL where not given */
    MOEQ_OPTION_LIST,   /* struct moeq_list, every one given, in order */
    MOEQ_OPTION_NUMBER, /* uint64_t in decimal, bounded by min and max; 0 where not given */
    MOEQ_OPTION_REAL,   /* double in decimal, as 0.6, bounded by min and max; 0 where not given */
    MOEQ_OPTION_BYTES,  /* uint64_t: 512M, 4G, 1.5GiB (powers of 1024), 4GB (of 1000); 0 where not given */
    MOEQ_OPTION_CHOICE  /* const char *, one of the words in `choices`; NULL where not given */
};

struct moeq_list {
    const char **items; /* borrowed words of argv; the array is freed by moeq_options_free */
    size_t n_items;
};

struct moeq_option {
    const char *name; /* long name without dashes */
    char letter;      /* short form, or 0 */
    enum moeq_option_kind kind;
    const char *value; /* placeholder in help ("FILE"), NULL for a flag */
    const char *help;  /* one sentence, no full stop */
    size_t offset;     /* offsetof in the verb's options struct */
    uint64_t min, max; /* MOEQ_OPTION_NUMBER, _REAL */
    const char
        *choices; /* MOEQ_OPTION_CHOICE: "a|b|c"; MOEQ_OPTION_TEXT: the value where none follows, or NULL */
};

struct moeq_verb {
    const char *name;
    const char *arguments; /* "SRC -o PKG" */
    const char *summary;   /* one line */
    const char *details;   /* for --help and the man page, may be NULL: paragraphs, and lines shown
                            * as they are, which begin with a space */
    const struct moeq_option *options; /* ends with a NULL name */
    size_t n_positional_min, n_positional_max;
    size_t options_size; /* sizeof the verb's options struct */
    /* Runs the verb: `options` is that struct, zeroed and then filled from argv. What it returns is the exit
     * code; on anything but MOEQ_OK and MOEQ_CHECK_FAILED, *err says why. */
    enum moeq_status (*run)(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err);
};

/* Parses the argc words of argv (those after the verb) into `options`, which it sets to zero first.
 *
 * Positional arguments are collected in order and may stand before or after options; "--" ends options.
 * --name=value, --name value, -o value and -ovalue are understood, and -qv for two flags. A value may begin
 * with a dash, but where it reads like an option of this verb it must be attached: --prompt=--json.
 *
 * An unknown option, a missing or an out-of-range value is MOEQ_USAGE and names it (with the nearest known
 * name, if one is near); so is an option given twice, unless it is a flag or a list. --help is the program's
 * and unknown here. All texts point into argv. On failure nothing is left to free. */
enum moeq_status moeq_options_parse(const struct moeq_verb *verb, int argc, char *const *argv, void *options,
                                    struct moeq_list *positional, struct moeq_error *err);
void moeq_options_free(const struct moeq_verb *verb, void *options, struct moeq_list *positional);

/* A size as MOEQ_OPTION_BYTES takes it: digits with at most one point, then a unit. 0 where it is none, or
 * beyond 2^60. */
uint64_t moeq_bytes_parse(const char *value);

/* Generated texts. `verbs` ends with NULL and does not name "help", which these add. */
void moeq_help_verb(FILE *out, const struct moeq_verb *verb);
void moeq_help_program(FILE *out, const struct moeq_verb *const *verbs);
void moeq_help_man(FILE *out, const struct moeq_verb *const *verbs); /* troff, man(7) macros: moeq.1 */
void moeq_help_completion_bash(FILE *out, const struct moeq_verb *const *verbs);
void moeq_help_completion_zsh(FILE *out, const struct moeq_verb *const *verbs);
void moeq_help_completion_fish(FILE *out, const struct moeq_verb *const *verbs);

#endif
