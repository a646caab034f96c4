/* Hashes: XXH3-128 for packages and what they were made from (fast, against accidents), SHA-256 for source
 * files on request (what download tools leave behind, against anything). */
#ifndef MOEQ_HASH_H
#define MOEQ_HASH_H

#include "file.h"

#define MOEQ_HASH_BYTES 16

/* Bytes read at once by who hashes them next: they are still in the second-level cache. */
#define MOEQ_HASH_PIECE (128u << 10)

struct moeq_hash {
    uint8_t bytes[MOEQ_HASH_BYTES]; /* canonical (big-endian) XXH3-128 */
};

#define MOEQ_HASH_HEX   33 /* 32 digits and a NUL */
#define MOEQ_SHA256_HEX 65
#define MOEQ_SHA1_HEX   41

struct moeq_hash moeq_hash_bytes(const void *data, size_t n_bytes);
bool moeq_hash_equal(struct moeq_hash a, struct moeq_hash b);
void moeq_hash_hex(struct moeq_hash hash, char hex[MOEQ_HASH_HEX]);
/* False where `hex` is not exactly 32 lower-case hexadecimal digits. */
bool moeq_hash_parse(const char *hex, struct moeq_hash *out);

/* XXH3-128 of bytes that come in pieces. */
struct moeq_hasher;
struct moeq_hasher *moeq_hasher_create(struct moeq_error *err);
void moeq_hasher_update(struct moeq_hasher *hasher, const void *data, size_t n_bytes);
struct moeq_hash moeq_hasher_finish(struct moeq_hasher *hasher); /* and starts afresh */
void moeq_hasher_free(struct moeq_hasher *hasher);               /* NULL allowed */

/* SHA-256 of a whole file, read front to back once, as lower-case hexadecimal. A signal ends it within a
 * block: MOEQ_INTERRUPTED. */
enum moeq_status moeq_sha256_file(const char *path, char hex[MOEQ_SHA256_HEX], struct moeq_error *err);

/* What one pass over a file computes, and where its time went. */
struct moeq_digests {
    bool want_sha256, want_git_sha1; /* these three are set by the caller */
    bool read_ahead;                 /* by a second thread: where a core is idle */
    bool was_read_ahead;             /* not of small files, nor of what must be decompressed */
    char sha256[MOEQ_SHA256_HEX];    /* lower-case hexadecimal; "" where not wanted */
    char git_sha1[MOEQ_SHA1_HEX];    /* of the git blob: SHA-1 of "blob SIZE\0" and the bytes */
    double read_seconds, hash_seconds;
};

/* Sees every block of the file in order. */
typedef void moeq_block_visit(void *context, uint64_t offset, const uint8_t *data, size_t n_bytes);

/* Reads an open file front to back once; `visit` may be NULL. MOEQ_INTERRUPTED as above. Several files of an
 * archive: see turns.h. */
enum moeq_status moeq_file_digest(const struct moeq_file *file, struct moeq_digests *digests,
                                  moeq_block_visit *visit, void *context, struct moeq_error *err);

#endif
