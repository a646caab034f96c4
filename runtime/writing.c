#include "writing.h"

#include "bpe.h"

#include <stdlib.h>

static enum moeq_status check_options(const struct moeq_writing *w, struct moeq_error *err)
{
    if ((w->system || w->think) && !w->chat)
        return moeq_fail(err, MOEQ_USAGE, "--%s says something about a chat: --chat is missing",
                         w->system ? "system" : "think");
    if (w->top_p > 0 && w->top_p < 1 && w->temperature <= 0)
        return moeq_fail(err, MOEQ_USAGE, "--top-p draws tokens: give a --temperature, too");
    for (size_t i = 0; i < w->stops.n_items; i++)
        if (!w->stops.items[i][0])
            return moeq_fail(err, MOEQ_USAGE, "--stop needs a text that is not empty");
    return MOEQ_OK;
}

enum moeq_status moeq_prompts_init(struct moeq_prompts *prompts, const struct moeq_writing *writing,
                                   const struct moeq_source *source, struct moeq_error *err)
{
    struct moeq_error local = {0}, *e = err ? err : &local;
    *prompts = (struct moeq_prompts){.bos = source->config.bos};
    if (check_options(writing, e))
        return e->status;
    prompts->tokenizer = moeq_tokenizer_open(source->path, e);
    if (prompts->tokenizer && !moeq_end_tokens_load(&prompts->ends, source->path, e) && writing->chat)
        moeq_chat_find(&source->config, prompts->tokenizer, &prompts->chat, e);
    if (!e->status && writing->think && !moeq_chat_opening(prompts->chat, true)[0])
        moeq_fail(e, MOEQ_USAGE, "--think: a %s does not think first", moeq_chat_name(prompts->chat));
    moeq_error_in_file(e, source->path);
    if (e->status)
        moeq_prompts_free(prompts);
    return e->status;
}

void moeq_prompts_free(struct moeq_prompts *prompts)
{
    moeq_tokenizer_close(prompts->tokenizer);
    *prompts = (struct moeq_prompts){0};
}

enum moeq_status moeq_prompts_encode(const struct moeq_prompts *prompts, const struct moeq_writing *writing,
                                     const struct moeq_turn *turns, size_t n, struct moeq_tokens *out,
                                     struct moeq_error *err)
{
    char *framed = NULL;
    const char *text = turns[0].question;
    enum moeq_status status = MOEQ_OK;
    if (prompts->chat) {
        status = moeq_chat_render(prompts->chat, writing->system, turns, n, writing->think, &framed, err);
        text = framed;
    } else if (prompts->bos >= 0 && !(status = moeq_tokens_reserve(out, 1, err))) {
        out->ids[out->n_tokens++] = prompts->bos;
    }
    if (!status)
        status = moeq_tokenizer_encode(prompts->tokenizer, text, strlen(text), out, err);
    free(framed);
    if (!status && !out->n_tokens)
        return moeq_fail(err, MOEQ_USAGE, "the prompt is empty, and the model has no BOS to begin with");
    return status;
}

struct moeq_generator moeq_writing_generator(const struct moeq_writing *writing,
                                             const struct moeq_prompts *prompts,
                                             enum moeq_arithmetic arithmetic)
{
    return (struct moeq_generator){.tokenizer = prompts->tokenizer,
                                   .ends = prompts->ends,
                                   .sampling = {writing->temperature, writing->top_p},
                                   .max_tokens =
                                       writing->max_tokens ? writing->max_tokens : MOEQ_DEFAULT_MAX_TOKENS,
                                   .stops = writing->stops.items,
                                   .n_stops = writing->stops.n_items,
                                   .arithmetic = arithmetic};
}
