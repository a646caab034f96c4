#include "cmd_generate.h"

#include "model.h"
#include "text.h"
#include "verb.h"
#include "writing.h"

#include <errno.h>
#include <stdlib.h>

struct generate_options {
    struct moeq_common common;
    const char *prompt, *prompt_file;
    struct moeq_writing writing;
    uint64_t memory;
    bool exact;
};

#define OPTION(field) offsetof(struct generate_options, field)

static const struct moeq_option options_table[] = {
    {"prompt", 'p', MOEQ_OPTION_TEXT, "TEXT", "text to go on from", OPTION(prompt), 0, 0, NULL},
    {"prompt-file", 'f', MOEQ_OPTION_TEXT, "FILE",
     "the same from a file, to its last byte; - is standard input", OPTION(prompt_file), 0, 0, NULL},
    MOEQ_WRITING_OPTIONS(OPTION(writing)),
    {"exact", 'x', MOEQ_OPTION_FLAG, NULL, "compute in float32 throughout, as for eval", OPTION(exact), 0, 0,
     NULL},
    {"mem", 'm', MOEQ_OPTION_BYTES, "SIZE",
     "memory to use at most, as 4G; default: most of what is free. Experts that have no room are read again "
     "when they are needed",
     OPTION(memory), 0, 0, NULL},
    MOEQ_LENIENT_OPTION,
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

/* Of one kind of steps. */
struct pace {
    uint64_t n_tokens;
    double seconds;
};

struct generate {
    const struct generate_options *options;
    struct moeq_source source;
    struct moeq_prompts prompts;
    struct moeq_tokens prompt;
    struct moeq_generation text;
    struct moeq_generator generator;
    struct moeq_decoder_plan plan;
    struct moeq_expert_cache_counts experts;
    uint64_t n_layer_bytes; /* that were loaded */
    struct pace reading, writing;
    double last_step;
};

/* *from_file is the caller's to free, also after a failure. */
static enum moeq_status read_prompt(const struct generate_options *o, char **from_file,
                                    struct moeq_error *err)
{
    struct moeq_bytes bytes = {0};
    enum moeq_status status = moeq_text_read(o->prompt_file, MOEQ_MAX_TEXT_BYTES, &bytes, err);
    if (!status && bytes.n_bytes && memchr(bytes.data, 0, bytes.n_bytes))
        status = moeq_fail(err, MOEQ_DAMAGED, "a prompt has no zero bytes");
    if (!status && !(*from_file = moeq_calloc(bytes.n_bytes + 1, 1, err)))
        status = MOEQ_OVER_MEMORY;
    if (!status && bytes.n_bytes)
        memcpy(*from_file, bytes.data, bytes.n_bytes);
    moeq_bytes_free(&bytes);
    return status;
}

static enum moeq_status encode_prompt(struct generate *g, struct moeq_error *err)
{
    const struct generate_options *o = g->options;
    char *from_file = NULL;
    if (o->prompt && o->prompt_file)
        return moeq_fail(err, MOEQ_USAGE, "--prompt and --prompt-file are both given");
    if (!o->prompt && !o->prompt_file)
        return moeq_fail(err, MOEQ_USAGE, "what prompt? --prompt is missing");
    enum moeq_status status = o->prompt ? MOEQ_OK : read_prompt(o, &from_file, err);
    const struct moeq_turn turn = {o->prompt ? o->prompt : from_file, NULL};
    if (!status)
        status = moeq_prompts_encode(&g->prompts, &o->writing, &turn, 1, &g->prompt, err);
    if (o->prompt_file)
        moeq_error_in_file(err, moeq_text_name(o->prompt_file));
    free(from_file);
    return status;
}

/* Nobody needs the rest of a text that does not arrive. */
static enum moeq_status print_piece(void *context, size_t index, const char *text, size_t n_bytes,
                                    struct moeq_error *err)
{
    (void)context;
    (void)index;
    if (fwrite(text, 1, n_bytes, stdout) == n_bytes && fflush(stdout) == 0)
        return MOEQ_OK;
    moeq_fail_errno(err, errno, "cannot write the text");
    moeq_error_in_file(err, "standard output");
    return MOEQ_IO;
}

static void note_step(void *context, bool of_prompts, uint64_t n_tokens)
{
    struct generate *g = context;
    struct pace *pace = of_prompts ? &g->reading : &g->writing;
    const double now = moeq_clock();
    pace->n_tokens += n_tokens;
    pace->seconds += now - g->last_step;
    g->last_step = now;
}

static enum moeq_status share_memory(struct generate *g, unsigned n_jobs, struct moeq_error *err)
{
    struct moeq_budget budget = moeq_verb_budget(g->options->memory, 0);
    const uint64_t most = g->generator.max_tokens;
    budget.instead = "a smaller --max-tokens";
    g->plan = moeq_generate_plan(&g->source, &g->text, 1, most, 1, n_jobs, budget.n_bytes);
    const uint64_t least = moeq_generate_plan(&g->source, &g->text, 1, most, 1, n_jobs, 0).total;
    return moeq_verb_check_budget(&budget, g->plan.total, least, g->source.path, err);
}

static enum moeq_status generate(struct generate *g, struct moeq_error *err)
{
    const struct generate_options *o = g->options;
    struct moeq_decoder decoder = {0};
    struct moeq_pool *pool = moeq_verb_pool(&o->common, err);
    if (!pool)
        return MOEQ_OVER_MEMORY;
    g->generator = moeq_writing_generator(&o->writing, &g->prompts,
                                          !o->exact && moeq_has_fast_products() ? MOEQ_FAST : MOEQ_EXACT);
    g->generator.context = g;
    g->generator.stepped = note_step;
    g->generator.piece = o->common.json ? NULL : print_piece;
    g->text = (struct moeq_generation){
        .prompt = g->prompt.ids, .n_prompt = g->prompt.n_tokens, .seed = o->writing.seed};
    enum moeq_status status = share_memory(g, moeq_pool_jobs(pool), err);
    if (!status)
        status = moeq_decoder_init(&decoder, &g->source, pool, &g->plan, err);
    if (!status && g->plan.n_positions > g->source.config.max_positions && !o->common.quiet)
        fprintf(stderr, "moeq generate: note: up to %llu tokens, the model was made for %u\n",
                (unsigned long long)g->plan.n_positions, (unsigned)g->source.config.max_positions);
    g->last_step = moeq_clock();
    if (!status)
        status = moeq_generate(&decoder, &g->generator, &g->text, 1, err);
    if (!status) {
        g->experts = moeq_expert_cache_counts(decoder.experts);
        g->n_layer_bytes = decoder.layers.n_loaded_bytes;
    }
    moeq_decoder_free(&decoder);
    moeq_pool_join(pool);
    return status;
}

/* ---- what is printed ---- */

static double rate(const struct pace *pace)
{
    return pace->seconds > 0 ? (double)pace->n_tokens / pace->seconds : 0;
}

static double hit_share(const struct moeq_expert_cache_counts *c)
{
    const uint64_t n = c->n_hits + c->n_misses;
    return n ? (double)c->n_hits / (double)n : 0;
}

static json_t *generate_json(const struct generate *g)
{
    const struct generate_options *o = g->options;
    const struct moeq_generation *t = &g->text;
    json_t *ids = json_array();
    for (size_t i = 0; i < t->tokens.n_tokens; i++)
        moeq_json_append(&ids, json_integer(t->tokens.ids[i]));
    json_t *json =
        json_pack("{s:s, s:i, s:s, s:I, s:f, s:f, s:I, s:s, s:I, s:s, s:s}", "moeq", "generate", "version", 1,
                  "model", g->source.path, "prompt_tokens", (json_int_t)t->n_prompt, "temperature",
                  o->writing.temperature, "top_p", o->writing.top_p > 0 ? o->writing.top_p : 1.0,
                  "max_tokens", (json_int_t)g->generator.max_tokens, "finish", moeq_finish_names[t->finish],
                  "n_tokens", (json_int_t)t->tokens.n_tokens, "text", t->text.text, "arithmetic",
                  g->generator.arithmetic == MOEQ_FAST ? "bf16" : "float32");
    moeq_json_set(&json, "seed",
                  o->writing.seed <= INT64_MAX ? json_integer((json_int_t)o->writing.seed)
                                               : json_real((double)o->writing.seed));
    moeq_json_set(&json, "chat",
                  g->prompts.chat ? json_string(moeq_chat_name(g->prompts.chat)) : json_null());
    moeq_json_set(&json, "tokens", ids);
    moeq_json_set(&json, "timing", /* what depends on the machine, --jobs and --mem */
                  json_pack("{s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:f, s:I, s:I}", "prompt_seconds",
                            g->reading.seconds, "prompt_tokens_per_second", rate(&g->reading), "seconds",
                            g->writing.seconds, "tokens_per_second", rate(&g->writing), "peak_memory_bytes",
                            (json_int_t)moeq_peak_memory(), "planned_memory_bytes", (json_int_t)g->plan.total,
                            "kept_layers", (json_int_t)g->plan.kept_layers, "expert_hits",
                            hit_share(&g->experts), "expert_bytes_loaded",
                            (json_int_t)g->experts.n_loaded_bytes, "layer_bytes_loaded",
                            (json_int_t)g->n_layer_bytes));
    return json;
}

static void print_paces(const struct generate *g)
{
    char a[MOEQ_SIZE_TEXT], b[MOEQ_SIZE_TEXT];
    fprintf(stderr,
            "moeq generate: prompt of %zu tokens in %.1f s, %.1f tokens/s; then %zu tokens in %.1f s, %.1f "
            "tokens/s (%s)\n",
            g->text.n_prompt, g->reading.seconds, rate(&g->reading), g->text.tokens.n_tokens,
            g->writing.seconds, rate(&g->writing), moeq_finish_names[g->text.finish]);
    fprintf(stderr,
            "moeq generate: %.1f%% of the experts were in memory, %s of experts read; planned at most %s\n",
            100 * hit_share(&g->experts), moeq_size_text((double)g->experts.n_loaded_bytes, a),
            moeq_size_text((double)g->plan.total, b));
}

static enum moeq_status report(const struct generate *g, struct moeq_error *err)
{
    const struct moeq_text_stream *text = &g->text.text;
    if (g->options->common.json)
        return moeq_verb_print_json(generate_json(g), err);
    if (!text->n_text || text->text[text->n_text - 1] != '\n')
        putchar('\n');
    if (!g->options->common.quiet)
        print_paces(g);
    return MOEQ_OK;
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    struct generate g = {.options = options};
    (void)n_positional;
    enum moeq_status status =
        moeq_source_open_as(&g.source, positional[0], moeq_verb_strictness(&g.options->common), err);
    if (status)
        return status;
    status = moeq_model_check(&g.source, err);
    if (!status)
        status = moeq_prompts_init(&g.prompts, &g.options->writing, &g.source, err);
    if (!status)
        status = encode_prompt(&g, err);
    if (!status)
        status = generate(&g, err);
    if (!status)
        status = report(&g, err);
    moeq_generation_free(&g.text);
    moeq_tokens_free(&g.prompt);
    moeq_prompts_free(&g.prompts);
    moeq_source_close(&g.source);
    return status;
}

const struct moeq_verb moeq_verb_generate = {
    .name = "generate",
    .arguments = "PKG|SRC --prompt TEXT",
    .summary = "the text with which a model goes on from a prompt",
    .details =
        "The text appears on standard output while it is written, then a newline if it does not end in one. "
        "Special tokens within a prompt are taken as such; without --chat the model's BOS, where it has one, "
        "stands before the prompt. A text ends at a token that generation_config.json or config.json names "
        "as eos_token_id, at a --stop, or after --max-tokens.\n\n"
        "What every token needs stays in memory as far as --mem allows; experts that were used last fill the "
        "rest, each checked against its hash when it is read. For each token of the texts, the latents of "
        "all layers are kept (float32). None of that changes the text.\n\n"
        "The same options give the same text on the same kind of CPU, whatever --jobs and --mem; with "
        "--exact it also does not depend on how a prompt is cut into steps. Random numbers are those of "
        "--seed by number: the one for token i depends on nothing else. With --temperature, tokens are "
        "ordered by probability, the likeliest first, equal ones by their id, and the one is drawn at which "
        "the sum exceeds the random number.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 1,
    .options_size = sizeof(struct generate_options),
    .run = run,
};
