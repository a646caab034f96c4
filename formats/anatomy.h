/* The tensors that a model has according to its config.json: parts, shapes, numbers. Everything that must
 * know what belongs into a checkpoint (running, checking, counting parameters) asks here. */
#ifndef MOEQ_ANATOMY_H
#define MOEQ_ANATOMY_H

#include "config.h"
#include "dtype.h"
#include "names.h"

/* How a release stores a kind. */
enum moeq_storage {
    MOEQ_STORED_PLAIN,  /* in one tensor */
    MOEQ_STORED_E8M0_8, /* DeepSeek-V4: E4M3, with F8_E8M0 scales of 128 x 128 blocks in NAME.scale */
    MOEQ_STORED_E8M0_4  /* DeepSeek-V4: two E2M1 in an I8, with F8_E8M0 scales of 32 of a row */
};

struct moeq_kind {
    enum moeq_part part;
    uint64_t rows, cols; /* rows 1: a vector [cols] */
    bool each_expert;    /* one for every routed expert */

    /* Only where the part does not give the name (DeepSeek-V4). */
    const char *name; /* behind "layers.N.", or the whole; %d stands for the expert */
    enum moeq_dtype dtype;
    enum moeq_storage storage;
};

#define MOEQ_MAX_KINDS 48

/* What lies outside the layers: embedding, final norm, head. Returns the number of kinds. */
size_t moeq_anatomy_outside(const struct moeq_config *config, struct moeq_kind kinds[MOEQ_MAX_KINDS]);

/* What a layer holds: a main layer, or an MTP layer (from n_layers on), which is a MoE layer with more. */
size_t moeq_anatomy_layer(const struct moeq_config *config, uint32_t layer,
                          struct moeq_kind kinds[MOEQ_MAX_KINDS]);

/* The same for DeepSeek-V4, called by these. */
size_t moeq_anatomy_v4_outside(const struct moeq_config *config, struct moeq_kind kinds[MOEQ_MAX_KINDS]);
size_t moeq_anatomy_v4_layer(const struct moeq_config *config, uint32_t layer,
                             struct moeq_kind kinds[MOEQ_MAX_KINDS]);

/* Number of weights of a kind: rows * cols, times the experts where it is theirs. */
uint64_t moeq_kind_weights(const struct moeq_config *config, const struct moeq_kind *kind);

#endif
