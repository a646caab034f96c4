#include "download_parts.h"
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

#define HUB_FOLDER         ".cache/huggingface"
#define TEMPORARY_FOLDER   "._____temp" /* of ModelScope */
#define METADATA_SUFFIX    ".metadata"
#define MAX_SUMS_BYTES     (64u << 20)
#define MAX_TREE_BYTES     (64u << 20)
#define MAX_METADATA_BYTES 4096u
#define MAX_COMMITS        8 /* of one folder that are told apart */

/* ---- joining ---- */

static void promise(struct moeq_download *d, struct moeq_download_file *file, const char *what, char *known,
                    const char **known_from, const char *said, const char *from)
{
    if (!*said)
        return;
    if (*known && strcmp(known, said) != 0)
        moeq_found(&d->findings, MOEQ_FOUND_RECORDS_DISAGREE, 1, file->path,
                   "one of them is of another version of the file: download both again",
                   "its %s should be %s by %s, %s by %s", what, known, *known_from, said, from);
    if (*known)
        return;
    strcpy(known, said); /* the same size by type */
    *known_from = from;
}

static void join(struct moeq_download *d, struct moeq_download_file *file, const struct moeq_record *record,
                 const char *from)
{
    promise(d, file, "SHA-256", file->sha256, &file->sha256_from, record->sha256, from);
    promise(d, file, "git SHA-1", file->git_sha1, &file->git_sha1_from, record->git_sha1, from);
    if (record->has_size && !file->has_size) {
        file->has_size = true;
        file->n_expected = record->n_bytes;
    }
}

/* What could not be taken from a list; `quote`: with an example. */
static void report_left_out(struct moeq_download *d, const struct moeq_records *records, const char *name,
                            bool quote)
{
    const char *first = quote ? ", the first is " : "";
    if (records->n_outside)
        moeq_found(&d->findings, MOEQ_FOUND_OUTSIDE, records->n_outside, name,
                   "do not trust this list; nothing outside the folder was looked at",
                   "%zu %s out of the folder or hold%s control characters%s%s", records->n_outside,
                   records->n_outside == 1 ? "path leads" : "paths lead", records->n_outside == 1 ? "s" : "",
                   first, quote ? records->outside : "");
    if (records->n_bad)
        moeq_found(&d->findings, MOEQ_FOUND_BAD_RECORD, records->n_bad, name, NULL,
                   "%zu %s not of its format%s%s", records->n_bad,
                   records->n_bad == 1 ? "entry is" : "entries are", first, quote ? records->bad : "");
}

static void report_unusable(struct moeq_download *d, const char *name, const struct moeq_error *problem)
{
    if (problem->status == MOEQ_IO)
        moeq_found(&d->findings, MOEQ_FOUND_UNREADABLE, 1, name, NULL, "%s", problem->message);
    else
        moeq_found(&d->findings, MOEQ_FOUND_BAD_RECORD, 1, name, "it was ignored", "it cannot be used: %s",
                   problem->message);
}

static bool is_link(const char *full)
{
    struct stat info;
    return lstat(full, &info) == 0 && S_ISLNK(info.st_mode);
}

/* Reads a record; *found is false where it is missing or (a finding) unusable. */
static enum moeq_status read_record(struct moeq_download *d, const char *full, const char *name,
                                    size_t max_bytes, struct moeq_bytes *text, bool *found,
                                    struct moeq_error *err)
{
    struct moeq_error problem = {0};
    *found = false;
    if (!moeq_path_leads_to_file(full))
        return MOEQ_OK;
    enum moeq_status status = moeq_file_read_all(full, max_bytes, text, &problem);
    if (status == MOEQ_OVER_MEMORY) {
        if (err)
            *err = problem;
        return status;
    }
    if (status)
        report_unusable(d, name, &problem);
    *found = !status;
    return MOEQ_OK;
}

/* The same for one that hf wrote, which is never a link. */
static enum moeq_status read_hub_record(struct moeq_download *d, const char *full, const char *name,
                                        size_t max_bytes, struct moeq_bytes *text, bool *found,
                                        struct moeq_error *err)
{
    *found = false;
    if (!is_link(full))
        return read_record(d, full, name, max_bytes, text, found, err);
    moeq_found(&d->findings, MOEQ_FOUND_BAD_RECORD, 1, name, "it was ignored",
               "a link, and hf makes none here");
    return MOEQ_OK;
}

/* Whether a folder of records is there; one that may not be looked into is a finding. */
static bool is_record_folder(struct moeq_download *d, const char *full, const char *name)
{
    struct stat info;
    char buffer[128];
    if (stat(full, &info) != 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            moeq_found(&d->findings, MOEQ_FOUND_UNREADABLE, 1, name, NULL,
                       "the records in it cannot be read: %s", strerror_r(errno, buffer, sizeof buffer));
        return false;
    }
    if (!S_ISDIR(info.st_mode))
        return false;
    DIR *dir = opendir(full);
    if (!dir)
        moeq_found(&d->findings, MOEQ_FOUND_UNREADABLE, 1, name, NULL, "the records in it cannot be read: %s",
                   strerror_r(errno, buffer, sizeof buffer));
    else
        closedir(dir);
    return dir != NULL;
}

static void report_closed(struct moeq_download *d, const char *name, const char *problem)
{
    moeq_found(&d->findings, MOEQ_FOUND_UNREADABLE, 1, name, NULL, "it cannot be opened: %s", problem);
}

/* ---- Hugging Face: names of blobs, trees, metadata ---- */

static void join_blobs(struct moeq_download *d)
{
    for (size_t i = 0; i < d->n_files; i++) {
        struct moeq_record record = {0};
        const char *blob = d->files[i].blob;
        if (*blob && moeq_digest_parse(blob, strlen(blob), record.sha256, record.git_sha1))
            join(d, &d->files[i], &record, "the name of its blob");
    }
}

static enum moeq_status read_tree(struct moeq_download *d, const char *below, struct moeq_error *err)
{
    struct moeq_bytes text = {0};
    struct moeq_error problem = {0};
    bool found = false;
    char name[64];
    snprintf(name, sizeof name, "trees/%s.json", d->commit);
    char *full = moeq_path_join(below, name, err);
    enum moeq_status status =
        full ? read_hub_record(d, full, name, MAX_TREE_BYTES, &text, &found, err) : MOEQ_OVER_MEMORY;
    free(full);
    if (!status && found) {
        status = moeq_tree_parse(text.data, text.n_bytes, &d->tree, &problem);
        if (status && status != MOEQ_OVER_MEMORY) {
            report_unusable(d, name, &problem);
            status = MOEQ_OK;
        } else if (!status) {
            memcpy(d->tree_name, name, sizeof name);
        } else if (err) {
            *err = problem;
        }
    }
    moeq_bytes_free(&text);
    report_left_out(d, &d->tree, name, true);
    if (d->tree.n_items)
        qsort(d->tree.items, d->tree.n_items, sizeof *d->tree.items, moeq_record_by_path);
    for (size_t i = 0; i < d->tree.n_items; i++) {
        struct moeq_download_file *file = moeq_download_find(d, d->tree.items[i].path);
        if (file)
            join(d, file, &d->tree.items[i], d->tree_name);
    }
    return status;
}

/* A download that was not finished, wherever a tool keeps it. */
static enum moeq_status report_leftover(void *context, const char *path, const char *full,
                                        const char *problem, struct moeq_error *err)
{
    struct moeq_download *d = context;
    struct stat info;
    (void)err;
    if (!*problem && stat(full, &info) == 0)
        moeq_found(&d->findings, MOEQ_FOUND_LEFTOVER, 1, path, "if nothing is downloading now, delete it",
                   "left by a download that did not finish, %llu bytes", (unsigned long long)info.st_size);
    return MOEQ_OK;
}

static enum moeq_status report_blob_leftover(void *context, const char *path, const char *full,
                                             const char *problem, struct moeq_error *err)
{
    char name[512];
    if (!moeq_has_suffix(path, ".incomplete"))
        return MOEQ_OK;
    snprintf(name, sizeof name, "blobs/%s", path);
    return report_leftover(context, name, full, problem, err);
}

static enum moeq_status report_temporary(void *context, const char *path, const char *full,
                                         const char *problem, struct moeq_error *err)
{
    char name[512];
    snprintf(name, sizeof name, TEMPORARY_FOLDER "/%s", path);
    return report_leftover(context, name, full, problem, err);
}

static enum moeq_status read_hub_cache(struct moeq_download *d, struct moeq_error *err)
{
    join_blobs(d);
    enum moeq_status status = read_tree(d, d->repository.path, err);
    char *blobs = status ? NULL : moeq_path_join(d->repository.path, "blobs", err);
    if (!status && !blobs)
        status = MOEQ_OVER_MEMORY;
    if (!status && is_record_folder(d, blobs, "blobs"))
        status = moeq_walk(blobs, report_blob_leftover, d, err);
    free(blobs);
    return status;
}

struct commit_count {
    char name[MOEQ_SHA1_HEX];
    size_t n_files; /* that are here */
};

struct metadata_walk {
    struct moeq_download *download;
    double newest; /* of the metadata that named download->commit */
    struct commit_count commits[MAX_COMMITS];
    size_t n_commits; /* the last stands for all further ones */
};

static void count_commit(struct metadata_walk *w, const char *commit)
{
    size_t i = 0;
    while (i < w->n_commits && strcmp(w->commits[i].name, commit) != 0)
        i++;
    if (i == w->n_commits && w->n_commits < MAX_COMMITS)
        memcpy(w->commits[w->n_commits++].name, commit, MOEQ_SHA1_HEX);
    w->commits[i < MAX_COMMITS ? i : MAX_COMMITS - 1].n_files++;
}

static int by_files(const void *a, const void *b)
{
    const struct commit_count *x = a, *y = b;
    if (x->n_files != y->n_files)
        return x->n_files > y->n_files ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Each file may be right, and all together no version that was ever published. */
static void report_mixed(struct metadata_walk *w)
{
    struct commit_count *c = w->commits;
    size_t n_others = 0;
    if (w->n_commits < 2)
        return;
    qsort(c, w->n_commits, sizeof *c, by_files);
    for (size_t i = 1; i < w->n_commits; i++)
        n_others += c[i].n_files;
    moeq_found(&w->download->findings, MOEQ_FOUND_MIXED_COMMITS, n_others, NULL,
               "download the folder again with one --revision; files that are right are kept",
               "its files are of different commits: %zu of %s, %zu of %s%s", c[0].n_files, c[0].name,
               c[1].n_files, c[1].name, w->n_commits > 2 ? ", and others" : "");
}

static void report_gone(struct moeq_download *d, const char *path)
{
    char advice[MOEQ_ADVICE_BYTES];
    moeq_found(&d->findings, MOEQ_FOUND_MISSING_FILE, 1, path, moeq_download_advice(d, path, false, advice),
               "it was downloaded, and is not here any more");
}

static enum moeq_status read_metadata(struct metadata_walk *w, const char *path, const char *full,
                                      struct moeq_error *err)
{
    struct moeq_download *d = w->download;
    struct moeq_bytes text = {0};
    struct moeq_hf_metadata metadata;
    struct moeq_error problem = {0};
    char name[512], of[512];
    bool found;
    snprintf(name, sizeof name, HUB_FOLDER "/download/%s", path);
    snprintf(of, sizeof of, "%.*s", (int)(strlen(path) - strlen(METADATA_SUFFIX)), path);
    enum moeq_status status = read_hub_record(d, full, name, MAX_METADATA_BYTES, &text, &found, err);
    if (!status && found &&
        moeq_hf_metadata_parse((const char *)text.data, text.n_bytes, &metadata, &problem)) {
        report_unusable(d, name, &problem);
    } else if (!status && found) {
        struct moeq_download_file *file = moeq_download_find(d, of);
        struct moeq_record record = {0};
        memcpy(record.sha256, metadata.sha256, sizeof record.sha256);
        memcpy(record.git_sha1, metadata.git_sha1, sizeof record.git_sha1);
        if (file) {
            join(d, file, &record, "its .metadata");
            count_commit(w, metadata.commit);
            file->was_changed = file->modified > metadata.seconds + 1; /* the allowance that hf makes */
        } else {
            report_gone(d, of);
        }
        const bool is_same_time = d->commit[0] && metadata.seconds == w->newest;
        if (!d->commit[0] || metadata.seconds > w->newest ||
            (is_same_time && strcmp(metadata.commit, d->commit) < 0)) {
            memcpy(d->commit, metadata.commit, sizeof d->commit);
            w->newest = metadata.seconds;
        }
    }
    moeq_bytes_free(&text);
    return status;
}

static enum moeq_status visit_metadata(void *context, const char *path, const char *full, const char *problem,
                                       struct moeq_error *err)
{
    struct metadata_walk *w = context;
    char name[512];
    snprintf(name, sizeof name, HUB_FOLDER "/download/%s", path);
    if (*problem) {
        report_closed(w->download, name, problem);
        return MOEQ_OK;
    }
    if (moeq_has_suffix(path, METADATA_SUFFIX))
        return read_metadata(w, path, full, err);
    if (!moeq_has_suffix(path, ".incomplete"))
        return MOEQ_OK;
    return report_leftover(w->download, name, full, problem, err);
}

static enum moeq_status read_hub_local(struct moeq_download *d, struct moeq_error *err)
{
    struct metadata_walk walk = {.download = d};
    char *below = moeq_download_path(d, HUB_FOLDER, err);
    char *records = below ? moeq_path_join(below, "download", err) : NULL;
    enum moeq_status status = records ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (!status && is_record_folder(d, records, HUB_FOLDER "/download"))
        status = moeq_walk(records, visit_metadata, &walk, err);
    report_mixed(&walk);
    if (!status && d->commit[0])
        status = read_tree(d, below, err);
    free(records);
    free(below);
    return status;
}

/* ---- SHA256SUMS ---- */

/* Whether a file is a list of hashes; a hash alone in X.sha256 is that of X, whose name goes to `bare`. */
static bool is_sums(const char *name, char bare[512])
{
    static const char *const whole[] = {"SHA256SUMS", "SHA256SUMS.txt", "SHA256SUM", "SHA256SUM.txt"};
    static const char *const suffixes[] = {".sha256", ".sha256sum"};
    bare[0] = '\0';
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (strcasecmp(name, whole[i]) == 0)
            return true;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (!strchr(name, '/') && moeq_has_suffix(name, suffixes[i])) {
            snprintf(bare, 512, "%.*s", (int)(strlen(name) - strlen(suffixes[i])), name);
            return true;
        }
    return false;
}

bool moeq_is_sums(const char *path)
{
    char bare[512];
    return is_sums(path, bare);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void join_sum(struct moeq_download *d, const struct moeq_record *record, const char *bare,
                     const char *from)
{
    char advice[MOEQ_ADVICE_BYTES];
    struct moeq_download_file *file = moeq_download_find(d, record->path);
    if (!file && *bare && strcmp(last_part(record->path), bare) == 0)
        file = moeq_download_find(d, bare); /* made elsewhere, with the folder in the name */
    if (file)
        join(d, file, record, from);
    else if (d->layout != MOEQ_LAYOUT_FILE)
        moeq_found(&d->findings, MOEQ_FOUND_MISSING_FILE, 1, record->path,
                   moeq_download_advice(d, record->path, false, advice), "it is listed in %s", from);
}

static enum moeq_status read_sums(struct moeq_download *d, const char *name, const char *bare,
                                  struct moeq_error *err)
{
    struct moeq_bytes text = {0};
    struct moeq_records records = {0};
    bool found = false;
    char *full = moeq_download_path(d, name, err), *kept = full ? moeq_strdup(name, err) : NULL;
    enum moeq_status status =
        kept ? read_record(d, full, name, MAX_SUMS_BYTES, &text, &found, err) : MOEQ_OVER_MEMORY;
    if (kept)
        d->names[d->n_names++] = kept;
    if (!status && found)
        status = moeq_sums_parse((const char *)text.data, text.n_bytes, *bare ? bare : NULL, &records, err);
    for (size_t i = 0; !status && i < records.n_items; i++)
        join_sum(d, &records.items[i], bare, kept);
    report_left_out(d, &records, name, full && !is_link(full)); /* which may lead anywhere */
    moeq_records_free(&records);
    moeq_bytes_free(&text);
    free(full);
    return status;
}

/* A folder is not among the files that are listed; one in the place of a list hides what was meant. */
static enum moeq_status look_for_folders(struct moeq_download *d, struct moeq_error *err)
{
    static const char *const lists[] = {"SHA256SUMS", "SHA256SUMS.txt"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        char *full = moeq_download_path(d, lists[i], err);
        if (!full)
            return MOEQ_OVER_MEMORY;
        if (moeq_path_is_dir(full))
            moeq_found(&d->findings, MOEQ_FOUND_UNREADABLE, 1, lists[i], NULL,
                       "a folder, where a list of hashes is looked for");
        free(full);
    }
    return MOEQ_OK;
}

static enum moeq_status read_all_sums(struct moeq_download *d, struct moeq_error *err)
{
    char bare[512];
    size_t n = 0;
    if (look_for_folders(d, err))
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < d->n_files; i++)
        n += is_sums(d->files[i].path, bare);
    d->names = moeq_calloc(n, sizeof *d->names, err);
    enum moeq_status status = d->names ? MOEQ_OK : MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < d->n_files; i++)
        if (!d->files[i].is_dangling && is_sums(d->files[i].path, bare))
            status = read_sums(d, d->files[i].path, bare, err);
    return status;
}

static enum moeq_status read_sums_of(struct moeq_download *download, struct moeq_error *err)
{
    char own[512];
    const char *const lists[] = {own, "SHA256SUMS", "SHA256SUMS.txt"};
    const size_t n = sizeof lists / sizeof *lists;
    snprintf(own, sizeof own, "%s.sha256", download->files[0].path);
    download->names = moeq_calloc(n, sizeof *download->names, err);
    enum moeq_status status = download->names ? MOEQ_OK : MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < n; i++)
        status = read_sums(download, lists[i], i == 0 ? download->files[0].path : "", err);
    return status;
}

/* ---- leftovers among the files ---- */

/* Suffixes of what tools keep beside or instead of a file that is not complete. */
static const struct {
    const char *suffix, *tool;
} unfinished[] = {
    {".aria2", "aria2"}, {".incomplete", "hf"}, {".part", "a tool"}, {".crdownload", "a browser"}};

static void report_unfinished(struct moeq_download *d, const struct moeq_download_file *file)
{
    char of[512], advice[MOEQ_ADVICE_BYTES];
    for (size_t i = 0; i < sizeof unfinished / sizeof *unfinished; i++) {
        const char *suffix = unfinished[i].suffix;
        if (!moeq_has_suffix(file->path, suffix))
            continue;
        snprintf(of, sizeof of, "%.*s", (int)(strlen(file->path) - strlen(suffix)), file->path);
        if (i == 0 && moeq_download_find(d, of)) /* the space is reserved first, so the size says nothing */
            moeq_found(&d->findings, MOEQ_FOUND_UNFINISHED, 1, of,
                       "let aria2 finish it: run the same download again",
                       "its download is not finished: %s is still there", file->path);
        else
            moeq_found(&d->findings, MOEQ_FOUND_LEFTOVER, 1, file->path,
                       moeq_download_find(d, of) ? "if nothing is downloading now, delete it"
                                                 : moeq_download_advice(d, of, false, advice),
                       "left by %s, whose download did not finish, %llu bytes", unfinished[i].tool,
                       (unsigned long long)file->n_bytes);
        return;
    }
}

static enum moeq_status read_modelscope(struct moeq_download *d, struct moeq_error *err)
{
    char *temporary = moeq_download_path(d, TEMPORARY_FOLDER, err);
    enum moeq_status status = temporary ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (!status && is_record_folder(d, temporary, TEMPORARY_FOLDER))
        status = moeq_walk(temporary, report_temporary, d, err);
    free(temporary);
    return status;
}

enum moeq_status moeq_download_read_records(struct moeq_download *download, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    if (download->layout == MOEQ_LAYOUT_HUB_CACHE)
        status = read_hub_cache(download, err);
    else if (download->layout == MOEQ_LAYOUT_HUB_LOCAL)
        status = read_hub_local(download, err);
    else if (download->layout == MOEQ_LAYOUT_MODELSCOPE)
        status = read_modelscope(download, err);
    if (!status)
        status = read_all_sums(download, err);
    for (size_t i = 0; !status && i < download->n_files; i++)
        report_unfinished(download, &download->files[i]);
    return status;
}

/* ---- one file ---- */

static enum moeq_status read_metadata_of(struct moeq_download *d, struct moeq_error *err)
{
    struct metadata_walk walk = {.download = d};
    char name[512];
    snprintf(name, sizeof name, "%.480s" METADATA_SUFFIX, d->files[0].path);
    char *below = moeq_download_path(d, HUB_FOLDER, err);
    char *records = below ? moeq_path_join(below, "download", err) : NULL;
    char *full = records ? moeq_path_join(records, name, err) : NULL;
    enum moeq_status status = full ? read_metadata(&walk, name, full, err) : MOEQ_OVER_MEMORY;
    if (!status && d->commit[0])
        status = read_tree(d, below, err);
    free(full);
    free(records);
    free(below);
    return status;
}

enum moeq_status moeq_download_read_records_of(struct moeq_download *download, struct moeq_error *err)
{
    enum moeq_status status;
    if (download->repository.path) {
        join_blobs(download);
        status = read_tree(download, download->repository.path, err);
    } else {
        status = read_metadata_of(download, err);
    }
    moeq_records_free(&download->tree); /* the other files of the commit are not asked for */
    return status ? status : read_sums_of(download, err);
}
