/* Errors: the line that a user sees, and the exit code that a script sees. */
#include "unit.h"

#include "file.h"
#include "status.h"

#include <errno.h>

static const char *line_of(const struct moeq_error *err)
{
    static char line[2048];
    return moeq_error_format(err, line, sizeof line);
}

/* Scripts test exit codes: they are part of the interface. */
static void test_exit_codes_are_fixed(void)
{
    static const enum moeq_status codes[] = {MOEQ_OK,          MOEQ_CHECK_FAILED, MOEQ_USAGE,
                                             MOEQ_DAMAGED,     MOEQ_UNSUPPORTED,  MOEQ_IO,
                                             MOEQ_OVER_MEMORY, MOEQ_INTERRUPTED,  MOEQ_BUG};
    for (int i = 0; i < 9; i++)
        CU_ASSERT_EQUAL((int)codes[i], i);
}

/* The cause, not what failed while cleaning up after it. */
static void test_the_first_failure_wins(void)
{
    struct moeq_error err = {0};
    CU_ASSERT_EQUAL(moeq_fail(&err, MOEQ_DAMAGED, "first %d", 1), MOEQ_DAMAGED);
    moeq_error_in_file(&err, "a");
    moeq_error_in_tensor(&err, "t");
    moeq_error_at(&err, 7);
    moeq_error_hint(&err, "hint %d", 1);
    CU_ASSERT_EQUAL(moeq_fail(&err, MOEQ_BUG, "second"), MOEQ_BUG); /* the caller's status is its own */
    CU_ASSERT_EQUAL(moeq_fail_errno(&err, ENOSPC, "third"), MOEQ_IO);
    CU_ASSERT_EQUAL(moeq_fail_alloc(&err, 5), MOEQ_OVER_MEMORY);
    moeq_error_in_file(&err, "b");
    moeq_error_in_tensor(&err, "u");
    moeq_error_at(&err, 8);
    moeq_error_hint(&err, "hint 2");
    CU_ASSERT_EQUAL(err.status, MOEQ_DAMAGED);
    CU_ASSERT_STRING_EQUAL(line_of(&err), "a: tensor t: first 1 (byte 7); hint 1");
}

static void test_places_wait_for_a_failure(void)
{
    struct moeq_error err = {0};
    moeq_error_in_file(&err, "a");
    moeq_error_in_tensor(&err, "t");
    moeq_error_at(&err, 7);
    moeq_error_hint(&err, "hint");
    moeq_fail(&err, MOEQ_IO, "m");
    CU_ASSERT_STRING_EQUAL(line_of(&err), "m");
}

static void test_no_error_wanted(void)
{
    CU_ASSERT_EQUAL(moeq_fail(NULL, MOEQ_USAGE, "x"), MOEQ_USAGE);
    CU_ASSERT_EQUAL(moeq_fail_errno(NULL, EIO, "x"), MOEQ_IO);
    CU_ASSERT_EQUAL(moeq_fail_alloc(NULL, 1), MOEQ_OVER_MEMORY);
    moeq_error_in_file(NULL, "a");
    moeq_error_in_tensor(NULL, "t");
    moeq_error_at(NULL, 1);
    moeq_error_hint(NULL, "x");
    struct moeq_error err = {0};
    moeq_fail(&err, MOEQ_IO, "m");
    moeq_error_in_file(&err, NULL);
    moeq_error_in_tensor(&err, NULL);
    CU_ASSERT_STRING_EQUAL(line_of(&err), "m");
}

static void test_every_combination_of_parts(void)
{
    static const struct {
        struct moeq_error err;
        const char *line;
    } cases[] = {
        {{.message = "m"}, "m"},
        {{.message = "m", .file = "f"}, "f: m"},
        {{.message = "m", .tensor = "t"}, "tensor t: m"},
        {{.message = "m", .has_offset = true}, "m (byte 0)"},
        {{.message = "m", .has_offset = true, .offset = UINT64_MAX}, "m (byte 18446744073709551615)"},
        {{.message = "m", .hint = "h"}, "m; h"},
        {{.message = "m", .file = "f", .has_offset = true, .offset = 8, .hint = "h"}, "f: m (byte 8); h"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CU_ASSERT_STRING_EQUAL(line_of(&cases[i].err), cases[i].line);
}

/* Names of a hostile file are printed to a terminal: they must not move its cursor or forge a line. */
static void test_control_characters(void)
{
    struct moeq_error err = {0};
    moeq_fail(&err, MOEQ_DAMAGED, "a\nb\x1b[2Jc\x7f");
    moeq_error_in_file(&err, "x\ry");
    moeq_error_in_tensor(&err, "\x01\t\b");
    CU_ASSERT_STRING_EQUAL(line_of(&err), "x?y: tensor ???: a?b?[2Jc?");
    err = (struct moeq_error){0};
    moeq_fail(&err, MOEQ_DAMAGED, "\xe4\xb8\x93 %s", "%s%n");
    CU_ASSERT_STRING_EQUAL(line_of(&err), "\xe4\xb8\x93 %s%n"); /* other scripts stay readable */
    err = (struct moeq_error){0};
    moeq_fail(&err, MOEQ_DAMAGED,
              "a\xc2\x9b"
              "2Jb"); /* U+009B: what ESC [ is to terminals that know C1 */
    CU_ASSERT_PTR_NULL(strstr(line_of(&err), "\xc2\x9b"));
}

static void test_long_names_are_cut(void)
{
    char name[5000], small[16];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct moeq_error err = {0};
    moeq_fail(&err, MOEQ_DAMAGED, "%s", name);
    moeq_error_in_file(&err, name);
    moeq_error_in_tensor(&err, name);
    moeq_error_hint(&err, "%s", name);
    CU_ASSERT_EQUAL(strlen(err.message), sizeof err.message - 1);
    CU_ASSERT_EQUAL(strlen(err.file), sizeof err.file - 1);
    CU_ASSERT_EQUAL(strlen(err.tensor), sizeof err.tensor - 1);
    CU_ASSERT_EQUAL(strlen(err.hint), sizeof err.hint - 1);
    CU_ASSERT_EQUAL(strlen(moeq_error_format(&err, small, sizeof small)), sizeof small - 1);
    CU_ASSERT_EQUAL(strlen(moeq_error_format(&err, small, 1)), 0);
}

static void test_what_the_system_said(void)
{
    struct moeq_error err = {0};
    struct moeq_file file;
    CU_ASSERT_EQUAL(moeq_file_open(&file, "/nonexistent/x", &err), MOEQ_IO);
    CU_ASSERT_STRING_EQUAL(line_of(&err), "/nonexistent/x: cannot open: No such file or directory");
    err = (struct moeq_error){0};
    CU_ASSERT_EQUAL(moeq_file_open(&file, "/", &err), MOEQ_IO);
    CU_ASSERT_STRING_EQUAL(line_of(&err), "/: not a regular file");
    static const int no_room[] = {ENOSPC, EDQUOT};
    for (size_t i = 0; i < 2; i++) {
        err = (struct moeq_error){0};
        CU_ASSERT_EQUAL(moeq_fail_errno(&err, no_room[i], "cannot write %s", "f"), MOEQ_IO);
        CU_ASSERT(strstr(line_of(&err), "cannot write f: ") && strstr(line_of(&err), "free some space"));
    }
    err = (struct moeq_error){0};
    CU_ASSERT_EQUAL(moeq_fail_errno(&err, 123456, "x"), MOEQ_IO);
    CU_ASSERT_PTR_NOT_NULL(strstr(line_of(&err), "123456"));
}

static void test_memory(void)
{
    struct moeq_error err = {0};
    CU_ASSERT_EQUAL(moeq_fail_alloc(&err, 4096), MOEQ_OVER_MEMORY);
    CU_ASSERT_STRING_EQUAL(line_of(&err), "out of memory: 4096 bytes were refused");
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"exit codes are fixed", test_exit_codes_are_fixed},
        {"the first failure wins", test_the_first_failure_wins},
        {"places wait for a failure", test_places_wait_for_a_failure},
        {"no error wanted", test_no_error_wanted},
        {"every combination of parts", test_every_combination_of_parts},
        {"control characters", test_control_characters},
        {"long names are cut", test_long_names_are_cut},
        {"what the system said", test_what_the_system_said},
        {"memory", test_memory},
        {NULL, NULL},
    };
    return unit_main("status", tests);
}
