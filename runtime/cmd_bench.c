#include "cmd_bench.h"

#include "bench.h"
#include "kernels.h"
#include "verb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench_options {
    struct moeq_common common;
    bool all;
    const char *level;
    uint64_t tokens;
};

#define OPTION(field) offsetof(struct bench_options, field)

static const struct moeq_option options_table[] = {
    {"all", 'a', MOEQ_OPTION_FLAG, NULL, "every level, shape and number of tokens; takes some minutes",
     OPTION(all), 0, 0, NULL},
    {"level", 'l', MOEQ_OPTION_TEXT, "LEVEL", "only this level", OPTION(level), 0, 0, NULL},
    {"tokens", 'm', MOEQ_OPTION_NUMBER, "N", "only so many tokens", OPTION(tokens), 1, 65536, NULL},
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

/* Experts of V2-Lite and V3, and V2-Lite's dense layer, whose rows are ragged against every group. */
static const uint64_t shapes[][2] = {{1408, 2048}, {2048, 1408}, {2048, 10944}, {2048, 7168}, {7168, 2048}};
static const char *const levels[] = {"int4-g128", "int8-g128", "fp8", "bf16"};
static const uint64_t token_counts[] = {1, 4, 16, 64, 256, 1024};

#define N_OF(array) (sizeof(array) / sizeof *(array))

struct bench {
    const struct bench_options *options;
    struct moeq_pool *pool;
    struct moeq_peaks peaks;
    json_t *products, *encoders; /* lists */
};

/* The model name in /proc/cpuinfo. */
static const char *cpu_name(char *dst, size_t capacity)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256];
    snprintf(dst, capacity, "unknown CPU");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
            snprintf(dst, capacity, "%.*s", (int)strcspn(strchr(line, ':') + 2, "\n"), strchr(line, ':') + 2);
            break;
        }
    if (file)
        fclose(file);
    return dst;
}

static void print_machine(const struct bench *b)
{
    char name[256];
    const struct moeq_peaks *p = &b->peaks;
    printf("%s, %u threads, kernels %s\n", cpu_name(name, sizeof name), moeq_pool_jobs(b->pool),
           moeq_kernels()->name);
    printf("peak, one core        float32 %.0f, BF16 %.0f, INT8 %.0f GFLOP/s\n", p->f32, p->bf16, p->int8);
    printf("peak, all threads     float32 %.0f, BF16 %.0f GFLOP/s\n", p->f32_all, p->bf16_all);
    printf("memory, one core      copy %.1f, read %.1f GB/s\n\n", p->copy, p->read);
}

static json_t *machine_json(const struct bench *b)
{
    char name[256];
    const struct moeq_peaks *p = &b->peaks;
    return json_pack("{s:s, s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "cpu", cpu_name(name, sizeof name),
                     "threads", (int)moeq_pool_jobs(b->pool), "kernels", moeq_kernels()->name, "peak_f32",
                     p->f32, "peak_bf16", p->bf16, "peak_int8", p->int8, "peak_f32_all", p->f32_all,
                     "peak_bf16_all", p->bf16_all, "copy_gb_per_s", p->copy, "read_gb_per_s", p->read);
}

/* ---- products ---- */

static void print_share(double rate, double peak)
{
    if (rate > 0 && peak > 0)
        printf(" %6.0f %3.0f%%", rate, 100 * rate / peak);
    else
        printf(" %6s %4s", "-", "");
}

static enum moeq_status parse_level(const char *text, struct moeq_format *out, struct moeq_error *err)
{
    enum moeq_status status = moeq_format_parse(text, (struct moeq_format){.group = 128}, out, err);
    if (!status && !out->level->encode)
        status = moeq_fail(err, MOEQ_USAGE, "level %s can be kept, not made", out->level->name);
    return status;
}

static enum moeq_status bench_product(struct bench *b, const char *level, const uint64_t shape[2],
                                      uint64_t n_tokens, struct moeq_error *err)
{
    struct moeq_product_case c = {.rows = shape[0], .cols = shape[1], .n_tokens = n_tokens};
    struct moeq_product_rate rate;
    enum moeq_status status = parse_level(level, &c.format, err);
    if (!status)
        status = moeq_bench_product(&c, b->pool, &rate, err);
    if (status)
        return status;
    const double fast_peak = moeq_has_fast_products() ? b->peaks.bf16 : b->peaks.f32;
    const double weight_bytes = (double)c.rows * (double)c.cols * c.format.level->bits / 8;
    const double reads =
        weight_bytes * rate.fast / (2.0 * (double)c.rows * (double)c.cols * (double)n_tokens);
    if (!b->options->common.json) {
        printf("%-10s %5llu x %-5llu %5llu", level, (unsigned long long)c.rows, (unsigned long long)c.cols,
               (unsigned long long)n_tokens);
        print_share(rate.exact, b->peaks.f32);
        print_share(rate.fast, fast_peak);
        printf(" %6.2f", rate.fast > 0 ? rate.all_jobs / rate.fast : 0);
        if (rate.blas > 0)
            printf(" %6.0f %5.2f", rate.blas, rate.fast / rate.blas);
        else
            printf(" %6s %5s", "-", "");
        printf(" %8.2f\n", reads);
        fflush(stdout);
        return MOEQ_OK;
    }
    moeq_json_append(&b->products,
                     json_pack("{s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "level", level, "rows",
                               (json_int_t)c.rows, "cols", (json_int_t)c.cols, "tokens", (json_int_t)n_tokens,
                               "exact_gflops", rate.exact, "exact_share", rate.exact / b->peaks.f32,
                               "fast_gflops", rate.fast, "fast_share", rate.fast / fast_peak,
                               "threads_speedup", rate.all_jobs / rate.fast, "blas_gflops", rate.blas));
    return MOEQ_OK;
}

static enum moeq_status bench_products(struct bench *b, struct moeq_error *err)
{
    const struct bench_options *o = b->options;
    enum moeq_status status = MOEQ_OK;
    if (!o->common.json)
        printf("%-10s %13s %5s %11s %11s %6s %12s %8s\n", "level", "rows x cols", "M", "exact", "fast",
               "jobs", "BLAS  ratio", "GB/s");
    for (size_t l = 0; !status && l < N_OF(levels); l++)
        for (size_t s = 0; !status && s < N_OF(shapes); s++)
            for (size_t m = 0; !status && m < N_OF(token_counts); m++) {
                const char *level = o->level ? o->level : levels[l];
                const uint64_t n = o->tokens ? o->tokens : token_counts[m];
                const bool wanted = o->all || o->tokens || n == 1 || n == 256;
                if ((o->level && l) || (o->tokens && m) || (!o->all && s != 0 && s != 4) || !wanted)
                    continue;
                status = bench_product(b, level, shapes[s], n, err);
            }
    return status;
}

/* ---- bytes ---- */

static enum moeq_status bench_bytes(struct bench *b, struct moeq_error *err)
{
    static const struct {
        const char *level;
        enum moeq_scales scales;
    } encoded[] = {
        {"int2-g64", MOEQ_SCALES_SEARCH},  {"int3-g64", MOEQ_SCALES_SEARCH},
        {"int6-g64", MOEQ_SCALES_SEARCH},  {"int4-g64", MOEQ_SCALES_SEARCH},
        {"int4-g128", MOEQ_SCALES_SEARCH}, {"int4-g64-asym", MOEQ_SCALES_SEARCH},
        {"int8-g128", MOEQ_SCALES_SEARCH}, {"int2-g64", MOEQ_SCALES_ABSMAX},
        {"int3-g64", MOEQ_SCALES_ABSMAX},  {"int4-g64", MOEQ_SCALES_ABSMAX},
        {"int4-g128", MOEQ_SCALES_ABSMAX}, {"int4-g64-asym", MOEQ_SCALES_ABSMAX},
        {"int8-g128", MOEQ_SCALES_ABSMAX}, {"fp8", MOEQ_SCALES_SEARCH},
        {"bf16", MOEQ_SCALES_SEARCH},
    };
    double xxh3 = 0, sha256 = 0;
    enum moeq_status status = moeq_bench_hashes(&xxh3, &sha256, err);
    const bool json = b->options->common.json;
    if (!status && json)
        moeq_json_append(&b->encoders,
                         json_pack("{s:f, s:f}", "xxh3_gb_per_s", xxh3, "sha256_gb_per_s", sha256));
    else if (!status)
        printf("\nhashes, one core      XXH3-128 %.1f, SHA-256 %.2f GB/s\n", xxh3, sha256);
    for (size_t i = 0; !status && i < N_OF(encoded); i++) {
        const char *level = encoded[i].level;
        struct moeq_format format;
        double rate = 0;
        status = moeq_format_parse(level, (struct moeq_format){.scales = encoded[i].scales}, &format, err);
        if (!status)
            status = moeq_bench_encode(format, &rate, err);
        const char *scales = !format.group ? "" : moeq_scales_names[format.scales];
        if (!status && json)
            moeq_json_append(&b->encoders, json_pack("{s:s, s:s*, s:f}", "level", level, "scales",
                                                     format.group ? scales : NULL, "gb_per_s", rate));
        else if (!status)
            printf("%s %-14s %-6s %6.0f MB/s of BF16 weights\n", i ? "                " : "encode, one core",
                   level, scales, 1e3 * rate);
    }
    return status;
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    struct bench b = {.options = options};
    struct moeq_format format;
    (void)positional;
    (void)n_positional;
    if (b.options->level && parse_level(b.options->level, &format, err))
        return MOEQ_USAGE;
    b.pool = moeq_verb_pool(&b.options->common, err);
    if (!b.pool)
        return MOEQ_OVER_MEMORY;
    b.products = json_array();
    b.encoders = json_array();
    enum moeq_status status = moeq_bench_peaks(b.pool, &b.peaks, err);
    if (!status && !b.options->common.json)
        print_machine(&b);
    if (!status)
        status = bench_products(&b, err);
    if (!status)
        status = bench_bytes(&b, err);
    if (status || !b.options->common.json) {
        json_decref(b.products);
        json_decref(b.encoders);
    } else {
        status = moeq_verb_print_json(json_pack("{s:s, s:i, s:o, s:o, s:o}", "moeq", "bench", "version", 1,
                                                "machine", machine_json(&b), "products", b.products, "bytes",
                                                b.encoders),
                                      err);
    }
    moeq_pool_join(b.pool);
    return status;
}

const struct moeq_verb moeq_verb_bench = {
    .name = "bench",
    .arguments = "",
    .summary = "how fast this machine multiplies, and what share of it moeq reaches",
    .details =
        "Products of M tokens with a packed matrix, one core: laying out the activations and decoding the "
        "weights included. \"exact\" is float32, \"fast\" BF16 with float32 sums where the CPU multiplies "
        "BF16; beside each its share of the peak of that instruction, measured from registers in the same "
        "run. \"jobs\" is what all threads reach against one. \"BLAS\" decodes to float32 and calls "
        "cblas_sgemm, if libopenblas.so.0 is installed; \"ratio\" is fast against it. \"GB/s\" counts "
        "packed weights. \"encode\" makes packed weights of BF16 ones, integers with scales found by search "
        "or "
        "by the largest magnitude alone (absmax).",
    .options = options_table,
    .n_positional_min = 0,
    .n_positional_max = 0,
    .options_size = sizeof(struct bench_options),
    .run = run,
};
