#include "calibrated.h"

#include "ec.h"

#include <stdlib.h>

void moeq_calibrated_init(struct moeq_calibrated *calibrated, const struct moeq_statistics *statistics,
                          struct moeq_pool *pool)
{
    *calibrated = (struct moeq_calibrated){
        .statistics = statistics,
        .pool = pool,
        .options = {.damping = 0.02, .activation_order = true, .pivot_weights = true},
        .borrowed = MOEQ_BORROWED_TOKENS,
        .mean_layer = -1,
        .layer = -1};
}

static void free_means(struct moeq_calibrated *c)
{
    free(c->counts);
    free(c->squares);
    moeq_hessian_free(&c->all);
    moeq_hessian_free(&c->down);
    c->counts = c->squares = NULL;
    c->mean_layer = -1;
}

void moeq_calibrated_free(struct moeq_calibrated *calibrated)
{
    free_means(calibrated);
    moeq_gptq_free(&calibrated->factor);
    moeq_bytes_free(&calibrated->w);
    moeq_bytes_free(&calibrated->moved);
    moeq_bytes_free(&calibrated->coded);
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

const char *moeq_calibrated_name(const struct moeq_weight *weight, char name[MOEQ_MAX_STATISTICS_NAME])
{
    enum moeq_part part = weight->id.part;
    for (size_t i = 0; i < sizeof shared_inputs / sizeof *shared_inputs; i++)
        if (shared_inputs[i].part == part)
            part = shared_inputs[i].collected;
    return moeq_statistics_name(part, weight->id.expert, name);
}

bool moeq_calibrated_applies(const struct moeq_statistics *statistics, const struct moeq_weight *weight,
                             const struct moeq_format *format)
{
    char name[MOEQ_MAX_STATISTICS_NAME];
    return weight->id.layer >= 0 && (uint64_t)weight->id.layer < statistics->n_layers &&
           weight->id.part != MOEQ_PART_ROUTER && moeq_calibrated_name(weight, name) &&
           format->level->bits <= 8 && format->level->lossy;
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

static enum moeq_status read_layer(struct moeq_calibrated *c, int layer, struct moeq_error *err)
{
    const uint64_t n = c->statistics->n_experts;
    c->counts = moeq_calloc(n, sizeof *c->counts, err);
    c->squares = moeq_calloc(n, sizeof *c->squares, err);
    enum moeq_status status = c->counts && c->squares ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (!status)
        status = moeq_statistics_add(c->statistics, layer, "counts", n, c->counts, err);
    return status ? status : moeq_statistics_add(c->statistics, layer, "squares", n, c->squares, err);
}

/* What experts of a layer borrow. */
static enum moeq_status read_means(struct moeq_calibrated *c, const struct moeq_weight *w,
                                   struct moeq_error *err)
{
    const struct moeq_statistics *s = c->statistics;
    const bool is_down = w->id.part == MOEQ_PART_EXPERT_DOWN;
    struct moeq_hessian *mean = is_down ? &c->down : &c->all;
    enum moeq_status status = MOEQ_OK;
    if ((uint64_t)w->id.layer >= s->n_layers || (uint64_t)w->id.expert >= s->n_experts)
        return moeq_fail(err, MOEQ_USAGE, "the statistics are of %llu layers and %llu experts",
                         (unsigned long long)s->n_layers, (unsigned long long)s->n_experts);
    if (c->mean_layer != w->id.layer) {
        free_means(c);
        if ((status = read_layer(c, w->id.layer, err)))
            return status;
        c->mean_layer = w->id.layer;
    }
    if (mean->sums)
        return MOEQ_OK;
    status = moeq_hessian_init(mean, w->cols, err);
    if (!status)
        status = read_sums(s, w->id.layer, is_down ? "experts_down" : "all", mean, err);
    mean->n_tokens = moeq_statistics_tokens(s);
    mean->weight = (double)mean->n_tokens;
    for (uint64_t e = 0; is_down && e < s->n_experts; e++) {
        mean->n_tokens = (e ? mean->n_tokens : 0) + (uint64_t)c->counts[e];
        mean->weight = (e ? mean->weight : 0) + c->squares[e];
    }
    if (status)
        moeq_hessian_free(mean);
    return status;
}

/* C <- (n C + tau H_layer) / (n + tau), means of both; `weight` is the sum that C is of. */
static void mix_cross(double *cross, const struct moeq_hessian *mean, double n, double weight, double tau)
{
    const double own = weight > 0 ? n / (n + tau) / weight : 0;
    const double other = (weight > 0 ? tau / (n + tau) : 1) / mean->weight;
    for (uint64_t a = 0; a < mean->n; a++)
        for (uint64_t b = 0; b < mean->n; b++) {
            const double layer = mean->sums[a > b ? a * mean->n + b : b * mean->n + a];
            cross[a * mean->n + b] = own * cross[a * mean->n + b] + other * layer;
        }
}

enum moeq_status moeq_calibrated_prepare_seen(struct moeq_calibrated *calibrated,
                                              const struct moeq_weight *weight, struct moeq_seen *seen,
                                              struct moeq_error *err)
{
    struct moeq_calibrated *c = calibrated;
    struct moeq_hessian *h = &seen->own;
    enum moeq_status status = MOEQ_OK;
    c->layer = -1;
    if (weight->id.expert >= 0) {
        const struct moeq_hessian *mean = weight->id.part == MOEQ_PART_EXPERT_DOWN ? &c->down : &c->all;
        if ((status = read_means(c, weight, err)))
            return status;
        if (seen->cross)
            mix_cross(seen->cross, mean, (double)h->n_tokens, h->weight, c->borrowed);
        moeq_hessian_mix(h, mean, c->borrowed);
    } else {
        for (uint64_t i = 0; seen->cross && i < h->n * h->n; i++)
            seen->cross[i] /= h->weight;
    }
    return moeq_gptq_prepare(&c->factor, h, c->options, c->pool, err);
}

enum moeq_status moeq_calibrated_prepare(struct moeq_calibrated *calibrated, const struct moeq_weight *weight,
                                         struct moeq_error *err)
{
    struct moeq_calibrated *c = calibrated;
    char name[MOEQ_MAX_STATISTICS_NAME];
    struct moeq_seen seen = {0};
    moeq_calibrated_name(weight, name);
    if (c->layer == weight->id.layer && strcmp(c->name, name) == 0)
        return MOEQ_OK;
    enum moeq_status status = MOEQ_OK;
    if (weight->id.expert >= 0)
        status = read_means(c, weight, err);
    if (!status)
        status = moeq_hessian_init(&seen.own, weight->cols, err);
    if (!status)
        status = read_sums(c->statistics, weight->id.layer, name, &seen.own, err);
    seen.own.n_tokens = moeq_statistics_tokens(c->statistics);
    seen.own.weight = (double)seen.own.n_tokens;
    if (!status && weight->id.expert >= 0) {
        seen.own.n_tokens = (uint64_t)c->counts[weight->id.expert];
        seen.own.weight = c->squares[weight->id.expert];
    }
    if (!status)
        status = moeq_calibrated_prepare_seen(c, weight, &seen, err);
    moeq_hessian_free(&seen.own);
    if (!status) {
        c->layer = weight->id.layer;
        snprintf(c->name, sizeof c->name, "%s", name);
    }
    return status;
}

enum moeq_status moeq_calibrated_weigh(struct moeq_calibrated *calibrated, const struct moeq_weight *weight,
                                       double *n_tokens, double *importance, struct moeq_error *err)
{
    struct moeq_calibrated *c = calibrated;
    const double n = (double)moeq_statistics_tokens(c->statistics);
    *n_tokens = n;
    *importance = 1;
    if (weight->id.expert < 0)
        return MOEQ_OK;
    enum moeq_status status = read_means(c, weight, err);
    double tokens = 0, squares = 0;
    for (uint64_t e = 0; !status && e < c->statistics->n_experts; e++) {
        tokens += c->counts[e];
        squares += c->squares[e];
    }
    if (status)
        return status;
    *n_tokens = c->counts[weight->id.expert];
    *importance = (c->squares[weight->id.expert] + c->borrowed * squares / tokens) / (n + c->borrowed);
    return MOEQ_OK;
}

/* ---- matrices ---- */

struct decoding {
    const struct moeq_matrix *matrix;
    uint64_t first, step;
    float *w;
};

static enum moeq_status decode_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                    struct moeq_error *err)
{
    const struct decoding *d = context;
    (void)worker;
    (void)err;
    for (uint64_t r = begin; r < end; r++)
        moeq_decode(d->matrix, d->first + r * d->step, 0, d->matrix->cols, d->w + r * d->matrix->cols);
    return MOEQ_OK;
}

enum moeq_status moeq_calibrated_decode(struct moeq_calibrated *calibrated, const struct moeq_matrix *matrix,
                                        uint64_t first, uint64_t step, float **w, struct moeq_error *err)
{
    struct moeq_calibrated *c = calibrated;
    const uint64_t rows = moeq_div_up(matrix->rows - first, step);
    enum moeq_status status = moeq_bytes_resize(&c->w, (size_t)(rows * matrix->cols * sizeof(float)), err);
    struct decoding d = {matrix, first, step, (float *)(void *)c->w.data};
    *w = d.w;
    return status ? status : moeq_pool_for(c->pool, rows, 16, decode_rows, &d, err);
}

enum moeq_status moeq_calibrated_encode_seen(struct moeq_calibrated *calibrated,
                                             const struct moeq_weight *weight,
                                             const struct moeq_format *format,
                                             const struct moeq_matrix *matrix, const double *cross,
                                             uint8_t *packed, double *error, struct moeq_error *err)
{
    struct moeq_calibrated *c = calibrated;
    struct moeq_gptq_report report = {0};
    double tokens, importance = 0;
    float *w;
    enum moeq_status status = moeq_calibrated_decode(c, matrix, 0, 1, &w, err);
    if (!status && cross) {
        if (!(status = moeq_bytes_resize(&c->moved, c->w.n_bytes, err)))
            status = moeq_gptq_correct(&c->factor, cross, matrix->rows, w, c->pool,
                                       (float *)(void *)c->moved.data, err);
        w = (float *)(void *)c->moved.data;
    }
    if (!status)
        status = moeq_gptq_encode(&c->factor, format, matrix->rows, w, false, c->pool, packed, &report, err);
    if (!status)
        status = moeq_calibrated_weigh(c, weight, &tokens, &importance, err);
    *error = report.error * importance;
    return status;
}

enum moeq_status moeq_calibrated_encode(struct moeq_calibrated *calibrated, const struct moeq_weight *weight,
                                        const struct moeq_format *format, const struct moeq_matrix *matrix,
                                        uint8_t *packed, double *error, struct moeq_error *err)
{
    enum moeq_status status = moeq_calibrated_prepare(calibrated, weight, err);
    if (!status)
        status = moeq_calibrated_encode_seen(calibrated, weight, format, matrix, NULL, packed, error, err);
    if (status)
        moeq_error_in_tensor(err, weight->name);
    return status;
}

enum moeq_status moeq_calibrated_code(struct moeq_calibrated *calibrated, const struct moeq_weight *weight,
                                      bool is_calibrated, const struct moeq_format *format,
                                      const struct moeq_matrix *matrix, double *error, struct moeq_error *err)
{
    struct moeq_calibrated *c = calibrated;
    const struct moeq_ec_goal goal = {.step = (double)format->step, .bits = (double)format->bits};
    struct moeq_ec_report report = {0};
    double tokens, importance = 1;
    float *w;
    enum moeq_status status = is_calibrated ? moeq_calibrated_prepare(c, weight, err) : MOEQ_OK;
    if (!status)
        status = moeq_calibrated_decode(c, matrix, 0, 1, &w, err);
    if (!status)
        status = moeq_ec_encode(is_calibrated ? &c->factor : NULL, matrix->rows, matrix->cols, w, goal,
                                c->pool, &c->coded, &report, err);
    if (!status && is_calibrated)
        status = moeq_calibrated_weigh(c, weight, &tokens, &importance, err);
    *error = report.error * importance;
    if (status)
        moeq_error_in_tensor(err, weight->name);
    return status;
}

uint64_t moeq_calibrated_bytes(const struct moeq_weight *weight)
{
    /* Own moments, one triangle, the factor, an inverse of it; an expert's layer's; the matrix. */
    const uint64_t n = weight->cols, square = n * n * sizeof(double);
    const uint64_t means = weight->id.expert >= 0 ? square + weight->rows * weight->rows * sizeof(double) : 0;
    return 4 * square + means + weight->rows * n * sizeof(float);
}
