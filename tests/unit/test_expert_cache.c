/* Which experts stay, and that none is computed with whose bytes are not right. */
#include "unit.h"

#include "expert_cache.h"
#include "made_package.h"

static struct moeq_source source;
static uint64_t expert_bytes, stored_bytes;

static void open_source(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/nano-v3", getenv("MOEQ_MODELS"));
    if (moeq_source_open(&source, path, NULL))
        exit(2);
    expert_bytes = moeq_expert_cache_bytes(&source, 1, 0);
    const struct moeq_weight *weights[3];
    moeq_mlp_weights(&source, MOEQ_PART_EXPERT_GATE, 1, 0, weights);
    for (int i = 0; i < 3; i++)
        stored_bytes += weights[i]->n_bytes;
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
    CU_ASSERT_EQUAL(counts.n_loaded_bytes, 6 * stored_bytes);
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

/* Entropy-coded experts, and such of which a matrix is not, come as they are loaded otherwise, and take the
 * room of their codes alone. */
static void test_coded(void)
{
    static const char *const rules[][2] = {{"experts=ec:3", "layers.0.*=int8"},
                                           {"layers.*.mlp.experts.*.up_proj.weight=int4", "experts=ec:3"}};
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    for (size_t k = 0; k < 2; k++) {
        struct made made;
        struct moeq_bytes bytes = {0};
        make_package(&made, &source, pool, rules[k], 2);
        const uint64_t n = moeq_expert_cache_bytes(&made.source, 1, 0);
        struct moeq_expert_cache *cache = moeq_expert_cache_create(&made.source, 3 * n, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(cache);
        CU_ASSERT(moeq_expert_cache_staging(&made.source, 1, 0) > n);
        CU_ASSERT_EQUAL(moeq_expert_cache_staging(&source, 1, 0), 0);
        for (int i = 0; i < 48; i++) {
            const int layer = 1 + i % 3, expert = i * 5 % 16;
            const struct moeq_weight *weights[3];
            struct moeq_matrix m[3];
            struct moeq_mlp mlp;
            moeq_mlp_weights(&made.source, MOEQ_PART_EXPERT_GATE, layer, expert, weights);
            CU_ASSERT_EQUAL_FATAL(moeq_source_load(&made.source, weights, 3, &bytes, m, NULL), MOEQ_OK);
            CU_ASSERT_EQUAL_FATAL(moeq_expert_cache_acquire(cache, layer, expert, &mlp, NULL), MOEQ_OK);
            const struct moeq_matrix *found = &mlp.gate;
            for (int part = 0; part < 3; part++) {
                CU_ASSERT_EQUAL(found[part].n_bytes, m[part].n_bytes);
                CU_ASSERT(memcmp(found[part].data, m[part].data, m[part].n_bytes) == 0);
            }
            moeq_expert_cache_release(cache, layer, expert);
        }
        CU_ASSERT(moeq_expert_cache_counts(cache).n_held_bytes <= 3 * n);
        moeq_expert_cache_free(cache);
        moeq_bytes_free(&bytes);
        remove_package(&made);
    }
    moeq_pool_join(pool);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"the one used longest ago leaves", test_least_recently_used},
        {"what is acquired stays", test_acquired_stay},
        {"no budget holds one", test_no_budget},
        {"coded experts are held decoded", test_coded},
        {NULL, NULL},
    };
    open_source();
    const int code = unit_main("expert_cache", tests);
    moeq_source_close(&source);
    return code;
}
