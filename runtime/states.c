#include "states.h"

#include "bytes.h"
#include "interrupt.h"
#include "temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MOST_AT_ONCE (1u << 30) /* bytes of a call */

static enum moeq_status fail(const char *what, int number, struct moeq_error *err)
{
    return moeq_temporary_fail(what, number, "more --mem needs less of it", err);
}

static enum moeq_status open_file(struct moeq_states *s, struct moeq_error *err)
{
    const uint64_t n_bytes = moeq_states_bytes(s->n_tokens, s->width);
    s->fd = moeq_temporary_open();
    if (s->fd < 0)
        return fail("cannot create a temporary file for hidden states", errno, err);
    int number;
    while ((number = posix_fallocate(s->fd, 0, (off_t)n_bytes)) == EINTR) {
        enum moeq_status status = moeq_interrupt_check(err);
        if (status)
            return status;
    }
    return number ? fail("no room for a temporary file with hidden states", number, err) : MOEQ_OK;
}

enum moeq_status moeq_states_init(struct moeq_states *states, uint64_t n_tokens, uint64_t n_group,
                                  uint64_t width, struct moeq_error *err)
{
    *states = (struct moeq_states){
        .n_tokens = n_tokens, .n_group = n_group, .width = width, .fd = -1, .n = n_group};
    states->hidden = moeq_calloc(n_group * width, sizeof *states->hidden, err);
    states->normed = moeq_calloc(n_group * width, sizeof *states->normed, err);
    enum moeq_status status = states->hidden && states->normed ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (!status && n_group < n_tokens)
        status = open_file(states, err);
    if (status)
        moeq_states_free(states);
    return status;
}

void moeq_states_free(struct moeq_states *states)
{
    free(states->hidden);
    free(states->normed);
    if (states->width && states->fd >= 0)
        close(states->fd);
    *states = (struct moeq_states){.fd = -1};
}

/* ---- the file: all hidden states, then all normed ones ---- */

static enum moeq_status transfer(const struct moeq_states *s, bool write, float *rows, uint64_t n_bytes,
                                 uint64_t offset, struct moeq_error *err)
{
    uint8_t *bytes = (uint8_t *)rows;
    while (n_bytes) {
        const size_t want = n_bytes < MOST_AT_ONCE ? (size_t)n_bytes : MOST_AT_ONCE;
        const ssize_t n =
            write ? pwrite(s->fd, bytes, want, (off_t)offset) : pread(s->fd, bytes, want, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(write ? "cannot write hidden states" : "cannot read hidden states",
                        n < 0 ? errno : EIO, err);
        bytes += n;
        offset += (uint64_t)n;
        n_bytes -= (uint64_t)n;
    }
    return MOEQ_OK;
}

static enum moeq_status transfer_group(const struct moeq_states *s, bool write, int what,
                                       struct moeq_error *err)
{
    const uint64_t row = s->width * sizeof(float), n_bytes = s->n * row, offset = s->first * row;
    enum moeq_status status = MOEQ_OK;
    if (what & MOEQ_HIDDEN)
        status = transfer(s, write, s->hidden, n_bytes, offset, err);
    if (!status && what & MOEQ_NORMED)
        status = transfer(s, write, s->normed, n_bytes, s->n_tokens * row + offset, err);
    return status;
}

enum moeq_status moeq_states_each(struct moeq_states *states, int reads, int writes, moeq_states_visit *visit,
                                  void *context, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (uint64_t first = 0; !status && first < states->n_tokens; first += states->n_group) {
        const uint64_t left = states->n_tokens - first;
        states->first = first;
        states->n = left < states->n_group ? left : states->n_group;
        status = moeq_interrupt_check(err);
        if (!status && states->fd >= 0)
            status = transfer_group(states, false, reads, err);
        if (!status)
            status = visit(context, err);
        if (!status && states->fd >= 0)
            status = transfer_group(states, true, writes, err);
    }
    return status;
}

void moeq_states_rest(struct moeq_states *states)
{
    free(states->normed);
    states->normed = NULL;
    if (states->fd >= 0) {
        free(states->hidden);
        states->hidden = NULL;
    }
}

enum moeq_status moeq_states_gather(const struct moeq_states *states, int what, const uint64_t *tokens,
                                    uint64_t n, float *rows, struct moeq_error *err)
{
    const uint64_t width = states->width, row = width * sizeof(float);
    const float *memory = what == MOEQ_HIDDEN ? states->hidden : states->normed;
    const uint64_t begin = what == MOEQ_HIDDEN ? 0 : states->n_tokens * row;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t i = 0; !status && i < n; i++) {
        if (states->fd < 0)
            memcpy(rows + i * width, memory + tokens[i] * width, row);
        else
            status = transfer(states, false, rows + i * width, row, begin + tokens[i] * row, err);
    }
    return status;
}

enum moeq_status moeq_states_scatter(const struct moeq_states *states, const uint64_t *tokens, uint64_t n,
                                     float *rows, struct moeq_error *err)
{
    const uint64_t width = states->width, row = width * sizeof(float);
    enum moeq_status status = MOEQ_OK;
    for (uint64_t i = 0; !status && i < n; i++) {
        if (states->fd < 0)
            memcpy(states->hidden + tokens[i] * width, rows + i * width, row);
        else
            status = transfer(states, true, rows + i * width, row, tokens[i] * row, err);
    }
    return status;
}
