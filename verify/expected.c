#include "expected.h"

#include <stdio.h>

#define BIT(dtype)   (1u << (dtype))
#define FLOATS       (BIT(MOEQ_BF16) | BIT(MOEQ_F16) | BIT(MOEQ_F32))
#define SCALE_SUFFIX "_scale_inv" /* behind the name of an FP8 weight */

/* ---- forms ---- */

struct asked {
    const struct moeq_config *config;
    const struct moeq_expected_files *files;
    const struct moeq_kind *kind;
    const char *name; /* of the weight */
};

static void add(struct moeq_expected_weight *w, const char *name, const char *suffix, size_t n_dims,
                uint64_t rows, uint64_t cols, uint32_t dtypes)
{
    struct moeq_expected_tensor *t = &w->tensors[w->n_tensors++];
    snprintf(t->name, sizeof t->name, "%s%s", name, suffix);
    t->n_dims = n_dims;
    t->shape[0] = n_dims == 2 ? rows : cols;
    t->shape[1] = cols;
    t->dtypes = dtypes;
}

/* FP8 codes with a float32 scale for each block of 128x128. */
static bool is_fp8(const struct asked *a)
{
    const struct moeq_tensor *t = a->files->tensor(a->files->context, a->name);
    if (!moeq_part_fp8_in_releases(a->kind->part))
        return false;
    return t ? t->dtype == MOEQ_F8_E4M3 : a->config->says_fp8 && a->files->have_fp8;
}

static void add_fp8(const struct asked *a, struct moeq_expected_weight *w)
{
    add(w, a->name, "", 2, a->kind->rows, a->kind->cols, BIT(MOEQ_F8_E4M3));
    add(w, a->name, SCALE_SUFFIX, 2, moeq_div_up(a->kind->rows, MOEQ_FP8_BLOCK),
        moeq_div_up(a->kind->cols, MOEQ_FP8_BLOCK), BIT(MOEQ_F32));
}

static bool is_plain(const struct asked *a)
{
    (void)a;
    return true;
}

static void add_plain(const struct asked *a, struct moeq_expected_weight *w)
{
    add(w, a->name, "", a->kind->rows == 1 ? 1 : 2, a->kind->rows, a->kind->cols, FLOATS);
}

/* The first form that fits is the one in which a weight is expected. */
static const struct {
    bool (*fits)(const struct asked *asked);
    void (*add)(const struct asked *asked, struct moeq_expected_weight *weight);
} forms[] = {{is_fp8, add_fp8}, {is_plain, add_plain}};

/* ---- all weights ---- */

static bool is_optional(enum moeq_part part)
{
    return part == MOEQ_PART_MTP_HEAD || part == MOEQ_PART_MTP_EMBED;
}

struct visiting {
    const struct moeq_config *config;
    const struct moeq_expected_files *files;
    moeq_expected_visit *visit;
    void *context;
};

static enum moeq_status visit_weight(const struct visiting *v, const struct moeq_kind *kind, int layer,
                                     int expert, struct moeq_error *err)
{
    char name[MOEQ_NAME_BYTES];
    struct moeq_expected_weight weight = {.id = {kind->part, layer, expert},
                                          .optional = is_optional(kind->part)};
    const struct asked asked = {v->config, v->files, kind,
                                moeq_name_format(kind->part, layer, expert, name, sizeof name)};
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
