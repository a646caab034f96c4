/* GPTQ: codes that make the output error small on what the matrix is multiplied by (arXiv 2210.17323), not
 * the error of the weights.
 *
 * W [rows, n] becomes Q of a level, H [n, n] is the mean of the inputs' second moments (hessian.h), damped.
 * The error tr((W - Q) H (W - Q)^T) falls apart into rows, and with H = N^T N (cholesky.h) into columns:
 * where E = Q - W and T_ji = N_ji / N_jj, it is the sum over j of N_jj^2 (E_j + sum over i < j of E_i
 * T_ji)^2. So columns are taken one after the other, and column j becomes the codes nearest to
 *
 *   W'_j = W_j - E_0 T_j0 - E_1 T_j1 - … - E_{j-1} T_{j,j-1}
 *
 * in float64, summed in this order with one rounding for each product. That is GPTQ's step (its U is the
 * transpose of N^-1) in the form of LDLQ (QuIP, arXiv 2307.13304), and Babai's nearest plane on the lattice
 * of N (arXiv 2507.18553): the same codes up to ties of rounding, without inverting H, and with corrections
 * that are sums over exact errors. Blocks of 128 columns are only an order of work: the bits are those of the
 * plain loop, for any number of threads and every instruction set.
 *
 * Order of the columns: as they lie, or by their diagonal of H from the largest on, of equals the first.
 * Groups are static: a group is columns that lie together, whatever their order, and its scale is found from
 * the original weights, so that the packed bytes are the ordinary ones of the level. Integers: of the scales
 * that the level's own search tries (and zero points), rounded to BF16, the one with the smallest sum of
 * squared errors weighted by the damped diagonal of H, or by N_jj^2. FP8: the level's own scales.
 *
 * A dead column, whose diagonal is 0 or below, never had an input: H_jj is taken as 1, apart from all others,
 * and its weights become 0. */
#ifndef MOEQ_GPTQ_H
#define MOEQ_GPTQ_H

#include "hessian.h"
#include "level.h"

struct moeq_gptq_options {
    double damping;        /* of the mean over all columns that are not dead, added to the diagonal; >= 0 */
    bool activation_order; /* by the diagonal of H, not as the columns lie */
    /* Scales are searched with errors weighted by N_jj^2, what no other column can make up for, instead of
     * the damped diagonal. On inputs of tests/bench/bench_gptq.c the error is 1.4% smaller at 4 bits, 3% at 3
     * and 5% at 2, and 1% larger at 6 and 8. */
    bool pivot_weights;
};

/* What all matrices with the same inputs share. */
struct moeq_gptq_factor {
    uint64_t n, ld, n_dead;
    uint32_t *order;   /* [n]: the column that is taken as the i-th */
    double *t;         /* [n, ld]: T, in the order of `order`, below the diagonal */
    double *pivots;    /* [n]: N_jj^2, in the order of `order` */
    double *diagonal;  /* [n]: of H with damping, by column; 0 for dead ones */
    double *weights;   /* [n]: of a column's squared error in the search of scales; 0 for dead ones */
    double damping;    /* that was taken */
    double added;      /* damping * mean diagonal: what was added to each element of the diagonal */
    unsigned n_raised; /* times that damping was made tenfold, because H was not positive with less */
};

/* Damps and factors the mean of `h`; of its sums what is above the diagonal is overwritten. *factor is {0},
 * or of an earlier call, whose memory then serves again. Where the damped matrix is not positive, tried again
 * with ten times the damping (at least 1e-8), up to 1. MOEQ_USAGE: no tokens; MOEQ_DAMAGED: a sum is not
 * finite, or no damping helps; MOEQ_OVER_MEMORY. The caller frees the factor, also after a failure. */
enum moeq_status moeq_gptq_prepare(struct moeq_gptq_factor *factor, struct moeq_hessian *h,
                                   struct moeq_gptq_options options, struct moeq_pool *pool,
                                   struct moeq_error *err);
void moeq_gptq_free(struct moeq_gptq_factor *factor);

/* tr((W - Q) H (W - Q)^T) with the mean H without damping; dead columns add nothing. */
struct moeq_gptq_report {
    double error;         /* of the codes that were written */
    double nearest_error; /* of the nearest codes under the same scales; if it was asked for */
};

/* Encodes w [rows, factor->n] at a level of integers or fp8; `packed` has moeq_packed_size bytes, all zero.
 * With `compare`, nearest_error is found by a second pass of the same length. MOEQ_DAMAGED names a weight
 * that is not finite; MOEQ_UNSUPPORTED: another level. Scratch memory: about 14 * 64 bytes for each of n and
 * each worker. */
enum moeq_status moeq_gptq_encode(const struct moeq_gptq_factor *factor, const struct moeq_format *format,
                                  uint64_t rows, const float *w, bool compare, struct moeq_pool *pool,
                                  uint8_t *packed, struct moeq_gptq_report *report, struct moeq_error *err);

/* tr((W - Q) H (W - Q)^T), the same number, of any Q [rows, n], however it was made. */
enum moeq_status moeq_gptq_measure(const struct moeq_gptq_factor *factor, uint64_t rows, const float *w,
                                   const float *q, struct moeq_pool *pool, double *error,
                                   struct moeq_error *err);

/* Weights that make up for inputs which earlier quantization has already changed, the idea of GPTAQ
 * (arXiv 2504.02692) as a regression. With inputs x~_t of the quantized model and x_t of the original one,
 * weights v_t as in the factor's H = mean of v x~ x~^T, and the cross moments C = mean of v x~ x^T [n, n]
 * (C[a][b] belongs to x~_a x_b; divided by the same sum of weights), `out` is the W' [rows, n] that minimizes
 *
 *   mean of v_t ||W x_t - W' x~_t||^2 + added ||W - W'||^2:   W' = (W C^T + added W) (H + added I)^-1
 *
 * so that C = H gives W itself, and dead columns keep their weights. float64, in a stated order as all here:
 * both products with C and the two triangular solutions run over columns in their order and back. `out` may
 * not be w. */
enum moeq_status moeq_gptq_correct(const struct moeq_gptq_factor *factor, const double *cross, uint64_t rows,
                                   const float *w, struct moeq_pool *pool, float *out,
                                   struct moeq_error *err);

#endif
