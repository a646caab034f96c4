#include "baseline_parts.h"

#include "interrupt.h"

#include <math.h>
#include <stdlib.h>
#include <zlib.h>

#define MAX_HEADER (1u << 20)
#define MAX_RATIO  1100u /* more than deflate can shrink anything by */

struct moeq_baseline_frame {
    uint64_t offset, n_bytes; /* of the packed bytes */
    struct moeq_hash hash;
};

static enum moeq_status damaged(struct moeq_error *err, uint64_t offset, const char *what)
{
    moeq_fail(err, MOEQ_DAMAGED, "%s", what);
    moeq_error_at(err, offset);
    moeq_error_hint(err, "copy the baseline again, or save it again with --save-baseline");
    return MOEQ_DAMAGED;
}

/* ---- frames ---- */

static enum moeq_status read_frame_head(const struct moeq_file *file, uint64_t offset,
                                        struct moeq_baseline_frame *frame, struct moeq_error *err)
{
    uint8_t head[MOEQ_BASELINE_FRAME];
    if (offset > file->n_bytes || file->n_bytes - offset < sizeof head)
        return damaged(err, file->n_bytes, "the baseline ends too early");
    enum moeq_status status = moeq_file_read(file, offset, head, sizeof head, err);
    if (status)
        return status;
    frame->offset = offset + sizeof head;
    frame->n_bytes = moeq_load_u64le(head);
    memcpy(frame->hash.bytes, head + 8, MOEQ_HASH_BYTES);
    if (frame->n_bytes > file->n_bytes - frame->offset)
        return damaged(err, file->n_bytes, "the baseline ends too early");
    return MOEQ_OK;
}

static enum moeq_status read_frame(const struct moeq_file *file, const struct moeq_baseline_frame *frame,
                                   struct moeq_bytes *to, struct moeq_error *err)
{
    enum moeq_status status = moeq_bytes_resize(to, frame->n_bytes, err);
    if (!status)
        status = moeq_file_read(file, frame->offset, to->data, frame->n_bytes, err);
    if (!status && !moeq_hash_equal(moeq_hash_bytes(to->data, frame->n_bytes), frame->hash))
        status = damaged(err, frame->offset, "the bytes of the baseline do not match their XXH3-128");
    return status;
}

/* Frame `which` behind the header, decompressed to b->raw: exactly n_bytes. */
static enum moeq_status decompress(struct moeq_baseline *b, size_t which, uint64_t n_bytes,
                                   struct moeq_error *err)
{
    const struct moeq_baseline_frame *frame = &b->frames[which];
    if (n_bytes / MAX_RATIO > frame->n_bytes)
        return damaged(err, frame->offset, "a part of the baseline is shorter than its header says");
    enum moeq_status status = read_frame(&b->file, frame, &b->packed, err);
    if (!status)
        status = moeq_bytes_resize(&b->raw, n_bytes, err);
    if (status)
        return status;
    uLongf n = n_bytes;
    const int result = uncompress(b->raw.data, &n, b->packed.data, b->packed.n_bytes);
    if (result == Z_MEM_ERROR)
        return moeq_fail_alloc(err, 0);
    if (result != Z_OK || n != n_bytes)
        return damaged(err, frame->offset, "a part of the baseline does not decompress to its size");
    return MOEQ_OK;
}

/* ---- opening ---- */

static enum moeq_status read_header(struct moeq_baseline *b, uint64_t *end, struct moeq_error *err)
{
    const size_t n_magic = strlen(MOEQ_BASELINE_MAGIC);
    struct moeq_baseline_frame frame;
    char magic[sizeof MOEQ_BASELINE_MAGIC] = "";
    enum moeq_status status =
        b->file.n_bytes < n_magic ? MOEQ_OK : moeq_file_read(&b->file, 0, magic, n_magic, err);
    if (status)
        return status;
    if (strcmp(magic, MOEQ_BASELINE_MAGIC) != 0) {
        moeq_fail(err, MOEQ_DAMAGED, "not a baseline");
        moeq_error_hint(err, "give a file that --save-baseline wrote");
        return MOEQ_DAMAGED;
    }
    status = read_frame_head(&b->file, n_magic, &frame, err);
    if (!status && frame.n_bytes > MAX_HEADER)
        status = damaged(err, n_magic, "the header of the baseline has no sensible size");
    if (!status)
        status = read_frame(&b->file, &frame, &b->packed, err);
    if (!status)
        status = moeq_baseline_parse_header(&b->header, b->packed.data, b->packed.n_bytes, err);
    *end = status ? 0 : frame.offset + frame.n_bytes;
    return status;
}

static enum moeq_status list_frames(struct moeq_baseline *b, uint64_t at, struct moeq_error *err)
{
    const uint64_t n = 1 + (uint64_t)b->header.trace.n_layers +
                       moeq_div_up(moeq_baseline_scored(&b->header), MOEQ_BASELINE_CHUNK);
    if (n > b->file.n_bytes / MOEQ_BASELINE_FRAME)
        return damaged(err, b->file.n_bytes, "the baseline ends too early");
    if (!(b->frames = moeq_calloc(n, sizeof *b->frames, err)))
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = MOEQ_OK;
    for (; !status && b->n_frames < n; b->n_frames++) {
        struct moeq_baseline_frame *frame = &b->frames[b->n_frames];
        status = read_frame_head(&b->file, at, frame, err);
        if (!status)
            status = moeq_interrupt_check(err);
        if (!status)
            status = read_frame(&b->file, frame, &b->packed, err);
        at = frame->offset + frame->n_bytes;
    }
    if (!status && at != b->file.n_bytes)
        status = damaged(err, at, "the baseline goes on behind its end");
    return status;
}

static enum moeq_status read_tokens(struct moeq_baseline *b, struct moeq_error *err)
{
    const uint64_t n = b->header.n_windows * b->header.context;
    enum moeq_status status = decompress(b, 0, moeq_baseline_tokens_bytes(&b->header), err);
    if (status)
        return status;
    if (!(b->tokens = moeq_calloc(n, sizeof *b->tokens, err)))
        return MOEQ_OVER_MEMORY;
    moeq_planes_get(b->raw.data, b->tokens, n, sizeof *b->tokens, sizeof *b->tokens);
    for (uint64_t i = 0; i < n; i++)
        if (b->tokens[i] < 0 || (uint32_t)b->tokens[i] >= b->header.vocabulary)
            return damaged(err, b->frames[0].offset, "a token of the baseline is not of its vocabulary");
    return MOEQ_OK;
}

enum moeq_status moeq_baseline_open(struct moeq_baseline *baseline, const char *path, struct moeq_error *err)
{
    uint64_t end = 0;
    *baseline = (struct moeq_baseline){.file.fd = -1};
    enum moeq_status status = moeq_file_open(&baseline->file, path, err);
    if (!status)
        status = read_header(baseline, &end, err);
    if (!status)
        status = list_frames(baseline, end, err);
    if (!status)
        status = read_tokens(baseline, err);
    if (status) {
        moeq_error_in_file(err, path);
        moeq_baseline_close(baseline);
    }
    return status;
}

void moeq_baseline_close(struct moeq_baseline *baseline)
{
    if (baseline->file.path)
        moeq_file_close(&baseline->file);
    free(baseline->frames);
    free(baseline->tokens);
    moeq_bytes_free(&baseline->raw);
    moeq_bytes_free(&baseline->packed);
    *baseline = (struct moeq_baseline){.file.fd = -1};
}

/* ---- layers ---- */

static enum moeq_status fetch_layer(void *context, int layer, struct moeq_trace_layer *trace,
                                    struct moeq_error *err)
{
    struct moeq_baseline *b = context;
    const struct moeq_trace_shape *shape = &b->header.trace;
    const uint64_t n_tokens = b->header.n_windows * b->header.context, n_choices = n_tokens * shape->top_k;
    enum moeq_status status =
        decompress(b, 1 + (size_t)layer, moeq_baseline_layer_bytes(&b->header, (uint32_t)layer), err);
    const uint8_t *from = b->raw.data;
    if (!status && shape->moe[layer]) {
        from =
            moeq_planes_get(from, trace->experts, n_choices, sizeof *trace->experts, sizeof *trace->experts);
        for (uint64_t i = 0; !status && i < n_choices; i++)
            if (trace->experts[i] >= shape->n_experts)
                status = damaged(err, b->frames[1 + layer].offset, "the baseline names an expert too many");
    }
    if (!status)
        moeq_planes_get(from, trace->sketches, n_tokens * MOEQ_SKETCH, sizeof *trace->sketches,
                        sizeof *trace->sketches);
    moeq_error_in_file(err, b->file.path);
    return status;
}

struct moeq_trace_store moeq_baseline_fetch(struct moeq_baseline *baseline)
{
    return (struct moeq_trace_store){.context = baseline, .fetch = fetch_layer};
}

/* ---- excerpts ---- */

static const uint8_t *get_numbers(const uint8_t *from, struct moeq_excerpt *tokens, uint64_t n)
{
    float *const numbers[] = {&tokens->nll,  &tokens->total, &tokens->largest,
                              &tokens->step, &tokens->tail,  &tokens->threshold};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        from = moeq_planes_get(from, numbers[i], n, sizeof *tokens, sizeof(float));
    return from;
}

static bool is_sound(const struct moeq_excerpt *e, struct moeq_excerpt_shape shape, uint32_t vocabulary)
{
    bool sound = isfinite(e->nll) && isfinite(e->total) && isfinite(e->largest) && isfinite(e->step) &&
                 e->largest <= 1e-3f && e->step >= 0 && e->tail >= 0 && e->tail <= 1 &&
                 !isnan(e->threshold) && e->threshold <= 100;
    for (uint32_t i = 0; sound && i < shape.top + shape.sample; i++)
        sound = e->ids[i] < vocabulary;
    return sound;
}

static void add_differences(uint16_t *codes, struct moeq_excerpt_shape shape)
{
    for (uint32_t i = 1; i < shape.top + shape.sample; i++)
        if (i != shape.top)
            codes[i] = (uint16_t)(codes[i] + codes[i - 1]);
}

enum moeq_status moeq_baseline_parse_excerpts(const struct moeq_baseline_header *header, const void *raw,
                                              size_t n_bytes, struct moeq_excerpts *out, uint64_t n,
                                              struct moeq_error *err)
{
    const struct moeq_excerpt_shape shape = header->excerpt;
    const uint64_t n_entries = n * (shape.top + shape.sample);
    if (n > MOEQ_BASELINE_CHUNK || n_bytes != moeq_baseline_chunk_bytes(header, n))
        return moeq_fail(err, MOEQ_DAMAGED, "a part of the baseline has not the size of its tokens");
    const uint8_t *from = get_numbers(raw, out->tokens, n);
    from = moeq_planes_get(from, out->ids, n_entries, sizeof *out->ids, MOEQ_BASELINE_ID_BYTES);
    moeq_planes_get(from, out->codes, n_entries, sizeof *out->codes, sizeof *out->codes);
    for (uint64_t i = 0; i < n; i++) {
        add_differences(out->tokens[i].codes, shape);
        if (!is_sound(&out->tokens[i], shape, header->vocabulary))
            return moeq_fail(err, MOEQ_DAMAGED, "a token of the baseline has no sensible probabilities");
    }
    return MOEQ_OK;
}

enum moeq_status moeq_baseline_get(struct moeq_baseline *b, uint64_t chunk, struct moeq_excerpts *out,
                                   uint64_t *n, struct moeq_error *err)
{
    const uint64_t first = chunk * MOEQ_BASELINE_CHUNK, left = moeq_baseline_scored(&b->header) - first;
    *n = left < MOEQ_BASELINE_CHUNK ? left : MOEQ_BASELINE_CHUNK;
    enum moeq_status status = decompress(b, 1 + (size_t)b->header.trace.n_layers + (size_t)chunk,
                                         moeq_baseline_chunk_bytes(&b->header, *n), err);
    if (!status)
        status = moeq_baseline_parse_excerpts(&b->header, b->raw.data, b->raw.n_bytes, out, *n, err);
    moeq_error_in_file(err, b->file.path);
    return status;
}
