/* zstd through libarchive's filter, as one "raw" entry. */
#include "feed.h"

#include "interrupt.h"

#include <stdlib.h>

struct unzstd {
    struct moeq_stream base;
    struct moeq_stream *source;
    struct archive *archive;
    bool is_open, ended;
    struct moeq_feed feed;
};

static enum moeq_status open_raw(struct unzstd *u, struct moeq_error *err)
{
    struct archive_entry *entry;
    if (archive_read_support_filter_zstd(u->archive) != ARCHIVE_OK)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "this build of libarchive reads no zstd");
    if (archive_read_support_format_raw(u->archive) != ARCHIVE_OK)
        return moeq_fail_alloc(err, 0);
    u->is_open = true;
    enum moeq_status status = moeq_feed_open(&u->feed, u->archive, NULL, u->source, err);
    if (!status && archive_read_next_header(u->archive, &entry) < ARCHIVE_WARN)
        status = moeq_feed_fail(&u->feed, u->archive, "damaged zstd data", err);
    return status;
}

static enum moeq_status pull(struct moeq_stream *stream, void *dst, size_t capacity, size_t *n,
                             struct moeq_error *err)
{
    struct unzstd *u = (struct unzstd *)stream;
    *n = 0;
    enum moeq_status status = moeq_interrupt_check(err);
    if (!status && !u->is_open)
        status = open_raw(u, err);
    if (status || u->ended)
        return status;
    la_ssize_t got = archive_read_data(u->archive, dst, capacity < (1u << 30) ? capacity : (1u << 30));
    if (got < 0)
        return moeq_feed_fail(&u->feed, u->archive, "damaged zstd data", err);
    *n = (size_t)got;
    u->ended = got == 0;
    return MOEQ_OK;
}

static void close_unzstd(struct moeq_stream *stream)
{
    struct unzstd *u = (struct unzstd *)stream;
    archive_read_free(u->archive);
    moeq_stream_close(u->source);
    free(u);
}

struct moeq_stream *moeq_stream_unzstd(struct moeq_stream *source, struct moeq_error *err)
{
    struct unzstd *u = source ? moeq_calloc(1, sizeof *u, err) : NULL;
    struct archive *archive = u ? archive_read_new() : NULL;
    if (!archive) {
        if (u)
            moeq_fail_alloc(err, 0);
        free(u);
        moeq_stream_close(source);
        return NULL;
    }
    u->base = (struct moeq_stream){.pull = pull, .close = close_unzstd};
    u->source = source;
    u->archive = archive;
    return &u->base;
}
