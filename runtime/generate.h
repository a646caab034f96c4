/* Texts that a model writes: prompts go through a decoder, and tokens are drawn until one ends the text.
 *
 * Several go together, so that an expert is loaded once in a step for all of them; when one ends, the next
 * takes its place. Steps are either of prompts, as many tokens at once as the decoder takes, or of one token
 * for each text. In exact arithmetic a text depends only on its prompt and seed. In the fast one prompts are
 * computed as a sweep of many tokens and what follows as MOEQ_FEW where at most MOEQ_FEW_TOKENS texts go
 * together, otherwise as MOEQ_FAST; so it may also depend on which of the two it is. */
#ifndef MOEQ_GENERATE_H
#define MOEQ_GENERATE_H

#include "decoder.h"
#include "end_tokens.h"
#include "sampler.h"
#include "text_stream.h"
#include "tokenizer.h"

enum moeq_finish {
    MOEQ_FINISH_END,   /* the model ended it */
    MOEQ_FINISH_STOP,  /* a stop was met, which is not part of the text */
    MOEQ_FINISH_LENGTH /* max_tokens */
};

/* "end", "stop", "length", by enum moeq_finish. */
extern const char *const moeq_finish_names[];

/* One text. */
struct moeq_generation {
    const int32_t *prompt; /* [n_prompt], at least one; borrowed */
    size_t n_prompt;
    uint64_t seed;
    /* What comes of it; {0} before. */
    struct moeq_tokens tokens; /* that were drawn, but for one that ends the text */
    struct moeq_text_stream text;
    enum moeq_finish finish;
};

void moeq_generation_free(struct moeq_generation *generation);

/* What all of them share. Everything is borrowed. */
struct moeq_generator {
    const struct moeq_tokenizer *tokenizer;
    struct moeq_end_tokens ends;
    struct moeq_sampling sampling;
    uint64_t max_tokens;      /* of a text, at least 1 */
    const char *const *stops; /* [n_stops] strings, none empty */
    size_t n_stops;
    enum moeq_arithmetic arithmetic; /* MOEQ_EXACT or MOEQ_FAST */
    /* All may be NULL: a piece of a text, whose failure ends everything; a text is complete; a step of n
     * tokens is done. */
    enum moeq_status (*piece)(void *context, size_t index, const char *text, size_t n_bytes,
                              struct moeq_error *err);
    void (*ended)(void *context, size_t index);
    void (*stepped)(void *context, bool of_prompts, uint64_t n_tokens);
    void *context;
};

/* The decoder for these texts, of which at most n_together go together. */
struct moeq_decoder_plan moeq_generate_plan(const struct moeq_source *source,
                                            const struct moeq_generation *generations, size_t n,
                                            uint64_t max_tokens, uint64_t n_together, unsigned n_jobs,
                                            uint64_t budget);

/* Writes n texts with a fresh decoder that was planned for them. */
enum moeq_status moeq_generate(struct moeq_decoder *decoder, const struct moeq_generator *generator,
                               struct moeq_generation *generations, size_t n, struct moeq_error *err);

#endif
