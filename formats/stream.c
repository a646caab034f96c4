#include "stream.h"

#include "interrupt.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_BYTES (1u << 20)

void moeq_stream_close(struct moeq_stream *stream)
{
    if (stream)
        stream->close(stream);
}

enum moeq_status moeq_stream_some(struct moeq_stream *stream, void *dst, size_t capacity, size_t *n,
                                  struct moeq_error *err)
{
    enum moeq_status status = stream->pull(stream, dst, capacity, n, err);
    if (!status)
        stream->position += *n;
    return status;
}

enum moeq_status moeq_stream_read(struct moeq_stream *stream, void *dst, size_t n, size_t *got,
                                  struct moeq_error *err)
{
    size_t some;
    *got = 0;
    while (*got < n) {
        enum moeq_status status = moeq_stream_some(stream, (uint8_t *)dst + *got, n - *got, &some, err);
        if (status || !some)
            return status;
        *got += some;
    }
    return MOEQ_OK;
}

/* Twice the room, keeping what is there. */
static enum moeq_status grow(struct moeq_bytes *bytes, size_t max_bytes, struct moeq_error *err)
{
    size_t capacity = bytes->capacity < max_bytes / 2 ? 2 * bytes->capacity : max_bytes;
    struct moeq_bytes larger = {0};
    enum moeq_status status = moeq_bytes_resize(&larger, capacity, err);
    if (status)
        return status;
    memcpy(larger.data, bytes->data, bytes->n_bytes);
    larger.n_bytes = bytes->n_bytes;
    moeq_bytes_free(bytes);
    *bytes = larger;
    return MOEQ_OK;
}

enum moeq_status moeq_stream_rest(struct moeq_stream *stream, const void *first, size_t n_first,
                                  size_t max_bytes, struct moeq_bytes *out, struct moeq_error *err)
{
    const size_t limit = max_bytes < SIZE_MAX - 64 ? max_bytes + 1 : max_bytes; /* one more is too many */
    enum moeq_status status = moeq_bytes_resize(out, n_first + FIRST_BYTES, err);
    if (status)
        return status;
    memcpy(out->data, first, n_first);
    out->n_bytes = n_first;
    for (size_t n = 1; n;) {
        if (out->n_bytes >= limit)
            return moeq_fail(err, MOEQ_DAMAGED, "more than the limit of %zu bytes", max_bytes);
        if (out->n_bytes == out->capacity && (status = grow(out, limit, err)))
            return status;
        if ((status =
                 moeq_stream_some(stream, out->data + out->n_bytes, out->capacity - out->n_bytes, &n, err)))
            return status;
        out->n_bytes += n;
    }
    if (out->n_bytes > max_bytes)
        return moeq_fail(err, MOEQ_DAMAGED, "more than the limit of %zu bytes", max_bytes);
    return MOEQ_OK;
}

bool moeq_is_gzip(const void *data, size_t n)
{
    const uint8_t *p = data;
    return n >= 2 && p[0] == 0x1f && p[1] == 0x8b;
}

/* ---- files and pipes ---- */

struct file_stream {
    struct moeq_stream base;
    const struct moeq_file *file; /* NULL: read from fd */
    int fd;
    char *path;
};

static enum moeq_status pull_file(struct moeq_stream *stream, void *dst, size_t capacity, size_t *n,
                                  struct moeq_error *err)
{
    struct file_stream *s = (struct file_stream *)stream;
    const uint64_t left = s->file->n_bytes - stream->position;
    *n = left < capacity ? (size_t)left : capacity;
    return *n ? moeq_file_read(s->file, stream->position, dst, *n, err) : MOEQ_OK;
}

static enum moeq_status pull_fd(struct moeq_stream *stream, void *dst, size_t capacity, size_t *n,
                                struct moeq_error *err)
{
    struct file_stream *s = (struct file_stream *)stream;
    for (;;) {
        enum moeq_status status = moeq_interrupt_check(err);
        if (status)
            return status;
        ssize_t got = read(s->fd, dst, capacity < (1u << 30) ? capacity : (1u << 30));
        if (got >= 0) {
            *n = (size_t)got;
            return MOEQ_OK;
        }
        if (errno != EINTR) {
            moeq_fail_errno(err, errno, "cannot read");
            moeq_error_in_file(err, s->path);
            return MOEQ_IO;
        }
    }
}

static void close_file(struct moeq_stream *stream)
{
    struct file_stream *s = (struct file_stream *)stream;
    if (!s->file)
        close(s->fd);
    free(s->path);
    free(s);
}

struct moeq_stream *moeq_stream_file(const struct moeq_file *file, struct moeq_error *err)
{
    struct file_stream *s = moeq_calloc(1, sizeof *s, err);
    if (!s)
        return NULL;
    *s = (struct file_stream){.base = {.pull = pull_file, .close = close_file}, .file = file, .fd = -1};
    return &s->base;
}

struct moeq_stream *moeq_stream_fd(int fd, const char *path, struct moeq_error *err)
{
    struct file_stream *s = moeq_calloc(1, sizeof *s, err);
    char *copy = s ? moeq_strdup(path, err) : NULL;
    if (!copy) {
        free(s);
        close(fd);
        return NULL;
    }
    *s = (struct file_stream){.base = {.pull = pull_fd, .close = close_file}, .fd = fd, .path = copy};
    return &s->base;
}
