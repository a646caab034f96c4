#include "byte_check.h"

#include "download_parts.h"
#include "turns.h"

#include <stdlib.h>

/* A file of the wrong size is not the one that was hashed: reading it would be waste. */
bool moeq_file_is_read(const struct moeq_download_file *file)
{
    if (file->is_dangling || file->is_pointer || file->problem.status == MOEQ_IO ||
        (file->has_size && file->n_bytes != file->n_expected))
        return false;
    return file->sha256[0] || file->git_sha1[0] || file->is_shard ||
           moeq_has_suffix(file->path, ".safetensors");
}

uint64_t moeq_bytes_work(const struct moeq_download *download)
{
    uint64_t n = 0;
    for (size_t i = 0; i < download->n_files; i++)
        n += moeq_file_is_read(&download->files[i]) ? download->files[i].n_bytes : 0;
    return n;
}

/* ---- zeros ---- */

struct scan {
    struct moeq_download_file *file;
    struct moeq_progress *progress;
    size_t tensor;         /* of the header: the one that is passed now */
    bool tensor_has_bytes; /* other than zero */
    uint64_t end;          /* behind the last byte that is not zero */
};

/* Ends at the first byte that is not zero: of real weights, almost at once. */
static bool is_zero(const uint8_t *data, size_t n)
{
    return n == 0 || (data[0] == 0 && memcmp(data, data + 1, n - 1) == 0);
}

static void leave_tensor(struct scan *s, const struct moeq_tensor *tensor)
{
    struct moeq_zeros *zeros = &s->file->zeros;
    if (!s->tensor_has_bytes && tensor->n_dims >= 2 && tensor->n_bytes && zeros->n_tensors++ == 0)
        zeros->first_tensor = tensor->name;
    s->tensor++;
    s->tensor_has_bytes = false;
}

static void scan_tensors(struct scan *s, uint64_t offset, const uint8_t *data, size_t n)
{
    const struct moeq_safetensors *header = &s->file->header;
    while (s->file->has_header && s->tensor < header->n_tensors) {
        const struct moeq_tensor *tensor = &header->tensors[s->tensor];
        const uint64_t begin = tensor->offset > offset ? tensor->offset - offset : 0;
        const uint64_t end = tensor->offset + tensor->n_bytes - offset; /* in the block: never before it */
        if (begin >= n && tensor->n_bytes)
            return;
        const uint64_t stop = end < n ? end : n;
        if (!s->tensor_has_bytes && begin < stop)
            s->tensor_has_bytes = !is_zero(data + begin, (size_t)(stop - begin));
        if (end > n)
            return;
        leave_tensor(s, tensor);
    }
}

static void scan_block(void *context, uint64_t offset, const uint8_t *data, size_t n)
{
    struct scan *s = context;
    struct moeq_zeros *zeros = &s->file->zeros;
    scan_tensors(s, offset, data, n);
    if (n == MOEQ_ZERO_BLOCK && is_zero(data, n)) {
        zeros->first = zeros->n_bytes ? zeros->first : offset;
        zeros->n_bytes += n;
    }
    size_t last = n;
    while (last && data[last - 1] == 0)
        last--;
    if (last)
        s->end = offset + last;
    moeq_progress_add(s->progress, n, NULL);
}

/* ---- files ---- */

struct job {
    struct moeq_download *download;
    struct moeq_progress *progress;
};

static enum moeq_status read_file(void *context, unsigned worker, size_t i, bool is_last,
                                  struct moeq_error *err)
{
    const struct job *job = context;
    (void)worker;
    struct moeq_download_file *file = &job->download->files[i];
    struct moeq_file open = {.fd = -1};
    struct moeq_error problem = {0};
    struct scan scan = {.file = file, .progress = job->progress};
    char *full = moeq_download_path(job->download, file->path, err);
    if (!full)
        return MOEQ_OVER_MEMORY;
    file->digests.want_sha256 = file->sha256[0];
    file->digests.want_git_sha1 = file->git_sha1[0];
    file->digests.read_ahead = is_last;
    enum moeq_status status = moeq_file_open(&open, full, &problem);
    if (!status) {
        moeq_progress_add(job->progress, 0, file->path);
        status = moeq_file_digest(&open, &file->digests, scan_block, &scan, &problem);
        file->was_read = !status;
        file->zeros.tail = open.n_bytes - scan.end;
    }
    moeq_file_close(&open);
    free(full);
    if (status == MOEQ_IO || status == MOEQ_DAMAGED) { /* one file that cannot be read: go on */
        file->read_problem = problem;
        return MOEQ_OK;
    }
    if (status && err)
        *err = problem;
    return status;
}

enum moeq_status moeq_bytes_check(struct moeq_download *download, struct moeq_pool *pool,
                                  struct moeq_progress *progress, struct moeq_error *err)
{
    struct job job = {.download = download, .progress = progress};
    struct moeq_turns turns = {0};
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < download->n_files; i++) {
        const struct moeq_download_file *file = &download->files[i];
        char *full = moeq_file_is_read(file) ? moeq_download_path(download, file->path, err) : NULL;
        if (full)
            status = moeq_turns_add(&turns, i, full, file->n_bytes, err);
        else if (moeq_file_is_read(file))
            status = MOEQ_OVER_MEMORY;
        free(full);
    }
    if (!status)
        status = moeq_turns_run(&turns, pool, read_file, &job, err);
    moeq_turns_free(&turns);
    return status;
}
