/* What verbs that plan a package share: lists of rules, statistics that belong to the model. */
#ifndef MOEQ_REQUEST_H
#define MOEQ_REQUEST_H

#include "options.h"
#include "plan.h"

struct moeq_rules {
    struct moeq_rule *rules; /* [n] */
    char **texts;            /* [n]: what they borrow */
    size_t n;
};

/* Rules as options give them: each option has several, separated by commas. The caller frees them, also after
 * a failure. */
enum moeq_status moeq_rules_parse(struct moeq_rules *rules, const struct moeq_list *given,
                                  struct moeq_format defaults, struct moeq_error *err);
/* One more, at the end. */
enum moeq_status moeq_rules_append(struct moeq_rules *rules, const char *text, struct moeq_format defaults,
                                   struct moeq_error *err);
/* Writes out what their levels left open, "int4" as "int4-g128": a text that means the same everywhere. */
enum moeq_status moeq_rules_spell_out(struct moeq_rules *rules, struct moeq_error *err);
void moeq_rules_free(struct moeq_rules *rules);

/* Opens statistics, checks all hashes, and that they are of this source; on failure nothing to close. */
enum moeq_status moeq_statistics_open_for(struct moeq_statistics *statistics, const char *path,
                                          const struct moeq_source *source, struct moeq_error *err);

/* Says on stderr, as a verb, where statistics are of too few tokens. */
void moeq_statistics_warn(const struct moeq_statistics *statistics, const struct moeq_source *source,
                          const char *verb);

#endif
