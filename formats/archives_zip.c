/* The directory at the end of a zip: libarchive reads it, but tells of a compressed member neither where it
 * begins nor how long it is. What it would take for the directory and this would not is refused. */
#include "archives_parts.h"

#include "interrupt.h"

#include <stdlib.h>

#define END_BYTES       22u
#define MAX_COMMENT     65535u
#define LOCATOR_BYTES   20u
#define END64_BYTES     56u
#define MAX_END64_BYTES 16384u /* libarchive takes no larger one */
#define ENTRY_BYTES     46u
#define LOCAL_BYTES     30u
#define NO_VALUE        UINT32_MAX /* where a field of 64 bits holds it */
#define EXTRA_OF_64_BIT 1

struct range {
    uint64_t begin, end; /* header and bytes */
};

struct directory {
    const struct moeq_file *file;
    uint64_t begin, end;
    struct range *ranges; /* [n]: of the entries */
    size_t n, capacity;
};

static enum moeq_status fail(struct moeq_error *err, const char *why, uint64_t offset)
{
    return moeq_fail(err, MOEQ_DAMAGED, "%s, at byte %llu", why, (unsigned long long)offset);
}

/* ---- where it is ---- */

/* A zip ends in its end record, whose comment fills the file. */
static enum moeq_status find_end(const struct moeq_file *file, uint64_t *end, struct moeq_error *err)
{
    struct moeq_bytes tail = {0};
    const uint64_t most = END_BYTES + MAX_COMMENT;
    const size_t n = (size_t)(file->n_bytes < most ? file->n_bytes : most);
    enum moeq_status status = moeq_bytes_resize(&tail, n, err);
    if (!status)
        status = moeq_file_read(file, file->n_bytes - n, tail.data, n, err);
    size_t i = END_BYTES;
    while (!status && i <= n && memcmp(tail.data + n - i, "PK\x05\x06", 4) != 0)
        i++;
    *end = file->n_bytes - i;
    if (!status && (i > n || moeq_load_u16le(tail.data + n - i + 20) != i - END_BYTES))
        status = moeq_fail(err, MOEQ_DAMAGED, "the zip was cut off, or something follows behind its end");
    moeq_bytes_free(&tail);
    return status;
}

static bool says(const uint8_t *field32, const uint8_t *field64)
{
    const uint32_t value = moeq_load_u32le(field32);
    return value == NO_VALUE || value == moeq_load_u64le(field64);
}

/* Whether a reader that takes the 64-bit record and one that does not take it, since it is of several disks,
 * or of a size that it does not know, see the same directory. */
static bool agree(const uint8_t *last, const uint8_t *locator, const uint8_t *end64)
{
    const uint64_t n_bytes = moeq_load_u64le(end64 + 4);
    return moeq_load_u32le(locator + 4) == 0 && moeq_load_u32le(locator + 16) == 1 &&
           moeq_load_u32le(end64 + 16) == 0 && moeq_load_u32le(end64 + 20) == 0 &&
           memcmp(end64 + 24, end64 + 32, 8) == 0 && n_bytes >= END64_BYTES - 12 &&
           n_bytes <= MAX_END64_BYTES - 12 && says(last + 12, end64 + 40) && says(last + 16, end64 + 48);
}

/* One record of 64-bit fields, and its locator, may lie between the directory and the end record. */
static enum moeq_status find_directory(struct directory *d, uint64_t end, struct moeq_error *err)
{
    uint8_t last[END_BYTES], locator[LOCATOR_BYTES], end64[END64_BYTES];
    enum moeq_status status = moeq_file_read(d->file, end, last, sizeof last, err);
    uint64_t size = status ? 0 : moeq_load_u32le(last + 12), limit = end;
    d->begin = status ? 0 : moeq_load_u32le(last + 16);
    if (!status && end >= sizeof locator)
        status = moeq_file_read(d->file, end - sizeof locator, locator, sizeof locator, err);
    if (!status && end >= sizeof locator && memcmp(locator, "PK\x06\x07", 4) == 0) {
        limit = moeq_load_u64le(locator + 8);
        if (limit > end)
            return fail(err, "the zip's directory is not where its end says", end);
        status = moeq_file_read(d->file, limit, end64, sizeof end64, err);
        if (!status && memcmp(end64, "PK\x06\x06", 4) != 0)
            return fail(err, "the zip's directory is not where its end says", end);
        if (!status && !agree(last, locator, end64))
            return fail(err, "the zip's two end records contradict each other", end);
        size = status ? 0 : moeq_load_u64le(end64 + 40);
        d->begin = status ? 0 : moeq_load_u64le(end64 + 48);
    }
    if (!status && (!moeq_add(d->begin, size, &d->end) || d->end != limit))
        status = fail(err, "the zip's directory is not where its end says", end);
    return status;
}

/* ---- its entries ---- */

/* Replaces those values that are NO_VALUE by the fields of the first extra of that kind, in this order. */
static enum moeq_status load_64_bit(const struct moeq_file *file, uint64_t at, size_t n_extra,
                                    uint64_t *const *values, size_t n_values, struct moeq_error *err)
{
    uint8_t head[4], field[8];
    enum moeq_status status = MOEQ_OK;
    uint64_t end = at + n_extra;
    while (!status && at + sizeof head <= end) {
        status = moeq_file_read(file, at, head, sizeof head, err);
        at += sizeof head;
        if (!status && moeq_load_u16le(head) == EXTRA_OF_64_BIT) {
            end = at + moeq_load_u16le(head + 2) < end ? at + moeq_load_u16le(head + 2) : end;
            break;
        }
        at += status ? 0 : moeq_load_u16le(head + 2);
    }
    for (size_t i = 0; !status && i < n_values && at + sizeof field <= end; i++) {
        if (*values[i] != NO_VALUE)
            continue;
        status = moeq_file_read(file, at, field, sizeof field, err);
        *values[i] = status ? 0 : moeq_load_u64le(field);
        at += sizeof field;
    }
    return status;
}

/* The local header, which states the size again or leaves it out, and the bytes behind it. */
static enum moeq_status add_range(struct directory *d, uint64_t offset, uint64_t n_bytes,
                                  struct moeq_error *err)
{
    uint8_t local[LOCAL_BYTES];
    if (offset >= d->begin || d->begin - offset < sizeof local)
        return fail(err, "an entry overlaps the zip's directory", offset);
    enum moeq_status status = moeq_file_read(d->file, offset, local, sizeof local, err);
    if (status)
        return status;
    const uint64_t name = offset + sizeof local, extra = name + moeq_load_u16le(local + 26);
    const size_t n_extra = moeq_load_u16le(local + 28);
    uint64_t n_plain = moeq_load_u32le(local + 22), n_again = moeq_load_u32le(local + 18);
    if (n_again == NO_VALUE)
        status = load_64_bit(d->file, extra, n_extra, (uint64_t *const[]){&n_plain, &n_again}, 2, err);
    if (!status && n_again && n_again != NO_VALUE && n_again != n_bytes)
        return fail(err, "an entry states two sizes", offset);
    struct range *ranges = status ? NULL : moeq_grown(d->ranges, d->n, &d->capacity, sizeof *ranges, err);
    if (!ranges)
        return status ? status : MOEQ_OVER_MEMORY;
    d->ranges = ranges;
    struct range range = {.begin = offset};
    if (!moeq_add(extra + n_extra, n_bytes, &range.end) || range.end > d->begin)
        return fail(err, "an entry overlaps the zip's directory", offset);
    ranges[d->n++] = range;
    return MOEQ_OK;
}

static enum moeq_status read_entries(struct directory *d, struct moeq_error *err)
{
    uint8_t entry[ENTRY_BYTES];
    enum moeq_status status = MOEQ_OK;
    for (uint64_t at = d->begin; !status && at < d->end;) {
        if (d->n == MOEQ_ARCHIVE_MAX_MEMBERS)
            return moeq_archive_too_many(err);
        status = moeq_interrupt_check(err);
        if (!status)
            status = moeq_file_read(d->file, at, entry, sizeof entry, err);
        if (!status && memcmp(entry, "PK\x01\x02", 4) != 0)
            status = fail(err, "the zip's directory is damaged", at);
        if (status)
            break;
        const uint64_t extra = at + sizeof entry + moeq_load_u16le(entry + 28);
        const size_t n_extra = moeq_load_u16le(entry + 30);
        uint64_t n_packed = moeq_load_u32le(entry + 20), n_plain = moeq_load_u32le(entry + 24),
                 offset = moeq_load_u32le(entry + 42);
        uint64_t *const values[] = {&n_plain, &n_packed, &offset};
        if (n_packed == NO_VALUE || offset == NO_VALUE)
            status = load_64_bit(d->file, extra, n_extra, values, 3, err);
        if (!status)
            status = add_range(d, offset, n_packed, err);
        at = extra + n_extra + moeq_load_u16le(entry + 32);
        if (!status && at > d->end)
            status = fail(err, "the zip's directory is damaged", at);
    }
    return status;
}

static int by_begin(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

enum moeq_status moeq_archive_check_zip(const struct moeq_archive *archive, struct moeq_error *err)
{
    struct directory d = {.file = &archive->file};
    uint64_t end;
    enum moeq_status status = find_end(d.file, &end, err);
    if (!status)
        status = find_directory(&d, end, err);
    if (!status)
        status = read_entries(&d, err);
    if (!status && d.n)
        qsort(d.ranges, d.n, sizeof *d.ranges, by_begin);
    for (size_t i = 1; !status && i < d.n; i++)
        if (d.ranges[i].begin < d.ranges[i - 1].end)
            status = fail(err, "an entry overlaps the one before it", d.ranges[i].begin);
    if (status == MOEQ_DAMAGED)
        moeq_error_hint(err, "download or pack it again");
    free(d.ranges);
    return status;
}
