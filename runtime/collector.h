/* The second moments of one text's inputs at one layer, matrix by matrix into one file. */
#ifndef MOEQ_COLLECTOR_H
#define MOEQ_COLLECTOR_H

#include "hessian.h"
#include "layer.h"
#include "out.h"

struct moeq_collector;

/* Begins the file `name` in `dir`; `identity` is written into its metadata. Borrows all but the texts. */
struct moeq_collector *moeq_collector_create(const struct moeq_config *config, struct moeq_pool *pool,
                                             const struct moeq_out_dir *dir, const char *name,
                                             const char *identity, struct moeq_error *err);

/* Adds inputs, as an observer sees them, of tokens of this text alone. */
enum moeq_status moeq_collector_add(struct moeq_collector *collector, const struct moeq_inputs *inputs,
                                    struct moeq_error *err);

/* Writes what has been summed so far: no more inputs of these matrices will come. */
enum moeq_status moeq_collector_flush(struct moeq_collector *collector, struct moeq_error *err);

/* Writes what is still open, and the header; the file is then there under its name. */
enum moeq_status moeq_collector_finish(struct moeq_collector *collector, struct moeq_error *err);
void moeq_collector_free(struct moeq_collector *collector); /* NULL allowed; without finishing, no file */

/* Bytes that it holds at most, beyond its counts. */
uint64_t moeq_collector_bytes(const struct moeq_config *config);

#endif
