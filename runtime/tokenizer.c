#include "tokenizer.h"

#include "bytes.h"
#include "file.h"
#include "tiktoken.h"
#include "tokenizer_parts.h"

#include <stdlib.h>

/* Bounds of what is read. The largest released tokenizer.json has 33 MB, the largest tiktoken.model 3 MB. */
#define MAX_TOKENIZER_BYTES (64u << 20)
#define MAX_CONFIG_BYTES    (16u << 20)

void moeq_tokens_free(struct moeq_tokens *tokens)
{
    free(tokens->ids);
    *tokens = (struct moeq_tokens){0};
}

/* ---- loading ---- */

/* Parses an object; NULL and *err set, with `name` as the file, otherwise. */
static json_t *parse_object(const void *text, size_t n, const char *name, struct moeq_error *err)
{
    json_t *root = moeq_json_parse(text, n, err);
    if (root && !json_is_object(root)) {
        moeq_fail(err, MOEQ_DAMAGED, "expected a JSON object at the top level");
        json_decref(root);
        root = NULL;
    }
    moeq_error_in_file(err, name);
    return root;
}

/* One of the files that a tokenizer is read from; data NULL where it is absent. */
struct part {
    struct moeq_bytes bytes;
    const char *path; /* for errors */
};

static enum moeq_status read_json(struct moeq_tokenizer *t, const struct part *main, struct moeq_error *err)
{
    json_t *root = parse_object(main->bytes.data, main->bytes.n_bytes, main->path, err);
    if (!root)
        return err->status;
    enum moeq_status status = moeq_tokenizer_json_read(t, root, err);
    json_decref(root);
    return status;
}

static enum moeq_status read_ranks(struct moeq_tokenizer *t, const struct part *main, struct moeq_error *err)
{
    return moeq_tiktoken_read(t, main->bytes.data, main->bytes.n_bytes, err);
}

static enum moeq_status ignore_config(struct moeq_tokenizer *t, const json_t *root, struct moeq_error *err)
{
    (void)t, (void)root, (void)err;
    return MOEQ_OK;
}

/* The forms a tokenizer comes in, in the order in which they are looked for. */
static const struct form {
    const char *file;
    enum moeq_status (*read)(struct moeq_tokenizer *t, const struct part *main, struct moeq_error *err);
    /* What the form takes from tokenizer_config.json beside add_bos_token; root NULL where that is absent. */
    enum moeq_status (*read_config)(struct moeq_tokenizer *t, const json_t *root, struct moeq_error *err);
} forms[] = {
    {"tokenizer.json", read_json, ignore_config},
    {"tiktoken.model", read_ranks, moeq_tiktoken_read_config},
};

enum { JSON_FORM, RANKS_FORM, N_FORMS };

static enum moeq_status parse(struct moeq_tokenizer *t, const struct form *form, const struct part *main,
                              const struct part *config, struct moeq_error *err)
{
    json_t *root = NULL;
    enum moeq_status status = form->read(t, main, err);
    moeq_error_in_file(err, main->path);
    if (!status && config->bytes.data &&
        !(root = parse_object(config->bytes.data, config->bytes.n_bytes, config->path, err)))
        status = err->status;
    if (!status && root)
        status = moeq_json_bool_or(root, "add_bos_token", false, &t->adds_bos, err);
    if (!status)
        status = form->read_config(t, root, err);
    moeq_error_in_file(err, config->path);
    json_decref(root);
    return status;
}

static struct moeq_tokenizer *parse_new(const struct form *form, const struct part *main,
                                        const struct part *config, struct moeq_error *err)
{
    struct moeq_tokenizer *t = moeq_calloc(1, sizeof *t, err);
    if (t && parse(t, form, main, config, err)) {
        moeq_tokenizer_close(t);
        t = NULL;
    }
    return t;
}

static struct moeq_tokenizer *parse_bytes(const struct form *form, const void *main, size_t n_main,
                                          const void *config, size_t n_config, struct moeq_error *err)
{
    struct moeq_error local = {0};
    if (n_main > MAX_TOKENIZER_BYTES || n_config > MAX_CONFIG_BYTES) {
        moeq_fail(err, MOEQ_DAMAGED, "a tokenizer of %zu and %zu bytes, more than the limits of %u and %u",
                  n_main, n_config, MAX_TOKENIZER_BYTES, MAX_CONFIG_BYTES);
        return NULL;
    }
    /* Only read from here on. */
    struct part parts[2] = {
        {{.data = (uint8_t *)(uintptr_t)main, .n_bytes = n_main}, form->file},
        {{.data = (uint8_t *)(uintptr_t)config, .n_bytes = n_config}, "tokenizer_config.json"}};
    return parse_new(form, &parts[0], &parts[1], err ? err : &local);
}

struct moeq_tokenizer *moeq_tokenizer_parse(const void *json, size_t n_json, const void *config,
                                            size_t n_config, struct moeq_error *err)
{
    return parse_bytes(&forms[JSON_FORM], json, n_json, config, n_config, err);
}

struct moeq_tokenizer *moeq_tokenizer_parse_ranks(const void *model, size_t n_model, const void *config,
                                                  size_t n_config, struct moeq_error *err)
{
    return parse_bytes(&forms[RANKS_FORM], model, n_model, config, n_config, err);
}

/* The form of the first file that is there; where none is, the first, for its error. */
static const struct form *form_of(const char *dir, struct moeq_error *err)
{
    const struct form *found = NULL;
    for (size_t i = 0; i < N_FORMS && !found; i++) {
        char *path = moeq_path_join(dir, forms[i].file, err);
        if (!path)
            return NULL;
        if (moeq_path_leads_to_file(path))
            found = &forms[i];
        free(path);
    }
    return found ? found : &forms[JSON_FORM];
}

struct moeq_tokenizer *moeq_tokenizer_open(const char *dir, struct moeq_error *err)
{
    struct moeq_error local = {0}, *e = err ? err : &local;
    struct moeq_tokenizer *t = NULL;
    struct moeq_bytes main = {0}, config = {0};
    const struct form *form = form_of(dir, e);
    char *main_path = form ? moeq_path_join(dir, form->file, e) : NULL;
    char *config_path = main_path ? moeq_path_join(dir, "tokenizer_config.json", e) : NULL;
    if (!config_path || moeq_file_read_member(dir, form->file, MAX_TOKENIZER_BYTES, &main, e))
        goto out;
    if (moeq_path_exists(config_path) && moeq_file_read_all(config_path, MAX_CONFIG_BYTES, &config, e))
        goto out;
    t = parse_new(form, &(struct part){main, main_path}, &(struct part){config, config_path}, e);
out:
    if (e->status == MOEQ_UNSUPPORTED)
        moeq_error_hint(e, "moeq has the byte-level BPE of the DeepSeek, Kimi and GLM releases");
    else if (e->status == MOEQ_DAMAGED)
        moeq_error_hint(e, "download it again");
    moeq_bytes_free(&main);
    moeq_bytes_free(&config);
    free(main_path);
    free(config_path);
    return t;
}

enum moeq_status moeq_tokenizer_hash(const char *dir, struct moeq_hash *hash, struct moeq_error *err)
{
    struct moeq_bytes bytes = {0};
    const struct form *form = form_of(dir, err);
    enum moeq_status status =
        form ? moeq_file_read_member(dir, form->file, MAX_TOKENIZER_BYTES, &bytes, err) : MOEQ_OVER_MEMORY;
    if (!status)
        *hash = moeq_hash_bytes(bytes.data, bytes.n_bytes);
    moeq_bytes_free(&bytes);
    return status;
}

void moeq_tokenizer_close(struct moeq_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    for (size_t i = 0; i < MOEQ_N_ADDED_SETS; i++)
        free(tokenizer->added[i].tokens);
    moeq_pretokenizer_free(&tokenizer->pretokenizer);
    moeq_bpe_free(&tokenizer->bpe);
    moeq_vocabulary_free(&tokenizer->vocabulary);
    free(tokenizer);
}

/* ---- encoding ---- */

struct encoder {
    const struct moeq_tokenizer *tokenizer;
    const uint8_t *text; /* the whole of it, for offsets in errors */
    struct moeq_splitter splitter;
    struct moeq_bpe_scratch scratch;
    struct moeq_tokens *out;
};

static enum moeq_status append(struct moeq_tokens *tokens, int32_t id, struct moeq_error *err)
{
    enum moeq_status status = moeq_tokens_reserve(tokens, 1, err);
    if (!status)
        tokens->ids[tokens->n_tokens++] = id;
    return status;
}

static enum moeq_status encode_word(void *context, const uint8_t *word, size_t n, struct moeq_error *err)
{
    struct encoder *e = context;
    const struct moeq_tokenizer *t = e->tokenizer;
    int32_t id = t->whole_words_first ? moeq_vocabulary_find(&t->vocabulary, word, n) : -1;
    if (id >= 0)
        return append(e->out, id, err);
    enum moeq_status status = moeq_bpe_encode(&t->bpe, &e->scratch, word, n, e->out, err);
    if (status)
        moeq_error_at(err, (uint64_t)(word - e->text));
    return status;
}

static enum moeq_status encode_plain(struct encoder *e, const uint8_t *text, size_t n, struct moeq_error *err)
{
    enum moeq_status status = moeq_splitter_run(&e->splitter, text, n, err);
    if (status)
        moeq_error_at(err, (uint64_t)(text - e->text));
    return status;
}

/* Cuts out the tokens of one set; what lies between them goes to the next set, and at last to the words. */
static enum moeq_status encode_piece(struct encoder *e, size_t set, const uint8_t *text, size_t n,
                                     struct moeq_error *err)
{
    if (set == MOEQ_N_ADDED_SETS)
        return encode_plain(e, text, n, err);
    for (size_t from = 0; from < n;) {
        const struct moeq_added_token *token = NULL;
        size_t at = moeq_added_tokens_find(&e->tokenizer->added[set], text, n, from, &token);
        enum moeq_status status = at > from ? encode_piece(e, set + 1, text + from, at - from, err) : MOEQ_OK;
        if (!status && at < n)
            status = append(e->out, token->id, err);
        if (status)
            return status;
        if (at == n)
            break;
        from = at + token->n_bytes;
    }
    return MOEQ_OK;
}

enum moeq_status moeq_tokenizer_encode(const struct moeq_tokenizer *tokenizer, const void *text,
                                       size_t n_bytes, struct moeq_tokens *out, struct moeq_error *err)
{
    size_t bad_offset = 0, n_before = out->n_tokens;
    if (!moeq_utf8_valid(text, n_bytes, &bad_offset)) {
        moeq_fail(err, MOEQ_DAMAGED, "the text is not UTF-8");
        moeq_error_at(err, bad_offset);
        return MOEQ_DAMAGED;
    }
    struct encoder e = {.tokenizer = tokenizer, .text = text, .out = out};
    enum moeq_status status = moeq_splitter_init(&e.splitter, &tokenizer->pretokenizer, err);
    if (status)
        return status;
    e.splitter.take = encode_word;
    e.splitter.context = &e;
    uint32_t n_characters = 0;
    for (size_t from = 0, end; !status && from < n_bytes; from = end) {
        end = tokenizer->cuts_long_texts ? moeq_tiktoken_cut(text, n_bytes, from, &n_characters) : n_bytes;
        status = encode_piece(&e, 0, e.text + from, end - from, err);
    }
    if (status)
        out->n_tokens = n_before;
    moeq_splitter_free(&e.splitter);
    moeq_bpe_scratch_free(&e.scratch);
    return status;
}

/* ---- looking up ---- */

const uint8_t *moeq_tokenizer_bytes(const struct moeq_tokenizer *tokenizer, int32_t id, size_t *n_bytes)
{
    return id < 0 ? NULL : moeq_vocabulary_bytes(&tokenizer->vocabulary, (uint32_t)id, n_bytes);
}

int32_t moeq_tokenizer_vocabulary(const struct moeq_tokenizer *tokenizer)
{
    return (int32_t)tokenizer->vocabulary.n_ids;
}

bool moeq_tokenizer_adds_bos(const struct moeq_tokenizer *tokenizer)
{
    return tokenizer->adds_bos;
}
