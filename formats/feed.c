#include "feed.h"

#include <errno.h>

static la_ssize_t fail_callback(struct archive *archive, const struct moeq_feed *feed)
{
    archive_set_error(archive, EIO, "%s", feed->error.message);
    return ARCHIVE_FATAL;
}

static la_ssize_t read_block(struct archive *archive, void *context, const void **data)
{
    struct moeq_feed *feed = context;
    *data = feed->buffer;
    feed->block = feed->stream ? feed->stream->position : feed->position;
    feed->n_block = 0;
    if (feed->stream) {
        if (moeq_stream_some(feed->stream, feed->buffer, sizeof feed->buffer, &feed->n_block, &feed->error))
            return fail_callback(archive, feed);
        if (feed->stream->position > feed->max_bytes) {
            moeq_fail(&feed->error, MOEQ_DAMAGED, "it decompresses to more than %llu bytes",
                      (unsigned long long)feed->max_bytes);
            moeq_error_hint(&feed->error, "weights do not compress so well: this is no model");
            return fail_callback(archive, feed);
        }
        return (la_ssize_t)feed->n_block;
    }
    uint64_t left = feed->file->n_bytes - feed->position;
    size_t n = left < sizeof feed->buffer ? (size_t)left : sizeof feed->buffer;
    if (n && moeq_file_read(feed->file, feed->position, feed->buffer, n, &feed->error))
        return fail_callback(archive, feed);
    feed->n_block = n;
    feed->position += n;
    return (la_ssize_t)n;
}

static la_int64_t skip(struct archive *archive, void *context, la_int64_t request)
{
    struct moeq_feed *feed = context;
    (void)archive;
    if (feed->stream || request <= 0)
        return 0;
    uint64_t left = feed->file->n_bytes - feed->position;
    uint64_t n = (uint64_t)request < left ? (uint64_t)request : left;
    feed->position += n;
    return (la_int64_t)n;
}

static la_int64_t seek(struct archive *archive, void *context, la_int64_t offset, int whence)
{
    struct moeq_feed *feed = context;
    (void)archive;
    uint64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? feed->position : feed->file->n_bytes;
    la_int64_t to;
    if (__builtin_add_overflow((la_int64_t)base, offset, &to) || to < 0 || (uint64_t)to > feed->file->n_bytes)
        return ARCHIVE_FATAL;
    feed->position = (uint64_t)to;
    return to;
}

enum moeq_status moeq_feed_open(struct moeq_feed *feed, struct archive *archive, const struct moeq_file *file,
                                struct moeq_stream *stream, struct moeq_error *err)
{
    feed->file = file;
    feed->stream = stream;
    feed->position = 0;
    feed->n_block = 0;
    feed->max_bytes = UINT64_MAX;
    feed->error = (struct moeq_error){0};
    archive_read_set_read_callback(archive, read_block);
    if (file) {
        archive_read_set_skip_callback(archive, skip);
        archive_read_set_seek_callback(archive, seek);
    }
    if (archive_read_set_callback_data(archive, feed) != ARCHIVE_OK)
        return moeq_fail_alloc(err, 0);
    return archive_read_open1(archive) == ARCHIVE_OK ? MOEQ_OK
                                                     : moeq_feed_fail(feed, archive, "cannot be opened", err);
}

enum moeq_status moeq_feed_fail(const struct moeq_feed *feed, struct archive *archive, const char *what,
                                struct moeq_error *err)
{
    const char *why = archive_error_string(archive);
    const size_t n = why ? strcspn(why, "\r\n") : 0; /* some of libarchive's texts end in a newline */
    if (feed->error.status) {
        if (err && !err->status)
            *err = feed->error;
        return feed->error.status;
    }
    if (archive_errno(archive) == ENOMEM)
        return moeq_fail_alloc(err, 0);
    return moeq_fail(err, MOEQ_DAMAGED, "%s: %.*s", what, n ? (int)n : 7, n ? why : "damaged");
}

locale_t moeq_feed_begin_utf8(void)
{
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    return utf8 ? uselocale(utf8) : (locale_t)0;
}

void moeq_feed_end_utf8(locale_t before)
{
    if (before)
        freelocale(uselocale(before));
}
