/* What download tools leave beside the files: their sizes and hashes. Parsers of text that anybody may have
 * written; a path in it is compared with the names of files, never opened.
 *
 * Formats: coreutils' and BSD's SHA256SUMS; huggingface_hub's trees/COMMIT.json (format_version 1) and
 * .cache/huggingface/download/FILE.metadata. */
#ifndef MOEQ_RECORDS_H
#define MOEQ_RECORDS_H

#include "hash.h"

struct moeq_record {
    char *path; /* relative, stays inside the folder; owned */
    bool has_size;
    uint64_t n_bytes;
    char sha256[MOEQ_SHA256_HEX]; /* lower-case hexadecimal, "" where not known */
    char git_sha1[MOEQ_SHA1_HEX]; /* of the git blob, "" where not known */
};

/* {0} is an empty list. */
struct moeq_records {
    struct moeq_record *items;
    size_t n_items, capacity;
    size_t n_outside; /* entries left out, since their path leaves the folder */
    char outside[256];
    size_t n_bad; /* entries left out, since they are not of the format */
    char bad[256];
};

void moeq_records_free(struct moeq_records *records);

int moeq_record_by_path(const void *a, const void *b); /* for qsort and bsearch */

/* Appends the entries of a list of SHA-256: lines "HEX  PATH", "HEX *PATH" or "SHA256 (PATH) = HEX"; a line
 * with only a hash is for the file `bare` (NULL: no such line is allowed). Fails only where memory is out. */
enum moeq_status moeq_sums_parse(const char *text, size_t n, const char *bare, struct moeq_records *records,
                                 struct moeq_error *err);

/* Appends the files of a tree listing. Text that is not one is MOEQ_DAMAGED, another version of the format
 * MOEQ_UNSUPPORTED. */
enum moeq_status moeq_tree_parse(const void *text, size_t n, struct moeq_records *records,
                                 struct moeq_error *err);

/* One FILE.metadata: commit, hash and the time at which both were true. */
struct moeq_hf_metadata {
    char commit[MOEQ_SHA1_HEX];
    char sha256[MOEQ_SHA256_HEX]; /* one of the two is not "" */
    char git_sha1[MOEQ_SHA1_HEX];
    double seconds; /* since 1970 */
};

enum moeq_status moeq_hf_metadata_parse(const char *text, size_t n, struct moeq_hf_metadata *out,
                                        struct moeq_error *err);

/* Copies n hexadecimal digits of `from` in lower case if they are exactly a SHA-256 or a git SHA-1; the
 * other becomes "". False where they are neither. */
bool moeq_digest_parse(const char *from, size_t n, char sha256[MOEQ_SHA256_HEX],
                       char git_sha1[MOEQ_SHA1_HEX]);

#endif
