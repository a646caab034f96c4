/* Statistics of a model's inputs on calibration texts: a folder STATS.
 *
 *   manifest.json                    model, context, arithmetic, and in order the texts with their files'
 * hashes; written last, sealed like a package's text-HHHHHHHHHHHHHHHH/           one text; the digits are the
 * first of the XXH3-128 of its tokens tokens.safetensors             "tokens" I32 [windows, context]
 *     layer-000.safetensors          of each layer:
 *       "q", "q_b", "kv_b", "o"      second moments of the inputs of attention's matrices (q or q_a; kv_a
 * shares) "dense_gate", "dense_down"   of a dense layer (up shares gate's everywhere) "all" of a layer with
 * experts: the normed states of all tokens, which are the inputs of the shared gate and, taken together, of
 * the experts "shared_down", "experts_down"   the latter summed over all experts "experts.7.gate",
 * "experts.7.down"   of an expert that has tokens "counts" I64, "squares" F64 [experts]   tokens, sums of
 * squared router weights
 *
 * Second moments of n features are the sum over tokens of weight^2 * x x^T, weight the router's or 1: F32
 * [n * (n + 1) / 2], the lower triangle row by row, summed in float64 (hessian.h) and rounded once. Texts are
 * kept apart, so that folders can be merged by putting their texts after one another; who reads several adds
 * them in the manifest's order, in float64. */
#ifndef MOEQ_STATISTICS_H
#define MOEQ_STATISTICS_H

#include "hash.h"
#include "names.h"
#include "safetensors.h"
#include "source.h"

#define MOEQ_STATISTICS_FORMAT   "moeq-statistics"
#define MOEQ_STATISTICS_VERSION  1
#define MOEQ_STATISTICS_KEY      "moeq.calibration" /* __metadata__ of a layer file: what it was made from */
#define MOEQ_MAX_STATISTICS_NAME 40

/* The tensor that holds a part's moments, by the first part that has those inputs; NULL: no part of these. */
const char *moeq_statistics_name(enum moeq_part part, int expert, char name[MOEQ_MAX_STATISTICS_NAME]);

/* Elements of a lower triangle. */
static inline uint64_t moeq_triangle(uint64_t n)
{
    return n * (n + 1) / 2;
}

struct moeq_statistics_file {
    char *path;
    struct moeq_hash hash;
};

struct moeq_statistics_text {
    const char *name, *folder; /* as given; in STATS */
    uint64_t n_windows;
    struct moeq_statistics_file tokens;
    struct moeq_statistics_file *layers; /* [n_layers] */
};

struct moeq_statistics {
    char *path;
    struct moeq_hash hash; /* of the manifest, and so of everything */
    json_t *manifest;      /* strings are borrowed from it */
    const char *model, *arithmetic;
    uint64_t n_layers, n_experts, context;
    struct moeq_statistics_text *texts;
    size_t n_texts;
};

/* What a model is known by: the hash of config.json, and of names, shapes and formats of all its weights. */
enum moeq_status moeq_statistics_model(const struct moeq_source *source, char hex[MOEQ_HASH_HEX],
                                       struct moeq_error *err);

/* Reads the manifest and checks its seal. No file is opened. */
enum moeq_status moeq_statistics_open(struct moeq_statistics *statistics, const char *path,
                                      struct moeq_error *err);
void moeq_statistics_close(struct moeq_statistics *statistics);

/* Parses a manifest's text; the first part of opening. NULL and *err set on failure. */
json_t *moeq_statistics_parse(const void *text, size_t n_bytes, struct moeq_error *err);

/* Adds up a tensor of a layer over all texts into sums [n], which hold zeros or more: F32, F64 or I64 values.
 * A text that has not this tensor adds nothing; one of another size is MOEQ_DAMAGED. */
enum moeq_status moeq_statistics_add(const struct moeq_statistics *statistics, int layer, const char *name,
                                     uint64_t n, double *sums, struct moeq_error *err);

/* The tokens of a text, [n_windows, context]. */
enum moeq_status moeq_statistics_read_tokens(const struct moeq_statistics *statistics, size_t text,
                                             int32_t *tokens, struct moeq_error *err);

/* n of all windows, evenly, [n, context]. free() them; NULL and *err set on failure. */
int32_t *moeq_statistics_windows(const struct moeq_statistics *statistics, uint64_t n,
                                 struct moeq_error *err);

/* Tokens of all texts. */
uint64_t moeq_statistics_tokens(const struct moeq_statistics *statistics);

/* Compares every file with its hash. */
enum moeq_status moeq_statistics_check(const struct moeq_statistics *statistics, struct moeq_error *err);

/* The hash of a whole file. */
enum moeq_status moeq_statistics_hash_file(const char *path, struct moeq_hash *hash, struct moeq_error *err);

#endif
