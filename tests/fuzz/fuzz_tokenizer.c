/* A tokenizer of any bytes, and what it makes of a short text: ids of the vocabulary, whose bytes are the
 * text. Input that begins with "{" or white space is a tokenizer.json, any other a tiktoken.model; after a
 * NUL byte stands tokenizer_config.json. */
#include "fuzz.h"
#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

static const char text[] = "Hello world 12345, it's  a\n\ntest! \xe4\xb8\x93\xe5\xae\xb6 \xc3\xa9"
                           "aaaa<bos>ab abc\t<|x|>  x";

/* Without added tokens of a tokenizer.json, which may repeat a symbol literally, the tokens' bytes are the
 * text again. */
static void check_tokens(const struct moeq_tokenizer *tokenizer, const struct moeq_tokens *tokens, bool exact)
{
    size_t at = 0;
    for (size_t i = 0; i < tokens->n_tokens; i++) {
        size_t n_bytes = 0;
        fuzz_require(tokens->ids[i] >= 0 && tokens->ids[i] < moeq_tokenizer_vocabulary(tokenizer));
        const uint8_t *bytes = moeq_tokenizer_bytes(tokenizer, tokens->ids[i], &n_bytes);
        fuzz_require(bytes != NULL);
        if (exact)
            fuzz_require(n_bytes <= sizeof text - 1 - at && memcmp(text + at, bytes, n_bytes) == 0);
        at += n_bytes;
    }
    fuzz_require(!exact || at == sizeof text - 1);
}

static void check_vocabulary(const struct moeq_tokenizer *tokenizer)
{
    int32_t n_ids = moeq_tokenizer_vocabulary(tokenizer);
    size_t n_bytes;
    unsigned sum = 0;
    for (int32_t id = 0; id < n_ids; id++) {
        const uint8_t *bytes = moeq_tokenizer_bytes(tokenizer, id, &n_bytes);
        for (size_t i = 0; bytes && i < n_bytes; i++)
            sum += bytes[i]; /* every byte can be read */
    }
    fuzz_require(sum < UINT32_MAX);
    fuzz_require(!moeq_tokenizer_bytes(tokenizer, -1, &n_bytes) &&
                 !moeq_tokenizer_bytes(tokenizer, n_ids, &n_bytes));
    moeq_tokenizer_adds_bos(tokenizer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct moeq_error err = {0};
    struct moeq_tokens tokens = {0};
    const uint8_t *end = n ? memchr(data, '\0', n) : NULL;
    size_t n_main = end ? (size_t)(end - data) : n;
    bool is_json = n_main == 0 || strchr("{ \t\r\n", data[0]);
    struct moeq_tokenizer *tokenizer = (is_json ? moeq_tokenizer_parse : moeq_tokenizer_parse_ranks)(
        data, n_main, end ? end + 1 : NULL, end ? n - n_main - 1 : 0, &err);
    fuzz_require((tokenizer == NULL) == (err.status != MOEQ_OK) && err.status != MOEQ_BUG);
    if (!tokenizer)
        return 0;
    check_vocabulary(tokenizer);
    enum moeq_status status = moeq_tokenizer_encode(tokenizer, text, sizeof text - 1, &tokens, &err);
    fuzz_require_error(status, &err);
    fuzz_require(!status || tokens.n_tokens == 0);
    if (!status)
        check_tokens(tokenizer, &tokens, !is_json || !memmem(data, n_main, "added", 5));
    moeq_tokens_free(&tokens);
    moeq_tokenizer_close(tokenizer);
    return 0;
}
