/* What a check found: a list that grows while the check goes on, sorted by importance at its end. */
#ifndef MOEQ_FINDINGS_H
#define MOEQ_FINDINGS_H

#include "json.h"

enum moeq_severity {
    MOEQ_FAILED,  /* the download is not whole, or not right */
    MOEQ_WARNING, /* suspicious, or a leftover: counts with --strict */
    MOEQ_NOTE     /* what could not be checked, and why */
};

/* In the order in which they are reported. */
enum moeq_finding_kind {
    MOEQ_FOUND_MISSING_FILE,
    MOEQ_FOUND_DANGLING_LINK,
    MOEQ_FOUND_LFS_POINTER,
    MOEQ_FOUND_ZEROS,
    MOEQ_FOUND_SIZE,
    MOEQ_FOUND_HEADER,
    MOEQ_FOUND_HASH,
    MOEQ_FOUND_DAMAGED, /* its data cannot be taken out of the archive */
    MOEQ_FOUND_UNFINISHED,
    MOEQ_FOUND_UNREADABLE,
    MOEQ_FOUND_JSON,
    MOEQ_FOUND_INDEX,
    MOEQ_FOUND_OUTSIDE,
    MOEQ_FOUND_RECORDS_DISAGREE,
    MOEQ_FOUND_TENSOR_NOT_IN_SHARD,
    MOEQ_FOUND_TENSOR_NOT_IN_INDEX,
    MOEQ_FOUND_TENSOR_TWICE,
    MOEQ_FOUND_TENSOR_MISSING,
    MOEQ_FOUND_TENSOR_SHAPE,
    MOEQ_FOUND_TENSOR_DTYPE,
    MOEQ_FOUND_TENSOR_UNEXPECTED,
    MOEQ_FOUND_ZERO_TENSOR, /* warnings from here */
    MOEQ_FOUND_ZERO_REGION,
    MOEQ_FOUND_MIXED_DTYPE,
    MOEQ_FOUND_NO_MTP,
    MOEQ_FOUND_TENSOR_UNKNOWN,
    MOEQ_FOUND_EXTRA_SHARD,
    MOEQ_FOUND_TOTAL_SIZE,
    MOEQ_FOUND_LINK_OUTSIDE,
    MOEQ_FOUND_MIXED_COMMITS,
    MOEQ_FOUND_BAD_RECORD,
    MOEQ_FOUND_LEFTOVER,
    MOEQ_FOUND_NO_HASHES, /* notes from here */
    MOEQ_FOUND_NOT_COMPARED,
    MOEQ_FOUND_NOT_DOWNLOADED,
    MOEQ_N_FINDING_KINDS
};

struct moeq_finding {
    enum moeq_finding_kind kind;
    char *file;    /* path in the folder, "" where it is about the whole; these three are owned, UTF-8 */
    char *message; /* what was found and what was expected */
    char *advice;  /* what to do, or "" */
    uint64_t n;    /* tensors or files that it is about */
};

/* Of one kind at most so many are kept, and the others counted: a hostile index has a million. */
#define MOEQ_MAX_OF_KIND 2000

/* {0} is an empty list. */
struct moeq_findings {
    struct moeq_finding *items;
    size_t n_items, capacity;
    size_t n_of_kind[MOEQ_N_FINDING_KINDS]; /* found */
    struct moeq_error stopped;              /* something was lost or could not be judged: no check passes */
};

/* Adds one; the texts are copied, control characters and broken UTF-8 shown as '?'. `file` and `advice` may
 * be NULL. */
void moeq_found(struct moeq_findings *findings, enum moeq_finding_kind kind, uint64_t n, const char *file,
                const char *advice, const char *format, ...) __attribute__((format(printf, 6, 7)));

/* By kind, then file, then text; a file that is missed more than once is missed once. What was only counted
 * gets a finding of its own. To be called once, at the end. */
void moeq_findings_sort(struct moeq_findings *findings);
size_t moeq_findings_count(const struct moeq_findings *findings, enum moeq_severity severity);
void moeq_findings_free(struct moeq_findings *findings);

enum moeq_severity moeq_finding_severity(enum moeq_finding_kind kind);
const char *moeq_finding_name(enum moeq_finding_kind kind); /* "missing-file": for JSON, never changed */
const char *moeq_severity_name(enum moeq_severity severity);

/* Control characters and broken UTF-8 become '?', in place. Returns text. */
char *moeq_text_clean(char *text);

/* An array of objects, for --json. */
json_t *moeq_findings_json(const struct moeq_findings *findings);

#endif
