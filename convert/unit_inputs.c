#include "unit_inputs.h"

static struct moeq_input_stream *find(const struct moeq_unit_inputs *inputs, enum moeq_part part)
{
    for (size_t i = 0; i < inputs->n; i++)
        if (inputs->streams[i].part == part)
            return (struct moeq_input_stream *)&inputs->streams[i];
    return NULL;
}

static enum moeq_status open_stream(struct moeq_unit_inputs *inputs, const struct moeq_inputs *in,
                                    struct moeq_input_stream **stream, struct moeq_error *err)
{
    if (inputs->n == MOEQ_UNIT_STREAMS)
        return moeq_fail(err, MOEQ_BUG, "too many inputs at once");
    *stream = &inputs->streams[inputs->n++];
    **stream = (struct moeq_input_stream){.part = in->part, .is_paired = in->is_twin};
    return moeq_moments_init(&(*stream)->moments, in->is_twin ? 2 * in->width : in->width, err);
}

enum moeq_status moeq_unit_inputs_add(struct moeq_unit_inputs *inputs, const struct moeq_inputs *in,
                                      struct moeq_error *err)
{
    struct moeq_input_stream *s = find(inputs, in->part);
    const size_t n = (size_t)in->width * sizeof *in->x;
    enum moeq_status status = s ? MOEQ_OK : open_stream(inputs, in, &s, err);
    if (!status && in->is_twin && !(status = moeq_bytes_resize(&s->twin, (size_t)in->n * n, err)))
        memcpy(s->twin.data, in->x, (size_t)in->n * n);
    for (uint64_t i = 0; !status && !in->is_twin && i < in->n; i++) {
        float *row = moeq_moments_next(&s->moments);
        memcpy(row, in->x + i * in->width, n);
        if (s->is_paired)
            memcpy(row + in->width, s->twin.data + i * n, n);
        const float weight = in->weights ? in->weights[i] * in->weights[i] : 1;
        status = moeq_moments_add(&s->moments, weight, &inputs->work, err);
    }
    return status;
}

uint64_t moeq_unit_inputs_tokens(const struct moeq_unit_inputs *inputs, enum moeq_part part)
{
    const struct moeq_input_stream *s = find(inputs, part);
    return s ? s->moments.sums.n_tokens + s->moments.n_pending : 0;
}

enum moeq_status moeq_unit_inputs_take(struct moeq_unit_inputs *inputs, enum moeq_part part, uint64_t n,
                                       struct moeq_seen *seen, struct moeq_error *err)
{
    struct moeq_input_stream *s = find(inputs, part);
    *seen = (struct moeq_seen){0};
    if (!s || s->moments.sums.n != (s->is_paired ? 2 * n : n))
        return moeq_fail(err, MOEQ_BUG, "inputs of another width");
    const struct moeq_hessian *all = &s->moments.sums;
    enum moeq_status status = moeq_moments_end(&s->moments, &inputs->work, err);
    if (!status)
        status = moeq_hessian_init(&seen->own, n, err);
    if (!status && s->is_paired && !(seen->cross = moeq_calloc(n * n, sizeof *seen->cross, err)))
        status = MOEQ_OVER_MEMORY;
    if (status)
        return status;
    seen->own.n_tokens = all->n_tokens;
    seen->own.weight = all->weight;
    for (uint64_t a = 0; a < n; a++)
        memcpy(seen->own.sums + a * n, all->sums + a * all->n, (a + 1) * sizeof *all->sums);
    for (uint64_t b = 0; s->is_paired && b < n; b++)
        for (uint64_t a = 0; a < n; a++)
            seen->cross[a * n + b] = all->sums[(n + b) * all->n + a];
    return MOEQ_OK;
}

void moeq_unit_inputs_clear(struct moeq_unit_inputs *inputs)
{
    for (size_t i = 0; i < inputs->n; i++) {
        moeq_moments_free(&inputs->streams[i].moments);
        moeq_bytes_free(&inputs->streams[i].twin);
    }
    inputs->n = 0;
}

void moeq_unit_inputs_free(struct moeq_unit_inputs *inputs)
{
    moeq_unit_inputs_clear(inputs);
    moeq_bytes_free(&inputs->work.scratch);
}
