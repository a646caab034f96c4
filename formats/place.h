/* Where a verb's SRC leads: what a user writes, turned into the path of a folder.
 *
 * A folder is taken as it is; an entry of the Hugging Face cache (formats/hub.h) leads to its snapshot; an
 * archive is mounted (formats/mount.h) while the place is open, so that its path does for a folder's. All of
 * that is resolved here and nowhere else, so that every verb understands the same. */
#ifndef MOEQ_PLACE_H
#define MOEQ_PLACE_H

#include "status.h"

struct moeq_place {
    char *path;      /* of the folder; owned */
    bool is_mounted; /* it is an archive, see mount.h */
};

/* MOEQ_IO where `src` leads to nothing that can be a folder of weights. On failure nothing to close. */
enum moeq_status moeq_place_open(struct moeq_place *place, const char *src, struct moeq_error *err);
void moeq_place_close(struct moeq_place *place);

#endif
