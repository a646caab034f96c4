/* The one binary: `moeq VERB …`. Each verb is a row of this table; everything else is in
 * <folder>/cmd_<verb>.c. */
#include "cmd_bench.h"
#include "cmd_calibrate.h"
#include "cmd_check.h"
#include "cmd_check_answers.h"
#include "cmd_convert.h"
#include "cmd_eval.h"
#include "cmd_generate.h"
#include "cmd_inspect.h"
#include "cmd_pack.h"
#include "cmd_plan.h"
#include "cmd_quantize.h"
#include "cmd_tokenize.h"
#include "cmd_verify.h"
#include "bytes.h"
#include "interrupt.h"
#include "kernels.h"
#include "verb.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct moeq_verb *const verbs[] = {&moeq_verb_inspect,   &moeq_verb_check,
                                                &moeq_verb_convert,   &moeq_verb_verify,
                                                &moeq_verb_eval,      &moeq_verb_check_answers,
                                                &moeq_verb_generate,  &moeq_verb_tokenize,
                                                &moeq_verb_calibrate, &moeq_verb_plan,
                                                &moeq_verb_quantize,  &moeq_verb_pack,
                                                &moeq_verb_bench,     NULL};

static const struct moeq_verb *find_verb(const char *name)
{
    for (size_t i = 0; verbs[i]; i++)
        if (strcmp(name, verbs[i]->name) == 0)
            return verbs[i];
    return NULL;
}

static int fail(const char *verb, const struct moeq_error *err)
{
    char line[1600];
    fflush(stdout);
    fprintf(stderr, "moeq%s%s: %s\n", verb ? " " : "", verb ? verb : "",
            moeq_error_format(err, line, sizeof line));
    return (int)err->status;
}

/* A reader that has seen enough, as `head` has, closes its end: nothing is to be said about that. */
static bool reader_is_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};
    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR);
}

/* What was printed must have arrived for the exit code to count. */
static int finish_output(const char *verb, int code)
{
    struct moeq_error err = {0};
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (reader_is_gone())
        return MOEQ_IO;
    moeq_fail(&err, MOEQ_IO, "cannot write the result: %s", strerror(errno));
    return fail(verb, &err);
}

static int unknown_verb(const char *name)
{
    struct moeq_error err = {0};
    moeq_fail(&err, MOEQ_USAGE, "there is no verb \"%s\"", name);
    moeq_error_hint(&err, "'moeq help' lists them");
    return fail(NULL, &err);
}

/* moeq help [VERB] | --man | --completion SHELL */
static int help(int argc, char **argv)
{
    static const struct {
        const char *shell;
        void (*print)(FILE *, const struct moeq_verb *const *);
    } shells[] = {{"bash", moeq_help_completion_bash},
                  {"zsh", moeq_help_completion_zsh},
                  {"fish", moeq_help_completion_fish}};
    if (argc == 0)
        moeq_help_program(stdout, verbs);
    else if (strcmp(argv[0], "--man") == 0)
        moeq_help_man(stdout, verbs);
    else if (strcmp(argv[0], "--completion") == 0) {
        for (size_t i = 0; argc > 1 && i < sizeof shells / sizeof *shells; i++)
            if (strcmp(argv[1], shells[i].shell) == 0) {
                shells[i].print(stdout, verbs);
                return MOEQ_OK;
            }
        struct moeq_error err = {0};
        moeq_fail(&err, MOEQ_USAGE, "completion for which shell? bash, zsh or fish");
        return fail("help", &err);
    } else if (find_verb(argv[0]))
        moeq_help_verb(stdout, find_verb(argv[0]));
    else
        return unknown_verb(argv[0]);
    return MOEQ_OK;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

/* JSON repeats paths, and holds no bytes that are not UTF-8. */
static enum moeq_status check_utf8(int argc, char **argv, struct moeq_error *err)
{
    for (int i = 0; i < argc; i++)
        if (!moeq_utf8_valid((const uint8_t *)argv[i], strlen(argv[i]), NULL)) {
            moeq_fail(err, MOEQ_USAGE, "argument %d is not UTF-8, which --json cannot repeat", i + 1);
            moeq_error_hint(err, "rename the file, or leave --json out");
            return MOEQ_USAGE;
        }
    return MOEQ_OK;
}

static enum moeq_status run_verb(const struct moeq_verb *verb, int argc, char **argv, struct moeq_error *err)
{
    struct moeq_list positional = {0};
    void *options = calloc(1, verb->options_size);
    if (!options)
        return moeq_fail(err, MOEQ_OVER_MEMORY, "out of memory");
    enum moeq_status status = moeq_options_parse(verb, argc, argv, options, &positional, err);
    if (!status) {
        if (((const struct moeq_common *)options)->json)
            status = check_utf8(argc, argv, err);
        if (!status)
            status = verb->run(options, positional.items, positional.n_items, err);
        moeq_options_free(verb, options, &positional);
    }
    free(options);
    return status;
}

int main(int argc, char **argv)
{
    struct moeq_error err = {0};
    const char *name = argc > 1 ? argv[1] : "help";
    moeq_interrupt_install();
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        puts("moeq " MOEQ_VERSION);
        return MOEQ_OK;
    }
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return finish_output("help", help(argc > 2 ? argc - 2 : 0, argv + 2));
    const struct moeq_verb *verb = find_verb(name);
    if (!verb)
        return unknown_verb(name);
    if (asks_for_help(argc - 2, argv + 2)) {
        moeq_help_verb(stdout, verb);
        return finish_output(name, MOEQ_OK);
    }
    enum moeq_status status = moeq_kernels_check(&err);
    if (!status)
        status = run_verb(verb, argc - 2, argv + 2, &err);
    if (status && status != MOEQ_CHECK_FAILED && !err.status)
        moeq_fail(&err, MOEQ_BUG, "failed without saying why");
    if (err.status == MOEQ_IO && ferror(stdout) && reader_is_gone())
        return MOEQ_IO;
    if (err.status)
        return fail(verb->name, &err);
    return finish_output(verb->name, (int)status);
}
