/* What a sweep reads: each weight that has tokens once, experts without tokens never. */
#include "unit.h"

#include "pool.h"
#include "sweep.h"

struct counted {
    const struct moeq_source *source;
    uint64_t n_bytes; /* of the layers' weights that the tokens need */
    unsigned n_unused;
};

static uint64_t bytes_of(const struct moeq_source *s, enum moeq_part part, int layer, int expert)
{
    const struct moeq_weight *w = moeq_source_part(s, part, layer, expert);
    return w ? w->n_bytes : 0;
}

static uint64_t mlp(const struct moeq_source *s, enum moeq_part gate, int layer, int expert)
{
    uint64_t n = 0;
    for (int i = 0; i < 3; i++)
        n += bytes_of(s, (enum moeq_part)((int)gate + i), layer, expert);
    return n;
}

static enum moeq_status count_layer(void *context, const struct moeq_layer_result *result,
                                    struct moeq_error *err)
{
    static const enum moeq_part attention[] = {MOEQ_PART_Q,    MOEQ_PART_Q_A,  MOEQ_PART_Q_B,
                                               MOEQ_PART_KV_A, MOEQ_PART_KV_B, MOEQ_PART_O};
    struct counted *c = context;
    const struct moeq_config *config = &c->source->config;
    const int layer = result->layer;
    const int32_t *experts = result->experts;
    (void)err;
    for (size_t i = 0; i < sizeof attention / sizeof *attention; i++)
        c->n_bytes += bytes_of(c->source, attention[i], layer, -1);
    if (!experts) {
        c->n_bytes += mlp(c->source, MOEQ_PART_DENSE_GATE, layer, -1);
        return MOEQ_OK;
    }
    c->n_bytes += mlp(c->source, MOEQ_PART_SHARED_GATE, layer, -1);
    for (int e = 0; e < (int)config->n_experts; e++) {
        bool used = false;
        for (uint32_t i = 0; i < config->top_k; i++) /* of the only token */
            used = used || experts[i] == e;
        c->n_bytes += used ? mlp(c->source, MOEQ_PART_EXPERT_GATE, layer, e) : 0;
        c->n_unused += !used;
    }
    return MOEQ_OK;
}

static void test_reads_once(void)
{
    char path[4096];
    struct moeq_source source;
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    const int32_t token = 7;
    snprintf(path, sizeof path, "%s/nano-v3", getenv("MOEQ_MODELS"));
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(&source, path, NULL), MOEQ_OK);
    for (int times = 0; times < 3; times++) {
        struct moeq_sweep sweep;
        struct counted counted = {.source = &source};
        const struct moeq_visitor visitor = {.context = &counted, .layer = count_layer};
        CU_ASSERT_EQUAL_FATAL(moeq_sweep_init(&sweep, &source, pool, 1, 1, MOEQ_FAST, NULL, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL(moeq_sweep_run(&sweep, &token, &visitor, NULL), MOEQ_OK);
        moeq_loader_rest(sweep.run.loader); /* so that nothing is still being read */
        CU_ASSERT_EQUAL(moeq_loader_bytes(sweep.run.loader), counted.n_bytes);
        CU_ASSERT(counted.n_unused > 0);
        moeq_sweep_free(&sweep);
    }
    moeq_source_close(&source);
    moeq_pool_join(pool);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"each weight is read once", test_reads_once},
        {NULL, NULL},
    };
    return unit_main("sweep", tests);
}
