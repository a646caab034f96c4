/* Tokenizers of Kimi and GLM: the ids of tiktoken and of Hugging Face's tokenizers, for small vocabularies of
 * the same form as the released ones, and files that no release would ship.
 *
 * MOEQ_SOURCE is the source folder; tests/data/tokenizers/make.py made what is read there. */
#include "tiktoken.h"

#include "bytes.h"
#include "file.h"
#include "json.h"
#include "tokenizer.h"

#include <CUnit/Basic.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <zlib.h>

#define MEGABYTE    (1u << 20)
#define MAX_SECONDS 20 /* of processor time, under sanitizers too; quadratic work takes hours */
#define N_SPECIAL   256

/* ---- helpers ---- */

static char *data_path(const char *name)
{
    const char *source = getenv("MOEQ_SOURCE");
    char *folder = moeq_path_join(source ? source : ".", "tests/data/tokenizers", NULL);
    char *path = moeq_path_join(folder, name, NULL);
    free(folder);
    return path;
}

static struct moeq_tokenizer *open_data(const char *name)
{
    struct moeq_error err = {0};
    char *path = data_path(name);
    struct moeq_tokenizer *t = moeq_tokenizer_open(path, &err);
    if (!t)
        printf("\n%s: %s\n", err.file, err.message);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    free(path);
    return t;
}

/* A tiktoken.model, built line by line. */
struct model {
    char text[65536];
    size_t n_bytes;
    uint32_t n_ranks;
};

static void add_line(struct model *m, const uint8_t *token, size_t n, uint32_t rank)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char line[128];
    size_t at = 0;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t group = (uint32_t)token[i] << 16 | (i + 1 < n ? (uint32_t)token[i + 1] << 8 : 0) |
                         (i + 2 < n ? token[i + 2] : 0);
        line[at++] = digits[group >> 18];
        line[at++] = digits[group >> 12 & 63];
        line[at++] = i + 1 < n ? digits[group >> 6 & 63] : '=';
        line[at++] = i + 2 < n ? digits[group & 63] : '=';
    }
    int n_line =
        snprintf(m->text + m->n_bytes, sizeof m->text - m->n_bytes, "%.*s %u\n", (int)at, line, rank);
    CU_ASSERT_FATAL(n_line > 0 && m->n_bytes + (size_t)n_line < sizeof m->text);
    m->n_bytes += (size_t)n_line;
}

static void add_token(struct model *m, const char *token)
{
    add_line(m, (const uint8_t *)token, strlen(token), m->n_ranks++);
}

/* All bytes: 'a' is 97 and so on. */
static struct model bytes_model(void)
{
    struct model m = {.n_ranks = 256};
    for (uint32_t i = 0; i < 256; i++)
        add_line(&m, &(uint8_t){(uint8_t)i}, 1, i);
    return m;
}

static struct moeq_tokenizer *parse(const struct model *m, const char *config, struct moeq_error *err)
{
    return moeq_tokenizer_parse_ranks(m->text, m->n_bytes, config, config ? strlen(config) : 0, err);
}

static void expect(const struct moeq_tokenizer *t, const char *text, size_t n_ids, const int32_t *ids)
{
    struct moeq_tokens tokens = {0};
    CU_ASSERT_EQUAL(moeq_tokenizer_encode(t, text, strlen(text), &tokens, NULL), MOEQ_OK);
    bool same = tokens.n_tokens == n_ids && memcmp(tokens.ids, ids, n_ids * sizeof *ids) == 0;
    CU_ASSERT_TRUE(same);
    for (size_t i = 0; !same && i < tokens.n_tokens; i++)
        printf("%s%d", i ? " " : "\ngot ", (int)tokens.ids[i]);
    moeq_tokens_free(&tokens);
}

#define EXPECT(t, text, ...)                                                                                 \
    expect(t, text, sizeof(int32_t[]){__VA_ARGS__} / sizeof(int32_t), (int32_t[]){__VA_ARGS__})

/* ---- the ids of other programs ---- */

/* The text of a vector: [[part, times], …]. */
static void build_text(const json_t *parts, struct moeq_bytes *text)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < json_array_size(parts); i++)
        n += json_string_length(json_array_get(json_array_get(parts, i), 0)) *
             (size_t)json_integer_value(json_array_get(json_array_get(parts, i), 1));
    CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(text, n + 1, NULL), MOEQ_OK);
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(json_array_get(parts, i), 0);
        for (json_int_t k = json_integer_value(json_array_get(json_array_get(parts, i), 1)); k > 0; k--) {
            memcpy(text->data + at, json_string_value(part), json_string_length(part));
            at += json_string_length(part);
        }
    }
    text->n_bytes = n;
}

static bool same_ids(const struct moeq_tokens *tokens, const json_t *expected)
{
    if (json_is_object(expected)) {
        uLong crc = crc32(0, (const uint8_t *)tokens->ids, (uInt)(tokens->n_tokens * sizeof *tokens->ids));
        return tokens->n_tokens == (size_t)json_integer_value(json_object_get(expected, "n_tokens")) &&
               crc == (uLong)json_integer_value(json_object_get(expected, "crc32"));
    }
    if (tokens->n_tokens != json_array_size(expected))
        return false;
    for (size_t i = 0; i < tokens->n_tokens; i++)
        if (tokens->ids[i] != json_integer_value(json_array_get(expected, i)))
            return false;
    return true;
}

static json_t *load_vectors(void)
{
    char *path = data_path("vectors.json");
    json_t *root = moeq_json_load(path, MEGABYTE, NULL);
    CU_ASSERT_TRUE_FATAL(json_array_size(json_object_get(root, "vectors")) > 200);
    free(path);
    return root;
}

static void check_vectors(const char *name)
{
    json_t *root = load_vectors();
    const json_t *vectors = json_object_get(root, "vectors");
    struct moeq_tokenizer *t = open_data(name);
    struct moeq_bytes text = {0};
    clock_t start = clock();
    for (size_t i = 0; i < json_array_size(vectors); i++) {
        const json_t *vector = json_array_get(vectors, i);
        struct moeq_tokens tokens = {0};
        struct moeq_error err = {0};
        build_text(json_object_get(vector, "text"), &text);
        CU_ASSERT_EQUAL(moeq_tokenizer_encode(t, text.data, text.n_bytes, &tokens, &err), MOEQ_OK);
        bool same = same_ids(&tokens, json_object_get(vector, name));
        CU_ASSERT_TRUE(same);
        if (!same)
            printf("\n%s, vector %zu: \"%.60s\" %s\n", name, i, (const char *)text.data, err.message);
        moeq_tokens_free(&tokens);
    }
    CU_ASSERT_TRUE((double)(clock() - start) / CLOCKS_PER_SEC < MAX_SECONDS);
    moeq_bytes_free(&text);
    moeq_tokenizer_close(t);
    json_decref(root);
}

static void test_kimi_gives_the_ids_of_tiktoken(void)
{
    check_vectors("kimi");
}

static void test_glm_gives_the_ids_of_tokenizers(void)
{
    check_vectors("glm");
}

/* ---- merging ---- */

/* A word that is a token is taken whole though no merges make it; parts may have higher ranks than what they
 * make; of two pairs the lower rank goes first, and the left one of the same. */
static void test_words_and_merges(void)
{
    struct model m = bytes_model();
    static const char *const tokens[] = {"wxyz", "abc", "ab", "bc", "cd", "aa"};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        add_token(&m, tokens[i]);
    struct moeq_tokenizer *t = parse(&m, NULL, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    EXPECT(t, "wxyz", 256);
    EXPECT(t, "wxyzw", 'w', 'x', 'y', 'z', 'w');
    EXPECT(t, "dabc", 'd', 257);
    EXPECT(t, "abcd", 257, 'd');
    EXPECT(t, "bcd", 259, 'd');
    EXPECT(t, "aaa", 261, 'a');
    CU_ASSERT_EQUAL(moeq_tokenizer_vocabulary(t), 262 + N_SPECIAL);
    CU_ASSERT_FALSE(moeq_tokenizer_adds_bos(t));
    moeq_tokenizer_close(t);
}

/* tiktoken's rule word for word: look for the pair whose bytes are the token of the lowest rank. */
static size_t merge_by_rule(const char *const *tokens, size_t n_tokens, const char *word, size_t n,
                            size_t *ends)
{
    for (size_t i = 0; i < n; i++)
        ends[i] = i + 1;
    for (;;) {
        size_t best = n_tokens, best_at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            size_t begin = i ? ends[i - 1] : 0, n_pair = ends[i + 1] - begin;
            for (size_t k = 0; k < best; k++)
                if (strlen(tokens[k]) == n_pair && memcmp(tokens[k], word + begin, n_pair) == 0) {
                    best = k;
                    best_at = i;
                }
        }
        if (best == n_tokens)
            return n;
        n--;
        memmove(ends + best_at, ends + best_at + 1, (n - best_at) * sizeof *ends);
    }
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

/* Vocabularies without any order: whatever tokens and ranks, merges are those of the rule. */
static void test_any_vocabulary_merges_by_the_rule(void)
{
    enum { N_TOKENS = 40, MAX_LENGTH = 7, N_WORD = 60 };
    uint32_t state = 1;
    for (int round = 0; round < 100; round++) {
        struct model m = bytes_model();
        char store[N_TOKENS][MAX_LENGTH + 1];
        const char *tokens[N_TOKENS];
        size_t n_tokens = 0;
        while (n_tokens < N_TOKENS) {
            char *token = store[n_tokens];
            size_t n = 2 + next_random(&state) % (MAX_LENGTH - 1), same = 0;
            for (size_t i = 0; i < n; i++)
                token[i] = (char)('a' + next_random(&state) % 2);
            token[n] = 0;
            while (same < n_tokens && strcmp(tokens[same], token) != 0)
                same++;
            if (same == n_tokens) {
                add_token(&m, token);
                tokens[n_tokens++] = token;
            }
        }
        struct moeq_tokenizer *t = parse(&m, NULL, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(t);
        for (size_t n = 8; n <= N_WORD; n++) {
            char word[N_WORD];
            size_t ends[N_WORD];
            struct moeq_tokens got = {0};
            for (size_t i = 0; i < n; i++)
                word[i] = (char)('a' + next_random(&state) % 2);
            size_t n_parts = merge_by_rule(tokens, n_tokens, word, n, ends);
            CU_ASSERT_EQUAL_FATAL(moeq_tokenizer_encode(t, word, n, &got, NULL), MOEQ_OK);
            CU_ASSERT_EQUAL_FATAL(got.n_tokens, n_parts);
            for (size_t i = 0, at = 0; i < n_parts; i++) {
                size_t n_bytes = 0;
                CU_ASSERT_PTR_NOT_NULL(moeq_tokenizer_bytes(t, got.ids[i], &n_bytes));
                CU_ASSERT_EQUAL_FATAL(at + n_bytes, ends[i]);
                at = ends[i];
            }
            moeq_tokens_free(&got);
        }
        moeq_tokenizer_close(t);
    }
}

/* ---- special tokens ---- */

static void test_special_tokens(void)
{
    struct model m = bytes_model();
    struct moeq_tokenizer *t =
        parse(&m,
              "{\"added_tokens_decoder\":{\"256\":{\"content\":\"[BOS]\",\"special\":true},"
              "\"511\":{\"content\":\"<think>\",\"special\":false}}}",
              NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    EXPECT(t, "[BOS]a<think>", 256, 'a', 511);
    EXPECT(t, "<|reserved_token_257|><|reserved_token_510|>", 257, 510);
    EXPECT(t, "<|x", '<', '|', 'x');
    size_t n = 0;
    const uint8_t *bytes = moeq_tokenizer_bytes(t, 257, &n);
    CU_ASSERT_TRUE(bytes && n == 22 && memcmp(bytes, "<|reserved_token_257|>", n) == 0);
    moeq_tokenizer_close(t);
}

/* ---- cutting ---- */

static void test_long_texts_are_cut(void)
{
    static const struct {
        const char *filling;
        size_t n_characters, n_first; /* in all, and before the first cut */
    } cases[] = {{"a", 25000, 25000},
                 {"a", 25001, 25000},
                 {" ", 25001, 25000},
                 {"\xe4\xb8\x80", 25001, 25000},
                 {"\x1c ", 25001, 25000},
                 {"a ", 400000, 400000},
                 {"a ", 400001, 400000},
                 {"a\xc2\x85", 400001, 400000},
                 {"\xe2\x80\x8b ", 30000, 30000}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *filling = cases[i].filling;
        size_t n = 0, n_first = 0;
        char *text = malloc(cases[i].n_characters * 3);
        CU_ASSERT_PTR_NOT_NULL_FATAL(text);
        const uint8_t *from = (const uint8_t *)filling;
        for (size_t k = 0; k < cases[i].n_characters; k++) {
            const uint8_t *character = from;
            moeq_utf8_next(&from);
            memcpy(text + n, character, (size_t)(from - character));
            n += (size_t)(from - character);
            from = *from ? from : (const uint8_t *)filling;
            n_first = k + 1 == cases[i].n_first ? n : n_first;
        }
        uint32_t n_characters = 0;
        CU_ASSERT_EQUAL(moeq_tiktoken_cut((const uint8_t *)text, n, 0, &n_characters), n_first);
        CU_ASSERT_EQUAL(n_characters, cases[i].n_first % 400000);
        free(text);
    }
}

/* ---- files that are damaged, hostile, or of a kind that would give other ids ---- */

static void test_refused_models(void)
{
    static const struct {
        const char *line, *message; /* after the 256 bytes; a part of the error */
    } cases[] = {
        {"YWE=", "rank"},
        {"YWE= ", "rank"},
        {"YWE= x", "rank"},
        {"YWE= -1", "rank"},
        {"YWE= 256 7", "rank"},
        {"YWE=  256", "rank"},
        {"YWE= 0256", "rank"},
        {"YWE= 257", "rank"},
        {"YWE= 255", "the rank 255"},
        {"YWE= 99999999999", "rank"},
        {" 256", "base64"},
        {"= 256", "base64"},
        {"YW= 256", "base64"},
        {"Y=E= 256", "base64"},
        {"==== 256", "base64"},
        {"YW-E 256", "base64"},
        {"YQ== 256", "same bytes"},
        {"YWE=\t256", "rank"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct model m = bytes_model();
        struct moeq_error err = {0};
        size_t offset = m.n_bytes;
        m.n_bytes += (size_t)snprintf(m.text + m.n_bytes, 64, "%s\n", cases[i].line);
        CU_ASSERT_PTR_NULL(parse(&m, NULL, &err));
        bool as_expected = err.status == MOEQ_DAMAGED && strstr(err.message, cases[i].message) &&
                           err.has_offset && err.offset == offset && strcmp(err.file, "tiktoken.model") == 0;
        CU_ASSERT_TRUE(as_expected);
        if (!as_expected)
            printf("\n\"%s\": %s\n", cases[i].line, err.message);
    }
    struct moeq_error err = {0};
    CU_ASSERT_PTR_NULL(moeq_tokenizer_parse_ranks("", 0, NULL, 0, &err));
    CU_ASSERT_EQUAL(err.status, MOEQ_DAMAGED);
    err = (struct moeq_error){0};
    CU_ASSERT_PTR_NULL(moeq_tokenizer_parse_ranks("YQ== 0\n", 7, NULL, 0, &err));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "0x00 is no token"));
}

static void test_lines_may_end_as_they_like(void)
{
    struct model m = bytes_model();
    struct moeq_tokenizer *t;
    m.n_bytes += (size_t)snprintf(m.text + m.n_bytes, 64, "\n\r\nYWE= 256\r\n\nYmI= 257");
    CU_ASSERT_PTR_NOT_NULL_FATAL(t = parse(&m, NULL, NULL));
    EXPECT(t, "aab", 256, 'b');
    EXPECT(t, "bb", 257);
    moeq_tokenizer_close(t);
}

static void test_refused_configs(void)
{
#define DECODER(entries) "{\"added_tokens_decoder\":{" entries "}}"
    static const struct {
        const char *config;
        enum moeq_status status;
        const char *message;
    } cases[] = {
        {"[]", MOEQ_DAMAGED, "object"},
        {"{\"added_tokens_decoder\":[]}", MOEQ_DAMAGED, "added_tokens_decoder"},
        {"{\"tokenizer_class\":\"QWenTokenizer\"}", MOEQ_UNSUPPORTED, "QWenTokenizer"},
        {DECODER("\"255\":{\"content\":\"x\"}"), MOEQ_UNSUPPORTED, "\"255\""},
        {DECODER("\"512\":{\"content\":\"x\"}"), MOEQ_UNSUPPORTED, "\"512\""},
        {DECODER("\"x\":{\"content\":\"x\"}"), MOEQ_UNSUPPORTED, "\"x\""},
        {DECODER("\"-256\":{\"content\":\"x\"}"), MOEQ_UNSUPPORTED, "\"-256\""},
        {DECODER("\"256\":{\"content\":\"\"}"), MOEQ_DAMAGED, "0 bytes"},
        {DECODER("\"256\":{}"), MOEQ_DAMAGED, "content"},
        {DECODER("\"256\":7"), MOEQ_DAMAGED, "content"},
        {DECODER("\"256\":{\"content\":\"x\",\"lstrip\":true}"), MOEQ_UNSUPPORTED, "lstrip"},
        {DECODER("\"256\":{\"content\":\"x\"},\"257\":{\"content\":\"x\"}"), MOEQ_DAMAGED, "twice"},
    };
    struct model m = bytes_model();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_error err = {0};
        CU_ASSERT_PTR_NULL(parse(&m, cases[i].config, &err));
        bool as_expected = err.status == cases[i].status && strstr(err.message, cases[i].message) &&
                           strcmp(err.file, "tokenizer_config.json") == 0;
        CU_ASSERT_TRUE(as_expected);
        if (!as_expected)
            printf("\n%s: %s: %s\n", cases[i].config, err.file, err.message);
    }
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("tiktoken", NULL, NULL);
    CU_ADD_TEST(suite, test_kimi_gives_the_ids_of_tiktoken);
    CU_ADD_TEST(suite, test_glm_gives_the_ids_of_tokenizers);
    CU_ADD_TEST(suite, test_words_and_merges);
    CU_ADD_TEST(suite, test_any_vocabulary_merges_by_the_rule);
    CU_ADD_TEST(suite, test_special_tokens);
    CU_ADD_TEST(suite, test_long_texts_are_cut);
    CU_ADD_TEST(suite, test_refused_models);
    CU_ADD_TEST(suite, test_lines_may_end_as_they_like);
    CU_ADD_TEST(suite, test_refused_configs);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned n_failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return n_failures != 0;
}
