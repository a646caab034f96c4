#include "damage.h"

#include "interrupt.h"

#include <stdlib.h>

#define NAME_BYTES 32 /* "layer-000.json" */

/* ---- what is kept ---- */

json_t *moeq_damage_load(const struct moeq_out_dir *dir, const char *name, const char *identity)
{
    char *path = moeq_path_join(dir->path, name, NULL);
    json_t *document = path && moeq_path_exists(path) ? moeq_json_load(path, SIZE_MAX, NULL) : NULL;
    const char *of = json_string_value(json_object_get(document, "identity"));
    free(path);
    if (of && strcmp(of, identity) == 0)
        return document;
    json_decref(document);
    return NULL;
}

enum moeq_status moeq_damage_save(const struct moeq_out_dir *dir, const char *name, const char *identity,
                                  json_t *document, struct moeq_error *err)
{
    moeq_json_set(&document, "identity", json_string(identity));
    char *text = document ? moeq_json_text(document, false) : NULL;
    enum moeq_status status =
        text ? moeq_out_write_whole(dir, name, text, strlen(text), NULL, NULL, err) : moeq_fail_alloc(err, 0);
    free(text);
    json_decref(document);
    return status;
}

/* Each matrix's tokens, importance and errors in one array. */
static json_t *layer_json(const struct moeq_damages *d, const struct moeq_damage_layer *l)
{
    json_t *matrices = json_array();
    for (size_t i = 0; i < l->n; i++) {
        json_t *numbers = json_array();
        moeq_json_append(&numbers, json_real(l->tokens[i]));
        moeq_json_append(&numbers, json_real(l->importance[i]));
        for (size_t k = 0; k < d->n_levels; k++)
            moeq_json_append(&numbers, json_real(l->errors[i * d->n_levels + k]));
        moeq_json_append(&matrices, numbers);
    }
    return json_pack("{s:o}", "matrices", matrices);
}

static bool read_layer(const struct moeq_damages *d, const json_t *document, struct moeq_damage_layer *l)
{
    const json_t *matrices = json_object_get(document, "matrices");
    if (json_array_size(matrices) != l->n)
        return false;
    for (size_t i = 0; i < l->n; i++) {
        const json_t *numbers = json_array_get(matrices, i);
        if (json_array_size(numbers) != 2 + d->n_levels)
            return false;
        l->tokens[i] = json_number_value(json_array_get(numbers, 0));
        l->importance[i] = json_number_value(json_array_get(numbers, 1));
        for (size_t k = 0; k < d->n_levels; k++) {
            const json_t *number = json_array_get(numbers, 2 + k);
            if (!json_is_number(number) || !(json_number_value(number) >= 0))
                return false;
            l->errors[i * d->n_levels + k] = json_number_value(number);
        }
    }
    return true;
}

/* ---- one matrix ---- */

struct measuring {
    const struct moeq_damages *d;
    struct moeq_calibrated calibrated;
    struct moeq_bytes loaded, packed;
};

/* The error of one level for w [rows, cols]. */
static enum moeq_status measure_level(struct measuring *m, const struct moeq_format *format, uint64_t rows,
                                      uint64_t cols, const float *w, double *error, struct moeq_error *err)
{
    struct moeq_gptq_report report = {0};
    uint64_t n_bytes, n_padded;
    enum moeq_status status = moeq_packed_size(*format, rows, cols, &n_bytes, &n_padded, err);
    if (!status)
        status = moeq_bytes_resize(&m->packed, (size_t)n_padded, err);
    if (status)
        return status;
    memset(m->packed.data, 0, m->packed.n_bytes);
    status = moeq_gptq_encode(&m->calibrated.factor, format, rows, w, false, m->d->pool, m->packed.data,
                              &report, err);
    *error = report.error;
    return status;
}

static enum moeq_status measure_matrix(struct measuring *m, const struct moeq_matrix *matrix, size_t i,
                                       struct moeq_damage_layer *l, struct moeq_error *err)
{
    const struct moeq_damages *d = m->d;
    const struct moeq_weight *w = l->weights[i];
    const uint64_t step = moeq_div_up(matrix->rows, MOEQ_MEASURED_ROWS),
                   rows = moeq_div_up(matrix->rows, step);
    const double share = (double)rows / (double)matrix->rows;
    float *values;
    enum moeq_status status = moeq_calibrated_weigh(&m->calibrated, w, &l->tokens[i], &l->importance[i], err);
    if (!status)
        status = moeq_calibrated_prepare(&m->calibrated, w, err);
    if (!status)
        status = moeq_calibrated_decode(&m->calibrated, matrix, 0, step, &values, err);
    for (size_t k = 0; !status && k < d->n_levels; k++) {
        double error = 0;
        status = measure_level(m, &d->levels[k], rows, matrix->cols, values, &error, err);
        l->errors[i * d->n_levels + k] = error / share * l->importance[i];
    }
    if (status)
        moeq_error_in_tensor(err, w->name);
    return status;
}

static enum moeq_status measure_expert(struct measuring *m, size_t first, struct moeq_damage_layer *l,
                                       struct moeq_error *err)
{
    struct moeq_matrix matrices[3];
    enum moeq_status status =
        moeq_source_load(m->d->source, l->weights + first, 3, &m->loaded, matrices, err);
    for (size_t i = 0; !status && i < 3; i++)
        status = measure_matrix(m, &matrices[i], first + i, l, err);
    moeq_progress_add(m->d->progress, 3, NULL);
    return status ? status : moeq_interrupt_check(err);
}

/* ---- a layer ---- */

static enum moeq_status list_weights(const struct moeq_damages *d, int layer, struct moeq_damage_layer *l,
                                     struct moeq_error *err)
{
    const size_t n_experts = d->source->config.n_experts;
    *l = (struct moeq_damage_layer){.layer = layer, .n = 3 * n_experts};
    l->weights = moeq_calloc(l->n, sizeof *l->weights, err);
    l->tokens = moeq_calloc(l->n, sizeof *l->tokens, err);
    l->importance = moeq_calloc(l->n, sizeof *l->importance, err);
    l->errors = moeq_calloc(l->n * d->n_levels, sizeof *l->errors, err);
    if (!l->weights || !l->tokens || !l->importance || !l->errors)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < l->n; i++) {
        l->weights[i] = moeq_source_part(
            d->source, (enum moeq_part)((int)MOEQ_PART_EXPERT_GATE + (int)(i % 3)), layer, (int)(i / 3));
        if (!l->weights[i])
            return moeq_fail(err, MOEQ_DAMAGED, "layer %d has no expert %zu", layer, i / 3);
    }
    return MOEQ_OK;
}

enum moeq_status moeq_damage_measure(const struct moeq_damages *damages, int layer,
                                     struct moeq_damage_layer *out, struct moeq_error *err)
{
    const struct moeq_damages *d = damages;
    char name[NAME_BYTES];
    enum moeq_status status = list_weights(d, layer, out, err);
    snprintf(name, sizeof name, "layer-%03d.json", layer);
    json_t *kept = status ? NULL : moeq_damage_load(d->dir, name, d->identity);
    const bool is_kept = kept && read_layer(d, kept, out);
    json_decref(kept);
    if (is_kept)
        moeq_progress_add(d->progress, out->n, NULL);
    if (status || is_kept)
        return status;
    struct measuring m = {.d = d};
    moeq_calibrated_init(&m.calibrated, d->statistics, d->pool);
    for (size_t i = 0; !status && i < out->n; i += 3)
        status = measure_expert(&m, i, out, err);
    moeq_calibrated_free(&m.calibrated);
    moeq_bytes_free(&m.loaded);
    moeq_bytes_free(&m.packed);
    return status ? status : moeq_damage_save(d->dir, name, d->identity, layer_json(d, out), err);
}

void moeq_damage_free(struct moeq_damage_layer *layer)
{
    free(layer->weights);
    free(layer->tokens);
    free(layer->importance);
    free(layer->errors);
    *layer = (struct moeq_damage_layer){0};
}
