/* Pre-tokenizers: from a piece of text to the words within which pairs merge.
 *
 * Stages run in order; each re-splits every piece of the stage before, matches and gaps both kept. A stage
 * sees one piece at a time: looking ahead or behind ends at its borders. */
#ifndef MOEQ_PRETOKENIZE_H
#define MOEQ_PRETOKENIZE_H

#include "json.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MOEQ_MAX_SPLIT_STAGES 32

/* Read-only once initialised; may be shared by threads. */
struct moeq_pretokenizer {
    pcre2_code *stages[MOEQ_MAX_SPLIT_STAGES];
    size_t n_stages;
};

/* Reads the value of "pre_tokenizer". It must end with ByteLevel, which is left to the caller's byte
 * alphabet. A pattern that does not compile is MOEQ_DAMAGED, one that moeq does not handle MOEQ_UNSUPPORTED.
 * On failure there is nothing to free. */
enum moeq_status moeq_pretokenizer_init(struct moeq_pretokenizer *pretokenizer, const json_t *value,
                                        struct moeq_error *err);

/* The same with one pattern as its only stage. */
enum moeq_status moeq_pretokenizer_init_regex(struct moeq_pretokenizer *pretokenizer, const char *pattern,
                                              struct moeq_error *err);
void moeq_pretokenizer_free(struct moeq_pretokenizer *pretokenizer);

/* Working memory of one thread, and where the words go. */
struct moeq_splitter {
    const struct moeq_pretokenizer *pretokenizer; /* borrowed */
    pcre2_match_data *match;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack;
    /* Called with each word of at least one byte, in order; a status other than MOEQ_OK ends the split. */
    enum moeq_status (*take)(void *context, const uint8_t *word, size_t n, struct moeq_error *err);
    void *context; /* passed to take */
};

/* Allocates match and limits; the caller sets take and context. On failure there is nothing to free. */
enum moeq_status moeq_splitter_init(struct moeq_splitter *splitter,
                                    const struct moeq_pretokenizer *pretokenizer, struct moeq_error *err);
void moeq_splitter_free(struct moeq_splitter *splitter);

/* Splits n bytes that are known to be valid UTF-8. A stage that needs more steps or memory than its text
 * justifies is MOEQ_UNSUPPORTED: time is in proportion to the text whatever the patterns. */
enum moeq_status moeq_splitter_run(struct moeq_splitter *splitter, const uint8_t *text, size_t n,
                                   struct moeq_error *err);

#endif
