#include "download.h"

#include "download_parts.h"
#include "mount.h"
#include "walk.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILES 1000000 /* of one folder tree */

const char *moeq_layout_name(enum moeq_layout layout)
{
    static const char *const names[MOEQ_N_LAYOUTS] = {
        [MOEQ_LAYOUT_HUB_CACHE] = "hf-cache",
        [MOEQ_LAYOUT_HUB_LOCAL] = "hf-local-dir",
        [MOEQ_LAYOUT_MODELSCOPE] = "modelscope",
        [MOEQ_LAYOUT_GIT] = "git",
        [MOEQ_LAYOUT_ARCHIVE] = "archive",
        [MOEQ_LAYOUT_PLAIN] = "plain",
        [MOEQ_LAYOUT_FILE] = "file",
    };
    return names[layout];
}

char *moeq_download_path(const struct moeq_download *download, const char *path, struct moeq_error *err)
{
    return moeq_path_join(download->folder, path, err);
}

bool moeq_is_loaded(const char *path)
{
    static const char *const suffixes[] = {".safetensors", ".json", ".model", ".py", ".jinja"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (moeq_has_suffix(path, suffixes[i]))
            return true;
    return false;
}

/* ---- listing ---- */

struct listing {
    struct moeq_download *download;
    const char *inside; /* real path of the folder that links must not leave */
};

static struct moeq_download_file *add_file(struct moeq_download *d, const char *path, struct moeq_error *err)
{
    if (d->n_files == MAX_FILES) {
        moeq_fail(err, MOEQ_UNSUPPORTED, "more than %d files", MAX_FILES);
        return NULL;
    }
    struct moeq_download_file *files = moeq_grown(d->files, d->n_files, &d->capacity, sizeof *files, err);
    if (!files)
        return NULL;
    d->files = files;
    struct moeq_download_file *file = &d->files[d->n_files];
    *file = (struct moeq_download_file){.path = moeq_strdup(path, err)};
    d->n_files += file->path != NULL;
    return file->path ? file : NULL;
}

/* Where a link leads: a blob's name is a promise, a place outside the folder is worth a word. */
static void examine_link(const struct listing *l, const char *full, struct moeq_download_file *file)
{
    char target[PATH_MAX], sha256[MOEQ_SHA256_HEX], sha1[MOEQ_SHA1_HEX];
    ssize_t n = readlink(full, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    const char *name = strrchr(target, '/') ? strrchr(target, '/') + 1 : target;
    if (l->download->repository.path && moeq_digest_parse(name, strlen(name), sha256, sha1))
        snprintf(file->blob, sizeof file->blob, "%s", name);
    if (file->is_dangling && access(full, F_OK) != 0 && errno == EACCES) {
        moeq_found(&l->download->findings, MOEQ_FOUND_UNREADABLE, 1, file->path, NULL,
                   "a link to %s, which may not be looked at", target);
        return;
    }
    if (file->is_dangling) {
        char advice[MOEQ_ADVICE_BYTES];
        moeq_found(&l->download->findings, MOEQ_FOUND_DANGLING_LINK, 1, file->path,
                   moeq_download_advice(l->download, file->path, false, advice),
                   "a link to %s, which leads nowhere", target);
        return;
    }
    char *real = realpath(full, NULL);
    size_t inside = strlen(l->inside);
    file->leads_outside = real && !(strncmp(real, l->inside, inside) == 0 && real[inside] == '/');
    if (file->leads_outside)
        moeq_found(&l->download->findings, MOEQ_FOUND_LINK_OUTSIDE, 1, file->path,
                   "see that it is the file you mean", "a link that leaves the folder, to %s", real);
    free(real);
}

static enum moeq_status list_file(void *context, const char *path, const char *full, const char *problem,
                                  struct moeq_error *err)
{
    const struct listing *l = context;
    struct stat info, target;
    if (*problem) {
        moeq_found(&l->download->findings, MOEQ_FOUND_UNREADABLE, 1, path, NULL, "it cannot be opened: %s",
                   problem);
        return MOEQ_OK;
    }
    const bool leads = stat(full, &target) == 0;
    if (lstat(full, &info) != 0 || (!leads && !S_ISLNK(info.st_mode)))
        return MOEQ_OK; /* gone since */
    if (leads && !S_ISREG(target.st_mode) && !moeq_is_loaded(path) && !moeq_is_sums(path))
        return MOEQ_OK; /* a pipe or the like, which nobody would read */
    struct moeq_download_file *file = add_file(l->download, path, err);
    if (!file)
        return err->status;
    file->is_link = S_ISLNK(info.st_mode);
    file->is_dangling = !leads;
    file->n_bytes = leads ? (uint64_t)target.st_size : 0;
    file->modified = leads ? (double)target.st_mtime : 0;
    if (file->is_link)
        examine_link(l, full, file);
    return MOEQ_OK;
}

/* A name in a mounted archive: there are no links in it, and no times. */
static enum moeq_status list_member(void *context, const char *name, struct moeq_error *err)
{
    const struct listing *l = context;
    struct moeq_file open = {.fd = -1};
    char *full = moeq_download_path(l->download, name, err);
    enum moeq_status status = full ? moeq_file_open(&open, full, err) : MOEQ_OVER_MEMORY;
    struct moeq_download_file *file = status ? NULL : add_file(l->download, name, err);
    if (!status && !file)
        status = MOEQ_OVER_MEMORY;
    if (file)
        file->n_bytes = open.n_bytes;
    moeq_file_close(&open);
    free(full);
    return status;
}

static int by_path(const void *a, const void *b)
{
    const struct moeq_download_file *x = a, *y = b;
    return strcmp(x->path, y->path);
}

struct moeq_download_file *moeq_download_find(const struct moeq_download *download, const char *path)
{
    const struct moeq_download_file key = {.path = (char *)path};
    return download->n_files ? bsearch(&key, download->files, download->n_files, sizeof key, by_path) : NULL;
}

/* What may not be looked at counts as there: reading its records will say so. */
static bool has_entry(const struct moeq_download *d, const char *name)
{
    struct stat info;
    char *path = moeq_download_path(d, name, NULL);
    bool found = path && (lstat(path, &info) == 0 || (errno != ENOENT && errno != ENOTDIR));
    free(path);
    return found;
}

static bool is_archive(const char *folder)
{
    const char *name;
    return moeq_mounted(folder, &name) != NULL;
}

static enum moeq_status find_layout(struct moeq_download *d, struct moeq_error *err)
{
    enum moeq_status status = moeq_hub_repository_of(d->folder, &d->repository, err);
    if (status)
        return status;
    memcpy(d->commit, d->repository.commit, sizeof d->commit);
    if (is_archive(d->folder)) {
        d->layout = MOEQ_LAYOUT_ARCHIVE;
        return MOEQ_OK;
    }
    d->layout = d->repository.path                   ? MOEQ_LAYOUT_HUB_CACHE
                : has_entry(d, ".cache/huggingface") ? MOEQ_LAYOUT_HUB_LOCAL
                : has_entry(d, ".msc") || has_entry(d, ".mv") || has_entry(d, "._____temp")
                    ? MOEQ_LAYOUT_MODELSCOPE
                : has_entry(d, ".git") ? MOEQ_LAYOUT_GIT
                                       : MOEQ_LAYOUT_PLAIN;
    return MOEQ_OK;
}

enum moeq_status moeq_download_open(struct moeq_download *download, const char *folder,
                                    struct moeq_error *err)
{
    struct moeq_error local = {0};
    err = err ? err : &local;
    *download = (struct moeq_download){.folder = moeq_strdup(folder, err)};
    enum moeq_status status = download->folder ? find_layout(download, err) : MOEQ_OVER_MEMORY;
    char *real = status ? NULL : realpath(folder, NULL);
    struct listing listing = {.download = download};
    listing.inside = download->repository.path ? download->repository.path : real ? real : folder;
    if (!status)
        status = download->layout == MOEQ_LAYOUT_ARCHIVE
                     ? moeq_folder_list(folder, list_member, &listing, err)
                     : moeq_walk(folder, list_file, &listing, err);
    free(real);
    if (!status && download->n_files)
        qsort(download->files, download->n_files, sizeof *download->files, by_path);
    return status ? status : moeq_download_read_records(download, err);
}

/* The one file, and its place in the cache or in a folder of hf download. */
static enum moeq_status add_single(struct moeq_download *d, const char *path, const char *name,
                                   struct moeq_error *err)
{
    struct stat info, link;
    if (stat(path, &info) != 0) {
        enum moeq_status status = moeq_fail_errno(err, errno, "cannot open");
        moeq_error_in_file(err, path);
        return status;
    }
    enum moeq_status status = moeq_hub_repository_of(d->folder, &d->repository, err);
    struct moeq_download_file *file = status ? NULL : add_file(d, name, err);
    if (!file)
        return status ? status : MOEQ_OVER_MEMORY;
    memcpy(d->commit, d->repository.commit, sizeof d->commit);
    file->n_bytes = (uint64_t)info.st_size;
    file->modified = (double)info.st_mtime;
    file->is_shard = true;
    file->is_link = lstat(path, &link) == 0 && S_ISLNK(link.st_mode);
    const struct listing listing = {d, d->repository.path};
    if (file->is_link && listing.inside) /* another link is the file that is meant */
        examine_link(&listing, path, file);
    return MOEQ_OK;
}

enum moeq_status moeq_download_open_file(struct moeq_download *download, const char *path,
                                         struct moeq_error *err)
{
    struct moeq_error local = {0};
    const char *name = strrchr(path, '/');
    err = err ? err : &local;
    *download = (struct moeq_download){.layout = MOEQ_LAYOUT_FILE};
    download->folder = name ? strndup(path, (size_t)(name - path) + 1) : strdup(".");
    if (!download->folder)
        return moeq_fail_alloc(err, 0);
    enum moeq_status status = add_single(download, path, name ? name + 1 : path, err);
    return status ? status : moeq_download_read_records_of(download, err);
}

void moeq_download_close(struct moeq_download *download)
{
    for (size_t i = 0; i < download->n_files; i++) {
        free(download->files[i].path);
        moeq_safetensors_free(&download->files[i].header);
    }
    for (size_t i = 0; i < download->n_names; i++)
        free(download->names[i]);
    free(download->names);
    free(download->files);
    free(download->folder);
    moeq_records_free(&download->tree);
    moeq_hub_repository_free(&download->repository);
    moeq_findings_free(&download->findings);
    *download = (struct moeq_download){0};
}

/* ---- advice ---- */

/* What is printed will be pasted into a shell: a name that means something to one is not repeated. */
static bool is_harmless(const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+=,@%";
    return *text != '-' && text[strspn(text, allowed)] == '\0';
}

#define DELETE_LINK "delete the link, not what it leads to, then: "

static const char *cache_advice(const struct moeq_download *d, const char *path, bool again,
                                char dst[MOEQ_ADVICE_BYTES])
{
    const struct moeq_download_file *file = moeq_download_find(d, path);
    char first[128] = "";
    if (again && file && file->leads_outside)
        snprintf(first, sizeof first, DELETE_LINK);
    else if (again && file && file->blob[0])
        snprintf(first, sizeof first, "delete blobs/%s, or hf keeps it, then: ", file->blob);
    else if (again)
        snprintf(first, sizeof first, "delete it, or hf keeps it, then: ");
    snprintf(dst, MOEQ_ADVICE_BYTES, "%shf download %s --revision %s --include %s", first, d->repository.name,
             d->commit, path);
    return dst;
}

const char *moeq_download_advice(const struct moeq_download *download, const char *path, bool again,
                                 char dst[MOEQ_ADVICE_BYTES])
{
    const struct moeq_download_file *file = moeq_download_find(download, path);
    const bool is_foreign = file && file->leads_outside;
    const char *first = again ? is_foreign ? DELETE_LINK : "delete it, then: " : "";
    enum moeq_layout layout = download->layout;
    if (layout == MOEQ_LAYOUT_FILE && download->repository.path)
        layout = MOEQ_LAYOUT_HUB_CACHE;
    if (!is_harmless(path) || !is_harmless(download->folder) || !is_harmless(download->repository.name))
        layout = MOEQ_LAYOUT_PLAIN;
    switch (layout) {
    case MOEQ_LAYOUT_HUB_CACHE:
        return cache_advice(download, path, again, dst);
    case MOEQ_LAYOUT_HUB_LOCAL:
        snprintf(dst, MOEQ_ADVICE_BYTES, "%shf download ORG/NAME%s%s --include %s --local-dir %s", first,
                 *download->commit ? " --revision " : "", download->commit, path, download->folder);
        return dst;
    case MOEQ_LAYOUT_MODELSCOPE:
        snprintf(dst, MOEQ_ADVICE_BYTES, "%smodelscope download --model ORG/NAME %s --local_dir %s", first,
                 path, download->folder);
        return dst;
    case MOEQ_LAYOUT_ARCHIVE:
        snprintf(dst, MOEQ_ADVICE_BYTES, "get the archive again");
        return dst;
    case MOEQ_LAYOUT_GIT:
        snprintf(dst, MOEQ_ADVICE_BYTES, "%sgit lfs pull --include %s", first, path);
        return dst;
    default:
        snprintf(dst, MOEQ_ADVICE_BYTES, "%sdownload it%s", again && is_foreign ? DELETE_LINK : "",
                 again ? " again" : "");
        return dst;
    }
}
