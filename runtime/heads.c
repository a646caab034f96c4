#include "heads.h"

#include "indexer.h"
#include "kernels.h"

#include <math.h>

struct head {
    const struct moeq_heads *all;
    const struct moeq_kernels *kernels;
    uint64_t first_token, head; /* of the window */
    bool bf16;
    uint64_t stride;  /* of scores: context, made a multiple of the lanes */
    float *scores;    /* [rows, stride]: probabilities in the end */
    float *block;     /* [rows, lanes]: what a kernel gives, where it cannot go to its place at once */
    float *rows;      /* [lanes, qk width]: of keys, or of values */
    uint16_t *narrow; /* [rows, stride or qk width]: queries, later probabilities */
    uint8_t *keys;    /* [blocks of keys, qk width, lanes], or in pairs */
    uint8_t *values;  /* [blocks of v_width, stride, lanes], or in pairs */
};

static uint64_t qk_width(const struct moeq_config *c)
{
    return (uint64_t)c->qk_nope + c->qk_rope;
}

enum { SCORES, BLOCK, ROWS, NARROW, KEYS, VALUES, N_ARRAYS };

static void size_arrays(const struct moeq_config *c, uint64_t context, uint64_t n_floats[N_ARRAYS])
{
    const uint64_t lanes = MOEQ_MAX_BLOCK_TOKENS, rows = MOEQ_MAX_BLOCK_ROWS;
    const uint64_t width = moeq_round_up(qk_width(c), lanes), v_width = moeq_round_up(c->v_width, lanes);
    const uint64_t stride = moeq_round_up(context, lanes);
    n_floats[SCORES] = rows * stride;
    n_floats[BLOCK] = rows * lanes;
    n_floats[ROWS] = lanes * moeq_larger(width, 2);
    n_floats[NARROW] = rows * moeq_larger(stride, width) / 2;
    n_floats[KEYS] = stride * width;
    n_floats[VALUES] = stride * v_width;
}

uint64_t moeq_heads_scratch_bytes(const struct moeq_config *config, uint64_t context)
{
    uint64_t n_floats[N_ARRAYS], n = 0;
    size_arrays(config, context, n_floats);
    for (int i = 0; i < N_ARRAYS; i++)
        n += n_floats[i];
    return n * sizeof(float);
}

static void place(struct head *h, uint8_t *scratch)
{
    uint64_t n_floats[N_ARRAYS];
    float *arrays[N_ARRAYS], *next = (float *)(void *)scratch;
    size_arrays(h->all->config, h->all->context, n_floats);
    for (int i = 0; i < N_ARRAYS; next += n_floats[i++])
        arrays[i] = next;
    h->stride = moeq_round_up(h->all->context, MOEQ_MAX_BLOCK_TOKENS);
    h->scores = arrays[SCORES];
    h->block = arrays[BLOCK];
    h->rows = arrays[ROWS];
    h->narrow = (uint16_t *)(void *)arrays[NARROW];
    h->keys = (uint8_t *)arrays[KEYS];
    h->values = (uint8_t *)arrays[VALUES];
}

static uint64_t element_bytes(const struct head *h)
{
    return h->bf16 ? sizeof(uint16_t) : sizeof(float);
}

static const float *kv_of(const struct head *h, uint64_t s)
{
    const struct moeq_config *c = h->all->config;
    const uint64_t of_head = (uint64_t)c->qk_nope + c->v_width;
    return h->all->kv + ((h->first_token + s) * c->n_heads + h->head) * of_head;
}

static uint64_t pairs_width(const struct head *h, uint64_t width)
{
    return h->bf16 ? moeq_round_up(width, 2) : width;
}

static void lay_out_keys(const struct head *h)
{
    const struct moeq_config *c = h->all->config;
    const uint64_t lanes = h->kernels->tokens, context = h->all->context, width = qk_width(c);
    for (uint64_t first = 0; first < context; first += lanes) {
        const uint64_t n = context - first < lanes ? context - first : lanes;
        for (uint64_t i = 0; i < n; i++) {
            const float *rope = h->all->k_rope + (h->first_token + first + i) * (c->kv_rank + c->qk_rope);
            memcpy(h->rows + i * width, kv_of(h, first + i), c->qk_nope * sizeof *h->rows);
            memcpy(h->rows + i * width + c->qk_nope, rope, c->qk_rope * sizeof *h->rows);
        }
        moeq_pack_block(h->bf16, h->rows, width, NULL, n, width,
                        h->keys + first * pairs_width(h, width) * element_bytes(h));
    }
}

/* Two keys' values at once: BF16 wants them in pairs. Behind the window there are zeros. */
static void lay_out_values(const struct head *h)
{
    const struct moeq_config *c = h->all->config;
    const uint64_t lanes = h->kernels->tokens, context = h->all->context;
    memset(h->rows, 0, 2 * lanes * sizeof *h->rows);
    for (uint64_t first = 0; first < c->v_width; first += lanes) {
        const uint64_t n = c->v_width - first < lanes ? c->v_width - first : lanes;
        for (uint64_t s = 0; s < context; s += 2) {
            uint8_t *to = h->values + (first * h->stride + s * lanes) * element_bytes(h);
            memcpy(h->rows, kv_of(h, s) + c->qk_nope + first, n * sizeof *h->rows);
            if (s + 1 < context)
                memcpy(h->rows + lanes, kv_of(h, s + 1) + c->qk_nope + first, n * sizeof *h->rows);
            else
                memset(h->rows + lanes, 0, n * sizeof *h->rows);
            if (h->bf16)
                h->kernels->pair_rows(h->rows, 1, (uint16_t *)(void *)to);
            else
                memcpy(to, h->rows, 2 * lanes * sizeof *h->rows);
        }
        if (n < lanes)
            memset(h->rows, 0, 2 * lanes * sizeof *h->rows);
    }
}

/* out[r * ldo + t] = sum of w[r * ldw + k] * x[k][t], in the arithmetic of the head. */
static void multiply(const struct head *h, const void *w, uint64_t ldw, const void *x, uint64_t n_k,
                     float *out, uint64_t ldo, uint64_t n_rows, uint64_t n_lanes)
{
    if (h->bf16)
        h->kernels->multiply_bf16(w, ldw, NULL, 0, 0, x, n_k, out, ldo, n_rows, n_lanes);
    else
        h->kernels->multiply(w, ldw, x, n_k, out, ldo, n_rows, n_lanes);
}

/* Scores of queries [first, first + n) against keys 0 … n_keys - 1. */
static void score(const struct head *h, uint64_t first, uint64_t n, uint64_t n_keys)
{
    const struct moeq_config *c = h->all->config;
    const uint64_t lanes = h->kernels->tokens, width = qk_width(c), n_k = pairs_width(h, width);
    const uint64_t q_width = c->n_heads * width;
    const float *q = h->all->q + (h->first_token + first) * q_width + h->head * width;
    for (uint64_t r = 0; h->bf16 && r < n; r++) {
        h->narrow[r * n_k + n_k - 1] = 0;
        h->kernels->to_bf16(q + r * q_width, width, h->narrow + r * n_k);
    }
    for (uint64_t s = 0; s < n_keys; s += lanes)
        multiply(h, h->bf16 ? (const void *)h->narrow : q, h->bf16 ? n_k : q_width,
                 h->keys + s * n_k * element_bytes(h), n_k, h->scores + s, h->stride, n, lanes);
}

/* Scores of `n` queries from `first` on become probabilities of keys 0 … n_keys - 1, an even number in BF16.
 */
static void normalize(const struct head *h, uint64_t first, uint64_t n, uint64_t n_keys)
{
    const struct moeq_heads *all = h->all;
    for (uint64_t r = 0; r < n; r++) {
        float *scores = h->scores + r * h->stride;
        const uint64_t query = first + r;
        const uint8_t *selected =
            all->selected && query >= all->config->index_top_k
                ? all->selected + (h->first_token + query) * moeq_selected_row(all->context)
                : NULL;
        for (uint64_t s = 0; selected && s <= query; s++)
            scores[s] = moeq_is_selected(selected, s) ? scores[s] : -INFINITY;
        h->kernels->softmax(scores, query + 1, all->scale);
        memset(scores + query + 1, 0, (n_keys - query - 1) * sizeof *scores);
        if (h->bf16)
            h->kernels->to_bf16(scores, n_keys, h->narrow + r * n_keys);
    }
}

static void mix_values(const struct head *h, uint64_t first, uint64_t n, uint64_t n_keys)
{
    const struct moeq_config *c = h->all->config;
    const uint64_t lanes = h->kernels->tokens, width = (uint64_t)c->n_heads * c->v_width;
    float *out = h->all->out + (h->first_token + first) * width + h->head * c->v_width;
    const void *probabilities = h->bf16 ? (const void *)h->narrow : h->scores;
    const uint64_t ldp = h->bf16 ? n_keys : h->stride;
    for (uint64_t v = 0; v < c->v_width; v += lanes) {
        const uint8_t *values = h->values + v * h->stride * element_bytes(h);
        const uint64_t n_here = c->v_width - v < lanes ? c->v_width - v : lanes;
        if (n_here == lanes) {
            multiply(h, probabilities, ldp, values, n_keys, out + v, width, n, lanes);
            continue;
        }
        multiply(h, probabilities, ldp, values, n_keys, h->block, lanes, n, lanes);
        for (uint64_t r = 0; r < n; r++)
            memcpy(out + r * width + v, h->block + r * lanes, n_here * sizeof *out);
    }
}

void moeq_heads_attend(const struct moeq_heads *heads, uint64_t window, uint64_t head, uint8_t *scratch)
{
    struct head h = {.all = heads,
                     .kernels = moeq_kernels(),
                     .first_token = window * heads->context,
                     .head = head,
                     .bf16 = heads->arithmetic != MOEQ_EXACT && moeq_has_fast_products()};
    place(&h, scratch);
    lay_out_keys(&h);
    lay_out_values(&h);
    for (uint64_t first = 0; first < heads->context; first += h.kernels->rows) {
        const uint64_t left = heads->context - first, n = left < h.kernels->rows ? left : h.kernels->rows;
        const uint64_t n_keys = pairs_width(&h, first + n);
        score(&h, first, n, n_keys);
        normalize(&h, first, n, n_keys);
        mix_values(&h, first, n, n_keys);
    }
}
