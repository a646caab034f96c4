/* libarchive reading from our own files and streams: it sees callbacks, never a path.
 *
 * What fails below (I/O, a damaged stream, a signal) is kept and reported in place of libarchive's words. */
#ifndef MOEQ_FEED_H
#define MOEQ_FEED_H

#include "stream.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#define MOEQ_FEED_BYTES (256u << 10)

struct moeq_feed {
    const struct moeq_file *file; /* read where libarchive wants; or: */
    struct moeq_stream *stream;   /* read in order; both borrowed */
    uint64_t position;            /* of what comes next, in the file */
    uint64_t block;               /* where the bytes in `buffer` lie */
    size_t n_block;
    uint64_t max_bytes; /* of the stream: more is MOEQ_DAMAGED */
    struct moeq_error error;
    uint8_t buffer[MOEQ_FEED_BYTES];
};

/* Opens `archive`, whose formats and filters are chosen already, on a file or a stream; the other is NULL. */
enum moeq_status moeq_feed_open(struct moeq_feed *feed, struct archive *archive, const struct moeq_file *file,
                                struct moeq_stream *stream, struct moeq_error *err);

/* Turns the failure of a libarchive call into an error; `what` was being done. Returns its status. */
enum moeq_status moeq_feed_fail(const struct moeq_feed *feed, struct archive *archive, const char *what,
                                struct moeq_error *err);

/* Names are UTF-8 whatever the user's locale: libarchive asks the thread's. Between these two it is C.UTF-8
 * (where the system has it). */
locale_t moeq_feed_begin_utf8(void);
void moeq_feed_end_utf8(locale_t before);

#endif
