#include "ladder.h"

#include "powers.h"

#include <math.h>

#define FIRST_BITS 1.125f
#define RUNG_BITS  0.125f

static const float anchors[MOEQ_LADDER_ANCHORS] = {1.25f, 2, 3, 4, 6};

struct moeq_format moeq_ladder_anchor(size_t i)
{
    return (struct moeq_format){.level = &moeq_level_ec, .dtype = MOEQ_U8, .bits = anchors[i]};
}

struct moeq_format moeq_ladder_rung(size_t i)
{
    return (struct moeq_format){
        .level = &moeq_level_ec, .dtype = MOEQ_U8, .bits = FIRST_BITS + RUNG_BITS * (float)i};
}

void moeq_ladder_place(const double *bits, const double *steps, const double *errors, double at, double *step,
                       double *error)
{
    size_t i = 1;
    while (i + 1 < MOEQ_LADDER_ANCHORS && bits[i] < at)
        i++;
    const double gap = bits[i] - bits[i - 1], share = (at - bits[i - 1]) / gap;
    *step = steps[i - 1] * moeq_exp2(share * moeq_log2(steps[i] / steps[i - 1]));
    *error = errors[i - 1] * moeq_exp2(share * moeq_log2(errors[i] / errors[i - 1]));
    if (!(gap > 0) || !(*step >= (double)MOEQ_LEAST_EC_STEP && *step <= (double)MOEQ_MOST_EC_STEP) ||
        !(*error > 0))
        *error = INFINITY;
}
