#include "check.h"

#include "download_parts.h"

#include <stdio.h>
#include <stdlib.h>

#define ZERO_TAIL 65536u /* bytes of zeros at the end that are worth a word */

const char *moeq_proof_name(enum moeq_proof proof)
{
    static const char *const names[] = {"sha256", "git_sha1", "structure", "nothing", "wrong"};
    return names[proof];
}

/* ---- one file ---- */

struct judging {
    struct moeq_download *download;
    struct moeq_download_file *file;
    bool is_wrong;
};

static void fail(struct judging *j, enum moeq_finding_kind kind, const char *message)
{
    char advice[MOEQ_ADVICE_BYTES];
    const bool again = kind != MOEQ_FOUND_LFS_POINTER || j->download->layout != MOEQ_LAYOUT_GIT;
    moeq_found(&j->download->findings, kind, 1, j->file->path,
               moeq_download_advice(j->download, j->file->path, again, advice), "%s", message);
    j->is_wrong = true;
}

/* What zeros say about how a file came to be wrong; "" where there are few. */
static void zeros_text(const struct moeq_download_file *file, char dst[320])
{
    const struct moeq_zeros *z = &file->zeros;
    char tensors[160] = "", blocks[80] = "", tail[64] = "";
    if (z->n_tensors)
        snprintf(tensors, sizeof tensors, "; %llu %s all zero, the first is %.80s",
                 (unsigned long long)z->n_tensors, z->n_tensors == 1 ? "matrix is" : "matrices are",
                 z->first_tensor);
    if (z->n_bytes)
        snprintf(blocks, sizeof blocks, "; %llu MiB in blocks of zeros, from byte %llu on",
                 (unsigned long long)(z->n_bytes / MOEQ_ZERO_BLOCK), (unsigned long long)z->first);
    if (z->tail >= ZERO_TAIL)
        snprintf(tail, sizeof tail, "; the last %llu bytes are zero", (unsigned long long)z->tail);
    snprintf(dst, 320, "%s%s%s", tensors, blocks, tail);
}

static void judge_hash(struct judging *j, const char *what, const char *wanted, const char *from,
                       const char *found)
{
    char message[800], zeros[320];
    const struct moeq_download_file *file = j->file;
    if (!*wanted || strcmp(wanted, found) == 0)
        return;
    zeros_text(file, zeros);
    snprintf(message, sizeof message, "its %s is %s, by %s it should be %s%s%s", what, found, from, wanted,
             file->was_changed ? "; it was changed after it was downloaded" : "", zeros);
    fail(j, MOEQ_FOUND_HASH, message);
}

/* Zeros in what no hash vouches for. */
static void judge_zeros(struct judging *j)
{
    char zeros[320];
    const struct moeq_download_file *file = j->file;
    if (file->sha256[0] || file->git_sha1[0])
        return;
    zeros_text(file, zeros);
    if (*zeros)
        moeq_found(&j->download->findings,
                   file->zeros.n_tensors ? MOEQ_FOUND_ZERO_TENSOR : MOEQ_FOUND_ZERO_REGION, 1, file->path,
                   "a torn download looks like this: compare its SHA-256 with the repository's", "%s",
                   zeros + 2);
}

static void judge_head(struct judging *j)
{
    const struct moeq_download_file *file = j->file;
    char message[1200], line[1000];
    struct moeq_error problem = file->problem;
    problem.file[0] = problem.hint[0] = '\0'; /* the finding has both */
    moeq_error_format(&problem, line, sizeof line);
    if (file->begins_with_zeros && file->was_read && file->zeros.tail == file->n_bytes)
        snprintf(message, sizeof message, "all of its %llu bytes are zero: it was never downloaded",
                 (unsigned long long)file->n_bytes);
    else if (file->begins_with_zeros)
        snprintf(message, sizeof message, "zeros where the header should be: the download was torn");
    else if (file->leads_outside)
        snprintf(message, sizeof message, "it has no header that is right");
    else
        snprintf(message, sizeof message, "%s", line);
    fail(j, file->begins_with_zeros ? MOEQ_FOUND_ZEROS : MOEQ_FOUND_HEADER, message);
}

static void judge_size(struct judging *j)
{
    char message[200];
    const struct moeq_download_file *file = j->file;
    if (!file->has_size || file->n_bytes == file->n_expected)
        return;
    snprintf(message, sizeof message, "%llu bytes, the repository's file has %llu%s",
             (unsigned long long)file->n_bytes, (unsigned long long)file->n_expected,
             file->was_changed ? "; it was changed after it was downloaded" : "");
    fail(j, MOEQ_FOUND_SIZE, message);
}

/* One finding a file: the one that explains the others. */
static void judge(struct judging *j)
{
    const struct moeq_download_file *file = j->file;
    if (file->is_dangling) {
        j->is_wrong = true; /* found when it was listed */
    } else if (file->is_pointer) {
        fail(j, MOEQ_FOUND_LFS_POINTER, "a Git LFS pointer, not the file that it stands for");
    } else if (file->problem.status == MOEQ_IO && !file->is_shard && !moeq_is_loaded(file->path) &&
               !file->sha256[0] && !file->git_sha1[0]) {
        return; /* nothing that this check would read */
    } else if (file->problem.status == MOEQ_IO || file->read_problem.status == MOEQ_IO) {
        const struct moeq_error *problem = file->problem.status ? &file->problem : &file->read_problem;
        moeq_found(&j->download->findings, MOEQ_FOUND_UNREADABLE, 1, file->path, NULL, "%s",
                   problem->message);
        j->is_wrong = true;
    } else if (file->read_problem.status) {
        fail(j, MOEQ_FOUND_DAMAGED, file->read_problem.message);
    } else if (file->begins_with_zeros) {
        judge_head(j);
    } else {
        judge_size(j);
        if (!j->is_wrong && file->problem.status)
            judge_head(j);
        if (!j->is_wrong && file->was_read) {
            judge_hash(j, "SHA-256", file->sha256, file->sha256_from, file->digests.sha256);
            judge_hash(j, "git SHA-1", file->git_sha1, file->git_sha1_from, file->digests.git_sha1);
            judge_zeros(j);
        }
    }
}

/* Not a shard, and yet a change in it is a change of the model. */
static bool is_other_loaded(const struct moeq_download_file *file)
{
    return !file->is_shard && !strchr(file->path, '/') && !moeq_has_suffix(file->path, ".safetensors") &&
           moeq_is_loaded(file->path);
}

static enum moeq_proof proof_of(const struct moeq_download_file *file)
{
    if (file->is_wrong)
        return MOEQ_PROOF_NONE;
    if (file->was_read && file->sha256[0])
        return MOEQ_PROOF_SHA256;
    if (file->was_read && file->git_sha1[0])
        return MOEQ_PROOF_GIT_SHA1;
    return file->has_header || file->was_parsed ? MOEQ_PROOF_STRUCTURE : MOEQ_PROOF_SIZE;
}

/* ---- all files ---- */

/* Where no hash vouches for a JSON file, it must at least be JSON: an error page is not. */
static void parse_others(struct moeq_download *d)
{
    for (size_t i = 0; i < d->n_files; i++) {
        const struct moeq_download_file *file = &d->files[i];
        if (!strchr(file->path, '/') && moeq_has_suffix(file->path, ".json") && !file->was_parsed &&
            !file->was_read && strcmp(file->path, MOEQ_INDEX_NAME) != 0 &&
            strcmp(file->path, "config.json") != 0)
            moeq_download_is_json(d, file->path);
    }
}

/* Files that another step found fault with. */
static void mark_reported(struct moeq_download *d)
{
    for (size_t i = 0; i < d->findings.n_items; i++) {
        const struct moeq_finding *finding = &d->findings.items[i];
        struct moeq_download_file *file = moeq_download_find(d, finding->file);
        if (file && moeq_finding_severity(finding->kind) == MOEQ_FAILED)
            file->is_wrong = true;
    }
}

static void judge_files(struct moeq_download *d, struct moeq_check_report *report)
{
    for (size_t i = 0; i < d->n_files; i++) {
        struct judging j = {.download = d, .file = &d->files[i]};
        judge(&j);
        d->files[i].is_wrong = j.is_wrong;
    }
    mark_reported(d);
    for (size_t i = 0; i < d->n_files; i++) {
        const struct moeq_download_file *file = &d->files[i];
        const enum moeq_proof proof = proof_of(file);
        report->read_seconds += file->digests.read_seconds;
        report->hash_seconds += file->digests.hash_seconds;
        report->n_read += file->was_read ? file->n_bytes : 0;
        report->n_shards += file->is_shard;
        report->n_shards_hashed += file->is_shard && proof <= MOEQ_PROOF_GIT_SHA1;
        report->n_others += is_other_loaded(file);
        report->n_others_hashed += is_other_loaded(file) && proof <= MOEQ_PROOF_GIT_SHA1;
        report->proofs[proof].n_files++;
        report->proofs[proof].n_bytes += file->n_bytes;
        report->all.n_files++;
        report->all.n_bytes += file->n_bytes;
    }
}

static bool has_hash(const struct moeq_download_file *file)
{
    return file->sha256[0] || file->git_sha1[0];
}

/* Without the hashes of the shards that goes without saying. */
static void report_others_without(struct moeq_download *d)
{
    size_t n = 0, n_without = 0;
    const char *first = "";
    for (size_t i = 0; i < d->n_files; i++)
        if (is_other_loaded(&d->files[i])) {
            n++;
            if (!has_hash(&d->files[i]) && n_without++ == 0)
                first = d->files[i].path;
        }
    if (n_without)
        moeq_found(&d->findings, MOEQ_FOUND_NO_HASHES, n_without, NULL,
                   "a changed value in them would not be noticed: add their SHA-256 to SHA256SUMS",
                   "nothing here tells the hash of %zu of the %zu other files that a loader reads, the first "
                   "is %s",
                   n_without, n, first);
}

/* What nothing vouches for, said once. */
static void report_no_hashes(struct moeq_download *d, bool quick)
{
    size_t n = 0, n_without = 0;
    for (size_t i = 0; i < d->n_files; i++)
        if (d->files[i].is_shard) {
            n++;
            n_without += !has_hash(&d->files[i]);
        }
    if (quick && n_without < n)
        moeq_found(&d->findings, MOEQ_FOUND_NO_HASHES, n - n_without, NULL, "run it without --quick",
                   "the hashes of %zu of %zu shards are known and were not compared", n - n_without, n);
    if (n_without)
        moeq_found(&d->findings, MOEQ_FOUND_NO_HASHES, n_without, NULL,
                   "put the repository's SHA-256 into a file SHA256SUMS in this folder",
                   "nothing here tells the hash of %zu of %zu shards: only their structure was checked",
                   n_without, n);
    else if (n)
        report_others_without(d);
}

enum moeq_status moeq_check_run(struct moeq_download *download, bool quick, struct moeq_pool *pool,
                                struct moeq_progress *progress, struct moeq_check_report *report,
                                struct moeq_error *err)
{
    struct moeq_shards shards;
    *report = (struct moeq_check_report){.quick = quick};
    enum moeq_status status = moeq_shards_open(&shards, download, pool, err);
    if (!status)
        status = moeq_tensors_check(&shards, download, &report->tensors, err);
    moeq_text_clean(report->tensors.architecture);
    if (!status && !quick)
        status = moeq_bytes_check(download, pool, progress, err);
    if (!status) {
        parse_others(download);
        judge_files(download, report);
        report_no_hashes(download, quick);
        moeq_findings_sort(&download->findings);
        report->n_failed = moeq_findings_count(&download->findings, MOEQ_FAILED);
        report->n_warnings = moeq_findings_count(&download->findings, MOEQ_WARNING);
        for (size_t i = 0; i < download->findings.n_items; i++)
            report->n_unreadable += download->findings.items[i].kind == MOEQ_FOUND_UNREADABLE;
        status = download->findings.stopped.status;
        if (status && err)
            *err = download->findings.stopped;
    }
    moeq_shards_close(&shards);
    return status;
}
