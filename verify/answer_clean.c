#include "answer_parts.h"

/* Characters of Unicode as the rest of the check reads them. None becomes more than four times as long. */
static const struct {
    uint32_t character;
    const char *text;
} characters[] = {
    {0x00A0, " "},         {0x00A2, " cents"},
    {0x00AD, ""},          {0x00B0, "^\\circ"},
    {0x00B1, "\\pm "},     {0x00B7, "*"},
    {0x00BC, "\\frac14"},  {0x00BD, "\\frac12"},
    {0x00BE, "\\frac34"},  {0x00D7, "*"},
    {0x00F7, "/"},         {0x03C0, "\\pi "},
    {0x03B8, "\\theta "},  {0x03B1, "\\alpha "},
    {0x03B2, "\\beta "},   {0x03BB, "\\lambda "},
    {0x061C, ""},          {0x2009, " "},
    {0x200A, " "},         {0x200B, ""},
    {0x200C, ""},          {0x200D, ""},
    {0x200E, ""},          {0x200F, ""},
    {0x2010, "-"},         {0x2011, "-"},
    {0x2012, "-"},         {0x2013, "-"},
    {0x2014, "; "},        {0x2018, "'"},
    {0x2019, "'"},         {0x201C, "\""},
    {0x201D, "\""},        {0x2026, "... "},
    {0x2028, "\n"},        {0x2029, "\n"},
    {0x202F, " "},         {0x2044, "/"},
    {0x2060, ""},          {0x2061, ""},
    {0x2062, ""},          {0x2103, "^\\circ C"},
    {0x2109, "^\\circ F"}, {0x2153, "\\frac13"},
    {0x2154, "\\frac23"},  {0x2155, "\\frac15"},
    {0x2156, "\\frac25"},  {0x2157, "\\frac35"},
    {0x2158, "\\frac45"},  {0x2159, "\\frac16"},
    {0x215A, "\\frac56"},  {0x215B, "\\frac18"},
    {0x215C, "\\frac38"},  {0x215D, "\\frac58"},
    {0x215E, "\\frac78"},  {0x2192, "\\to "},
    {0x21D2, "\\to "},     {0x2208, "\\in "},
    {0x2212, "-"},         {0x2215, "/"},
    {0x2217, "*"},         {0x2219, "*"},
    {0x221A, "\\surd "},   {0x221E, "\\infty "},
    {0x2229, "\\cap "},    {0x222A, "\\cup "},
    {0x2236, ":"},         {0x2248, "\\approx "},
    {0x2245, "\\approx "}, {0x2260, "\\ne "},
    {0x2264, "\\le "},     {0x2265, "\\ge "},
    {0x22C5, "*"},         {0x2205, "\\emptyset "},
    {0x211D, "R"},         {0x3000, " "},
    {0x3001, ","},         {0x3002, ". "},
    {0x2796, "-"},         {0xFEFF, ""},
    {0x25C1, "<"},         {0x25B7, ">"},
    {0xFFE5, "¥"},
};

/* Superscripts, in the order of the characters that they stand for. */
static const uint32_t superscripts[] = {0x2070, 0xB9,   0xB2,   0xB3,   0x2074, 0x2075,
                                        0x2076, 0x2077, 0x2078, 0x2079, 0x207B, 0x207A};
static const char superscript_text[] = "0123456789-+";

static char superscript(uint32_t c)
{
    for (size_t i = 0; i < sizeof superscripts / sizeof *superscripts; i++)
        if (superscripts[i] == c)
            return superscript_text[i];
    return 0;
}

static const char *known_character(uint32_t c)
{
    for (size_t i = 0; i < sizeof characters / sizeof *characters; i++)
        if (characters[i].character == c)
            return characters[i].text;
    return NULL;
}

struct cleaner {
    const uint8_t *at, *end;
    char *out;
    size_t n_out;
    bool in_bold;
};

static void put(struct cleaner *c, const char *text)
{
    size_t n = strlen(text);
    memcpy(c->out + c->n_out, text, n);
    c->n_out += n;
}

static void put_char(struct cleaner *c, char character)
{
    c->out[c->n_out++] = character;
}

/* The character at c->at and its length; an invalid byte counts as one character, U+FFFD. */
static uint32_t peek(const struct cleaner *c, const uint8_t *at, size_t *n)
{
    const uint8_t *p = at;
    *n = at[0] < 0x80 ? 1 : at[0] >= 0xF0 ? 4 : at[0] >= 0xE0 ? 3 : 2;
    if (*n > (size_t)(c->end - at) || !moeq_utf8_valid(at, *n, NULL)) {
        *n = 1;
        return 0xFFFD;
    }
    return moeq_utf8_next(&p);
}

/* A run of them is one exponent. */
static void put_superscripts(struct cleaner *c)
{
    size_t n;
    char digit;
    put(c, "^{");
    while (c->at < c->end && (digit = superscript(peek(c, c->at, &n)))) {
        put_char(c, digit);
        c->at += n;
    }
    put_char(c, '}');
}

static void clean_wide(struct cleaner *c)
{
    size_t n;
    uint32_t character = peek(c, c->at, &n);
    const char *known = known_character(character);
    if (superscript(character)) {
        put_superscripts(c);
        return;
    }
    const bool picture = character >= 0x1F000 || (character >= 0x2600 && character <= 0x27BF) ||
                         (character >= 0xFE00 && character <= 0xFE0F);
    if (picture) /* an emoji, a tick */
        put_char(c, ' ');
    else if (character == 0xFFFD)
        put_char(c, '?');
    else if (known)
        put(c, known);
    else if (character >= 0xFF01 && character <= 0xFF5E) /* the wide forms of ASCII */
        put_char(c, (char)(character - 0xFF01 + '!'));
    else if (character >= 0xA0)
        for (size_t i = 0; i < n; i++)
            put_char(c, (char)c->at[i]);
    c->at += n;
}

/* LaTeX in JSON whose writer forgot to double the backslash: \boxed came as a backspace and "oxed". */
static bool clean_escape(struct cleaner *c)
{
    static const struct {
        char control, letter;
        const char *rest;
    } escapes[] = {{'\b', 'b', "oxed"}, {'\b', 'b', "ar"},   {'\b', 'b', "egin"}, {'\b', 'b', "inom"},
                   {'\f', 'f', "rac"},  {'\f', 'f', "box"},  {'\t', 't', "ext"},  {'\t', 't', "imes"},
                   {'\t', 't', "frac"}, {'\t', 't', "heta"}, {'\r', 'r', "ight"}, {'\r', 'r', "angle"},
                   {'\n', 'n', "eq "},  {'\r', 'r', "brace"}};
    const struct moeq_span rest = {(const char *)c->at + 1, (size_t)(c->end - c->at) - 1};
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++)
        if (*c->at == (uint8_t)escapes[i].control && moeq_has_at(rest, 0, escapes[i].rest)) {
            put_char(c, '\\');
            put_char(c, escapes[i].letter);
            c->at++;
            return true;
        }
    return false;
}

/* ** is Markdown unless it stands between two factors, where it is a power. */
static bool is_power(const struct cleaner *c)
{
    const char before = c->n_out ? c->out[c->n_out - 1] : ' ';
    const char after = c->end - c->at > 2 ? (char)c->at[2] : ' ';
    return !c->in_bold && (moeq_is_digit(before) || moeq_is_letter(before) || before == ')') &&
           (moeq_is_digit(after) || after == '(' || after == '-' || moeq_is_letter(after));
}

/* A line ends, and what was bold in it. */
static void put_line(struct cleaner *c)
{
    put_char(c, '\n');
    c->in_bold = false;
    while (c->end - c->at > 2 && c->at[1] == '>' && c->at[2] == ' ') /* a quotation of Markdown */
        c->at += 2;
}

/* The calculator's notes of GSM8K, <<6*7=42>>: their bytes, or 0. */
static size_t note(const struct cleaner *c)
{
    size_t n = 2;
    if (c->end - c->at < 4 || c->at[0] != '<' || c->at[1] != '<')
        return 0;
    while (n < 100 && c->at + n + 1 < c->end && strchr("0123456789+-*/=.,()% ", c->at[n]) && c->at[n])
        n++;
    return c->at + n + 1 < c->end && c->at[n] == '>' && c->at[n + 1] == '>' ? n + 2 : 0;
}

/* A tag of HTML that only sets text; its bytes, or 0. */
static size_t tag(const struct cleaner *c)
{
    static const char *const names[] = {"b>",  "strong>", "i>",      "em>",       "u>",      "p>",
                                        "br>", "br/>",    "br />",   "code>",     "span>",   "div>",
                                        "td>", "final>",  "result>", "solution>", "output>", NULL};
    const struct moeq_span rest = {(const char *)c->at, (size_t)(c->end - c->at)};
    const size_t name = 1 + (moeq_at(rest, 1) == '/');
    for (size_t k = 0; rest.at[0] == '<' && names[k]; k++)
        if (moeq_has_at(rest, name, names[k]))
            return name + strlen(names[k]);
    return 0;
}

/* A token of a chat format, <|im_end|> or </s>; its bytes, or 0. */
static size_t special_token(const struct cleaner *c)
{
    static const char wide_bar[] = "\xef\xbd\x9c";
    const struct moeq_span rest = {(const char *)c->at, (size_t)(c->end - c->at)};
    if (moeq_has_at(rest, 0, "</s>"))
        return 4;
    if (!moeq_has_at(rest, 0, "<|") && !(moeq_at(rest, 0) == '<' && moeq_has_at(rest, 1, wide_bar)))
        return 0;
    for (size_t i = 2; i < rest.n && i < 60 && rest.at[i] != ' ' && rest.at[i] != '\n'; i++)
        if (rest.at[i] == '>')
            return rest.at[i - 1] == '|' || moeq_has_at(rest, i - 3, wide_bar) ? i + 1 : 0;
    return 0;
}

static void clean_ascii(struct cleaner *c)
{
    const char character = (char)*c->at;
    if (special_token(c)) {
        put_char(c, '\n');
        c->at += special_token(c);
        return;
    }
    if (tag(c)) {
        put_char(c, c->at[1] == 'b' && c->at[2] == 'r' ? '\n' : MOEQ_BOLD);
        c->at += tag(c);
        return;
    }
    if (note(c)) {
        c->at += note(c);
        return;
    }
    if (character == '*' && c->end - c->at > 1 && c->at[1] == '*') {
        const bool power = is_power(c);
        put_char(c, power ? '^' : MOEQ_BOLD);
        c->in_bold = c->in_bold != !power;
        c->at += 2;
        return;
    }
    if ((uint8_t)character < ' ' && clean_escape(c))
        return;
    if (character == '\n' || (character == '\r' && (c->end - c->at < 2 || c->at[1] != '\n')))
        put_line(c);
    else if (character == '\t' || (character >= ' ' && character != 0x7F))
        put_char(c, character == '\t' ? ' ' : character);
    else if (character != '\r')
        put_char(c, ' ');
    c->at++;
}

enum moeq_status moeq_answer_clean(const char *text, size_t n, struct moeq_bytes *out, struct moeq_error *err)
{
    uint64_t capacity;
    if (!moeq_mul(n, 4, &capacity) || !moeq_add(capacity, 16, &capacity) || capacity > SIZE_MAX)
        return moeq_fail_alloc(err, 0);
    enum moeq_status status = moeq_bytes_resize(out, (size_t)capacity, err);
    if (status)
        return status;
    struct cleaner c = {(const uint8_t *)text, (const uint8_t *)text + n, (char *)out->data, 0, false};
    while (c.end - c.at > 1 && c.at[0] == '>' && c.at[1] == ' ')
        c.at += 2;
    while (c.at < c.end) {
        if (*c.at < 0x80)
            clean_ascii(&c);
        else
            clean_wide(&c);
    }
    c.out[c.n_out] = '\0';
    out->n_bytes = c.n_out;
    return MOEQ_OK;
}

/* ---- what counts ---- */

static const struct {
    const char *open, *close;
} thoughts[] = {{"<think>", "</think>"}, {"<thinking>", "</thinking>"}};

/* The last place of a word, or text.n. */
static size_t last_place(struct moeq_span text, const char *word)
{
    for (size_t i = text.n; i-- > 0;)
        if (text.at[i] == word[0] && moeq_has_at(text, i, word))
            return i;
    return text.n;
}

static bool is_blank(struct moeq_span text)
{
    return moeq_trim(text, "\x01").n == 0;
}

static struct moeq_span without_thoughts(struct moeq_span text, const char *open, const char *close)
{
    const size_t begin = last_place(text, open), end = last_place(text, close);
    if (begin < text.n && (end == text.n || end < begin))
        return (struct moeq_span){NULL, 0};
    if (end == text.n)
        return text;
    const struct moeq_span behind = moeq_part(text, end + strlen(close), text.n);
    if (!is_blank(behind))
        return behind;
    if (begin == text.n)
        return moeq_part(text, 0, end);
    const struct moeq_span before = moeq_part(text, 0, begin);
    const bool is_only = last_place(before, close) == before.n && !is_blank(before);
    return is_only ? before : moeq_part(text, begin + strlen(open), end);
}

struct moeq_span moeq_answer_region(struct moeq_span text)
{
    for (size_t i = 0; text.at && i < sizeof thoughts / sizeof *thoughts; i++)
        text = without_thoughts(text, thoughts[i].open, thoughts[i].close);
    if (!text.at)
        return text;
    const size_t begin = last_place(text, "<answer>"), end = last_place(text, "</answer>");
    if (begin < text.n) {
        const size_t from = begin + strlen("<answer>");
        const struct moeq_span inside = moeq_part(text, from, end < text.n && end >= from ? end : text.n);
        if (!is_blank(inside))
            return inside;
    }
    return text;
}
