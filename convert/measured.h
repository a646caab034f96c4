/* All that a plan is made from, measured on statistics: the damage of every level to every matrix of the
 * routed experts (damage.h), and what probes (probes.h) say of damage and divergence. Measured once for a set
 * of levels, and kept in a folder beside the statistics. */
#ifndef MOEQ_MEASURED_H
#define MOEQ_MEASURED_H

#include "damage.h"
#include "forecast.h"
#include "probes.h"

#define MOEQ_EXPERT_KINDS 3 /* gate, up, down */

extern const char *const moeq_expert_kinds[MOEQ_EXPERT_KINDS];

struct moeq_measuring {
    const struct moeq_source *source;
    const struct moeq_statistics *statistics; /* of the source */
    struct moeq_pool *pool;
    const struct moeq_format *levels; /* [n_levels] */
    size_t n_levels;
    uint64_t probe_tokens; /* at least one window, at most all */
    const char *folder;    /* where the measured are kept; NULL: a folder in that of the statistics */
    uint64_t budget;       /* bytes, for the sweep of the probes */
};

struct moeq_measured {
    struct moeq_measuring m;
    struct moeq_out_dir dir;
    char identity[MOEQ_HASH_HEX];
    struct moeq_format *levels; /* [n_columns]: those asked for, then those of the probes */
    size_t n_columns;
    struct moeq_damage_layer *layers; /* [n_layers] with experts; errors [matrices, n_columns] */
    size_t n_layers;
    struct moeq_probe *probes; /* [n_layers, kinds, sizes] */
    size_t n_probes;
    struct moeq_gain *gains; /* [n_layers, kinds] */
};

/* Makes the folder, or opens it. The caller closes, also after a failure of what follows. */
enum moeq_status moeq_measured_open(struct moeq_measured *measured, const struct moeq_measuring *measuring,
                                    struct moeq_error *err);
void moeq_measured_close(struct moeq_measured *measured);

/* The two parts, each read where it was measured before. progress counts matrices, and layers. */
enum moeq_status moeq_measured_damages(struct moeq_measured *measured, struct moeq_progress *progress,
                                       struct moeq_error *err);
enum moeq_status moeq_measured_probes(struct moeq_measured *measured, struct moeq_progress *progress,
                                      struct moeq_error *err);

/* Level ec at other steps (damage.h), on a pool. */
enum moeq_status moeq_measured_steps(const struct moeq_measured *measured,
                                     struct moeq_ec_measurement *measurements, size_t n,
                                     struct moeq_pool *pool, struct moeq_progress *progress,
                                     struct moeq_error *err);

/* Bytes that it takes at least, and what of them is not the sweep's. */
uint64_t moeq_measured_bytes(const struct moeq_measuring *measuring, unsigned n_jobs, uint64_t *beside);

#endif
