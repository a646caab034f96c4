#include "evaluate.h"

#include "interrupt.h"
#include "tally.h"

#include <math.h>
#include <stdlib.h>

#define CHUNK_TOKENS  512u  /* whose logits are in memory at once: the head is decoded once for so many */
#define CHUNK_ENTRIES 2048u /* of the vocabulary, for each of them */

struct scores {
    double *nll, *reference_nll, *kld; /* [n_scored] */
    uint8_t *agree;                    /* [n_scored] */
};

struct scoring {
    const struct moeq_windows *windows;
    struct moeq_sweep *sweep, *reference; /* reference may be NULL */
    struct scores scores;
    uint64_t n_scored, vocabulary;
    uint64_t chunk;                   /* tokens */
    uint64_t first_entry, n_entries;  /* of the vocabulary that is in memory */
    float *logits, *reference_logits; /* [chunk, n_entries] */
    uint64_t *positions;              /* [chunk]: indices into the tokens */
    struct moeq_tally_pair *pairs;    /* [chunk] */
    uint64_t first;                   /* first score of the chunk */
};

static uint64_t chunk_tokens(const struct moeq_windows *w)
{
    const uint64_t n = w->n_windows * w->n_scored;
    return n < CHUNK_TOKENS ? n : CHUNK_TOKENS;
}

static uint64_t chunk_entries(uint64_t n_left)
{
    return n_left < CHUNK_ENTRIES ? n_left : CHUNK_ENTRIES;
}

/* ---- logits, a slice of the vocabulary at a time ---- */

static enum moeq_status tally_tokens(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                     struct moeq_error *err)
{
    const struct scoring *s = context;
    (void)worker;
    (void)err;
    for (uint64_t i = begin; i < end; i++)
        moeq_tally_pair_add(&s->pairs[i], s->logits + i * s->n_entries,
                            s->reference ? s->reference_logits + i * s->n_entries : NULL, s->first_entry,
                            s->n_entries, (uint32_t)s->windows->tokens[s->positions[i] + 1]);
    return MOEQ_OK;
}

static enum moeq_status score_slice(struct scoring *s, uint64_t n, struct moeq_error *err)
{
    s->n_entries = chunk_entries(s->vocabulary - s->first_entry);
    enum moeq_status status = moeq_interrupt_check(err);
    if (!status)
        status = moeq_sweep_logits(s->sweep, s->first_entry, s->n_entries, s->logits, err);
    if (!status && s->reference)
        status = moeq_sweep_logits(s->reference, s->first_entry, s->n_entries, s->reference_logits, err);
    return status ? status : moeq_pool_for(s->sweep->run.pool, n, 8, tally_tokens, s, err);
}

static enum moeq_status end_token(const struct scoring *s, const struct moeq_tally_pair *pair, uint64_t at,
                                  struct moeq_error *err)
{
    const double total = moeq_tally_total(&pair->model);
    if (!isfinite(total))
        return moeq_fail(err, MOEQ_DAMAGED, "the logits are not finite: weights are damaged");
    s->scores.nll[at] = total - pair->model.target;
    if (!s->reference)
        return MOEQ_OK;
    const double reference_total = moeq_tally_total(&pair->reference);
    if (!isfinite(reference_total))
        return moeq_fail(err, MOEQ_DAMAGED, "the reference's logits are not finite: weights are damaged");
    s->scores.reference_nll[at] = reference_total - pair->reference.target;
    s->scores.kld[at] = moeq_tally_divergence(pair);
    if (!isfinite(s->scores.kld[at])) /* a logit of minus infinity */
        return moeq_fail(err, MOEQ_DAMAGED, "the KL divergence is not finite: weights are damaged");
    s->scores.agree[at] = pair->model.best == pair->reference.best;
    return MOEQ_OK;
}

static enum moeq_status score_chunk(struct scoring *s, struct moeq_error *err)
{
    const struct moeq_windows *w = s->windows;
    const uint64_t left = s->n_scored - s->first, n = left < s->chunk ? left : s->chunk;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = s->first + i;
        s->positions[i] = at / w->n_scored * w->context + w->first + at % w->n_scored;
    }
    memset(s->pairs, 0, n * sizeof *s->pairs);
    enum moeq_status status = moeq_sweep_choose(s->sweep, s->positions, n, err);
    if (!status && s->reference)
        status = moeq_sweep_choose(s->reference, s->positions, n, err);
    for (s->first_entry = 0; !status && s->first_entry < s->vocabulary; s->first_entry += s->n_entries)
        status = score_slice(s, n, err);
    for (uint64_t i = 0; !status && i < n; i++)
        status = end_token(s, &s->pairs[i], s->first + i, err);
    return status;
}

/* ---- all of them ---- */

/* Mean and standard error of the mean. */
static void mean_and_error(const double *x, uint64_t n, double *mean, double *error)
{
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < n; i++)
        sum += x[i];
    *mean = sum / (double)n;
    for (uint64_t i = 0; i < n; i++)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(const struct scoring *s, struct moeq_evaluation *out)
{
    const uint64_t n = s->n_scored;
    double ignored;
    *out = (struct moeq_evaluation){.n_scored = n, .has_reference = s->reference != NULL};
    mean_and_error(s->scores.nll, n, &out->nll, &out->nll_error);
    out->perplexity = exp(out->nll);
    out->perplexity_error = out->perplexity * out->nll_error;
    if (!s->reference)
        return;
    uint64_t n_agree = 0;
    mean_and_error(s->scores.reference_nll, n, &out->reference_perplexity, &ignored);
    out->reference_perplexity = exp(out->reference_perplexity);
    mean_and_error(s->scores.kld, n, &out->kld, &out->kld_error);
    for (uint64_t i = 0; i < n; i++)
        n_agree += s->scores.agree[i];
    out->top1 = (double)n_agree / (double)n;
    qsort(s->scores.kld, n, sizeof *s->scores.kld, by_value);
    out->kld_999 = s->scores.kld[(uint64_t)ceil(0.999 * (double)n) - 1];
    out->kld_max = s->scores.kld[n - 1];
}

static enum moeq_status score_all(struct scoring *s, struct moeq_evaluation *out, struct moeq_error *err)
{
    const bool both = s->reference != NULL;
    s->n_scored = s->windows->n_windows * s->windows->n_scored;
    s->chunk = chunk_tokens(s->windows);
    const size_t n_logits = (size_t)(s->chunk * chunk_entries(s->vocabulary));
    s->scores.nll = moeq_calloc(s->n_scored, sizeof(double), err);
    s->scores.reference_nll = moeq_calloc(both ? s->n_scored : 0, sizeof(double), err);
    s->scores.kld = moeq_calloc(both ? s->n_scored : 0, sizeof(double), err);
    s->scores.agree = moeq_calloc(both ? s->n_scored : 0, 1, err);
    s->logits = moeq_calloc(n_logits, sizeof(float), err);
    s->reference_logits = moeq_calloc(both ? n_logits : 0, sizeof(float), err);
    s->positions = moeq_calloc(s->chunk, sizeof *s->positions, err);
    s->pairs = moeq_calloc(s->chunk, sizeof *s->pairs, err);
    enum moeq_status status = s->scores.nll && s->scores.reference_nll && s->scores.kld && s->scores.agree &&
                                      s->logits && s->reference_logits && s->positions && s->pairs
                                  ? MOEQ_OK
                                  : MOEQ_OVER_MEMORY;
    for (s->first = 0; !status && s->first < s->n_scored; s->first += s->chunk)
        status = score_chunk(s, err);
    if (!status)
        summarise(s, out);
    free(s->scores.nll);
    free(s->scores.reference_nll);
    free(s->scores.kld);
    free(s->scores.agree);
    free(s->logits);
    free(s->reference_logits);
    free(s->positions);
    free(s->pairs);
    return status;
}

enum moeq_status moeq_evaluate(const struct moeq_source *source, const struct moeq_source *reference,
                               const struct moeq_windows *windows, enum moeq_arithmetic arithmetic,
                               const struct moeq_evaluation_plan *plan, struct moeq_pool *pool,
                               struct moeq_progress *progress, struct moeq_evaluation *out,
                               struct moeq_error *err)
{
    struct moeq_sweep sweep = {.run.states.fd = -1}, reference_sweep = {.run.states.fd = -1};
    const struct moeq_visitor visitor = {.progress = progress};
    struct scoring s = {.windows = windows, .sweep = &sweep, .vocabulary = source->config.vocabulary};
    if (reference && reference->config.vocabulary != source->config.vocabulary)
        return moeq_fail(err, MOEQ_USAGE, "the reference has a vocabulary of %u, the model of %u",
                         reference->config.vocabulary, source->config.vocabulary);
    enum moeq_status status = moeq_sweep_init(&sweep, source, pool, windows->n_windows, windows->context,
                                              arithmetic, &plan->sweep, err);
    if (!status)
        status = moeq_sweep_run(&sweep, windows->tokens, &visitor, err);
    if (!status && reference) {
        s.reference = &reference_sweep;
        status = moeq_sweep_init(&reference_sweep, reference, pool, windows->n_windows, windows->context,
                                 arithmetic, &plan->reference, err);
        if (!status)
            status = moeq_sweep_run(&reference_sweep, windows->tokens, &visitor, err);
    }
    if (!status)
        status = score_all(&s, out, err);
    moeq_sweep_free(&sweep);
    moeq_sweep_free(&reference_sweep);
    return status;
}

/* ---- memory ---- */

/* Of one model: its head, a chunk's rows, laid out, and logits, the workers' panels, what is known of tokens.
 */
static uint64_t scoring_bytes(const struct moeq_config *config, uint64_t head,
                              const struct moeq_windows *windows, unsigned n_jobs)
{
    const uint64_t n_scored = windows->n_windows * windows->n_scored, chunk = chunk_tokens(windows);
    const uint64_t token = chunk_entries(config->vocabulary) * sizeof(float) +
                           sizeof(struct moeq_tally_pair) + (uint64_t)config->hidden * sizeof(float);
    return head + chunk * token + moeq_activations_bytes(chunk, config->hidden) +
           n_jobs * moeq_matmul_scratch_bytes(config->hidden) + n_scored * sizeof(double);
}

struct moeq_evaluation_plan moeq_evaluate_plan_of(const struct moeq_config *config,
                                                  const struct moeq_sweep_plan *sweep,
                                                  const struct moeq_windows *windows, unsigned n_jobs)
{
    struct moeq_evaluation_plan plan = {.sweep = *sweep,
                                        .scoring = scoring_bytes(config, sweep->head, windows, n_jobs)};
    plan.total = moeq_larger(sweep->total, sweep->kept + plan.scoring);
    return plan;
}

/* Both sweeps in `budget`, each with its hidden states in a file where they need more. */
static struct moeq_evaluation_plan plan_both(const struct moeq_source *const models[2],
                                             const struct moeq_windows *windows, unsigned n_jobs,
                                             uint64_t budget)
{
    struct moeq_sweep_plan sweeps[2] = {{0}};
    uint64_t scoring = 0;
    for (int i = 0; i < 2 && models[i]; i++) {
        const struct moeq_sweep_weights weights = moeq_sweep_weights(models[i], windows->context);
        sweeps[i] = moeq_sweep_plan(&models[i]->config, &weights, windows->n_windows, windows->context,
                                    n_jobs, budget);
        scoring += scoring_bytes(&models[i]->config, weights.head, windows, n_jobs);
    }
    if (models[1])
        scoring += windows->n_windows * windows->n_scored * (sizeof(double) + 1);
    const uint64_t kept = sweeps[0].kept, both = kept + sweeps[1].kept;
    struct moeq_evaluation_plan plan = {.sweep = sweeps[0], .reference = sweeps[1], .scoring = scoring};
    plan.total = moeq_larger(sweeps[0].total, kept + sweeps[1].total);
    plan.total = moeq_larger(plan.total, both + scoring);
    return plan;
}

struct moeq_evaluation_plan moeq_evaluate_plan(const struct moeq_source *source,
                                               const struct moeq_source *reference,
                                               const struct moeq_windows *windows, unsigned n_jobs,
                                               uint64_t budget)
{
    const struct moeq_source *const models[2] = {source, reference};
    const struct moeq_evaluation_plan all = plan_both(models, windows, n_jobs, UINT64_MAX);
    if (all.total <= budget)
        return all;
    /* In memory neither may be: what one keeps is not there for the other, nor for the heads. */
    const uint64_t least =
        reference && all.reference.total < all.sweep.total ? all.reference.total : all.sweep.total;
    return plan_both(models, windows, n_jobs, budget < least ? budget : least - 1);
}
