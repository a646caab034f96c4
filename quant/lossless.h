/* Weights in fewer bytes with every bit as it was: the exponents of floating-point numbers are far from
 * equally frequent (2.6 bits of information in the 8 of a BF16 weight), signs and mantissas are nearly so.
 * What is worth it goes through the coder of rans.h, the rest is kept as it is. NaN, infinities, subnormals
 * and -0 are bits like others. (ZipNN, arXiv 2411.05239, and DFloat11, arXiv 2504.11651, split BF16 alike;
 * ECF8, arXiv 2510.02676, FP8.)
 *
 * Data is n bytes; each symbol stands for 2 of them, or 1. Coded bytes are, nothing of it aligned:
 *
 *   rest    a byte a symbol, in their order; none for MOEQ_LOSSLESS_BYTES
 *   stream  of rans.h, of all symbols, in chunks of MOEQ_RANS_MAX_CHUNK
 *
 * The table is the caller's: its own or one that is shared, stored where the caller wants it. */
#ifndef MOEQ_LOSSLESS_H
#define MOEQ_LOSSLESS_H

#include "rans.h"

enum moeq_lossless {
    /* BF16, little-endian. Symbol: the exponent less 128. Rest: the mantissa and, at the top, the sign. */
    MOEQ_LOSSLESS_BF16,
    /* FP8 E4M3, two values a symbol. Symbol: the byte, two's complement, that has the exponent of the first
     * value in its low four bits and that of the second in its high ones. Rest: likewise their mantissas, of
     * three bits, with the sign above. A last value without a second has 0 beside it. */
    MOEQ_LOSSLESS_FP8_PAIRS,
    /* Any bytes, each a symbol (two's complement). For FP8 0.7% of the bytes smaller than pairs, and a
     * third slower. */
    MOEQ_LOSSLESS_BYTES,
    MOEQ_N_LOSSLESS
};

/* "bf16", "fp8 pairs", "bytes", by enum moeq_lossless. */
extern const char *const moeq_lossless_names[];

/* Adds the symbols of n bytes to a histogram. BF16: n is even. */
void moeq_lossless_count(enum moeq_lossless kind, const uint8_t *data, uint64_t n,
                         struct moeq_rans_histogram *histogram);

/* Codes n bytes (BF16: an even number), in place of what is in out. The same bytes for any threads and in
 * every instruction set. pool may be NULL. Memory beside out: the stream twice. Errors as moeq_rans_encode.
 */
enum moeq_status moeq_lossless_encode(enum moeq_lossless kind, const struct moeq_rans_table *table,
                                      const uint8_t *data, uint64_t n, struct moeq_pool *pool,
                                      struct moeq_bytes *out, struct moeq_error *err);

/* Gives back n bytes. MOEQ_DAMAGED with the offset in `coded` where that is not n bytes coded; nothing
 * outside of it is read, whatever it is, and `data` then holds anything. pool may be NULL; 128 kB a thread.
 */
enum moeq_status moeq_lossless_decode(enum moeq_lossless kind, const struct moeq_rans_decoder *decoder,
                                      const uint8_t *coded, uint64_t n_coded, uint64_t n,
                                      struct moeq_pool *pool, uint8_t *data, struct moeq_error *err);

#endif
