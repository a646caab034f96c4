#include "level_plan.h"

#include "out.h"

#include <math.h>
#include <stdlib.h>

#define KEEP "keep"

/* As `convert` takes levels without a group. */
static const struct moeq_format defaults = {.group = 128};

/* ---- members ---- */

struct member {
    const char *name;
    json_type type;
    bool is_required;
};

static const struct member document_members[] = {
    {"format", JSON_STRING, true},     {"version", JSON_INTEGER, true},    {"tool", JSON_STRING, false},
    {"model", JSON_STRING, true},      {"statistics", JSON_STRING, false}, {"budget", JSON_OBJECT, false},
    {"predicted", JSON_OBJECT, false}, {"rules", JSON_ARRAY, false},       {"layers", JSON_ARRAY, false},
    {"matrices", JSON_OBJECT, true},
};
#define N_DOCUMENT_MEMBERS (sizeof document_members / sizeof *document_members)

/* JSON_REAL stands for a number of at least 0. */
static const struct member matrix_members[] = {
    {"level", JSON_STRING, true}, {"tokens", JSON_REAL, false}, {"importance", JSON_REAL, false},
    {"damage", JSON_REAL, false}, {"error", JSON_REAL, false},
};
#define N_MATRIX_MEMBERS (sizeof matrix_members / sizeof *matrix_members)

static const char *type_text(json_type type)
{
    switch (type) {
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_OBJECT:
        return "an object, {…}";
    case JSON_ARRAY:
        return "an array, […]";
    default:
        return "a number of at least 0";
    }
}

static bool has_type(const json_t *value, json_type type)
{
    if (type != JSON_REAL)
        return json_typeof(value) == type;
    return json_is_number(value) && isfinite(json_number_value(value)) && json_number_value(value) >= 0;
}

static void hint_members(const struct member *members, size_t n, struct moeq_error *err)
{
    char names[160] = "";
    for (size_t i = 0, used = 0; i < n; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", members[i].name);
    moeq_error_hint(err, "members: %s", names);
}

/* Checks that an object has what it must, nothing else, and all of the right type. */
static enum moeq_status check_members(const json_t *object, const struct member *members, size_t n,
                                      const char *what, struct moeq_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value)
    {
        size_t i = 0;
        while (i < n && strcmp(members[i].name, name) != 0)
            i++;
        if (i == n) {
            moeq_fail(err, MOEQ_USAGE, "\"%s\" is not a member of a %s", name, what);
            hint_members(members, n, err);
            return MOEQ_USAGE;
        }
        const bool may_be_null = strcmp(name, "statistics") == 0;
        if (!has_type(value, members[i].type) && !(may_be_null && json_is_null(value))) {
            moeq_fail(err, MOEQ_USAGE, "\"%s\" must be %s", name, type_text(members[i].type));
            moeq_error_hint(err, "mend it, or leave it out if that is allowed; moeq plan writes it right");
            return MOEQ_USAGE;
        }
    }
    for (size_t i = 0; i < n; i++)
        if (members[i].is_required && !json_object_get(object, members[i].name)) {
            moeq_fail(err, MOEQ_USAGE, "the member \"%s\" of a %s is missing", members[i].name, what);
            moeq_error_hint(err, "add it, as %s", type_text(members[i].type));
            return MOEQ_USAGE;
        }
    return MOEQ_OK;
}

static enum moeq_status read_hash(const json_t *document, const char *key, char hex[MOEQ_HASH_HEX],
                                  struct moeq_error *err)
{
    struct moeq_hash hash;
    const char *text = json_string_value(json_object_get(document, key));
    if (text && !moeq_hash_parse(text, &hash)) {
        moeq_fail(err, MOEQ_USAGE, "\"%s\" must be 32 hexadecimal digits in lower case", key);
        moeq_error_hint(err, "copy it from a plan that moeq wrote, or plan again");
        return MOEQ_USAGE;
    }
    snprintf(hex, MOEQ_HASH_HEX, "%s", text ? text : "");
    return MOEQ_OK;
}

/* ---- reading ---- */

/* Whether it is a plan at all, before what is wrong with it. */
static enum moeq_status check_kind(const json_t *document, struct moeq_error *err)
{
    const char *format = json_string_value(json_object_get(document, "format"));
    const json_t *version = json_object_get(document, "version");
    if (!format || strcmp(format, MOEQ_LEVEL_PLAN_FORMAT) != 0) {
        moeq_fail(err, MOEQ_USAGE,
                  "this is not a plan: its \"format\" is not \"" MOEQ_LEVEL_PLAN_FORMAT "\"");
        moeq_error_hint(err, "give a file that moeq plan wrote");
        return MOEQ_USAGE;
    }
    if (json_is_integer(version) && json_integer_value(version) != MOEQ_LEVEL_PLAN_VERSION) {
        moeq_fail(err, MOEQ_UNSUPPORTED, "plan version %lld, this moeq reads version %d",
                  (long long)json_integer_value(version), MOEQ_LEVEL_PLAN_VERSION);
        moeq_error_hint(err, "use the moeq that wrote it, or plan again");
        return MOEQ_UNSUPPORTED;
    }
    return MOEQ_OK;
}

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value ? json_number_value(value) : (double)NAN;
}

static enum moeq_status read_entry(struct moeq_level_entry *entry, const char *name, const json_t *json,
                                   struct moeq_error *err)
{
    if (!json_is_object(json)) {
        moeq_fail(err, MOEQ_USAGE, "a matrix must be an object");
        moeq_error_hint(err, "write {\"level\": \"int4-g64\"}");
        return MOEQ_USAGE;
    }
    enum moeq_status status = check_members(json, matrix_members, N_MATRIX_MEMBERS, "matrix", err);
    if (status)
        return status;
    const char *level = json_string_value(json_object_get(json, "level"));
    *entry = (struct moeq_level_entry){.name = name,
                                       .keep = strcmp(level, KEEP) == 0,
                                       .tokens = number_of(json, "tokens"),
                                       .importance = number_of(json, "importance"),
                                       .damage = number_of(json, "damage"),
                                       .error = number_of(json, "error")};
    if (entry->keep || (status = moeq_format_parse(level, defaults, &entry->format, err)))
        return status;
    status = moeq_format_check_made(entry->format, err);
    if (status && !entry->format.level->is_coded)
        moeq_error_hint(err, "write \"" KEEP "\" for the bits of the source, or another level");
    return status;
}

static int by_name(const void *a, const void *b)
{
    const struct moeq_level_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static enum moeq_status read_entries(struct moeq_level_plan *plan, struct moeq_error *err)
{
    json_t *matrices = json_object_get(plan->document, "matrices"), *value;
    const char *name;
    plan->entries = moeq_calloc(json_object_size(matrices), sizeof *plan->entries, err);
    if (!plan->entries)
        return MOEQ_OVER_MEMORY;
    json_object_foreach(matrices, name, value)
    {
        enum moeq_status status = read_entry(&plan->entries[plan->n_entries++], name, value, err);
        if (status) {
            moeq_error_in_tensor(err, name);
            return status;
        }
    }
    qsort(plan->entries, plan->n_entries, sizeof *plan->entries, by_name);
    return MOEQ_OK;
}

static enum moeq_status read_rules(struct moeq_level_plan *plan, struct moeq_error *err)
{
    const json_t *rules = json_object_get(plan->document, "rules");
    const size_t n = json_array_size(rules);
    if (!(plan->rules = moeq_calloc(n, sizeof *plan->rules, err)))
        return MOEQ_OVER_MEMORY;
    for (; plan->n_rules < n; plan->n_rules++) {
        const char *text = json_string_value(json_array_get(rules, plan->n_rules));
        if (!text) {
            moeq_fail(err, MOEQ_USAGE, "\"rules\" must be strings");
            moeq_error_hint(err, "rules look like experts=int4-g64 or layers.0.*=bf16");
            return MOEQ_USAGE;
        }
        enum moeq_status status = moeq_rule_parse(text, defaults, &plan->rules[plan->n_rules], err);
        if (status)
            return status;
    }
    return MOEQ_OK;
}

static enum moeq_status read_document(struct moeq_level_plan *plan, struct moeq_error *err)
{
    if (!json_is_object(plan->document)) {
        moeq_fail(err, MOEQ_USAGE, "this is not a plan: it is JSON, but no object");
        moeq_error_hint(err, "give a file that moeq plan wrote");
        return MOEQ_USAGE;
    }
    enum moeq_status status = check_kind(plan->document, err);
    if (!status)
        status = check_members(plan->document, document_members, N_DOCUMENT_MEMBERS, "plan", err);
    if (!status)
        status = read_hash(plan->document, "model", plan->model, err);
    if (!status)
        status = read_hash(plan->document, "statistics", plan->statistics, err);
    if (!status)
        status = read_rules(plan, err);
    if (!status)
        status = read_entries(plan, err);
    char *text = status ? NULL : moeq_json_text(plan->document, false);
    if (text)
        plan->hash = moeq_hash_bytes(text, strlen(text));
    else if (!status)
        status = moeq_fail_alloc(err, 0);
    free(text);
    return status;
}

enum moeq_status moeq_level_plan_parse(struct moeq_level_plan *plan, const void *text, size_t n_bytes,
                                       struct moeq_error *err)
{
    struct moeq_error why = {0};
    enum moeq_status status = MOEQ_OK;
    *plan = (struct moeq_level_plan){0};
    if (!(plan->path = moeq_strdup("", err)))
        return MOEQ_OVER_MEMORY;
    if (!(plan->document = moeq_json_parse(text, n_bytes, &why))) {
        status = why.status;
        if (status == MOEQ_DAMAGED)
            moeq_error_hint(&why,
                            "mend the text there (a comma, a quote, a name given twice), or plan again");
    } else {
        status = read_document(plan, &why);
    }
    if (status) {
        if (err && !err->status)
            *err = why;
        moeq_level_plan_close(plan);
    }
    return status;
}

enum moeq_status moeq_level_plan_open(struct moeq_level_plan *plan, const char *path, struct moeq_error *err)
{
    struct moeq_bytes text = {0};
    *plan = (struct moeq_level_plan){0};
    enum moeq_status status = moeq_file_read_all(path, MOEQ_MAX_PLAN_BYTES, &text, err);
    if (!status)
        status = moeq_level_plan_parse(plan, text.data, text.n_bytes, err);
    moeq_bytes_free(&text);
    char *copy = status ? NULL : moeq_strdup(path, err);
    if (copy) {
        free(plan->path);
        plan->path = copy;
        return MOEQ_OK;
    }
    moeq_level_plan_close(plan);
    moeq_error_in_file(err, path);
    return status ? status : MOEQ_OVER_MEMORY;
}

void moeq_level_plan_close(struct moeq_level_plan *plan)
{
    free(plan->path);
    free(plan->entries);
    free(plan->rules);
    json_decref(plan->document);
    *plan = (struct moeq_level_plan){0};
}

const struct moeq_level_entry *moeq_level_plan_find(const struct moeq_level_plan *plan, const char *name)
{
    const struct moeq_level_entry key = {.name = name};
    return plan->n_entries ? bsearch(&key, plan->entries, plan->n_entries, sizeof key, by_name) : NULL;
}

/* ---- against a source ---- */

/* Letters that two names have in common at their beginnings and ends. */
static size_t likeness(const char *a, const char *b)
{
    const size_t n_a = strlen(a), n_b = strlen(b), n = n_a < n_b ? n_a : n_b;
    size_t front = 0, back = 0;
    while (front < n && a[front] == b[front])
        front++;
    while (back < n - front && a[n_a - 1 - back] == b[n_b - 1 - back])
        back++;
    return front + back;
}

static enum moeq_status unknown_name(const struct moeq_source *source, const char *name,
                                     struct moeq_error *err)
{
    const char *nearest = NULL;
    size_t most = 0;
    for (size_t i = 0; i < source->n_weights; i++) {
        const size_t n = likeness(name, source->weights[i].name);
        if (n > most) {
            most = n;
            nearest = source->weights[i].name;
        }
    }
    moeq_fail(err, MOEQ_USAGE, "the plan names a matrix that %s has not", source->path);
    if (nearest)
        moeq_error_hint(err, "the most similar name is %s", nearest);
    else
        moeq_error_hint(err, "names: moeq convert --dry-run --json");
    return MOEQ_USAGE;
}

static enum moeq_status fixed_name(struct moeq_error *err)
{
    moeq_fail(err, MOEQ_USAGE, "the plan names a tensor that always keeps its precision");
    moeq_error_hint(err, "take it out of \"matrices\"");
    return MOEQ_USAGE;
}

enum moeq_status moeq_level_plan_check_names(const struct moeq_level_plan *plan,
                                             const struct moeq_source *source, struct moeq_error *err)
{
    for (size_t i = 0; i < plan->n_entries; i++) {
        const struct moeq_weight *w = moeq_source_find(source, plan->entries[i].name);
        if (w && moeq_part_quantizable(w->id.part) && !moeq_stored_natively(w->id.part, w->format))
            continue;
        enum moeq_status status = w ? fixed_name(err) : unknown_name(source, plan->entries[i].name, err);
        moeq_error_in_tensor(err, plan->entries[i].name);
        moeq_error_in_file(err, plan->path);
        return status;
    }
    return MOEQ_OK;
}

enum moeq_status moeq_level_plan_check_source(const struct moeq_level_plan *plan,
                                              const struct moeq_source *source, struct moeq_error *err)
{
    char model[MOEQ_HASH_HEX];
    enum moeq_status status = moeq_statistics_model(source, model, err);
    if (status)
        return status;
    if (strcmp(model, plan->model) != 0) {
        moeq_fail(err, MOEQ_USAGE, "a plan for another model, or for another form of this one");
        moeq_error_hint(err, "plan for %s; \"model\": \"%s\" says that a plan is for it", source->path,
                        model);
        moeq_error_in_file(err, plan->path);
        return MOEQ_USAGE;
    }
    return moeq_level_plan_check_names(plan, source, err);
}

/* ---- writing ---- */

/* False where memory is out. */
static bool put_json(FILE *f, const json_t *value)
{
    char *text = moeq_json_text_rounded(value, 6);
    if (text)
        fputs(text, f);
    free(text);
    return text != NULL;
}

static bool put_string(FILE *f, const char *string)
{
    json_t *value = json_string(string);
    const bool good = value && put_json(f, value);
    json_decref(value);
    return good;
}

static void put_number(FILE *f, const char *key, double number)
{
    if (!isfinite(number))
        return;
    const bool is_whole = number == floor(number) && fabs(number) < 1e15;
    fprintf(f, is_whole ? ",\"%s\":%.0f" : ",\"%s\":%.4g", key, number);
}

static bool put_entry(FILE *f, const struct moeq_level_entry *entry)
{
    char level[MOEQ_FORMAT_BYTES];
    const bool good = put_string(f, entry->name);
    fprintf(f, ":{\"level\":\"%s\"", entry->keep ? KEEP : moeq_format_text(entry->format, level));
    put_number(f, "tokens", entry->tokens);
    put_number(f, "importance", entry->importance);
    put_number(f, "damage", entry->damage);
    put_number(f, "error", entry->error);
    fputc('}', f);
    return good;
}

static bool put_free(FILE *f, const char *key, const json_t *value)
{
    if (!value)
        return true;
    fprintf(f, "\"%s\":", key);
    const bool good = put_json(f, value);
    fputs(",\n", f);
    return good;
}

static bool put_document(FILE *f, const struct moeq_level_document *d)
{
    bool good = true;
    fprintf(f,
            "{\"format\":\"" MOEQ_LEVEL_PLAN_FORMAT "\",\n\"version\":%d,\n\"tool\":\"moeq " MOEQ_VERSION
            "\",\n\"model\":\"%s\",\n",
            MOEQ_LEVEL_PLAN_VERSION, d->model);
    if (d->statistics)
        fprintf(f, "\"statistics\":\"%s\",\n", d->statistics);
    else
        fputs("\"statistics\":null,\n", f);
    good = put_free(f, "budget", d->budget) && good;
    good = put_free(f, "predicted", d->predicted) && good;
    fputs("\"rules\":[", f);
    for (size_t i = 0; i < d->n_rules; i++) {
        fputs(i ? ",\n" : "\n", f);
        good = put_string(f, d->rules[i]) && good;
    }
    fputs("],\n", f);
    if (d->layers)
        fputs("\"layers\":[", f);
    for (size_t i = 0; i < json_array_size(d->layers); i++) {
        fputs(i ? ",\n" : "\n", f);
        good = put_json(f, json_array_get(d->layers, i)) && good;
    }
    fputs(d->layers ? "],\n\"matrices\":{" : "\"matrices\":{", f);
    for (size_t i = 0; i < d->n_entries; i++) {
        fputs(i ? ",\n" : "\n", f);
        good = put_entry(f, &d->entries[i]) && good;
    }
    fputs("}}\n", f);
    return good;
}

char *moeq_level_plan_text(const struct moeq_level_document *document, struct moeq_error *err)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    bool good = f && put_document(f, document);
    good = f && fclose(f) == 0 && good && text;
    if (!good) {
        free(text);
        moeq_fail_alloc(err, n);
        return NULL;
    }
    return text;
}

enum moeq_status moeq_level_plan_write(const char *path, const struct moeq_level_document *document,
                                       struct moeq_error *err)
{
    char *text = moeq_level_plan_text(document, err);
    enum moeq_status status = text ? moeq_out_write_text(path, text, err) : MOEQ_OVER_MEMORY;
    free(text);
    return status;
}
