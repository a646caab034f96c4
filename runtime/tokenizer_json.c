#include "bytes.h"
#include "json.h"
#include "tokenizer_parts.h"

/* ---- the bytes of every token ---- */

/* Bytes that a vocabulary symbol stands for, into dst, which has room for n. A symbol with any character
 * outside the byte alphabet stands for itself, and *is_word is false: no text leads to it. */
static size_t symbol_bytes(const char *symbol, size_t n, uint8_t *dst, bool *is_word)
{
    const uint8_t *p = (const uint8_t *)symbol, *end = p + n;
    size_t n_bytes = 0;
    *is_word = n > 0;
    while (p < end) {
        int byte = moeq_symbol_byte(moeq_utf8_next(&p));
        if (byte < 0) {
            *is_word = false;
            memcpy(dst, symbol, n);
            return n;
        }
        dst[n_bytes++] = (uint8_t)byte;
    }
    return n_bytes;
}

/* Finds the highest id and makes room for all bytes. Their sum fits: it is no more than the file has, since
 * JSON escapes never shrink text. */
static enum moeq_status measure(struct moeq_tokenizer *t, json_t *vocab, const json_t *added,
                                struct moeq_error *err)
{
    const char *symbol;
    json_t *value;
    uint64_t id = 0;
    size_t n_bytes = 1;
    uint32_t n_ids = 0;
    json_object_foreach(vocab, symbol, value)
    {
        enum moeq_status status = moeq_json_value_uint(value, symbol, MOEQ_MAX_TOKEN_ID - 1, &id, err);
        if (status)
            return status;
        n_bytes += strlen(symbol);
        if (id >= n_ids)
            n_ids = (uint32_t)id + 1;
    }
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i);
        const char *content = NULL;
        enum moeq_status status;
        if ((status = moeq_json_uint(token, "id", MOEQ_MAX_TOKEN_ID - 1, &id, err)) ||
            (status = moeq_json_string(token, "content", &content, err)))
            return status;
        size_t n = strlen(content);
        if (n == 0 || n > MOEQ_MAX_ADDED_TOKEN_BYTES)
            return moeq_fail(err, MOEQ_DAMAGED, "the added token %zu has %zu bytes, not 1 to %d", i, n,
                             MOEQ_MAX_ADDED_TOKEN_BYTES);
        n_bytes += n;
        if (id >= n_ids)
            n_ids = (uint32_t)id + 1;
    }
    return moeq_vocabulary_init(&t->vocabulary, n_ids, n_bytes, t->whole_words_first ? n_ids : 0, err);
}

static enum moeq_status read_vocabulary(struct moeq_tokenizer *t, json_t *vocab, struct moeq_error *err)
{
    const char *symbol;
    json_t *value;
    json_object_foreach(vocab, symbol, value)
    {
        uint64_t number = 0;
        bool is_word = false;
        enum moeq_status status = moeq_json_value_uint(value, symbol, MOEQ_MAX_TOKEN_ID - 1, &number, err);
        if (status)
            return status;
        uint32_t id = (uint32_t)number;
        if (moeq_vocabulary_has(&t->vocabulary, id))
            return moeq_fail(err, MOEQ_DAMAGED, "two vocabulary entries have the id %u", id);
        size_t n = symbol_bytes(symbol, strlen(symbol), moeq_vocabulary_end(&t->vocabulary), &is_word);
        moeq_vocabulary_store(&t->vocabulary, id, n);
        if (t->whole_words_first && is_word && (status = moeq_vocabulary_add_word(&t->vocabulary, id, err)))
            return status;
    }
    return MOEQ_OK;
}

/* ---- added tokens ---- */

enum moeq_status moeq_check_added_flags(const json_t *token, const char *content, struct moeq_error *err)
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
    memcpy(moeq_vocabulary_end(&t->vocabulary), content, n);
    if (value) {
        uint64_t vocab_id = 0;
        enum moeq_status status = moeq_json_value_uint(value, content, MOEQ_MAX_TOKEN_ID - 1, &vocab_id, err);
        if (!status && vocab_id != id)
            status =
                moeq_fail(err, MOEQ_DAMAGED, "the added token \"%s\" has the id %u, but %u in the vocabulary",
                          content, id, (unsigned)vocab_id);
        t->vocabulary.blob_bytes += (uint32_t)n;
        return status;
    }
    if (moeq_vocabulary_has(&t->vocabulary, id))
        return moeq_fail(err, MOEQ_DAMAGED, "the added token \"%s\" has the id %u, which another token has",
                         content, id);
    moeq_vocabulary_store(&t->vocabulary, id, n);
    return MOEQ_OK;
}

static enum moeq_status read_added_token(struct moeq_tokenizer *t, const json_t *vocab, const json_t *token,
                                         struct moeq_error *err)
{
    uint64_t id = 0;
    const char *content = NULL;
    const uint8_t *literal = moeq_vocabulary_end(&t->vocabulary);
    bool special = false, normalized = false;
    enum moeq_status status;
    if ((status = moeq_json_uint(token, "id", MOEQ_MAX_TOKEN_ID - 1, &id, err)) ||
        (status = moeq_json_string(token, "content", &content, err)) ||
        (status = moeq_check_added_flags(token, content, err)) ||
        (status = moeq_json_bool_or(token, "special", false, &special, err)) ||
        (status = moeq_json_bool_or(token, "normalized", !special, &normalized, err)) ||
        (status = place_added(t, vocab, content, (uint32_t)id, err)))
        return status;
    struct moeq_added_tokens *set =
        &t->added[normalized ? MOEQ_AFTER_NORMALIZATION : MOEQ_BEFORE_NORMALIZATION];
    set->tokens[set->n_tokens++] = (struct moeq_added_token){literal, (uint32_t)strlen(content), (int32_t)id};
    return MOEQ_OK;
}

static enum moeq_status read_added(struct moeq_tokenizer *t, const json_t *vocab, const json_t *added,
                                   struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    size_t n = json_array_size(added);
    for (size_t i = 0; i < MOEQ_N_ADDED_SETS; i++) {
        t->added[i].tokens = moeq_calloc(n, sizeof *t->added[i].tokens, err);
        if (!t->added[i].tokens)
            return MOEQ_OVER_MEMORY;
    }
    for (size_t i = 0; !status && i < n; i++)
        status = read_added_token(t, vocab, json_array_get(added, i), err);
    for (size_t i = 0; !status && i < MOEQ_N_ADDED_SETS; i++)
        status = moeq_added_tokens_sort(&t->added[i], err);
    return status;
}

/* ---- the file ---- */

/* Whether a setting says nothing: null, false, "", 0 or absent. */
static bool is_off(const json_t *value)
{
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_number(value) && json_number_value(value) == 0);
}

/* unk_token and fuse_unk matter only for bytes without a symbol, which are an error here. */
static enum moeq_status check_model(const json_t *model, bool *whole_words_first, struct moeq_error *err)
{
    static const char *const must_be_off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                                              "byte_fallback"};
    const char *type = NULL;
    enum moeq_status status = moeq_json_string(model, "type", &type, err);
    if (status)
        return status;
    if (strcmp(type, "BPE") != 0)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "a tokenizer model of type %s, not BPE", type);
    for (size_t i = 0; i < sizeof must_be_off / sizeof *must_be_off; i++)
        if (!is_off(json_object_get(model, must_be_off[i])))
            return moeq_fail(err, MOEQ_UNSUPPORTED, "a BPE model with %s", must_be_off[i]);
    return moeq_json_bool_or(model, "ignore_merges", false, whole_words_first, err);
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

enum moeq_status moeq_tokenizer_json_read(struct moeq_tokenizer *tokenizer, const json_t *root,
                                          struct moeq_error *err)
{
    struct moeq_tokenizer *t = tokenizer;
    enum moeq_status status;
    const json_t *added = json_object_get(root, "added_tokens");
    json_t *model = moeq_json_object_at(root, "model", err);
    json_t *vocab = model ? moeq_json_object_at(model, "vocab", err) : NULL;
    if (!vocab)
        return MOEQ_DAMAGED;
    if (added && !json_is_null(added) && !json_is_array(added))
        return moeq_fail(err, MOEQ_DAMAGED, "\"added_tokens\" must be an array");
    if ((status = check_model(model, &t->whole_words_first, err)) ||
        (status = check_normalizer(json_object_get(root, "normalizer"), err)) ||
        (status = moeq_pretokenizer_init(&t->pretokenizer, json_object_get(root, "pre_tokenizer"), err)) ||
        (status = measure(t, vocab, added, err)) || (status = read_vocabulary(t, vocab, err)) ||
        (status = read_added(t, vocab, added, err)))
        return status;
    return moeq_bpe_init(&t->bpe, model, MOEQ_MAX_TOKEN_ID - 1, err);
}
