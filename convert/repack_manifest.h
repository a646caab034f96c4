/* The manifest of a conversion as JSON. */
#ifndef MOEQ_REPACK_MANIFEST_H
#define MOEQ_REPACK_MANIFEST_H

#include "layer_file.h"

/* A source file with its SHA-256, and a small file that is copied with its XXH3-128. */
struct moeq_source_file {
    const char *name;
    uint64_t n_bytes;
    char sha256[MOEQ_SHA256_HEX];
};

#define MOEQ_MAX_COPIED_BYTES (256u << 20)

struct moeq_copied_file {
    const char *name;
    uint64_t n_bytes;
    struct moeq_hash hash;
};

struct moeq_provenance {
    struct moeq_source_file *sources;
    size_t n_sources;
    struct moeq_copied_file *copies;
    size_t n_copies;
};

/* Lists source files and the small files that go along, with sizes and the hashes of the latter; the SHA-256
 * of the sources are left as zeros. */
enum moeq_status moeq_provenance_list(struct moeq_provenance *provenance, const struct moeq_source *source,
                                      struct moeq_error *err);
void moeq_provenance_free(struct moeq_provenance *provenance);

/* The path of source file i. free() it. */
char *moeq_provenance_path(const struct moeq_provenance *provenance, const struct moeq_source *source,
                           size_t i, struct moeq_error *err);

/* Hash of all that decides the bytes of the package: sources, small files, tool version, formats. */
enum moeq_status moeq_plan_hash(const struct moeq_plan *plan, const struct moeq_provenance *provenance,
                                struct moeq_hash *out, struct moeq_error *err);

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
