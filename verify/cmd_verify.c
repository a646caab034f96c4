#include "cmd_verify.h"

#include "package_check.h"
#include "verb.h"

#include <math.h>
#include <stdlib.h>

#define MAX_LINES 20 /* failures that are printed one by one */

struct verify_options {
    struct moeq_common common;
    const char *against;
    bool tensors;
};

#define OPTION(field) offsetof(struct verify_options, field)

static const struct moeq_option options_table[] = {
    {"against", 'a', MOEQ_OPTION_TEXT, "SRC",
     "compare with the source: the error of each tensor, bit-exactness of lossless levels", OPTION(against),
     0, 0, NULL},
    {"tensors", 0, MOEQ_OPTION_FLAG, NULL, "with --against: one line for every tensor", OPTION(tensors), 0, 0,
     NULL},
    MOEQ_LENIENT_OPTION,
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

struct verification {
    const struct verify_options *options;
    const char *path;
    struct moeq_place place; /* open all the time, so that an archive is gone through once */
    struct moeq_pool *pool;
    struct moeq_integrity integrity;
    struct moeq_source package, source;
    struct moeq_difference *differences;
    size_t n_missing, n_bad;
    const char *first_missing;
};

/* ---- groups of tensors: role and levels ---- */

struct group {
    const struct moeq_difference *first, *worst;
    size_t n_tensors;
    double error_squares, source_squares;
};

static bool same_group(const struct moeq_difference *a, const struct moeq_difference *b)
{
    return moeq_part_role(a->weight->id.part) == moeq_part_role(b->weight->id.part) &&
           moeq_format_equal(a->weight->format, b->weight->format) && a->lossless == b->lossless &&
           (a->lossless || !a->source || !b->source ||
            moeq_format_equal(a->source->format, b->source->format));
}

static void print_group(const struct group *g)
{
    char level[MOEQ_FORMAT_BYTES], before[MOEQ_FORMAT_BYTES];
    const struct moeq_difference *d = g->first, *w = g->worst;
    printf("%-8s %7zu tensors  %-12s ", moeq_role_name(moeq_part_role(d->weight->id.part)), g->n_tensors,
           moeq_format_text(d->weight->format, level));
    if (d->lossless) {
        printf("bit-exact copies of the source\n");
        return;
    }
    printf(
        "from %-5s relative RMS error %.6f; worst tensor %.6f, worst element off by %.3g (%s [%llu, %llu])\n",
        d->source ? moeq_format_text(d->source->format, before) : "?",
        g->source_squares > 0 ? sqrt(g->error_squares / g->source_squares) : 0, w->relative_rms, w->worst,
        w->weight->name, (unsigned long long)w->worst_row, (unsigned long long)w->worst_col);
}

static enum moeq_status print_groups(const struct verification *v, struct moeq_error *err)
{
    const size_t n = v->package.n_weights;
    struct group *groups = moeq_calloc(n, sizeof *groups, err);
    size_t n_groups = 0;
    if (!groups)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < n; i++) {
        const struct moeq_difference *d = &v->differences[i];
        size_t g = 0;
        if (!moeq_difference_is_good(d))
            continue;
        while (g < n_groups && !same_group(groups[g].first, d))
            g++;
        if (g == n_groups)
            groups[n_groups++] = (struct group){.first = d, .worst = d};
        groups[g].n_tensors++;
        groups[g].error_squares += d->error_squares;
        groups[g].source_squares += d->source_squares;
        if (d->relative_rms > groups[g].worst->relative_rms)
            groups[g].worst = d;
    }
    for (size_t g = 0; g < n_groups; g++)
        print_group(&groups[g]);
    free(groups);
    return MOEQ_OK;
}

static const char *verdict(const struct moeq_difference *d)
{
    return !d->source                  ? "FAILED: the source has no such tensor"
           : !d->same_shape            ? "FAILED: another shape than in the source"
           : d->lossless               ? (d->identical ? "bit-exact" : "FAILED: not bit-exact")
           : isfinite(d->relative_rms) ? "ok"
                                       : "FAILED: the error is not finite";
}

static void print_tensor(const struct moeq_difference *d)
{
    char level[MOEQ_FORMAT_BYTES];
    moeq_print_text(stdout, d->weight->name, 60);
    printf(" %-13s relative RMS %.6f  worst %.3g at [%llu, %llu]  %s\n",
           moeq_format_text(d->weight->format, level), d->relative_rms, d->worst,
           (unsigned long long)d->worst_row, (unsigned long long)d->worst_col, verdict(d));
}

static void print_comparison(const struct verification *v)
{
    size_t n_shown = 0;
    for (size_t i = 0; i < v->package.n_weights; i++) {
        bool good = moeq_difference_is_good(&v->differences[i]);
        if (v->options->tensors || (!good && n_shown++ < MAX_LINES))
            print_tensor(&v->differences[i]);
    }
    if (!v->options->tensors && v->n_bad > MAX_LINES)
        printf("… and %zu more tensors FAILED\n", v->n_bad - MAX_LINES);
    if (v->n_missing) {
        printf("FAILED: %zu tensors of the source are missing, the first is ", v->n_missing);
        moeq_print_text(stdout, v->first_missing, 0);
        printf("\n");
    }
}

/* ---- JSON ---- */

static json_t *difference_json(const struct moeq_difference *d)
{
    char level[MOEQ_FORMAT_BYTES];
    bool finite = isfinite(d->relative_rms);
    return json_pack("{s:s, s:s, s:b, s:o, s:f, s:[I,I], s:s}", "name", d->weight->name, "level",
                     moeq_format_text(d->weight->format, level), "lossless", d->lossless, "relative_rms",
                     finite ? json_real(d->relative_rms) : json_null(), "worst",
                     isfinite(d->worst) ? d->worst : -1, "worst_at", (json_int_t)d->worst_row,
                     (json_int_t)d->worst_col, "verdict", verdict(d));
}

static json_t *verify_json(const struct verification *v, bool passed)
{
    json_t *failures = json_array();
    for (size_t i = 0; i < v->integrity.n_failures; i++) {
        char line[1600];
        moeq_json_append(&failures,
                         json_string(moeq_error_format(&v->integrity.failures[i], line, sizeof line)));
    }
    json_t *json = json_pack("{s:s, s:i, s:s, s:b, s:I, s:I, s:o}", "moeq", "verify", "version", 1, "package",
                             v->path, "passed", passed, "segments", (json_int_t)v->integrity.n_segments,
                             "n_bytes", (json_int_t)v->integrity.n_bytes, "failures", failures);
    if (v->differences) {
        json_t *tensors = json_array();
        for (size_t i = 0; i < v->package.n_weights; i++)
            moeq_json_append(&tensors, difference_json(&v->differences[i]));
        moeq_json_set(&json, "against",
                      json_pack("{s:s, s:I, s:I, s:o}", "source", v->options->against, "missing",
                                (json_int_t)v->n_missing, "failed", (json_int_t)v->n_bad, "tensors",
                                tensors));
    }
    return json;
}

/* ---- the two checks ---- */

static enum moeq_status check_package(struct verification *v, const char *folder, struct moeq_error *err)
{
    struct moeq_package package;
    enum moeq_status status = moeq_package_open(&package, folder, err);
    if (status)
        return status;
    struct moeq_progress *progress =
        moeq_progress_start("verify", "bytes", moeq_integrity_work(&package), v->options->common.quiet);
    status = moeq_integrity_check(&package, v->pool, progress, &v->integrity, err);
    moeq_progress_end(progress);
    moeq_package_close(&package);
    return status;
}

static enum moeq_status check_integrity(struct verification *v, struct moeq_error *err)
{
    enum moeq_status status = moeq_place_open(&v->place, v->path, err);
    return status ? status : check_package(v, v->place.path, err);
}

static enum moeq_status compare(struct verification *v, struct moeq_error *err)
{
    enum moeq_status status = moeq_source_open(&v->package, v->path, err);
    if (!status)
        status = moeq_source_open_as(&v->source, v->options->against,
                                     moeq_verb_strictness(&v->options->common), err);
    if (status)
        return status;
    uint64_t work = 0;
    for (size_t i = 0; i < v->package.n_weights; i++)
        work += v->package.weights[i].n_bytes;
    struct moeq_progress *progress = moeq_progress_start("compare", "bytes", work, v->options->common.quiet);
    status = moeq_compare_sources(&v->package, &v->source, v->pool, progress, &v->differences, &v->n_missing,
                                  &v->first_missing, err);
    moeq_progress_end(progress);
    for (size_t i = 0; !status && i < v->package.n_weights; i++)
        v->n_bad += !moeq_difference_is_good(&v->differences[i]);
    return status;
}

static enum moeq_status report(const struct verification *v, struct moeq_error *err)
{
    const bool passed = !v->integrity.n_failures && !v->n_bad && !v->n_missing;
    char size[MOEQ_SIZE_TEXT];
    enum moeq_status status = MOEQ_OK;
    if (v->options->common.json) {
        status = moeq_verb_print_json(verify_json(v, passed), err);
        return status ? status : passed ? MOEQ_OK : MOEQ_CHECK_FAILED;
    }
    for (size_t i = 0; i < v->integrity.n_failures && i < MAX_LINES; i++) {
        char line[1600];
        printf("FAILED %s\n", moeq_error_format(&v->integrity.failures[i], line, sizeof line));
    }
    if (v->integrity.n_failures > MAX_LINES)
        printf("… and %zu more FAILED\n", v->integrity.n_failures - MAX_LINES);
    printf("%s: %llu segments, %s: %s\n", v->path, (unsigned long long)v->integrity.n_segments,
           moeq_size_text((double)v->integrity.n_bytes, size),
           v->integrity.n_failures ? "FAILED" : "manifest, headers and every hash are right");
    if (v->differences) {
        print_comparison(v);
        status = print_groups(v, err);
    } else if (v->options->against) {
        printf("not compared with %s, since the package is damaged\n", v->options->against);
    }
    return status ? status : passed ? MOEQ_OK : MOEQ_CHECK_FAILED;
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    struct verification v = {.options = options, .path = positional[0]};
    (void)n_positional;
    v.pool = moeq_verb_pool(&v.options->common, err);
    enum moeq_status status = v.pool ? check_integrity(&v, err) : MOEQ_OVER_MEMORY;
    if (!status && v.options->against && !v.integrity.n_failures)
        status = compare(&v, err);
    if (!status)
        status = report(&v, err);
    free(v.differences);
    free(v.integrity.failures);
    moeq_source_close(&v.package);
    moeq_source_close(&v.source);
    moeq_place_close(&v.place);
    moeq_pool_join(v.pool);
    return status;
}

const struct moeq_verb moeq_verb_verify = {
    .name = "verify",
    .arguments = "PKG",
    .summary = "check a package's hashes, and its error against the source",
    .details =
        "Checks the manifest, the structure of every file and the XXH3-128 of every header, copied file and "
        "segment; a mismatch is listed and the exit code is 1. A package whose structure cannot be read is "
        "damaged input: exit code 3.\n\n"
        "With --against each tensor is decoded and compared with the source's: relative RMS error is "
        "sqrt(sum (w-s)^2 / sum s^2). Tensors at the source's own level must be bit-exact.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 1,
    .options_size = sizeof(struct verify_options),
    .run = run,
};
