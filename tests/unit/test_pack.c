/* A packed package: the package's bytes and nothing else, under its name only when all of them are right. */
#include "unit.h"

#include "../fuzz/archive_fixture.h"
#include "../fuzz/package_fixture.h"
#include "pack.h"
#include "place.h"

static char folder[FIXTURE_PATH], outside[FIXTURE_PATH], tar[FIXTURE_PATH];

static void begin(void)
{
    fixture_make(folder);
    fixture_make(outside);
    fixture_path(tar, outside, "p.tar");
    json_t *manifest = fixture_package(folder);
    fixture_seal(folder, manifest);
    json_decref(manifest);
}

static void end(void)
{
    fixture_remove(folder);
    fixture_remove(outside);
}

static enum moeq_status pack_to(const char *out, bool force, struct moeq_error *err)
{
    struct moeq_package package;
    struct moeq_pack_result result;
    enum moeq_status status = moeq_package_open(&package, folder, err);
    if (status)
        return status;
    struct moeq_pack pack = {.package = &package, .folder = folder, .out = out, .force = force};
    status = moeq_pack_run(&pack, &result, err);
    if (!status) {
        struct stat info;
        CU_ASSERT(stat(out, &info) == 0 && (uint64_t)info.st_size == result.n_bytes);
        CU_ASSERT_EQUAL(result.n_files, 4);
    }
    moeq_package_close(&package);
    return status;
}

/* By libarchive, independently of moeq's own reading: names, order, attributes, places and bytes. */
static void test_what_is_in_it(void)
{
    static const char *const names[] = {"manifest.json", "config.json", FIXTURE_LAYER, FIXTURE_EMBED};
    struct archive_entry *entry;
    begin();
    CU_ASSERT_EQUAL_FATAL(pack_to(tar, false, NULL), MOEQ_OK);
    struct archive *a = archive_read_new();
    archive_read_support_format_tar(a);
    fixture_need(archive_read_open_filename(a, tar, 512) == ARCHIVE_OK, tar);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n;
        CU_ASSERT_EQUAL_FATAL(archive_read_next_header(a, &entry), ARCHIVE_OK);
        const char *name = archive_entry_pathname(entry);
        bool known = false;
        for (size_t j = 0; j < sizeof names / sizeof *names; j++)
            known = known || strcmp(name, names[j]) == 0;
        CU_ASSERT_FATAL(known && (i > 0 || strcmp(name, names[0]) == 0));
        char *expected = fixture_read(folder, name, &n), *found = malloc(n + 1);
        CU_ASSERT(archive_entry_size(entry) == (la_int64_t)n && archive_filter_bytes(a, 0) % 512 == 0);
        CU_ASSERT_EQUAL(archive_read_data(a, found, n + 1), (la_ssize_t)n);
        CU_ASSERT(memcmp(found, expected, n) == 0);
        CU_ASSERT(archive_entry_mtime(entry) == 0 && archive_entry_uid(entry) == 0);
        CU_ASSERT(archive_entry_perm(entry) == 0644 && archive_entry_filetype(entry) == AE_IFREG);
        free(found);
        free(expected);
    }
    CU_ASSERT_EQUAL(archive_read_next_header(a, &entry), ARCHIVE_EOF);
    archive_read_free(a);
    CU_ASSERT(!fixture_exists(outside, "p.tar.part"));
    end();
}

static void test_same_bytes_every_time(void)
{
    char other[FIXTURE_PATH];
    size_t n, m;
    begin();
    CU_ASSERT_EQUAL_FATAL(pack_to(tar, false, NULL), MOEQ_OK);
    sleep(1); /* no second counts */
    CU_ASSERT_EQUAL_FATAL(pack_to(fixture_path(other, outside, "other.tar"), false, NULL), MOEQ_OK);
    char *one = fixture_read(outside, "p.tar", &n), *two = fixture_read(outside, "other.tar", &m);
    CU_ASSERT(n == m && memcmp(one, two, n) == 0);
    free(one);
    free(two);
    end();
}

static void test_reads_back_as_the_package(void)
{
    struct moeq_place place;
    struct moeq_package package;
    uint8_t bytes[1024];
    begin();
    CU_ASSERT_EQUAL_FATAL(pack_to(tar, false, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_place_open(&place, tar, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_package_open(&package, place.path, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_package_check_outside(&package, NULL), MOEQ_OK);
    for (size_t i = 0; i < package.n_segments; i++)
        CU_ASSERT_EQUAL(moeq_package_read_segment(&package, &package.segments[i], bytes, NULL), MOEQ_OK);
    moeq_package_close(&package);
    moeq_place_close(&place);
    end();
}

/* Any flipped byte of any file: no tar, and an older one stays. */
static void test_damaged_packages_give_no_tar(void)
{
    static const char *const files[] = {"manifest.json", "config.json", FIXTURE_LAYER, FIXTURE_EMBED};
    begin();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t n;
        char *bytes = fixture_read(folder, files[i], &n);
        for (size_t at = 0; at < n; at += 1 + n / 40) {
            struct moeq_error err = {0};
            fixture_write(outside, "p.tar", "old", 3);
            fixture_flip(folder, files[i], (long)at);
            CU_ASSERT_EQUAL(pack_to(tar, true, &err), MOEQ_DAMAGED);
            CU_ASSERT(err.file[0] != '\0' && strncmp(err.file, folder, strlen(folder)) == 0);
            size_t n_old;
            char *old = fixture_read(outside, "p.tar", &n_old);
            CU_ASSERT(n_old == 3 && !fixture_exists(outside, "p.tar.part"));
            free(old);
            fixture_write(folder, files[i], bytes, n);
        }
        free(bytes);
    }
    CU_ASSERT_EQUAL(pack_to(tar, true, NULL), MOEQ_OK);
    end();
}

static void test_outputs(void)
{
    char other[FIXTURE_PATH];
    struct moeq_error err = {0};
    begin();
    CU_ASSERT_EQUAL(pack_to(tar, false, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(pack_to(tar, false, &err), MOEQ_IO);
    CU_ASSERT(strstr(err.hint, "--force") != NULL);
    CU_ASSERT_EQUAL(pack_to(tar, true, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(pack_to(outside, true, NULL), MOEQ_IO);
    CU_ASSERT_EQUAL(pack_to(fixture_path(other, outside, "none/p.tar"), false, NULL), MOEQ_IO);
    CU_ASSERT_EQUAL(pack_to(fixture_path(other, outside, ".."), false, NULL), MOEQ_IO);
    end();
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"what is in it", test_what_is_in_it},
        {"the same bytes every time", test_same_bytes_every_time},
        {"reads back as the package", test_reads_back_as_the_package},
        {"damaged packages", test_damaged_packages_give_no_tar},
        {"outputs", test_outputs},
        {NULL, NULL},
    };
    return unit_main("pack", tests);
}
