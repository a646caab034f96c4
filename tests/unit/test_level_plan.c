/* PLAN documents: what is written is read again, what a person got wrong is named, and a conversion's plan
 * takes the levels as they stand there. */
#include "unit.h"

#include "../fuzz/package_fixture.h"
#include "level_plan.h"
#include "repack_manifest.h"

#include <math.h>
#include <time.h>

#define MODEL  "0123456789abcdef0123456789abcdef"
#define EXPERT "model.layers.0.mlp.experts.0."
#define GATE   EXPERT "gate_proj.weight"
#define UP     EXPERT "up_proj.weight"
#define DOWN   EXPERT "down_proj.weight"
#define O_PROJ "model.layers.0.self_attn.o_proj.weight"
#define NORM   "model.layers.0.input_layernorm.weight"
#define EMBED  "model.embed_tokens.weight"

#define HEAD "{'format':'moeq-plan','version':1,'model':'" MODEL "',"

/* ---- documents ---- */

static enum moeq_status parse(struct moeq_level_plan *plan, const char *text, struct moeq_error *err)
{
    char quoted[FIXTURE_TEXT];
    *err = (struct moeq_error){0};
    fixture_quote(quoted, text);
    return moeq_level_plan_parse(plan, quoted, strlen(quoted), err);
}

static struct moeq_level_entry entry_of(const char *name, const char *level)
{
    struct moeq_level_entry entry = {
        .name = name, .tokens = NAN, .importance = NAN, .damage = NAN, .error = NAN};
    entry.keep = strcmp(level, "keep") == 0;
    if (!entry.keep)
        CU_ASSERT_EQUAL(moeq_format_parse(level, (struct moeq_format){.group = 128}, &entry.format, NULL),
                        MOEQ_OK);
    return entry;
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)); at++)
        n++;
    return n;
}

/* In the order of the package, gate before down, with all members and with none. */
static void test_round_trip(void)
{
    struct moeq_level_entry entries[] = {entry_of(GATE, "int3-g64"), entry_of(UP, "int4-g32-asym"),
                                         entry_of(DOWN, "keep")};
    static const char *const rules[] = {"attn=int8-g128", "layers.0.*=keep"};
    json_t *budget =
        json_pack("{s:s, s:I, s:f}", "asked", "3.5 \"bits\"", "bytes", (json_int_t)1 << 40, "bits", 0.1);
    json_t *layers = json_pack("[{s:i}, {s:i}]", "layer", 0, "layer", 1);
    const struct moeq_level_document document = {MODEL, MODEL, budget, NULL, layers, rules, 2, entries, 3};
    char folder[FIXTURE_PATH], path[FIXTURE_PATH];
    struct moeq_level_plan plan;
    struct moeq_error err = {0};
    entries[0].tokens = 123456;
    entries[0].importance = 0.0123456;
    entries[0].damage = 1.23456e-7;
    entries[0].error = 0;
    fixture_make(folder);
    CU_ASSERT_EQUAL(moeq_level_plan_write(fixture_path(path, folder, "PLAN"), &document, &err), MOEQ_OK);
    size_t n;
    char *text = fixture_read(folder, "PLAN", &n);
    CU_ASSERT_PTR_NOT_NULL(strstr(text,
                                  "\n\"" GATE "\":{\"level\":\"int3-g64\",\"tokens\":123456,\"importance\":"
                                  "0.01235,\"damage\":1.235e-07,\"error\":0},\n\"" UP "\":{"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\n\"" DOWN "\":{\"level\":\"keep\"}}}\n"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(text, "\"budget\":{\"asked\":\"3.5 \\\"bits\\\"\",\"bytes\":1099511627776,\"bits\":0.1},\n"));
    CU_ASSERT_EQUAL(count(text, "\n"), 16);

    CU_ASSERT_EQUAL_FATAL(moeq_level_plan_open(&plan, path, &err), MOEQ_OK);
    CU_ASSERT_STRING_EQUAL(plan.path, path);
    CU_ASSERT_STRING_EQUAL(plan.model, MODEL);
    CU_ASSERT_STRING_EQUAL(plan.statistics, MODEL);
    CU_ASSERT_EQUAL(plan.n_rules, 2);
    CU_ASSERT_STRING_EQUAL(plan.rules[0].text, rules[0]);
    CU_ASSERT(plan.rules[1].keep);
    CU_ASSERT_EQUAL(plan.n_entries, 3);
    CU_ASSERT_STRING_EQUAL(plan.entries[0].name, DOWN);
    const struct moeq_level_entry *gate = moeq_level_plan_find(&plan, GATE);
    CU_ASSERT_PTR_NOT_NULL_FATAL(gate);
    CU_ASSERT(moeq_format_equal(gate->format, entries[0].format) && !gate->keep);
    CU_ASSERT(gate->tokens == 123456 && gate->importance == 0.01235 && gate->damage == 1.235e-7);
    CU_ASSERT_EQUAL(gate->error, 0);
    CU_ASSERT(moeq_format_equal(moeq_level_plan_find(&plan, UP)->format, entries[1].format));
    CU_ASSERT(moeq_level_plan_find(&plan, DOWN)->keep && isnan(moeq_level_plan_find(&plan, DOWN)->damage));
    CU_ASSERT_PTR_NULL(moeq_level_plan_find(&plan, O_PROJ));
    moeq_level_plan_close(&plan);
    free(text);
    json_decref(budget);
    json_decref(layers);
    fixture_remove(folder);
}

/* White space is no part of what a document says, a level is. */
static void test_document_hash(void)
{
    static const char *const texts[] = {HEAD "'matrices':{'a':{'level':'int4'}}}",
                                        HEAD "\n  'matrices' : {'a': {'level': 'int4'}}}\n\n",
                                        HEAD "'matrices':{'a':{'level':'int5'}}}"};
    struct moeq_hash hashes[3];
    for (size_t i = 0; i < 3; i++) {
        struct moeq_level_plan plan;
        struct moeq_error err;
        CU_ASSERT_EQUAL_FATAL(parse(&plan, texts[i], &err), MOEQ_OK);
        hashes[i] = plan.hash;
        moeq_level_plan_close(&plan);
    }
    CU_ASSERT(moeq_hash_equal(hashes[0], hashes[1]));
    CU_ASSERT(!moeq_hash_equal(hashes[0], hashes[2]));
}

/* What is left out has its default. */
static void test_least(void)
{
    struct moeq_level_plan plan;
    struct moeq_error err;
    CU_ASSERT_EQUAL_FATAL(parse(&plan, HEAD "'statistics':null,'matrices':{'a':{'level':'int4'}}}", &err),
                          MOEQ_OK);
    CU_ASSERT_STRING_EQUAL(plan.statistics, "");
    CU_ASSERT_EQUAL(plan.n_rules, 0);
    CU_ASSERT_EQUAL(plan.entries[0].format.group, 128);
    CU_ASSERT(isnan(plan.entries[0].tokens));
    moeq_level_plan_close(&plan);
    CU_ASSERT_EQUAL_FATAL(parse(&plan, HEAD "'matrices':{}}", &err), MOEQ_OK);
    CU_ASSERT_PTR_NULL(moeq_level_plan_find(&plan, "a"));
    moeq_level_plan_close(&plan);
}

static const struct {
    const char *text;
    enum moeq_status status;
    const char *named; /* in the message or as the tensor */
} mistakes[] = {
    {"", MOEQ_DAMAGED, "JSON"},
    {"# levels", MOEQ_DAMAGED, "JSON"},
    {"[]", MOEQ_USAGE, "no object"},
    {"{}", MOEQ_USAGE, "\"format\""},
    {"{'format':'moeq-package','version':1}", MOEQ_USAGE, "\"format\""},
    {"{'format':'moeq-plan','version':2}", MOEQ_UNSUPPORTED, "version 2"},
    {"{'format':'moeq-plan','version':'1'}", MOEQ_USAGE, "\"version\" must be a whole number"},
    {"{'format':'moeq-plan','version':1.0}", MOEQ_USAGE, "\"version\""},
    {"{'format':'moeq-plan','version':1,'matrices':{}}", MOEQ_USAGE, "\"model\" of a plan is missing"},
    {"{'format':'moeq-plan','model':'" MODEL "','matrices':{}}", MOEQ_USAGE,
     "\"version\" of a plan is missing"},
    {HEAD "'rules':[]}", MOEQ_USAGE, "\"matrices\" of a plan is missing"},
    {"{'format':'moeq-plan','version':1,'model':'12','matrices':{}}", MOEQ_USAGE, "\"model\" must be 32"},
    {"{'format':'moeq-plan','version':1,'model':null,'matrices':{}}", MOEQ_USAGE,
     "\"model\" must be a string"},
    {HEAD "'statistics':'x','matrices':{}}", MOEQ_USAGE, "\"statistics\" must be 32"},
    {HEAD "'statistics':7,'matrices':{}}", MOEQ_USAGE, "\"statistics\" must be a string"},
    {HEAD "'matrixes':{},'matrices':{}}", MOEQ_USAGE, "\"matrixes\" is not a member of a plan"},
    {HEAD "'matrices':[]}", MOEQ_USAGE, "\"matrices\" must be an object"},
    {HEAD "'matrices':{},'matrices':{}}", MOEQ_DAMAGED, "duplicate"},
    {HEAD "'tool':1,'matrices':{}}", MOEQ_USAGE, "\"tool\" must be a string"},
    {HEAD "'budget':'4bpw','matrices':{}}", MOEQ_USAGE, "\"budget\" must be an object"},
    {HEAD "'layers':{},'matrices':{}}", MOEQ_USAGE, "\"layers\" must be an array"},
    {HEAD "'rules':'attn=int8','matrices':{}}", MOEQ_USAGE, "\"rules\" must be an array"},
    {HEAD "'rules':[8],'matrices':{}}", MOEQ_USAGE, "\"rules\" must be strings"},
    {HEAD "'rules':['attn'],'matrices':{}}", MOEQ_USAGE, "\"attn\" is not a rule"},
    {HEAD "'rules':['attn=int7'],'matrices':{}}", MOEQ_USAGE, "\"int7\" is not a level"},
    {HEAD "'rules':['norm=int4'],'matrices':{}}", MOEQ_USAGE, "norm=int4"},
    {HEAD "'matrices':{'w.a':'int4'}}", MOEQ_USAGE, "w.a"},
    {HEAD "'matrices':{'w.a':{}}}", MOEQ_USAGE, "w.a"},
    {HEAD "'matrices':{'w.a':{'tokens':4}}}", MOEQ_USAGE, "\"level\" of a matrix is missing"},
    {HEAD "'matrices':{'w.a':{'level':4}}}", MOEQ_USAGE, "\"level\" must be a string"},
    {HEAD "'matrices':{'w.a':{'level':'int9'}}}", MOEQ_USAGE, "\"int9\" is not a level"},
    {HEAD "'matrices':{'w.a':{'level':'raw'}}}", MOEQ_USAGE, "\"raw\" is not a level"},
    {HEAD "'matrices':{'w.a':{'level':''}}}", MOEQ_USAGE, "is not a level"},
    {HEAD "'matrices':{'w.a':{'level':'int8-asym'}}}", MOEQ_USAGE, "w.a"},
    {HEAD "'matrices':{'w.a':{'level':'f16'}}}", MOEQ_USAGE, "can be kept, not made"},
    {HEAD "'matrices':{'w.a':{'level':'int4','levle':'int4'}}}", MOEQ_USAGE,
     "\"levle\" is not a member of a matrix"},
    {HEAD "'matrices':{'w.a':{'level':'int4','tokens':-1}}}", MOEQ_USAGE, "\"tokens\" must be a number"},
    {HEAD "'matrices':{'w.a':{'level':'int4','damage':null}}}", MOEQ_USAGE, "\"damage\" must be a number"},
    {HEAD "'matrices':{'w.a':{'level':'int4','error':'1e-3'}}}", MOEQ_USAGE, "w.a"},
    {HEAD "'matrices':{'w.a':{'level':'int4'},'w.a':{'level':'int3'}}}", MOEQ_DAMAGED, "duplicate"},
    {HEAD "'matrices':{'w.a':{'level':'int4','importance':1e999}}}", MOEQ_DAMAGED, "JSON"},
    {HEAD "'matrices':{'w.a':{'level':'int4'}}", MOEQ_DAMAGED, "JSON"},
};

static void test_mistakes(void)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        struct moeq_level_plan plan;
        struct moeq_error err;
        const enum moeq_status status = parse(&plan, mistakes[i].text, &err);
        const bool is_named = strstr(err.message, mistakes[i].named) || strstr(err.tensor, mistakes[i].named);
        CU_ASSERT_EQUAL(status, mistakes[i].status);
        CU_ASSERT(is_named);
        CU_ASSERT(err.hint[0] != '\0');
        if (status != mistakes[i].status || !is_named)
            printf("%s: %s ", mistakes[i].text, err.message);
        if (!status)
            moeq_level_plan_close(&plan);
    }
}

static void test_files(void)
{
    char folder[FIXTURE_PATH], path[FIXTURE_PATH];
    struct moeq_level_plan plan;
    struct moeq_error err = {0};
    fixture_make(folder);
    CU_ASSERT_EQUAL(moeq_level_plan_open(&plan, fixture_path(path, folder, "none"), &err), MOEQ_IO);
    fixture_write_json(folder, "PLAN", HEAD "'matrices':{'w.a':{'level':'int9'}}}");
    err = (struct moeq_error){0};
    CU_ASSERT_EQUAL(moeq_level_plan_open(&plan, fixture_path(path, folder, "PLAN"), &err), MOEQ_USAGE);
    CU_ASSERT_STRING_EQUAL(err.file, path);
    CU_ASSERT_STRING_EQUAL(err.tensor, "w.a");
    CU_ASSERT_EQUAL(moeq_level_plan_open(&plan, path, NULL), MOEQ_USAGE);
    fixture_remove(folder);
}

/* ---- against a source ---- */

static char folder[FIXTURE_PATH];

static void begin(struct moeq_source *source)
{
    fixture_make(folder);
    fixture_write_json(folder, "config.json", FIXTURE_CONFIG);
    fixture_write_safetensors(folder, "model.safetensors",
                              "{'" GATE "':{'dtype':'BF16','shape':[8,8],'data_offsets':[0,128]},"
                              "'" UP "':{'dtype':'BF16','shape':[8,8],'data_offsets':[128,256]},"
                              "'" DOWN "':{'dtype':'BF16','shape':[8,8],'data_offsets':[256,384]},"
                              "'" O_PROJ "':{'dtype':'BF16','shape':[8,8],'data_offsets':[384,512]},"
                              "'" NORM "':{'dtype':'BF16','shape':[8],'data_offsets':[512,528]},"
                              "'" EMBED "':{'dtype':'BF16','shape':[16,8],'data_offsets':[528,784]}}",
                              784);
    CU_ASSERT_EQUAL_FATAL(moeq_source_open(source, folder, NULL), MOEQ_OK);
}

static void end(struct moeq_source *source)
{
    moeq_source_close(source);
    fixture_remove(folder);
}

static void test_check_source(void)
{
    static const struct {
        const char *matrices, *message, *hint;
    } cases[] = {
        {"'" GATE "':{'level':'int4'}", NULL, NULL},
        {"'" EXPERT "gate_porj.weight':{'level':'int4'}", "has not", GATE},
        {"'" NORM "':{'level':'keep'}", "always keeps its precision", "take it out"},
    };
    struct moeq_source source;
    char model[MOEQ_HASH_HEX], text[1024];
    begin(&source);
    CU_ASSERT_EQUAL_FATAL(moeq_statistics_model(&source, model, NULL), MOEQ_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_level_plan plan;
        struct moeq_error err = {0};
        snprintf(text, sizeof text, "{'format':'moeq-plan','version':1,'model':'%s','matrices':{%s}}", model,
                 cases[i].matrices);
        CU_ASSERT_EQUAL_FATAL(parse(&plan, text, &err), MOEQ_OK);
        CU_ASSERT_EQUAL(moeq_level_plan_check_source(&plan, &source, &err),
                        cases[i].message ? MOEQ_USAGE : MOEQ_OK);
        if (cases[i].message) {
            CU_ASSERT_PTR_NOT_NULL(strstr(err.message, cases[i].message));
            CU_ASSERT_PTR_NOT_NULL(strstr(err.hint, cases[i].hint));
            CU_ASSERT(strstr(cases[i].matrices, err.tensor) != NULL && err.tensor[0]);
        }
        moeq_level_plan_close(&plan);
    }
    struct moeq_level_plan other;
    struct moeq_error err = {0};
    CU_ASSERT_EQUAL_FATAL(parse(&other, HEAD "'matrices':{}}", &err), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_level_plan_check_source(&other, &source, &err), MOEQ_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "another model"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.hint, model));
    moeq_level_plan_close(&other);
    end(&source);
}

/* ---- in the plan of a conversion ---- */

static const struct moeq_plan_item *item_of(const struct moeq_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n_items; i++)
        if (strcmp(plan->items[i].weight->name, name) == 0)
            return &plan->items[i];
    CU_FAIL_FATAL("no such item");
    return NULL;
}

static void check_item(const struct moeq_plan *plan, const char *name, const char *level, const char *reason)
{
    char text[MOEQ_FORMAT_BYTES];
    const struct moeq_plan_item *item = item_of(plan, name);
    CU_ASSERT_STRING_EQUAL(moeq_format_text(item->format, text), level);
    CU_ASSERT_STRING_EQUAL(item->reason, reason);
}

/* Names first, then the rules of the request, then those of the document, then the request's level. */
static void test_precedence(void)
{
    struct moeq_source source;
    struct moeq_level_plan levels;
    struct moeq_plan plan;
    struct moeq_rule rule;
    struct moeq_error err = {0};
    begin(&source);
    CU_ASSERT_EQUAL_FATAL(parse(&levels,
                                HEAD "'rules':['experts=int8-g32','attn=int6-g64'],'matrices':{'" GATE
                                     "':{'level':'int3-g64'},'" UP "':{'level':'keep'}}}",
                                &err),
                          MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_rule_parse("layers.*.o_proj.weight=int5-g32", (struct moeq_format){0}, &rule, NULL),
                    MOEQ_OK);
    struct moeq_plan_request request = {.levels = &levels};
    CU_ASSERT_EQUAL_FATAL(moeq_plan_make(&plan, &source, &request, &err), MOEQ_OK);
    check_item(&plan, GATE, "int3-g64", "plan");
    check_item(&plan, UP, "bf16", "plan");
    check_item(&plan, DOWN, "int8-g32", "rule experts=int8-g32");
    check_item(&plan, O_PROJ, "int6-g64", "rule attn=int6-g64");
    check_item(&plan, NORM, "bf16", "kept: always at its precision");
    check_item(&plan, EMBED, "bf16", "kept: lossless");
    moeq_plan_free(&plan);

    request.rules = &rule;
    request.n_rules = 1;
    CU_ASSERT_EQUAL(moeq_plan_make(&plan, &source, &request, &err), MOEQ_USAGE); /* attn has nothing left */
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "attn=int6-g64"));
    levels.n_rules = 1;
    request.has_level = true;
    request.level = (struct moeq_format){.level = &moeq_level_bf16, .dtype = MOEQ_BF16};
    CU_ASSERT_EQUAL_FATAL(moeq_plan_make(&plan, &source, &request, NULL), MOEQ_OK);
    check_item(&plan, O_PROJ, "int5-g32", "rule layers.*.o_proj.weight=int5-g32");
    check_item(&plan, GATE, "int3-g64", "plan");
    check_item(&plan, EMBED, "bf16", "kept: embedding and head need a rule");
    moeq_plan_free(&plan);
    moeq_level_plan_close(&levels);
    end(&source);
}

/* The hash of a conversion's plan has what decides bytes and nothing else of the document: token counts and
 * other spellings of a level change nothing, a level or a name does. */
static void test_hash(void)
{
    static const char *const matrices[] = {
        "{'" GATE "':{'level':'int4-g32'}}", "{'" GATE "':{'tokens':7,'level':'int4-g32-sym'}}",
        "{'" GATE "':{'level':'int4-g64'}}", "{'" GATE "':{'level':'keep'}}",
        "{'" GATE "':{'level':'bf16'}}",     "{'" UP "':{'level':'int4-g32'}}"};
    enum { N = sizeof matrices / sizeof *matrices };
    struct moeq_hash hashes[N];
    struct moeq_source source;
    begin(&source);
    for (size_t i = 0; i < N; i++) {
        struct moeq_level_plan levels;
        struct moeq_plan plan;
        struct moeq_provenance provenance;
        struct moeq_error err;
        char text[512];
        snprintf(text, sizeof text, HEAD "'matrices':%s}", matrices[i]);
        CU_ASSERT_EQUAL_FATAL(parse(&levels, text, &err), MOEQ_OK);
        const struct moeq_plan_request request = {.levels = &levels};
        CU_ASSERT_EQUAL_FATAL(moeq_plan_make(&plan, &source, &request, &err), MOEQ_OK);
        CU_ASSERT_EQUAL_FATAL(moeq_provenance_list(&provenance, &plan, false, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL(moeq_plan_hash(&plan, &provenance, &hashes[i], NULL), MOEQ_OK);
        moeq_provenance_free(&provenance);
        moeq_plan_free(&plan);
        moeq_level_plan_close(&levels);
        for (size_t k = 0; k < i; k++) {
            const bool is_same = (i == 1 && k == 0) || (i == 4 && k == 3);
            CU_ASSERT_EQUAL(moeq_hash_equal(hashes[i], hashes[k]), is_same);
        }
    }
    end(&source);
}

/* A rule for what the document names is an error, and so is a name that the source has not. */
static void test_unused(void)
{
    struct moeq_source source;
    struct moeq_level_plan levels;
    struct moeq_plan plan;
    struct moeq_error err = {0};
    begin(&source);
    const struct moeq_plan_request request = {.levels = &levels};
    CU_ASSERT_EQUAL_FATAL(
        parse(&levels, HEAD "'rules':['attn=int8'],'matrices':{'" O_PROJ "':{'level':'int4'}}}", &err),
        MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_plan_make(&plan, &source, &request, &err), MOEQ_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "the plan or an earlier rule"));
    moeq_level_plan_close(&levels);
    CU_ASSERT_EQUAL_FATAL(parse(&levels, HEAD "'matrices':{'" O_PROJ "s':{'level':'int4'}}}", &err), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_plan_make(&plan, &source, &request, &err), MOEQ_USAGE);
    CU_ASSERT_STRING_EQUAL(err.tensor, O_PROJ "s");
    moeq_level_plan_close(&levels);
    end(&source);
}

/* ---- size ---- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void test_many(void)
{
    enum { N = 100000 };
    struct moeq_level_entry *entries = calloc(N, sizeof *entries);
    char(*names)[80] = calloc(N, sizeof *names);
    CU_ASSERT_FATAL(entries && names);
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "model.layers.%d.mlp.experts.%d.up_proj.weight", i / 256,
                 i % 256);
        entries[i] = entry_of(names[i], i % 2 ? "int3-g64" : "int4-g128-asym");
        entries[i].tokens = i;
        entries[i].importance = entries[i].damage = entries[i].error = 1.0 / (1 + i);
    }
    const struct moeq_level_document document = {.model = MODEL, .entries = entries, .n_entries = N};
    struct moeq_level_plan plan;
    const double start = seconds();
    char *text = moeq_level_plan_text(&document, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(text);
    const double written = seconds();
    CU_ASSERT_EQUAL_FATAL(moeq_level_plan_parse(&plan, text, strlen(text), NULL), MOEQ_OK);
    const double read = seconds();
    CU_ASSERT_EQUAL(plan.n_entries, N);
    for (int i = 0; i < N; i++) {
        const struct moeq_level_entry *entry = moeq_level_plan_find(&plan, names[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(entry);
        CU_ASSERT(entry->tokens == i && moeq_format_equal(entry->format, entries[i].format));
    }
    printf("%.1f MB: written in %.2f s, read in %.2f s, found in %.2f s ", (double)strlen(text) / 1e6,
           written - start, read - written, seconds() - read);
    CU_ASSERT(seconds() - start < 60);
    moeq_level_plan_close(&plan);
    free(text);
    free(names);
    free(entries);
}

int main(void)
{
    static const struct unit_test tests[] = {{"written and read", test_round_trip},
                                             {"the document's hash", test_document_hash},
                                             {"what may be left out", test_least},
                                             {"mistakes", test_mistakes},
                                             {"files", test_files},
                                             {"against a source", test_check_source},
                                             {"precedence in a conversion", test_precedence},
                                             {"the plan's hash", test_hash},
                                             {"rules and names in vain", test_unused},
                                             {"100000 matrices", test_many},
                                             {NULL, NULL}};
    return unit_main("level plan", tests);
}
