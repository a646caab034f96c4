/* What the parts of the answer check share; for verify/answer*.c alone. answers.h says what all of it does.
 *
 *   answer_clean    a text's characters in few forms, and the part of it that counts
 *   answer_scan     pieces of text: braces, formulas, numbers, sentences, clauses
 *   answer_marks    boxes, #### and "the answer is"
 *   answer_extract  which piece is the answer
 *   answer_normal   LaTeX's many ways of writing one thing
 *   answer_units    a number or formula, and the unit behind it
 *   answer_value    what a formula is worth
 *   answer_list     tuples, intervals, sets, lists
 *   answer_compare  whether two answers are equal */
#ifndef MOEQ_ANSWER_PARTS_H
#define MOEQ_ANSWER_PARTS_H

#include "answers.h"
#include "bytes.h"

#include <openssl/bn.h>

/* Part of a text, borrowed. at == NULL: there is none. */
struct moeq_span {
    const char *at;
    size_t n;
};

/* A short text of one's own, with a NUL behind it. */
struct moeq_short {
    size_t n;
    char s[MOEQ_MAX_ANSWER + 1];
};

/* What kind of answer a reference is; it decides what is looked for where no mark shows the answer. */
enum moeq_answer_kind {
    MOEQ_KIND_ANY, /* not known: the reference itself is looked through */
    MOEQ_KIND_NUMBER,
    MOEQ_KIND_FORMULA, /* roots, variables, tuples, lists */
    MOEQ_KIND_LETTER,  /* of a choice */
    MOEQ_KIND_TRUTH,   /* yes, no, true, false */
    MOEQ_KIND_WORDS
};

/* ---- answer_clean ---- */

/* Stands for ** of Markdown in clean text. */
#define MOEQ_BOLD '\x01'

/* The text in ASCII as far as answers need it: signs, fractions and exponents of Unicode as LaTeX has them,
 * spaces of all kinds as one, control characters gone. Other characters stay. With a NUL behind it. */
enum moeq_status moeq_answer_clean(const char *text, size_t n, struct moeq_bytes *out,
                                   struct moeq_error *err);

/* The part that counts: behind <think>…</think>, within <answer>…</answer>. None where <think> does not end.
 */
struct moeq_span moeq_answer_region(struct moeq_span text);

/* ---- answer_scan ---- */

static inline bool moeq_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool moeq_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool moeq_is_space(char c)
{
    return c == ' ' || c == '\n';
}

static inline char moeq_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static inline struct moeq_span moeq_part(struct moeq_span text, size_t from, size_t to)
{
    return (struct moeq_span){text.at + from, to - from};
}

/* The byte at i, or NUL outside. */
static inline char moeq_at(struct moeq_span text, size_t i)
{
    return i < text.n ? text.at[i] : '\0';
}

/* Without spaces and the characters in `more` at both ends. */
struct moeq_span moeq_trim(struct moeq_span text, const char *more);

/* Whether the text has `word` at i, without regard to case where it is in lower case. */
bool moeq_has_at(struct moeq_span text, size_t i, const char *word);

/* The same, and no letter follows; where the word begins with a letter, none stands before. */
bool moeq_word_at(struct moeq_span text, size_t i, const char *word);

/* Bytes of the first of the words (ending with NULL) that stands at i; 0: none. */
size_t moeq_any_word_at(struct moeq_span text, size_t i, const char *const *words);

/* Letters from i on. */
size_t moeq_letters(struct moeq_span text, size_t i);

/* The index behind the group that opens at i with { ( or [, or text.n where it does not close. */
size_t moeq_group_end(struct moeq_span text, size_t i);

/* Where a formula begins at i ($…$, $$…$$, \(…\), \[…\]): the index behind it and what is in it. 0 where none
 * does; a dollar before an amount of money begins none. */
size_t moeq_formula(struct moeq_span text, size_t i, struct moeq_span *inside);

/* Bytes of the number at i: digits with separators, decimals, exponents, percent, fractions, LaTeX fractions,
 * a sign or currency before. 0 where none begins. */
size_t moeq_number(struct moeq_span text, size_t i);

/* Whether an answer may begin at i: a number, formula, bracket, letter of its own. */
bool moeq_begins_value(struct moeq_span text, size_t i);

/* The first clause: what stands before the end of the sentence, a remark, a reason; of an equation its last
 * side. */
struct moeq_span moeq_clause(struct moeq_span text);

/* "42 apples for 3 people" is 42 apples: numbers behind a word that is no unit belong to something else. */
struct moeq_span moeq_leading_value(struct moeq_span text);

/* Without ", who …", ", because …". */
struct moeq_span moeq_before_remark(struct moeq_span text);

/* What stands behind the last = of an equation or a chain of them; the text where there is none, or several
 * equations are listed. */
struct moeq_span moeq_behind_equals(struct moeq_span text);

/* The last value of the text (see answers.h, 5). *several, which may be NULL: that value and those before it
 * with only "and" or the like between; none where it stands alone. */
struct moeq_span moeq_last_value(struct moeq_span text, struct moeq_span *several);

/* The last sentence or line that is not empty. */
struct moeq_span moeq_last_sentence(struct moeq_span text);

/* ---- answer_marks ---- */

/* Nothing but "and", "or", commas, dollars, "x =" between two values. */
bool moeq_is_joint(struct moeq_span between);

struct moeq_marks {
    struct moeq_span boxed;  /* content of the last box */
    struct moeq_span boxes;  /* from the first to the last of several with only "and" or the like between */
    struct moeq_span hashed; /* behind the last #### */
};

enum moeq_status moeq_answer_marks(struct moeq_span text, enum moeq_answer_kind kind, struct moeq_marks *out,
                                   struct moeq_error *err);

/* What "the answer is" and its like, the last that an answer follows, say it is. */
struct moeq_span moeq_answer_cue(struct moeq_span text, enum moeq_answer_kind kind);

/* ---- answer_extract ---- */

/* The answer of a response; at == NULL where there is none. *several: all boxes of the end, where there is
 * more than one. Spans of `text`, which is clean. */
enum moeq_status moeq_answer_find(struct moeq_span text, enum moeq_answer_kind kind, struct moeq_span *answer,
                                  struct moeq_span *several, struct moeq_error *err);

/* The answer of a reference, and its kind. */
enum moeq_status moeq_answer_reference(struct moeq_span text, struct moeq_span *answer,
                                       enum moeq_answer_kind *kind, struct moeq_error *err);

/* ---- answer_normal ---- */

/* One form of the text: no layout, \text{…} unwrapped, \frac and \sqrt with braces, single spaces. False
 * where it does not fit. */
bool moeq_answer_normal(struct moeq_span text, struct moeq_short *out);

/* ---- answer_units ---- */

struct moeq_quantity {
    struct moeq_span core; /* what is left: borrowed from the text that was taken apart */
    int scale;             /* 6 where "million" stood behind it */
    bool percent;
    char unit[64]; /* a known unit in its one form, or "" */
};

/* Takes approximations, currency and unit off a normal text. `bare`: the other side is a number, so that a
 * letter right behind a number is a unit. */
struct moeq_quantity moeq_answer_quantity(struct moeq_span text, bool bare);

/* "forty-two", "one hundred and five": the number that the whole text names, less than 10^12; 0: none. */
uint64_t moeq_number_words(struct moeq_span text);

/* Bytes of the unit of the table at i, with an exponent; 0: none. */
size_t moeq_unit_at(struct moeq_span text, size_t i);

/* ---- answer_value ---- */

struct moeq_value {
    bool known; /* the text is a formula that could be computed */
    bool exact; /* a rational number: num / den */
    BIGNUM *num, *den;
    double at[2]; /* its value at two points of its variables */
};

/* Computes a normal text, times 10^scale. MOEQ_OVER_MEMORY is the only error. moeq_value_free, always. */
enum moeq_status moeq_answer_value(struct moeq_span text, int scale, struct moeq_value *out,
                                   struct moeq_error *err);
void moeq_value_free(struct moeq_value *value);

/* a * factor == b. */
enum moeq_status moeq_values_equal(const struct moeq_value *a, unsigned factor, const struct moeq_value *b,
                                   bool *equal, struct moeq_error *err);

/* ---- answer_list ---- */

enum { MOEQ_MAX_ITEMS = 64 };

struct moeq_items {
    char open, close; /* brackets, or 0; '{' for sets, 'u' for unions, 'm' for matrices */
    size_t n_rows;    /* of a matrix */
    bool ordered;
    size_t n_items; /* 0: not a list */
    struct moeq_span items[MOEQ_MAX_ITEMS];
};

struct moeq_items moeq_answer_items(struct moeq_span text);

/* ---- answer_compare ---- */

/* Both texts are clean. */
enum moeq_status moeq_answers_equal(struct moeq_span reference, struct moeq_span answer, bool *equal,
                                    struct moeq_error *err);

enum moeq_status moeq_answer_kind_of(struct moeq_span reference, enum moeq_answer_kind *kind,
                                     struct moeq_error *err);

/* The letter of a choice that the text is or begins with, in upper case; 0: none. *behind: the text of that
 * choice, where it follows. */
char moeq_answer_letter(struct moeq_span text, struct moeq_span *behind);

/* "yes", "no", "true", "false" where the text begins with it; NULL: none. */
const char *moeq_answer_truth(struct moeq_span text);

#endif
