#include "answer_parts.h"

/* How far a formula or a remark reaches at most: what does not end there is none. So scanning is linear. */
enum { MAX_FORMULA = 2000, MAX_REMARK = 200, MAX_NUMBER = 1000 };

static struct moeq_span at_most(struct moeq_span text, size_t n)
{
    return (struct moeq_span){text.at, text.n < n ? text.n : n};
}

struct moeq_span moeq_trim(struct moeq_span text, const char *more)
{
    while (text.n && (moeq_is_space(*text.at) || strchr(more, *text.at)))
        text.at++, text.n--;
    while (text.n && (moeq_is_space(text.at[text.n - 1]) || strchr(more, text.at[text.n - 1])))
        text.n--;
    return text;
}

bool moeq_has_at(struct moeq_span text, size_t i, const char *word)
{
    for (; *word; word++, i++) {
        const char c = moeq_at(text, i);
        if (c != *word && moeq_lower(c) != *word)
            return false;
    }
    return true;
}

bool moeq_word_at(struct moeq_span text, size_t i, const char *word)
{
    if (!moeq_has_at(text, i, word) || moeq_is_letter(moeq_at(text, i + strlen(word))))
        return false;
    return i == 0 || !moeq_is_letter(*word) || !moeq_is_letter(text.at[i - 1]);
}

size_t moeq_any_word_at(struct moeq_span text, size_t i, const char *const *words)
{
    for (; *words; words++)
        if (moeq_word_at(text, i, *words))
            return strlen(*words);
    return 0;
}

size_t moeq_letters(struct moeq_span text, size_t i)
{
    size_t n = 0;
    while (moeq_is_letter(moeq_at(text, i + n)))
        n++;
    return n;
}

static size_t skip_spaces(struct moeq_span text, size_t i)
{
    while (i < text.n && moeq_is_space(text.at[i]))
        i++;
    return i;
}

size_t moeq_group_end(struct moeq_span text, size_t i)
{
    const char open = moeq_at(text, i), close = open == '{' ? '}' : open == '(' ? ')' : ']';
    size_t depth = 0;
    for (; i < text.n; i++) {
        if (text.at[i] == '\\' && open == '{' && i + 1 < text.n)
            i++;
        else if (text.at[i] == open)
            depth++;
        else if (text.at[i] == close && --depth == 0)
            return i + 1;
    }
    return text.n;
}

/* ---- formulas ---- */

/* The words of a sentence, which stand in no formula but within \text{…}. */
static bool holds_words(struct moeq_span text)
{
    for (size_t i = 0; i < text.n; i++) {
        size_t n = moeq_letters(text, i + 1);
        if (text.at[i] == '\\' && n) {
            i += n;
            if (moeq_at(text, i + 1) == '{' && text.at[i] == 't')
                i = moeq_group_end(text, i + 1) - 1;
            continue;
        }
        n = moeq_letters(text, i);
        if (n >= 3 && moeq_lower(text.at[i + 1]) == text.at[i + 1] && !moeq_word_at(text, i, "sin") &&
            !moeq_word_at(text, i, "cos") && !moeq_word_at(text, i, "mod"))
            return true;
        i += n ? n - 1 : 0;
    }
    return false;
}

/* $…$: closed by a dollar that no digit follows, with neither words nor an empty line between. */
static size_t dollar_formula(struct moeq_span text, size_t i, struct moeq_span *inside)
{
    size_t end = i + 1;
    while (end < text.n && end - i < MAX_FORMULA && text.at[end] != '$') {
        if (text.at[end] == '\n' && moeq_at(text, end + 1) == '\n')
            return 0;
        end += text.at[end] == '\\' ? 2 : 1;
    }
    if (moeq_at(text, end) != '$' || end == i + 1 || moeq_is_digit(moeq_at(text, end + 1)))
        return 0;
    *inside = moeq_part(text, i + 1, end);
    return holds_words(*inside) || moeq_trim(*inside, "").n == 0 ? 0 : end + 1;
}

size_t moeq_formula(struct moeq_span text, size_t i, struct moeq_span *inside)
{
    static const struct {
        const char *open, *close;
    } marks[] = {{"$$", "$$"}, {"\\(", "\\)"}, {"\\[", "\\]"}};
    const char c = moeq_at(text, i);
    if (c != '$' && c != '\\')
        return 0;
    for (size_t k = 0; k < sizeof marks / sizeof *marks; k++) {
        if (!moeq_has_at(text, i, marks[k].open))
            continue;
        const size_t left = text.n - i - 2, n = left < MAX_FORMULA ? left : MAX_FORMULA;
        const char *end = memmem(text.at + i + 2, n, marks[k].close, 2);
        if (!end)
            return 0;
        *inside = (struct moeq_span){text.at + i + 2, (size_t)(end - text.at) - i - 2};
        return (size_t)(end - text.at) + 2;
    }
    return c == '$' ? dollar_formula(text, i, inside) : 0;
}

/* ---- numbers ---- */

static size_t currency(struct moeq_span text, size_t i)
{
    static const char *const signs[] = {"\\$", "$", "€", "£", "¥", "₹", "US$", NULL};
    for (size_t k = 0; signs[k]; k++)
        if (moeq_has_at(text, i, signs[k]))
            return strlen(signs[k]);
    return 0;
}

static size_t digits(struct moeq_span text, size_t i)
{
    size_t n = 0;
    while (moeq_is_digit(moeq_at(text, i + n)))
        n++;
    return n;
}

/* A separator of thousands that only groups of exactly three digits can follow; its bytes. */
static size_t separator(struct moeq_span text, size_t i)
{
    static const char *const separators[] = {"{,}", ",\\!", "\\,", "\\ ", "\\:", "\\;", " ", "~", NULL};
    for (size_t k = 0; separators[k]; k++)
        if (moeq_has_at(text, i, separators[k]) && digits(text, i + strlen(separators[k])) == 3)
            return strlen(separators[k]);
    return 0;
}

/* Digits with what separates them; a fraction of words like 5 100/200 is none. */
static size_t digit_groups(struct moeq_span text, size_t i)
{
    const size_t from = i;
    size_t first = digits(text, i), n;
    for (i += first; i < text.n; i += n) {
        const char c = text.at[i];
        if (strchr(".,_'", c) && moeq_is_digit(moeq_at(text, i + 1)))
            n = 1 + digits(text, i + 1);
        else if (moeq_has_at(text, i, "{.}") && digits(text, i + 3))
            n = 3 + digits(text, i + 3);
        else if (first >= 1 && first <= 3 && (n = separator(text, i)))
            n += 3;
        else
            break;
        if (c == ' ' && moeq_at(text, i + n) == '/')
            break;
    }
    return i - from;
}

/* The argument of a LaTeX command: a group, a command, or one character. */
static size_t argument(struct moeq_span text, size_t i)
{
    const size_t from = i;
    i = skip_spaces(text, i);
    if (moeq_at(text, i) == '{')
        return moeq_group_end(text, i) - from;
    if (moeq_at(text, i) == '\\')
        return i + 1 + moeq_letters(text, i + 1) - from;
    return i < text.n ? i + 1 - from : 0;
}

/* \frac, \sqrt and their arguments, or a constant. */
static size_t command(struct moeq_span text, size_t i)
{
    static const char *const names[] = {"\\frac", "\\dfrac", "\\tfrac", "\\cfrac", "\\sqrt",
                                        "\\surd", "\\pi",    "\\infty", NULL};
    size_t k = 0;
    while (names[k] && !moeq_word_at(text, i, names[k]))
        k++;
    if (!names[k])
        return 0;
    size_t end = i + strlen(names[k]);
    if (k == 5)
        return skip_spaces(text, end) + digits(text, skip_spaces(text, end)) - i;
    if (k == 4 && moeq_at(text, end) == '[')
        end = moeq_group_end(text, end);
    for (int n = k < 4 ? 2 : k == 4; n > 0; n--)
        end += argument(text, end);
    return end - i;
}

/* An exponent or a power of ten behind a number. */
static size_t power(struct moeq_span text, size_t i)
{
    static const char *const times[] = {"*", "\\times", "\\cdot", "x", NULL};
    const size_t from = i;
    if (strchr("eE", moeq_at(text, i)) && i < text.n) {
        const size_t sign = strchr("+-", moeq_at(text, i + 1)) && i + 1 < text.n;
        const size_t n = digits(text, i + 1 + sign);
        if (n && !moeq_is_letter(moeq_at(text, i + 1 + sign + n)))
            return 1 + sign + n;
    }
    const size_t space = skip_spaces(text, i);
    for (size_t k = 0; times[k]; k++)
        if (moeq_has_at(text, space, times[k])) {
            const size_t ten = skip_spaces(text, space + strlen(times[k]));
            if (moeq_has_at(text, ten, "10^"))
                i = ten + 2;
        }
    if (moeq_at(text, i) != '^')
        return 0;
    i++;
    if (moeq_at(text, i) == '{')
        return moeq_group_end(text, i) - from;
    if (moeq_has_at(text, i, "\\circ"))
        return i + 5 - from;
    i += moeq_at(text, i) == '-' || moeq_at(text, i) == '(';
    i += digits(text, i);
    return i + (moeq_at(text, i) == ')') - from;
}

/* What may stand behind the digits: a fraction, a mixed number, roots, percent. */
static size_t number_tail(struct moeq_span text, size_t i)
{
    static const char *const endings[] = {"st", "nd", "rd", "th", NULL};
    const size_t from = i, space = skip_spaces(text, i), whole = digits(text, space);
    if (space > i && whole && moeq_at(text, space + whole) == '/' && digits(text, space + whole + 1))
        i = space + whole;
    i += power(text, i);
    for (size_t n; (n = command(text, i)); i += n)
        ;
    const size_t slash = skip_spaces(text, i);
    if (moeq_at(text, slash) == '/' && moeq_at(text, slash - 1) != '\n') {
        size_t next = slash == i ? i + 1 : skip_spaces(text, slash + 1);
        while (digits(text, next)) {
            i = next + digit_groups(text, next);
            next = moeq_at(text, i) == '/' ? i + 1 : text.n;
        }
    }
    while (moeq_at(text, i) == ':' && digits(text, i + 1))
        i += 1 + digits(text, i + 1);
    const size_t percent = skip_spaces(text, i);
    if (moeq_has_at(text, percent, "%"))
        i = percent + 1;
    else if (moeq_has_at(text, percent, "\\%"))
        i = percent + 2;
    return i + moeq_any_word_at(text, i, endings) - from;
}

/* "minus 5", but not "9 minus 5". */
static size_t sign_word(struct moeq_span text, size_t i)
{
    static const char *const words[] = {"minus ", "negative ", NULL};
    const bool binary = i > 1 && (moeq_is_digit(text.at[i - 2]) || strchr(")}%$", text.at[i - 2]));
    for (size_t k = 0; words[k] && !binary; k++)
        if (moeq_has_at(text, i, words[k]) && !(i && moeq_is_letter(text.at[i - 1])))
            return strlen(words[k]);
    return 0;
}

size_t moeq_number(struct moeq_span text, size_t i)
{
    const size_t from = i;
    text = digits(text, i) < MAX_NUMBER / 2 ? at_most(text, i + MAX_NUMBER) : text;
    i += moeq_at(text, i) == '-' || moeq_at(text, i) == '+';
    i += sign_word(text, i);
    i += currency(text, i);
    i += i > from && (moeq_at(text, i) == '-');
    size_t n = command(text, i);
    if (!n && moeq_at(text, i) == '.' && !(i && text.at[i - 1] == '.') && moeq_is_digit(moeq_at(text, i + 1)))
        n = 1 + digits(text, i + 1);
    if (!n)
        n = digit_groups(text, i);
    if (!n)
        return 0;
    n += number_tail(text, i + n);
    return i + n - from;
}

bool moeq_begins_value(struct moeq_span text, size_t i)
{
    static const char *const openings[] = {"\\boxed", "\\text", "\\mathrm", "\\mathbf", "sqrt", NULL};
    struct moeq_span inside;
    if (moeq_letters(text, i) > 2 && moeq_number_words(moeq_part(text, i, i + moeq_letters(text, i))))
        return !moeq_has_at(text, i, "one of");
    if (sign_word(text, i))
        return moeq_begins_value(text, i + sign_word(text, i));
    if (moeq_number(text, i) || moeq_formula(text, i, &inside) || moeq_any_word_at(text, i, openings))
        return true;
    const char c = moeq_at(text, i), next = moeq_at(text, i + 1);
    if (c == '\\')
        return moeq_is_letter(next) || next == '{';
    if (c && strchr("([{|<>~", c))
        return true;
    if (c == '-' || c == '+')
        return moeq_is_letter(next) || next == '(' || next == '\\';
    if (!moeq_is_letter(c) || moeq_is_letter(next) || next == '\'')
        return false;
    /* one letter: a choice or a variable, not the word "a" or "I" */
    const bool is_article =
        (c == 'A' || c == 'a' || c == 'I') && next == ' ' && moeq_letters(text, i + 2) > 1;
    return !is_article;
}

/* ---- clauses ---- */

static const char *const stop_words[] = {
    "because", "since",  "as",      "so",   "which", "where",     "when",  "but",  "not", "if",  "after",
    "from",    "before", "who",     "that", "thus",  "therefore", "hence", "is",   "are", "was", "were",
    "given",   "rather", "instead", "will", "would", "should",    "by",    "with", NULL};

/* Whether a sentence ends at i, with its mark or with the line. */
static bool sentence_ends(struct moeq_span text, size_t i)
{
    const char c = text.at[i];
    if (c == '\n')
        return true;
    if (!strchr(".!?", c))
        return false;
    const char next = moeq_at(text, i + 1);
    return next == '\0' || strchr(" \n\"')]\x01*_", next) != NULL;
}

/* A remark in brackets: words, or another form of the same. */
static bool is_remark(struct moeq_span text, size_t i)
{
    const size_t end = i + MAX_REMARK < text.n ? i + MAX_REMARK : text.n;
    const char first = moeq_at(text, i + 1);
    if (i > 2 && moeq_is_digit(first) && moeq_is_letter(text.at[i - 2]) && moeq_is_letter(text.at[i - 3]))
        return true; /* six (6) */
    if (first == '=' || moeq_has_at(text, i + 1, "\\approx"))
        return true;
    for (size_t k = i + 1; k < end && text.at[k] != ')' && text.at[k] != ']'; k++) {
        if (text.at[k] == '\\' || text.at[k] == '$')
            return false;
        const size_t n = moeq_letters(text, k);
        if (n >= 2)
            return true;
    }
    return false;
}

/* A comma, space or dash at i that ends an answer, because what follows is no more of it. */
static bool clause_ends(struct moeq_span text, size_t i)
{
    const bool comma = text.at[i] == ',';
    const size_t word = i + 1 + (comma && moeq_at(text, i + 1) == ' ');
    if (text.at[i] == ' ' && moeq_at(text, word) == '-' && moeq_at(text, word + 1) == ' ')
        return moeq_letters(text, word + 2) > 1;
    if (comma && (moeq_has_at(text, word, "i.e") || moeq_has_at(text, word, "e.g")))
        return true;
    if (moeq_word_at(text, word, "and") || moeq_word_at(text, word, "or")) {
        const size_t next = word + moeq_letters(text, word) + 1;
        return !moeq_begins_value(text, next) && moeq_letters(text, next) > 0;
    }
    if (comma)
        return moeq_letters(text, word) > 1 && word > i + 1;
    return moeq_any_word_at(text, word, stop_words) > 0 || moeq_has_at(text, word, "+-");
}

/* Up to the sentence's end; of a text that begins with a value also up to the end of the clause. */
static size_t clause_length(struct moeq_span text, bool is_value)
{
    struct moeq_span inside;
    for (size_t i = 0, next; i < text.n; i = next) {
        next = i + 1;
        const size_t formula = moeq_formula(text, i, &inside);
        if (formula) {
            next = formula;
            continue;
        }
        const char c = text.at[i];
        if (c == '\\')
            next = i + 1 + (moeq_letters(text, i + 1) ? moeq_letters(text, i + 1) : 1);
        else if (sentence_ends(text, i) && !(i == 1 && c == '.' && is_value && moeq_is_letter(text.at[0])))
            return i;
        else if (c == ':' && is_value && i && moeq_at(text, i + 1) == ' ' && moeq_is_digit(text.at[i - 1]))
            return i;
        else if (c == '|' && is_value && i && text.at[i - 1] == ' ' && moeq_at(text, i + 1) == ' ')
            return i;
        else if (c == ';' || (is_value && i && (c == ',' || c == ' ') && clause_ends(text, i)))
            return i;
        else if (is_value && (c == '(' || c == '[') && i && text.at[i - 1] == ' ' && is_remark(text, i))
            return i;
        else if (strchr("([{", c) && moeq_group_end(text, i) < text.n)
            next = moeq_group_end(text, i);
    }
    return text.n;
}

/* Words that are part of an answer, whatever follows. */
static size_t answer_word(struct moeq_span text, size_t i)
{
    static const char *const words[] = {"and",   "or",      "pi",       "sqrt",    "sin",   "cos",
                                        "tan",   "log",     "ln",       "to",      "times", "over",
                                        "union", "hundred", "thousand", "million", NULL};
    const size_t unit = moeq_unit_at(text, i);
    return unit ? unit : moeq_any_word_at(text, i, words);
}

/* "42 apples for 3 people" is 42 apples: numbers behind a word that is no unit belong to something else. */
struct moeq_span moeq_leading_value(struct moeq_span text)
{
    struct moeq_span inside;
    size_t word = text.n;
    for (size_t i = 0, next; i < text.n; i = next) {
        const size_t n = moeq_letters(text, i), formula = moeq_formula(text, i, &inside);
        next = formula ? formula : i + (n ? n : 1);
        if (text.at[i] == '\\' && !formula)
            next = i + 1 + moeq_letters(text, i + 1);
        else if (text.at[i] == '{' || text.at[i] == '(')
            next = moeq_group_end(text, i);
        else if (n > 1 && word == text.n && i && text.at[i - 1] == ' ' && !answer_word(text, i))
            word = i;
        else if ((formula || moeq_is_digit(text.at[i])) && word < i && i > 4)
            return moeq_word_at(text, i - 4, "and") || moeq_word_at(text, i - 3, "or")
                       ? text
                       : moeq_trim(moeq_part(text, 0, word), ",");
    }
    return text;
}

struct moeq_span moeq_behind_equals(struct moeq_span text)
{
    size_t n_equals = 0, behind = 0, separator_at = 0;
    bool is_list = false;
    for (size_t i = 0, next; i < text.n; i = next) {
        const char c = text.at[i], before = i ? text.at[i - 1] : ' ';
        next = i + 1;
        if (strchr("([{", c)) {
            next = moeq_group_end(text, i);
            continue;
        }
        if (c == ',' || moeq_word_at(text, i, "and") || moeq_word_at(text, i, "or") || c == ';')
            separator_at = i;
        if (c != '=' || strchr("<>!", before) || moeq_at(text, i + 1) == '>')
            continue;
        is_list = is_list || (n_equals && separator_at >= behind);
        n_equals++;
        behind = next;
    }
    const struct moeq_span tail = moeq_trim(moeq_part(text, behind, text.n), "\x01");
    return n_equals == 0 || is_list || tail.n == 0 ? text : tail;
}

struct moeq_span moeq_before_remark(struct moeq_span text)
{
    for (size_t i = 0; i + 1 < text.n; i++)
        if (text.at[i] == ',' && text.at[i + 1] == ' ' && moeq_any_word_at(text, i + 2, stop_words))
            return moeq_part(text, 0, i);
    return text;
}

struct moeq_span moeq_clause(struct moeq_span text)
{
    text = at_most(moeq_trim(text, "\x01"), MOEQ_MAX_ANSWER);
    const bool is_value = moeq_begins_value(text, 0);
    struct moeq_span clause = moeq_trim(moeq_part(text, 0, clause_length(text, is_value)), "\x01");
    return is_value ? moeq_leading_value(moeq_behind_equals(clause)) : clause;
}
