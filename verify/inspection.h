/* What is in a source: everything that headers and config.json tell, as one value that text and JSON are made
 * of. */
#ifndef MOEQ_INSPECTION_H
#define MOEQ_INSPECTION_H

#include "census.h"
#include "outlook.h"

#include <stdio.h>

/* Bytes and weights of a group of tensors. */
struct moeq_share {
    uint64_t n_tensors, n_weights, n_bytes;
};

/* The tensors of safetensors files by dtype, scales among them; weights are not counted. */
struct moeq_dtype_shares {
    struct moeq_share all, dtypes[MOEQ_N_DTYPES];
};

struct moeq_dtype_shares moeq_dtype_shares_of(const struct moeq_checkpoint *checkpoint);

#define MOEQ_MAX_FORMATS 64

struct moeq_inspection {
    const struct moeq_config *config;
    const struct moeq_source *source; /* NULL: only config.json is there */
    struct moeq_census census;
    struct moeq_dtype_shares stored; /* of a checkpoint */
    struct moeq_share all, roles[MOEQ_N_ROLES];
    struct moeq_share formats[MOEQ_MAX_FORMATS]; /* by format, in the order of first sight */
    struct moeq_format format_keys[MOEQ_MAX_FORMATS];
    size_t n_formats;
    size_t n_files;
    uint64_t n_file_bytes;
    struct moeq_error cannot_run; /* status MOEQ_OK: every tensor is there, it can be run */
    struct moeq_outlook outlook;  /* not of a package */
};

/* Both are borrowed. `n_jobs`: the threads to count memory for. */
enum moeq_status moeq_inspection_take(struct moeq_inspection *inspection, const struct moeq_config *config,
                                      const struct moeq_source *source, unsigned n_jobs,
                                      struct moeq_error *err);

/* At most 100 columns wide, but for names. */
void moeq_inspection_print(FILE *out, const struct moeq_inspection *inspection);
json_t *moeq_inspection_json(const struct moeq_inspection *inspection);

/* The table of dtypes, for either kind of report. */
void moeq_dtype_shares_print(FILE *out, const struct moeq_dtype_shares *shares);
json_t *moeq_dtype_shares_json(const struct moeq_dtype_shares *shares);

/* "671,026,419,200". Returns dst. */
const char *moeq_number_text(uint64_t number, char dst[32]);

/* What the family of a model is called, from its architecture and model type. */
const char *moeq_family_name(const struct moeq_config *config);

const char *moeq_router_name(const struct moeq_config *config);
uint32_t moeq_count_moe_layers(const struct moeq_config *config);

/* Codes with scales: fp8 and the integer levels. */
bool moeq_is_quantized(struct moeq_format format);

/* A format's text, with the dtype where it is raw: "raw-I64". Returns text. */
const char *moeq_format_name(struct moeq_format format, char text[MOEQ_FORMAT_BYTES]);

/* Whether config.json says of a checkpoint's quantization what the tensors are. */
bool moeq_config_agrees(const struct moeq_inspection *inspection);

#endif
