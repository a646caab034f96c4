#include "answer_parts.h"

#include <stdlib.h>

/* ---- boxes ---- */

struct boxes {
    size_t *open, *depth; /* boxes that are open: where their contents begin, and in how many braces */
    size_t n_open, capacity, capacity_depth;
    struct moeq_span last;       /* contents */
    size_t last_begin, last_end; /* with \boxed{ and } */
    size_t first_begin;          /* of the boxes that belong together */
    size_t n_together;
};

static size_t box_name(struct moeq_span text, size_t i)
{
    static const char *const names[] = {"\\boxed", "\\fbox", "\\framebox", NULL};
    return text.at[i] == '\\' ? moeq_any_word_at(text, i, names) : 0;
}

bool moeq_is_joint(struct moeq_span between)
{
    size_t n_words = 0;
    between = moeq_trim(between, "$,");
    if (between.n > 24)
        return false;
    for (size_t i = 0; i < between.n; i++) {
        const char c = between.at[i];
        const size_t n = moeq_letters(between, i);
        if (n > 1 && !moeq_word_at(between, i, "and") && !moeq_word_at(between, i, "or") &&
            !moeq_word_at(between, i, "text") && !moeq_word_at(between, i, "quad"))
            return false;
        n_words += n > 0;
        if (!n && !strchr(" $,;=\\{}", c))
            return false;
        i += n ? n - 1 : 0;
    }
    return n_words <= 3;
}

static void close_box(struct moeq_span text, struct boxes *b, size_t begin, size_t content, size_t end,
                      size_t behind)
{
    const struct moeq_span inside = moeq_part(text, content, end);
    if (moeq_trim(inside, "$").n == 0)
        return;
    const bool joint =
        b->last.at && b->last_end <= begin && moeq_is_joint(moeq_part(text, b->last_end, begin));
    b->first_begin = joint ? b->first_begin : begin;
    b->n_together = joint ? b->n_together + 1 : 1;
    b->last = inside;
    b->last_begin = begin;
    b->last_end = behind;
}

static enum moeq_status open_box(struct boxes *b, size_t content, size_t depth, struct moeq_error *err)
{
    size_t *open = moeq_grown(b->open, b->n_open, &b->capacity, sizeof *open, err);
    if (!open)
        return MOEQ_OVER_MEMORY;
    b->open = open;
    size_t *depths = moeq_grown(b->depth, b->n_open, &b->capacity_depth, sizeof *depths, err);
    if (!depths)
        return MOEQ_OVER_MEMORY;
    b->depth = depths;
    b->open[b->n_open] = content;
    b->depth[b->n_open++] = depth;
    return MOEQ_OK;
}

/* \boxed 5: up to the next space, within 200 bytes. */
static void bare_box(struct moeq_span text, struct boxes *b, size_t begin, size_t content)
{
    const struct moeq_span rest = moeq_part(text, content, text.n < content + 200 ? text.n : content + 200);
    size_t end = 0;
    while (end < rest.n && !moeq_is_space(rest.at[end]) && !strchr("$}\x01", rest.at[end]) &&
           !moeq_has_at(rest, end, "\\)") && !moeq_has_at(rest, end, "\\]") && !box_name(rest, end))
        end = strchr("{([", rest.at[end]) ? moeq_group_end(rest, end) : end + 1;
    const struct moeq_span inside = moeq_trim(moeq_part(rest, 0, end), ".,;");
    close_box(text, b, begin, content, content + inside.n, content + end);
}

/* One pass, with a stack of the boxes that are open, however the braces lie. */
static enum moeq_status find_boxes(struct moeq_span text, struct boxes *b, struct moeq_error *err)
{
    size_t depth = 0;
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; i < text.n && !status; i++) {
        const char c = text.at[i];
        const size_t name = c == '\\' ? box_name(text, i) : 0;
        if (name) {
            size_t content = i + name;
            while (moeq_at(text, content) == ' ')
                content++;
            if (moeq_at(text, content) == '{')
                status = open_box(b, content + 1, depth++, err);
            else
                bare_box(text, b, i, content);
            i = moeq_at(text, content) == '{' ? content : i + name - 1;
        } else if (c == '\\') {
            i++;
        } else if (c == '{') {
            depth++;
        } else if (c == '}' && depth > 0) {
            depth--;
            if (b->n_open && b->depth[b->n_open - 1] == depth) {
                const size_t content = b->open[--b->n_open];
                size_t begin = content;
                while (begin && text.at[begin] != '\\')
                    begin--;
                close_box(text, b, begin, content, i, i + 1);
            }
        }
    }
    return status;
}

/* ---- #### ---- */

/* What follows #### also heads sections: "#### 2. Add", "#### Check". */
static bool is_heading(struct moeq_span line, enum moeq_answer_kind kind)
{
    struct moeq_span behind;
    const size_t n = moeq_number(line, 0);
    const char next = moeq_at(line, n);
    if (n && n <= 2 && (next == '.' || next == ')') && moeq_at(line, n + 1) == ' ')
        return true;
    if (n || moeq_answer_truth(line))
        return false;
    if (moeq_answer_letter(line, &behind) && !behind.at)
        return false;
    return !moeq_begins_value(line, 0) && kind != MOEQ_KIND_ANY;
}

/* The line at i, of which no more counts than an answer can have. */
static struct moeq_span line_at(struct moeq_span text, size_t i)
{
    const size_t limit = text.n - i < MOEQ_MAX_ANSWER ? text.n : i + MOEQ_MAX_ANSWER;
    const char *end = memchr(text.at + i, '\n', limit - i);
    return moeq_trim(moeq_part(text, i, end ? (size_t)(end - text.at) : limit), "\x01#");
}

static void find_hashed(struct moeq_span text, enum moeq_answer_kind kind, struct moeq_span *out)
{
    for (size_t i = text.n; i-- > 0;) {
        if (text.at[i] != '#' || !moeq_has_at(text, i, "####") || moeq_at(text, i + 4) == '#' ||
            (i && text.at[i - 1] == '#'))
            continue;
        if (moeq_has_at(text, i + 4, " ####")) /* a row of them is a rule */
            continue;
        struct moeq_span line = line_at(text, i + 4);
        if (line.n == 0 && i + 5 < text.n)
            line = line_at(text, i + 5);
        if (line.n && !is_heading(line, kind)) {
            *out = line;
            return;
        }
    }
}

enum moeq_status moeq_answer_marks(struct moeq_span text, enum moeq_answer_kind kind, struct moeq_marks *out,
                                   struct moeq_error *err)
{
    struct boxes boxes = {0};
    *out = (struct moeq_marks){0};
    enum moeq_status status = find_boxes(text, &boxes, err);
    if (!status) {
        out->boxed = boxes.last;
        if (boxes.n_together > 1)
            out->boxes = moeq_part(text, boxes.first_begin, boxes.last_end);
        find_hashed(text, kind, &out->hashed);
    }
    free(boxes.open);
    free(boxes.depth);
    return status;
}

/* ---- "the answer is" ---- */

/* Words before "answer" that make it another one, or a verb. */
static bool is_other_answer(struct moeq_span text, size_t i)
{
    static const char *const words[] = {
        "wrong",    "incorrect", "another",      "previous", "initial", "other", "your",
        "common",   "possible",  "intermediate", "expected", "no",      "to",    "can",
        "we",       "us",        "me",           "you",      "please",  "any",   "estimated",
        "tempting", "naive",     "partial",      "must",     "should",  "will",  "ll",
        "cannot",   "first",     "student's",    "their",    "his",     "her",   NULL};
    while (i && strchr(" *_\x01\"", text.at[i - 1]))
        i--;
    const size_t end = i;
    while (i && (moeq_is_letter(text.at[i - 1]) || text.at[i - 1] == '\''))
        i--;
    if (i < end && text.at[i] == '\'')
        i++;
    return end > i && moeq_any_word_at(text, i, words) == end - i;
}

static const char *const nouns[] = {"answer",
                                    "answers",
                                    "final result",
                                    "final solution",
                                    "final value",
                                    "final total",
                                    "final output",
                                    "correct option",
                                    "correct choice",
                                    "right choice",
                                    "right option",
                                    "correct result",
                                    "correct value",
                                    "ans",
                                    NULL};
static const char *const verbs[] = {
    "is",        "are",     "was",      "equals",       "equal",   "would be",        "should be",
    "must be",   "will be", "comes to", "comes out to", "becomes", "comes out to be", "turns out to be",
    "has to be", NULL};
static const char *const joints[] = {
    "to",    "for",      "of",     "in",   "on",    "here", "then",  "thus",    "therefore",
    "we",    "i",        "you",    "from", "as",    "at",   "when",  "rounded", "expressed",
    "is",    "obtained", "should", "must", "would", "will", "comes", "becomes", "equals",
    "turns", "was",      "are",    "has",  "after", "with", "so",    "finally", NULL};

static size_t skip_marks(struct moeq_span text, size_t i)
{
    while (i < text.n && strchr(" *_`\x01\"'", text.at[i]))
        i++;
    return i;
}

enum cue { NO_CUE, COLON, VERB, HEADING };

/* Up to 80 characters of one sentence, and then a verb: "answer to the first question, in dollars, is". */
static enum cue distant_verb(struct moeq_span text, size_t i, size_t *behind)
{
    const size_t end = i + 80 < text.n ? i + 80 : text.n;
    if (moeq_at(text, i) != ',' && !moeq_any_word_at(text, i, joints) && moeq_at(text, i) != '(')
        return NO_CUE;
    for (; i < end && !strchr("\n=?!;", text.at[i]); i++) {
        if (text.at[i] == '.' && !moeq_is_digit(moeq_at(text, i + 1)))
            return NO_CUE;
        if (text.at[i] == ':') {
            *behind = i + 1;
            return COLON;
        }
        const bool begins = i == 0 || !moeq_is_letter(text.at[i - 1]);
        const size_t n = begins ? moeq_any_word_at(text, i, verbs) : 0;
        if (begins && (moeq_word_at(text, i, "that") || moeq_word_at(text, i, "which")))
            return NO_CUE;
        if (n) {
            *behind = i + n;
            return VERB;
        }
    }
    return NO_CUE;
}

/* What stands behind the noun that ends at i. */
static enum cue cue_behind(struct moeq_span text, size_t i, size_t *behind)
{
    i = skip_marks(text, i);
    if (moeq_at(text, i) == '\n') {
        *behind = i;
        return HEADING;
    }
    if (moeq_at(text, i) == ':' || moeq_at(text, i) == '=') {
        *behind = i + 1;
        return COLON;
    }
    if (moeq_at(text, i) == '(') {
        const struct moeq_span rest = moeq_part(text, i, i + 60 < text.n ? i + 60 : text.n);
        const size_t end = moeq_group_end(rest, 0), next = skip_marks(text, i + end);
        struct moeq_span choice;
        if (moeq_answer_letter(moeq_part(rest, 0, end), &choice)) {
            *behind = i;
            return VERB;
        }
        if (end < rest.n && (moeq_at(text, next) == ':' || moeq_word_at(text, next, "is"))) {
            *behind = next + (text.at[next] == ':' ? 1 : 2);
            return text.at[next] == ':' ? COLON : VERB;
        }
    }
    return distant_verb(text, i, behind);
}

/* Words between the verb and the answer. */
static size_t fillers(struct moeq_span text, size_t i)
{
    static const char *const words[] = {"approximately", "about",      "exactly",  "simply",
                                        "indeed",        "therefore",  "just",     "equal to",
                                        "option",        "choice",     "given by", "a total of",
                                        "as follows",    "thus",       "then",     "now",
                                        "also",          "still",      "hence",    "clearly",
                                        "roughly",       "approx.",    "around",   "in fact",
                                        "actually",      "the number", "letter",   "only",
                                        "to be",         "be",         "...",      "the final answer is",
                                        "the answer is", "is",         "are",      "that x",
                                        "therefore",     NULL};
    for (;;) {
        while (i < text.n && (moeq_is_space(text.at[i]) || strchr(":*_`\x01\",;>=#", text.at[i])))
            i++;
        const size_t n = moeq_any_word_at(text, i, words);
        if (!n)
            return i;
        i += n;
    }
}

/* "not 8 but 7" is 7, "not 8" none. */
static struct moeq_span without_negation(struct moeq_span rest)
{
    if (!moeq_word_at(rest, 0, "not"))
        return rest;
    for (size_t i = 0; i < rest.n && i < 80 && !strchr(".\n?!", rest.at[i]); i++)
        if (moeq_word_at(rest, i, "but")) {
            const size_t from = fillers(rest, i + 3);
            return moeq_part(rest, from, rest.n);
        }
    return (struct moeq_span){NULL, 0};
}

static bool is_of_kind(struct moeq_span clause, enum moeq_answer_kind kind)
{
    struct moeq_span behind;
    if (clause.n == 0)
        return false;
    if (kind == MOEQ_KIND_LETTER)
        return moeq_answer_letter(clause, &behind) != 0 || moeq_begins_value(clause, 0);
    if (kind == MOEQ_KIND_TRUTH)
        return moeq_answer_truth(clause) != NULL;
    return true;
}

/* "85 minutes, or 1 hour and 25 minutes": the first of two ways to say one number. */
static struct moeq_span first_form(struct moeq_span clause)
{
    const char *other = memmem(clause.at, clause.n, ", or ", 5);
    return other ? moeq_part(clause, 0, (size_t)(other - clause.at)) : clause;
}

/* The answer that the text behind a cue states; none where it states none. */
static struct moeq_span stated(struct moeq_span text, size_t behind, enum cue cue, enum moeq_answer_kind kind)
{
    const struct moeq_span none = {NULL, 0};
    struct moeq_span rest = without_negation(moeq_part(text, fillers(text, behind), text.n));
    if (!rest.at || rest.n == 0)
        return none;
    /* a full stop right behind the verb: "how sure the answer is." */
    if (cue == VERB && strchr(".?!", rest.at[0]) && !moeq_is_digit(moeq_at(rest, 1)))
        return none;
    const struct moeq_span clause = moeq_before_remark(moeq_clause(rest));
    if (moeq_begins_value(rest, 0))
        return moeq_behind_equals(kind == MOEQ_KIND_NUMBER ? first_form(clause) : clause);
    if (kind == MOEQ_KIND_NUMBER || kind == MOEQ_KIND_FORMULA)
        return moeq_last_value(cue == VERB ? clause : rest, NULL);
    return cue == HEADING && kind == MOEQ_KIND_ANY ? none : is_of_kind(clause, kind) ? clause : none;
}

/* Chinese, without spaces: the answer is, the answer as, answer and a colon. */
static const char *const chinese[] = {"答案是", "答案为", "答案:", NULL};

struct moeq_span moeq_answer_cue(struct moeq_span text, enum moeq_answer_kind kind)
{
    int n_tries = 0;
    for (size_t i = text.n; i-- > 0 && n_tries < 64;) {
        size_t behind = 0;
        enum cue cue = NO_CUE;
        if (!strchr("afcr\xe7", moeq_lower(text.at[i])))
            continue;
        for (size_t k = 0; chinese[k] && !cue; k++)
            if (moeq_has_at(text, i, chinese[k])) {
                behind = i + strlen(chinese[k]);
                cue = COLON;
            }
        const size_t n = cue ? 0 : moeq_any_word_at(text, i, nouns);
        if (n && !is_other_answer(text, i))
            cue = cue_behind(text, i + n, &behind);
        if (!cue)
            continue;
        n_tries++;
        const struct moeq_span found = stated(text, behind, cue, kind);
        if (found.at && found.n)
            return found;
    }
    return (struct moeq_span){NULL, 0};
}
