#include "cmd_tokenize.h"

#include "bpe.h"
#include "place.h"
#include "text.h"
#include "tokenizer.h"
#include "verb.h"

#include <stdlib.h>

struct tokenize_options {
    struct moeq_common common;
    const char *text;
    bool ids, count, bos;
};

#define OPTION(field) offsetof(struct tokenize_options, field)

static const struct moeq_option options_table[] = {
    {"text", 't', MOEQ_OPTION_TEXT, "FILE",
     "text to tokenise: UTF-8, also gzip or .jsonl; - is standard input", OPTION(text), 0, 0, NULL},
    {"ids", 0, MOEQ_OPTION_FLAG, NULL, "print the ids, separated by spaces", OPTION(ids), 0, 0, NULL},
    {"count", 0, MOEQ_OPTION_FLAG, NULL, "print the number of tokens (what is printed without --ids)",
     OPTION(count), 0, 0, NULL},
    {"bos", 0, MOEQ_OPTION_FLAG, NULL,
     "put the token for the beginning of a text in front, as tokenizer_config.json or config.json name it",
     OPTION(bos), 0, 0, NULL},
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

#define MAX_CONFIG_BYTES (16u << 20)

/* The name of the token, "…" or {"content": "…"}; NULL where the file does not say. */
static const char *bos_name(const json_t *config)
{
    const json_t *value = json_object_get(config, "bos_token");
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

/* Appends BOS: the one token that its name stands for, or bos_token_id of config.json. */
static enum moeq_status add_bos(const struct moeq_tokenizer *tokenizer, const char *folder,
                                struct moeq_tokens *tokens, struct moeq_error *err)
{
    uint64_t id = UINT64_MAX;
    enum moeq_status status = MOEQ_OK;
    struct moeq_error local = {0}, *e = err ? err : &local;
    json_t *named = moeq_json_load_if_there(folder, "tokenizer_config.json", MAX_CONFIG_BYTES, e);
    json_t *numbered = e->status ? NULL : moeq_json_load_if_there(folder, "config.json", MAX_CONFIG_BYTES, e);
    const char *name = bos_name(named);
    if (e->status)
        status = e->status;
    else if (name && !(status = moeq_tokenizer_encode(tokenizer, name, strlen(name), tokens, e)) &&
             tokens->n_tokens != 1)
        status = moeq_fail(e, MOEQ_DAMAGED, "\"bos_token\" \"%s\" is not one token", name);
    else if (!name && !(status = moeq_json_uint_or(numbered, "bos_token_id", INT32_MAX, UINT64_MAX, &id, e)))
        status = id == UINT64_MAX
                     ? moeq_fail(e, MOEQ_UNSUPPORTED,
                                 "neither tokenizer_config.json nor config.json names a token for the "
                                 "beginning of a text")
                     : moeq_tokens_reserve(tokens, 1, e);
    if (!status && !name)
        tokens->ids[tokens->n_tokens++] = (int32_t)id;
    moeq_error_in_file(e, folder);
    json_decref(named);
    json_decref(numbered);
    return status;
}

static json_t *result_json(const struct tokenize_options *o, const struct moeq_tokens *tokens, size_t n_bytes)
{
    json_t *json = json_pack("{s:s, s:i, s:s, s:I, s:I}", "moeq", "tokenize", "version", 1, "text", o->text,
                             "n_bytes", (json_int_t)n_bytes, "n_tokens", (json_int_t)tokens->n_tokens);
    if (!o->ids)
        return json;
    json_t *ids = json_array();
    for (size_t i = 0; i < tokens->n_tokens; i++)
        moeq_json_append(&ids, json_integer(tokens->ids[i]));
    moeq_json_set(&json, "ids", ids);
    return json;
}

static enum moeq_status report(const struct tokenize_options *o, const struct moeq_tokens *tokens,
                               size_t n_bytes, struct moeq_error *err)
{
    if (o->common.json)
        return moeq_verb_print_json(result_json(o, tokens, n_bytes), err);
    for (size_t i = 0; o->ids && i < tokens->n_tokens; i++)
        printf("%s%d", i ? " " : "", (int)tokens->ids[i]);
    if (o->ids)
        printf("\n");
    if (o->count || !o->ids)
        printf("%zu\n", tokens->n_tokens);
    return MOEQ_OK;
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    const struct tokenize_options *o = options;
    struct moeq_bytes text = {0};
    struct moeq_tokens tokens = {0};
    (void)n_positional;
    if (!o->text)
        return moeq_fail(err, MOEQ_USAGE, "which text? --text is missing");
    struct moeq_tokenizer *tokenizer = NULL;
    struct moeq_place place;
    enum moeq_status status = moeq_place_open(&place, positional[0], err);
    if (!status && !(tokenizer = moeq_tokenizer_open(place.path, err)))
        status = err->status;
    if (!status)
        status = moeq_text_read(o->text, MOEQ_MAX_TEXT_BYTES, &text, err);
    if (!status && o->bos)
        status = add_bos(tokenizer, place.path, &tokens, err);
    if (!status)
        status = moeq_tokenizer_encode(tokenizer, text.data, text.n_bytes, &tokens, err);
    moeq_error_in_file(err, o->text);
    if (!status)
        status = report(o, &tokens, text.n_bytes, err);
    moeq_tokens_free(&tokens);
    moeq_bytes_free(&text);
    moeq_tokenizer_close(tokenizer);
    moeq_place_close(&place);
    return status;
}

const struct moeq_verb moeq_verb_tokenize = {
    .name = "tokenize",
    .arguments = "SRC|PKG --text FILE",
    .summary = "the token ids of a text, or their number",
    .details = "SRC is a checkpoint, a package, or a folder with nothing but tokenizer.json, or "
               "tiktoken.model (Kimi). "
               "No BOS is added unless --bos is given.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 1,
    .options_size = sizeof(struct tokenize_options),
    .run = run,
};
