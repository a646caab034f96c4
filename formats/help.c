/* --help and the man page, out of the tables of options.h. */
#include "help.h"

#include <string.h>

#ifndef MOEQ_VERSION
#define MOEQ_VERSION "" /* the build names it */
#endif

enum {
    WIDTH = 90,         /* columns of a help text */
    LEFT_MAX = 30,      /* a longer left column puts its text on the next line */
    NOTE_CAPACITY = 256 /* what option_note writes */
};

static const char program_summary[] =
    "Checks, converts, quantizes and measures DeepSeek-style mixture-of-experts checkpoints.";

/* By exit code: the numbers of enum moeq_status. */
static const char *const exit_meanings[] = {
    [MOEQ_OK] = "done",
    [MOEQ_CHECK_FAILED] = "a check failed",
    [MOEQ_USAGE] = "the command line is wrong",
    [MOEQ_DAMAGED] = "an input is damaged",
    [MOEQ_UNSUPPORTED] = "the model is of a kind that is not supported",
    [MOEQ_IO] = "a file cannot be read or written, or there is no space",
    [MOEQ_OVER_MEMORY] = "over the memory budget",
    [MOEQ_INTERRUPTED] = "interrupted; the same command resumes",
    [MOEQ_BUG] = "a bug in moeq",
};
enum { N_EXIT_CODES = sizeof exit_meanings / sizeof *exit_meanings };

/* Understood by every verb; the program handles it. */
static const struct moeq_option help_option = {
    .name = "help", .letter = 'h', .kind = MOEQ_OPTION_FLAG, .help = "show this help"};

const struct moeq_option *moeq_help_option_at(const struct moeq_verb *verb, size_t i)
{
    size_t n = 0;
    while (verb->options && verb->options[n].name)
        n++;
    return i < n ? &verb->options[i] : i == n ? &help_option : NULL;
}

/* " (one of a, b, c)": what the table knows about a value beyond the help sentence. */
static const char *option_note(const struct moeq_option *option, char note[NOTE_CAPACITY])
{
    unsigned long long min = option->min, max = option->max;
    size_t n = 0;
    note[0] = '\0';
    if (option->kind == MOEQ_OPTION_LIST)
        snprintf(note, NOTE_CAPACITY, " (may be given several times)");
    else if (option->kind == MOEQ_OPTION_REAL ||
             (option->kind == MOEQ_OPTION_NUMBER && option->max != UINT64_MAX))
        snprintf(note, NOTE_CAPACITY, " (%llu to %llu)", min, max);
    else if (option->kind == MOEQ_OPTION_NUMBER && option->min)
        snprintf(note, NOTE_CAPACITY, " (at least %llu)", min);
    if (option->kind != MOEQ_OPTION_CHOICE)
        return note;
    n += (size_t)snprintf(note, NOTE_CAPACITY, " (one of ");
    for (const char *c = option->choices; *c && n < NOTE_CAPACITY - 4; c++) {
        note[n++] = *c == '|' ? ',' : *c;
        if (*c == '|')
            note[n++] = ' ';
    }
    snprintf(note + n, NOTE_CAPACITY - n, ")");
    return note;
}

/* A block of `details`: lines that begin with a space are shown as they are, others are a paragraph. */
struct block {
    const char *text;
    size_t n_bytes; /* without the last newline */
    bool literal;
};

/* Takes the block at *at, which moves behind it. False at the end. */
static bool next_block(const char **at, struct block *block)
{
    const char *text = *at ? *at : "";
    while (*text == '\n')
        text++;
    *block = (struct block){.text = text, .literal = *text == ' '};
    while (*text && *text != '\n' && (*text == ' ') == block->literal) {
        text += strcspn(text, "\n");
        block->n_bytes = (size_t)(text - block->text);
        text += *text == '\n';
    }
    *at = text;
    return block->n_bytes > 0;
}

/* --- help on the terminal --- */

/* Text that is wrapped at WIDTH; lines after the first begin at `indent`. */
struct wrap {
    FILE *out;
    size_t indent;
    size_t column;
};

/* Code points; no help text holds wide characters. */
static size_t n_columns(const char *text, size_t n_bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

static void wrap_to(struct wrap *wrap, size_t column)
{
    for (; wrap->column < column; wrap->column++)
        fputc(' ', wrap->out);
}

static void wrap_newline(struct wrap *wrap)
{
    fputc('\n', wrap->out);
    wrap->column = 0;
}

static void wrap_words(struct wrap *wrap, const char *text, size_t n_bytes)
{
    const char *end = text + n_bytes;
    while (text < end) {
        const char *word = text + strspn(text, " \n");
        if (word >= end)
            return;
        size_t n = strcspn(word, " \n");
        if (n > (size_t)(end - word))
            n = (size_t)(end - word);
        size_t width = n_columns(word, n);
        if (wrap->column > wrap->indent && wrap->column + 1 + width > WIDTH)
            wrap_newline(wrap);
        wrap_to(wrap, wrap->column > wrap->indent ? wrap->column + 1 : wrap->indent);
        fwrite(word, 1, n, wrap->out);
        wrap->column += width;
        text = word + n;
    }
}

/* "-o, --output PKG". Returns the length, which is less than `capacity`. */
static size_t option_left(const struct moeq_option *option, char *dst, size_t capacity)
{
    char letter[] = {'-', option->letter, ',', '\0'};
    snprintf(dst, capacity, "%-4s--%s%s%s", option->letter ? letter : "", option->name,
             option->value ? " " : "", option->value ? option->value : "");
    return strlen(dst);
}

/* Two columns: `left` at 2, then `right` (and `note`) from `indent` on. */
static void help_row(FILE *out, size_t indent, const char *left, const char *right, const char *note)
{
    struct wrap wrap = {out, indent, 0};
    wrap_to(&wrap, 2);
    fputs(left, out);
    wrap.column += n_columns(left, strlen(left));
    if (wrap.column + 2 > indent)
        wrap_newline(&wrap);
    wrap_to(&wrap, indent);
    wrap_words(&wrap, right, strlen(right));
    wrap_words(&wrap, note, strlen(note));
    fputc('\n', out);
}

static void help_block(FILE *out, const struct block *block)
{
    struct wrap wrap = {out, 0, 0};
    fputc('\n', out);
    if (block->literal)
        fwrite(block->text, 1, block->n_bytes, out);
    else
        wrap_words(&wrap, block->text, block->n_bytes);
    fputc('\n', out);
}

void moeq_help_verb(FILE *out, const struct moeq_verb *verb)
{
    char left[128], note[NOTE_CAPACITY];
    struct block block;
    size_t indent = 0;
    const char *details = verb->details;
    bool has_arguments = verb->arguments && verb->arguments[0];
    fprintf(out, "Usage: moeq %s%s%s [OPTION...]\n", verb->name, has_arguments ? " " : "",
            has_arguments ? verb->arguments : "");
    block = (struct block){.text = verb->summary, .n_bytes = strlen(verb->summary)};
    help_block(out, &block);
    while (next_block(&details, &block))
        help_block(out, &block);
    for (size_t i = 0; moeq_help_option_at(verb, i); i++) {
        size_t n = option_left(moeq_help_option_at(verb, i), left, sizeof left) + 4;
        if (n > indent && n <= LEFT_MAX)
            indent = n;
    }
    fputs("\nOptions:\n", out);
    for (size_t i = 0; moeq_help_option_at(verb, i); i++) {
        const struct moeq_option *option = moeq_help_option_at(verb, i);
        option_left(option, left, sizeof left);
        help_row(out, indent, left, option->help, option_note(option, note));
    }
}

void moeq_help_program(FILE *out, const struct moeq_verb *const *verbs)
{
    size_t indent = strlen("help VERB") + 4;
    fprintf(out, "Usage: moeq VERB [ARGUMENT...] [OPTION...]\n\n%s\n\nVerbs:\n", program_summary);
    for (size_t i = 0; verbs[i]; i++)
        if (strlen(verbs[i]->name) + 4 > indent)
            indent = strlen(verbs[i]->name) + 4;
    for (size_t i = 0; verbs[i]; i++)
        help_row(out, indent, verbs[i]->name, verbs[i]->summary, "");
    help_row(out, indent, "help VERB", "explain a verb and its options", "");
    fputs("\nExit codes:\n", out);
    for (size_t code = 0; code < N_EXIT_CODES; code++)
        fprintf(out, "  %zu  %s\n", code, exit_meanings[code]);
    fputs("\nmoeq help VERB and moeq VERB --help explain one verb.\n", out);
}

/* --- escaping --- */

void moeq_help_put_bytes(FILE *out, const struct moeq_help_escape *escapes, const char *text, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        const struct moeq_help_escape *escape = escapes;
        while (escape->text && escape->character != text[i])
            escape++;
        if (escape->text)
            fputs(escape->text, out);
        else
            fputc(text[i], out);
    }
}

void moeq_help_put(FILE *out, const struct moeq_help_escape *escapes, const char *text)
{
    moeq_help_put_bytes(out, escapes, text, strlen(text));
}

/* --- man page --- */

static const struct moeq_help_escape in_troff[] = {{'\\', "\\e"},  {'-', "\\-"},   {'\'', "\\(aq"},
                                                   {'`', "\\(ga"}, {'^', "\\(ha"}, {'~', "\\(ti"},
                                                   {'"', "\\(dq"}, {0, NULL}};

/* Lines of text. A line that would begin with a control character of troff, a dot (the quote is escaped),
 * begins with the empty character instead. */
static void man_lines(FILE *out, const char *text, size_t n_bytes)
{
    const char *end = text + n_bytes;
    while (text < end) {
        size_t n = strcspn(text, "\n");
        if (n > (size_t)(end - text))
            n = (size_t)(end - text);
        if (*text == '.')
            fputs("\\&", out);
        moeq_help_put_bytes(out, in_troff, text, n);
        fputc('\n', out);
        text += n + 1;
    }
}

static void man_option(FILE *out, const struct moeq_option *option)
{
    char note[NOTE_CAPACITY];
    fputs(".TP\n", out);
    if (option->letter)
        fprintf(out, "\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", out);
    moeq_help_put(out, in_troff, option->name);
    fputs("\\fR", out);
    if (option->value) {
        fputs(" \\fI", out);
        moeq_help_put(out, in_troff, option->value);
        fputs("\\fR", out);
    }
    fputs(*option->help == '.' ? "\n\\&" : "\n", out);
    moeq_help_put(out, in_troff, option->help);
    moeq_help_put(out, in_troff, option_note(option, note));
    fputs(".\n", out);
}

static void man_verb(FILE *out, const struct moeq_verb *verb)
{
    struct block block;
    const char *details = verb->details;
    fputs(".SS \"moeq ", out);
    moeq_help_put(out, in_troff, verb->name);
    if (verb->arguments && verb->arguments[0])
        fputc(' ', out);
    moeq_help_put(out, in_troff, verb->arguments ? verb->arguments : "");
    fputs("\"\n", out);
    man_lines(out, verb->summary, strlen(verb->summary));
    while (next_block(&details, &block)) {
        fputs(block.literal ? ".PP\n.nf\n" : ".PP\n", out);
        man_lines(out, block.text, block.n_bytes);
        if (block.literal)
            fputs(".fi\n", out);
    }
    for (size_t i = 0; moeq_help_option_at(verb, i); i++)
        man_option(out, moeq_help_option_at(verb, i));
}

void moeq_help_man(FILE *out, const struct moeq_verb *const *verbs)
{
    fputs(".TH MOEQ 1 \"\" \"moeq " MOEQ_VERSION "\" \"User Commands\"\n"
          ".SH NAME\nmoeq \\- toolchain for mixture\\-of\\-experts checkpoints\n"
          ".SH SYNOPSIS\n.B moeq\n\\fIVERB\\fR [\\fIARGUMENT\\fR...] [\\fIOPTION\\fR...]\n.br\n.B moeq help\n"
          "[\\fIVERB\\fR]\n.SH DESCRIPTION\n",
          out);
    man_lines(out, program_summary, strlen(program_summary));
    fputs("Options may stand before or after arguments; a word\n.B \\-\\-\nends them.\n.SH VERBS\n", out);
    for (size_t i = 0; verbs[i]; i++)
        man_verb(out, verbs[i]);
    fputs(".SH \"EXIT STATUS\"\n", out);
    for (size_t code = 0; code < N_EXIT_CODES; code++) {
        fprintf(out, ".TP\n.B %zu\n", code);
        man_lines(out, exit_meanings[code], strlen(exit_meanings[code]));
    }
}
