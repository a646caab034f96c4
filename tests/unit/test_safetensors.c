/* safetensors headers: a file that any rule of the format forbids must not be read as weights, and what the
 * format allows must be read, however unusual. JSON is written with ' for ". */
#include "unit.h"

#include "header.h"

#define MAX_RANK 64 /* the documented limit of moeq, see test_rank */

/* Where only the verdict matters. */
static bool is_refused(const void *header, size_t n, uint64_t n_data)
{
    struct moeq_safetensors st;
    enum moeq_status status = header_parse(header, n, n_data, MOEQ_STRICT, &st, NULL);
    if (status == MOEQ_OK)
        moeq_safetensors_free(&st);
    return status == MOEQ_DAMAGED;
}

static enum moeq_status parse_text(const char *text, uint64_t n_data, struct moeq_safetensors *st,
                                   struct moeq_error *err)
{
    char quoted[FIXTURE_TEXT];
    fixture_quote(quoted, text);
    return header_parse(quoted, strlen(quoted), n_data, MOEQ_STRICT, st, err);
}

struct header_case {
    const char *text;
    uint64_t n_data;
    const char *says; /* in the error's line; for accepted ones: NULL */
};

static void accept(const struct header_case *c, size_t n_tensors)
{
    struct moeq_safetensors st;
    struct moeq_error err = {0};
    char line[1024];
    enum moeq_status status = parse_text(c->text, c->n_data, &st, &err);
    if (status)
        printf("\n  rejected: %s: %s", c->text, moeq_error_format(&err, line, sizeof line));
    CU_ASSERT_EQUAL(status, MOEQ_OK);
    if (status)
        return;
    CU_ASSERT_EQUAL(st.n_tensors, n_tensors);
    moeq_safetensors_free(&st);
}

static void reject(const struct header_case *c)
{
    struct moeq_safetensors st;
    struct moeq_error err = {0};
    char line[1024];
    enum moeq_status status = parse_text(c->text, c->n_data, &st, &err);
    bool good = status == MOEQ_DAMAGED && err.status == MOEQ_DAMAGED &&
                strstr(moeq_error_format(&err, line, sizeof line), c->says);
    if (!good)
        printf("\n  %s: status %d, %s", c->text, status, status ? line : "");
    CU_ASSERT(good);
    if (status == MOEQ_OK)
        moeq_safetensors_free(&st);
    CU_ASSERT_EQUAL(parse_text(c->text, c->n_data, &st, NULL), MOEQ_DAMAGED);
}

static void reject_all(const struct header_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        reject(&cases[i]);
}
#define REJECT_ALL(cases) reject_all(cases, sizeof cases / sizeof *cases)

#define U8_4 "{'dtype':'U8','shape':[4],'data_offsets':[0,4]}"

/* --- what must be read --- */

static void test_unusual_but_allowed(void)
{
    static const struct {
        struct header_case c;
        size_t n_tensors;
    } cases[] = {
        {{"{}", 0, NULL}, 0},
        {{"{}        ", 0, NULL}, 0},
        {{"{'__metadata__':{}}", 0, NULL}, 0},
        {{"{'__metadata__':{'format':'pt','a':''}}  ", 0, NULL}, 0},
        {{"{'t':{'dtype':'F32','shape':[],'data_offsets':[0,4]}}", 4, NULL}, 1},
        {{"{'t':{'dtype':'F32','shape':[3,0,5],'data_offsets':[0,0]}}", 0, NULL}, 1},
        {{"{'t':{'data_offsets':[0,4],'shape':[4],'dtype':'U8'}}", 4, NULL}, 1},
        {{"{ 't' : {\t'dtype':'U8',\n'shape':[ 4 ],\r'data_offsets':[0 , 4]} }", 4, NULL}, 1},
        {{"{'b':{'dtype':'U8','shape':[2],'data_offsets':[4,6]},'a':" U8_4 "}", 6, NULL}, 2},
        /* empty tensors share their offset with others, at every place */
        {{"{'a':" U8_4 ",'b':{'dtype':'U8','shape':[0],'data_offsets':[0,0]},"
          "'c':{'dtype':'U8','shape':[0],'data_offsets':[0,0]},'d':{'dtype':'I64','shape':[0],'data_offsets':"
          "[4,4]}}",
          4, NULL},
         4},
        /* data need not be aligned */
        {{"{'a':{'dtype':'U8','shape':[1],'data_offsets':[0,1]},'b':{'dtype':'F64','shape':[1],'data_offsets'"
          ":[1,9]}}",
          9, NULL},
         2},
        {{"{'t':{'dtype':'F4','shape':[2],'data_offsets':[0,1]}}", 1, NULL}, 1},
        {{"{'t':{'dtype':'F4','shape':[3,2,1],'data_offsets':[0,3]}}", 3, NULL}, 1},
        {{"{'t':{'dtype':'F6_E2M3','shape':[4],'data_offsets':[0,3]}}", 3, NULL}, 1},
        {{"{'t':{'dtype':'F6_E3M2','shape':[2,2],'data_offsets':[0,3]}}", 3, NULL}, 1},
        /* names are free text */
        {{"{'':" U8_4 "}", 4, NULL}, 1},
        {{"{'../../etc/passwd':" U8_4 "}", 4, NULL}, 1},
        {{"{'-1 \\u00e4 \\\\ \\n \\\" -':" U8_4 "}", 4, NULL}, 1},
        {{"{'\xe4\xb8\x93\xe5\xae\xb6 \xf0\x9f\x90\x8b':" U8_4 "}", 4, NULL}, 1},
        {{"{'__metadata':" U8_4 "}", 4, NULL}, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        accept(&cases[i].c, cases[i].n_tensors);
}

/* A tool that reads other offsets than the writer meant computes with garbage. */
static void test_tensors_come_in_file_order(void)
{
    struct moeq_safetensors st;
    CU_ASSERT_EQUAL_FATAL(
        parse_text("{'z':{'dtype':'BF16','shape':[1,2],'data_offsets':[0,4]},'__metadata__':{'k':'v'},"
                   "'a':{'dtype':'F32','shape':[3],'data_offsets':[8,20]},"
                   "'m':{'dtype':'I8','shape':[2,1,2],'data_offsets':[4,8]}}",
                   20, &st, NULL),
        MOEQ_OK);
    static const char *const names[] = {"z", "m", "a"};
    static const enum moeq_dtype dtypes[] = {MOEQ_BF16, MOEQ_I8, MOEQ_F32};
    static const uint64_t offsets[] = {0, 4, 8}, sizes[] = {4, 4, 12};
    CU_ASSERT_EQUAL_FATAL(st.n_tensors, 3);
    for (size_t i = 0; i < 3; i++) {
        CU_ASSERT_STRING_EQUAL(st.tensors[i].name, names[i]);
        CU_ASSERT_EQUAL(st.tensors[i].dtype, dtypes[i]);
        CU_ASSERT_EQUAL(st.tensors[i].offset, st.data_offset + offsets[i]);
        CU_ASSERT_EQUAL(st.tensors[i].n_bytes, sizes[i]);
    }
    CU_ASSERT_EQUAL(st.tensors[1].n_dims, 3);
    CU_ASSERT(st.tensors[1].shape[0] == 2 && st.tensors[1].shape[1] == 1 && st.tensors[1].shape[2] == 2);
    CU_ASSERT_EQUAL(st.n_bytes, st.data_offset + 20);
    CU_ASSERT_STRING_EQUAL(moeq_safetensors_metadata(&st, "k"), "v");
    CU_ASSERT_PTR_NULL(moeq_safetensors_metadata(&st, "none"));
    moeq_safetensors_free(&st);
}

/* Sizes of the format text, written out here once more: a wrong one shifts every tensor behind it. */
static void test_every_dtype(void)
{
    static const struct {
        const char *name;
        unsigned bits;
    } dtypes[] = {
        {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},   {"I8", 8},
        {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"I16", 16}, {"F8_E5M2FNUZ", 8},
        {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32}, {"F32", 32},
        {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
    };
    const size_t n = sizeof dtypes / sizeof *dtypes;
    CU_ASSERT_EQUAL(n, MOEQ_N_DTYPES);
    for (size_t i = 0; i < n; i++) {
        char text[256];
        unsigned n_bytes = 8 * dtypes[i].bits / 8;
        snprintf(text, sizeof text, "{'t':{'dtype':'%s','shape':[8],'data_offsets':[0,%u]}}", dtypes[i].name,
                 n_bytes);
        accept(&(struct header_case){text, n_bytes, NULL}, 1);
        snprintf(text, sizeof text, "{'t':{'dtype':'%s','shape':[8],'data_offsets':[0,%u]}}", dtypes[i].name,
                 n_bytes + 1);
        reject(&(struct header_case){text, n_bytes + 1, "dtype and shape need"});
    }
}

/* --- length and encoding of the header --- */

static void test_length_field(void)
{
    struct moeq_safetensors st;
    uint8_t head[64] = {0};
    struct moeq_error err = {0};
    for (size_t n = 0; n < 8; n++)
        CU_ASSERT_EQUAL(moeq_safetensors_parse(&st, head, n, n, MOEQ_STRICT, NULL), MOEQ_DAMAGED);
    CU_ASSERT_EQUAL(moeq_safetensors_parse(&st, head, 8, 8, MOEQ_STRICT, NULL), MOEQ_DAMAGED); /* N = 0 */
    CU_ASSERT_EQUAL(moeq_safetensors_parse(&st, head, 64, 64, MOEQ_STRICT, NULL), MOEQ_DAMAGED);
    static const uint64_t lengths[] = {
        3, 57, 100000001, UINT32_MAX, INT64_MAX, UINT64_MAX - 8, UINT64_MAX - 7, UINT64_MAX};
    memcpy(head + 8, "{}", 2);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        moeq_store_u64le(head, lengths[i]);
        CU_ASSERT_EQUAL(moeq_safetensors_parse(&st, head, 10, 10, MOEQ_STRICT, NULL), MOEQ_DAMAGED);
        /* a file that is said to be huge does not make a header longer than its bytes */
        CU_ASSERT_EQUAL(moeq_safetensors_parse(&st, head, 10, UINT64_MAX, MOEQ_STRICT, NULL), MOEQ_DAMAGED);
    }
    /* nor does what happens to lie behind them in memory */
    memset(head + 10, ' ', sizeof head - 10);
    moeq_store_u64le(head, 40);
    CU_ASSERT_EQUAL(moeq_safetensors_parse(&st, head, 10, 48, MOEQ_STRICT, NULL), MOEQ_DAMAGED);
    moeq_store_u64le(head, 100000001);
    moeq_safetensors_parse(&st, head, 10, UINT64_MAX, MOEQ_STRICT, &err);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "limit"));
}

/* The largest header that the reference reads is read, too. */
static void test_header_of_the_largest_size(void)
{
    struct moeq_safetensors st = {0};
    const size_t n = MOEQ_SAFETENSORS_MAX_HEADER;
    uint8_t *head = malloc(8 + n);
    fixture_need(head != NULL, "memory");
    CU_ASSERT_EQUAL(n, 100000000);
    moeq_store_u64le(head, n);
    memset(head + 8, ' ', n);
    memcpy(head + 8, "{}", 2);
    CU_ASSERT_EQUAL(moeq_safetensors_parse(&st, head, 8 + n, 8 + n, MOEQ_STRICT, NULL), MOEQ_OK);
    moeq_safetensors_free(&st);
    free(head);
}

static void test_text_around_the_object(void)
{
    static const struct header_case cases[] = {
        {" {}", 0, "must start with '{' (byte 8)"},
        {"\n{}", 0, "must start"},
        {"\xef\xbb\xbf{}", 0, "must start"}, /* byte order mark */
        {"[]", 0, "must start"},
        {"'x'", 0, "must start"},
        {"null", 0, "must start"},
        {"        ", 0, "must start"},
        {"{}\n", 0, "must end with '}' and spaces (byte 10)"},
        {"{}\t", 0, "must end"},
        {"{", 0, "must end"},
        {"{}{}", 0, "JSON"},
        {"{} {}", 0, "JSON"},
        {"{}}", 0, "JSON"},
        {"{/* x */}", 0, "JSON"},
        {"{'t':" U8_4 ",}", 4, "JSON"},
        {"{'t':" U8_4, 4, "JSON"},
        {"{'t\n':" U8_4 "}", 4, "JSON"},
        {"{'\\ud800':" U8_4 "}", 4, "JSON"},
        {"{'\\x41':" U8_4 "}", 4, "JSON"},
        {"{'a\\u0000b':" U8_4 "}", 4, "JSON"},
        {"{'t':NaN}", 4, "JSON"},
    };
    REJECT_ALL(cases);
}

static void test_bytes_that_are_not_text(void)
{
    static const struct {
        const char *bytes;
        size_t n;
        uint64_t bad; /* offset in the file */
    } cases[] = {
        {"\xff{}", 3, 8},         {"{\"\xc0\xaf\":1}", 7, 10},         {"{\"\xed\xa0\x80\":1}", 8, 10},
        {"{\"a\x80\":1}", 7, 11}, {"{\"\xf4\x90\x80\x80\":1}", 9, 10}, {"{\"\xe2\x82", 4, 10},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_safetensors st;
        struct moeq_error err = {0};
        CU_ASSERT_EQUAL(header_parse(cases[i].bytes, cases[i].n, 0, MOEQ_STRICT, &st, &err), MOEQ_DAMAGED);
        CU_ASSERT(strstr(err.message, "UTF-8") && err.has_offset && err.offset == cases[i].bad);
    }
    static const char inside[] = "{\"t\":{\"dtype\":\"U8\",\"shape\":[4\0],\"data_offsets\":[0,4]}}";
    CU_ASSERT(is_refused("{}\0\0\0\0\0", 8, 0)); /* padding with NUL */
    CU_ASSERT(is_refused("{}  \0", 5, 0));
    CU_ASSERT(is_refused(inside, sizeof inside - 1, 4));
}

/* --- the tensors' ranges --- */

#define AT(name, begin, end, n)                                                                              \
    "'" name "':{'dtype':'U8','shape':[" #n "],'data_offsets':[" #begin "," #end "]}"

static void test_ranges_tile_the_data(void)
{
    static const struct header_case cases[] = {
        {"{" AT("t", 0, 4, 4) "}", 3, "truncated"},
        {"{" AT("t", 0, 4, 4) "}", 0, "truncated"},
        {"{" AT("t", 0, 4, 4) "}", 5, "1 bytes behind the last tensor"},
        {"{" AT("t", 0, 4, 4) "}", INT64_MAX, "behind the last tensor"},
        {"{}", 1, "1 bytes behind"},
        {"{'__metadata__':{}}", 8, "8 bytes behind"},
        {"{" AT("t", 1, 5, 4) "}", 5, "tensor t: a hole"},
        {"{" AT("a", 0, 4, 4) "," AT("b", 5, 9, 4) "}", 9, "tensor b: a hole"},
        {"{" AT("a", 0, 4, 4) "," AT("b", 3, 7, 4) "}", 7, "tensor b: overlaps"},
        {"{" AT("a", 0, 4, 4) "," AT("b", 0, 4, 4) "}", 4, "overlaps"},
        {"{" AT("a", 0, 4, 4) "," AT("b", 1, 3, 2) "}", 4, "overlaps"},
        {"{" AT("a", 0, 4, 4) "," AT("b", 2, 2, 0) "}", 4, "overlaps"}, /* empty, but inside another */
        {"{" AT("a", 4, 0, 4) "}", 4, "end before they begin"},
        {"{" AT("a", 2, 0, 0) "}", 2, "end before they begin"},
        {"{" AT("a", 0, 4, 3) "}", 4, "need 3 bytes, data_offsets give 4"},
        {"{" AT("a", 0, 4, 5) "}", 4, "need 5 bytes"},
        {"{" AT("a", 0, 9223372036854775807, 4) "}", 4, "truncated"},
        {"{" AT("a", 9223372036854775803, 9223372036854775807, 4) "}", 4, "truncated"},
    };
    REJECT_ALL(cases);
}

/* --- numbers --- */

static void test_numbers_are_plain_integers(void)
{
    static const char *const numbers[] = {"-0",
                                          "-1",
                                          "1e0",
                                          "4.0",
                                          "4E0",
                                          "4.5",
                                          "'4'",
                                          "null",
                                          "true",
                                          "[4]",
                                          "{}",
                                          "04",
                                          "0x4",
                                          "+4",
                                          "4.",
                                          "1e400",
                                          "NaN",
                                          "9223372036854775808",
                                          "18446744073709551616",
                                          "18446744073709551620",
                                          "340282366920938463463374607431768211460"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char text[256];
        snprintf(text, sizeof text, "{'t':{'dtype':'U8','shape':[%s],'data_offsets':[0,4]}}", numbers[i]);
        reject(&(struct header_case){text, 4, ""});
        snprintf(text, sizeof text, "{'t':{'dtype':'U8','shape':[4],'data_offsets':[0,%s]}}", numbers[i]);
        reject(&(struct header_case){text, 4, ""});
        snprintf(text, sizeof text, "{'t':{'dtype':'U8','shape':[0],'data_offsets':[%s,0]}}", numbers[i]);
        reject(&(struct header_case){text, 0, ""});
    }
}

#define SHAPED(dtype, shape, end) "{'t':{'dtype':'" dtype "','shape':" shape ",'data_offsets':[0," #end "]}}"

static void test_products_do_not_wrap(void)
{
    static const struct header_case cases[] = {
        {SHAPED("U8", "[4194305,4194305,211106198978564]", 4), 4, "overflows"}, /* wraps to 4 */
        {SHAPED("U8", "[4294967296,4294967296]", 0), 0, "overflows"},           /* wraps to 0 */
        {SHAPED("U8", "[4611686018427387904,4]", 0), 0, "overflows"},
        {SHAPED("U8", "[9223372036854775807,9223372036854775807]", 1), 1, "overflows"},
        {SHAPED("F64", "[288230376151711744]", 0), 0, "overflows"},     /* 2^58 elements: 2^64 bits */
        {SHAPED("U8", "[2305843009213693952]", 0), 0, "overflows"},     /* 2^61 bytes: 2^64 bits */
        {SHAPED("U8", "[4294967296,4294967296,0]", 0), 0, "overflows"}, /* as the reference: left to right */
        {SHAPED("F64", "[36028797018963968]", 0), 0, "dtype and shape need 288230376151711744 bytes"},
    };
    REJECT_ALL(cases);
    accept(&(struct header_case){SHAPED("U8", "[0,4294967296,4294967296]", 0), 0, NULL}, 1);
    uint64_t n = 0;
    const uint64_t largest[] = {UINT32_MAX, 4294967297u}; /* (2^32-1)(2^32+1) = 2^64-1 */
    CU_ASSERT(moeq_shape_elements(largest, 2, &n) && n == UINT64_MAX);
    CU_ASSERT(moeq_shape_elements(NULL, 0, &n) && n == 1);
}

static void test_elements_smaller_than_a_byte(void)
{
    static const struct header_case cases[] = {
        {SHAPED("F4", "[1]", 0), 0, "4 bits do not fill whole bytes"},
        {SHAPED("F4", "[1]", 1), 1, "do not fill"},
        {SHAPED("F4", "[3,5]", 8), 8, "do not fill"},
        {SHAPED("F4", "[]", 1), 1, "do not fill"},
        {SHAPED("F6_E2M3", "[2]", 2), 2, "do not fill"},
        {SHAPED("F6_E3M2", "[3]", 3), 3, "do not fill"},
        {SHAPED("F4", "[2]", 2), 2, "need 1 bytes"},
    };
    REJECT_ALL(cases);
}

/* Nothing real has more dimensions; a header may claim millions. */
static void test_rank(void)
{
    for (int n = MAX_RANK; n <= MAX_RANK + 1; n++) {
        char text[512] = "{'t':{'dtype':'U8','shape':[1";
        for (int i = 1; i < n; i++)
            strcat(text, ",1");
        strcat(text, "],'data_offsets':[0,1]}}");
        if (n == MAX_RANK)
            accept(&(struct header_case){text, 1, NULL}, 1);
        else
            reject(&(struct header_case){text, 1, "tensor t: 65 dimensions"});
    }
}

/* --- the objects --- */

static void test_fields_of_a_tensor(void)
{
    static const struct header_case cases[] = {
        {"{'t':{'shape':[4],'data_offsets':[0,4]}}", 4, "tensor t: the key \"dtype\" is missing"},
        {"{'t':{'dtype':'U8','data_offsets':[0,4]}}", 4, "\"shape\" is missing"},
        {"{'t':{'dtype':'U8','shape':[4]}}", 4, "\"data_offsets\" is missing"},
        {"{'t':{}}", 0, "missing"},
        {"{'t':{'dtype':'U8','shape':[4],'data_offsets':[0,4],'x':1}}", 4, "tensor t: has fields other"},
        {"{'t':{'dtype':'U8','shape':[4],'data_offsets':[0,4],'Dtype':'U8'}}", 4, "has fields other"},
        {"{'t':['U8',[4],[0,4]]}", 4, "tensor t: must be an object"},
        {"{'t':null}", 4, "must be an object"},
        {"{'t':4}", 4, "must be an object"},
        {"{'t':'U8'}", 4, "must be an object"},
        {"{'t':{'dtype':4,'shape':[4],'data_offsets':[0,4]}}", 4, "\"dtype\" must be a string"},
        {"{'t':{'dtype':null,'shape':[4],'data_offsets':[0,4]}}", 4, "dtype"},
        {"{'t':{'dtype':'u8','shape':[4],'data_offsets':[0,4]}}", 4, "unknown dtype \"u8\""},
        {"{'t':{'dtype':'','shape':[4],'data_offsets':[0,4]}}", 4, "unknown dtype"},
        {"{'t':{'dtype':'U8 ','shape':[4],'data_offsets':[0,4]}}", 4, "unknown dtype"},
        {"{'t':{'dtype':'F8_E4M3FN','shape':[4],'data_offsets':[0,4]}}", 4, "unknown dtype"},
        {"{'t':{'dtype':'Q4_K','shape':[4],'data_offsets':[0,4]}}", 4, "unknown dtype"},
        {"{'t':{'dtype':'U8','shape':4,'data_offsets':[0,4]}}", 4, "\"shape\" must be an array"},
        {"{'t':{'dtype':'U8','shape':null,'data_offsets':[0,4]}}", 4, "\"shape\" must be an array"},
        {"{'t':{'dtype':'U8','shape':[[4]],'data_offsets':[0,4]}}", 4, "whole numbers"},
        {"{'t':{'dtype':'U8','shape':[4],'data_offsets':4}}", 4, "\"data_offsets\" must be an array"},
        {"{'t':{'dtype':'U8','shape':[4],'data_offsets':[]}}", 4, "two numbers"},
        {"{'t':{'dtype':'U8','shape':[4],'data_offsets':[4]}}", 4, "two numbers"},
        {"{'t':{'dtype':'U8','shape':[4],'data_offsets':[0,4,8]}}", 4, "two numbers"},
    };
    REJECT_ALL(cases);
}

/* Two readers that choose different ones of two equal keys see two different models in one file. */
static void test_duplicates(void)
{
    static const struct header_case cases[] = {
        {"{'w':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'w':" U8_4 "}", 4, "duplicate"},
        {"{'w':" U8_4 ",'\\u0077':" U8_4 "}", 4, "duplicate"},
        {"{'w':" AT("x", 0, 4, 4) "}", 4, "JSON"},
        {"{'a/b':" U8_4 ",'a\\/b':" U8_4 "}", 4, "duplicate"},
        {"{'t':{'dtype':'U8','dtype':'I8','shape':[4],'data_offsets':[0,4]}}", 4, "duplicate"},
        {"{'t':{'dtype':'U8','shape':[4],'data_offsets':[0,4],'data_\\u006fffsets':[0,4]}}", 4, "duplicate"},
        {"{'__metadata__':{'a':'1','a':'2'}}", 0, "duplicate"},
        {"{'__metadata__':{'a':'1','\\u0061':'1'}}", 0, "duplicate"},
        {"{'__metadata__':{},'__metadata__':{}}", 0, "duplicate"},
        {"{'__metadata__':{},'__metadat\\u0061__':{}}", 0, "duplicate"},
    };
    REJECT_ALL(cases);
}

static void test_metadata_is_text(void)
{
    static const struct header_case cases[] = {
        {"{'__metadata__':null}", 0, "object of strings"},
        {"{'__metadata__':[]}", 0, "object of strings"},
        {"{'__metadata__':'x'}", 0, "object of strings"},
        {"{'__metadata__':1}", 0, "object of strings"},
        {"{'__metadata__':{'a':1}}", 0, "value of \"a\""},
        {"{'__metadata__':{'a':null}}", 0, "value of \"a\""},
        {"{'__metadata__':{'a':{}}}", 0, "value of \"a\""},
        {"{'__metadata__':{'b':'','a':true}}", 0, "value of \"a\""},
        {"{'__metadata__':" U8_4 "}", 4, "is not a string"},
    };
    REJECT_ALL(cases);
}

/* A parser that recurses once a level runs out of stack. */
static void test_deep_nesting(void)
{
    enum { DEPTH = 1000000 };
    char *text = malloc(2 * DEPTH + 16);
    fixture_need(text != NULL, "memory");
    memcpy(text, "{\"t\":", 5);
    memset(text + 5, '[', DEPTH);
    memset(text + 5 + DEPTH, ']', DEPTH);
    text[5 + 2 * DEPTH] = '}';
    CU_ASSERT(is_refused(text, 6 + 2 * DEPTH, 0));
    free(text);
}

/* --- files --- */

static void test_files(void)
{
    static const struct {
        const char *bytes;
        size_t n;
        enum moeq_status status;
        const char *says;
    } cases[] = {
        {"", 0, MOEQ_DAMAGED, "only 0 bytes"},
        {"\x02\0\0\0\0\0\0", 7, MOEQ_DAMAGED, "only 7 bytes"},
        {"\x02\0\0\0\0\0\0\0{", 9, MOEQ_DAMAGED, "truncated"},
        {"\x02\0\0\0\0\0\0\0{}", 10, MOEQ_OK, ""},
        {"\x02\0\0\0\0\0\0\0{}x", 11, MOEQ_DAMAGED, "behind the last tensor"},
        {"\0\0\0\0\0\0\0\0\0\0\0\0", 12, MOEQ_DAMAGED, "header is empty"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", 64, MOEQ_DAMAGED,
         "git lfs pull"},
    };
    char dir[FIXTURE_PATH], path[FIXTURE_PATH], line[1024];
    fixture_make(dir);
    fixture_path(path, dir, "x.safetensors");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_file file;
        struct moeq_safetensors st;
        struct moeq_error err = {0};
        fixture_write(dir, "x.safetensors", cases[i].bytes, cases[i].n);
        CU_ASSERT_EQUAL_FATAL(moeq_file_open(&file, path, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL(moeq_safetensors_read(&st, &file, MOEQ_STRICT, &err), cases[i].status);
        moeq_error_format(&err, line, sizeof line);
        CU_ASSERT_PTR_NOT_NULL(strstr(line, cases[i].says));
        CU_ASSERT(!err.status || strstr(line, path));
        if (!err.status)
            moeq_safetensors_free(&st);
        moeq_file_close(&file);
    }
    fixture_remove(dir);
}

/* --- writing --- */

static void check_round_trip(struct moeq_tensor *tensors, size_t n, const json_t *metadata)
{
    struct moeq_bytes head = {0}, again = {0};
    struct moeq_safetensors st;
    uint64_t end = 0;
    CU_ASSERT_EQUAL_FATAL(moeq_safetensors_build(tensors, n, metadata, &head, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_safetensors_build(tensors, n, metadata, &again, NULL), MOEQ_OK);
    CU_ASSERT(head.n_bytes == again.n_bytes && memcmp(head.data, again.data, head.n_bytes) == 0);
    CU_ASSERT_EQUAL(head.n_bytes % 64, 0);
    for (size_t i = 0; i < n; i++)
        end += tensors[i].n_bytes;
    CU_ASSERT_EQUAL_FATAL(
        moeq_safetensors_parse(&st, head.data, head.n_bytes, head.n_bytes + end, MOEQ_STRICT, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(st.data_offset, head.n_bytes);
    CU_ASSERT_EQUAL_FATAL(st.n_tensors, n);
    for (size_t i = 0; i < n; i++) {
        const struct moeq_tensor *a = &tensors[i], *b = &st.tensors[i];
        CU_ASSERT_STRING_EQUAL(a->name, b->name);
        CU_ASSERT(a->dtype == b->dtype && a->n_dims == b->n_dims && a->offset == b->offset &&
                  a->n_bytes == b->n_bytes);
        CU_ASSERT(a->n_dims == b->n_dims && memcmp(a->shape, b->shape, a->n_dims * sizeof *a->shape) == 0);
    }
    json_t *read_back = moeq_safetensors_metadata_json(&st);
    CU_ASSERT(metadata ? json_equal(metadata, read_back) : st.n_metadata == 0);
    json_decref(read_back);
    moeq_safetensors_free(&st);
    moeq_bytes_free(&head);
    moeq_bytes_free(&again);
}

static void test_built_headers_read_back(void)
{
    static const uint64_t two[] = {2, 3}, one[] = {128}, zero[] = {0, 7};
    struct moeq_tensor tensors[] = {
        {.name = "z", .dtype = MOEQ_BF16, .n_dims = 2, .shape = two, .n_bytes = 12},
        {.name = "", .dtype = MOEQ_U8, .n_dims = 1, .shape = one, .n_bytes = 128},
        {.name = "quote \" slash \\ \x01 \xe4\xb8\x93 -0",
         .dtype = MOEQ_F32,
         .n_dims = 0,
         .shape = one,
         .n_bytes = 4},
        {.name = "a", .dtype = MOEQ_F4, .n_dims = 1, .shape = one, .n_bytes = 64},
        {.name = "empty", .dtype = MOEQ_F64, .n_dims = 2, .shape = zero, .n_bytes = 0},
    };
    json_t *metadata = json_pack("{s:s, s:s}", "format", "pt", "moeq.plan", "-- \"x\"");
    for (size_t n = 0; n <= sizeof tensors / sizeof *tensors; n++) {
        check_round_trip(tensors, n, NULL);
        check_round_trip(tensors, n, metadata);
    }
    json_decref(metadata);
    for (size_t n = 1; n < 130; n++) { /* every remainder of the header's length */
        char name[160] = "";
        memset(name, 'x', n);
        struct moeq_tensor tensor = {
            .name = name, .dtype = MOEQ_F64, .n_dims = 1, .shape = one, .n_bytes = 1024};
        check_round_trip(&tensor, 1, NULL);
    }
}

/* A header that lost a tensor must never be written. */
static void test_two_tensors_of_one_name_are_not_built(void)
{
    static const uint64_t shape[] = {4};
    struct moeq_tensor tensors[] = {
        {.name = "w", .dtype = MOEQ_U8, .n_dims = 1, .shape = shape, .n_bytes = 4},
        {.name = "w", .dtype = MOEQ_I8, .n_dims = 1, .shape = shape, .n_bytes = 4},
    };
    struct moeq_bytes head = {0};
    CU_ASSERT_NOT_EQUAL(moeq_safetensors_build(tensors, 2, NULL, &head, NULL), MOEQ_OK);
    moeq_bytes_free(&head);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"unusual but allowed headers are read", test_unusual_but_allowed},
        {"tensors come in file order with their ranges", test_tensors_come_in_file_order},
        {"every dtype has its size", test_every_dtype},
        {"length field", test_length_field},
        {"header of the largest size", test_header_of_the_largest_size},
        {"text around the object", test_text_around_the_object},
        {"bytes that are not text", test_bytes_that_are_not_text},
        {"ranges tile the data", test_ranges_tile_the_data},
        {"numbers are plain integers", test_numbers_are_plain_integers},
        {"products do not wrap", test_products_do_not_wrap},
        {"elements smaller than a byte", test_elements_smaller_than_a_byte},
        {"rank", test_rank},
        {"fields of a tensor", test_fields_of_a_tensor},
        {"duplicates", test_duplicates},
        {"metadata is text", test_metadata_is_text},
        {"deep nesting", test_deep_nesting},
        {"files, whole and damaged", test_files},
        {"built headers read back, data aligned to 64", test_built_headers_read_back},
        {"two tensors of one name are not built", test_two_tensors_of_one_name_are_not_built},
        {NULL, NULL},
    };
    return unit_main("safetensors", tests);
}
