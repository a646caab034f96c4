#include "tokenizer.h"

#include "added_tokens.h"
#include "bpe.h"
#include "bytes.h"
#include "file.h"
#include "pretokenize.h"

#include <stdlib.h>

/* Bounds of what is read. The largest released vocabulary has 262,144 entries in a file of 33 MB. */
#define MAX_ID                (1u << 20)
#define MAX_TOKENIZER_BYTES   (64u << 20)
#define MAX_CONFIG_BYTES      (16u << 20)
#define MAX_ADDED_TOKEN_BYTES 1024 /* every start in a text may cost as much */

#define NO_TOKEN UINT32_MAX

struct token_bytes {
    uint32_t offset, n_bytes; /* in blob; offset NO_TOKEN where no token has the id */
};

/* Tokens that see the text before normalisation are looked for first, as in Hugging Face's library; there is
 * no normalisation here, but the order is kept. */
enum { BEFORE_NORMALIZATION, AFTER_NORMALIZATION, N_ADDED_SETS };

struct moeq_tokenizer {
    struct token_bytes *tokens; /* [n_ids] */
    uint32_t n_ids;
    uint8_t *blob; /* [blob_bytes] the bytes of all tokens */
    uint32_t blob_bytes;
    struct moeq_bpe bpe;
    struct moeq_pretokenizer pretokenizer;
    struct moeq_added_tokens added[N_ADDED_SETS];
    bool adds_bos;
};

void moeq_tokens_free(struct moeq_tokens *tokens)
{
    free(tokens->ids);
    *tokens = (struct moeq_tokens){0};
}

/* ---- loading: the bytes of every token ---- */

/* Decodes one character of valid UTF-8. */
static uint32_t next_code_point(const uint8_t **p)
{
    uint32_t c = *(*p)++;
    if (c < 0x80)
        return c;
    int n_more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
    c &= 0x3Fu >> n_more;
    while (n_more--)
        c = c << 6 | (*(*p)++ & 0x3F);
    return c;
}

/* Bytes that a vocabulary symbol stands for, into dst, which has room for n. A symbol with any character
 * outside the byte alphabet stands for itself. */
static size_t symbol_bytes(const char *symbol, size_t n, uint8_t *dst)
{
    const uint8_t *p = (const uint8_t *)symbol, *end = p + n;
    size_t n_bytes = 0;
    while (p < end) {
        int byte = moeq_symbol_byte(next_code_point(&p));
        if (byte < 0) {
            memcpy(dst, symbol, n);
            return n;
        }
        dst[n_bytes++] = (uint8_t)byte;
    }
    return n_bytes;
}

/* Gives an id the n_bytes that stand at the blob's end. There is room: measure() counted the same strings. */
static void store_token(struct moeq_tokenizer *t, uint32_t id, size_t n_bytes)
{
    t->tokens[id] = (struct token_bytes){t->blob_bytes, (uint32_t)n_bytes};
    t->blob_bytes += (uint32_t)n_bytes;
}

/* Highest id and room for all bytes. The sum fits: the file has at most MAX_TOKENIZER_BYTES, and JSON escapes
 * never shrink text. */
static enum moeq_status measure(struct moeq_tokenizer *t, json_t *vocab, const json_t *added,
                                struct moeq_error *err)
{
    const char *symbol;
    json_t *value;
    uint64_t id = 0;
    size_t n_bytes = 1;
    json_object_foreach(vocab, symbol, value)
    {
        enum moeq_status status = moeq_json_value_uint(value, symbol, MAX_ID - 1, &id, err);
        if (status)
            return status;
        n_bytes += strlen(symbol);
        if (id >= t->n_ids)
            t->n_ids = (uint32_t)id + 1;
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i);
        const char *content = NULL;
        enum moeq_status status;
        if ((status = moeq_json_uint(token, "id", MAX_ID - 1, &id, err)) ||
            (status = moeq_json_string(token, "content", &content, err)))
            return status;
        size_t n = strlen(content);
        if (n == 0 || n > MAX_ADDED_TOKEN_BYTES)
            return moeq_fail(err, MOEQ_DAMAGED, "the added token %zu has %zu bytes, not 1 to %d", i, n,
                             MAX_ADDED_TOKEN_BYTES);
        n_bytes += n;
        if (id >= t->n_ids)
            t->n_ids = (uint32_t)id + 1;
    }
    t->blob = moeq_calloc(n_bytes, 1, err);
    t->tokens = moeq_calloc(t->n_ids, sizeof *t->tokens, err);
    if (!t->blob || !t->tokens)
        return MOEQ_OVER_MEMORY;
    for (uint32_t i = 0; i < t->n_ids; i++)
        t->tokens[i].offset = NO_TOKEN;
    return MOEQ_OK;
}

static enum moeq_status read_vocabulary(struct moeq_tokenizer *t, json_t *vocab, struct moeq_error *err)
{
    const char *symbol;
    json_t *value;
    json_object_foreach(vocab, symbol, value)
    {
        uint64_t id = 0;
        enum moeq_status status = moeq_json_value_uint(value, symbol, MAX_ID - 1, &id, err);
        if (status)
            return status;
        if (t->tokens[id].offset != NO_TOKEN)
            return moeq_fail(err, MOEQ_DAMAGED, "two vocabulary entries have the id %u", (unsigned)id);
        store_token(t, (uint32_t)id, symbol_bytes(symbol, strlen(symbol), t->blob + t->blob_bytes));
    }
    return MOEQ_OK;
}

/* ---- loading: added tokens ---- */

static enum moeq_status check_added_flags(const json_t *token, const char *content, struct moeq_error *err)
{
    static const char *const flags[] = {"single_word", "lstrip", "rstrip"};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        bool on = false;
        enum moeq_status status = moeq_json_bool_or(token, flags[i], false, &on, err);
        if (status)
            return status;
        if (on)
            return moeq_fail(err, MOEQ_UNSUPPORTED, "the added token \"%s\" with %s", content, flags[i]);
    }
    return MOEQ_OK;
}

/* An added token may repeat a vocabulary entry, under the same id; the id's bytes are then that entry's.
 * Otherwise its id must be free. The literal goes into the blob either way: matching needs it. */
static enum moeq_status place_added(struct moeq_tokenizer *t, const json_t *vocab, const char *content,
                                    uint32_t id, struct moeq_error *err)
{
    size_t n = strlen(content);
    const json_t *value = json_object_get(vocab, content);
    memcpy(t->blob + t->blob_bytes, content, n);
    if (value) {
        uint64_t vocab_id = 0;
        enum moeq_status status = moeq_json_value_uint(value, content, MAX_ID - 1, &vocab_id, err);
        if (!status && vocab_id != id)
            status =
                moeq_fail(err, MOEQ_DAMAGED, "the added token \"%s\" has the id %u, but %u in the vocabulary",
                          content, id, (unsigned)vocab_id);
        t->blob_bytes += (uint32_t)n;
        return status;
    }
    if (t->tokens[id].offset != NO_TOKEN)
        return moeq_fail(err, MOEQ_DAMAGED, "the added token \"%s\" has the id %u, which another token has",
                         content, id);
    store_token(t, id, n);
    return MOEQ_OK;
}

static enum moeq_status read_added_token(struct moeq_tokenizer *t, const json_t *vocab, const json_t *token,
                                         struct moeq_error *err)
{
    uint64_t id = 0;
    const char *content = NULL;
    const uint8_t *literal = t->blob + t->blob_bytes;
    bool special = false, normalized = false;
    enum moeq_status status;
    if ((status = moeq_json_uint(token, "id", MAX_ID - 1, &id, err)) ||
        (status = moeq_json_string(token, "content", &content, err)) ||
        (status = check_added_flags(token, content, err)) ||
        (status = moeq_json_bool_or(token, "special", false, &special, err)) ||
        (status = moeq_json_bool_or(token, "normalized", !special, &normalized, err)) ||
        (status = place_added(t, vocab, content, (uint32_t)id, err)))
        return status;
    struct moeq_added_tokens *set = &t->added[normalized ? AFTER_NORMALIZATION : BEFORE_NORMALIZATION];
    set->tokens[set->n_tokens++] = (struct moeq_added_token){literal, (uint32_t)strlen(content), (int32_t)id};
    return MOEQ_OK;
}

static enum moeq_status read_added(struct moeq_tokenizer *t, const json_t *vocab, const json_t *added,
                                   struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    size_t n = json_array_size(added);
    for (size_t i = 0; i < N_ADDED_SETS; i++) {
        t->added[i].tokens = moeq_calloc(n, sizeof *t->added[i].tokens, err);
        if (!t->added[i].tokens)
            return MOEQ_OVER_MEMORY;
    }
    for (size_t i = 0; !status && i < n; i++)
        status = read_added_token(t, vocab, json_array_get(added, i), err);
    for (size_t i = 0; !status && i < N_ADDED_SETS; i++)
        status = moeq_added_tokens_sort(&t->added[i], err);
    return status;
}

/* ---- loading: the file ---- */

/* Whether a setting says nothing: null, false, "", 0 or absent. */
static bool is_off(const json_t *value)
{
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_number(value) && json_number_value(value) == 0);
}

/* unk_token and fuse_unk matter only for bytes without a symbol, which are an error here. */
static enum moeq_status check_model(const json_t *model, struct moeq_error *err)
{
    static const char *const must_be_off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                                              "byte_fallback", "ignore_merges"};
    const char *type = NULL;
    enum moeq_status status = moeq_json_string(model, "type", &type, err);
    if (status)
        return status;
    if (strcmp(type, "BPE") != 0)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "a tokenizer model of type %s, not BPE", type);
    for (size_t i = 0; i < sizeof must_be_off / sizeof *must_be_off; i++)
        if (!is_off(json_object_get(model, must_be_off[i])))
            return moeq_fail(err, MOEQ_UNSUPPORTED, "a BPE model with %s", must_be_off[i]);
    return MOEQ_OK;
}

static enum moeq_status check_normalizer(const json_t *value, struct moeq_error *err)
{
    const char *type = NULL;
    if (!value || json_is_null(value))
        return MOEQ_OK;
    enum moeq_status status = moeq_json_string(value, "type", &type, err);
    if (status)
        return status;
    if (strcmp(type, "Sequence") != 0 || json_array_size(json_object_get(value, "normalizers")) > 0)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "the normalizer %s", type);
    return MOEQ_OK;
}

static enum moeq_status read_tokenizer(struct moeq_tokenizer *t, const json_t *root, struct moeq_error *err)
{
    enum moeq_status status;
    const json_t *added = json_object_get(root, "added_tokens");
    json_t *model = moeq_json_object_at(root, "model", err);
    json_t *vocab = model ? moeq_json_object_at(model, "vocab", err) : NULL;
    if (!vocab)
        return MOEQ_DAMAGED;
    if (added && !json_is_null(added) && !json_is_array(added))
        return moeq_fail(err, MOEQ_DAMAGED, "\"added_tokens\" must be an array");
    if ((status = check_model(model, err)) ||
        (status = check_normalizer(json_object_get(root, "normalizer"), err)) ||
        (status = moeq_pretokenizer_init(&t->pretokenizer, json_object_get(root, "pre_tokenizer"), err)) ||
        (status = measure(t, vocab, added, err)) || (status = read_vocabulary(t, vocab, err)) ||
        (status = read_added(t, vocab, added, err)))
        return status;
    return moeq_bpe_init(&t->bpe, model, MAX_ID - 1, err);
}

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

static enum moeq_status parse(struct moeq_tokenizer *t, const struct moeq_bytes *json, const char *json_name,
                              const struct moeq_bytes *config, const char *config_name,
                              struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    json_t *root = parse_object(json->data, json->n_bytes, json_name, err);
    if (!root)
        return err->status;
    status = read_tokenizer(t, root, err);
    moeq_error_in_file(err, json_name);
    json_decref(root);
    if (status || !config->data)
        return status;
    root = parse_object(config->data, config->n_bytes, config_name, err);
    if (!root)
        return err->status;
    status = moeq_json_bool_or(root, "add_bos_token", false, &t->adds_bos, err);
    moeq_error_in_file(err, config_name);
    json_decref(root);
    return status;
}

static struct moeq_tokenizer *parse_new(const struct moeq_bytes *json, const char *json_name,
                                        const struct moeq_bytes *config, const char *config_name,
                                        struct moeq_error *err)
{
    struct moeq_tokenizer *t = moeq_calloc(1, sizeof *t, err);
    if (t && parse(t, json, json_name, config, config_name, err)) {
        moeq_tokenizer_close(t);
        t = NULL;
    }
    return t;
}

struct moeq_tokenizer *moeq_tokenizer_parse(const void *json, size_t n_json, const void *config,
                                            size_t n_config, struct moeq_error *err)
{
    struct moeq_error local = {0};
    if (n_json > MAX_TOKENIZER_BYTES || n_config > MAX_CONFIG_BYTES) {
        moeq_fail(err, MOEQ_DAMAGED, "a tokenizer of %zu and %zu bytes, more than the limits of %u and %u",
                  n_json, n_config, MAX_TOKENIZER_BYTES, MAX_CONFIG_BYTES);
        return NULL;
    }
    /* Only read from here on. */
    struct moeq_bytes main_text = {.data = (uint8_t *)(uintptr_t)json, .n_bytes = n_json};
    struct moeq_bytes config_text = {.data = (uint8_t *)(uintptr_t)config, .n_bytes = n_config};
    return parse_new(&main_text, "tokenizer.json", &config_text, "tokenizer_config.json", err ? err : &local);
}

struct moeq_tokenizer *moeq_tokenizer_open(const char *dir, struct moeq_error *err)
{
    struct moeq_error local = {0}, *e = err ? err : &local;
    struct moeq_tokenizer *t = NULL;
    struct moeq_bytes json = {0}, config = {0};
    char *json_path = moeq_path_join(dir, "tokenizer.json", e);
    char *config_path = moeq_path_join(dir, "tokenizer_config.json", e);
    if (!json_path || !config_path ||
        moeq_file_read_member(dir, "tokenizer.json", MAX_TOKENIZER_BYTES, &json, e))
        goto out;
    if (moeq_path_exists(config_path) && moeq_file_read_all(config_path, MAX_CONFIG_BYTES, &config, e))
        goto out;
    t = parse_new(&json, json_path, &config, config_path, e);
out:
    moeq_bytes_free(&json);
    moeq_bytes_free(&config);
    free(json_path);
    free(config_path);
    return t;
}

void moeq_tokenizer_close(struct moeq_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    for (size_t i = 0; i < N_ADDED_SETS; i++)
        free(tokenizer->added[i].tokens);
    moeq_pretokenizer_free(&tokenizer->pretokenizer);
    moeq_bpe_free(&tokenizer->bpe);
    free(tokenizer->tokens);
    free(tokenizer->blob);
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

static enum moeq_status encode_word(void *context, const uint8_t *word, size_t n, struct moeq_error *err)
{
    struct encoder *e = context;
    enum moeq_status status = moeq_bpe_encode(&e->tokenizer->bpe, &e->scratch, word, n, e->out, err);
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
    if (set == N_ADDED_SETS)
        return encode_plain(e, text, n, err);
    for (size_t from = 0; from < n;) {
        const struct moeq_added_token *token = NULL;
        size_t at = moeq_added_tokens_find(&e->tokenizer->added[set], text, n, from, &token);
        enum moeq_status status = at > from ? encode_piece(e, set + 1, text + from, at - from, err) : MOEQ_OK;
        if (!status && at < n)
            status = moeq_tokens_reserve(e->out, 1, err);
        if (status)
            return status;
        if (at == n)
            break;
        e->out->ids[e->out->n_tokens++] = token->id;
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
    status = encode_piece(&e, 0, text, n_bytes, err);
    if (status)
        out->n_tokens = n_before;
    moeq_splitter_free(&e.splitter);
    moeq_bpe_scratch_free(&e.scratch);
    return status;
}

/* ---- looking up ---- */

const uint8_t *moeq_tokenizer_bytes(const struct moeq_tokenizer *tokenizer, int32_t id, size_t *n_bytes)
{
    if (id < 0 || (uint32_t)id >= tokenizer->n_ids || tokenizer->tokens[id].offset == NO_TOKEN)
        return NULL;
    *n_bytes = tokenizer->tokens[id].n_bytes;
    return tokenizer->blob + tokenizer->tokens[id].offset;
}

int32_t moeq_tokenizer_vocabulary(const struct moeq_tokenizer *tokenizer)
{
    return (int32_t)tokenizer->n_ids;
}

bool moeq_tokenizer_adds_bos(const struct moeq_tokenizer *tokenizer)
{
    return tokenizer->adds_bos;
}
