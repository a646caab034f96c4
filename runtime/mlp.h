/* One gated MLP: down(silu(gate x) * (up x)); dense, shared or of an expert. */
#ifndef MOEQ_MLP_H
#define MOEQ_MLP_H

#include "layer.h"

/* Laid out as an array of three. */
struct moeq_mlp {
    struct moeq_matrix gate, up, down; /* [width, hidden] twice, [hidden, width] */
};

/* Asks the loader for an MLP, gets the next one. `gate` is its first part, `expert` -1 where it has none. */
enum moeq_status moeq_mlp_ask(struct moeq_run *run, enum moeq_part gate, int layer, int expert,
                              struct moeq_error *err);
enum moeq_status moeq_mlp_get(struct moeq_run *run, struct moeq_mlp *mlp, struct moeq_error *err);

/* Bytes that it takes of the loader's ring. */
uint64_t moeq_mlp_bytes(const struct moeq_source *source, enum moeq_part gate, int layer, int expert);

/* to += mlp(x) for tokens x [n <= chunk, hidden], one after the other or, of `rows` not NULL, rows[t] of x.
 */
enum moeq_status moeq_mlp_apply(struct moeq_run *run, const struct moeq_mlp *mlp, const float *x,
                                const uint32_t *rows, uint64_t n, const struct moeq_sums *to,
                                struct moeq_error *err);

/* hidden[i] += weights[i] * mlp(normed[i]) for n <= chunk tokens i of the group that is in memory:
 * first … first + n - 1, or rows[0 … n-1]; weights NULL: 1. */
enum moeq_status moeq_mlp_add(struct moeq_run *run, const struct moeq_mlp *mlp, uint64_t first,
                              const uint32_t *rows, const float *weights, uint64_t n, struct moeq_error *err);

/* The same for someone who sees both inputs; `inputs` describes those of gate, with x [n, hidden]. The
 * outputs are added to `to`; NULL: not computed. */
enum moeq_status moeq_mlp_show(struct moeq_run *run, const struct moeq_mlp *mlp, struct moeq_seer seer,
                               const struct moeq_inputs *inputs, const struct moeq_sums *to,
                               struct moeq_error *err);

/* The weights of an MLP, as a unit has them. */
void moeq_mlp_weights(const struct moeq_source *source, enum moeq_part gate, int layer, int expert,
                      const struct moeq_weight *weights[3]);

#endif
