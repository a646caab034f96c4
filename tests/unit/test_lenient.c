/* What --lenient takes: headers that the format's text forbids, or knows nothing of, but that the reference
 * implementation reads. Every verdict here is that of safetensors 0.8.0's `deserialize` on the same bytes. A
 * verdict that differs is a file that other tools see differently from moeq. JSON is written with ' for ". */
#include "unit.h"

#include "header.h"

#include "checkpoint.h"

static enum moeq_status parse(const char *text, uint64_t n_data, enum moeq_strictness strictness,
                              struct moeq_safetensors *st, struct moeq_error *err)
{
    char quoted[FIXTURE_TEXT];
    fixture_quote(quoted, text);
    return header_parse(quoted, strlen(quoted), n_data, strictness, st, err);
}

struct verdict {
    const char *text;
    uint64_t n_data;
    bool strict, lenient;
    const char *says; /* in the strict error, if there is one, else in the lenient one */
};

static void check(const struct verdict *v, enum moeq_strictness strictness, bool accepted, const char *says)
{
    struct moeq_safetensors st;
    struct moeq_error err = {0};
    char line[1600];
    enum moeq_status status = parse(v->text, v->n_data, strictness, &st, &err);
    moeq_error_format(&err, line, sizeof line);
    bool good = status == (accepted ? MOEQ_OK : MOEQ_DAMAGED) && (accepted || !says || strstr(line, says));
    if (!good)
        printf("\n  %s: %.200s: %s", strictness == MOEQ_STRICT ? "strict" : "lenient", v->text,
               status ? line : "accepted");
    CU_ASSERT(good);
    if (!status)
        moeq_safetensors_free(&st);
}

static void check_all(const struct verdict *verdicts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check(&verdicts[i], MOEQ_STRICT, verdicts[i].strict, verdicts[i].says);
        check(&verdicts[i], MOEQ_LENIENT, verdicts[i].lenient, verdicts[i].strict ? verdicts[i].says : NULL);
    }
}
#define CHECK_ALL(verdicts) check_all(verdicts, sizeof verdicts / sizeof *verdicts)

#define YES                  true
#define NO                   false
#define U8_4                 "{'dtype':'U8','shape':[4],'data_offsets':[0,4]}"
#define OFFSETS              ",'shape':[4],'data_offsets':[0,4]}"
#define FIELD(x)             "{'t':{'dtype':'U8','shape':[4],'data_offsets':[0,4]," x "}}"
#define RANGE(n, begin, end) "{'dtype':'U8','shape':[" #n "],'data_offsets':[" #begin "," #end "]}"

static void test_space_around(void)
{
    static const struct verdict verdicts[] = {
        {"\n\t\r {}", 0, NO, YES, "must start with '{'"},
        {"{}\n\t\r ", 0, NO, YES, "must end with '}'"},
        {" {'t':" U8_4 "}\n", 4, NO, YES, "must start"},
        {"\xef\xbb\xbf{}", 0, NO, NO, "must start"},
        {"\f{}", 0, NO, NO, "must start"},
        {"{}\f", 0, NO, NO, "must end"},
        {" []", 0, NO, NO, "must start"},
        {" {} {}", 0, NO, NO, "must start"},
        {" ", 0, NO, NO, "must start"},
        {"\n{},\n", 0, NO, NO, "must start"},
    };
    CHECK_ALL(verdicts);
}

static void test_duplicate_names(void)
{
    static const struct verdict verdicts[] = {
        {"{'t':" U8_4 ",'t':" U8_4 "}", 4, NO, YES, "tensor t: a duplicate name"},
        {"{'t':" U8_4 ",'t':" U8_4 ",'t':" U8_4 "}", 4, NO, YES, "duplicate"},
        {"{'w':" U8_4 ",'\\u0077':" U8_4 "}", 4, NO, YES, "duplicate"},
        {"{'t':" RANGE(2, 0, 2) ",'t':" RANGE(2, 2, 4) "}", 4, NO, NO, "duplicate"},
        {"{'t':" RANGE(2, 2, 4) ",'t':" RANGE(2, 0, 2) "}", 4, NO, NO, "duplicate"},
        /* only the last one must be right in itself … */
        {"{'t':" RANGE(9, 0, 2) ",'t':" RANGE(2, 0, 2) "}", 2, NO, YES, "duplicate"},
        {"{'t':" RANGE(2, 0, 2) ",'t':" RANGE(9, 0, 2) "}", 2, NO, NO, "duplicate"},
        {"{'t':" RANGE(9, 0, 9) ",'t':" RANGE(2, 0, 2) "}", 2, NO, YES, "duplicate"},
        {"{'t':" RANGE(0, 0, 0) ",'t':" RANGE(2, 0, 2) "}", 2, NO, YES, "duplicate"},
        /* … but both must be tensors */
        {"{'t':{'dtype':'Q8'" OFFSETS ",'t':" U8_4 "}", 4, NO, NO, "unknown dtype"},
        {"{'t':null,'t':" U8_4 "}", 4, NO, NO, "must be an object"},
        {"{'t':" U8_4 ",'t':{}}", 4, NO, NO, "missing"},
        {"{'t':{'dtype':'U8','dtype':'U8'" OFFSETS "}", 4, NO, NO, "duplicate key \"dtype\""},
        {"{'a':" U8_4 ",'b':" U8_4 "}", 4, NO, NO, "overlaps"},
    };
    CHECK_ALL(verdicts);
}

/* The last of two tensors of one name, not the first, and with its own dtype. */
static void test_last_duplicate_counts(void)
{
    struct moeq_safetensors st;
    struct moeq_error err = {0};
    const char *text = "{'w':" U8_4 ",'v':{'dtype':'I8','shape':[1],'data_offsets':[4,5]},"
                       "'w':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}}";
    CU_ASSERT_EQUAL_FATAL(parse(text, 5, MOEQ_LENIENT, &st, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(st.n_tensors, 2);
    CU_ASSERT_STRING_EQUAL(st.tensors[0].name, "w");
    CU_ASSERT(st.tensors[0].dtype == MOEQ_F32 && st.tensors[0].n_bytes == 4);
    CU_ASSERT_STRING_EQUAL(st.tensors[1].name, "v");
    moeq_safetensors_free(&st);
    /* where they stand for different bytes, that is the reason given, not the hole that it leaves */
    text = "{'t':" RANGE(2, 0, 2) ",'t':" RANGE(2, 2, 4) "}";
    CU_ASSERT_EQUAL(parse(text, 4, MOEQ_LENIENT, &st, &err), MOEQ_DAMAGED);
    CU_ASSERT_STRING_EQUAL(err.tensor, "t");
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "different ranges"));
}

static void test_metadata(void)
{
    static const struct verdict verdicts[] = {
        {"{'__metadata__':null}", 0, NO, YES, "object of strings"},
        {"{'__metadata__':{'a':'1','a':'2'}}", 0, NO, YES, "duplicate key \"a\""},
        {"{'__metadata__':{'a':'1','\\u0061':'2'}}", 0, NO, YES, "duplicate"},
        {"{'__metadata__':{},'__metadata__':{}}", 0, NO, NO, "duplicate __metadata__"},
        {"{'__metadata__':null,'__metadata__':{}}", 0, NO, NO, ""},
        {"{'__metadata__':{'a':'b','a':1}}", 0, NO, NO, "value of \"a\""},
        {"{'__metadata__':{'a':null}}", 0, NO, NO, "value of \"a\""},
        {"{'__metadata__':[]}", 0, NO, NO, "object of strings"},
        {"{'__metadata__':[['a','b']]}", 0, NO, NO, "object of strings"},
        {"{'__metadata__':false}", 0, NO, NO, "object of strings"},
    };
    CHECK_ALL(verdicts);
    struct moeq_safetensors st;
    CU_ASSERT_EQUAL_FATAL(parse("{'__metadata__':{'a':'1','b':'x','a':'2'}}", 0, MOEQ_LENIENT, &st, NULL),
                          MOEQ_OK);
    CU_ASSERT_STRING_EQUAL(moeq_safetensors_metadata(&st, "a"), "2");
    json_t *json = moeq_safetensors_metadata_json(&st);
    CU_ASSERT(json_object_size(json) == 2);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(json, "a")), "2");
    json_decref(json);
    moeq_safetensors_free(&st);
}

static void test_unknown_fields(void)
{
    static const struct verdict verdicts[] = {
        {FIELD("'x':1"), 4, NO, YES, "other than dtype, shape and data_offsets: \"x\""},
        {FIELD("'x':1,'x':2"), 4, NO, YES, "\"x\""},
        {FIELD("'x':-1e5"), 4, NO, YES, "\"x\""},
        {FIELD("'x':99999999999999999999999"), 4, NO, YES, "\"x\""},
        {FIELD("'x':1e-400"), 4, NO, YES, "\"x\""},
        {FIELD("'x':[{'dtype':[]},']}',\"\\\"\",null,true,false,{}]"), 4, NO, YES, "\"x\""},
        {FIELD("'Dtype':'U8'"), 4, NO, YES, "\"Dtype\""},
        {FIELD("'\\u0000':'\\u0000'"), 4, NO, YES, ""},
        {FIELD("'x':1e400"), 4, NO, NO, "out of range"},
        {FIELD("'x':NaN"), 4, NO, NO, "JSON"},
        {FIELD("'x':01"), 4, NO, NO, "JSON"},
        {FIELD("'x':1."), 4, NO, NO, "JSON"},
        {FIELD("'x':.5"), 4, NO, NO, "JSON"},
        {FIELD("'x':+1"), 4, NO, NO, "JSON"},
        {FIELD("'x':tru"), 4, NO, NO, "JSON"},
        {FIELD("'x':'\\ud800'"), 4, NO, NO, "JSON"},
        {FIELD("'x':'\\x'"), 4, NO, NO, "JSON"},
        {FIELD("'x'"), 4, NO, NO, "JSON"},
        {FIELD("'x':1,"), 4, NO, NO, "JSON"},
        {FIELD("'x':[1,]"), 4, NO, NO, "JSON"},
        {FIELD("'x':{'a':1,}"), 4, NO, NO, "JSON"},
    };
    CHECK_ALL(verdicts);
}

static void test_other_forms_of_a_tensor(void)
{
    static const struct verdict verdicts[] = {
        {"{'t':['U8',[4],[0,4]]}", 4, NO, YES, "must be an object"},
        {"{'t':[{'U8':null},[4],[0,4]]}", 4, NO, YES, "must be an object"},
        {"{'t':['U8',[4],[0,4],1]}", 4, NO, NO, "must be an object"},
        {"{'t':['U8',[4]]}", 4, NO, NO, "must be an object"},
        {"{'t':[]}", 0, NO, NO, "must be an object"},
        {"{'t':[[4],'U8',[0,4]]}", 4, NO, NO, "must be an object"},
        {"{'t':{'dtype':{'U8':null}" OFFSETS "}", 4, NO, YES, "\"dtype\" must be a string"},
        {"{'t':{'dtype':{'U8':{}}" OFFSETS "}", 4, NO, NO, "\"dtype\""},
        {"{'t':{'dtype':{'U8':[]}" OFFSETS "}", 4, NO, NO, "\"dtype\""},
        {"{'t':{'dtype':{}" OFFSETS "}", 4, NO, NO, "\"dtype\""},
        {"{'t':{'dtype':{'U8':null,'I8':null}" OFFSETS "}", 4, NO, NO, "\"dtype\""},
        {"{'t':{'dtype':null" OFFSETS "}", 4, NO, NO, "\"dtype\""},
        {"{'t':{'\\u0064type':'\\u0055\\u0038'" OFFSETS "}", 4, YES, YES, NULL},
    };
    CHECK_ALL(verdicts);
}

static void test_numbers(void)
{
#define SHAPED(shape, range, n) "{'t':{'dtype':'" n "','shape':" shape ",'data_offsets':" range "}}"
    static const struct verdict verdicts[] = {
        {SHAPED("[0,18446744073709551615,18446744073709551615]", "[0,0]", "U8"), 0, NO, YES, "whole numbers"},
        {SHAPED("[0,9223372036854775808]", "[0,0]", "U8"), 0, NO, YES, "whole numbers"},
        {SHAPED("[18446744073709551615,18446744073709551615,0]", "[0,0]", "U8"), 0, NO, NO, "whole numbers"},
        {SHAPED("[0,18446744073709551616]", "[0,0]", "U8"), 0, NO, NO, "whole numbers"},
        {SHAPED("[0]", "[18446744073709551615,18446744073709551615]", "U8"), 0, NO, NO, "whole numbers"},
        {SHAPED("[0]", "[-0,0]", "U8"), 0, NO, NO, "whole numbers"},
        {SHAPED("[1.0]", "[0,1]", "U8"), 1, NO, NO, "whole numbers"},
        {SHAPED("[1e0]", "[0,1]", "U8"), 1, NO, NO, "whole numbers"},
        {SHAPED("[-1]", "[0,1]", "U8"), 1, NO, NO, "whole numbers"},
        {SHAPED("null", "[0,1]", "U8"), 1, NO, NO, "must be an array"},
        {SHAPED("'a'", "[0,1]", "U8"), 1, NO, NO, "must be an array"},
        {SHAPED("[1]", "{'0':0,'1':1}", "U8"), 1, NO, NO, "must be an array"},
        {SHAPED("[3]", "[0,1]", "F4"), 1, NO, NO, "do not fill"},
        {SHAPED("[1]", "[0,0]", "F4"), 0, NO, NO, "do not fill"},
        {SHAPED("[4611686018427387904,4]", "[0,0]", "F4"), 0, NO, NO, "overflows"},
    };
    CHECK_ALL(verdicts);
}

static void test_names(void)
{
    static const struct verdict verdicts[] = {
        {"{'\\u0000':" U8_4 "}", 4, NO, YES, "a JSON string with a NUL"},
        {"{'__metadata__':{'\\u0000':'\\u0000'}}", 0, NO, YES, "NUL"},
        {"{'a\\ud83d\\ude00':" U8_4 "}", 4, YES, YES, NULL},
        {"{'a\\udc00':" U8_4 "}", 4, NO, NO, "JSON"},
        {"{'a\\ud83dx':" U8_4 "}", 4, NO, NO, "JSON"},
        {"{'a\\ud83d\\u0041':" U8_4 "}", 4, NO, NO, "JSON"},
        {"{'':" U8_4 "}", 4, YES, YES, NULL},
    };
    CHECK_ALL(verdicts);
    struct moeq_safetensors st;
    CU_ASSERT_EQUAL_FATAL(
        parse("{'a\\u0000b\\u00e4\\/\\n\\ud83d\\ude00':" U8_4 "}", 4, MOEQ_LENIENT, &st, NULL), MOEQ_OK);
    CU_ASSERT_STRING_EQUAL(st.tensors[0].name, "a\\u0000b\xc3\xa4/\n\xf0\x9f\x98\x80");
    moeq_safetensors_free(&st);
}

/* 127 levels, as the reference: the object, the tensor, and 125 more. */
static void test_nesting(void)
{
    for (int depth = 124; depth <= 127; depth++) {
        char field[512] = "{'t':{'dtype':'U8','shape':[4],'data_offsets':[0,4],'x':";
        for (int i = 0; i < depth; i++)
            strcat(field, "[");
        for (int i = 0; i < depth; i++)
            strcat(field, "]");
        strcat(field, "}}");
        const struct verdict v = {field, 4, NO, depth <= 125, depth <= 125 ? "\"x\"" : "too deeply"};
        check_all(&v, 1);
    }
}

/* A user who meets such a file is told of --lenient, and only where it helps. */
static void test_hint(void)
{
    static const struct {
        const char *text;
        size_t n_data;
        const char *hint;
    } cases[] = {
        {"{'t':" U8_4 ",'t':" U8_4 "}", 4, "--lenient"},
        {" {'t':" U8_4 "}", 4, "--lenient"},
        {" {'t':" U8_4 "}", 3, "download it again"},
        {"{'t':" RANGE(2, 0, 2) ",'t':" RANGE(2, 2, 4) "}", 4, "download it again"},
    };
    char dir[FIXTURE_PATH], path[FIXTURE_PATH], line[1600];
    fixture_make(dir);
    fixture_path(path, dir, "model.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_checkpoint checkpoint;
        struct moeq_error err = {0};
        fixture_write_safetensors(dir, "model.safetensors", cases[i].text, cases[i].n_data);
        CU_ASSERT_EQUAL(moeq_checkpoint_open(&checkpoint, dir, &err), MOEQ_DAMAGED);
        CU_ASSERT_PTR_NOT_NULL(strstr(moeq_error_format(&err, line, sizeof line), cases[i].hint));
        const bool helps = strcmp(cases[i].hint, "--lenient") == 0;
        enum moeq_status status = moeq_checkpoint_open_as(&checkpoint, dir, MOEQ_LENIENT, NULL);
        CU_ASSERT_EQUAL(status, helps ? MOEQ_OK : MOEQ_DAMAGED);
        if (!status)
            moeq_checkpoint_close(&checkpoint);
        status = moeq_checkpoint_open_file(&checkpoint, path, MOEQ_LENIENT, NULL);
        CU_ASSERT_EQUAL(status, helps ? MOEQ_OK : MOEQ_DAMAGED);
        if (!status) {
            CU_ASSERT_PTR_NOT_NULL(moeq_checkpoint_find(&checkpoint, "t"));
            moeq_checkpoint_close(&checkpoint);
        }
    }
    fixture_remove(dir);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"space around the object", test_space_around},
        {"duplicate names", test_duplicate_names},
        {"the last duplicate counts", test_last_duplicate_counts},
        {"metadata", test_metadata},
        {"unknown fields of a tensor", test_unknown_fields},
        {"other forms of a tensor", test_other_forms_of_a_tensor},
        {"numbers", test_numbers},
        {"names", test_names},
        {"nesting", test_nesting},
        {"the hint", test_hint},
        {NULL, NULL},
    };
    return unit_main("lenient", tests);
}
