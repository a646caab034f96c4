/* A fixed set of worker threads and one operation: run a function over a range.
 *
 * The range is cut into pieces of `grain` items. The cut depends on the size of the problem only, never on
 * the number of threads, so a piece that computes its result from its own items gives the same bits for any
 * --jobs. Which thread takes which piece is not defined. */
#ifndef MOEQ_POOL_H
#define MOEQ_POOL_H

#include "status.h"

#include <pthread.h>

struct moeq_pool;

/* The most jobs of a pool: the bound of --jobs, and of its default where the machine has more CPUs. */
#define MOEQ_POOL_MAX_JOBS 1024

/* Starts n_jobs - 1 threads (the caller is the other one). n_jobs is 1 to MOEQ_POOL_MAX_JOBS. NULL and *err
 * set on failure. The threads leave SIGINT, SIGTERM, SIGHUP and SIGQUIT to the others. */
struct moeq_pool *moeq_pool_create(unsigned n_jobs, struct moeq_error *err);
void moeq_pool_join(struct moeq_pool *pool); /* NULL allowed */
unsigned moeq_pool_jobs(const struct moeq_pool *pool);

/* One piece [begin, end) on worker `worker` (0 … jobs-1; no two pieces run on one worker at once, so a
 * worker's index can pick its scratch memory). *err is the piece's own. A status other than MOEQ_OK stops the
 * handing out of further pieces. */
typedef enum moeq_status moeq_pool_piece(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                         struct moeq_error *err);

/* Runs `piece` over [0, n_items) in pieces of `grain` > 0 items and returns when all are done. Of several
 * failures the one of the lowest piece is reported, whatever the number of threads. Not to be called from
 * inside a piece, nor from two threads at once. */
enum moeq_status moeq_pool_for(struct moeq_pool *pool, uint64_t n_items, uint64_t grain,
                               moeq_pool_piece *piece, void *context, struct moeq_error *err);

/* Starts a thread that leaves the signals which end a program to the others, so that a handler, and system
 * calls that a signal interrupts, can be relied on. Returns an errno, 0 where it runs: join it. */
int moeq_thread_start(pthread_t *thread, void *(*main_of_it)(void *), void *context);

/* CPUs that this process may use: the affinity mask, bounded by the CPU quota of its cgroup (v1 and v2), at
 * least 1. May be more than MOEQ_POOL_MAX_JOBS. */
unsigned moeq_cpus_available(void);

#endif
