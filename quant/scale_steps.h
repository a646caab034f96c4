/* The scales that encoders of integers try, by the bits of a code; for the search of nearest codes
 * (search.inc) and for the weighted one of calibrated levels (fused.inc). */
#ifndef MOEQ_SCALE_STEPS_H
#define MOEQ_SCALE_STEPS_H

/* Scales to try: largest magnitude / half the codes times `from`, `from` - `step`, …, each with both signs:
 * the code that has no opposite then serves the longer tail, worth 0.4 dB at 4 bits. On Gaussian and
 * Laplacian weights in groups of 32 to 128, 9 steps and two refits lose at most 0.02 dB against 30 steps at 4
 * bits. The fewer the bits, the wider and the lower the best scale lies: at 2 bits in 98 of 100 Gaussian
 * groups between 0.56 and 1.05 of the largest magnitude / 2 (groups of 64), at 6 bits it is narrow and many
 * steps are needed. Squared errors above those of a search through every BF16 scale (and, for zero points,
 * those within 4 of the middle), at most, on Gaussian and Laplacian weights and on those of the experts of
 * tiny-v3, groups of 32 to 128:
 *
 *               2 bits  3 bits  5 bits  6 bits
 *   symmetric   0.10%   0.19%   0.5%    1.8%
 *   asymmetric  0.6%    0.5%    0.8%    2.4%   */
struct moeq_scale_steps {
    double from, step;
    int n;
};

static const struct moeq_scale_steps moeq_symmetric_steps[] = {
    [2] = {1.15, 0.08, 9},  [3] = {1.20, 0.06, 10},  [4] = {1.14, 0.055, 9},
    [5] = {1.14, 0.02, 13}, [6] = {1.16, 0.015, 14}, [8] = {1.01, 0.005, 7},
};

/* The same from the whole range / the last code, for scales with zero points. */
static const struct moeq_scale_steps moeq_asymmetric_steps[] = {
    [2] = {0.95, 0.06, 9},  [3] = {1.10, 0.05, 9},    [4] = {1.04, 0.05, 9},
    [5] = {1.14, 0.02, 12}, [6] = {1.12, 0.0125, 13},
};

#endif
