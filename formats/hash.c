#include "hash.h"

#include "archives.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxh_x86dispatch.h>

#define READ_BYTES (1u << 20)

static void to_hex(const uint8_t *bytes, size_t n, char *hex)
{
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

static struct moeq_hash canonical(XXH128_hash_t hash)
{
    XXH128_canonical_t digest;
    XXH128_canonicalFromHash(&digest, hash);
    struct moeq_hash out;
    memcpy(out.bytes, digest.digest, sizeof out.bytes);
    return out;
}

struct moeq_hash moeq_hash_bytes(const void *data, size_t n_bytes)
{
    return canonical(XXH3_128bits(data, n_bytes));
}

bool moeq_hash_equal(struct moeq_hash a, struct moeq_hash b)
{
    return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

void moeq_hash_hex(struct moeq_hash hash, char hex[MOEQ_HASH_HEX])
{
    to_hex(hash.bytes, sizeof hash.bytes, hex);
}

bool moeq_hash_parse(const char *hex, struct moeq_hash *out)
{
    static const char digits[] = "0123456789abcdef";
    if (strlen(hex) != MOEQ_HASH_HEX - 1)
        return false;
    for (size_t i = 0; i < sizeof out->bytes; i++) {
        const char *high = strchr(digits, hex[2 * i]);
        const char *low = strchr(digits, hex[2 * i + 1]);
        if (!high || !low)
            return false;
        out->bytes[i] = (uint8_t)((high - digits) << 4 | (low - digits));
    }
    return true;
}

struct moeq_hasher {
    XXH3_state_t *state;
};

struct moeq_hasher *moeq_hasher_create(struct moeq_error *err)
{
    struct moeq_hasher *hasher = moeq_calloc(1, sizeof *hasher, err);
    if (!hasher)
        return NULL;
    hasher->state = XXH3_createState();
    if (!hasher->state) {
        moeq_fail_alloc(err, 0);
        free(hasher);
        return NULL;
    }
    XXH3_128bits_reset(hasher->state);
    return hasher;
}

void moeq_hasher_update(struct moeq_hasher *hasher, const void *data, size_t n_bytes)
{
    XXH3_128bits_update(hasher->state, data, n_bytes);
}

struct moeq_hash moeq_hasher_finish(struct moeq_hasher *hasher)
{
    struct moeq_hash out = canonical(XXH3_128bits_digest(hasher->state));
    XXH3_128bits_reset(hasher->state);
    return out;
}

void moeq_hasher_free(struct moeq_hasher *hasher)
{
    if (!hasher)
        return;
    XXH3_freeState(hasher->state);
    free(hasher);
}

static enum moeq_status sha256_stream(const struct moeq_file *file, EVP_MD_CTX *context, uint8_t *buffer,
                                      char hex[MOEQ_SHA256_HEX], struct moeq_error *err)
{
    if (EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
        return moeq_fail_alloc(err,
                               0); /* what it allocates is all that can fail: SHA-256 is always built in */
    if (!file->archive)
        posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    for (uint64_t offset = 0; offset < file->n_bytes;) {
        uint64_t left = file->n_bytes - offset;
        size_t n = left < READ_BYTES ? (size_t)left : READ_BYTES;
        enum moeq_status status = moeq_file_read(file, offset, buffer, n, err);
        if (status)
            return status;
        if (EVP_DigestUpdate(context, buffer, n) != 1)
            return moeq_fail(err, MOEQ_BUG, "libcrypto failed to hash");
        offset += n;
    }
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n_digest = 0;
    if (EVP_DigestFinal_ex(context, digest, &n_digest) != 1 || n_digest * 2 + 1 != MOEQ_SHA256_HEX)
        return moeq_fail(err, MOEQ_BUG, "libcrypto failed to hash");
    to_hex(digest, n_digest, hex);
    return MOEQ_OK;
}

enum moeq_status moeq_sha256_file(const char *path, char hex[MOEQ_SHA256_HEX], struct moeq_error *err)
{
    struct moeq_file file;
    enum moeq_status status = moeq_file_open(&file, path, err);
    if (status)
        return status;
    /* Files that must be decompressed go one after the other: together they would throw each other out. */
    static pthread_mutex_t in_turn = PTHREAD_MUTEX_INITIALIZER;
    const bool is_streamed = file.member && moeq_member_is_streamed(file.member);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t *buffer = malloc(READ_BYTES);
    if (is_streamed)
        pthread_mutex_lock(&in_turn);
    if (!context || !buffer)
        status = moeq_fail_alloc(err, READ_BYTES);
    else
        status = sha256_stream(&file, context, buffer, hex, err);
    if (is_streamed)
        pthread_mutex_unlock(&in_turn);
    free(buffer);
    EVP_MD_CTX_free(context);
    moeq_file_close(&file);
    return status;
}
