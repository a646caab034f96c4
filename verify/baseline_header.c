/* The header of a baseline, and the sizes that follow from it. */
#include "baseline_parts.h"

#include <stdlib.h>

#define MAX_TOKENS UINT32_MAX

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "planes are taken from the bytes in memory");

static const char *const conventions[] = {"windows", "llama"}; /* by enum moeq_convention */
static const char *const arithmetics[] = {"float32", "bf16"};  /* MOEQ_EXACT, MOEQ_FAST */

/* ---- as JSON ---- */

static json_t *expert_layers(const struct moeq_trace_shape *shape)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < shape->n_layers; i++)
        if (shape->moe[i])
            moeq_json_append(&list, json_integer((json_int_t)i));
    return list;
}

json_t *moeq_baseline_header_json(const struct moeq_baseline_header *h)
{
    return json_pack(
        "{s:s, s:i, s:s, s:{s:s, s:s, s:s}, s:s, s:{s:s, s:s, s:I}, s:s, s:I, s:I, s:I, s:I, s:s, s:I, s:I, "
        "s:I, s:{s:I, s:I, s:I, s:I, s:o}}",
        "format", MOEQ_BASELINE_FORMAT, "version", MOEQ_BASELINE_VERSION, "tool", MOEQ_VERSION, "source",
        "name", h->source, "model", h->model, "manifest", h->manifest, "tokenizer", h->tokenizer, "text",
        "name", h->text_name, "xxh3_128", h->text, "tokens", (json_int_t)h->n_text_tokens, "convention",
        conventions[h->convention], "context", (json_int_t)h->context, "windows", (json_int_t)h->n_windows,
        "first", (json_int_t)h->first, "scored", (json_int_t)h->n_scored, "arithmetic",
        arithmetics[h->arithmetic == MOEQ_FAST], "vocabulary", (json_int_t)h->vocabulary, "top",
        (json_int_t)h->excerpt.top, "sample", (json_int_t)h->excerpt.sample, "layers", "hidden",
        (json_int_t)h->trace.hidden, "n", (json_int_t)h->trace.n_layers, "experts",
        (json_int_t)h->trace.n_experts, "top_k", (json_int_t)h->trace.top_k, "with_experts",
        expert_layers(&h->trace));
}

static enum moeq_status get_word(const json_t *object, const char *key, const char *const words[2],
                                 int *which, struct moeq_error *err)
{
    const char *word;
    enum moeq_status status = moeq_json_string(object, key, &word, err);
    if (status)
        return status;
    for (*which = 0; *which < 2; ++*which)
        if (strcmp(word, words[*which]) == 0)
            return MOEQ_OK;
    return moeq_fail(err, MOEQ_UNSUPPORTED, "the %s is neither \"%s\" nor \"%s\"", key, words[0], words[1]);
}

static enum moeq_status get_text(const json_t *object, const char *key, char *to, size_t capacity,
                                 struct moeq_error *err)
{
    const char *text;
    enum moeq_status status = moeq_json_string(object, key, &text, err);
    if (!status && strlen(text) >= capacity) /* cut, it might end within a character */
        status = moeq_fail(err, MOEQ_DAMAGED, "the %s has more than %zu bytes", key, capacity - 1);
    if (!status)
        memcpy(to, text, strlen(text) + 1);
    return status;
}

/* A row of what a header has: numbers, with their bounds. */
struct number {
    const char *key;
    uint64_t min, max, *to;
};

static enum moeq_status get_numbers(const json_t *object, const struct number *numbers, size_t n,
                                    struct moeq_error *err)
{
    for (size_t i = 0; i < n; i++) {
        enum moeq_status status = moeq_json_uint(object, numbers[i].key, numbers[i].max, numbers[i].to, err);
        if (!status && *numbers[i].to < numbers[i].min)
            status = moeq_fail(err, MOEQ_DAMAGED, "%s is below %llu", numbers[i].key,
                               (unsigned long long)numbers[i].min);
        if (status)
            return status;
    }
    return MOEQ_OK;
}

static enum moeq_status get_layers(struct moeq_trace_shape *shape, const json_t *json, struct moeq_error *err)
{
    uint64_t hidden, n_layers, n_experts, top_k, layer;
    const struct number numbers[] = {{"hidden", 1, 1u << 20, &hidden},
                                     {"n", 1, MOEQ_MAX_LAYERS, &n_layers},
                                     {"experts", 0, UINT16_MAX, &n_experts},
                                     {"top_k", 0, 256, &top_k}};
    const json_t *object = moeq_json_object_at(json, "layers", err), *list, *value;
    if (!object || !(list = moeq_json_array_at(object, "with_experts", err)))
        return MOEQ_DAMAGED;
    enum moeq_status status = get_numbers(object, numbers, sizeof numbers / sizeof *numbers, err);
    if (status)
        return status;
    *shape = (struct moeq_trace_shape){.hidden = (uint32_t)hidden,
                                       .n_layers = (uint32_t)n_layers,
                                       .n_experts = (uint32_t)n_experts,
                                       .top_k = (uint32_t)top_k};
    size_t i;
    json_array_foreach(list, i, value)
    {
        if ((status = moeq_json_value_uint(value, "a layer with experts", n_layers - 1, &layer, err)))
            return status;
        shape->moe[layer] = true;
    }
    return MOEQ_OK;
}

static enum moeq_status get_origin(struct moeq_baseline_header *h, const json_t *json, struct moeq_error *err)
{
    const json_t *source = moeq_json_object_at(json, "source", err), *text;
    if (!source || !(text = moeq_json_object_at(json, "text", err)))
        return MOEQ_DAMAGED;
    enum moeq_status status = get_text(source, "name", h->source, sizeof h->source, err);
    if (!status)
        status = get_text(source, "model", h->model, sizeof h->model, err);
    if (!status)
        status = get_text(source, "manifest", h->manifest, sizeof h->manifest, err);
    if (!status)
        status = get_text(json, "tokenizer", h->tokenizer, sizeof h->tokenizer, err);
    if (!status)
        status = get_text(text, "name", h->text_name, sizeof h->text_name, err);
    if (!status)
        status = get_text(text, "xxh3_128", h->text, sizeof h->text, err);
    return status ? status : moeq_json_uint(text, "tokens", UINT64_MAX >> 1, &h->n_text_tokens, err);
}

static enum moeq_status get_sizes(struct moeq_baseline_header *h, const json_t *json, struct moeq_error *err)
{
    uint64_t vocabulary, top, sample;
    const struct number numbers[] = {
        {"context", 1, MAX_TOKENS, &h->context},  {"windows", 1, MAX_TOKENS, &h->n_windows},
        {"first", 0, MAX_TOKENS, &h->first},      {"scored", 1, MAX_TOKENS, &h->n_scored},
        {"vocabulary", 1, 1u << 24, &vocabulary}, {"top", 1, 1u << 16, &top},
        {"sample", 0, 1u << 16, &sample}};
    enum moeq_status status = get_numbers(json, numbers, sizeof numbers / sizeof *numbers, err);
    if (status)
        return status;
    h->vocabulary = (uint32_t)vocabulary;
    h->excerpt = (struct moeq_excerpt_shape){(uint32_t)top, (uint32_t)sample};
    if (h->n_windows > MAX_TOKENS / h->context || h->first + h->n_scored >= h->context ||
        top + sample > vocabulary)
        return moeq_fail(err, MOEQ_DAMAGED, "the sizes of the baseline contradict each other");
    return MOEQ_OK;
}

static enum moeq_status read_header(struct moeq_baseline_header *h, const json_t *json,
                                    struct moeq_error *err)
{
    int convention, arithmetic;
    *h = (struct moeq_baseline_header){0};
    enum moeq_status status = get_origin(h, json, err);
    if (!status)
        status = get_word(json, "convention", conventions, &convention, err);
    if (!status)
        status = get_word(json, "arithmetic", arithmetics, &arithmetic, err);
    if (!status)
        status = get_sizes(h, json, err);
    if (!status)
        status = get_layers(&h->trace, json, err);
    if (status)
        return status;
    h->convention = (enum moeq_convention)convention;
    h->arithmetic = arithmetic ? MOEQ_FAST : MOEQ_EXACT;
    return MOEQ_OK;
}

enum moeq_status moeq_baseline_parse_header(struct moeq_baseline_header *header, const void *text, size_t n,
                                            struct moeq_error *err)
{
    static const struct moeq_manifest_kind kind = {MOEQ_BASELINE_FORMAT, MOEQ_BASELINE_VERSION, "baseline",
                                                   "save it again"};
    json_t *json = moeq_manifest_parse_as(&kind, text, n, err);
    if (!json)
        return err && err->status ? err->status : MOEQ_DAMAGED;
    enum moeq_status status = read_header(header, json, err);
    json_decref(json);
    return status;
}

/* ---- sizes ---- */

uint64_t moeq_baseline_scored(const struct moeq_baseline_header *h)
{
    return h->n_windows * h->n_scored;
}

uint64_t moeq_baseline_tokens_bytes(const struct moeq_baseline_header *h)
{
    return h->n_windows * h->context * sizeof(int32_t);
}

uint64_t moeq_baseline_layer_bytes(const struct moeq_baseline_header *h, uint32_t layer)
{
    const uint64_t choices = h->trace.moe[layer] ? h->trace.top_k * sizeof(uint16_t) : 0;
    return h->n_windows * h->context * (choices + MOEQ_SKETCH * sizeof(float));
}

uint64_t moeq_baseline_chunk_bytes(const struct moeq_baseline_header *h, uint64_t n)
{
    const uint64_t entries = h->excerpt.top + h->excerpt.sample;
    return n * (6 * sizeof(float) + entries * (MOEQ_BASELINE_ID_BYTES + sizeof(uint16_t)));
}

/* ---- planes ---- */

uint8_t *moeq_planes_put(uint8_t *planes, const void *elements, uint64_t n, size_t size, size_t n_planes)
{
    const uint8_t *from = elements;
    for (size_t plane = 0; plane < n_planes; plane++)
        for (uint64_t i = 0; i < n; i++)
            *planes++ = from[i * size + plane];
    return planes;
}

const uint8_t *moeq_planes_get(const uint8_t *planes, void *elements, uint64_t n, size_t size,
                               size_t n_planes)
{
    uint8_t *to = elements;
    for (size_t plane = 0; plane < n_planes; plane++)
        for (uint64_t i = 0; i < n; i++)
            to[i * size + plane] = *planes++;
    return planes;
}

/* ---- excerpts ---- */

enum moeq_status moeq_excerpts_init(struct moeq_excerpts *excerpts, struct moeq_excerpt_shape shape,
                                    struct moeq_error *err)
{
    const uint64_t entries = shape.top + shape.sample;
    *excerpts = (struct moeq_excerpts){
        .tokens = moeq_calloc(MOEQ_BASELINE_CHUNK, sizeof *excerpts->tokens, err),
        .ids = moeq_calloc(MOEQ_BASELINE_CHUNK * entries, sizeof *excerpts->ids, err),
        .codes = moeq_calloc(MOEQ_BASELINE_CHUNK * entries, sizeof *excerpts->codes, err),
    };
    if (!excerpts->tokens || !excerpts->ids || !excerpts->codes) {
        moeq_excerpts_free(excerpts);
        return MOEQ_OVER_MEMORY;
    }
    for (uint64_t i = 0; i < MOEQ_BASELINE_CHUNK; i++) {
        excerpts->tokens[i].ids = excerpts->ids + i * entries;
        excerpts->tokens[i].codes = excerpts->codes + i * entries;
    }
    return MOEQ_OK;
}

void moeq_excerpts_free(struct moeq_excerpts *excerpts)
{
    free(excerpts->tokens);
    free(excerpts->ids);
    free(excerpts->codes);
    *excerpts = (struct moeq_excerpts){0};
}

uint64_t moeq_excerpts_bytes(struct moeq_excerpt_shape shape)
{
    const uint64_t entries = shape.top + shape.sample;
    return MOEQ_BASELINE_CHUNK *
           (sizeof(struct moeq_excerpt) + entries * (sizeof(uint32_t) + sizeof(uint16_t)));
}
