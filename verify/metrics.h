/* The numbers of an evaluation that a gate can be put on, in one table. */
#ifndef MOEQ_METRICS_H
#define MOEQ_METRICS_H

#include "report.h"

enum moeq_metric_needs {
    MOEQ_NEEDS_NOTHING,    /* but the evaluation */
    MOEQ_NEEDS_COMPARISON, /* a reference or a baseline */
    MOEQ_NEEDS_LAYERS      /* one with the same layers */
};

struct moeq_metric {
    const char *name;
    bool more_is_better;
    enum moeq_metric_needs needs;
    const char *what; /* "mean KL divergence", for people */
    struct moeq_estimate (*get)(const struct moeq_report *report);
};

extern const struct moeq_metric moeq_metrics[]; /* ends with a NULL name */

const struct moeq_metric *moeq_metric_find(const char *name, size_t n); /* NULL: there is none */

/* All names with commas between. */
#define MOEQ_METRIC_NAMES 512
const char *moeq_metric_names(char names[MOEQ_METRIC_NAMES]);

/* Whether an evaluation has what it needs. */
bool moeq_metric_is_known(const struct moeq_metric *metric, const struct moeq_report *report);

/* A value with as many digits as are worth reading. Returns dst. */
#define MOEQ_METRIC_TEXT 32
const char *moeq_metric_text(double value, char dst[MOEQ_METRIC_TEXT]);

/* The value, and where its error is known half of its interval behind `sign`. Returns dst. */
#define MOEQ_INTERVAL_TEXT (2 * MOEQ_METRIC_TEXT + 8)
const char *moeq_interval_text(const struct moeq_paired *paired, struct moeq_estimate estimate,
                               const char *sign, char dst[MOEQ_INTERVAL_TEXT]);

#endif
