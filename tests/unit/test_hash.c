/* Hashes: what moeq writes must be what other tools compute, on every machine.
 *
 * Golden values over the bytes (131 i + 7) mod 256, made with
 *   python3 -c 'import xxhash, hashlib; d = bytes((i * 131 + 7) & 255 for i in range(N));
 *               print(xxhash.xxh3_128(d).hexdigest(), hashlib.sha256(d).hexdigest())'   # python-xxhash, XXH
 * 0.8 */
#include "unit.h"

#include "../fuzz/fixture.h"
#include "hash.h"
#include "interrupt.h"

#include <signal.h>

#define MAX_BYTES ((1u << 20) + 1)

static const struct {
    size_t n;
    const char *hex;
} xxh3[] = {
    {0, "99aa06d3014798d86001c324468d497f"},      {1, "495b62073ef70ca44c5cca45d0f4811f"},
    {3, "390cdc5b4a895dd76e3e2670e61106ac"},      {4, "aa6e2f274640a3f43d668af6f2a44d77"},
    {8, "6a86a3bda6af4e3d61ddbe7f31a6100d"},      {9, "664c7ca18afd62558c7b67fd458a936b"},
    {16, "7f9a218b0425449ae2ce54a7c19c730d"},     {17, "66fc23f6439dbd778d96ef110fcdebb4"},
    {128, "aec730751478556cff361dec1385710a"},    {129, "98cd36ccbb5579264545b3a09738e31a"},
    {240, "5293e17bf553903d3f2c53e72293711f"},    {241, "b53840fe3fedf161956cae592c67279e"},
    {1024, "f69630613f24324d70bd377d9574f4bb"},   {1025, "621af7b8277effa466c4487c41e127a7"},
    {100003, "6f6fc5c14d9fa2bad0a8e7c7a03ad008"},
};

static const struct {
    size_t n;
    const char *hex;
} sha256[] = {
    {0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {3, "17aef23a39d753e713c203c152454d29fa8e39a98e83a69b39a5094dba9ae951"},
    {55, "16ed9c4697ca11d5f6fb25ea7900252dd4cb97215d7f6d0b2bb3e2a86ac0ec72"},
    {56, "939ada93b2fe1e9c596d767bb408567c83e253667f0b25e5be8e16f35f2cbac9"},
    {64, "b337ba9b0c69c391364e985fdcb23a889887e59800832c92fbfa22b8a3c40304"},
    {1048575, "c27a704f6379855ce5af0db6208cfb79b4879f230290b48afd636eb4eaa3b166"},
    {1048577, "5420b23d4fac850c1a38533d9427e301c0d1c398712bf0bac05a0d99163cd42a"},
};

static uint8_t bytes[MAX_BYTES];

static void test_xxh3_128(void)
{
    char hex[MOEQ_HASH_HEX];
    for (size_t i = 0; i < sizeof xxh3 / sizeof *xxh3; i++) {
        moeq_hash_hex(moeq_hash_bytes(bytes, xxh3[i].n), hex);
        CU_ASSERT_STRING_EQUAL(hex, xxh3[i].hex);
    }
    moeq_hash_hex(moeq_hash_bytes("abc", 3), hex);
    CU_ASSERT_STRING_EQUAL(hex, "06b05ab6733a618578af5f94892f3950");
}

/* A file is hashed in pieces and compared with a hash of the whole. */
static void test_pieces_of_any_size(void)
{
    static const size_t pieces[] = {1, 7, 63, 64, 255, 256, 257, 4096, 100003};
    struct moeq_hasher *hasher = moeq_hasher_create(NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(hasher);
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++)
        for (size_t i = 0; i < sizeof xxh3 / sizeof *xxh3; i++) {
            size_t n = xxh3[i].n;
            for (size_t at = 0; at < n; at += pieces[p])
                moeq_hasher_update(hasher, bytes + at, n - at < pieces[p] ? n - at : pieces[p]);
            moeq_hasher_update(hasher, bytes, 0);
            CU_ASSERT(moeq_hash_equal(moeq_hasher_finish(hasher),
                                      moeq_hash_bytes(bytes, n))); /* and starts afresh */
        }
    moeq_hasher_free(hasher);
    moeq_hasher_free(NULL);
}

static void test_hex(void)
{
    static const char *const wrong[] = {"",
                                        "0",
                                        "99aa06d3014798d86001c324468d497",
                                        "99aa06d3014798d86001c324468d497f0",
                                        "99AA06d3014798d86001c324468d497f",
                                        "99aa06d3014798d86001c324468d497g",
                                        " 9aa06d3014798d86001c324468d497f",
                                        "0x9aa06d3014798d86001c324468d497",
                                        "99aa06d3014798d8-6001c324468d497"};
    struct moeq_hash hash;
    char hex[MOEQ_HASH_HEX];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CU_ASSERT_FALSE(moeq_hash_parse(wrong[i], &hash));
    for (size_t i = 0; i < sizeof xxh3 / sizeof *xxh3; i++) {
        CU_ASSERT(moeq_hash_parse(xxh3[i].hex, &hash));
        moeq_hash_hex(hash, hex);
        CU_ASSERT_STRING_EQUAL(hex, xxh3[i].hex);
    }
}

static void test_one_bit_shows(void)
{
    struct moeq_hash whole = moeq_hash_bytes(bytes, 4096);
    for (size_t i = 0; i < 4096; i += 97) {
        bytes[i] ^= 0x10;
        CU_ASSERT_FALSE(moeq_hash_equal(moeq_hash_bytes(bytes, 4096), whole));
        bytes[i] ^= 0x10;
    }
    CU_ASSERT(moeq_hash_equal(moeq_hash_bytes(bytes, 4096), whole));
}

static void test_sha256_of_files(void)
{
    char dir[FIXTURE_PATH], path[FIXTURE_PATH], hex[MOEQ_SHA256_HEX];
    struct moeq_error err = {0};
    fixture_make(dir);
    fixture_path(path, dir, "x");
    for (size_t i = 0; i < sizeof sha256 / sizeof *sha256; i++) {
        fixture_write(dir, "x", bytes, sha256[i].n);
        CU_ASSERT_EQUAL(moeq_sha256_file(path, hex, NULL), MOEQ_OK);
        CU_ASSERT_STRING_EQUAL(hex, sha256[i].hex);
    }
    CU_ASSERT_EQUAL(moeq_sha256_file(fixture_path(path, dir, "none"), hex, &err), MOEQ_IO);
    CU_ASSERT_STRING_EQUAL(err.file, path);
    fixture_remove(dir);
}

/* Blobs as 'git hash-object' names them. */
static void test_git_sha1_of_files(void)
{
    static const struct {
        const char *text, *hex;
    } cases[] = {{"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"},
                 {"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"}};
    char dir[FIXTURE_PATH], path[FIXTURE_PATH];
    fixture_make(dir);
    fixture_path(path, dir, "x");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_file file;
        struct moeq_digests digests = {.want_git_sha1 = true};
        fixture_write(dir, "x", cases[i].text, strlen(cases[i].text));
        CU_ASSERT_EQUAL_FATAL(moeq_file_open(&file, path, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL(moeq_file_digest(&file, &digests, NULL, NULL, NULL), MOEQ_OK);
        CU_ASSERT_STRING_EQUAL(digests.git_sha1, cases[i].hex);
        CU_ASSERT_STRING_EQUAL(digests.sha256, "");
        moeq_file_close(&file);
    }
    fixture_remove(dir);
}

struct seen {
    const uint8_t *bytes;
    uint64_t n;
    bool right;
};

static void see(void *context, uint64_t offset, const uint8_t *data, size_t n)
{
    struct seen *seen = context;
    seen->right = seen->right && offset == seen->n && memcmp(data, seen->bytes + offset, n) == 0;
    seen->n += n;
}

/* Both hashes and the visitor from one pass over a file of several blocks, with and without a second thread.
 */
static void test_one_pass(void)
{
    enum { N = 13 * 1024 * 1024 + 17 };
    char dir[FIXTURE_PATH], path[FIXTURE_PATH], hex[MOEQ_SHA256_HEX];
    uint8_t *large = malloc(N);
    struct moeq_file file;
    struct moeq_digests digests = {.want_sha256 = true, .want_git_sha1 = true};
    struct seen seen = {large, 0, true};
    CU_ASSERT_PTR_NOT_NULL_FATAL(large);
    for (size_t i = 0; i < N; i++)
        large[i] = (uint8_t)(i * 2654435761u >> 13);
    fixture_make(dir);
    fixture_write(dir, "x", large, N);
    fixture_path(path, dir, "x");
    CU_ASSERT_EQUAL_FATAL(moeq_file_open(&file, path, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_file_digest(&file, &digests, see, &seen, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_sha256_file(path, hex, NULL), MOEQ_OK);
    CU_ASSERT_STRING_EQUAL(digests.sha256, hex);
    CU_ASSERT_EQUAL(strlen(digests.git_sha1), MOEQ_SHA1_HEX - 1);
    CU_ASSERT(seen.right);
    CU_ASSERT_EQUAL(seen.n, N);
    CU_ASSERT_FALSE(digests.was_read_ahead);
    struct moeq_digests ahead = {.want_sha256 = true, .want_git_sha1 = true, .read_ahead = true};
    seen.n = 0;
    CU_ASSERT_EQUAL(moeq_file_digest(&file, &ahead, see, &seen, NULL), MOEQ_OK);
    CU_ASSERT(ahead.was_read_ahead);
    CU_ASSERT_STRING_EQUAL(ahead.sha256, hex);
    CU_ASSERT_STRING_EQUAL(ahead.git_sha1, digests.git_sha1);
    CU_ASSERT(seen.right);
    CU_ASSERT_EQUAL(seen.n, N);
    /* A file that has become shorter ends both ways. */
    CU_ASSERT_EQUAL_FATAL(truncate(path, 9 * 1024 * 1024), 0);
    CU_ASSERT_EQUAL(moeq_file_digest(&file, &digests, NULL, NULL, NULL), MOEQ_DAMAGED);
    CU_ASSERT_EQUAL(moeq_file_digest(&file, &ahead, NULL, NULL, NULL), MOEQ_DAMAGED);
    CU_ASSERT(ahead.was_read_ahead);
    moeq_file_close(&file);
    fixture_remove(dir);
    free(large);
}

/* The last test: the flag stays set. */
static void test_signal_stops(void)
{
    char dir[FIXTURE_PATH], path[FIXTURE_PATH], hex[MOEQ_SHA256_HEX];
    struct moeq_error err = {0};
    fixture_make(dir);
    fixture_write(dir, "x", bytes, 4096);
    moeq_interrupt_install();
    raise(SIGTERM);
    CU_ASSERT_EQUAL(moeq_sha256_file(fixture_path(path, dir, "x"), hex, &err), MOEQ_INTERRUPTED);
    CU_ASSERT_EQUAL(err.status, MOEQ_INTERRUPTED);
    fixture_remove(dir);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"XXH3-128 as python-xxhash computes it", test_xxh3_128},
        {"pieces of any size", test_pieces_of_any_size},
        {"hexadecimal text", test_hex},
        {"one bit shows", test_one_bit_shows},
        {"SHA-256 of files as hashlib computes it", test_sha256_of_files},
        {"SHA-1 of git blobs", test_git_sha1_of_files},
        {"one pass for all", test_one_pass},
        {"a signal stops it", test_signal_stops},
        {NULL, NULL},
    };
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 131 + 7);
    return unit_main("hash", tests);
}
