/* How fast calibration computes: bench_gptq [n [rows [tokens [jobs]]]]. Each line is the work of its step by
 * its smallest number of operations (a multiply-add is two), for each second of a CPU, and its share of the
 * peak that is measured alike. Not a test: it asserts nothing. */
#include "bench.h"
#include "cholesky.h"
#include "ec.h"
#include "gptq.h"
#include "kernels.h"
#include "level_planes.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define N_RUNS 5

/* Seconds of all threads together, so that what else runs on the machine counts little. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float next_number(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(state >> 32) * 0x1p-31f;
}

/* ---- peaks ---- */

struct peak {
    uint64_t (*run)(uint64_t n);
    uint64_t n;
};

static enum moeq_status run_peak(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                 struct moeq_error *err)
{
    const struct peak *p = context;
    (void)worker;
    (void)err;
    for (uint64_t i = begin; i < end; i++)
        p->run(p->n);
    return MOEQ_OK;
}

/* Operations for each second of a CPU. */
static double peak_of(struct moeq_pool *pool, uint64_t (*run)(uint64_t))
{
    const uint64_t jobs = moeq_pool_jobs(pool);
    struct peak p = {run, 1u << 22};
    double best = 0;
    for (int i = 0; i < N_RUNS; i++) {
        const double begin = now();
        moeq_pool_for(pool, jobs, 1, run_peak, &p, NULL);
        const double rate = (double)(jobs * p.n * run(1)) / (now() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- steps ---- */

struct bench {
    struct moeq_pool *pool;
    uint64_t n, rows, n_tokens;
    double peak_f32, peak_f64;
    struct moeq_hessian h;
    struct moeq_gptq_factor factor;
    struct moeq_bytes scratch;
    float *x, *w, *corrected;
    struct moeq_error err;
};

static void print_step(const char *name, double seconds, double operations, double peak)
{
    printf("%-34s %9.2f ms %8.1f GFLOP/s %5.1f%%\n", name, seconds * 1e3, operations / seconds / 1e9,
           100 * operations / seconds / peak);
}

static void fail(const struct bench *b, enum moeq_status status)
{
    bench_check(status, &b->err);
}

static void bench_hessian(struct bench *b)
{
    double best = 1e9;
    for (int i = 0; i < N_RUNS; i++) {
        moeq_hessian_clear(&b->h);
        const double begin = now();
        fail(b, moeq_hessian_add(&b->h, b->pool, &b->scratch, b->x, b->n, NULL, NULL, b->n_tokens, &b->err));
        best = now() - begin < best ? now() - begin : best;
    }
    print_step("moments, float32", best, (double)b->n_tokens * (double)b->n * (double)(b->n + 1),
               b->peak_f32);
}

static void bench_factor(struct bench *b)
{
    const double n = (double)b->n;
    double best = 1e9, best_alone = 1e9;
    double *copy = calloc(b->n * moeq_cholesky_stride(b->n), sizeof *copy);
    for (int i = 0; copy && i < N_RUNS; i++) {
        bool is_positive;
        const double begin = now();
        fail(b, moeq_gptq_prepare(&b->factor, &b->h, (struct moeq_gptq_options){0.01, true, false}, b->pool,
                                  &b->err));
        best = now() - begin < best ? now() - begin : best;
        for (uint64_t r = 0; r < b->n; r++)
            for (uint64_t c = 0; c <= r; c++)
                copy[r * b->factor.ld + c] =
                    b->h.sums[r * b->n + c] / b->h.weight + (r == c) * b->factor.added;
        const double begin_alone = now();
        fail(b, moeq_cholesky(b->pool, copy, b->n, &is_positive, &b->err));
        best_alone = now() - begin_alone < best_alone ? now() - begin_alone : best_alone;
    }
    free(copy);
    print_step("Cholesky alone, float64", best_alone, n * n * n / 3, b->peak_f64);
    print_step("the factor with all around it", best, n * n * n / 3, b->peak_f64);
}

static void bench_encode(struct bench *b, const char *level)
{
    struct moeq_format format;
    struct moeq_gptq_report report = {0};
    uint64_t n_bytes, n_padded;
    struct moeq_bytes packed = {0};
    char name[80];
    double best = 1e9;
    if (moeq_format_parse(level, (struct moeq_format){.group = 128}, &format, NULL))
        return;
    fail(b, moeq_packed_size(format, b->rows, b->n, &n_bytes, &n_padded, &b->err));
    fail(b, moeq_bytes_resize(&packed, n_padded, &b->err));
    for (int i = 0; i < N_RUNS; i++) {
        memset(packed.data, 0, n_padded);
        const double begin = now();
        fail(b, moeq_gptq_encode(&b->factor, &format, b->rows, b->w, false, b->pool, packed.data, &report,
                                 &b->err));
        best = now() - begin < best ? now() - begin : best;
    }
    snprintf(name, sizeof name, "%s with scales and packing", level);
    print_step(name, best, (double)b->rows * (double)b->n * (double)(b->n - 1), b->peak_f64);
    memset(packed.data, 0, n_padded);
    fail(b,
         moeq_gptq_encode(&b->factor, &format, b->rows, b->w, true, b->pool, packed.data, &report, &b->err));
    printf("%-34s error %.4f of the nearest codes'\n", "", report.error / report.nearest_error);
    moeq_bytes_free(&packed);
}

/* Level ec at a step, and where the step for three bits is to be found; with coding, and decoded again. */
static void bench_ec(struct bench *b)
{
    struct moeq_bytes coded = {0}, packed = {0}, codes = {0};
    struct moeq_ec_goal goal = {.bits = 3};
    struct moeq_ec_report report;
    double best[3] = {1e9, 1e9, 1e9};
    const double operations = (double)b->rows * (double)b->n * (double)(b->n - 1);
    fail(b, moeq_bytes_resize(&codes, b->rows * b->n, &b->err));
    fail(b, moeq_bytes_resize(&packed, b->rows * b->n + 64 + 4 * b->n, &b->err));
    for (int i = 0; i < N_RUNS; i++)
        for (int k = 0; k < 2; k++) {
            const double begin = now();
            fail(b, moeq_ec_encode(&b->factor, b->rows, b->n, b->w, goal, b->pool, &coded, &report, &b->err));
            best[k] = now() - begin < best[k] ? now() - begin : best[k];
            goal = (struct moeq_ec_goal){.bits = 3, .step = k ? 0 : report.step};
        }
    for (int i = 0; i < N_RUNS; i++) {
        const double begin = now();
        fail(b, moeq_ec_decode(coded.data, coded.n_bytes, b->rows, b->n, (int8_t *)codes.data, packed.data,
                               &b->err));
        best[2] = now() - begin < best[2] ? now() - begin : best[2];
    }
    print_step("ec at 3 bits, the step found", best[0], operations, b->peak_f64);
    print_step("ec at a step", best[1], operations, b->peak_f64);
    printf("%-34s %9.2f ms %8.2f G codes/s, %.4f bits\n", "ec decoded", best[2] * 1e3,
           (double)(b->rows * b->n) / best[2] / 1e9, 8 * (double)coded.n_bytes / (double)(b->rows * b->n));
    moeq_bytes_free(&coded);
    moeq_bytes_free(&packed);
    moeq_bytes_free(&codes);
}

static void bench_correct(struct bench *b)
{
    const double n = (double)b->n;
    const double begin = now(); /* the moments themselves, whose upper triangle is filled by now */
    fail(b, moeq_gptq_correct(&b->factor, b->h.sums, b->rows, b->w, b->pool, b->corrected, &b->err));
    print_step("correction", now() - begin, (double)b->rows * 4 * n * n, b->peak_f64);
}

/* Inputs whose features are correlated and of different sizes, as those of a model are. */
static void fill(struct bench *b)
{
    for (uint64_t t = 0; t < b->n_tokens; t++) {
        float shared = next_number();
        for (uint64_t c = 0; c < b->n; c++) {
            shared = 0.8f * shared + 0.6f * next_number();
            b->x[t * b->n + c] = shared * (c % 37 == 0 ? 4.0f : 1.0f);
        }
    }
    for (uint64_t i = 0; i < b->rows * b->n; i++)
        b->w[i] = 0.02f * (next_number() + next_number() + next_number());
}

int main(int argc, char **argv)
{
    uint64_t sizes[] = {2048, 1408, 4096, 1};
    for (int i = 1; i < argc && i <= 4; i++)
        sizes[i - 1] = strtoull(argv[i], NULL, 10);
    struct bench b = {.n = sizes[0], .rows = sizes[1], .n_tokens = sizes[2]};
    b.pool = moeq_pool_create((unsigned)sizes[3], &b.err);
    b.x = calloc(b.n * b.n_tokens, sizeof *b.x);
    b.w = calloc(b.n * b.rows, sizeof *b.w);
    b.corrected = calloc(b.n * b.rows, sizeof *b.corrected);
    if (!b.pool || !b.x || !b.w || !b.corrected || moeq_hessian_init(&b.h, b.n, &b.err))
        return 6;
    fill(&b);
    b.peak_f32 = peak_of(b.pool, moeq_kernels()->peak_f32);
    b.peak_f64 = peak_of(b.pool, moeq_kernels()->peak_f64);
    printf("%s, %u threads, n %llu, rows %llu, tokens %llu; peaks %.1f GFLOP/s float32, %.1f float64\n",
           moeq_kernels()->name, moeq_pool_jobs(b.pool), (unsigned long long)b.n, (unsigned long long)b.rows,
           (unsigned long long)b.n_tokens, b.peak_f32 / 1e9, b.peak_f64 / 1e9);
    bench_hessian(&b);
    bench_factor(&b);
    static const char *const levels[] = {"fp8",       "int8-g128",     "int6-g128", "int5-g128",
                                         "int4-g128", "int4-g64-asym", "int3-g128", "int2-g64"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        bench_encode(&b, levels[i]);
    bench_ec(&b);
    bench_correct(&b);
    moeq_gptq_free(&b.factor);
    moeq_hessian_free(&b.h);
    moeq_bytes_free(&b.scratch);
    free(b.x);
    free(b.w);
    free(b.corrected);
    moeq_pool_join(b.pool);
    return 0;
}
