/* One pass over an archive: what members there are, where their bytes lie, and whether all that is sane. */
#include "archives_parts.h"

#include "interrupt.h"
#include "safetensors.h"

#include <stdlib.h>

#define MAX_NAME       4096
#define MAX_PADDING    (16u << 20)  /* zeros behind a tar */
#define KEPT_BYTES     (128u << 20) /* of a compressed member, from the scan */
#define COMPARED_BYTES 4096u        /* of a member that is read in place */
#define TAR_BLOCK      512u

struct scan {
    struct moeq_archive *a;
    struct archive *archive;
    struct moeq_stream *stream; /* of a compressed tar */
    size_t index;               /* of the header */
    uint64_t end;               /* of the last member's bytes */
    struct moeq_feed feed;
};

/* ---- streams ---- */

struct moeq_stream *moeq_archive_stream(const struct moeq_archive *archive, struct moeq_error *err)
{
    struct moeq_stream *file = moeq_stream_file(&archive->file, err);
    return archive->kind == MOEQ_ARCHIVE_TAR_GZ    ? moeq_stream_gunzip(file, "", 0, err)
           : archive->kind == MOEQ_ARCHIVE_TAR_ZST ? moeq_stream_unzstd(file, err)
                                                   : file;
}

struct zip_stream {
    struct moeq_stream base;
    struct archive *archive;
    struct moeq_feed feed;
};

static enum moeq_status pull_zip(struct moeq_stream *stream, void *dst, size_t capacity, size_t *n,
                                 struct moeq_error *err)
{
    struct zip_stream *z = (struct zip_stream *)stream;
    *n = 0;
    enum moeq_status status = moeq_interrupt_check(err);
    if (status)
        return status;
    la_ssize_t got =
        archive_read_data(z->archive, dst, capacity < MOEQ_FEED_BYTES ? capacity : MOEQ_FEED_BYTES);
    if (got < 0)
        return moeq_feed_fail(&z->feed, z->archive, "damaged", err);
    *n = (size_t)got;
    return MOEQ_OK;
}

static void close_zip(struct moeq_stream *stream)
{
    struct zip_stream *z = (struct zip_stream *)stream;
    archive_read_free(z->archive);
    free(z);
}

static enum moeq_status find_in_zip(struct zip_stream *z, const struct moeq_archive *a, size_t index,
                                    struct moeq_error *err)
{
    struct archive_entry *entry;
    if (archive_read_support_format_zip_seekable(z->archive) != ARCHIVE_OK)
        return moeq_fail_alloc(err, 0);
    enum moeq_status status = moeq_feed_open(&z->feed, z->archive, &a->file, NULL, err);
    for (size_t i = 0; !status && i <= index; i++)
        if (archive_read_next_header(z->archive, &entry) < ARCHIVE_WARN)
            status = moeq_feed_fail(&z->feed, z->archive, "damaged", err);
    return status;
}

struct moeq_stream *moeq_archive_zip_stream(const struct moeq_archive *archive,
                                            const struct moeq_member *member, struct moeq_error *err)
{
    struct zip_stream *z = moeq_calloc(1, sizeof *z, err);
    struct archive *reader = z ? archive_read_new() : NULL;
    if (!reader) {
        if (z)
            moeq_fail_alloc(err, 0);
        free(z);
        return NULL;
    }
    z->base = (struct moeq_stream){.pull = pull_zip, .close = close_zip};
    z->archive = reader;
    if (find_in_zip(z, archive, member->index, err)) {
        close_zip(&z->base);
        return NULL;
    }
    return &z->base;
}

/* ---- names ---- */

/* "./a//b/" becomes "a/b". NULL in *why where the name is harmless. */
static void clean_name(char *name, const char **why)
{
    char *to = name;
    *why = name[0] == '/'                                                ? "its name is absolute"
           : strlen(name) > MAX_NAME                                     ? "its name is too long"
           : name[strcspn(name, "\\")]                                   ? "its name holds a backslash"
           : !moeq_utf8_valid((const uint8_t *)name, strlen(name), NULL) ? "its name is not UTF-8"
                                                                         : NULL;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *why = "its name holds a control character";
    for (char *part = name; !*why && *part;) {
        size_t n = strcspn(part, "/");
        if (n == 2 && part[0] == '.' && part[1] == '.')
            *why = "its name leads out of the archive (\"..\")";
        char *rest = part[n] ? part + n + 1 : part + n;
        if (n && !(n == 1 && part[0] == '.')) {
            if (to != name)
                *to++ = '/';
            memmove(to, part, n);
            to += n;
        }
        part = rest;
    }
    if (!*why)
        *to = '\0';
}

static enum moeq_status refuse(struct moeq_error *err, enum moeq_status status, const char *name,
                               const char *why)
{
    moeq_fail(err, status, "entry \"%.200s\": %s", name, why);
    moeq_error_hint(err, "pack the model again, as plain files");
    return status;
}

bool moeq_archive_is_weights(const struct moeq_member *member)
{
    return moeq_has_suffix(member->name, ".safetensors");
}

enum moeq_status moeq_archive_too_many(struct moeq_error *err)
{
    return moeq_fail(err, MOEQ_DAMAGED, "more than %d entries: this is no model", MOEQ_ARCHIVE_MAX_MEMBERS);
}

/* ---- what a member is ---- */

static enum moeq_status check_kind(struct archive_entry *entry, const char *name, struct moeq_error *err)
{
    const mode_t type = archive_entry_filetype(entry);
    if (archive_entry_is_encrypted(entry))
        return refuse(err, MOEQ_UNSUPPORTED, name, "it is encrypted");
    if (archive_entry_hardlink(entry) || archive_entry_symlink(entry) || type == AE_IFLNK)
        return refuse(err, MOEQ_DAMAGED, name, "it is a link (tar has --dereference --hard-dereference)");
    if (type != AE_IFREG)
        return refuse(err, MOEQ_DAMAGED, name, "it is a device or another special file");
    if (archive_entry_sparse_count(entry) > 0)
        return refuse(err, MOEQ_UNSUPPORTED, name, "it is stored with holes");
    if (!archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0)
        return refuse(err, MOEQ_DAMAGED, name, "it states no size");
    return MOEQ_OK;
}

static enum moeq_status add_member(struct scan *s, const char *name, uint64_t n_bytes, struct moeq_error *err)
{
    struct moeq_archive *a = s->a;
    struct moeq_member *members = moeq_grown(a->members, a->n_members, &a->capacity, sizeof *members, err);
    if (!members)
        return MOEQ_OVER_MEMORY;
    a->members = members;
    struct moeq_member *m = &members[a->n_members];
    *m = (struct moeq_member){.n_bytes = n_bytes, .index = s->index};
    m->name = moeq_strdup(name, err);
    if (!m->name)
        return MOEQ_OVER_MEMORY;
    const char *slash = strrchr(m->name, '/');
    m->plain = slash ? slash + 1 : m->name;
    a->n_members++;
    const uint64_t most =
        a->file.n_bytes > MOEQ_ARCHIVE_FREE / MOEQ_ARCHIVE_RATIO
            ? (a->file.n_bytes < UINT64_MAX / MOEQ_ARCHIVE_RATIO ? a->file.n_bytes * MOEQ_ARCHIVE_RATIO
                                                                 : UINT64_MAX)
            : MOEQ_ARCHIVE_FREE;
    if (!moeq_add(a->n_stated, n_bytes, &a->n_stated) || a->n_stated > most)
        return refuse(err, MOEQ_DAMAGED, name, "it states a size that no model has in so small an archive");
    return MOEQ_OK;
}

/* ---- where its bytes are ---- */

static enum moeq_status read_data(struct scan *s, void *dst, size_t n, struct moeq_error *err)
{
    la_ssize_t got = n ? archive_read_data(s->archive, dst, n) : 0;
    if (got < 0)
        return moeq_feed_fail(&s->feed, s->archive, "damaged or cut off", err);
    if ((size_t)got != n)
        return moeq_fail(err, MOEQ_DAMAGED, "it ends %zu bytes too early", n - (size_t)got);
    return MOEQ_OK;
}

/* The first bytes as libarchive gives them must be those of the file at the offset. */
static enum moeq_status compare(struct scan *s, struct moeq_member *m, bool *same, struct moeq_error *err)
{
    uint8_t told[COMPARED_BYTES], found[COMPARED_BYTES];
    const size_t n = m->n_bytes < COMPARED_BYTES ? (size_t)m->n_bytes : COMPARED_BYTES;
    enum moeq_status status = read_data(s, told, n, err);
    if (!status)
        status = moeq_file_read(&s->a->file, m->offset, found, n, err);
    *same = !status && memcmp(told, found, n) == 0;
    return status;
}

static enum moeq_status place_in_file(struct scan *s, struct moeq_member *m, struct moeq_error *err)
{
    uint64_t end;
    bool same = false;
    if (!moeq_add(m->offset, m->n_bytes, &end) || end > s->a->file.n_bytes)
        return moeq_fail(err, MOEQ_DAMAGED, "the archive ends before it does");
    if (m->offset < s->end)
        return refuse(err, MOEQ_DAMAGED, m->name, "it overlaps the one before it");
    s->end = end;
    enum moeq_status status = compare(s, m, &same, err);
    if (!status && !same)
        status = refuse(err, MOEQ_UNSUPPORTED, m->name, "its bytes do not lie in the archive in one piece");
    m->in_place = !status;
    return status;
}

/* How much of a compressed member is worth keeping: all, the header of a safetensors file, or nothing. */
static size_t bytes_to_keep(const struct moeq_archive *a, const struct moeq_member *m, const uint8_t *length,
                            size_t n_length)
{
    uint64_t n = m->n_bytes;
    if (moeq_archive_is_weights(m) && n_length == 8) {
        uint64_t n_head = moeq_load_u64le(length);
        n = n_head <= MOEQ_SAFETENSORS_MAX_HEADER && n_head + 8 <= n ? n_head + 8 : n_length;
    }
    const uint64_t most = a->budget / 2 - (a->n_first < a->budget / 2 ? a->n_first : a->budget / 2);
    return n <= KEPT_BYTES && n <= most ? (size_t)n : n_length;
}

static enum moeq_status keep_first(struct scan *s, struct moeq_member *m, struct moeq_error *err)
{
    uint8_t length[8];
    const size_t n_length = m->n_bytes < sizeof length ? (size_t)m->n_bytes : sizeof length;
    enum moeq_status status = read_data(s, length, n_length, err);
    if (status)
        return status;
    size_t n = bytes_to_keep(s->a, m, length, n_length);
    if ((status = moeq_bytes_resize(&m->first, n, err)))
        return status;
    memcpy(m->first.data, length, n_length);
    s->a->n_first += n;
    status = read_data(s, m->first.data + n_length, n - n_length, err);
    uint8_t beyond;
    if (!status && n == m->n_bytes && archive_read_data(s->archive, &beyond, 1) != 0) /* checks a zip's CRC */
        status = moeq_feed_fail(&s->feed, s->archive, "damaged", err);
    return status;
}

static enum moeq_status place_member(struct scan *s, struct moeq_member *m, struct moeq_error *err)
{
    const struct moeq_archive *a = s->a;
    const char *format = archive_format_name(s->archive);
    const bool is_stored = a->kind == MOEQ_ARCHIVE_TAR ||
                           (a->kind == MOEQ_ARCHIVE_ZIP && format && strstr(format, "(uncompressed)"));
    if (a->kind != MOEQ_ARCHIVE_ZIP || is_stored)
        m->offset = (uint64_t)archive_filter_bytes(s->archive, 0);
    enum moeq_status status = is_stored ? place_in_file(s, m, err) : keep_first(s, m, err);
    if (!is_stored && a->kind != MOEQ_ARCHIVE_ZIP)
        s->end = m->offset + m->n_bytes; /* bounded by the sum of what is stated */
    if (status == MOEQ_DAMAGED && strncmp(err->message, "entry ", 6) != 0) { /* libarchive names none */
        struct moeq_error why = *err;
        *err = (struct moeq_error){0};
        moeq_fail(err, MOEQ_DAMAGED, "entry \"%.200s\": %.250s", m->name, why.message);
        moeq_error_hint(err, "%s", why.hint[0] ? why.hint : "download or pack it again");
    }
    return status;
}

static enum moeq_status scan_entry(struct scan *s, struct archive_entry *entry, struct moeq_error *err)
{
    const char *raw = archive_entry_pathname(entry), *why;
    if (s->index == MOEQ_ARCHIVE_MAX_MEMBERS)
        return moeq_archive_too_many(err);
    if (s->a->kind != MOEQ_ARCHIVE_ZIP)
        s->end = (uint64_t)archive_filter_bytes(s->archive, 0);
    raw = raw ? raw : archive_entry_pathname_utf8(entry);
    if (!raw)
        return moeq_fail(err, MOEQ_DAMAGED, "entry %zu has no name that can be read", s->index + 1);
    char *name = moeq_strdup(raw, err);
    if (!name)
        return MOEQ_OVER_MEMORY;
    clean_name(name, &why);
    enum moeq_status status = why ? refuse(err, MOEQ_DAMAGED, name, why) : MOEQ_OK;
    if (!status && archive_entry_filetype(entry) != AE_IFDIR) {
        status = check_kind(entry, name, err);
        if (!status && !*name)
            status = refuse(err, MOEQ_DAMAGED, raw, "it has no name");
        if (!status)
            status = add_member(s, name, (uint64_t)archive_entry_size(entry), err);
        if (!status)
            status = place_member(s, &s->a->members[s->a->n_members - 1], err);
    }
    free(name);
    return status;
}

/* ---- the end of an archive ---- */

static bool all_zero(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i])
            return false;
    return true;
}

/* A tar ends in a block of zeros, behind which nothing but zeros may come. */
static enum moeq_status check_tar_end(struct scan *s, struct moeq_error *err)
{
    struct moeq_feed *feed = &s->feed;
    const uint64_t end = moeq_round_up(s->end, TAR_BLOCK);
    enum moeq_status status = MOEQ_OK;
    uint64_t at = s->stream ? feed->block + feed->n_block : end;
    bool clean = true;
    if (s->stream) { /* the rest of the block that libarchive has */
        uint64_t from = end > feed->block ? end : feed->block;
        clean = from >= at || all_zero(feed->buffer + (from - feed->block), (size_t)(at - from));
    }
    for (size_t n = 1; !status && clean && n; at += n) {
        uint64_t left = s->a->file.n_bytes > at ? s->a->file.n_bytes - at : 0;
        n = left < sizeof feed->buffer ? (size_t)left : sizeof feed->buffer;
        if (s->stream)
            status = moeq_stream_some(s->stream, feed->buffer, sizeof feed->buffer, &n, err);
        else if (n)
            status = moeq_file_read(&s->a->file, at, feed->buffer, n, err);
        clean = status || (all_zero(feed->buffer, n) && at < end + MAX_PADDING);
    }
    if (!status && !clean)
        status = moeq_fail(err, MOEQ_DAMAGED, "something follows behind the end of the tar");
    if (!status && at < end + TAR_BLOCK)
        status = moeq_fail(err, MOEQ_DAMAGED, "the tar has no end: it was cut off");
    moeq_error_hint(err, "download or pack it again");
    return status;
}

/* ---- the pass ---- */

static enum moeq_status open_scan(struct scan *s, struct moeq_error *err)
{
    struct moeq_archive *a = s->a;
    enum moeq_status status = MOEQ_OK;
    s->archive = archive_read_new();
    if (!s->archive)
        return moeq_fail_alloc(err, 0);
    if ((a->kind == MOEQ_ARCHIVE_ZIP ? archive_read_support_format_zip_seekable(s->archive)
                                     : archive_read_support_format_tar(s->archive)) != ARCHIVE_OK)
        return moeq_fail_alloc(err, 0);
    if (a->kind == MOEQ_ARCHIVE_ZIP)
        status = moeq_archive_check_zip(a, err);
    if (!status && a->kind != MOEQ_ARCHIVE_TAR && a->kind != MOEQ_ARCHIVE_ZIP &&
        !(s->stream = moeq_archive_stream(a, err)))
        status = err->status;
    if (!status)
        status = moeq_feed_open(&s->feed, s->archive, s->stream ? NULL : &a->file, s->stream, err);
    if (status == MOEQ_DAMAGED && s->stream)
        moeq_error_hint(err, "a .tar.gz or .tar.zst of a model is expected");
    return status;
}

static enum moeq_status scan_all(struct scan *s, struct moeq_error *err)
{
    struct archive_entry *entry;
    enum moeq_status status = open_scan(s, err);
    const uint64_t n_file = s->a->file.n_bytes;
    if (!status && s->stream && n_file < UINT64_MAX / MOEQ_ARCHIVE_RATIO) {
        uint64_t most = n_file * MOEQ_ARCHIVE_RATIO;
        s->feed.max_bytes = (most > MOEQ_ARCHIVE_FREE ? most : MOEQ_ARCHIVE_FREE) + MAX_PADDING;
    }
    for (; !status; s->index++) {
        int result = archive_read_next_header(s->archive, &entry);
        if (result == ARCHIVE_EOF)
            break;
        status = result < ARCHIVE_WARN ? moeq_feed_fail(&s->feed, s->archive, "damaged or cut off", err)
                                       : moeq_interrupt_check(err);
        if (!status)
            status = scan_entry(s, entry, err);
    }
    if (status == MOEQ_DAMAGED)
        moeq_error_hint(err, "download or pack it again");
    if (!status && s->a->kind != MOEQ_ARCHIVE_ZIP)
        status = check_tar_end(s, err);
    return status;
}

enum moeq_status moeq_archive_scan(struct moeq_archive *archive, struct moeq_error *err)
{
    struct scan *s = moeq_calloc(1, sizeof *s, err);
    if (!s)
        return MOEQ_OVER_MEMORY;
    s->a = archive;
    locale_t before = moeq_feed_begin_utf8();
    enum moeq_status status = scan_all(s, err);
    archive_read_free(s->archive);
    moeq_feed_end_utf8(before);
    moeq_stream_close(s->stream);
    free(s);
    return status;
}

/* ---- the folder that is read ---- */

static int by_whole_name(const void *a, const void *b)
{
    const struct moeq_member *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static size_t depth(const char *name)
{
    size_t n = 0;
    for (; *name; name++)
        n += *name == '/';
    return n;
}

static bool is_in(const struct moeq_member *m, const char *folder, size_t n_folder)
{
    return (size_t)(m->plain - m->name) == n_folder && strncmp(m->name, folder, n_folder) == 0;
}

/* The marker nearest to the top decides; another folder at the same depth makes it a guess. */
static enum moeq_status find_root(const struct moeq_archive *a, const char *const *markers, size_t n_markers,
                                  const struct moeq_member **root, struct moeq_error *err)
{
    const struct moeq_member *other = NULL;
    *root = NULL;
    for (size_t i = 0; i < a->n_folder; i++) {
        const struct moeq_member *m = a->folder[i];
        bool marks = false;
        for (size_t j = 0; j < n_markers; j++)
            marks = marks || strcmp(m->plain, markers[j]) == 0;
        if (!marks)
            continue;
        if (!*root || depth(m->name) < depth((*root)->name)) {
            *root = m;
            other = NULL;
        } else if (depth(m->name) == depth((*root)->name) &&
                   !is_in(m, (*root)->name, (size_t)((*root)->plain - (*root)->name))) {
            other = m;
        }
    }
    if (!other)
        return MOEQ_OK;
    moeq_fail(err, MOEQ_DAMAGED, "it holds more than one model: \"%.150s\" and \"%.150s\"", (*root)->name,
              other->name);
    moeq_error_hint(err, "pack each model by itself");
    return MOEQ_DAMAGED;
}

static enum moeq_status choose_root(const struct moeq_archive *a, const struct moeq_member **root,
                                    struct moeq_error *err)
{
    static const char *const model[] = {"config.json", "manifest.json"};
    static const char *const part[] = {"model.safetensors.index.json", "model.safetensors", "tokenizer.json"};
    enum moeq_status status = find_root(a, model, sizeof model / sizeof *model, root, err);
    if (!status && !*root)
        status = find_root(a, part, sizeof part / sizeof *part, root, err);
    if (!status && !*root)
        status =
            moeq_fail(err, MOEQ_DAMAGED, "no model in the archive: neither config.json nor manifest.json");
    return status;
}

enum moeq_status moeq_archive_settle(struct moeq_archive *archive, struct moeq_error *err)
{
    const struct moeq_member *root;
    archive->folder = moeq_calloc(archive->n_members, sizeof(struct moeq_member *), err);
    if (!archive->folder)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < archive->n_members; i++)
        archive->folder[archive->n_folder++] = &archive->members[i];
    qsort(archive->folder, archive->n_folder, sizeof(struct moeq_member *), by_whole_name);
    for (size_t i = 1; i < archive->n_folder; i++)
        if (by_whole_name(&archive->folder[i - 1], &archive->folder[i]) == 0)
            return refuse(err, MOEQ_DAMAGED, archive->folder[i]->name, "it is there twice");
    enum moeq_status status = choose_root(archive, &root, err);
    if (status)
        return status;
    const size_t n_all = archive->n_folder, n_root = (size_t)(root->plain - root->name);
    archive->n_folder = 0;
    for (size_t i = 0; i < n_all; i++)
        if (is_in(archive->folder[i], root->name, n_root))
            archive->folder[archive->n_folder++] = archive->folder[i];
    return MOEQ_OK;
}
