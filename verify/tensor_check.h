/* The second half of the structure: index against shards, both ways, and the tensors against what config.json
 * calls for. Only what is found goes into the download's findings. */
#ifndef MOEQ_TENSOR_CHECK_H
#define MOEQ_TENSOR_CHECK_H

#include "shard_check.h"

struct moeq_tensor_report {
    size_t n_tensors;      /* in all shards */
    char architecture[64]; /* "" where config.json does not say */
    bool compared;         /* with what the architecture calls for */
    uint64_t n_expected;   /* tensors of it, where compared */
};

/* Fails only where memory is out. */
enum moeq_status moeq_tensors_check(const struct moeq_shards *shards, struct moeq_download *download,
                                    struct moeq_tensor_report *report, struct moeq_error *err);

#endif
