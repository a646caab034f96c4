#include "damage.h"

#include "ec.h"
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

/* Each matrix's tokens, importance and errors in one array, then bits and steps of coded levels. */
static json_t *layer_json(const struct moeq_damages *d, const struct moeq_damage_layer *l)
{
    json_t *matrices = json_array();
    for (size_t i = 0; i < l->n; i++) {
        json_t *numbers = json_array();
        moeq_json_append(&numbers, json_real(l->tokens[i]));
        moeq_json_append(&numbers, json_real(l->importance[i]));
        for (size_t k = 0; k < d->n_levels; k++)
            moeq_json_append(&numbers, json_real(l->errors[i * d->n_levels + k]));
        for (size_t k = 0; k < d->n_levels; k++)
            if (d->levels[k].level->is_coded) {
                moeq_json_append(&numbers, json_real(l->bits[i * d->n_levels + k]));
                moeq_json_append(&numbers, json_real(l->steps[i * d->n_levels + k]));
            }
        moeq_json_append(&matrices, numbers);
    }
    return json_pack("{s:o}", "matrices", matrices);
}

static size_t count_coded(const struct moeq_damages *d)
{
    size_t n = 0;
    for (size_t k = 0; k < d->n_levels; k++)
        n += d->levels[k].level->is_coded;
    return n;
}

static bool read_number(const json_t *numbers, size_t at, double *to)
{
    const json_t *number = json_array_get(numbers, at);
    *to = json_number_value(number);
    return json_is_number(number) && *to >= 0;
}

static bool read_layer(const struct moeq_damages *d, const json_t *document, struct moeq_damage_layer *l)
{
    const json_t *matrices = json_object_get(document, "matrices");
    if (json_array_size(matrices) != l->n)
        return false;
    for (size_t i = 0; i < l->n; i++) {
        const json_t *numbers = json_array_get(matrices, i);
        size_t at = 0;
        if (json_array_size(numbers) != 2 + d->n_levels + 2 * count_coded(d))
            return false;
        bool is_right = read_number(numbers, at++, &l->tokens[i]);
        is_right = read_number(numbers, at++, &l->importance[i]) && is_right;
        for (size_t k = i * d->n_levels; k < (i + 1) * d->n_levels; k++)
            is_right = read_number(numbers, at++, &l->errors[k]) && is_right;
        for (size_t k = 0; k < d->n_levels; k++)
            if (d->levels[k].level->is_coded) {
                is_right = read_number(numbers, at++, &l->bits[i * d->n_levels + k]) && is_right;
                is_right = read_number(numbers, at++, &l->steps[i * d->n_levels + k]) && is_right;
            }
        if (!is_right)
            return false;
    }
    return true;
}

/* ---- one matrix ---- */

struct measuring {
    const struct moeq_damages *d;
    struct moeq_calibrated calibrated;
    struct moeq_bytes loaded, packed;
};

/* The rows of a matrix that are measured. */
struct sample {
    const struct moeq_weight *weight;
    uint64_t rows;
    double share; /* of all */
    float *w;
};

/* Also prepares the factor of its inputs. */
static enum moeq_status take_sample(struct measuring *m, const struct moeq_weight *weight,
                                    const struct moeq_matrix *matrix, struct sample *s,
                                    struct moeq_error *err)
{
    const uint64_t step = moeq_div_up(matrix->rows, MOEQ_MEASURED_ROWS);
    *s = (struct sample){.weight = weight, .rows = moeq_div_up(matrix->rows, step)};
    s->share = (double)s->rows / (double)matrix->rows;
    enum moeq_status status = moeq_calibrated_prepare(&m->calibrated, weight, err);
    return status ? status : moeq_calibrated_decode(&m->calibrated, matrix, 0, step, &s->w, err);
}

/* The error of one level, of all rows; of level ec also what comes of its goal. */
static enum moeq_status measure_plain(struct measuring *m, const struct moeq_format *format,
                                      const struct sample *s, double *error, struct moeq_error *err)
{
    struct moeq_gptq_report report = {0};
    uint64_t n_bytes, n_padded;
    enum moeq_status status = moeq_packed_size(*format, s->rows, s->weight->cols, &n_bytes, &n_padded, err);
    if (!status)
        status = moeq_bytes_resize(&m->packed, (size_t)n_padded, err);
    if (status)
        return status;
    memset(m->packed.data, 0, m->packed.n_bytes);
    status = moeq_gptq_encode(&m->calibrated.factor, format, s->rows, s->w, false, m->d->pool, m->packed.data,
                              &report, err);
    *error = report.error / s->share;
    return status;
}

/* Where all rows are there, they are coded, and their number of bytes is exact. */
static enum moeq_status measure_coded(struct measuring *m, struct moeq_ec_goal goal, const struct sample *s,
                                      struct moeq_ec_report *report, double *bits, struct moeq_error *err)
{
    const struct moeq_weight *w = s->weight;
    goal.of_rows = w->rows;
    enum moeq_status status = moeq_ec_encode(&m->calibrated.factor, s->rows, w->cols, s->w, goal, m->d->pool,
                                             s->rows == w->rows ? &m->packed : NULL, report, err);
    *bits = 8 * (double)report->n_bytes / ((double)w->rows * (double)w->cols);
    report->error /= s->share;
    return status;
}

static enum moeq_status measure_level(struct measuring *m, const struct moeq_format *format,
                                      const struct sample *s, size_t at, struct moeq_damage_layer *l,
                                      struct moeq_error *err)
{
    struct moeq_ec_report report = {0};
    enum moeq_status status;
    if (!format->level->is_coded)
        return measure_plain(m, format, s, &l->errors[at], err);
    status =
        measure_coded(m, (struct moeq_ec_goal){.bits = (double)format->bits}, s, &report, &l->bits[at], err);
    l->errors[at] = report.error;
    l->steps[at] = report.step;
    return status;
}

static enum moeq_status measure_matrix(struct measuring *m, const struct moeq_matrix *matrix, size_t i,
                                       struct moeq_damage_layer *l, struct moeq_error *err)
{
    const struct moeq_damages *d = m->d;
    const struct moeq_weight *w = l->weights[i];
    struct sample sample;
    enum moeq_status status = moeq_calibrated_weigh(&m->calibrated, w, &l->tokens[i], &l->importance[i], err);
    if (!status)
        status = take_sample(m, w, matrix, &sample, err);
    for (size_t k = 0; !status && k < d->n_levels; k++) {
        status = measure_level(m, &d->levels[k], &sample, i * d->n_levels + k, l, err);
        l->errors[i * d->n_levels + k] *= l->importance[i];
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
    l->bits = moeq_calloc(l->n * d->n_levels, sizeof *l->bits, err);
    l->steps = moeq_calloc(l->n * d->n_levels, sizeof *l->steps, err);
    if (!l->weights || !l->tokens || !l->importance || !l->errors || !l->bits || !l->steps)
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

static enum moeq_status measure_step(struct measuring *m, struct moeq_ec_measurement *x,
                                     struct moeq_error *err)
{
    struct moeq_matrix matrix;
    struct moeq_ec_report report;
    struct sample sample;
    double tokens, importance;
    enum moeq_status status = moeq_source_load(m->d->source, &x->weight, 1, &m->loaded, &matrix, err);
    if (!status)
        status = moeq_calibrated_weigh(&m->calibrated, x->weight, &tokens, &importance, err);
    if (!status)
        status = take_sample(m, x->weight, &matrix, &sample, err);
    if (!status)
        status = measure_coded(m, (struct moeq_ec_goal){.step = x->step}, &sample, &report, &x->bits, err);
    if (status) {
        moeq_error_in_tensor(err, x->weight->name);
        return status;
    }
    x->error = report.error * importance;
    moeq_progress_add(m->d->progress, 1, NULL);
    return moeq_interrupt_check(err);
}

enum moeq_status moeq_damage_measure_steps(const struct moeq_damages *damages,
                                           struct moeq_ec_measurement *measurements, size_t n,
                                           struct moeq_error *err)
{
    struct measuring m = {.d = damages};
    enum moeq_status status = MOEQ_OK;
    moeq_calibrated_init(&m.calibrated, damages->statistics, damages->pool);
    for (size_t i = 0; !status && i < n; i++)
        status = measure_step(&m, &measurements[i], err);
    moeq_calibrated_free(&m.calibrated);
    moeq_bytes_free(&m.loaded);
    moeq_bytes_free(&m.packed);
    return status;
}

void moeq_damage_free(struct moeq_damage_layer *layer)
{
    free(layer->weights);
    free(layer->tokens);
    free(layer->importance);
    free(layer->errors);
    free(layer->bits);
    free(layer->steps);
    *layer = (struct moeq_damage_layer){0};
}
