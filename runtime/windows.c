#include "windows.h"

#include "bytes.h"

#include <stdlib.h>

static enum moeq_status tokenise(struct moeq_tokens *tokens, const struct moeq_tokenizer *tokenizer,
                                 int32_t bos, const char *text, size_t n_bytes, bool llama,
                                 struct moeq_error *err)
{
    if (llama && n_bytes && text[n_bytes - 1] == '\n')
        n_bytes--;
    enum moeq_status status = moeq_tokenizer_encode(tokenizer, text, n_bytes, tokens, err);
    if (status || !llama || bos < 0 || !moeq_tokenizer_adds_bos(tokenizer))
        return status;
    int32_t *with_bos = realloc(tokens->ids, (tokens->n_tokens + 1) * sizeof *with_bos);
    if (!with_bos)
        return moeq_fail_alloc(err, (tokens->n_tokens + 1) * sizeof *with_bos);
    memmove(with_bos + 1, with_bos, tokens->n_tokens * sizeof *with_bos);
    with_bos[0] = bos;
    tokens->ids = with_bos;
    tokens->capacity = ++tokens->n_tokens;
    return MOEQ_OK;
}

enum moeq_status moeq_windows_cut(struct moeq_windows *windows, const struct moeq_tokenizer *tokenizer,
                                  int32_t bos, const void *text, size_t n_bytes,
                                  enum moeq_convention convention, uint64_t context, uint64_t max_windows,
                                  struct moeq_error *err)
{
    const bool llama = convention == MOEQ_CONVENTION_LLAMA;
    struct moeq_tokens tokens = {0};
    *windows = (struct moeq_windows){.context = context};
    if (context < (llama ? 4 : 2))
        return moeq_fail(err, MOEQ_USAGE, "a context of %llu tokens scores nothing",
                         (unsigned long long)context);
    enum moeq_status status = tokenise(&tokens, tokenizer, bos, text, n_bytes, llama, err);
    const uint64_t stride =
        llama || bos < 0 ? context : context - 1; /* tokens of the text that a window takes */
    windows->n_text_tokens = tokens.n_tokens;
    windows->n_windows = tokens.n_tokens / stride;
    windows->first = llama ? context / 2 : 0;
    windows->n_scored = context - 1 - windows->first;
    if (max_windows && windows->n_windows > max_windows)
        windows->n_windows = max_windows;
    if (!status && !windows->n_windows) {
        status = moeq_fail(err, MOEQ_USAGE, "the text has %zu tokens, too few for one window of %llu",
                           tokens.n_tokens, (unsigned long long)context);
        moeq_error_hint(err, "give a longer text or a smaller --ctx");
    }
    if (!status &&
        !(windows->tokens = moeq_calloc(windows->n_windows * context, sizeof *windows->tokens, err)))
        status = MOEQ_OVER_MEMORY;
    for (uint64_t w = 0; !status && w < windows->n_windows; w++) {
        int32_t *window = windows->tokens + w * context;
        memcpy(window + context - stride, tokens.ids + w * stride, stride * sizeof *window);
        window[0] = bos < 0 ? window[0] : bos;
    }
    moeq_tokens_free(&tokens);
    return status;
}

void moeq_windows_free(struct moeq_windows *windows)
{
    free(windows->tokens);
    *windows = (struct moeq_windows){0};
}
