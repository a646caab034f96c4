#include "answer_parts.h"

/* ---- sentences ---- */

/* Where the sentence begins that ends before `end`. */
static size_t sentence_begin(struct moeq_span text, size_t end)
{
    for (size_t i = end; i-- > 0;) {
        const char c = text.at[i];
        if (c == '\n')
            return i + 1;
        if (strchr(".!?", c) && i + 1 < end && strchr(" \"')\x01", text.at[i + 1]))
            return i + 1;
    }
    return 0;
}

static bool is_offer(struct moeq_span sentence)
{
    static const char *const openings[] = {"let me know", "feel free",  "if you",      "i hope",  "hope this",
                                           "would you",   "do you",     "please let",  "want me", "shall i",
                                           "happy to",    "i can also", "let's check", NULL};
    return moeq_any_word_at(sentence, 0, openings) > 0;
}

/* A question or an offer to go on says nothing of the answer. */
static bool is_aside(struct moeq_span sentence)
{
    sentence = moeq_trim(sentence, "\x01\"')*_");
    return sentence.n == 0 || sentence.at[sentence.n - 1] == '?' || is_offer(sentence);
}

/* ---- values of a sentence ---- */

/* The number of a list's item or of a step: "3. Then", "Step 3". */
static bool is_label(struct moeq_span text, size_t i, size_t n)
{
    static const char *const words[] = {"step",     "steps",    "part",    "case",     "problem", "question",
                                        "equation", "method",   "example", "option",   "figure",  "exercise",
                                        "number",   "approach", "way",     "solution", "eq",      NULL};
    size_t word = i;
    while (word && strchr(" #(.", text.at[word - 1]))
        word--;
    const size_t word_end = word;
    while (word && moeq_is_letter(text.at[word - 1]))
        word--;
    if (word < word_end && moeq_any_word_at(text, word, words) == word_end - word)
        return !moeq_has_at(text, word, "number");
    const size_t first = (size_t)(moeq_trim(text, "\x01#*>").at - text.at);
    const char next = moeq_at(text, i + n), behind = moeq_at(text, i + n + 1);
    return i == first && n <= 2 && (next == '.' || next == ')') && (behind == ' ' || behind == '\0') &&
           moeq_trim(moeq_part(text, i + n + 1, text.n), "\x01").n > 0;
}

/* Digits here belong to a name, an index or an exponent. */
static bool belongs_to_name(struct moeq_span text, size_t i)
{
    const char before = i ? text.at[i - 1] : ' ';
    return moeq_is_letter(before) || before == '_' || before == '^';
}

/* A minus that subtracts, or a dash between two numbers. */
static bool is_binary(struct moeq_span text, size_t i)
{
    if (text.at[i] != '-' && text.at[i] != '+')
        return false;
    size_t before = i;
    while (before && text.at[before - 1] == ' ')
        before--;
    const char c = before ? text.at[before - 1] : '=';
    const bool behind_factor = moeq_is_digit(c) || c == ')' || c == '}' || (before == i && moeq_is_letter(c));
    return behind_factor || (i == 0 && moeq_at(text, 1) == ' ');
}

/* With units and "million" that follow. */
static size_t with_unit(struct moeq_span text, size_t end)
{
    for (size_t n; end < text.n; end += n) {
        const size_t space = end + (moeq_at(text, end) == ' ');
        n = moeq_unit_at(text, space);
        if (!n || moeq_any_word_at(text, space, (const char *const[]){"in", "a", "A", NULL}))
            break;
        n += space - end;
    }
    return end;
}

struct values {
    struct moeq_span last, bold, label;
    size_t begin, end; /* of the last with those that belong to it */
    bool several;
};

/* A value from i to end of the text. */
static void take(struct values *values, struct moeq_span text, size_t i, size_t end, struct moeq_span value)
{
    const bool joint = values->last.at && moeq_is_joint(moeq_part(text, values->end, i));
    values->begin = joint ? values->begin : i;
    values->end = end;
    values->several = joint;
    values->last = value;
}

/* Bold text that is a number and at most a word or two. */
static bool is_bold_value(struct moeq_span inside)
{
    struct moeq_span formula;
    inside = moeq_trim(inside, ".,:!");
    const size_t whole = moeq_formula(inside, 0, &formula), number = moeq_number(inside, 0);
    const size_t end = whole ? whole : number;
    if (!end)
        return false;
    for (size_t i = end; i < inside.n; i++)
        if (!moeq_is_letter(inside.at[i]) && inside.at[i] != ' ')
            return false;
    return inside.n - end < 24;
}

static void look_at_bold(struct moeq_span text, size_t i, struct values *values)
{
    const size_t left = text.n - i - 1;
    const char *end = memchr(text.at + i + 1, MOEQ_BOLD, left < 200 ? left : 200);
    if (!end)
        return;
    const struct moeq_span inside = {text.at + i + 1, (size_t)(end - text.at) - i - 1};
    if (is_bold_value(inside))
        values->bold = moeq_trim(inside, ".,:!");
}

static bool holds_digit(struct moeq_span text)
{
    for (size_t i = 0; i < text.n; i++)
        if (moeq_is_digit(text.at[i]))
            return true;
    return false;
}

static bool is_one_letter(struct moeq_span text)
{
    return moeq_trim(text, "").n <= 1;
}

/* Skips what begins at i and holds no answer: an index, an exponent, a command. */
static size_t skip(struct moeq_span text, size_t i)
{
    const char c = text.at[i];
    if ((c == '^' || c == '_') && moeq_at(text, i + 1) == '{') {
        const char *end = memchr(text.at + i, '}', text.n - i < 100 ? text.n - i : 100);
        return end ? (size_t)(end - text.at) - i + 1 : 1;
    }
    if (belongs_to_name(text, i))
        while (moeq_is_digit(moeq_at(text, i + 1)))
            i++;
    return 1;
}

static void find_values(struct moeq_span text, struct values *values)
{
    struct moeq_span inside;
    size_t next;
    for (size_t i = 0; i < text.n; i = next) {
        next = moeq_formula(text, i, &inside);
        if (next && holds_digit(inside)) {
            const size_t end = with_unit(text, next);
            take(values, text, i, end, moeq_behind_equals(end > next ? moeq_part(text, i, end) : inside));
            continue;
        }
        if (next) {
            if (!is_one_letter(inside) && !values->last.at)
                values->label = inside;
            continue;
        }
        if (text.at[i] == MOEQ_BOLD)
            look_at_bold(text, i, values);
        size_t n = belongs_to_name(text, i) || is_binary(text, i) ? 0 : moeq_number(text, i);
        const struct moeq_span found = moeq_part(text, i, n ? with_unit(text, i + n) : i);
        if (n && is_label(text, i, n))
            values->label = found;
        else if (n)
            take(values, text, i, i + found.n, found);
        next = i + (n ? n : skip(text, i));
    }
}

/* The whole right side of an equation in plain text, where it is nothing but a value. */
static struct moeq_span wider(struct moeq_span sentence, struct moeq_span value)
{
    if (sentence.n > MOEQ_MAX_ANSWER)
        return value;
    const struct moeq_span tail = moeq_trim(moeq_behind_equals(sentence), ".!\x01");
    if (tail.at == sentence.at || value.at < tail.at || !moeq_begins_value(tail, 0))
        return value;
    return moeq_clause(tail).n == tail.n ? tail : value;
}

struct moeq_span moeq_last_value(struct moeq_span text, struct moeq_span *several)
{
    struct moeq_span fallback = {NULL, 0}, label = {NULL, 0};
    for (size_t end = text.n, begin; end > 0; end = begin < end ? begin : end - 1) {
        begin = sentence_begin(text, end);
        struct moeq_span sentence = moeq_trim(moeq_part(text, begin, end), "");
        struct values values = {0};
        find_values(sentence, &values);
        if (!label.at)
            label = values.label;
        if (values.last.at && is_aside(sentence)) {
            fallback = fallback.at ? fallback : values.last;
            continue;
        }
        if (values.several && several)
            *several = moeq_part(sentence, values.begin, values.end);
        if (values.bold.at)
            return values.bold;
        if (values.last.at)
            return wider(sentence, values.last);
    }
    return fallback.at ? fallback : label;
}

struct moeq_span moeq_last_sentence(struct moeq_span text)
{
    struct moeq_span last = {NULL, 0};
    for (size_t end = text.n, begin; end > 0 && !last.at; end = begin < end ? begin : end - 1) {
        begin = sentence_begin(text, end);
        const struct moeq_span sentence = moeq_trim(moeq_part(text, begin, end), "\x01\"'.!*");
        if (sentence.n && !is_aside(sentence))
            last = sentence;
    }
    return last;
}
