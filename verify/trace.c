#include "trace.h"

#include "bytes.h"

#include <math.h>
#include <stdlib.h>

#define TOKEN_GRAIN 16

struct moeq_trace_shape moeq_trace_shape(const struct moeq_config *config)
{
    struct moeq_trace_shape shape = {.hidden = config->hidden,
                                     .n_layers = config->n_layers,
                                     .n_experts = config->n_experts,
                                     .top_k = config->top_k};
    for (uint32_t i = 0; i < config->n_layers; i++)
        shape.moe[i] = moeq_config_layer_is_moe(config, i);
    return shape;
}

bool moeq_trace_shape_equal(const struct moeq_trace_shape *a, const struct moeq_trace_shape *b)
{
    bool same = a->hidden == b->hidden && a->n_layers == b->n_layers && a->n_experts == b->n_experts &&
                a->top_k == b->top_k;
    for (uint32_t i = 0; same && i < a->n_layers; i++)
        same = a->moe[i] == b->moe[i];
    return same;
}

enum moeq_status moeq_drift_init(struct moeq_drift *drift, const struct moeq_trace_shape *shape,
                                 struct moeq_error *err)
{
    *drift = (struct moeq_drift){.n_layers = shape->n_layers, .n_experts = shape->n_experts};
    drift->layers = moeq_calloc(shape->n_layers, sizeof *drift->layers, err);
    drift->experts = moeq_calloc((size_t)shape->n_layers * shape->n_experts, sizeof *drift->experts, err);
    if (drift->layers && drift->experts)
        return MOEQ_OK;
    moeq_drift_free(drift);
    return MOEQ_OVER_MEMORY;
}

void moeq_drift_free(struct moeq_drift *drift)
{
    free(drift->layers);
    free(drift->experts);
    *drift = (struct moeq_drift){0};
}

/* ---- the trace ---- */

static uint64_t n_choices(const struct moeq_trace *t)
{
    return t->n_tokens * t->shape->top_k;
}

enum moeq_status moeq_trace_init(struct moeq_trace *trace, const struct moeq_trace_shape *shape,
                                 struct moeq_pool *pool, uint64_t n_tokens, uint64_t context,
                                 const struct moeq_trace_store *store, struct moeq_drift *drift,
                                 struct moeq_error *err)
{
    struct moeq_trace *t = trace;
    *t = (struct moeq_trace){.shape = shape,
                             .pool = pool,
                             .n_tokens = n_tokens,
                             .context = context,
                             .store = *store,
                             .drift = drift};
    const size_t n_sketches = (size_t)(n_tokens * MOEQ_SKETCH), n_compared = drift ? n_sketches : 0;
    t->layer.experts = moeq_calloc(n_choices(t), sizeof(uint16_t), err);
    t->layer.sketches = moeq_calloc(n_sketches, sizeof(float), err);
    t->before = moeq_calloc(n_compared, sizeof(float), err);
    t->reference.experts = moeq_calloc(drift ? n_choices(t) : 0, sizeof(uint16_t), err);
    t->reference.sketches = moeq_calloc(n_compared, sizeof(float), err);
    t->reference_before = moeq_calloc(n_compared, sizeof(float), err);
    if (t->layer.experts && t->layer.sketches && t->before && t->reference.experts && t->reference.sketches &&
        t->reference_before)
        return MOEQ_OK;
    moeq_trace_free(t);
    return MOEQ_OVER_MEMORY;
}

void moeq_trace_free(struct moeq_trace *trace)
{
    free(trace->layer.experts);
    free(trace->layer.sketches);
    free(trace->before);
    free(trace->reference.experts);
    free(trace->reference.sketches);
    free(trace->reference_before);
    *trace = (struct moeq_trace){0};
}

/* ---- sketches ---- */

struct sketching {
    struct moeq_trace *trace;
    const struct moeq_layer_result *result;
};

#define LANES 16

typedef uint32_t lanes_int __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef float lanes_float __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

/* What a token's signs come from: splitmix64 of its number and the lane's. */
static void set_seed(lanes_int *seed, uint64_t token)
{
    for (uint64_t i = 0; i < LANES; i++)
        (*seed)[i] = (uint32_t)(moeq_mixed((token * LANES + i + 1) * MOEQ_MIX_STEP) >> 32) | 1; /* never 0 */
}

/* Sums in sixteen lanes, which are then added in their order. Each lane draws its signs by xorshift
 * (Marsaglia, 2003): the highest bit for the first number, the next for the second. */
static void sketch_token(const float *x, uint32_t n, uint64_t token, float sketch[MOEQ_SKETCH])
{
    lanes_int state = {0};
    lanes_float sums[MOEQ_SKETCH] = {{0}};
    set_seed(&state, token);
    for (uint32_t i = 0; i < n; i += LANES) {
        float rest[LANES] = {0};
        if (n - i < LANES)
            memcpy(rest, x + i, (n - i) * sizeof *rest);
        const lanes_int bits = *(const lanes_int *)(const void *)(n - i < LANES ? rest : x + i);
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        for (uint32_t k = 0; k < MOEQ_SKETCH; k++)
            sums[k] += (lanes_float)(bits ^ (state << k & 0x80000000u));
    }
    for (uint32_t k = 0; k < MOEQ_SKETCH; k++) {
        sketch[k] = 0;
        for (uint32_t l = 0; l < LANES; l++)
            sketch[k] += sums[k][l];
    }
}

static enum moeq_status sketch_tokens(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                      struct moeq_error *err)
{
    const struct sketching *s = context;
    const uint32_t width = s->trace->shape->hidden;
    (void)worker;
    (void)err;
    for (uint64_t t = begin; t < end; t++) {
        const uint64_t token = s->result->first + t;
        sketch_token(s->result->hidden + t * width, width, token,
                     s->trace->layer.sketches + token * MOEQ_SKETCH);
    }
    return MOEQ_OK;
}

static enum moeq_status see_layer(void *context, const struct moeq_layer_result *result,
                                  struct moeq_error *err)
{
    struct moeq_trace *t = context;
    struct sketching s = {t, result};
    const uint64_t top_k = t->shape->top_k;
    uint16_t *experts = t->layer.experts + result->first * top_k;
    for (uint64_t i = 0; result->experts && i < result->n * top_k; i++)
        experts[i] = (uint16_t)result->experts[i];
    return moeq_pool_for(t->pool, result->n, TOKEN_GRAIN, sketch_tokens, &s, err);
}

/* ---- comparing ---- */

/* Sums of squares of errors and of what the reference has. */
struct ratio {
    double error, norm;
};

static void add_square(struct ratio *r, double model, double reference)
{
    r->error += (model - reference) * (model - reference);
    r->norm += reference * reference;
}

static double root_of(const struct ratio *r)
{
    return r->norm > 0 ? sqrt(r->error / r->norm) : 0;
}

static uint64_t n_common(const uint16_t *a, const uint16_t *b, uint32_t n)
{
    uint64_t common = 0;
    for (uint32_t i = 0, j = 0; i < n && j < n;)
        if (a[i] == b[j]) {
            common++;
            i++;
            j++;
        } else if (a[i] < b[j])
            i++;
        else
            j++;
    return common;
}

static bool has_expert(const uint16_t *experts, uint32_t n, uint16_t expert)
{
    for (uint32_t i = 0; i < n; i++)
        if (experts[i] == expert)
            return true;
    return false;
}

static struct ratio own_square(const struct moeq_trace *t, uint64_t token)
{
    struct ratio own = {0};
    for (uint64_t i = token * MOEQ_SKETCH; i < (token + 1) * MOEQ_SKETCH; i++)
        add_square(&own, (double)t->layer.sketches[i] - (double)t->before[i],
                   (double)t->reference.sketches[i] - (double)t->reference_before[i]);
    return own;
}

static void compare_experts(const struct moeq_trace *t, uint64_t token, struct moeq_expert_drift *experts,
                            struct ratio *ratios)
{
    const uint32_t top_k = t->shape->top_k;
    const uint16_t *chosen = t->layer.experts + token * top_k,
                   *by_reference = t->reference.experts + token * top_k;
    const struct ratio own = own_square(t, token);
    for (uint32_t i = 0; i < top_k; i++) {
        const uint16_t e = by_reference[i];
        experts[e].n_tokens++;
        experts[e].router += has_expert(chosen, top_k, e);
        if (token % t->context) {
            ratios[e].error += own.error;
            ratios[e].norm += own.norm;
        }
    }
}

static enum moeq_status compare_moe(const struct moeq_trace *t, int layer, struct moeq_error *err)
{
    const uint32_t n_experts = t->shape->n_experts, top_k = t->shape->top_k;
    struct moeq_expert_drift *experts = t->drift->experts + (size_t)layer * n_experts;
    struct ratio *ratios = moeq_calloc(n_experts, sizeof *ratios, err);
    uint64_t common = 0;
    if (!ratios)
        return MOEQ_OVER_MEMORY;
    for (uint64_t token = 0; token < t->n_tokens; token++) {
        common += n_common(t->layer.experts + token * top_k, t->reference.experts + token * top_k, top_k);
        compare_experts(t, token, experts, ratios);
    }
    for (uint32_t e = 0; e < n_experts; e++) {
        experts[e].router = experts[e].n_tokens ? experts[e].router / (double)experts[e].n_tokens : 1;
        experts[e].own_error = root_of(&ratios[e]);
    }
    t->drift->layers[layer].router = (double)common / (double)n_choices(t);
    free(ratios);
    return MOEQ_OK;
}

static void compare_states(const struct moeq_trace *t, struct moeq_layer_drift *drift)
{
    struct ratio all = {0}, own = {0};
    for (uint64_t token = 0; token < t->n_tokens; token++) {
        if (token % t->context == 0)
            continue;
        for (uint64_t i = token * MOEQ_SKETCH; i < (token + 1) * MOEQ_SKETCH; i++)
            add_square(&all, (double)t->layer.sketches[i], (double)t->reference.sketches[i]);
        const struct ratio this_one = own_square(t, token);
        own.error += this_one.error;
        own.norm += this_one.norm;
    }
    drift->error = root_of(&all);
    drift->own_error = root_of(&own);
}

static void swap(float **a, float **b)
{
    float *kept = *a;
    *a = *b;
    *b = kept;
}

static enum moeq_status end_layer(void *context, int layer, struct moeq_error *err)
{
    struct moeq_trace *t = context;
    if (!t->drift)
        return t->store.keep(t->store.context, layer, &t->layer, err);
    struct moeq_layer_drift *drift = &t->drift->layers[layer];
    enum moeq_status status = t->store.fetch(t->store.context, layer, &t->reference, err);
    *drift = (struct moeq_layer_drift){.is_moe = t->shape->moe[layer], .router = 1};
    if (!status && drift->is_moe)
        status = compare_moe(t, layer, err);
    if (status)
        return status;
    compare_states(t, drift);
    swap(&t->layer.sketches, &t->before);
    swap(&t->reference.sketches, &t->reference_before);
    return MOEQ_OK;
}

void moeq_trace_visit(struct moeq_trace *trace, struct moeq_visitor *visitor)
{
    visitor->context = trace;
    visitor->layer = see_layer;
    visitor->done = end_layer;
}

/* ---- in memory ---- */

enum moeq_status moeq_trace_memory_init(struct moeq_trace_memory *memory,
                                        const struct moeq_trace_shape *shape, uint64_t n_tokens,
                                        struct moeq_error *err)
{
    *memory = (struct moeq_trace_memory){.shape = shape, .n_tokens = n_tokens};
    if (!(memory->layers = moeq_calloc(shape->n_layers, sizeof *memory->layers, err)))
        return MOEQ_OVER_MEMORY;
    for (uint32_t i = 0; i < shape->n_layers; i++) {
        struct moeq_trace_layer *l = &memory->layers[i];
        l->experts = moeq_calloc(shape->moe[i] ? n_tokens * shape->top_k : 0, sizeof(uint16_t), err);
        l->sketches = moeq_calloc(n_tokens * MOEQ_SKETCH, sizeof(float), err);
        if (!l->experts || !l->sketches) {
            moeq_trace_memory_free(memory);
            return MOEQ_OVER_MEMORY;
        }
    }
    return MOEQ_OK;
}

void moeq_trace_memory_free(struct moeq_trace_memory *memory)
{
    for (uint32_t i = 0; memory->layers && i < memory->shape->n_layers; i++) {
        free(memory->layers[i].experts);
        free(memory->layers[i].sketches);
    }
    free(memory->layers);
    *memory = (struct moeq_trace_memory){0};
}

static void copy_layer(const struct moeq_trace_memory *m, int layer, struct moeq_trace_layer *to,
                       const struct moeq_trace_layer *from)
{
    if (m->shape->moe[layer])
        memcpy(to->experts, from->experts, (size_t)(m->n_tokens * m->shape->top_k) * sizeof *to->experts);
    memcpy(to->sketches, from->sketches, (size_t)(m->n_tokens * MOEQ_SKETCH) * sizeof *to->sketches);
}

static enum moeq_status keep_in_memory(void *context, int layer, const struct moeq_trace_layer *trace,
                                       struct moeq_error *err)
{
    const struct moeq_trace_memory *m = context;
    (void)err;
    copy_layer(m, layer, &m->layers[layer], trace);
    return MOEQ_OK;
}

static enum moeq_status fetch_from_memory(void *context, int layer, struct moeq_trace_layer *trace,
                                          struct moeq_error *err)
{
    const struct moeq_trace_memory *m = context;
    (void)err;
    copy_layer(m, layer, trace, &m->layers[layer]);
    return MOEQ_OK;
}

struct moeq_trace_store moeq_trace_memory_store(struct moeq_trace_memory *memory)
{
    return (struct moeq_trace_store){memory, keep_in_memory, fetch_from_memory};
}

/* ---- memory ---- */

static uint64_t layer_bytes(const struct moeq_config *config, uint64_t n_tokens, bool moe)
{
    return n_tokens * (MOEQ_SKETCH * sizeof(float) + (moe ? config->top_k * sizeof(uint16_t) : 0));
}

uint64_t moeq_trace_bytes(const struct moeq_config *config, uint64_t n_tokens)
{
    return 2 * layer_bytes(config, n_tokens, true) + 2 * n_tokens * MOEQ_SKETCH * sizeof(float);
}

uint64_t moeq_trace_memory_bytes(const struct moeq_config *config, uint64_t n_tokens)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < config->n_layers; i++)
        sum += layer_bytes(config, n_tokens, moeq_config_layer_is_moe(config, i));
    return sum;
}
