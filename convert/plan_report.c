#include "plan_report.h"

#include "memory.h"
#include "plan_curve.h"
#include "plan_summary.h"
#include "verb.h"

#include <math.h>
#include <stdlib.h>

#define CURVE_POINTS 48
#define MOST_BITS    6.5 /* of the curve: beyond, the source's own bits soon leave no damage at all */

/* ---- rows: the matrices of one kind in one layer ---- */

struct rows {
    struct moeq_plan_row *rows; /* [n] */
    double *shares;             /* [n, n_names] */
    const char **names;         /* [n_names]: columns of the planner */
    char (*texts)[MOEQ_FORMAT_BYTES];
    double *parts, *errors;  /* [groups] */
    struct moeq_gain *gains; /* [n]: of the rows; NULL: there are no measurements */
    double kld;              /* NAN where there are no measurements */
    size_t n, n_names;
    uint64_t n_package, n_planned; /* bytes */
};

static void rows_free(struct rows *r)
{
    free(r->rows);
    free(r->shares);
    free(r->names);
    free(r->texts);
    free(r->parts);
    free(r->gains);
    free(r->errors);
}

static size_t count_groups(const struct moeq_planner *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_items; i++)
        n = p->groups[i] >= n ? p->groups[i] + 1u : n;
    return n;
}

static enum moeq_status rows_allocate(struct rows *r, const struct moeq_planner *p, struct moeq_error *err)
{
    *r = (struct rows){.n = count_groups(p), .n_names = moeq_planner_columns(p), .kld = NAN};
    r->rows = moeq_calloc(r->n, sizeof *r->rows, err);
    r->shares = moeq_calloc(r->n * r->n_names, sizeof *r->shares, err);
    r->names = moeq_calloc(r->n_names, sizeof *r->names, err);
    r->texts = moeq_calloc(r->n_names, sizeof *r->texts, err);
    r->parts = moeq_calloc(r->n, sizeof *r->parts, err);
    r->errors = moeq_calloc(r->n, sizeof *r->errors, err);
    if (r->rows && r->shares && r->names && r->texts && r->parts && r->errors)
        return MOEQ_OK;
    rows_free(r);
    return MOEQ_OVER_MEMORY;
}

/* What a unit of error adds to the forecast at this plan. */
static double gain_of(const struct rows *r, size_t g)
{
    return r->errors[g] > 0 ? r->parts[g] / r->errors[g] : NAN;
}

static enum moeq_status rows_init(struct rows *r, const struct moeq_plan_report *report,
                                  struct moeq_error *err)
{
    const struct moeq_planner *p = report->planner;
    enum moeq_status status = rows_allocate(r, p, err);
    if (!status &&
        (status = moeq_planner_package_bytes(p, report->chosen, &r->n_package, &r->n_planned, err)))
        rows_free(r);
    if (status)
        return status;
    if (p->measured && !(r->gains = moeq_calloc(r->n, sizeof *r->gains, err))) {
        rows_free(r);
        return MOEQ_OVER_MEMORY;
    }
    for (size_t k = 0; k < r->n_names; k++)
        r->names[k] = moeq_planner_column_name(p, k, r->texts[k]);
    if (p->measured)
        r->kld = moeq_forecast_kld(&p->forecast, report->chosen, r->parts, r->errors);
    for (size_t i = 0; i < p->n_items; i++) {
        const uint32_t g = p->groups[i], k = report->chosen[i];
        const double n = (double)(p->weights[i]->rows * p->weights[i]->cols);
        struct moeq_plan_row *row = &r->rows[g];
        row->layer = p->weights[i]->id.layer;
        row->kind = moeq_expert_kinds[g % MOEQ_EXPERT_KINDS];
        row->shares = r->shares + g * r->n_names;
        row->n_weights += (uint64_t)n;
        row->bits += 8 * (double)p->n_bytes[i * (p->n_levels + 1) + k];
        r->shares[g * r->n_names + moeq_planner_column(p, k)] += n;
        row->gain = p->measured ? gain_of(r, g) : NAN;
        row->damage = p->measured ? r->parts[g] : NAN;
    }
    size_t n = 0;
    for (size_t g = 0; g < r->n; g++) {
        if (!r->rows[g].n_weights)
            continue;
        r->rows[g].bits /= (double)r->rows[g].n_weights;
        for (size_t k = 0; k < r->n_names; k++)
            r->shares[g * r->n_names + k] /= (double)r->rows[g].n_weights;
        if (r->gains)
            r->gains[n] = p->measured->gains[g];
        r->rows[n++] = r->rows[g];
    }
    r->n = n;
    return MOEQ_OK;
}

static double bits_of(const struct moeq_planner *p, uint64_t n_bytes)
{
    return 8 * (double)n_bytes / (double)p->n_weights;
}

/* ---- the PLAN ---- */

static json_t *rows_json(const struct rows *r)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < r->n; i++) {
        const struct moeq_plan_row *row = &r->rows[i];
        json_t *levels = json_object();
        for (size_t k = 0; k < r->n_names; k++)
            if (row->shares[k] > 0)
                moeq_json_set(&levels, r->names[k], json_real(row->shares[k]));
        json_t *json = json_pack("{s:i, s:s, s:f, s:o}", "layer", row->layer, "kind", row->kind, "bits",
                                 row->bits, "levels", levels);
        if (r->gains) {
            moeq_json_set(&json, "linear_gain", json_real(r->gains[i].linear));
            moeq_json_set(&json, "root_gain", json_real(r->gains[i].root));
            moeq_json_set(&json, "damage", moeq_json_real(row->damage));
        }
        moeq_json_append(&rows, json);
    }
    return rows;
}

static json_t *predicted_json(const struct moeq_plan_report *report, const struct rows *r)
{
    const struct moeq_planner *p = report->planner;
    const uint64_t n = r->n_planned;
    return json_pack("{s:I, s:I, s:f, s:o}", "planned_bytes", (json_int_t)n, "planned_weights",
                     (json_int_t)p->n_weights, "bits_per_weight", bits_of(p, n), "kld",
                     moeq_json_real(r->kld));
}

static enum moeq_status write_plan(const struct moeq_plan_report *report, struct moeq_error *err)
{
    const struct moeq_planner *p = report->planner;
    char model[MOEQ_HASH_HEX], statistics[MOEQ_HASH_HEX];
    struct rows r;
    enum moeq_status status = moeq_statistics_model(p->source, model, err);
    if (!status)
        status = rows_init(&r, report, err);
    if (status)
        return status;
    if (p->statistics)
        moeq_hash_hex(p->statistics->hash, statistics);
    struct moeq_level_entry *entries = moeq_calloc(p->n_items, sizeof *entries, err);
    json_t *budget = json_pack("{s:s}", "asked", report->budget ? report->budget : "none");
    json_t *predicted = predicted_json(report, &r), *layers = rows_json(&r);
    const struct moeq_level_document document = {.model = model,
                                                 .statistics = p->statistics ? statistics : NULL,
                                                 .budget = budget,
                                                 .predicted = predicted,
                                                 .layers = layers,
                                                 .rules = (const char *const *)p->rules->texts,
                                                 .n_rules = p->rules->n,
                                                 .entries = entries,
                                                 .n_entries = p->n_items};
    if (!entries || !budget || !predicted || !layers) {
        status = moeq_fail_alloc(err, 0);
    } else {
        status = moeq_planner_entries(p, report->chosen, entries, err);
        if (!status)
            status = moeq_level_plan_write(report->path, &document, err);
    }
    json_decref(budget);
    json_decref(predicted);
    json_decref(layers);
    free(entries);
    rows_free(&r);
    return status;
}

/* ---- the curve ---- */

struct curve {
    struct moeq_curve_point mixes[CURVE_POINTS], others[CURVE_POINTS], chosen;
    size_t n_mixes, n_others;
    struct moeq_curve_uniform *uniform;
    char (*names)[MOEQ_FORMAT_BYTES];
    uint32_t *choice;
    double *errors;
};

static struct moeq_curve_point point_of(const struct moeq_planner *p, struct curve *c, const uint32_t *choice)
{
    const uint64_t n = moeq_forecast_bytes(&p->forecast, choice);
    return (struct moeq_curve_point){n, bits_of(p, n),
                                     moeq_forecast_kld(&p->forecast, choice, NULL, c->errors)};
}

/* Budgets evenly from the smallest level to the largest, in bits; levels [0, n_levels) can be chosen. */
static enum moeq_status fill_mixes(const struct moeq_planner *p, struct moeq_forecaster *forecaster,
                                   struct curve *c, size_t n_levels, struct moeq_curve_point *points,
                                   size_t *n, struct moeq_error *err)
{
    double least = INFINITY, most = 0;
    enum moeq_status status = MOEQ_OK;
    for (size_t k = 0; k < n_levels; k++) {
        least = c->uniform[k].point.bits < least ? c->uniform[k].point.bits : least;
        most = c->uniform[k].point.bits > most ? c->uniform[k].point.bits : most;
    }
    most = most > MOST_BITS ? MOST_BITS : most;
    for (int i = 0; !status && i < CURVE_POINTS; i++) {
        const double bits = least + (most - least) * i / (CURVE_POINTS - 1);
        status =
            moeq_forecaster_plan(forecaster, (uint64_t)ceil(bits * (double)p->n_weights / 8), c->choice, err);
        if (!status)
            points[(*n)++] = point_of(p, c, c->choice);
    }
    return status;
}

/* Plans with the levels that have groups alone, to compare. */
static enum moeq_status fill_others(const struct moeq_planner *p, struct curve *c, struct moeq_error *err)
{
    const size_t n_choices = p->n_levels + 1, n = p->n_items * n_choices;
    struct moeq_forecaster forecaster = {0};
    struct moeq_forecast forecast = p->forecast;
    double *errors = moeq_calloc(n, sizeof *errors, err);
    if (!errors)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < n; i++) {
        const size_t k = i % n_choices;
        errors[i] = k >= p->n_plain && k < p->n_levels ? INFINITY : p->errors[i];
    }
    forecast.errors = errors;
    enum moeq_status status = moeq_forecaster_init(&forecaster, &forecast, err);
    if (!status)
        status = fill_mixes(p, &forecaster, c, p->n_plain, c->others, &c->n_others, err);
    moeq_forecaster_free(&forecaster);
    free(errors);
    return status;
}

static enum moeq_status fill_curve(const struct moeq_plan_report *report, struct curve *c,
                                   struct moeq_error *err)
{
    struct moeq_planner *p = report->planner;
    c->uniform = moeq_calloc(p->n_levels, sizeof *c->uniform, err);
    c->names = moeq_calloc(p->n_levels, sizeof *c->names, err);
    c->choice = moeq_calloc(p->n_items, sizeof *c->choice, err);
    c->errors = moeq_calloc(p->forecast.n_groups, sizeof *c->errors, err);
    if (!c->uniform || !c->names || !c->choice || !c->errors)
        return MOEQ_OVER_MEMORY;
    for (size_t k = 0; k < p->n_levels; k++) {
        for (size_t i = 0; i < p->n_items; i++)
            c->choice[i] = (uint32_t)k;
        c->uniform[k] = (struct moeq_curve_uniform){moeq_format_text(p->levels[k], c->names[k]),
                                                    point_of(p, c, c->choice)};
    }
    c->chosen = point_of(p, c, report->chosen);
    enum moeq_status status = fill_mixes(p, &p->forecaster, c, p->n_levels, c->mixes, &c->n_mixes, err);
    if (!status && p->n_plain > 1 && p->n_levels > p->n_plain)
        status = fill_others(p, c, err);
    return status;
}

static enum moeq_status write_text(const char *path, char *text, struct moeq_error *err)
{
    enum moeq_status status = text ? moeq_out_write_text(path, text, err) : MOEQ_OVER_MEMORY;
    free(text);
    return status;
}

static enum moeq_status write_curve(const struct moeq_plan_report *report, struct moeq_error *err)
{
    struct curve c = {.n_mixes = 0};
    char title[400];
    snprintf(title, sizeof title, "Levels of the experts of %.300s",
             moeq_path_name(report->planner->source->path));
    enum moeq_status status = fill_curve(report, &c, err);
    struct moeq_curve curve = {.title = title,
                               .mixes = c.mixes,
                               .n_mixes = c.n_mixes,
                               .others = c.others,
                               .n_others = c.n_others,
                               .uniform = c.uniform,
                               .n_uniform = report->planner->n_levels,
                               .chosen = &c.chosen};
    if (!status && report->csv)
        status = write_text(report->csv, moeq_curve_csv(&curve, err), err);
    curve.n_uniform = report->planner->n_plain; /* rungs of level ec would lie on the line */
    if (!status && report->svg)
        status = write_text(report->svg, moeq_curve_svg(&curve, err), err);
    free(c.uniform);
    free(c.names);
    free(c.choice);
    free(c.errors);
    return status;
}

enum moeq_status moeq_plan_report_write(const struct moeq_plan_report *report, struct moeq_error *err)
{
    enum moeq_status status = report->csv || report->svg ? write_curve(report, err) : MOEQ_OK;
    return status || !report->path ? status : write_plan(report, err);
}

/* ---- reading ---- */

enum moeq_status moeq_plan_report_print(const struct moeq_plan_report *report, struct moeq_error *err)
{
    const struct moeq_planner *p = report->planner;
    char size[MOEQ_SIZE_TEXT];
    struct rows r;
    const enum moeq_status status = rows_init(&r, report, err);
    if (status)
        return status;
    const struct moeq_plan_summary summary = {r.names, r.n_names, r.rows, r.n};
    moeq_plan_summary_print(stdout, &summary);
    printf("%zu matrices, %s, %.4f bits a weight; the package will have %llu bytes", p->n_items,
           moeq_size_text((double)r.n_planned, size), bits_of(p, r.n_planned),
           (unsigned long long)r.n_package);
    if (p->measured)
        printf("; forecast KL divergence %.6f", r.kld);
    for (size_t i = 0; i < p->rules->n; i++)
        printf("%s%s", i ? ", " : "\nother matrices: ", p->rules->texts[i]);
    printf("\n%s%s%.1f s, peak memory %s\n", report->path ? report->path : "", report->path ? ": " : "",
           report->seconds, moeq_size_text((double)moeq_peak_memory(), size));
    rows_free(&r);
    return MOEQ_OK;
}

json_t *moeq_plan_report_json(const struct moeq_plan_report *report, struct moeq_error *err)
{
    const struct moeq_planner *p = report->planner;
    struct rows r;
    if (rows_init(&r, report, err))
        return NULL;
    json_t *json = json_pack("{s:s, s:i, s:s, s:o, s:I, s:o, s:o, s:o}", "moeq", "plan", "version", 1,
                             "source", p->source->path, "predicted", predicted_json(report, &r),
                             "package_bytes", (json_int_t)r.n_package, "layers", rows_json(&r), "plan",
                             report->path ? json_string(report->path) : json_null(), "timing",
                             json_pack("{s:f, s:I}", "seconds", report->seconds, "peak_memory_bytes",
                                       (json_int_t)moeq_peak_memory()));
    rows_free(&r);
    if (!json)
        moeq_fail_alloc(err, 0);
    return json;
}
