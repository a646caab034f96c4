/* The loader: what is asked for comes in that order, with the bytes that loading it alone gives, however
 * little room the ring has and however many requests are held. */
#include "unit.h"

#include "loader.h"

#include <stdlib.h>

static uint64_t state = 7;

static uint64_t draw(uint64_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % n;
}

struct asked {
    const struct moeq_weight *weights[MOEQ_MAX_LOADED];
    size_t n;
    uint64_t n_bytes;
};

static void draw_request(const struct moeq_source *s, struct asked *a)
{
    a->n = 1 + draw(3);
    for (size_t i = 0; i < a->n; i++)
        a->weights[i] = &s->weights[draw(s->n_weights)];
    a->n_bytes = moeq_source_load_bytes(s, a->weights, a->n);
}

static void check_request(const struct moeq_source *s, const struct asked *a, const struct moeq_matrix *found)
{
    struct moeq_bytes bytes = {0};
    struct moeq_matrix expected[MOEQ_MAX_LOADED];
    CU_ASSERT_EQUAL_FATAL(moeq_source_load(s, a->weights, a->n, &bytes, expected, NULL), MOEQ_OK);
    for (size_t i = 0; i < a->n; i++) {
        CU_ASSERT_EQUAL(found[i].n_bytes, expected[i].n_bytes);
        CU_ASSERT_EQUAL(memcmp(found[i].data, expected[i].data, expected[i].n_bytes), 0);
    }
    moeq_bytes_free(&bytes);
}

/* Holds as many requests as fit by the rule of the header, checks all of them, then releases some. */
static void check_ring(const struct moeq_source *s, const struct asked *requests, size_t n, uint64_t ring)
{
    enum { MOST_HELD = 64 };
    static struct moeq_matrix held[MOST_HELD][MOEQ_MAX_LOADED];
    struct moeq_loader *l = moeq_loader_create(s, ring, NULL);
    size_t asked = 0, got = 0, released = 0;
    uint64_t n_held = 0, total = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(l);
    while (released < n) {
        for (; asked < n && asked - released < 40; asked++)
            CU_ASSERT_EQUAL(moeq_loader_ask(l, requests[asked].weights, requests[asked].n, NULL), MOEQ_OK);
        uint64_t largest = 0;
        for (size_t i = released; i < n; i++)
            largest = moeq_larger(largest, requests[i].n_bytes);
        while (got < asked &&
               (got == released || (moeq_loader_ring(n_held + requests[got].n_bytes, largest) <= ring &&
                                    got - released < MOST_HELD))) {
            CU_ASSERT_EQUAL(moeq_loader_get(l, held[got % MOST_HELD], requests[got].n, NULL), MOEQ_OK);
            n_held += requests[got++].n_bytes;
        }
        for (size_t i = released; i < got; i++)
            check_request(s, &requests[i], held[i % MOST_HELD]);
        for (uint64_t i = 1 + draw(got - released); i; i--) {
            moeq_loader_release(l);
            n_held -= requests[released++].n_bytes;
        }
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < requests[i].n; k++)
            total += requests[i].weights[k]->n_bytes;
    CU_ASSERT_EQUAL(moeq_loader_bytes(l), total);
    moeq_loader_free(l);
}

static void test_rings(void)
{
    enum { N = 300 };
    static struct asked requests[N];
    char path[4096];
    struct moeq_source source;
    uint64_t largest = 0;
    snprintf(path, sizeof path, "%s/nano-v3", getenv("MOEQ_MODELS"));
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, path, NULL), MOEQ_OK);
    for (size_t i = 0; i < N; i++) {
        draw_request(&source, &requests[i]);
        largest = moeq_larger(largest, requests[i].n_bytes);
    }
    const uint64_t rings[] = {largest, largest + 64, largest * 3 / 2 / 64 * 64, 2 * largest, 5 * largest};
    for (size_t i = 0; i < sizeof rings / sizeof *rings; i++)
        check_ring(&source, requests, N, rings[i]);
    moeq_source_close(&source);
}

/* Ending while much is asked for and something is being loaded. */
static void test_ends_early(void)
{
    char path[4096];
    struct moeq_source source;
    struct moeq_error err = {0};
    snprintf(path, sizeof path, "%s/nano-v3", getenv("MOEQ_MODELS"));
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, path, NULL), MOEQ_OK);
    for (int times = 0; times < 50; times++) {
        struct moeq_loader *l = moeq_loader_create(&source, 1u << 20, NULL);
        const struct moeq_weight *weight = &source.weights[draw(source.n_weights)];
        struct moeq_matrix m;
        for (int i = 0; i < 20; i++)
            CU_ASSERT_EQUAL(moeq_loader_ask(l, &weight, 1, NULL), MOEQ_OK);
        if (times % 2)
            CU_ASSERT_EQUAL(moeq_loader_get(l, &m, 1, NULL), MOEQ_OK);
        if (times % 3)
            moeq_loader_rest(l);
        if (times % 3 == 1) { /* and it goes on after a rest */
            CU_ASSERT_EQUAL(moeq_loader_ask(l, &weight, 1, NULL), MOEQ_OK);
            CU_ASSERT_EQUAL(moeq_loader_get(l, &m, 1, NULL), MOEQ_OK);
        }
        moeq_loader_free(l);
    }
    struct moeq_loader *l = moeq_loader_create(&source, 64, NULL);
    const struct moeq_weight *weight = moeq_source_part(&source, MOEQ_PART_EMBED, -1, -1);
    CU_ASSERT_EQUAL(moeq_loader_ask(l, &weight, 1, &err), MOEQ_BUG);
    moeq_loader_free(l);
    moeq_source_close(&source);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"rings of any size give what was asked for", test_rings},
        {"ending early", test_ends_early},
        {NULL, NULL},
    };
    return unit_main("loader", tests);
}
