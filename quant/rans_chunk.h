/* What encoding and decoding of a stream share: the parts of a chunk, as rans.h lays them out; for rans*.c
 * alone. */
#ifndef MOEQ_RANS_CHUNK_H
#define MOEQ_RANS_CHUNK_H

#include "rans_rows.h"

#define MOEQ_RANS_HEAD_BYTES   4
#define MOEQ_RANS_LENGTH_BYTES (MOEQ_RANS_LANES / 2) /* of the states */
#define MOEQ_RANS_STATE_BYTES                                                                                \
    (2 * MOEQ_RANS_LANES + MOEQ_RANS_LENGTH_BYTES) /* the fewest; and room behind the words */
#define MOEQ_RANS_EXCEPTION_BYTES  4
#define MOEQ_RANS_MAX_TAIL_ROWS    63
#define MOEQ_RANS_TAIL_STATE       MOEQ_RANS_LOW /* that encoding a tail begins with, and decoding ends with */
#define MOEQ_RANS_TAIL_STATE_WORDS 2

/* The run that a code belongs to. */
static inline size_t moeq_rans_find_run(const struct moeq_rans_run *runs, uint64_t code)
{
    size_t i = 0;
    while (runs[i].end <= code)
        i++;
    return i;
}

#endif
