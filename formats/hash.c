#include "hash.h"

#include "archives.h"
#include "interrupt.h"
#include "read_ahead.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <xxh_x86dispatch.h>

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

/* ---- whole files ---- */

#define READ_AHEAD (8u << 20) /* asked of the disk while blocks before it are hashed */

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static enum moeq_status digest_begin(EVP_MD_CTX **context, const EVP_MD *kind, struct moeq_error *err)
{
    *context = EVP_MD_CTX_new();
    /* What it allocates is all that can fail: both hashes are always built in. */
    return *context && EVP_DigestInit_ex(*context, kind, NULL) == 1 ? MOEQ_OK : moeq_fail_alloc(err, 0);
}

static enum moeq_status digest_add(EVP_MD_CTX *context, const void *data, size_t n, struct moeq_error *err)
{
    return !context || EVP_DigestUpdate(context, data, n) == 1
               ? MOEQ_OK
               : moeq_fail(err, MOEQ_BUG, "libcrypto failed to hash");
}

static enum moeq_status digest_end(EVP_MD_CTX *context, char *hex, size_t capacity, struct moeq_error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (!context)
        return MOEQ_OK;
    if (EVP_DigestFinal_ex(context, digest, &n) != 1 || n * 2 + 1 != capacity)
        return moeq_fail(err, MOEQ_BUG, "libcrypto failed to hash");
    to_hex(digest, n, hex);
    return MOEQ_OK;
}

struct digesting {
    const struct moeq_file *file;
    struct moeq_digests *out;
    EVP_MD_CTX *sha256, *sha1;      /* NULL: not wanted */
    struct moeq_read_ahead *reader; /* or */
    uint8_t *buffer;                /* [MOEQ_READ_BLOCK] */
};

static enum moeq_status digest_init(struct digesting *d, struct moeq_error *err)
{
    char head[32];
    enum moeq_status status = MOEQ_OK;
    const bool is_streamed = d->file->member && moeq_member_is_streamed(d->file->member);
    /* A thread that cannot be had is no reason to fail. What is decompressed comes at once, as a whole. */
    if (d->out->read_ahead && d->file->n_bytes >= READ_AHEAD && !is_streamed)
        d->reader = moeq_read_ahead_start(d->file, NULL);
    d->out->was_read_ahead = d->reader != NULL;
    d->buffer = d->reader ? NULL : malloc(MOEQ_READ_BLOCK);
    if (!d->reader && !d->buffer)
        return moeq_fail_alloc(err, MOEQ_READ_BLOCK);
    if (d->out->want_sha256)
        status = digest_begin(&d->sha256, EVP_sha256(), err);
    if (!status && d->out->want_git_sha1)
        status = digest_begin(&d->sha1, EVP_sha1(), err);
    int n = snprintf(head, sizeof head, "blob %llu", (unsigned long long)d->file->n_bytes);
    return status ? status : digest_add(d->sha1, head, (size_t)n + 1, err);
}

/* The next block: from the thread that reads ahead, or read here while the disk is asked for what follows. */
static enum moeq_status next_block(struct digesting *d, uint64_t offset, const uint8_t **data, size_t *n,
                                   struct moeq_error *err)
{
    const struct moeq_file *file = d->file;
    if (offset % READ_AHEAD == 0 && !file->archive)
        posix_fadvise(file->fd, (off_t)(offset + READ_AHEAD), READ_AHEAD, POSIX_FADV_WILLNEED);
    if (d->reader)
        return moeq_read_ahead_next(d->reader, data, n, err);
    uint64_t left = file->n_bytes - offset;
    *n = left < MOEQ_READ_BLOCK ? (size_t)left : MOEQ_READ_BLOCK;
    *data = d->buffer;
    return moeq_file_read(file, offset, d->buffer, *n, err);
}

static enum moeq_status digest_blocks(struct digesting *d, moeq_block_visit *visit, void *context,
                                      struct moeq_error *err)
{
    if (!d->file->archive)
        posix_fadvise(d->file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    double before = seconds_now();
    for (uint64_t offset = 0; offset < d->file->n_bytes;) {
        const uint8_t *data = NULL;
        size_t n = 0;
        enum moeq_status status = moeq_interrupt_check(err);
        if (!status)
            status = next_block(d, offset, &data, &n, err);
        double between = seconds_now();
        if (!status)
            status = digest_add(d->sha256, data, n, err);
        if (!status)
            status = digest_add(d->sha1, data, n, err);
        if (status)
            return status;
        if (visit)
            visit(context, offset, data, n);
        double after = seconds_now();
        d->out->read_seconds += between - before;
        d->out->hash_seconds += after - between;
        before = after;
        offset += n;
    }
    return MOEQ_OK;
}

enum moeq_status moeq_file_digest(const struct moeq_file *file, struct moeq_digests *digests,
                                  moeq_block_visit *visit, void *context, struct moeq_error *err)
{
    struct digesting d = {.file = file, .out = digests};
    *digests = (struct moeq_digests){.want_sha256 = digests->want_sha256,
                                     .want_git_sha1 = digests->want_git_sha1,
                                     .read_ahead = digests->read_ahead};
    enum moeq_status status = digest_init(&d, err);
    if (!status)
        status = digest_blocks(&d, visit, context, err);
    if (!status)
        status = digest_end(d.sha256, digests->sha256, sizeof digests->sha256, err);
    if (!status)
        status = digest_end(d.sha1, digests->git_sha1, sizeof digests->git_sha1, err);
    if (status != MOEQ_INTERRUPTED)
        moeq_error_in_file(err, file->path);
    moeq_read_ahead_stop(d.reader);
    free(d.buffer);
    EVP_MD_CTX_free(d.sha256);
    EVP_MD_CTX_free(d.sha1);
    return status;
}

enum moeq_status moeq_sha256_file(const char *path, char hex[MOEQ_SHA256_HEX], struct moeq_error *err)
{
    struct moeq_file file;
    struct moeq_digests digests = {.want_sha256 = true};
    enum moeq_status status = moeq_file_open(&file, path, err);
    if (status)
        return status;
    status = moeq_file_digest(&file, &digests, NULL, NULL, err);
    memcpy(hex, digests.sha256, MOEQ_SHA256_HEX);
    moeq_file_close(&file);
    return status;
}
