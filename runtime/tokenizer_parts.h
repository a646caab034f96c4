/* What a tokenizer is made of: between tokenizer.c and the readers of its two forms. */
#ifndef MOEQ_TOKENIZER_PARTS_H
#define MOEQ_TOKENIZER_PARTS_H

#include "added_tokens.h"
#include "bpe.h"
#include "pretokenize.h"
#include "vocabulary.h"

#define MOEQ_MAX_ADDED_TOKEN_BYTES 1024 /* every start in a text may cost as much */

/* Tokens that see the text before normalisation are looked for first, as in Hugging Face's library; there is
 * no normalisation here, but the order is kept. */
enum { MOEQ_BEFORE_NORMALIZATION, MOEQ_AFTER_NORMALIZATION, MOEQ_N_ADDED_SETS };

struct moeq_tokenizer {
    struct moeq_vocabulary vocabulary;
    struct moeq_bpe bpe;
    struct moeq_pretokenizer pretokenizer;
    struct moeq_added_tokens added[MOEQ_N_ADDED_SETS];
    bool whole_words_first; /* a word that is a token is that token, whatever merges give */
    bool cuts_long_texts;   /* as Kimi's class does, see tiktoken.h */
    bool adds_bos;
};

/* Fails where an added token asks for more than its literal to match. */
enum moeq_status moeq_check_added_flags(const json_t *token, const char *content, struct moeq_error *err);

/* Fills a tokenizer that is {0} from the top level of tokenizer.json. The caller closes it on failure too. */
enum moeq_status moeq_tokenizer_json_read(struct moeq_tokenizer *tokenizer, const json_t *root,
                                          struct moeq_error *err);

#endif
