/* Which experts stay, and that none is computed with whose bytes are not right. */
#include "unit.h"

#include "expert_cache.h"

static struct moeq_source source;
static uint64_t expert_bytes;

static void open_source(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/nano-v3", getenv("MOEQ_MODELS"));
    if (moeq_source_open(&source, path, NULL))
        exit(2);
    expert_bytes = moeq_expert_cache_bytes(&source, 1, 0);
}

static void use(struct moeq_expert_cache *cache, int layer, int expert)
{
    struct moeq_mlp mlp;
    CU_ASSERT_EQUAL_FATAL(moeq_expert_cache_acquire(cache, layer, expert, &mlp, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(mlp.gate.rows, source.config.expert_width);
    CU_ASSERT_EQUAL(mlp.down.cols, source.config.expert_width);
    moeq_expert_cache_release(cache, layer, expert);
}

static bool loads(struct moeq_expert_cache *cache, int layer, int expert)
{
    const uint64_t before = moeq_expert_cache_counts(cache).n_misses;
    use(cache, layer, expert);
    return moeq_expert_cache_counts(cache).n_misses > before;
}

/* Room for three: the one that was used longest ago leaves. */
static void test_least_recently_used(void)
{
    struct moeq_expert_cache *cache = moeq_expert_cache_create(&source, 3 * expert_bytes, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(cache);
    CU_ASSERT(loads(cache, 1, 0));
    CU_ASSERT(loads(cache, 1, 5));
    CU_ASSERT(loads(cache, 2, 0));
    CU_ASSERT(!loads(cache, 1, 0));
    CU_ASSERT(loads(cache, 3, 15)); /* 1.5 leaves */
    CU_ASSERT(!loads(cache, 2, 0));
    CU_ASSERT(!loads(cache, 1, 0));
    CU_ASSERT(loads(cache, 1, 5));  /* 3.15 leaves */
    CU_ASSERT(loads(cache, 3, 15)); /* 2.0 leaves */
    CU_ASSERT(!loads(cache, 1, 0));
    const struct moeq_expert_cache_counts counts = moeq_expert_cache_counts(cache);
    CU_ASSERT_EQUAL(counts.n_hits, 4);
    CU_ASSERT_EQUAL(counts.n_misses, 6);
    CU_ASSERT_EQUAL(counts.n_loaded_bytes, 6 * expert_bytes);
    CU_ASSERT_EQUAL(counts.n_held_bytes, 3 * expert_bytes);
    moeq_expert_cache_free(cache);
}

/* What is acquired stays, though it is the oldest and there is no room. */
static void test_acquired_stay(void)
{
    struct moeq_expert_cache *cache = moeq_expert_cache_create(&source, expert_bytes, NULL);
    struct moeq_mlp first, again;
    CU_ASSERT_PTR_NOT_NULL_FATAL(cache);
    CU_ASSERT_EQUAL_FATAL(moeq_expert_cache_acquire(cache, 1, 3, &first, NULL), MOEQ_OK);
    const uint8_t byte = first.down.data[first.down.n_bytes - 1];
    for (int e = 4; e < 10; e++)
        CU_ASSERT(loads(cache, 1, e));
    CU_ASSERT_EQUAL_FATAL(moeq_expert_cache_acquire(cache, 1, 3, &again, NULL), MOEQ_OK);
    CU_ASSERT_PTR_EQUAL(first.gate.data, again.gate.data);
    CU_ASSERT_EQUAL(byte, again.down.data[again.down.n_bytes - 1]);
    moeq_expert_cache_release(cache, 1, 3);
    CU_ASSERT(loads(cache, 1, 4)); /* 3 is acquired once more, so it is 4 that left for 9 */
    moeq_expert_cache_release(cache, 1, 3);
    CU_ASSERT(loads(cache, 1, 5));
    CU_ASSERT(loads(cache, 1, 3));
    CU_ASSERT_EQUAL(moeq_expert_cache_counts(cache).n_held_bytes, expert_bytes);
    moeq_expert_cache_free(cache);
}

/* No room at all is room for what is needed. */
static void test_no_budget(void)
{
    struct moeq_expert_cache *cache = moeq_expert_cache_create(&source, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(cache);
    for (int e = 0; e < 16; e++)
        CU_ASSERT(loads(cache, 1, e));
    CU_ASSERT_EQUAL(moeq_expert_cache_counts(cache).n_held_bytes, expert_bytes);
    moeq_expert_cache_free(cache);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"the one used longest ago leaves", test_least_recently_used},
        {"what is acquired stays", test_acquired_stay},
        {"no budget holds one", test_no_budget},
        {NULL, NULL},
    };
    open_source();
    const int code = unit_main("expert_cache", tests);
    moeq_source_close(&source);
    return code;
}
