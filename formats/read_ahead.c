#include "read_ahead.h"

#include "pool.h"

#include <stdlib.h>

#define N_BLOCKS 16

struct moeq_read_ahead {
    const struct moeq_file *file;
    uint8_t *blocks; /* [N_BLOCKS, MOEQ_READ_BLOCK], a ring */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t n_read, n_taken; /* blocks, under `lock`; the block n_taken - 1 is the caller's */
    bool stopped;             /* likewise */
    struct moeq_error error;  /* of the block n_read, likewise */
};

static size_t block_bytes(const struct moeq_file *file, uint64_t block)
{
    uint64_t offset = block * MOEQ_READ_BLOCK;
    uint64_t left = offset < file->n_bytes ? file->n_bytes - offset : 0;
    return left < MOEQ_READ_BLOCK ? (size_t)left : MOEQ_READ_BLOCK;
}

static uint8_t *place_of(const struct moeq_read_ahead *r, uint64_t block)
{
    return r->blocks + block % N_BLOCKS * MOEQ_READ_BLOCK;
}

/* Waits until the ring has a free block; false where there is nothing more to do. */
static bool wait_for_room(struct moeq_read_ahead *r, uint64_t block)
{
    pthread_mutex_lock(&r->lock);
    /* The block that the caller has taken last is still in use. */
    while (!r->stopped && block + 1 - r->n_taken >= N_BLOCKS)
        pthread_cond_wait(&r->changed, &r->lock);
    bool more = !r->stopped;
    pthread_mutex_unlock(&r->lock);
    return more;
}

static void *read_blocks(void *argument)
{
    struct moeq_read_ahead *r = argument;
    struct moeq_error err = {0};
    for (uint64_t block = 0; !err.status; block++) {
        size_t n = block_bytes(r->file, block);
        if (n == 0 || !wait_for_room(r, block))
            break;
        moeq_file_read(r->file, block * MOEQ_READ_BLOCK, place_of(r, block), n, &err);
        pthread_mutex_lock(&r->lock);
        r->error = err;
        r->n_read += !err.status;
        pthread_cond_signal(&r->changed);
        pthread_mutex_unlock(&r->lock);
    }
    return NULL;
}

static void release(struct moeq_read_ahead *r)
{
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r->blocks);
    free(r);
}

struct moeq_read_ahead *moeq_read_ahead_start(const struct moeq_file *file, struct moeq_error *err)
{
    struct moeq_read_ahead *r = moeq_calloc(1, sizeof *r, err);
    if (!r)
        return NULL;
    r->file = file;
    pthread_mutex_init(&r->lock, NULL); /* neither can fail on Linux */
    pthread_cond_init(&r->changed, NULL);
    r->blocks = malloc((size_t)N_BLOCKS * MOEQ_READ_BLOCK);
    int error_number = r->blocks ? moeq_thread_start(&r->thread, read_blocks, r) : 0;
    if (r->blocks && !error_number)
        return r;
    if (error_number)
        moeq_fail_errno(err, error_number, "cannot start a thread");
    else
        moeq_fail_alloc(err, (size_t)N_BLOCKS * MOEQ_READ_BLOCK);
    release(r);
    return NULL;
}

enum moeq_status moeq_read_ahead_next(struct moeq_read_ahead *reader, const uint8_t **data, size_t *n,
                                      struct moeq_error *err)
{
    struct moeq_read_ahead *r = reader;
    enum moeq_status status = MOEQ_OK;
    pthread_mutex_lock(&r->lock);
    const uint64_t block = r->n_taken;
    *n = block_bytes(r->file, block);
    while (*n && r->n_read <= block && !r->error.status)
        pthread_cond_wait(&r->changed, &r->lock);
    if (*n && r->n_read <= block) {
        status = r->error.status;
        if (err && !err->status)
            *err = r->error;
    } else if (*n) {
        *data = place_of(r, block);
        r->n_taken++;
        pthread_cond_signal(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return status;
}

void moeq_read_ahead_stop(struct moeq_read_ahead *reader)
{
    if (!reader)
        return;
    pthread_mutex_lock(&reader->lock);
    reader->stopped = true;
    pthread_cond_signal(&reader->changed);
    pthread_mutex_unlock(&reader->lock);
    pthread_join(reader->thread, NULL);
    release(reader);
}
