/* What download.c and download_records.c share. */
#ifndef MOEQ_DOWNLOAD_PARTS_H
#define MOEQ_DOWNLOAD_PARTS_H

#include "download.h"

/* Joins what tools left to the listed files, and reports leftovers of downloads that did not finish. */
enum moeq_status moeq_download_read_records(struct moeq_download *download, struct moeq_error *err);

/* What tells the hash of one file: the cache, the metadata of hf download, lists of hashes beside it. Entries
 * about others are ignored. */
enum moeq_status moeq_download_read_records_of(struct moeq_download *download, struct moeq_error *err);

/* Whether it is, by its name, a list of hashes. */
bool moeq_is_sums(const char *path);

/* Whether it is, by its name, a file that a loader may want: weights, configuration, tokenizer, code. */
bool moeq_is_loaded(const char *path);

#endif
