/* Texts that verbs are given: UTF-8 files as they are, gzip, JSON lines, pipes. */
#ifndef MOEQ_TEXT_H
#define MOEQ_TEXT_H

#include "bytes.h"
#include "json.h"

/* Reads the text at `path`, or standard input where that is "-"; a pipe will do. Bytes that begin as gzip
 * does are decompressed, whatever the name. Where the name ends in .jsonl or .jsonl.gz, every line that is
 * not blank is a JSON object whose string "text" is a document, and the documents are joined by an empty line
 * ("\n\n"). More than max_bytes, before or after decompression, and damaged gzip or JSON are MOEQ_DAMAGED.
 * Whether the text is UTF-8 is left to the tokenizer. */
enum moeq_status moeq_text_read(const char *path, size_t max_bytes, struct moeq_bytes *out,
                                struct moeq_error *err);

/* The first half: what `path` holds, decompressed, JSON lines as they lie. */
enum moeq_status moeq_text_read_bytes(const char *path, size_t max_bytes, struct moeq_bytes *out,
                                      struct moeq_error *err);

/* What messages call it: the path, or "standard input" for "-". */
const char *moeq_text_name(const char *path);

/* JSON lines: the caller sets data (borrowed) and n_bytes, the rest is zero. */
struct moeq_json_lines {
    const uint8_t *data;
    size_t n_bytes, at;
    size_t number; /* of the line that was given last, from 1 */
};

/* The object of the next line that is not blank, the caller's to release. NULL at the end, and with *err set
 * where a line is not one JSON object (MOEQ_DAMAGED, "line N: …"). */
json_t *moeq_json_lines_next(struct moeq_json_lines *lines, struct moeq_error *err);

/* Fails with the status and the message of *why, behind the number of the line. Returns the status. */
enum moeq_status moeq_json_lines_fail(const struct moeq_json_lines *lines, const struct moeq_error *why,
                                      struct moeq_error *err);

/* The second half: JSON lines in *bytes become the text. */
enum moeq_status moeq_text_join_lines(struct moeq_bytes *bytes, struct moeq_error *err);

#endif
