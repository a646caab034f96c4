/* Thousands of tensor names in a few lines: names that differ only in numbers between their dots become one
 * group, "model.layers.{3-60}.mlp.experts.{0-255}.down_proj.weight". A group stands for exactly its names:
 * the numbers in braces form a full grid. Groups of the same numbers are joined, with what follows the last
 * number listed in braces (and, beyond four, counted). */
#ifndef MOEQ_NAME_GROUPS_H
#define MOEQ_NAME_GROUPS_H

#include "status.h"

struct moeq_name_group {
    char *text;     /* owned */
    size_t n_names; /* that it stands for; the list is sorted by this, largest first, then by text */
};

struct moeq_name_groups {
    struct moeq_name_group *items;
    size_t n_items;
};

/* Groups n names; a name that is given twice counts once. The names are not kept. */
enum moeq_status moeq_name_groups_make(const char *const *names, size_t n, struct moeq_name_groups *out,
                                       struct moeq_error *err);
void moeq_name_groups_free(struct moeq_name_groups *groups);

/* All groups as one text: "A, B and 7 more groups (812 names)", at most max_groups of them spelled out. On
 * the heap; NULL and *err set where memory is out. */
char *moeq_name_groups_text(const struct moeq_name_groups *groups, size_t max_groups, struct moeq_error *err);

#endif
