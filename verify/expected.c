#include "expected.h"

#include <stdio.h>

#define BIT(dtype)  (1u << (dtype))
#define FLOATS      (BIT(MOEQ_BF16) | BIT(MOEQ_F16) | BIT(MOEQ_F32))
#define INTS        (BIT(MOEQ_I32) | BIT(MOEQ_I64))
#define FP8_SCALE   "_scale_inv" /* behind the name of the weight */
#define PER_WORD    8            /* INT4 codes in an I32 */
#define USUAL_GROUP 32           /* weights of a row that share a scale, where config.json does not say */
#define E8M0_GROUP  32

/* ---- forms ---- */

struct asked {
    const struct moeq_config *config;
    const struct moeq_expected_files *files;
    const struct moeq_kind *kind;
    struct moeq_name id;
    const char *name; /* of the weight, with the prefix */
};

/* A tensor called as the weight, without its last `cut` characters and with `suffix`. */
static struct moeq_expected_tensor *add(const struct asked *a, struct moeq_expected_weight *w, size_t cut,
                                        const char *suffix, uint32_t dtypes)
{
    struct moeq_expected_tensor *t = &w->tensors[w->n_tensors++];
    snprintf(t->name, sizeof t->name, "%.*s%s", (int)(strlen(a->name) - cut), a->name, suffix);
    t->dtypes = dtypes;
    return t;
}

static void set_shape(struct moeq_expected_tensor *t, uint64_t rows, uint64_t cols)
{
    t->n_dims = 2;
    t->shape[0] = rows;
    t->shape[1] = cols;
}

static const struct moeq_tensor *look(const struct asked *a, const char *name)
{
    return a->files->tensor(a->files->context, name);
}

/* One tensor for the experts of a layer, as newer versions of transformers write them. */
static const char *fused_name(const struct asked *a, enum moeq_part part, char dst[MOEQ_EXPECTED_NAME])
{
    char name[MOEQ_NAME_BYTES];
    snprintf(dst, MOEQ_EXPECTED_NAME, "%s%s", a->files->prefix,
             moeq_name_format(part, a->id.layer, -1, name, sizeof name));
    return dst;
}

static bool is_fused(const struct asked *a)
{
    char gate_up[MOEQ_EXPECTED_NAME], down[MOEQ_EXPECTED_NAME];
    return a->kind->each_expert && !a->kind->name &&
           (look(a, fused_name(a, MOEQ_PART_FUSED_GATE_UP, gate_up)) ||
            look(a, fused_name(a, MOEQ_PART_FUSED_DOWN, down)));
}

static void set_fused_shape(const struct asked *a, struct moeq_expected_tensor *t, uint64_t rows,
                            uint64_t cols)
{
    t->n_dims = 3;
    t->shape[0] = a->config->n_experts;
    t->shape[1] = rows;
    t->shape[2] = cols;
}

static void add_fused(const struct asked *a, struct moeq_expected_weight *w)
{
    const bool is_down = a->id.part == MOEQ_PART_EXPERT_DOWN;
    const uint64_t rows = is_down ? a->kind->rows : 2 * a->kind->rows, cols = a->kind->cols;
    char name[MOEQ_EXPECTED_NAME];
    if (a->id.expert > 0 || a->id.part == MOEQ_PART_EXPERT_UP)
        return; /* asked for once */
    struct asked all = *a;
    all.name = fused_name(a, is_down ? MOEQ_PART_FUSED_DOWN : MOEQ_PART_FUSED_GATE_UP, name);
    const struct moeq_tensor *t = look(a, name);
    const bool fp8 = t && t->dtype == MOEQ_F8_E4M3;
    set_fused_shape(a, add(&all, w, 0, "", fp8 ? BIT(MOEQ_F8_E4M3) : FLOATS), rows, cols);
    if (fp8)
        set_fused_shape(a, add(&all, w, 0, FP8_SCALE, BIT(MOEQ_F32)), moeq_div_up(rows, MOEQ_FP8_BLOCK),
                        moeq_div_up(cols, MOEQ_FP8_BLOCK));
}

/* compressed-tensors: INT4 words, scales, and the shape before packing. */
static bool is_packed(const struct asked *a)
{
    char name[MOEQ_EXPECTED_NAME];
    snprintf(name, sizeof name, "%s_packed", a->name);
    return !a->kind->name &&
           (look(a, name) || (!look(a, a->name) && a->config->int4_group && a->kind->each_expert));
}

static void add_packed(const struct asked *a, struct moeq_expected_weight *w)
{
    const uint64_t rows = a->kind->rows, cols = a->kind->cols;
    const uint64_t group = a->config->int4_group ? a->config->int4_group : USUAL_GROUP;
    set_shape(add(a, w, 0, "_packed", BIT(MOEQ_I32)), rows, moeq_div_up(cols, PER_WORD));
    set_shape(add(a, w, 0, "_scale", FLOATS), rows, moeq_div_up(cols, group));
    struct moeq_expected_tensor *shape = add(a, w, 0, "_shape", INTS);
    shape->n_dims = 1;
    shape->shape[0] = 2;
}

/* FP8 codes with a float32 scale for each block of 128x128. */
static bool is_fp8(const struct asked *a)
{
    const struct moeq_tensor *t = look(a, a->name);
    if (a->kind->name || !moeq_part_fp8_in_releases(a->kind->part))
        return false;
    return t ? t->dtype == MOEQ_F8_E4M3 : a->config->says_fp8 && a->files->have_fp8;
}

static void add_fp8(const struct asked *a, struct moeq_expected_weight *w)
{
    const uint64_t rows = a->kind->rows, cols = a->kind->cols;
    set_shape(add(a, w, 0, "", BIT(MOEQ_F8_E4M3)), rows, cols);
    set_shape(add(a, w, 0, FP8_SCALE, BIT(MOEQ_F32)), moeq_div_up(rows, MOEQ_FP8_BLOCK),
              moeq_div_up(cols, MOEQ_FP8_BLOCK));
}

/* DeepSeek-V4: scales that are powers of two. */
static bool is_e8m0(const struct asked *a)
{
    return a->kind->storage != MOEQ_STORED_PLAIN;
}

static void add_e8m0(const struct asked *a, struct moeq_expected_weight *w)
{
    const uint64_t rows = a->kind->rows, cols = a->kind->cols;
    const bool fp4 = a->kind->storage == MOEQ_STORED_E8M0_4;
    set_shape(add(a, w, 0, "", BIT(a->kind->dtype)), rows, fp4 ? cols / 2 : cols);
    set_shape(add(a, w, strlen("weight"), "scale", BIT(MOEQ_F8_E8M0)),
              fp4 ? rows : moeq_div_up(rows, MOEQ_FP8_BLOCK),
              moeq_div_up(cols, fp4 ? E8M0_GROUP : MOEQ_FP8_BLOCK));
}

static bool is_plain(const struct asked *a)
{
    (void)a;
    return true;
}

static void add_plain(const struct asked *a, struct moeq_expected_weight *w)
{
    const bool is_float = !a->kind->name || FLOATS >> a->kind->dtype & 1;
    struct moeq_expected_tensor *t = add(a, w, 0, "", is_float ? FLOATS : INTS);
    set_shape(t, a->kind->rows, a->kind->cols);
    if (a->kind->rows == 1) {
        t->n_dims = 1;
        t->shape[0] = a->kind->cols;
    }
}

/* The first form that fits is the one in which a weight is expected. */
static const struct {
    bool (*fits)(const struct asked *asked);
    void (*add)(const struct asked *asked, struct moeq_expected_weight *weight);
} forms[] = {{is_e8m0, add_e8m0},
             {is_fused, add_fused},
             {is_packed, add_packed},
             {is_fp8, add_fp8},
             {is_plain, add_plain}};

/* ---- all weights ---- */

/* What some releases of a family leave out: copies in MTP layers; an indexer there, where layers share them.
 */
static bool is_optional(const struct moeq_config *c, enum moeq_part part, int layer)
{
    const bool is_indexer = part >= MOEQ_PART_INDEXER_Q && part <= MOEQ_PART_INDEXER_WEIGHTS;
    bool shared = false;
    if (part == MOEQ_PART_MTP_HEAD || part == MOEQ_PART_MTP_EMBED)
        return true;
    for (uint32_t i = 0; is_indexer && layer >= (int)c->n_layers && i < c->n_layers; i++)
        shared = shared || c->index_shared[i];
    return shared;
}

struct visiting {
    const struct moeq_config *config;
    const struct moeq_expected_files *files;
    moeq_expected_visit *visit;
    void *context;
};

/* The name of a kind that has its own: "layers.N." or "mtp.N." in front, and the expert in place of %d. */
static void own_name(const struct moeq_config *c, const struct moeq_kind *kind, int layer, int expert,
                     char *dst, size_t capacity)
{
    const char *mark = strstr(kind->name, "%d");
    const int head = mark ? (int)(mark - kind->name) : (int)strlen(kind->name);
    char number[16] = "", in_front[32] = "";
    if (mark)
        snprintf(number, sizeof number, "%d", expert);
    if (layer >= 0 && (uint32_t)layer < c->n_layers)
        snprintf(in_front, sizeof in_front, "layers.%d.", layer);
    else if (layer >= 0)
        snprintf(in_front, sizeof in_front, "mtp.%d.", layer - (int)c->n_layers);
    snprintf(dst, capacity, "%s%.*s%s%s", in_front, head, kind->name, number, mark ? mark + 2 : "");
}

static enum moeq_status visit_weight(const struct visiting *v, const struct moeq_kind *kind, int layer,
                                     int expert, struct moeq_error *err)
{
    char plain[MOEQ_NAME_BYTES], name[MOEQ_EXPECTED_NAME];
    struct moeq_expected_weight weight = {.id = {kind->part, layer, expert},
                                          .optional = is_optional(v->config, kind->part, layer)};
    if (kind->name)
        own_name(v->config, kind, layer, expert, plain, sizeof plain);
    else
        moeq_name_format(kind->part, layer, expert, plain, sizeof plain);
    snprintf(name, sizeof name, "%s%s", v->files->prefix, plain);
    const struct asked asked = {v->config, v->files, kind, weight.id, name};
    size_t f = 0;
    while (!forms[f].fits(&asked)) /* the last fits all */
        f++;
    forms[f].add(&asked, &weight);
    return v->visit(v->context, &weight, err);
}

static enum moeq_status visit_kinds(const struct visiting *v, const struct moeq_kind *kinds, size_t n,
                                    int layer, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < n; i++)
        if (!kinds[i].each_expert)
            status = visit_weight(v, &kinds[i], layer, -1, err);
        else
            for (uint32_t e = 0; !status && e < v->config->n_experts; e++)
                status = visit_weight(v, &kinds[i], layer, (int)e, err);
    return status;
}

enum moeq_status moeq_expected_all(const struct moeq_config *config, const struct moeq_expected_files *files,
                                   moeq_expected_visit *visit, void *context, struct moeq_error *err)
{
    const struct visiting v = {config, files, visit, context};
    struct moeq_kind kinds[MOEQ_MAX_KINDS];
    size_t n = moeq_anatomy_outside(config, kinds);
    enum moeq_status status = visit_kinds(&v, kinds, n, -1, err);
    for (uint32_t layer = 0; !status && layer < config->n_layers + files->n_mtp; layer++) {
        n = moeq_anatomy_layer(config, layer, kinds);
        status = visit_kinds(&v, kinds, n, (int)layer, err);
    }
    return status;
}

uint64_t moeq_expected_count(const struct moeq_config *config, uint32_t n_mtp)
{
    struct moeq_kind kinds[MOEQ_MAX_KINDS];
    uint64_t total = moeq_anatomy_outside(config, kinds);
    for (uint32_t layer = 0; layer < config->n_layers + n_mtp; layer++) {
        size_t n = moeq_anatomy_layer(config, layer, kinds);
        for (size_t i = 0; i < n; i++)
            total += kinds[i].each_expert ? config->n_experts : 1; /* each bounded: no overflow */
    }
    return total;
}
