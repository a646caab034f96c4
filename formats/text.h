/* Texts that verbs are given: UTF-8 files as they are, gzip, JSON lines, pipes. */
#ifndef MOEQ_TEXT_H
#define MOEQ_TEXT_H

#include "bytes.h"

/* Reads the text at `path`, or standard input where that is "-"; a pipe will do. Bytes that begin as gzip
 * does are decompressed, whatever the name. Where the name ends in .jsonl or .jsonl.gz, every line that is
 * not blank is a JSON object whose string "text" is a document, and the documents are joined by an empty line
 * ("\n\n"). More than max_bytes, before or after decompression, and damaged gzip or JSON are MOEQ_DAMAGED.
 * Whether the text is UTF-8 is left to the tokenizer. */
enum moeq_status moeq_text_read(const char *path, size_t max_bytes, struct moeq_bytes *out,
                                struct moeq_error *err);

/* The second half: JSON lines in *bytes become the text. */
enum moeq_status moeq_text_join_lines(struct moeq_bytes *bytes, struct moeq_error *err);

#endif
