#include "routing.h"

#include "router.h"

#include <math.h>

#define TOKEN_GRAIN 16

struct choice {
    const struct moeq_routing *routing;
    const struct moeq_config *config;
    int32_t *experts;
    float *weights;
};

static enum moeq_status choose(void *context, unsigned worker, uint64_t begin, uint64_t end,
                               struct moeq_error *err)
{
    const struct choice *choice = context;
    const struct moeq_routing *r = choice->routing;
    const struct moeq_config *c = choice->config;
    float *scratch = r->scratch + (uint64_t)worker * 2 * c->n_experts;
    for (uint64_t t = begin; t < end; t++) {
        float *logits = r->logits + t * c->n_experts;
        for (uint32_t e = 0; e < c->n_experts; e++)
            if (!isfinite(logits[e]))
                return moeq_fail(err, MOEQ_DAMAGED,
                                 "the router's output is not finite: weights of this or an "
                                 "earlier layer are damaged");
        moeq_router_choose(c, logits, r->bias, scratch, choice->experts + t * c->top_k,
                           choice->weights + t * c->top_k);
    }
    return MOEQ_OK;
}

enum moeq_status moeq_route(struct moeq_run *run, const struct moeq_routing *routing, const float *x,
                            uint64_t n, int32_t *experts, float *weights, struct moeq_error *err)
{
    const struct moeq_config *c = run->config;
    struct choice choice = {routing, c, experts, weights};
    enum moeq_status status =
        moeq_activations_set(&run->inputs, run->pool, MOEQ_EXACT, x, c->hidden, NULL, n, c->hidden, err);
    if (!status)
        status = moeq_matmul(run->pool, &run->scratch, &routing->router, &run->inputs, routing->logits,
                             c->n_experts, err);
    return status ? status : moeq_pool_for(run->pool, n, TOKEN_GRAIN, choose, &choice, err);
}
