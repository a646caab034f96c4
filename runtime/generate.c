#include "generate.h"

#include "bpe.h"

#include <math.h>
#include <stdlib.h>

#define PROMPT_TOKENS 1024 /* of a step: enough for an expert to be worth loading */

const char *const moeq_finish_names[] = {"end", "stop", "length"};

void moeq_generation_free(struct moeq_generation *generation)
{
    moeq_tokens_free(&generation->tokens);
    moeq_text_stream_free(&generation->text);
}

struct moeq_decoder_plan moeq_generate_plan(const struct moeq_source *source,
                                            const struct moeq_generation *generations, size_t n,
                                            uint64_t max_tokens, uint64_t n_together, unsigned n_jobs,
                                            uint64_t budget)
{
    uint64_t longest = 1, n_prompts = 0;
    for (size_t i = 0; i < n; i++) {
        longest = moeq_larger(longest, generations[i].n_prompt);
        n_prompts += generations[i].n_prompt;
    }
    const uint64_t n_sequences = moeq_larger(n < n_together ? n : n_together, 1);
    return moeq_decoder_plan(source, n_sequences, longest + max_tokens,
                             n_prompts < PROMPT_TOKENS ? n_prompts : PROMPT_TOKENS, n_jobs, budget);
}

/* A sequence of the decoder, and the text that it is of. */
struct slot {
    struct moeq_generation *generation; /* NULL: free */
    size_t n_read;                      /* tokens of the prompt */
    int32_t last;                       /* drawn, and not yet read */
    bool is_awaited;                    /* this step gives its logits */
};

struct writing {
    struct moeq_decoder *decoder;
    const struct moeq_generator *generator;
    struct moeq_generation *generations;
    size_t n, n_begun;
    struct slot *slots; /* [n_sequences] */
    size_t n_slots;
    struct moeq_decoder_row *rows; /* [chunk] */
    uint64_t n_rows;
    float *logits;       /* [n_sequences, vocabulary] */
    bool *is_impossible; /* [vocabulary]: rows of the head that no token has */
    struct moeq_sampler sampler;
};

/* ---- a text ---- */

static enum moeq_status give_piece(const struct writing *w, struct moeq_generation *g, bool is_end,
                                   struct moeq_error *err)
{
    size_t n;
    const char *text = moeq_text_stream_next(&g->text, is_end, &n);
    return n && w->generator->piece
               ? w->generator->piece(w->generator->context, (size_t)(g - w->generations), text, n, err)
               : MOEQ_OK;
}

static enum moeq_status finish(const struct writing *w, struct slot *slot, enum moeq_finish how,
                               struct moeq_error *err)
{
    struct moeq_generation *g = slot->generation;
    enum moeq_status status = moeq_text_stream_end(&g->text, err);
    g->finish = how;
    slot->generation = NULL;
    if (!status)
        status = give_piece(w, g, true, err);
    if (!status && w->generator->ended)
        w->generator->ended(w->generator->context, (size_t)(g - w->generations));
    return status;
}

/* Draws a text's next token. */
static enum moeq_status draw(const struct writing *w, struct slot *slot, float *logits,
                             struct moeq_error *err)
{
    const struct moeq_generator *gen = w->generator;
    struct moeq_generation *g = slot->generation;
    size_t n_bytes = 0;
    for (uint32_t i = 0; i < w->sampler.n; i++)
        if (w->is_impossible[i])
            logits[i] = -INFINITY;
    enum moeq_status status = moeq_sample(&w->sampler, logits, &gen->sampling,
                                          moeq_random(g->seed, g->tokens.n_tokens), &slot->last, err);
    if (status)
        return status;
    if (moeq_is_end_token(&gen->ends, slot->last))
        return finish(w, slot, MOEQ_FINISH_END, err);
    if ((status = moeq_tokens_reserve(&g->tokens, 1, err)))
        return status;
    g->tokens.ids[g->tokens.n_tokens++] = slot->last;
    const uint8_t *bytes = moeq_tokenizer_bytes(gen->tokenizer, slot->last, &n_bytes);
    status = moeq_text_stream_add(&g->text, bytes, n_bytes, err);
    if (status)
        return status;
    if (g->text.has_stopped)
        return finish(w, slot, MOEQ_FINISH_STOP, err);
    if (g->tokens.n_tokens == gen->max_tokens)
        return finish(w, slot, MOEQ_FINISH_LENGTH, err);
    return give_piece(w, g, false, err);
}

/* ---- steps ---- */

static void fill_slots(struct writing *w)
{
    for (size_t i = 0; i < w->n_slots && w->n_begun < w->n; i++) {
        if (w->slots[i].generation)
            continue;
        w->slots[i] = (struct slot){.generation = &w->generations[w->n_begun++]};
        w->slots[i].generation->text.stops = w->generator->stops;
        w->slots[i].generation->text.n_stops = w->generator->n_stops;
        moeq_decoder_clear(w->decoder, (uint32_t)i);
    }
}

/* Tokens of prompts that were not read, as many as go into a step. */
static void list_prompts(struct writing *w)
{
    w->n_rows = 0;
    for (size_t i = 0; i < w->n_slots; i++) {
        struct slot *slot = &w->slots[i];
        const struct moeq_generation *g = slot->generation;
        slot->is_awaited = false;
        for (; g && slot->n_read < g->n_prompt && w->n_rows < w->decoder->plan.chunk; slot->n_read++) {
            slot->is_awaited = slot->n_read + 1 == g->n_prompt;
            w->rows[w->n_rows++] =
                (struct moeq_decoder_row){(uint32_t)i, g->prompt[slot->n_read], slot->is_awaited};
        }
    }
}

static void list_last(struct writing *w)
{
    for (size_t i = 0; i < w->n_slots; i++) {
        struct slot *slot = &w->slots[i];
        slot->is_awaited = slot->generation != NULL;
        if (slot->is_awaited)
            w->rows[w->n_rows++] = (struct moeq_decoder_row){(uint32_t)i, slot->last, true};
    }
}

static enum moeq_arithmetic arithmetic_of(const struct writing *w, bool of_prompts)
{
    const enum moeq_arithmetic given = w->generator->arithmetic;
    return given == MOEQ_FAST && !of_prompts && w->n_slots <= MOEQ_FEW_TOKENS ? MOEQ_FEW : given;
}

/* Sets *is_done where nothing was left. */
static enum moeq_status step(struct writing *w, bool *is_done, struct moeq_error *err)
{
    fill_slots(w);
    list_prompts(w);
    const bool of_prompts = w->n_rows > 0;
    if (!of_prompts)
        list_last(w);
    *is_done = w->n_rows == 0;
    if (*is_done)
        return MOEQ_OK;
    enum moeq_status status =
        moeq_decoder_step(w->decoder, w->rows, w->n_rows, arithmetic_of(w, of_prompts), w->logits, err);
    if (!status && w->generator->stepped)
        w->generator->stepped(w->generator->context, of_prompts, w->n_rows);
    float *logits = w->logits;
    for (size_t i = 0; !status && i < w->n_slots; i++)
        if (w->slots[i].is_awaited) {
            status = draw(w, &w->slots[i], logits, err);
            logits += w->sampler.n;
        }
    return status;
}

static enum moeq_status prepare(struct writing *w, struct moeq_error *err)
{
    const struct moeq_decoder_plan *plan = &w->decoder->plan;
    const uint32_t vocabulary = w->decoder->run.config->vocabulary;
    w->n_slots = (size_t)plan->n_sequences;
    w->slots = moeq_calloc(w->n_slots, sizeof *w->slots, err);
    w->rows = moeq_calloc(plan->chunk, sizeof *w->rows, err);
    w->logits = moeq_calloc(plan->n_sequences * vocabulary, sizeof *w->logits, err);
    w->is_impossible = moeq_calloc(vocabulary, sizeof *w->is_impossible, err);
    if (!w->slots || !w->rows || !w->logits || !w->is_impossible)
        return MOEQ_OVER_MEMORY;
    for (uint32_t i = 0; i < vocabulary; i++) {
        size_t n_bytes;
        w->is_impossible[i] = !moeq_tokenizer_bytes(w->generator->tokenizer, (int32_t)i, &n_bytes) &&
                              !moeq_is_end_token(&w->generator->ends, (int32_t)i);
    }
    return moeq_sampler_init(&w->sampler, vocabulary, err);
}

enum moeq_status moeq_generate(struct moeq_decoder *decoder, const struct moeq_generator *generator,
                               struct moeq_generation *generations, size_t n, struct moeq_error *err)
{
    struct writing w = {.decoder = decoder, .generator = generator, .generations = generations, .n = n};
    enum moeq_status status = prepare(&w, err);
    for (bool is_done = false; !status && !is_done;)
        status = step(&w, &is_done, err);
    moeq_error_in_file(err, decoder->run.source->path);
    free(w.slots);
    free(w.rows);
    free(w.logits);
    free(w.is_impossible);
    moeq_sampler_free(&w.sampler);
    return status;
}
