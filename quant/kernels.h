/* The inner loops, compiled once for each instruction set and chosen once at start.
 *
 * A product y = x * W^T is cut into blocks: a few rows of W, decoded, stay in the cache as they are
 * (row-major), and a block of tokens is laid out so that a vector holds one input feature of several tokens.
 * One weight is then broadcast and multiplied by all tokens of the block; the sums stay in registers while
 * the whole row runs through. Every sum is taken in the order of the input features, so a result does not
 * depend on how many tokens or threads there are. */
#ifndef MOEQ_KERNELS_H
#define MOEQ_KERNELS_H

#include "fused.h"
#include "level.h"

#define MOEQ_MAX_BLOCK_TOKENS 32
#define MOEQ_MAX_BLOCK_ROWS   12
#define MOEQ_FEW_TOKENS       4
#define MOEQ_FEW_CHUNK        128 /* features */
#define MOEQ_GROUPS_AT_ONCE   16

struct moeq_rans_rows;

struct moeq_kernels {
    const char *name; /* "baseline", "avx2", "avx512", "avx512bf16" */
    uint32_t rows;    /* of W that are multiplied at once */
    uint32_t tokens;  /* of a full block */

    /* out[r * ldo + t] = sum over k of w[r * ldw + k] * x[k * tokens + t], for r < n_rows <= rows and every
     * token of a block; where n_tokens is not above tokens / 2, only the first half is written. All `rows`
     * rows of w can be read. float32; fused where the set has fused instructions. */
    void (*multiply)(const float *w, uint64_t ldw, const float *x, uint64_t n_k, float *out, uint64_t ldo,
                     uint64_t n_rows, uint64_t n_tokens);

    /* The same from BF16 pairs with float32 sums: x[(k / 2 * tokens + t) * 2 + k % 2]; n_k is even. Where
     * `group` is not 0, the weights are codes of which so many share a scale: the sum of a group is
     * multiplied by scales[r * n_scales + g] before it is added to the others, so that nothing of a weight is
     * rounded. NULL where the set has no such instruction. */
    void (*multiply_bf16)(const uint16_t *w, uint64_t ldw, const float *scales, uint64_t n_scales,
                          uint32_t group, const uint16_t *x, uint64_t n_k, float *out, uint64_t ldo,
                          uint64_t n_rows, uint64_t n_tokens);
    /* Lays out rows of features as multiply_bf16 wants them: to[(p * tokens + t) * 2 + i] is
     * rows[(2 * p + i) * tokens + t] as to_bf16 rounds it. */
    void (*pair_rows)(const float *rows, uint64_t n_pairs, uint16_t *to);
    /* To the nearest, ties to even; what is subnormal may become zero, as in the CPU's own conversion. */
    void (*to_bf16)(const float *from, uint64_t n, uint16_t *to);

    /* Makes scores [n] into probabilities: of x = scale * score, exp(x - largest) / sum. Minus infinity
     * becomes 0; n >= 1 and not all of them are. scale > 0. */
    void (*softmax)(float *scores, uint64_t n, float scale);
    /* Rows of a packed matrix times 1 to MOEQ_FEW_TOKENS tokens, out[t * ldo + r]; x is one token after the
     * other with ldx elements between, each laid out by few_lay_out in zeros up to twice its features, made a
     * multiple of 2 * MOEQ_FEW_CHUNK. Products of BF16, sums of float32 in an order of the set's own. Zero
     * points must be the same in a chunk. NULL: there is none for the level. */
    void (*few_lay_out[MOEQ_N_FAST_DECODES])(const float *x, uint64_t n, uint16_t *to);
    void (*few_dot[MOEQ_N_FAST_DECODES])(const struct moeq_matrix *matrix, uint64_t row, uint64_t n_rows,
                                         const uint16_t *x, uint64_t ldx, uint64_t n_tokens, float *out,
                                         uint64_t ldo);
    /* Sum of a[i] * b[i], in an order of the set's own. */
    float (*dot)(const float *a, const float *b, uint64_t n);
    /* out[i] = sum over r of weights[r] * x[r * ldx + i], for i < n, in the order of the rows. float32; fused
     * where the set has fused instructions. */
    void (*mix_rows)(const float *weights, const float *x, uint64_t ldx, uint64_t n_rows, uint64_t n,
                     float *out);

    /* The sum of exp(x[i] - shift), and where `other` is not NULL in *cross that of exp(x[i] - shift) * (x[i]
     * - other[i]), in float64, in an order of the set's own. x[i] <= shift; NaN gives NaN. */
    double (*sum_exponentials)(const float *x, uint64_t n, double shift, const float *other, double *cross);
    /* gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i] */
    void (*silu_product)(float *gate, const float *up, uint64_t n);

    /* Integers for n weights of a row in at most MOEQ_GROUPS_AT_ONCE groups, of which the last may be
     * shorter: n codes of the format's bits, packed as the level packs a row; of each group the BF16 scale
     * and the code of the value 0. The weights are finite; nothing behind the last one is read. The same bits
     * in every set. */
    void (*encode_group)(const struct moeq_format *format, const float *row, uint32_t n, uint8_t *codes,
                         uint16_t *scales, uint8_t *zeros);

    /* What the set's multiply-add instruction does at most: runs it n times from registers to registers and
     * gives the number of arithmetic operations (two for each multiply-add). NULL where there is no such
     * instruction. */
    uint64_t (*peak_f32)(uint64_t n);
    uint64_t (*peak_f64)(uint64_t n);
    uint64_t (*peak_bf16)(uint64_t n);
    uint64_t (*peak_int8)(uint64_t n);

    /* What calibration computes with: the same bits in every set. */
    const struct moeq_fused *fused;
    /* What entropy coding runs through (rans_rows.h): the same bytes in every set. */
    const struct moeq_rans_rows *rans;

    /* Decodes a row as the level's own decode does, to the bit; NULL: that one is used. */
    void (*decode[MOEQ_N_FAST_DECODES])(const struct moeq_matrix *matrix, uint64_t row, uint64_t col,
                                        uint64_t n, float *out);

    /* A row's codes without their scales (value = code * scale): integers, or E4M3 values, all of them exact
     * in BF16. NULL: the level has no scales. */
    void (*decode_codes[MOEQ_N_FAST_DECODES])(const struct moeq_matrix *matrix, uint64_t row, uint64_t n,
                                              float *out);
};

/* The best set that this CPU and operating system support, or the one named by MOEQ_CPU in the environment
 * (scalar, avx2, avx512, avx512bf16) where it is supported. Constant after the first call. */
const struct moeq_kernels *moeq_kernels(void);

/* MOEQ_USAGE where MOEQ_CPU names a set that there is not, or that this machine cannot run: moeq_kernels then
 * takes the best. */
enum moeq_status moeq_kernels_check(struct moeq_error *err);

/* Decodes a row of a packed matrix, out [cols], by the set's own code where it has some for the level. */
static inline void moeq_kernels_decode_row(const struct moeq_kernels *kernels,
                                           const struct moeq_matrix *matrix, uint64_t row, float *out)
{
    const struct moeq_level *level = matrix->format.level;
    (kernels->decode[level->fast] ? kernels->decode[level->fast] : level->decode)(matrix, row, 0,
                                                                                  matrix->cols, out);
}

/* All sets that this machine can run, for tests: NULL past the last. */
const struct moeq_kernels *moeq_kernels_at(size_t index);

#endif
