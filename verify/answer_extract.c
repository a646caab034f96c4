#include "answer_parts.h"

/* ---- answers without a mark ---- */

/* A text of one line with no sentence in it: nothing but an answer. */
static bool is_bare(struct moeq_span text)
{
    static const char *const words[] = {"is",   "are", "has",   "have",      "so",    "the",   "she",   "he",
                                        "they", "we",  "total", "therefore", "gives", "costs", "there", "was",
                                        "then", "in",  "for",   "of",        "with",  "had",   NULL};
    if (text.n == 0 || text.n > 200 || memchr(text.at, '\n', text.n) || memmem(text.at, text.n, "\\boxed", 6))
        return false;
    for (size_t i = 0; i < text.n; i++)
        if (moeq_any_word_at(text, i, words) || (text.at[i] == '.' && moeq_at(text, i + 1) == ' ') ||
            text.at[i] == '?')
            return false;
    return moeq_begins_value(text, 0) || moeq_answer_truth(text);
}

static bool is_choice(char c)
{
    return c >= 'A' && c <= 'J';
}

/* "option B", "(B)", "B is correct", or a line that is B: the last of them. */
static struct moeq_span last_letter(struct moeq_span text)
{
    static const char *const before[] = {"option", "choice", "answer", "select", "choose", "pick", NULL};
    static const char *const after[] = {" is correct", " is the", ") is", " is right",
                                        ". ",          ") ",      ": ",   NULL};
    for (size_t i = text.n; i-- > 0;) {
        if (!is_choice(text.at[i]) || moeq_is_letter(moeq_at(text, i + 1)) || moeq_at(text, i + 1) == '\'' ||
            (i && (moeq_is_letter(text.at[i - 1]) || moeq_is_digit(text.at[i - 1]))))
            continue;
        const struct moeq_span letter = moeq_part(text, i, i + 1);
        size_t word = i, k = 0;
        while (word && strchr(" (*:\x01", text.at[word - 1]))
            word--;
        const bool begins_line = word == 0 || text.at[word - 1] == '\n';
        while (word && moeq_is_letter(text.at[word - 1]))
            word--;
        const bool in_brackets = i && text.at[i - 1] == '(' && moeq_at(text, i + 1) == ')';
        while (after[k] && !moeq_has_at(text, i + 1, after[k]))
            k++;
        const char next = moeq_at(text, i + 1);
        const bool ends_line = next == '\0' || next == '\n' ||
                               ((next == '.' || next == MOEQ_BOLD) &&
                                (moeq_at(text, i + 2) == '\0' || moeq_at(text, i + 2) == '\n'));
        if (in_brackets || moeq_any_word_at(text, word, before) || (begins_line && after[k]) || ends_line ||
            (after[k] && k < 4) || (next == MOEQ_BOLD && i && text.at[i - 1] == MOEQ_BOLD))
            return letter;
    }
    return (struct moeq_span){NULL, 0};
}

/* "Yes, …" at the beginning of the text, or otherwise of the last sentence that begins so; or the last "is
 * true". */
static struct moeq_span last_truth(struct moeq_span text)
{
    static const char *const negations[] = {"not ", "n't be ", NULL};
    const struct moeq_span begin = moeq_trim(text, "\x01*\"");
    if (moeq_answer_truth(begin))
        return moeq_part(begin, 0, moeq_letters(begin, 0));
    for (size_t i = text.n; i-- > 0;) {
        const struct moeq_span rest = moeq_part(text, i, text.n);
        const bool begins_word = moeq_is_letter(text.at[i]) && (!i || !moeq_is_letter(text.at[i - 1]));
        const char *word = begins_word ? moeq_answer_truth(rest) : NULL;
        if (!word)
            continue;
        const struct moeq_span found = moeq_part(text, i, i + strlen(word));
        size_t before = i;
        while (before && strchr(" \x01*\"", text.at[before - 1]))
            before--;
        const bool begins = before == 0 || strchr(".\n,:", text.at[before - 1]);
        const bool negated = i >= 4 && moeq_has_at(text, i - 4, negations[0]);
        const char *behind = found.at + found.n;
        const bool ends = behind == text.at + text.n || strchr(".!\n\x01", *behind);
        if (begins || (ends && !negated) || (!negated && (word[0] == 't' || word[0] == 'f')))
            return found;
    }
    return (struct moeq_span){NULL, 0};
}

/* What is left of "It is Monday", "That makes her a teacher". */
static struct moeq_span words_of(struct moeq_span sentence)
{
    static const char *const verbs[] = {" is ", " are ", " was ", ": ", NULL};
    for (size_t i = sentence.n; i-- > 0;)
        for (size_t k = 0; verbs[k]; k++)
            if (moeq_has_at(sentence, i, verbs[k]))
                return moeq_trim(moeq_part(sentence, i + strlen(verbs[k]), sentence.n), "\x01\"'");
    return sentence;
}

static struct moeq_span unmarked(struct moeq_span text, enum moeq_answer_kind kind, struct moeq_span *several)
{
    const struct moeq_span bare = moeq_trim(text, "\x01");
    if (is_bare(bare))
        return kind == MOEQ_KIND_FORMULA  ? bare
               : kind == MOEQ_KIND_NUMBER ? moeq_clause(moeq_behind_equals(bare))
                                          : moeq_clause(bare);
    if (kind == MOEQ_KIND_LETTER)
        return last_letter(text);
    if (kind == MOEQ_KIND_TRUTH)
        return last_truth(text);
    if (kind == MOEQ_KIND_WORDS)
        return words_of(moeq_last_sentence(text));
    const struct moeq_span found = moeq_last_value(text, several);
    if (found.at || kind != MOEQ_KIND_NUMBER)
        return found;
    const struct moeq_span words = words_of(moeq_last_sentence(text)); /* "The difference is zero" */
    return moeq_number_words(words) || moeq_word_at(words, 0, "zero") ? words : found;
}

enum moeq_status moeq_answer_find(struct moeq_span text, enum moeq_answer_kind kind, struct moeq_span *answer,
                                  struct moeq_span *several, struct moeq_error *err)
{
    struct moeq_marks marks;
    *answer = *several = (struct moeq_span){NULL, 0};
    text = moeq_answer_region(text);
    if (!text.at)
        return MOEQ_OK;
    enum moeq_status status = moeq_answer_marks(text, kind, &marks, err);
    if (status)
        return status;
    if (marks.boxed.at && (!marks.hashed.at || marks.boxed.at > marks.hashed.at)) {
        const struct moeq_span cue = moeq_answer_cue(marks.boxed, kind);
        *answer = cue.at ? cue : marks.boxed; /* \boxed{\text{The answer is } 5} */
        *several = marks.boxes;
    } else if (marks.hashed.at) {
        *answer = moeq_behind_equals(moeq_clause(marks.hashed));
    } else {
        *answer = moeq_answer_cue(text, kind);
        if (!answer->at)
            *answer = unmarked(text, kind, several);
    }
    *answer = answer->at ? moeq_trim(*answer, "\x01") : *answer;
    if (answer->n == 0)
        answer->at = NULL;
    return MOEQ_OK;
}

/* ---- the reference ---- */

/* Longer than answers are, or a sentence. */
static bool is_solution(struct moeq_span text)
{
    size_t n_words = 0;
    for (size_t i = 0; i < text.n; i++) {
        const size_t n = moeq_letters(text, i);
        const bool is_command = i && text.at[i - 1] == '\\';
        n_words += n > 1 && !is_command;
        i += n ? n - 1 : 0;
        if (text.at[i] == '\n' || (text.at[i] == '.' && moeq_at(text, i + 1) == ' ' && n_words > 1))
            return !memmem(text.at, text.n, "\\begin", 6);
    }
    return n_words > 6;
}

enum moeq_status moeq_answer_reference(struct moeq_span text, struct moeq_span *answer,
                                       enum moeq_answer_kind *kind, struct moeq_error *err)
{
    struct moeq_marks marks;
    text = moeq_trim(text, "\x01");
    *answer = (struct moeq_span){NULL, 0};
    enum moeq_status status = moeq_answer_marks(text, MOEQ_KIND_ANY, &marks, err);
    if (status || text.n == 0)
        return status;
    if (marks.boxed.at && (!marks.hashed.at || marks.boxed.at > marks.hashed.at))
        *answer = marks.boxes.at ? marks.boxes : marks.boxed;
    else if (marks.hashed.at)
        *answer = marks.hashed;
    else
        *answer = moeq_answer_cue(text, MOEQ_KIND_ANY);
    if (!answer->at)
        *answer = is_solution(text) ? moeq_last_value(text, NULL) : text;
    if (!answer->at)
        *answer = text;
    *answer = moeq_trim(*answer, "\x01");
    return moeq_answer_kind_of(*answer, kind, err);
}
