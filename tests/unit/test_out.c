/* Atomic output: under its final name a file is the old one or the new one, never half of either. */
#include "unit.h"

#include "../fuzz/fixture.h"
#include "file.h"
#include "out.h"

#include <sys/wait.h>

static char folder[FIXTURE_PATH];

static bool holds(const char *name, const char *text)
{
    if (!fixture_exists(folder, name))
        return false;
    size_t n;
    char *found = fixture_read(folder, name, &n);
    bool same = n == strlen(text) && memcmp(found, text, n) == 0;
    free(found);
    return same;
}

static void begin(struct moeq_out_dir *dir)
{
    fixture_make(folder);
    CU_ASSERT_EQUAL_FATAL(moeq_out_dir_open(dir, folder, NULL), MOEQ_OK);
}

static void end(struct moeq_out_dir *dir)
{
    moeq_out_dir_close(dir);
    fixture_remove(folder);
}

static void start(struct moeq_out *out, const struct moeq_out_dir *dir, const char *text)
{
    CU_ASSERT_EQUAL_FATAL(moeq_out_create(out, dir, "file", strlen(text), NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_out_write(out, text, strlen(text), NULL), MOEQ_OK);
}

static void test_nothing_under_the_name_before_the_end(void)
{
    struct moeq_out_dir dir;
    struct moeq_out out;
    begin(&dir);
    start(&out, &dir, "one");
    CU_ASSERT(!fixture_exists(folder, "file") && fixture_exists(folder, "file.part"));
    CU_ASSERT_EQUAL(moeq_out_write(&out, "+two", 4, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(out.n_written, 7);
    CU_ASSERT_EQUAL(moeq_out_finish(&out, NULL, NULL, NULL), MOEQ_OK);
    CU_ASSERT(holds("file", "one+two") && !fixture_exists(folder, "file.part"));
    end(&dir);
}

/* More space is reserved than is used: the file must end where the writing ended. */
static void test_reserved_space_is_given_back(void)
{
    struct moeq_out_dir dir;
    struct moeq_out out;
    begin(&dir);
    CU_ASSERT_EQUAL_FATAL(moeq_out_create(&out, &dir, "file", 1 << 20, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_out_write(&out, "x", 1, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_out_finish(&out, NULL, NULL, NULL), MOEQ_OK);
    CU_ASSERT(holds("file", "x"));
    end(&dir);
}

static void test_abandoning_leaves_nothing(void)
{
    struct moeq_out_dir dir;
    struct moeq_out out;
    begin(&dir);
    fixture_write(folder, "file", "old", 3);
    start(&out, &dir, "new");
    moeq_out_abandon(&out);
    CU_ASSERT(holds("file", "old") && !fixture_exists(folder, "file.part"));
    moeq_out_abandon(&out); /* closed already */
    end(&dir);
}

struct check {
    enum moeq_status answer;
    bool saw_all;
};

static enum moeq_status check_file(void *context, const char *path, struct moeq_error *err)
{
    struct check *check = context;
    struct moeq_bytes bytes = {0};
    if (moeq_file_read_all(path, 100, &bytes, err) == MOEQ_OK)
        check->saw_all = bytes.n_bytes == 3 && memcmp(bytes.data, "new", 3) == 0;
    moeq_bytes_free(&bytes);
    return check->answer ? moeq_fail(err, check->answer, "not what was meant") : MOEQ_OK;
}

/* The file is read back before it replaces the old one. */
static void test_a_failed_check_keeps_the_old_file(void)
{
    struct moeq_out_dir dir;
    struct moeq_out out;
    struct moeq_error err = {0};
    struct check check = {.answer = MOEQ_BUG};
    char path[FIXTURE_PATH];
    begin(&dir);
    fixture_write(folder, "file", "old", 3);
    start(&out, &dir, "new");
    CU_ASSERT_EQUAL(moeq_out_finish(&out, check_file, &check, &err), MOEQ_BUG);
    CU_ASSERT(check.saw_all && strcmp(err.message, "not what was meant") == 0);
    CU_ASSERT_STRING_EQUAL(err.file, fixture_path(path, folder, "file")); /* not the .part */
    CU_ASSERT(holds("file", "old") && !fixture_exists(folder, "file.part"));
    check = (struct check){.answer = MOEQ_OK};
    start(&out, &dir, "new");
    CU_ASSERT_EQUAL(moeq_out_finish(&out, check_file, &check, NULL), MOEQ_OK);
    CU_ASSERT(check.saw_all && holds("file", "new"));
    end(&dir);
}

/* What a killed process left behind is no obstacle and no part of the next file. */
static void test_an_old_part_is_overwritten(void)
{
    struct moeq_out_dir dir;
    struct moeq_out out;
    begin(&dir);
    fixture_write(folder, "file.part", "much longer than the new one", 28);
    start(&out, &dir, "new");
    CU_ASSERT_EQUAL(moeq_out_finish(&out, NULL, NULL, NULL), MOEQ_OK);
    CU_ASSERT(holds("file", "new"));
    end(&dir);
}

/* A link planted under the temporary name must not redirect the writing. */
static void test_a_link_is_not_followed(void)
{
    struct moeq_out_dir dir;
    struct moeq_out out;
    char target[FIXTURE_PATH], link_path[FIXTURE_PATH];
    begin(&dir);
    fixture_write(folder, "precious", "old", 3);
    fixture_need(
        symlink(fixture_path(target, folder, "precious"), fixture_path(link_path, folder, "file.part")) == 0,
        "symlink");
    CU_ASSERT_EQUAL(moeq_out_create(&out, &dir, "file", 0, NULL), MOEQ_IO);
    CU_ASSERT(holds("precious", "old"));
    /* a link under the final name is replaced, not written through */
    unlink(link_path);
    fixture_need(symlink(target, fixture_path(link_path, folder, "file")) == 0, "symlink");
    start(&out, &dir, "new");
    CU_ASSERT_EQUAL(moeq_out_finish(&out, NULL, NULL, NULL), MOEQ_OK);
    CU_ASSERT(holds("precious", "old") && holds("file", "new"));
    end(&dir);
}

/* Something in the way of the final name: reported, and nothing left behind. */
static void test_a_folder_in_the_way(void)
{
    struct moeq_out_dir dir;
    struct moeq_out out;
    struct moeq_error err = {0};
    char path[FIXTURE_PATH];
    begin(&dir);
    fixture_need(mkdir(fixture_path(path, folder, "file"), 0777) == 0, "mkdir");
    start(&out, &dir, "new");
    CU_ASSERT_EQUAL(moeq_out_finish(&out, NULL, NULL, &err), MOEQ_IO);
    CU_ASSERT(!fixture_exists(folder, "file.part") && strstr(err.message, "rename"));
    end(&dir);
}

/* --- the folder --- */

static void test_a_second_writer_is_locked_out(void)
{
    struct moeq_out_dir dir, second;
    struct moeq_error err = {0};
    begin(&dir);
    CU_ASSERT_EQUAL(moeq_out_dir_open(&second, folder, &err), MOEQ_IO);
    CU_ASSERT(second.fd == -1 && strstr(err.message, "another process") && err.hint[0]);
    CU_ASSERT_STRING_EQUAL(err.file, folder);
    moeq_out_dir_close(&second);
    moeq_out_dir_close(&dir);
    CU_ASSERT_EQUAL(moeq_out_dir_open(&second, folder, NULL), MOEQ_OK);
    end(&second);
}

/* A killed process holds no lock. */
static void test_the_lock_ends_with_its_process(void)
{
    struct moeq_out_dir dir;
    begin(&dir);
    moeq_out_dir_close(&dir);
    pid_t child = fork();
    if (child == 0)
        _exit((int)moeq_out_dir_open(&dir, folder, NULL));
    int status = 0;
    fixture_need(waitpid(child, &status, 0) == child, "waitpid");
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_out_dir_open(&dir, folder, NULL), MOEQ_OK);
    end(&dir);
}

static void test_folders(void)
{
    struct moeq_out_dir dir;
    char path[FIXTURE_PATH];
    struct moeq_error err = {0};
    begin(&dir);
    moeq_out_dir_close(&dir);
    CU_ASSERT_EQUAL(moeq_out_dir_open(&dir, fixture_path(path, folder, "new"), NULL), MOEQ_OK);
    CU_ASSERT(moeq_path_is_dir(path));
    moeq_out_dir_close(&dir);
    CU_ASSERT_EQUAL(moeq_out_dir_open(&dir, fixture_path(path, folder, "none/new"), NULL), MOEQ_IO);
    fixture_write(folder, "file", "old", 3);
    CU_ASSERT_EQUAL(moeq_out_dir_open(&dir, fixture_path(path, folder, "file"), &err), MOEQ_IO);
    CU_ASSERT(strstr(err.message, "not a folder") && holds("file", "old"));
    fixture_remove(folder);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"nothing under the name before the end", test_nothing_under_the_name_before_the_end},
        {"reserved space is given back", test_reserved_space_is_given_back},
        {"abandoning leaves nothing", test_abandoning_leaves_nothing},
        {"a failed check keeps the old file", test_a_failed_check_keeps_the_old_file},
        {"an old .part is overwritten", test_an_old_part_is_overwritten},
        {"a link is not followed", test_a_link_is_not_followed},
        {"a folder in the way", test_a_folder_in_the_way},
        {"a second writer is locked out", test_a_second_writer_is_locked_out},
        {"the lock ends with its process", test_the_lock_ends_with_its_process},
        {"folders", test_folders},
        {NULL, NULL},
    };
    return unit_main("out", tests);
}
