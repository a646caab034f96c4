#include "activations.h"

#include "kernels.h"
#include "scalar.h"

#define PACK_WIDTH 16 /* input features that are laid out at once */

bool moeq_has_fast_products(void)
{
    return moeq_kernels()->multiply_bf16 != NULL;
}

static const float *row_of(const float *x, uint64_t ldx, const uint32_t *rows, uint64_t t)
{
    return x + (rows ? rows[t] : t) * ldx;
}

/* A block of tokens: feature k of token t at [k][t]. */
static void pack_floats(const float *x, uint64_t ldx, const uint32_t *rows, uint64_t n, uint64_t width,
                        float *to)
{
    const uint64_t n_lanes = moeq_kernels()->tokens;
    for (uint64_t k = 0; k < width; k += PACK_WIDTH) {
        const uint64_t end = width - k < PACK_WIDTH ? width : k + PACK_WIDTH;
        for (uint64_t t = 0; t < n; t++) {
            const float *from = row_of(x, ldx, rows, t);
            for (uint64_t i = k; i < end; i++)
                to[i * n_lanes + t] = from[i];
        }
        for (uint64_t i = k; i < end; i++)
            for (uint64_t t = n; t < n_lanes; t++)
                to[i * n_lanes + t] = 0;
    }
}

/* The same in pairs of features: [k / 2][t][k % 2]. */
static void pack_pairs(const float *x, uint64_t ldx, const uint32_t *rows, uint64_t n, uint64_t width,
                       uint16_t *to)
{
    const struct moeq_kernels *kernels = moeq_kernels();
    const uint64_t n_lanes = kernels->tokens;
    uint32_t *pairs = (uint32_t *)(void *)to;
    for (uint64_t k = 0; k < width; k += 2 * PACK_WIDTH) {
        const uint64_t n_here = width - k < 2 * PACK_WIDTH ? width - k : 2 * PACK_WIDTH;
        const uint64_t n_pairs = (n_here + 1) / 2;
        for (uint64_t t = 0; t < n_lanes; t++) {
            uint16_t row[2 * PACK_WIDTH] = {0};
            uint32_t from[PACK_WIDTH];
            if (t < n)
                kernels->to_bf16(row_of(x, ldx, rows, t) + k, n_here, row);
            memcpy(from, row, sizeof from);
            for (uint64_t i = 0; i < n_pairs; i++)
                pairs[(k / 2 + i) * n_lanes + t] = from[i];
        }
    }
}

void moeq_pack_block(bool bf16, const float *x, uint64_t ldx, const uint32_t *rows, uint64_t n,
                     uint64_t width, void *to)
{
    if (bf16)
        pack_pairs(x, ldx, rows, n, width, to);
    else
        pack_floats(x, ldx, rows, n, width, to);
}

struct packing {
    const struct moeq_activations *to;
    const float *x;
    uint64_t ldx;
    const uint32_t *rows;
};

static enum moeq_status pack_blocks(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                    struct moeq_error *err)
{
    const struct packing *p = context;
    const uint64_t n_lanes = moeq_kernels()->tokens;
    (void)worker;
    (void)err;
    for (uint64_t b = begin; b < end; b++) {
        const uint64_t first = b * n_lanes, left = p->to->n_tokens - first,
                       n = left < n_lanes ? left : n_lanes;
        const float *x = p->rows ? p->x : p->x + first * p->ldx;
        moeq_pack_block(p->to->bf16, x, p->ldx, p->rows ? p->rows + first : NULL, n, p->to->width,
                        moeq_activations_block(p->to, b));
    }
    return MOEQ_OK;
}

static uint64_t block_bytes(const struct moeq_activations *a)
{
    return a->n_k * moeq_kernels()->tokens * (a->bf16 ? sizeof(uint16_t) : sizeof(float));
}

uint8_t *moeq_activations_block(const struct moeq_activations *activations, uint64_t block)
{
    return activations->bytes.data + block * block_bytes(activations);
}

uint64_t moeq_activations_bytes(uint64_t n_tokens, uint64_t width)
{
    return moeq_round_up(n_tokens, MOEQ_MAX_BLOCK_TOKENS) * (width + 1) * sizeof(float);
}

enum moeq_status moeq_activations_size(struct moeq_activations *activations, enum moeq_arithmetic arithmetic,
                                       uint64_t n_tokens, uint64_t width, struct moeq_error *err)
{
    const struct moeq_kernels *kernels = moeq_kernels();
    activations->bf16 = arithmetic == MOEQ_FAST && kernels->multiply_bf16;
    activations->n_tokens = n_tokens;
    activations->width = width;
    activations->few = arithmetic == MOEQ_FEW;
    activations->n_k = activations->bf16 ? moeq_round_up(width, 2) : width;
    if (activations->few)
        return moeq_bytes_resize(&activations->bytes, (size_t)(n_tokens * width * sizeof(float)), err);
    const uint64_t n_blocks = moeq_div_up(n_tokens, kernels->tokens);
    return moeq_bytes_resize(&activations->bytes, (size_t)(n_blocks * block_bytes(activations)), err);
}

/* As plain rows. Where products are BF16, so are these. */
static void copy_rows(const struct packing *p)
{
    const uint64_t width = p->to->width;
    float *to = (float *)(void *)p->to->bytes.data;
    for (uint64_t t = 0; t < p->to->n_tokens; t++, to += width) {
        memcpy(to, row_of(p->x, p->ldx, p->rows, t), width * sizeof *to);
        moeq_activations_round(to, width);
    }
}

void moeq_activations_round(float *x, uint64_t n)
{
    uint16_t rounded[PACK_WIDTH];
    for (uint64_t i = 0; moeq_has_fast_products() && i < n; i += PACK_WIDTH) {
        const uint64_t n_here = n - i < PACK_WIDTH ? n - i : PACK_WIDTH;
        moeq_kernels()->to_bf16(x + i, n_here, rounded);
        for (uint64_t k = 0; k < n_here; k++)
            x[i + k] = moeq_bf16_decode(rounded[k]);
    }
}

enum moeq_status moeq_activations_set(struct moeq_activations *activations, struct moeq_pool *pool,
                                      enum moeq_arithmetic arithmetic, const float *x, uint64_t ldx,
                                      const uint32_t *rows, uint64_t n_tokens, uint64_t width,
                                      struct moeq_error *err)
{
    struct packing p = {activations, x, ldx, rows};
    enum moeq_status status = moeq_activations_size(activations, arithmetic, n_tokens, width, err);
    if (!status && activations->few) {
        copy_rows(&p);
        return MOEQ_OK;
    }
    return status
               ? status
               : moeq_pool_for(pool, moeq_div_up(n_tokens, moeq_kernels()->tokens), 1, pack_blocks, &p, err);
}

void moeq_activations_free(struct moeq_activations *activations)
{
    moeq_bytes_free(&activations->bytes);
}
