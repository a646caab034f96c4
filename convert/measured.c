#include "measured.h"

#include "ec.h"

#include <stdlib.h>

#define PROBES_NAME "probes.json"
#define N_SIZES     2

/* To be changed with what is measured, or how: what was kept before is then of no use. */
#define METHOD "probes with error feedback, exact"

const char *const moeq_expert_kinds[MOEQ_EXPERT_KINDS] = {"gate", "up", "down"};

/* What probes round to: a large error and a small one. */
static const char *const sizes[N_SIZES] = {"int2-g64", "int4-g64"};

static enum moeq_status list_levels(struct moeq_measured *d, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    d->n_columns = d->m.n_levels + N_SIZES;
    d->levels = moeq_calloc(d->n_columns, sizeof *d->levels, err);
    if (!d->levels)
        return MOEQ_OVER_MEMORY;
    memcpy(d->levels, d->m.levels, d->m.n_levels * sizeof *d->levels);
    for (size_t i = 0; !status && i < N_SIZES; i++)
        status = moeq_format_parse(sizes[i], (struct moeq_format){.group = 64}, &d->levels[d->m.n_levels + i],
                                   err);
    return status;
}

static uint64_t n_windows_of(const struct moeq_measuring *m)
{
    const uint64_t all = moeq_statistics_tokens(m->statistics) / m->statistics->context;
    const uint64_t n = m->probe_tokens / m->statistics->context;
    return n > all ? all : n ? n : 1;
}

/* ---- the folder ---- */

static enum moeq_status identify(struct moeq_measured *d, struct moeq_error *err)
{
    char hex[MOEQ_HASH_HEX], text[MOEQ_FORMAT_BYTES];
    json_t *what = json_pack("[s]", METHOD);
    moeq_hash_hex(d->m.statistics->hash, hex);
    moeq_json_append(&what, json_string(MOEQ_VERSION));
    moeq_json_append(&what, json_string(hex));
    moeq_json_append(&what, json_integer((json_int_t)n_windows_of(&d->m)));
    moeq_json_append(&what, json_integer(MOEQ_MEASURED_ROWS));
    for (size_t i = 0; i < d->n_columns; i++)
        moeq_json_append(&what, json_string(moeq_format_text(d->levels[i], text)));
    char *line = what ? moeq_json_text(what, false) : NULL;
    if (line)
        moeq_hash_hex(moeq_hash_bytes(line, strlen(line)), d->identity);
    json_decref(what);
    const enum moeq_status status = line ? MOEQ_OK : moeq_fail_alloc(err, 0);
    free(line);
    return status;
}

static enum moeq_status open_folder(struct moeq_measured *d, struct moeq_error *err)
{
    char name[40];
    snprintf(name, sizeof name, "measured-%.16s", d->identity);
    char *path = d->m.folder ? strdup(d->m.folder) : moeq_path_join(d->m.statistics->path, name, err);
    enum moeq_status status = path ? moeq_out_dir_open(&d->dir, path, err) : moeq_fail_alloc(err, 0);
    if (status == MOEQ_IO && !d->m.folder)
        moeq_error_hint(err, "give --work a folder that can be written to");
    free(path);
    return status;
}

static enum moeq_status list_probes(struct moeq_measured *d, struct moeq_error *err)
{
    const struct moeq_config *c = &d->m.source->config;
    size_t n = 0;
    for (uint32_t l = 0; l < c->n_layers; l++)
        d->n_layers += moeq_config_layer_is_moe(c, l);
    d->layers = moeq_calloc(d->n_layers, sizeof *d->layers, err);
    d->gains = moeq_calloc(d->n_layers * MOEQ_EXPERT_KINDS, sizeof *d->gains, err);
    d->probes = moeq_calloc(d->n_layers * MOEQ_EXPERT_KINDS * N_SIZES, sizeof *d->probes, err);
    if (!d->layers || !d->gains || !d->probes)
        return MOEQ_OVER_MEMORY;
    for (uint32_t l = 0; l < c->n_layers; l++) {
        if (!moeq_config_layer_is_moe(c, l))
            continue;
        d->layers[n++].layer = (int)l;
        for (size_t k = 0; k < MOEQ_EXPERT_KINDS; k++)
            for (size_t i = 0; i < N_SIZES; i++)
                d->probes[d->n_probes++] =
                    (struct moeq_probe){.layer = (int)l,
                                        .expert = -1,
                                        .part = (enum moeq_part)((int)MOEQ_PART_EXPERT_GATE + (int)k),
                                        .format = d->levels[d->m.n_levels + i]};
    }
    return MOEQ_OK;
}

enum moeq_status moeq_measured_open(struct moeq_measured *measured, const struct moeq_measuring *measuring,
                                    struct moeq_error *err)
{
    struct moeq_measured *d = measured;
    *d = (struct moeq_measured){.m = *measuring, .dir = {.fd = -1}};
    enum moeq_status status = list_levels(d, err);
    if (!status)
        status = identify(d, err);
    if (!status)
        status = list_probes(d, err);
    if (!status && !d->n_layers) {
        status = moeq_fail(err, MOEQ_UNSUPPORTED, "the model has no routed experts to plan for");
        moeq_error_in_file(err, d->m.source->path);
    }
    return status ? status : open_folder(d, err);
}

void moeq_measured_close(struct moeq_measured *measured)
{
    struct moeq_measured *d = measured;
    for (size_t i = 0; d->layers && i < d->n_layers; i++)
        moeq_damage_free(&d->layers[i]);
    free(d->layers);
    free(d->levels);
    free(d->gains);
    free(d->probes);
    if (d->dir.fd >= 0)
        moeq_out_dir_close(&d->dir);
    *d = (struct moeq_measured){.dir = {.fd = -1}};
}

/* ---- damages ---- */

static struct moeq_damages damages_of(const struct moeq_measured *d, struct moeq_progress *progress)
{
    return (struct moeq_damages){.source = d->m.source,
                                 .statistics = d->m.statistics,
                                 .pool = d->m.pool,
                                 .levels = d->levels,
                                 .n_levels = d->n_columns,
                                 .dir = &d->dir,
                                 .identity = d->identity,
                                 .progress = progress};
}

enum moeq_status moeq_measured_steps(const struct moeq_measured *measured,
                                     struct moeq_ec_measurement *measurements, size_t n,
                                     struct moeq_pool *pool, struct moeq_progress *progress,
                                     struct moeq_error *err)
{
    struct moeq_damages damages = damages_of(measured, progress);
    damages.pool = pool;
    return moeq_damage_measure_steps(&damages, measurements, n, err);
}

enum moeq_status moeq_measured_damages(struct moeq_measured *measured, struct moeq_progress *progress,
                                       struct moeq_error *err)
{
    struct moeq_measured *d = measured;
    const struct moeq_damages damages = damages_of(d, progress);
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < d->n_layers; i++)
        status = moeq_damage_measure(&damages, d->layers[i].layer, &d->layers[i], err);
    return status;
}

/* ---- probes ---- */

static bool read_probes(struct moeq_measured *d)
{
    json_t *kept = moeq_damage_load(&d->dir, PROBES_NAME, d->identity);
    const json_t *klds = json_object_get(kept, "klds"), *errors = json_object_get(kept, "kld_errors");
    bool found = json_array_size(klds) == d->n_probes && json_array_size(errors) == d->n_probes;
    for (size_t i = 0; found && i < d->n_probes; i++) {
        d->probes[i].kld = json_number_value(json_array_get(klds, i));
        d->probes[i].kld_error = json_number_value(json_array_get(errors, i));
        found = d->probes[i].kld >= 0;
    }
    json_decref(kept);
    return found;
}

static enum moeq_status encode_probe(void *replacer, const struct moeq_probe *probe,
                                     const struct moeq_weight *weight, struct moeq_matrix *matrix,
                                     struct moeq_bytes *bytes, struct moeq_error *err)
{
    uint64_t n_bytes, n_padded;
    double error;
    enum moeq_status status =
        moeq_packed_size(probe->format, matrix->rows, matrix->cols, &n_bytes, &n_padded, err);
    if (!status)
        status = moeq_bytes_resize(bytes, (size_t)n_padded, err);
    if (status)
        return status;
    memset(bytes->data, 0, bytes->n_bytes);
    status = moeq_calibrated_encode(replacer, weight, &probe->format, matrix, bytes->data, &error, err);
    *matrix = (struct moeq_matrix){probe->format, matrix->rows, matrix->cols, bytes->data, n_bytes};
    return status;
}

static enum moeq_status run_probes(struct moeq_measured *d, struct moeq_progress *progress,
                                   struct moeq_error *err)
{
    int32_t *tokens = moeq_statistics_windows(d->m.statistics, n_windows_of(&d->m), err);
    if (!tokens)
        return err && err->status ? err->status : MOEQ_OVER_MEMORY;
    struct moeq_calibrated calibrated;
    moeq_calibrated_init(&calibrated, d->m.statistics, d->m.pool);
    /* Exact: rounding of activations tips choices of experts, too, and would be in every probe. */
    const struct moeq_probing probing = {.source = d->m.source,
                                         .pool = d->m.pool,
                                         .tokens = tokens,
                                         .n_windows = n_windows_of(&d->m),
                                         .context = d->m.statistics->context,
                                         .arithmetic = MOEQ_EXACT,
                                         .replace = encode_probe,
                                         .replacer = &calibrated,
                                         .probes = d->probes,
                                         .n_probes = d->n_probes,
                                         .budget = d->m.budget,
                                         .progress = progress};
    enum moeq_status status = moeq_probes_run(&probing, err);
    moeq_calibrated_free(&calibrated);
    free(tokens);
    if (status)
        return status;
    json_t *klds = json_array(), *errors = json_array();
    for (size_t i = 0; i < d->n_probes; i++) {
        moeq_json_append(&klds, json_real(d->probes[i].kld));
        moeq_json_append(&errors, json_real(d->probes[i].kld_error));
    }
    return moeq_damage_save(&d->dir, PROBES_NAME, d->identity,
                            json_pack("{s:o, s:o}", "klds", klds, "kld_errors", errors), err);
}

/* The error that a probe injected: of all matrices of its kind in its layer. */
static double probe_error(const struct moeq_measured *d, size_t layer, size_t kind, size_t size)
{
    const struct moeq_damage_layer *l = &d->layers[layer];
    double sum = 0;
    for (size_t i = kind; i < l->n; i += MOEQ_EXPERT_KINDS)
        sum += l->errors[i * d->n_columns + d->m.n_levels + size];
    return sum;
}

enum moeq_status moeq_measured_probes(struct moeq_measured *measured, struct moeq_progress *progress,
                                      struct moeq_error *err)
{
    struct moeq_measured *d = measured;
    enum moeq_status status = read_probes(d) ? MOEQ_OK : run_probes(d, progress, err);
    for (size_t g = 0; !status && g < d->n_layers * MOEQ_EXPERT_KINDS; g++) {
        double errors[N_SIZES], klds[N_SIZES];
        size_t n = 0;
        for (size_t i = 0; i < N_SIZES; i++) {
            errors[n] = probe_error(d, g / MOEQ_EXPERT_KINDS, g % MOEQ_EXPERT_KINDS, i);
            klds[n] = d->probes[g * N_SIZES + i].kld;
            n += errors[n] > 0 && klds[n] > 0; /* otherwise rounding changed nothing */
        }
        d->gains[g] = n ? moeq_gain_fit(errors, klds, n) : (struct moeq_gain){0};
    }
    return status;
}

/* That measuring level ec takes: a sample of the rows is encoded, in a byte a weight at most. */
static uint64_t coded_bytes(const struct moeq_measuring *measuring, const struct moeq_weight *w,
                            unsigned n_jobs)
{
    const uint64_t rows = w->rows < MOEQ_MEASURED_ROWS ? w->rows : MOEQ_MEASURED_ROWS;
    for (size_t k = 0; k < measuring->n_levels; k++)
        if (measuring->levels[k].level->is_coded)
            return moeq_ec_encode_bytes(rows, w->cols, rows * w->cols, n_jobs);
    return 0;
}

uint64_t moeq_measured_bytes(const struct moeq_measuring *measuring, unsigned n_jobs, uint64_t *beside)
{
    const struct moeq_config *c = &measuring->source->config;
    uint64_t n_moe = 0, largest = 0;
    for (uint32_t l = 0; l < c->n_layers; l++)
        if (moeq_config_layer_is_moe(c, l))
            for (int k = 0; k < MOEQ_EXPERT_KINDS; k++) {
                const struct moeq_weight *w = moeq_source_part(
                    measuring->source, (enum moeq_part)((int)MOEQ_PART_EXPERT_GATE + k), (int)l, 0);
                n_moe += k == 0;
                if (w)
                    largest = moeq_larger(largest, moeq_calibrated_bytes(w) + 3 * w->n_padded +
                                                       w->rows * w->cols * sizeof(float) +
                                                       coded_bytes(measuring, w, n_jobs));
            }
    const struct moeq_probing probing = {.source = measuring->source,
                                         .n_windows = n_windows_of(measuring),
                                         .context = measuring->statistics->context,
                                         .n_probes = (size_t)n_moe * MOEQ_EXPERT_KINDS * N_SIZES};
    *beside = largest;
    return moeq_larger(largest, moeq_probes_bytes(&probing, n_jobs));
}
