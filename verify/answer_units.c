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
    {"ohm", {"ohm"}},
    {"ms", {"ms"}},
    {"kB", {"kB", "KB"}},
    {"MB", {"MB"}},
    {"GB", {"GB"}},
    {"TB", {"TB"}},
    {"kJ", {"kJ"}},
    {"kW", {"kW"}},
    {"Pa", {"Pa", "pascal"}},
    {"pt", {"pt", "pint"}},
    {"qt", {"qt", "quart"}},
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
    if (n == 2 && moeq_has_at(text, i, "in") && moeq_at(text, end) == ' ')
        return 0; /* the word */
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
    char unit[64];     /* what has been read so far, from behind */
    const char *power; /* of "meters squared", whose unit comes next */
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

/* What a word behind it may count or measure. */
static bool holds_number(struct moeq_span text)
{
    for (size_t i = 0; i < text.n; i++)
        if (moeq_is_digit(text.at[i]) || text.at[i] == '\\')
            return true;
    for (size_t i = text.n; i > 0; i--) /* "forty-two muffins" of "forty-two muffins left" */
        if ((i == text.n || text.at[i] == ' ') && moeq_number_words(moeq_part(text, 0, i)))
            return true;
    return false;
}

/* Bytes of \frac{km}{h} at the end of the text, and the unit; 0: none. */
static size_t unit_fraction(struct moeq_span text, char unit[64])
{
    size_t at = text.n;
    while (at > 0 && text.n - at < 40 && !moeq_word_at(text, at, "\\frac"))
        at--;
    struct moeq_span parts[2];
    size_t from = at + 5;
    for (int k = 0; k < 2; k++) {
        if (!moeq_word_at(text, at, "\\frac") || moeq_at(text, from) != '{')
            return 0;
        const size_t end = moeq_group_end(text, from);
        parts[k] = moeq_trim(moeq_part(text, from + 1, end > from + 1 ? end - 1 : end), "");
        if (parts[k].n == 0 || moeq_letters(parts[k], 0) != parts[k].n || !unit_of(parts[k].at, parts[k].n))
            return 0;
        from = end;
    }
    snprintf(unit, 64, "%s/%s", unit_of(parts[0].at, parts[0].n), unit_of(parts[1].at, parts[1].n));
    return from == text.n ? text.n - at : 0;
}

/* "square" and its like: an exponent of the unit behind them. */
static bool take_power(struct words *w, struct moeq_span word)
{
    static const char *const powers[] = {"square", "sq", "squared", "cubic", "cu", "cubed", NULL};
    const size_t n = strlen(w->unit);
    if (moeq_any_word_at(word, 0, powers) != word.n)
        return false;
    const char *power = moeq_lower(word.at[0]) == 's' ? "^2" : "^3";
    if (n == 0)
        w->power = power;
    else if (n + 3 <= sizeof w->unit)
        memcpy(w->unit + n, power, 3);
    return true;
}

/* Takes the word that ends the core, with the exponent behind it; false where it is no unit. */
static bool take_word(struct words *w, struct moeq_span core)
{
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
    if (!exponent && take_power(w, word))
        return true;
    if (unit && (apart || word.n > 1 || (w->bare && moeq_is_digit(before)))) {
        if (exponent) {
            const char digit = core.at[end - exponent + exponent / 2];
            const char text[] = {'^', digit, '\0'};
            add(w, text);
        }
        if (w->power)
            add(w, w->power);
        w->power = NULL;
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
    if (!ordinal && !holds_number(moeq_part(core, 0, begin))) {
        w->q->core.n = core.n;
        return false;
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
        } else if (!words.unit[0] && unit_fraction(q.core, words.unit)) {
            q.core.n -= unit_fraction(q.core, words.unit);
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
