/* Is a download whole and right? All steps in order, and what came of them. */
#ifndef MOEQ_CHECK_H
#define MOEQ_CHECK_H

#include "byte_check.h"
#include "tensor_check.h"

/* By what files were verified. */
enum moeq_proof {
    MOEQ_PROOF_SHA256,
    MOEQ_PROOF_GIT_SHA1,
    MOEQ_PROOF_STRUCTURE, /* header, or JSON: nothing vouches for the rest */
    MOEQ_PROOF_SIZE, /* only its size is known to be right, or (plain text and the like) nothing at all */
    MOEQ_PROOF_NONE, /* something is wrong with it */
    MOEQ_N_PROOFS
};

struct moeq_check_report {
    bool quick;
    struct moeq_tensor_report tensors;
    struct {
        size_t n_files;
        uint64_t n_bytes;
    } proofs[MOEQ_N_PROOFS], all;
    size_t n_shards, n_shards_hashed;
    size_t n_others, n_others_hashed; /* configuration, index, tokenizer: what a loader reads beside shards */
    size_t n_failed, n_warnings, n_unreadable; /* findings; the last are among the first */
    uint64_t n_read;                           /* bytes */
    double read_seconds, hash_seconds;         /* sums over the workers */
};

/* Checks an open download; its findings are complete and sorted afterwards. `quick`: no tensor data are read.
 * MOEQ_OK whatever was found; MOEQ_DAMAGED where there is no trace of a model; other statuses where the check
 * could not be done. */
enum moeq_status moeq_check_run(struct moeq_download *download, bool quick, struct moeq_pool *pool,
                                struct moeq_progress *progress, struct moeq_check_report *report,
                                struct moeq_error *err);

const char *moeq_proof_name(enum moeq_proof proof); /* "sha256", for JSON */

#endif
