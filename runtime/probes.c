#include "probes.h"

#include "interrupt.h"
#include "tally.h"

#include <math.h>
#include <stdlib.h>

#define CHUNK_LOGITS  2048u /* tokens of all branches whose logits are in memory at once */
#define CHUNK_ENTRIES 2048u /* of the vocabulary, for each of them */

#define MATRICES 3 /* of an expert */

struct job {
    const struct moeq_probing *p;
    struct moeq_bytes *packed; /* [n_probes, 3]: replaced matrices of the current expert */
    struct moeq_sweep sweep;
    /* of the head */
    uint64_t first_entry, n_entries, n_chunk;
    float *logits;                 /* [1 + n_probes, n_chunk, n_entries] */
    struct moeq_tally_pair *pairs; /* [n_probes, n_chunk] */
    double *klds;                  /* [n_probes, n_tokens] */
};

static uint64_t n_tokens_of(const struct moeq_probing *p)
{
    return p->n_windows * p->context;
}

/* ---- branches ---- */

static bool is_probed(const struct moeq_probe *probe, const struct moeq_unit *unit)
{
    return unit->expert >= 0 && probe->layer == unit->layer &&
           (probe->expert < 0 || probe->expert == unit->expert);
}

/* The first branch is the source's. */
static enum moeq_wish wish(void *context, const struct moeq_unit *unit, size_t branch)
{
    const struct job *j = context;
    return branch > 0 && is_probed(&j->p->probes[branch - 1], unit) ? MOEQ_OTHER : MOEQ_SAME;
}

static enum moeq_status replace(void *context, const struct moeq_unit *unit, size_t branch,
                                struct moeq_matrix *matrices, struct moeq_error *err)
{
    const struct job *j = context;
    const struct moeq_probe *probe = &j->p->probes[branch - 1];
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < unit->n && i < MATRICES; i++)
        if (probe->part == MOEQ_PART_OTHER || probe->part == unit->weights[i]->id.part) {
            status = j->p->replace(j->p->replacer, probe, unit->weights[i], &matrices[i],
                                   &j->packed[(branch - 1) * MATRICES + i], err);
            moeq_error_in_tensor(err, unit->weights[i]->name);
        }
    return status;
}

/* ---- divergence ---- */

static enum moeq_status tally_tokens(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                     struct moeq_error *err)
{
    const struct job *j = context;
    (void)worker;
    (void)err;
    for (uint64_t i = begin; i < end; i++)
        moeq_tally_pair_add(&j->pairs[i], j->logits + (j->n_chunk + i) * j->n_entries,
                            j->logits + i % j->n_chunk * j->n_entries, j->first_entry, j->n_entries, 0);
    return MOEQ_OK;
}

/* Tokens [first, first + n_chunk) of the windows, in all branches. */
static enum moeq_status score_chunk(struct job *j, uint64_t first, uint64_t *positions,
                                    struct moeq_error *err)
{
    const struct moeq_probing *p = j->p;
    const uint64_t n = j->n_chunk, n_tokens = n_tokens_of(p), n_pairs = p->n_probes * n;
    const uint64_t vocabulary = moeq_source_part(p->source, MOEQ_PART_HEAD, -1, -1)->rows;
    for (uint64_t b = 0; b <= p->n_probes; b++)
        for (uint64_t i = 0; i < n; i++)
            positions[b * n + i] = b * n_tokens + first + i;
    memset(j->pairs, 0, n_pairs * sizeof *j->pairs);
    enum moeq_status status = moeq_sweep_choose(&j->sweep, positions, n_pairs + n, err);
    for (j->first_entry = 0; !status && j->first_entry < vocabulary; j->first_entry += j->n_entries) {
        const uint64_t left = vocabulary - j->first_entry;
        j->n_entries = left < CHUNK_ENTRIES ? left : CHUNK_ENTRIES;
        status = moeq_interrupt_check(err);
        if (!status)
            status = moeq_sweep_logits(&j->sweep, j->first_entry, j->n_entries, j->logits, err);
        if (!status)
            status = moeq_pool_for(p->pool, n_pairs, 8, tally_tokens, j, err);
    }
    for (uint64_t i = 0; !status && i < n_pairs; i++) {
        const double kld = moeq_tally_divergence(&j->pairs[i]);
        j->klds[i / n * n_tokens + first + i % n] = kld;
        if (!isfinite(kld))
            status = moeq_fail(err, MOEQ_DAMAGED, "a probe's logits are not finite: weights are damaged");
    }
    return status;
}

static void summarise(const struct job *j)
{
    const uint64_t n = n_tokens_of(j->p);
    for (size_t k = 0; k < j->p->n_probes; k++) {
        const double *kld = j->klds + k * n;
        double sum = 0, squares = 0;
        for (uint64_t i = 0; i < n; i++)
            sum += kld[i];
        const double mean = sum / (double)n;
        for (uint64_t i = 0; i < n; i++)
            squares += (kld[i] - mean) * (kld[i] - mean);
        j->p->probes[k].kld = mean;
        j->p->probes[k].kld_error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0;
    }
}

static enum moeq_status score(struct job *j, struct moeq_error *err)
{
    const uint64_t n_branches = j->p->n_probes + 1, n_tokens = n_tokens_of(j->p);
    const uint64_t most = CHUNK_LOGITS / n_branches ? CHUNK_LOGITS / n_branches : 1;
    uint64_t *positions = moeq_calloc(most * n_branches, sizeof *positions, err);
    j->logits = moeq_calloc(most * n_branches * CHUNK_ENTRIES, sizeof *j->logits, err);
    j->pairs = moeq_calloc(most * n_branches, sizeof *j->pairs, err);
    j->klds = moeq_calloc(n_tokens * j->p->n_probes, sizeof *j->klds, err);
    enum moeq_status status = positions && j->logits && j->pairs && j->klds ? MOEQ_OK : MOEQ_OVER_MEMORY;
    for (uint64_t first = 0; !status && first < n_tokens; first += j->n_chunk) {
        j->n_chunk = n_tokens - first < most ? n_tokens - first : most;
        status = score_chunk(j, first, positions, err);
    }
    if (!status)
        summarise(j);
    free(positions);
    free(j->logits);
    free(j->pairs);
    free(j->klds);
    return status;
}

/* ---- all of it ---- */

static struct moeq_sweep_plan plan_sweep(const struct moeq_probing *p, unsigned n_jobs, uint64_t budget)
{
    const struct moeq_sweep_weights weights = moeq_sweep_weights(p->source, p->context);
    return moeq_sweep_plan(&p->source->config, &weights, p->n_windows * (p->n_probes + 1), p->context, n_jobs,
                           budget);
}

static enum moeq_status run_sweep(struct job *j, struct moeq_error *err)
{
    const struct moeq_probing *p = j->p;
    const uint64_t n = n_tokens_of(p), n_branches = p->n_probes + 1;
    const struct moeq_sweep_plan plan = plan_sweep(p, moeq_pool_jobs(p->pool), p->budget);
    int32_t *tokens = moeq_calloc(n * n_branches, sizeof *tokens, err);
    uint64_t *ends = moeq_calloc(n_branches, sizeof *ends, err);
    enum moeq_status status = tokens && ends ? MOEQ_OK : MOEQ_OVER_MEMORY;
    for (uint64_t b = 0; !status && b < n_branches; b++) {
        memcpy(tokens + b * n, p->tokens, n * sizeof *tokens);
        ends[b] = (b + 1) * n;
    }
    if (!status)
        status = moeq_sweep_init(&j->sweep, p->source, p->pool, p->n_windows * n_branches, p->context,
                                 p->arithmetic, &plan, err);
    if (!status) {
        const struct moeq_branches branches = {
            .context = j, .ends = ends, .n = n_branches, .wish = wish, .replace = replace};
        const struct moeq_visitor visitor = {.branches = &branches, .progress = p->progress};
        status = moeq_sweep_run(&j->sweep, tokens, &visitor, err);
        if (!status)
            status = score(j, err);
        moeq_sweep_free(&j->sweep);
    }
    free(tokens);
    free(ends);
    return status;
}

enum moeq_status moeq_probes_run(const struct moeq_probing *probing, struct moeq_error *err)
{
    struct job j = {.p = probing,
                    .packed = moeq_calloc(probing->n_probes * MATRICES, sizeof(struct moeq_bytes), err)};
    enum moeq_status status = j.packed ? run_sweep(&j, err) : MOEQ_OVER_MEMORY;
    for (size_t i = 0; j.packed && i < probing->n_probes * MATRICES; i++)
        moeq_bytes_free(&j.packed[i]);
    free(j.packed);
    return status;
}

uint64_t moeq_probes_bytes(const struct moeq_probing *probing, unsigned n_jobs)
{
    return plan_sweep(probing, n_jobs, 0).total;
}
