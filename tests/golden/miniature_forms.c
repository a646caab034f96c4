/* Other ways in which releases store the experts of a layer. Written from the formats' descriptions:
 * compressed-tensors "pack-quantized" and the fused expert modules of transformers 5. */
#include "miniature.h"

#include "scalar.h"

#include <math.h>
#include <stdio.h>

#define GROUP    32
#define PER_WORD 8
#define BLOCK    128 /* rows and columns of an FP8 scale */

static double bf16_value(uint16_t bits)
{
    return (double)moeq_bf16_decode(bits);
}

static void store_u32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

/* Codes of one group into the words of its row; the values become what the codes say. */
static void pack_group(double *values, size_t first, size_t n, uint32_t *words, uint16_t *scale)
{
    double largest = 0;
    for (size_t i = first; i < first + n; i++)
        largest = fmax(largest, fabs(values[i]));
    *scale = moeq_bf16_encode((float)(largest / 7.5));
    for (size_t i = first; i < first + n; i++) {
        double code = fmin(fmax(nearbyint(values[i] / bf16_value(*scale)), -8), 7);
        values[i] = code * bf16_value(*scale);
        words[i / PER_WORD] |= (uint32_t)(code + 8) << 4 * (i % PER_WORD);
    }
}

void miniature_store_int4(struct miniature_model *model, struct miniature_tensor *matrix)
{
    const size_t rows = matrix->rows, cols = matrix->cols, n_words = cols / PER_WORD;
    const size_t n_groups = (cols + GROUP - 1) / GROUP;
    char name[160];
    snprintf(name, sizeof name, "%s_packed", matrix->name);
    struct miniature_tensor *packed = miniature_add(model, MOEQ_I32, 2, rows, n_words, name);
    snprintf(name, sizeof name, "%s_scale", matrix->name);
    struct miniature_tensor *scales = miniature_add(model, MOEQ_BF16, 2, rows, n_groups, name);
    snprintf(name, sizeof name, "%s_shape", matrix->name);
    struct miniature_tensor *shape = miniature_add(model, MOEQ_I32, 1, 1, 2, name);
    store_u32(shape->data, (uint32_t)rows);
    store_u32(shape->data + 4, (uint32_t)cols);
    uint32_t *words = miniature_calloc(n_words, sizeof *words);
    for (size_t r = 0; r < rows; r++) {
        memset(words, 0, n_words * sizeof *words);
        for (size_t g = 0; g < n_groups; g++) {
            uint16_t scale;
            const size_t n = cols - g * GROUP < GROUP ? cols - g * GROUP : GROUP;
            pack_group(matrix->values + r * cols, g * GROUP, n, words, &scale);
            scales->data[2 * (r * n_groups + g)] = (uint8_t)scale;
            scales->data[2 * (r * n_groups + g) + 1] = (uint8_t)(scale >> 8);
        }
        for (size_t i = 0; i < n_words; i++)
            store_u32(packed->data + 4 * (r * n_words + i), words[i]);
    }
    free(words);
    matrix->elsewhere = true;
}

static struct miniature_tensor *find(const struct miniature_model *model, const char *name)
{
    for (size_t i = 0; i < model->n_tensors; i++)
        if (strcmp(model->tensors[i].name, name) == 0)
            return &model->tensors[i];
    fprintf(stderr, "the miniature has no %s\n", name);
    abort();
}

/* Copies one expert's tensor to its place in the fused tensor. */
static void move_into(const struct miniature_model *model, struct miniature_tensor *fused, size_t layer,
                      size_t expert, const char *tensor, size_t index)
{
    char name[128];
    snprintf(name, sizeof name, "model.layers.%zu.mlp.experts.%zu.%s", layer, expert, tensor);
    struct miniature_tensor *own = find(model, name);
    memcpy(fused->data + index * own->n_bytes, own->data, own->n_bytes);
    own->elsewhere = true;
}

/* The tensors of one kind (weights, or their scales): every expert's [rows, cols] for gate and up, [cols,
 * rows] for down. */
static void fuse(struct miniature_model *model, size_t layer, enum moeq_dtype dtype, size_t rows, size_t cols,
                 const char *own, const char *fused)
{
    const size_t n = model->spec->n_experts;
    char name[160], gate[64], up[64], down[64];
    snprintf(name, sizeof name, "model.layers.%zu.mlp.experts.gate_up_proj%s", layer, fused);
    struct miniature_tensor *both = miniature_add(model, dtype, 3, n * 2 * rows, cols, name);
    snprintf(name, sizeof name, "model.layers.%zu.mlp.experts.down_proj%s", layer, fused);
    struct miniature_tensor *other = miniature_add(model, dtype, 3, n * cols, rows, name);
    both->stack = other->stack = n;
    snprintf(gate, sizeof gate, "gate_proj.weight%s", own);
    snprintf(up, sizeof up, "up_proj.weight%s", own);
    snprintf(down, sizeof down, "down_proj.weight%s", own);
    for (size_t e = 0; e < n; e++) {
        move_into(model, both, layer, e, gate, 2 * e);
        move_into(model, both, layer, e, up, 2 * e + 1);
        move_into(model, other, layer, e, down, e);
    }
}

void miniature_store_fused(struct miniature_model *model, size_t layer)
{
    const struct miniature *s = model->spec;
    fuse(model, layer, s->matrices, s->expert_width, s->hidden, "", "");
    if (s->matrices == MOEQ_F8_E4M3)
        fuse(model, layer, MOEQ_F32, s->expert_width / BLOCK, (s->hidden + BLOCK - 1) / BLOCK, "_scale_inv",
             "_scale_inv");
}
