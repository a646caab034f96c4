#include "mlp.h"

#include "kernels.h"

void moeq_mlp_weights(const struct moeq_source *source, enum moeq_part gate, int layer, int expert,
                      const struct moeq_weight *weights[3])
{
    for (int i = 0; i < 3; i++) /* gate, up and down follow each other in the table of parts */
        weights[i] = moeq_source_part(source, (enum moeq_part)((int)gate + i), layer, expert);
}

enum moeq_status moeq_mlp_ask(struct moeq_run *run, enum moeq_part gate, int layer, int expert,
                              struct moeq_error *err)
{
    const struct moeq_weight *weights[3];
    moeq_mlp_weights(run->source, gate, layer, expert, weights);
    return moeq_loader_ask(run->loader, weights, 3, err);
}

enum moeq_status moeq_mlp_get(struct moeq_run *run, struct moeq_mlp *mlp, struct moeq_error *err)
{
    struct moeq_matrix m[3];
    enum moeq_status status = moeq_loader_get(run->loader, m, 3, err);
    if (!status)
        *mlp = (struct moeq_mlp){m[0], m[1], m[2]};
    return status;
}

uint64_t moeq_mlp_bytes(const struct moeq_source *source, enum moeq_part gate, int layer, int expert)
{
    const struct moeq_weight *weights[3];
    moeq_mlp_weights(source, gate, layer, expert, weights);
    return weights[0] && weights[1] && weights[2] ? moeq_source_load_bytes(source, weights, 3) : 0;
}

enum moeq_status moeq_mlp_apply(struct moeq_run *run, const struct moeq_mlp *mlp, const float *x,
                                const uint32_t *rows, uint64_t n, const struct moeq_sums *to,
                                struct moeq_error *err)
{
    const uint64_t width = run->config->hidden;
    enum moeq_status status =
        moeq_activations_set(&run->inputs, run->pool, run->arithmetic, x, width, rows, n, width, err);
    if (!status)
        status =
            moeq_matmul_gated(run->pool, &run->scratch, &mlp->gate, &mlp->up, &run->inputs, &run->gated, err);
    return status ? status : moeq_matmul_add(run->pool, &run->scratch, &mlp->down, &run->gated, to, err);
}

enum moeq_status moeq_mlp_add(struct moeq_run *run, const struct moeq_mlp *mlp, uint64_t first,
                              const uint32_t *rows, const float *weights, uint64_t n, struct moeq_error *err)
{
    const uint64_t width = run->config->hidden;
    const struct moeq_sums to = {
        .y = run->states.hidden + first * width, .ldy = width, .rows = rows, .weights = weights};
    return moeq_mlp_apply(run, mlp, run->states.normed + first * width, rows, n, &to, err);
}

enum moeq_status moeq_mlp_show(struct moeq_run *run, const struct moeq_mlp *mlp, struct moeq_seer seer,
                               const struct moeq_inputs *inputs, const struct moeq_sums *to,
                               struct moeq_error *err)
{
    const uint64_t n = inputs->n, width = mlp->gate.rows;
    enum moeq_status status = seer.inputs(seer.context, inputs, err);
    if (!status)
        status = moeq_bytes_resize(&run->observed, (size_t)(2 * n * width * sizeof(float)), err);
    float *gate = (float *)(void *)run->observed.data, *up = gate + n * width;
    if (!status)
        status = moeq_activations_set(&run->inputs, run->pool, run->arithmetic, inputs->x, inputs->width,
                                      NULL, n, inputs->width, err);
    if (!status)
        status = moeq_matmul(run->pool, &run->scratch, &mlp->gate, &run->inputs, gate, width, err);
    if (!status)
        status = moeq_matmul(run->pool, &run->scratch, &mlp->up, &run->inputs, up, width, err);
    if (status)
        return status;
    moeq_kernels()->silu_product(gate, up, n * width);
    struct moeq_inputs down = *inputs;
    down.part = (enum moeq_part)((int)inputs->part + 2);
    down.width = width;
    down.x = gate;
    status = seer.inputs(seer.context, &down, err);
    if (status || !to)
        return status;
    status = moeq_activations_set(&run->gated, run->pool, run->arithmetic, gate, width, NULL, n, width, err);
    return status ? status : moeq_matmul_add(run->pool, &run->scratch, &mlp->down, &run->gated, to, err);
}
