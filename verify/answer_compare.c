#include "answer_parts.h"

#include <stdlib.h>

enum { MAX_NESTING = 4 };

/* ---- letters and words ---- */

/* Skips what LaTeX and Markdown put around a letter, at most so many of them. */
static size_t skip_wrapping(struct moeq_span text, size_t i)
{
    static const char *const openings[] = {
        "\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{", "\\boxed{", "\\(", "\\[", "{",
        " ",       "$",         "\x01",      "\n",        "*",        "\"",  "`",   NULL};
    for (int n = 0; n < 16; n++) {
        size_t k = 0;
        while (openings[k] && !moeq_has_at(text, i, openings[k]))
            k++;
        if (!openings[k])
            break;
        i += strlen(openings[k]);
    }
    return i;
}

char moeq_answer_letter(struct moeq_span text, struct moeq_span *behind)
{
    static const char *const words[] = {"option", "choice", "answer", NULL};
    *behind = (struct moeq_span){NULL, 0};
    size_t i = skip_wrapping(text, 0);
    const size_t n_word = moeq_any_word_at(text, i, words);
    i = n_word ? skip_wrapping(text, i + n_word) : i;
    const bool bracket = moeq_at(text, i) == '(';
    i = bracket ? skip_wrapping(text, i + 1) : i;
    const char c = moeq_at(text, i), next = moeq_at(text, i + 1);
    const char letter = c >= 'a' && c <= 'j' ? (char)(c - 'a' + 'A') : c;
    if (letter < 'A' || letter > 'J' || moeq_is_letter(next) || next == '\'' || moeq_is_digit(next))
        return 0;
    size_t end = i + 1;
    while (end < text.n && strchr("})].:*$\x01", text.at[end]))
        end++;
    const bool closed = end > i + 1 && strchr(").:", next) && next;
    const struct moeq_span rest = moeq_trim(moeq_part(text, end, text.n), "})].*$\x01\"`");
    if (bracket && !(next == ')' || next == '}' || next == MOEQ_BOLD))
        return 0;
    if (rest.n && !closed && !bracket && !n_word && (c != letter || c == 'A' || c == 'I'))
        return 0;
    if (rest.n && !closed && !bracket && !n_word && !moeq_is_letter(rest.at[0]))
        return 0; /* C = 5, E + 1 */
    if (rest.n)
        *behind = rest;
    return letter;
}

const char *moeq_answer_truth(struct moeq_span text)
{
    static const char *const words[] = {"yes", "no", "true", "false", NULL};
    static const char *const after_no[] = {"it",  "because", "since", "the", "this", "that",  "they", "he",
                                           "she", "we",      "you",   "as",  "and",  "these", "is",   NULL};
    const size_t i = skip_wrapping(text, 0);
    for (size_t k = 0; words[k]; k++)
        if (moeq_word_at(text, i, words[k])) {
            const size_t end = i + strlen(words[k]);
            const bool noun = k == 1 && moeq_at(text, end) == ' ' && moeq_letters(text, end + 1) &&
                              !moeq_any_word_at(text, end + 1, after_no);
            return noun || moeq_at(text, end) == '-' ? NULL : words[k];
        }
    return NULL;
}

/* Words of text, whose case does not matter. */
static bool is_wordy(struct moeq_span text)
{
    for (size_t i = 0; i < text.n; i++) {
        const size_t n = moeq_letters(text, i);
        if (n >= 2 && !(i && text.at[i - 1] == '\\'))
            return true;
        i += n ? n - 1 : 0;
    }
    return false;
}

static struct moeq_span without_article(struct moeq_span text)
{
    static const char *const words[] = {"the", "a", "an", "on", "in", "at", NULL};
    const size_t n = moeq_any_word_at(text, 0, words);
    return n && moeq_at(text, n) == ' ' ? moeq_part(text, n + 1, text.n) : text;
}

/* Whether what stands at i makes no difference: spaces, quotes, braces around one character. */
static bool is_idle(struct moeq_span text, size_t i)
{
    const char c = text.at[i];
    return c == ' ' || c == '"' || c == '\'' || (c == '{' && moeq_at(text, i + 2) == '}') ||
           (c == '}' && i >= 2 && text.at[i - 2] == '{');
}

/* The same but for such characters and, of words, their case. */
static bool same_text(struct moeq_span a, struct moeq_span b)
{
    const bool words = is_wordy(a) && is_wordy(b);
    a = words ? without_article(a) : a;
    b = words ? without_article(b) : b;
    size_t i = 0, k = 0;
    for (;;) {
        const size_t from_i = i, from_k = k;
        while (i < a.n && is_idle(a, i))
            i++;
        while (k < b.n && is_idle(b, k))
            k++;
        if (i == a.n || k == b.n)
            return i == a.n && k == b.n;
        const char x = words ? moeq_lower(a.at[i]) : a.at[i], y = words ? moeq_lower(b.at[k]) : b.at[k];
        /* "4 2" is not 42 */
        const bool between = i && moeq_is_digit(x) && moeq_is_digit(a.at[from_i - 1]);
        if (x != y || (between && (i > from_i) != (k > from_k)))
            return false;
        i++;
        k++;
    }
}

/* ---- numbers with units ---- */

static enum moeq_status values_of(struct moeq_span a, struct moeq_span b, struct moeq_quantity q[2],
                                  struct moeq_value v[2], struct moeq_error *err)
{
    q[0] = moeq_answer_quantity(a, false);
    q[1] = moeq_answer_quantity(b, false);
    enum moeq_status status = moeq_answer_value(q[0].core, q[0].scale, &v[0], err);
    if (!status)
        status = moeq_answer_value(q[1].core, q[1].scale, &v[1], err);
    for (int i = 0; i < 2 && !status; i++) {
        /* "5m" is a length where the other side is a number, and a product where it is not */
        if (!v[1 - i].exact || (v[i].known && v[i].exact))
            continue;
        q[i] = moeq_answer_quantity(i ? b : a, true);
        moeq_value_free(&v[i]);
        status = moeq_answer_value(q[i].core, q[i].scale, &v[i], err);
    }
    return status;
}

/* One has no unit, or both have the same. */
static bool units_agree(const struct moeq_quantity q[2])
{
    const bool differ = q[0].unit[0] && q[1].unit[0] && strcmp(q[0].unit, q[1].unit) != 0;
    return !differ && !(q[0].percent && q[1].unit[0]) && !(q[1].percent && q[0].unit[0]);
}

/* *known: both could be computed, so that *equal is the answer. */
static enum moeq_status equal_quantities(struct moeq_span reference, struct moeq_span answer, bool *equal,
                                         bool *known, struct moeq_error *err)
{
    struct moeq_quantity q[2];
    struct moeq_value v[2] = {{0}, {0}};
    *equal = *known = false;
    enum moeq_status status = values_of(reference, answer, q, v, err);
    if (!status && v[0].known && v[1].known) {
        *known = true;
        status = moeq_values_equal(&v[0], 1, &v[1], equal, err);
        if (!status && !*equal && q[0].percent && !q[1].percent)
            status = moeq_values_equal(&v[1], 100, &v[0], equal, err);
        *equal = *equal && units_agree(q);
    }
    if (!status && !v[0].known && !v[1].known && moeq_is_digit(q[0].core.at[0]))
        *equal = units_agree(q) && same_text(q[0].core, q[1].core); /* 3:45 pm */
    moeq_value_free(&v[0]);
    moeq_value_free(&v[1]);
    return status;
}

/* ---- equations ---- */

static enum moeq_status equal(struct moeq_span a, struct moeq_span b, int depth, bool *out,
                              struct moeq_error *err);

/* The last = outside of brackets that is no part of an inequality; text.n: none. */
static size_t equals_at(struct moeq_span text)
{
    size_t found = text.n, depth = 0;
    for (size_t i = 0; i < text.n; i++) {
        depth += strchr("([{", text.at[i]) != NULL;
        depth -= strchr(")]}", text.at[i]) && depth;
        const char before = i ? text.at[i - 1] : ' ';
        if (text.at[i] == '=' && depth == 0 && !strchr("<>!=", before))
            found = i;
        if (depth == 0 && moeq_word_at(text, i, "\\approx"))
            found = i;
    }
    return found;
}

/* A name, as on the left of "x = 5": no digits but in an index, and no sum or product. */
static bool is_name(struct moeq_span text)
{
    for (size_t i = 0; i < text.n; i++) {
        const char before = i ? text.at[i - 1] : ' ';
        if (strchr("+*/^<>", text.at[i]) ||
            (moeq_is_digit(text.at[i]) && before != '_' && before != '{' && !moeq_is_digit(before)))
            return false;
    }
    return text.n > 0;
}

/* Whether the right side of an equation is its value: of a name, or of what can be computed. */
static enum moeq_status tells_value(struct moeq_span left, bool *tells, struct moeq_error *err)
{
    struct moeq_value value;
    const size_t inner = equals_at(left);
    left = moeq_trim(inner < left.n ? moeq_part(left, 0, inner) : left, "");
    enum moeq_status status = moeq_answer_value(moeq_answer_quantity(left, false).core, 0, &value, err);
    *tells = is_name(left) || (value.known && value.exact);
    moeq_value_free(&value);
    return status;
}

static enum moeq_status equal_equations(struct moeq_span a, struct moeq_span b, int depth, bool *out,
                                        struct moeq_error *err)
{
    const size_t at_a = equals_at(a), at_b = equals_at(b);
    if (at_a == a.n && at_b == b.n)
        return MOEQ_OK;
    const size_t n_a = at_a < a.n && a.at[at_a] == '\\' ? 7 : 1,
                 n_b = at_b < b.n && b.at[at_b] == '\\' ? 7 : 1;
    const struct moeq_span none = {NULL, 0};
    const struct moeq_span left_a = at_a < a.n ? moeq_trim(moeq_part(a, 0, at_a), "") : none;
    const struct moeq_span left_b = at_b < b.n ? moeq_trim(moeq_part(b, 0, at_b), "") : none;
    const struct moeq_span right_a = at_a < a.n ? moeq_part(a, at_a + n_a, a.n) : a;
    const struct moeq_span right_b = at_b < b.n ? moeq_part(b, at_b + n_b, b.n) : b;
    enum moeq_status status = MOEQ_OK;
    bool tells = true, sides = true;
    if (left_a.at && left_b.at) {
        status = equal(left_a, left_b, depth, &sides, err);
        if (!status && sides)
            return equal(moeq_trim(right_a, ""), moeq_trim(right_b, ""), depth, out, err);
        if (!status)
            status = equal(left_a, moeq_trim(right_b, ""), depth, &sides, err);
        return !status && sides ? equal(moeq_trim(right_a, ""), left_b, depth, out, err) : status;
    }
    if (n_b == 7) { /* "2\sqrt{5} \approx 4.47": either */
        status = equal(a, left_b, depth, out, err);
        return status || *out ? status : equal(a, moeq_trim(right_b, ""), depth, out, err);
    }
    status = tells_value(left_a.at ? left_a : left_b, &tells, err);
    return !status && tells ? equal(moeq_trim(right_a, ""), moeq_trim(right_b, ""), depth, out, err) : status;
}

/* ---- several values ---- */

/* \pm 5 as "5, -5": what stands before and behind, twice. */
static bool expand(struct moeq_span text, struct moeq_short *out)
{
    size_t at = 0;
    while (at < text.n && !moeq_word_at(text, at, "\\pm"))
        at++;
    if (at == text.n || 2 * text.n + 8 > MOEQ_MAX_ANSWER)
        return false;
    const struct moeq_span left = moeq_part(text, 0, at), right = moeq_part(text, at + 3, text.n);
    out->n = (size_t)snprintf(out->s, sizeof out->s, "%.*s%s%.*s, %.*s-%.*s", (int)left.n, left.at,
                              moeq_trim(left, "").n ? "+" : "", (int)right.n, right.at, (int)left.n, left.at,
                              (int)right.n, right.at);
    return true;
}

static enum moeq_status equal_items(const struct moeq_items *a, const struct moeq_items *b, int depth,
                                    bool *out, struct moeq_error *err)
{
    bool taken[MOEQ_MAX_ITEMS] = {false};
    const bool ordered = a->ordered || b->ordered;
    const bool brackets = a->ordered && b->ordered && (a->open != b->open || a->close != b->close);
    const bool kinds = (a->open == 'u') != (b->open == 'u') || (a->open == '{' && b->ordered) ||
                       (b->open == '{' && a->ordered);
    *out = false;
    if (a->n_items != b->n_items || a->n_rows != b->n_rows || a->n_items == 0 || brackets || kinds)
        return MOEQ_OK;
    for (size_t i = 0; i < a->n_items; i++) {
        bool found = false;
        for (size_t k = ordered ? i : 0; k < (ordered ? i + 1 : b->n_items) && !found; k++) {
            if (taken[k])
                continue;
            enum moeq_status status = equal(a->items[i], b->items[k], depth, &found, err);
            if (status)
                return status;
            taken[k] = found;
        }
        if (!found)
            return MOEQ_OK;
    }
    *out = true;
    return MOEQ_OK;
}

static enum moeq_status equal_lists(struct moeq_span a, struct moeq_span b, int depth, bool *out,
                                    struct moeq_error *err)
{
    struct moeq_items *items = malloc(2 * sizeof *items);
    struct moeq_short *wide = malloc(sizeof *wide);
    enum moeq_status status = MOEQ_OK;
    if (!items || !wide) {
        status = moeq_fail_alloc(err, sizeof *wide);
        goto out;
    }
    if (expand(a, wide))
        a = (struct moeq_span){wide->s, wide->n};
    else if (expand(b, wide))
        b = (struct moeq_span){wide->s, wide->n};
    items[0] = moeq_answer_items(a);
    items[1] = moeq_answer_items(b);
    status = equal_items(&items[0], &items[1], depth, out, err);
out:
    free(items);
    free(wide);
    return status;
}

/* ---- all together ---- */

/* "{5}" of an item, "(5)" of a number. */
static struct moeq_span unwrapped(struct moeq_span text)
{
    text = moeq_trim(text, "");
    while (text.n > 2 && strchr("({", text.at[0]) && moeq_group_end(text, 0) == text.n &&
           strchr(")}", text.at[text.n - 1]) && !memchr(text.at, ',', text.n))
        text = moeq_trim(moeq_part(text, 1, text.n - 1), "");
    if (text.n > 4 && moeq_has_at(text, 0, "\\{") && moeq_has_at(text, text.n - 2, "\\}") &&
        !memchr(text.at, ',', text.n))
        text = moeq_trim(moeq_part(text, 2, text.n - 2), "");
    return text;
}

/* Whether the answer b is what a says; both are normal. */
static enum moeq_status equal(struct moeq_span a, struct moeq_span b, int depth, bool *out,
                              struct moeq_error *err)
{
    bool known = false;
    *out = false;
    a = unwrapped(a);
    b = unwrapped(b);
    if (a.n == 0 || b.n == 0)
        return MOEQ_OK;
    if ((*out = same_text(a, b)))
        return MOEQ_OK;
    enum moeq_status status = equal_quantities(a, b, out, &known, err);
    if (status || *out || depth >= MAX_NESTING)
        return status;
    status = equal_lists(a, b, depth + 1, out, err);
    if (status || *out || known)
        return status;
    return equal_equations(a, b, depth + 1, out, err);
}

static struct moeq_span span_of(const struct moeq_short *text)
{
    return (struct moeq_span){text->s, text->n};
}

/* A letter as the reference: the answer's letter, if it has one. */
static bool decide_letter(struct moeq_span reference, struct moeq_span answer, bool *out)
{
    struct moeq_span behind;
    const char expected = moeq_answer_letter(reference, &behind);
    if (!expected || behind.at || (reference.n == 1 && reference.at[0] != expected))
        return false;
    const char found = moeq_answer_letter(answer, &behind);
    *out = found == expected;
    return found != 0;
}

static bool decide_truth(struct moeq_span reference, struct moeq_span answer, bool *out)
{
    const char *expected = moeq_answer_truth(reference);
    if (!expected || strlen(expected) != reference.n)
        return false;
    const char *found = moeq_answer_truth(answer);
    *out = found && strcmp(found, expected) == 0;
    return found != NULL;
}

static struct moeq_span behind_label(struct moeq_span text)
{
    size_t i = 0;
    while (moeq_is_letter(moeq_at(text, i)) || moeq_at(text, i) == ' ')
        i++;
    return i > 2 && moeq_at(text, i) == ':' ? moeq_trim(moeq_part(text, i + 1, text.n), "") : text;
}

enum moeq_status moeq_answers_equal(struct moeq_span reference, struct moeq_span answer, bool *out,
                                    struct moeq_error *err)
{
    struct moeq_short *texts = malloc(2 * sizeof *texts);
    struct moeq_span behind;
    enum moeq_status status = MOEQ_OK;
    *out = false;
    if (!texts)
        return moeq_fail_alloc(err, 2 * sizeof *texts);
    if (!moeq_answer_normal(reference, &texts[0]) || !moeq_answer_normal(answer, &texts[1])) {
        *out = same_text(reference, answer);
    } else {
        const struct moeq_span a = span_of(&texts[0]), b = span_of(&texts[1]);
        if (!decide_letter(a, b, out) && !decide_truth(a, b, out)) {
            status = equal(a, b, 0, out, err);
            if (!status && !*out && behind_label(b).n < b.n) /* Total: 42 */
                status = equal(a, behind_label(b), 0, out, err);
            if (!status && !*out && moeq_is_digit(b.at[0]) && moeq_leading_value(b).n < b.n)
                status = equal(a, moeq_leading_value(b), 0, out, err);
            if (!status && !*out && moeq_answer_letter(b, &behind) && behind.at) /* (B) 42 */
                status = equal(a, behind, 0, out, err);
            if (!status && !*out && moeq_answer_letter(a, &behind) && behind.at && b.n <= 3) {
                struct moeq_span none;
                *out = moeq_answer_letter(a, &behind) == moeq_answer_letter(b, &none);
            } else if (!status && !*out && moeq_answer_letter(a, &behind) && behind.at) {
                status = equal(behind, b, 0, out, err);
            }
        }
    }
    free(texts);
    return status;
}

/* ---- the kind ---- */

enum moeq_status moeq_answer_kind_of(struct moeq_span reference, enum moeq_answer_kind *kind,
                                     struct moeq_error *err)
{
    struct moeq_short *text = malloc(sizeof *text);
    struct moeq_span behind;
    struct moeq_value value = {0};
    *kind = MOEQ_KIND_FORMULA;
    if (!text)
        return moeq_fail_alloc(err, sizeof *text);
    enum moeq_status status = MOEQ_OK;
    if (moeq_answer_normal(reference, text)) {
        const struct moeq_span a = span_of(text);
        const char *truth = moeq_answer_truth(a);
        const char letter = moeq_answer_letter(a, &behind);
        status = moeq_answer_value(moeq_answer_quantity(unwrapped(a), true).core, 0, &value, err);
        if (letter && !behind.at && (a.n > 1 || a.at[0] == letter))
            *kind = MOEQ_KIND_LETTER;
        else if (truth && strlen(truth) == a.n)
            *kind = MOEQ_KIND_TRUTH;
        else if ((value.known && value.exact) || moeq_number(a, 0) == a.n)
            *kind = MOEQ_KIND_NUMBER;
        else if (is_wordy(a) && !value.known && !memchr(a.at, '\\', a.n) && equals_at(a) == a.n &&
                 !moeq_is_digit(a.at[0]) && a.at[0] != '(' && a.at[0] != '[')
            *kind = MOEQ_KIND_WORDS;
    }
    moeq_value_free(&value);
    free(text);
    return status;
}
