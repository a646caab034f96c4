#include "escape.h"

#include "bytes.h"

/* What stands for a byte of ASCII, NULL: itself; and what stands before such a byte. */
struct language {
    const char *(*instead)(char c);
    const char *marked; /* these get a backslash */
};

static const char *in_xml(char c)
{
    switch (c) {
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '&':
        return "&amp;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

static const struct language xml = {in_xml, ""}, markdown = {in_xml, "\\`*_[]|~"};

/* Bytes of the character at `text`, 0 where it is none that can be shown. */
static size_t good_character(const char *text)
{
    const unsigned char first = (unsigned char)*text;
    const size_t n = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (moeq_control_length(text) || strnlen(text, n) < n || !moeq_utf8_valid((const uint8_t *)text, n, NULL))
        return 0;
    /* U+FFFE and U+FFFF are no characters of XML. */
    return n == 3 && memcmp(text, "\xEF\xBF", 2) == 0 && (unsigned char)text[2] >= 0xBE ? 0 : n;
}

static void escape(FILE *out, const char *text, const struct language *language)
{
    while (*text) {
        const size_t n = good_character(text);
        const char *instead = n == 1 ? language->instead(*text) : NULL;
        if (n == 1 && strchr(language->marked, *text))
            fputc('\\', out);
        if (!n)
            fputc('?', out);
        else if (instead)
            fputs(instead, out);
        else
            fwrite(text, 1, n, out);
        text += n ? n : 1;
    }
}

void moeq_escape_xml(FILE *out, const char *text)
{
    escape(out, text, &xml);
}

void moeq_escape_markdown(FILE *out, const char *text)
{
    escape(out, text, &markdown);
}
