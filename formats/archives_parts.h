/* What the files archives*.c share; for nobody else. */
#ifndef MOEQ_ARCHIVES_PARTS_H
#define MOEQ_ARCHIVES_PARTS_H

#include "archives.h"
#include "feed.h"

#include <pthread.h>

enum moeq_archive_kind { MOEQ_ARCHIVE_TAR, MOEQ_ARCHIVE_TAR_GZ, MOEQ_ARCHIVE_TAR_ZST, MOEQ_ARCHIVE_ZIP };

#define MOEQ_ARCHIVE_MAX_MEMBERS 100000

#define MOEQ_ARCHIVE_RATIO 200            /* members together, as a multiple of the archive */
#define MOEQ_ARCHIVE_FREE  (256ull << 20) /* below this, any ratio */

struct moeq_member {
    char *name;              /* in the archive, without "./"; owned */
    const char *plain;       /* the last part of it */
    uint64_t offset;         /* of its bytes in the stream; 0 in a compressed zip member's own */
    uint64_t n_bytes;        /* stated by the archive */
    size_t index;            /* of its header: how zip finds it again */
    bool in_place;           /* the stream is the archive's file */
    struct moeq_bytes first; /* of a streamed member: its first bytes, or all */
    /* under the lock: */
    uint8_t *loaded; /* [n_bytes], or NULL */
    unsigned n_users;
    uint64_t last_use;
};

struct moeq_archive {
    struct moeq_file file;
    enum moeq_archive_kind kind;
    struct moeq_member *members; /* as they lie in the archive */
    size_t n_members, capacity;
    struct moeq_member **folder; /* [n_folder]: those of the root folder, by name */
    size_t n_folder;
    uint64_t budget;   /* bytes of memory for members */
    uint64_t n_stated; /* bytes of all members together */
    uint64_t n_first;  /* bytes of all `first` */
    /* under the lock: */
    uint64_t n_loaded, n_uses, n_decompressed;
    struct moeq_stream *stream; /* of a compressed tar, or NULL */
    pthread_mutex_t lock;
    pthread_cond_t released;
};

/* Fills members and folder. */
enum moeq_status moeq_archive_scan(struct moeq_archive *archive, struct moeq_error *err);

/* MOEQ_DAMAGED where the entries that a zip's directory names overlap, or where it is none. */
enum moeq_status moeq_archive_check_zip(const struct moeq_archive *archive, struct moeq_error *err);

enum moeq_status moeq_archive_too_many(struct moeq_error *err); /* members */

/* The folder of the archive that is the root, and the names in it. */
enum moeq_status moeq_archive_settle(struct moeq_archive *archive, struct moeq_error *err);

/* The decompressed tar from its start; NULL and *err set on failure. */
struct moeq_stream *moeq_archive_stream(const struct moeq_archive *archive, struct moeq_error *err);

/* A member of a zip, decompressed; libarchive checks its CRC at the end. */
struct moeq_stream *moeq_archive_zip_stream(const struct moeq_archive *archive,
                                            const struct moeq_member *member, struct moeq_error *err);

bool moeq_archive_is_weights(const struct moeq_member *member);

#endif
