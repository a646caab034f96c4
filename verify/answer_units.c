#include "answer_parts.h"

/* Known units in their one form, each with its other names. A plural s may follow any name of three letters
 * or more. */
static const struct {
    const char *unit;
    const char *names[8];
} units[] = {
    {"mm", {"mm", "millimeter", "millimetre"}},
    {"cm", {"cm", "centimeter", "centimetre"}},
    {"km", {"km", "kilometer", "kilometre"}},
    {"m", {"m", "meter", "metre"}},
    {"in", {"in", "inch", "inches"}},
    {"ft", {"ft", "foot", "feet"}},
    {"yd", {"yd", "yard"}},
    {"mile", {"mi", "mile"}},
    {"mg", {"mg", "milligram"}},
    {"kg", {"kg", "kilogram", "kilo"}},
    {"g", {"g", "gram"}},
    {"t", {"ton", "tonne"}},
    {"lb", {"lb", "lbs", "pound"}},
    {"oz", {"oz", "ounce"}},
    {"ml", {"ml", "mL", "milliliter", "millilitre"}},
    {"l", {"L", "l", "liter", "litre"}},
    {"gal", {"gal", "gallon"}},
    {"s", {"s", "sec", "second"}},
    {"min", {"min", "minute"}},
    {"h", {"h", "hr", "hrs", "hour"}},
    {"day", {"day"}},
    {"week", {"week", "wk"}},
    {"month", {"month"}},
    {"year", {"year", "yr", "yrs"}},
    {"am", {"am", "a.m.", "AM"}},
    {"pm", {"pm", "p.m.", "PM"}},
    {"$", {"dollar", "USD", "bucks"}},
    {"cent", {"cent"}},
    {"€", {"euro", "EUR", "€"}},
    {"£", {"GBP", "£"}},
    {"¥", {"yen", "yuan", "¥"}},
    {"₹", {"rupee", "Rs", "₹"}},
    {"degree", {"degree", "deg"}},
    {"rad", {"rad", "radian"}},
    {"mile/h", {"mph"}},
    {"km/h", {"kmh", "kph"}},
    {"hz", {"Hz", "hertz"}},
    {"J", {"J", "joule"}},
    {"N", {"N", "newton"}},
    {"W", {"W", "watt"}},
    {"V", {"V", "volt"}},
    {"A", {"ampere", "amp"}},
    {"K", {"K", "kelvin"}},
    {"C", {"C", "celsius"}},
    {"F", {"F", "fahrenheit"}},
};

static const struct {
    const char *word;
    int exponent;
} scales[] = {{"hundred", 2}, {"thousand", 3}, {"million", 6}, {"billion", 9}, {"trillion", 12}};

/* Whether the n letters at `word` are this name; short ones with their case. */
static bool is_unit_name(const char *name, const char *word, size_t n)
{
    const size_t length = strlen(name);
    const bool plural = length >= 3 && n == length + 1 && moeq_lower(word[n - 1]) == 's';
    if (n != length && !plural)
        return false;
    for (size_t i = 0; i < length; i++)
        if (word[i] != name[i] && (length < 3 || moeq_lower(word[i]) != moeq_lower(name[i])))
            return false;
    return true;
}

static const char *unit_of(const char *word, size_t n)
{
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        for (size_t k = 0; k < 8 && units[i].names[k]; k++)
            if (is_unit_name(units[i].names[k], word, n))
                return units[i].unit;
    return NULL;
}

static int scale_of(const char *word, size_t n)
{
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
        if (is_unit_name(scales[i].word, word, n))
            return scales[i].exponent;
    return 0;
}

size_t moeq_unit_at(struct moeq_span text, size_t i)
{
    const size_t n = moeq_letters(text, i);
    if (!n || n > 16 || (!unit_of(text.at + i, n) && !scale_of(text.at + i, n)))
        return 0;
    size_t end = i + n;
    if (moeq_at(text, end) == '^' && moeq_is_digit(moeq_at(text, end + 1)))
        end += 2;
    else if (moeq_at(text, end) == '^' && moeq_at(text, end + 1) == '{' && moeq_at(text, end + 3) == '}')
        end += 4;
    else if (strchr("23", moeq_at(text, end)) && end < text.n && !moeq_is_digit(moeq_at(text, end + 1)))
        end++; /* m2 */
    if (moeq_at(text, end) == '/' && moeq_unit_at(text, end + 1))
        end += 1 + moeq_unit_at(text, end + 1);
    return end - i;
}

/* ---- taking a unit off ---- */

struct words {
    struct moeq_quantity *q;
    char unit[64]; /* what has been read so far, from behind */
    bool bare;
};

static void in_front(struct words *w, const char *text, size_t n)
{
    const size_t old = strlen(w->unit);
    if (old + n + 1 > sizeof w->unit)
        return;
    memmove(w->unit + n, w->unit, old + 1);
    memcpy(w->unit, text, n);
}

static void add(struct words *w, const char *text)
{
    in_front(w, text, strlen(text));
}

/* Words that are no units, and stay. */
static bool stays(struct moeq_span word)
{
    static const char *const names[] = {"and",  "or",  "sin",   "cos", "tan",      "log", "ln",  "pi",
                                        "sqrt", "mod", "union", "to",  "infinity", "exp", "not", NULL};
    return moeq_any_word_at(word, 0, names) == word.n || moeq_number_words(word);
}

/* Takes the word that ends the core, with the exponent behind it; false where it is no unit. */
static bool take_word(struct words *w, struct moeq_span core)
{
    static const char *const powers[] = {"square", "sq", "squared", "cubic", "cu", "cubed", NULL};
    size_t end = core.n, exponent = 0;
    if (end > 2 && moeq_is_digit(core.at[end - 1]) && core.at[end - 2] == '^')
        exponent = 2;
    else if (end > 4 && core.at[end - 1] == '}' && core.at[end - 3] == '{' && core.at[end - 4] == '^')
        exponent = 4;
    else if (end > 2 && strchr("23", core.at[end - 1]) && moeq_is_letter(core.at[end - 2]))
        exponent = 1; /* m2 */
    size_t begin = end - exponent;
    while (begin && moeq_is_letter(core.at[begin - 1]))
        begin--;
    const struct moeq_span word = moeq_part(core, begin, end - exponent);
    const char before = begin ? core.at[begin - 1] : '\0';
    if (word.n == 0 || before == '\0' || before == '\\' || before == '_' || stays(word))
        return false;
    const char *unit = unit_of(word.at, word.n);
    const bool apart = before == ' ' || before == '/' || before == '-';
    if (exponent == 1 && (!unit || !apart))
        return false;
    w->q->core.n = begin;
    if (!exponent && scale_of(word.at, word.n)) {
        w->q->scale += scale_of(word.at, word.n);
        return true;
    }
    const size_t power = moeq_any_word_at(word, 0, powers) == word.n ? word.n : 0;
    if (power && !exponent) {
        const bool square = moeq_lower(word.at[0]) == 's';
        if (w->unit[0] && moeq_lower(word.at[power - 1]) != 'd') /* square feet; "squared" stands behind */
            in_front(w, square ? "^2" : "^3", 2);
        if (strlen(w->unit) > 2 && w->unit[0] == '^') { /* behind the unit */
            memmove(w->unit, w->unit + 2, strlen(w->unit) - 1);
            memcpy(w->unit + strlen(w->unit), square ? "^2" : "^3", 3);
        }
        return true;
    }
    if (unit && (apart || word.n > 1 || (w->bare && moeq_is_digit(before)))) {
        if (exponent) {
            const char digit = core.at[end - exponent + exponent / 2];
            const char text[] = {'^', digit, '\0'};
            add(w, text);
        }
        add(w, unit);
        return true;
    }
    const bool ordinal = word.n == 2 && moeq_is_digit(before) &&
                         moeq_any_word_at(word, 0, (const char *const[]){"st", "nd", "rd", "th", NULL});
    if (before == ' ' && w->unit[0] &&
        ((word.n == 3 && moeq_has_at(word, 0, "per")) || (word.n == 1 && word.at[0] == 'a'))) {
        add(w, "/");
        return true;
    }
    if (ordinal || (apart && word.n > 2) ||
        (apart && word.n == 2 &&
         moeq_any_word_at(word, 0, (const char *const[]){"of", "in", "at", "on", "pt", "TV", NULL})))
        return true;
    w->q->core.n = core.n;
    return false;
}

/* Where words in brackets begin that end the text; 0: none do. */
static size_t remark(struct moeq_span text)
{
    size_t i = text.n;
    if (i == 0 || text.at[--i] != ')')
        return 0;
    while (i && (moeq_is_letter(text.at[i - 1]) || text.at[i - 1] == ' '))
        i--;
    return i > 1 && text.n - i > 3 && text.at[i - 1] == '(' ? i - 1 : 0;
}

static void take_prefix(struct moeq_quantity *q)
{
    static const char *const about[] = {"approximately", "about",   "exactly", "\\approx",
                                        "around",        "roughly", NULL};
    static const char *const signs[] = {"$", "€", "£", "¥", "₹", "US$", "USD", "Rs.", "EUR", NULL};
    static const char *const sign_units[] = {"$", "€", "£", "¥", "₹", "$", "$", "₹", "€"};
    size_t n = moeq_any_word_at(q->core, 0, about);
    if (n)
        q->core = moeq_trim(moeq_part(q->core, n, q->core.n), "");
    const size_t from = moeq_at(q->core, 0) == '-' || moeq_at(q->core, 0) == '+';
    for (size_t k = 0; signs[k]; k++)
        if (moeq_has_at(q->core, from, signs[k]) && !q->unit[0]) {
            snprintf(q->unit, sizeof q->unit, "%s", sign_units[k]);
            return;
        }
}

struct moeq_quantity moeq_answer_quantity(struct moeq_span text, bool bare)
{
    struct moeq_quantity q = {.core = moeq_trim(text, "")};
    struct words words = {.q = &q, .bare = bare};
    take_prefix(&q);
    for (size_t before = q.core.n + 1; q.core.n < before;) {
        before = q.core.n;
        q.core = moeq_trim(q.core, "");
        if (q.core.n > 1 && q.core.at[q.core.n - 1] == '%') {
            q.percent = true;
            q.core.n--;
        } else if (q.core.n > 8 && moeq_has_at(q.core, q.core.n - 8, " percent")) {
            q.percent = true;
            q.core.n -= 8;
        } else if (q.core.n > 1 && (q.core.at[q.core.n - 1] == '/' || q.core.at[q.core.n - 1] == '*') &&
                   words.unit[0]) {
            if (q.core.at[q.core.n - 1] == '/')
                add(&words, "/");
            q.core.n--;
        } else if (remark(q.core)) {
            q.core.n = remark(q.core);
        } else {
            for (size_t k = 0; k < sizeof units / sizeof *units; k++) { /* signs behind a number */
                const size_t n = strlen(units[k].unit);
                if (!moeq_is_letter(units[k].unit[0]) && q.core.n > n &&
                    memcmp(q.core.at + q.core.n - n, units[k].unit, n) == 0) {
                    q.core.n -= n;
                    add(&words, units[k].unit);
                }
            }
            take_word(&words, q.core);
        }
    }
    if (words.unit[0] && !q.unit[0])
        snprintf(q.unit, sizeof q.unit, "%s", words.unit);
    return q;
}
