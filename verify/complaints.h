/* What is wrong with many tensors, gathered one by one and reported in a few findings: those with the same
 * kind, file and detail become one, with their names grouped. */
#ifndef MOEQ_COMPLAINTS_H
#define MOEQ_COMPLAINTS_H

#include "findings.h"

struct moeq_complaint {
    enum moeq_finding_kind kind;
    char *name;       /* of the tensor; owned */
    const char *file; /* borrowed, may be "" */
    char detail[160]; /* "F16 instead of BF16", may be "" */
};

/* {0} is an empty list. */
struct moeq_complaints {
    struct moeq_complaint *items;
    size_t n_items, capacity;
};

enum moeq_status moeq_complain(struct moeq_complaints *complaints, enum moeq_finding_kind kind,
                               const char *name, const char *file, const char *detail,
                               struct moeq_error *err);

/* Adds the findings. */
enum moeq_status moeq_complaints_report(struct moeq_complaints *complaints, struct moeq_findings *findings,
                                        struct moeq_error *err);
void moeq_complaints_free(struct moeq_complaints *complaints);

#endif
