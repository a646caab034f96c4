#include "json_scan.h"

#include "bytes.h"

#include <math.h>
#include <stdlib.h>

#define MAX_NESTING 127

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Four hexadecimal digits at p, or -1. A NUL ends the text and is no digit. */
static int32_t hex4(const char *p)
{
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = is_digit(c)            ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static bool is_high_surrogate(int32_t unit)
{
    return unit >= 0xD800 && unit < 0xDC00;
}

static bool is_low_surrogate(int32_t unit)
{
    return unit >= 0xDC00 && unit < 0xE000;
}

/* ---- checking ---- */

struct check {
    const char *text;
    size_t n, at;
    uint64_t base;
    struct moeq_error *err;
};

static enum moeq_status not_json(const struct check *c, size_t at, const char *why)
{
    moeq_fail(c->err, MOEQ_DAMAGED, "not valid JSON: %s", why);
    moeq_error_at(c->err, c->base + at);
    return MOEQ_DAMAGED;
}

static void skip_space(struct check *c)
{
    while (is_space(c->text[c->at]))
        c->at++;
}

/* The escape behind the backslash at `at`: its length, or 0. */
static size_t escape_length(const char *p)
{
    if (p[1] && strchr("\"\\/bfnrt", p[1]))
        return 2;
    int32_t unit = p[1] == 'u' ? hex4(p + 2) : -1;
    if (unit < 0 || is_low_surrogate(unit))
        return 0;
    if (!is_high_surrogate(unit))
        return 6;
    return p[6] == '\\' && p[7] == 'u' && is_low_surrogate(hex4(p + 8)) ? 12 : 0;
}

static enum moeq_status check_string(struct check *c)
{
    if (c->text[c->at] != '"')
        return not_json(c, c->at, "a string was expected");
    for (c->at++; c->text[c->at] != '"';) {
        const char *p = c->text + c->at;
        if (c->at >= c->n)
            return not_json(c, c->at, "a string without an end");
        if ((unsigned char)*p < 0x20)
            return not_json(c, c->at, "a control character in a string");
        size_t length = *p == '\\' ? escape_length(p) : 1;
        if (!length)
            return not_json(c, c->at, "a bad escape in a string");
        c->at += length;
    }
    c->at++;
    return MOEQ_OK;
}

static bool take_digits(struct check *c)
{
    const size_t begin = c->at;
    while (is_digit(c->text[c->at]))
        c->at++;
    return c->at > begin;
}

static enum moeq_status check_number(struct check *c)
{
    const size_t begin = c->at;
    c->at += c->text[c->at] == '-';
    const bool zero = c->text[c->at] == '0';
    const size_t digits = c->at;
    if (!take_digits(c) || (zero && c->at - digits > 1))
        return not_json(c, begin, "not a number");
    bool good = true;
    if (c->text[c->at] == '.') {
        c->at++;
        good = take_digits(c);
    }
    if (good && (c->text[c->at] == 'e' || c->text[c->at] == 'E')) {
        c->at++;
        c->at += c->text[c->at] == '+' || c->text[c->at] == '-';
        good = take_digits(c);
    }
    if (!good)
        return not_json(c, begin, "not a number");
    return isfinite(strtod(c->text + begin, NULL)) ? MOEQ_OK : not_json(c, begin, "a number out of range");
}

static enum moeq_status check_word(struct check *c)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strncmp(c->text + c->at, words[i], strlen(words[i])) == 0) {
            c->at += strlen(words[i]);
            return MOEQ_OK;
        }
    return not_json(c, c->at, c->at < c->n ? "a value was expected" : "the text ends too early");
}

static enum moeq_status check_value(struct check *c, unsigned depth);

/* An object or array, from its bracket on. */
static enum moeq_status check_container(struct check *c, unsigned depth)
{
    const bool object = c->text[c->at] == '{';
    const char close = object ? '}' : ']';
    enum moeq_status status = MOEQ_OK;
    if (depth > MAX_NESTING)
        return not_json(c, c->at, "nested too deeply");
    c->at++;
    skip_space(c);
    if (c->text[c->at] == close) {
        c->at++;
        return MOEQ_OK;
    }
    for (;;) {
        skip_space(c);
        if (object) {
            if ((status = check_string(c)))
                return status;
            skip_space(c);
            if (c->text[c->at] != ':')
                return not_json(c, c->at, "':' was expected");
            c->at++;
        }
        if ((status = check_value(c, depth)))
            return status;
        skip_space(c);
        if (c->text[c->at] == close) {
            c->at++;
            return MOEQ_OK;
        }
        if (c->text[c->at] != ',')
            return not_json(c, c->at, object ? "',' or '}' was expected" : "',' or ']' was expected");
        c->at++;
    }
}

/* `depth` containers are open around the value. */
static enum moeq_status check_value(struct check *c, unsigned depth)
{
    skip_space(c);
    const char first = c->text[c->at];
    if (first == '{' || first == '[')
        return check_container(c, depth + 1);
    if (first == '"')
        return check_string(c);
    return first == '-' || is_digit(first) ? check_number(c) : check_word(c);
}

enum moeq_status moeq_json_check(const char *text, size_t n, uint64_t base, struct moeq_error *err)
{
    struct check c = {text, n, 0, base, err};
    enum moeq_status status = check_value(&c, 0);
    if (status)
        return status;
    skip_space(&c);
    return c.at == n ? MOEQ_OK : not_json(&c, c.at, "more behind the value");
}

/* ---- walking ---- */

char moeq_json_scan_kind(struct moeq_json_scan *scan)
{
    while (is_space(scan->text[scan->at]))
        scan->at++;
    const char c = scan->text[scan->at];
    return c == '-' || is_digit(c) ? '0' : c;
}

void moeq_json_scan_enter(struct moeq_json_scan *scan)
{
    moeq_json_scan_kind(scan);
    scan->at++;
}

bool moeq_json_scan_next(struct moeq_json_scan *scan)
{
    char c = moeq_json_scan_kind(scan);
    if (c == ',') {
        scan->at++;
        return true;
    }
    const bool more = c != '}' && c != ']';
    scan->at += !more;
    return more;
}

static char *put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xC0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *to++ = (char)(0xE0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    } else {
        *to++ = (char)(0xF0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3F));
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    }
    return to;
}

/* Writes what the escape at p stands for to *to, which is at or before p; returns the escape's length. */
static size_t unescape(struct moeq_json_scan *scan, const char *p, char **to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    if (p[1] != 'u') {
        *(*to)++ = into[strchr(from, p[1]) - from];
        return 2;
    }
    int32_t unit = hex4(p + 2);
    if (unit == 0) { /* a C string cannot hold it */
        if (!scan->nul_at)
            scan->nul_at = (size_t)(p - scan->text);
        memmove(*to, p, 6);
        *to += 6;
        return 6;
    }
    if (!is_high_surrogate(unit)) {
        *to = put_utf8(*to, (uint32_t)unit);
        return 6;
    }
    *to = put_utf8(*to, 0x10000u + ((uint32_t)(unit - 0xD800) << 10) + (uint32_t)(hex4(p + 8) - 0xDC00));
    return 12;
}

const char *moeq_json_scan_string(struct moeq_json_scan *scan)
{
    moeq_json_scan_kind(scan);
    char *p = scan->text + scan->at + 1, *to = p;
    const char *begin = p;
    while (*p != '"') {
        if (*p == '\\')
            p += unescape(scan, p, &to);
        else
            *to++ = *p++;
    }
    scan->at = (size_t)(p - scan->text) + 1;
    *to = '\0'; /* at the closing quote, or before it */
    return begin;
}

const char *moeq_json_scan_key(struct moeq_json_scan *scan)
{
    const char *key = moeq_json_scan_string(scan);
    moeq_json_scan_kind(scan);
    scan->at++; /* the colon */
    return key;
}

bool moeq_json_scan_uint(struct moeq_json_scan *scan, uint64_t *out)
{
    uint64_t value = 0;
    bool good = true;
    moeq_json_scan_kind(scan);
    size_t at = scan->at;
    for (; good && is_digit(scan->text[at]); at++)
        good = moeq_mul(value, 10, &value) && moeq_add(value, (uint64_t)(scan->text[at] - '0'), &value);
    good = good && at > scan->at && !strchr(".eE", scan->text[at]);
    if (good)
        scan->at = at;
    else
        moeq_json_scan_skip(scan);
    *out = value;
    return good;
}

static size_t behind_string(const char *text, size_t at)
{
    for (at++; text[at] != '"'; at++)
        at += text[at] == '\\';
    return at + 1;
}

void moeq_json_scan_skip(struct moeq_json_scan *scan)
{
    const char *text = scan->text;
    size_t open = 0, at;
    moeq_json_scan_kind(scan);
    at = scan->at;
    do {
        if (text[at] == '"') {
            at = behind_string(text, at);
        } else if (text[at] == '{' || text[at] == '[') {
            open++;
            at++;
        } else if (text[at] == '}' || text[at] == ']') {
            open--;
            at++;
        } else if (open) { /* a comma, a colon, a space, a piece of a number or word */
            at++;
        } else {
            while (text[at] && !is_space(text[at]) && !strchr(",]}", text[at]))
                at++;
        }
    } while (open);
    scan->at = at;
}
