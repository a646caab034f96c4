/* What each level would do to each matrix of the routed experts, measured: the error of its outputs on the
 * calibration texts, with codes chosen as they would be (calibrated.h).
 *
 * The error of a matrix is the mean over the tokens of the texts of g^2 ||(W - Q) x||^2, g the router's
 * weight of the expert and 0 where a token goes elsewhere, from the second moments of its inputs. The
 * measured are kept, a layer in a file, so that a run which was stopped goes on and another budget measures
 * nothing again. */
#ifndef MOEQ_DAMAGE_H
#define MOEQ_DAMAGE_H

#include "calibrated.h"
#include "out.h"
#include "progress.h"

/* Rows of a matrix that are encoded: all, or of a larger one so many, evenly. Rows do not depend on each
 * other. */
#define MOEQ_MEASURED_ROWS 256u

struct moeq_damages {
    const struct moeq_source *source;
    const struct moeq_statistics *statistics; /* of the source */
    struct moeq_pool *pool;
    const struct moeq_format *levels; /* [n_levels]: integers, fp8, ec, encoded with error feedback */
    size_t n_levels;
    const struct moeq_out_dir *dir; /* where the measured are kept */
    const char *identity; /* of what they are measured from and how: those of another are not taken */
    struct moeq_progress *progress; /* counts matrices; may be NULL */
};

/* The matrices of a layer's experts, by expert: gate, up, down. */
struct moeq_damage_layer {
    int layer;
    size_t n;                           /* matrices: 3 x experts */
    const struct moeq_weight **weights; /* [n] */
    double *tokens, *importance;        /* [n]: see moeq_calibrated_weigh */
    double *errors;                     /* [n, n_levels]: importance included */
    double *bits, *steps; /* [n, n_levels]: of level ec, a weight's bits and the step; otherwise 0 */
};

/* Measures a layer with experts, or reads what was measured. The caller frees it, also after a failure. */
enum moeq_status moeq_damage_measure(const struct moeq_damages *damages, int layer,
                                     struct moeq_damage_layer *out, struct moeq_error *err);

/* What one matrix would take and lose at a step of level ec. */
struct moeq_ec_measurement {
    const struct moeq_weight *weight;
    double step;
    double bits, error; /* the results: a weight's bits; the error, importance included */
};

/* Measures n matrices, sorted by layer and expert. */
enum moeq_status moeq_damage_measure_steps(const struct moeq_damages *damages,
                                           struct moeq_ec_measurement *measurements, size_t n,
                                           struct moeq_error *err);

void moeq_damage_free(struct moeq_damage_layer *layer);

/* The JSON document `name` in the folder with this identity, or NULL: missing, of another identity, or
 * damaged, which all mean to measure again. */
json_t *moeq_damage_load(const struct moeq_out_dir *dir, const char *name, const char *identity);

/* Writes a document, which is taken over and gets the identity. */
enum moeq_status moeq_damage_save(const struct moeq_out_dir *dir, const char *name, const char *identity,
                                  json_t *document, struct moeq_error *err);

#endif
