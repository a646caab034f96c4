#include "answer_parts.h"

static const char *const small[] = {"zero",    "one",     "two",       "three",    "four",
                                    "five",    "six",     "seven",     "eight",    "nine",
                                    "ten",     "eleven",  "twelve",    "thirteen", "fourteen",
                                    "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
static const char *const tens[] = {"twenty", "thirty",  "forty",  "fifty",
                                   "sixty",  "seventy", "eighty", "ninety"};
static const struct {
    const char *word;
    uint64_t value;
} large[] = {{"thousand", 1000}, {"million", 1000000}, {"billion", 1000000000}};

static bool is_word(struct moeq_span word, const char *name)
{
    return strlen(name) == word.n && moeq_has_at(word, 0, name);
}

/* The value of a word below a hundred; UINT64_MAX: it is none. */
static uint64_t small_value(struct moeq_span word)
{
    for (size_t i = 0; i < sizeof small / sizeof *small; i++)
        if (is_word(word, small[i]))
            return i;
    for (size_t i = 0; i < sizeof tens / sizeof *tens; i++)
        if (is_word(word, tens[i]))
            return 10 * (i + 2);
    return UINT64_MAX;
}

static uint64_t large_value(struct moeq_span word)
{
    for (size_t i = 0; i < sizeof large / sizeof *large; i++)
        if (is_word(word, large[i].word))
            return large[i].value;
    return 0;
}

uint64_t moeq_number_words(struct moeq_span text)
{
    uint64_t total = 0, group = 0;
    size_t n_words = 0;
    for (size_t i = 0, n; i < text.n; i += n ? n : 1) {
        n = moeq_letters(text, i);
        const struct moeq_span word = moeq_part(text, i, i + n);
        if (n == 0 && text.at[i] != ' ' && text.at[i] != '-')
            return 0;
        if (n == 0 || (n_words && is_word(word, "and")))
            continue;
        const uint64_t value = small_value(word), scale = large_value(word);
        if (++n_words > 12)
            return 0;
        if (value != UINT64_MAX)
            group += value;
        else if (is_word(word, "hundred") && group > 0 && group < 100)
            group *= 100;
        else if (scale && group > 0 && group < 1000) {
            total += group * scale;
            group = 0;
        } else
            return 0;
    }
    return total + group < 1000000000000 ? total + group : 0;
}
