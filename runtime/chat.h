/* How a question is put to a model that was trained to talk: the text around what user and model say, with
 * special tokens, as the chat templates of DeepSeek's releases write it. Which one a model takes follows from
 * its architecture and from the tokens that its tokenizer knows:
 *
 *   V3.1, V3.2   <｜User｜>, <｜Assistant｜>, <think> and <｜search▁begin｜>; answers at once, or thinks
 * first R1           <｜User｜>, <｜Assistant｜> and <think>; always thinks first V3           <｜User｜> and
 * <｜Assistant｜> V2           "User: ", "Assistant:", by the architecture
 *
 * BOS is written where the template has it. Tokens that a question contains are tokens of the prompt. */
#ifndef MOEQ_CHAT_H
#define MOEQ_CHAT_H

#include "bytes.h"
#include "config.h"
#include "tokenizer.h"

struct moeq_chat; /* one way of framing: a row of a table */

/* MOEQ_UNSUPPORTED where none is known for the model. */
enum moeq_status moeq_chat_find(const struct moeq_config *config, const struct moeq_tokenizer *tokenizer,
                                const struct moeq_chat **chat, struct moeq_error *err);

const char *moeq_chat_name(const struct moeq_chat *chat);

/* What the model's answer begins with, though it is part of the prompt: "<think>\n" where it thinks first;
 * otherwise "". `think` asks for that where there is a choice. */
const char *moeq_chat_opening(const struct moeq_chat *chat, bool think);

/* A question, and what was answered to it: NULL for the last one. */
struct moeq_turn {
    const char *question, *answer;
};

/* Writes the prompt, *out a heap string. `system` may be NULL; of n turns only the last has no answer. */
enum moeq_status moeq_chat_render(const struct moeq_chat *chat, const char *system,
                                  const struct moeq_turn *turns, size_t n, bool think, char **out,
                                  struct moeq_error *err);

#endif
