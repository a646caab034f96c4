/* Lists of tensors for `moeq inspect`: the weights of a source, or the bare header of a safetensors file. */
#ifndef MOEQ_TENSOR_LIST_H
#define MOEQ_TENSOR_LIST_H

#include "source.h"

#include <stdio.h>

/* The weights whose names match: name, level, role, bytes, shape. */
void moeq_weights_print(FILE *out, const struct moeq_source *source, const char *glob);
json_t *moeq_weights_json(const struct moeq_source *source, const char *glob);

/* One line for every routed expert that is there, by layer and number. */
enum moeq_status moeq_experts_print(FILE *out, const struct moeq_source *source, struct moeq_error *err);

/* The tensors of a file, as they follow each other in it: name, dtype, shape, bytes, data_offsets. */
void moeq_header_print(FILE *out, const struct moeq_safetensors *st, const char *glob);
json_t *moeq_header_json(const struct moeq_safetensors *st, const char *glob);

#endif
