#include "matmul.h"

#include "kernels.h"
#include "level_planes.h"

#include <stdlib.h>

#define PANEL_BYTES (512u << 10) /* of decoded rows: half of a common second-level cache */
#define PAD_BYTES   64           /* behind a decoded row, so that rows do not meet in one set of the cache */
#define PACK_WIDTH  16           /* input features that are laid out at once */

enum moeq_status moeq_scratch_init(struct moeq_scratch *scratch, const struct moeq_pool *pool,
                                   struct moeq_error *err)
{
    scratch->n_workers = moeq_pool_jobs(pool);
    scratch->workers = moeq_calloc(scratch->n_workers, sizeof *scratch->workers, err);
    return scratch->workers ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

void moeq_scratch_free(struct moeq_scratch *scratch)
{
    for (unsigned i = 0; scratch->workers && i < scratch->n_workers; i++)
        moeq_bytes_free(&scratch->workers[i]);
    free(scratch->workers);
    *scratch = (struct moeq_scratch){0};
}

bool moeq_has_fast_products(void)
{
    return moeq_kernels()->multiply_bf16 != NULL;
}

/* ---- activations ---- */

struct packing {
    const struct moeq_kernels *kernels;
    struct moeq_activations *to;
    const float *x;
    uint64_t ldx;
};

static uint64_t block_elements(const struct packing *p)
{
    return p->to->n_k * p->kernels->tokens;
}

/* A block of tokens: feature k of token t at [k][t]. Tokens that are not there are zeros. */
static void pack_floats(const struct packing *p, uint64_t first, uint64_t n, float *to)
{
    const uint64_t n_lanes = p->kernels->tokens, width = p->to->width;
    for (uint64_t k = 0; k < width; k += PACK_WIDTH) {
        const uint64_t end = width - k < PACK_WIDTH ? width : k + PACK_WIDTH;
        for (uint64_t t = 0; t < n; t++) {
            const float *x = p->x + (first + t) * p->ldx;
            for (uint64_t i = k; i < end; i++)
                to[i * n_lanes + t] = x[i];
        }
        for (uint64_t i = k; i < end; i++)
            for (uint64_t t = n; t < n_lanes; t++)
                to[i * n_lanes + t] = 0;
    }
}

/* The same in pairs of features: [k / 2][t][k % 2]. */
static void pack_pairs(const struct packing *p, uint64_t first, uint64_t n, uint16_t *to)
{
    const uint64_t n_lanes = p->kernels->tokens, width = p->to->width;
    uint32_t *pairs = (uint32_t *)(void *)to;
    for (uint64_t k = 0; k < width; k += 2 * PACK_WIDTH) {
        const uint64_t n_here = width - k < 2 * PACK_WIDTH ? width - k : 2 * PACK_WIDTH;
        const uint64_t n_pairs = (n_here + 1) / 2;
        for (uint64_t t = 0; t < n_lanes; t++) {
            uint16_t row[2 * PACK_WIDTH] = {0};
            uint32_t from[PACK_WIDTH];
            if (t < n)
                p->kernels->to_bf16(p->x + (first + t) * p->ldx + k, n_here, row);
            memcpy(from, row, sizeof from);
            for (uint64_t i = 0; i < n_pairs; i++)
                pairs[(k / 2 + i) * n_lanes + t] = from[i];
        }
    }
}

static enum moeq_status pack_blocks(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                    struct moeq_error *err)
{
    const struct packing *p = context;
    const uint64_t n_lanes = p->kernels->tokens;
    (void)worker;
    (void)err;
    for (uint64_t b = begin; b < end; b++) {
        const uint64_t left = p->to->n_tokens - b * n_lanes, n = left < n_lanes ? left : n_lanes;
        if (p->to->bf16)
            pack_pairs(p, b * n_lanes, n, (uint16_t *)(void *)p->to->bytes.data + b * block_elements(p));
        else
            pack_floats(p, b * n_lanes, n, (float *)(void *)p->to->bytes.data + b * block_elements(p));
    }
    return MOEQ_OK;
}

uint64_t moeq_activations_bytes(uint64_t n_tokens, uint64_t width)
{
    return moeq_round_up(n_tokens, MOEQ_MAX_BLOCK_TOKENS) * (width + 1) * sizeof(float);
}

enum moeq_status moeq_activations_set(struct moeq_activations *activations, struct moeq_pool *pool,
                                      enum moeq_arithmetic arithmetic, const float *x, uint64_t ldx,
                                      uint64_t n_tokens, uint64_t width, struct moeq_error *err)
{
    struct packing p = {moeq_kernels(), activations, x, ldx};
    const uint64_t n_blocks = moeq_div_up(n_tokens, p.kernels->tokens);
    activations->bf16 = arithmetic == MOEQ_FAST && p.kernels->multiply_bf16;
    activations->n_tokens = n_tokens;
    activations->width = width;
    activations->n_k = activations->bf16 ? moeq_round_up(width, 2) : width;
    const uint64_t element = activations->bf16 ? sizeof(uint16_t) : sizeof(float);
    enum moeq_status status =
        moeq_bytes_resize(&activations->bytes, (size_t)(n_blocks * block_elements(&p) * element), err);
    return status ? status : moeq_pool_for(pool, n_blocks, 1, pack_blocks, &p, err);
}

void moeq_activations_free(struct moeq_activations *activations)
{
    moeq_bytes_free(&activations->bytes);
}

/* ---- products ---- */

struct multiplication {
    const struct moeq_kernels *kernels;
    struct moeq_scratch *scratch;
    const struct moeq_matrix *w;
    const struct moeq_activations *x;
    float *y;
    uint64_t ldy;
    uint64_t ldw;      /* elements from one decoded row to the next */
    uint32_t group;    /* codes that share a scale, where the panel holds codes; otherwise 0 */
    uint64_t n_scales; /* of a row */
};

/* What a worker decodes into. */
struct panel {
    void *rows;    /* [panel rows, ldw] */
    float *scales; /* [panel rows, n_scales] */
    float *row;    /* room for one */
};

static uint64_t panel_rows(const struct moeq_kernels *kernels, uint64_t cols, size_t element)
{
    return 2 * kernels->rows * cols * element <= PANEL_BYTES ? 2 * kernels->rows : kernels->rows;
}

uint64_t moeq_matmul_scratch_bytes(uint64_t cols)
{
    const uint64_t scales = moeq_div_up(cols, 32) * sizeof(float); /* 32: the smallest group */
    return 2 * MOEQ_MAX_BLOCK_ROWS * (cols * sizeof(float) + 2 * PAD_BYTES + scales) +
           (cols + 1) * sizeof(float);
}

static void decode(const struct multiplication *m, uint64_t row, float *out)
{
    const struct moeq_level *level = m->w->format.level;
    if (m->kernels->decode[level->fast])
        m->kernels->decode[level->fast](m->w, row, 0, m->w->cols, out);
    else
        level->decode(m->w, row, 0, m->w->cols, out);
}

static void decode_panel(const struct multiplication *m, uint64_t begin, uint64_t end,
                         const struct panel *panel)
{
    for (uint64_t r = begin; r < end; r++) {
        if (!m->x->bf16) {
            decode(m, r, (float *)panel->rows + (r - begin) * m->ldw);
            continue;
        }
        if (m->group) {
            m->kernels->decode_codes[m->w->format.level->fast](m->w, r, m->w->cols, panel->row);
            moeq_row_scales(m->w, r, panel->scales + (r - begin) * m->n_scales);
        } else {
            decode(m, r, panel->row);
        }
        panel->row[m->w->cols] = 0; /* the second half of the last pair, where there is one */
        m->kernels->to_bf16(panel->row, m->x->n_k, (uint16_t *)panel->rows + (r - begin) * m->ldw);
    }
}

static void multiply_block(const struct multiplication *m, const struct panel *panel, uint64_t first,
                           uint64_t n_rows, uint64_t block, float *y)
{
    const uint64_t n_lanes = m->kernels->tokens, at = block * m->x->n_k * n_lanes;
    const uint64_t left = m->x->n_tokens - block * n_lanes, n = left < n_lanes ? left : n_lanes;
    float *to = y + block * n_lanes * m->ldy;
    if (m->x->bf16)
        m->kernels->multiply_bf16((const uint16_t *)panel->rows + first * m->ldw, m->ldw,
                                  panel->scales + first * m->n_scales, m->n_scales, m->group,
                                  (const uint16_t *)(const void *)m->x->bytes.data + at, m->x->n_k, to,
                                  m->ldy, n_rows, n);
    else
        m->kernels->multiply((const float *)panel->rows + first * m->ldw, m->ldw,
                             (const float *)(const void *)m->x->bytes.data + at, m->x->n_k, to, m->ldy,
                             n_rows, n);
}

static enum moeq_status multiply_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                      struct moeq_error *err)
{
    const struct multiplication *m = context;
    struct moeq_bytes *bytes = &m->scratch->workers[worker];
    const uint64_t n_blocks = moeq_div_up(m->x->n_tokens, m->kernels->tokens), rows = m->kernels->rows;
    enum moeq_status status = moeq_bytes_resize(bytes, (size_t)moeq_matmul_scratch_bytes(m->w->cols), err);
    if (status)
        return status;
    struct panel panel = {.rows = bytes->data};
    panel.row = (float *)(void *)(bytes->data + bytes->n_bytes) - (m->w->cols + 1);
    panel.scales = panel.row - 2 * MOEQ_MAX_BLOCK_ROWS * moeq_div_up(m->w->cols, 32);
    decode_panel(m, begin, end, &panel);
    for (uint64_t b = 0; b < n_blocks; b++)
        for (uint64_t r = begin; r < end; r += rows)
            multiply_block(m, &panel, r - begin, end - r < rows ? end - r : rows, b, m->y + r);
    return MOEQ_OK;
}

enum moeq_status moeq_matmul(struct moeq_pool *pool, struct moeq_scratch *scratch,
                             const struct moeq_matrix *w, const struct moeq_activations *x, float *y,
                             uint64_t ldy, struct moeq_error *err)
{
    const size_t element = x->bf16 ? sizeof(uint16_t) : sizeof(float);
    struct multiplication m = {.kernels = moeq_kernels(),
                               .scratch = scratch,
                               .w = w,
                               .x = x,
                               .y = y,
                               .ldy = ldy,
                               .ldw = x->n_k + PAD_BYTES / element};
    if (x->bf16 && m.kernels->decode_codes[w->format.level->fast]) {
        m.group = moeq_scale_group(&w->format);
        m.n_scales = moeq_div_up(w->cols, m.group);
    }
    if (!w->format.level->decode)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "a matrix of dtype %s cannot be computed with",
                         moeq_dtype_name(w->format.dtype));
    return moeq_pool_for(pool, x->n_tokens ? w->rows : 0, panel_rows(m.kernels, w->cols, element),
                         multiply_rows, &m, err);
}
