#include "calibrated.h"

#include <stdlib.h>

void moeq_calibrated_init(struct moeq_calibrated *calibrated, const struct moeq_statistics *statistics,
                          struct moeq_pool *pool)
{
    *calibrated = (struct moeq_calibrated){
        .statistics = statistics,
        .pool = pool,
        .options = {.damping = 0.05, .activation_order = true, .pivot_weights = true},
        .borrowed = MOEQ_BORROWED_TOKENS,
        .layer = -1};
}

void moeq_calibrated_free(struct moeq_calibrated *calibrated)
{
    moeq_gptq_free(&calibrated->factor);
    moeq_bytes_free(&calibrated->w);
}

/* ---- whose statistics ---- */

/* Parts that share inputs, by the one that statistics go by. */
static const struct {
    enum moeq_part part, collected;
} shared_inputs[] = {
    {MOEQ_PART_KV_A, MOEQ_PART_Q},
    {MOEQ_PART_DENSE_UP, MOEQ_PART_DENSE_GATE},
    {MOEQ_PART_SHARED_GATE, MOEQ_PART_ROUTER},
    {MOEQ_PART_SHARED_UP, MOEQ_PART_ROUTER},
    {MOEQ_PART_EXPERT_UP, MOEQ_PART_EXPERT_GATE},
};

static const char *statistics_name(const struct moeq_weight *w, char name[MOEQ_MAX_STATISTICS_NAME])
{
    enum moeq_part part = w->id.part;
    for (size_t i = 0; i < sizeof shared_inputs / sizeof *shared_inputs; i++)
        if (shared_inputs[i].part == part)
            part = shared_inputs[i].collected;
    return moeq_statistics_name(part, w->id.expert, name);
}

bool moeq_calibrated_applies(const struct moeq_statistics *statistics, const struct moeq_weight *weight,
                             const struct moeq_format *format)
{
    char name[MOEQ_MAX_STATISTICS_NAME];
    return weight->id.layer >= 0 && (uint64_t)weight->id.layer < statistics->n_layers &&
           weight->id.part != MOEQ_PART_ROUTER && statistics_name(weight, name) && format->level->bits <= 8 &&
           format->level->lossy;
}

/* ---- second moments ---- */

static enum moeq_status read_sums(const struct moeq_statistics *s, int layer, const char *name,
                                  struct moeq_hessian *h, struct moeq_error *err)
{
    const uint64_t n = moeq_triangle(h->n);
    double *triangle = moeq_calloc(n, sizeof *triangle, err);
    enum moeq_status status =
        triangle ? moeq_statistics_add(s, layer, name, n, triangle, err) : MOEQ_OVER_MEMORY;
    for (uint64_t i = 0; !status && i < h->n; i++)
        memcpy(h->sums + i * h->n, triangle + moeq_triangle(i), (i + 1) * sizeof *triangle);
    free(triangle);
    return status;
}

/* Tokens and weights of one expert, or of all where expert is -1. */
static enum moeq_status read_counts(const struct moeq_statistics *s, int layer, int expert,
                                    struct moeq_hessian *h, struct moeq_error *err)
{
    const uint64_t n = s->n_experts;
    double *counts = moeq_calloc(n, sizeof *counts, err), *squares = moeq_calloc(n, sizeof *squares, err);
    enum moeq_status status = counts && squares ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (!status)
        status = moeq_statistics_add(s, layer, "counts", n, counts, err);
    if (!status)
        status = moeq_statistics_add(s, layer, "squares", n, squares, err);
    h->n_tokens = 0;
    h->weight = 0;
    for (uint64_t e = 0; !status && e < n; e++)
        if (expert < 0 || (uint64_t)expert == e) {
            h->n_tokens += (uint64_t)counts[e];
            h->weight += squares[e];
        }
    free(counts);
    free(squares);
    return status;
}

/* An expert's, with what it borrows from its layer. */
static enum moeq_status read_expert(const struct moeq_calibrated *c, const struct moeq_weight *w,
                                    const char *name, struct moeq_hessian *h, struct moeq_error *err)
{
    const struct moeq_statistics *s = c->statistics;
    const bool is_down = w->id.part == MOEQ_PART_EXPERT_DOWN;
    struct moeq_hessian layer = {0};
    if ((uint64_t)w->id.expert >= s->n_experts)
        return moeq_fail(err, MOEQ_USAGE, "the statistics are of %llu experts",
                         (unsigned long long)s->n_experts);
    enum moeq_status status = moeq_hessian_init(&layer, h->n, err);
    if (!status)
        status = read_sums(s, w->id.layer, name, h, err);
    if (!status)
        status = read_counts(s, w->id.layer, w->id.expert, h, err);
    if (!status)
        status = read_sums(s, w->id.layer, is_down ? "experts_down" : "all", &layer, err);
    layer.n_tokens = moeq_statistics_tokens(s);
    layer.weight = (double)layer.n_tokens;
    if (!status && is_down)
        status = read_counts(s, w->id.layer, -1, &layer, err);
    if (!status)
        moeq_hessian_mix(h, &layer, c->borrowed);
    moeq_hessian_free(&layer);
    return status;
}

static enum moeq_status prepare(struct moeq_calibrated *c, const struct moeq_weight *w,
                                struct moeq_error *err)
{
    char name[MOEQ_MAX_STATISTICS_NAME];
    struct moeq_hessian h = {0};
    statistics_name(w, name);
    if (c->layer == w->id.layer && strcmp(c->name, name) == 0)
        return MOEQ_OK;
    c->layer = -1;
    if ((uint64_t)w->id.layer >= c->statistics->n_layers)
        return moeq_fail(err, MOEQ_USAGE, "the statistics are of %llu layers",
                         (unsigned long long)c->statistics->n_layers);
    enum moeq_status status = moeq_hessian_init(&h, w->cols, err);
    if (!status && w->id.expert >= 0) {
        status = read_expert(c, w, name, &h, err);
    } else if (!status) {
        status = read_sums(c->statistics, w->id.layer, name, &h, err);
        h.n_tokens = moeq_statistics_tokens(c->statistics);
        h.weight = (double)h.n_tokens;
    }
    if (!status)
        status = moeq_gptq_prepare(&c->factor, &h, c->options, c->pool, err);
    moeq_hessian_free(&h);
    if (!status) {
        c->layer = w->id.layer;
        snprintf(c->name, sizeof c->name, "%s", name);
    }
    return status;
}

struct decoding {
    const struct moeq_matrix *matrix;
    float *w;
};

static enum moeq_status decode_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                    struct moeq_error *err)
{
    const struct decoding *d = context;
    (void)worker;
    (void)err;
    for (uint64_t r = begin; r < end; r++)
        moeq_decode(d->matrix, r, 0, d->matrix->cols, d->w + r * d->matrix->cols);
    return MOEQ_OK;
}

enum moeq_status moeq_calibrated_encode(struct moeq_calibrated *calibrated, const struct moeq_weight *weight,
                                        const struct moeq_format *format, const struct moeq_matrix *matrix,
                                        uint8_t *packed, struct moeq_error *err)
{
    struct moeq_calibrated *c = calibrated;
    struct moeq_gptq_report report;
    enum moeq_status status = prepare(c, weight, err);
    if (!status)
        status = moeq_bytes_resize(&c->w, (size_t)(matrix->rows * matrix->cols * sizeof(float)), err);
    struct decoding d = {matrix, (float *)(void *)c->w.data};
    if (!status)
        status = moeq_pool_for(c->pool, matrix->rows, 16, decode_rows, &d, err);
    if (!status)
        status =
            moeq_gptq_encode(&c->factor, format, matrix->rows, d.w, false, c->pool, packed, &report, err);
    if (status)
        moeq_error_in_tensor(err, weight->name);
    return status;
}

uint64_t moeq_calibrated_bytes(const struct moeq_weight *weight)
{
    /* Moments twice while an expert borrows, one triangle, the factor; the matrix. */
    const uint64_t square = weight->cols * weight->cols * sizeof(double);
    return 4 * square + weight->rows * weight->cols * sizeof(float);
}
