/* Files in turns: whatever the number of threads, members of an archive come in the order in which they lie
 * there, one at a time, so that one pass through it is enough. */
#include "unit.h"

#include "../fuzz/archive_fixture.h"
#include "hash.h"
#include "mount.h"
#include "turns.h"

#define N_FILES    40
#define FILE_BYTES 3000u
#define MAX_JOBS   8

static char folder[FIXTURE_PATH], path[FIXTURE_PATH];

struct visits {
    size_t n;
    size_t files[N_FILES];
    bool last[N_FILES];
    size_t fails_at; /* this file and those behind it */
};

static enum moeq_status visit(void *context, unsigned worker, size_t file, bool is_last,
                              struct moeq_error *err)
{
    (void)worker;
    struct visits *v = context; /* no lock: one at a time is what is tested */
    v->last[v->n] = is_last;
    v->files[v->n++] = file;
    return file >= v->fails_at ? moeq_fail(err, MOEQ_DAMAGED, "file %zu", file) : MOEQ_OK;
}

static char *file_path(size_t k, char text[FIXTURE_PATH + 16])
{
    snprintf(text, FIXTURE_PATH + 16, "%s/%03zu.bin", path, k);
    return text;
}

/* Larger ones behind smaller ones, each with bytes of its own; names run against their order. */
static void make_archive(const char *kind)
{
    static uint8_t bytes[FILE_BYTES + N_FILES];
    char name[16];
    struct archive *a = fixture_archive_create(fixture_path(path, folder, kind), kind);
    fixture_archive_add(a, "config.json", "{}", 2);
    for (size_t k = N_FILES; k-- > 0;) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)((i * 2654435761u + k * 40503u) >> 7);
        snprintf(name, sizeof name, "%03zu.bin", k);
        fixture_archive_add(a, name, bytes, FILE_BYTES + N_FILES - k);
    }
    fixture_archive_close(a);
}

static void add_all(struct moeq_turns *turns)
{
    char file[FIXTURE_PATH + 16];
    for (size_t k = 0; k < N_FILES; k++)
        CU_ASSERT_EQUAL(moeq_turns_add(turns, k, file_path(k, file), FILE_BYTES + N_FILES - k, NULL),
                        MOEQ_OK);
}

static void test_streamed_files_in_their_order(void)
{
    static const char *const kinds[] = {"tar.gz", "tar.zst", "zip"};
    fixture_make(folder);
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        make_archive(kinds[kind]);
        CU_ASSERT_EQUAL_FATAL(moeq_mount(path, NULL), MOEQ_OK);
        for (unsigned n_jobs = 1; n_jobs <= MAX_JOBS; n_jobs++) {
            struct visits v = {.fails_at = SIZE_MAX}, failing = {.fails_at = 10};
            struct moeq_turns turns = {0};
            struct moeq_error err = {0};
            struct moeq_pool *pool = moeq_pool_create(n_jobs, NULL);
            add_all(&turns);
            CU_ASSERT_EQUAL(moeq_turns_run(&turns, pool, visit, &v, NULL), MOEQ_OK);
            CU_ASSERT_EQUAL_FATAL(v.n, N_FILES);
            for (size_t i = 0; i < N_FILES; i++)
                CU_ASSERT_EQUAL(v.files[i], N_FILES - 1 - i);
            CU_ASSERT_EQUAL(moeq_turns_run(&turns, pool, visit, &failing, &err), MOEQ_DAMAGED);
            CU_ASSERT_EQUAL(failing.n, 1);
            CU_ASSERT_STRING_EQUAL(err.message, "file 39");
            moeq_turns_free(&turns);
            moeq_pool_join(pool);
        }
        moeq_unmount(path);
    }
    fixture_remove(folder);
}

/* Of other files the largest comes first. */
static void test_other_files_by_size(void)
{
    static const char *const kinds[] = {"tar", "zip0"};
    fixture_make(folder);
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        struct visits v = {.fails_at = SIZE_MAX};
        struct moeq_turns turns = {0};
        struct moeq_pool *pool = moeq_pool_create(1, NULL);
        make_archive(kinds[kind]);
        CU_ASSERT_EQUAL_FATAL(moeq_mount(path, NULL), MOEQ_OK);
        add_all(&turns);
        CU_ASSERT_EQUAL(moeq_turns_run(&turns, pool, visit, &v, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL_FATAL(v.n, N_FILES);
        for (size_t i = 0; i < N_FILES; i++) {
            CU_ASSERT_EQUAL(v.files[i], i);
            CU_ASSERT_EQUAL(v.last[i], false);
        }
        moeq_turns_free(&turns);
        moeq_pool_join(pool);
        moeq_unmount(path);
    }
    fixture_remove(folder);
}

struct hashes {
    char hex[N_FILES][MOEQ_SHA256_HEX];
};

static enum moeq_status hash(void *context, unsigned worker, size_t k, bool is_last, struct moeq_error *err)
{
    char file[FIXTURE_PATH + 16];
    (void)worker;
    (void)is_last;
    return moeq_sha256_file(file_path(k, file), ((struct hashes *)context)->hex[k], err);
}

/* With memory for one file, any other order would decompress more than is allowed. */
static void test_one_pass_is_enough(void)
{
    static struct hashes expected, found;
    fixture_make(folder);
    make_archive("tar");
    CU_ASSERT_EQUAL_FATAL(moeq_mount(path, NULL), MOEQ_OK);
    for (size_t k = 0; k < N_FILES; k++)
        CU_ASSERT_EQUAL(hash(&expected, 0, k, false, NULL), MOEQ_OK);
    moeq_unmount(path);
    make_archive("tar.gz");
    for (unsigned n_jobs = 1; n_jobs <= MAX_JOBS; n_jobs++) {
        struct moeq_turns turns = {0};
        struct moeq_pool *pool = moeq_pool_create(n_jobs, NULL);
        setenv("MOEQ_ARCHIVE_MEMORY", "3500", 1);
        CU_ASSERT_EQUAL_FATAL(moeq_mount(path, NULL), MOEQ_OK);
        add_all(&turns);
        memset(&found, 0, sizeof found);
        CU_ASSERT_EQUAL(moeq_turns_run(&turns, pool, hash, &found, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL(memcmp(&found, &expected, sizeof found), 0);
        moeq_turns_free(&turns);
        moeq_pool_join(pool);
        moeq_unmount(path);
        unsetenv("MOEQ_ARCHIVE_MEMORY");
    }
    fixture_remove(folder);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"members of a stream in their order", test_streamed_files_in_their_order},
        {"other files by size", test_other_files_by_size},
        {"one pass is enough", test_one_pass_is_enough},
        {NULL, NULL},
    };
    return unit_main("turns", tests);
}
