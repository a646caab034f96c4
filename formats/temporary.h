/* Temporary files that have no name, so that nothing is left of them however the process ends. */
#ifndef MOEQ_TEMPORARY_H
#define MOEQ_TEMPORARY_H

#include "status.h"

/* $TMPDIR, or /var/tmp: a folder that is usually on a disk. */
const char *moeq_temporary_folder(void);

/* A file in that folder, empty, open for reading and writing; -1 and errno where there can be none. The
 * caller closes it. */
int moeq_temporary_open(void);

/* Says that something about such a file failed with an errno, and what to do: TMPDIR, or `otherwise`. Returns
 * MOEQ_IO. */
enum moeq_status moeq_temporary_fail(const char *what, int error_number, const char *otherwise,
                                     struct moeq_error *err);

#endif
