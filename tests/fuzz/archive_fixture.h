/* Archives that tests make at run time, through libarchive's writer: good ones of every kind, and entries
 * that no honest archive has. Sizes, links and names are written as they are asked for. */
#ifndef MOEQ_ARCHIVE_FIXTURE_H
#define MOEQ_ARCHIVE_FIXTURE_H

#include "fixture.h"

#include <archive.h>
#include <archive_entry.h>

static const char *const fixture_archive_kinds[] = {"tar", "tar.gz", "tar.zst", "zip", "zip0", "zip64"};

#define FIXTURE_N_ARCHIVE_KINDS (sizeof fixture_archive_kinds / sizeof *fixture_archive_kinds)

/* KIND: one of the above (zip0: stored; zip64: stored, with 64-bit sizes), or zip-encrypted. */
static inline struct archive *fixture_archive_create(const char *path, const char *kind)
{
    struct archive *a = archive_write_new();
    fixture_need(a != NULL, "memory");
    bool is_zip = strncmp(kind, "zip", 3) == 0;
    if (is_zip)
        archive_write_set_format_zip(a);
    else
        archive_write_set_format_pax_restricted(a);
    if (strcmp(kind, "tar.gz") == 0)
        fixture_need(archive_write_add_filter_gzip(a) == ARCHIVE_OK &&
                         archive_write_set_options(a, "gzip:!timestamp") == ARCHIVE_OK,
                     "gzip");
    if (strcmp(kind, "tar.zst") == 0)
        fixture_need(archive_write_add_filter_zstd(a) == ARCHIVE_OK, "zstd");
    if (strcmp(kind, "zip0") == 0)
        fixture_need(archive_write_set_options(a, "zip:compression=store") == ARCHIVE_OK, "zip");
    if (strcmp(kind, "zip64") == 0)
        fixture_need(archive_write_set_options(a, "zip:compression=store,zip:zip64") == ARCHIVE_OK, "zip64");
    if (strcmp(kind, "zip-encrypted") == 0)
        fixture_need(archive_write_set_options(a, "zip:encryption=zipcrypt") == ARCHIVE_OK &&
                         archive_write_set_passphrase(a, "secret") == ARCHIVE_OK,
                     "zip encryption");
    if (archive_write_open_filename(a, path) != ARCHIVE_OK) {
        fprintf(stderr, "%s\n", archive_error_string(a));
        exit(2);
    }
    return a;
}

static inline void fixture_archive_close(struct archive *a)
{
    fixture_need(archive_write_close(a) == ARCHIVE_OK, "archive");
    archive_write_free(a);
}

/* An entry of any type: AE_IFREG with data, AE_IFLNK to `target`, 0 for a hard link to it, … */
static inline void fixture_archive_entry(struct archive *a, const char *name, unsigned type,
                                         const char *target, const void *data, size_t n)
{
    struct archive_entry *entry = archive_entry_new();
    fixture_need(entry != NULL, "memory");
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, type ? type : AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_mtime(entry, 0, 0);
    archive_entry_set_size(entry, (la_int64_t)n);
    if (target && type == AE_IFLNK)
        archive_entry_set_symlink(entry, target);
    else if (target)
        archive_entry_set_hardlink(entry, target);
    fixture_need(archive_write_header(a, entry) >= ARCHIVE_WARN, name);
    fixture_need(!n || archive_write_data(a, data, n) == (la_ssize_t)n, name);
    archive_entry_free(entry);
}

static inline void fixture_archive_add(struct archive *a, const char *name, const void *data, size_t n)
{
    fixture_archive_entry(a, name, AE_IFREG, NULL, data, n);
}

#endif
