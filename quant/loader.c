#include "loader.h"

#include <pthread.h>
#include <stdlib.h>

enum state { IDLE, ASKED, READY, ENDING };

struct moeq_loader {
    const struct moeq_source *source;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum state state;
    struct moeq_bytes current, next; /* what is computed with; what is being loaded */
    const struct moeq_weight *asked[MOEQ_MAX_LOADED];
    size_t n_asked;
    struct moeq_matrix matrices[MOEQ_MAX_LOADED]; /* in next */
    enum moeq_status status;
    struct moeq_error error;
    uint64_t n_bytes; /* of the thread while a request is being loaded, else of the caller */
};

/* Loads what is asked for, into `buffer`. */
static enum moeq_status load(struct moeq_loader *l, const struct moeq_weight *const *weights, size_t n,
                             struct moeq_bytes *buffer, struct moeq_matrix *matrices, struct moeq_error *err)
{
    for (size_t i = 0; i < n; i++)
        l->n_bytes += weights[i]->n_bytes;
    return moeq_source_load(l->source, weights, n, buffer, matrices, err);
}

static void *work(void *context)
{
    struct moeq_loader *l = context;
    pthread_mutex_lock(&l->mutex);
    for (;;) {
        while (l->state != ASKED && l->state != ENDING)
            pthread_cond_wait(&l->changed, &l->mutex);
        if (l->state == ENDING)
            break;
        pthread_mutex_unlock(&l->mutex);
        l->error = (struct moeq_error){0};
        l->status = load(l, l->asked, l->n_asked, &l->next, l->matrices, &l->error);
        pthread_mutex_lock(&l->mutex);
        if (l->state == ASKED)
            l->state = READY;
        pthread_cond_broadcast(&l->changed);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

struct moeq_loader *moeq_loader_create(const struct moeq_source *source, struct moeq_error *err)
{
    struct moeq_loader *l = moeq_calloc(1, sizeof *l, err);
    if (!l)
        return NULL;
    l->source = source;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->changed, NULL);
    l->has_thread = !moeq_source_is_decompressed(source) && pthread_create(&l->thread, NULL, work, l) == 0;
    return l;
}

/* Waits for a request that is being loaded; false where there was none. Nothing is asked for afterwards. */
static bool finish_request(struct moeq_loader *l)
{
    pthread_mutex_lock(&l->mutex);
    const bool was_asked = l->state != IDLE;
    while (l->state == ASKED)
        pthread_cond_wait(&l->changed, &l->mutex);
    l->state = IDLE;
    pthread_mutex_unlock(&l->mutex);
    return was_asked;
}

void moeq_loader_rest(struct moeq_loader *loader)
{
    if (!loader)
        return;
    finish_request(loader);
    moeq_bytes_free(&loader->current);
    moeq_bytes_free(&loader->next);
}

void moeq_loader_free(struct moeq_loader *loader)
{
    if (!loader)
        return;
    moeq_loader_rest(loader);
    if (loader->has_thread) {
        pthread_mutex_lock(&loader->mutex);
        loader->state = ENDING;
        pthread_cond_broadcast(&loader->changed);
        pthread_mutex_unlock(&loader->mutex);
        pthread_join(loader->thread, NULL);
    }
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->mutex);
    free(loader);
}

void moeq_loader_ask(struct moeq_loader *loader, const struct moeq_weight *const *weights, size_t n)
{
    bool complete = n > 0 && n <= MOEQ_MAX_LOADED && loader->has_thread;
    for (size_t i = 0; complete && i < n; i++)
        complete = weights[i] != NULL;
    if (!complete)
        return;
    pthread_mutex_lock(&loader->mutex);
    if (loader->state == IDLE) {
        memcpy(loader->asked, weights, n * sizeof *weights);
        loader->n_asked = n;
        loader->state = ASKED;
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->mutex);
}

enum moeq_status moeq_loader_get(struct moeq_loader *loader, const struct moeq_weight *const *weights,
                                 size_t n, struct moeq_matrix *matrices, struct moeq_error *err)
{
    if (!finish_request(loader) || loader->n_asked != n ||
        memcmp(loader->asked, weights, n * sizeof *weights) != 0)
        return load(loader, weights, n, &loader->current, matrices, err);
    if (loader->status) {
        if (err && !err->status)
            *err = loader->error;
        return loader->status;
    }
    struct moeq_bytes spare = loader->current;
    loader->current = loader->next;
    loader->next = spare;
    memcpy(matrices, loader->matrices, n * sizeof *matrices);
    return MOEQ_OK;
}

uint64_t moeq_loader_bytes(const struct moeq_loader *loader)
{
    return loader->n_bytes;
}
