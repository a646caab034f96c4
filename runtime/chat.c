#include "chat.h"

#include <stdlib.h>

#define BOS       "<｜begin▁of▁sentence｜>"
#define EOS       "<｜end▁of▁sentence｜>"
#define USER      "<｜User｜>"
#define ASSISTANT "<｜Assistant｜>"

struct moeq_chat {
    const char *name;
    const char *architectures[3]; /* NULL at the end */
    const char *tokens[5];        /* that the tokenizer must have; NULL at the end */
    const char *after_system;
    const char *user, *assistant; /* before a question, behind it */
    const char *before_answer;    /* of an earlier turn */
    const char *prompt;           /* behind `assistant` of the last turn */
    const char *thinking_prompt;  /* where it shall think first */
    const char *opening, *thinking_opening;
};

static const struct moeq_chat chats[] = {
    {.name = "DeepSeek-V3.1",
     .architectures = {"DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM"},
     .tokens = {BOS, USER, ASSISTANT, "<think>", "<｜search▁begin｜>"},
     .after_system = "",
     .user = USER,
     .assistant = ASSISTANT,
     .before_answer = "</think>",
     .prompt = "</think>",
     .thinking_prompt = "<think>",
     .opening = "",
     .thinking_opening = "<think>"},
    {.name = "DeepSeek-R1",
     .architectures = {"DeepseekV3ForCausalLM"},
     .tokens = {BOS, USER, ASSISTANT, "<think>"},
     .after_system = "",
     .user = USER,
     .assistant = ASSISTANT,
     .before_answer = "",
     .prompt = "<think>\n",
     .thinking_prompt = "<think>\n",
     .opening = "<think>\n",
     .thinking_opening = "<think>\n"},
    {.name = "DeepSeek-V3",
     .architectures = {"DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM"},
     .tokens = {BOS, USER, ASSISTANT},
     .after_system = "",
     .user = USER,
     .assistant = ASSISTANT,
     .before_answer = "",
     .prompt = "",
     .thinking_prompt = "",
     .opening = "",
     .thinking_opening = ""},
    {.name = "DeepSeek-V2",
     .architectures = {"DeepseekV2ForCausalLM"},
     .tokens = {BOS},
     .after_system = "\n\n",
     .user = "User: ",
     .assistant = "\n\nAssistant:",
     .before_answer = " ",
     .prompt = "",
     .thinking_prompt = "",
     .opening = "",
     .thinking_opening = ""},
};

static bool is_of(const struct moeq_chat *chat, const char *architecture)
{
    for (size_t i = 0; i < 3 && chat->architectures[i]; i++)
        if (strcmp(chat->architectures[i], architecture) == 0)
            return true;
    return false;
}

static enum moeq_status has_tokens(const struct moeq_chat *chat, const struct moeq_tokenizer *tokenizer,
                                   bool *has_all, struct moeq_error *err)
{
    struct moeq_tokens ids = {0};
    enum moeq_status status = MOEQ_OK;
    *has_all = true;
    for (size_t i = 0; !status && i < 5 && chat->tokens[i]; i++) {
        ids.n_tokens = 0;
        status = moeq_tokenizer_encode(tokenizer, chat->tokens[i], strlen(chat->tokens[i]), &ids, err);
        *has_all = *has_all && ids.n_tokens == 1;
    }
    moeq_tokens_free(&ids);
    return status;
}

enum moeq_status moeq_chat_find(const struct moeq_config *config, const struct moeq_tokenizer *tokenizer,
                                const struct moeq_chat **chat, struct moeq_error *err)
{
    for (size_t i = 0; i < sizeof chats / sizeof *chats; i++) {
        bool has_all;
        if (!is_of(&chats[i], config->architecture))
            continue;
        enum moeq_status status = has_tokens(&chats[i], tokenizer, &has_all, err);
        if (status)
            return status;
        if (has_all) {
            *chat = &chats[i];
            return MOEQ_OK;
        }
    }
    moeq_fail(
        err, MOEQ_UNSUPPORTED,
        "--chat knows how DeepSeek-V2, V3, R1 and V3.1 are talked to, and this model (%s) does not have "
        "their tokens",
        config->architecture);
    moeq_error_hint(err, "write its template into the prompt, and leave --chat out");
    return MOEQ_UNSUPPORTED;
}

const char *moeq_chat_name(const struct moeq_chat *chat)
{
    return chat->name;
}

const char *moeq_chat_opening(const struct moeq_chat *chat, bool think)
{
    return think ? chat->thinking_opening : chat->opening;
}

/* Writes all pieces to `to` where it is not NULL; returns their bytes. */
static size_t put(const char *const *pieces, size_t n, char *to)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t length = strlen(pieces[i]);
        if (to)
            memcpy(to + n_bytes, pieces[i], length);
        n_bytes += length;
    }
    return n_bytes;
}

enum moeq_status moeq_chat_render(const struct moeq_chat *chat, const char *system,
                                  const struct moeq_turn *turns, size_t n, bool think, char **out,
                                  struct moeq_error *err)
{
    size_t n_pieces = 0;
    const char **pieces = moeq_calloc(3 + 6 * n, sizeof *pieces, err);
    *out = NULL;
    if (!pieces)
        return MOEQ_OVER_MEMORY;
    pieces[n_pieces++] = BOS;
    if (system) {
        pieces[n_pieces++] = system;
        pieces[n_pieces++] = chat->after_system;
    }
    for (size_t i = 0; i < n; i++) {
        pieces[n_pieces++] = chat->user;
        pieces[n_pieces++] = turns[i].question;
        pieces[n_pieces++] = chat->assistant;
        if (!turns[i].answer) {
            pieces[n_pieces++] = think ? chat->thinking_prompt : chat->prompt;
            continue;
        }
        pieces[n_pieces++] = chat->before_answer;
        pieces[n_pieces++] = turns[i].answer;
        pieces[n_pieces++] = EOS;
    }
    *out = moeq_calloc(put(pieces, n_pieces, NULL) + 1, 1, err);
    if (*out)
        put(pieces, n_pieces, *out);
    free(pieces);
    return *out ? MOEQ_OK : MOEQ_OVER_MEMORY;
}
