/* The lower triangle of a square matrix, cut into square blocks that are computed one by one. */
#ifndef MOEQ_TRIANGLE_H
#define MOEQ_TRIANGLE_H

#include "bytes.h"

/* Rows and columns of a block; a multiple of MOEQ_STRIP. */
#define MOEQ_TRIANGLE_BLOCK 192u

static inline uint64_t moeq_triangle_blocks(uint64_t n)
{
    const uint64_t n_rows = moeq_div_up(n, MOEQ_TRIANGLE_BLOCK);
    return n_rows * (n_rows + 1) / 2;
}

/* First row and column of block `index`, and the end of both: at most n. */
struct moeq_triangle_block {
    uint64_t row, row_end, col, col_end;
};

static inline struct moeq_triangle_block moeq_triangle_at(uint64_t index, uint64_t n)
{
    uint64_t row = 0;
    while (index > row)
        index -= ++row;
    struct moeq_triangle_block b = {.row = row * MOEQ_TRIANGLE_BLOCK, .col = index * MOEQ_TRIANGLE_BLOCK};
    b.row_end = n - b.row < MOEQ_TRIANGLE_BLOCK ? n : b.row + MOEQ_TRIANGLE_BLOCK;
    b.col_end = n - b.col < MOEQ_TRIANGLE_BLOCK ? n : b.col + MOEQ_TRIANGLE_BLOCK;
    return b;
}

#endif
