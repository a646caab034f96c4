/* One view of a model's weights, whether a released checkpoint or a moeq package: a list of named weights,
 * each with shape and format, that can be loaded as packed matrices.
 *
 * A checkpoint's tensors become weights in release.c: FP8 with its weight_scale_inv, INT4 with its scales,
 * the experts of a fused tensor one by one. So a lossless conversion is a copy of packed bytes, and the
 * runtime computes from either alike. What is read from a package is checked against its hashes. */
#ifndef MOEQ_SOURCE_H
#define MOEQ_SOURCE_H

#include "checkpoint.h"
#include "config.h"
#include "level.h"
#include "names.h"
#include "package.h"
#include "place.h"

struct moeq_weight {
    const char *name;
    struct moeq_name id;
    struct moeq_format format;
    size_t n_dims;
    const uint64_t *shape; /* [n_dims]; owned by the source */
    uint64_t rows, cols;   /* the last dimension is cols, the others together rows; a scalar is 1 x 1 */
    uint64_t n_bytes;      /* packed, without padding */
    uint64_t n_padded;     /* packed, a multiple of 64 */
    bool is_coded;         /* of a package, also one that is only planned: see coded.h */
    bool had_goal;         /* of a package: bits or a step were asked for, so no coded bytes were copied */
    uint64_t n_stored;     /* likewise: bytes in the file */
    size_t place;          /* private: of a package, index into its tensors */
    size_t n_spans;        /* private: of a checkpoint, where the packed bytes come from */
    struct moeq_span {
        size_t tensor;          /* index into the checkpoint's tensors */
        uint64_t from, n_bytes; /* in that tensor */
        uint64_t at;            /* in the packed bytes; what no span fills is zero */
    } spans[2];
    size_t shape_tensor; /* private: a tensor whose two values must be rows and cols; SIZE_MAX: none */
};

/* Bytes that a weight has where it is stored, without padding where it is not coded. */
static inline uint64_t moeq_weight_stored_bytes(const struct moeq_weight *weight)
{
    return weight->is_coded ? weight->n_stored : weight->n_bytes;
}

/* Sets rows, cols and packed sizes from shape and format. */
enum moeq_status moeq_weight_set_shape(struct moeq_weight *weight, const uint64_t *shape, size_t n_dims,
                                       struct moeq_error *err);

/* How a package stores a weight: with its own dtype and shape (what keeps its precision, and what is not a
 * floating-point matrix), or as packed bytes (what may have a level, and FP8 with its scales). */
bool moeq_stored_natively(enum moeq_part part, struct moeq_format format);

struct moeq_source {
    bool is_package;
    struct moeq_checkpoint checkpoint;
    struct moeq_package package;
    struct moeq_config config;
    struct moeq_place place;
    const char *path;            /* of the folder: the place's */
    struct moeq_weight *weights; /* by name */
    size_t n_weights;
    const struct moeq_weight **by_part; /* [n_by_part]: those of known parts, by part, layer and expert */
    size_t n_by_part;
    char **made_names; /* [n_made_names]: names of weights that no tensor has */
    size_t n_made_names;
    uint64_t (*made_shapes)[2]; /* [n_weights] of those */
};

/* Opens a checkpoint folder or a package; reads headers, config.json and, of a package, checks all hashes but
 * those of the segments. The architecture must be one that config.h knows. On failure nothing to close. */
enum moeq_status moeq_source_open(struct moeq_source *source, const char *path, struct moeq_error *err);
/* The same, with the headers of a checkpoint (not of a package) read strictly or leniently. */
enum moeq_status moeq_source_open_as(struct moeq_source *source, const char *path,
                                     enum moeq_strictness strictness, struct moeq_error *err);
void moeq_source_close(struct moeq_source *source);

/* NULL where there is none. */
const struct moeq_weight *moeq_source_find(const struct moeq_source *source, const char *name);

/* The file that the first of its bytes lie in; lives as long as the source. */
const char *moeq_source_file(const struct moeq_source *source, const struct moeq_weight *weight);

/* A part's weight, whatever its name in the files; -1 where the part has no layer or expert. NULL where there
 * is none. */
const struct moeq_weight *moeq_source_part(const struct moeq_source *source, enum moeq_part part, int layer,
                                           int expert);

/* Loads n weights into one buffer and describes them in matrices[n]; the matrices live as long as the buffer
 * is not resized. Weights of one segment that follow each other are read at once and hashed once. Thread-safe
 * for different buffers. */
enum moeq_status moeq_source_load(const struct moeq_source *source, const struct moeq_weight *const *weights,
                                  size_t n, struct moeq_bytes *buffer, struct moeq_matrix *matrices,
                                  struct moeq_error *err);

/* The same into memory of the caller, 64-byte aligned, of moeq_source_load_bytes. */
enum moeq_status moeq_source_load_at(const struct moeq_source *source,
                                     const struct moeq_weight *const *weights, size_t n, uint8_t *dst,
                                     struct moeq_matrix *matrices, struct moeq_error *err);

/* The parts of that: reads, so that matrices have coded bytes where weights are coded; *end is where they end
 * in dst, and what is left of it serves to unpack. */
enum moeq_status moeq_source_read_at(const struct moeq_source *source,
                                     const struct moeq_weight *const *weights, size_t n, uint8_t *dst,
                                     uint8_t **end, struct moeq_matrix *matrices, struct moeq_error *err);

/* From the coded bytes of a matrix its packed ones, of n_padded; scratch of moeq_coded_scratch_bytes. */
enum moeq_status moeq_source_unpack(const struct moeq_source *source, const struct moeq_weight *weight,
                                    uint8_t *scratch, uint8_t *packed, struct moeq_matrix *matrix,
                                    struct moeq_error *err);

/* Of a checkpoint: packed bytes [from, from + n_bytes) of a weight, at most n_padded; what no span fills is
 * zero. Thread-safe. */
enum moeq_status moeq_source_read_packed(const struct moeq_source *source, const struct moeq_weight *weight,
                                         uint64_t from, uint64_t n_bytes, uint8_t *dst,
                                         struct moeq_error *err);

/* Of a package: the segment that a weight lies in. */
const struct moeq_segment *moeq_source_segment(const struct moeq_source *source,
                                               const struct moeq_weight *weight);

/* Tells the system that these weights will be loaded, or will not be loaded again. */
void moeq_source_advise(const struct moeq_source *source, const struct moeq_weight *const *weights, size_t n,
                        enum moeq_file_advice advice);

/* Whether any of its files lies compressed in an archive. */
bool moeq_source_is_decompressed(const struct moeq_source *source);

/* Whether two weights are of one segment of a package, which is read, and its hash checked, as a whole: load
 * them together, or it is read twice. */
bool moeq_source_one_read(const struct moeq_source *source, const struct moeq_weight *a,
                          const struct moeq_weight *b);

/* Bytes of a weight as it is read, coded where it is: of a package those of its whole segment. */
uint64_t moeq_source_read_bytes(const struct moeq_source *source, const struct moeq_weight *weight);

/* Bytes that moeq_source_load needs in its buffer for these weights. */
uint64_t moeq_source_load_bytes(const struct moeq_source *source, const struct moeq_weight *const *weights,
                                size_t n);

#endif
