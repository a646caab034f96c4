/* A file front to back, read by a thread of its own while the caller works on what it has: for a large file
 * when there are more cores than files. */
#ifndef MOEQ_READ_AHEAD_H
#define MOEQ_READ_AHEAD_H

#include "file.h"

#define MOEQ_READ_BLOCK (1u << 20) /* bytes; only the last block is smaller */

struct moeq_read_ahead;

/* `file` stays open until _stop. NULL and *err set where there is no memory or no thread. */
struct moeq_read_ahead *moeq_read_ahead_start(const struct moeq_file *file, struct moeq_error *err);

/* The next block; it is valid until the next call. Behind the last one *n is 0. */
enum moeq_status moeq_read_ahead_next(struct moeq_read_ahead *reader, const uint8_t **data, size_t *n,
                                      struct moeq_error *err);

/* Ends the thread, at any time. NULL allowed. */
void moeq_read_ahead_stop(struct moeq_read_ahead *reader);

#endif
