#include "expert_cache.h"

#include "coded.h"

#include <assert.h>
#include <stdlib.h>

/* Links of the list by age of use; an index of entries. */
struct entry {
    struct moeq_bytes bytes; /* empty: not held */
    struct moeq_mlp mlp;
    uint32_t n_acquired;
    uint32_t older, newer;
};

/* Entries are numbered layer * n_experts + expert. The last one is the end of the list at both sides: its
 * `newer` is the oldest entry, its `older` the newest. Acquired ones are not in the list. */
struct moeq_expert_cache {
    const struct moeq_source *source;
    uint64_t budget;
    struct entry *entries; /* [n_entries + 1] */
    uint32_t n_entries;
    struct moeq_expert_cache_counts counts;
    struct moeq_bytes staging; /* where coded experts are read to */
};

/* ---- what an entry holds ---- */

static bool is_coded(const struct moeq_weight *const weights[3])
{
    return weights[0]->is_coded || weights[1]->is_coded || weights[2]->is_coded;
}

static uint64_t stored_bytes(const struct moeq_weight *const weights[3])
{
    uint64_t n = 0;
    for (int i = 0; i < 3; i++)
        n += moeq_weight_stored_bytes(weights[i]);
    return n;
}

uint64_t moeq_expert_cache_bytes(const struct moeq_source *source, int layer, int expert)
{
    const struct moeq_weight *w[3];
    moeq_mlp_weights(source, MOEQ_PART_EXPERT_GATE, layer, expert, w);
    if (!w[0] || !w[1] || !w[2])
        return 0;
    return is_coded(w) ? w[0]->n_padded + w[1]->n_padded + w[2]->n_padded
                       : moeq_source_load_bytes(source, w, 3);
}

uint64_t moeq_expert_cache_staging(const struct moeq_source *source, int layer, int expert)
{
    const struct moeq_weight *w[3];
    moeq_mlp_weights(source, MOEQ_PART_EXPERT_GATE, layer, expert, w);
    return w[0] && w[1] && w[2] && is_coded(w) ? moeq_source_load_bytes(source, w, 3) : 0;
}

/* Coded matrices are read into the staging memory and decoded to their place. */
static enum moeq_status load_coded(struct moeq_expert_cache *c, const struct moeq_weight *const weights[3],
                                   struct entry *entry, struct moeq_matrix m[3], struct moeq_error *err)
{
    const uint64_t n_staging = moeq_source_load_bytes(c->source, weights, 3);
    uint8_t *end, *to = entry->bytes.data;
    enum moeq_status status = moeq_bytes_resize(&c->staging, (size_t)n_staging, err);
    if (!status)
        status = moeq_source_read_at(c->source, weights, 3, c->staging.data, &end, m, err);
    for (int i = 0; !status && i < 3; i++) {
        const struct moeq_weight *w = weights[i];
        if (w->is_coded) {
            status = moeq_source_unpack(c->source, w,
                                        c->staging.data + n_staging -
                                            moeq_coded_scratch_bytes(w->format, w->rows, w->cols),
                                        to, &m[i], err);
        } else {
            memcpy(to, m[i].data, (size_t)w->n_bytes);
            m[i].data = to;
        }
        to += w->n_padded;
    }
    return status;
}

static enum moeq_status load(struct moeq_expert_cache *c, int layer, int expert, struct entry *entry,
                             struct moeq_error *err)
{
    const struct moeq_weight *weights[3];
    struct moeq_matrix m[3];
    moeq_mlp_weights(c->source, MOEQ_PART_EXPERT_GATE, layer, expert, weights);
    enum moeq_status status =
        moeq_bytes_resize(&entry->bytes, (size_t)moeq_expert_cache_bytes(c->source, layer, expert), err);
    if (!status)
        status = is_coded(weights) ? load_coded(c, weights, entry, m, err)
                                   : moeq_source_load_at(c->source, weights, 3, entry->bytes.data, m, err);
    if (status)
        return status;
    entry->mlp = (struct moeq_mlp){m[0], m[1], m[2]};
    c->counts.n_loaded_bytes += stored_bytes(weights);
    return MOEQ_OK;
}

/* ---- the list ---- */

static void unlink_entry(struct moeq_expert_cache *c, uint32_t i)
{
    const struct entry *e = &c->entries[i];
    c->entries[e->older].newer = e->newer;
    c->entries[e->newer].older = e->older;
}

static void link_newest(struct moeq_expert_cache *c, uint32_t i)
{
    struct entry *end = &c->entries[c->n_entries], *e = &c->entries[i];
    e->older = end->older;
    e->newer = c->n_entries;
    c->entries[e->older].newer = i;
    end->older = i;
}

/* Makes room for n bytes, and hands the memory of the last one that leaves on to *bytes. */
static void make_room(struct moeq_expert_cache *c, uint64_t n_bytes, struct moeq_bytes *bytes)
{
    for (uint32_t i; c->counts.n_held_bytes + n_bytes > c->budget &&
                     (i = c->entries[c->n_entries].newer) != c->n_entries;) {
        unlink_entry(c, i);
        c->counts.n_held_bytes -= c->entries[i].bytes.capacity;
        moeq_bytes_free(bytes);
        *bytes = c->entries[i].bytes;
        c->entries[i].bytes = (struct moeq_bytes){0};
    }
    if (bytes->capacity > n_bytes) /* of a larger expert: the budget counts what is needed */
        moeq_bytes_free(bytes);
}

/* ---- the caller's side ---- */

struct moeq_expert_cache *moeq_expert_cache_create(const struct moeq_source *source, uint64_t n_bytes,
                                                   struct moeq_error *err)
{
    struct moeq_expert_cache *c = moeq_calloc(1, sizeof *c, err);
    if (!c)
        return NULL;
    *c = (struct moeq_expert_cache){
        .source = source, .budget = n_bytes, .n_entries = source->config.n_layers * source->config.n_experts};
    c->entries = moeq_calloc((size_t)c->n_entries + 1, sizeof *c->entries, err);
    if (!c->entries) {
        free(c);
        return NULL;
    }
    c->entries[c->n_entries].older = c->entries[c->n_entries].newer = c->n_entries;
    return c;
}

void moeq_expert_cache_free(struct moeq_expert_cache *cache)
{
    if (!cache)
        return;
    for (uint32_t i = 0; i < cache->n_entries; i++)
        moeq_bytes_free(&cache->entries[i].bytes);
    moeq_bytes_free(&cache->staging);
    free(cache->entries);
    free(cache);
}

static uint32_t index_of(const struct moeq_expert_cache *c, int layer, int expert)
{
    return (uint32_t)layer * c->source->config.n_experts + (uint32_t)expert;
}

void moeq_expert_cache_announce(const struct moeq_expert_cache *cache, int layer, const int32_t *experts,
                                size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct moeq_weight *weights[3];
        if (cache->entries[index_of(cache, layer, experts[i])].bytes.data)
            continue;
        moeq_mlp_weights(cache->source, MOEQ_PART_EXPERT_GATE, layer, experts[i], weights);
        moeq_source_advise(cache->source, weights, 3, MOEQ_FILE_SOON);
    }
}

enum moeq_status moeq_expert_cache_acquire(struct moeq_expert_cache *cache, int layer, int expert,
                                           struct moeq_mlp *mlp, struct moeq_error *err)
{
    struct moeq_expert_cache *c = cache;
    const uint32_t i = index_of(c, layer, expert);
    struct entry *e = &c->entries[i];
    if (e->bytes.data) {
        c->counts.n_hits++;
        if (!e->n_acquired)
            unlink_entry(c, i);
    } else {
        make_room(c, moeq_expert_cache_bytes(c->source, layer, expert), &e->bytes);
        const enum moeq_status status = load(c, layer, expert, e, err);
        if (status) {
            moeq_bytes_free(&e->bytes);
            return status;
        }
        c->counts.n_misses++;
        c->counts.n_held_bytes += e->bytes.capacity;
    }
    e->n_acquired++;
    *mlp = e->mlp;
    return MOEQ_OK;
}

void moeq_expert_cache_release(struct moeq_expert_cache *cache, int layer, int expert)
{
    const uint32_t i = index_of(cache, layer, expert);
    assert(cache->entries[i].n_acquired > 0);
    if (--cache->entries[i].n_acquired == 0)
        link_newest(cache, i);
}

struct moeq_expert_cache_counts moeq_expert_cache_counts(const struct moeq_expert_cache *cache)
{
    return cache->counts;
}
