/* The Cholesky factorization that GPTQ needs, in float64, blocked and threaded, with the same bits for any
 * number of threads and every instruction set (LAPACK promises neither).
 *
 * GPTQ (arXiv 2210.17323) inverts H, factors the inverse, H^-1 = U^T U with U upper triangular, and after
 * column i moves column j > i by -e_i U_ij / U_ii. Because U^-1 is upper triangular and H = U^-1 U^-T, the
 * transpose N of U^-1 is lower triangular with H = N^T N: a Cholesky factorization that begins at the last
 * row. The same corrections follow from N without any inverse (gptq.h), for a third of the work. */
#ifndef MOEQ_CHOLESKY_H
#define MOEQ_CHOLESKY_H

#include "bytes.h"
#include "pool.h"

/* Doubles between the rows of an [n, n] matrix that is factored: no power of two, whose rows would meet in
 * the same lines of a cache. */
static inline uint64_t moeq_cholesky_stride(uint64_t n)
{
    return moeq_round_up(n, 8) + 8;
}

/* N in place of H, a [n, n] with moeq_cholesky_stride(n) doubles a row. Of both only what is on and below the
 * diagonal is read and written. For j from the last row to the first, with sums in the order
 * k = n - 1, n - 2, … j + 1 and one rounding for each product:
 *
 *   N_jj = sqrt(H_jj - sum over k of N_kj N_kj)
 *   N_ji = (H_ji - sum over k of N_kj N_ki) / N_jj for i < j
 *
 * *is_positive: whether each N_jj was found, that is the root of a finite number above 0; if not, the matrix
 * holds nothing of use. Fails only where memory does. */
enum moeq_status moeq_cholesky(struct moeq_pool *pool, double *a, uint64_t n, bool *is_positive,
                               struct moeq_error *err);

#endif
