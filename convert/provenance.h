/* Where a package comes from: source files with hashes of what was read of them, and small files that go
 * along.
 *
 * The contents of a source file are known by a hash that falls out of one pass over it, in whatever order its
 * weights are needed:
 *
 *     contents = XXH3-128(XXH3-128(header), XXH3-128(slice 0), XXH3-128(slice 1), …)
 *
 * of digests in canonical form (16 bytes, big-endian). The header is the file's bytes before the data. The
 * slices are those of its tensors, in the order of their bytes in the file: a tensor whole, or of one that
 * holds all experts of a layer each expert's matrix. Not counted are tensors of no bytes, a weight_shape (its
 * two numbers are checked against the header instead), and what --text-only leaves out.
 *
 * Of a package the slices are its segments, all of them, whose hashes its manifest has: nothing need be read
 * to know the contents, and reading checks them. */
#ifndef MOEQ_PROVENANCE_H
#define MOEQ_PROVENANCE_H

#include "hash.h"
#include "plan.h"

struct moeq_source_file {
    const char *name;
    uint64_t n_bytes;
    struct moeq_hash head;     /* of the header */
    struct moeq_hash contents; /* see above */
    char sha256[MOEQ_SHA256_HEX];
};

#define MOEQ_MAX_COPIED_BYTES (256u << 20)

/* A small file that is copied. */
struct moeq_copied_file {
    const char *name;
    uint64_t n_bytes;
    struct moeq_hash hash;
};

/* The hashes of an item's slices, one for each span of its weight; those of no bytes stay zero. */
struct moeq_slices {
    struct moeq_hash of_span[2];
};

struct moeq_provenance {
    const struct moeq_plan *plan;
    struct moeq_source_file *sources;
    size_t n_sources;
    bool has_sha256; /* the manifest is to have them */
    struct moeq_copied_file *copies;
    size_t n_copies;
    struct moeq_slices *slices; /* [items of the plan] */
};

/* Lists source files and the small files that go along, with sizes and the hashes of the latter; all other
 * hashes are zero. */
enum moeq_status moeq_provenance_list(struct moeq_provenance *provenance, const struct moeq_plan *plan,
                                      bool has_sha256, struct moeq_error *err);
void moeq_provenance_free(struct moeq_provenance *provenance);

/* The path of source file i. free() it. */
char *moeq_provenance_path(const struct moeq_provenance *provenance, size_t i, struct moeq_error *err);

/* Hashes the headers; of a package also takes all that its manifest knows. */
enum moeq_status moeq_provenance_begin(struct moeq_provenance *provenance, struct moeq_error *err);

/* Reads packed bytes [from, from + n_bytes) of an item of a checkpoint and adds them to the hashes of its
 * slices. The pieces of an item come in order; the hasher is fresh at 0 and is so again at the end. Items may
 * be read by several threads, each by one. */
enum moeq_status moeq_provenance_load(struct moeq_provenance *provenance, size_t item, uint64_t from,
                                      uint64_t n_bytes, uint8_t *dst, struct moeq_hasher *hasher,
                                      struct moeq_error *err);

/* Reads the source of one file of the plan for its slices' hashes alone. Of a package: does nothing. */
enum moeq_status moeq_provenance_read(struct moeq_provenance *provenance, const struct moeq_plan_file *file,
                                      struct moeq_error *err);

/* The hash of what a file of the plan is made from: XXH3-128 over its items' slices. */
struct moeq_hash moeq_provenance_of_file(const struct moeq_provenance *provenance,
                                         const struct moeq_plan_file *file);

/* The contents of the source files, once all slices are known. */
enum moeq_status moeq_provenance_end(struct moeq_provenance *provenance, struct moeq_error *err);

#endif
