/* What calibration texts cover: how many tokens each expert saw. */
#ifndef MOEQ_COVERAGE_H
#define MOEQ_COVERAGE_H

#include "config.h"
#include "json.h"
#include "statistics.h"

#include <stdio.h>

struct moeq_coverage_layer {
    int layer;
    uint64_t *counts; /* [n_experts] tokens */
    uint64_t n_tokens;
    uint64_t none, few, below, scarce; /* experts with 0, fewer than d/4, d, 4 d tokens (each counts the ones
                                          before), d the width of the hidden states */
    double entropy;                    /* of the choice of experts in bits; log2(n_experts) where even */
};

struct moeq_coverage {
    uint64_t n_experts, width, n_tokens;
    struct moeq_coverage_layer *layers; /* [n_layers] with experts */
    size_t n_layers;
};

enum moeq_status moeq_coverage_read(struct moeq_coverage *coverage, const struct moeq_statistics *statistics,
                                    const struct moeq_config *config, struct moeq_error *err);
void moeq_coverage_free(struct moeq_coverage *coverage);

void moeq_coverage_print(const struct moeq_coverage *coverage, FILE *out);

/* Experts without a token, "layer 3: 7, 12; layer 5: 0" in one line; nothing where there is none. */
void moeq_coverage_print_unseen(const struct moeq_coverage *coverage, FILE *out);
json_t *moeq_coverage_unseen_json(const struct moeq_coverage *coverage); /* [{"layer", "expert"}] */

json_t *moeq_coverage_json(const struct moeq_coverage *coverage);

/* A picture: layers from top to bottom, experts from left to right, the most used first in each layer or in
 * their order; colour by tokens on a logarithmic scale, what is below 4 d marked. free() it. */
char *moeq_coverage_svg(const struct moeq_coverage *coverage, const char *title, struct moeq_error *err);

#endif
