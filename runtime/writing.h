/* What verbs that let a model write share: their options, and prompts made of them. For cmd_*.c and what
 * stands behind one verb alone. */
#ifndef MOEQ_WRITING_H
#define MOEQ_WRITING_H

#include "chat.h"
#include "generate.h"
#include "options.h"

struct moeq_writing {
    const char *system;
    struct moeq_list stops;
    uint64_t max_tokens, seed;
    double temperature, top_p;
    bool chat, think;
};

#define MOEQ_WRITING_ROW(name, kind, value, help, at, member, min, max)                                      \
    {                                                                                                        \
        name, 0, kind, value, help, (at) + offsetof(struct moeq_writing, member), min, max, NULL             \
    }

/* Rows for a verb's table, whose struct moeq_writing stands at the offset `at`. */
#define MOEQ_WRITING_OPTIONS(at)                                                                             \
    MOEQ_WRITING_ROW("chat", MOEQ_OPTION_FLAG, NULL,                                                         \
                     "frame the prompt as the model's chats are (DeepSeek-V2, V3, R1, V3.1)", at, chat, 0,   \
                     0),                                                                                     \
        MOEQ_WRITING_ROW("system", MOEQ_OPTION_TEXT, "TEXT", "with --chat: what the system says first", at,  \
                         system, 0, 0),                                                                      \
        MOEQ_WRITING_ROW("think", MOEQ_OPTION_FLAG, NULL,                                                    \
                         "with --chat: let the model think first, where it can do either (V3.1)", at, think, \
                         0, 0),                                                                              \
        MOEQ_WRITING_ROW("temperature", MOEQ_OPTION_REAL, "T",                                               \
                         "divide the logits by T and draw tokens; 0, the default: always the likeliest", at, \
                         temperature, 0, 100),                                                               \
        MOEQ_WRITING_ROW("top-p", MOEQ_OPTION_REAL, "P",                                                     \
                         "draw from the likeliest tokens that together have this probability; 0 and 1: all", \
                         at, top_p, 0, 1),                                                                   \
        MOEQ_WRITING_ROW("seed", MOEQ_OPTION_NUMBER, "N", "of the random numbers", at, seed, 0, UINT64_MAX), \
        MOEQ_WRITING_ROW("max-tokens", MOEQ_OPTION_NUMBER, "N", "end a text after N tokens; default: 256",   \
                         at, max_tokens, 1, 1u << 24),                                                       \
        MOEQ_WRITING_ROW("stop", MOEQ_OPTION_LIST, "TEXT", "end a text where it has this, and leave it out", \
                         at, stops, 0, 0)

#define MOEQ_DEFAULT_MAX_TOKENS 256

/* A tokenizer, and what else prompts need; {0} is valid to free. */
struct moeq_prompts {
    struct moeq_tokenizer *tokenizer;
    struct moeq_end_tokens ends;
    int32_t bos;                  /* -1: none */
    const struct moeq_chat *chat; /* NULL: no framing */
};

/* Loads them from a source's folder. Options that contradict each other are MOEQ_USAGE, --chat for a model
 * whose framing is not known MOEQ_UNSUPPORTED. */
enum moeq_status moeq_prompts_init(struct moeq_prompts *prompts, const struct moeq_writing *writing,
                                   const struct moeq_source *source, struct moeq_error *err);
void moeq_prompts_free(struct moeq_prompts *prompts);

/* Appends a prompt's tokens. With framing: that of the turns; otherwise BOS, where the model has one, and the
 * question of the only turn. MOEQ_USAGE where there is not even a BOS. */
enum moeq_status moeq_prompts_encode(const struct moeq_prompts *prompts, const struct moeq_writing *writing,
                                     const struct moeq_turn *turns, size_t n, struct moeq_tokens *out,
                                     struct moeq_error *err);

/* The generator that the options describe. */
struct moeq_generator moeq_writing_generator(const struct moeq_writing *writing,
                                             const struct moeq_prompts *prompts,
                                             enum moeq_arithmetic arithmetic);

#endif
