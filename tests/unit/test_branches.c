/* Branches of a sweep: those that have a package's matrices must be that package to the last bit, those that
 * have the source's the source, whatever groups memory forces; and who asks for inputs gets those of that
 * branch. */
#include "made_package.h"

#include "hash.h"
#include "sweep.h"

enum { WINDOWS = 3, CONTEXT = 24, TOKENS = WINDOWS * CONTEXT, BRANCHES = 3, LAYERS = 4 };

static const char *const all_rules[] = {"attn=int4", "shared=int3", "dense=int4", "experts=int2"};
static const char *const some_rules[] = {"layers.2.mlp.experts.*=int3",
                                         "layers.0.self_attn.o_proj.weight=int2"};

struct models {
    struct moeq_pool *pool;
    struct moeq_source source;
    struct made all, some;
    int32_t tokens[BRANCHES * TOKENS];
};

static void open_models(struct models *m)
{
    m->pool = moeq_pool_create(2, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m->pool);
    open_nano(&m->source);
    make_package(&m->all, &m->source, m->pool, all_rules, 4);
    make_package(&m->some, &m->source, m->pool, some_rules, 2);
    for (int t = 0; t < BRANCHES * TOKENS; t++)
        m->tokens[t] = t % TOKENS * 37 % 500;
}

static void close_models(struct models *m)
{
    remove_package(&m->all);
    remove_package(&m->some);
    moeq_source_close(&m->source);
    moeq_pool_join(m->pool);
}

/* ---- replacing ---- */

/* Matrices of packages by branch; NULL: the source's. */
struct replacing {
    const struct moeq_source *by[BRANCHES];
    bool shows; /* all of the second branch, whatever replaces it */
    struct moeq_bytes bytes[BRANCHES][MOEQ_MAX_UNIT];
    struct record *record;
    size_t n_replaced[BRANCHES];
};

static enum moeq_wish wish(void *context, const struct moeq_unit *unit, size_t branch)
{
    const struct replacing *r = context;
    (void)unit;
    if (r->shows && branch == 1)
        return MOEQ_OTHER_FOR_INPUTS;
    return r->by[branch] ? MOEQ_OTHER : MOEQ_SAME;
}

static enum moeq_status replace(void *context, const struct moeq_unit *unit, size_t branch,
                                struct moeq_matrix *matrices, struct moeq_error *err)
{
    struct replacing *r = context;
    enum moeq_status status = MOEQ_OK;
    CU_ASSERT_FATAL(unit->n <= MOEQ_MAX_UNIT);
    CU_ASSERT(r->by[branch] || r->shows);
    r->n_replaced[branch]++;
    for (size_t i = 0; !status && r->by[branch] && i < unit->n; i++) {
        const struct moeq_weight *w = moeq_source_find(r->by[branch], unit->weights[i]->name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(w);
        CU_ASSERT_EQUAL(w->rows, matrices[i].rows); /* the source's, in the unit's order */
        CU_ASSERT_EQUAL(w->cols, matrices[i].cols);
        status = moeq_source_load(r->by[branch], &w, 1, &r->bytes[branch][i], &matrices[i], err);
    }
    return status;
}

static void free_replacing(struct replacing *r)
{
    for (size_t b = 0; b < BRANCHES; b++)
        for (size_t i = 0; i < MOEQ_MAX_UNIT; i++)
            moeq_bytes_free(&r->bytes[b][i]);
}

/* Runs a sweep, in groups of so many windows (0: all in memory), and gives its hidden states. */
static float *sweep(const struct models *m, const struct moeq_source *source, uint64_t n_windows,
                    enum moeq_arithmetic arithmetic, uint64_t group, const struct moeq_visitor *visitor)
{
    const uint64_t n = n_windows * CONTEXT;
    const struct moeq_sweep_weights weights = moeq_sweep_weights(source, CONTEXT);
    struct moeq_sweep_plan plan =
        moeq_sweep_plan(&source->config, &weights, n_windows, CONTEXT, 2, UINT64_MAX);
    uint64_t positions[BRANCHES * TOKENS];
    float *states = malloc(n * source->config.hidden * sizeof *states);
    struct moeq_sweep s;
    if (group) {
        plan.group = group * CONTEXT;
        plan.chunk = group % 2 ? CONTEXT : plan.group; /* alone, or beyond the ends of branches */
    }
    for (uint64_t t = 0; t < n; t++)
        positions[t] = t;
    CU_ASSERT_EQUAL_FATAL(moeq_sweep_init(&s, source, m->pool, n_windows, CONTEXT, arithmetic, &plan, NULL),
                          MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_sweep_run(&s, m->tokens, visitor, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_states_gather(&s.run.states, MOEQ_HIDDEN, positions, n, states, NULL), MOEQ_OK);
    moeq_sweep_free(&s);
    return states;
}

static void test_states(void)
{
    static const enum moeq_arithmetic arithmetics[] = {MOEQ_EXACT, MOEQ_FAST};
    static const uint64_t ends[BRANCHES] = {TOKENS, 2 * TOKENS, 3 * TOKENS};
    struct models m;
    open_models(&m);
    const struct moeq_source *sources[BRANCHES] = {&m.source, &m.all.source, &m.some.source};
    const uint64_t n = TOKENS * (uint64_t)m.source.config.hidden;
    for (size_t a = 0; a < 2; a++) {
        float *expected[BRANCHES];
        for (size_t b = 0; b < BRANCHES; b++)
            expected[b] = sweep(&m, sources[b], WINDOWS, arithmetics[a], 0, NULL);
        CU_ASSERT(memcmp(expected[0], expected[1], n * sizeof(float)) != 0);
        CU_ASSERT(memcmp(expected[0], expected[2], n * sizeof(float)) != 0);
        for (uint64_t group = 0; group < BRANCHES * WINDOWS; group++) {
            struct replacing r = {.by = {NULL, &m.all.source, &m.some.source}};
            const struct moeq_branches branches = {
                .context = &r, .ends = ends, .n = BRANCHES, .wish = wish, .replace = replace};
            const struct moeq_visitor visitor = {.branches = &branches};
            float *found = sweep(&m, &m.source, BRANCHES * WINDOWS, arithmetics[a], group, &visitor);
            for (size_t b = 0; b < BRANCHES; b++)
                CU_ASSERT_EQUAL(memcmp(found + b * n, expected[b], n * sizeof *found), 0);
            CU_ASSERT_EQUAL(r.n_replaced[0], 0);
            CU_ASSERT(r.n_replaced[1] > 2 * LAYERS);
            CU_ASSERT_EQUAL(r.n_replaced[1], r.n_replaced[2]);
            free(found);
            free_replacing(&r);
        }
        for (size_t b = 0; b < BRANCHES; b++)
            free(expected[b]);
    }
    close_models(&m);
}

/* ---- inputs ---- */

/* What was shown of each matrix's inputs: a hash over tokens, their weights and inputs, in their order. */
struct shown {
    struct moeq_hash hash;
    uint64_t n;
};

struct record {
    uint64_t begin; /* token of the sweep that counts as 0 */
    struct shown shown[LAYERS][17][MOEQ_PART_OTHER];
    float normed[LAYERS][TOKENS][128]; /* inputs of the MLP that all tokens go through */
    /* of pairs */
    struct moeq_inputs twin[MOEQ_PART_OTHER]; /* x is not kept */
    uint32_t twin_tokens[TOKENS];
    uint64_t n_twins;
    const struct record *twins, *own; /* whose normed states they must have; NULL: not looked at */
};

static void add(struct record *r, const struct moeq_inputs *in)
{
    struct shown *s = &r->shown[in->layer][in->expert + 1][in->part];
    for (uint64_t i = 0; i < in->n; i++) {
        struct {
            struct moeq_hash before, row;
            uint64_t token;
            float weight, zero;
        } all = {.before = s->hash,
                 .row = moeq_hash_bytes(in->x + i * in->width, in->width * sizeof(float)),
                 .token = (in->tokens ? in->tokens[i] : in->first + i) - r->begin,
                 .weight = in->weights ? in->weights[i] : 1};
        CU_ASSERT_FATAL(all.token < TOKENS);
        s->hash = moeq_hash_bytes(&all, sizeof all);
        s->n++;
        if (in->part == MOEQ_PART_SHARED_GATE || in->part == MOEQ_PART_DENSE_GATE)
            memcpy(r->normed[in->layer][all.token], in->x + i * in->width, sizeof r->normed[0][0]);
    }
}

/* Inputs of gate are the normed states of the branch, and of the source for twins. */
static void check_normed(const struct record *of, const struct moeq_inputs *in, uint64_t begin)
{
    for (uint64_t i = 0; of && in->part == MOEQ_PART_EXPERT_GATE && i < in->n; i++)
        CU_ASSERT_EQUAL(memcmp(in->x + i * in->width, of->normed[in->layer][in->tokens[i] - begin],
                               sizeof of->normed[0][0]),
                        0);
}

static enum moeq_status show(void *context, const struct moeq_inputs *in, struct moeq_error *err)
{
    struct record *r = ((struct replacing *)context)->record;
    struct moeq_inputs *twin = &r->twin[in->part];
    (void)err;
    if (in->is_twin) {
        CU_ASSERT(in->expert >= 0 && twin->n == 0); /* one call of the pair at a time */
        memcpy(r->twin_tokens, in->tokens, in->n * sizeof *in->tokens);
        *twin = *in;
        check_normed(r->twins, in, r->begin);
        return MOEQ_OK;
    }
    if (r->twins && in->expert >= 0) {
        CU_ASSERT(twin->is_twin && twin->layer == in->layer && twin->expert == in->expert);
        CU_ASSERT_EQUAL_FATAL(twin->n, in->n);
        CU_ASSERT_EQUAL(memcmp(r->twin_tokens, in->tokens, in->n * sizeof *in->tokens), 0);
        check_normed(r->own, in, r->begin);
        r->n_twins += in->n;
        twin->n = 0;
    }
    add(r, in);
    return MOEQ_OK;
}

static enum moeq_status observe(void *context, const struct moeq_inputs *in, struct moeq_error *err)
{
    (void)err;
    add(context, in);
    return MOEQ_OK;
}

static struct record *observed(const struct models *m, const struct moeq_source *source)
{
    struct record *r = calloc(1, sizeof *r);
    const struct moeq_visitor visitor = {.observer = {.context = r, .inputs = observe}};
    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    free(sweep(m, source, WINDOWS, MOEQ_EXACT, 0, &visitor));
    return r;
}

/* What the second of two branches is shown, with that package's matrices (NULL: the source's). */
static struct record *shown(const struct models *m, const struct moeq_source *package, uint64_t group,
                            const struct record *twins, const struct record *own)
{
    static const uint64_t ends[2] = {TOKENS, 2 * TOKENS};
    struct record *record = calloc(1, sizeof *record);
    struct replacing r = {.by = {NULL, package}, .shows = true, .record = record};
    const struct moeq_branches branches = {.context = &r,
                                           .ends = ends,
                                           .n = 2,
                                           .wish = wish,
                                           .inputs = show,
                                           .replace = replace,
                                           .twin = twins ? TOKENS : 0};
    const struct moeq_visitor visitor = {.branches = &branches};
    CU_ASSERT_PTR_NOT_NULL_FATAL(record);
    record->begin = TOKENS;
    record->twins = twins;
    record->own = own;
    free(sweep(m, &m->source, 2 * WINDOWS, MOEQ_EXACT, group, &visitor));
    free_replacing(&r);
    return record;
}

/* Matrices of a part, of which the records differ. */
static unsigned n_other(const struct record *a, const struct record *b, int part)
{
    unsigned n = 0;
    for (int l = 0; l < LAYERS; l++)
        for (int e = 0; e < 17; e++)
            n += memcmp(&a->shown[l][e][part], &b->shown[l][e][part], sizeof(struct shown)) != 0;
    return n;
}

static uint64_t n_shown(const struct record *r, int part)
{
    uint64_t n = 0;
    for (int l = 0; l < LAYERS; l++)
        for (int e = 0; e < 17; e++)
            n += r->shown[l][e][part].n;
    return n;
}

/* With the source's matrices a branch sees what an observer of the source does; with a package's each unit
 * sees what comes to it in the package, and goes on inside with the source's own matrices. */
static void test_inputs(void)
{
    static const enum moeq_part first[] = {MOEQ_PART_Q_A, MOEQ_PART_DENSE_GATE, MOEQ_PART_SHARED_GATE,
                                           MOEQ_PART_EXPERT_GATE};
    static const enum moeq_part inner[] = {MOEQ_PART_Q_B,         MOEQ_PART_KV_B,
                                           MOEQ_PART_O,           MOEQ_PART_DENSE_DOWN,
                                           MOEQ_PART_SHARED_DOWN, MOEQ_PART_EXPERT_DOWN};
    struct models m;
    open_models(&m);
    struct record *source = observed(&m, &m.source), *package = observed(&m, &m.all.source);
    for (uint64_t group = 0; group < 6; group++) {
        struct record *same = shown(&m, NULL, group, NULL, NULL);
        struct record *other = shown(&m, &m.all.source, group, NULL, NULL);
        for (int p = 0; p < MOEQ_PART_OTHER; p++)
            CU_ASSERT(p == MOEQ_PART_ROUTER || n_other(source, same, p) == 0);
        for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
            CU_ASSERT(n_shown(other, (int)first[i]) > 0);
            CU_ASSERT_EQUAL(n_other(package, other, (int)first[i]), 0);
        }
        for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) {
            CU_ASSERT(n_shown(other, (int)inner[i]) > 0);
            CU_ASSERT(n_other(package, other, (int)inner[i]) > 0);
        }
        CU_ASSERT_EQUAL(n_other(source, other, MOEQ_PART_Q_B), LAYERS - 1); /* not yet in the first layer */
        free(same);
        free(other);
    }
    free(source);
    free(package);
    close_models(&m);
}

/* Twins come before their tokens, with the states that the first branch has there. */
static void test_twins(void)
{
    struct models m;
    open_models(&m);
    struct record *source = observed(&m, &m.source), *package = observed(&m, &m.all.source);
    for (uint64_t group = 0; group < 6; group++) {
        struct record *with = shown(&m, &m.all.source, group, source, package);
        struct record *without = shown(&m, &m.all.source, group, NULL, NULL);
        CU_ASSERT_EQUAL(with->n_twins,
                        n_shown(with, MOEQ_PART_EXPERT_GATE) + n_shown(with, MOEQ_PART_EXPERT_DOWN));
        CU_ASSERT_EQUAL(n_shown(with, MOEQ_PART_EXPERT_GATE), TOKENS * 3 * m.source.config.top_k);
        for (int p = 0; p < MOEQ_PART_OTHER; p++)
            CU_ASSERT_EQUAL(n_other(without, with, p), 0);
        free(with);
        free(without);
    }
    free(source);
    free(package);
    close_models(&m);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"a branch is the model that it has the matrices of", test_states},
        {"inputs of a branch", test_inputs},
        {"twins come in pairs with their tokens", test_twins},
        {NULL, NULL},
    };
    return unit_main("branches", tests);
}
