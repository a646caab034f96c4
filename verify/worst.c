#include "worst.h"

#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>

#define TOKENS_BEFORE 24u
#define TOKENS_AFTER  8u
#define NOTHING       1e-6 /* mean divergence of a window that is not worth showing: rounding in a baseline */

void moeq_worst_free(struct moeq_worst_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        struct moeq_worst *w = &list->windows[i];
        char *const texts[] = {w->before, w->target, w->after, w->model_says, w->reference_says};
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
            free(texts[k]);
    }
    *list = (struct moeq_worst_list){0};
}

/* ---- which ---- */

static void measure(struct moeq_worst *w, const struct moeq_evaluation *e, uint64_t window, uint64_t n)
{
    const struct moeq_score *scores = e->scores + window * n;
    uint64_t worst = 0;
    *w = (struct moeq_worst){.window = window};
    for (uint64_t i = 0; i < n; i++) {
        w->kld += scores[i].kld / (double)n;
        w->nll_difference += (scores[i].nll - scores[i].reference_nll) / (double)n;
        if (scores[i].kld > scores[worst].kld)
            worst = i;
    }
    w->token = worst; /* of the scored ones, for now */
    w->token_kld = scores[worst].kld;
    w->nll = scores[worst].nll;
    w->reference_nll = scores[worst].reference_nll;
}

/* Keeps the list by descending divergence. */
static void insert(struct moeq_worst_list *list, const struct moeq_worst *w)
{
    size_t at = list->n < MOEQ_WORST_WINDOWS ? list->n++ : MOEQ_WORST_WINDOWS;
    for (; at > 0 && list->windows[at - 1].kld < w->kld; at--)
        if (at < MOEQ_WORST_WINDOWS)
            list->windows[at] = list->windows[at - 1];
    if (at < MOEQ_WORST_WINDOWS)
        list->windows[at] = *w;
}

/* ---- their text ---- */

/* Bytes as text for people, see the header. */
static void show_bytes(FILE *out, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n;) {
        const uint8_t first = bytes[i];
        const size_t wanted = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
        char character[5] = "";
        if (wanted <= n - i && moeq_utf8_valid(bytes + i, wanted, NULL)) {
            memcpy(character, bytes + i, wanted);
            if (first == '\n')
                fputs("\u21b5", out);
            else
                fputs(first && moeq_control_length(character) ? " " : character, out);
            i += wanted;
        } else {
            fputs("\ufffd", out);
            i++;
        }
    }
}

/* The text of n tokens; free() it. NULL and *err set where memory is out. */
static char *text_of(const struct moeq_tokenizer *tokenizer, const int32_t *tokens, uint64_t n,
                     struct moeq_error *err)
{
    struct moeq_bytes bytes = {0};
    char *text = NULL;
    size_t n_bytes = 0, length;
    for (uint64_t i = 0; i < n; i++) {
        length = 0;
        moeq_tokenizer_bytes(tokenizer, tokens[i], &length);
        n_bytes += length;
    }
    FILE *out = moeq_bytes_resize(&bytes, n_bytes, err) ? NULL : open_memstream(&text, &length);
    if (!out) {
        moeq_bytes_free(&bytes);
        moeq_fail_alloc(err, 0);
        return NULL;
    }
    n_bytes = 0;
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *token = moeq_tokenizer_bytes(tokenizer, tokens[i], &length);
        if (token) {
            memcpy(bytes.data + n_bytes, token, length);
            n_bytes += length;
        }
    }
    show_bytes(out, bytes.data, n_bytes);
    if (fclose(out) != 0) {
        free(text);
        text = NULL;
    }
    moeq_bytes_free(&bytes);
    if (!text)
        moeq_fail_alloc(err, 0);
    return text;
}

static enum moeq_status set_texts(struct moeq_worst *w, const struct moeq_evaluation *e,
                                  const struct moeq_windows *windows, const struct moeq_tokenizer *tokenizer,
                                  struct moeq_error *err)
{
    const struct moeq_score *score = e->scores + w->window * windows->n_scored + w->token;
    const int32_t *tokens = windows->tokens + w->window * windows->context;
    const int32_t said = (int32_t)score->best, expected = (int32_t)score->reference_best;
    w->token += windows->first + 1;
    const uint64_t n_before = w->token < TOKENS_BEFORE ? w->token : TOKENS_BEFORE,
                   left = windows->context - w->token - 1,
                   n_after = left < TOKENS_AFTER ? left : TOKENS_AFTER;
    w->before = text_of(tokenizer, tokens + w->token - n_before, n_before, err);
    w->target = text_of(tokenizer, tokens + w->token, 1, err);
    w->after = text_of(tokenizer, tokens + w->token + 1, n_after, err);
    w->model_says = text_of(tokenizer, &said, 1, err);
    w->reference_says = text_of(tokenizer, &expected, 1, err);
    return w->before && w->target && w->after && w->model_says && w->reference_says ? MOEQ_OK
                                                                                    : MOEQ_OVER_MEMORY;
}

enum moeq_status moeq_worst_of(struct moeq_worst_list *list, const struct moeq_evaluation *evaluation,
                               const struct moeq_windows *windows, const struct moeq_tokenizer *tokenizer,
                               struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    *list = (struct moeq_worst_list){0};
    for (uint64_t i = 0; i < windows->n_windows; i++) {
        struct moeq_worst w;
        measure(&w, evaluation, i, windows->n_scored);
        if (w.kld > NOTHING)
            insert(list, &w);
    }
    for (size_t i = 0; !status && i < list->n; i++)
        status = set_texts(&list->windows[i], evaluation, windows, tokenizer, err);
    if (status)
        moeq_worst_free(list);
    return status;
}
