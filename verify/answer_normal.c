#include "answer_parts.h"

/* Braces of a group: kept, or left out with what they close. */
enum { MAX_DEPTH = 256 };

struct writer {
    struct moeq_span in;
    size_t i;
    struct moeq_short *out;
    bool full;
    bool dropped[MAX_DEPTH]; /* whether the brace that closes is left out */
    size_t depth;
    size_t formula_end; /* the dollar there closes a formula */
};

static void put(struct writer *w, const char *text)
{
    const size_t n = strlen(text);
    if (w->out->n + n > MOEQ_MAX_ANSWER) {
        w->full = true;
        return;
    }
    memcpy(w->out->s + w->out->n, text, n);
    w->out->n += n;
}

static void put_char(struct writer *w, char c)
{
    const char text[] = {c, '\0'};
    put(w, text);
}

/* ---- commands ---- */

static const struct {
    const char *name, *text;
} commands[] = {
    {"left", ""},          {"right", ""},
    {"big", ""},           {"Big", ""},
    {"bigg", ""},          {"Bigg", ""},
    {"bigl", ""},          {"bigr", ""},
    {"Bigl", ""},          {"Bigr", ""},
    {"biggl", ""},         {"biggr", ""},
    {"displaystyle", ""},  {"textstyle", ""},
    {"limits", ""},        {"quad", " "},
    {"qquad", " "},        {"dfrac", "\\frac"},
    {"tfrac", "\\frac"},   {"cfrac", "\\frac"},
    {"dbinom", "\\binom"}, {"tbinom", "\\binom"},
    {"cdot", "*"},         {"times", "*"},
    {"ast", "*"},          {"div", "/"},
    {"leq", "\\le "},      {"geq", "\\ge "},
    {"le", "\\le "},       {"ge", "\\ge "},
    {"leqslant", "\\le "}, {"geqslant", "\\ge "},
    {"neq", "\\ne "},      {"lbrace", "\\{"},
    {"rbrace", "\\}"},     {"lbrack", "["},
    {"rbrack", "]"},       {"lt", "<"},
    {"gt", ">"},           {"degree", " degrees "},
    {"deg", " degrees "},  {"varnothing", "\\emptyset "},
    {"ldots", "..."},      {"dots", "..."},
    {"cdots", "..."},      {"colon", ":"},
    {"lvert", "|"},        {"rvert", "|"},
    {"vert", "|"},         {"rightarrow", "\\to "},
    {"implies", "\\to "},  {"Rightarrow", "\\to "},
    {"dollar", "$"},       {"percent", "%"},
    {"euro", "€"},         {"pounds", "£"},
    {"langle", "("},       {"rangle", ")"},
    {"thinspace", " "},    {"nobreakspace", " "},
    {"phantom", ""},       {"lor", " or "},
    {"land", " and "},     {"hspace", " "},
    {"minus", "-"},        {"infin", "\\infty "},
    {"bmod", " mod "},     {"to", "\\to "},
    {"star", "*"},         {"boldmath", ""},
    {"Omega", " ohm "},    {"large", ""},
    {"Large", ""},         {"huge", ""},
    {"small", ""},         {"normalsize", ""},
    {"bf", " "},           {"rm", " "},
    {"it", " "},
};

/* Commands of which only the argument stays. */
static const char *const wrappers[] = {
    "text",       "textbf",  "textit",     "textrm",    "textsf", "texttt", "textnormal", "mathrm",
    "mathbf",     "mathit",  "mathsf",     "mathtt",    "mbox",   "hbox",   "emph",       "operatorname",
    "underline",  "bm",      "boldsymbol", "mathbb",    "boxed",  "fbox",   "rm",         "framebox",
    "ensuremath", "mathcal", "pmb",        "textcolor", "tag",    "cancel", NULL};

static bool is_name(struct moeq_span name, const char *word)
{
    return strlen(word) == name.n && memcmp(word, name.at, name.n) == 0;
}

static void skip_spaces(struct writer *w)
{
    while (w->i < w->in.n && moeq_is_space(w->in.at[w->i]))
        w->i++;
}

/* Opens the group at w->i; its brace is left out, and so will be the closing one. */
static void open_dropped(struct writer *w)
{
    if (w->depth >= MAX_DEPTH) {
        w->full = true;
        return;
    }
    w->dropped[w->depth++] = true;
    w->i++;
}

/* Arguments of \frac and \sqrt without braces get them: \frac12 is \frac{1}{2}. */
static void put_argument(struct writer *w);

static void put_fraction(struct writer *w, int n_arguments)
{
    for (int k = 0; k < n_arguments && !w->full; k++) {
        skip_spaces(w);
        if (moeq_at(w->in, w->i) == '{') {
            /* copied by the main loop up to its closing brace */
            put_argument(w);
        } else if (w->i < w->in.n) {
            put_char(w, '{');
            if (w->in.at[w->i] == '\\') {
                const size_t n = 1 + moeq_letters(w->in, w->i + 1);
                for (size_t j = 0; j < n; j++)
                    put_char(w, w->in.at[w->i + j]);
                w->i += n;
            } else {
                put_char(w, w->in.at[w->i++]);
            }
            put_char(w, '}');
        }
    }
}

static void put_command(struct writer *w)
{
    const struct moeq_span name = moeq_part(w->in, w->i + 1, w->i + 1 + moeq_letters(w->in, w->i + 1));
    w->i += 1 + name.n;
    for (size_t k = 0; wrappers[k]; k++)
        if (is_name(name, wrappers[k])) {
            skip_spaces(w);
            put_char(w, ' ');
            if (moeq_at(w->in, w->i) == '{')
                open_dropped(w);
            return;
        }
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++)
        if (is_name(name, commands[k].name)) {
            put(w, commands[k].text);
            if (strcmp(commands[k].text, "\\frac") == 0)
                put_fraction(w, 2);
            return;
        }
    put_char(w, '\\');
    for (size_t k = 0; k < name.n; k++)
        put_char(w, name.at[k]);
    if (is_name(name, "frac"))
        put_fraction(w, 2);
    else if (is_name(name, "sqrt") && (skip_spaces(w), moeq_at(w->in, w->i) != '['))
        put_fraction(w, 1);
    else if (moeq_is_letter(moeq_at(w->in, w->i)) || moeq_at(w->in, w->i) == ' ')
        put_char(w, ' ');
}

/* A backslash and a character that is no letter. */
static void put_escaped(struct writer *w)
{
    const char c = moeq_at(w->in, w->i + 1);
    w->i += 2;
    if (c == '{' || c == '}' || c == '\\') {
        put_char(w, '\\');
        put_char(w, c);
    } else if (c == '%' || c == '$' || c == '#' || c == '&' || c == '_') {
        put_char(w, c);
    } else if (c == ',' || c == ';' || c == ':' || c == ' ' || c == '\n') {
        put_char(w, ' ');
    } else if (c == '|') {
        put_char(w, '|');
    }
}

/* ---- characters ---- */

static void put_dollar(struct writer *w)
{
    struct moeq_span inside;
    const size_t end = moeq_formula(w->in, w->i, &inside);
    if (w->i + 1 == w->formula_end || (moeq_at(w->in, w->i + 1) == '$' && w->i + 2 == w->formula_end)) {
        w->i = w->formula_end;
        return;
    }
    if (end) {
        w->formula_end = end;
        w->i = (size_t)(inside.at - w->in.at);
        return;
    }
    /* money, unless it is left over from a formula */
    w->i++;
    const char next = moeq_at(w->in, w->i);
    put_char(w, moeq_is_digit(next) || next == '-' || next == '.' ? '$' : ' ');
}

/* ^\circ and ^{\circ}; other exponents without braces around one character. */
static void put_power(struct writer *w)
{
    static const char *const degrees[] = {"^\\circ",  "^{\\circ}",  "^{\\circ }",
                                          "^ \\circ", "^{ \\circ}", NULL};
    for (size_t k = 0; degrees[k]; k++)
        if (moeq_has_at(w->in, w->i, degrees[k])) {
            w->i += strlen(degrees[k]);
            put(w, " degrees ");
            return;
        }
    while (w->out->n && w->out->s[w->out->n - 1] == ' ') /* \text{cm}^2 */
        w->out->n--;
    put_char(w, '^');
    w->i++;
    skip_spaces(w);
}

static void put_brace(struct writer *w)
{
    const bool opens = w->in.at[w->i] == '{';
    if (opens && (moeq_has_at(w->in, w->i, "{,}") || moeq_has_at(w->in, w->i, "{.}"))) {
        put_char(w, w->in.at[w->i + 1]);
        w->i += 3;
        return;
    }
    if (opens && w->depth >= MAX_DEPTH)
        w->full = true;
    else if (opens)
        w->dropped[w->depth++] = false;
    const bool dropped = !opens && w->depth > 0 && w->dropped[--w->depth];
    put_char(w, dropped ? ' ' : w->in.at[w->i]);
    w->i++;
}

/* Words that have a sign: "minus 5", "p.m.". */
static bool put_word(struct writer *w)
{
    static const struct {
        const char *word, *text;
    } words[] = {{"minus ", "-"}, {"negative ", "-"},  {"p.m", "pm"},
                 {"a.m", "am"},   {"sq. ", "square "}, {"cu. ", "cubic "}};
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        const size_t n = strlen(words[k].word);
        if ((w->i && moeq_is_letter(w->in.at[w->i - 1])) || !moeq_has_at(w->in, w->i, words[k].word) ||
            (k < 2 && !moeq_begins_value(w->in, w->i + n)))
            continue;
        put(w, words[k].text);
        w->i += n;
        return true;
    }
    return false;
}

static void put_next(struct writer *w)
{
    const char c = w->in.at[w->i];
    if (moeq_is_letter(c) && put_word(w))
        return;
    if (moeq_has_at(w->in, w->i, ",\\!")) {
        put_char(w, ',');
        w->i += 3;
    } else if (c == '\\' && moeq_is_letter(moeq_at(w->in, w->i + 1))) {
        put_command(w);
    } else if (c == '\\') {
        put_escaped(w);
    } else if (c == '$') {
        put_dollar(w);
    } else if (c == '^') {
        put_power(w);
    } else if (c == '{' || c == '}') {
        put_brace(w);
    } else {
        if (c != MOEQ_BOLD && c != '`' && c != '"')
            put_char(w, c == '~' ? ' ' : c);
        w->i++;
    }
}

/* The group at w->i with its braces. */
static void put_argument(struct writer *w)
{
    const size_t depth = w->depth;
    do
        put_next(w);
    while (w->i < w->in.n && w->depth > depth && !w->full);
}

/* ---- the ends ---- */

static void single_spaces(struct moeq_short *text)
{
    size_t n = 0;
    for (size_t i = 0; i < text->n; i++) {
        const char c = text->s[i] == '\n' ? ' ' : text->s[i];
        if (c != ' ' || (n && text->s[n - 1] != ' '))
            text->s[n++] = c;
    }
    text->n = n - (n && text->s[n - 1] == ' ');
}

/* Bytes of the group that is all of the text, in these brackets. */
static bool is_group(struct moeq_span text, char open)
{
    return text.n >= 2 && text.at[0] == open && moeq_group_end(text, 0) == text.n &&
           text.at[text.n - 1] == (open == '{' ? '}' : ')');
}

static struct moeq_span without_wrapping(struct moeq_span text)
{
    for (size_t before = text.n + 1; text.n < before;) {
        before = text.n;
        text = moeq_trim(text, ",;:?*_'");
        if (text.n && text.at[text.n - 1] == '.')
            text.n--;
        while (text.n >= 2 && memcmp(text.at + text.n - 2, "\\\\", 2) == 0)
            text.n -= 2;
        const char last = text.n ? text.at[text.n - 1] : ' ';
        if ((last == '}' && !memchr(text.at, '{', text.n)) ||
            (last == ')' && !memchr(text.at, '(', text.n) && !memchr(text.at, '[', text.n)))
            text.n--; /* what closes nothing here */
        if (is_group(text, '{'))
            text = moeq_part(text, 1, text.n - 1);
    }
    return text;
}

bool moeq_answer_normal(struct moeq_span text, struct moeq_short *out)
{
    struct writer w = {.in = text, .out = out};
    out->n = 0;
    if (text.n > MOEQ_MAX_ANSWER)
        return false;
    while (w.i < text.n && !w.full)
        put_next(&w);
    single_spaces(out);
    const struct moeq_span inside = without_wrapping((struct moeq_span){out->s, out->n});
    memmove(out->s, inside.at, inside.n);
    out->n = inside.n;
    out->s[out->n] = '\0';
    return !w.full;
}
