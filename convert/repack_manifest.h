/* The manifest of a conversion as JSON. */
#ifndef MOEQ_REPACK_MANIFEST_H
#define MOEQ_REPACK_MANIFEST_H

#include "layer_file.h"
#include "provenance.h"

/* Hash of all that decides the bytes of the package and is known without reading data: sizes and headers of
 * the source files (of a package also what its manifest says of their contents), small files, tool version,
 * levels. What the data of a checkpoint were, every layer file says of itself: moeq_provenance_of_file. */
enum moeq_status moeq_plan_hash(const struct moeq_plan *plan, const struct moeq_provenance *provenance,
                                struct moeq_hash *out, struct moeq_error *err);

/* The member "source" of the manifest. NULL where memory is out. */
json_t *moeq_provenance_json(const struct moeq_provenance *provenance);

/* The sealed text of the manifest; `layers` holds the hashes of each file of the plan. free() it. */
char *moeq_repack_manifest(const struct moeq_plan *plan, const struct moeq_provenance *provenance,
                           struct moeq_hash plan_hash, const struct moeq_layer_hashes *layers,
                           const json_t *options, struct moeq_error *err);

/* By how many bytes the manifest of `plan` is longer than that of `base`, where the two are of one source and
 * differ in levels alone, without making either. */
enum moeq_status moeq_manifest_growth(const struct moeq_plan *plan, const json_t *options,
                                      const struct moeq_plan *base, const json_t *base_options, int64_t *more,
                                      struct moeq_error *err);

#endif
