/* Rotary position embedding, interleaved pairs, with YaRN.
 *
 * Pair i of a slice is (x[2i], x[2i+1]), turned by position * inv_freq[i]. Source: DeepSeek's published
 * inference/model.py; YaRN: Peng et al. 2023, "by parts" interpolation. */
#ifndef MOEQ_ROPE_H
#define MOEQ_ROPE_H

#include "config.h"

struct moeq_rope {
    uint32_t n_pairs;
    uint32_t n_positions;
    float *cosines, *sines; /* [n_positions, n_pairs] */
};

enum moeq_status moeq_rope_init(struct moeq_rope *rope, const struct moeq_config *config,
                                uint32_t n_positions, struct moeq_error *err);
void moeq_rope_free(struct moeq_rope *rope);

/* Turns one slice [2 * n_pairs] in place. */
void moeq_rope_apply(const struct moeq_rope *rope, uint32_t position, float *slice);

/* The same for pairs (i, n_pairs + i), as the indexer of DeepSeek-V3.2 has them. */
void moeq_rope_apply_halves(const struct moeq_rope *rope, uint32_t position, float *slice);

/* Inverse frequencies [qk_rope / 2], for tests and reports. */
void moeq_rope_frequencies(const struct moeq_config *config, double *inv_freq);

/* 1/sqrt(qk_nope + qk_rope), times the square of YaRN's temperature where mscale_all_dim is set. */
double moeq_attention_scale(const struct moeq_config *config);

#endif
