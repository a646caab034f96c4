#include "cmd_bench.h"

#include "bench.h"
#include "out.h"
#include "verb.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bench_options {
    struct moeq_common common;
    bool all;
    const char *level, *file, *output;
    uint64_t tokens, file_bytes;
};

#define OPTION(field) offsetof(struct bench_options, field)

static const struct moeq_option options_table[] = {
    {"all", 'a', MOEQ_OPTION_FLAG, NULL, "every level, shape and number of tokens; takes some minutes",
     OPTION(all), 0, 0, NULL},
    {"level", 'l', MOEQ_OPTION_TEXT, "LEVEL", "only this level", OPTION(level), 0, 0, NULL},
    {"tokens", 'm', MOEQ_OPTION_NUMBER, "N", "only so many tokens", OPTION(tokens), 1, 65536, NULL},
    {"file", 0, MOEQ_OPTION_TEXT, "FILE",
     "file to read, the first GiB of it; default: a temporary one in $TMPDIR, or /var/tmp", OPTION(file), 0,
     0, NULL},
    {"file-size", 0, MOEQ_OPTION_BYTES, "SIZE", "size of the temporary file, at most 1G; default 256 MB",
     OPTION(file_bytes), 0, 0, NULL},
    {"output", 'o', MOEQ_OPTION_TEXT, "FILE", "write the object that --json prints into a file, too",
     OPTION(output), 0, 0, NULL},
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

/* Experts of V2-Lite and V3, V2-Lite's dense layer, whose inputs are ragged against every group, and an
 * expert that fits the second-level cache. */
static const struct shape {
    const char *what;
    uint64_t rows, cols;
    bool quick; /* also without --all */
} shapes[] = {
    {"V2-Lite, gate and up of an expert", 1408, 2048, true},
    {"V2-Lite, down of an expert", 2048, 1408, false},
    {"V2-Lite, gate and up, dense", 10944, 2048, false},
    {"V2-Lite, down, dense", 2048, 10944, false},
    {"V3, gate and up of an expert", 2048, 7168, false},
    {"V3, down of an expert", 7168, 2048, true},
    {"tiny", 96, 256, false},
};

static const struct level {
    const char *name;
    bool quick;
} levels[] = {
    {"int4-g128", true}, {"int4-g64", false}, {"int4-g128-asym", false},
    {"int8-g128", true}, {"fp8", true},       {"bf16", true},
};

static const uint64_t token_counts[] = {1, 4, 16, 64, 256, 1024}, quick_counts[] = {1, 256};

#define BLAS_TOKENS 256
#define FILE_BYTES  256000000
#define N_OF(array) (sizeof(array) / sizeof *(array))
#define MAX_COUNTS  N_OF(token_counts)

struct bench {
    const struct bench_options *options;
    struct moeq_pool *pool;
    struct moeq_machine machine;
    struct moeq_peaks peaks;
    const uint64_t *counts; /* of tokens */
    size_t n_counts;
    json_t *json;
};

/* The table, where it is wanted. */
__attribute__((format(printf, 2, 3))) static void print(const struct bench *b, const char *format, ...)
{
    va_list arguments;
    if (b->options->common.json)
        return;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
}

static json_t *rate_json(double rate)
{
    return rate > 0 ? json_real(rate) : json_null();
}

/* ---- the machine ---- */

static void report_machine(struct bench *b)
{
    const struct moeq_machine *m = &b->machine;
    const unsigned jobs = moeq_pool_jobs(b->pool);
    char memory[MOEQ_SIZE_TEXT];
    moeq_json_set(&b->json, "machine",
                  json_pack("{s:s, s:I, s:I, s:I, s:f, s:s, s:s, s:s, s:s}", "cpu", m->cpu, "cpus",
                            (json_int_t)m->n_cpus, "threads", (json_int_t)jobs, "memory_bytes",
                            (json_int_t)m->n_memory, "load_before", m->load, "kernels", m->kernels, "system",
                            m->system, "compiler", m->compiler, "flags", m->flags));
    print(b, "machine        %s, %u CPUs, %u threads used, %s of memory\n", m->cpu, m->n_cpus, jobs,
          moeq_size_text((double)m->n_memory, memory));
    print(b, "system         %s; load of the minute before %.2f\n", m->system, m->load);
    print(b, "program        moeq %s, %s, %s; kernels %s\n\n", MOEQ_VERSION, m->compiler, m->flags,
          m->kernels);
}

static enum moeq_status bench_peaks(struct bench *b, struct moeq_error *err)
{
    const enum moeq_status status = moeq_bench_peaks(b->pool, &b->peaks, err);
    const struct moeq_peaks *p = &b->peaks;
    const struct {
        const char *what, *key;
        double one, all;
    } rows[] = {
        {"float32 FMA, GFLOP/s", "float32", p->f32, p->f32_all},
        {"BF16 dot, GFLOP/s", "bf16", p->bf16, p->bf16_all},
        {"INT8 dot, GOP/s", "int8", p->int8, p->int8_all},
        {"memory copy, GB/s", "copy", p->copy, p->copy_all},
        {"memory read, GB/s", "read", p->read, p->read_all},
    };
    json_t *one = json_object(), *all = json_object();
    print(b, "%-24s %10s %7u threads\n", "peak", "one core", moeq_pool_jobs(b->pool));
    for (size_t i = 0; !status && i < N_OF(rows); i++) {
        moeq_json_set(&one, rows[i].key, rate_json(rows[i].one));
        moeq_json_set(&all, rows[i].key, rate_json(rows[i].all));
        if (rows[i].one > 0)
            print(b, "  %-22s %10.1f %15.1f\n", rows[i].what, rows[i].one, rows[i].all);
        else
            print(b, "  %-22s %10s %15s\n", rows[i].what, "-", "-");
    }
    moeq_json_set(&b->json, "peak", json_pack("{s:o, s:o}", "core", one, "all", all));
    return status;
}

static enum moeq_status bench_file(struct bench *b, struct moeq_error *err)
{
    const struct bench_options *o = b->options;
    struct moeq_file_rates r;
    enum moeq_status status = moeq_bench_file(o->file, o->file_bytes ? o->file_bytes : FILE_BYTES, &r, err);
    if (status)
        return status;
    char size[MOEQ_SIZE_TEXT];
    print(b, "  %-22s %10.1f   %s of a file\n", "warm file, GB/s", r.warm,
          moeq_size_text((double)r.n_bytes, size));
    if (r.cold > 0)
        print(b, "  %-22s %10.1f   page cache dropped by fadvise, which mincore confirms\n",
              "cold file, GB/s", r.cold);
    else
        print(b, "  %-22s %10s   the system keeps its pages in memory\n", "cold file, GB/s", "-");
    moeq_json_set(&b->json, "file",
                  json_pack("{s:I, s:o, s:o}", "bytes", (json_int_t)r.n_bytes, "warm_gb_per_s",
                            rate_json(r.warm), "cold_gb_per_s", rate_json(r.cold)));
    return MOEQ_OK;
}

/* ---- products ---- */

struct group {
    const char *level;
    struct moeq_product_case product;
    struct moeq_product_rate rates[MAX_COUNTS];
};

#define LINE_BYTES 256

/* One value of a row with what it is compared to, or nothing, behind a line. */
static void add_cell(char line[LINE_BYTES], double rate, double other, char unit)
{
    char text[32] = "";
    const size_t n = strlen(line);
    const int n_decimals = rate < 9.995 ? 2 : rate < 99.95;
    if (rate > 0 && other > 0)
        snprintf(text, sizeof text, unit == '%' ? "%.0f%c" : "%.2f%c", (unit == '%' ? 100 : 1) * rate / other,
                 unit);
    if (rate > 0)
        snprintf(line + n, LINE_BYTES - n, "  %6.*f %5s", n_decimals, rate, text);
    else
        snprintf(line + n, LINE_BYTES - n, "%14s", "");
}

static void print_line(const struct bench *b, const char *line)
{
    size_t n = strlen(line);
    while (n && line[n - 1] == ' ')
        n--;
    print(b, "%.*s\n", (int)n, line);
}

/* What the products of the fast arithmetic could reach. */
static double fast_peak(const struct bench *b)
{
    return moeq_has_fast_products() ? b->peaks.bf16 : b->peaks.f32;
}

static void print_group(const struct bench *b, const struct group *g)
{
    enum { EXACT, FAST, THREADS, WEIGHTS, BLAS, N_ROWS };
    static const char *const names[N_ROWS] = {"float32", "fast", "threads", "GB/s", "OpenBLAS"};
    for (int row = 0; row < N_ROWS; row++) {
        bool any = false;
        for (size_t i = 0; i < g->product.n; i++)
            any = any || (row == WEIGHTS ? g->rates[i].weights > 0 : row != BLAS || g->rates[i].blas > 0);
        if (!any)
            continue;
        char line[LINE_BYTES];
        snprintf(line, sizeof line, "  %-15s %-8s", row == EXACT ? g->level : "", names[row]);
        for (size_t i = 0; i < g->product.n; i++) {
            const struct moeq_product_rate *r = &g->rates[i];
            if (row == EXACT)
                add_cell(line, r->exact, b->peaks.f32, '%');
            else if (row == FAST)
                add_cell(line, r->fast, fast_peak(b), '%');
            else if (row == THREADS)
                add_cell(line, r->all_jobs, r->fast, 'x');
            else if (row == WEIGHTS)
                add_cell(line, r->weights, b->peaks.read, '%');
            else
                add_cell(line, r->blas, r->fast, 'x');
        }
        print_line(b, line);
    }
}

static void add_group(json_t **list, const struct bench *b, const struct group *g)
{
    for (size_t i = 0; i < g->product.n; i++) {
        const struct moeq_product_rate *r = &g->rates[i];
        json_t *o =
            json_pack("{s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "level", g->level, "rows",
                      (json_int_t)g->product.rows, "cols", (json_int_t)g->product.cols, "tokens",
                      (json_int_t)g->product.n_tokens[i], "exact_gflops", r->exact, "exact_share",
                      r->exact / b->peaks.f32, "fast_gflops", r->fast, "fast_share", r->fast / fast_peak(b),
                      "threads_gflops", r->all_jobs, "threads_speedup", r->all_jobs / r->fast);
        if (r->weights > 0) {
            moeq_json_set(&o, "weights_gb_per_s", json_real(r->weights));
            moeq_json_set(&o, "weights_share", json_real(r->weights / b->peaks.read));
            moeq_json_set(&o, "threads_weights_gb_per_s", json_real(r->weights_all));
            moeq_json_set(&o, "threads_weights_share", json_real(r->weights_all / b->peaks.read_all));
        }
        if (r->blas > 0) {
            moeq_json_set(&o, "openblas_gflops", json_real(r->blas));
            moeq_json_set(&o, "fast_against_openblas", json_real(r->fast / r->blas));
        }
        moeq_json_append(list, o);
    }
}

static enum moeq_status parse_level(const char *text, struct moeq_format *out, struct moeq_error *err)
{
    enum moeq_status status = moeq_format_parse(text, (struct moeq_format){.group = 128}, out, err);
    return status ? status : moeq_format_check_made(*out, err);
}

static enum moeq_status bench_group(struct bench *b, json_t **list, const char *level,
                                    const struct shape *shape, struct moeq_error *err)
{
    const struct bench_options *o = b->options;
    struct group g = {.level = level,
                      .product = {.rows = shape->rows,
                                  .cols = shape->cols,
                                  .n_tokens = b->counts,
                                  .n = b->n_counts,
                                  .blas_tokens = o->tokens ? o->tokens : BLAS_TOKENS}};
    enum moeq_status status = parse_level(level, &g.product.format, err);
    if (!status)
        status = moeq_bench_product(&g.product, b->pool, g.rates, err);
    if (status)
        return status;
    print_group(b, &g);
    add_group(list, b, &g);
    return MOEQ_OK;
}

static enum moeq_status bench_products(struct bench *b, struct moeq_error *err)
{
    const struct bench_options *o = b->options;
    enum moeq_status status = MOEQ_OK;
    json_t *list = json_array();
    char line[LINE_BYTES] = "products, GFLOP/s       M";
    for (size_t m = 0; m < b->n_counts; m++) {
        const size_t n = strlen(line);
        snprintf(line + n, sizeof line - n, "  %6llu %5s", (unsigned long long)b->counts[m], "");
    }
    print(b, "\n");
    print_line(b, line);
    for (size_t s = 0; !status && s < N_OF(shapes); s++) {
        if (!o->all && !shapes[s].quick)
            continue;
        print(b, "%llu x %llu (%s)\n", (unsigned long long)shapes[s].rows, (unsigned long long)shapes[s].cols,
              shapes[s].what);
        for (size_t l = 0; !status && l < (o->level ? 1 : N_OF(levels)); l++)
            if (o->level || o->all || levels[l].quick)
                status = bench_group(b, &list, o->level ? o->level : levels[l].name, &shapes[s], err);
    }
    moeq_json_set(&b->json, "products", list);
    return status;
}

/* ---- bytes ---- */

static enum moeq_status bench_encoders(struct bench *b, struct moeq_error *err)
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
    json_t *list = json_array();
    enum moeq_status status = MOEQ_OK;
    print(b, "\nencoding, one core       GB/s of BF16 weights\n");
    for (size_t i = 0; !status && i < N_OF(encoded); i++) {
        const char *level = encoded[i].level;
        struct moeq_format format;
        double rate = 0;
        status = moeq_format_parse(level, (struct moeq_format){.scales = encoded[i].scales}, &format, err);
        if (!status)
            status = moeq_bench_encode(format, &rate, err);
        const char *scales = format.group ? moeq_scales_names[format.scales] : NULL;
        moeq_json_append(&list,
                         json_pack("{s:s, s:s*, s:f}", "level", level, "scales", scales, "gb_per_s", rate));
        if (!status)
            print(b, "  %-15s %-6s %10.2f\n", level, scales ? scales : "", rate);
    }
    moeq_json_set(&b->json, "encoding", list);
    return status;
}

static enum moeq_status bench_hashes(struct bench *b, struct moeq_error *err)
{
    double xxh3 = 0, sha256 = 0;
    const enum moeq_status status = moeq_bench_hashes(&xxh3, &sha256, err);
    if (!status)
        print(b, "\nhashing, one core        GB/s\n  XXH3-128 %24.2f\n  SHA-256 %25.2f\n", xxh3, sha256);
    moeq_json_set(&b->json, "hashing",
                  json_pack("{s:f, s:f}", "xxh3_gb_per_s", xxh3, "sha256_gb_per_s", sha256));
    return status;
}

/* ---- the verb ---- */

static enum moeq_status write_json(const char *path, const json_t *json, struct moeq_error *err)
{
    char *text = moeq_json_text(json, true);
    enum moeq_status status = text ? moeq_out_write_text(path, text, err) : moeq_fail_alloc(err, 0);
    free(text);
    return status;
}

static enum moeq_status report(struct bench *b, struct moeq_error *err)
{
    const struct bench_options *o = b->options;
    enum moeq_status status = b->json ? MOEQ_OK : moeq_fail_alloc(err, 0);
    if (!status && o->output)
        status = write_json(o->output, b->json, err);
    if (status || !o->common.json)
        json_decref(b->json);
    else
        status = moeq_verb_print_json(b->json, err);
    return status;
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    static enum moeq_status (*const parts[])(struct bench *, struct moeq_error *) = {
        bench_peaks, bench_file, bench_products, bench_encoders, bench_hashes};
    const struct bench_options *o = options;
    struct bench b = {.options = o,
                      .counts = o->tokens ? &o->tokens
                                : o->all  ? token_counts
                                          : quick_counts,
                      .n_counts = o->tokens ? 1
                                  : o->all  ? N_OF(token_counts)
                                            : N_OF(quick_counts)};
    struct moeq_format format;
    (void)positional;
    (void)n_positional;
    if (o->level && parse_level(o->level, &format, err))
        return MOEQ_USAGE;
    b.pool = moeq_verb_pool(&o->common, err);
    if (!b.pool)
        return MOEQ_OVER_MEMORY;
    b.json = json_pack("{s:s, s:i, s:s}", "moeq", "bench", "version", 2, "tool", MOEQ_VERSION);
    moeq_machine_describe(&b.machine);
    report_machine(&b);
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < N_OF(parts); i++)
        status = parts[i](&b, err);
    if (status)
        json_decref(b.json);
    else
        status = report(&b, err);
    moeq_pool_join(b.pool);
    return status;
}

const struct moeq_verb moeq_verb_bench = {
    .name = "bench",
    .arguments = "",
    .summary = "how fast this machine multiplies, and what share of it moeq reaches",
    .details =
        "Products of M tokens with a packed matrix: laying out the activations and decoding the weights "
        "included. \"float32\" (eval --exact) and \"fast\" (BF16 with float32 sums where the CPU multiplies "
        "BF16) run on one core; beside each rate stands its share of the peak of that instruction, measured "
        "from registers in the same run. \"threads\" is fast with all threads, and against one; \"GB/s\", up "
        "to 4 tokens, what fast reads of packed weights out of memory, and its share of the rate at which "
        "one core reads memory; \"OpenBLAS\" decodes to float32 and calls cblas_sgemm on one core, and "
        "against "
        "fast, if libopenblas.so.0 is installed.\n\n"
        "Files are read as moeq reads them. A cold file is one whose pages were dropped from this system's "
        "cache; what disks and hosts of virtual machines keep is out of reach. Encoding makes packed weights "
        "of BF16 ones, integers with scales found by search or by the largest magnitude alone (absmax).\n\n"
        "Level ec (as ec:3) is measured as it is in memory, a byte a weight.",
    .options = options_table,
    .n_positional_min = 0,
    .n_positional_max = 0,
    .options_size = sizeof(struct bench_options),
    .run = run,
};
