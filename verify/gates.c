#include "gates.h"

#include "file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_DOCUMENT  (1u << 20)
#define DEFAULT_SIGMA 2.0

void moeq_gates_free(struct moeq_gates *gates)
{
    free(gates->gates);
    *gates = (struct moeq_gates){0};
}

/* ---- reading ---- */

static enum moeq_status no_gate(const char *text, struct moeq_error *err)
{
    moeq_fail(err, MOEQ_USAGE, "\"%.60s\" is no gate", text);
    moeq_error_hint(err, "write it as mean_kld<0.03: a name, one of < <= > >=, a number");
    return MOEQ_USAGE;
}

static enum moeq_status no_metric(const char *text, size_t n, struct moeq_error *err)
{
    char names[MOEQ_METRIC_NAMES];
    moeq_fail(err, MOEQ_USAGE, "there is no metric \"%.*s\"; there are %s", n > 40 ? 40 : (int)n, text,
              moeq_metric_names(names));
    return MOEQ_USAGE;
}

/* The words of a gate; blanks between them do not count. */
static enum moeq_status parse_gate(struct moeq_gate *g, const char *text, struct moeq_error *err)
{
    static const char blanks[] = " \t";
    const char *name = text + strspn(text, blanks), *sign = name + strcspn(name, " \t<>="), *number;
    const size_t n_name = (size_t)(sign - name);
    char *end;
    sign += strspn(sign, blanks);
    if (!n_name || (*sign != '<' && *sign != '>'))
        return no_gate(text, err);
    g->more = *sign == '>';
    g->or_same = sign[1] == '=';
    number = sign + 1 + g->or_same;
    g->limit = strtod(number, &end);
    if (end == number || end[strspn(end, blanks)] || !isfinite(g->limit))
        return no_gate(text, err);
    if (!(g->metric = moeq_metric_find(name, n_name)))
        return no_metric(name, n_name, err);
    if (g->more != g->metric->more_is_better) {
        moeq_fail(err, MOEQ_USAGE, "%s is better where it is %s: a gate on it is written %s%c",
                  g->metric->name, g->metric->more_is_better ? "larger" : "smaller", g->metric->name,
                  g->metric->more_is_better ? '>' : '<');
        return MOEQ_USAGE;
    }
    snprintf(g->text, sizeof g->text, "%s%c%s%.10g", g->metric->name, *sign, g->or_same ? "=" : "", g->limit);
    return MOEQ_OK;
}

enum moeq_status moeq_gates_add(struct moeq_gates *gates, const char *text, double sigma,
                                struct moeq_error *err)
{
    struct moeq_gate gate = {.sigma = sigma};
    enum moeq_status status = parse_gate(&gate, text, err);
    if (status)
        return status;
    struct moeq_gate *grown = moeq_grown(gates->gates, gates->n, &gates->capacity, sizeof gate, err);
    if (!grown)
        return MOEQ_OVER_MEMORY;
    gates->gates = grown;
    grown[gates->n++] = gate;
    return MOEQ_OK;
}

static enum moeq_status add_json(struct moeq_gates *gates, json_t *json, struct moeq_error *err)
{
    const char *text, *key;
    const json_t *value;
    double sigma;
    if (!json_is_object(json))
        return moeq_fail(err, MOEQ_DAMAGED, "a gate is not an object");
    json_object_foreach(json, key, value)
    {
        if (strcmp(key, "gate") != 0 && strcmp(key, "sigma") != 0)
            return moeq_fail(err, MOEQ_DAMAGED, "a gate has a member \"%.40s\", known are gate and sigma",
                             key);
    }
    enum moeq_status status = moeq_json_string(json, "gate", &text, err);
    if (!status)
        status = moeq_json_real_or(json, "sigma", 0, &sigma, err);
    if (!status && json_object_get(json, "sigma") && !(sigma > 0 && sigma <= 100))
        status = moeq_fail(err, MOEQ_DAMAGED, "sigma is not above 0 and at most 100");
    return status ? status : moeq_gates_add(gates, text, sigma, err);
}

static enum moeq_status read_document(struct moeq_gates *gates, const json_t *document,
                                      struct moeq_error *err)
{
    const char *kind;
    uint64_t version;
    enum moeq_status status =
        json_is_object(document) ? MOEQ_OK : moeq_fail(err, MOEQ_DAMAGED, "not an object");
    if (!status)
        status = moeq_json_string(document, "moeq", &kind, err);
    if (!status && strcmp(kind, "gates") != 0)
        status = moeq_fail(err, MOEQ_DAMAGED, "the member \"moeq\" is not \"gates\"");
    if (!status)
        status = moeq_json_uint(document, "version", UINT32_MAX, &version, err);
    if (!status && version != 1)
        status = moeq_fail(err, MOEQ_UNSUPPORTED, "gates of version %llu, this moeq reads version 1",
                           (unsigned long long)version);
    const json_t *list = status ? NULL : moeq_json_array_at(document, "gates", err);
    if (!list)
        return status ? status : MOEQ_DAMAGED;
    if (!json_array_size(list))
        status = moeq_fail(err, MOEQ_DAMAGED, "there are no gates in it");
    for (size_t i = 0; !status && i < json_array_size(list); i++)
        status = add_json(gates, json_array_get(list, i), err);
    return status;
}

enum moeq_status moeq_gates_parse(struct moeq_gates *gates, const void *json, size_t n_bytes,
                                  struct moeq_error *err)
{
    json_t *document = moeq_json_parse(json, n_bytes, err);
    if (!document)
        return err && err->status ? err->status : MOEQ_DAMAGED;
    enum moeq_status status = read_document(gates, document, err);
    json_decref(document);
    return status;
}

enum moeq_status moeq_gates_load(struct moeq_gates *gates, const char *path, struct moeq_error *err)
{
    struct moeq_bytes bytes = {0};
    enum moeq_status status = moeq_file_read_all(path, MAX_DOCUMENT, &bytes, err);
    if (!status)
        status = moeq_gates_parse(gates, bytes.data, bytes.n_bytes, err);
    moeq_error_in_file(err, path);
    if (status == MOEQ_DAMAGED)
        moeq_error_hint(err, "write {\"moeq\": \"gates\", \"version\": 1, \"gates\": [{\"gate\": "
                             "\"mean_kld<0.03\"}]}");
    moeq_bytes_free(&bytes);
    return status;
}

enum moeq_status moeq_gates_check(const struct moeq_gates *gates, enum moeq_metric_needs has,
                                  struct moeq_error *err)
{
    for (size_t i = 0; i < gates->n; i++) {
        const struct moeq_gate *g = &gates->gates[i];
        if (g->metric->needs <= has)
            continue;
        return has == MOEQ_NEEDS_NOTHING
                   ? moeq_fail(err, MOEQ_USAGE, "the gate %s compares: give --reference or --baseline",
                               g->text)
                   : moeq_fail(err, MOEQ_USAGE, "the gate %s is on layers, and the reference has others",
                               g->text);
    }
    return MOEQ_OK;
}

/* ---- judging ---- */

static void note_noise(struct moeq_gate *g, double distance, double sigma, uint64_t n_windows)
{
    const double apart = g->found.error > 0 ? distance / g->found.error : 0,
                 needed = apart > 0 ? ceil((double)n_windows * sigma * sigma / (apart * apart)) : INFINITY;
    char more[64] = "";
    if (needed > (double)n_windows && needed < 1e9)
        snprintf(more, sizeof more, "; some %.0f windows like these would tell", needed);
    const char *what = g->holds    ? "noise alone could have failed it"
                       : g->passed ? "noise alone could do that, so its sigma lets it pass"
                                   : "noise alone could do that";
    snprintf(g->note, sizeof g->note, "%.1f standard errors %s the limit: %s%s", apart,
             g->holds ? "within" : "beyond", what, more);
}

static void judge(struct moeq_gate *g, const struct moeq_report *report)
{
    const double sigma = g->sigma > 0 ? g->sigma : DEFAULT_SIGMA;
    g->found = g->metric->get(report);
    const double value = g->found.value, distance = fabs(value - g->limit);
    g->holds = (g->more ? value > g->limit : value < g->limit) || (g->or_same && distance == 0);
    g->is_close = g->found.error > 0 && distance <= sigma * g->found.error;
    g->passed = g->holds || (g->sigma > 0 && g->is_close);
    if (g->is_close)
        note_noise(g, distance, sigma, report->windows->n_windows);
    else if (isnan(g->found.error) && g->sigma > 0)
        snprintf(g->note, sizeof g->note, "its standard error is not known, so its sigma means nothing");
}

void moeq_gates_judge(struct moeq_gates *gates, const struct moeq_report *report)
{
    gates->n_failed = 0;
    for (size_t i = 0; i < gates->n; i++) {
        judge(&gates->gates[i], report);
        gates->n_failed += !gates->gates[i].passed;
    }
}
