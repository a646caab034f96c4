#include "baseline_match.h"

#include "statistics.h"

#include <stdlib.h>

const char *moeq_convention_name(enum moeq_convention convention)
{
    return convention == MOEQ_CONVENTION_LLAMA ? "llama" : "windows";
}

const char *moeq_arithmetic_name(enum moeq_arithmetic arithmetic)
{
    return arithmetic == MOEQ_FAST ? "bf16" : "float32";
}

/* ---- what it is of ---- */

static enum moeq_status hash_tokenizer(const struct moeq_source *source, char hex[MOEQ_HASH_HEX],
                                       struct moeq_error *err)
{
    struct moeq_hash hash;
    enum moeq_status status = moeq_tokenizer_hash(source->path, &hash, err);
    if (!status)
        moeq_hash_hex(hash, hex);
    return status;
}

static void hash_text(const struct moeq_bytes *text, char hex[MOEQ_HASH_HEX])
{
    moeq_hash_hex(moeq_hash_bytes(text->data, text->n_bytes), hex);
}

/* Of a path the last part; JSON has no bytes that are not UTF-8. */
static void set_name(char *to, size_t capacity, const char *path)
{
    const char *name = moeq_path_name(path);
    const size_t n = strlen(name);
    const bool good = n < capacity && moeq_utf8_valid((const uint8_t *)name, n, NULL);
    snprintf(to, capacity, "%s", good ? name : "?");
}

/* The seal of a package is taken out of its manifest when that is read; sealing gives it again. */
static enum moeq_status hash_manifest(const struct moeq_source *source, char hex[MOEQ_HASH_HEX],
                                      struct moeq_error *err)
{
    char *text = moeq_json_text(source->package.manifest, false);
    if (!text)
        return moeq_fail_alloc(err, 0);
    moeq_hash_hex(moeq_hash_bytes(text, strlen(text)), hex);
    free(text);
    return MOEQ_OK;
}

enum moeq_status moeq_baseline_describe(struct moeq_baseline_header *header, const struct moeq_source *source,
                                        const struct moeq_baseline_text *text, struct moeq_error *err)
{
    const struct moeq_windows *w = text->windows;
    *header = (struct moeq_baseline_header){
        .convention = text->convention,
        .context = w->context,
        .n_windows = w->n_windows,
        .first = w->first,
        .n_scored = w->n_scored,
        .n_text_tokens = w->n_text_tokens,
        .arithmetic = text->arithmetic,
        .vocabulary = source->config.vocabulary,
        .excerpt = moeq_excerpt_shape(source->config.vocabulary, MOEQ_EXCERPT_TOP, MOEQ_EXCERPT_SAMPLE),
        .trace = moeq_trace_shape(&source->config)};
    set_name(header->source, sizeof header->source, source->path);
    set_name(header->text_name, sizeof header->text_name, text->name);
    hash_text(text->bytes, header->text);
    enum moeq_status status = moeq_statistics_model(source, header->model, err);
    if (!status)
        status = hash_tokenizer(source, header->tokenizer, err);
    if (!status && source->is_package)
        status = hash_manifest(source, header->manifest, err);
    return status;
}

/* ---- whether an evaluation is of the same ---- */

static enum moeq_status refuse(struct moeq_error *err, const char *has, const char *asked)
{
    moeq_fail(err, MOEQ_USAGE, "the baseline is of %s, asked for is %s", has, asked);
    moeq_error_hint(err, "leave the option out, or save another baseline");
    return MOEQ_USAGE;
}

/* `asked` 0: whatever the baseline has. */
static enum moeq_status check_number(struct moeq_error *err, const char *before, const char *behind,
                                     uint64_t has, uint64_t asked)
{
    char a[64], b[64];
    if (!asked || has == asked)
        return MOEQ_OK;
    snprintf(a, sizeof a, "%s%llu%s", before, (unsigned long long)has, behind);
    snprintf(b, sizeof b, "%s%llu%s", before, (unsigned long long)asked, behind);
    return refuse(err, a, b);
}

static enum moeq_status check_arithmetic(const struct moeq_baseline_header *h, bool exact,
                                         struct moeq_error *err)
{
    if (h->arithmetic == MOEQ_EXACT)
        return MOEQ_OK;
    if (exact)
        return refuse(err, "arithmetic bf16", "float32 (--exact)");
    if (moeq_has_fast_products())
        return MOEQ_OK;
    moeq_fail(err, MOEQ_USAGE, "the baseline is of products of BF16, which this CPU does not have");
    moeq_error_hint(err, "save it with --exact, which every machine can compare with");
    return MOEQ_USAGE;
}

enum moeq_status moeq_baseline_check(const struct moeq_baseline_header *header,
                                     const struct moeq_source *source, const struct moeq_baseline_wish *wish,
                                     struct moeq_error *err)
{
    char hex[MOEQ_HASH_HEX];
    const char *convention = moeq_convention_name(header->convention);
    if (wish->convention && strcmp(wish->convention, convention) != 0)
        return header->convention == MOEQ_CONVENTION_LLAMA
                   ? refuse(err, "convention llama", wish->convention)
                   : refuse(err, "convention windows", wish->convention);
    enum moeq_status status = check_number(err, "windows of ", " tokens", header->context, wish->context);
    if (!status)
        status = check_number(err, "", " windows", header->n_windows, wish->windows);
    if (!status)
        status = check_arithmetic(header, wish->exact, err);
    if (!status)
        status = hash_tokenizer(source, hex, err);
    if (status)
        return status;
    if (strcmp(hex, header->tokenizer) != 0) {
        moeq_fail(err, MOEQ_USAGE, "the baseline is of another tokenizer than the model's");
        moeq_error_hint(err, "save one of a model with the same tokenizer file");
        return MOEQ_USAGE;
    }
    if (wish->text)
        hash_text(wish->text, hex);
    if (wish->text && strcmp(hex, header->text) != 0) {
        moeq_fail(err, MOEQ_USAGE, "the baseline is of another text, which was called %s", header->text_name);
        moeq_error_hint(err, "leave --text out: the baseline has the tokens; or save another baseline");
        return MOEQ_USAGE;
    }
    return MOEQ_OK;
}
