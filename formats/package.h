/* The moeq package: a folder with manifest.json, one safetensors file a layer, and copies of the small files.
 *
 * manifest.json is written last; a folder without a valid one is incomplete. It holds, in file order, every
 * segment (one expert, or one other tensor) with its XXH3-128, and inside it every tensor with level, shape
 * and the reason of the choice; the hash of every file's header and of every copied file; the source files
 * with the hash of their contents (and, where asked for, SHA-256); and the hash of itself without that key.
 *
 * A layer file holds the segments without holes, then the tensor MOEQ_HASHES_TENSOR: U8 [n_segments, 16], the
 * hashes of the segments in order, so that the file alone can be told complete and whole when a conversion
 * resumes. A matrix that has a level is a U8 tensor of packed bytes, padded to a multiple of 64; what keeps
 * its precision (norms, router) has its own dtype and shape and stands behind all matrices. A matrix may be
 * coded: then its tensor holds, in as many bytes as it takes, what gives the packed bytes back
 * (quant/coded.h), padded with zeros to a multiple of 64 unless another coded one of the same segment
 * follows. */
#ifndef MOEQ_PACKAGE_H
#define MOEQ_PACKAGE_H

#include "hash.h"
#include "safetensors.h"

#define MOEQ_PACKAGE_FORMAT  "moeq-package"
#define MOEQ_PACKAGE_VERSION 1
#define MOEQ_MANIFEST_NAME   "manifest.json"
#define MOEQ_HASHES_TENSOR   "moeq.hashes"
#define MOEQ_PLAN_KEY        "moeq.plan" /* __metadata__ of a layer file: hash of the plan it was written under */

#define MOEQ_MADE_FROM_KEY "moeq.source" /* likewise: hash of the weights that it was made from */

#define MOEQ_TEXT_ONLY_KEY "text_only" /* in the manifest's options: vision tensors were left out */

struct moeq_segment {
    const char *name;
    uint32_t file;
    uint64_t offset, n_bytes; /* in the file */
    struct moeq_hash hash;
};

struct moeq_packed {
    const char *name;
    const char *level;  /* text of a format: "int4-g64" */
    const char *reason; /* why this level */
    bool is_coded;
    size_t n_dims;
    const uint64_t *shape; /* of the weight, not of the packed bytes */
    uint32_t segment;
    const struct moeq_tensor *stored; /* the bytes in the file */
};

struct moeq_package_file {
    char *name;
    struct moeq_file file;
    struct moeq_safetensors st;
    struct moeq_hash head_hash;   /* of the bytes before the data */
    struct moeq_hash hashes_hash; /* of the tensor MOEQ_HASHES_TENSOR */
};

struct moeq_package_copy {
    const char *name;
    uint64_t n_bytes;
    struct moeq_hash hash;
};

struct moeq_package {
    char *dir;
    json_t *manifest; /* strings above are borrowed from it */
    const char *architecture;
    struct moeq_package_file *files;
    size_t n_files;
    struct moeq_segment *segments; /* in manifest order */
    size_t n_segments;
    struct moeq_packed *tensors; /* by name */
    size_t n_tensors;
    struct moeq_package_copy *copies;
    size_t n_copies;
    uint64_t *shapes;
};

/* True where the folder is meant as a package, complete or not. */
bool moeq_package_is_at(const char *dir);

/* Reads and checks the manifest and the structure of every file; no segment is read and no hash of one
 * checked. On failure nothing needs to be closed. */
enum moeq_status moeq_package_open(struct moeq_package *package, const char *dir, struct moeq_error *err);
void moeq_package_close(struct moeq_package *package);

/* Whether it was made without the tensors of the part that sees. */
bool moeq_package_is_text_only(const struct moeq_package *package);

const struct moeq_packed *moeq_package_find(const struct moeq_package *package, const char *name);

/* Reads a whole segment into dst (n_bytes) and checks its hash: a mismatch is MOEQ_DAMAGED. Thread-safe. */
enum moeq_status moeq_package_read_segment(const struct moeq_package *package,
                                           const struct moeq_segment *segment, void *dst,
                                           struct moeq_error *err);

/* All of the following: every header and every copied file, but no segment. */
enum moeq_status moeq_package_check_outside(const struct moeq_package *package, struct moeq_error *err);

/* Checks the hashes of one file's header and hash list, and of one copied file. MOEQ_DAMAGED on a mismatch.
 */
enum moeq_status moeq_package_check_head(const struct moeq_package *package, size_t file,
                                         struct moeq_error *err);
enum moeq_status moeq_package_check_copy(const struct moeq_package *package, size_t copy,
                                         struct moeq_error *err);

/* Adds the manifest's hash of itself (replacing one that is there) and gives the text to write. free() it. */
char *moeq_manifest_seal(json_t *manifest, struct moeq_error *err);

/* Parses a manifest's text and checks its seal, format and version; the fuzz target's entry. */
json_t *moeq_manifest_parse(const void *text, size_t n_bytes, struct moeq_error *err);

/* The same for other folders that are sealed like a package. */
struct moeq_manifest_kind {
    const char *format;
    unsigned version;
    const char *what;  /* "package" */
    const char *again; /* what makes a new one */
};

json_t *moeq_manifest_parse_as(const struct moeq_manifest_kind *kind, const void *text, size_t n_bytes,
                               struct moeq_error *err);

#endif
