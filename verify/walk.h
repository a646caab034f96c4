/* All files below a folder. */
#ifndef MOEQ_WALK_H
#define MOEQ_WALK_H

#include "status.h"

/* Sees an entry that is no folder, or one that cannot be opened or looked at: its path below the walked
 * folder, its full path, and "" or what the system says against it. */
typedef enum moeq_status moeq_walk_visit(void *context, const char *path, const char *full,
                                         const char *problem, struct moeq_error *err);

/* Visits in no particular order, down to 8 folders deep; hidden folders and links to folders are left out.
 * MOEQ_IO where the folder itself cannot be opened. */
enum moeq_status moeq_walk(const char *folder, moeq_walk_visit *visit, void *context, struct moeq_error *err);

#endif
