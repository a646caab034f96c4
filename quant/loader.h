/* Weights that are loaded while others are computed with: a thread of its own reads, and checks hashes, into
 * a ring of memory.
 *
 * Requests are asked for in the order in which they will be needed, got in that order, each waited for where
 * it is not there yet, and released in that order. The thread loads as far ahead as the ring has room. */
#ifndef MOEQ_LOADER_H
#define MOEQ_LOADER_H

#include "source.h"

#define MOEQ_MAX_LOADED 8 /* weights of one request */

struct moeq_loader;

/* Borrows the source. The ring has n_bytes; a request that is larger than it is MOEQ_BUG. Where there is no
 * thread to be had, everything is loaded when it is got; so it is where files of the source must be
 * decompressed, since two threads would drive an archive back and forth. */
struct moeq_loader *moeq_loader_create(const struct moeq_source *source, uint64_t n_bytes,
                                       struct moeq_error *err);
void moeq_loader_free(struct moeq_loader *loader); /* NULL allowed */

/* Adds a request, to be got after all others. */
enum moeq_status moeq_loader_ask(struct moeq_loader *loader, const struct moeq_weight *const *weights,
                                 size_t n, struct moeq_error *err);

/* Gives the request that was asked for longest ago and not yet got. Its n matrices live until it is released.
 * For one thread, the one that asks. */
enum moeq_status moeq_loader_get(struct moeq_loader *loader, struct moeq_matrix *matrices, size_t n,
                                 struct moeq_error *err);

/* Releases the request that was got longest ago. */
void moeq_loader_release(struct moeq_loader *loader);

/* Bytes of a ring that holds several requests at once, of which the largest has `largest` and all together
 * `total` bytes: some may be lost where the ring ends. */
static inline uint64_t moeq_loader_ring(uint64_t total, uint64_t largest)
{
    return total + largest;
}

/* Drops all requests and gives the memory back, once nothing is being loaded; asking takes it anew. */
void moeq_loader_rest(struct moeq_loader *loader); /* NULL allowed */

/* Packed bytes that were loaded so far, got or not. Not while something is being loaded. */
uint64_t moeq_loader_bytes(const struct moeq_loader *loader);

#endif
