/* Level ec among the levels of a plan: as many choices as its rate is cut into, of which a few are measured.
 *
 * A matrix is encoded at the bits of each anchor, which gives its step, its error and the bits that came of
 * it; between anchors the logarithms of step and error are taken to be straight in the bits, which they
 * nearly are. */
#ifndef MOEQ_LADDER_H
#define MOEQ_LADDER_H

#include "level.h"

#define MOEQ_LADDER_ANCHORS 5
#define MOEQ_LADDER_RUNGS   43

/* What is measured: level ec with the bits of an anchor. */
struct moeq_format moeq_ladder_anchor(size_t i);

/* What can be chosen, from the fewest bits on. */
struct moeq_format moeq_ladder_rung(size_t i);

/* Step and error of a matrix at some bits, from those of its anchors, [MOEQ_LADDER_ANCHORS] each. The error
 * is not finite where the anchors say nothing: of a matrix of zeros, or where bits do not rise. */
void moeq_ladder_place(const double *bits, const double *steps, const double *errors, double at, double *step,
                       double *error);

#endif
