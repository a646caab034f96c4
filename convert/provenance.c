#include "provenance.h"

#include "interrupt.h"

#include <stdlib.h>

/* Small files of a release that travel with the weights, byte for byte. */
static const char *const small_files[] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "tiktoken.model",
    "chat_template.jinja",
    "LICENSE",
    "LICENSE-MODEL",
    "README.md",
};

#define N_SMALL_FILES (sizeof small_files / sizeof *small_files)

static enum moeq_status add_copy(struct moeq_provenance *p, const char *name, struct moeq_error *err)
{
    struct moeq_bytes bytes = {0};
    enum moeq_status status = MOEQ_OK;
    char *path = moeq_path_join(p->plan->source->path, name, err);
    if (!path)
        return MOEQ_OVER_MEMORY;
    if (moeq_path_exists(path)) {
        status = moeq_file_read_all(path, MOEQ_MAX_COPIED_BYTES, &bytes, err);
        if (!status)
            p->copies[p->n_copies++] =
                (struct moeq_copied_file){name, bytes.n_bytes, moeq_hash_bytes(bytes.data, bytes.n_bytes)};
    }
    moeq_bytes_free(&bytes);
    free(path);
    return status;
}

static const struct moeq_file *opened(const struct moeq_source *source, size_t i)
{
    return source->is_package ? &source->package.files[i].file : &source->checkpoint.shards[i].file;
}

static enum moeq_status add_source(struct moeq_provenance *p, size_t i, struct moeq_error *err)
{
    const struct moeq_source *source = p->plan->source;
    struct moeq_source_file *file = &p->sources[p->n_sources++];
    file->name = source->is_package ? source->package.files[i].name : source->checkpoint.shards[i].name;
    file->n_bytes = opened(source, i)->n_bytes;
    memset(file->sha256, '0', MOEQ_SHA256_HEX - 1);
    if (moeq_utf8_valid((const uint8_t *)file->name, strlen(file->name), NULL))
        return MOEQ_OK;
    moeq_fail(err, MOEQ_UNSUPPORTED, "the file name is not UTF-8, which a manifest must be");
    moeq_error_in_file(err, file->name);
    moeq_error_hint(err, "rename it");
    return MOEQ_UNSUPPORTED;
}

enum moeq_status moeq_provenance_list(struct moeq_provenance *provenance, const struct moeq_plan *plan,
                                      bool has_sha256, struct moeq_error *err)
{
    struct moeq_provenance *p = provenance;
    const struct moeq_source *source = plan->source;
    const size_t n = source->is_package ? source->package.n_files : source->checkpoint.n_shards;
    *p = (struct moeq_provenance){.plan = plan, .has_sha256 = has_sha256};
    p->sources = moeq_calloc(n, sizeof *p->sources, err);
    p->copies = moeq_calloc(N_SMALL_FILES, sizeof *p->copies, err);
    p->slices = moeq_calloc(plan->n_items, sizeof *p->slices, err);
    enum moeq_status status = p->sources && p->copies && p->slices ? MOEQ_OK : MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < n; i++)
        status = add_source(p, i, err);
    for (size_t i = 0; !status && i < N_SMALL_FILES; i++)
        status = add_copy(p, small_files[i], err);
    if (status)
        moeq_provenance_free(p);
    return status;
}

void moeq_provenance_free(struct moeq_provenance *provenance)
{
    free(provenance->sources);
    free(provenance->copies);
    free(provenance->slices);
    *provenance = (struct moeq_provenance){0};
}

char *moeq_provenance_path(const struct moeq_provenance *provenance, size_t i, struct moeq_error *err)
{
    return moeq_path_join(provenance->plan->source->path, provenance->sources[i].name, err);
}

/* ---- before the data ---- */

/* All that a package tells of itself. */
static enum moeq_status take_from_package(struct moeq_provenance *p, struct moeq_error *err)
{
    const struct moeq_plan *plan = p->plan;
    const struct moeq_package *package = &plan->source->package;
    struct moeq_hasher *hasher = moeq_hasher_create(err);
    size_t segment = 0;
    if (!hasher)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < p->n_sources; i++) {
        p->sources[i].head = package->files[i].head_hash;
        moeq_hasher_update(hasher, p->sources[i].head.bytes, MOEQ_HASH_BYTES);
        for (; segment < package->n_segments && package->segments[segment].file == i; segment++)
            moeq_hasher_update(hasher, package->segments[segment].hash.bytes, MOEQ_HASH_BYTES);
        p->sources[i].contents = moeq_hasher_finish(hasher);
    }
    for (size_t i = 0; i < plan->n_items; i++)
        p->slices[i].of_span[0] = moeq_source_segment(plan->source, plan->items[i].weight)->hash;
    moeq_hasher_free(hasher);
    return MOEQ_OK;
}

enum moeq_status moeq_provenance_begin(struct moeq_provenance *provenance, struct moeq_error *err)
{
    const struct moeq_source *source = provenance->plan->source;
    struct moeq_bytes head = {0};
    enum moeq_status status = MOEQ_OK;
    if (source->is_package)
        return take_from_package(provenance, err);
    for (size_t i = 0; !status && i < provenance->n_sources; i++) {
        const struct moeq_shard *shard = &source->checkpoint.shards[i];
        status = moeq_bytes_resize(&head, (size_t)shard->st.data_offset, err);
        if (!status)
            status = moeq_file_read(&shard->file, 0, head.data, head.n_bytes, err);
        if (!status)
            provenance->sources[i].head = moeq_hash_bytes(head.data, head.n_bytes);
    }
    moeq_bytes_free(&head);
    return status;
}

/* ---- the data ---- */

static void add_piece(struct moeq_provenance *p, size_t item, uint64_t from, const uint8_t *data,
                      uint64_t n_bytes, struct moeq_hasher *hasher)
{
    const struct moeq_weight *w = p->plan->items[item].weight;
    const uint64_t end = from + n_bytes;
    for (size_t i = 0; i < w->n_spans; i++) {
        const struct moeq_span *span = &w->spans[i];
        const uint64_t begin = from < span->at ? span->at : from;
        const uint64_t until = end < span->at + span->n_bytes ? end : span->at + span->n_bytes;
        if (begin >= until)
            continue;
        moeq_hasher_update(hasher, data + (begin - from), (size_t)(until - begin));
        if (until == span->at + span->n_bytes)
            p->slices[item].of_span[i] = moeq_hasher_finish(hasher);
    }
}

enum moeq_status moeq_provenance_load(struct moeq_provenance *provenance, size_t item, uint64_t from,
                                      uint64_t n_bytes, uint8_t *dst, struct moeq_hasher *hasher,
                                      struct moeq_error *err)
{
    const struct moeq_plan *plan = provenance->plan;
    enum moeq_status status =
        moeq_source_read_packed(plan->source, plan->items[item].weight, from, n_bytes, dst, err);
    if (!status)
        add_piece(provenance, item, from, dst, n_bytes, hasher);
    return status;
}

static enum moeq_status read_item(struct moeq_provenance *p, size_t item, uint8_t *buffer,
                                  struct moeq_hasher *hasher, struct moeq_error *err)
{
    const struct moeq_weight *w = p->plan->items[item].weight;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t from = 0, n; !status && from < w->n_bytes; from += n) {
        n = w->n_bytes - from < MOEQ_HASH_PIECE ? w->n_bytes - from : MOEQ_HASH_PIECE;
        status = moeq_interrupt_check(err);
        if (!status)
            status = moeq_provenance_load(p, item, from, n, buffer, hasher, err);
    }
    return status;
}

enum moeq_status moeq_provenance_read(struct moeq_provenance *provenance, const struct moeq_plan_file *file,
                                      struct moeq_error *err)
{
    size_t first, n;
    if (provenance->plan->source->is_package)
        return MOEQ_OK;
    moeq_plan_file_items(provenance->plan, file, &first, &n);
    struct moeq_hasher *hasher = moeq_hasher_create(err);
    uint8_t *buffer = hasher ? malloc(MOEQ_HASH_PIECE) : NULL;
    enum moeq_status status = buffer ? MOEQ_OK : moeq_fail_alloc(err, MOEQ_HASH_PIECE);
    for (size_t i = first; !status && i < first + n; i++)
        status = read_item(provenance, i, buffer, hasher, err);
    free(buffer);
    moeq_hasher_free(hasher);
    return status;
}

struct moeq_hash moeq_provenance_of_file(const struct moeq_provenance *provenance,
                                         const struct moeq_plan_file *file)
{
    size_t first, n;
    moeq_plan_file_items(provenance->plan, file, &first, &n);
    return moeq_hash_bytes(&provenance->slices[first], n * sizeof *provenance->slices);
}

/* ---- after the data ---- */

/* A slice and where it lies. */
struct slice {
    uint32_t file;
    uint64_t offset;
    const struct moeq_hash *hash;
};

static int by_place(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static size_t list_slices(const struct moeq_provenance *p, struct slice *slices)
{
    const struct moeq_checkpoint *c = &p->plan->source->checkpoint;
    size_t n = 0;
    for (size_t i = 0; i < p->plan->n_items; i++) {
        const struct moeq_weight *w = p->plan->items[i].weight;
        for (size_t s = 0; s < w->n_spans; s++) {
            const struct moeq_located *located = &c->tensors[w->spans[s].tensor];
            if (w->spans[s].n_bytes)
                slices[n++] = (struct slice){located->shard, located->tensor->offset + w->spans[s].from,
                                             &p->slices[i].of_span[s]};
        }
    }
    qsort(slices, n, sizeof *slices, by_place);
    return n;
}

enum moeq_status moeq_provenance_end(struct moeq_provenance *provenance, struct moeq_error *err)
{
    struct moeq_provenance *p = provenance;
    if (p->plan->source->is_package)
        return MOEQ_OK;
    struct slice *slices = moeq_calloc(p->plan->n_items * 2, sizeof *slices, err);
    struct moeq_hasher *hasher = moeq_hasher_create(err);
    enum moeq_status status = slices && hasher ? MOEQ_OK : MOEQ_OVER_MEMORY;
    const size_t n = status ? 0 : list_slices(p, slices);
    for (size_t i = 0, next = 0; !status && i < p->n_sources; i++) {
        moeq_hasher_update(hasher, p->sources[i].head.bytes, MOEQ_HASH_BYTES);
        for (; next < n && slices[next].file == i; next++)
            moeq_hasher_update(hasher, slices[next].hash->bytes, MOEQ_HASH_BYTES);
        p->sources[i].contents = moeq_hasher_finish(hasher);
    }
    free(slices);
    moeq_hasher_free(hasher);
    return status;
}
