#include "place.h"

#include "file.h"
#include "hub.h"

#include <stdlib.h>

enum moeq_status moeq_place_open(struct moeq_place *place, const char *src, struct moeq_error *err)
{
    *place = (struct moeq_place){0};
    enum moeq_status status = moeq_hub_locate(src, &place->path, err);
    if (status || place->path)
        return status;
    if (!moeq_path_is_dir(src)) {
        moeq_fail(err, MOEQ_IO, moeq_path_exists(src) ? "not a folder" : "no such folder");
        moeq_error_in_file(err, src);
        moeq_error_hint(err, "give the folder of a downloaded checkpoint, or a finished .moeq package");
        return MOEQ_IO;
    }
    place->path = moeq_strdup(src, err);
    return place->path ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

void moeq_place_close(struct moeq_place *place)
{
    free(place->path);
    *place = (struct moeq_place){0};
}
