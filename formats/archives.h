/* A tar or zip that holds a checkpoint or a package, read like a folder and never unpacked to disk.
 *
 * Kinds: .tar, .tar.gz, .tar.zst and .zip, told by their bytes, not by their names. Opening goes through the
 * whole archive once: the headers of a tar or zip, all bytes of a compressed tar, whose CRC is thereby
 * checked. The folder in it that holds manifest.json or config.json, nearest to the top, is what is read;
 * names are those of the files that lie in it.
 *
 * A member whose bytes lie in the archive as they are is read in place. Of one that is compressed, opening
 * keeps the whole, if it is small, or of .safetensors the header; anything else makes it be decompressed as a
 * whole into memory, under a budget of a quarter of the machine's memory, or of MOEQ_ARCHIVE_MEMORY bytes
 * from the environment. A member that is larger than the budget, and reads in an order that would decompress
 * everything more than 8 times, are MOEQ_UNSUPPORTED.
 *
 * Hostile archives are MOEQ_DAMAGED: absolute names, "..", links, devices, control characters, a name twice,
 * members that overlap, sizes that no weights have, more than 100000 members, an archive that is cut off or
 * has something behind its end. Encrypted or sparse members, and other compressions, are MOEQ_UNSUPPORTED. */
#ifndef MOEQ_ARCHIVES_H
#define MOEQ_ARCHIVES_H

#include "file.h"

struct moeq_archive;
struct moeq_member;

/* A file that is no archive at all is MOEQ_IO. */
enum moeq_status moeq_archive_open(struct moeq_archive **archive, const char *path, struct moeq_error *err);
void moeq_archive_close(struct moeq_archive *archive); /* NULL allowed */

/* The member of that name in the folder; NULL where there is none. Lives as long as the archive. */
struct moeq_member *moeq_archive_find(const struct moeq_archive *archive, const char *name);

/* The i-th name of the folder, sorted; NULL behind the last. */
const char *moeq_archive_name(const struct moeq_archive *archive, size_t i);

uint64_t moeq_member_bytes(const struct moeq_member *member);

/* True where reading decompresses: then one member after the other, by their place, is the order to read in.
 */
bool moeq_member_is_streamed(const struct moeq_member *member);

/* Where it lies: of two members, the one with the lower place comes first. */
uint64_t moeq_member_place(const struct moeq_member *member);

/* Reads n bytes at `offset` of a member; beyond its end is MOEQ_DAMAGED. Safe from several threads. */
enum moeq_status moeq_archive_read(struct moeq_archive *archive, struct moeq_member *member, uint64_t offset,
                                   void *dst, size_t n, struct moeq_error *err);

#endif
