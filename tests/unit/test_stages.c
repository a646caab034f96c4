/* Batches through the stages: in order, within the memory, and with the failure of the lowest batch. */
#include "unit.h"

#include "pool.h"
#include "stages.h"

enum { N = 500, RING = 4096 };

struct passing {
    struct moeq_stages *stages;
    uint8_t *places[MOEQ_MAX_BATCHES];
    size_t sizes[MOEQ_MAX_BATCHES];
    uint64_t n_written, fail_at[MOEQ_N_STAGES];
};

static bool fails(struct passing *p, enum moeq_stage stage, uint64_t k)
{
    struct moeq_error why = {0};
    if (p->fail_at[stage] != k)
        return false;
    moeq_fail(&why, MOEQ_IO, "batch %d", (int)k);
    moeq_stages_fail(p->stages, k, &why);
    return true;
}

static void *load(void *context)
{
    struct passing *p = context;
    for (uint64_t k = 0; moeq_stages_wait(p->stages, MOEQ_LOADING, k); k++) {
        if (k == N) {
            moeq_stages_end(p->stages, k);
            break;
        }
        const size_t n = (size_t)(1 + k * 7919 % (RING - 64));
        uint8_t *place = moeq_stages_memory(p->stages, n, k);
        if (!place || fails(p, MOEQ_LOADING, k))
            break;
        memset(place, (int)k, n);
        p->places[k % MOEQ_MAX_BATCHES] = place;
        p->sizes[k % MOEQ_MAX_BATCHES] = n;
        moeq_stages_pass(p->stages, MOEQ_LOADING, k % 3 == 0);
    }
    return NULL;
}

static void *write_all(void *context)
{
    struct passing *p = context;
    for (uint64_t k = 0; moeq_stages_wait(p->stages, MOEQ_WRITING, k); k++) {
        const uint8_t *place = p->places[k % MOEQ_MAX_BATCHES];
        bool is_whole = true;
        for (size_t i = 0; i < p->sizes[k % MOEQ_MAX_BATCHES]; i++)
            is_whole = is_whole && place[i] == (uint8_t)k;
        CU_ASSERT(is_whole);
        if (fails(p, MOEQ_WRITING, k))
            break;
        moeq_stages_pass(p->stages, MOEQ_WRITING, false);
    }
    return NULL;
}

static void *finish(void *context)
{
    struct passing *p = context;
    for (uint64_t k = 0; moeq_stages_wait(p->stages, MOEQ_FINISHING, k); k++) {
        if (fails(p, MOEQ_FINISHING, k))
            break;
        moeq_stages_pass(p->stages, MOEQ_FINISHING, false);
        p->n_written++;
    }
    return NULL;
}

static enum moeq_status run(struct passing *p, struct moeq_error *err)
{
    void *(*const mains[])(void *) = {load, write_all, finish};
    pthread_t threads[3];
    uint64_t k;
    p->stages = moeq_stages_create(RING, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p->stages);
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL_FATAL(moeq_thread_start(&threads[i], mains[i], p), 0);
    while (moeq_stages_wait_to_encode(p->stages, &k) && !fails(p, MOEQ_ENCODING, k)) {
        CU_ASSERT(k % 3 != 0);
        moeq_stages_pass(p->stages, MOEQ_ENCODING, false);
    }
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    enum moeq_status status = moeq_stages_result(p->stages, err);
    moeq_stages_free(p->stages);
    return status;
}

static void test_all_pass(void)
{
    struct passing p = {.fail_at = {N, N, N, N}};
    CU_ASSERT_EQUAL(run(&p, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(p.n_written, N);
}

/* A later stage fails at an earlier batch, sooner or later than the other: it is the one that counts, and
 * what lies before it is finished. */
static void test_the_lowest_failure(void)
{
    for (int i = 0; i < 20; i++) {
        struct moeq_error err = {0};
        struct passing p = {.fail_at = {310, N, 304, 302}};
        CU_ASSERT_EQUAL(run(&p, &err), MOEQ_IO);
        CU_ASSERT_STRING_EQUAL(err.message, "batch 302");
        CU_ASSERT_EQUAL(p.n_written, 302);
    }
    for (enum moeq_stage stage = MOEQ_LOADING; stage < MOEQ_N_STAGES; stage++) {
        struct moeq_error err = {0};
        struct passing p = {.fail_at = {N, N, N, N}};
        p.fail_at[stage] = 100;
        CU_ASSERT_EQUAL(run(&p, &err), MOEQ_IO);
        CU_ASSERT_STRING_EQUAL(err.message, "batch 100");
        CU_ASSERT_EQUAL(p.n_written, 100);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"all pass", test_all_pass}, {"the lowest failure", test_the_lowest_failure}, {NULL, NULL}};
    return unit_main("stages", tests);
}
