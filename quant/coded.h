/* How packed bytes are coded in a package: matrices of level ec always (ec.h), those of some others where it
 * was asked for, by their bytes alone (pieces.h). */
#ifndef MOEQ_CODED_H
#define MOEQ_CODED_H

#include "level.h"

/* No stream gives more packed bytes than so many for each of its own: the list of its chunks alone is longer.
 */
#define MOEQ_CODED_MOST_DENSE 32768

/* The most bytes that a matrix takes when coded. MOEQ_UNSUPPORTED where it cannot be. */
enum moeq_status moeq_coded_most_bytes(struct moeq_format format, uint64_t rows, uint64_t cols,
                                       uint64_t *n_bytes, struct moeq_error *err);

/* Bytes of scratch memory that decoding needs. */
uint64_t moeq_coded_scratch_bytes(struct moeq_format format, uint64_t rows, uint64_t cols);

/* By how much coded bytes must end behind the packed ones, with their padding, to be decoded into the memory
 * that they lie in themselves; UINT64_MAX where they cannot. */
uint64_t moeq_coded_slack_bytes(struct moeq_format format, uint64_t rows, uint64_t cols);

/* Gives the packed bytes back, of moeq_packed_size, with their padding; scratch is 64-byte aligned. Whatever
 * the coded bytes are, nothing outside of them is read. MOEQ_DAMAGED with the offset in `coded`. Uses one
 * thread. */
enum moeq_status moeq_coded_decode(struct moeq_format format, uint64_t rows, uint64_t cols,
                                   const uint8_t *coded, uint64_t n_coded, uint8_t *scratch, uint8_t *packed,
                                   struct moeq_error *err);

#endif
