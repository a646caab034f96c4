/* Atomic output: a file appears under its final name complete, checked and durable, or not at all.
 *
 * The bytes go to NAME.part in the same folder; finishing syncs them, lets the caller's check read them back,
 * renames, and syncs the folder. A process killed at any moment leaves at most a NAME.part, which the next
 * attempt truncates. An fsync error is final: the file is abandoned, never retried. */
#ifndef MOEQ_OUT_H
#define MOEQ_OUT_H

#include "status.h"

struct moeq_out {
    int fd;             /* -1 while closed */
    int dir_fd;         /* borrowed */
    char *name;         /* final name */
    char *temp;         /* NAME.part */
    const char *dir;    /* borrowed, for messages */
    uint64_t n_written; /* the size when it is finished */
};

/* A folder that is being written by one process at a time. */
struct moeq_out_dir {
    int fd;       /* -1 while closed */
    char *path;   /* owned */
    bool created; /* by this process */
};

/* Creates the folder if it is missing (its parent must exist) and locks it; another process holding the lock
 * is MOEQ_IO with a hint. */
enum moeq_status moeq_out_dir_open(struct moeq_out_dir *dir, const char *path, struct moeq_error *err);
void moeq_out_dir_close(struct moeq_out_dir *dir);

/* The folder that a file is to lie in, which must exist, locked as above; *name is the last part of `path`.
 * MOEQ_IO where nothing can be written there, or something lies there that is no regular file. */
enum moeq_status moeq_out_dir_of_file(struct moeq_out_dir *dir, const char *path, const char **name,
                                      struct moeq_error *err);

/* Removes the folder again if this process created it and nothing lies in it. */
void moeq_out_dir_discard(struct moeq_out_dir *dir);

/* Starts NAME.part. Space for n_bytes is reserved at once where the file system can, so that a full disk is
 * noticed before the work. */
enum moeq_status moeq_out_create(struct moeq_out *out, const struct moeq_out_dir *dir, const char *name,
                                 uint64_t n_bytes, struct moeq_error *err);
enum moeq_status moeq_out_write(struct moeq_out *out, const void *data, size_t n_bytes,
                                struct moeq_error *err);

#define MOEQ_OUT_SCRATCH (128u << 10)

/* Writes at an offset and reads the bytes back, through scratch[MOEQ_OUT_SCRATCH]: MOEQ_IO where they differ.
 * Safe from several threads. n_written does not count these: who writes a file so sets it to the size before
 * finishing.
 */
enum moeq_status moeq_out_write_at(const struct moeq_out *out, uint64_t offset, const void *data,
                                   size_t n_bytes, void *scratch, struct moeq_error *err);

/* Asks the disk to begin with n bytes that were written, so that finishing has less to wait for. A hint: no
 * failure of it matters, fsync tells. */
void moeq_out_begin_sync(const struct moeq_out *out, uint64_t offset, uint64_t n_bytes);

/* Reads a finished but not yet renamed file back. */
typedef enum moeq_status moeq_out_check(void *context, const char *path, struct moeq_error *err);

/* Syncs, checks (`check` may be NULL), renames over the final name, syncs the folder. On failure the .part
 * file is removed. Closes in either case. */
enum moeq_status moeq_out_finish(struct moeq_out *out, moeq_out_check *check, void *context,
                                 struct moeq_error *err);

/* All of these: a whole file of n bytes at once. */
enum moeq_status moeq_out_write_whole(const struct moeq_out_dir *dir, const char *name, const void *data,
                                      size_t n_bytes, moeq_out_check *check, void *context,
                                      struct moeq_error *err);

/* The same for a text at a path, in a folder that exists. */
enum moeq_status moeq_out_write_text(const char *path, const char *text, struct moeq_error *err);

/* Closes and removes the .part file. Does nothing to a closed one. */
void moeq_out_abandon(struct moeq_out *out);

#endif
