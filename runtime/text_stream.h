/* The text of tokens as it grows: whole characters only, and nothing that might turn out to be a stop.
 *
 * A token may end within a character, so bytes wait until it is whole; what cannot become UTF-8 is U+FFFD,
 * one for each longest beginning of a character (Unicode 15, section 3.9, "substitution of maximal
 * subparts"). Where the text ends like the beginning of a stop, that end waits, too; once a stop is there,
 * the text ends before it. */
#ifndef MOEQ_TEXT_STREAM_H
#define MOEQ_TEXT_STREAM_H

#include "status.h"

struct moeq_text_stream {
    const char *const *stops; /* [n_stops], borrowed, none empty */
    size_t n_stops;
    char *text; /* [n_text] and a NUL; owned */
    size_t n_text, capacity;
    size_t n_given; /* of it, handed out by moeq_text_stream_next */
    bool has_stopped;
    uint8_t waiting[4]; /* bytes of a character that is not whole */
    size_t n_waiting;
};

void moeq_text_stream_free(struct moeq_text_stream *stream);

/* Adds the bytes of a token; nothing once a stop was met. */
enum moeq_status moeq_text_stream_add(struct moeq_text_stream *stream, const uint8_t *bytes, size_t n_bytes,
                                      struct moeq_error *err);

/* No more will come: what was waiting is part of the text. */
enum moeq_status moeq_text_stream_end(struct moeq_text_stream *stream, struct moeq_error *err);

/* What can be shown and was not yet: *n bytes, borrowed until something is added. */
const char *moeq_text_stream_next(struct moeq_text_stream *stream, bool is_end, size_t *n);

#endif
