#include "options.h"

#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    MAX_NAME = 40,     /* longer words are never "near" a name */
    TOO_FAR = MAX_NAME /* an edit distance that is never near */
};

/* One run over the words of argv. */
struct parse {
    const struct moeq_verb *verb;
    int argc;
    char *const *argv;
    int next; /* the word that is read next */
    void *options;
    bool *given; /* one per row: the row has had a value */
    struct moeq_list *positional;
    struct moeq_error *err;
};

/* An option as it stands on the command line. */
struct use {
    const struct moeq_option *option;
    const char *attached; /* the value in the same word, or NULL */
};

static size_t n_options(const struct moeq_verb *verb)
{
    size_t n = 0;
    while (verb->options && verb->options[n].name)
        n++;
    return n;
}

static void *field(void *options, const struct moeq_option *option)
{
    return (char *)options + option->offset;
}

/* --- the nearest name --- */

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b: the "optimal string
 * alignment" distance, row by row. Row i + 1 needs the two rows before it. */
static size_t edit_distance(const char *a, size_t n_a, const char *b, size_t n_b)
{
    if (n_a > MAX_NAME || n_b > MAX_NAME)
        return TOO_FAR;
    size_t rows[3][MAX_NAME + 1];
    for (size_t j = 0; j <= n_b; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above2[j - 2] + 1 < row[j])
                row[j] = above2[j - 2] + 1;
        }
    }
    return rows[n_a % 3][n_b];
}

/* Smaller is nearer. A slip in every three letters is near, and so is the beginning of a name ("out" for
 * "output"), which people used to getopt_long type on purpose. */
static size_t distance(const char *word, size_t n_word, const char *name, size_t n_name)
{
    if (n_word >= 2 && n_word < n_name && memcmp(word, name, n_word) == 0)
        return 1;
    size_t edits = edit_distance(word, n_word, name, n_name);
    size_t allowed = n_word < 6 ? 1 : n_word / 3;
    return n_word >= 2 && edits <= allowed ? edits : TOO_FAR;
}

static const char *nearest_option(const struct moeq_verb *verb, const char *word, size_t n_word)
{
    static const char help[] = "help"; /* the program's own, known to every verb */
    const char *nearest = NULL;
    size_t least = TOO_FAR;
    for (size_t i = 0, n = n_options(verb); i <= n; i++) {
        const char *name = i < n ? verb->options[i].name : help;
        size_t d = distance(word, n_word, name, strlen(name));
        if (d < least) {
            least = d;
            nearest = name;
        }
    }
    return nearest;
}

/* --- what is wrong --- */

static enum moeq_status with_help_hint(const struct parse *p)
{
    moeq_error_hint(p->err, "see moeq help %s", p->verb->name);
    return MOEQ_USAGE;
}

static enum moeq_status with_usage_hint(const struct parse *p)
{
    const char *arguments = p->verb->arguments ? p->verb->arguments : "";
    moeq_error_hint(p->err, "usage: moeq %s%s%s", p->verb->name, arguments[0] ? " " : "", arguments);
    return MOEQ_USAGE;
}

/* `word` as typed; `name` its part that was looked up. */
static enum moeq_status unknown_option(const struct parse *p, const char *word, const char *name,
                                       size_t n_name)
{
    moeq_fail(p->err, MOEQ_USAGE, "unknown option '%.200s'", word);
    const char *nearest = nearest_option(p->verb, name, n_name);
    if (nearest)
        moeq_error_hint(p->err, "did you mean --%s? see moeq help %s", nearest, p->verb->name);
    return with_help_hint(p);
}

static enum moeq_status bad_number(const struct parse *p, const struct moeq_option *option, const char *value)
{
    unsigned long long min = option->min, max = option->max;
    if (option->max == UINT64_MAX)
        moeq_fail(p->err, MOEQ_USAGE, "--%s is a whole number of at least %llu, found '%.200s'", option->name,
                  min, value);
    else
        moeq_fail(p->err, MOEQ_USAGE, "--%s is a whole number from %llu to %llu, found '%.200s'",
                  option->name, min, max, value);
    return with_help_hint(p);
}

/* --- values --- */

/* Decimal digits only: strtoull would take " 5", "+5" and "-5". */
static bool parse_number(const char *text, uint64_t *out)
{
    uint64_t number = 0;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        if (!moeq_mul(number, 10, &number) || !moeq_add(number, (uint64_t)(*text - '0'), &number))
            return false;
    }
    *out = number;
    return true;
}

static enum moeq_status set_number(const struct parse *p, const struct moeq_option *option, const char *value)
{
    uint64_t number;
    if (!parse_number(value, &number) || number < option->min || number > option->max)
        return bad_number(p, option, value);
    *(uint64_t *)field(p->options, option) = number;
    return MOEQ_OK;
}

/* Digits with at most one point: strtod would take "inf", "1e3" and hexadecimals. */
static enum moeq_status set_real(const struct parse *p, const struct moeq_option *option, const char *value)
{
    const size_t n = strlen(value), n_whole = strspn(value, "0123456789");
    const char *rest = value + n_whole + (value[n_whole] == '.');
    const size_t n_rest = strspn(rest, "0123456789");
    const double number = strtod(value, NULL);
    if (n_whole + n_rest > 0 && rest[n_rest] == '\0' && n < MAX_NAME && number >= (double)option->min &&
        number <= (double)option->max) {
        *(double *)field(p->options, option) = number;
        return MOEQ_OK;
    }
    moeq_fail(p->err, MOEQ_USAGE, "--%s is a number from %llu to %llu, found '%.200s'", option->name,
              (unsigned long long)option->min, (unsigned long long)option->max, value);
    return with_help_hint(p);
}

/* "a|b" as "a, b". */
static void list_choices(const char *choices, char *dst, size_t capacity)
{
    size_t n = 0;
    for (; *choices && n + 3 < capacity; choices++) {
        dst[n++] = *choices == '|' ? ',' : *choices;
        if (*choices == '|')
            dst[n++] = ' ';
    }
    dst[n] = '\0';
}

uint64_t moeq_bytes_parse(const char *value)
{
    static const char letters[] = "kmgt";
    char *end;
    if (*value < '0' || *value > '9' || strspn(value, "0123456789.") > 20)
        return 0;
    double n = strtod(value, &end);
    const char *letter = *end ? strchr(letters, *end | 0x20) : NULL;
    if (letter) {
        const char *rest = end + 1;
        const bool decimal = strcasecmp(rest, "B") == 0;
        if (!decimal && *rest && strcasecmp(rest, "iB") != 0)
            return 0;
        for (const char *l = letters; l <= letter; l++)
            n *= decimal ? 1000 : 1024;
    } else if (*end && strcasecmp(end, "B") != 0) {
        return 0;
    }
    return n < 0x1p60 ? (uint64_t)n : 0;
}

static enum moeq_status set_bytes(const struct parse *p, const struct moeq_option *option, const char *value)
{
    const uint64_t n = moeq_bytes_parse(value);
    if (n) {
        *(uint64_t *)field(p->options, option) = n;
        return MOEQ_OK;
    }
    moeq_fail(p->err, MOEQ_USAGE, "--%s is a size as 512M, 4G or 1.5GiB, found '%.150s'", option->name,
              value);
    return with_help_hint(p);
}

static enum moeq_status set_choice(const struct parse *p, const struct moeq_option *option, const char *value)
{
    size_t n_value = strlen(value), least = TOO_FAR, n_nearest = 0;
    const char *nearest = NULL;
    for (const char *word = option->choices;; word++) {
        size_t n_word = strcspn(word, "|");
        if (n_word == n_value && memcmp(word, value, n_value) == 0) {
            *(const char **)field(p->options, option) = value;
            return MOEQ_OK;
        }
        size_t d = distance(value, n_value, word, n_word);
        if (d < least) {
            least = d;
            nearest = word;
            n_nearest = n_word;
        }
        word += n_word;
        if (!*word)
            break;
    }
    char words[256];
    list_choices(option->choices, words, sizeof words);
    moeq_fail(p->err, MOEQ_USAGE, "--%s is one of %s, found '%.150s'", option->name, words, value);
    if (nearest)
        moeq_error_hint(p->err, "did you mean %.*s? see moeq help %s", (int)n_nearest, nearest,
                        p->verb->name);
    return with_help_hint(p);
}

/* A list never outgrows argv: every item takes a word of its own. */
static enum moeq_status list_append(const struct parse *p, struct moeq_list *list, const char *item)
{
    if (!list->items)
        list->items = moeq_calloc((size_t)p->argc, sizeof *list->items, p->err);
    if (!list->items)
        return MOEQ_OVER_MEMORY;
    list->items[list->n_items++] = item;
    return MOEQ_OK;
}

static enum moeq_status set_value(const struct parse *p, const struct moeq_option *option, const char *value)
{
    bool *given = &p->given[option - p->verb->options];
    if (option->kind == MOEQ_OPTION_LIST)
        return list_append(p, field(p->options, option), value);
    if (*given) {
        moeq_fail(p->err, MOEQ_USAGE, "--%s is given twice, the second time as '%.200s'", option->name,
                  value);
        return with_help_hint(p);
    }
    *given = true;
    if (option->kind == MOEQ_OPTION_NUMBER)
        return set_number(p, option, value);
    if (option->kind == MOEQ_OPTION_REAL)
        return set_real(p, option, value);
    if (option->kind == MOEQ_OPTION_BYTES)
        return set_bytes(p, option, value);
    if (option->kind == MOEQ_OPTION_CHOICE)
        return set_choice(p, option, value);
    *(const char **)field(p->options, option) = value;
    return MOEQ_OK;
}

/* --- words --- */

static const struct moeq_option *find_name(const struct moeq_verb *verb, const char *name, size_t n_name)
{
    for (size_t i = 0, n = n_options(verb); i < n; i++)
        if (strlen(verb->options[i].name) == n_name && memcmp(verb->options[i].name, name, n_name) == 0)
            return &verb->options[i];
    return NULL;
}

static const struct moeq_option *find_letter(const struct moeq_verb *verb, char letter)
{
    for (size_t i = 0, n = n_options(verb); letter && i < n; i++)
        if (verb->options[i].letter == letter)
            return &verb->options[i];
    return NULL;
}

/* True for a word that is an option of this verb or "--": it is not the value of the option before it. Any
 * other word is, even where it begins with a dash. */
static bool is_known_option(const struct moeq_verb *verb, const char *word)
{
    if (word[0] != '-' || !word[1])
        return false;
    if (word[1] == '-')
        return !word[2] || find_name(verb, word + 2, strcspn(word + 2, "="));
    return !word[2] && find_letter(verb, word[1]);
}

static enum moeq_status take_value(struct parse *p, const struct use *use)
{
    const char *value = use->attached;
    const char *next = !value && p->next < p->argc ? p->argv[p->next] : NULL;
    if (next && !is_known_option(p->verb, next)) {
        value = next;
        p->next++;
    }
    if (!value && use->option->kind == MOEQ_OPTION_TEXT)
        value = use->option->choices;
    if (value)
        return set_value(p, use->option, value);
    moeq_fail(p->err, MOEQ_USAGE, "--%s needs a value (%s)", use->option->name, use->option->value);
    if (next)
        moeq_error_hint(p->err, "if '%.60s' is the value, write --%s=%.60s", next, use->option->name, next);
    return with_help_hint(p);
}

static enum moeq_status parse_long(struct parse *p, const char *word)
{
    const char *name = word + 2;
    size_t n_name = strcspn(name, "=");
    struct use use = {.option = find_name(p->verb, name, n_name)};
    if (name[n_name] == '=')
        use.attached = name + n_name + 1;
    if (!use.option)
        return unknown_option(p, word, name, n_name);
    if (use.option->kind != MOEQ_OPTION_FLAG)
        return take_value(p, &use);
    if (use.attached) {
        moeq_fail(p->err, MOEQ_USAGE, "--%s takes no value, found '%.200s'", use.option->name, use.attached);
        return with_help_hint(p);
    }
    *(bool *)field(p->options, use.option) = true;
    return MOEQ_OK;
}

/* "-q", "-qv" for two flags, "-ovalue". A long name after one dash is refused: "-output X" would otherwise
 * name the output "utput". */
static enum moeq_status parse_short(struct parse *p, const char *word)
{
    size_t n_name = strcspn(word + 1, "=");
    if (n_name > 1 && find_name(p->verb, word + 1, n_name))
        return unknown_option(p, word, word + 1, n_name);
    for (const char *letter = word + 1; *letter; letter++) {
        struct use use = {.option = find_letter(p->verb, *letter)};
        if (!use.option)
            return unknown_option(p, word, word + 1, n_name);
        if (use.option->kind != MOEQ_OPTION_FLAG) {
            use.attached = letter[1] ? letter + 1 : NULL;
            return take_value(p, &use);
        }
        *(bool *)field(p->options, use.option) = true;
    }
    return MOEQ_OK;
}

static enum moeq_status add_positional(struct parse *p, const char *word)
{
    if (p->positional->n_items < p->verb->n_positional_max)
        return list_append(p, p->positional, word);
    moeq_fail(p->err, MOEQ_USAGE, "unexpected argument '%.200s'", word);
    return with_usage_hint(p);
}

static enum moeq_status parse_words(struct parse *p)
{
    bool options_ended = false;
    while (p->next < p->argc) {
        const char *word = p->argv[p->next++];
        enum moeq_status status = MOEQ_OK;
        if (options_ended || word[0] != '-' || !word[1]) /* "-" alone is an argument: standard input */
            status = add_positional(p, word);
        else if (strcmp(word, "--") == 0)
            options_ended = true;
        else if (word[1] == '-')
            status = parse_long(p, word);
        else
            status = parse_short(p, word);
        if (status)
            return status;
    }
    if (p->positional->n_items >= p->verb->n_positional_min)
        return MOEQ_OK;
    moeq_fail(p->err, MOEQ_USAGE, "an argument is missing: %zu needed, %zu found", p->verb->n_positional_min,
              p->positional->n_items);
    return with_usage_hint(p);
}

enum moeq_status moeq_options_parse(const struct moeq_verb *verb, int argc, char *const *argv, void *options,
                                    struct moeq_list *positional, struct moeq_error *err)
{
    struct parse p = {verb, argc, argv, 0, options, NULL, positional, err};
    *positional = (struct moeq_list){0};
    if (verb->options_size)
        memset(options, 0, verb->options_size);
    p.given = moeq_calloc(n_options(verb), sizeof *p.given, err);
    if (!p.given)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = parse_words(&p);
    free(p.given);
    if (status)
        moeq_options_free(verb, options, positional);
    return status;
}

void moeq_options_free(const struct moeq_verb *verb, void *options, struct moeq_list *positional)
{
    for (size_t i = 0, n = n_options(verb); i < n; i++) {
        if (verb->options[i].kind != MOEQ_OPTION_LIST)
            continue;
        struct moeq_list *list = field(options, &verb->options[i]);
        free(list->items);
        *list = (struct moeq_list){0};
    }
    free(positional->items);
    *positional = (struct moeq_list){0};
}
