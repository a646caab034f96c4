#include "out.h"

#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A new folder lasts once the folder that it lies in is synced. */
static enum moeq_status sync_parent(const struct moeq_out_dir *dir, struct moeq_error *err)
{
    int parent = openat(dir->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return MOEQ_OK; /* not ours to read: then the writer of that folder decides */
    enum moeq_status status =
        fsync(parent) == 0 ? MOEQ_OK : moeq_fail_errno(err, errno, "cannot make the output folder durable");
    close(parent);
    return status;
}

enum moeq_status moeq_out_dir_open(struct moeq_out_dir *dir, const char *path, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    *dir = (struct moeq_out_dir){.fd = -1};
    bool created = mkdir(path, 0777) == 0;
    if (!created && errno != EEXIST) {
        status = moeq_fail_errno(err, errno, "cannot create the output folder");
        if (status && errno == ENOENT)
            moeq_error_hint(err, "create the folder that it shall lie in");
    } else if (!moeq_path_is_dir(path)) {
        status = moeq_fail(err, MOEQ_IO, "the output exists and is not a folder");
        moeq_error_hint(err, "choose another output");
    }
    if (!status && !(dir->path = moeq_strdup(path, err)))
        status = MOEQ_OVER_MEMORY;
    if (!status && (dir->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        status = moeq_fail_errno(err, errno, "cannot open the output folder");
    if (!status && flock(dir->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        status = moeq_fail(err, MOEQ_IO, "another process is writing here");
        moeq_error_hint(err, "wait for it, or choose another output");
    }
    dir->created = created;
    if (!status && created)
        status = sync_parent(dir, err);
    if (status) {
        moeq_error_in_file(err, path);
        moeq_out_dir_discard(dir);
        moeq_out_dir_close(dir);
    }
    return status;
}

/* Renaming would fail at a folder after all the work, and put a file in the place of a pipe, a device or a
 * link. */
static enum moeq_status check_target(const struct moeq_out_dir *dir, const char *name, struct moeq_error *err)
{
    struct stat info;
    if (fstatat(dir->fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(info.st_mode)) {
        moeq_fail(err, MOEQ_IO, "the output exists and is %s",
                  S_ISDIR(info.st_mode)   ? "a folder"
                  : S_ISLNK(info.st_mode) ? "a link"
                                          : "no regular file");
        moeq_error_hint(err, "choose another output");
        return MOEQ_IO;
    }
    return faccessat(dir->fd, ".", W_OK | X_OK, AT_EACCESS) == 0
               ? MOEQ_OK
               : moeq_fail_errno(err, errno, "cannot write in the folder that it shall lie in");
}

enum moeq_status moeq_out_dir_of_file(struct moeq_out_dir *dir, const char *path, const char **name,
                                      struct moeq_error *err)
{
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    *dir = (struct moeq_out_dir){.fd = -1};
    char *parent = moeq_strdup(slash ? path : ".", err);
    if (!parent)
        return MOEQ_OVER_MEMORY;
    if (slash)
        parent[slash == path ? 1 : slash - path] = '\0';
    enum moeq_status status = MOEQ_OK;
    if (!moeq_name_is_plain(*name))
        status = moeq_fail(err, MOEQ_USAGE, "the output is no name for a file");
    else if (!moeq_path_is_dir(parent))
        status = moeq_fail(err, MOEQ_IO, "the folder that it shall lie in is not there");
    moeq_error_in_file(err, path);
    if (!status)
        status = moeq_out_dir_open(dir, parent, err);
    if (!status && !slash)
        dir->path[0] = '\0'; /* messages name the file as the user does */
    if (!status && (status = check_target(dir, *name, err))) {
        moeq_error_in_file(err, path);
        moeq_out_dir_close(dir);
    }
    free(parent);
    return status;
}

void moeq_out_dir_discard(struct moeq_out_dir *dir)
{
    if (dir->path && dir->created)
        rmdir(dir->path); /* refuses where something lies in it */
}

void moeq_out_dir_close(struct moeq_out_dir *dir)
{
    if (dir->path && dir->fd >= 0)
        close(dir->fd);
    free(dir->path);
    *dir = (struct moeq_out_dir){.fd = -1};
}

/* Errors name the final file, though it is the .part that fails. */
static void name_file(const struct moeq_out *out, struct moeq_error *err)
{
    char *path = moeq_path_join(out->dir, out->name, NULL);
    moeq_error_in_file(err, path ? path : out->name);
    free(path);
}

/* Only the reservation of space may say no; a file system that cannot reserve is fine. */
static enum moeq_status reserve(struct moeq_out *out, uint64_t n_bytes, struct moeq_error *err)
{
    if (n_bytes && fallocate(out->fd, 0, 0, (off_t)n_bytes) != 0 &&
        (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        return moeq_fail_errno(err, errno, "no room for %llu bytes", (unsigned long long)n_bytes);
    return MOEQ_OK;
}

enum moeq_status moeq_out_create(struct moeq_out *out, const struct moeq_out_dir *dir, const char *name,
                                 uint64_t n_bytes, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    *out = (struct moeq_out){.fd = -1, .dir_fd = dir->fd, .dir = dir->path};
    size_t n = strlen(name) + sizeof ".part";
    out->name = moeq_strdup(name, err);
    out->temp = out->name ? moeq_calloc(n, 1, err) : NULL;
    if (!out->temp) {
        moeq_out_abandon(out);
        return MOEQ_OVER_MEMORY;
    }
    snprintf(out->temp, n, "%s.part", name);
    out->fd = openat(dir->fd, out->temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    status = out->fd < 0 ? moeq_fail_errno(err, errno, "cannot create") : reserve(out, n_bytes, err);
    if (status) {
        name_file(out, err);
        moeq_out_abandon(out);
    }
    return status;
}

enum moeq_status moeq_out_write(struct moeq_out *out, const void *data, size_t n_bytes,
                                struct moeq_error *err)
{
    const uint8_t *from = data;
    while (n_bytes) {
        ssize_t n = write(out->fd, from, n_bytes < (1u << 30) ? n_bytes : (1u << 30));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            moeq_fail_errno(err, n < 0 ? errno : EIO, "cannot write");
            name_file(out, err);
            moeq_error_at(err, out->n_written);
            return MOEQ_IO;
        }
        from += n;
        out->n_written += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return MOEQ_OK;
}

/* A transfer of a part of the file; false where it failed for good. */
static bool transfer(const struct moeq_out *out, bool is_read, uint64_t offset, uint8_t *bytes,
                     size_t n_bytes)
{
    while (n_bytes) {
        ssize_t n = is_read ? pread(out->fd, bytes, n_bytes, (off_t)offset)
                            : pwrite(out->fd, bytes, n_bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO;
        if (n <= 0)
            return false;
        bytes += n;
        offset += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return true;
}

enum moeq_status moeq_out_write_at(const struct moeq_out *out, uint64_t offset, const void *data,
                                   size_t n_bytes, void *scratch, struct moeq_error *err)
{
    const uint8_t *bytes = data;
    enum moeq_status status = MOEQ_OK;
    if (!transfer(out, false, offset, (uint8_t *)(uintptr_t)data, n_bytes))
        status = moeq_fail_errno(err, errno, "cannot write");
    for (size_t n; !status && n_bytes; offset += n, bytes += n, n_bytes -= n) {
        n = n_bytes < MOEQ_OUT_SCRATCH ? n_bytes : MOEQ_OUT_SCRATCH;
        if (!transfer(out, true, offset, scratch, n)) {
            status = moeq_fail_errno(err, errno, "cannot read back what was written");
        } else if (memcmp(bytes, scratch, n) != 0) {
            status = moeq_fail(err, MOEQ_IO, "what was written reads back differently");
            moeq_error_hint(err, "check the disk");
        }
    }
    if (status) {
        name_file(out, err);
        moeq_error_at(err, offset);
    }
    return status;
}

void moeq_out_begin_sync(const struct moeq_out *out, uint64_t offset, uint64_t n_bytes)
{
    sync_file_range(out->fd, (off_t)offset, (off_t)n_bytes, SYNC_FILE_RANGE_WRITE);
}

static enum moeq_status make_durable(struct moeq_out *out, moeq_out_check *check, void *context,
                                     struct moeq_error *err)
{
    if (ftruncate(out->fd, (off_t)out->n_written) != 0 || fsync(out->fd) != 0)
        return moeq_fail_errno(err, errno, "cannot make the file durable");
    int fd = out->fd;
    out->fd = -1;
    if (close(fd) != 0)
        return moeq_fail_errno(err, errno, "cannot close");
    if (check) {
        char *path = moeq_path_join(out->dir, out->temp, err);
        enum moeq_status status = path ? check(context, path, err) : MOEQ_OVER_MEMORY;
        free(path);
        if (status)
            return status;
    }
    if (renameat(out->dir_fd, out->temp, out->dir_fd, out->name) != 0)
        return moeq_fail_errno(err, errno, "cannot rename %s to its final name", out->temp);
    free(out->temp);
    out->temp = NULL;
    if (fsync(out->dir_fd) != 0)
        return moeq_fail_errno(err, errno, "cannot make the folder durable");
    return MOEQ_OK;
}

enum moeq_status moeq_out_finish(struct moeq_out *out, moeq_out_check *check, void *context,
                                 struct moeq_error *err)
{
    enum moeq_status status = make_durable(out, check, context, err);
    if (status)
        name_file(out, err);
    moeq_out_abandon(out);
    return status;
}

void moeq_out_abandon(struct moeq_out *out)
{
    if (out->name) {
        if (out->fd >= 0)
            close(out->fd);
        if (out->temp)
            unlinkat(out->dir_fd, out->temp, 0);
    }
    free(out->name);
    free(out->temp);
    *out = (struct moeq_out){.fd = -1};
}

enum moeq_status moeq_out_write_whole(const struct moeq_out_dir *dir, const char *name, const void *data,
                                      size_t n_bytes, moeq_out_check *check, void *context,
                                      struct moeq_error *err)
{
    struct moeq_out out;
    enum moeq_status status = moeq_out_create(&out, dir, name, n_bytes, err);
    if (!status)
        status = moeq_out_write(&out, data, n_bytes, err);
    if (!status)
        status = moeq_out_finish(&out, check, context, err);
    moeq_out_abandon(&out);
    return status;
}

enum moeq_status moeq_out_write_text(const char *path, const char *text, struct moeq_error *err)
{
    struct moeq_out_dir dir;
    const char *name;
    enum moeq_status status = moeq_out_dir_of_file(&dir, path, &name, err);
    if (!status) {
        status = moeq_out_write_whole(&dir, name, text, strlen(text), NULL, NULL, err);
        moeq_out_dir_close(&dir);
    }
    return status;
}
