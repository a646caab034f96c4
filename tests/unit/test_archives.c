/* Archives as folders: the same bytes as from the files, in any order and from several threads, within the
 * memory that is allowed; and nothing of what no honest archive holds. */
#include "unit.h"

#include "../fuzz/archive_fixture.h"
#include "hash.h"
#include "mount.h"
#include "place.h"

#include <pthread.h>

#define N_SHARDS    4
#define SHARD_BYTES 100000u
#define CONFIG      "{\"config\": true}\n"

static char folder[FIXTURE_PATH];
static char path[FIXTURE_PATH];

static uint8_t shard_byte(size_t shard, size_t i)
{
    uint32_t x = (uint32_t)i * 2654435761u + (uint32_t)shard * 40503u;
    x = (x ^ x >> 15) * 2246822519u;
    return (uint8_t)(x >> 13);
}

/* "s-K.safetensors": bytes that compress little; the first 8 are no sane length. */
static void add_shard(struct archive *a, const char *prefix, size_t k)
{
    static uint8_t bytes[SHARD_BYTES];
    char name[FIXTURE_PATH];
    for (size_t i = 0; i < SHARD_BYTES; i++)
        bytes[i] = shard_byte(k, i);
    snprintf(name, sizeof name, "%ss-%zu.safetensors", prefix, k);
    fixture_archive_add(a, name, bytes, SHARD_BYTES);
}

static void make_model(const char *kind, const char *prefix)
{
    char name[FIXTURE_PATH];
    snprintf(name, sizeof name, "model.%s", kind);
    struct archive *a = fixture_archive_create(fixture_path(path, folder, name), kind);
    for (size_t k = N_SHARDS; k-- > 0;) /* not in the order of their names */
        add_shard(a, prefix, k);
    snprintf(name, sizeof name, "%sconfig.json", prefix);
    fixture_archive_add(a, name, CONFIG, strlen(CONFIG));
    snprintf(name, sizeof name, "%sinner/other.json", prefix);
    fixture_archive_add(a, name, "{}", 2);
    fixture_archive_close(a);
}

static void begin(const char *memory)
{
    fixture_make(folder);
    if (memory)
        setenv("MOEQ_ARCHIVE_MEMORY", memory, 1);
    else
        unsetenv("MOEQ_ARCHIVE_MEMORY");
}

static void end(void)
{
    unsetenv("MOEQ_ARCHIVE_MEMORY");
    fixture_remove(folder);
}

static char *in_archive(const char *name)
{
    static _Thread_local char text[FIXTURE_PATH + 64];
    snprintf(text, sizeof text, "%s/%s", path, name);
    return text;
}

static bool shard_is_right(size_t k, size_t offset, size_t n)
{
    static _Thread_local uint8_t bytes[SHARD_BYTES];
    char name[64];
    struct moeq_file file;
    snprintf(name, sizeof name, "s-%zu.safetensors", k);
    if (moeq_file_open(&file, in_archive(name), NULL))
        return false;
    bool right = file.n_bytes == SHARD_BYTES && moeq_file_read(&file, offset, bytes, n, NULL) == MOEQ_OK;
    for (size_t i = 0; right && i < n; i++)
        right = bytes[i] == shard_byte(k, offset + i);
    moeq_file_close(&file);
    return right;
}

/* ---- reading ---- */

static enum moeq_status count_name(void *context, const char *name, struct moeq_error *err)
{
    (void)name;
    (void)err;
    ++*(size_t *)context;
    return MOEQ_OK;
}

static void check_model(void)
{
    struct moeq_place place;
    struct moeq_bytes text = {0};
    struct moeq_file file;
    struct moeq_error err = {0};
    size_t n_names = 0;
    uint8_t byte;
    CU_ASSERT_EQUAL_FATAL(moeq_place_open(&place, path, NULL), MOEQ_OK);
    CU_ASSERT(moeq_path_is_dir(path) && moeq_path_exists(in_archive("config.json")));
    CU_ASSERT(!moeq_path_exists(in_archive("other.json")) &&
              !moeq_path_exists(in_archive("inner/other.json")));
    CU_ASSERT_EQUAL(moeq_folder_list(path, count_name, &n_names, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(n_names, N_SHARDS + 1);
    CU_ASSERT_EQUAL(moeq_file_read_member(path, "config.json", 1000, &text, NULL), MOEQ_OK);
    CU_ASSERT(text.n_bytes == strlen(CONFIG) && memcmp(text.data, CONFIG, text.n_bytes) == 0);
    for (size_t k = 0; k < N_SHARDS; k++) {
        CU_ASSERT(shard_is_right(k, SHARD_BYTES - 10, 10));
        CU_ASSERT(shard_is_right(k, 0, SHARD_BYTES));
    }
    CU_ASSERT_EQUAL_FATAL(moeq_file_open(&file, in_archive("config.json"), NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_file_read(&file, file.n_bytes, &byte, 1, &err), MOEQ_DAMAGED);
    CU_ASSERT_STRING_EQUAL(err.file, in_archive("config.json"));
    moeq_file_close(&file);
    CU_ASSERT_EQUAL(moeq_file_open(&file, in_archive("nothing"), NULL), MOEQ_IO);
    moeq_bytes_free(&text);
    moeq_place_close(&place);
    CU_ASSERT(!moeq_path_is_dir(path) && !moeq_path_exists(in_archive("config.json")));
}

static void test_every_kind_reads_like_a_folder(void)
{
    static const char *const prefixes[] = {"", "./", "model/", "./a/b/"};
    begin(NULL);
    for (size_t k = 0; k < FIXTURE_N_ARCHIVE_KINDS; k++)
        for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++) {
            make_model(fixture_archive_kinds[k], prefixes[p]);
            check_model();
        }
    end();
}

static void test_hashes_are_those_of_the_files(void)
{
    static uint8_t bytes[SHARD_BYTES];
    char expected[MOEQ_SHA256_HEX], found[MOEQ_SHA256_HEX], file[FIXTURE_PATH];
    struct moeq_place place;
    begin(NULL);
    for (size_t i = 0; i < SHARD_BYTES; i++)
        bytes[i] = shard_byte(2, i);
    fixture_write(folder, "file", bytes, sizeof bytes);
    CU_ASSERT_EQUAL(moeq_sha256_file(fixture_path(file, folder, "file"), expected, NULL), MOEQ_OK);
    for (size_t k = 0; k < FIXTURE_N_ARCHIVE_KINDS; k++) {
        make_model(fixture_archive_kinds[k], "");
        CU_ASSERT_EQUAL_FATAL(moeq_place_open(&place, path, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL(moeq_sha256_file(in_archive("s-2.safetensors"), found, NULL), MOEQ_OK);
        CU_ASSERT_STRING_EQUAL(found, expected);
        moeq_place_close(&place);
    }
    end();
}

static void test_mounts_are_counted(void)
{
    struct moeq_place one, two;
    begin(NULL);
    make_model("tar", "");
    CU_ASSERT_EQUAL_FATAL(moeq_place_open(&one, path, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_place_open(&two, path, NULL), MOEQ_OK);
    moeq_place_close(&one);
    CU_ASSERT(shard_is_right(1, 0, 100));
    moeq_place_close(&two);
    CU_ASSERT(!shard_is_right(1, 0, 100));
    end();
}

/* ---- memory ---- */

/* Shard k, then shard k + 2: two are in use at any time, and going back costs a few passes. */
static void *read_shards(void *context)
{
    size_t k = *(size_t *)context, n_wrong = 0;
    for (size_t i = 0; i < 200; i++)
        n_wrong += !shard_is_right((k + i / 100 * 2) % N_SHARDS, i * 97 % 50000, 40000);
    *(size_t *)context = n_wrong;
    return NULL;
}

static void test_two_threads_within_memory_for_two(void)
{
    struct moeq_place place;
    pthread_t threads[2];
    begin("220000");
    for (size_t k = 0; k < FIXTURE_N_ARCHIVE_KINDS; k++) {
        size_t results[2] = {0, 1};
        make_model(fixture_archive_kinds[k], "");
        CU_ASSERT_EQUAL_FATAL(moeq_place_open(&place, path, NULL), MOEQ_OK);
        for (size_t i = 0; i < 2; i++)
            CU_ASSERT_EQUAL_FATAL(pthread_create(&threads[i], NULL, read_shards, &results[i]), 0);
        for (size_t i = 0; i < 2; i++) {
            pthread_join(threads[i], NULL);
            CU_ASSERT_EQUAL(results[i], 0);
        }
        moeq_place_close(&place);
    }
    end();
}

static enum moeq_status read_end_of(size_t k, struct moeq_error *err)
{
    char name[64];
    uint8_t bytes[16];
    struct moeq_file file;
    snprintf(name, sizeof name, "s-%zu.safetensors", k);
    enum moeq_status status = moeq_file_open(&file, in_archive(name), err);
    if (!status)
        status = moeq_file_read(&file, SHARD_BYTES - sizeof bytes, bytes, sizeof bytes, err);
    moeq_file_close(&file);
    return status;
}

/* Two shards in turn, where there is room for one: a few times, not for ever; stored ones always. */
static void test_what_would_decompress_for_ever_is_refused(void)
{
    begin("150000");
    for (size_t k = 0; k < FIXTURE_N_ARCHIVE_KINDS; k++) {
        const char *kind = fixture_archive_kinds[k];
        const bool in_place =
            strcmp(kind, "tar") == 0 || strcmp(kind, "zip0") == 0 || strcmp(kind, "zip64") == 0;
        struct moeq_place place;
        struct moeq_error err = {0};
        size_t n = 0;
        make_model(kind, "");
        CU_ASSERT_EQUAL_FATAL(moeq_place_open(&place, path, NULL), MOEQ_OK);
        while (n < 200 && read_end_of(n % 2, &err) == MOEQ_OK)
            n++;
        if (in_place) {
            CU_ASSERT_EQUAL(n, 200);
        } else {
            CU_ASSERT(n > 8 && n < 40);
            CU_ASSERT_EQUAL(err.status, MOEQ_UNSUPPORTED);
            CU_ASSERT(strstr(err.message, "again") != NULL && strstr(err.hint, "unpack") != NULL);
        }
        moeq_place_close(&place);
    }
    end();
}

static void test_a_shard_beyond_the_memory_is_refused(void)
{
    struct moeq_place place;
    struct moeq_error err = {0};
    struct moeq_bytes text = {0};
    begin("50000");
    make_model("tar.gz", "");
    CU_ASSERT_EQUAL_FATAL(moeq_place_open(&place, path, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(read_end_of(1, &err), MOEQ_UNSUPPORTED);
    CU_ASSERT(strstr(err.message, "100000") != NULL && strstr(err.message, "50000") != NULL);
    CU_ASSERT_EQUAL(moeq_file_read_member(path, "config.json", 1000, &text, NULL), MOEQ_OK);
    moeq_bytes_free(&text);
    moeq_place_close(&place);
    end();
}

/* ---- what is refused ---- */

static void refused(enum moeq_status expected, const char *says)
{
    struct moeq_place place;
    struct moeq_error err = {0};
    enum moeq_status status = moeq_place_open(&place, path, &err);
    if (status != expected || err.status != expected || !strstr(err.message, says) || !err.hint[0] ||
        strcmp(err.file, path) != 0) {
        printf("\n  expected \"%s\": status %d, message \"%s\", hint \"%s\"", says, status, err.message,
               err.hint);
        CU_FAIL("not refused as it should be");
    }
    if (status == MOEQ_OK)
        moeq_place_close(&place);
    status = moeq_place_open(&place, path, NULL);
    CU_ASSERT_EQUAL(status, expected);
    if (status == MOEQ_OK)
        moeq_place_close(&place);
}

static void test_hostile_entries(void)
{
    static const struct {
        const char *name;
        unsigned type;
        const char *target, *says;
    } entries[] = {
        {"/config.json", AE_IFREG, NULL, "absolute"},
        {"../config.json", AE_IFREG, NULL, "leads out"},
        {"m/../../config.json", AE_IFREG, NULL, "leads out"},
        {"m/..", AE_IFREG, NULL, "leads out"},
        {"m/a\\b", AE_IFREG, NULL, "backslash"},
        {"m/a\nb", AE_IFREG, NULL, "control character"},
        {"m/config.json", AE_IFREG, NULL, "twice"},
        {"./m//./config.json", AE_IFREG, NULL, "twice"},
        {"n/config.json", AE_IFREG, NULL, "more than one model"},
        {"m/link", AE_IFLNK, "/etc/passwd", "a link"},
        {"m/link", AE_IFLNK, "config.json", "a link"},
        {"m/hard", 0, "m/config.json", "a link"},
        {"m/device", AE_IFCHR, NULL, "device"},
        {"m/pipe", AE_IFIFO, NULL, "device"},
    };
    begin(NULL);
    for (size_t k = 0; k < FIXTURE_N_ARCHIVE_KINDS; k++)
        for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
            const char *kind = fixture_archive_kinds[k];
            if (strncmp(kind, "zip", 3) == 0 &&
                (entries[i].type == 0 || entries[i].type == AE_IFCHR || entries[i].type == AE_IFIFO))
                continue; /* libarchive writes no such zip */
            struct archive *a = fixture_archive_create(fixture_path(path, folder, kind), kind);
            const bool is_link = entries[i].type == AE_IFLNK;
            fixture_archive_add(a, "m/config.json", "{}", 2);
            fixture_archive_entry(a, entries[i].name, entries[i].type, entries[i].target, "{}",
                                  entries[i].type == AE_IFREG ? 2 : 0);
            if (is_link)
                fixture_archive_add(a, "m/more", "{}", 2);
            fixture_archive_close(a);
            refused(MOEQ_DAMAGED, entries[i].says);
        }
    end();
}

static void test_encrypted_zip(void)
{
    begin(NULL);
    struct archive *a = fixture_archive_create(fixture_path(path, folder, "a.zip"), "zip-encrypted");
    fixture_archive_add(a, "config.json", "{}", 2);
    fixture_archive_close(a);
    refused(MOEQ_UNSUPPORTED, "encrypted");
    end();
}

static void make_zeros(const char *kind, size_t n)
{
    uint8_t *zeros = calloc(n, 1);
    fixture_need(zeros != NULL, "memory");
    struct archive *a = fixture_archive_create(fixture_path(path, folder, kind), kind);
    fixture_archive_add(a, "config.json", "{}", 2);
    fixture_archive_add(a, "zeros", zeros, n);
    fixture_archive_close(a);
    free(zeros);
}

static void test_bombs(void)
{
    static const char *const kinds[] = {"tar.gz", "tar.zst", "zip"};
    begin(NULL);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        make_zeros(kinds[k], (size_t)300 << 20);
        refused(MOEQ_DAMAGED, "no model has");
    }
    end();
}

/* The size of the first entry of a tar, in octal or base 256, and the checksum after it. */
static void lie_about_size(const char *file, const char *octal)
{
    size_t n;
    char text[16], *bytes = fixture_read(folder, file, &n);
    unsigned sum = 0;
    memcpy(bytes + 124, octal, 12);
    memset(bytes + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++)
        sum += (uint8_t)bytes[i];
    snprintf(text, sizeof text, "%06o", sum);
    memcpy(bytes + 148, text, 7);
    fixture_write(folder, file, bytes, n);
    free(bytes);
}

static void test_sizes_that_lie(void)
{
    static const struct {
        const char *octal, *says;
    } sizes[] = {
        {"00000100000\0", "ends before it does"},
        {"77777777777\0", "no model has"},
        {"\x80\0\0\0\0\0\0\xff\xff\xff\xff\xff", "no model has"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "damaged or cut off"},
    };
    begin(NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct archive *a = fixture_archive_create(fixture_path(path, folder, "a.tar"), "tar");
        fixture_archive_add(a, "config.json", "{}", 2);
        fixture_archive_close(a);
        lie_about_size("a.tar", sizes[i].octal);
        refused(MOEQ_DAMAGED, sizes[i].says);
    }
    end();
}

/* Cut off anywhere, an archive is refused; with bytes behind its end, too. */
static void test_cut_off_and_followed(void)
{
    begin(NULL);
    for (size_t k = 0; k < FIXTURE_N_ARCHIVE_KINDS; k++) {
        const char *kind = fixture_archive_kinds[k];
        char name[64];
        size_t n;
        make_model(kind, "m/");
        snprintf(name, sizeof name, "model.%s", kind);
        char *bytes = fixture_read(folder, name, &n);
        const bool is_tar = strcmp(kind, "tar") == 0;
        for (size_t cut = n / 23; cut < n; cut += n / 23 + 1) {
            struct moeq_place place;
            if (is_tar && cut > (size_t)N_SHARDS * (SHARD_BYTES + 1024) + 2048)
                break; /* into the padding behind the end */
            fixture_write(folder, name, bytes, cut);
            enum moeq_status status = moeq_place_open(&place, path, NULL);
            CU_ASSERT_EQUAL(status, MOEQ_DAMAGED);
            if (status == MOEQ_OK)
                moeq_place_close(&place);
        }
        bytes[n] = 'x'; /* fixture_read leaves room for one */
        fixture_write(folder, name, bytes, n + 1);
        if (strcmp(kind, "tar.zst") == 0)
            refused(MOEQ_DAMAGED, "zstd");
        else
            refused(MOEQ_DAMAGED, "follows behind");
        free(bytes);
    }
    end();
}

/* A member whose end alone is lost: the tar is cut where an entry begins. */
static void test_tar_without_its_end(void)
{
    size_t n;
    begin(NULL);
    struct archive *a = fixture_archive_create(fixture_path(path, folder, "a.tar"), "tar");
    fixture_archive_add(a, "config.json", "{}", 2);
    fixture_archive_close(a);
    char *bytes = fixture_read(folder, "a.tar", &n);
    fixture_write(folder, "a.tar", bytes, 1024);
    refused(MOEQ_DAMAGED, "cut off");
    fixture_write(folder, "a.tar", bytes, 1024 + 512);
    struct moeq_place place;
    CU_ASSERT_EQUAL_FATAL(moeq_place_open(&place, path, NULL), MOEQ_OK);
    moeq_place_close(&place);
    free(bytes);
    end();
}

static void test_flipped_bytes(void)
{
    static const char *const kinds[] = {"tar.gz", "zip"};
    begin(NULL);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char name[64];
        struct moeq_place place;
        make_model(kinds[k], "");
        snprintf(name, sizeof name, "model.%s", kinds[k]);
        fixture_flip(folder, name, 60000); /* in s-3 */
        enum moeq_status status = moeq_place_open(&place, path, NULL);
        CU_ASSERT(status == MOEQ_DAMAGED || strcmp(kinds[k], "zip") == 0);
        if (status == MOEQ_OK) {
            CU_ASSERT_EQUAL(read_end_of(3, NULL), MOEQ_DAMAGED);
            CU_ASSERT(shard_is_right(2, 0, SHARD_BYTES));
            moeq_place_close(&place);
        }
    }
    end();
}

/* The n-th place of some bytes, counted from 0. */
static size_t find_bytes(const char *bytes, size_t n, const void *some, size_t n_some, size_t nth)
{
    for (size_t i = 0; i + n_some <= n; i++)
        if (memcmp(bytes + i, some, n_some) == 0 && nth-- == 0)
            return i;
    fixture_need(false, "bytes");
    return 0;
}

/* Writes a zip with config.json alone, and gives its bytes. */
static char *zip_of_config(size_t *n)
{
    struct archive *a = fixture_archive_create(fixture_path(path, folder, "a.zip"), "zip");
    fixture_archive_add(a, "config.json", CONFIG, strlen(CONFIG));
    fixture_archive_close(a);
    return fixture_read(folder, "a.zip", n);
}

/* "other", which does not compress and so lies there as it is, with another member in it; and config.json. */
static void quote_member(const char *member, size_t n_member)
{
    static uint8_t bytes[4096];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = shard_byte(0, i);
    fixture_need(n_member < sizeof bytes / 4, "room");
    memcpy(bytes + 1000, member, n_member);
    struct archive *a = fixture_archive_create(fixture_path(path, folder, "a.zip"), "zip");
    fixture_archive_add(a, "other", bytes, sizeof bytes);
    fixture_archive_add(a, "config.json", CONFIG, strlen(CONFIG));
    fixture_archive_close(a);
}

/* The directory may call bytes inside one compressed member another one, or the next one a part of it. */
static void test_overlapping_compressed_members(void)
{
    static const char entry[] = "PK\1\2";
    size_t n;
    struct moeq_place place;
    begin(NULL);
    char *member = zip_of_config(&n);
    const size_t n_member = find_bytes(member, n, entry, 4, 0);
    quote_member(member, n_member);
    CU_ASSERT_EQUAL_FATAL(moeq_place_open(&place, path, NULL), MOEQ_OK);
    moeq_place_close(&place);

    char *bytes = fixture_read(folder, "a.zip", &n);
    const size_t inner = find_bytes(bytes, n, member, n_member, 0);
    char *directory = bytes + find_bytes(bytes, n, entry, 4, 1); /* of config.json */
    directory[42] = (char)inner;
    directory[43] = (char)(inner >> 8);
    fixture_write(folder, "a.zip", bytes, n);
    refused(MOEQ_DAMAGED, "overlap");
    free(bytes);

    quote_member(member, n_member);
    bytes = fixture_read(folder, "a.zip", &n);
    bytes[find_bytes(bytes, n, entry, 4, 0) + 21]++; /* the size of "other" grows by 256 */
    fixture_write(folder, "a.zip", bytes, n);
    refused(MOEQ_DAMAGED, "overlap");
    free(bytes);
    free(member);
    end();
}

/* A zip with a 64-bit end record that it needs not, of so many disks. */
static void write_with_64_bit_end(const char *bytes, size_t n, unsigned n_disks)
{
    uint8_t *all = calloc(n + 76, 1);
    fixture_need(all != NULL && n > 22, "memory");
    const size_t end = n - 22; /* of the directory */
    memcpy(all, bytes, end);
    memcpy(all + end + 76, bytes + end, 22);
    uint8_t *record = all + end, *locator = record + 56;
    const uint8_t *last = locator + 20;
    memcpy(record, "PK\6\6\54", 5);
    memcpy(record + 24, last + 8, 2);
    memcpy(record + 32, last + 10, 2);
    memcpy(record + 40, last + 12, 4);
    memcpy(record + 48, last + 16, 4);
    memcpy(locator, "PK\6\7", 4);
    moeq_store_u64le(locator + 8, end);
    locator[16] = (uint8_t)n_disks;
    fixture_write(folder, "a.zip", all, n + 76);
    free(all);
}

/* What is checked must be what libarchive reads, which does not take every 64-bit record. */
static void test_zips_with_two_end_records(void)
{
    size_t n;
    struct moeq_place place;
    begin(NULL);
    char *bytes = zip_of_config(&n);
    write_with_64_bit_end(bytes, n, 1);
    CU_ASSERT_EQUAL_FATAL(moeq_place_open(&place, path, NULL), MOEQ_OK);
    moeq_place_close(&place);
    write_with_64_bit_end(bytes, n, 2);
    refused(MOEQ_DAMAGED, "contradict");
    free(bytes);
    end();
}

static void test_too_many_entries(void)
{
    char name[32];
    begin(NULL);
    struct archive *a = fixture_archive_create(fixture_path(path, folder, "a.tar.zst"), "tar.zst");
    for (size_t i = 0; i <= 100000; i++) {
        snprintf(name, sizeof name, "%zu", i);
        fixture_archive_add(a, name, NULL, 0);
    }
    fixture_archive_close(a);
    refused(MOEQ_DAMAGED, "100000 entries");
    end();
}

static void test_other_kinds_and_no_archives(void)
{
    static const struct {
        const char *name, *bytes;
        enum moeq_status status;
        const char *says;
    } files[] = {
        {"a.tar", "<html>", MOEQ_DAMAGED, "named like an archive"},
        {"a.bin", "<html>", MOEQ_IO, "neither a folder nor an archive"},
        {"a.bin", "", MOEQ_IO, "neither a folder nor an archive"},
        {"a.tar.xz",
         "\xfd"
         "7zXZ",
         MOEQ_UNSUPPORTED, "xz"},
        {"a.7z", "7z\xbc\xaf\x27\x1c", MOEQ_UNSUPPORTED, "7z"},
        {"a.tar.gz", "\x1f\x8b", MOEQ_DAMAGED, "end too early"},
        {"a.zip", "PK\x03\x04", MOEQ_DAMAGED, "cut off"},
    };
    begin(NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        fixture_write(folder, files[i].name, files[i].bytes, strlen(files[i].bytes));
        fixture_path(path, folder, files[i].name);
        refused(files[i].status, files[i].says);
    }
    end();
}

struct header {
    FILE *out;
    bool is_full;
};

static la_ssize_t write_header(struct archive *a, void *context, const void *data, size_t n)
{
    const struct header *header = context;
    (void)a;
    return header->is_full ? -1 : (la_ssize_t)fwrite(data, 1, n, header->out);
}

/* A member beyond 8 GiB, in a tar with holes on disk: the second member lies behind it. */
static void test_members_beyond_8_gib(void)
{
    const uint64_t n_big = (9ull << 30) + 3;
    struct moeq_place place;
    struct moeq_file file;
    struct stat info;
    uint8_t byte = 0;
    begin(NULL);
    struct header header = {.out = fopen(fixture_path(path, folder, "a.tar"), "wb")};
    struct archive *a = archive_write_new();
    archive_write_set_format_pax_restricted(a);
    archive_write_set_bytes_per_block(a, 0);
    fixture_need(header.out && archive_write_open(a, &header, NULL, write_header, NULL) == ARCHIVE_OK, path);
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, "big.safetensors");
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_size(entry, (la_int64_t)n_big);
    fixture_need(archive_write_header(a, entry) == ARCHIVE_OK, "header");
    archive_entry_free(entry);
    header.is_full = true; /* headers alone */
    archive_write_free(a);
    fixture_need(fclose(header.out) == 0, path);
    fixture_need(stat(path, &info) == 0, path);
    const off_t data = info.st_size, next = data + (off_t)((n_big + 511) / 512 * 512);
    CU_ASSERT_EQUAL(data % 512, 0);
    char second[FIXTURE_PATH];
    struct archive *b = fixture_archive_create(fixture_path(second, folder, "b.tar"), "tar");
    fixture_archive_add(b, "config.json", CONFIG, strlen(CONFIG));
    fixture_archive_close(b);
    size_t n;
    char *bytes = fixture_read(folder, "b.tar", &n);
    FILE *out = fopen(path, "r+b");
    fixture_need(out && fseeko(out, data + (off_t)n_big - 1, SEEK_SET) == 0 && fputc(0x5a, out) != EOF &&
                     fseeko(out, next, SEEK_SET) == 0 && fwrite(bytes, 1, n, out) == n && fclose(out) == 0,
                 path);
    free(bytes);
    CU_ASSERT_EQUAL_FATAL(moeq_place_open(&place, path, NULL), MOEQ_OK);
    CU_ASSERT(moeq_path_exists(in_archive("config.json")));
    CU_ASSERT_EQUAL_FATAL(moeq_file_open(&file, in_archive("big.safetensors"), NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(file.n_bytes, n_big);
    CU_ASSERT_EQUAL(moeq_file_read(&file, n_big - 1, &byte, 1, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(byte, 0x5a);
    moeq_file_close(&file);
    moeq_place_close(&place);
    end();
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"every kind reads like a folder", test_every_kind_reads_like_a_folder},
        {"hashes are those of the files", test_hashes_are_those_of_the_files},
        {"mounts are counted", test_mounts_are_counted},
        {"two threads, memory for two shards", test_two_threads_within_memory_for_two},
        {"what would decompress for ever", test_what_would_decompress_for_ever_is_refused},
        {"a shard beyond the memory", test_a_shard_beyond_the_memory_is_refused},
        {"hostile entries", test_hostile_entries},
        {"an encrypted zip", test_encrypted_zip},
        {"bombs", test_bombs},
        {"sizes that lie", test_sizes_that_lie},
        {"cut off, and followed by more", test_cut_off_and_followed},
        {"a tar without its end", test_tar_without_its_end},
        {"flipped bytes", test_flipped_bytes},
        {"compressed members that overlap", test_overlapping_compressed_members},
        {"zips with two end records", test_zips_with_two_end_records},
        {"too many entries", test_too_many_entries},
        {"other kinds, and no archives", test_other_kinds_and_no_archives},
        {"members beyond 8 GiB", test_members_beyond_8_gib},
        {NULL, NULL},
    };
    return unit_main("archives", tests);
}
