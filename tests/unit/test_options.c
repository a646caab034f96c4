/* The command line of every verb, and the texts that come out of the same tables. */
#include "options.h"

#include <CUnit/Basic.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

struct convert_options {
    bool json;
    bool quiet;
    const char *output;
    const char *level;
    uint64_t jobs;
    uint64_t seed;
    struct moeq_list rules;
};

struct real_options {
    double share;
};

static const struct moeq_option convert_rows[] = {
    {.name = "json",
     .kind = MOEQ_OPTION_FLAG,
     .help = "print a versioned object",
     .offset = offsetof(struct convert_options, json)},
    {.name = "quiet",
     .letter = 'q',
     .kind = MOEQ_OPTION_FLAG,
     .help = "don't show [any] progress: none at all",
     .offset = offsetof(struct convert_options, quiet)},
    {.name = "output",
     .letter = 'o',
     .kind = MOEQ_OPTION_TEXT,
     .value = "PKG",
     .help = ".moeq folder to write",
     .offset = offsetof(struct convert_options, output)},
    {.name = "level",
     .letter = 'l',
     .kind = MOEQ_OPTION_CHOICE,
     .value = "LEVEL",
     .help = "level of every expert, for which a rule may name another one",
     .offset = offsetof(struct convert_options, level),
     .choices = "bf16|fp8|int8|int4"},
    {.name = "jobs",
     .letter = 'j',
     .kind = MOEQ_OPTION_NUMBER,
     .value = "N",
     .help = "threads",
     .offset = offsetof(struct convert_options, jobs),
     .min = 1,
     .max = 1024},
    {.name = "seed",
     .kind = MOEQ_OPTION_NUMBER,
     .value = "N",
     .help = "of the random numbers",
     .offset = offsetof(struct convert_options, seed),
     .max = UINT64_MAX},
    {.name = "a-rule-with-a-long-name",
     .letter = 'r',
     .kind = MOEQ_OPTION_LIST,
     .value = "PATTERN=LEVEL",
     .help = "level of the tensors that match",
     .offset = offsetof(struct convert_options, rules)},
    {.name = NULL},
};

static const struct moeq_verb convert = {
    .name = "convert",
    .arguments = "SRC -o PKG",
    .summary = "repack a checkpoint without loss, or round it to the nearest of a model's levels",
    .details = "Each layer is written to its own file, synced and read back before the next one begins, so "
               "that a run that "
               "is interrupted\ncan go on where it stopped.\n\n  moeq convert DeepSeek-V3 -o v3.moeq\n    "
               "--level int4\n"
               "\nA back\\slash and 'quotes'.\n.dot\n",
    .options = convert_rows,
    .n_positional_min = 1,
    .n_positional_max = 2,
    .options_size = sizeof(struct convert_options),
};
static const struct moeq_verb doctor = {
    .name = "doctor", .arguments = "", .summary = "say what this machine can do"};
static const struct moeq_verb *const verbs[] = {&convert, &doctor, NULL};

/* --- parsing --- */

static struct convert_options options;
static struct moeq_list positional;
static struct moeq_error err;
static char message[2048];

/* Parses the words up to a NULL, and leaves the error as the user sees it in `message`. */
static enum moeq_status parse_verb(const struct moeq_verb *verb, char *const *words)
{
    int argc = 0;
    while (words[argc])
        argc++;
    memset(&options, 0xa5, sizeof options); /* stale contents: the parser starts from zero */
    memset(&err, 0, sizeof err);
    enum moeq_status status = moeq_options_parse(verb, argc, words, &options, &positional, &err);
    moeq_error_format(&err, message, sizeof message);
    return status;
}

#define PARSE(...) parse_verb(&convert, (char *[]){__VA_ARGS__, NULL})

static void release(void)
{
    moeq_options_free(&convert, &options, &positional);
}

/* A usage error whose line holds `part`. */
static bool says(enum moeq_status status, const char *part)
{
    bool as_expected = status == MOEQ_USAGE && err.status == MOEQ_USAGE && strstr(message, part);
    if (!as_expected)
        fprintf(stderr, "\n  status %d, found: %s\n  expected: %s\n", (int)status, message, part);
    return as_expected;
}

static void test_every_form_of_a_value(void)
{
    char *forms[][2] = {{"--output=a b", NULL}, {"--output", "a b"}, {"-o", "a b"}, {"-oa b", NULL}};
    for (size_t i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(PARSE("SRC", forms[i][0], forms[i][1]), MOEQ_OK);
        CU_ASSERT_STRING_EQUAL(options.output, "a b");
        CU_ASSERT_EQUAL(positional.n_items, 1);
        release();
    }
    CU_ASSERT_EQUAL(PARSE("SRC", "--output=a=b", "-j4", "--level=int4", "--seed", "18446744073709551615"),
                    MOEQ_OK);
    CU_ASSERT_STRING_EQUAL(options.output, "a=b");
    CU_ASSERT_STRING_EQUAL(options.level, "int4");
    CU_ASSERT_EQUAL(options.jobs, 4);
    CU_ASSERT_EQUAL(options.seed, UINT64_MAX);
    release();
    CU_ASSERT_EQUAL(PARSE("SRC", "--output="), MOEQ_OK);
    CU_ASSERT_STRING_EQUAL(options.output, "");
    release();
}

/* "--tensors" at the end of a line, or before another option, means all of them. */
static void test_value_where_none_follows(void)
{
    static const struct moeq_option rows[] = {
        {.name = "output",
         .letter = 'o',
         .kind = MOEQ_OPTION_TEXT,
         .value = "PKG",
         .help = "",
         .offset = offsetof(struct convert_options, output),
         .choices = "*"},
        {.name = "quiet",
         .letter = 'q',
         .kind = MOEQ_OPTION_FLAG,
         .help = "",
         .offset = offsetof(struct convert_options, quiet)},
        {.name = NULL},
    };
    const struct moeq_verb verb = {.name = "inspect",
                                   .arguments = "SRC",
                                   .options = rows,
                                   .n_positional_min = 1,
                                   .n_positional_max = 1,
                                   .options_size = sizeof(struct convert_options)};
    char *words[][5] = {{"SRC", "--output", NULL},       {"SRC", "-o", NULL},
                        {"SRC", "--output", "-q", NULL}, {"SRC", "-o", "--quiet", NULL},
                        {"--output", "x*", "SRC", NULL}, {"SRC", "--output=x*", NULL}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        CU_ASSERT_EQUAL(parse_verb(&verb, words[i]), MOEQ_OK);
        CU_ASSERT_STRING_EQUAL(options.output, i < 4 ? "*" : "x*");
        CU_ASSERT_STRING_EQUAL(positional.items[0], "SRC");
        moeq_options_free(&verb, &options, &positional);
    }
}

static void test_what_is_not_given_is_zero(void)
{
    CU_ASSERT_EQUAL(PARSE("SRC"), MOEQ_OK);
    CU_ASSERT_FALSE(options.json);
    CU_ASSERT_PTR_NULL(options.output);
    CU_ASSERT_PTR_NULL(options.level);
    CU_ASSERT_EQUAL(options.jobs, 0);
    CU_ASSERT_EQUAL(options.rules.n_items, 0);
    CU_ASSERT_PTR_NULL(options.rules.items);
    release();
}

static void test_flags(void)
{
    CU_ASSERT_EQUAL(PARSE("--json", "SRC", "-q", "--quiet"), MOEQ_OK); /* twice does no harm */
    CU_ASSERT_TRUE(options.json);
    CU_ASSERT_TRUE(options.quiet);
    release();
    CU_ASSERT_EQUAL(PARSE("SRC", "-qqj3"), MOEQ_OK);
    CU_ASSERT_TRUE(options.quiet);
    CU_ASSERT_EQUAL(options.jobs, 3);
    release();
    CU_ASSERT_TRUE(says(PARSE("SRC", "--json=yes"), "--json takes no value, found 'yes'"));
}

static void test_order_of_arguments(void)
{
    CU_ASSERT_EQUAL(PARSE("first", "-o", "PKG", "second", "-q"), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(positional.n_items, 2);
    CU_ASSERT_STRING_EQUAL(positional.items[0], "first");
    CU_ASSERT_STRING_EQUAL(positional.items[1], "second");
    release();
    CU_ASSERT_EQUAL(PARSE("-q", "--", "--json", "--"), MOEQ_OK);
    CU_ASSERT_FALSE(options.json);
    CU_ASSERT_EQUAL_FATAL(positional.n_items, 2);
    CU_ASSERT_STRING_EQUAL(positional.items[0], "--json");
    CU_ASSERT_STRING_EQUAL(positional.items[1], "--");
    release();
    CU_ASSERT_EQUAL(PARSE("-", ""), MOEQ_OK); /* standard input, and an empty name */
    CU_ASSERT_EQUAL(positional.n_items, 2);
    release();
}

static void test_lists_keep_every_value_in_order(void)
{
    CU_ASSERT_EQUAL(
        PARSE("-r", "a=int4", "SRC", "--a-rule-with-a-long-name=b=fp8", "-rc=int8", "-r", "a=int4"), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(options.rules.n_items, 4);
    CU_ASSERT_STRING_EQUAL(options.rules.items[0], "a=int4");
    CU_ASSERT_STRING_EQUAL(options.rules.items[1], "b=fp8");
    CU_ASSERT_STRING_EQUAL(options.rules.items[2], "c=int8");
    CU_ASSERT_STRING_EQUAL(options.rules.items[3], "a=int4");
    release();
    release(); /* harmless */
    CU_ASSERT_TRUE(
        says(PARSE("SRC", "-r", "a", "--nonsense"), "unknown option '--nonsense'")); /* leak-free */
    CU_ASSERT_PTR_NULL(options.rules.items);
}

static void test_unknown_options_get_a_suggestion(void)
{
    CU_ASSERT_TRUE(
        says(PARSE("SRC", "--jsn"), "unknown option '--jsn'; did you mean --json? see moeq help convert"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "--ouptut=x"), "unknown option '--ouptut=x'; did you mean --output?"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "--out", "x"), "did you mean --output?"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "--hlep"), "did you mean --help?"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-json"), "unknown option '-json'; did you mean --json?"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-output", "x"), "did you mean --output?")); /* not "-o utput" */
    CU_ASSERT_TRUE(says(PARSE("SRC", "--bandwidth"), "unknown option '--bandwidth'; see moeq help convert"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-x"), "unknown option '-x'; see"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-qx"), "unknown option '-qx'"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "--=x"), "unknown option '--=x'; see"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "--\033[31m"), "unknown option '--?[31m'"));
    char *word = calloc(1, 100000);
    CU_ASSERT_PTR_NOT_NULL_FATAL(word);
    memset(word, '-', 99999);
    CU_ASSERT_TRUE(says(PARSE("SRC", word), "see moeq help convert"));
    free(word);
}

static void test_missing_values(void)
{
    CU_ASSERT_TRUE(says(PARSE("SRC", "-o"), "--output needs a value (PKG); see moeq help convert"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "--output"), "--output needs a value (PKG)"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-o", "--json"), "if '--json' is the value, write --output=--json"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-o", "-q"), "--output needs a value"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-o", "--level=int4"), "--output needs a value"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-o", "--", "x"), "--output needs a value"));
    CU_ASSERT_EQUAL(PARSE("SRC", "-o", "- a list item"), MOEQ_OK); /* a dash alone makes no option */
    CU_ASSERT_STRING_EQUAL(options.output, "- a list item");
    release();
    CU_ASSERT_EQUAL(PARSE("SRC", "--output=--json"), MOEQ_OK);
    CU_ASSERT_STRING_EQUAL(options.output, "--json");
    CU_ASSERT_FALSE(options.json);
    release();
}

static void test_given_twice(void)
{
    CU_ASSERT_TRUE(
        says(PARSE("SRC", "-o", "a", "--output=b"), "--output is given twice, the second time as 'b'"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-j1", "-j2"), "--jobs is given twice"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-lint4", "-lint4"), "--level is given twice"));
}

static void test_numbers_are_bounded(void)
{
    char *bad[] = {"0",
                   "1025",
                   "-1",
                   "+5",
                   " 5",
                   "5 ",
                   "5x",
                   "0x5",
                   "",
                   "1e3",
                   "4.0",
                   "18446744073709551616",
                   "99999999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CU_ASSERT_TRUE(
            says(PARSE("SRC", "--jobs", bad[i]), "--jobs is a whole number from 1 to 1024, found '"));
    CU_ASSERT_TRUE(
        says(PARSE("SRC", "--seed=18446744073709551616"), "--seed is a whole number of at least 0, found"));
    CU_ASSERT_EQUAL(PARSE("SRC", "--jobs", "1024"), MOEQ_OK);
    CU_ASSERT_EQUAL(options.jobs, 1024);
    release();
    CU_ASSERT_EQUAL(PARSE("SRC", "--jobs", "0001"), MOEQ_OK);
    CU_ASSERT_EQUAL(options.jobs, 1);
    release();
}

static const struct moeq_option real_rows[] = {
    {.name = "share",
     .kind = MOEQ_OPTION_REAL,
     .value = "P",
     .help = "a share",
     .offset = offsetof(struct real_options, share),
     .max = 1},
    {.name = NULL},
};

static void test_reals(void)
{
    const struct moeq_verb verb = {
        .name = "draw", .options = real_rows, .options_size = sizeof(struct real_options)};
    static char *bad[] = {"1.5", "-0.5", "inf", "nan", "1e-1", "0x1", ".", "", "0.5.5", "0,5", " 0.5"};
    static const struct {
        char *text;
        double value;
    } good[] = {{"0", 0}, {"1", 1}, {".25", 0.25}, {"0.95", 0.95}, {"1.", 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *words[] = {"--share", bad[i], NULL};
        CU_ASSERT_TRUE(says(parse_verb(&verb, words), "--share is a number from 0 to 1, found '"));
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char *words[] = {"--share", good[i].text, NULL};
        CU_ASSERT_EQUAL(parse_verb(&verb, words), MOEQ_OK);
        struct real_options real;
        memcpy(&real, &options, sizeof real);
        CU_ASSERT_EQUAL(real.share, good[i].value);
        moeq_options_free(&verb, &options, &positional);
    }
}

static void test_choices(void)
{
    char *good[] = {"bf16", "fp8", "int8", "int4"};
    for (size_t i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(PARSE("SRC", "--level", good[i]), MOEQ_OK);
        CU_ASSERT_STRING_EQUAL(options.level, good[i]);
        release();
    }
    CU_ASSERT_TRUE(says(PARSE("SRC", "-l", "itn4"),
                        "--level is one of bf16, fp8, int8, int4, found 'itn4'; did you mean int4?"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-l", "int"), "--level is one of"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-l", "int4|int8"), "--level is one of"));
    CU_ASSERT_TRUE(says(PARSE("SRC", "-l", ""), "--level is one of"));
}

static void test_number_of_arguments(void)
{
    CU_ASSERT_TRUE(
        says(PARSE("-q"), "an argument is missing: 1 needed, 0 found; usage: moeq convert SRC -o PKG"));
    CU_ASSERT_TRUE(says(PARSE("a", "b", "c"), "unexpected argument 'c'; usage: moeq convert SRC -o PKG"));
    CU_ASSERT_EQUAL(parse_verb(&doctor, (char *[]){NULL}), MOEQ_OK); /* no table, no struct */
    moeq_options_free(&doctor, NULL, &positional);
    CU_ASSERT_TRUE(
        says(parse_verb(&doctor, (char *[]){"x", NULL}), "unexpected argument 'x'; usage: moeq doctor"));
    CU_ASSERT_TRUE(says(parse_verb(&doctor, (char *[]){"--json", NULL}), "unknown option '--json'"));
}

/* --- texts --- */

static char *text; /* of the last capture */

static void capture_begin(FILE **out)
{
    static size_t n_bytes;
    free(text);
    text = NULL;
    *out = open_memstream(&text, &n_bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(*out);
}

static bool has(const char *part)
{
    bool found = strstr(text, part) != NULL;
    if (!found)
        fprintf(stderr, "\n  not found: %s\n  in: %s\n", part, text);
    return found;
}

static size_t longest_line(void)
{
    size_t longest = 0;
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n");
        longest = n > longest ? n : longest;
        line += n + (line[n] == '\n');
    }
    return longest;
}

static void test_help_of_a_verb(void)
{
    FILE *out;
    capture_begin(&out);
    moeq_help_verb(out, &convert);
    fclose(out);
    CU_ASSERT_EQUAL(strncmp(text, "Usage: moeq convert SRC -o PKG [OPTION...]\n\n", 44), 0);
    CU_ASSERT_TRUE(has("\n\n  moeq convert DeepSeek-V3 -o v3.moeq\n    --level int4\n\n"));
    CU_ASSERT_TRUE(has("\n      --json         print a versioned object\n"));
    CU_ASSERT_TRUE(has("\n  -o, --output PKG   .moeq folder to write\n"));
    CU_ASSERT_TRUE(has("\n  -j, --jobs N       threads (1 to 1024)\n"));
    CU_ASSERT_TRUE(has(" another one (one of\n                     bf16, fp8, int8, int4)\n"));
    CU_ASSERT_TRUE(has("\n  -r, --a-rule-with-a-long-name PATTERN=LEVEL\n                     level of the "
                       "tensors that match"));
    CU_ASSERT_TRUE(has("\n  -h, --help         show this help\n"));
    CU_ASSERT_TRUE(longest_line() <= 90);
    capture_begin(&out);
    moeq_help_verb(out, &doctor);
    fclose(out);
    CU_ASSERT_STRING_EQUAL(text,
                           "Usage: moeq doctor [OPTION...]\n\nsay what this machine can do\n\nOptions:\n"
                           "  -h, --help  show this help\n");
}

static void test_help_of_the_program(void)
{
    FILE *out;
    capture_begin(&out);
    moeq_help_program(out, verbs);
    fclose(out);
    CU_ASSERT_TRUE(has("\n  convert    repack a checkpoint"));
    CU_ASSERT_TRUE(has("\n  doctor     say what this machine can do\n"));
    CU_ASSERT_TRUE(has("\n  0  done\n  1  a check failed\n  2  "));
    CU_ASSERT_TRUE(has("\n  7  interrupted"));
    CU_ASSERT_TRUE(has("\n  8  a bug"));
    CU_ASSERT_TRUE(has("moeq help VERB"));
    CU_ASSERT_TRUE(longest_line() <= 90);
}

/* Gives `text` to a shell command on its standard input; the exit code, or -1. */
static int pipe_to(const char *command)
{
    fflush(stdout);
    FILE *to = popen(command, "w");
    if (!to)
        return -1;
    fputs(text, to);
    int status = pclose(to);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool is_installed(const char *program)
{
    char command[128];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", program);
    return system(command) == 0;
}

static void test_man_page(void)
{
    FILE *out;
    capture_begin(&out);
    moeq_help_man(out, verbs);
    fclose(out);
    CU_ASSERT_TRUE(has(".SS \"moeq convert SRC \\-o PKG\"\n"));
    CU_ASSERT_TRUE(has("\n\\&.moeq folder to write.\n"));
    CU_ASSERT_TRUE(has("\n\\&.dot\n"));
    CU_ASSERT_TRUE(has("A back\\eslash and \\(aqquotes\\(aq.\n"));
    CU_ASSERT_TRUE(has("\n.TP\n.B 8\na bug"));
    if (is_installed("groff")) /* what man calls; a warning is a line on stderr */
        CU_ASSERT_EQUAL(pipe_to("test -z \"$(groff -Kutf8 -Tutf8 -man -ww 2>&1 >/dev/null)\""), 0);
}

static void capture_bash(void)
{
    FILE *out;
    capture_begin(&out);
    moeq_help_completion_bash(out, verbs);
    fclose(out);
}

/* What bash offers for `words`, the command line as readline cuts it, with the cursor in the last word. */
static int offers(const char *words, const char *expected)
{
    char command[1024];
    snprintf(command, sizeof command,
             "bash -c 'source /dev/stdin; COMP_WORDS=(moeq %s); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _moeq; "
             "found=\"${COMPREPLY[*]}\"; [ \"$found\" = \"%s\" ] || { echo \"found $found\" >&2; exit 1; }'",
             words, expected);
    return pipe_to(command);
}

static void test_completion_bash(void)
{
    capture_bash();
    if (!is_installed("bash"))
        return;
    CU_ASSERT_EQUAL(pipe_to("bash -n"), 0);
    CU_ASSERT_EQUAL(offers("\"\"", "convert doctor help --help"), 0);
    CU_ASSERT_EQUAL(offers("con", "convert"), 0);
    CU_ASSERT_EQUAL(offers("help d", "doctor"), 0);
    CU_ASSERT_EQUAL(offers("convert SRC --l", "--level"), 0);
    CU_ASSERT_EQUAL(offers("convert SRC --level int", "int8 int4"), 0);
    CU_ASSERT_EQUAL(offers("convert SRC -l \"\"", "bf16 fp8 int8 int4"), 0);
    CU_ASSERT_EQUAL(offers("convert SRC --level =", "bf16 fp8 int8 int4"), 0);
    CU_ASSERT_EQUAL(offers("convert SRC --level = b", "bf16"), 0);
    CU_ASSERT_EQUAL(offers("convert SRC --output x", ""), 0); /* readline then offers files */
    CU_ASSERT_EQUAL(offers("convert SRC -- --l", ""), 0);
    CU_ASSERT_EQUAL(offers("doctor -", "-h --help"), 0);
}

static void test_completion_zsh_and_fish(void)
{
    FILE *out;
    capture_begin(&out);
    moeq_help_completion_zsh(out, verbs);
    fclose(out);
    CU_ASSERT_EQUAL(strncmp(text, "#compdef moeq\n", 14), 0);
    CU_ASSERT_TRUE(has("'(-o --output)-o+[.moeq folder to write]:PKG:_files'"));
    CU_ASSERT_TRUE(has("--level=[level of every expert, for which a rule may name another one]:LEVEL:(bf16 "
                       "fp8 int8 int4)'"));
    CU_ASSERT_TRUE(has("--quiet[don'\\''t show \\[any\\] progress\\: none at all]'"));
    CU_ASSERT_TRUE(has("'--json[print a versioned object]'"));
    if (is_installed("zsh"))
        CU_ASSERT_EQUAL(pipe_to("zsh -n"), 0);
    capture_begin(&out);
    moeq_help_completion_fish(out, verbs);
    fclose(out);
    CU_ASSERT_TRUE(
        has("complete -c moeq -n '__moeq_verb convert' -s l -l level -x -a 'bf16 fp8 int8 int4' -d '"));
    CU_ASSERT_TRUE(has("-s q -l quiet -d 'don\\'t show"));
    if (is_installed("fish"))
        CU_ASSERT_EQUAL(pipe_to("fish -n"), 0);
    free(text);
    text = NULL;
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("options", NULL, NULL);
    CU_ADD_TEST(suite, test_every_form_of_a_value);
    CU_ADD_TEST(suite, test_value_where_none_follows);
    CU_ADD_TEST(suite, test_what_is_not_given_is_zero);
    CU_ADD_TEST(suite, test_flags);
    CU_ADD_TEST(suite, test_order_of_arguments);
    CU_ADD_TEST(suite, test_lists_keep_every_value_in_order);
    CU_ADD_TEST(suite, test_unknown_options_get_a_suggestion);
    CU_ADD_TEST(suite, test_missing_values);
    CU_ADD_TEST(suite, test_given_twice);
    CU_ADD_TEST(suite, test_numbers_are_bounded);
    CU_ADD_TEST(suite, test_reals);
    CU_ADD_TEST(suite, test_choices);
    CU_ADD_TEST(suite, test_number_of_arguments);
    CU_ADD_TEST(suite, test_help_of_a_verb);
    CU_ADD_TEST(suite, test_help_of_the_program);
    CU_ADD_TEST(suite, test_man_page);
    CU_ADD_TEST(suite, test_completion_bash);
    CU_ADD_TEST(suite, test_completion_zsh_and_fish);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned n_failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return n_failures != 0;
}
