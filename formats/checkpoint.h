/* A released checkpoint on disk: a folder with config.json and safetensors, sharded with
 * model.safetensors.index.json or a single file. Opening reads every header and no tensor data.
 *
 * Strict: every tensor of the index must be in its shard and every tensor of a shard in the index, no name
 * twice, no shard outside the folder. A shard that is missing or short is MOEQ_DAMAGED and named. */
#ifndef MOEQ_CHECKPOINT_H
#define MOEQ_CHECKPOINT_H

#include "safetensors.h"

#define MOEQ_INDEX_NAME      "model.safetensors.index.json"
#define MOEQ_MAX_INDEX_BYTES (256u << 20)

struct moeq_shard {
    char *name; /* file name in the folder */
    struct moeq_file file;
    struct moeq_safetensors st;
};

struct moeq_located {
    const struct moeq_tensor *tensor;
    uint32_t shard;
};

struct moeq_checkpoint {
    char *dir;                 /* NULL: a single file, whose shard's name is its path */
    struct moeq_shard *shards; /* by name */
    size_t n_shards;
    struct moeq_located *tensors; /* by name */
    size_t n_tensors;
    enum moeq_strictness strictness;
};

/* Headers are read strictly. On failure nothing needs to be closed; where a header is one that lenient
 * reading takes, the hint says so. */
enum moeq_status moeq_checkpoint_open(struct moeq_checkpoint *checkpoint, const char *dir,
                                      struct moeq_error *err);
enum moeq_status moeq_checkpoint_open_as(struct moeq_checkpoint *checkpoint, const char *dir,
                                         enum moeq_strictness strictness, struct moeq_error *err);

/* A single safetensors file, whatever lies beside it, as a checkpoint of one shard. */
enum moeq_status moeq_checkpoint_open_file(struct moeq_checkpoint *checkpoint, const char *path,
                                           enum moeq_strictness strictness, struct moeq_error *err);
void moeq_checkpoint_close(struct moeq_checkpoint *checkpoint);

/* True for a folder with config.json and no weights at all: neither an index nor a .safetensors file. */
bool moeq_checkpoint_is_bare(const char *dir);

/* NULL where there is no such tensor. */
const struct moeq_located *moeq_checkpoint_find(const struct moeq_checkpoint *checkpoint, const char *name);

/* Reads a tensor's n_bytes into dst. Safe from several threads. */
enum moeq_status moeq_checkpoint_read(const struct moeq_checkpoint *checkpoint,
                                      const struct moeq_located *located, void *dst, struct moeq_error *err);

/* The same for n_bytes from byte `from` of the tensor, which must lie within it. */
enum moeq_status moeq_checkpoint_read_part(const struct moeq_checkpoint *checkpoint,
                                           const struct moeq_located *located, uint64_t from,
                                           uint64_t n_bytes, void *dst, struct moeq_error *err);

/* The shard names of an index file's text, each once, sorted; the fuzz target's entry. *json keeps the parsed
 * index, whose strings the names borrow. The array is freed with free(). */
enum moeq_status moeq_index_parse(const void *text, size_t n_bytes, json_t **json, const char ***shards,
                                  size_t *n_shards, struct moeq_error *err);

#endif
