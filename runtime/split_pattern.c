#include "split_pattern.h"

#include "bytes.h"

#include <ctype.h>
#include <stdlib.h>

/* Unicode's White_Space, stable since Unicode 6.3, and everything else, as class members. */
#define SPACES                                                                                               \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{" \
    "3000}"
#define NO_SPACES                                                                                            \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"          \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

/* The longest thing one character of a pattern turns into. */
#define MAX_GROWTH (sizeof "[]" NO_SPACES)
#define MAX_BYTES  65536

struct rewrite {
    const char *in; /* what is left to read */
    char *out;      /* where to write */
    bool in_class;
    struct moeq_error *err;
};

/* Trailing white space only: the attempts inside a run that has failed once are useless, and would take time
 * quadratic in its length. A match of this form starts at the start of a run or nowhere, because the longest
 * run that ends at a line's end is taken first; looking back changes no match. */
static const char trailing_spaces[] = "\\s+$";
static const char trailing_spaces_once[] = "(?<!\\s)\\s+$";

static enum moeq_status unsupported(struct rewrite *r, int n_shown)
{
    n_shown = (int)strnlen(r->in, (size_t)n_shown);
    while ((r->in[n_shown] & 0xC0) == 0x80)
        n_shown++; /* whole characters only */
    return moeq_fail(r->err, MOEQ_UNSUPPORTED, "the Split pattern uses \"%.*s\", which moeq does not handle",
                     n_shown, r->in);
}

static void put(struct rewrite *r, const char *text)
{
    size_t n = strlen(text);
    memcpy(r->out, text, n);
    r->out += n;
}

static void copy(struct rewrite *r, size_t n)
{
    memcpy(r->out, r->in, n);
    r->out += n;
    r->in += n;
}

static enum moeq_status rewrite_property(struct rewrite *r)
{
    if (r->in[2] != '{')
        return unsupported(r, 3);
    size_t n = 3;
    while (isalnum((unsigned char)r->in[n]) || strchr("^_", r->in[n] ? r->in[n] : 'x'))
        n++;
    if (r->in[n] != '}')
        return unsupported(r, 3);
    copy(r, n + 1);
    return MOEQ_OK;
}

static enum moeq_status rewrite_escape(struct rewrite *r)
{
    unsigned char c = (unsigned char)r->in[1];
    if (c == 'p' || c == 'P')
        return rewrite_property(r);
    if (c == 's' || c == 'S') {
        put(r, r->in_class ? "" : "[");
        put(r, c == 's' ? SPACES : NO_SPACES);
        put(r, r->in_class ? "" : "]");
        r->in += 2;
        return MOEQ_OK;
    }
    bool same = (c && strchr("dDrnt", c)) || (c && c < 0x80 && !isalnum(c));
    if (!same)
        return unsupported(r, 2);
    copy(r, 2);
    return MOEQ_OK;
}

static enum moeq_status rewrite_in_class(struct rewrite *r)
{
    if (*r->in == '[' || (r->in[0] == '&' && r->in[1] == '&'))
        return unsupported(r, 2);
    if (*r->in == ']')
        r->in_class = false;
    copy(r, 1);
    return MOEQ_OK;
}

static enum moeq_status rewrite_class_start(struct rewrite *r)
{
    size_t n = r->in[1] == '^' ? 2 : 1;
    if (r->in[n] == ']')
        return unsupported(r, (int)n + 1);
    copy(r, n);
    r->in_class = true;
    return MOEQ_OK;
}

static enum moeq_status rewrite_group_start(struct rewrite *r)
{
    static const char *const same[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    if (r->in[1] == '*')
        return unsupported(r, 2);
    if (r->in[1] != '?') {
        copy(r, 1);
        return MOEQ_OK;
    }
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        if (strncmp(r->in, same[i], strlen(same[i])) == 0) {
            copy(r, strlen(same[i]));
            return MOEQ_OK;
        }
    }
    return unsupported(r, 3);
}

/* "{n,m}+" repeats twice in one engine and is possessive in the other; "{n}?" and "{,m}" differ as well. */
static enum moeq_status rewrite_brace(struct rewrite *r)
{
    size_t n = strspn(r->in, "{0123456789,}");
    if (r->in[1] == ',' || (r->in[n - 1] == '}' && strchr("+?", r->in[n] ? r->in[n] : 'x')))
        return unsupported(r, (int)n + 1);
    copy(r, 1);
    return MOEQ_OK;
}

static enum moeq_status rewrite_next(struct rewrite *r)
{
    if (*r->in == '\\')
        return rewrite_escape(r);
    if (r->in_class)
        return rewrite_in_class(r);
    if (*r->in == '[')
        return rewrite_class_start(r);
    if (*r->in == '(')
        return rewrite_group_start(r);
    if (*r->in == '{')
        return rewrite_brace(r);
    copy(r, 1);
    return MOEQ_OK;
}

char *moeq_split_pattern(const char *pattern, struct moeq_error *err)
{
    if (strcmp(pattern, trailing_spaces) == 0)
        pattern = trailing_spaces_once;
    size_t n = strlen(pattern);
    if (n > MAX_BYTES) {
        moeq_fail(err, MOEQ_UNSUPPORTED, "a Split pattern of %zu bytes, more than the limit of %d", n,
                  MAX_BYTES);
        return NULL;
    }
    char *text = moeq_calloc(n + 1, MAX_GROWTH, err);
    if (!text)
        return NULL;
    struct rewrite r = {.in = pattern, .out = text, .err = err};
    while (*r.in) {
        if (rewrite_next(&r)) {
            free(text);
            return NULL;
        }
    }
    return text;
}
