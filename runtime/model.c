#include "model.h"

#include <stdlib.h>

struct expectation {
    enum moeq_part part;
    bool present;
    uint64_t rows, cols;
};

#define MAX_EXPECTED 24

/* What a main layer holds, after the released files' headers. Experts stand for each of theirs. */
static size_t expect_layer(const struct moeq_config *c, uint32_t layer, struct expectation out[MAX_EXPECTED])
{
    const uint64_t q_rows = (uint64_t)c->n_heads * (c->qk_nope + c->qk_rope);
    const uint64_t kv_rows = (uint64_t)c->n_heads * (c->qk_nope + c->v_width);
    const uint64_t shared = (uint64_t)c->n_shared * c->expert_width;
    const bool moe = moeq_config_layer_is_moe(c, layer), low_rank = c->q_rank > 0;
    const struct expectation rows[] = {
        {MOEQ_PART_ATTENTION_NORM, true, 1, c->hidden},
        {MOEQ_PART_Q, !low_rank, q_rows, c->hidden},
        {MOEQ_PART_Q_A, low_rank, c->q_rank, c->hidden},
        {MOEQ_PART_Q_A_NORM, low_rank, 1, c->q_rank},
        {MOEQ_PART_Q_B, low_rank, q_rows, c->q_rank},
        {MOEQ_PART_KV_A, true, c->kv_rank + c->qk_rope, c->hidden},
        {MOEQ_PART_KV_A_NORM, true, 1, c->kv_rank},
        {MOEQ_PART_KV_B, true, kv_rows, c->kv_rank},
        {MOEQ_PART_O, true, c->hidden, (uint64_t)c->n_heads * c->v_width},
        {MOEQ_PART_FFN_NORM, true, 1, c->hidden},
        {MOEQ_PART_DENSE_GATE, !moe, c->dense_width, c->hidden},
        {MOEQ_PART_DENSE_UP, !moe, c->dense_width, c->hidden},
        {MOEQ_PART_DENSE_DOWN, !moe, c->hidden, c->dense_width},
        {MOEQ_PART_ROUTER, moe, c->n_experts, c->hidden},
        {MOEQ_PART_ROUTER_BIAS, moe && c->correction_bias, 1, c->n_experts},
        {MOEQ_PART_SHARED_GATE, moe && shared, shared, c->hidden},
        {MOEQ_PART_SHARED_UP, moe && shared, shared, c->hidden},
        {MOEQ_PART_SHARED_DOWN, moe && shared, c->hidden, shared},
        {MOEQ_PART_EXPERT_GATE, moe, c->expert_width, c->hidden},
        {MOEQ_PART_EXPERT_UP, moe, c->expert_width, c->hidden},
        {MOEQ_PART_EXPERT_DOWN, moe, c->hidden, c->expert_width},
    };
    _Static_assert(sizeof rows / sizeof *rows <= MAX_EXPECTED, "room for all rows");
    memcpy(out, rows, sizeof rows);
    return sizeof rows / sizeof *rows;
}

const struct moeq_weight *moeq_model_weight(const struct moeq_source *source, enum moeq_part part, int layer,
                                            int expert)
{
    char name[MOEQ_NAME_BYTES];
    return moeq_source_find(source, moeq_name_format(part, layer, expert, name, sizeof name));
}

static enum moeq_status check_weight(const struct moeq_source *s, const struct expectation *e, int layer,
                                     int expert, struct moeq_error *err)
{
    const struct moeq_weight *w = moeq_model_weight(s, e->part, layer, expert);
    char name[MOEQ_NAME_BYTES];
    enum moeq_status status = MOEQ_OK;
    if (!w)
        status = moeq_fail(err, MOEQ_DAMAGED, "config.json calls for this tensor, the files do not have it");
    else if (w->rows != e->rows || w->cols != e->cols ||
             w->n_dims != (e->rows == 1 && w->n_dims == 1 ? 1 : 2))
        status = moeq_fail(err, MOEQ_DAMAGED, "config.json calls for %llu x %llu, the file has %llu x %llu",
                           (unsigned long long)e->rows, (unsigned long long)e->cols,
                           (unsigned long long)w->rows, (unsigned long long)w->cols);
    else if (!w->format.level->decode)
        status = moeq_fail(err, MOEQ_UNSUPPORTED, "weights of dtype %s are not supported",
                           moeq_dtype_name(w->format.dtype));
    if (status) {
        moeq_error_in_file(err, s->path);
        moeq_error_in_tensor(err, moeq_name_format(e->part, layer, expert, name, sizeof name));
    }
    return status;
}

enum moeq_status moeq_model_check(const struct moeq_source *source, struct moeq_error *err)
{
    const struct moeq_config *c = &source->config;
    const struct expectation outside[] = {{MOEQ_PART_EMBED, true, c->vocabulary, c->hidden},
                                          {MOEQ_PART_FINAL_NORM, true, 1, c->hidden},
                                          {MOEQ_PART_HEAD, true, c->vocabulary, c->hidden}};
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < sizeof outside / sizeof *outside; i++)
        status = check_weight(source, &outside[i], -1, -1, err);
    for (uint32_t layer = 0; !status && layer < c->n_layers; layer++) {
        struct expectation inside[MAX_EXPECTED];
        size_t n = expect_layer(c, layer, inside);
        for (size_t i = 0; !status && i < n; i++) {
            bool each_expert = moeq_part_role(inside[i].part) == MOEQ_ROLE_EXPERTS;
            uint32_t n_experts = each_expert ? c->n_experts : 1;
            for (uint32_t e = 0; !status && inside[i].present && e < n_experts; e++)
                status = check_weight(source, &inside[i], (int)layer, each_expert ? (int)e : -1, err);
        }
    }
    return status;
}

enum moeq_status moeq_model_vector(const struct moeq_source *source, enum moeq_part part, int layer,
                                   float **out, struct moeq_error *err)
{
    const struct moeq_weight *w = moeq_model_weight(source, part, layer, -1);
    struct moeq_bytes bytes = {0};
    struct moeq_matrix m;
    enum moeq_status status = moeq_source_load(source, &w, 1, &bytes, &m, err);
    *out = status ? NULL : moeq_calloc(w->rows * w->cols, sizeof **out, err);
    if (!status && !*out)
        status = MOEQ_OVER_MEMORY;
    for (uint64_t r = 0; !status && r < w->rows; r++)
        moeq_decode(&m, r, 0, w->cols, *out + r * w->cols);
    moeq_bytes_free(&bytes);
    return status;
}

uint64_t moeq_model_layer_bytes(const struct moeq_source *source)
{
    const struct moeq_config *c = &source->config;
    uint64_t largest = (uint64_t)c->vocabulary * c->hidden;
    for (uint32_t layer = 0; layer < c->n_layers; layer++) {
        struct expectation inside[MAX_EXPECTED];
        size_t n = expect_layer(c, layer, inside);
        uint64_t elements = 0;
        for (size_t i = 0; i < n; i++)
            if (inside[i].present)
                elements += inside[i].rows * inside[i].cols *
                            (moeq_part_role(inside[i].part) == MOEQ_ROLE_EXPERTS ? c->n_experts : 1);
        largest = elements > largest ? elements : largest;
    }
    return largest * sizeof(float);
}
