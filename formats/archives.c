/* Opening, finding, and reading under a budget of memory. */
#include "archives_parts.h"

#include "interrupt.h"
#include "memory.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_WORK 8 /* times all members together */

/* ---- opening ---- */

struct magic {
    const char *bytes;
    size_t at, n;
    const char *other; /* NULL: of a kind that is read */
    enum moeq_archive_kind kind;
};

static const struct magic magics[] = {
    {"ustar", 257, 5, NULL, MOEQ_ARCHIVE_TAR},
    {"\x1f\x8b", 0, 2, NULL, MOEQ_ARCHIVE_TAR_GZ},
    {"\x28\xb5\x2f\xfd", 0, 4, NULL, MOEQ_ARCHIVE_TAR_ZST},
    {"PK\x03\x04", 0, 4, NULL, MOEQ_ARCHIVE_ZIP},
    {"PK\x05\x06", 0, 4, NULL, MOEQ_ARCHIVE_ZIP}, /* an empty one */
    {"\xfd"
     "7zXZ",
     0, 5, "xz", 0},
    {"BZh", 0, 3, "bzip2", 0},
    {"\x04\x22\x4d\x18", 0, 4, "lz4", 0},
    {"7z\xbc\xaf\x27\x1c", 0, 6, "7z", 0},
    {"Rar!", 0, 4, "rar", 0},
};

static bool has_archive_name(const char *path)
{
    static const char *const suffixes[] = {".tar", ".tar.gz", ".tgz", ".tar.zst", ".zip"};
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        size_t m = strlen(suffixes[i]);
        if (n > m && strcmp(path + n - m, suffixes[i]) == 0)
            return true;
    }
    return false;
}

static enum moeq_status find_kind(struct moeq_archive *a, struct moeq_error *err)
{
    uint8_t head[512] = {0};
    size_t n = a->file.n_bytes < sizeof head ? (size_t)a->file.n_bytes : sizeof head;
    enum moeq_status status = moeq_file_read(&a->file, 0, head, n, err);
    for (size_t i = 0; !status && i < sizeof magics / sizeof *magics; i++) {
        const struct magic *m = &magics[i];
        if (memcmp(head + m->at, m->bytes, m->n) != 0)
            continue;
        a->kind = m->kind;
        if (!m->other)
            return MOEQ_OK;
        moeq_fail(err, MOEQ_UNSUPPORTED, "an archive or file of kind %s", m->other);
        moeq_error_hint(err, "unpack it, or pack it again as .tar, .tar.gz, .tar.zst or .zip");
        return MOEQ_UNSUPPORTED;
    }
    if (status)
        return status;
    if (has_archive_name(a->file.path)) {
        status = moeq_fail(err, MOEQ_DAMAGED, "it is named like an archive, but its bytes are none");
        moeq_error_hint(err, "download it again");
        return status;
    }
    moeq_fail(err, MOEQ_IO, "neither a folder nor an archive");
    if (moeq_has_suffix(a->file.path, "/config.json") || strcmp(a->file.path, "config.json") == 0)
        moeq_error_hint(err, "give the folder that it lies in");
    moeq_error_hint(err, "give the folder of a downloaded checkpoint, a .moeq package, or a .tar, .tar.gz, "
                         ".tar.zst or .zip of one");
    return MOEQ_IO;
}

/* A quarter of the memory leaves room for the work on what is read. */
static enum moeq_status set_budget(struct moeq_archive *a, struct moeq_error *err)
{
    const char *given = getenv("MOEQ_ARCHIVE_MEMORY");
    const uint64_t memory = moeq_machine_memory();
    char *end = NULL;
    a->budget = memory ? memory / 4 : 1ull << 30;
    if (!given)
        return MOEQ_OK;
    errno = 0;
    a->budget = strtoull(given, &end, 10);
    if (*given >= '0' && *given <= '9' && !*end && !errno)
        return MOEQ_OK;
    return moeq_fail(err, MOEQ_USAGE, "MOEQ_ARCHIVE_MEMORY is \"%.40s\", not a number of bytes", given);
}

enum moeq_status moeq_archive_open(struct moeq_archive **archive, const char *path, struct moeq_error *err)
{
    struct moeq_error local = {0};
    err = err ? err : &local;
    struct moeq_archive *a = moeq_calloc(1, sizeof *a, err);
    if (!a)
        return MOEQ_OVER_MEMORY;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->released, NULL);
    a->file.fd = -1;
    enum moeq_status status = set_budget(a, err);
    if (!status)
        status = moeq_file_open(&a->file, path, err);
    if (!status)
        status = find_kind(a, err);
    if (!status)
        status = moeq_archive_scan(a, err);
    if (!status)
        status = moeq_archive_settle(a, err);
    moeq_error_in_file(err, path);
    *archive = a;
    if (status) {
        moeq_archive_close(a);
        *archive = NULL;
    }
    return status;
}

void moeq_archive_close(struct moeq_archive *archive)
{
    if (!archive)
        return;
    moeq_stream_close(archive->stream);
    for (size_t i = 0; i < archive->n_members; i++) {
        free(archive->members[i].name);
        moeq_bytes_free(&archive->members[i].first);
        free(archive->members[i].loaded);
    }
    free(archive->members);
    free(archive->folder);
    moeq_file_close(&archive->file);
    pthread_cond_destroy(&archive->released);
    pthread_mutex_destroy(&archive->lock);
    free(archive);
}

/* ---- finding ---- */

static int compare_name(const void *name, const void *member)
{
    return strcmp(name, (*(struct moeq_member *const *)member)->plain);
}

struct moeq_member *moeq_archive_find(const struct moeq_archive *archive, const char *name)
{
    if (!archive->n_folder)
        return NULL;
    struct moeq_member **found =
        bsearch(name, archive->folder, archive->n_folder, sizeof(struct moeq_member *), compare_name);
    return found ? *found : NULL;
}

const char *moeq_archive_name(const struct moeq_archive *archive, size_t i)
{
    return i < archive->n_folder ? archive->folder[i]->plain : NULL;
}

uint64_t moeq_member_bytes(const struct moeq_member *member)
{
    return member->n_bytes;
}

bool moeq_member_is_streamed(const struct moeq_member *member)
{
    return !member->in_place;
}

uint64_t moeq_member_place(const struct moeq_member *member)
{
    return member->index;
}

/* ---- decompressing into memory; all under the lock ---- */

static enum moeq_status give_up(struct moeq_error *err)
{
    moeq_error_hint(err,
                    "unpack the archive first (tar -xf, unzip), store it uncompressed, or allow more with "
                    "MOEQ_ARCHIVE_MEMORY=BYTES");
    return MOEQ_UNSUPPORTED;
}

static void unload(struct moeq_archive *a, struct moeq_member *m)
{
    free(m->loaded);
    m->loaded = NULL;
    a->n_loaded -= m->n_bytes;
}

/* The least recently used members leave until n bytes fit; those that are being copied from are waited for.
 */
static enum moeq_status make_room(struct moeq_archive *a, uint64_t n, struct moeq_error *err)
{
    if (n > a->budget) {
        moeq_fail(err, MOEQ_UNSUPPORTED,
                  "it must be decompressed to %llu bytes, and archives may use %llu bytes of memory",
                  (unsigned long long)n, (unsigned long long)a->budget);
        return give_up(err);
    }
    while (a->n_loaded > a->budget - n) {
        struct moeq_member *oldest = NULL;
        for (size_t i = 0; i < a->n_members; i++) {
            struct moeq_member *m = &a->members[i];
            if (m->loaded && !m->n_users && (!oldest || m->last_use < oldest->last_use))
                oldest = m;
        }
        if (oldest)
            unload(a, oldest);
        else
            pthread_cond_wait(&a->released, &a->lock);
    }
    return MOEQ_OK;
}

/* Reads a whole member from a stream that stands at its first byte. */
static enum moeq_status load_from(struct moeq_archive *a, struct moeq_member *m, struct moeq_stream *stream,
                                  struct moeq_error *err)
{
    size_t n = (size_t)m->n_bytes, got = 0, more = 0;
    uint8_t *bytes = malloc(n ? n : 1), beyond;
    if (!bytes)
        return moeq_fail_alloc(err, n);
    enum moeq_status status = moeq_stream_read(stream, bytes, n, &got, err);
    if (!status && a->kind == MOEQ_ARCHIVE_ZIP && got == n) /* its CRC is checked when its end is read */
        status = moeq_stream_some(stream, &beyond, 1, &more, err);
    a->n_decompressed += got;
    if (!status && (got != n || more))
        status = moeq_fail(err, MOEQ_DAMAGED, "it has %s bytes than the %llu that the archive states",
                           more ? "more" : "fewer", (unsigned long long)m->n_bytes);
    if (!status && m->first.n_bytes && memcmp(bytes, m->first.data, m->first.n_bytes) != 0)
        status = moeq_fail(err, MOEQ_IO, "the archive changed while it was read");
    if (status) {
        free(bytes);
        return status;
    }
    m->loaded = bytes;
    m->last_use = ++a->n_uses;
    a->n_loaded += m->n_bytes;
    return MOEQ_OK;
}

static enum moeq_status pass_over(struct moeq_archive *a, uint64_t n, struct moeq_error *err)
{
    uint8_t scratch[16384];
    enum moeq_status status = MOEQ_OK;
    while (!status && n) {
        size_t want = n < sizeof scratch ? (size_t)n : sizeof scratch, got;
        status = moeq_stream_read(a->stream, scratch, want, &got, err);
        if (!status && got < want)
            status = moeq_fail(err, MOEQ_IO, "the archive changed while it was read");
        a->n_decompressed += got;
        n -= got;
    }
    return status;
}

/* Forward to a member of a compressed tar. What lies on the way and will be asked for is taken along, as
 * long as it costs no other member its place. */
static enum moeq_status load_from_tar(struct moeq_archive *a, struct moeq_member *wanted,
                                      struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    if (a->stream && a->stream->position > wanted->offset) {
        moeq_stream_close(a->stream);
        a->stream = NULL;
    }
    if (!a->stream && !(a->stream = moeq_archive_stream(a, err)))
        return err->status;
    for (struct moeq_member *m = a->members; !status && m <= wanted; m++) {
        if (m->offset < a->stream->position || m->loaded)
            continue;
        const uint64_t room = a->budget - a->n_loaded; /* that of `wanted` is taken already */
        if (m != wanted &&
            (!moeq_archive_is_weights(m) || room < wanted->n_bytes || m->n_bytes > room - wanted->n_bytes))
            continue;
        status = pass_over(a, m->offset - a->stream->position, err);
        if (!status)
            status = load_from(a, m, a->stream, err);
    }
    return status;
}

static enum moeq_status load(struct moeq_archive *a, struct moeq_member *m, struct moeq_error *err)
{
    enum moeq_status status = make_room(a, m->n_bytes, err);
    if (status || m->loaded) /* by another thread, while this one waited */
        return status;
    uint64_t limit = a->n_stated > UINT64_MAX / MAX_WORK ? UINT64_MAX : MAX_WORK * a->n_stated;
    if (a->n_decompressed > limit) {
        moeq_fail(
            err, MOEQ_UNSUPPORTED,
            "it would have to be decompressed again: archives may use %llu bytes of memory, which is too "
            "little for this order",
            (unsigned long long)a->budget);
        return give_up(err);
    }
    if (a->kind != MOEQ_ARCHIVE_ZIP) {
        status = load_from_tar(a, m, err);
        if (status) { /* a stream that failed is not gone on with */
            moeq_stream_close(a->stream);
            a->stream = NULL;
        }
        return status;
    }
    struct moeq_stream *stream = moeq_archive_zip_stream(a, m, err);
    status = stream ? load_from(a, m, stream, err) : err->status;
    moeq_stream_close(stream);
    return status;
}

static enum moeq_status read_streamed(struct moeq_archive *a, struct moeq_member *m, uint64_t offset,
                                      void *dst, size_t n, struct moeq_error *err)
{
    pthread_mutex_lock(&a->lock);
    enum moeq_status status = m->loaded ? MOEQ_OK : load(a, m, err);
    if (!status) {
        m->n_users++;
        m->last_use = ++a->n_uses;
    }
    pthread_mutex_unlock(&a->lock);
    if (status == MOEQ_DAMAGED)
        moeq_error_hint(err, "download or pack the archive again");
    if (status)
        return status;
    memcpy(dst, m->loaded + offset, n);
    pthread_mutex_lock(&a->lock);
    if (--m->n_users == 0)
        pthread_cond_broadcast(&a->released);
    pthread_mutex_unlock(&a->lock);
    return MOEQ_OK;
}

/* ---- reading ---- */

enum moeq_status moeq_archive_read(struct moeq_archive *archive, struct moeq_member *member, uint64_t offset,
                                   void *dst, size_t n, struct moeq_error *err)
{
    struct moeq_error local = {0};
    err = err ? err : &local;
    if (offset > member->n_bytes || n > member->n_bytes - offset)
        return moeq_fail(err, MOEQ_DAMAGED, "the file ends %llu bytes too early",
                         (unsigned long long)(offset > member->n_bytes ? n : n - (member->n_bytes - offset)));
    if (member->in_place)
        return moeq_file_read(&archive->file, member->offset + offset, dst, n, err);
    if (offset + n <= member->first.n_bytes) {
        memcpy(dst, member->first.data + offset, n);
        return MOEQ_OK;
    }
    return read_streamed(archive, member, offset, dst, n, err);
}
