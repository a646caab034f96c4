#include "baseline_parts.h"

#include "interrupt.h"

#include <stdlib.h>
#include <zlib.h>

static enum moeq_status write_frame(struct moeq_baseline_writer *w, const void *data, size_t n_bytes,
                                    struct moeq_error *err)
{
    uint8_t frame[MOEQ_BASELINE_FRAME];
    const struct moeq_hash hash = moeq_hash_bytes(data, n_bytes);
    moeq_store_u64le(frame, n_bytes);
    memcpy(frame + 8, hash.bytes, MOEQ_HASH_BYTES);
    enum moeq_status status = moeq_out_write(&w->out, frame, sizeof frame, err);
    return status ? status : moeq_out_write(&w->out, data, n_bytes, err);
}

/* Planes have no strings worth looking for: Huffman codes alone are as small and several times as fast. */
static enum moeq_status compress_planes(struct moeq_bytes *to, const struct moeq_bytes *from, size_t *n,
                                        struct moeq_error *err)
{
    z_stream z = {.next_in = from->data, .avail_in = (uInt)from->n_bytes};
    if (from->n_bytes > UINT32_MAX / 2)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "a layer of a baseline has %zu bytes, at most %u can be kept",
                         from->n_bytes, UINT32_MAX / 2);
    if (deflateInit2(&z, 1, Z_DEFLATED, MAX_WBITS, MAX_MEM_LEVEL, Z_HUFFMAN_ONLY) != Z_OK)
        return moeq_fail_alloc(err, 0);
    const size_t bound = deflateBound(&z, (uLong)from->n_bytes);
    enum moeq_status status = moeq_bytes_resize(to, bound, err);
    z.next_out = to->data;
    z.avail_out = (uInt)bound;
    if (!status && deflate(&z, Z_FINISH) != Z_STREAM_END)
        status = moeq_fail(err, MOEQ_BUG, "the compressed planes are larger than their bound");
    *n = z.total_out;
    deflateEnd(&z);
    return status;
}

/* Of w->raw. */
static enum moeq_status write_compressed(struct moeq_baseline_writer *w, struct moeq_error *err)
{
    size_t n = 0;
    enum moeq_status status = moeq_interrupt_check(err);
    if (!status)
        status = compress_planes(&w->packed, &w->raw, &n, err);
    return status ? status : write_frame(w, w->packed.data, n, err);
}

static enum moeq_status write_header(struct moeq_baseline_writer *w, struct moeq_error *err)
{
    json_t *json = moeq_baseline_header_json(w->header);
    char *text = json ? moeq_manifest_seal(json, err) : NULL;
    enum moeq_status status =
        text ? moeq_out_write(&w->out, MOEQ_BASELINE_MAGIC, strlen(MOEQ_BASELINE_MAGIC), err)
             : moeq_fail_alloc(err, 0);
    if (!status)
        status = write_frame(w, text, strlen(text), err);
    free(text);
    json_decref(json);
    return status;
}

enum moeq_status moeq_baseline_create(struct moeq_baseline_writer *writer, const char *path,
                                      const struct moeq_baseline_header *header, const int32_t *tokens,
                                      struct moeq_error *err)
{
    const char *name;
    *writer = (struct moeq_baseline_writer){.header = header, .dir.fd = -1, .out.fd = -1};
    enum moeq_status status = moeq_out_dir_of_file(&writer->dir, path, &name, err);
    if (!status)
        status = moeq_out_create(&writer->out, &writer->dir, name, 0, err);
    if (!status)
        status = write_header(writer, err);
    if (!status)
        status = moeq_bytes_resize(&writer->raw, moeq_baseline_tokens_bytes(header), err);
    if (!status) {
        moeq_planes_put(writer->raw.data, tokens, header->n_windows * header->context, sizeof *tokens,
                        sizeof *tokens);
        status = write_compressed(writer, err);
    }
    if (status)
        moeq_baseline_abandon(writer);
    return status;
}

static enum moeq_status keep_layer(void *context, int layer, const struct moeq_trace_layer *trace,
                                   struct moeq_error *err)
{
    struct moeq_baseline_writer *w = context;
    const struct moeq_baseline_header *h = w->header;
    const uint64_t n_tokens = h->n_windows * h->context;
    enum moeq_status status = moeq_bytes_resize(&w->raw, moeq_baseline_layer_bytes(h, (uint32_t)layer), err);
    if (status)
        return status;
    uint8_t *to = w->raw.data;
    if (h->trace.moe[layer])
        to = moeq_planes_put(to, trace->experts, n_tokens * h->trace.top_k, sizeof *trace->experts,
                             sizeof *trace->experts);
    moeq_planes_put(to, trace->sketches, n_tokens * MOEQ_SKETCH, sizeof *trace->sketches,
                    sizeof *trace->sketches);
    return write_compressed(w, err);
}

struct moeq_trace_store moeq_baseline_keep(struct moeq_baseline_writer *writer)
{
    return (struct moeq_trace_store){.context = writer, .keep = keep_layer};
}

/* In place: each code of the top, and each of the sample, but the first as its difference from the one
 * before. */
static void take_differences(uint16_t *codes, struct moeq_excerpt_shape shape)
{
    for (uint32_t i = shape.top + shape.sample; i-- > 1;)
        if (i != shape.top)
            codes[i] = (uint16_t)(codes[i] - codes[i - 1]);
}

static uint8_t *put_numbers(uint8_t *to, const struct moeq_excerpt *tokens, uint64_t n)
{
    const float *const numbers[] = {&tokens->nll,  &tokens->total, &tokens->largest,
                                    &tokens->step, &tokens->tail,  &tokens->threshold};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        to = moeq_planes_put(to, numbers[i], n, sizeof *tokens, sizeof(float));
    return to;
}

enum moeq_status moeq_baseline_put(struct moeq_baseline_writer *w, const struct moeq_excerpts *excerpts,
                                   uint64_t n, struct moeq_error *err)
{
    const struct moeq_excerpt_shape shape = w->header->excerpt;
    const uint64_t n_entries = n * (shape.top + shape.sample);
    enum moeq_status status = moeq_bytes_resize(&w->raw, moeq_baseline_chunk_bytes(w->header, n), err);
    if (status)
        return status;
    for (uint64_t i = 0; i < n; i++)
        take_differences(excerpts->tokens[i].codes, shape);
    uint8_t *to = put_numbers(w->raw.data, excerpts->tokens, n);
    to = moeq_planes_put(to, excerpts->ids, n_entries, sizeof *excerpts->ids, MOEQ_BASELINE_ID_BYTES);
    moeq_planes_put(to, excerpts->codes, n_entries, sizeof *excerpts->codes, sizeof *excerpts->codes);
    return write_compressed(w, err);
}

static enum moeq_status read_back(void *context, const char *path, struct moeq_error *err)
{
    struct moeq_baseline baseline;
    (void)context;
    enum moeq_status status = moeq_baseline_open(&baseline, path, err);
    if (!status)
        moeq_baseline_close(&baseline);
    return status;
}

enum moeq_status moeq_baseline_finish(struct moeq_baseline_writer *writer, struct moeq_error *err)
{
    enum moeq_status status = moeq_out_finish(&writer->out, read_back, NULL, err);
    moeq_baseline_abandon(writer);
    return status;
}

void moeq_baseline_abandon(struct moeq_baseline_writer *writer)
{
    moeq_out_abandon(&writer->out);
    moeq_out_dir_close(&writer->dir);
    moeq_bytes_free(&writer->raw);
    moeq_bytes_free(&writer->packed);
}
