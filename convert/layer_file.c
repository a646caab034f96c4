#include "layer_file.h"

#include "interrupt.h"

#include <stdlib.h>

static enum moeq_status hash_range(const struct moeq_file *file, uint64_t offset, uint64_t n_bytes,
                                   uint8_t *buffer, struct moeq_hasher *hasher, struct moeq_hash *out,
                                   struct moeq_error *err)
{
    while (n_bytes) {
        size_t n = n_bytes < MOEQ_HASH_PIECE ? (size_t)n_bytes : MOEQ_HASH_PIECE;
        enum moeq_status status = moeq_interrupt_check(err);
        if (!status)
            status = moeq_file_read(file, offset, buffer, n, err);
        if (status)
            return status;
        moeq_hasher_update(hasher, buffer, n);
        offset += n;
        n_bytes -= n;
    }
    *out = moeq_hasher_finish(hasher);
    return MOEQ_OK;
}

/* The header must be the planned one byte for byte, and pass the strict parser. */
static enum moeq_status check_head(const struct moeq_layer_check *c, const struct moeq_file *f,
                                   struct moeq_layer_hashes *hashes, struct moeq_error *err)
{
    struct moeq_safetensors st;
    struct moeq_bytes head = {0}, found = {0};
    enum moeq_status status = moeq_safetensors_read(&st, f, MOEQ_STRICT, err);
    if (status)
        return status;
    const bool is_it =
        !c->file->has_coded || moeq_plan_adopt_sizes(c->plan, (size_t)(c->file - c->plan->files), &st);
    moeq_safetensors_free(&st);
    if (!is_it)
        return moeq_fail(err, MOEQ_CHECK_FAILED, "written under another plan, or from another source");
    status = moeq_plan_file_head(c->plan, c->file, c->plan_hash, c->made_from, &head, err);
    if (!status && f->n_bytes == c->file->n_bytes && !(status = moeq_bytes_resize(&found, head.n_bytes, err)))
        status = moeq_file_read(f, 0, found.data, found.n_bytes, err);
    if (!status && (!found.data || memcmp(found.data, head.data, head.n_bytes) != 0))
        status = moeq_fail(err, MOEQ_CHECK_FAILED, "written under another plan, or from another source");
    if (!status)
        hashes->head = moeq_hash_bytes(head.data, head.n_bytes);
    moeq_bytes_free(&found);
    moeq_bytes_free(&head);
    return status;
}

static enum moeq_status hash_segments(const struct moeq_layer_check *c, const struct moeq_file *f,
                                      struct moeq_layer_hashes *hashes, struct moeq_error *err)
{
    uint8_t *buffer = malloc(MOEQ_HASH_PIECE);
    struct moeq_hasher *hasher = moeq_hasher_create(err);
    enum moeq_status status = buffer && hasher ? MOEQ_OK : moeq_fail_alloc(err, MOEQ_HASH_PIECE);
    uint64_t offset = c->file->n_head;
    for (size_t i = 0; !status && i < c->file->n_segments; i++) {
        const uint64_t n = c->plan->segments[c->file->first + i].n_bytes;
        status = hash_range(f, offset, n, buffer, hasher, &hashes->segments[i], err);
        offset += n;
    }
    free(buffer);
    moeq_hasher_free(hasher);
    return status;
}

/* The list of hashes that closes the file. */
static enum moeq_status check_list(const struct moeq_layer_check *c, const struct moeq_file *f,
                                   struct moeq_layer_hashes *hashes, struct moeq_error *err)
{
    const size_t n = c->file->n_segments * MOEQ_HASH_BYTES;
    struct moeq_hash *stored = moeq_calloc(c->file->n_segments, sizeof *stored, err);
    enum moeq_status status =
        stored ? moeq_file_read(f, c->file->n_bytes - n, stored, n, err) : MOEQ_OVER_MEMORY;
    if (!status && memcmp(stored, hashes->segments, n) != 0)
        status = moeq_fail(err, MOEQ_DAMAGED, "the data do not match their own hashes");
    if (!status)
        hashes->hashes = moeq_hash_bytes(stored, n);
    free(stored);
    return status;
}

static enum moeq_status check_file(const struct moeq_layer_check *c, const char *path, bool has_segments,
                                   struct moeq_layer_hashes *hashes, struct moeq_error *err)
{
    struct moeq_file f;
    enum moeq_status status = moeq_file_open(&f, path, err);
    if (status)
        return status;
    status = check_head(c, &f, hashes, err);
    if (!status && !has_segments)
        status = hash_segments(c, &f, hashes, err);
    if (!status)
        status = check_list(c, &f, hashes, err);
    moeq_error_in_file(err, path);
    moeq_file_close(&f);
    return status;
}

enum moeq_status moeq_layer_file_check(const struct moeq_layer_check *check, const char *path,
                                       struct moeq_layer_hashes *hashes, struct moeq_error *err)
{
    return check_file(check, path, false, hashes, err);
}

enum moeq_status moeq_layer_file_check_outside(const struct moeq_layer_check *check, const char *path,
                                               struct moeq_layer_hashes *hashes, struct moeq_error *err)
{
    return check_file(check, path, true, hashes, err);
}
