#include "cholesky.h"
#include "kernels.h"
#include "triangle.h"

#include <math.h>
#include <stdlib.h>

/* Rows that are eliminated at once; a multiple of MOEQ_LANES. Blocks begin at multiples of it, so that only
 * the first one, at the end of the matrix, is ragged. */
#define BLOCK 128u

_Static_assert(BLOCK % MOEQ_LANES == 0, "a block's row is whole strips");

/* Rows [row, row + n_rows) are eliminated from the rows above. */
struct elimination {
    const struct moeq_fused *fused;
    double *a;
    uint64_t ld, row, n_rows;
    double *block;      /* [BLOCK, BLOCK]: N of the block, zeros above the diagonal */
    double *transposed; /* [BLOCK, BLOCK] */
    double *workers;    /* [jobs, WORKER_DOUBLES] */
};

#define WORKER_DOUBLES (2 * MOEQ_TRIANGLE_BLOCK * BLOCK)

/* Row j of the block less what the rows below it take, divided by its diagonal. */
static bool factor_row(const struct elimination *e, uint64_t j)
{
    const uint64_t last = e->n_rows - 1;
    double *row = e->block + j * BLOCK;
    for (uint64_t c = 0; c <= j; c += MOEQ_LANES)
        e->fused->subtract_row(e->transposed + j * BLOCK + last, -1, e->block + last * BLOCK + c,
                               -(ptrdiff_t)BLOCK, last - j, row + c);
    const double pivot = row[j];
    if (!(pivot > 0 && pivot < (double)INFINITY))
        return false;
    const double root = sqrt(pivot);
    row[j] = root;
    for (uint64_t i = 0; i < j; i++)
        row[i] /= root;
    memset(row + j + 1, 0, (BLOCK - j - 1) * sizeof *row);
    for (uint64_t i = 0; i <= j; i++)
        e->transposed[i * BLOCK + j] = row[i];
    return true;
}

static bool factor_block(const struct elimination *e)
{
    memset(e->block, 0, BLOCK * BLOCK * sizeof *e->block);
    for (uint64_t j = 0; j < e->n_rows; j++)
        memcpy(e->block + j * BLOCK, e->a + (e->row + j) * e->ld + e->row, (j + 1) * sizeof *e->a);
    for (uint64_t j = e->n_rows; j-- > 0;)
        if (!factor_row(e, j))
            return false;
    for (uint64_t j = 0; j < e->n_rows; j++)
        memcpy(e->a + (e->row + j) * e->ld + e->row, e->block + j * BLOCK, (j + 1) * sizeof *e->a);
    return true;
}

/* The block's rows left of it, MOEQ_LANES columns a strip. */
static enum moeq_status factor_strips(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                      struct moeq_error *err)
{
    const struct elimination *e = context;
    double *strip = e->workers + worker * (uint64_t)WORKER_DOUBLES;
    const uint64_t last = e->n_rows - 1;
    (void)err;
    for (uint64_t s = begin; s < end; s++) {
        double *from = e->a + e->row * e->ld + s * MOEQ_LANES;
        for (uint64_t j = 0; j < e->n_rows; j++)
            memcpy(strip + j * MOEQ_LANES, from + j * e->ld, MOEQ_LANES * sizeof *strip);
        for (uint64_t j = e->n_rows; j-- > 0;) {
            const double root = e->block[j * BLOCK + j];
            double *row = strip + j * MOEQ_LANES;
            e->fused->subtract_row(e->transposed + j * BLOCK + last, -1, strip + last * MOEQ_LANES,
                                   -MOEQ_LANES, last - j, row);
            for (uint64_t l = 0; l < MOEQ_LANES; l++)
                row[l] /= root;
            memcpy(from + j * e->ld, row, MOEQ_LANES * sizeof *row);
        }
    }
    return MOEQ_OK;
}

/* Columns [col, col_end) of the eliminated rows, the last row first: panels of `width` columns, each
 * [n_rows, width], of which the last may hold fewer. */
static void lay_out(const struct elimination *e, uint64_t col, uint64_t col_end, uint32_t width, double *to)
{
    for (; col < col_end; col += width) {
        const uint64_t n = col_end - col < width ? col_end - col : width;
        const double *from = e->a + (e->row + e->n_rows) * e->ld + col;
        for (uint64_t k = 0; k < e->n_rows; k++, to += width) {
            from -= e->ld;
            memcpy(to, from, n * sizeof *to);
        }
    }
}

static enum moeq_status update_blocks(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                      struct moeq_error *err)
{
    const struct elimination *e = context;
    const uint32_t n_rows = e->fused->rows, n_lanes = e->fused->lanes;
    double *rows = e->workers + worker * (uint64_t)WORKER_DOUBLES,
           *lanes = rows + MOEQ_TRIANGLE_BLOCK * BLOCK;
    (void)err;
    for (uint64_t i = begin; i < end; i++) {
        const struct moeq_triangle_block b = moeq_triangle_at(i, e->row);
        lay_out(e, b.row, b.row_end, n_rows, rows);
        lay_out(e, b.col, b.col_end, n_lanes, lanes);
        for (uint64_t row = b.row; row < b.row_end; row += n_rows)
            for (uint64_t col = b.col; col < b.col_end && col < row + n_rows; col += n_lanes)
                e->fused->subtract(rows + (row - b.row) * e->n_rows, 1, (ptrdiff_t)n_rows,
                                   lanes + (col - b.col) * e->n_rows, (ptrdiff_t)n_lanes, e->n_rows,
                                   e->a + row * e->ld + col, e->ld,
                                   b.row_end - row < n_rows ? b.row_end - row : n_rows);
    }
    return MOEQ_OK;
}

enum moeq_status moeq_cholesky(struct moeq_pool *pool, double *a, uint64_t n, bool *is_positive,
                               struct moeq_error *err)
{
    const uint64_t n_doubles = 2 * BLOCK * BLOCK + moeq_pool_jobs(pool) * (uint64_t)WORKER_DOUBLES;
    struct moeq_bytes scratch = {0};
    enum moeq_status status = moeq_bytes_resize(&scratch, n_doubles * sizeof(double), err);
    if (status)
        return status;
    struct elimination e = {.fused = moeq_kernels()->fused,
                            .a = a,
                            .ld = moeq_cholesky_stride(n),
                            .block = (double *)(void *)scratch.data};
    e.transposed = e.block + BLOCK * BLOCK;
    e.workers = e.transposed + BLOCK * BLOCK;
    *is_positive = true;
    for (uint64_t left = n; !status && *is_positive && left; left = e.row) {
        e.row = (left - 1) / BLOCK * BLOCK;
        e.n_rows = left - e.row;
        *is_positive = factor_block(&e);
        if (*is_positive && e.row)
            status = moeq_pool_for(pool, e.row / MOEQ_LANES, 1, factor_strips, &e, err);
        if (*is_positive && e.row && !status)
            status = moeq_pool_for(pool, moeq_triangle_blocks(e.row), 1, update_blocks, &e, err);
    }
    moeq_bytes_free(&scratch);
    return status;
}
