#include "absorbed.h"

#include "kernels.h"

/* Tokens that one decoding of a head's rows of kv_b serves. */
#define BLOCK_TOKENS 32

struct attention {
    const struct moeq_absorbed *a;
    struct moeq_scratch *scratch;
    uint64_t n_positions; /* the most that a token looks at */
};

/* One head over one block of tokens. */
struct head {
    const struct moeq_absorbed *a;
    const struct moeq_kernels *kernels;
    uint64_t head, first, n;
    float *rows;    /* [qk_nope, kv_rank]: of kv_b */
    float *queries; /* [BLOCK_TOKENS, kv_rank + qk_rope]: absorbed; then mixtures of latents */
    float *scores;  /* [n_positions] */
};

enum { ROWS, QUERIES, SCORES, N_ARRAYS };

static void size_arrays(const struct moeq_config *c, uint64_t n_positions, uint64_t n_floats[N_ARRAYS])
{
    n_floats[ROWS] = moeq_round_up((uint64_t)moeq_larger(c->qk_nope, 1) * c->kv_rank, 16);
    n_floats[QUERIES] = moeq_round_up(BLOCK_TOKENS * ((uint64_t)c->kv_rank + c->qk_rope), 16);
    n_floats[SCORES] = n_positions;
}

uint64_t moeq_absorbed_scratch_bytes(const struct moeq_config *config, uint64_t n_positions)
{
    uint64_t n_floats[N_ARRAYS], n = 0;
    size_arrays(config, n_positions, n_floats);
    for (int i = 0; i < N_ARRAYS; i++)
        n += n_floats[i];
    return n * sizeof(float);
}

static void decode_row(const struct head *h, uint64_t row, float *out)
{
    const struct moeq_config *c = h->a->config;
    moeq_kernels_decode_row(h->kernels, h->a->kv_b, h->head * (c->qk_nope + c->v_width) + row, out);
}

static float *query_of(const struct head *h, uint64_t t)
{
    return h->queries + t * h->a->cache->width;
}

/* q~ in the order of the rows of W_UK, then q_rope. */
static void absorb_queries(const struct head *h)
{
    const struct moeq_config *c = h->a->config;
    const uint64_t width = (uint64_t)c->qk_nope + c->qk_rope, token = c->n_heads * width;
    const float *q = h->a->q + h->first * token + h->head * width;
    for (uint32_t r = 0; r < c->qk_nope; r++)
        decode_row(h, r, h->rows + (uint64_t)r * c->kv_rank);
    for (uint64_t t = 0; t < h->n; t++, q += token) {
        h->kernels->mix_rows(q, h->rows, c->kv_rank, c->qk_nope, c->kv_rank, query_of(h, t));
        memcpy(query_of(h, t) + c->kv_rank, q + c->qk_nope, c->qk_rope * sizeof *q);
    }
}

/* The query of a token becomes its mixture of latents. */
static void attend(const struct head *h, uint64_t t)
{
    const struct moeq_absorbed *a = h->a;
    const struct moeq_place_of_token place = a->places[h->first + t];
    const uint64_t width = a->cache->width, n_keys = (uint64_t)place.position + 1;
    const float *rows = moeq_latent_row(a->cache, a->layer, place.sequence, 0);
    float *query = query_of(h, t);
    for (uint64_t s = 0; s < n_keys; s++)
        h->scores[s] = h->kernels->dot(query, rows + s * width, width);
    h->kernels->softmax(h->scores, n_keys, a->scale);
    h->kernels->mix_rows(h->scores, rows, width, n_keys, a->config->kv_rank, query);
}

static void restore_values(const struct head *h)
{
    const struct moeq_config *c = h->a->config;
    const uint64_t token = (uint64_t)c->n_heads * c->v_width;
    float *out = h->a->out + h->first * token + h->head * c->v_width;
    for (uint32_t r = 0; r < c->v_width; r++) {
        decode_row(h, c->qk_nope + r, h->rows);
        for (uint64_t t = 0; t < h->n; t++)
            out[t * token + r] = h->kernels->dot(h->rows, query_of(h, t), c->kv_rank);
    }
}

/* Item i is head i % n_heads of block i / n_heads. */
static enum moeq_status attend_heads(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                     struct moeq_error *err)
{
    const struct attention *all = context;
    const struct moeq_absorbed *a = all->a;
    struct moeq_bytes *bytes = &all->scratch->workers[worker];
    const uint64_t n_bytes = moeq_absorbed_scratch_bytes(a->config, all->n_positions);
    enum moeq_status status = moeq_bytes_resize(bytes, (size_t)n_bytes, err);
    for (uint64_t i = begin; !status && i < end; i++) {
        uint64_t n_floats[N_ARRAYS];
        struct head h = {.a = a, .kernels = moeq_kernels(), .head = i % a->config->n_heads};
        size_arrays(a->config, all->n_positions, n_floats);
        h.rows = (float *)(void *)bytes->data;
        h.queries = h.rows + n_floats[ROWS];
        h.scores = h.queries + n_floats[QUERIES];
        h.first = i / a->config->n_heads * BLOCK_TOKENS;
        h.n = a->n - h.first < BLOCK_TOKENS ? a->n - h.first : BLOCK_TOKENS;
        absorb_queries(&h);
        for (uint64_t t = 0; t < h.n; t++)
            attend(&h, t);
        restore_values(&h);
    }
    return status;
}

enum moeq_status moeq_absorbed_attend(const struct moeq_absorbed *absorbed, struct moeq_pool *pool,
                                      struct moeq_scratch *scratch, struct moeq_error *err)
{
    struct attention all = {.a = absorbed, .scratch = scratch};
    for (uint64_t t = 0; t < absorbed->n; t++)
        all.n_positions = moeq_larger(all.n_positions, (uint64_t)absorbed->places[t].position + 1);
    return moeq_pool_for(pool, moeq_div_up(absorbed->n, BLOCK_TOKENS) * absorbed->config->n_heads, 1,
                         attend_heads, &all, err);
}
