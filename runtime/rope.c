#include "rope.h"

#include "bytes.h"

#include <math.h>
#include <stdlib.h>

/* YaRN's temperature: 0.1 * mscale * ln(factor) + 1. */
static double yarn_mscale(double factor, double mscale)
{
    return factor > 1 ? 0.1 * mscale * log(factor) + 1 : 1;
}

double moeq_attention_scale(const struct moeq_config *config)
{
    double scale = 1 / sqrt((double)(config->qk_nope + config->qk_rope));
    if (config->yarn && config->yarn_mscale_all_dim != 0) {
        double m = yarn_mscale(config->yarn_factor, config->yarn_mscale_all_dim);
        scale *= m * m;
    }
    return scale;
}

/* The (fractional) pair whose wavelength makes `rotations` turns within the original length. */
static double correction(const struct moeq_config *config, double rotations)
{
    return config->qk_rope * log(config->yarn_original_positions / (rotations * 2 * M_PI)) /
           (2 * log(config->rope_theta));
}

void moeq_rope_frequencies(const struct moeq_config *config, double *inv_freq)
{
    const uint32_t n_pairs = config->qk_rope / 2;
    double low = 0, high = 1;
    if (config->yarn) {
        low = fmax(floor(correction(config, config->yarn_beta_fast)), 0);
        high = fmin(ceil(correction(config, config->yarn_beta_slow)), config->qk_rope - 1);
        if (low == high)
            high += 0.001;
    }
    for (uint32_t i = 0; i < n_pairs; i++) {
        double f = pow(config->rope_theta, -2.0 * i / config->qk_rope);
        double ramp = config->yarn ? fmin(fmax((i - low) / (high - low), 0), 1) : 0;
        inv_freq[i] = config->yarn ? f * (1 - ramp) + f / config->yarn_factor * ramp : f;
    }
}

/* cos and sin carry the ratio of the two temperatures, which is 1 in every release so far. Where a key is
 * missing, mscale counts as 1 and mscale_all_dim as 0, as in the code that comes with the checkpoints. */
static double amplitude(const struct moeq_config *config)
{
    if (!config->yarn)
        return 1;
    return yarn_mscale(config->yarn_factor, config->yarn_mscale) /
           yarn_mscale(config->yarn_factor, config->yarn_mscale_all_dim);
}

enum moeq_status moeq_rope_init(struct moeq_rope *rope, const struct moeq_config *config,
                                uint32_t n_positions, struct moeq_error *err)
{
    *rope = (struct moeq_rope){.n_pairs = config->qk_rope / 2, .n_positions = n_positions};
    uint64_t n = (uint64_t)rope->n_pairs * n_positions;
    double *inv_freq = moeq_calloc(rope->n_pairs, sizeof *inv_freq, err);
    rope->cosines = moeq_calloc(n, sizeof *rope->cosines, err);
    rope->sines = moeq_calloc(n, sizeof *rope->sines, err);
    if (!inv_freq || !rope->cosines || !rope->sines) {
        free(inv_freq);
        moeq_rope_free(rope);
        return MOEQ_OVER_MEMORY;
    }
    moeq_rope_frequencies(config, inv_freq);
    const double a = amplitude(config);
    for (uint32_t p = 0; p < n_positions; p++)
        for (uint32_t i = 0; i < rope->n_pairs; i++) {
            double angle = p * inv_freq[i];
            rope->cosines[(uint64_t)p * rope->n_pairs + i] = (float)(a * cos(angle));
            rope->sines[(uint64_t)p * rope->n_pairs + i] = (float)(a * sin(angle));
        }
    free(inv_freq);
    return MOEQ_OK;
}

void moeq_rope_free(struct moeq_rope *rope)
{
    free(rope->cosines);
    free(rope->sines);
    *rope = (struct moeq_rope){0};
}

static void apply(const struct moeq_rope *rope, uint32_t position, float *first, float *second, uint32_t step)
{
    const float *c = rope->cosines + (uint64_t)position * rope->n_pairs;
    const float *s = rope->sines + (uint64_t)position * rope->n_pairs;
    for (uint32_t i = 0; i < rope->n_pairs; i++) {
        float a = first[step * i], b = second[step * i];
        first[step * i] = a * c[i] - b * s[i];
        second[step * i] = a * s[i] + b * c[i];
    }
}

void moeq_rope_apply(const struct moeq_rope *rope, uint32_t position, float *slice)
{
    apply(rope, position, slice, slice + 1, 2);
}

void moeq_rope_apply_halves(const struct moeq_rope *rope, uint32_t position, float *slice)
{
    apply(rope, position, slice, slice + rope->n_pairs, 1);
}
