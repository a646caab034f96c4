/* The windows in which a model is furthest from its reference, as text around the token where it is furthest.
 */
#ifndef MOEQ_WORST_H
#define MOEQ_WORST_H

#include "evaluate.h"

#define MOEQ_WORST_WINDOWS 5u

/* Texts are UTF-8 without control characters; "\u21b5" stands for the end of a line, "\ufffd" for bytes that
 * are no character, or of which a token holds a part. */
struct moeq_worst {
    uint64_t window, token;            /* token: number in the window of the one that was to be predicted */
    double kld, nll_difference;        /* means of the window */
    double token_kld;                  /* where it is furthest */
    double nll, reference_nll;         /* of the token that follows there */
    char *before, *target, *after;     /* the text there: the target is the token that follows */
    char *model_says, *reference_says; /* the likeliest tokens instead */
};

struct moeq_worst_list {
    struct moeq_worst windows[MOEQ_WORST_WINDOWS]; /* [n], the worst first */
    size_t n;
};

/* Of an evaluation that compares. Windows that do not diverge are left out. */
enum moeq_status moeq_worst_of(struct moeq_worst_list *list, const struct moeq_evaluation *evaluation,
                               const struct moeq_windows *windows, const struct moeq_tokenizer *tokenizer,
                               struct moeq_error *err);
void moeq_worst_free(struct moeq_worst_list *list);

#endif
