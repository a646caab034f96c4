#include "text_stream.h"

#include "bytes.h"

#include <stdlib.h>

#define REPLACEMENT "\xef\xbf\xbd"

void moeq_text_stream_free(struct moeq_text_stream *stream)
{
    free(stream->text);
    *stream = (struct moeq_text_stream){0};
}

static enum moeq_status append(struct moeq_text_stream *s, const char *bytes, size_t n,
                               struct moeq_error *err)
{
    if (s->capacity - s->n_text <= n) {
        const size_t capacity = 2 * s->capacity + n + 64;
        char *text = moeq_calloc(capacity, 1, err);
        if (!text)
            return MOEQ_OVER_MEMORY;
        if (s->text)
            memcpy(text, s->text, s->n_text);
        free(s->text);
        s->text = text;
        s->capacity = capacity;
    }
    memcpy(s->text + s->n_text, bytes, n);
    s->n_text += n;
    s->text[s->n_text] = '\0';
    return MOEQ_OK;
}

/* Whether n bytes begin a character that needs more. */
static bool may_grow(const uint8_t *bytes, size_t n)
{
    static const uint8_t last[] = {0x80, 0xBF}; /* the second byte of a character is between these */
    uint8_t whole[4];
    const size_t wanted = bytes[0] >= 0xF0 ? 4 : bytes[0] >= 0xE0 ? 3 : bytes[0] >= 0xC0 ? 2 : 1;
    for (int filling = 0; filling < 2 && n < wanted; filling++) {
        memset(whole, last[filling], sizeof whole);
        memcpy(whole, bytes, n);
        if (moeq_utf8_valid(whole, wanted, NULL))
            return true;
    }
    return false;
}

static enum moeq_status flush_waiting(struct moeq_text_stream *s, bool is_whole, struct moeq_error *err)
{
    const size_t n = s->n_waiting;
    s->n_waiting = 0;
    if (!n)
        return MOEQ_OK;
    return is_whole ? append(s, (const char *)s->waiting, n, err)
                    : append(s, REPLACEMENT, strlen(REPLACEMENT), err);
}

/* A byte either goes on with what waits, or ends it and begins anew. */
static enum moeq_status add_byte(struct moeq_text_stream *s, uint8_t byte, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    s->waiting[s->n_waiting++] = byte;
    if (moeq_utf8_valid(s->waiting, s->n_waiting, NULL))
        return flush_waiting(s, true, err);
    if (may_grow(s->waiting, s->n_waiting))
        return MOEQ_OK;
    if (s->n_waiting == 1)
        return flush_waiting(s, false, err);
    s->n_waiting--;
    status = flush_waiting(s, false, err);
    return status ? status : add_byte(s, byte, err);
}

/* Cuts the text before the first stop in it; those that ended before `from` were found then. */
static void look_for_stops(struct moeq_text_stream *s, size_t from)
{
    const char *first = NULL;
    for (size_t i = 0; i < s->n_stops; i++) {
        const size_t n = strlen(s->stops[i]), begin = from >= n ? from - n + 1 : 0;
        const char *found =
            s->n_text > begin ? memmem(s->text + begin, s->n_text - begin, s->stops[i], n) : NULL;
        if (found && (!first || found < first))
            first = found;
    }
    if (!first)
        return;
    s->has_stopped = true;
    s->n_text = (size_t)(first - s->text);
    s->text[s->n_text] = '\0';
    s->n_waiting = 0;
}

enum moeq_status moeq_text_stream_add(struct moeq_text_stream *stream, const uint8_t *bytes, size_t n_bytes,
                                      struct moeq_error *err)
{
    const size_t from = stream->n_text;
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < n_bytes && !stream->has_stopped; i++)
        status = add_byte(stream, bytes[i], err);
    if (!status && !stream->has_stopped)
        look_for_stops(stream, from);
    return status;
}

enum moeq_status moeq_text_stream_end(struct moeq_text_stream *stream, struct moeq_error *err)
{
    enum moeq_status status = flush_waiting(stream, false, err);
    if (!status && !stream->text)
        status = append(stream, "", 0, err);
    return status;
}

/* The longest end of the text that a stop begins with. */
static size_t held_back(const struct moeq_text_stream *s)
{
    size_t most = 0;
    for (size_t i = 0; i < s->n_stops; i++)
        for (size_t n = strlen(s->stops[i]) - 1; n > most; n--)
            if (n <= s->n_text && memcmp(s->text + s->n_text - n, s->stops[i], n) == 0)
                most = n;
    return most;
}

const char *moeq_text_stream_next(struct moeq_text_stream *stream, bool is_end, size_t *n)
{
    const size_t given = stream->n_given, held = is_end || stream->has_stopped ? 0 : held_back(stream);
    const size_t end = stream->n_text - held;
    *n = end > given ? end - given : 0;
    stream->n_given += *n;
    return stream->text ? stream->text + given : "";
}
