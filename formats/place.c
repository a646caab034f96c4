#include "place.h"

#include "file.h"
#include "hub.h"
#include "mount.h"

#include <stdlib.h>

/* An archive that is mounted already looks like a folder, and is counted once more. */
static enum moeq_status mount(struct moeq_place *place, const char *src, struct moeq_error *err)
{
    const char *name;
    if (moeq_path_is_dir(src) && !moeq_mounted(src, &name))
        return MOEQ_OK;
    if (!moeq_path_exists(src)) {
        moeq_fail(err, MOEQ_IO, "no such folder");
        moeq_error_in_file(err, src);
        moeq_error_hint(err, "give the folder of a downloaded checkpoint, or a finished .moeq package");
        return MOEQ_IO;
    }
    enum moeq_status status = moeq_mount(src, err);
    place->is_mounted = !status;
    return status;
}

enum moeq_status moeq_place_open(struct moeq_place *place, const char *src, struct moeq_error *err)
{
    *place = (struct moeq_place){0};
    enum moeq_status status = moeq_hub_locate(src, &place->path, err);
    if (status || place->path)
        return status;
    status = mount(place, src, err);
    if (!status && !(place->path = moeq_strdup(src, err))) {
        status = MOEQ_OVER_MEMORY;
        if (place->is_mounted)
            moeq_unmount(src);
        place->is_mounted = false;
    }
    return status;
}

void moeq_place_close(struct moeq_place *place)
{
    if (place->is_mounted)
        moeq_unmount(place->path);
    free(place->path);
    *place = (struct moeq_place){0};
}
