/* A package as one file: an uncompressed tar that every verb reads like the folder.
 *
 * The manifest comes first, then the copied files and the layer files in its order: who reads the tar as a
 * stream knows every hash before the bytes come. Data lie at multiples of 512. Names have no folder; time and
 * owner are 0, mode is 0644: the bytes follow from the package alone. Headers are ustar, with a pax header in
 * front where a size is 8 GiB or more or a name does not fit. */
#ifndef MOEQ_PACK_H
#define MOEQ_PACK_H

#include "package.h"
#include "progress.h"

struct moeq_pack {
    const struct moeq_package *package;
    const char *folder;             /* or archive, that it lies in */
    const char *out;                /* the tar */
    bool force;                     /* replace what is there */
    struct moeq_progress *progress; /* counts the package's bytes twice: written, read back */
};

struct moeq_pack_result {
    uint64_t n_bytes; /* of the tar */
    size_t n_files;
};

/* Copies every byte under its hash, reads the tar back as a package, again under every hash, and only then
 * gives it its name. A hash that does not match is MOEQ_DAMAGED, an output that exists MOEQ_IO; then what was
 * there stays as it was. */
enum moeq_status moeq_pack_run(const struct moeq_pack *pack, struct moeq_pack_result *result,
                               struct moeq_error *err);

/* Bytes that the progress counts. */
uint64_t moeq_pack_work(const struct moeq_package *package);

#endif
