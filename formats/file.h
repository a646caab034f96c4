/* Reading files: whole, or at an offset, with every shortfall reported. Inputs are opened read-only and never
 * changed. A path into an archive that is mounted (mount.h) is read like any other. */
#ifndef MOEQ_FILE_H
#define MOEQ_FILE_H

#include "bytes.h"
#include "status.h"

struct moeq_archive;
struct moeq_member;

struct moeq_file {
    int fd;                       /* -1 while closed, and of a file in an archive */
    uint64_t n_bytes;             /* size when opened */
    char *path;                   /* owned */
    struct moeq_archive *archive; /* that it lies in, or NULL; borrowed from mount.h */
    struct moeq_member *member;   /* of that archive */
};

/* Opens a regular file for reading. A missing file and a directory are MOEQ_IO. */
enum moeq_status moeq_file_open(struct moeq_file *file, const char *path, struct moeq_error *err);
void moeq_file_close(struct moeq_file *file);

/* Reads exactly n bytes at `offset`; a file that ends earlier is MOEQ_DAMAGED. Safe from several threads. */
enum moeq_status moeq_file_read(const struct moeq_file *file, uint64_t offset, void *dst, size_t n,
                                struct moeq_error *err);

enum moeq_file_advice {
    MOEQ_FILE_SOON, /* these bytes will be read */
    MOEQ_FILE_DONE  /* and these not again */
};

/* A hint to the system; nothing depends on it, and there is none for files in archives. */
void moeq_file_advise(const struct moeq_file *file, uint64_t offset, uint64_t n_bytes,
                      enum moeq_file_advice advice);

/* Reads a whole file of at most max_bytes (more is MOEQ_DAMAGED) into *out; a NUL stands behind its bytes. */
enum moeq_status moeq_file_read_all(const char *path, size_t max_bytes, struct moeq_bytes *out,
                                    struct moeq_error *err);

/* The same for a file that a folder must have: where it is missing, that is MOEQ_DAMAGED, with a hint. */
enum moeq_status moeq_file_read_member(const char *dir, const char *name, size_t max_bytes,
                                       struct moeq_bytes *out, struct moeq_error *err);

/* Calls `visit` with the name of everything in a folder, in no order; stops where it fails. */
typedef enum moeq_status moeq_folder_visit(void *context, const char *name, struct moeq_error *err);
enum moeq_status moeq_folder_list(const char *dir, moeq_folder_visit *visit, void *context,
                                  struct moeq_error *err);

/* The last part of a path, as it stands in it. */
const char *moeq_path_name(const char *path);

/* "dir/name" on the heap; NULL and *err set where memory is out. */
char *moeq_path_join(const char *dir, const char *name, struct moeq_error *err);

/* Whether something is there: for outputs, where a link that leads nowhere is something, and for inputs,
 * where it is not. */
bool moeq_path_exists(const char *path);
bool moeq_path_leads_to_file(const char *path);
bool moeq_path_is_dir(const char *path);

/* Whether both are called the same, or are there and are the same. */
bool moeq_path_is_same(const char *a, const char *b);

/* True for a name that stays in its folder: not empty, no slash, no control character, not "." or "..". Names
 * that come out of a file are turned into paths only after this. */
bool moeq_name_is_plain(const char *name);

/* The same for a path of several such names with '/' between them: relative, and never out of its folder. */
bool moeq_path_stays_inside(const char *path);

#endif
