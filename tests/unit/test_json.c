/* JSON getters: every number of a file is bounded before anything is computed from it. */
#include "unit.h"

#include "../fuzz/fixture.h"
#include "json.h"

static json_t *object_of(const char *text)
{
    char quoted[FIXTURE_TEXT];
    fixture_quote(quoted, text);
    json_t *json = moeq_json_parse(quoted, strlen(quoted), NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(json);
    return json;
}

static json_t *object_with(const char *value)
{
    char text[256];
    snprintf(text, sizeof text, "{'k':%s}", value);
    return object_of(text);
}

/* --- parsing --- */

static void test_what_is_not_json(void)
{
    static const char *const texts[] = {"",
                                        " ",
                                        "{",
                                        "{'a':1,}",
                                        "{'a':1}x",
                                        "{'a':1,'a':1}",
                                        "{'a':1,'\\u0061':2}",
                                        "{a:1}",
                                        "[1 2]",
                                        "01",
                                        "+1",
                                        "1.",
                                        "'\\q'",
                                        "'\\u0000'",
                                        "NaN",
                                        "-Infinity",
                                        "// x\n1",
                                        "'a\tb'",
                                        "'\\ud800'",
                                        "'\xff'",
                                        "\xef\xbb\xbf{}",
                                        "1e999",
                                        "'\xc0\x80'",
                                        "{'a':nul}",
                                        "{'a':{'b':1,'b':2}}",
                                        "9223372036854775808"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char quoted[FIXTURE_TEXT];
        struct moeq_error err = {0};
        fixture_quote(quoted, texts[i]);
        json_t *json = moeq_json_parse(quoted, strlen(quoted), &err);
        if (json)
            CU_FAIL(texts[i]);
        CU_ASSERT(err.status == MOEQ_DAMAGED && err.has_offset && err.offset <= strlen(quoted));
        json_decref(json);
    }
}

/* jansson 2.14 swallows one NUL behind a number or a word. */
static void test_nul_bytes_are_no_white_space(void)
{
    static const struct {
        const char *bytes;
        size_t n;
    } cases[] = {{"1\0", 2},
                 {"\0"
                  "1",
                  2},
                 {"[1\0]", 4},
                 {"[true\0]", 7},
                 {"{\"a\":1\0}", 8},
                 {"[]\0", 3},
                 {"[\0]", 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *json = moeq_json_parse(cases[i].bytes, cases[i].n, NULL);
        CU_ASSERT_PTR_NULL(json);
        json_decref(json);
    }
}

static void test_values_of_any_kind(void)
{
    static const char *const texts[] = {"{}", "[]", "1", "-1.5e3", "'x'", "null", "true", " \n{} \t"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        json_decref(object_of(texts[i]));
}

static void test_nesting_is_bounded(void)
{
    enum { DEPTH = 200000 };
    char *text = malloc(DEPTH);
    fixture_need(text != NULL, "memory");
    memset(text, '[', DEPTH);
    CU_ASSERT_PTR_NULL(moeq_json_parse(text, DEPTH, NULL));
    free(text);
}

static void test_files(void)
{
    char dir[FIXTURE_PATH], path[FIXTURE_PATH];
    struct moeq_error err = {0};
    fixture_make(dir);
    fixture_write_json(dir, "x.json", "{'a':1}");
    fixture_path(path, dir, "x.json");
    json_t *json = moeq_json_load(path, 7, &err);
    CU_ASSERT(json_is_object(json) && !err.status);
    json_decref(json);
    CU_ASSERT_PTR_NULL(moeq_json_load(path, 6, &err)); /* one byte over the limit */
    CU_ASSERT(err.status == MOEQ_DAMAGED && strcmp(err.file, path) == 0);
    fixture_write_json(dir, "x.json", "[1]");
    err = (struct moeq_error){0};
    CU_ASSERT_PTR_NULL(moeq_json_load(path, 100, &err));
    CU_ASSERT(err.status == MOEQ_DAMAGED && strcmp(err.file, path) == 0);
    err = (struct moeq_error){0};
    CU_ASSERT_PTR_NULL(moeq_json_load(fixture_path(path, dir, "none"), 100, &err));
    CU_ASSERT(err.status == MOEQ_IO && strcmp(err.file, path) == 0);
    fixture_remove(dir);
}

/* --- numbers --- */

static void test_whole_numbers(void)
{
    static const struct {
        const char *text;
        uint64_t max;
        bool good;
        uint64_t value;
    } cases[] = {
        {"0", 0, true, 0},
        {"1", 0, false, 0},
        {"128", 128, true, 128},
        {"129", 128, false, 0},
        {"-1", UINT64_MAX, false, 0},
        {"-9223372036854775808", UINT64_MAX, false, 0},
        {"9223372036854775807", INT64_MAX, true, INT64_MAX},
        {"9223372036854775807", INT64_MAX - 1, false, 0},
        {"32.0", 32, true, 32},
        {"3.2e1", 32, true, 32},
        {"32.5", 100, false, 0},
        {"-1.0", 100, false, 0},
        {"1e300", UINT64_MAX, false, 0},
        {"9007199254740992.0", UINT64_MAX, true, 9007199254740992},
        {"9007199254740994.0", UINT64_MAX, false, 0}, /* beyond 2^53 a real may be off by one */
        {"4294967296.0", UINT32_MAX, false, 0},
        {"true", 100, false, 0},
        {"'1'", 100, false, 0},
        {"[1]", 100, false, 0},
        {"{}", 100, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *json = object_with(cases[i].text);
        struct moeq_error err = {0};
        uint64_t value = 77, other = 77;
        enum moeq_status status = moeq_json_uint(json, "k", cases[i].max, &value, &err);
        if (status != (cases[i].good ? MOEQ_OK : MOEQ_DAMAGED) || (cases[i].good && value != cases[i].value))
            CU_FAIL(cases[i].text);
        CU_ASSERT(cases[i].good || strstr(err.message, "\"k\""));
        CU_ASSERT_EQUAL(moeq_json_uint_or(json, "k", cases[i].max, 5, &other, NULL), status);
        CU_ASSERT(!cases[i].good || other == value);
        json_decref(json);
    }
}

static void test_reals(void)
{
    static const struct {
        const char *text;
        bool good;
        double value;
    } cases[] = {
        {"0", true, 0},        {"10000", true, 10000}, {"-2.5", true, -2.5},
        {"1e-06", true, 1e-6}, {"1e308", true, 1e308}, {"'1'", false, 0},
        {"true", false, 0},    {"[]", false, 0},       {"9223372036854775807", true, 9223372036854775807.0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *json = object_with(cases[i].text);
        struct moeq_error err = {0};
        double value = 0;
        enum moeq_status status = moeq_json_real_or(json, "k", 5, &value, &err);
        CU_ASSERT_EQUAL(status, cases[i].good ? MOEQ_OK : MOEQ_DAMAGED);
        CU_ASSERT(cases[i].good ? value == cases[i].value : strstr(err.message, "\"k\"") != NULL);
        json_decref(json);
    }
}

/* --- everything else --- */

static void test_missing_and_null(void)
{
    for (int i = 0; i < 2; i++) {
        json_t *json = object_of(i ? "{'k':null}" : "{}");
        uint64_t n = 0;
        double x = 0;
        bool flag = false;
        const char *text = NULL;
        struct moeq_error err = {0};
        CU_ASSERT(moeq_json_uint_or(json, "k", 10, UINT64_MAX, &n, NULL) == MOEQ_OK && n == UINT64_MAX);
        CU_ASSERT(moeq_json_real_or(json, "k", 1.5, &x, NULL) == MOEQ_OK && x == 1.5);
        CU_ASSERT(moeq_json_bool_or(json, "k", true, &flag, NULL) == MOEQ_OK && flag);
        CU_ASSERT(moeq_json_string_or(json, "k", "x", &text, NULL) == MOEQ_OK && strcmp(text, "x") == 0);
        CU_ASSERT_EQUAL(moeq_json_uint(json, "k", 10, &n, &err), MOEQ_DAMAGED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "\"k\" is missing"));
        CU_ASSERT_EQUAL(moeq_json_string(json, "k", &text, NULL), MOEQ_DAMAGED);
        CU_ASSERT_PTR_NULL(moeq_json_object_at(json, "k", NULL));
        CU_ASSERT_PTR_NULL(moeq_json_array_at(json, "k", NULL));
        json_decref(json);
    }
}

static void test_wrong_types(void)
{
    static const char *const values[] = {"1", "1.0", "true", "'x'", "[]", "{}"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        json_t *json = object_with(values[i]);
        const char *text = NULL;
        bool flag;
        CU_ASSERT_EQUAL(moeq_json_bool_or(json, "k", false, &flag, NULL), i == 2 ? MOEQ_OK : MOEQ_DAMAGED);
        CU_ASSERT_EQUAL(moeq_json_string(json, "k", &text, NULL), i == 3 ? MOEQ_OK : MOEQ_DAMAGED);
        CU_ASSERT_EQUAL(moeq_json_string_or(json, "k", "", &text, NULL), i == 3 ? MOEQ_OK : MOEQ_DAMAGED);
        CU_ASSERT_EQUAL(moeq_json_array_at(json, "k", NULL) != NULL, i == 4);
        CU_ASSERT_EQUAL(moeq_json_object_at(json, "k", NULL) != NULL, i == 5);
        json_decref(json);
    }
}

/* Getters over something that is no object must not crash: files nest what they like. */
static void test_getters_over_no_object(void)
{
    json_t *array = object_of("[1]");
    const json_t *const holders[] = {array, NULL};
    for (size_t i = 0; i < 2; i++) {
        uint64_t n;
        const char *text;
        CU_ASSERT_EQUAL(moeq_json_uint(holders[i], "k", 10, &n, NULL), MOEQ_DAMAGED);
        CU_ASSERT(moeq_json_uint_or(holders[i], "k", 10, 3, &n, NULL) == MOEQ_OK && n == 3);
        CU_ASSERT_EQUAL(moeq_json_string(holders[i], "k", &text, NULL), MOEQ_DAMAGED);
        CU_ASSERT_PTR_NULL(moeq_json_object_at(holders[i], "k", NULL));
    }
    CU_ASSERT_EQUAL(moeq_json_value_uint(NULL, "x", 10, &(uint64_t){0}, NULL), MOEQ_DAMAGED);
    json_decref(array);
}

/* The manifest's hash of itself is over this text: equal values must give equal bytes after reading back. */
static void test_text_is_stable(void)
{
    json_t *json = object_of("{'z':[1,2.5,1e-06,0.1234567890123456,1e300,-3],'a':{'\\u00e4\\n\\\"\\u007f':"
                             "null},'m':[true,'\\ud83d\\udc0b']}");
    for (int pretty = 0; pretty < 2; pretty++) {
        char *text = moeq_json_text(json, pretty);
        CU_ASSERT_PTR_NOT_NULL_FATAL(text);
        CU_ASSERT_EQUAL(text[strlen(text) - 1] == '\n', pretty);
        json_t *again = moeq_json_parse(text, strlen(text), NULL);
        char *second = moeq_json_text(again, pretty);
        CU_ASSERT_PTR_NOT_NULL_FATAL(second);
        CU_ASSERT_STRING_EQUAL(text, second);
        CU_ASSERT(json_equal(again, json)); /* no digit of a real is lost */
        CU_ASSERT(strstr(text, "\"z\"") < strstr(text, "\"a\"") &&
                  strstr(text, "\"a\"") < strstr(text, "\"m\""));
        json_decref(again);
        free(text);
        free(second);
    }
    json_decref(json);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"what is not JSON", test_what_is_not_json},
        {"NUL bytes are no white space", test_nul_bytes_are_no_white_space},
        {"values of any kind", test_values_of_any_kind},
        {"nesting is bounded", test_nesting_is_bounded},
        {"files", test_files},
        {"whole numbers", test_whole_numbers},
        {"reals", test_reals},
        {"missing and null", test_missing_and_null},
        {"wrong types", test_wrong_types},
        {"getters over no object", test_getters_over_no_object},
        {"text is stable", test_text_is_stable},
        {NULL, NULL},
    };
    return unit_main("json", tests);
}
