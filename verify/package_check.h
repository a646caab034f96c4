/* Is a package what its manifest says, and how far is it from a source? */
#ifndef MOEQ_PACKAGE_CHECK_H
#define MOEQ_PACKAGE_CHECK_H

#include "pool.h"
#include "progress.h"
#include "source.h"

/* Hash check of every header, copied file and segment. */
struct moeq_integrity {
    uint64_t n_segments, n_bytes; /* checked */
    size_t n_failures;
    struct moeq_error *failures; /* [n_failures], in the order of the package; freed by the caller */
};

/* MOEQ_OK whether or not hashes match; other statuses where the check itself could not be done. Files that
 * are missing or short count as failures. */
enum moeq_status moeq_integrity_check(const struct moeq_package *package, struct moeq_pool *pool,
                                      struct moeq_progress *progress, struct moeq_integrity *out,
                                      struct moeq_error *err);

/* Bytes that the progress of the check counts. */
uint64_t moeq_integrity_work(const struct moeq_package *package);

/* One tensor of the package against the source's. */
struct moeq_difference {
    const struct moeq_weight *weight; /* of the package */
    const struct moeq_weight *source; /* NULL: the source has no such tensor */
    bool same_shape;
    bool lossless;                        /* the level is the source's own, kept */
    bool identical;                       /* the packed bytes are equal; asked only of lossless tensors */
    double error_squares, source_squares; /* sums over the elements, float64 */
    double relative_rms;                  /* sqrt(error_squares / source_squares); 0 where both are 0 */
    double worst;                         /* largest |difference| */
    uint64_t worst_row, worst_col;
};

/* True where nothing is wrong: same tensor, bit-exact if lossless, finite error otherwise. */
bool moeq_difference_is_good(const struct moeq_difference *difference);

/* Compares every tensor; *out is [package->n_weights], freed by the caller. *missing counts tensors of the
 * source that the package lacks and names the first. Results do not depend on the number of threads. */
enum moeq_status moeq_compare_sources(const struct moeq_source *package, const struct moeq_source *source,
                                      struct moeq_pool *pool, struct moeq_progress *progress,
                                      struct moeq_difference **out, size_t *n_missing,
                                      const char **first_missing, struct moeq_error *err);

#endif
