#include "sequence.h"

#include "batches.h"
#include "interrupt.h"
#include "nearest.h"
#include "temporary.h"
#include "unit_inputs.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define NOWHERE UINT64_MAX

struct moeq_sequence {
    const struct moeq_plan *plan;
    struct moeq_sequence_options options;
    const struct moeq_supplied *to; /* while it runs */
    size_t *item_of;                /* [weights of the source]: index into the plan, or SIZE_MAX */
    size_t *file_of;                /* [items] */
    uint64_t *offsets;              /* [items]: in their files */
    int spool;                      /* temporary file */
    uint64_t *spooled, n_spooled;   /* [items]: where they begin there; bytes of the current layer */
    struct moeq_calibrated calibrated;
    struct moeq_unit_inputs inputs;
    struct moeq_unit current; /* whose replaced matrices are in `packed` */
    struct moeq_bytes packed[MOEQ_MAX_UNIT];
    struct moeq_bytes rows;   /* of a matrix, in float32 */
    struct moeq_bytes loaded; /* a weight without tokens */
};

/* ---- the plan's items ---- */

static void index_items(struct moeq_sequence *s)
{
    const struct moeq_plan *plan = s->plan;
    for (size_t i = 0; i < plan->source->n_weights; i++)
        s->item_of[i] = SIZE_MAX;
    for (size_t f = 0; f < plan->n_files; f++) {
        size_t first, n;
        uint64_t at = plan->files[f].n_head;
        moeq_plan_file_items(plan, &plan->files[f], &first, &n);
        for (size_t i = first; i < first + n; i++) {
            s->item_of[plan->items[i].weight - plan->source->weights] = i;
            s->file_of[i] = f;
            s->offsets[i] = at;
            s->spooled[i] = NOWHERE;
            at += plan->items[i].n_bytes;
        }
    }
}

static size_t item_of(const struct moeq_sequence *s, const struct moeq_weight *weight)
{
    return s->item_of[weight - s->plan->source->weights];
}

static bool is_kept(const struct moeq_sequence *s, size_t item)
{
    return s->to->is_kept[s->file_of[item]];
}

/* ---- bytes ---- */

static enum moeq_status spool(struct moeq_sequence *s, size_t item, const uint8_t *packed, double error,
                              struct moeq_error *err)
{
    const uint64_t n = s->plan->items[item].n_bytes;
    for (uint64_t done = 0; done < n;) {
        const ssize_t k = pwrite(s->spool, packed + done, n - done, (off_t)(s->n_spooled + done));
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return moeq_temporary_fail("cannot write packed matrices", k ? errno : ENOSPC,
                                       "free some space there", err);
        done += (uint64_t)k;
    }
    if (s->options.errors)
        s->options.errors[item] = error;
    s->spooled[item] = s->n_spooled;
    s->n_spooled += n;
    return MOEQ_OK;
}

static enum moeq_status read_spooled(void *context, size_t item, uint8_t *packed, struct moeq_error *err)
{
    const struct moeq_sequence *s = context;
    const uint64_t n = s->plan->items[item].n_bytes;
    if (s->spooled[item] == NOWHERE)
        return moeq_fail(err, MOEQ_BUG, "%s was not made", s->plan->items[item].weight->name);
    for (uint64_t done = 0; done < n;) {
        const ssize_t k = pread(s->spool, packed + done, n - done, (off_t)(s->spooled[item] + done));
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return moeq_temporary_fail("cannot read packed matrices", k ? errno : EIO, "check the disk", err);
        done += (uint64_t)k;
    }
    return MOEQ_OK;
}

/* From a file that an earlier run finished, whose hashes were checked before it was kept. */
static enum moeq_status read_kept(const struct moeq_sequence *s, size_t item, uint8_t *packed,
                                  struct moeq_error *err)
{
    struct moeq_file file;
    char *path = moeq_path_join(s->options.out, s->plan->files[s->file_of[item]].name, err);
    enum moeq_status status = path ? moeq_file_open(&file, path, err) : MOEQ_OVER_MEMORY;
    if (!status) {
        status = moeq_file_read(&file, s->offsets[item], packed, s->plan->items[item].n_bytes, err);
        moeq_file_close(&file);
    }
    free(path);
    return status;
}

/* ---- codes ---- */

/* The part whose inputs a matrix of a unit shares: kv_a those of q or q_a, up those of gate. */
static enum moeq_part inputs_of(const struct moeq_unit *unit, enum moeq_part part)
{
    const enum moeq_part first = unit->weights[0]->id.part;
    const bool is_mlp = moeq_part_role(first) != MOEQ_ROLE_ATTENTION;
    return part == MOEQ_PART_KV_A || (is_mlp && (int)part == (int)first + 1) ? first : part;
}

/* Those matrices of a unit that go by the inputs of `part`. */
static enum moeq_status encode_shared(struct moeq_sequence *s, const struct moeq_unit *unit,
                                      enum moeq_part part, const struct moeq_matrix *matrices,
                                      struct moeq_error *err)
{
    struct moeq_seen seen = {0};
    double error = 0;
    bool is_ready = false;
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < unit->n; i++) {
        const struct moeq_weight *w = unit->weights[i];
        const size_t item = item_of(s, w);
        if (!s->plan->items[item].is_calibrated || inputs_of(unit, w->id.part) != part)
            continue;
        if (!is_ready && !(status = moeq_unit_inputs_take(&s->inputs, part, w->cols, &seen, err)))
            status = moeq_calibrated_prepare_seen(&s->calibrated, w, &seen, err);
        is_ready = true;
        if (!status)
            status = moeq_calibrated_encode_seen(&s->calibrated, w, &s->plan->items[item].format,
                                                 &matrices[i], seen.cross, s->packed[i].data, &error, err);
        if (!status)
            status = spool(s, item, s->packed[i].data, error, err);
        moeq_error_in_tensor(err, w->name);
    }
    moeq_hessian_free(&seen.own);
    free(seen.cross);
    return status;
}

static enum moeq_status encode_calibrated(struct moeq_sequence *s, const struct moeq_unit *unit,
                                          const struct moeq_matrix *matrices, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t k = 0; !status && k < s->inputs.n; k++)
        status = encode_shared(s, unit, s->inputs.streams[k].part, matrices, err);
    moeq_unit_inputs_clear(&s->inputs);
    return status;
}

/* ---- branches ---- */

static bool is_second(const struct moeq_sequence *s, size_t branch)
{
    return branch == (s->options.corrects ? 1 : 0);
}

static enum moeq_wish wish(void *context, const struct moeq_unit *unit, size_t branch)
{
    struct moeq_sequence *s = context;
    enum moeq_wish found = MOEQ_SAME;
    for (size_t i = 0; is_second(s, branch) && i < unit->n; i++) {
        const size_t item = item_of(s, unit->weights[i]);
        const struct moeq_plan_item *it = &s->plan->items[item];
        if (it->is_calibrated && !is_kept(s, item))
            return MOEQ_OTHER_FOR_INPUTS;
        if (!moeq_item_is_copied(it))
            found = MOEQ_OTHER;
    }
    return found;
}

static enum moeq_status show(void *context, const struct moeq_inputs *in, struct moeq_error *err)
{
    struct moeq_sequence *s = context;
    return moeq_unit_inputs_add(&s->inputs, in, err);
}

static enum moeq_status replace(void *context, const struct moeq_unit *unit, size_t branch,
                                struct moeq_matrix *matrices, struct moeq_error *err)
{
    struct moeq_sequence *s = context;
    const struct moeq_plan *plan = s->plan;
    enum moeq_status status = moeq_interrupt_check(err);
    (void)branch;
    for (size_t i = 0; !status && i < unit->n; i++) {
        const size_t item = item_of(s, unit->weights[i]);
        const struct moeq_plan_item *it = &plan->items[item];
        if (moeq_item_is_copied(it) || (status = moeq_bytes_resize(&s->packed[i], (size_t)it->n_bytes, err)))
            continue;
        memset(s->packed[i].data, 0, (size_t)it->n_bytes);
        if (is_kept(s, item))
            status = read_kept(s, item, s->packed[i].data, err);
        else if (!it->is_calibrated)
            status = moeq_encode_nearest(s->options.pool, &matrices[i], &it->format, &s->rows,
                                         s->packed[i].data, err);
    }
    if (!status)
        status = encode_calibrated(s, unit, matrices, err);
    for (size_t i = 0; !status && i < unit->n; i++) {
        const struct moeq_plan_item *it = &plan->items[item_of(s, unit->weights[i])];
        if (!moeq_item_is_copied(it))
            matrices[i] = (struct moeq_matrix){it->format, matrices[i].rows, matrices[i].cols,
                                               s->packed[i].data, it->n_bytes};
    }
    return status;
}

/* ---- layers ---- */

/* What no token of the second branch went through: on the statistics. */
static enum moeq_status make_unseen(struct moeq_sequence *s, size_t item, struct moeq_error *err)
{
    const struct moeq_plan_item *it = &s->plan->items[item];
    struct moeq_matrix matrix;
    enum moeq_status status = moeq_source_load(s->plan->source, &it->weight, 1, &s->loaded, &matrix, err);
    if (!status)
        status = moeq_bytes_resize(&s->packed[0], (size_t)it->n_bytes, err);
    if (status)
        return status;
    memset(s->packed[0].data, 0, (size_t)it->n_bytes);
    double error;
    status = moeq_calibrated_encode(&s->calibrated, it->weight, &it->format, &matrix, s->packed[0].data,
                                    &error, err);
    return status ? status : spool(s, item, s->packed[0].data, error, err);
}

static enum moeq_status layer_done(void *context, int layer, struct moeq_error *err)
{
    struct moeq_sequence *s = context;
    const struct moeq_weight *of_layer =
        moeq_source_part(s->plan->source, MOEQ_PART_ATTENTION_NORM, layer, -1);
    const size_t file = s->file_of[item_of(s, of_layer)];
    size_t first, n;
    enum moeq_status status = MOEQ_OK;
    if (s->to->is_kept[file])
        return MOEQ_OK;
    moeq_plan_file_items(s->plan, &s->plan->files[file], &first, &n);
    for (size_t i = first; !status && i < first + n; i++)
        if (s->plan->items[i].is_calibrated && s->spooled[i] == NOWHERE)
            status = make_unseen(s, i, err);
    if (!status)
        status = s->to->write(s->to->context, file, err);
    s->n_spooled = 0;
    return status;
}

/* ---- the sweep ---- */

static struct moeq_sweep_plan plan_sweep(const struct moeq_plan *plan, bool corrects, unsigned n_jobs,
                                         uint64_t budget)
{
    const struct moeq_statistics *st = plan->statistics;
    const struct moeq_sweep_weights weights = moeq_sweep_weights(plan->source, st->context);
    const uint64_t n = moeq_statistics_tokens(st) / st->context;
    return moeq_sweep_plan(&plan->source->config, &weights, corrects ? 2 * n : n, st->context, n_jobs,
                           budget);
}

static enum moeq_status sweep(struct moeq_sequence *s, const int32_t *tokens, uint64_t n,
                              struct moeq_error *err)
{
    const struct moeq_sequence_options *o = &s->options;
    const uint64_t context = s->plan->statistics->context, ends[2] = {n, 2 * n};
    const size_t n_branches = o->corrects ? 2 : 1;
    const struct moeq_branches branches = {.context = s,
                                           .ends = ends,
                                           .n = n_branches,
                                           .wish = wish,
                                           .inputs = show,
                                           .replace = replace,
                                           .twin = o->corrects ? n : 0};
    const struct moeq_visitor visitor = {
        .context = s, .branches = &branches, .done = layer_done, .progress = o->progress};
    const struct moeq_sweep_plan plan = plan_sweep(s->plan, o->corrects, moeq_pool_jobs(o->pool), o->budget);
    struct moeq_sweep run;
    enum moeq_status status = moeq_sweep_init(&run, s->plan->source, o->pool, n * n_branches / context,
                                              context, o->arithmetic, &plan, err);
    if (status)
        return status;
    status = moeq_sweep_run(&run, tokens, &visitor, err);
    moeq_sweep_free(&run);
    return status;
}

static bool needs_sweep(const struct moeq_sequence *s)
{
    for (size_t i = 0; i < s->plan->n_items; i++)
        if (s->plan->items[i].is_calibrated && !is_kept(s, i))
            return true;
    return false;
}

static enum moeq_status run(void *context, const struct moeq_supplied *to, struct moeq_error *err)
{
    struct moeq_sequence *s = context;
    const uint64_t n = moeq_statistics_tokens(s->plan->statistics);
    s->to = to;
    if (!needs_sweep(s))
        return MOEQ_OK;
    int32_t *all = moeq_statistics_windows(s->plan->statistics, n / s->plan->statistics->context, err);
    int32_t *tokens = all ? realloc(all, 2 * n * sizeof *tokens) : NULL;
    if (!tokens) {
        free(all);
        return err && err->status ? err->status : moeq_fail_alloc(err, n);
    }
    memcpy(tokens + n, tokens, n * sizeof *tokens);
    enum moeq_status status = sweep(s, tokens, n, err);
    free(tokens);
    return status;
}

struct moeq_sequence *moeq_sequence_create(const struct moeq_plan *plan,
                                           const struct moeq_sequence_options *options,
                                           struct moeq_error *err)
{
    struct moeq_sequence *s = moeq_calloc(1, sizeof *s, err);
    if (!s)
        return NULL;
    s->plan = plan;
    s->options = *options;
    s->inputs.work.pool = options->pool;
    moeq_calibrated_init(&s->calibrated, plan->statistics, options->pool);
    s->item_of = moeq_calloc(plan->source->n_weights, sizeof *s->item_of, err);
    s->file_of = moeq_calloc(plan->n_items, sizeof *s->file_of, err);
    s->offsets = moeq_calloc(plan->n_items, sizeof *s->offsets, err);
    s->spooled = moeq_calloc(plan->n_items, sizeof *s->spooled, err);
    s->spool = moeq_temporary_open();
    if (s->spool < 0)
        moeq_temporary_fail("cannot make a temporary file", errno, "set TMPDIR", err);
    if (s->spool < 0 || !s->item_of || !s->file_of || !s->offsets || !s->spooled) {
        moeq_sequence_free(s);
        return NULL;
    }
    index_items(s);
    return s;
}

void moeq_sequence_free(struct moeq_sequence *sequence)
{
    struct moeq_sequence *s = sequence;
    if (!s)
        return;
    if (s->spool >= 0)
        close(s->spool);
    moeq_calibrated_free(&s->calibrated);
    moeq_unit_inputs_free(&s->inputs);
    for (size_t i = 0; i < MOEQ_MAX_UNIT; i++)
        moeq_bytes_free(&s->packed[i]);
    moeq_bytes_free(&s->rows);
    moeq_bytes_free(&s->loaded);
    free(s->item_of);
    free(s->file_of);
    free(s->offsets);
    free(s->spooled);
    free(s);
}

struct moeq_supply moeq_sequence_supply(struct moeq_sequence *sequence)
{
    return (struct moeq_supply){sequence, run, read_spooled};
}

uint64_t moeq_sequence_bytes(const struct moeq_plan *plan, bool corrects, unsigned n_jobs, uint64_t *beside)
{
    uint64_t largest = 0, attention = 0;
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct moeq_plan_item *item = &plan->items[i];
        if (!item->is_calibrated)
            continue;
        const uint64_t n = item->weight->cols;
        const bool paired = corrects && item->weight->id.expert >= 0;
        /* A unit's inputs are gate's and down's, or up to four of attention. */
        const uint64_t own =
            moeq_calibrated_bytes(item->weight) + item->n_bytes + (paired ? 2 * n * n * sizeof(double) : 0);
        largest = moeq_larger(largest, own);
        attention = moeq_larger(attention, moeq_moments_bytes(paired ? 2 * n : n));
    }
    *beside = largest + 3 * attention;
    return *beside + plan_sweep(plan, corrects, n_jobs, 0).total;
}
