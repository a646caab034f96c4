#include "indexer.h"

#include "kernels.h"
#include "model.h"

#include <math.h>
#include <stdlib.h>

#define KEY_NORM_EPS 1e-6
#define TOKEN_GRAIN  16

bool moeq_indexer_is_needed(const struct moeq_config *config, uint64_t context)
{
    return config->index_heads && context > config->index_top_k;
}

enum moeq_status moeq_indexer_load(struct moeq_indexer *indexer, struct moeq_run *run, int layer,
                                   struct moeq_error *err)
{
    static const enum moeq_part parts[] = {MOEQ_PART_INDEXER_Q, MOEQ_PART_INDEXER_K,
                                           MOEQ_PART_INDEXER_WEIGHTS};
    const struct moeq_weight *weights[3];
    struct moeq_matrix loaded[3];
    *indexer = (struct moeq_indexer){0};
    for (size_t i = 0; i < 3; i++)
        weights[i] = moeq_source_part(run->source, parts[i], layer, -1);
    enum moeq_status status = moeq_source_load(run->source, weights, 3, &run->indexer_packed, loaded, err);
    if (status)
        return status;
    indexer->q = loaded[0];
    indexer->k = loaded[1];
    indexer->weights = loaded[2];
    status = moeq_model_vector(run->source, MOEQ_PART_INDEXER_K_NORM, layer, &indexer->k_norm, err);
    return status ? status
                  : moeq_model_vector(run->source, MOEQ_PART_INDEXER_K_BIAS, layer, &indexer->k_bias, err);
}

void moeq_indexer_free(struct moeq_indexer *indexer)
{
    free(indexer->k_norm);
    free(indexer->k_bias);
    *indexer = (struct moeq_indexer){0};
}

/* ---- one chunk ---- */

struct choosing {
    const struct moeq_indexer *indexer;
    struct moeq_run *run;
    float *q;       /* [n, heads * width] */
    float *k;       /* [n, width] */
    float *weights; /* [n, heads] */
    float *tiles;   /* [windows, blocks, width, lanes]: the keys, laid out as the kernels want tokens */
    uint64_t n_blocks, n_lanes;
    uint8_t *selected;
};

uint64_t moeq_indexer_work_bytes(const struct moeq_config *config, uint64_t chunk, uint64_t context)
{
    const uint64_t heads = config->index_heads, width = config->index_width;
    const uint64_t tiles = chunk / context * moeq_round_up(context, MOEQ_MAX_BLOCK_TOKENS) * width;
    return (chunk * (heads * width + width + heads) + tiles) * sizeof(float);
}

static void place_work(struct choosing *c, uint64_t n)
{
    const struct moeq_config *config = c->run->config;
    c->q = (float *)(void *)c->run->indexer_work.data;
    c->k = c->q + n * config->index_heads * config->index_width;
    c->weights = c->k + n * config->index_width;
    c->tiles = c->weights + n * config->index_heads;
}

static void layer_norm(float *x, uint64_t n, const float *gain, const float *bias)
{
    double mean = 0, variance = 0;
    for (uint64_t i = 0; i < n; i++)
        mean += x[i];
    mean /= (double)n;
    for (uint64_t i = 0; i < n; i++)
        variance += (x[i] - mean) * (x[i] - mean);
    const double factor = 1 / sqrt(variance / (double)n + KEY_NORM_EPS);
    for (uint64_t i = 0; i < n; i++)
        x[i] = (float)((x[i] - mean) * factor) * gain[i] + bias[i];
}

static void rotate(const struct choosing *c, uint32_t position, float *vector)
{
    if (c->run->config->index_interleaved)
        moeq_rope_apply(&c->run->rope, position, vector);
    else
        moeq_rope_apply_halves(&c->run->rope, position, vector);
}

static enum moeq_status finish_vectors(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                       struct moeq_error *err)
{
    const struct choosing *c = context;
    const struct moeq_config *config = c->run->config;
    const uint64_t width = config->index_width, heads = config->index_heads;
    const float scale = (float)(1 / sqrt((double)(heads * width)));
    (void)worker;
    (void)err;
    for (uint64_t t = begin; t < end; t++) {
        const uint32_t position = (uint32_t)(t % c->run->context);
        layer_norm(c->k + t * width, width, c->indexer->k_norm, c->indexer->k_bias);
        rotate(c, position, c->k + t * width);
        for (uint64_t h = 0; h < heads; h++) {
            rotate(c, position, c->q + (t * heads + h) * width);
            c->weights[t * heads + h] *= scale;
        }
    }
    return MOEQ_OK;
}

static float *tile_at(const struct choosing *c, uint64_t window, uint64_t block)
{
    return c->tiles + (window * c->n_blocks + block) * c->n_lanes * c->run->config->index_width;
}

static enum moeq_status make_tiles(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                   struct moeq_error *err)
{
    const struct choosing *c = context;
    const uint64_t width = c->run->config->index_width, n = c->run->context;
    (void)worker;
    (void)err;
    for (uint64_t i = begin; i < end; i++) {
        const uint64_t window = i / c->n_blocks, first = i % c->n_blocks * c->n_lanes;
        float *tile = tile_at(c, window, i % c->n_blocks);
        for (uint64_t d = 0; d < width; d++)
            for (uint64_t r = 0; r < c->n_lanes; r++)
                tile[d * c->n_lanes + r] = first + r < n ? c->k[(window * n + first + r) * width + d] : 0;
    }
    return MOEQ_OK;
}

/* ---- the largest scores ---- */

/* Order of floats as order of unsigned numbers; NaN is above or below all. */
static uint32_t order_key(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

/* The n-th largest key (n >= 1), found byte by byte; *n_equal is how many of those equal to it belong to the
 * n largest. */
static uint32_t nth_largest(const uint32_t *keys, uint64_t n_keys, uint64_t n, uint64_t *n_equal)
{
    uint32_t prefix = 0, mask = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        uint64_t counts[256] = {0};
        for (uint64_t i = 0; i < n_keys; i++)
            if ((keys[i] & mask) == prefix)
                counts[keys[i] >> shift & 255]++;
        uint32_t byte = 255;
        while (counts[byte] < n)
            n -= counts[byte--];
        prefix |= byte << shift;
        mask |= 255u << shift;
    }
    *n_equal = n;
    return prefix;
}

static void mark_largest(const uint32_t *keys, uint64_t n_keys, uint64_t n, uint8_t *row)
{
    uint64_t n_equal;
    const uint32_t last = nth_largest(keys, n_keys, n, &n_equal);
    memset(row, 0, moeq_selected_row(n_keys));
    for (uint64_t s = 0; s < n_keys; s++) {
        const bool equal = keys[s] == last && n_equal;
        n_equal -= equal;
        if (keys[s] > last || equal)
            row[s / 8] = (uint8_t)(row[s / 8] | 1u << s % 8);
    }
}

/* Scores of one query against keys 0 … n_keys-1, as order keys. dots is scratch [heads, lanes]. */
static void score_query(const struct choosing *c, uint64_t token, uint64_t n_keys, float *dots,
                        uint32_t *keys)
{
    const struct moeq_config *config = c->run->config;
    const struct moeq_kernels *kernels = moeq_kernels();
    const uint64_t heads = config->index_heads, width = config->index_width;
    const float *weights = c->weights + token * heads, *q = c->q + token * heads * width;
    for (uint64_t first = 0; first < n_keys; first += c->n_lanes) {
        const float *tile = tile_at(c, token / c->run->context, first / c->n_lanes);
        for (uint64_t h = 0; h < heads; h += kernels->rows)
            kernels->multiply(q + h * width, width, tile, width, dots + h * c->n_lanes, c->n_lanes,
                              heads - h < kernels->rows ? heads - h : kernels->rows, c->n_lanes);
        for (uint64_t r = 0; r < c->n_lanes && first + r < n_keys; r++) {
            float score = 0;
            for (uint64_t h = 0; h < heads; h++)
                score += weights[h] * (dots[h * c->n_lanes + r] > 0 ? dots[h * c->n_lanes + r] : 0);
            keys[first + r] = order_key(score);
        }
    }
}

static enum moeq_status choose_keys(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                    struct moeq_error *err)
{
    const struct choosing *c = context;
    const struct moeq_config *config = c->run->config;
    const uint64_t n_dots = (uint64_t)config->index_heads * c->n_lanes;
    struct moeq_bytes *bytes = &c->run->scratch.workers[worker];
    enum moeq_status status =
        moeq_bytes_resize(bytes, (size_t)((n_dots + c->run->context) * sizeof(float)), err);
    for (uint64_t token = begin; !status && token < end; token++) {
        const uint64_t n_keys = token % c->run->context + 1;
        float *dots = (float *)(void *)bytes->data;
        uint32_t *keys = (uint32_t *)(void *)(dots + n_dots);
        if (n_keys <= config->index_top_k)
            continue;
        score_query(c, token, n_keys, dots, keys);
        mark_largest(keys, n_keys, config->index_top_k,
                     c->selected + token * moeq_selected_row(c->run->context));
    }
    return status;
}

enum moeq_status moeq_indexer_choose(const struct moeq_indexer *indexer, struct moeq_run *run, const float *x,
                                     const float *latent, uint64_t n, uint8_t *selected,
                                     struct moeq_error *err)
{
    const struct moeq_config *config = run->config;
    const uint64_t q_width = (uint64_t)config->index_heads * config->index_width;
    struct choosing c = {
        .indexer = indexer, .run = run, .n_lanes = moeq_kernels()->tokens, .selected = selected};
    c.n_blocks = moeq_div_up(run->context, c.n_lanes);
    enum moeq_status status =
        moeq_bytes_resize(&run->indexer_work, (size_t)moeq_indexer_work_bytes(config, n, run->context), err);
    if (status)
        return status;
    place_work(&c, n);
    const struct {
        const struct moeq_matrix *matrix;
        const float *from;
        float *to;
        uint64_t from_width, to_width;
    } products[] = {{&indexer->q, latent, c.q, config->q_rank, q_width},
                    {&indexer->k, x, c.k, config->hidden, config->index_width},
                    {&indexer->weights, x, c.weights, config->hidden, config->index_heads}};
    for (size_t i = 0; !status && i < sizeof products / sizeof *products; i++)
        if (!(status = moeq_activations_set(&run->inputs, run->pool, MOEQ_EXACT, products[i].from,
                                            products[i].from_width, NULL, n, products[i].from_width, err)))
            status = moeq_matmul(run->pool, &run->scratch, products[i].matrix, &run->inputs, products[i].to,
                                 products[i].to_width, err);
    if (!status)
        status = moeq_pool_for(run->pool, n, TOKEN_GRAIN, finish_vectors, &c, err);
    if (!status)
        status = moeq_pool_for(run->pool, n / run->context * c.n_blocks, 1, make_tiles, &c, err);
    return status ? status : moeq_pool_for(run->pool, n, TOKEN_GRAIN, choose_keys, &c, err);
}
