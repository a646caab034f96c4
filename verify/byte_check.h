/* Reads every file once: hashes that records ask for, and zeros in weights that no hash vouches for. */
#ifndef MOEQ_BYTE_CHECK_H
#define MOEQ_BYTE_CHECK_H

#include "download.h"
#include "pool.h"
#include "progress.h"

/* Whether reading the file tells anything: it is asked for by a record, or holds weights. */
bool moeq_file_is_read(const struct moeq_download_file *file);

/* Bytes that will be read, for progress. */
uint64_t moeq_bytes_work(const struct moeq_download *download);

/* One file a worker, see turns.h for the order. Fills was_read, digests, zeros and problem of the files. */
enum moeq_status moeq_bytes_check(struct moeq_download *download, struct moeq_pool *pool,
                                  struct moeq_progress *progress, struct moeq_error *err);

#endif
