/* Weights that are loaded while others are computed with: a thread of its own reads, and checks hashes, into
 * a second buffer.
 *
 * moeq_loader_ask names what will be needed next, moeq_loader_get gives it, waiting where it is not there
 * yet. What was not asked for, or something else than was asked for, is loaded at once: asking is never
 * needed for the result. */
#ifndef MOEQ_LOADER_H
#define MOEQ_LOADER_H

#include "source.h"

#define MOEQ_MAX_LOADED 8 /* weights of one request */

struct moeq_loader;

/* Borrows the source. Where there is no thread to be had, everything is loaded when it is needed; so it is
 * where files of the source must be decompressed, since two threads would drive an archive back and forth. */
struct moeq_loader *moeq_loader_create(const struct moeq_source *source, struct moeq_error *err);
void moeq_loader_free(struct moeq_loader *loader); /* NULL allowed */

/* At most one request at a time; others are ignored. A NULL among the weights is none. */
void moeq_loader_ask(struct moeq_loader *loader, const struct moeq_weight *const *weights, size_t n);

/* As moeq_source_load. The matrices live until the next call. One thread at a time. */
enum moeq_status moeq_loader_get(struct moeq_loader *loader, const struct moeq_weight *const *weights,
                                 size_t n, struct moeq_matrix *matrices, struct moeq_error *err);

/* Releases the buffers; a request that was asked for is waited for and dropped. */
void moeq_loader_rest(struct moeq_loader *loader); /* NULL allowed */

/* Packed bytes that were loaded so far, needed or not. Not while a request is being loaded. */
uint64_t moeq_loader_bytes(const struct moeq_loader *loader);

#endif
