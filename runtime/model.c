#include "model.h"

#include "anatomy.h"

#include <stdlib.h>

static enum moeq_status check_weight(const struct moeq_source *s, const struct moeq_kind *e, int layer,
                                     int expert, struct moeq_error *err)
{
    const struct moeq_weight *w = moeq_source_part(s, e->part, layer, expert);
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

/* Tensors of the architecture that config.json does not call for: it describes another model than the files
 * hold, and leaving them out would give wrong numbers without a word. */
static enum moeq_status check_called_for(const struct moeq_source *s, struct moeq_error *err)
{
    const struct moeq_config *c = &s->config;
    const uint32_t n_mtp = c->n_mtp_layers ? c->n_mtp_layers : 1; /* some releases carry one and say 0 */
    for (size_t i = 0; i < s->n_weights; i++) {
        const struct moeq_name *id = &s->weights[i].id;
        struct moeq_kind kinds[MOEQ_MAX_KINDS];
        if (id->layer < 0 || id->part >= MOEQ_PART_INV_FREQ)
            continue;
        bool called_for = (uint32_t)id->layer < c->n_layers + n_mtp && id->expert < (int)c->n_experts;
        if (called_for && (uint32_t)id->layer < c->n_layers) {
            size_t n = moeq_anatomy_layer(c, (uint32_t)id->layer, kinds), k = 0;
            while (k < n && kinds[k].part != id->part)
                k++;
            called_for = k < n;
        }
        if (!called_for) {
            moeq_fail(err, MOEQ_DAMAGED, "the files have this tensor, config.json does not call for it");
            moeq_error_in_file(err, s->path);
            moeq_error_in_tensor(err, s->weights[i].name);
            moeq_error_hint(err, "config.json is of another model: download it again");
            return MOEQ_DAMAGED;
        }
    }
    return MOEQ_OK;
}

enum moeq_status moeq_model_check(const struct moeq_source *source, struct moeq_error *err)
{
    const struct moeq_config *c = &source->config;
    struct moeq_kind kinds[MOEQ_MAX_KINDS];
    if (!moeq_config_is_computed(c)) {
        moeq_fail(err, MOEQ_UNSUPPORTED,
                  "%s cannot be run: it attends to compressed keys and mixes several residual streams, which "
                  "is another computation than the latent attention of DeepSeek-V2 to V3.2",
                  c->architecture);
        moeq_error_in_file(err, source->path);
        moeq_error_hint(err, "'moeq inspect' and 'moeq check' know it");
        return MOEQ_UNSUPPORTED;
    }
    size_t n = moeq_anatomy_outside(c, kinds);
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < n; i++)
        status = check_weight(source, &kinds[i], -1, -1, err);
    for (uint32_t layer = 0; !status && layer < c->n_layers; layer++) {
        n = moeq_anatomy_layer(c, layer, kinds);
        for (size_t i = 0; !status && i < n; i++)
            for (uint32_t e = 0; !status && e < (kinds[i].each_expert ? c->n_experts : 1); e++)
                status = check_weight(source, &kinds[i], (int)layer, kinds[i].each_expert ? (int)e : -1, err);
    }
    return status ? status : check_called_for(source, err);
}

enum moeq_status moeq_model_vector(const struct moeq_source *source, enum moeq_part part, int layer,
                                   float **out, struct moeq_error *err)
{
    const struct moeq_weight *w = moeq_source_part(source, part, layer, -1);
    struct moeq_bytes bytes = {0};
    struct moeq_matrix m;
    enum moeq_status status = moeq_source_load(source, &w, 1, &bytes, &m, err);
    *out = status ? NULL : moeq_calloc(w->rows * w->cols, sizeof **out, err);
    if (!status && !*out)
        status = MOEQ_OVER_MEMORY;
    for (uint64_t r = 0; !status && r < w->rows; r++)
        moeq_decode(&m, r, 0, w->cols, *out + r * w->cols);
    if (!status)
        status = moeq_check_finite(*out, w->rows, w->cols, 0, err);
    if (status) {
        moeq_error_in_tensor(err, w->name);
        free(*out);
        *out = NULL;
    }
    moeq_bytes_free(&bytes);
    return status;
}

uint64_t moeq_model_layer_bytes(const struct moeq_source *source)
{
    const struct moeq_config *c = &source->config;
    struct moeq_kind kinds[MOEQ_MAX_KINDS];
    uint64_t largest = (uint64_t)c->vocabulary * c->hidden;
    for (uint32_t layer = 0; layer < c->n_layers; layer++) {
        size_t n = moeq_anatomy_layer(c, layer, kinds);
        uint64_t n_weights = 0;
        for (size_t i = 0; i < n; i++)
            n_weights += moeq_kind_weights(c, &kinds[i]);
        largest = n_weights > largest ? n_weights : largest;
    }
    return largest * sizeof(float);
}
