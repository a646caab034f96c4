/* What is in a source: everything that headers and config.json tell, as one value that text and JSON are made
 * of. */
#ifndef MOEQ_INSPECTION_H
#define MOEQ_INSPECTION_H

#include "census.h"
#include "source.h"

#include <stdio.h>

/* Bytes and weights of a group of tensors. */
struct moeq_share {
    uint64_t n_tensors, n_weights, n_bytes;
};

#define MOEQ_MAX_FORMATS 64

struct moeq_inspection {
    const struct moeq_config *config;
    const struct moeq_source *source; /* NULL: only config.json is there */
    struct moeq_census census;
    struct moeq_share all, roles[MOEQ_N_ROLES];
    struct moeq_share formats[MOEQ_MAX_FORMATS]; /* by format, in the order of first sight */
    struct moeq_format format_keys[MOEQ_MAX_FORMATS];
    size_t n_formats;
    size_t n_files;
    uint64_t n_file_bytes;
    bool has_fp8;                 /* in the tensors */
    struct moeq_error cannot_run; /* status MOEQ_OK: every tensor is there, it can be run */
};

void moeq_inspection_take(struct moeq_inspection *inspection, const struct moeq_config *config,
                          const struct moeq_source *source);

void moeq_inspection_print(FILE *out, const struct moeq_inspection *inspection);
json_t *moeq_inspection_json(const struct moeq_inspection *inspection);

#endif
