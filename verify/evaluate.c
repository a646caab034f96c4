#include "evaluate.h"

#include "interrupt.h"

#include <math.h>
#include <stdlib.h>

#define LOGIT_FLOATS (1u << 20) /* logits of a chunk of tokens that are in memory at once, per model */
#define MAX_CHUNK    256u
#define MIN_CHUNK    8u

struct scores {
    double *nll, *reference_nll, *kld; /* [n_scored] */
    uint8_t *agree;                    /* [n_scored] */
};

struct scoring {
    const struct moeq_windows *windows;
    struct moeq_sweep *sweep, *reference; /* reference may be NULL */
    struct scores scores;
    uint64_t n_scored, chunk, vocabulary;
    float *logits, *reference_logits; /* [chunk, vocabulary] */
    uint64_t *positions;              /* [chunk]: indices into the tokens */
    uint64_t first;                   /* first score of the chunk */
};

static uint64_t chunk_tokens(uint64_t vocabulary)
{
    uint64_t n = LOGIT_FLOATS / vocabulary;
    return n > MAX_CHUNK ? MAX_CHUNK : n < MIN_CHUNK ? MIN_CHUNK : n;
}

/* ln(sum(exp(x))) and the index of the largest. */
static double log_sum_exp(const float *x, uint64_t n, uint64_t *arg_max)
{
    uint64_t best = 0;
    double sum = 0;
    for (uint64_t i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    for (uint64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[best]);
    *arg_max = best;
    return (double)x[best] + log(sum);
}

static enum moeq_status score_tokens(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                     struct moeq_error *err)
{
    const struct scoring *s = context;
    (void)worker;
    for (uint64_t i = begin; i < end; i++) {
        const float *logits = s->logits + i * s->vocabulary;
        const uint64_t at = s->first + i;
        const int32_t next = s->windows->tokens[s->positions[i] + 1];
        uint64_t best, reference_best;
        double total = log_sum_exp(logits, s->vocabulary, &best);
        if (!isfinite(total))
            return moeq_fail(err, MOEQ_DAMAGED, "the logits are not finite: weights are damaged");
        s->scores.nll[at] = total - (double)logits[next];
        if (!s->reference)
            continue;
        const float *reference = s->reference_logits + i * s->vocabulary;
        double reference_total = log_sum_exp(reference, s->vocabulary, &reference_best), kld = 0;
        if (!isfinite(reference_total))
            return moeq_fail(err, MOEQ_DAMAGED, "the reference's logits are not finite: weights are damaged");
        for (uint64_t v = 0; v < s->vocabulary; v++) {
            double log_p = (double)reference[v] - reference_total;
            kld += exp(log_p) * (log_p - ((double)logits[v] - total));
        }
        s->scores.reference_nll[at] = reference_total - (double)reference[next];
        s->scores.kld[at] = kld;
        s->scores.agree[at] = best == reference_best;
    }
    return MOEQ_OK;
}

static enum moeq_status score_chunk(struct scoring *s, struct moeq_error *err)
{
    const struct moeq_windows *w = s->windows;
    uint64_t n = s->n_scored - s->first < s->chunk ? s->n_scored - s->first : s->chunk;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = s->first + i;
        s->positions[i] = at / w->n_scored * w->context + w->first + at % w->n_scored;
    }
    enum moeq_status status = moeq_interrupt_check(err);
    if (!status)
        status = moeq_sweep_logits(s->sweep, s->positions, n, s->logits, err);
    if (!status && s->reference)
        status = moeq_sweep_logits(s->reference, s->positions, n, s->reference_logits, err);
    if (!status)
        status = moeq_pool_for(s->sweep->run.pool, n, 1, score_tokens, s, err);
    return status;
}

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
    s->chunk = chunk_tokens(s->vocabulary);
    s->scores.nll = moeq_calloc(s->n_scored, sizeof(double), err);
    s->scores.reference_nll = moeq_calloc(both ? s->n_scored : 0, sizeof(double), err);
    s->scores.kld = moeq_calloc(both ? s->n_scored : 0, sizeof(double), err);
    s->scores.agree = moeq_calloc(both ? s->n_scored : 0, 1, err);
    s->logits = moeq_calloc(s->chunk * s->vocabulary, sizeof(float), err);
    s->reference_logits = moeq_calloc(both ? s->chunk * s->vocabulary : 0, sizeof(float), err);
    s->positions = moeq_calloc(s->chunk, sizeof *s->positions, err);
    enum moeq_status status = s->scores.nll && s->scores.reference_nll && s->scores.kld && s->scores.agree &&
                                      s->logits && s->reference_logits && s->positions
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
    return status;
}

enum moeq_status moeq_evaluate(const struct moeq_source *source, const struct moeq_source *reference,
                               const struct moeq_windows *windows, enum moeq_arithmetic arithmetic,
                               struct moeq_pool *pool, struct moeq_progress *progress,
                               struct moeq_evaluation *out, struct moeq_error *err)
{
    struct moeq_sweep sweep = {0}, reference_sweep = {0};
    const struct moeq_visitor visitor = {.progress = progress};
    struct scoring s = {.windows = windows, .sweep = &sweep, .vocabulary = source->config.vocabulary};
    if (reference && reference->config.vocabulary != source->config.vocabulary)
        return moeq_fail(err, MOEQ_USAGE, "the reference has a vocabulary of %u, the model of %u",
                         reference->config.vocabulary, source->config.vocabulary);
    enum moeq_status status =
        moeq_sweep_init(&sweep, source, pool, windows->n_windows, windows->context, arithmetic, err);
    if (!status)
        status = moeq_sweep_run(&sweep, windows->tokens, &visitor, err);
    if (!status && reference) {
        s.reference = &reference_sweep;
        status = moeq_sweep_init(&reference_sweep, reference, pool, windows->n_windows, windows->context,
                                 arithmetic, err);
        if (!status)
            status = moeq_sweep_run(&reference_sweep, windows->tokens, &visitor, err);
    }
    if (!status)
        status = score_all(&s, out, err);
    moeq_sweep_free(&sweep);
    moeq_sweep_free(&reference_sweep);
    return status;
}

static uint64_t sweep_bytes(const struct moeq_sweep_memory *m)
{
    return m->hidden + m->routing + m->weights + m->work;
}

/* The workers' tiles stay, and the hidden states of a chunk are gathered: no more than the sweep's work. */
static uint64_t scoring_bytes(const struct moeq_config *config, const struct moeq_sweep_memory *sweep,
                              const struct moeq_windows *windows)
{
    const uint64_t vocabulary = config->vocabulary, n_scored = windows->n_windows * windows->n_scored;
    const uint64_t logits = chunk_tokens(vocabulary) * vocabulary * sizeof(float);
    return logits + sweep->head + sweep->work + n_scored * sizeof(double);
}

struct moeq_evaluation_memory moeq_evaluate_memory_of(const struct moeq_config *config,
                                                      struct moeq_sweep_memory sweep,
                                                      const struct moeq_windows *windows)
{
    struct moeq_evaluation_memory m = {.sweep = sweep, .scoring = scoring_bytes(config, &sweep, windows)};
    const uint64_t kept = m.sweep.hidden / 2; /* what stays of a sweep that is over */
    m.total = moeq_larger(sweep_bytes(&m.sweep), kept + m.scoring);
    return m;
}

struct moeq_evaluation_memory moeq_evaluate_memory(const struct moeq_source *source,
                                                   const struct moeq_source *reference,
                                                   const struct moeq_windows *windows, unsigned n_jobs)
{
    const uint64_t n_scored = windows->n_windows * windows->n_scored;
    struct moeq_evaluation_memory m = moeq_evaluate_memory_of(
        &source->config, moeq_sweep_memory(source, windows->n_windows, windows->context, n_jobs), windows);
    if (!reference)
        return m;
    const struct moeq_sweep_memory other =
        moeq_sweep_memory(reference, windows->n_windows, windows->context, n_jobs);
    const uint64_t kept = m.sweep.hidden / 2;
    const uint64_t sweeps = moeq_larger(sweep_bytes(&m.sweep), kept + sweep_bytes(&other));
    m.scoring += scoring_bytes(&reference->config, &other, windows) + n_scored * (sizeof(double) + 1);
    m.total = moeq_larger(sweeps, kept + other.hidden / 2 + m.scoring);
    return m;
}
