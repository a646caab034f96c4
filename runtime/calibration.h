/* Collecting the statistics of statistics.h: one sweep over all windows of all texts. A layer's files are
 * written, durable under their names, before the next layer begins. A calibration that was stopped goes
 * through the finished layers again, without counting, and continues. */
#ifndef MOEQ_CALIBRATION_H
#define MOEQ_CALIBRATION_H

#include "sweep.h"
#include "windows.h"

struct moeq_calibration_text {
    const char *name; /* as given */
    struct moeq_windows windows;
};

struct moeq_calibration {
    const struct moeq_source *source;
    struct moeq_pool *pool;
    const struct moeq_calibration_text *texts; /* [n_texts], windows of the same context */
    size_t n_texts;
    enum moeq_arithmetic arithmetic;
    const char *out; /* the folder */
    const struct moeq_sweep_plan *plan;
    struct moeq_progress *progress; /* counts layers; may be NULL */
};

struct moeq_calibration_result {
    bool was_complete;      /* it was there already, from the same model and texts */
    uint64_t n_layers_kept; /* of an earlier, unfinished run */
};

enum moeq_status moeq_calibration_run(const struct moeq_calibration *calibration,
                                      struct moeq_calibration_result *result, struct moeq_error *err);

/* Bytes that collecting needs beyond the sweep's. */
uint64_t moeq_calibration_bytes(const struct moeq_config *config);

/* Puts the texts of several folders of the same model, context and arithmetic into one, in this order: the
 * same bytes as one run over all of them. A text that is in two of them is MOEQ_USAGE. */
enum moeq_status moeq_calibration_merge(const char *const *folders, size_t n, const char *out,
                                        struct moeq_error *err);

#endif
