/* From hidden states to what is known of each scored token: the head of a model, and of its reference or with
 * a baseline in that one's place, a chunk of tokens and a slice of the vocabulary at a time. */
#ifndef MOEQ_SCORING_H
#define MOEQ_SCORING_H

#include "baseline.h"
#include "sweep.h"
#include "windows.h"

#define MOEQ_COMPARED_BEST 5u /* largest logits whose overlap is counted */

/* One scored token. All but nll is of a comparison. */
struct moeq_score {
    double nll, reference_nll;     /* of the token that follows, nats */
    double kld;                    /* KL(reference || model) */
    double kld_lower;              /* with a baseline: what is certain of it, see excerpt.h; otherwise kld */
    int32_t target;                /* the token that follows */
    uint32_t best, reference_best; /* entries of the largest logits; of equals the lowest */
    uint8_t overlap; /* of the MOEQ_COMPARED_BEST likeliest entries so many are the reference's, too */
};

struct moeq_scoring_task {
    const struct moeq_windows *windows;
    struct moeq_sweep *sweep, *reference; /* run; reference may be NULL */
    struct moeq_baseline *baseline;       /* instead of a reference, or NULL */
    struct moeq_baseline_writer *save;    /* where excerpts go, or NULL */
    struct moeq_score *scores;            /* [windows * scored], zeros: what comes of it */
};

/* Vocabularies and sizes agree. Logits that are not finite are MOEQ_DAMAGED. */
enum moeq_status moeq_score_all(const struct moeq_scoring_task *scoring, struct moeq_error *err);

/* Bytes that this takes beside the heads and the scores. */
uint64_t moeq_scoring_bytes(const struct moeq_config *config, const struct moeq_windows *windows,
                            unsigned n_jobs, unsigned n_models, bool with_excerpts);

#endif
