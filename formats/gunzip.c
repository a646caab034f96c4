/* gzip of RFC 1952, several members one behind the other; zlib checks length and CRC. */
#include "stream.h"

#include "interrupt.h"

#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

#define INPUT_BYTES (64u << 10)

struct gunzip {
    struct moeq_stream base;
    struct moeq_stream *source;
    z_stream z;
    bool in_member, in_padding, source_ended;
    uint64_t n_members; /* finished; the first zero behind one is in_padding, for good */
    uint8_t input[INPUT_BYTES];
};

static enum moeq_status refill(struct gunzip *g, struct moeq_error *err)
{
    size_t n = 0;
    enum moeq_status status = moeq_interrupt_check(err);
    if (!status)
        status = moeq_stream_some(g->source, g->input, sizeof g->input, &n, err);
    g->z.next_in = g->input;
    g->z.avail_in = (uInt)n;
    g->source_ended = n == 0;
    return status;
}

/* Between two members: the next one, zeros up to the end, or the end. */
static enum moeq_status begin_member(struct gunzip *g, struct moeq_error *err)
{
    while (g->n_members && g->z.avail_in && *g->z.next_in == 0) {
        g->in_padding = true;
        g->z.next_in++;
        g->z.avail_in--;
    }
    if (g->in_padding && !g->z.avail_in)
        return MOEQ_OK;
    if (g->in_padding || (g->n_members && *g->z.next_in != 0x1f))
        return moeq_fail(err, MOEQ_DAMAGED, "something follows behind the end of the gzip data");
    g->in_member = true;
    return inflateReset(&g->z) == Z_OK ? MOEQ_OK : moeq_fail(err, MOEQ_BUG, "zlib cannot be reset");
}

static enum moeq_status inflate_some(struct gunzip *g, struct moeq_error *err)
{
    const int result = inflate(&g->z, Z_NO_FLUSH);
    if (result == Z_STREAM_END) {
        g->in_member = false;
        g->n_members++;
        return MOEQ_OK;
    }
    if (result == Z_OK || result == Z_BUF_ERROR)
        return MOEQ_OK;
    if (result == Z_MEM_ERROR)
        return moeq_fail_alloc(err, 0);
    return moeq_fail(err, MOEQ_DAMAGED, "damaged gzip data: %s", g->z.msg ? g->z.msg : "not gzip");
}

static enum moeq_status pull(struct moeq_stream *stream, void *dst, size_t capacity, size_t *n,
                             struct moeq_error *err)
{
    struct gunzip *g = (struct gunzip *)stream;
    enum moeq_status status = MOEQ_OK;
    const uInt room = capacity < INT_MAX ? (uInt)capacity : INT_MAX;
    g->z.next_out = dst;
    g->z.avail_out = room;
    while (!status && g->z.avail_out == room) {
        if (!g->z.avail_in && !g->source_ended && (status = refill(g, err)))
            break;
        if (g->z.avail_in && !g->in_member)
            status = begin_member(g, err);
        else if (!g->in_member && g->n_members)
            break; /* the end */
        else if (!g->in_member || (g->source_ended && !g->z.avail_in))
            status = moeq_fail(err, MOEQ_DAMAGED, "the gzip data end too early");
        if (!status && g->in_member)
            status = inflate_some(g, err);
    }
    *n = room - g->z.avail_out;
    return status;
}

static void close_gunzip(struct moeq_stream *stream)
{
    struct gunzip *g = (struct gunzip *)stream;
    inflateEnd(&g->z);
    moeq_stream_close(g->source);
    free(g);
}

struct moeq_stream *moeq_stream_gunzip(struct moeq_stream *source, const void *first, size_t n_first,
                                       struct moeq_error *err)
{
    struct gunzip *g = source ? moeq_calloc(1, sizeof *g, err) : NULL;
    if (!g) {
        moeq_stream_close(source);
        return NULL;
    }
    g->base = (struct moeq_stream){.pull = pull, .close = close_gunzip};
    g->source = source;
    memcpy(g->input, first, n_first);
    g->z.next_in = g->input;
    g->z.avail_in = (uInt)n_first;
    if (inflateInit2(&g->z, 16 + MAX_WBITS) != Z_OK) { /* 16: gzip and nothing else */
        moeq_fail_alloc(err, 0);
        moeq_stream_close(source);
        free(g);
        return NULL;
    }
    return &g->base;
}
