#include "pretokenize.h"

#include "bytes.h"
#include "split_pattern.h"

#include <stdlib.h>

/* Backtracking steps. Each start in a piece has FREE_STEPS, far more than a word needs; what a start takes
 * beyond comes out of a budget in proportion to the piece. The released patterns need a few steps a byte
 * where a run is long (white space that no line end follows is given back byte by byte). So time is in
 * proportion to the text whatever the pattern: one that looks far ahead at every start, or has exponential
 * cost, uses up any budget. */
#define FREE_STEPS     256u
#define MIN_STEPS      2048u
#define STEPS_PER_BYTE 32u
#define MAX_LITERAL    1024 /* bytes; each start may cost as much */
#define JIT_STACK_MIN  (32u * 1024u)
#define JIT_STACK_MAX  (16u * 1024u * 1024u)
#define MAX_HEAP_KIB   (256u * 1024u)

/* ---- reading the description ---- */

static enum moeq_status add_stage(struct moeq_pretokenizer *p, const char *pattern, uint32_t options,
                                  struct moeq_error *err)
{
    if (p->n_stages == MOEQ_MAX_SPLIT_STAGES)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "more than %d pre-tokenizer stages", MOEQ_MAX_SPLIT_STAGES);
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return moeq_fail_alloc(err, 1);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int code = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code *stage = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                      options | PCRE2_USE_OFFSET_LIMIT, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!stage && code == PCRE2_ERROR_HEAP_FAILED)
        return moeq_fail_alloc(err, strlen(pattern));
    if (!stage) {
        PCRE2_UCHAR reason[128] = "";
        pcre2_get_error_message(code, reason, sizeof reason);
        return moeq_fail(err, code == PCRE2_ERROR_UNKNOWN_UNICODE_PROPERTY ? MOEQ_UNSUPPORTED : MOEQ_DAMAGED,
                         "the pattern of pre-tokenizer stage %zu does not compile: %s", p->n_stages + 1,
                         (const char *)reason);
    }
    /* Where the system has no just-in-time compiler, pcre2_match interprets. */
    pcre2_jit_compile(stage, PCRE2_JIT_COMPLETE);
    p->stages[p->n_stages++] = stage;
    return MOEQ_OK;
}

static enum moeq_status add_regex(struct moeq_pretokenizer *p, const char *pattern, struct moeq_error *err)
{
    char *rewritten = moeq_split_pattern(pattern, err);
    if (!rewritten)
        return err->status;
    /* Repeats that PCRE2 makes possessive by itself would not be counted. */
    enum moeq_status status =
        add_stage(p, rewritten,
                  PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_MULTILINE | PCRE2_NO_AUTO_POSSESS, err);
    free(rewritten);
    return status;
}

static enum moeq_status add_split(struct moeq_pretokenizer *p, const json_t *stage, struct moeq_error *err)
{
    const char *behavior = NULL, *text = NULL;
    bool invert = false;
    enum moeq_status status;
    if ((status = moeq_json_string(stage, "behavior", &behavior, err)) ||
        (status = moeq_json_bool_or(stage, "invert", false, &invert, err)))
        return status;
    if (strcmp(behavior, "Isolated") != 0 || invert)
        return moeq_fail(err, MOEQ_UNSUPPORTED, "the pre-tokenizer Split with behavior %s%s", behavior,
                         invert ? ", inverted" : "");
    json_t *pattern = moeq_json_object_at(stage, "pattern", err);
    if (!pattern)
        return MOEQ_DAMAGED;
    if (!json_object_get(pattern, "String")) {
        status = moeq_json_string(pattern, "Regex", &text, err);
        return status ? status : add_regex(p, text, err);
    }
    status = moeq_json_string(pattern, "String", &text, err);
    if (!status && !*text)
        status = moeq_fail(err, MOEQ_DAMAGED, "the String of a Split is empty");
    if (!status && strlen(text) > MAX_LITERAL)
        status =
            moeq_fail(err, MOEQ_UNSUPPORTED, "a Split at a String of %zu bytes, more than the limit of %d",
                      strlen(text), MAX_LITERAL);
    return status ? status : add_stage(p, text, PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_LITERAL, err);
}

static enum moeq_status add_digits(struct moeq_pretokenizer *p, const json_t *stage, struct moeq_error *err)
{
    bool individual = false;
    enum moeq_status status = moeq_json_bool_or(stage, "individual_digits", false, &individual, err);
    return status ? status : add_regex(p, individual ? "\\p{N}" : "\\p{N}+", err);
}

/* The absent key counts as true, which is the library's default for both. */
static enum moeq_status check_byte_level(struct moeq_pretokenizer *p, const json_t *stage,
                                         struct moeq_error *err)
{
    (void)p;
    static const char *const must_be_false[] = {"add_prefix_space", "use_regex"};
    for (size_t i = 0; i < 2; i++) {
        bool on = true;
        enum moeq_status status = moeq_json_bool_or(stage, must_be_false[i], true, &on, err);
        if (status)
            return status;
        if (on)
            return moeq_fail(err, MOEQ_UNSUPPORTED, "the pre-tokenizer ByteLevel with %s", must_be_false[i]);
    }
    return MOEQ_OK;
}

static const struct {
    const char *type;
    enum moeq_status (*add)(struct moeq_pretokenizer *p, const json_t *stage, struct moeq_error *err);
} stage_types[] = {{"Split", add_split}, {"Digits", add_digits}, {"ByteLevel", check_byte_level}};

static enum moeq_status read_stage(struct moeq_pretokenizer *p, const json_t *stage, bool *is_byte_level,
                                   struct moeq_error *err)
{
    const char *type = NULL;
    if (!json_is_object(stage))
        return moeq_fail(err, MOEQ_DAMAGED, "a pre-tokenizer must be an object");
    enum moeq_status status = moeq_json_string(stage, "type", &type, err);
    if (status)
        return status;
    for (size_t i = 0; i < sizeof stage_types / sizeof *stage_types; i++) {
        if (strcmp(type, stage_types[i].type) == 0) {
            *is_byte_level = stage_types[i].add == check_byte_level;
            return stage_types[i].add(p, stage, err);
        }
    }
    return moeq_fail(err, MOEQ_UNSUPPORTED, "the pre-tokenizer %s", type);
}

/* Stages after ByteLevel would see its alphabet in place of the text. */
static enum moeq_status read_sequence(struct moeq_pretokenizer *p, const json_t *sequence,
                                      struct moeq_error *err)
{
    bool is_byte_level = false;
    size_t n = json_array_size(sequence);
    for (size_t i = 0; i < n; i++) {
        if (is_byte_level)
            return moeq_fail(err, MOEQ_UNSUPPORTED, "a pre-tokenizer after ByteLevel");
        enum moeq_status status = read_stage(p, json_array_get(sequence, i), &is_byte_level, err);
        if (status)
            return status;
    }
    return is_byte_level ? MOEQ_OK : moeq_fail(err, MOEQ_UNSUPPORTED, "a pre-tokenizer without ByteLevel");
}

enum moeq_status moeq_pretokenizer_init(struct moeq_pretokenizer *pretokenizer, const json_t *value,
                                        struct moeq_error *err)
{
    *pretokenizer = (struct moeq_pretokenizer){0};
    struct moeq_error local = {0}, *e = err ? err : &local;
    enum moeq_status status = MOEQ_OK;
    const char *type = NULL;
    if (!value || json_is_null(value))
        return moeq_fail(e, MOEQ_UNSUPPORTED, "a tokenizer without pre-tokenizer");
    if (!json_is_object(value))
        return moeq_fail(e, MOEQ_DAMAGED, "\"pre_tokenizer\" must be an object");
    if ((status = moeq_json_string(value, "type", &type, e)))
        return status;
    if (strcmp(type, "Sequence") == 0) {
        const json_t *sequence = moeq_json_array_at(value, "pretokenizers", e);
        status = sequence ? read_sequence(pretokenizer, sequence, e) : MOEQ_DAMAGED;
    } else {
        bool is_byte_level = false;
        status = read_stage(pretokenizer, value, &is_byte_level, e);
        if (!status && !is_byte_level)
            status = moeq_fail(e, MOEQ_UNSUPPORTED, "a pre-tokenizer without ByteLevel");
    }
    if (status)
        moeq_pretokenizer_free(pretokenizer);
    return status;
}

enum moeq_status moeq_pretokenizer_init_regex(struct moeq_pretokenizer *pretokenizer, const char *pattern,
                                              struct moeq_error *err)
{
    struct moeq_error local = {0};
    *pretokenizer = (struct moeq_pretokenizer){0};
    return add_regex(pretokenizer, pattern, err ? err : &local);
}

void moeq_pretokenizer_free(struct moeq_pretokenizer *pretokenizer)
{
    for (size_t i = 0; i < pretokenizer->n_stages; i++)
        pcre2_code_free(pretokenizer->stages[i]);
    *pretokenizer = (struct moeq_pretokenizer){0};
}

/* ---- splitting ---- */

enum moeq_status moeq_splitter_init(struct moeq_splitter *splitter,
                                    const struct moeq_pretokenizer *pretokenizer, struct moeq_error *err)
{
    *splitter = (struct moeq_splitter){.pretokenizer = pretokenizer};
    splitter->match = pcre2_match_data_create(1, NULL); /* the whole match is all that is asked for */
    splitter->limits = pcre2_match_context_create(NULL);
    if (!splitter->match || !splitter->limits) {
        moeq_splitter_free(splitter);
        return moeq_fail_alloc(err, 1);
    }
    pcre2_set_heap_limit(splitter->limits, MAX_HEAP_KIB);
    splitter->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
    if (splitter->stack) /* without it, or without a just-in-time compiler, the heap serves */
        pcre2_jit_stack_assign(splitter->limits, NULL, splitter->stack);
    return MOEQ_OK;
}

void moeq_splitter_free(struct moeq_splitter *splitter)
{
    pcre2_match_data_free(splitter->match);
    pcre2_match_context_free(splitter->limits);
    pcre2_jit_stack_free(splitter->stack);
    *splitter = (struct moeq_splitter){0};
}

/* The first match of a stage that begins in piece[from..last]; PCRE2_ERROR_MATCHLIMIT where one start needs
 * more than `steps`. */
static int match_within(struct moeq_splitter *s, size_t stage, const uint8_t *piece, size_t n, size_t from,
                        size_t last, uint64_t steps)
{
    const pcre2_code *code = s->pretokenizer->stages[stage];
    pcre2_set_match_limit(s->limits, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    pcre2_set_offset_limit(s->limits, last);
    int rc = pcre2_match(code, piece, n, from, PCRE2_NO_UTF_CHECK, s->match, s->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter uses the heap */
        rc = pcre2_match(code, piece, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->match, s->limits);
    return rc;
}

static size_t next_character(const uint8_t *piece, size_t n, size_t at)
{
    do
        at++;
    while (at < n && (piece[at] & 0xC0) == 0x80);
    return at;
}

/* The same, start by start, each with as many steps as it needs and *budget has. */
static int match_patiently(struct moeq_splitter *s, size_t stage, const uint8_t *piece, size_t n, size_t from,
                           uint64_t *budget)
{
    int rc = PCRE2_ERROR_NOMATCH;
    for (size_t at = from; rc == PCRE2_ERROR_NOMATCH && at < n; at = next_character(piece, n, at)) {
        uint64_t steps = FREE_STEPS;
        while ((rc = match_within(s, stage, piece, n, at, at, steps)) == PCRE2_ERROR_MATCHLIMIT) {
            if (*budget < steps)
                return rc;
            *budget -= steps;
            steps *= 2;
        }
    }
    return rc;
}

/* The first match of a stage at or after `from`; *found is false where there is none. */
static enum moeq_status find_match(struct moeq_splitter *s, size_t stage, const uint8_t *piece, size_t n,
                                   size_t from, uint64_t *budget, bool *found, struct moeq_error *err)
{
    int rc = match_within(s, stage, piece, n, from, n, FREE_STEPS);
    if (rc == PCRE2_ERROR_MATCHLIMIT)
        rc = match_patiently(s, stage, piece, n, from, budget);
    *found = rc >= 0;
    if (rc >= 0 || rc == PCRE2_ERROR_NOMATCH)
        return MOEQ_OK;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return moeq_fail_alloc(err, n);
    PCRE2_UCHAR reason[128] = "";
    pcre2_get_error_message(rc, reason, sizeof reason);
    return moeq_fail(err, MOEQ_UNSUPPORTED, "pre-tokenizer stage %zu gives up on a piece of %zu bytes: %s",
                     stage + 1, n, (const char *)reason);
}

/* Splits a piece by the stages from `stage` on. An empty match cuts where it stands. */
static enum moeq_status split_piece(struct moeq_splitter *s, size_t stage, const uint8_t *piece, size_t n,
                                    struct moeq_error *err)
{
    if (n == 0)
        return MOEQ_OK;
    if (stage == s->pretokenizer->n_stages)
        return s->take(s->context, piece, n, err);
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(s->match);
    uint64_t budget = MIN_STEPS + STEPS_PER_BYTE * (uint64_t)n;
    size_t gap = 0, from = 0;
    while (from < n) {
        bool found = false;
        enum moeq_status status = find_match(s, stage, piece, n, from, &budget, &found, err);
        if (status)
            return status;
        if (!found)
            break;
        size_t begin = ends[0], end = ends[1];
        if ((status = split_piece(s, stage + 1, piece + gap, begin - gap, err)) ||
            (status = split_piece(s, stage + 1, piece + begin, end - begin, err)))
            return status;
        gap = end;
        from = begin < end ? end : next_character(piece, n, end);
    }
    return split_piece(s, stage + 1, piece + gap, n - gap, err);
}

enum moeq_status moeq_splitter_run(struct moeq_splitter *splitter, const uint8_t *text, size_t n,
                                   struct moeq_error *err)
{
    return split_piece(splitter, 0, text, n, err);
}
