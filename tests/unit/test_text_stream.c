/* Pieces of a text are whole characters, however tokens cut it, and end before a stop. */
#include "unit.h"

#include "bytes.h"
#include "text_stream.h"

/* Feeds a text in pieces of n bytes; each piece that comes out must be UTF-8. */
static void run(const char *bytes, size_t n_bytes, size_t n, const char *const *stops, size_t n_stops,
                const char *expected, bool stopped)
{
    struct moeq_text_stream s = {.stops = stops, .n_stops = n_stops};
    char shown[256] = "";
    size_t n_shown = 0, length;
    for (size_t i = 0; i < n_bytes && !s.has_stopped; i += n) {
        const size_t here = n_bytes - i < n ? n_bytes - i : n;
        CU_ASSERT_EQUAL(moeq_text_stream_add(&s, (const uint8_t *)bytes + i, here, NULL), MOEQ_OK);
        const char *piece = moeq_text_stream_next(&s, false, &length);
        CU_ASSERT(moeq_utf8_valid((const uint8_t *)piece, length, NULL));
        memcpy(shown + n_shown, piece, length);
        n_shown += length;
        CU_ASSERT(strncmp(shown, expected, n_shown) == 0);
    }
    CU_ASSERT_EQUAL(moeq_text_stream_end(&s, NULL), MOEQ_OK);
    const char *piece = moeq_text_stream_next(&s, true, &length);
    memcpy(shown + n_shown, piece, length);
    n_shown += length;
    shown[n_shown] = '\0';
    CU_ASSERT_STRING_EQUAL(shown, expected);
    CU_ASSERT_STRING_EQUAL(s.text, expected);
    CU_ASSERT_EQUAL(s.has_stopped, stopped);
    moeq_text_stream_free(&s);
}

static void each_size(const char *bytes, const char *const *stops, size_t n_stops, const char *expected,
                      bool stopped)
{
    for (size_t n = 1; n <= strlen(bytes) + 1; n++)
        run(bytes, strlen(bytes), n, stops, n_stops, expected, stopped);
}

static void test_characters(void)
{
    static const struct {
        const char *bytes, *expected;
    } cases[] = {
        {"plain", "plain"},
        {"gr\xc3\xbc\xc3\x9f \xe4\xbd\xa0 \xf0\x9f\x98\x80!",
         "gr\xc3\xbc\xc3\x9f \xe4\xbd\xa0 \xf0\x9f\x98\x80!"},
        {"a\x80z", "a\xef\xbf\xbdz"},
        {"a\xe4\xbdz", "a\xef\xbf\xbdz"},
        {"a\xf0\x9f\x98", "a\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe4\xc3\xbc", "\xef\xbf\xbd\xc3\xbc"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        each_size(cases[i].bytes, NULL, 0, cases[i].expected, false);
}

static void test_stops(void)
{
    static const char *const stops[] = {"\nQuestion:", "END", "\n\n\n", "\xe2\x82\xac"};
    each_size("one\ntwo\nQuest\nQuestion: three", stops, 4, "one\ntwo\nQuest", true);
    each_size("aEEND b", stops, 4, "aE", true);
    each_size("a\n\n b\n\n", stops, 4, "a\n\n b\n\n", false);
    each_size("EN", stops, 4, "EN", false);
    each_size("END", stops, 4, "", true);
    each_size("costs \xe2\x82\xac"
              "5",
              stops, 4, "costs ", true);
    each_size("dash \xe2\x80\x93", stops, 4, "dash \xe2\x80\x93", false);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"characters come whole", test_characters},
        {"a stop ends a text", test_stops},
        {NULL, NULL},
    };
    return unit_main("text_stream", tests);
}
