/* Calibrated quantization layer by layer: each layer is quantized on what comes out of the layers before it
 * as they are quantized, in one sweep over the tokens of the statistics.
 *
 * The tokens go through the source's weights, and as a second branch (branches.h) through those of the
 * package. A unit of a layer (attention, an MLP, an expert) is quantized when its turn comes, on the second
 * moments of its inputs in the second branch, and then computed with; down's inputs are those of the source's
 * gate and up there. Experts are made to give, on these inputs, what the source's give on those of the first
 * branch (moeq_gptq_correct): their cross moments are collected, too. An expert borrows from its layer of the
 * statistics (moeq_hessian_mix); one without tokens in the second branch is quantized on the statistics.
 *
 * What is made for a layer waits in a nameless temporary file until the layer is written. A layer that is
 * kept from an earlier run is read from its file, so that the sweep goes on with the same bits. */
#ifndef MOEQ_SEQUENCE_H
#define MOEQ_SEQUENCE_H

#include "calibrated.h"
#include "plan.h"
#include "progress.h"
#include "supply.h"
#include "sweep.h"

struct moeq_sequence_options {
    struct moeq_pool *pool;
    enum moeq_arithmetic arithmetic;
    bool corrects;                  /* toward the source's outputs */
    const char *out;                /* folder of the package */
    uint64_t budget;                /* bytes for the sweep; UINT64_MAX: as it likes */
    struct moeq_progress *progress; /* counts layers; may be NULL */
    double *errors;                 /* [items of the plan]: gets those of the items that are made; or NULL */
};

struct moeq_sequence;

/* For a plan with statistics, both borrowed. */
struct moeq_sequence *moeq_sequence_create(const struct moeq_plan *plan,
                                           const struct moeq_sequence_options *options,
                                           struct moeq_error *err);
void moeq_sequence_free(struct moeq_sequence *sequence); /* NULL allowed */

struct moeq_supply moeq_sequence_supply(struct moeq_sequence *sequence);

/* Bytes that it takes at least, and what of them is not the sweep's. */
uint64_t moeq_sequence_bytes(const struct moeq_plan *plan, bool corrects, unsigned n_jobs, uint64_t *beside);

#endif
