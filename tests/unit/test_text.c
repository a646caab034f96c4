/* Texts: the same bytes from a file, gzip, JSON lines and a pipe; damage is named. */
#include "unit.h"

#include "../fuzz/fixture.h"
#include "text.h"

#include <fcntl.h>
#include <pthread.h>
#include <zlib.h>

static char folder[FIXTURE_PATH];
static char path[FIXTURE_PATH];

/* gzip of a text, appended to dst at *n. */
static void append_gzip(uint8_t *dst, size_t *n, const void *text, size_t n_text)
{
    z_stream z = {0};
    fixture_need(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK, "zlib");
    z.next_in = (Bytef *)(uintptr_t)text;
    z.avail_in = (uInt)n_text;
    z.next_out = dst + *n;
    z.avail_out = 1 << 16;
    fixture_need(deflate(&z, Z_FINISH) == Z_STREAM_END, "zlib");
    *n += z.total_out;
    deflateEnd(&z);
}

static void write_file(const char *name, const void *data, size_t n)
{
    fixture_write(folder, name, data, n);
    fixture_path(path, folder, name);
}

static void gives_up_to(size_t max_bytes, const char *expected, size_t n)
{
    struct moeq_bytes text = {0};
    struct moeq_error err = {0};
    CU_ASSERT_EQUAL(moeq_text_read(path, max_bytes, &text, &err), MOEQ_OK);
    if (text.n_bytes != n || (n && memcmp(text.data, expected, n) != 0)) {
        printf("\n  found \"%.*s\", %s", (int)text.n_bytes, text.data ? (const char *)text.data : "",
               err.message);
        CU_FAIL("another text");
    }
    moeq_bytes_free(&text);
}

static void gives(const char *expected)
{
    gives_up_to(1 << 20, expected, strlen(expected));
}

static void refused(size_t max_bytes, enum moeq_status expected, const char *says)
{
    struct moeq_bytes text = {0};
    struct moeq_error err = {0};
    enum moeq_status status = moeq_text_read(path, max_bytes, &text, &err);
    if (status != expected || err.status != expected || !strstr(err.message, says) ||
        strcmp(err.file, path) != 0) {
        printf("\n  expected \"%s\": status %d, %s: \"%s\"", says, status, err.file, err.message);
        CU_FAIL("not refused as it should be");
    }
    moeq_bytes_free(&text);
    CU_ASSERT_EQUAL(moeq_text_read(path, max_bytes, &text, NULL), expected);
    moeq_bytes_free(&text);
}

static void test_plain(void)
{
    fixture_make(folder);
    write_file("a.txt", "one\ntwo", 7);
    gives("one\ntwo");
    gives_up_to(7, "one\ntwo", 7);
    refused(6, MOEQ_DAMAGED, "limit of 6");
    write_file("a.txt", "", 0);
    gives("");
    write_file("a.txt", "\x1f", 1);
    gives("\x1f");
    fixture_path(path, folder, "nothing");
    refused(100, MOEQ_IO, "cannot open");
    snprintf(path, sizeof path, "%s", folder);
    refused(100, MOEQ_IO, "a folder");
    fixture_remove(folder);
}

static void test_gzip(void)
{
    static uint8_t data[1 << 18];
    size_t n = 0, first;
    fixture_make(folder);
    append_gzip(data, &n, "one ", 4);
    first = n;
    append_gzip(data, &n, "", 0);
    append_gzip(data, &n, "two", 3);
    write_file("named.txt", data, n); /* the bytes tell, not the name */
    gives("one two");
    gives_up_to(7, "one two", 7);
    refused(6, MOEQ_DAMAGED, "limit of 6");
    memset(data + n, 0, 700);
    write_file("a.gz", data, n + 700);
    gives("one two");
    for (size_t cut = 2; cut < first; cut++) {
        write_file("a.gz", data, cut);
        refused(100, MOEQ_DAMAGED, "too early");
    }
    memcpy(data + n, "more", 4);
    write_file("a.gz", data, n + 4);
    refused(100, MOEQ_DAMAGED, "follows behind");
    memcpy(data + n, "\0\0x", 3);
    write_file("a.gz", data, n + 3);
    refused(100, MOEQ_DAMAGED, "follows behind");
    for (size_t i = 1; i <= 8; i++) { /* CRC and length */
        data[first - i] ^= 1;
        write_file("a.gz", data, n);
        refused(100, MOEQ_DAMAGED, "damaged gzip data");
        data[first - i] ^= 1;
    }
    fixture_remove(folder);
}

/* Wherever the blocks end in which it is read, nothing but zeros follows a zero. */
static void test_gzip_behind_padding(void)
{
    static uint8_t data[1 << 18];
    const size_t block = 64 << 10;
    size_t n = 0, n_more = 0;
    static uint8_t more[1 << 16];
    fixture_make(folder);
    append_gzip(data, &n, "one ", 4);
    append_gzip(more, &n_more, "two", 3);
    for (size_t at = block - 4; at <= block + 4; at++) {
        memset(data + n, 0, sizeof data - n);
        write_file("a.gz", data, at);
        gives("one ");
        memcpy(data + at, more, n_more);
        write_file("a.gz", data, at + n_more);
        refused(100, MOEQ_DAMAGED, "follows behind");
    }
    fixture_remove(folder);
}

/* 64 MB of zeros in 64 kB: only as much memory as the limit. */
static void test_gzip_bomb(void)
{
    uint8_t *zeros = calloc(64, 1 << 20), *data = malloc(1 << 20);
    size_t n = 0;
    fixture_need(zeros && data, "memory");
    fixture_make(folder);
    append_gzip(data, &n, zeros, (size_t)64 << 20);
    write_file("a.gz", data, n);
    refused((size_t)8 << 20, MOEQ_DAMAGED, "limit of 8388608");
    free(zeros);
    free(data);
    fixture_remove(folder);
}

static void test_json_lines(void)
{
    static const char lines[] =
        "{\"text\":\"one\"}\n \r\n{\"id\":7,\"text\":\"t\\u00e9\\n\",\"x\":[]}\r\n{\"text\":\"\"}";
    static uint8_t data[1 << 17];
    size_t n = 0;
    fixture_make(folder);
    write_file("a.jsonl", lines, sizeof lines - 1);
    gives("one\n\nt\xc3\xa9\n\n\n");
    append_gzip(data, &n, lines, sizeof lines - 1);
    write_file("a.jsonl.gz", data, n);
    gives("one\n\nt\xc3\xa9\n\n\n");
    write_file("a.txt", lines, sizeof lines - 1);
    gives(lines);
    write_file("a.jsonl", "\n\n", 2);
    gives("");
    fixture_remove(folder);
}

static void test_bad_json_lines(void)
{
    static const struct {
        const char *text, *says;
    } lines[] = {
        {"{\"text\":\"one\"}\n\n{\"text\":3}", "line 3: \"text\" must be a string"},
        {"{\"text\":\"one\"}\n{\"txt\":\"\"}\n", "line 2: the key \"text\" is missing"},
        {"[\"text\"]", "line 1: not a JSON object"},
        {"{\"text\":\"one\"}\n{\"text\":\"tw", "line 2: not valid JSON"},
        {"{\"text\":\"one\"} {\"text\":\"two\"}\n", "line 1: not valid JSON"},
        {"{\"text\":\"a\\u0000b\"}\n", "line 1: not valid JSON"},
        {"{\n\"text\":\"one\"}\n", "line 1: not valid JSON"},
        {"{\"text\":\"\xff\"}\n", "line 1: not valid JSON"},
    };
    fixture_make(folder);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        write_file("a.jsonl", lines[i].text, strlen(lines[i].text));
        refused(1000, MOEQ_DAMAGED, lines[i].says);
    }
    fixture_remove(folder);
}

static void *write_slowly(void *context)
{
    const char *text = context;
    FILE *out = fopen(path, "wb");
    fixture_need(out != NULL, path);
    for (; *text; text++) {
        fputc(*text, out);
        fflush(out);
    }
    fclose(out);
    return NULL;
}

static void test_pipe(void)
{
    static char text[] = "a text that comes in pieces of one byte";
    pthread_t writer;
    struct moeq_bytes found = {0};
    fixture_make(folder);
    fixture_need(mkfifo(fixture_path(path, folder, "pipe"), 0600) == 0, path);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&writer, NULL, write_slowly, text), 0);
    CU_ASSERT_EQUAL(moeq_text_read(path, 1000, &found, NULL), MOEQ_OK);
    CU_ASSERT(found.n_bytes == strlen(text) && memcmp(found.data, text, found.n_bytes) == 0);
    pthread_join(writer, NULL);
    moeq_bytes_free(&found);
    fixture_remove(folder);
}

/* Larger than the first guess, by a pipe: the buffer grows and keeps what is there. */
static void test_long_standard_input(void)
{
    const size_t n = 5000001;
    char *text = malloc(n);
    struct moeq_bytes found = {0};
    struct moeq_error err = {0};
    fixture_need(text != NULL, "memory");
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + i % 23);
    fixture_make(folder);
    write_file("long", text, n);
    fixture_need(freopen(path, "rb", stdin) != NULL, path);
    snprintf(path, sizeof path, "-");
    CU_ASSERT_EQUAL(moeq_text_read("-", n, &found, NULL), MOEQ_OK);
    CU_ASSERT(found.n_bytes == n && memcmp(found.data, text, n) == 0);
    rewind(stdin);
    fixture_need(lseek(0, 0, SEEK_SET) == 0, "seek");
    CU_ASSERT_EQUAL(moeq_text_read("-", n - 1, &found, &err), MOEQ_DAMAGED);
    CU_ASSERT_STRING_EQUAL(err.file, "standard input");
    moeq_bytes_free(&found);
    free(text);
    fixture_remove(folder);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"plain files", test_plain},
        {"gzip", test_gzip},
        {"gzip behind padding", test_gzip_behind_padding},
        {"a gzip bomb", test_gzip_bomb},
        {"JSON lines", test_json_lines},
        {"bad JSON lines", test_bad_json_lines},
        {"a pipe", test_pipe},
        {"long standard input", test_long_standard_input},
        {NULL, NULL},
    };
    return unit_main("text", tests);
}
