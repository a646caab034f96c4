#include "pack.h"

#include "feed.h"
#include "interrupt.h"
#include "out.h"
#include "place.h"

#include <stdlib.h>
#include <sys/stat.h>

#define COPY_BYTES    (1u << 20)
#define TAR_BLOCK     512u
#define MAX_MANIFEST  ((size_t)1 << 30)
#define HEADERS_BYTES (4 * TAR_BLOCK) /* of a file, with a pax header */

/* One walk over all bytes of a package, each under its hash: into a tar, or nowhere to check what is there.
 */
struct walk {
    const struct moeq_package *package;
    struct archive *tar; /* NULL: only check */
    struct moeq_out *out;
    struct moeq_progress *progress;
    struct moeq_hasher *hasher;
    struct moeq_hash manifest; /* of the text that was walked over */
    uint8_t *buffer;           /* [COPY_BYTES] */
    struct moeq_error error;   /* of writing */
};

uint64_t moeq_pack_work(const struct moeq_package *package)
{
    uint64_t n = 0;
    for (size_t i = 0; i < package->n_files; i++)
        n += package->files[i].file.n_bytes;
    for (size_t i = 0; i < package->n_copies; i++)
        n += package->copies[i].n_bytes;
    return 2 * n;
}

/* ---- writing through libarchive ---- */

/* libarchive loses memory after a write that failed, so it never learns of one: `done` does. */
static la_ssize_t write_block(struct archive *tar, void *context, const void *data, size_t n)
{
    struct walk *w = context;
    (void)tar;
    if (!w->error.status)
        moeq_out_write(w->out, data, n, &w->error);
    return (la_ssize_t)n;
}

/* After a call of libarchive: whether it went well, and all that was written by it. */
static enum moeq_status done(const struct walk *w, bool good, struct moeq_error *err)
{
    if (w->error.status) {
        if (err && !err->status)
            *err = w->error;
        return w->error.status;
    }
    const char *why = good ? NULL : archive_error_string(w->tar);
    return good ? MOEQ_OK
                : moeq_fail(err, MOEQ_IO, "cannot write the tar: %s", why ? why : "libarchive failed");
}

static enum moeq_status begin_entry(struct walk *w, const char *name, uint64_t n_bytes,
                                    struct moeq_error *err)
{
    if (!w->tar)
        return MOEQ_OK;
    struct archive_entry *entry = archive_entry_new();
    if (!entry)
        return moeq_fail_alloc(err, 0);
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)n_bytes);
    archive_entry_set_mtime(entry, 0, 0);
    int result = archive_write_header(w->tar, entry);
    archive_entry_free(entry);
    return done(w, result == ARCHIVE_OK, err);
}

static enum moeq_status put(struct walk *w, const void *data, size_t n, struct moeq_error *err)
{
    if (!w->tar || !n)
        return MOEQ_OK;
    return done(w, archive_write_data(w->tar, data, n) == (la_ssize_t)n, err);
}

static enum moeq_status end_entry(struct walk *w, struct moeq_error *err)
{
    return w->tar ? done(w, archive_write_finish_entry(w->tar) == ARCHIVE_OK, err) : MOEQ_OK;
}

/* ---- the walk ---- */

static enum moeq_status walk_range(struct walk *w, const struct moeq_file *file, uint64_t offset,
                                   uint64_t n_bytes, struct moeq_hash hash, const char *what,
                                   struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (uint64_t done = 0; !status && done < n_bytes;) {
        size_t n = n_bytes - done < COPY_BYTES ? (size_t)(n_bytes - done) : COPY_BYTES;
        status = moeq_interrupt_check(err);
        if (!status)
            status = moeq_file_read(file, offset + done, w->buffer, n, err);
        if (!status)
            status = put(w, w->buffer, n, err);
        if (!status)
            moeq_hasher_update(w->hasher, w->buffer, n);
        moeq_progress_add(w->progress, n, NULL);
        done += n;
    }
    if (moeq_hash_equal(moeq_hasher_finish(w->hasher), hash) || status)
        return status;
    moeq_fail(err, MOEQ_DAMAGED, "the bytes of %s do not match their XXH3-128 in the manifest", what);
    moeq_error_in_file(err, file->path);
    moeq_error_at(err, offset);
    moeq_error_hint(err, "'moeq verify' lists all that is wrong");
    return MOEQ_DAMAGED;
}

static enum moeq_status walk_manifest(struct walk *w, struct moeq_error *err)
{
    struct moeq_bytes text = {0};
    enum moeq_status status =
        moeq_file_read_member(w->package->dir, MOEQ_MANIFEST_NAME, MAX_MANIFEST, &text, err);
    if (!status)
        status = begin_entry(w, MOEQ_MANIFEST_NAME, text.n_bytes, err);
    if (!status)
        status = put(w, text.data, text.n_bytes, err);
    if (!status)
        status = end_entry(w, err);
    if (!status)
        w->manifest = moeq_hash_bytes(text.data, text.n_bytes);
    moeq_bytes_free(&text);
    return status;
}

static enum moeq_status walk_copy(struct walk *w, const struct moeq_package_copy *copy,
                                  struct moeq_error *err)
{
    struct moeq_file file = {.fd = -1};
    char *path = moeq_path_join(w->package->dir, copy->name, err);
    enum moeq_status status = path ? moeq_file_open(&file, path, err) : MOEQ_OVER_MEMORY;
    if (!status && file.n_bytes != copy->n_bytes) {
        status = moeq_fail(err, MOEQ_DAMAGED, "%llu bytes, the manifest says %llu",
                           (unsigned long long)file.n_bytes, (unsigned long long)copy->n_bytes);
        moeq_error_in_file(err, path);
    }
    if (!status)
        status = begin_entry(w, copy->name, copy->n_bytes, err);
    if (!status)
        status = walk_range(w, &file, 0, copy->n_bytes, copy->hash, "the file", err);
    if (!status)
        status = end_entry(w, err);
    moeq_file_close(&file);
    free(path);
    return status;
}

/* Header, segments and list of hashes fill a layer file: the tensors tile it. */
static enum moeq_status walk_layer(struct walk *w, size_t index, size_t *segment, struct moeq_error *err)
{
    const struct moeq_package *p = w->package;
    const struct moeq_package_file *f = &p->files[index];
    const struct moeq_tensor *hashes = &f->st.tensors[f->st.n_tensors - 1];
    char what[300];
    enum moeq_status status = begin_entry(w, f->name, f->file.n_bytes, err);
    if (!status)
        status = walk_range(w, &f->file, 0, f->st.data_offset, f->head_hash, "the header", err);
    for (; !status && *segment < p->n_segments && p->segments[*segment].file == index; ++*segment) {
        const struct moeq_segment *s = &p->segments[*segment];
        snprintf(what, sizeof what, "segment %.200s", s->name);
        status = walk_range(w, &f->file, s->offset, s->n_bytes, s->hash, what, err);
    }
    if (!status)
        status = walk_range(w, &f->file, hashes->offset, hashes->n_bytes, f->hashes_hash,
                            "the list of hashes", err);
    return status ? status : end_entry(w, err);
}

static enum moeq_status walk_all(struct walk *w, struct moeq_error *err)
{
    size_t segment = 0;
    w->hasher = moeq_hasher_create(err);
    w->buffer = w->hasher ? malloc(COPY_BYTES) : NULL;
    enum moeq_status status = w->buffer ? walk_manifest(w, err) : moeq_fail_alloc(err, COPY_BYTES);
    for (size_t i = 0; !status && i < w->package->n_copies; i++)
        status = walk_copy(w, &w->package->copies[i], err);
    for (size_t i = 0; !status && i < w->package->n_files; i++)
        status = walk_layer(w, i, &segment, err);
    free(w->buffer);
    moeq_hasher_free(w->hasher);
    return status;
}

/* ---- the tar ---- */

static enum moeq_status write_tar(struct walk *w, struct moeq_error *err)
{
    w->tar = archive_write_new();
    if (!w->tar)
        return moeq_fail_alloc(err, 0);
    /* Blocks of 0 bytes: nothing is held back, nothing padded. */
    enum moeq_status status = done(w,
                                   archive_write_set_format_pax_restricted(w->tar) == ARCHIVE_OK &&
                                       archive_write_set_bytes_per_block(w->tar, 0) == ARCHIVE_OK &&
                                       archive_write_open(w->tar, w, NULL, write_block, NULL) == ARCHIVE_OK,
                                   err);
    if (!status)
        status = walk_all(w, err);
    if (!status)
        status = done(w, archive_write_close(w->tar) == ARCHIVE_OK, err);
    if (status && !w->error.status) /* freeing would write the end of the tar */
        w->error.status = status;
    archive_write_free(w->tar);
    return status;
}

/* The tar as a package, before it has its name. */
static enum moeq_status read_back(void *context, const char *path, struct moeq_error *err)
{
    const struct walk *written = context;
    struct moeq_place place;
    struct moeq_package package;
    enum moeq_status status = moeq_place_open(&place, path, err);
    if (status)
        return status;
    status = moeq_package_open(&package, place.path, err);
    if (!status) {
        struct walk w = {.package = &package, .progress = written->progress};
        status = walk_all(&w, err);
        if (!status && !moeq_hash_equal(w.manifest, written->manifest))
            status = moeq_fail(err, MOEQ_IO, "the tar does not read back as it was written");
        moeq_package_close(&package);
    }
    moeq_place_close(&place);
    return status;
}

static uint64_t bound(const struct moeq_package *package)
{
    uint64_t n_files = package->n_files + package->n_copies + 1;
    return moeq_pack_work(package) / 2 + n_files * (HEADERS_BYTES + TAR_BLOCK) + 2 * TAR_BLOCK;
}

static enum moeq_status check_out(const struct moeq_pack *pack, struct moeq_error *err)
{
    struct stat info;
    if (lstat(pack->out, &info) != 0)
        return MOEQ_OK;
    if (stat(pack->out, &info) == 0 && !S_ISREG(info.st_mode)) {
        moeq_fail(err, MOEQ_IO, "the output exists and is %s",
                  S_ISDIR(info.st_mode) ? "a folder" : "no regular file");
        moeq_error_hint(err, "give the name of a file, usually NAME.tar");
    } else if (!pack->force) {
        moeq_fail(err, MOEQ_IO, "the output exists");
        moeq_error_hint(err, "choose another output, or give --force to replace it");
    } else {
        return MOEQ_OK;
    }
    moeq_error_in_file(err, pack->out);
    return MOEQ_IO;
}

/* A file of the package must not be written over while it is read, nor may another lie among them. */
static enum moeq_status check_not_in_package(const struct moeq_pack *pack, const struct moeq_out_dir *dir,
                                             struct moeq_error *err)
{
    struct stat package, out;
    if (stat(pack->folder, &package) != 0 || fstat(dir->fd, &out) != 0 || package.st_dev != out.st_dev ||
        package.st_ino != out.st_ino)
        return MOEQ_OK;
    moeq_fail(err, MOEQ_USAGE, "the output would lie in the package itself");
    moeq_error_in_file(err, pack->out);
    moeq_error_hint(err, "choose another output");
    return MOEQ_USAGE;
}

static enum moeq_status write_out(const struct moeq_pack *pack, const struct moeq_out_dir *dir,
                                  const char *name, uint64_t *n_bytes, struct moeq_error *err)
{
    struct moeq_out out;
    struct walk w = {.package = pack->package, .out = &out, .progress = pack->progress};
    enum moeq_status status = moeq_out_create(&out, dir, name, bound(pack->package), err);
    if (!status)
        status = write_tar(&w, err);
    *n_bytes = out.n_written;
    if (!status)
        status = moeq_out_finish(&out, read_back, &w, err);
    moeq_out_abandon(&out);
    return status;
}

enum moeq_status moeq_pack_run(const struct moeq_pack *pack, struct moeq_pack_result *result,
                               struct moeq_error *err)
{
    struct moeq_out_dir dir;
    const char *name;
    *result = (struct moeq_pack_result){.n_files = pack->package->n_files + pack->package->n_copies + 1};
    enum moeq_status status = check_out(pack, err);
    if (!status)
        status = moeq_out_dir_of_file(&dir, pack->out, &name, err);
    if (status)
        return status;
    status = check_not_in_package(pack, &dir, err);
    locale_t before = moeq_feed_begin_utf8();
    if (!status)
        status = write_out(pack, &dir, name, &result->n_bytes, err);
    moeq_feed_end_utf8(before);
    moeq_out_dir_close(&dir);
    return status;
}
