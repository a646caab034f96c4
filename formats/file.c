#include "file.h"

#include "mount.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static enum moeq_status open_member(struct moeq_file *file, const char *name, struct moeq_error *err)
{
    file->member = moeq_archive_find(file->archive, name);
    if (!file->member)
        return moeq_fail(err, MOEQ_IO, "cannot open: not in the archive");
    file->n_bytes = moeq_member_bytes(file->member);
    return MOEQ_OK;
}

static enum moeq_status open_on_disk(struct moeq_file *file, struct moeq_error *err)
{
    struct stat info;
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->fd < 0)
        return moeq_fail_errno(err, errno, "cannot open");
    if (fstat(file->fd, &info) != 0)
        return moeq_fail_errno(err, errno, "cannot stat");
    if (!S_ISREG(info.st_mode))
        return moeq_fail(err, MOEQ_IO, "not a regular file");
    file->n_bytes = (uint64_t)info.st_size;
    return MOEQ_OK;
}

enum moeq_status moeq_file_open(struct moeq_file *file, const char *path, struct moeq_error *err)
{
    const char *name;
    *file = (struct moeq_file){.fd = -1};
    file->path = moeq_strdup(path, err);
    if (!file->path)
        return MOEQ_OVER_MEMORY;
    file->archive = moeq_mounted(path, &name);
    enum moeq_status status = file->archive ? open_member(file, name, err) : open_on_disk(file, err);
    if (status) {
        moeq_error_in_file(err, path);
        moeq_file_close(file);
    }
    return status;
}

void moeq_file_close(struct moeq_file *file)
{
    if (file->path && file->fd >= 0)
        close(file->fd);
    free(file->path);
    *file = (struct moeq_file){.fd = -1};
}

static enum moeq_status read_member(const struct moeq_file *file, uint64_t offset, void *dst, size_t n,
                                    struct moeq_error *err)
{
    enum moeq_status status = moeq_archive_read(file->archive, file->member, offset, dst, n, err);
    if (status) {
        moeq_error_in_file(err, file->path);
        if (status == MOEQ_DAMAGED && !moeq_member_is_streamed(file->member))
            moeq_error_at(err, offset);
    }
    return status;
}

enum moeq_status moeq_file_read(const struct moeq_file *file, uint64_t offset, void *dst, size_t n,
                                struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    if (file->archive)
        return read_member(file, offset, dst, n, err);
    uint8_t *to = dst;
    while (n) {
        size_t want = n < (1u << 30) ? n : (1u << 30);
        ssize_t got = pread(file->fd, to, want, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = moeq_fail_errno(err, errno, "cannot read %zu bytes", n);
        else if (got == 0)
            status = moeq_fail(err, MOEQ_DAMAGED, "the file ends %zu bytes too early", n);
        if (status) {
            moeq_error_in_file(err, file->path);
            moeq_error_at(err, offset);
            return status;
        }
        to += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return status;
}

void moeq_file_advise(const struct moeq_file *file, uint64_t offset, uint64_t n_bytes,
                      enum moeq_file_advice advice)
{
    static const int advices[] = {
        [MOEQ_FILE_SOON] = POSIX_FADV_WILLNEED, [MOEQ_FILE_DONE] = POSIX_FADV_DONTNEED};
    if (!file->archive)
        posix_fadvise(file->fd, (off_t)offset, (off_t)n_bytes, advices[advice]);
}

enum moeq_status moeq_file_read_all(const char *path, size_t max_bytes, struct moeq_bytes *out,
                                    struct moeq_error *err)
{
    struct moeq_file file;
    enum moeq_status status = moeq_file_open(&file, path, err);
    if (status)
        return status;
    if (file.n_bytes > max_bytes)
        status = moeq_fail(err, MOEQ_DAMAGED, "%llu bytes, more than the limit of %zu",
                           (unsigned long long)file.n_bytes, max_bytes);
    else if (!(status = moeq_bytes_resize(out, (size_t)file.n_bytes + 1, err))) {
        out->data[--out->n_bytes] = '\0';
        status = moeq_file_read(&file, 0, out->data, out->n_bytes, err);
    }
    moeq_error_in_file(err, path);
    moeq_file_close(&file);
    return status;
}

enum moeq_status moeq_file_read_member(const char *dir, const char *name, size_t max_bytes,
                                       struct moeq_bytes *out, struct moeq_error *err)
{
    enum moeq_status status;
    char *path = moeq_path_join(dir, name, err);
    if (!path)
        return MOEQ_OVER_MEMORY;
    if (moeq_path_is_dir(dir) && !moeq_path_leads_to_file(path)) {
        status = moeq_fail(err, MOEQ_DAMAGED, "the file is missing");
        moeq_error_in_file(err, path);
        moeq_error_hint(err, "a checkpoint folder needs it: download it too");
    } else {
        status = moeq_file_read_all(path, max_bytes, out, err);
    }
    free(path);
    return status;
}

enum moeq_status moeq_folder_list(const char *dir, moeq_folder_visit *visit, void *context,
                                  struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    const char *name;
    const struct moeq_archive *archive = moeq_mounted(dir, &name);
    for (size_t i = 0; archive && !status && (name = moeq_archive_name(archive, i)); i++)
        status = visit(context, name, err);
    if (archive)
        return status;
    DIR *folder = opendir(dir);
    if (!folder) {
        status = moeq_fail_errno(err, errno, "cannot open the folder");
        moeq_error_in_file(err, dir);
        return status;
    }
    for (struct dirent *entry; !status && (entry = readdir(folder));)
        status = visit(context, entry->d_name, err);
    closedir(folder);
    return status;
}

const char *moeq_path_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

char *moeq_path_join(const char *dir, const char *name, struct moeq_error *err)
{
    size_t n = strlen(dir);
    bool slash = n && dir[n - 1] != '/';
    char *path = moeq_calloc(n + slash + strlen(name) + 1, 1, err);
    if (path) {
        memcpy(path, dir, n);
        if (slash)
            path[n] = '/';
        strcpy(path + n + slash, name);
    }
    return path;
}

/* 1 or 0 where a path leads into an archive: whether it is there; -1 where it leads into none. */
static int in_archive(const char *path)
{
    const char *name;
    const struct moeq_archive *archive = moeq_mounted(path, &name);
    return !archive ? -1 : !*name || moeq_archive_find(archive, name) != NULL;
}

bool moeq_path_exists(const char *path)
{
    struct stat info;
    const int found = in_archive(path);
    return found < 0 ? lstat(path, &info) == 0 : found;
}

bool moeq_path_leads_to_file(const char *path)
{
    struct stat info;
    const int found = in_archive(path);
    return found < 0 ? stat(path, &info) == 0 || errno != ENOENT : found;
}

bool moeq_path_is_dir(const char *path)
{
    struct stat info;
    const char *name;
    if (moeq_mounted(path, &name))
        return !*name;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool moeq_path_is_same(const char *a, const char *b)
{
    struct stat x, y;
    return strcmp(a, b) == 0 ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

static bool is_plain(const char *name, size_t n)
{
    if (n == 0 || (n == 1 && name[0] == '.') || (n == 2 && name[0] == '.' && name[1] == '.'))
        return false;
    for (size_t i = 0; i < n; i++)
        if (name[i] == '/' || name[i] == '\\' || (unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return false;
    return true;
}

bool moeq_name_is_plain(const char *name)
{
    return is_plain(name, strlen(name));
}

bool moeq_path_stays_inside(const char *path)
{
    for (;; path++) {
        size_t n = strcspn(path, "/");
        if (!is_plain(path, n))
            return false;
        path += n;
        if (!*path)
            return true;
    }
}
