/* Gates: what a package must keep to, as conditions on the numbers of its evaluation.
 *
 * A gate is text, NAME<LIMIT, with <, <=, > or >=, NAME from the table of metrics.h. A document of gates is
 *
 *     {"moeq": "gates", "version": 1, "gates": [{"gate": "mean_kld<0.03"}, {"gate": "top1>0.95", "sigma":
 * 2}]}
 *
 * A gate holds where its condition does. The value has a standard error (paired.h), so another text of the
 * same kind might have decided otherwise: where value and limit are within `sigma` standard errors, 2 where
 * the gate says nothing, this is noted with the number of windows that would tell. A gate that has a sigma of
 * its own, and whose condition does not hold, fails only where they are further apart. */
#ifndef MOEQ_GATES_H
#define MOEQ_GATES_H

#include "metrics.h"

struct moeq_gate {
    const struct moeq_metric *metric;
    char text[64];      /* NAME<LIMIT, as it was read */
    bool more, or_same; /* > or >=; >= or <= */
    double limit;
    double sigma; /* 0: not given */
    /* What came of it. */
    struct moeq_estimate found;
    bool holds, is_close, passed;
    char note[256]; /* "", or what noise means for it */
};

struct moeq_gates {
    struct moeq_gate *gates; /* [n] */
    size_t n, capacity;
    size_t n_failed; /* of all, once they are judged */
};

void moeq_gates_free(struct moeq_gates *gates);

/* Adds one, or those of a document. MOEQ_USAGE: there is no such metric (naming those there are), its
 * direction is the wrong one, or the text is no gate; MOEQ_DAMAGED: the document is no document of gates, or
 * has none. */
enum moeq_status moeq_gates_add(struct moeq_gates *gates, const char *text, double sigma,
                                struct moeq_error *err);
enum moeq_status moeq_gates_parse(struct moeq_gates *gates, const void *json, size_t n_bytes,
                                  struct moeq_error *err);
enum moeq_status moeq_gates_load(struct moeq_gates *gates, const char *path, struct moeq_error *err);

/* MOEQ_USAGE where one needs more than an evaluation will have: a comparison, or one of the same layers. */
enum moeq_status moeq_gates_check(const struct moeq_gates *gates, enum moeq_metric_needs has,
                                  struct moeq_error *err);

/* Judges all of checked gates. */
void moeq_gates_judge(struct moeq_gates *gates, const struct moeq_report *report);

#endif
