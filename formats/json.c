#include "json.h"

#include "bytes.h"
#include "file.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

/* Where memory is out, jansson may fail without saying so, and even succeed with a character lost: its lexer
 * does not look whether its buffer grew. So its allocations are watched. */
static _Thread_local bool allocation_failed;
static pthread_once_t watching = PTHREAD_ONCE_INIT;

static void *watched_malloc(size_t n)
{
    void *p = malloc(n);
    allocation_failed = allocation_failed || !p;
    return p;
}

static void watch_allocations(void)
{
    json_set_alloc_funcs(watched_malloc, free);
}

/* What stands outside strings and begins or separates values: never less than their number minus one. */
static size_t count_values(const uint8_t *text, size_t n)
{
    size_t count = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '"')
            in_string = !in_string;
        else if (in_string)
            i += text[i] == '\\';
        else
            count += text[i] == ',' || text[i] == '[' || text[i] == '{';
    }
    return count;
}

json_t *moeq_json_parse(const void *data, size_t n, struct moeq_error *err)
{
    const uint8_t *nul = n ? memchr(data, 0, n) : NULL;
    if (nul) { /* jansson takes NUL bytes outside strings for white space */
        moeq_fail(err, MOEQ_DAMAGED, "not valid JSON: a NUL byte");
        moeq_error_at(err, (uint64_t)(nul - (const uint8_t *)data));
        return NULL;
    }
    if (n > MOEQ_MAX_JSON_VALUES && count_values(data, n) > MOEQ_MAX_JSON_VALUES) {
        moeq_fail(err, MOEQ_DAMAGED, "JSON of more than %d values", MOEQ_MAX_JSON_VALUES);
        return NULL;
    }
    json_error_t problem;
    pthread_once(&watching, watch_allocations);
    allocation_failed = false;
    json_t *value = json_loadb(data, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (allocation_failed) {
        json_decref(value);
        moeq_fail_alloc(err, n);
        return NULL;
    }
    if (!value) {
        moeq_fail(err, MOEQ_DAMAGED, "not valid JSON: %s", problem.text);
        moeq_error_at(err, problem.position > 0 ? (uint64_t)problem.position : 0);
    }
    return value;
}

json_t *moeq_json_load(const char *path, size_t max_bytes, struct moeq_error *err)
{
    struct moeq_bytes text = {0};
    enum moeq_status status = moeq_file_read_all(path, max_bytes, &text, err);
    json_t *value = status ? NULL : moeq_json_parse(text.data, text.n_bytes, err);
    if (value && !json_is_object(value)) {
        moeq_fail(err, MOEQ_DAMAGED, "expected a JSON object at the top level");
        json_decref(value);
        value = NULL;
    }
    moeq_error_in_file(err, path);
    moeq_bytes_free(&text);
    return value;
}

json_t *moeq_json_load_if_there(const char *dir, const char *name, size_t max_bytes, struct moeq_error *err)
{
    char *path = moeq_path_join(dir, name, err);
    json_t *json = path && moeq_path_exists(path) ? moeq_json_load(path, max_bytes, err) : NULL;
    free(path);
    return json;
}

static const json_t *member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value) ? value : NULL;
}

static enum moeq_status missing(const char *key, struct moeq_error *err)
{
    return moeq_fail(err, MOEQ_DAMAGED, "the key \"%s\" is missing", key);
}

enum moeq_status moeq_json_value_uint(const json_t *value, const char *what, uint64_t max, uint64_t *out,
                                      struct moeq_error *err)
{
    uint64_t number;
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        number = (uint64_t)json_integer_value(value);
    } else if (json_is_real(value)) {
        double real = json_real_value(value);
        if (!(real >= 0 && real <= 9007199254740992.0) || real != floor(real))
            return moeq_fail(err, MOEQ_DAMAGED, "\"%s\" must be a whole number, not %g", what, real);
        number = (uint64_t)real;
    } else {
        return moeq_fail(err, MOEQ_DAMAGED, "\"%s\" must be a whole number of at least 0", what);
    }
    if (number > max)
        return moeq_fail(err, MOEQ_DAMAGED, "\"%s\" is %llu, more than the limit of %llu", what,
                         (unsigned long long)number, (unsigned long long)max);
    *out = number;
    return MOEQ_OK;
}

enum moeq_status moeq_json_uint(const json_t *object, const char *key, uint64_t max, uint64_t *out,
                                struct moeq_error *err)
{
    const json_t *value = member(object, key);
    return value ? moeq_json_value_uint(value, key, max, out, err) : missing(key, err);
}

enum moeq_status moeq_json_uint_or(const json_t *object, const char *key, uint64_t max, uint64_t fallback,
                                   uint64_t *out, struct moeq_error *err)
{
    *out = fallback;
    const json_t *value = member(object, key);
    return value ? moeq_json_value_uint(value, key, max, out, err) : MOEQ_OK;
}

enum moeq_status moeq_json_real_or(const json_t *object, const char *key, double fallback, double *out,
                                   struct moeq_error *err)
{
    *out = fallback;
    const json_t *value = member(object, key);
    if (!value)
        return MOEQ_OK;
    if (!json_is_number(value) || !isfinite(json_number_value(value)))
        return moeq_fail(err, MOEQ_DAMAGED, "\"%s\" must be a finite number", key);
    *out = json_number_value(value);
    return MOEQ_OK;
}

enum moeq_status moeq_json_bool_or(const json_t *object, const char *key, bool fallback, bool *out,
                                   struct moeq_error *err)
{
    *out = fallback;
    const json_t *value = member(object, key);
    if (!value)
        return MOEQ_OK;
    if (!json_is_boolean(value))
        return moeq_fail(err, MOEQ_DAMAGED, "\"%s\" must be true or false", key);
    *out = json_is_true(value);
    return MOEQ_OK;
}

enum moeq_status moeq_json_string_or(const json_t *object, const char *key, const char *fallback,
                                     const char **out, struct moeq_error *err)
{
    *out = fallback;
    const json_t *value = member(object, key);
    if (!value)
        return MOEQ_OK;
    if (!json_is_string(value))
        return moeq_fail(err, MOEQ_DAMAGED, "\"%s\" must be a string", key);
    *out = json_string_value(value);
    return MOEQ_OK;
}

enum moeq_status moeq_json_string(const json_t *object, const char *key, const char **out,
                                  struct moeq_error *err)
{
    return member(object, key) ? moeq_json_string_or(object, key, NULL, out, err) : missing(key, err);
}

static json_t *container_at(const json_t *object, const char *key, json_type type, struct moeq_error *err)
{
    json_t *value = json_object_get(object, key);
    if (!value) {
        missing(key, err);
        return NULL;
    }
    if (json_typeof(value) != type) {
        moeq_fail(err, MOEQ_DAMAGED, "\"%s\" must be %s", key,
                  type == JSON_OBJECT ? "an object" : "an array");
        return NULL;
    }
    return value;
}

json_t *moeq_json_object_at(const json_t *object, const char *key, struct moeq_error *err)
{
    return container_at(object, key, JSON_OBJECT, err);
}

json_t *moeq_json_array_at(const json_t *object, const char *key, struct moeq_error *err)
{
    return container_at(object, key, JSON_ARRAY, err);
}

void moeq_json_append(json_t **list, json_t *value)
{
    if (!*list) {
        json_decref(value);
    } else if (json_array_append_new(*list, value) != 0) {
        json_decref(*list);
        *list = NULL;
    }
}

void moeq_json_set(json_t **object, const char *key, json_t *value)
{
    if (!*object) {
        json_decref(value);
    } else if (json_object_set_new(*object, key, value) != 0) {
        json_decref(*object);
        *object = NULL;
    }
}

json_t *moeq_json_real(double number)
{
    return isfinite(number) ? json_real(number) : json_null();
}

json_t *moeq_json_shape(const uint64_t *shape, size_t n_dims)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n_dims; i++)
        moeq_json_append(&list, shape[i] <= INT64_MAX ? json_integer((json_int_t)shape[i])
                                                      : json_real((double)shape[i]));
    return list;
}

char *moeq_json_text(const json_t *value, bool pretty)
{
    size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(17);
    char *text = json_dumps(value, flags | (pretty ? JSON_INDENT(1) : JSON_COMPACT));
    if (!text || !pretty)
        return text;
    size_t n = strlen(text);
    char *with_newline = realloc(text, n + 2);
    if (!with_newline) {
        free(text);
        return NULL;
    }
    memcpy(with_newline + n, "\n", 2);
    return with_newline;
}

char *moeq_json_text_rounded(const json_t *value, unsigned digits)
{
    return json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(digits));
}
