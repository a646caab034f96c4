/* A baseline: what a comparison needs of a reference model on a text, so that it needs the model itself no
 * more. Format version 1:
 *
 *   "moeqbase"                 8 bytes
 *   a frame: the header        JSON, sealed like a manifest: what it was made from and how, and all sizes
 *   a frame: tokens            I32 [windows, context]
 *   a frame for each layer     experts U16 [tokens, top_k] of a layer that has them, sketches F32 [tokens, 2]
 *                              (trace.h)
 *   a frame for each 512 scored tokens, the last of fewer
 *                              nll, total, largest, step, tail, threshold F32 [n] each,
 *                              ids U24 [n, top + sample], codes U16 [n, top + sample] (excerpt.h), codes of
 *                              top and sample as differences from the one before
 *
 * A frame is the number of its bytes as they lie there (U64), their XXH3-128 (16 bytes), and the bytes: of
 * the header as they are, otherwise compressed by zlib (RFC 1950). Arrays are compressed as planes: first the
 * lowest byte of all elements, then the next. Numbers are little-endian. The file ends with the last frame.
 *
 * Opening checks all hashes: a file that is damaged or ends early is MOEQ_DAMAGED before anything is
 * computed. */
#ifndef MOEQ_BASELINE_H
#define MOEQ_BASELINE_H

#include "excerpt.h"
#include "hash.h"
#include "out.h"
#include "trace.h"
#include "windows.h"

#define MOEQ_BASELINE_CHUNK 512u /* scored tokens of a frame */

struct moeq_baseline_header {
    char source[512];              /* the model, as it was named */
    char model[MOEQ_HASH_HEX];     /* of config.json and of names, shapes and formats of all weights */
    char manifest[MOEQ_HASH_HEX];  /* of a package: the hash of its manifest; otherwise "" */
    char tokenizer[MOEQ_HASH_HEX]; /* of its file */
    char text[MOEQ_HASH_HEX];      /* of the text, decompressed, JSON lines joined */
    char text_name[512];
    enum moeq_convention convention;
    uint64_t context, n_windows, first, n_scored; /* as in windows.h */
    uint64_t n_text_tokens;
    enum moeq_arithmetic arithmetic; /* MOEQ_EXACT or MOEQ_FAST */
    uint32_t vocabulary;
    struct moeq_excerpt_shape excerpt;
    struct moeq_trace_shape trace;
};

/* Excerpts of up to MOEQ_BASELINE_CHUNK tokens. */
struct moeq_excerpts {
    struct moeq_excerpt *tokens; /* [MOEQ_BASELINE_CHUNK] */
    uint32_t *ids;               /* [MOEQ_BASELINE_CHUNK, top + sample]: what theirs point into */
    uint16_t *codes;
};

enum moeq_status moeq_excerpts_init(struct moeq_excerpts *excerpts, struct moeq_excerpt_shape shape,
                                    struct moeq_error *err);
void moeq_excerpts_free(struct moeq_excerpts *excerpts);
uint64_t moeq_excerpts_bytes(struct moeq_excerpt_shape shape);

/* ---- writing ---- */

struct moeq_baseline_writer {
    const struct moeq_baseline_header *header; /* borrowed */
    struct moeq_out_dir dir;
    struct moeq_out out;
    struct moeq_bytes raw, packed;
};

/* Begins PATH.part with the header and the tokens [windows, context]; layers follow in order through the
 * store, then chunks of tokens. On failure nothing is left to abandon. */
enum moeq_status moeq_baseline_create(struct moeq_baseline_writer *writer, const char *path,
                                      const struct moeq_baseline_header *header, const int32_t *tokens,
                                      struct moeq_error *err);
struct moeq_trace_store moeq_baseline_keep(struct moeq_baseline_writer *writer);
enum moeq_status moeq_baseline_put(struct moeq_baseline_writer *writer, const struct moeq_excerpts *excerpts,
                                   uint64_t n, struct moeq_error *err);

/* Under its name, durable and read back. */
enum moeq_status moeq_baseline_finish(struct moeq_baseline_writer *writer, struct moeq_error *err);
void moeq_baseline_abandon(struct moeq_baseline_writer *writer); /* nothing where it is finished */

/* ---- reading ---- */

struct moeq_baseline {
    struct moeq_baseline_header header;
    int32_t *tokens; /* [windows, context] */
    struct moeq_file file;
    struct moeq_baseline_frame *frames; /* private, [n_frames] */
    size_t n_frames;
    struct moeq_bytes raw, packed;
};

enum moeq_status moeq_baseline_open(struct moeq_baseline *baseline, const char *path, struct moeq_error *err);
void moeq_baseline_close(struct moeq_baseline *baseline);

/* What the other functions read, of a file's bytes in memory: the fuzz target's entry. */
enum moeq_status moeq_baseline_parse_header(struct moeq_baseline_header *header, const void *text, size_t n,
                                            struct moeq_error *err);
enum moeq_status moeq_baseline_parse_excerpts(const struct moeq_baseline_header *header, const void *raw,
                                              size_t n_bytes, struct moeq_excerpts *out, uint64_t n,
                                              struct moeq_error *err);

struct moeq_trace_store moeq_baseline_fetch(struct moeq_baseline *baseline);

/* Excerpts of chunk `chunk`; *n of them. */
enum moeq_status moeq_baseline_get(struct moeq_baseline *baseline, uint64_t chunk, struct moeq_excerpts *out,
                                   uint64_t *n, struct moeq_error *err);

#endif
