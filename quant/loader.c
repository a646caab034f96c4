#include "loader.h"

#include "memory.h"
#include "pool.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct request {
    const struct moeq_weight *weights[MOEQ_MAX_LOADED];
    size_t n;
    uint64_t n_bytes, at; /* its place in the ring */
    bool is_loaded;
    struct moeq_matrix matrices[MOEQ_MAX_LOADED];
    enum moeq_status status;
    struct moeq_error error;
};

/* Requests are numbered as they are asked for; released <= got <= loaded <= asked. One that could not be
 * loaded counts as loaded, with its error. */
struct moeq_loader {
    const struct moeq_source *source;
    pthread_t thread;
    bool has_thread, forgets;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool ending, is_loading;
    struct request *requests; /* [capacity]: request i is at i % capacity */
    size_t capacity;
    uint64_t released, got, loaded, asked;
    uint64_t n_ring;
    struct moeq_bytes ring;
    uint64_t n_bytes; /* written by who loads */
};

static struct request *request_at(const struct moeq_loader *l, uint64_t i)
{
    return &l->requests[i % l->capacity];
}

/* ---- the ring ---- */

/* Finds room for the next request: behind the last one that is loaded, or from the start. What is in use
 * reaches from the oldest request that is not released to the newest that is loaded. */
static bool find_room(const struct moeq_loader *l, struct request *r)
{
    if (l->released == l->loaded) {
        r->at = 0;
        return true;
    }
    const struct request *oldest = request_at(l, l->released), *newest = request_at(l, l->loaded - 1);
    const uint64_t begin = oldest->at, end = newest->at + newest->n_bytes;
    r->at = end;
    if (newest->at < begin) /* what is in use goes on at the start of the ring */
        return r->n_bytes <= begin - end;
    if (r->n_bytes <= l->n_ring - end)
        return true;
    r->at = 0;
    return r->n_bytes <= begin;
}

/* Loads the next request; called and left with the mutex locked. */
static void load_next(struct moeq_loader *l)
{
    struct request *r = request_at(l, l->loaded);
    const struct request *then = l->loaded + 1 < l->asked ? request_at(l, l->loaded + 1) : NULL;
    struct request next = then ? *then : (struct request){0};
    l->is_loading = true;
    pthread_mutex_unlock(&l->mutex);
    moeq_source_advise(l->source, next.weights, next.n, MOEQ_FILE_SOON);
    if (!l->ring.data)
        r->status = moeq_bytes_resize(&l->ring, (size_t)l->n_ring, &r->error);
    if (!r->status) {
        for (size_t i = 0; i < r->n; i++)
            l->n_bytes += r->weights[i]->n_bytes;
        r->status =
            moeq_source_load_at(l->source, r->weights, r->n, l->ring.data + r->at, r->matrices, &r->error);
    }
    if (l->forgets)
        moeq_source_advise(l->source, r->weights, r->n, MOEQ_FILE_DONE);
    pthread_mutex_lock(&l->mutex);
    l->is_loading = false;
    l->loaded++;
    pthread_cond_broadcast(&l->changed);
}

/* Whether there is something to load, and room for it. */
static bool can_load(const struct moeq_loader *l)
{
    return l->loaded < l->asked && !l->is_loading && find_room(l, request_at(l, l->loaded));
}

static void *work(void *context)
{
    struct moeq_loader *l = context;
    pthread_mutex_lock(&l->mutex);
    while (!l->ending)
        if (can_load(l))
            load_next(l);
        else
            pthread_cond_wait(&l->changed, &l->mutex);
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

/* ---- the caller's side ---- */

/* A source that is larger than this share of the memory passes the page cache without being kept: the next
 * sweep would find only its end there, and what others use would be gone. */
static bool is_too_large_to_cache(const struct moeq_source *source)
{
    uint64_t n = 0;
    for (size_t i = 0; i < source->n_weights; i++)
        n += source->weights[i].n_bytes;
    return n / 3 * 4 > moeq_machine_memory();
}

struct moeq_loader *moeq_loader_create(const struct moeq_source *source, uint64_t n_bytes,
                                       struct moeq_error *err)
{
    struct moeq_loader *l = moeq_calloc(1, sizeof *l, err);
    if (!l)
        return NULL;
    l->source = source;
    l->n_ring = n_bytes;
    l->forgets = is_too_large_to_cache(source);
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->changed, NULL);
    l->has_thread = !moeq_source_is_decompressed(source) && moeq_thread_start(&l->thread, work, l) == 0;
    return l;
}

void moeq_loader_rest(struct moeq_loader *loader)
{
    struct moeq_loader *l = loader;
    if (!l)
        return;
    pthread_mutex_lock(&l->mutex);
    l->asked = l->loaded + l->is_loading;
    while (l->is_loading)
        pthread_cond_wait(&l->changed, &l->mutex);
    l->released = l->got = l->loaded = l->asked;
    moeq_bytes_free(&l->ring);
    pthread_mutex_unlock(&l->mutex);
}

void moeq_loader_free(struct moeq_loader *loader)
{
    if (!loader)
        return;
    moeq_loader_rest(loader);
    if (loader->has_thread) {
        pthread_mutex_lock(&loader->mutex);
        loader->ending = true;
        pthread_cond_broadcast(&loader->changed);
        pthread_mutex_unlock(&loader->mutex);
        pthread_join(loader->thread, NULL);
    }
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->mutex);
    free(loader->requests);
    free(loader);
}

/* Room for one more request; the mutex is locked, and nothing is being loaded into the old array. */
static enum moeq_status grow(struct moeq_loader *l, struct moeq_error *err)
{
    const size_t capacity = l->capacity ? 2 * l->capacity : 16;
    struct request *requests = moeq_calloc(capacity, sizeof *requests, err);
    if (!requests)
        return MOEQ_OVER_MEMORY;
    while (l->is_loading)
        pthread_cond_wait(&l->changed, &l->mutex);
    for (uint64_t i = l->released; i < l->asked; i++)
        requests[i % capacity] = *request_at(l, i);
    free(l->requests);
    l->requests = requests;
    l->capacity = capacity;
    return MOEQ_OK;
}

enum moeq_status moeq_loader_ask(struct moeq_loader *loader, const struct moeq_weight *const *weights,
                                 size_t n, struct moeq_error *err)
{
    struct moeq_loader *l = loader;
    const uint64_t n_bytes = moeq_source_load_bytes(l->source, weights, n);
    if (n > MOEQ_MAX_LOADED || n_bytes > l->n_ring)
        return moeq_fail(err, MOEQ_BUG, "%zu weights of %llu bytes do not fit the loader", n,
                         (unsigned long long)n_bytes);
    enum moeq_status status = MOEQ_OK;
    pthread_mutex_lock(&l->mutex);
    if (l->asked - l->released == l->capacity)
        status = grow(l, err);
    if (!status) {
        struct request *r = request_at(l, l->asked++);
        *r = (struct request){.n = n, .n_bytes = n_bytes};
        memcpy(r->weights, weights, n * sizeof *weights);
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->mutex);
    return status;
}

enum moeq_status moeq_loader_get(struct moeq_loader *loader, struct moeq_matrix *matrices, size_t n,
                                 struct moeq_error *err)
{
    struct moeq_loader *l = loader;
    pthread_mutex_lock(&l->mutex);
    assert(l->got < l->asked);
    while (l->loaded <= l->got)
        if (!l->has_thread && can_load(l))
            load_next(l);
        else
            pthread_cond_wait(&l->changed, &l->mutex);
    const struct request *r = request_at(l, l->got++);
    const enum moeq_status status = r->status;
    assert(r->n == n);
    if (status && err && !err->status)
        *err = r->error;
    memcpy(matrices, r->matrices, n * sizeof *matrices);
    pthread_mutex_unlock(&l->mutex);
    return status;
}

void moeq_loader_release(struct moeq_loader *loader)
{
    pthread_mutex_lock(&loader->mutex);
    assert(loader->released < loader->got);
    loader->released++;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->mutex);
}

uint64_t moeq_loader_bytes(const struct moeq_loader *loader)
{
    return loader->n_bytes;
}
