#include "scoring.h"

#include "interrupt.h"
#include "tally.h"

#include <math.h>
#include <stdlib.h>

#define TOKEN_GRAIN 8

/* What gathers of a token while slices come. */
struct token {
    struct moeq_tally_pair pair;
    struct moeq_top best, reference_best;
    struct moeq_excerpt_maker maker;
};

struct chunk {
    const struct moeq_scoring_task *s;
    uint64_t n_scored, vocabulary;
    uint64_t size;                   /* tokens of a chunk */
    uint64_t first, n;               /* scores of this one */
    uint64_t first_entry, n_entries; /* of the vocabulary that is in memory */
    bool compares;
    struct moeq_excerpt_shape shape;
    float *logits, *reference_logits; /* [size, n_entries] */
    uint64_t *positions;              /* [size]: indices into the tokens */
    struct token *tokens;             /* [size] */
    struct moeq_top_entry *entries;   /* [size, entries_of]: what their lists point into */
    struct moeq_excerpts excerpts;    /* read or made */
    float *gathered;                  /* [size, top + sample]: the model's logits of an excerpt's entries */
    float *noise;
};

static uint64_t chunk_tokens(const struct moeq_windows *w)
{
    const uint64_t n = w->n_windows * w->n_scored;
    return n < MOEQ_BASELINE_CHUNK ? n : MOEQ_BASELINE_CHUNK;
}

static uint64_t chunk_entries(uint64_t n_left)
{
    return n_left < MOEQ_EXCERPT_SLICE ? n_left : MOEQ_EXCERPT_SLICE;
}

/* Entries of a token's lists. */
static uint64_t list_entries(bool compares, bool saves, struct moeq_excerpt_shape shape)
{
    return (compares ? 2 * moeq_top_room(MOEQ_COMPARED_BEST) : 0) + (saves ? moeq_excerpt_entries(shape) : 0);
}

static int32_t target_of(const struct chunk *c, uint64_t i)
{
    return c->s->windows->tokens[c->positions[i] + 1];
}

/* ---- a slice of the vocabulary ---- */

static void gather(struct chunk *c, uint64_t i, const float *logits)
{
    const uint32_t n = c->shape.top + c->shape.sample, first = (uint32_t)c->first_entry;
    const uint32_t *ids = c->excerpts.tokens[i].ids;
    float *to = c->gathered + i * n;
    for (uint32_t k = 0; k < n; k++)
        if (ids[k] - first < c->n_entries) /* unsigned: entries before the first are far above */
            to[k] = logits[ids[k] - first];
}

static void add_slice(struct chunk *c, uint64_t i)
{
    const struct moeq_scoring_task *s = c->s;
    struct token *t = &c->tokens[i];
    const float *logits = c->logits + i * c->n_entries,
                *reference = s->reference ? c->reference_logits + i * c->n_entries : NULL;
    moeq_tally_pair_add(&t->pair, logits, reference, c->first_entry, c->n_entries, (uint32_t)target_of(c, i));
    if (c->compares)
        moeq_top_add(&t->best, logits, NULL, c->first_entry, c->n_entries);
    if (reference)
        moeq_top_add(&t->reference_best, reference, NULL, c->first_entry, c->n_entries);
    if (s->baseline)
        gather(c, i, logits);
    if (s->save)
        moeq_excerpt_add(&t->maker, c->noise, c->first + i, logits, c->first_entry, c->n_entries);
}

static enum moeq_status add_slices(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                   struct moeq_error *err)
{
    (void)worker;
    (void)err;
    for (uint64_t i = begin; i < end; i++)
        add_slice(context, i);
    return MOEQ_OK;
}

static enum moeq_status score_slice(struct chunk *c, struct moeq_error *err)
{
    const struct moeq_scoring_task *s = c->s;
    c->n_entries = chunk_entries(c->vocabulary - c->first_entry);
    enum moeq_status status = moeq_interrupt_check(err);
    if (!status)
        status = moeq_sweep_logits(s->sweep, c->first_entry, c->n_entries, c->logits, err);
    if (!status && s->reference)
        status = moeq_sweep_logits(s->reference, c->first_entry, c->n_entries, c->reference_logits, err);
    return status ? status : moeq_pool_for(s->sweep->run.pool, c->n, TOKEN_GRAIN, add_slices, c, err);
}

/* ---- a token ---- */

static unsigned count_common(const struct moeq_top *a, const uint32_t *ids, uint32_t n)
{
    unsigned common = 0;
    for (uint32_t i = 0; i < a->n; i++)
        for (uint32_t j = 0; j < n; j++)
            common += a->entries[i].id == ids[j];
    return common;
}

static enum moeq_status compare_exactly(struct token *t, struct moeq_score *score, struct moeq_error *err)
{
    uint32_t ids[MOEQ_COMPARED_BEST] = {0};
    const double total = moeq_tally_total(&t->pair.reference);
    if (!isfinite(total))
        return moeq_fail(err, MOEQ_DAMAGED, "the reference's logits are not finite: weights are damaged");
    moeq_top_end(&t->reference_best);
    for (uint32_t i = 0; i < t->reference_best.n; i++)
        ids[i] = t->reference_best.entries[i].id;
    score->reference_nll = total - t->pair.reference.target;
    score->kld = score->kld_lower = moeq_tally_divergence(&t->pair);
    score->reference_best = t->pair.reference.best;
    score->overlap = (uint8_t)count_common(&t->best, ids, t->reference_best.n);
    return MOEQ_OK;
}

static void compare_excerpt(const struct chunk *c, uint64_t i, struct moeq_score *score)
{
    const struct token *t = &c->tokens[i];
    const struct moeq_excerpt *e = &c->excerpts.tokens[i];
    const uint32_t n = c->shape.top + c->shape.sample;
    const struct moeq_excerpt_divergence d =
        moeq_excerpt_compare(e, c->shape, c->gathered + i * n, moeq_tally_total(&t->pair.model));
    score->reference_nll = (double)e->nll;
    score->kld = d.estimate;
    score->kld_lower = d.lower;
    score->reference_best = e->ids[0];
    score->overlap = (uint8_t)count_common(
        &t->best, e->ids, c->shape.top < MOEQ_COMPARED_BEST ? c->shape.top : MOEQ_COMPARED_BEST);
}

static enum moeq_status end_token(struct chunk *c, uint64_t i, struct moeq_error *err)
{
    const struct moeq_scoring_task *s = c->s;
    struct token *t = &c->tokens[i];
    struct moeq_score *score = &s->scores[c->first + i];
    const double total = moeq_tally_total(&t->pair.model);
    if (!isfinite(total))
        return moeq_fail(err, MOEQ_DAMAGED, "the logits are not finite: weights are damaged");
    score->nll = total - t->pair.model.target;
    score->target = target_of(c, i);
    score->best = t->pair.model.best;
    enum moeq_status status = MOEQ_OK;
    if (c->compares)
        moeq_top_end(&t->best);
    if (s->reference)
        status = compare_exactly(t, score, err);
    else if (s->baseline)
        compare_excerpt(c, i, score);
    if (!status && !isfinite(score->kld)) /* a logit of minus infinity */
        status = moeq_fail(err, MOEQ_DAMAGED, "the KL divergence is not finite: weights are damaged");
    if (!status && s->save)
        status = moeq_excerpt_end(&t->maker, c->shape, &t->pair.model, &c->excerpts.tokens[i], err);
    return status;
}

static enum moeq_status end_tokens(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                   struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    (void)worker;
    for (uint64_t i = begin; !status && i < end; i++)
        status = end_token(context, i, err);
    return status;
}

/* ---- a chunk ---- */

static void begin_token(struct chunk *c, uint64_t i)
{
    const struct moeq_scoring_task *s = c->s;
    const struct moeq_windows *w = s->windows;
    const uint64_t at = c->first + i, n_best = moeq_top_room(MOEQ_COMPARED_BEST);
    struct token *t = &c->tokens[i];
    struct moeq_top_entry *entries = c->entries + i * list_entries(c->compares, s->save, c->shape);
    c->positions[i] = at / w->n_scored * w->context + w->first + at % w->n_scored;
    *t = (struct token){0};
    if (c->compares) {
        moeq_top_begin(&t->best, MOEQ_COMPARED_BEST, entries);
        moeq_top_begin(&t->reference_best, MOEQ_COMPARED_BEST, entries + n_best);
        entries += 2 * n_best;
    }
    if (s->save)
        moeq_excerpt_begin(&t->maker, c->shape, entries);
}

static enum moeq_status score_chunk(struct chunk *c, struct moeq_error *err)
{
    const struct moeq_scoring_task *s = c->s;
    const uint64_t left = c->n_scored - c->first;
    c->n = left < c->size ? left : c->size;
    for (uint64_t i = 0; i < c->n; i++)
        begin_token(c, i);
    uint64_t n_read = 0;
    enum moeq_status status = MOEQ_OK;
    if (s->baseline)
        status = moeq_baseline_get(s->baseline, c->first / MOEQ_BASELINE_CHUNK, &c->excerpts, &n_read, err);
    if (!status)
        status = moeq_sweep_choose(s->sweep, c->positions, c->n, err);
    if (!status && s->reference)
        status = moeq_sweep_choose(s->reference, c->positions, c->n, err);
    for (c->first_entry = 0; !status && c->first_entry < c->vocabulary; c->first_entry += c->n_entries)
        status = score_slice(c, err);
    if (!status)
        status = moeq_pool_for(s->sweep->run.pool, c->n, TOKEN_GRAIN, end_tokens, c, err);
    if (!status && s->save)
        status = moeq_baseline_put(s->save, &c->excerpts, c->n, err);
    return status;
}

/* ---- all of them ---- */

static enum moeq_status allocate(struct chunk *c, struct moeq_error *err)
{
    const struct moeq_scoring_task *s = c->s;
    const size_t n_logits = (size_t)(c->size * chunk_entries(c->vocabulary));
    c->logits = moeq_calloc(n_logits, sizeof(float), err);
    c->reference_logits = moeq_calloc(s->reference ? n_logits : 0, sizeof(float), err);
    c->positions = moeq_calloc(c->size, sizeof *c->positions, err);
    c->tokens = moeq_calloc(c->size, sizeof *c->tokens, err);
    c->entries = moeq_calloc(c->size * list_entries(c->compares, s->save, c->shape), sizeof *c->entries, err);
    c->gathered =
        moeq_calloc(s->baseline ? c->size * (c->shape.top + c->shape.sample) : 0, sizeof(float), err);
    if (!c->logits || !c->reference_logits || !c->positions || !c->tokens || !c->entries || !c->gathered)
        return MOEQ_OVER_MEMORY;
    if (s->save && !(c->noise = moeq_excerpt_noise(err)))
        return MOEQ_OVER_MEMORY;
    return s->save || s->baseline ? moeq_excerpts_init(&c->excerpts, c->shape, err) : MOEQ_OK;
}

static void release(struct chunk *c)
{
    free(c->logits);
    free(c->reference_logits);
    free(c->positions);
    free(c->tokens);
    free(c->entries);
    free(c->gathered);
    free(c->noise);
    moeq_excerpts_free(&c->excerpts);
}

enum moeq_status moeq_score_all(const struct moeq_scoring_task *scoring, struct moeq_error *err)
{
    const struct moeq_windows *w = scoring->windows;
    struct chunk c = {.s = scoring,
                      .n_scored = w->n_windows * w->n_scored,
                      .vocabulary = scoring->sweep->run.config->vocabulary,
                      .size = chunk_tokens(w),
                      .compares = scoring->reference || scoring->baseline};
    if (scoring->baseline || scoring->save)
        c.shape = (scoring->baseline ? &scoring->baseline->header : scoring->save->header)->excerpt;
    enum moeq_status status = allocate(&c, err);
    for (c.first = 0; !status && c.first < c.n_scored; c.first += c.size)
        status = score_chunk(&c, err);
    release(&c);
    return status;
}

uint64_t moeq_scoring_bytes(const struct moeq_config *config, const struct moeq_windows *windows,
                            unsigned n_jobs, unsigned n_models, bool with_excerpts)
{
    const uint64_t chunk = chunk_tokens(windows);
    const struct moeq_excerpt_shape shape =
        moeq_excerpt_shape(config->vocabulary, MOEQ_EXCERPT_TOP, MOEQ_EXCERPT_SAMPLE);
    const bool compares = n_models > 1 || with_excerpts;
    const uint64_t logits = chunk_entries(config->vocabulary) * sizeof(float),
                   input = (uint64_t)config->hidden * sizeof(float);
    const uint64_t token = logits + sizeof(struct token) + sizeof(uint64_t) +
                           list_entries(compares, with_excerpts, shape) * sizeof(struct moeq_top_entry);
    const uint64_t model = chunk * input + moeq_activations_bytes(chunk, config->hidden) +
                           n_jobs * moeq_matmul_scratch_bytes(config->hidden);
    return chunk * token + (n_models - 1) * chunk * logits + n_models * model +
           (with_excerpts ? 3 * moeq_excerpts_bytes(shape) + (1u << 20) : 0);
}
