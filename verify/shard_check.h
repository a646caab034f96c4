/* The first half of the structure: which files the model consists of, whether they are there, and whether
 * their headers hold. What it finds is in the files of the download and in its findings. */
#ifndef MOEQ_SHARD_CHECK_H
#define MOEQ_SHARD_CHECK_H

#include "checkpoint.h"
#include "download.h"
#include "pool.h"

/* One file of weights, as the index names it or, without an index, as it lies there. */
struct moeq_check_shard {
    const char *name;                /* borrowed from the index or the file */
    struct moeq_download_file *file; /* NULL: missing */
    size_t n_promised;               /* tensors that the index places in it */
};

struct moeq_shards {
    json_t *index; /* NULL: none, or none that can be read; then nothing is promised */
    const json_t
        *weight_map; /* of the index; entries with a shard that leaves the folder are skipped by all */
    struct moeq_check_shard *items; /* by name */
    size_t n_items;
    bool complete; /* every shard is there and has a header */
};

/* Reads index and headers (in parallel). MOEQ_DAMAGED where the folder holds no trace of a model. */
enum moeq_status moeq_shards_open(struct moeq_shards *shards, struct moeq_download *download,
                                  struct moeq_pool *pool, struct moeq_error *err);
void moeq_shards_close(struct moeq_shards *shards);

/* NULL where no such shard is known. */
const struct moeq_check_shard *moeq_shards_find(const struct moeq_shards *shards, const char *name);

/* Reads a JSON file of the folder whole; NULL and a finding where it is missing (only if `needed`), a
 * pointer, or no JSON object. */
json_t *moeq_download_json(struct moeq_download *download, const char *path, size_t max_bytes, bool needed);

/* Looks whether a file of the folder is JSON of any kind, without a tree of it; a finding where it is not. */
void moeq_download_is_json(struct moeq_download *download, const char *path);

#endif
