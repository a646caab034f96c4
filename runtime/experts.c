#include "experts.h"

#include "assignment.h"
#include "branches.h"
#include "interrupt.h"
#include "mlp.h"

#include <stdlib.h>

struct experts {
    struct moeq_run *run;
    int layer;
    bool *is_used;                     /* [n_experts], by any token of the sweep */
    struct moeq_assignment assignment; /* of the group that is in memory */
    uint32_t first, end;               /* the experts that are held */
    struct moeq_mlp *mlps;             /* [n_experts]: those that are loaded */
};

static void mark_used(const struct moeq_run *run, bool *is_used)
{
    for (uint64_t i = 0; i < run->n_tokens * run->config->top_k; i++)
        is_used[run->experts[i]] = true;
}

static enum moeq_status prepare(struct experts *x, struct moeq_error *err)
{
    const struct moeq_run *run = x->run;
    const struct moeq_config *c = run->config;
    const uint64_t n = (run->observer || run->branches ? run->n_tokens : run->states.n_group * c->top_k);
    x->is_used = moeq_calloc(c->n_experts, sizeof *x->is_used, err);
    x->mlps = moeq_calloc(c->n_experts, sizeof *x->mlps, err);
    if (!x->is_used || !x->mlps)
        return MOEQ_OVER_MEMORY;
    mark_used(run, x->is_used);
    return moeq_assignment_init(&x->assignment, c->n_experts, n, err);
}

enum moeq_status moeq_experts_ask(struct moeq_run *run, int layer, struct moeq_error *err)
{
    bool *is_used = moeq_calloc(run->config->n_experts, sizeof *is_used, err);
    enum moeq_status status = is_used ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (is_used)
        mark_used(run, is_used);
    for (uint32_t e = 0; !status && e < run->config->n_experts; e++)
        if (is_used[e])
            status = moeq_mlp_ask(run, MOEQ_PART_EXPERT_GATE, layer, (int)e, err);
    free(is_used);
    return status;
}

/* One group of tokens through the experts that are held. With the first group they are loaded, with the last
 * they are done. */
static enum moeq_status run_group(void *context, struct moeq_error *err)
{
    struct experts *x = context;
    struct moeq_run *run = x->run;
    const struct moeq_assignment *a = &x->assignment;
    const bool is_last = run->states.first + run->states.n == run->n_tokens;
    enum moeq_status status = MOEQ_OK;
    const uint64_t first = run->states.first * run->config->top_k;
    moeq_assignment_sort(&x->assignment, run->config->n_experts, run->experts + first, run->weights + first,
                         run->states.n, run->config->top_k);
    for (uint32_t e = x->first; !status && e < x->end; e++) {
        if (!x->is_used[e])
            continue;
        status = moeq_interrupt_check(err);
        if (!status && run->states.first == 0)
            status = moeq_mlp_get(run, &x->mlps[e], err);
        const uint64_t end = a->begins[e + 1];
        for (uint64_t i = a->begins[e]; !status && i < end; i += run->chunk)
            status = moeq_mlp_add(run, &x->mlps[e], 0, a->rows + i, a->weights + i,
                                  end - i < run->chunk ? end - i : run->chunk, err);
        if (!status && is_last)
            moeq_loader_release(run->loader);
    }
    return status;
}

/* Experts from x->first on that fit the loader together; all of them, one after the other, for one group. */
static uint32_t end_of_held(const struct experts *x)
{
    const struct moeq_run *run = x->run;
    uint64_t total = 0, largest = 0;
    uint32_t e = x->first;
    if (run->states.n_group == run->n_tokens)
        return run->config->n_experts;
    for (; e < run->config->n_experts; e++) {
        if (!x->is_used[e])
            continue;
        const uint64_t n = moeq_mlp_bytes(run->source, MOEQ_PART_EXPERT_GATE, x->layer, (int)e);
        largest = moeq_larger(largest, n);
        if (total && moeq_loader_ring(total + n, largest) > run->ring)
            break;
        total += n;
    }
    return e;
}

/* ---- for an observer or branches: one expert after the other with all its tokens, wherever their states are
 * ---- */

/* Room for a chunk. */
struct room {
    float *normed, *hidden; /* [chunk, hidden] */
    uint64_t *rows;         /* [chunk] */
};

/* The current expert's tokens, ascending. */
struct picks {
    struct experts *x;
    uint32_t expert;
    const uint32_t *tokens;
    const float *weights;
    uint64_t n;
    struct moeq_mlp mlp; /* as loaded */
    struct room *room;
};

/* Tokens of the sweep that go to an expert; returns how many. */
static uint64_t list_tokens(const struct moeq_run *run, uint32_t expert, uint32_t *tokens, float *weights)
{
    const uint64_t top_k = run->config->top_k;
    uint64_t n = 0;
    for (uint64_t i = 0; i < run->n_tokens * top_k; i++)
        if ((uint32_t)run->experts[i] == expert) {
            tokens[n] = (uint32_t)(i / top_k);
            weights[n++] = run->weights[i];
        }
    return n;
}

/* The normed states of picks [begin, end), or of their twins, as inputs. */
static enum moeq_status gather_inputs(const struct picks *p, uint64_t begin, uint64_t end, uint64_t twin,
                                      struct moeq_inputs *inputs, struct moeq_error *err)
{
    const struct moeq_run *run = p->x->run;
    const struct room *room = p->room;
    *inputs = (struct moeq_inputs){.layer = p->x->layer,
                                   .expert = (int)p->expert,
                                   .part = MOEQ_PART_EXPERT_GATE,
                                   .width = run->config->hidden,
                                   .n = end - begin,
                                   .x = room->normed,
                                   .tokens = p->tokens + begin,
                                   .weights = p->weights + begin,
                                   .is_twin = twin > 0};
    for (uint64_t i = begin; i < end; i++)
        room->rows[i - begin] = p->tokens[i] - twin;
    return moeq_states_gather(&run->states, MOEQ_NORMED, room->rows, end - begin, room->normed, err);
}

static enum moeq_status add_chunk(const struct picks *p, const struct moeq_mlp *mlp, uint64_t begin,
                                  uint64_t end, struct moeq_error *err)
{
    struct moeq_run *run = p->x->run;
    const struct room *room = p->room;
    const struct moeq_observer *o = run->observer;
    const uint64_t width = run->config->hidden, n = end - begin;
    struct moeq_inputs inputs;
    enum moeq_status status = gather_inputs(p, begin, end, 0, &inputs, err);
    if (!status)
        status = moeq_states_gather(&run->states, MOEQ_HIDDEN, room->rows, n, room->hidden, err);
    const struct moeq_sums to = {.y = room->hidden, .ldy = width, .weights = inputs.weights};
    if (!status)
        status = o ? moeq_mlp_show(run, mlp, (struct moeq_seer){o->context, o->inputs}, &inputs, &to, err)
                   : moeq_mlp_apply(run, mlp, room->normed, NULL, n, &to, err);
    return status ? status : moeq_states_scatter(&run->states, room->rows, n, room->hidden, err);
}

/* The first pick from `i` on that is of another part than pick i, or behind a chunk. */
static uint64_t end_of_chunk(const struct picks *p, uint64_t i)
{
    const struct moeq_run *run = p->x->run;
    uint64_t end = i, last = UINT64_MAX;
    for (size_t k = run->n_ends; k-- > 0;)
        if (run->ends[k] > p->tokens[i])
            last = run->ends[k];
    while (end < p->n && end - i < run->chunk && p->tokens[end] < last)
        end++;
    return end;
}

static enum moeq_status show_branch(void *context, size_t branch, struct moeq_error *err)
{
    const struct picks *p = context;
    struct moeq_run *run = p->x->run;
    const struct moeq_branches *b = run->branches;
    const struct moeq_seer seer = {b->context, b->inputs};
    enum moeq_status status = MOEQ_OK;
    for (uint64_t i = 0, end; !status && i < p->n; i = end) {
        struct moeq_inputs inputs;
        end = end_of_chunk(p, i);
        if (moeq_branch_of(b, p->tokens[i]) != branch)
            continue;
        status = moeq_interrupt_check(err);
        if (!status && b->twin)
            status = gather_inputs(p, i, end, b->twin, &inputs, err);
        if (!status && b->twin)
            status = moeq_mlp_show(run, &p->mlp, seer, &inputs, NULL, err);
        if (!status)
            status = gather_inputs(p, i, end, 0, &inputs, err);
        if (!status)
            status = moeq_mlp_show(run, &p->mlp, seer, &inputs, NULL, err);
    }
    return status;
}

static enum moeq_status replace_expert(struct picks *p, struct moeq_mlp *sets, struct moeq_error *err)
{
    const struct moeq_weight *weights[3];
    const struct moeq_unit unit = {p->x->layer, (int)p->expert, weights, 3};
    moeq_mlp_weights(p->x->run->source, MOEQ_PART_EXPERT_GATE, p->x->layer, (int)p->expert, weights);
    return moeq_branches_replace(p->x->run->branches, &unit, &p->mlp.gate, show_branch, p, &sets->gate, err);
}

static enum moeq_status run_expert(struct picks *p, struct moeq_mlp *sets, struct moeq_error *err)
{
    struct moeq_run *run = p->x->run;
    enum moeq_status status = moeq_interrupt_check(err);
    if (!status)
        status = moeq_mlp_get(run, &p->mlp, err);
    if (!status && sets)
        status = replace_expert(p, sets, err);
    for (uint64_t i = 0, end; !status && i < p->n; i = end) {
        end = end_of_chunk(p, i);
        status =
            add_chunk(p, sets ? &sets[moeq_branch_of(run->branches, p->tokens[i])] : &p->mlp, i, end, err);
    }
    if (!status)
        moeq_loader_release(run->loader);
    return status;
}

static enum moeq_status run_one_by_one(struct experts *x, struct moeq_error *err)
{
    struct moeq_run *run = x->run;
    const struct moeq_assignment *a = &x->assignment;
    const uint64_t n = run->chunk * run->config->hidden;
    struct room room = {moeq_calloc(n, sizeof(float), err), moeq_calloc(n, sizeof(float), err),
                        moeq_calloc(run->chunk, sizeof(uint64_t), err)};
    struct moeq_mlp *sets =
        run->branches ? moeq_calloc(run->branches->n, sizeof(struct moeq_mlp), err) : NULL;
    enum moeq_status status =
        room.normed && room.hidden && room.rows && (sets || !run->branches) ? MOEQ_OK : MOEQ_OVER_MEMORY;
    for (uint32_t e = 0; !status && e < run->config->n_experts; e++) {
        if (!x->is_used[e])
            continue;
        struct picks p = {.x = x, .expert = e, .tokens = a->rows, .weights = a->weights, .room = &room};
        p.n = list_tokens(run, e, a->rows, a->weights);
        status = run_expert(&p, sets, err);
    }
    free(room.normed);
    free(room.hidden);
    free(room.rows);
    free(sets);
    return status;
}

enum moeq_status moeq_experts_run(struct moeq_run *run, int layer, struct moeq_error *err)
{
    struct experts x = {.run = run, .layer = layer};
    enum moeq_status status = prepare(&x, err);
    if (!status && (run->observer || run->branches)) {
        status = run_one_by_one(&x, err);
        x.first = run->config->n_experts;
    }
    for (; !status && x.first < run->config->n_experts; x.first = x.end) {
        x.end = end_of_held(&x);
        status = moeq_states_each(&run->states, MOEQ_HIDDEN | MOEQ_NORMED, MOEQ_HIDDEN, run_group, &x, err);
    }
    moeq_assignment_free(&x.assignment);
    free(x.is_used);
    free(x.mlps);
    return status;
}
