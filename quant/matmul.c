#include "matmul.h"

#include "few.h"
#include "kernels.h"
#include "level_planes.h"

#include <stdlib.h>

#define PANEL_BYTES (512u << 10) /* of decoded rows: half of a common second-level cache */
#define PAD_BYTES   64           /* behind a decoded row, so that rows do not meet in one set of the cache */
#define BLOCK_SUMS  (MOEQ_MAX_BLOCK_ROWS * MOEQ_MAX_BLOCK_TOKENS)

enum moeq_status moeq_scratch_init(struct moeq_scratch *scratch, const struct moeq_pool *pool,
                                   struct moeq_error *err)
{
    *scratch = (struct moeq_scratch){.n_workers = moeq_pool_jobs(pool)};
    scratch->workers = moeq_calloc(scratch->n_workers, sizeof *scratch->workers, err);
    return scratch->workers ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

void moeq_scratch_rest(struct moeq_scratch *scratch)
{
    for (unsigned i = 0; scratch->workers && i < scratch->n_workers; i++)
        moeq_bytes_free(&scratch->workers[i]);
    moeq_bytes_free(&scratch->few);
    moeq_bytes_free(&scratch->values);
}

void moeq_scratch_free(struct moeq_scratch *scratch)
{
    moeq_scratch_rest(scratch);
    free(scratch->workers);
    *scratch = (struct moeq_scratch){0};
}

/* A matrix of a multiplication. */
struct operand {
    const struct moeq_matrix *w;
    uint32_t group;    /* codes that share a scale, where panels hold codes; otherwise 0 */
    uint64_t n_scales; /* of a row */
};

struct multiplication {
    const struct moeq_kernels *kernels;
    struct moeq_scratch *scratch;
    struct operand operands[2]; /* the second is `up` */
    const struct moeq_activations *x;
    uint64_t ldw;       /* elements from one decoded row to the next */
    uint64_t first_row; /* of W, where row 0 of the pieces lies */
    struct moeq_sums to;
    struct moeq_activations *gated;
};

static size_t element_bytes(const struct moeq_activations *x)
{
    return x->bf16 ? sizeof(uint16_t) : sizeof(float);
}

static enum moeq_status operand_init(struct operand *o, const struct moeq_matrix *w,
                                     const struct moeq_activations *x, struct moeq_error *err)
{
    *o = (struct operand){.w = w};
    if (!w->format.level->decode)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "a matrix of dtype %s cannot be computed with",
                         moeq_dtype_name(w->format.dtype));
    if (x->bf16 && moeq_kernels()->decode_codes[w->format.level->fast]) {
        o->group = moeq_scale_group(&w->format);
        o->n_scales = moeq_div_up(w->cols, o->group);
    }
    return MOEQ_OK;
}

/* ---- decoded rows ---- */

/* What a worker decodes into, and its sums. */
struct panel {
    uint8_t *rows; /* [panel rows, ldw] */
    float *scales; /* [panel rows, n_scales] */
    float *row;    /* room for one */
    float *sums;   /* [2, block rows, block tokens] */
};

static uint64_t panel_rows(const struct moeq_kernels *kernels, uint64_t cols, size_t element)
{
    return 2 * kernels->rows * cols * element <= PANEL_BYTES ? 2 * kernels->rows : kernels->rows;
}

static uint64_t panel_scales(uint64_t cols)
{
    return 2 * MOEQ_MAX_BLOCK_ROWS * moeq_div_up(cols, 32); /* 32: the smallest group */
}

uint64_t moeq_matmul_scratch_bytes(uint64_t cols)
{
    const uint64_t floats = 2 * BLOCK_SUMS + panel_scales(cols) + cols + 1;
    return 2 * MOEQ_MAX_BLOCK_ROWS * (cols * sizeof(float) + 2 * PAD_BYTES) + floats * sizeof(float);
}

static enum moeq_status panel_init(struct panel *panel, const struct multiplication *m, unsigned worker,
                                   struct moeq_error *err)
{
    const uint64_t cols = m->operands[0].w->cols;
    struct moeq_bytes *bytes = &m->scratch->workers[worker];
    enum moeq_status status = moeq_bytes_resize(bytes, (size_t)moeq_matmul_scratch_bytes(cols), err);
    if (status)
        return status;
    panel->sums = (float *)(void *)bytes->data; /* where the bytes are aligned best */
    panel->scales = panel->sums + 2 * BLOCK_SUMS;
    panel->row = panel->scales + panel_scales(cols);
    panel->rows =
        bytes->data + bytes->n_bytes - 2 * MOEQ_MAX_BLOCK_ROWS * (cols * sizeof(float) + 2 * PAD_BYTES);
    panel->rows += -(uintptr_t)panel->rows % PAD_BYTES; /* the second of the two pads leaves room for that */
    memset(panel->sums, 0, 2 * BLOCK_SUMS * sizeof *panel->sums);
    return MOEQ_OK;
}

/* Rows [begin, end) of an operand become rows `at` and following of the panel. */
static void decode_rows(const struct multiplication *m, const struct operand *o, uint64_t begin, uint64_t end,
                        const struct panel *panel, uint64_t at)
{
    const uint64_t cols = o->w->cols;
    for (uint64_t r = begin; r < end; r++, at++) {
        uint8_t *row = panel->rows + at * m->ldw * element_bytes(m->x);
        if (!m->x->bf16) {
            moeq_kernels_decode_row(m->kernels, o->w, r, (float *)(void *)row);
            continue;
        }
        if (o->group) {
            m->kernels->decode_codes[o->w->format.level->fast](o->w, r, cols, panel->row);
            moeq_row_scales(o->w, r, panel->scales + at * o->n_scales);
        } else {
            moeq_kernels_decode_row(m->kernels, o->w, r, panel->row);
        }
        panel->row[cols] = 0; /* the second half of the last pair, where there is one */
        m->kernels->to_bf16(panel->row, m->x->n_k, (uint16_t *)(void *)row);
    }
}

/* ---- blocks ---- */

static uint64_t block_tokens(const struct multiplication *m, uint64_t block)
{
    const uint64_t n_lanes = m->kernels->tokens, left = m->x->n_tokens - block * n_lanes;
    return left < n_lanes ? left : n_lanes;
}

/* sums [n_rows, block tokens] of the panel's rows from `at` on. */
static void multiply_block(const struct multiplication *m, const struct operand *o, const struct panel *panel,
                           uint64_t at, uint64_t n_rows, uint64_t block, float *sums)
{
    const uint64_t n = block_tokens(m, block), n_lanes = m->kernels->tokens;
    const void *rows = panel->rows + at * m->ldw * element_bytes(m->x),
               *x = moeq_activations_block(m->x, block);
    if (m->x->bf16)
        m->kernels->multiply_bf16(rows, m->ldw, panel->scales + at * o->n_scales, o->n_scales, o->group, x,
                                  m->x->n_k, sums, n_lanes, n_rows, n);
    else
        m->kernels->multiply(rows, m->ldw, x, m->x->n_k, sums, n_lanes, n_rows, n);
}

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));

#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)

/* out[t][r] = sums[r * n_lanes + t], four by four; whole fours are read and written. */
static void transpose(const float *sums, uint64_t n_lanes, uint64_t n_rows, uint64_t n_tokens,
                      float out[MOEQ_MAX_BLOCK_TOKENS][MOEQ_MAX_BLOCK_ROWS])
{
    for (uint64_t r = 0; r < n_rows; r += 4)
        for (uint64_t t = 0; t < n_tokens; t += 4) {
            const float *from = sums + r * n_lanes + t;
            const four a = *(const four *)from, b = *(const four *)(from + n_lanes);
            const four c = *(const four *)(from + 2 * n_lanes), d = *(const four *)(from + 3 * n_lanes);
            const four ab_low = SHUFFLE(a, b, 0, 4, 1, 5), ab_high = SHUFFLE(a, b, 2, 6, 3, 7);
            const four cd_low = SHUFFLE(c, d, 0, 4, 1, 5), cd_high = SHUFFLE(c, d, 2, 6, 3, 7);
            *(four *)(out[t] + r) = SHUFFLE(ab_low, cd_low, 0, 1, 4, 5);
            *(four *)(out[t + 1] + r) = SHUFFLE(ab_low, cd_low, 2, 3, 6, 7);
            *(four *)(out[t + 2] + r) = SHUFFLE(ab_high, cd_high, 0, 1, 4, 5);
            *(four *)(out[t + 3] + r) = SHUFFLE(ab_high, cd_high, 2, 3, 6, 7);
        }
}

static float *row_to(const struct moeq_sums *to, uint64_t token)
{
    return to->y + (to->rows ? to->rows[token] : token) * to->ldy;
}

/* y = values, or y += weight * values. */
static inline void put(float *y, const float *values, uint64_t n, bool add, float weight)
{
    uint64_t r = 0;
    for (; r + 4 <= n; r += 4) {
        four v = *(const four *)(values + r);
        if (add)
            v = *(const four *)(y + r) + weight * v;
        *(four *)(y + r) = v;
    }
    for (; r < n; r++)
        y[r] = add ? y[r] + weight * values[r] : values[r];
}

/* Rows [row, row + n_rows) of W for the tokens of a block. */
static void end_block(const struct multiplication *m, bool add, uint64_t row, uint64_t n_rows, uint64_t block,
                      const float *sums)
{
    float values[MOEQ_MAX_BLOCK_TOKENS][MOEQ_MAX_BLOCK_ROWS];
    const uint64_t first = block * m->kernels->tokens, n = block_tokens(m, block);
    transpose(sums, m->kernels->tokens, n_rows, n, values);
    for (uint64_t t = 0; t < n; t++) {
        const float weight = m->to.weights ? m->to.weights[first + t] : 1;
        put(row_to(&m->to, first + t) + row, values[t], n_rows, add, weight);
    }
}

static void multiply_panel(const struct multiplication *m, bool add, const struct panel *panel,
                           uint64_t begin, uint64_t end)
{
    const uint64_t n_blocks = moeq_div_up(m->x->n_tokens, m->kernels->tokens), rows = m->kernels->rows;
    decode_rows(m, &m->operands[0], m->first_row + begin, m->first_row + end, panel, 0);
    for (uint64_t b = 0; b < n_blocks; b++)
        for (uint64_t r = begin; r < end; r += rows) {
            const uint64_t n = end - r < rows ? end - r : rows;
            multiply_block(m, &m->operands[0], panel, r - begin, n, b, panel->sums);
            end_block(m, add, r, n, b, panel->sums);
        }
}

static enum moeq_status store_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                   struct moeq_error *err)
{
    struct panel panel;
    enum moeq_status status = panel_init(&panel, context, worker, err);
    if (!status)
        multiply_panel(context, false, &panel, begin, end);
    return status;
}

static enum moeq_status add_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                 struct moeq_error *err)
{
    struct panel panel;
    enum moeq_status status = panel_init(&panel, context, worker, err);
    if (!status)
        multiply_panel(context, true, &panel, begin, end);
    return status;
}

static enum moeq_status multiply(struct multiplication *m, struct moeq_pool *pool, uint64_t n_rows,
                                 moeq_pool_piece *piece, struct moeq_error *err)
{
    m->ldw = m->x->n_k + PAD_BYTES / element_bytes(m->x);
    return moeq_pool_for(pool, m->x->n_tokens ? n_rows : 0,
                         panel_rows(m->kernels, m->operands[0].w->cols, element_bytes(m->x)), piece, m, err);
}

enum moeq_status moeq_matmul(struct moeq_pool *pool, struct moeq_scratch *scratch,
                             const struct moeq_matrix *w, const struct moeq_activations *x, float *y,
                             uint64_t ldy, struct moeq_error *err)
{
    return moeq_matmul_rows(pool, scratch, w, 0, w->rows, x, y, ldy, err);
}

enum moeq_status moeq_matmul_rows(struct moeq_pool *pool, struct moeq_scratch *scratch,
                                  const struct moeq_matrix *w, uint64_t first_row, uint64_t n_rows,
                                  const struct moeq_activations *x, float *y, uint64_t ldy,
                                  struct moeq_error *err)
{
    struct multiplication m = {.kernels = moeq_kernels(),
                               .scratch = scratch,
                               .x = x,
                               .first_row = first_row,
                               .to = {.y = y, .ldy = ldy}};
    enum moeq_status status = operand_init(&m.operands[0], w, x, err);
    if (!status && x->few)
        return moeq_few_multiply(pool, scratch, w, first_row, n_rows, x, y, ldy, err);
    return status ? status : multiply(&m, pool, n_rows, store_rows, err);
}

static enum moeq_status add_few(struct moeq_pool *pool, struct moeq_scratch *scratch,
                                const struct moeq_matrix *w, const struct moeq_activations *x,
                                const struct moeq_sums *to, struct moeq_error *err)
{
    enum moeq_status status =
        moeq_bytes_resize(&scratch->values, (size_t)(x->n_tokens * w->rows * sizeof(float)), err);
    float *values = (float *)(void *)scratch->values.data;
    if (!status)
        status = moeq_few_multiply(pool, scratch, w, 0, w->rows, x, values, w->rows, err);
    for (uint64_t t = 0; !status && t < x->n_tokens; t++)
        put(row_to(to, t), values + t * w->rows, w->rows, true, to->weights ? to->weights[t] : 1);
    return status;
}

enum moeq_status moeq_matmul_add(struct moeq_pool *pool, struct moeq_scratch *scratch,
                                 const struct moeq_matrix *w, const struct moeq_activations *x,
                                 const struct moeq_sums *to, struct moeq_error *err)
{
    struct multiplication m = {.kernels = moeq_kernels(), .scratch = scratch, .x = x, .to = *to};
    enum moeq_status status = operand_init(&m.operands[0], w, x, err);
    if (!status && x->few)
        return add_few(pool, scratch, w, x, to, err);
    return status ? status : multiply(&m, pool, w->rows, add_rows, err);
}

/* ---- gate and up ---- */

/* Rows of sums are rows of the activations to be: only BF16 must be paired. An odd last row has zeros behind
 * it. */
static void place_gated(const struct multiplication *m, uint64_t row, uint64_t n_rows, uint64_t block,
                        float *sums)
{
    const uint64_t n_lanes = m->kernels->tokens;
    uint8_t *to = moeq_activations_block(m->gated, block) + row * n_lanes * element_bytes(m->gated);
    if (!m->gated->bf16) {
        memcpy(to, sums, n_rows * n_lanes * sizeof *sums);
        return;
    }
    if (n_rows % 2)
        memset(sums + n_rows * n_lanes, 0, n_lanes * sizeof *sums);
    m->kernels->pair_rows(sums, (n_rows + 1) / 2, (uint16_t *)(void *)to);
}

static enum moeq_status gate_rows(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                  struct moeq_error *err)
{
    const struct multiplication *m = context;
    const struct operand *gate = &m->operands[0], *up = &m->operands[1];
    const uint64_t n_blocks = moeq_div_up(m->x->n_tokens, m->kernels->tokens), n = end - begin;
    struct panel first, second;
    enum moeq_status status = panel_init(&first, m, worker, err);
    if (status)
        return status;
    second = first;
    second.rows += m->kernels->rows * m->ldw * element_bytes(m->x);
    second.scales += panel_scales(gate->w->cols) / 2;
    second.sums += BLOCK_SUMS;
    decode_rows(m, gate, begin, end, &first, 0);
    decode_rows(m, up, begin, end, &second, 0);
    for (uint64_t b = 0; b < n_blocks; b++) {
        multiply_block(m, gate, &first, 0, n, b, first.sums);
        multiply_block(m, up, &second, 0, n, b, second.sums);
        m->kernels->silu_product(first.sums, second.sums, n * m->kernels->tokens);
        place_gated(m, begin, n, b, first.sums);
    }
    return status;
}

static enum moeq_status gate_few(struct moeq_pool *pool, struct moeq_scratch *scratch,
                                 const struct moeq_matrix *gate, const struct moeq_matrix *up,
                                 const struct moeq_activations *x, struct moeq_activations *out,
                                 struct moeq_error *err)
{
    const uint64_t width = gate->rows, n = x->n_tokens * width;
    enum moeq_status status = moeq_bytes_resize(&scratch->values, (size_t)(n * sizeof(float)), err);
    float *gates = (float *)(void *)out->bytes.data, *ups = (float *)(void *)scratch->values.data;
    if (!status)
        status = moeq_few_multiply(pool, scratch, gate, 0, width, x, gates, width, err);
    if (!status)
        status = moeq_few_multiply(pool, scratch, up, 0, width, x, ups, width, err);
    if (!status) {
        moeq_kernels()->silu_product(gates, ups, n);
        moeq_activations_round(gates, n);
    }
    return status;
}

enum moeq_status moeq_matmul_gated(struct moeq_pool *pool, struct moeq_scratch *scratch,
                                   const struct moeq_matrix *gate, const struct moeq_matrix *up,
                                   const struct moeq_activations *x, struct moeq_activations *out,
                                   struct moeq_error *err)
{
    struct multiplication m = {.kernels = moeq_kernels(), .scratch = scratch, .x = x, .gated = out};
    enum moeq_status status = operand_init(&m.operands[0], gate, x, err);
    if (!status)
        status = operand_init(&m.operands[1], up, x, err);
    if (!status)
        status = moeq_activations_size(out,
                                       x->few    ? MOEQ_FEW
                                       : x->bf16 ? MOEQ_FAST
                                                 : MOEQ_EXACT,
                                       x->n_tokens, gate->rows, err);
    if (!status && x->few)
        return gate_few(pool, scratch, gate, up, x, out, err);
    m.ldw = x->n_k + PAD_BYTES / element_bytes(x);
    return status ? status
                  : moeq_pool_for(pool, x->n_tokens ? gate->rows : 0, m.kernels->rows, gate_rows, &m, err);
}
