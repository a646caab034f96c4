#include "tiktoken.h"

#include "bytes.h"

#include <stdio.h>

#define N_SPECIAL       256
#define MAX_RANKS       (MOEQ_MAX_TOKEN_ID - N_SPECIAL)
#define MAX_TOKEN_BYTES 4096 /* the longest released one has 132 */
#define CHUNK           400000
#define LONGEST_RUN     25000

static const char pattern[] = "[\\p{Han}]+|"
                              "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*"
                              "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
                              "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]+"
                              "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
                              "\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* ---- tiktoken.model ---- */

static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes n characters of padded base64 into dst, which has room for n / 4 * 3 bytes; 0 where it is not that,
 * or nothing. */
static size_t decode_base64(const uint8_t *text, size_t n, uint8_t *dst)
{
    if (n == 0 || n % 4)
        return 0;
    size_t n_padding = (size_t)(text[n - 1] == '=') + (text[n - 1] == '=' && text[n - 2] == '=');
    uint32_t group = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = i < n - n_padding ? base64_digit(text[i]) : 0;
        if (digit < 0)
            return 0;
        group = group << 6 | (uint32_t)digit;
        if (i % 4 == 3) {
            dst[i / 4 * 3] = (uint8_t)(group >> 16);
            dst[i / 4 * 3 + 1] = (uint8_t)(group >> 8);
            dst[i / 4 * 3 + 2] = (uint8_t)group;
        }
    }
    return n / 4 * 3 - n_padding;
}

/* Reads a whole number below `limit` that fills text[0..n); false where it is none. */
static bool read_number(const uint8_t *text, size_t n, uint32_t limit, uint32_t *out)
{
    uint32_t number = 0;
    if (n == 0 || n > 9 || (n > 1 && text[0] == '0'))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        number = 10 * number + (uint32_t)(text[i] - '0');
    }
    *out = number;
    return number < limit;
}

/* The line that begins at *from, without its end; *from moves to the next one. */
static const uint8_t *next_line(const uint8_t *text, size_t n, size_t *from, size_t *n_line)
{
    const uint8_t *line = text + *from, *end = memchr(line, '\n', n - *from);
    *n_line = end ? (size_t)(end - line) : n - *from;
    *from += *n_line + (end != NULL);
    if (*n_line && line[*n_line - 1] == '\r')
        --*n_line;
    return line;
}

static enum moeq_status read_line(struct moeq_vocabulary *v, const uint8_t *line, size_t n, uint32_t n_ranks,
                                  struct moeq_error *err)
{
    const uint8_t *space = memchr(line, ' ', n);
    size_t n_token = space ? (size_t)(space - line) : n;
    uint32_t rank = 0;
    if (!space || !read_number(space + 1, n - n_token - 1, n_ranks, &rank))
        return moeq_fail(err, MOEQ_DAMAGED, "expected a token in base64, a space and a rank below %u",
                         n_ranks);
    if (moeq_vocabulary_has(v, rank))
        return moeq_fail(err, MOEQ_DAMAGED, "two tokens have the rank %u", rank);
    size_t n_bytes = decode_base64(line, n_token, moeq_vocabulary_end(v));
    if (n_bytes == 0 || n_bytes > MAX_TOKEN_BYTES)
        return moeq_fail(err, MOEQ_DAMAGED, "expected a token of 1 to %d bytes in base64", MAX_TOKEN_BYTES);
    moeq_vocabulary_store(v, rank, n_bytes);
    return moeq_vocabulary_add_word(v, rank, err);
}

static size_t count_lines(const uint8_t *text, size_t n)
{
    size_t n_lines = 0, n_line = 0;
    for (size_t from = 0; from < n;) {
        next_line(text, n, &from, &n_line);
        n_lines += n_line > 0;
    }
    return n_lines;
}

/* As many ranks as lines, all different and below that number, are all of them. */
static enum moeq_status read_ranks(struct moeq_vocabulary *v, const uint8_t *text, size_t n, uint32_t n_ranks,
                                   struct moeq_error *err)
{
    size_t n_line = 0;
    for (size_t from = 0; from < n;) {
        const uint8_t *line = next_line(text, n, &from, &n_line);
        enum moeq_status status = n_line ? read_line(v, line, n_line, n_ranks, err) : MOEQ_OK;
        if (status) {
            moeq_error_at(err, (uint64_t)(line - text));
            return status;
        }
    }
    return MOEQ_OK;
}

enum moeq_status moeq_tiktoken_read(struct moeq_tokenizer *tokenizer, const uint8_t *text, size_t n,
                                    struct moeq_error *err)
{
    size_t n_ranks = count_lines(text, n);
    if (n_ranks == 0 || n_ranks > MAX_RANKS)
        return moeq_fail(err, MOEQ_DAMAGED, "%zu ranks, not 1 to %u", n_ranks, MAX_RANKS);
    tokenizer->whole_words_first = true;
    tokenizer->cuts_long_texts = true;
    /* Base64 is longer than what it stands for by a third, the names of special tokens come after. */
    size_t n_bytes = n + N_SPECIAL * MOEQ_MAX_ADDED_TOKEN_BYTES;
    enum moeq_status status;
    if ((status = moeq_vocabulary_init(&tokenizer->vocabulary, (uint32_t)n_ranks + N_SPECIAL, n_bytes,
                                       (uint32_t)n_ranks, err)) ||
        (status = read_ranks(&tokenizer->vocabulary, text, n, (uint32_t)n_ranks, err)) ||
        (status = moeq_pretokenizer_init_regex(&tokenizer->pretokenizer, pattern, err)))
        return status;
    return moeq_bpe_init_ranks(&tokenizer->bpe, &tokenizer->vocabulary, (uint32_t)n_ranks, err);
}

/* ---- tokenizer_config.json ---- */

/* The names that the config gives, by the distance of their ids from the first special one. */
static enum moeq_status read_names(const char *names[N_SPECIAL], json_t *decoder, uint32_t first,
                                   struct moeq_error *err)
{
    const char *key;
    json_t *token;
    json_object_foreach(decoder, key, token)
    {
        uint32_t id = 0;
        enum moeq_status status;
        if (!read_number((const uint8_t *)key, strlen(key), first + N_SPECIAL, &id) || id < first)
            return moeq_fail(err, MOEQ_UNSUPPORTED, "an added token with the id \"%.40s\", not %u to %u", key,
                             first, first + N_SPECIAL - 1);
        const char **name = &names[id - first];
        if ((status = moeq_json_string(token, "content", name, err)) ||
            (status = moeq_check_added_flags(token, *name, err)))
            return status;
        size_t n = strlen(*name);
        if (n == 0 || n > MOEQ_MAX_ADDED_TOKEN_BYTES)
            return moeq_fail(err, MOEQ_DAMAGED, "the added token %u has %zu bytes, not 1 to %d", id, n,
                             MOEQ_MAX_ADDED_TOKEN_BYTES);
    }
    return MOEQ_OK;
}

static enum moeq_status read_config(const char *names[N_SPECIAL], const json_t *config, uint32_t first,
                                    struct moeq_error *err)
{
    static const char class[] = "TikTokenTokenizer";
    const char *named = NULL;
    enum moeq_status status = moeq_json_string_or(config, "tokenizer_class", class, &named, err);
    if (status)
        return status;
    if (strcmp(named, class) != 0)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "a tiktoken.model for the class %.100s, not %s", named,
                         class);
    const json_t *decoder = json_object_get(config, "added_tokens_decoder");
    if (!decoder || json_is_null(decoder))
        return MOEQ_OK;
    json_t *object = moeq_json_object_at(config, "added_tokens_decoder", err);
    return object ? read_names(names, object, first, err) : MOEQ_DAMAGED;
}

enum moeq_status moeq_tiktoken_read_config(struct moeq_tokenizer *tokenizer, const json_t *config,
                                           struct moeq_error *err)
{
    struct moeq_vocabulary *v = &tokenizer->vocabulary;
    struct moeq_added_tokens *set = &tokenizer->added[MOEQ_BEFORE_NORMALIZATION];
    const char *names[N_SPECIAL] = {0};
    uint32_t first = v->n_ids - N_SPECIAL;
    enum moeq_status status = config ? read_config(names, config, first, err) : MOEQ_OK;
    if (status)
        return status;
    if (!(set->tokens = moeq_calloc(N_SPECIAL, sizeof *set->tokens, err)))
        return MOEQ_OVER_MEMORY;
    for (uint32_t i = 0; i < N_SPECIAL; i++) {
        char reserved[40];
        snprintf(reserved, sizeof reserved, "<|reserved_token_%u|>", first + i);
        const char *name = names[i] ? names[i] : reserved;
        size_t n = strlen(name);
        uint8_t *literal = moeq_vocabulary_end(v);
        memcpy(literal, name, n);
        moeq_vocabulary_store(v, first + i, n);
        set->tokens[set->n_tokens++] = (struct moeq_added_token){literal, (uint32_t)n, (int32_t)(first + i)};
    }
    return moeq_added_tokens_sort(set, err);
}

/* ---- cutting long texts ---- */

/* str.isspace() of Python: White_Space and the four separators before the space. */
static bool is_python_space(uint32_t c)
{
    if (c < 0x80)
        return (c >= 0x9 && c <= 0xD) || (c >= 0x1C && c <= 0x20);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

size_t moeq_tiktoken_cut(const uint8_t *text, size_t n, size_t from, uint32_t *n_characters)
{
    const uint8_t *p = text + from, *end = text + n;
    uint32_t n_run = 0;
    bool was_space = false;
    while (p < end) {
        const uint8_t *next = p;
        bool is_space = is_python_space(moeq_utf8_next(&next));
        n_run = is_space == was_space ? n_run + 1 : 1;
        was_space = is_space;
        if (n_run > LONGEST_RUN)
            break;
        p = next;
        if (++*n_characters == CHUNK) {
            *n_characters = 0;
            break;
        }
    }
    return (size_t)(p - text);
}
