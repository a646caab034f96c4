/* Archives that stand for folders: while PATH is mounted, file.h finds PATH/NAME in it.
 *
 * The table is the process's. A path that is mounted twice is scanned once and stays until it is unmounted
 * twice. Files in it are closed before that. */
#ifndef MOEQ_MOUNT_H
#define MOEQ_MOUNT_H

#include "archives.h"

/* Opens the archive at `path`, see archives.h for what can be wrong with it. On failure nothing to unmount.
 */
enum moeq_status moeq_mount(const char *path, struct moeq_error *err);
void moeq_unmount(const char *path);

/* The archive that `path` leads into, with the name inside ("" for the archive itself, borrowed from `path`)
 * in *name; NULL where the path leads into none. */
struct moeq_archive *moeq_mounted(const char *path, const char **name);

/* The place of a file among those that its archive decompresses, from 1 on in the order in which they lie
 * there; 0 where its bytes lie somewhere as they are, or nowhere. */
uint64_t moeq_mounted_place(const char *path);

#endif
