/* A baseline must stand for its model: the same comparison as with the model itself; and say so where it is
 * damaged. */
#include "made_package.h"

#include "baseline_match.h"
#include "baseline_parts.h"
#include "evaluate.h"

#include <math.h>
#include <unistd.h>

enum { WINDOWS = 24, CONTEXT = 128 };

static const struct moeq_bytes no_text = {.data = (uint8_t *)(uintptr_t) "text", .n_bytes = 4};

struct fixture {
    struct moeq_source nano;
    struct moeq_pool *pool;
    struct moeq_windows windows;
    struct moeq_bytes text;
    char path[64], other[64];
};

static void cut_demo(struct fixture *f)
{
    char path[4096];
    struct moeq_bytes bytes = {0};
    struct moeq_tokenizer *tokenizer = moeq_tokenizer_open(f->nano.path, NULL);
    snprintf(path, sizeof path, "%s/tests/data/demo.txt", getenv("MOEQ_SOURCE"));
    CU_ASSERT_EQUAL_FATAL(moeq_file_read_all(path, 1 << 20, &bytes, NULL), MOEQ_OK);
    CU_ASSERT_PTR_NOT_NULL_FATAL(tokenizer);
    CU_ASSERT_EQUAL_FATAL(moeq_windows_cut(&f->windows, tokenizer, f->nano.config.bos, bytes.data,
                                           bytes.n_bytes, MOEQ_CONVENTION_WINDOWS, CONTEXT, WINDOWS, NULL),
                          MOEQ_OK);
    moeq_tokenizer_close(tokenizer);
    moeq_bytes_free(&bytes);
}

static void begin(struct fixture *f)
{
    *f = (struct fixture){0};
    open_nano(&f->nano);
    f->pool = moeq_pool_create(2, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(f->pool);
    cut_demo(f);
    snprintf(f->path, sizeof f->path, "/tmp/moeq-baseline-%d", (int)getpid());
    snprintf(f->other, sizeof f->other, "/tmp/moeq-baseline-%d.other", (int)getpid());
}

static void end(struct fixture *f)
{
    unlink(f->path);
    unlink(f->other);
    moeq_windows_free(&f->windows);
    moeq_pool_join(f->pool);
    moeq_source_close(&f->nano);
}

static void evaluate(const struct fixture *f, struct moeq_evaluation_task *task, struct moeq_evaluation *out)
{
    task->windows = &f->windows;
    task->arithmetic = MOEQ_EXACT;
    const struct moeq_evaluation_plan plan = moeq_evaluate_plan(task, 2, UINT64_MAX);
    CU_ASSERT_EQUAL_FATAL(moeq_evaluate(task, &plan, f->pool, NULL, out, NULL), MOEQ_OK);
}

static void describe(const struct fixture *f, struct moeq_baseline_header *header)
{
    const struct moeq_baseline_text text = {"a/text", &no_text, &f->windows, MOEQ_CONVENTION_WINDOWS,
                                            MOEQ_EXACT};
    CU_ASSERT_EQUAL_FATAL(moeq_baseline_describe(header, &f->nano, &text, NULL), MOEQ_OK);
}

static void save(const struct fixture *f)
{
    struct moeq_baseline_header header;
    struct moeq_baseline_writer writer;
    struct moeq_evaluation found;
    describe(f, &header);
    CU_ASSERT_EQUAL_FATAL(moeq_baseline_create(&writer, f->path, &header, f->windows.tokens, NULL), MOEQ_OK);
    struct moeq_evaluation_task task = {.source = &f->nano, .save = &writer};
    evaluate(f, &task, &found);
    CU_ASSERT_EQUAL_FATAL(moeq_baseline_finish(&writer, NULL), MOEQ_OK);
    moeq_evaluation_free(&found);
}

static void compare(const struct moeq_evaluation *a, const struct moeq_evaluation *b)
{
    const struct moeq_paired *p = &a->paired, *q = &b->paired;
    CU_ASSERT(fabs(q->kld.value / p->kld.value - 1) < 0.01);
    CU_ASSERT(q->kld_lower < p->kld.value);
    CU_ASSERT_DOUBLE_EQUAL(p->ppl_ratio.value, q->ppl_ratio.value, 1e-6);
    CU_ASSERT_DOUBLE_EQUAL(p->ppl_ratio.error, q->ppl_ratio.error, 1e-6);
    CU_ASSERT_EQUAL(p->top1.value, q->top1.value);
    CU_ASSERT_EQUAL(p->top5.value, q->top5.value);
    CU_ASSERT_EQUAL(p->flips_worse.value, q->flips_worse.value);
    CU_ASSERT_EQUAL(p->flips_better.value, q->flips_better.value);
    for (uint32_t i = 0; i < a->drift.n_layers; i++) {
        CU_ASSERT_EQUAL(a->drift.layers[i].router, b->drift.layers[i].router);
        CU_ASSERT_EQUAL(a->drift.layers[i].error, b->drift.layers[i].error);
        CU_ASSERT_EQUAL(a->drift.layers[i].own_error, b->drift.layers[i].own_error);
    }
}

static void test_round_trip(void)
{
    static const char *const rules[] = {"experts=int2", "experts=int3", "experts=int4"};
    struct fixture f;
    begin(&f);
    save(&f);
    for (size_t i = 0; i < 3; i++) {
        struct made made;
        struct moeq_baseline baseline;
        struct moeq_evaluation exact, found;
        make_package(&made, &f.nano, f.pool, &rules[i], 1);
        CU_ASSERT_EQUAL_FATAL(moeq_baseline_open(&baseline, f.path, NULL), MOEQ_OK);
        struct moeq_evaluation_task with_model = {.source = &made.source, .reference = &f.nano},
                                    with_baseline = {.source = &made.source, .baseline = &baseline};
        evaluate(&f, &with_model, &exact);
        evaluate(&f, &with_baseline, &found);
        CU_ASSERT(exact.has_drift && found.has_drift);
        CU_ASSERT(exact.paired.kld.value > 1e-4);
        compare(&exact, &found);
        CU_ASSERT_EQUAL(memcmp(baseline.tokens, f.windows.tokens,
                               (size_t)(f.windows.n_windows * f.windows.context) * sizeof(int32_t)),
                        0);
        moeq_baseline_close(&baseline);
        moeq_evaluation_free(&exact);
        moeq_evaluation_free(&found);
        remove_package(&made);
    }
    end(&f);
}

static void test_same_model(void)
{
    struct fixture f;
    struct moeq_baseline baseline;
    struct moeq_evaluation found;
    begin(&f);
    save(&f);
    CU_ASSERT_EQUAL_FATAL(moeq_baseline_open(&baseline, f.path, NULL), MOEQ_OK);
    struct moeq_evaluation_task task = {.source = &f.nano, .baseline = &baseline};
    evaluate(&f, &task, &found);
    CU_ASSERT(fabs(found.paired.kld.value) < 1e-7);
    CU_ASSERT_EQUAL(found.paired.top1.value, 1);
    CU_ASSERT_EQUAL(found.paired.flips_worse.value, 0);
    for (uint32_t i = 0; i < found.drift.n_layers; i++) {
        CU_ASSERT_EQUAL(found.drift.layers[i].router, 1);
        CU_ASSERT_EQUAL(found.drift.layers[i].error, 0);
    }
    moeq_evaluation_free(&found);
    moeq_baseline_close(&baseline);
    end(&f);
}

enum { WIDTH = 210, TOKENS = 1500, WINDOW = 50 };

/* States of two layers; those of the model differ by `damage` times as much in the second layer's part. */
static void see_states(struct moeq_trace *trace, int layer, double damage)
{
    static float hidden[TOKENS * WIDTH];
    struct moeq_visitor visitor = {0};
    uint64_t state = 7;
    for (int i = 0; i < TOKENS * WIDTH; i++) {
        double parts[3]; /* the first layer's, the second's, the error of the latter */
        for (int k = 0; k < 3; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            parts[k] = (double)(state >> 33) * 0x1p-30 - 1;
        }
        hidden[i] = (float)(parts[0] + (layer ? parts[1] + damage * parts[2] : 0));
        if (i / WIDTH % WINDOW == 0)
            hidden[i] *= layer ? 1000 + 1000 * (float)damage : 1000; /* must not count */
    }
    moeq_trace_visit(trace, &visitor);
    const struct moeq_layer_result result = {.layer = layer, .n = TOKENS, .hidden = hidden};
    CU_ASSERT_EQUAL(visitor.layer(visitor.context, &result, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(visitor.done(visitor.context, layer, NULL), MOEQ_OK);
}

/* What sketches say of errors against what the states were made with. */
static void test_sketches(void)
{
    static const struct moeq_trace_shape shape = {.hidden = WIDTH, .n_layers = 2};
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    struct moeq_trace_memory memory;
    struct moeq_drift drift;
    struct moeq_trace trace;
    CU_ASSERT_EQUAL_FATAL(moeq_trace_memory_init(&memory, &shape, TOKENS, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_drift_init(&drift, &shape, NULL), MOEQ_OK);
    const struct moeq_trace_store store = moeq_trace_memory_store(&memory);
    for (int compared = 0; compared < 2; compared++) {
        CU_ASSERT_EQUAL_FATAL(
            moeq_trace_init(&trace, &shape, pool, TOKENS, WINDOW, &store, compared ? &drift : NULL, NULL),
            MOEQ_OK);
        for (int layer = 0; layer < 2; layer++)
            see_states(&trace, layer, compared ? 0.1 : 0);
        moeq_trace_free(&trace);
    }
    CU_ASSERT_EQUAL(drift.layers[0].error, 0);
    CU_ASSERT_DOUBLE_EQUAL(drift.layers[1].error, 0.1 / sqrt(2), 0.1 / sqrt(2) * 0.04);
    CU_ASSERT_DOUBLE_EQUAL(drift.layers[1].own_error, 0.1, 0.004);
    moeq_drift_free(&drift);
    moeq_trace_memory_free(&memory);
    moeq_pool_join(pool);
}

static enum moeq_status open_changed(const struct fixture *f, const struct moeq_bytes *whole, size_t n,
                                     size_t flipped)
{
    struct moeq_baseline baseline;
    struct moeq_error err = {0};
    FILE *file = fopen(f->other, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    if (flipped < n)
        whole->data[flipped] ^= 1;
    fwrite(whole->data, 1, n, file);
    if (flipped < n)
        whole->data[flipped] ^= 1;
    if (n == whole->n_bytes && flipped >= n && flipped != SIZE_MAX)
        fputc(0, file); /* one byte more */
    fclose(file);
    const enum moeq_status status = moeq_baseline_open(&baseline, f->other, &err);
    CU_ASSERT_EQUAL(status, err.status);
    if (!status)
        moeq_baseline_close(&baseline);
    return status;
}

static void test_damage(void)
{
    struct fixture f;
    struct moeq_bytes whole = {0};
    begin(&f);
    save(&f);
    CU_ASSERT_EQUAL_FATAL(moeq_file_read_all(f.path, 1 << 26, &whole, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(open_changed(&f, &whole, whole.n_bytes, SIZE_MAX), MOEQ_OK);
    CU_ASSERT_EQUAL(open_changed(&f, &whole, whole.n_bytes, whole.n_bytes), MOEQ_DAMAGED);
    for (size_t n = 0; n < whole.n_bytes; n += 1 + whole.n_bytes / 50)
        CU_ASSERT_EQUAL(open_changed(&f, &whole, n, SIZE_MAX), MOEQ_DAMAGED);
    for (size_t at = 0; at < 64; at++)
        CU_ASSERT_EQUAL(open_changed(&f, &whole, whole.n_bytes, at), MOEQ_DAMAGED);
    for (size_t at = 0; at < whole.n_bytes; at += 1 + whole.n_bytes / 50)
        CU_ASSERT_EQUAL(open_changed(&f, &whole, whole.n_bytes, at), MOEQ_DAMAGED);
    moeq_bytes_free(&whole);
    end(&f);
}

/* A name that were cut could end within a character, which no JSON holds. */
static void test_long_name(void)
{
    struct fixture f;
    struct moeq_baseline_header header, read;
    char name[sizeof header.text_name + 1];
    begin(&f);
    describe(&f, &header);
    for (size_t n = sizeof name - 2; n < sizeof name; n++) {
        memset(name, 'n', n);
        name[n] = '\0';
        json_t *json = moeq_baseline_header_json(&header);
        json_object_set_new(json_object_get(json, "text"), "name", json_string(name));
        char *text = moeq_manifest_seal(json, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(text);
        CU_ASSERT_EQUAL(moeq_baseline_parse_header(&read, text, strlen(text), NULL),
                        n < sizeof header.text_name ? MOEQ_OK : MOEQ_DAMAGED);
        free(text);
        json_decref(json);
    }
    end(&f);
}

static void test_match(void)
{
    struct fixture f;
    struct moeq_baseline_header header;
    const struct moeq_bytes other = {.data = (uint8_t *)(uintptr_t) "texts", .n_bytes = 5};
    const struct moeq_baseline_wish wishes[] = {
        {.convention = "llama"}, {.context = 64}, {.windows = 3}, {.text = &other}};
    begin(&f);
    describe(&f, &header);
    CU_ASSERT_EQUAL(moeq_baseline_check(&header, &f.nano, &(struct moeq_baseline_wish){0}, NULL), MOEQ_OK);
    const struct moeq_baseline_wish all = {"windows", CONTEXT, f.windows.n_windows, true, &no_text};
    CU_ASSERT_EQUAL(moeq_baseline_check(&header, &f.nano, &all, NULL), MOEQ_OK);
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++)
        CU_ASSERT_EQUAL(moeq_baseline_check(&header, &f.nano, &wishes[i], NULL), MOEQ_USAGE);
    header.tokenizer[3] ^= 1;
    CU_ASSERT_EQUAL(moeq_baseline_check(&header, &f.nano, &all, NULL), MOEQ_USAGE);
    header.tokenizer[3] ^= 1;
    header.arithmetic = MOEQ_FAST;
    CU_ASSERT_EQUAL(moeq_baseline_check(&header, &f.nano, &all, NULL), MOEQ_USAGE);
    end(&f);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"a baseline compares as its model does", test_round_trip},
        {"a model has not drifted from its own baseline", test_same_model},
        {"sketches tell the error of layers", test_sketches},
        {"a damaged baseline is refused", test_damage},
        {"a name that is too long is refused", test_long_name},
        {"a baseline of something else is refused", test_match},
        {NULL, NULL},
    };
    return unit_main("baseline", tests);
}
