/* Levels: how the numbers of a matrix are stored. A level is a row of one table; a format is a level with its
 * parameters, written "int4-g64", "int4-g64-asym", "fp8", "bf16".
 *
 * A matrix is [rows, cols] = [output features, input features], row-major. Its packed bytes are, in this
 * order, each plane starting where the one before ends, padded with zeros at the end to a multiple of 64
 * bytes:
 *
 *   f32, f16, bf16   the values, little-endian
 *   fp8              E4M3 codes [rows, cols]; zeros up to a multiple of 4; float32 scales
 *                    [ceil(rows/128), ceil(cols/128)]; value = code * scale. This is an FP8 release's own
 *                    weight and weight_scale_inv, so such a source is copied bit for bit.
 *   int8, int6, int5, int4, int3, int2
 *                    codes of B bits, each row a bit stream of its own: element e occupies bits [e*B, e*B+B),
 *                    least significant first, padded to whole bytes; zeros up to a multiple of 2; BF16 scales
 *                    [rows, groups], groups = ceil(cols/group).
 *                    Symmetric: value = (code - 2^(B-1)) * scale; the scale may be negative.
 *                    Asymmetric (not int8): value = (code - zero) * scale, and behind the scales the zero
 *                    points [rows, groups], of B bits each as they are codes, in the same bit streams.
 *
 *   ec               int8 codes [rows, cols]; zeros up to a multiple of 64; float32 scales [cols];
 *                    value = code * scale of its column. In a package it is entropy-coded: see ec.h
 *
 *   raw              bytes of a tensor that is not a floating-point matrix; cannot be decoded
 *
 * Any number of columns is exact: the last group or block is simply shorter. */
#ifndef MOEQ_LEVEL_H
#define MOEQ_LEVEL_H

#include "bytes.h"
#include "dtype.h"

struct moeq_level;

/* How the encoders of integers find a group's scale. What they store is the same level either way. */
enum moeq_scales {
    /* The one with the smallest squared error of some that are tried. */
    MOEQ_SCALES_SEARCH,
    /* The one under which no weight is beyond the codes, as tools without a search take it. Symmetric: the
     * weight of the largest magnitude (of two, the positive one) / -2^(B-1), so that it gets the code without
     * an opposite: ggml's Q4_0 (ggml-quants.c, d = max / -8). Largest magnitude / 7 or / 7.5, as others take
     * it, is 0.7 to 1.1 dB worse on Gaussian weights at 4 bits. Asymmetric: (largest - smallest) / (2^B - 1)
     * of the weights and 0; the zero point is -smallest / scale to the nearest. Scales are rounded to BF16
     * before codes are chosen; a weight that is then beyond the codes gets the last one. */
    MOEQ_SCALES_ABSMAX
};

/* "search", "absmax", by enum moeq_scales. */
extern const char *const moeq_scales_names[];

struct moeq_format {
    const struct moeq_level *level;
    uint32_t group; /* elements of a row that share a scale; 0 where the level has no groups */
    bool asymmetric;
    enum moeq_dtype dtype; /* of a raw tensor; for the float levels their own */
    /* For encoding; where a format says what is stored, they mean nothing. */
    enum moeq_scales scales;
    /* Of level ec: the step, and the bits a weight that it gives; where the step is 0, the bits to give. */
    float bits, step;
};

#define MOEQ_PACKED_ALIGNMENT 64
/* Rows that are encoded as one piece of work: a multiple of every level's block_rows. */
#define MOEQ_ROWS_PER_PIECE 128
#define MOEQ_FORMAT_BYTES   32 /* room for a format's text */
/* Bits a weight that level ec can be asked for. */
#define MOEQ_LEAST_EC_BITS 0.75f /* with fewer, nothing but zeros may be left */
#define MOEQ_MOST_EC_BITS  8.0f
/* Its steps: scales stay far from the ends of float32. */
#define MOEQ_LEAST_EC_STEP 0x1p-60f
#define MOEQ_MOST_EC_STEP  0x1p60f

/* A packed matrix. `data` is borrowed. */
struct moeq_matrix {
    struct moeq_format format;
    uint64_t rows, cols;
    const uint8_t *data;
    uint64_t n_bytes;
};

/* Which vector code decodes a level, if any; see kernels.h. */
enum moeq_fast_decode {
    MOEQ_FAST_NONE,
    MOEQ_FAST_INT2,
    MOEQ_FAST_INT3,
    MOEQ_FAST_INT4,
    MOEQ_FAST_INT5,
    MOEQ_FAST_INT6,
    MOEQ_FAST_INT8,
    MOEQ_FAST_FP8,
    MOEQ_FAST_BF16,
    MOEQ_FAST_EC,
    MOEQ_N_FAST_DECODES
};

struct moeq_level {
    const char *name;
    unsigned bits; /* of one code */
    enum moeq_dtype dtype;
    bool grouped, may_be_asymmetric;
    bool is_coded;       /* encoded as a whole (ec.h), and entropy-coded in a package; has no `encode` */
    bool lossy;          /* encoding may change values of a source of higher precision */
    unsigned block_rows; /* rows that share scales and are encoded together */
    enum moeq_fast_decode fast;
    bool rows_only; /* the packed bytes are those of the rows one after the other, and nothing else */
    /* Bytes of all planes without the final padding; false on overflow. */
    bool (*size)(const struct moeq_format *format, uint64_t rows, uint64_t cols, uint64_t *n_bytes);
    /* Decodes elements [col, col + n) of a row; col is a multiple of 128. NULL: cannot be decoded. */
    void (*decode)(const struct moeq_matrix *matrix, uint64_t row, uint64_t col, uint64_t n, float *out);
    /* Encodes rows [row, row + n_rows) from w [n_rows, cols]; row is a multiple of block_rows,
     * n_rows at most that, or any number where it is 1. packed is the whole matrix, zeroed before the first
     * call; different pieces may be encoded by different threads. A value that is not finite is MOEQ_DAMAGED.
     * NULL: cannot be encoded. */
    enum moeq_status (*encode)(const struct moeq_format *format, uint64_t rows, uint64_t cols, uint64_t row,
                               uint64_t n_rows, const float *w, uint8_t *packed, struct moeq_error *err);
};

/* The table, ending with a NULL name. */
extern const struct moeq_level *const moeq_levels[];

extern const struct moeq_level moeq_level_f32, moeq_level_f16, moeq_level_bf16, moeq_level_fp8, moeq_level_ec,
    moeq_level_int8, moeq_level_int6, moeq_level_int5, moeq_level_int4, moeq_level_int3, moeq_level_int2,
    moeq_level_raw;

/* Parses "int4-g64-asym", "ec:3.25" (bits a weight), "ec@0.0021" (step), "ec:3.25@0.0021" (step, and the bits
 * that it gives); a part that is not given comes from `defaults` (group, asymmetric), as do `scales`.
 * MOEQ_USAGE names the levels and groups there are. */
enum moeq_status moeq_format_parse(const char *text, struct moeq_format defaults, struct moeq_format *out,
                                   struct moeq_error *err);
/* MOEQ_USAGE where no matrix can be encoded so: at a level that is only kept, and at level ec without a goal.
 */
enum moeq_status moeq_format_check_made(struct moeq_format format, struct moeq_error *err);
const char *moeq_format_text(struct moeq_format format, char text[MOEQ_FORMAT_BYTES]);
/* Of what is stored: whatever `scales` are. */
bool moeq_format_equal(struct moeq_format a, struct moeq_format b);
/* Whether a matrix that is stored so is left as it is by what is asked for. */
bool moeq_format_keeps(struct moeq_format asked, struct moeq_format stored);

/* The float level that holds a dtype as it is, or raw. */
struct moeq_format moeq_format_of_dtype(enum moeq_dtype dtype);

/* Packed bytes of a matrix, without and with the padding to 64. MOEQ_DAMAGED where 63 bits do not suffice. */
enum moeq_status moeq_packed_size(struct moeq_format format, uint64_t rows, uint64_t cols, uint64_t *n_bytes,
                                  uint64_t *n_padded, struct moeq_error *err);

/* Decodes n elements of a row from column `col` (a multiple of 128). */
static inline void moeq_decode(const struct moeq_matrix *matrix, uint64_t row, uint64_t col, uint64_t n,
                               float *out)
{
    matrix->format.level->decode(matrix, row, col, n, out);
}

/* MOEQ_DAMAGED naming the first value of a row-major piece that is not finite; for the encoders. */
enum moeq_status moeq_check_finite(const float *w, uint64_t n_rows, uint64_t cols, uint64_t row,
                                   struct moeq_error *err);

#endif
