/* The tensors that a model has according to its config.json: parts, shapes, numbers. Everything that must
 * know what belongs into a checkpoint (running, checking, counting parameters) asks here. */
#ifndef MOEQ_ANATOMY_H
#define MOEQ_ANATOMY_H

#include "config.h"
#include "names.h"

struct moeq_kind {
    enum moeq_part part;
    uint64_t rows, cols; /* rows 1: a vector [cols] */
    bool each_expert;    /* one for every routed expert */
};

#define MOEQ_MAX_KINDS 40

/* What lies outside the layers: embedding, final norm, head. Returns the number of kinds. */
size_t moeq_anatomy_outside(const struct moeq_config *config, struct moeq_kind kinds[MOEQ_MAX_KINDS]);

/* What a layer holds: a main layer, or an MTP layer (from n_layers on), which is a MoE layer with more. */
size_t moeq_anatomy_layer(const struct moeq_config *config, uint32_t layer,
                          struct moeq_kind kinds[MOEQ_MAX_KINDS]);

/* Number of weights of a kind: rows * cols, times the experts where it is theirs. */
uint64_t moeq_kind_weights(const struct moeq_config *config, const struct moeq_kind *kind);

#endif
