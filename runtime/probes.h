/* Probes: what other codes for the matrices of one kind in one layer do to the model's output, for many kinds
 * and layers in one sweep.
 *
 * The windows go through the sweep once as they are and once more for each probe, as a branch (branches.h) in
 * which those matrices are replaced. KL
 * divergence of the branch from the windows as they are, in nats, mean over all positions, is what a probe
 * gives. */
#ifndef MOEQ_PROBES_H
#define MOEQ_PROBES_H

#include "sweep.h"

struct moeq_probe {
    int layer, expert;         /* expert -1: all of the layer */
    enum moeq_part part;       /* gate, up or down of experts; MOEQ_PART_OTHER: all three */
    struct moeq_format format; /* for who replaces; not looked at here */
    double kld, kld_error;     /* given: the mean and its standard error */
};

struct moeq_probing {
    const struct moeq_source *source;
    struct moeq_pool *pool;
    const int32_t *tokens; /* [n_windows, context] */
    uint64_t n_windows, context;
    enum moeq_arithmetic arithmetic;
    /* Replaces a probe's matrix, which is the source's, by another that lies in *bytes. */
    enum moeq_status (*replace)(void *replacer, const struct moeq_probe *probe,
                                const struct moeq_weight *weight, struct moeq_matrix *matrix,
                                struct moeq_bytes *bytes, struct moeq_error *err);
    void *replacer;
    struct moeq_probe *probes; /* [n_probes] */
    size_t n_probes;
    uint64_t budget;                /* bytes for the sweep; UINT64_MAX: as it likes */
    struct moeq_progress *progress; /* counts layers; may be NULL */
};

/* Results depend on neither threads nor budget. */
enum moeq_status moeq_probes_run(const struct moeq_probing *probing, struct moeq_error *err);

/* Bytes that it takes at least. */
uint64_t moeq_probes_bytes(const struct moeq_probing *probing, unsigned n_jobs);

#endif
