/* What download tools leave: a hash that is read wrongly would call a good file bad, or a bad one good; a
 * path that leaves the folder must never come out. */
#include "unit.h"

#include "records.h"

#define SHA256_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define SHA256_B "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define UPPER_B  "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"
#define SHA1_C   "cccccccccccccccccccccccccccccccccccccccc"

static void parse_sums(const char *text, const char *bare, struct moeq_records *records)
{
    *records = (struct moeq_records){0};
    CU_ASSERT_EQUAL(moeq_sums_parse(text, strlen(text), bare, records, NULL), MOEQ_OK);
}

static void test_sums(void)
{
    struct moeq_records r;
    parse_sums("# made by hand\n" SHA256_A "  a.safetensors\n\n" UPPER_B " *dir/b c.bin\r\n"
               "SHA256 (./x (1).json) = " SHA256_B "\n" SHA256_A "  ././last",
               NULL, &r);
    CU_ASSERT_EQUAL_FATAL(r.n_items, 4);
    CU_ASSERT_STRING_EQUAL(r.items[0].path, "a.safetensors");
    CU_ASSERT_STRING_EQUAL(r.items[0].sha256, SHA256_A);
    CU_ASSERT_STRING_EQUAL(r.items[1].path, "dir/b c.bin");
    CU_ASSERT_STRING_EQUAL(r.items[1].sha256, SHA256_B);
    CU_ASSERT_STRING_EQUAL(r.items[2].path, "x (1).json");
    CU_ASSERT_STRING_EQUAL(r.items[2].sha256, SHA256_B);
    CU_ASSERT_STRING_EQUAL(r.items[3].path, "last");
    CU_ASSERT_EQUAL(r.n_bad + r.n_outside, 0);
    CU_ASSERT_FALSE(r.items[0].has_size);
    moeq_records_free(&r);
}

static void test_bare_hash(void)
{
    struct moeq_records r;
    parse_sums(SHA256_B "\n", "model.safetensors", &r);
    CU_ASSERT_EQUAL_FATAL(r.n_items, 1);
    CU_ASSERT_STRING_EQUAL(r.items[0].path, "model.safetensors");
    moeq_records_free(&r);
    parse_sums(SHA256_B "\n", NULL, &r);
    CU_ASSERT_EQUAL(r.n_items, 0);
    CU_ASSERT_EQUAL(r.n_bad, 1);
    moeq_records_free(&r);
}

static void test_bad_lines(void)
{
    static const char *const lines[] = {
        "hello",
        "aaaa  short",
        SHA256_A "a  long",
        SHA256_A " one-blank",
        SHA256_A "\ttab",
        SHA256_A "  ",
        "gaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  no-hex",
        SHA1_C "  of another hash",
        "SHA256 (x) = short",
        "SHA512 (x) = " SHA256_A,
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct moeq_records r;
        parse_sums(lines[i], NULL, &r);
        if (r.n_items != 0 || r.n_bad != 1)
            printf("\n  taken: %s", lines[i]);
        CU_ASSERT_EQUAL(r.n_items, 0);
        CU_ASSERT_EQUAL(r.n_bad, 1);
        moeq_records_free(&r);
    }
}

static void test_outside(void)
{
    static const char *const paths[] = {"/etc/passwd",
                                        "../x",
                                        "a/../../x",
                                        "a//b",
                                        "a/./b",
                                        "..",
                                        "a/",
                                        "a\\b",
                                        "a\x01"
                                        "b",
                                        "a/..",
                                        "./",
                                        "x\x7f"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct moeq_records r;
        char line[200];
        snprintf(line, sizeof line, SHA256_A "  %s", paths[i]);
        parse_sums(line, NULL, &r);
        if (r.n_items)
            printf("\n  taken: %s", paths[i]);
        CU_ASSERT_EQUAL(r.n_items, 0);
        CU_ASSERT_EQUAL(r.n_outside, 1);
        moeq_records_free(&r);
    }
}

static const char tree[] =
    "{\"format_version\": 1, \"files\": {"
    "\"config.json\": {\"size\": 519, \"blob_id\": \"" SHA1_C "\"},"
    "\"sub/model.safetensors\": {\"size\": 9000000000, \"blob_id\": \"" SHA1_C
    "\", \"lfs_sha256\": \"" SHA256_B "\", \"lfs_size\": 9000000000, \"xet_hash\": \"" SHA256_A "\"},"
    "\"../../x\": {\"size\": 1, \"blob_id\": \"" SHA1_C "\"},"
    "\"no-size\": {\"blob_id\": \"" SHA1_C "\"},"
    "\"negative\": {\"size\": -1, \"blob_id\": \"" SHA1_C "\"},"
    "\"huge\": {\"size\": 1e30, \"blob_id\": \"" SHA1_C "\"},"
    "\"no-hash\": {\"size\": 1, \"blob_id\": \"x\"},"
    "\"null-lfs\": {\"size\": 1, \"blob_id\": \"" SHA1_C "\", \"lfs_sha256\": null},"
    "\"short-lfs\": {\"size\": 1, \"blob_id\": \"" SHA1_C "\", \"lfs_sha256\": \"" SHA1_C "\"},"
    "\"no-object\": 7}}";

static void test_tree(void)
{
    struct moeq_records r = {0};
    CU_ASSERT_EQUAL(moeq_tree_parse(tree, strlen(tree), &r, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(r.n_items, 3);
    CU_ASSERT_STRING_EQUAL(r.items[0].path, "config.json");
    CU_ASSERT_EQUAL(r.items[0].n_bytes, 519);
    CU_ASSERT_STRING_EQUAL(r.items[0].git_sha1, SHA1_C);
    CU_ASSERT_STRING_EQUAL(r.items[0].sha256, "");
    CU_ASSERT_STRING_EQUAL(r.items[1].path, "sub/model.safetensors");
    CU_ASSERT_EQUAL(r.items[1].n_bytes, 9000000000);
    CU_ASSERT_STRING_EQUAL(r.items[1].sha256, SHA256_B); /* the git SHA-1 is the pointer's */
    CU_ASSERT_STRING_EQUAL(r.items[1].git_sha1, "");
    CU_ASSERT_STRING_EQUAL(r.items[2].path, "null-lfs");
    CU_ASSERT_EQUAL(r.n_outside, 1);
    CU_ASSERT_EQUAL(r.n_bad, 6);
    CU_ASSERT_STRING_EQUAL(r.bad, "no-size");
    moeq_records_free(&r);
}

static void test_no_tree(void)
{
    static const struct {
        const char *text;
        enum moeq_status status;
    } cases[] = {
        {"", MOEQ_DAMAGED},
        {"<html>", MOEQ_DAMAGED},
        {"[]", MOEQ_DAMAGED},
        {"{}", MOEQ_DAMAGED},
        {"{\"format_version\": 1}", MOEQ_DAMAGED},
        {"{\"format_version\": 1, \"files\": []}", MOEQ_DAMAGED},
        {"{\"format_version\": \"1\", \"files\": {}}", MOEQ_DAMAGED},
        {"{\"format_version\": 2, \"files\": {}}", MOEQ_UNSUPPORTED},
        {"{\"format_version\": 1, \"files\": {}}", MOEQ_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_records r = {0};
        CU_ASSERT_EQUAL(moeq_tree_parse(cases[i].text, strlen(cases[i].text), &r, NULL), cases[i].status);
        CU_ASSERT_EQUAL(r.n_items, 0);
        moeq_records_free(&r);
    }
}

static enum moeq_status parse_metadata(const char *text, struct moeq_hf_metadata *out)
{
    return moeq_hf_metadata_parse(text, strlen(text), out, NULL);
}

static void test_metadata(void)
{
    struct moeq_hf_metadata m;
    CU_ASSERT_EQUAL(parse_metadata(SHA1_C "\n" SHA256_B "\n1712656091.123\n", &m), MOEQ_OK);
    CU_ASSERT_STRING_EQUAL(m.commit, SHA1_C);
    CU_ASSERT_STRING_EQUAL(m.sha256, SHA256_B);
    CU_ASSERT_STRING_EQUAL(m.git_sha1, "");
    CU_ASSERT_DOUBLE_EQUAL(m.seconds, 1712656091.123, 1e-6);
    CU_ASSERT_EQUAL(parse_metadata(SHA1_C "\r\n" SHA1_C "\r\n1\r\n", &m), MOEQ_OK);
    CU_ASSERT_STRING_EQUAL(m.git_sha1, SHA1_C);
    static const char *const bad[] = {
        "",
        SHA1_C,
        SHA1_C "\n",
        SHA1_C "\n" SHA256_B,
        SHA1_C "\n" SHA256_B "\n",
        SHA1_C "\n" SHA256_B "\nnever\n",
        SHA1_C "\n" SHA256_B "\nnan\n",
        SHA1_C "\n" SHA256_B "\ninf\n",
        SHA1_C "\nW/\"" SHA1_C "\"\n1\n",
        SHA256_B "\n" SHA256_B "\n1\n",
        "main\n" SHA256_B "\n1\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_EQUAL(parse_metadata(bad[i], &m), MOEQ_DAMAGED);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"lines of SHA256SUMS", test_sums},
        {"a hash alone", test_bare_hash},
        {"lines that are none", test_bad_lines},
        {"paths that leave the folder", test_outside},
        {"a tree listing", test_tree},
        {"what is no tree listing", test_no_tree},
        {"metadata of a local folder", test_metadata},
        {NULL, NULL},
    };
    return unit_main("records", tests);
}
