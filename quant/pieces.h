/* Packed matrices in fewer bytes with every bit as it was: the codes, which packed bytes begin with, by
 * lossless.h, a few rows at a time so that threads share the work and a large matrix need not be in memory
 * twice; scales and zero points as they are.
 *
 * Coded bytes are, all numbers little-endian, nothing aligned:
 *
 *   for each piece of the codes [rows, row_bytes], of piece_rows rows, the last of what is left:
 *     uint32  the number of bytes that follow; as many as the piece has: these are its own. Otherwise fewer:
 *     bytes   a table of rans.h
 *     bytes   of lossless.h: BF16 for bf16, FP8_PAIRS for fp8, BYTES for int8, int4 and int2
 *   the packed bytes behind the codes
 *   zeros up to the end of the tensor
 *
 * Codes of 3, 5 and 6 bits do not end with bytes, which hides what they have in common: they are not coded.
 */
#ifndef MOEQ_PIECES_H
#define MOEQ_PIECES_H

#include "level.h"
#include "lossless.h"

/* Bytes of a piece, if so many rows as are encoded together are not more. */
#define MOEQ_PIECE_BYTES (1u << 20)

struct moeq_pieces {
    enum moeq_lossless kind;
    double share; /* of the codes' bytes that are left of trained weights, about */
    uint64_t row_bytes, piece_rows, piece_bytes;
    uint64_t n_codes; /* bytes of all pieces */
    uint64_t n_bytes; /* packed, without padding */
};

/* False where such a matrix is not coded so. */
bool moeq_pieces_of(struct moeq_format format, uint64_t rows, uint64_t cols, struct moeq_pieces *pieces);

/* The most bytes that the pieces of n_bytes take more than these, a multiple of MOEQ_PACKED_ALIGNMENT. */
uint64_t moeq_pieces_lead(const struct moeq_pieces *pieces, uint64_t n_bytes);

/* What a thread needs beside the data while it encodes a piece. */
uint64_t moeq_pieces_worker_bytes(const struct moeq_pieces *pieces);

/* Codes [n_bytes] of a matrix, whole pieces but for its last, to be coded into `out`. */
struct moeq_pieces_job {
    struct moeq_pieces pieces;
    const uint8_t *codes; /* and n_rest bytes behind them, which go along; may lie at out + lead(n_bytes) */
    uint64_t n_bytes, n_rest;
    uint8_t *out;   /* has room for lead(n_bytes) + n_bytes + n_rest */
    uint64_t n_out; /* is set: bytes that it took */
};

/* Codes all jobs on a pool. workers [jobs of the pool] are scratch, of moeq_pieces_worker_bytes each. The
 * same bytes for any threads and in every instruction set. */
enum moeq_status moeq_pieces_encode(struct moeq_pieces_job *jobs, size_t n_jobs, struct moeq_pool *pool,
                                    struct moeq_bytes *workers, struct moeq_error *err);

/* Gives the packed bytes back, without padding. Whatever the coded bytes are, nothing outside of them is
 * read. `packed` may begin before them in the same memory if they end by moeq_pieces_slack behind its end: a
 * piece is read before what it gives reaches the next. MOEQ_DAMAGED with the offset in `coded`. Uses one
 * thread, and 128 kB. */
enum moeq_status moeq_pieces_decode(const struct moeq_pieces *pieces, const uint8_t *coded, uint64_t n_coded,
                                    uint8_t *packed, struct moeq_error *err);

uint64_t moeq_pieces_slack(const struct moeq_pieces *pieces);

#endif
