/* Texts depend on their prompt, seed and options alone; chats are framed as the templates are. */
#include "unit.h"

#include "chat.h"
#include "generate.h"

#include <jansson.h>

static struct moeq_source source;
static struct moeq_tokenizer *tokenizer;
static struct moeq_pool *pool;
static char model[4096];

static void open_all(void)
{
    snprintf(model, sizeof model, "%s/nano-v3", getenv("MOEQ_MODELS"));
    tokenizer = moeq_tokenizer_open(model, NULL);
    pool = moeq_pool_create(2, NULL);
    if (!tokenizer || !pool || moeq_source_open(&source, model, NULL))
        exit(2);
}

static void close_all(void)
{
    moeq_source_close(&source);
    moeq_tokenizer_close(tokenizer);
    moeq_pool_join(pool);
}

enum { TEXTS = 7 };

static const char *const prompts[TEXTS] = {"The lighthouse keeper",
                                           "In the morning",
                                           "A",
                                           "When fog lay on the water he wrote nothing, but he stayed awake",
                                           "She asked",
                                           "On clear nights",
                                           "1 + 1 ="};

struct seen {
    char shown[TEXTS][4096];
    unsigned n_ended;
    uint64_t n_prompt_tokens;
};

static enum moeq_status show(void *context, size_t index, const char *text, size_t n_bytes,
                             struct moeq_error *err)
{
    struct seen *seen = context;
    (void)err;
    strncat(seen->shown[index], text, n_bytes);
    return MOEQ_OK;
}

static enum moeq_status refuse(void *context, size_t index, const char *text, size_t n_bytes,
                               struct moeq_error *err)
{
    (void)index;
    (void)text;
    (void)n_bytes;
    ++*(unsigned *)context;
    return moeq_fail(err, MOEQ_IO, "nobody reads this");
}

static void count_ended(void *context, size_t index)
{
    struct seen *seen = context;
    (void)index;
    seen->n_ended++;
}

static void count_tokens(void *context, bool of_prompts, uint64_t n)
{
    struct seen *seen = context;
    seen->n_prompt_tokens += of_prompts ? n : 0;
}

/* Writes all texts, at most `together` at once. */
static void write_all(struct moeq_generation texts[TEXTS], struct moeq_tokens tokens[TEXTS],
                      struct moeq_generator *generator, uint64_t together, uint64_t budget)
{
    struct seen *seen = calloc(1, sizeof *seen);
    struct moeq_decoder decoder;
    uint64_t n_prompt_tokens = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(seen);
    generator->tokenizer = tokenizer;
    generator->context = seen;
    generator->piece = show;
    generator->ended = count_ended;
    generator->stepped = count_tokens;
    for (size_t i = 0; i < TEXTS; i++) {
        tokens[i] = (struct moeq_tokens){0};
        CU_ASSERT_EQUAL_FATAL(
            moeq_tokenizer_encode(tokenizer, prompts[i], strlen(prompts[i]), &tokens[i], NULL), MOEQ_OK);
        texts[i] =
            (struct moeq_generation){.prompt = tokens[i].ids, .n_prompt = tokens[i].n_tokens, .seed = i / 2};
        n_prompt_tokens += tokens[i].n_tokens;
    }
    const struct moeq_decoder_plan plan =
        moeq_generate_plan(&source, texts, TEXTS, generator->max_tokens, together, 2, budget);
    CU_ASSERT_EQUAL_FATAL(moeq_decoder_init(&decoder, &source, pool, &plan, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_generate(&decoder, generator, texts, TEXTS, NULL), MOEQ_OK);
    for (size_t i = 0; i < TEXTS; i++)
        CU_ASSERT_STRING_EQUAL(seen->shown[i], texts[i].text.text);
    CU_ASSERT_EQUAL(seen->n_ended, TEXTS);
    CU_ASSERT_EQUAL(seen->n_prompt_tokens, n_prompt_tokens);
    moeq_decoder_free(&decoder);
    free(seen);
}

static void free_all(struct moeq_generation texts[TEXTS], struct moeq_tokens tokens[TEXTS])
{
    for (size_t i = 0; i < TEXTS; i++) {
        moeq_generation_free(&texts[i]);
        moeq_tokens_free(&tokens[i]);
    }
}

static bool same(const struct moeq_generation *a, const struct moeq_generation *b)
{
    return a->tokens.n_tokens == b->tokens.n_tokens && a->finish == b->finish &&
           memcmp(a->tokens.ids, b->tokens.ids, a->tokens.n_tokens * sizeof *a->tokens.ids) == 0;
}

static void test_together(void)
{
    static const uint64_t togethers[] = {2, 3, TEXTS, 100};
    struct moeq_generation alone[TEXTS], texts[TEXTS];
    struct moeq_tokens tokens[TEXTS], others[TEXTS];
    struct moeq_generator generator = {.sampling = {0.9, 0.95},
                                       .max_tokens = 24,
                                       .stops = (const char *const[]){" the "},
                                       .n_stops = 1,
                                       .arithmetic = MOEQ_EXACT};
    unsigned n_stopped = 0, n_different = 0;
    write_all(alone, tokens, &generator, 1, UINT64_MAX);
    for (size_t k = 0; k < sizeof togethers / sizeof *togethers; k++) {
        write_all(texts, others, &generator, togethers[k], k % 2 ? 0 : UINT64_MAX);
        for (size_t i = 0; i < TEXTS; i++) {
            CU_ASSERT(same(&texts[i], &alone[i]));
            n_stopped += texts[i].finish == MOEQ_FINISH_STOP;
            CU_ASSERT_PTR_NULL(strstr(texts[i].text.text, " the "));
        }
        free_all(texts, others);
    }
    CU_ASSERT(n_stopped > 0);
    generator.n_stops = 0;
    generator.sampling = (struct moeq_sampling){0};
    write_all(texts, others, &generator, 4, UINT64_MAX);
    for (size_t i = 0; i < TEXTS; i++) {
        n_different += !same(&texts[i], &alone[i]);
        CU_ASSERT_EQUAL(texts[i].tokens.n_tokens, 24);
        CU_ASSERT_EQUAL(texts[i].finish, MOEQ_FINISH_LENGTH);
    }
    CU_ASSERT(n_different > TEXTS / 2);
    free_all(texts, others);
    free_all(alone, tokens);
}

/* A text that nobody reads is not written to its end. */
static void test_no_reader(void)
{
    unsigned n_pieces = 0;
    struct moeq_error err = {0};
    struct moeq_tokens tokens = {0};
    struct moeq_decoder decoder;
    const struct moeq_generator generator = {.tokenizer = tokenizer,
                                             .max_tokens = 1000,
                                             .arithmetic = MOEQ_EXACT,
                                             .piece = refuse,
                                             .context = &n_pieces};
    CU_ASSERT_EQUAL_FATAL(moeq_tokenizer_encode(tokenizer, prompts[0], strlen(prompts[0]), &tokens, NULL),
                          MOEQ_OK);
    struct moeq_generation text = {.prompt = tokens.ids, .n_prompt = tokens.n_tokens};
    const struct moeq_decoder_plan plan =
        moeq_generate_plan(&source, &text, 1, generator.max_tokens, 1, 2, UINT64_MAX);
    CU_ASSERT_EQUAL_FATAL(moeq_decoder_init(&decoder, &source, pool, &plan, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_generate(&decoder, &generator, &text, 1, &err), MOEQ_IO);
    CU_ASSERT_STRING_EQUAL(err.message, "nobody reads this");
    CU_ASSERT_EQUAL(n_pieces, 1);
    CU_ASSERT(text.tokens.n_tokens < 10);
    moeq_decoder_free(&decoder);
    moeq_generation_free(&text);
    moeq_tokens_free(&tokens);
}

/* Any token can be an end; it is not part of the text, and what comes before is the same. */
static void test_ends(void)
{
    struct moeq_generation texts[TEXTS], ended[TEXTS];
    struct moeq_tokens tokens[TEXTS], others[TEXTS];
    struct moeq_generator generator = {.max_tokens = 16, .arithmetic = MOEQ_FAST};
    write_all(texts, tokens, &generator, 3, UINT64_MAX);
    generator.ends = (struct moeq_end_tokens){.ids = {texts[0].tokens.ids[5], 1}, .n = 2};
    write_all(ended, others, &generator, 3, UINT64_MAX);
    size_t n = 0;
    while (texts[0].tokens.ids[n] != texts[0].tokens.ids[5])
        n++;
    CU_ASSERT_EQUAL(ended[0].finish, MOEQ_FINISH_END);
    CU_ASSERT_EQUAL(ended[0].tokens.n_tokens, n);
    CU_ASSERT(memcmp(ended[0].tokens.ids, texts[0].tokens.ids, n * sizeof *texts[0].tokens.ids) == 0);
    free_all(texts, tokens);
    free_all(ended, others);
    struct moeq_end_tokens ends;
    CU_ASSERT_EQUAL(moeq_end_tokens_load(&ends, model, NULL), MOEQ_OK);
    CU_ASSERT(ends.n == 1 && moeq_is_end_token(&ends, 1) && !moeq_is_end_token(&ends, 0));
}

/* ---- chats ---- */

#define BOS "<｜begin▁of▁sentence｜>"
#define EOS "<｜end▁of▁sentence｜>"

/* The bundled tokenizer with more tokens. */
static struct moeq_tokenizer *tokenizer_with(const char *const *names, size_t n)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/tokenizer.json", model);
    json_t *json = json_load_file(path, 0, NULL);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            json_object_get(json, "added_tokens"),
            json_pack("{s:i, s:s, s:b}", "id", 2048 + (int)i, "content", names[i], "normalized", 0));
    char *text = json_dumps(json, 0);
    struct moeq_tokenizer *t = moeq_tokenizer_parse(text, strlen(text), NULL, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    free(text);
    json_decref(json);
    return t;
}

static void test_chats(void)
{
    static const char *const names[] = {"<｜User｜>", "<｜Assistant｜>", "<think>", "<｜search▁begin｜>"};
    static const struct {
        const char *architecture;
        size_t n_names;
        bool think;
        const char *name, *opening, *expected;
    } cases[] = {
        {"DeepseekV3ForCausalLM", 2, false, "DeepSeek-V3", "",
         BOS "Be brief.<｜User｜>Hi<｜Assistant｜>Hello" EOS "<｜User｜>1+1?<｜Assistant｜>"},
        {"DeepseekV3ForCausalLM", 3, false, "DeepSeek-R1", "<think>\n",
         BOS "Be brief.<｜User｜>Hi<｜Assistant｜>Hello" EOS "<｜User｜>1+1?<｜Assistant｜><think>\n"},
        {"DeepseekV3ForCausalLM", 4, false, "DeepSeek-V3.1", "",
         BOS "Be brief.<｜User｜>Hi<｜Assistant｜></think>Hello" EOS "<｜User｜>1+1?<｜Assistant｜></think>"},
        {"DeepseekV32ForCausalLM", 4, true, "DeepSeek-V3.1", "<think>",
         BOS "Be brief.<｜User｜>Hi<｜Assistant｜></think>Hello" EOS "<｜User｜>1+1?<｜Assistant｜><think>"},
        {"DeepseekV2ForCausalLM", 0, false, "DeepSeek-V2", "",
         BOS "Be brief.\n\nUser: Hi\n\nAssistant: Hello" EOS "User: 1+1?\n\nAssistant:"},
        {"DeepseekV3ForCausalLM", 0, false, NULL, NULL, NULL},
        {"Glm4MoeLiteForCausalLM", 4, false, NULL, NULL, NULL},
    };
    const struct moeq_turn turns[] = {{"Hi", "Hello"}, {"1+1?", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_tokenizer *t = tokenizer_with(names, cases[i].n_names);
        struct moeq_config config = {0};
        const struct moeq_chat *chat;
        char *text;
        snprintf(config.architecture, sizeof config.architecture, "%s", cases[i].architecture);
        const enum moeq_status status = moeq_chat_find(&config, t, &chat, NULL);
        CU_ASSERT_EQUAL(status, cases[i].name ? MOEQ_OK : MOEQ_UNSUPPORTED);
        if (!status) {
            CU_ASSERT_STRING_EQUAL(moeq_chat_name(chat), cases[i].name);
            CU_ASSERT_STRING_EQUAL(moeq_chat_opening(chat, cases[i].think), cases[i].opening);
            CU_ASSERT_EQUAL_FATAL(moeq_chat_render(chat, "Be brief.", turns, 2, cases[i].think, &text, NULL),
                                  MOEQ_OK);
            CU_ASSERT_STRING_EQUAL(text, cases[i].expected);
            free(text);
        }
        moeq_tokenizer_close(t);
    }
}

int main(void)
{
    const struct unit_test tests[] = {
        {"texts do not depend on each other, nor on memory", test_together},
        {"a text that nobody reads", test_no_reader},
        {"tokens that end a text", test_ends},
        {"chats are framed as the templates are", test_chats},
        {NULL, NULL},
    };
    open_all();
    const int code = unit_main("generate", tests);
    close_all();
    return code;
}
