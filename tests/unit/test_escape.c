/* Names and texts from files must mean nothing in a report. */
#include "unit.h"

#include "escape.h"

#include <stdlib.h>

static void check(void (*escape)(FILE *, const char *), const char *text, const char *wanted)
{
    char *found = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&found, &n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    escape(out, text);
    fclose(out);
    CU_ASSERT_STRING_EQUAL(found, wanted);
    free(found);
}

static void test_xml(void)
{
    check(moeq_escape_xml, "<a href=\"x\">'&amp;'</a>",
          "&lt;a href=&quot;x&quot;&gt;&#39;&amp;amp;&#39;&lt;/a&gt;");
    check(moeq_escape_xml, "tab\tbell\a\x7f]]>", "tab?bell??]]&gt;");
    check(moeq_escape_xml, "gr\u00fc\u00dfe \u4f60 \U0001F600", "gr\u00fc\u00dfe \u4f60 \U0001F600");
    check(moeq_escape_xml, "\xff\xc3", "??"); /* no UTF-8, and a character that is cut */
    check(moeq_escape_xml, "\xed\xa0\x80 \xef\xbf\xbf", "??? ???"); /* a surrogate, U+FFFF */
    check(moeq_escape_xml, "\xc2\x85", "??");                       /* a control character of two bytes */
}

static void test_markdown(void)
{
    check(moeq_escape_markdown, "a|b `c` *d* [e](f) <g>", "a\\|b \\`c\\` \\*d\\* \\[e\\](f) &lt;g&gt;");
    check(moeq_escape_markdown, "two\nlines", "two?lines");
}

int main(void)
{
    const struct unit_test tests[] = {
        {"XML", test_xml},
        {"Markdown", test_markdown},
        {NULL, NULL},
    };
    return unit_main("escape", tests);
}
