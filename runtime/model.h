/* The tensors that a DeepSeek-V2/V3 model needs, found by part and checked against config.json. */
#ifndef MOEQ_MODEL_H
#define MOEQ_MODEL_H

#include "source.h"

/* Checks that every tensor of the main layers is there with the shape that config.json implies, from headers
 * alone. MOEQ_DAMAGED names the first that is missing or of another shape. */
enum moeq_status moeq_model_check(const struct moeq_source *source, struct moeq_error *err);

/* Loads a norm, a router bias or another small tensor as float32 [n]; *out is freed by the caller. */
enum moeq_status moeq_model_vector(const struct moeq_source *source, enum moeq_part part, int layer,
                                   float **out, struct moeq_error *err);

/* Bytes of the largest layer (or of embedding and head) if all its weights were float32. */
uint64_t moeq_model_layer_bytes(const struct moeq_source *source);

#endif
