/* safetensors headers, read strictly.
 *
 * Format (huggingface/safetensors README, "Format"): u64 little-endian N, N bytes of JSON, data. The tensors'
 * ranges must tile the data exactly: no hole, no overlap, nothing behind the last. Data need not be aligned.
 * Names are free text: never turn one into a path.
 *
 * Strict reading also rejects what the README forbids or does not know but the reference reader (safetensors
 * 0.8) lets pass. Lenient reading takes it with the reference's meaning: duplicate names (the last counts; a
 * different range under one name stays an error) and duplicate metadata keys (likewise), unknown fields of a
 * tensor, a tensor as the array [dtype, shape, data_offsets], a dtype as {"U8": null}, `__metadata__` null,
 * white space of any kind around the object, a NUL in a string (kept as its six characters \u0000), numbers
 * from 2^63. Only the limit on dimensions is ours in both. */
#ifndef MOEQ_SAFETENSORS_H
#define MOEQ_SAFETENSORS_H

#include "dtype.h"
#include "file.h"
#include "json.h"

#define MOEQ_MAX_DIMS               64 /* of a tensor; the format knows no limit, no framework has more */
#define MOEQ_SAFETENSORS_MAX_HEADER 100000000u /* bytes of JSON; the reference reader's limit */

enum moeq_strictness { MOEQ_STRICT, MOEQ_LENIENT };

struct moeq_tensor {
    const char *name; /* owned by the header */
    enum moeq_dtype dtype;
    size_t n_dims;
    const uint64_t *shape; /* [n_dims] */
    uint64_t offset;       /* bytes from the start of the file */
    uint64_t n_bytes;
};

struct moeq_metadata {
    const char *key, *value;
};

struct moeq_safetensors {
    struct moeq_tensor *tensors; /* in file order: by offset */
    size_t n_tensors;
    uint64_t data_offset; /* 8 + N */
    uint64_t n_bytes;     /* of the whole file */
    enum moeq_strictness strictness;
    struct moeq_metadata *metadata; /* as they stand in the file; the last of equal keys counts */
    size_t n_metadata;
    char *text; /* the header's strings, which names and metadata borrow */
    uint64_t *shapes;
};

/* Parses a header. `head` holds the first n_head bytes of a file of n_file bytes, at least 8 + N of them
 * where the file has so many. On failure nothing needs to be freed. */
enum moeq_status moeq_safetensors_parse(struct moeq_safetensors *st, const uint8_t *head, size_t n_head,
                                        uint64_t n_file, enum moeq_strictness strictness,
                                        struct moeq_error *err);

/* Reads and parses the header of an open file. */
enum moeq_status moeq_safetensors_read(struct moeq_safetensors *st, const struct moeq_file *file,
                                       enum moeq_strictness strictness, struct moeq_error *err);
void moeq_safetensors_free(struct moeq_safetensors *st);

/* The value of a __metadata__ key, or NULL. Borrowed. */
const char *moeq_safetensors_metadata(const struct moeq_safetensors *st, const char *key);

/* All of __metadata__ as a new object. */
json_t *moeq_safetensors_metadata_json(const struct moeq_safetensors *st);

/* Elements of a shape (1 for a scalar); false on overflow. */
bool moeq_shape_elements(const uint64_t *shape, size_t n_dims, uint64_t *out);

/* Fills such a header up with spaces to n_bytes, a multiple of 64, where it is shorter. */
enum moeq_status moeq_safetensors_pad_head(struct moeq_bytes *head, uint64_t n_bytes, struct moeq_error *err);

/* Builds the first 8 + N bytes of a file that holds `tensors` in this order without holes, padded with spaces
 * so that the data start at a multiple of 64. Only name, dtype, shape and n_bytes are read; offset is set.
 * `metadata` is an object of strings or NULL. */
enum moeq_status moeq_safetensors_build(struct moeq_tensor *tensors, size_t n_tensors, const json_t *metadata,
                                        struct moeq_bytes *head, struct moeq_error *err);

#endif
