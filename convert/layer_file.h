/* One layer file of a package: recognised as complete. */
#ifndef MOEQ_LAYER_FILE_H
#define MOEQ_LAYER_FILE_H

#include "plan.h"

/* What the manifest says of a file. */
struct moeq_layer_hashes {
    struct moeq_hash head, hashes;
    struct moeq_hash *segments; /* [n_segments]; owned by the caller */
};

/* What a layer file must be. */
struct moeq_layer_check {
    struct moeq_plan *plan; /* gets the sizes of coded items */
    const struct moeq_plan_file *file;
    struct moeq_hash plan_hash;
    struct moeq_hash made_from; /* moeq_provenance_of_file */
};

/* Reads the file in full: MOEQ_OK where header, segments and their hashes are what this plan and this source
 * ask for; MOEQ_CHECK_FAILED where it is another plan's or made from something else; MOEQ_DAMAGED where it is
 * neither. Fills *hashes. */
enum moeq_status moeq_layer_file_check(const struct moeq_layer_check *check, const char *path,
                                       struct moeq_layer_hashes *hashes, struct moeq_error *err);

/* The same where the segments are known to be right: reads the header and the list of hashes, compares that
 * with hashes->segments and fills the others of *hashes. */
enum moeq_status moeq_layer_file_check_outside(const struct moeq_layer_check *check, const char *path,
                                               struct moeq_layer_hashes *hashes, struct moeq_error *err);

#endif
