#include "stages.h"

#include <pthread.h>
#include <stdlib.h>

/* Memory of one batch or of several that follow each other, in the ring. */
struct region {
    size_t end;
    uint64_t until; /* free once this batch is written */
};

struct moeq_stages {
    pthread_mutex_t lock;                 /* for all that follows */
    pthread_cond_t passed[MOEQ_N_STAGES]; /* the count of this stage has changed, or there was a failure */
    uint64_t n[MOEQ_N_STAGES];            /* batches that have passed */
    bool is_ready[MOEQ_MAX_BATCHES];      /* has nothing to encode */
    uint64_t end;                         /* batches from here on never come */
    uint64_t failed;                      /* the lowest batch that failed */
    struct moeq_error why;
    struct moeq_bytes ring;
    size_t begin, next; /* of what is in use; begin == next only where nothing is */
    struct region regions[MOEQ_MAX_BATCHES];
    uint64_t n_taken, n_freed; /* regions */
};

struct moeq_stages *moeq_stages_create(uint64_t n_bytes, struct moeq_error *err)
{
    struct moeq_stages *s = moeq_calloc(1, sizeof *s, err);
    if (!s)
        return NULL;
    if (moeq_bytes_resize(&s->ring, (size_t)n_bytes, err)) {
        free(s);
        return NULL;
    }
    s->end = s->failed = UINT64_MAX;
    pthread_mutex_init(&s->lock, NULL); /* neither can fail on Linux */
    for (size_t i = 0; i < MOEQ_N_STAGES; i++)
        pthread_cond_init(&s->passed[i], NULL);
    return s;
}

void moeq_stages_free(struct moeq_stages *stages)
{
    if (!stages)
        return;
    for (size_t i = 0; i < MOEQ_N_STAGES; i++)
        pthread_cond_destroy(&stages->passed[i]);
    pthread_mutex_destroy(&stages->lock);
    moeq_bytes_free(&stages->ring);
    free(stages);
}

static bool wait_passed(struct moeq_stages *s, enum moeq_stage stage, uint64_t batch)
{
    while (s->n[stage] <= batch && batch < s->end)
        pthread_cond_wait(&s->passed[stage], &s->lock);
    return batch < s->end;
}

bool moeq_stages_wait_passed(struct moeq_stages *stages, enum moeq_stage stage, uint64_t batch)
{
    pthread_mutex_lock(&stages->lock);
    const bool comes = wait_passed(stages, stage, batch);
    pthread_mutex_unlock(&stages->lock);
    return comes;
}

bool moeq_stages_wait(struct moeq_stages *stages, enum moeq_stage stage, uint64_t batch)
{
    struct moeq_stages *s = stages;
    pthread_mutex_lock(&s->lock);
    bool comes = batch < s->end;
    if (stage != MOEQ_LOADING)
        comes = wait_passed(s, stage - 1, batch);
    else if (comes && batch >= MOEQ_MAX_BATCHES)
        wait_passed(s, MOEQ_FINISHING, batch - MOEQ_MAX_BATCHES);
    comes = comes && batch < s->end;
    pthread_mutex_unlock(&s->lock);
    return comes;
}

bool moeq_stages_has(struct moeq_stages *stages, enum moeq_stage stage, uint64_t batch)
{
    pthread_mutex_lock(&stages->lock);
    const bool is_there = stages->n[stage - 1] > batch && batch < stages->end;
    pthread_mutex_unlock(&stages->lock);
    return is_there;
}

bool moeq_stages_wait_to_encode(struct moeq_stages *stages, uint64_t *batch)
{
    struct moeq_stages *s = stages;
    pthread_mutex_lock(&s->lock);
    /* Loading counts for both what is ready, so whatever it is ahead by must be encoded. */
    while (s->n[MOEQ_LOADING] == s->n[MOEQ_ENCODING] && s->n[MOEQ_ENCODING] < s->end)
        pthread_cond_wait(&s->passed[MOEQ_LOADING], &s->lock);
    *batch = s->n[MOEQ_ENCODING];
    const bool comes = *batch < s->end;
    pthread_mutex_unlock(&s->lock);
    return comes;
}

/* ---- memory ---- */

/* The place of n bytes in the ring, or SIZE_MAX where they are not free. */
static size_t find_room(struct moeq_stages *s, size_t n)
{
    if (s->n_taken == s->n_freed)
        s->begin = s->next = 0;
    const size_t size = s->ring.n_bytes;
    if (s->n_taken - s->n_freed == MOEQ_MAX_BATCHES)
        return SIZE_MAX;
    if (s->n_taken == s->n_freed || s->next > s->begin) {
        if (size - s->next >= n)
            return s->next;
        return n < s->begin ? 0 : SIZE_MAX;
    }
    return s->begin - s->next > n ? s->next : SIZE_MAX;
}

uint8_t *moeq_stages_memory(struct moeq_stages *stages, uint64_t n_bytes, uint64_t until)
{
    struct moeq_stages *s = stages;
    size_t place;
    const size_t n = (size_t)moeq_round_up(n_bytes ? n_bytes : 1, 64);
    pthread_mutex_lock(&s->lock);
    while ((place = find_room(s, n)) == SIZE_MAX && until < s->end)
        pthread_cond_wait(&s->passed[MOEQ_WRITING], &s->lock);
    if (until >= s->end)
        place = SIZE_MAX;
    if (place != SIZE_MAX) {
        s->next = place + n;
        s->regions[s->n_taken++ % MOEQ_MAX_BATCHES] = (struct region){s->next, until};
    }
    pthread_mutex_unlock(&s->lock);
    return place == SIZE_MAX ? NULL : s->ring.data + place;
}

static void free_regions(struct moeq_stages *s)
{
    while (s->n_freed < s->n_taken) {
        const struct region *oldest = &s->regions[s->n_freed % MOEQ_MAX_BATCHES];
        if (oldest->until >= s->n[MOEQ_WRITING])
            break;
        s->begin = oldest->end;
        s->n_freed++;
    }
}

/* ---- passing on ---- */

static void count(struct moeq_stages *s, enum moeq_stage stage)
{
    s->n[stage]++;
    pthread_cond_broadcast(&s->passed[stage]);
}

void moeq_stages_pass(struct moeq_stages *stages, enum moeq_stage stage, bool is_ready)
{
    struct moeq_stages *s = stages;
    pthread_mutex_lock(&s->lock);
    if (stage == MOEQ_LOADING)
        s->is_ready[s->n[stage] % MOEQ_MAX_BATCHES] = is_ready;
    count(s, stage);
    if (stage == MOEQ_WRITING)
        free_regions(s);
    while (stage <= MOEQ_ENCODING && s->n[MOEQ_ENCODING] < s->n[MOEQ_LOADING] &&
           s->is_ready[s->n[MOEQ_ENCODING] % MOEQ_MAX_BATCHES])
        count(s, MOEQ_ENCODING);
    pthread_mutex_unlock(&s->lock);
}

static void end_at(struct moeq_stages *s, uint64_t n)
{
    s->end = n < s->end ? n : s->end;
    for (size_t i = 0; i < MOEQ_N_STAGES; i++)
        pthread_cond_broadcast(&s->passed[i]);
}

void moeq_stages_end(struct moeq_stages *stages, uint64_t n)
{
    pthread_mutex_lock(&stages->lock);
    end_at(stages, n);
    pthread_mutex_unlock(&stages->lock);
}

void moeq_stages_fail(struct moeq_stages *stages, uint64_t batch, const struct moeq_error *why)
{
    struct moeq_stages *s = stages;
    pthread_mutex_lock(&s->lock);
    if (batch < s->failed) {
        s->failed = batch;
        s->why = *why;
    }
    end_at(s, batch);
    pthread_mutex_unlock(&s->lock);
}

enum moeq_status moeq_stages_result(struct moeq_stages *stages, struct moeq_error *err)
{
    if (err && !err->status)
        *err = stages->why;
    return stages->why.status;
}
