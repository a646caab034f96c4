#include "pool.h"

#include "bytes.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

/* One call of moeq_pool_for; it lives on the caller's stack. */
struct run {
    moeq_pool_piece *piece;
    void *context;
    uint64_t n_items, grain, n_pieces;
    _Atomic uint64_t next;   /* the piece that is handed out next */
    _Atomic uint64_t failed; /* the lowest piece that failed, UINT64_MAX for none; written under `lock` */
    pthread_mutex_t *lock;   /* of the pool */
    enum moeq_status status; /* of the piece `failed`, under `lock` */
    struct moeq_error error;
};

struct worker {
    struct moeq_pool *pool;
    unsigned index; /* 1 … jobs-1; the caller is worker 0 */
    pthread_t thread;
};

struct moeq_pool {
    unsigned n_jobs;
    unsigned n_threads; /* started, at most n_jobs - 1 */
    pthread_mutex_t lock;
    pthread_cond_t work; /* a run has begun, or the end has */
    pthread_cond_t idle; /* n_busy has become 0 */
    struct run *run;     /* NULL while nobody may join one */
    uint64_t n_runs;     /* names a run, so that no worker joins the same one twice */
    unsigned n_busy;     /* threads inside `run` */
    bool ending;
    struct worker workers[];
};

/* --- one run --- */

static void record_failure(struct run *run, uint64_t piece, enum moeq_status status,
                           const struct moeq_error *err)
{
    pthread_mutex_lock(run->lock);
    if (piece < atomic_load_explicit(&run->failed, memory_order_relaxed)) {
        run->status = status;
        run->error = *err;
        atomic_store_explicit(&run->failed, piece, memory_order_relaxed);
    }
    pthread_mutex_unlock(run->lock);
}

/* Takes pieces in ascending order until none is left. A piece is skipped only where a lower one has failed,
 * and `failed` is never below the lowest piece that fails; so that one always runs, as does every piece
 * before it, and its error does not depend on the order in which threads happen to finish. */
static void run_pieces(struct run *run, unsigned worker)
{
    for (;;) {
        uint64_t piece = atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
        if (piece >= run->n_pieces || piece > atomic_load_explicit(&run->failed, memory_order_relaxed))
            return;
        uint64_t begin = piece * run->grain; /* below n_items, as piece is below ceil(n_items / grain) */
        uint64_t n_left = run->n_items - begin;
        uint64_t end = begin + (n_left < run->grain ? n_left : run->grain);
        struct moeq_error err = {.status = MOEQ_OK};
        enum moeq_status status = run->piece(run->context, worker, begin, end, &err);
        if (status)
            record_failure(run, piece, status, &err);
    }
}

/* --- threads --- */

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct moeq_pool *pool = worker->pool;
    uint64_t last_run = 0;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->ending && (!pool->run || pool->n_runs == last_run))
            pthread_cond_wait(&pool->work, &pool->lock);
        if (pool->ending)
            break;
        struct run *run = pool->run;
        last_run = pool->n_runs;
        pool->n_busy++;
        pthread_mutex_unlock(&pool->lock);
        run_pieces(run, worker->index);
        pthread_mutex_lock(&pool->lock);
        if (--pool->n_busy == 0)
            pthread_cond_signal(&pool->idle);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

int moeq_thread_start(pthread_t *thread, void *(*main_of_it)(void *), void *context)
{
    sigset_t ending, before;
    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGHUP);
    sigaddset(&ending, SIGQUIT);
    pthread_sigmask(SIG_BLOCK, &ending, &before);
    int error_number = pthread_create(thread, NULL, main_of_it, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error_number;
}

struct moeq_pool *moeq_pool_create(unsigned n_jobs, struct moeq_error *err)
{
    if (n_jobs < 1 || n_jobs > MOEQ_POOL_MAX_JOBS) {
        moeq_fail(err, MOEQ_BUG, "a pool of %u jobs: 1 to %d are possible", n_jobs, MOEQ_POOL_MAX_JOBS);
        return NULL;
    }
    struct moeq_pool *pool = moeq_calloc(1, sizeof *pool + (n_jobs - 1) * sizeof *pool->workers, err);
    if (!pool)
        return NULL;
    pool->n_jobs = n_jobs;
    pthread_mutex_init(&pool->lock, NULL); /* none of the three can fail on Linux */
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->idle, NULL);
    while (pool->n_threads < n_jobs - 1) {
        struct worker *worker = &pool->workers[pool->n_threads];
        worker->pool = pool;
        worker->index = pool->n_threads + 1;
        int error_number = moeq_thread_start(&worker->thread, worker_main, worker);
        if (error_number) {
            moeq_fail_errno(err, error_number, "cannot start thread %u of %u", worker->index, n_jobs - 1);
            moeq_error_hint(err, "try fewer jobs");
            moeq_pool_join(pool);
            return NULL;
        }
        pool->n_threads++;
    }
    return pool;
}

void moeq_pool_join(struct moeq_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->n_threads; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->idle);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

unsigned moeq_pool_jobs(const struct moeq_pool *pool)
{
    return pool->n_jobs;
}

/* --- the operation --- */

/* Threads that wake up too late find no run and sleep on; only those that joined are waited for. */
static void run_on_all(struct moeq_pool *pool, struct run *run)
{
    pthread_mutex_lock(&pool->lock);
    assert(!pool->run && "moeq_pool_for inside a piece, or from two threads at once");
    pool->run = run;
    pool->n_runs++;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    run_pieces(run, 0);
    pthread_mutex_lock(&pool->lock);
    pool->run = NULL;
    while (pool->n_busy)
        pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

enum moeq_status moeq_pool_for(struct moeq_pool *pool, uint64_t n_items, uint64_t grain,
                               moeq_pool_piece *piece, void *context, struct moeq_error *err)
{
    assert(grain > 0);
    struct run run = {
        .piece = piece, .context = context, .n_items = n_items, .grain = grain, .lock = &pool->lock};
    run.n_pieces = moeq_div_up(n_items, grain);
    atomic_init(&run.next, 0);
    atomic_init(&run.failed, UINT64_MAX);
    if (pool->n_threads && run.n_pieces > 1)
        run_on_all(pool, &run);
    else
        run_pieces(&run, 0);
    if (run.status && err && err->status == MOEQ_OK) {
        *err = run.error;
        if (!err->status) /* the piece did not say why */
            moeq_fail(err, run.status, "item %llu failed",
                      (unsigned long long)(atomic_load_explicit(&run.failed, memory_order_relaxed) * grain));
    }
    return run.status;
}
