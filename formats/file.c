#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum moeq_status moeq_file_open(struct moeq_file *file, const char *path, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    *file = (struct moeq_file){.fd = -1};
    file->path = moeq_strdup(path, err);
    if (!file->path)
        return MOEQ_OVER_MEMORY;
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (file->fd < 0)
        status = moeq_fail_errno(err, errno, "cannot open");
    else if (fstat(file->fd, &info) != 0)
        status = moeq_fail_errno(err, errno, "cannot stat");
    else if (!S_ISREG(info.st_mode))
        status = moeq_fail(err, MOEQ_IO, "not a regular file");
    else
        file->n_bytes = (uint64_t)info.st_size;
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

enum moeq_status moeq_file_read(const struct moeq_file *file, uint64_t offset, void *dst, size_t n,
                                struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
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
    else if (!(status = moeq_bytes_resize(out, (size_t)file.n_bytes, err)))
        status = moeq_file_read(&file, 0, out->data, out->n_bytes, err);
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

bool moeq_path_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

bool moeq_path_leads_to_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 || errno != ENOENT;
}

bool moeq_path_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
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
