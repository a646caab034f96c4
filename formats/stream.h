/* Bytes that come in order, once: from a file or a pipe, or decompressed on the way.
 *
 * A stream on top of another owns it. Streams of damaged data end in MOEQ_DAMAGED: gzip checks length and
 * CRC of every member, zstd the frame and its checksum where it has one. Behind the last member gzip allows
 * zeros up to the end, as tapes leave them, and nothing else; zstd allows nothing. A signal is
 * MOEQ_INTERRUPTED. */
#ifndef MOEQ_STREAM_H
#define MOEQ_STREAM_H

#include "bytes.h"
#include "file.h"

struct moeq_stream {
    /* private: puts 1 … capacity bytes into dst, or *n = 0 at the end */
    enum moeq_status (*pull)(struct moeq_stream *stream, void *dst, size_t capacity, size_t *n,
                             struct moeq_error *err);
    void (*close)(struct moeq_stream *stream);
    uint64_t position; /* bytes that have come so far */
};

/* Of a file, from its start; `file` is borrowed. Each NULL with *err set where memory is out. */
struct moeq_stream *moeq_stream_file(const struct moeq_file *file, struct moeq_error *err);
/* Of a descriptor that may be a pipe; closed with the stream. `path` is for messages. */
struct moeq_stream *moeq_stream_fd(int fd, const char *path, struct moeq_error *err);
/* Decompressed; `source` is closed also where this fails, and may be NULL (with *err set already). `first`
 * are n_first <= MOEQ_GZIP_MAGIC bytes that were read from it before. */
struct moeq_stream *moeq_stream_gunzip(struct moeq_stream *source, const void *first, size_t n_first,
                                       struct moeq_error *err);
struct moeq_stream *moeq_stream_unzstd(struct moeq_stream *source, struct moeq_error *err);
void moeq_stream_close(struct moeq_stream *stream); /* NULL allowed */

/* At most `capacity` bytes, as many as come at once; *n = 0 only at the end. */
enum moeq_status moeq_stream_some(struct moeq_stream *stream, void *dst, size_t capacity, size_t *n,
                                  struct moeq_error *err);

/* Exactly n bytes, or fewer at the end: *got. */
enum moeq_status moeq_stream_read(struct moeq_stream *stream, void *dst, size_t n, size_t *got,
                                  struct moeq_error *err);

/* All that is left, with n_first bytes in front; more than max_bytes together is MOEQ_DAMAGED. */
enum moeq_status moeq_stream_rest(struct moeq_stream *stream, const void *first, size_t n_first,
                                  size_t max_bytes, struct moeq_bytes *out, struct moeq_error *err);

#define MOEQ_GZIP_MAGIC 2 /* bytes */

/* True where these bytes begin a gzip stream. No UTF-8 text begins so. */
bool moeq_is_gzip(const void *data, size_t n);

#endif
