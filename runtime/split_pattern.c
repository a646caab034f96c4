#include "split_pattern.h"

#include "bytes.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Unicode's White_Space, stable since Unicode 6.3, and everything else, as class members. */
#define SPACES                                                                                               \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{" \
    "3000}"
#define NO_SPACES                                                                                            \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"          \
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

/* The longest thing one character of a pattern turns into. */
#define MAX_GROWTH (sizeof "[]" NO_SPACES)

#define MAX_LOOK_DIGITS 2 /* of the upper bound of a repeat in a look-around or atomic group */

/* PCRE2 takes a bare script name for the script's extensions since 10.40, and then has a prefix for the
 * script itself, which is what other engines mean. */
#if PCRE2_MAJOR == 10 && PCRE2_MINOR < 40
#define SCRIPT ""
#else
#define SCRIPT "sc:"
#endif

struct rewrite {
    const char *in; /* what is left to read */
    char *out;      /* where to write */
    bool in_class;
    size_t depth;       /* open groups */
    size_t blind_depth; /* depth inside the outermost (?i:...), 0 outside */
    size_t look_depth;  /* depth inside the outermost look-around or atomic group, 0 outside */
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

/* General categories are copied, as in \p{Lu} and \p{^Lu}; what is longer is a script or unknown to PCRE2. */
static enum moeq_status rewrite_property(struct rewrite *r)
{
    static const char categories[] = " C Cc Cf Cn Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf "
                                     "Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs ";
    if (r->in[2] != '{' || r->blind_depth)
        return unsupported(r, 3);
    size_t first = r->in[3] == '^' ? 4 : 3, n = first;
    while (isalpha((unsigned char)r->in[n]) || r->in[n] == '_')
        n++;
    if (r->in[n] != '}' || n == first)
        return unsupported(r, 3);
    char name[8] = "";
    if (n - first <= 2) {
        name[0] = ' ';
        memcpy(name + 1, r->in + first, n - first);
        name[n - first + 1] = ' ';
        if (!strstr(categories, name))
            return unsupported(r, (int)n + 1);
    }
    copy(r, first);
    put(r, name[0] ? "" : SCRIPT);
    copy(r, n + 1 - first);
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

/* One character or escape inside a class. */
static enum moeq_status rewrite_member(struct rewrite *r)
{
    if (*r->in == '\\')
        return rewrite_escape(r);
    if (*r->in == '[' || (r->in[0] == '&' && r->in[1] == '&'))
        return unsupported(r, 2);
    if (r->blind_depth && (*r->in & 0x80))
        return unsupported(r, 1);
    copy(r, 1);
    return MOEQ_OK;
}

/* From the first member of a class, or of one operand of an intersection: its end, which is a "]", or an "&&"
 * that belongs to this class and no inner one; or the pattern's end. */
static const char *operand_end(const char *p)
{
    size_t n_inner = 0;
    for (; *p; p++) {
        if (*p == '\\' && p[1])
            p++;
        else if (*p == '[')
            n_inner++;
        else if (n_inner == 0 && (*p == ']' || (p[0] == '&' && p[1] == '&')))
            break;
        else if (*p == ']')
            n_inner--;
    }
    return p;
}

/* Members up to `end` as a class of their own. */
static enum moeq_status rewrite_members(struct rewrite *r, const char *end)
{
    enum moeq_status status = MOEQ_OK;
    bool negated = *r->in == '^';
    if (r->in + negated >= end || (negated && r->blind_depth))
        return unsupported(r, 2);
    put(r, "[");
    if (negated)
        copy(r, 1);
    r->in_class = true;
    while (!status && r->in < end)
        status = rewrite_member(r);
    r->in_class = false;
    put(r, "]");
    return status;
}

/* One operand of an intersection: members, or a whole inner class, which may be negated. */
static enum moeq_status rewrite_operand(struct rewrite *r, const char *end)
{
    if (*r->in == '^')
        return unsupported(r, 2);
    if (*r->in != '[')
        return rewrite_members(r, end);
    const char *inner_end = operand_end(r->in + 1);
    if (inner_end + 1 != end || *inner_end != ']')
        return unsupported(r, 2);
    r->in++;
    enum moeq_status status = rewrite_members(r, inner_end);
    r->in = end;
    return status;
}

static enum moeq_status unclosed(struct rewrite *r)
{
    return moeq_fail(r->err, MOEQ_DAMAGED, "the Split pattern does not compile: a class has no end");
}

/* [A&&B], which PCRE2 has not, becomes (?:(?=[A])[B]): one character that both classes hold. */
static enum moeq_status rewrite_intersection(struct rewrite *r)
{
    r->in++;
    put(r, "(?:");
    for (;;) {
        const char *end = operand_end(r->in);
        bool is_last = *end == ']';
        if (!*end)
            return unclosed(r);
        put(r, is_last ? "" : "(?=");
        enum moeq_status status = rewrite_operand(r, end);
        if (status)
            return status;
        put(r, ")");
        r->in = end + (is_last ? 1 : 2);
        if (is_last)
            return MOEQ_OK;
    }
}

static enum moeq_status rewrite_class(struct rewrite *r)
{
    const char *end = operand_end(r->in + 1);
    if (!*end)
        return unclosed(r);
    if (*end == '&')
        return rewrite_intersection(r);
    r->in++;
    enum moeq_status status = rewrite_members(r, end);
    r->in++;
    return status;
}

static enum moeq_status rewrite_group_start(struct rewrite *r)
{
    static const struct {
        const char *start;
        bool is_blind, looks;
    } same[] = {{"(?:", false, false}, {"(?i:", true, false}, {"(?=", false, true}, {"(?!", false, true},
                {"(?<=", false, true}, {"(?<!", false, true}, {"(?>", false, true}};
    r->depth++;
    if (r->in[1] == '*')
        return unsupported(r, 2);
    if (r->in[1] != '?') {
        copy(r, 1);
        return MOEQ_OK;
    }
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        if (strncmp(r->in, same[i].start, strlen(same[i].start)) == 0) {
            copy(r, strlen(same[i].start));
            if (same[i].is_blind && !r->blind_depth)
                r->blind_depth = r->depth;
            if (same[i].looks && !r->look_depth)
                r->look_depth = r->depth;
            return MOEQ_OK;
        }
    }
    return unsupported(r, 3);
}

static enum moeq_status rewrite_group_end(struct rewrite *r)
{
    if (r->blind_depth == r->depth)
        r->blind_depth = 0;
    if (r->look_depth == r->depth)
        r->look_depth = 0;
    if (r->depth)
        r->depth--;
    copy(r, 1);
    return MOEQ_OK;
}

/* Bytes of a repeat such as {1,3}; 0 where a brace stands for itself. */
static size_t repeat_length(const char *brace)
{
    size_t n = strspn(brace, "{0123456789,}");
    return n > 2 && brace[n - 1] == '}' ? n : 0;
}

/* PCRE2's compiled code jumps from a failed repeat to the next place of the literal that follows, without
 * counting what it jumps over; an empty group between them keeps it from that. A short class may become a
 * literal. */
static void part_from_literal(struct rewrite *r)
{
    const char *next = r->in;
    bool is_literal = *next && !strchr("|)(*+?^$.[\\", *next);
    if (*next == '{')
        is_literal = !repeat_length(next);
    if (*next == '\\')
        is_literal = next[1] && !strchr("pPsSdD", next[1]);
    if (*next == '[')
        is_literal = operand_end(next + 1) - next <= 5;
    if (is_literal)
        put(r, "(?:)");
}

/* Whether the rest of an alternative can match nothing: characters, escapes and classes, each with "*" or
 * "?".
 */
static bool rest_is_optional(const char *p)
{
    while (*p && *p != '|') {
        if (*p == '(' || *p == ')')
            return false;
        if (*p == '[')
            p = operand_end(p + 1);
        else if (*p == '\\' && p[1] && strchr("pP", p[1]))
            p += strcspn(p, "}");
        else if (*p == '\\')
            p++;
        p += *p != 0;
        if (*p != '*' && *p != '?')
            return false;
        p += strspn(p, "*?+");
    }
    return true;
}

/* Time must stay in proportion to the text. Backtracking is counted, and bounded where patterns are matched;
 * but what a look-around or an atomic or possessive repeat runs over is not, so that each start in a text
 * could cost as much as the text is long. An unbounded or long one is taken only where nothing behind it can
 * fail, and the run is part of the match. */
static enum moeq_status rewrite_repeat(struct rewrite *r)
{
    bool possessive = r->in[1] == '+';
    if (r->look_depth || (possessive && (r->depth || !rest_is_optional(r->in + 2))))
        return unsupported(r, possessive ? 2 : 1);
    copy(r, r->in[1] == '+' || r->in[1] == '?' ? 2 : 1);
    part_from_literal(r);
    return MOEQ_OK;
}

/* "{n,m}+" repeats twice in one engine and is possessive in the other; "{n}?" and "{,m}" differ as well. */
static enum moeq_status rewrite_brace(struct rewrite *r)
{
    size_t n = strspn(r->in, "{0123456789,}");
    if (r->in[1] == ',' || (r->in[n - 1] == '}' && strchr("+?", r->in[n] ? r->in[n] : 'x')))
        return unsupported(r, (int)n + 1);
    size_t n_repeat = repeat_length(r->in), n_digits = 0;
    while (n_repeat && isdigit((unsigned char)r->in[n_repeat - 2 - n_digits]))
        n_digits++;
    if (r->look_depth && n_repeat && (n_digits == 0 || n_digits > MAX_LOOK_DIGITS))
        return unsupported(r, (int)n_repeat);
    copy(r, n_repeat ? n_repeat : 1);
    if (n_repeat)
        part_from_literal(r);
    return MOEQ_OK;
}

/* Without regard to case, some pairs of letters match one character, such as U+FB01, in one engine only. */
static enum moeq_status rewrite_literal(struct rewrite *r)
{
    static const char *const pairs[] = {"ss", "st", "ff", "fi", "fl"};
    if (r->blind_depth && (*r->in & 0x80))
        return unsupported(r, 1);
    for (size_t i = 0; r->blind_depth && i < sizeof pairs / sizeof *pairs; i++)
        if (strncasecmp(r->in, pairs[i], 2) == 0)
            return unsupported(r, 2);
    copy(r, 1);
    return MOEQ_OK;
}

static enum moeq_status rewrite_optional(struct rewrite *r)
{
    copy(r, r->in[1] == '+' ? 2 : 1);
    return MOEQ_OK;
}

static enum moeq_status rewrite_next(struct rewrite *r)
{
    static const struct {
        char first;
        enum moeq_status (*rewrite)(struct rewrite *r);
    } forms[] = {{'\\', rewrite_escape},   {'[', rewrite_class},   {'(', rewrite_group_start},
                 {')', rewrite_group_end}, {'{', rewrite_brace},   {'*', rewrite_repeat},
                 {'+', rewrite_repeat},    {'?', rewrite_optional}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (*r->in == forms[i].first)
            return forms[i].rewrite(r);
    return rewrite_literal(r);
}

char *moeq_split_pattern(const char *pattern, struct moeq_error *err)
{
    if (strcmp(pattern, trailing_spaces) == 0)
        pattern = trailing_spaces_once;
    size_t n = strlen(pattern);
    if (n > MOEQ_MAX_SPLIT_PATTERN) {
        moeq_fail(err, MOEQ_UNSUPPORTED, "a Split pattern of %zu bytes, more than the limit of %d", n,
                  MOEQ_MAX_SPLIT_PATTERN);
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
