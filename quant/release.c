#include "release.h"

#include <stdio.h>
#include <stdlib.h>

#define FP8_SCALE    "_scale_inv"
#define INT4_CODES   "_packed" /* behind ".weight" */
#define INT4_SCALE   "_scale"
#define INT4_SHAPE   "_shape"
#define INT4_ZEROS   "_zero_point"
#define PER_WORD     8 /* codes in an I32 */
#define NOT_A_TENSOR SIZE_MAX

enum encoding {
    ENCODING_PLAIN,
    ENCODING_FP8,
    ENCODING_INT4,
    ENCODING_FUSED,
};

struct listing {
    struct moeq_source *source;
    const struct moeq_checkpoint *checkpoint;
    bool *taken; /* [n_tensors]: belongs to another tensor's weight */
    size_t n_weights, n_made;
};

/* ---- tensors that belong together ---- */

static enum encoding encoding_of(const struct listing *l, const struct moeq_tensor *tensor)
{
    const enum moeq_part part = moeq_name_parse(tensor->name).part;
    if (!moeq_config_is_computed(&l->source->config))
        return ENCODING_PLAIN; /* of a format of its own: carried as it is */
    if (part == MOEQ_PART_FUSED_GATE_UP || part == MOEQ_PART_FUSED_DOWN)
        return ENCODING_FUSED;
    if (moeq_has_suffix(tensor->name, ".weight" INT4_CODES))
        return ENCODING_INT4;
    return tensor->dtype == MOEQ_F8_E4M3 ? ENCODING_FP8 : ENCODING_PLAIN;
}

/* The index of the tensor that is called as this one, without the last `cut` bytes and with `suffix`. */
static enum moeq_status sibling(const struct listing *l, const char *name, size_t cut, const char *suffix,
                                size_t *index, struct moeq_error *err)
{
    const size_t n = strlen(name) - cut;
    char *other = moeq_calloc(n + strlen(suffix) + 1, 1, err);
    if (!other)
        return MOEQ_OVER_MEMORY;
    memcpy(other, name, n);
    strcpy(other + n, suffix);
    const struct moeq_located *found = moeq_checkpoint_find(l->checkpoint, other);
    *index = found ? (size_t)(found - l->checkpoint->tensors) : NOT_A_TENSOR;
    free(other);
    return MOEQ_OK;
}

static const struct moeq_tensor *tensor_at(const struct listing *l, size_t index)
{
    return l->checkpoint->tensors[index].tensor;
}

static enum moeq_status wrong_scales(const struct moeq_tensor *scale, uint64_t rows, uint64_t cols,
                                     struct moeq_error *err)
{
    const uint64_t *shape = scale->shape;
    const size_t n = scale->n_dims;
    return moeq_fail(err, MOEQ_DAMAGED, "the weight needs %llu x %llu scales, %s has %llu x %llu",
                     (unsigned long long)rows, (unsigned long long)cols, scale->name,
                     (unsigned long long)(n > 1 ? shape[n - 2] : 1),
                     (unsigned long long)(n ? shape[n - 1] : 1));
}

/* ---- FP8 ---- */

/* The scale of an FP8 weight [rows, cols] or, of experts in one tensor, [experts, rows, cols]: float32 with
 * one element for each block. */
static enum moeq_status find_fp8_scale(const struct listing *l, const struct moeq_tensor *weight,
                                       size_t *place, struct moeq_error *err)
{
    size_t other;
    enum moeq_status status = sibling(l, weight->name, 0, FP8_SCALE, place, err);
    if (!status && *place == NOT_A_TENSOR) {
        status = sibling(l, weight->name, 0, INT4_SCALE, &other, err);
        if (!status)
            status = other == NOT_A_TENSOR
                         ? moeq_fail(err, MOEQ_DAMAGED, "FP8 weight without its " FP8_SCALE " tensor")
                         : moeq_fail(err, MOEQ_UNSUPPORTED,
                                     "FP8 weights with a \"weight_scale\" are not supported, only blocks of "
                                     "128x128 with a \"weight_scale_inv\"");
    }
    if (status)
        return status;
    const struct moeq_tensor *scale = tensor_at(l, *place);
    const size_t n = weight->n_dims;
    if (n < 2 || n > 3 || scale->n_dims != n || scale->dtype != MOEQ_F32)
        return moeq_fail(err, MOEQ_UNSUPPORTED,
                         "FP8 weights must be matrices with F32 block scales, this scale is %s",
                         moeq_dtype_name(scale->dtype));
    const uint64_t rows = moeq_div_up(weight->shape[n - 2], MOEQ_FP8_BLOCK);
    const uint64_t cols = moeq_div_up(weight->shape[n - 1], MOEQ_FP8_BLOCK);
    if (scale->shape[n - 2] != rows || scale->shape[n - 1] != cols ||
        (n == 3 && scale->shape[0] != weight->shape[0]))
        return wrong_scales(scale, rows, cols, err);
    return MOEQ_OK;
}

/* Codes in front, scales at the end: the packed form of level fp8. Where the tensors hold several matrices of
 * these rows and columns, the one at `index`. */
static void set_fp8_spans(struct moeq_weight *w, size_t codes, size_t scale, uint64_t index)
{
    const uint64_t n_codes = w->rows * w->cols;
    const uint64_t n_scales =
        moeq_div_up(w->rows, MOEQ_FP8_BLOCK) * moeq_div_up(w->cols, MOEQ_FP8_BLOCK) * sizeof(float);
    w->spans[0] = (struct moeq_span){codes, index * n_codes, n_codes, 0};
    w->spans[1] = (struct moeq_span){scale, index * n_scales, n_scales, w->n_bytes - n_scales};
    w->n_spans = 2;
}

/* ---- INT4 ---- */

/* The tensors beside X.weight_packed. */
struct int4_parts {
    size_t scale, shape;
    uint64_t rows, cols;
    uint32_t group;
};

/* Elements that share a scale: what config.json says, if it fits the scales' shape, or else the smallest
 * group that does (where several fit, each has one scale a row, and they mean the same). */
static uint32_t int4_group(const struct moeq_config *config, uint64_t cols, uint64_t n_groups)
{
    const uint32_t groups[] = {config->int4_group, 32, 64, 128};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        if (groups[i] && moeq_div_up(cols, groups[i]) == n_groups)
            return groups[i];
    return 0;
}

static enum moeq_status find_int4_parts(const struct listing *l, const struct moeq_tensor *codes,
                                        struct int4_parts *parts, struct moeq_error *err)
{
    const size_t cut = strlen(INT4_CODES);
    size_t zeros;
    enum moeq_status status = sibling(l, codes->name, cut, INT4_SCALE, &parts->scale, err);
    if (status || (status = sibling(l, codes->name, cut, INT4_SHAPE, &parts->shape, err)) ||
        (status = sibling(l, codes->name, cut, INT4_ZEROS, &zeros, err)))
        return status;
    if (parts->scale == NOT_A_TENSOR)
        return moeq_fail(err, MOEQ_DAMAGED, "packed weight without its \"weight_scale\" tensor");
    const struct moeq_tensor *scale = tensor_at(l, parts->scale);
    if (zeros != NOT_A_TENSOR || codes->dtype != MOEQ_I32 || codes->n_dims != 2 ||
        scale->dtype != MOEQ_BF16 || scale->n_dims != 2)
        return moeq_fail(
            err, MOEQ_UNSUPPORTED,
            "packed weights must be symmetric INT4: matrices of I32 with BF16 scales and no zero "
            "points");
    if (!moeq_mul(codes->shape[1], PER_WORD, &parts->cols))
        return moeq_fail(err, MOEQ_DAMAGED, "the shape overflows 64 bits");
    parts->rows = codes->shape[0];
    parts->group = int4_group(&l->source->config, parts->cols, scale->shape[1]);
    if (scale->shape[0] != parts->rows || !parts->group)
        return wrong_scales(scale, parts->rows, moeq_div_up(parts->cols, 32), err);
    if (parts->shape == NOT_A_TENSOR)
        return MOEQ_OK;
    const struct moeq_tensor *shape = tensor_at(l, parts->shape);
    if ((shape->dtype != MOEQ_I32 && shape->dtype != MOEQ_I64) || shape->n_dims != 1 || shape->shape[0] != 2)
        return moeq_fail(err, MOEQ_DAMAGED, "%s must be two whole numbers", shape->name);
    return MOEQ_OK;
}

/* ---- names and shapes that no tensor has ---- */

static enum moeq_status keep_name(struct listing *l, struct moeq_weight *w, char *name,
                                  struct moeq_error *err)
{
    if (!name)
        return moeq_fail_alloc(err, 0);
    w->name = l->source->made_names[l->source->n_made_names++] = name;
    w->id = moeq_name_parse(name);
    return MOEQ_OK;
}

static enum moeq_status set_made_shape(struct listing *l, struct moeq_weight *w, uint64_t rows, uint64_t cols,
                                       struct moeq_error *err)
{
    uint64_t *shape = l->source->made_shapes[l->source->n_made_names - 1];
    shape[0] = rows;
    shape[1] = cols;
    return moeq_weight_set_shape(w, shape, 2, err);
}

static struct moeq_weight *next_weight(struct listing *l)
{
    struct moeq_weight *w = &l->source->weights[l->source->n_weights++];
    *w = (struct moeq_weight){.shape_tensor = NOT_A_TENSOR};
    return w;
}

/* ---- weights ---- */

static enum moeq_status add_plain(struct listing *l, size_t index, struct moeq_error *err)
{
    const struct moeq_tensor *tensor = tensor_at(l, index);
    struct moeq_weight *w = next_weight(l);
    w->name = tensor->name;
    w->id = moeq_name_parse(tensor->name);
    w->format = moeq_format_of_dtype(tensor->dtype);
    w->spans[0] = (struct moeq_span){index, 0, tensor->n_bytes, 0};
    w->n_spans = 1;
    return moeq_weight_set_shape(w, tensor->shape, tensor->n_dims, err);
}

static const struct moeq_format fp8 = {.level = &moeq_level_fp8, .dtype = MOEQ_U8};

static enum moeq_status add_fp8(struct listing *l, size_t index, struct moeq_error *err)
{
    const struct moeq_tensor *tensor = tensor_at(l, index);
    size_t scale;
    enum moeq_status status = find_fp8_scale(l, tensor, &scale, err);
    if (status)
        return status;
    if (tensor->n_dims != 2)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "FP8 weights must be matrices");
    struct moeq_weight *w = next_weight(l);
    w->name = tensor->name;
    w->id = moeq_name_parse(tensor->name);
    w->format = fp8;
    if (!(status = moeq_weight_set_shape(w, tensor->shape, tensor->n_dims, err)))
        set_fp8_spans(w, index, scale, 0);
    return status;
}

static enum moeq_status add_int4(struct listing *l, size_t index, struct moeq_error *err)
{
    const struct moeq_tensor *tensor = tensor_at(l, index);
    struct int4_parts parts;
    enum moeq_status status = find_int4_parts(l, tensor, &parts, err);
    if (status)
        return status;
    struct moeq_weight *w = next_weight(l);
    w->format = (struct moeq_format){.level = &moeq_level_int4, .group = parts.group, .dtype = MOEQ_U8};
    w->shape_tensor = parts.shape;
    if ((status = keep_name(l, w, strndup(tensor->name, strlen(tensor->name) - strlen(INT4_CODES)), err)) ||
        (status = set_made_shape(l, w, parts.rows, parts.cols, err)))
        return status;
    const uint64_t n_scales = tensor_at(l, parts.scale)->n_bytes;
    w->spans[0] = (struct moeq_span){index, 0, tensor->n_bytes, 0};
    w->spans[1] = (struct moeq_span){parts.scale, 0, n_scales, w->n_bytes - n_scales};
    w->n_spans = 2;
    return MOEQ_OK;
}

/* "…mlp.experts.gate_up_proj" to "…mlp.experts.7.gate_proj.weight", on the heap. */
static char *expert_name(const char *fused, enum moeq_part part, int layer, uint64_t expert)
{
    char name[MOEQ_NAME_BYTES];
    moeq_name_format(part, layer, (int)expert, name, sizeof name);
    const size_t n_prefix = (size_t)(moeq_name_in_text(fused) - fused);
    char *all = malloc(n_prefix + strlen(name) + 1);
    if (all) {
        memcpy(all, fused, n_prefix);
        strcpy(all + n_prefix, name);
    }
    return all;
}

/* One matrix of a fused tensor: the one at `index`, counted in matrices of this size. */
static enum moeq_status add_slice(struct listing *l, size_t tensor, size_t scale, struct moeq_format format,
                                  enum moeq_part part, uint64_t expert, uint64_t index, uint64_t rows,
                                  uint64_t cols, struct moeq_error *err)
{
    const struct moeq_tensor *fused = tensor_at(l, tensor);
    struct moeq_weight *w = next_weight(l);
    w->format = format;
    enum moeq_status status =
        keep_name(l, w, expert_name(fused->name, part, moeq_name_parse(fused->name).layer, expert), err);
    if (!status)
        status = set_made_shape(l, w, rows, cols, err);
    if (!status && scale != NOT_A_TENSOR) {
        set_fp8_spans(w, tensor, scale, index);
    } else if (!status) {
        w->spans[0] = (struct moeq_span){tensor, index * w->n_bytes, w->n_bytes, 0};
        w->n_spans = 1;
    }
    return status;
}

static bool is_gate_up(const struct moeq_tensor *tensor)
{
    return moeq_name_parse(tensor->name).part == MOEQ_PART_FUSED_GATE_UP;
}

static enum moeq_status check_fused(const struct listing *l, const struct moeq_tensor *tensor,
                                    struct moeq_error *err)
{
    const struct moeq_config *c = &l->source->config;
    const uint64_t rows = is_gate_up(tensor) ? 2 * (uint64_t)c->expert_width : c->hidden;
    const uint64_t cols = is_gate_up(tensor) ? c->hidden : c->expert_width;
    const bool fp8_weight = tensor->dtype == MOEQ_F8_E4M3;
    if (tensor->n_dims != 3 || tensor->shape[0] != c->n_experts || tensor->shape[1] != rows ||
        tensor->shape[2] != cols)
        return moeq_fail(err, MOEQ_DAMAGED, "config.json calls for experts of shape %u x %llu x %llu",
                         c->n_experts, (unsigned long long)rows, (unsigned long long)cols);
    if (!fp8_weight && moeq_format_of_dtype(tensor->dtype).level == &moeq_level_raw)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "experts of dtype %s in one tensor are not supported",
                         moeq_dtype_name(tensor->dtype));
    if (fp8_weight && is_gate_up(tensor) && c->expert_width % MOEQ_FP8_BLOCK)
        return moeq_fail(err, MOEQ_UNSUPPORTED,
                         "gate and up rows in one FP8 tensor must be a multiple of 128, not %u",
                         c->expert_width);
    return MOEQ_OK;
}

static enum moeq_status add_fused(struct listing *l, size_t index, struct moeq_error *err)
{
    const struct moeq_tensor *tensor = tensor_at(l, index);
    const struct moeq_config *c = &l->source->config;
    struct moeq_format format = moeq_format_of_dtype(tensor->dtype);
    size_t scale = NOT_A_TENSOR;
    enum moeq_status status = check_fused(l, tensor, err);
    if (!status && tensor->dtype == MOEQ_F8_E4M3) {
        format = fp8;
        status = find_fp8_scale(l, tensor, &scale, err);
    }
    for (uint64_t e = 0; !status && e < c->n_experts; e++) {
        if (!is_gate_up(tensor)) {
            status = add_slice(l, index, scale, format, MOEQ_PART_EXPERT_DOWN, e, e, c->hidden,
                               c->expert_width, err);
            continue;
        }
        status = add_slice(l, index, scale, format, MOEQ_PART_EXPERT_GATE, e, 2 * e, c->expert_width,
                           c->hidden, err);
        if (!status)
            status = add_slice(l, index, scale, format, MOEQ_PART_EXPERT_UP, e, 2 * e + 1, c->expert_width,
                               c->hidden, err);
    }
    return status;
}

/* ---- the list ---- */

/* Marks what belongs to this tensor's weight, and counts. */
static enum moeq_status measure(struct listing *l, size_t index, struct moeq_error *err)
{
    const struct moeq_tensor *tensor = tensor_at(l, index);
    const enum encoding encoding = encoding_of(l, tensor);
    struct int4_parts parts;
    size_t scale;
    uint64_t n = 1;
    enum moeq_status status = MOEQ_OK;
    if (encoding == ENCODING_FP8 || (encoding == ENCODING_FUSED && tensor->dtype == MOEQ_F8_E4M3)) {
        if ((status = find_fp8_scale(l, tensor, &scale, err)))
            return status;
        l->taken[scale] = true;
    }
    if (encoding == ENCODING_INT4) {
        if ((status = find_int4_parts(l, tensor, &parts, err)))
            return status;
        l->taken[parts.scale] = true;
        if (parts.shape != NOT_A_TENSOR)
            l->taken[parts.shape] = true;
    }
    if (encoding == ENCODING_FUSED) {
        if ((status = check_fused(l, tensor, err)))
            return status;
        n = (uint64_t)l->source->config.n_experts * (is_gate_up(tensor) ? 2 : 1);
    }
    l->n_weights += n;
    l->n_made += encoding == ENCODING_FUSED || encoding == ENCODING_INT4 ? n : 0;
    return MOEQ_OK;
}

static enum moeq_status for_each_tensor(struct listing *l, bool also_taken,
                                        enum moeq_status (*const visit[])(struct listing *, size_t,
                                                                          struct moeq_error *),
                                        struct moeq_error *err)
{
    struct moeq_error local = {0};
    err = err ? err : &local;
    for (size_t i = 0; i < l->checkpoint->n_tensors; i++) {
        const struct moeq_located *located = &l->checkpoint->tensors[i];
        if (l->taken[i] && !also_taken)
            continue;
        if (visit[encoding_of(l, located->tensor)](l, i, err)) {
            moeq_error_in_file(err, l->checkpoint->shards[located->shard].file.path);
            moeq_error_in_tensor(err, located->tensor->name);
            return err->status;
        }
    }
    return MOEQ_OK;
}

static enum moeq_status list(struct listing *l, struct moeq_error *err)
{
    static enum moeq_status (*const measurers[])(struct listing *, size_t,
                                                 struct moeq_error *) = {[ENCODING_PLAIN] = measure,
                                                                         [ENCODING_FP8] = measure,
                                                                         [ENCODING_INT4] = measure,
                                                                         [ENCODING_FUSED] = measure};
    static enum moeq_status (*const adders[])(struct listing *, size_t,
                                              struct moeq_error *) = {[ENCODING_PLAIN] = add_plain,
                                                                      [ENCODING_FP8] = add_fp8,
                                                                      [ENCODING_INT4] = add_int4,
                                                                      [ENCODING_FUSED] = add_fused};
    struct moeq_source *s = l->source;
    enum moeq_status status = for_each_tensor(l, true, measurers, err);
    if (status)
        return status;
    s->weights = moeq_calloc(l->n_weights, sizeof *s->weights, err);
    s->made_names = moeq_calloc(l->n_made, sizeof *s->made_names, err);
    s->made_shapes = moeq_calloc(l->n_made, sizeof *s->made_shapes, err);
    if (!s->weights || !s->made_names || !s->made_shapes)
        return MOEQ_OVER_MEMORY;
    return for_each_tensor(l, false, adders, err);
}

enum moeq_status moeq_release_list(struct moeq_source *source, struct moeq_error *err)
{
    struct listing l = {.source = source, .checkpoint = &source->checkpoint};
    l.taken = moeq_calloc(l.checkpoint->n_tensors, sizeof *l.taken, err);
    enum moeq_status status = l.taken ? list(&l, err) : MOEQ_OVER_MEMORY;
    free(l.taken);
    return status;
}
