/* Many files, or parts of files, on a pool, each read once.
 *
 * Those that must be decompressed are one piece of work, in the order in which they lie in their archive: in
 * any other order, or by several threads, the archive would be decompressed again and again, how often being
 * left to chance. The others are a piece each, the largest first. */
#ifndef MOEQ_TURNS_H
#define MOEQ_TURNS_H

#include "pool.h"

#include <stdint.h>

struct moeq_turn {
    size_t file;    /* the caller's number of it */
    uint64_t place; /* in its archive; 0: not to be decompressed */
    uint64_t n_bytes;
};

/* Zero it to begin with. */
struct moeq_turns {
    struct moeq_turn *items; /* [n]; owned */
    size_t n, capacity;
};

/* What is done with a file, on a worker as in pool.h. `is_last`: fewer files than workers are left. */
typedef enum moeq_status moeq_turn_visit(void *context, unsigned worker, size_t file, bool is_last,
                                         struct moeq_error *err);

/* `path` is where it lies; of things in one file those with more bytes, then lower numbers, come first. */
enum moeq_status moeq_turns_add(struct moeq_turns *turns, size_t file, const char *path, uint64_t n_bytes,
                                struct moeq_error *err);

/* Sorts them and visits each; fails as moeq_pool_for does. */
enum moeq_status moeq_turns_run(struct moeq_turns *turns, struct moeq_pool *pool, moeq_turn_visit *visit,
                                void *context, struct moeq_error *err);
void moeq_turns_free(struct moeq_turns *turns);

#endif
