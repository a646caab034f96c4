#include "bench.h"

#include "file.h"
#include "hash.h"
#include "kernels.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

#define N_RUNS       5
#define STREAM_BYTES (256u << 20)
#define LEAST_TIME   0.02 /* seconds that a run should take */

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double values[N_RUNS])
{
    qsort(values, N_RUNS, sizeof *values, by_value);
    return values[N_RUNS / 2];
}

/* ---- peaks ---- */

static double peak_of(uint64_t (*run)(uint64_t))
{
    double rates[N_RUNS];
    if (!run)
        return 0;
    uint64_t n = 1u << 16;
    for (int i = 0; i < N_RUNS;) {
        const double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
        const uint64_t operations = run(n);
        const double seconds = seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin;
        if (seconds < LEAST_TIME)
            n *= 2;
        else
            rates[i++] = (double)operations / seconds / 1e9;
    }
    return median(rates);
}

struct together {
    uint64_t (*run)(uint64_t);
    uint64_t n;
};

static enum moeq_status run_share(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                  struct moeq_error *err)
{
    const struct together *t = context;
    (void)worker;
    (void)err;
    for (uint64_t i = begin; i < end; i++)
        t->run(t->n);
    return MOEQ_OK;
}

/* All threads at once, by the clock; `one` is the rate of a single core. */
static double peak_together(struct moeq_pool *pool, uint64_t (*run)(uint64_t), double one)
{
    const uint64_t jobs = moeq_pool_jobs(pool);
    double rates[N_RUNS];
    if (!run)
        return 0;
    const double operations_of_one = (double)run(1);
    struct together t = {run, (uint64_t)(one * 1e9 * 4 * LEAST_TIME / operations_of_one)};
    for (int i = 0; i < N_RUNS; i++) {
        const double begin = seconds_of(CLOCK_MONOTONIC);
        moeq_pool_for(pool, jobs, 1, run_share, &t, NULL);
        rates[i] = (double)(jobs * t.n) * operations_of_one / (seconds_of(CLOCK_MONOTONIC) - begin) / 1e9;
    }
    return median(rates);
}

static uint64_t sum_words(const uint64_t *words, uint64_t n)
{
    uint64_t sums[8] = {0};
    for (uint64_t i = 0; i < n; i += 8)
        for (int k = 0; k < 8; k++)
            sums[k] += words[i + (uint64_t)k];
    uint64_t sum = 0;
    for (int k = 0; k < 8; k++)
        sum += sums[k];
    return sum;
}

static enum moeq_status measure_memory(struct moeq_peaks *peaks, struct moeq_error *err)
{
    struct moeq_bytes from = {0}, to = {0};
    double copies[N_RUNS], reads[N_RUNS];
    volatile uint64_t sink = 0;
    enum moeq_status status = moeq_bytes_resize(&from, STREAM_BYTES, err);
    if (!status)
        status = moeq_bytes_resize(&to, STREAM_BYTES, err);
    if (!status) {
        memset(from.data, 1, STREAM_BYTES);
        memset(to.data, 1, STREAM_BYTES);
        for (int i = 0; i < N_RUNS; i++) {
            double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
            memcpy(to.data, from.data, STREAM_BYTES);
            copies[i] = STREAM_BYTES / (seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin) / 1e9;
            begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
            sink += sum_words((const uint64_t *)(const void *)to.data, STREAM_BYTES / sizeof(uint64_t));
            reads[i] = STREAM_BYTES / (seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin) / 1e9;
        }
        peaks->copy = median(copies);
        peaks->read = median(reads);
    }
    moeq_bytes_free(&from);
    moeq_bytes_free(&to);
    return status;
}

enum moeq_status moeq_bench_peaks(struct moeq_pool *pool, struct moeq_peaks *peaks, struct moeq_error *err)
{
    const struct moeq_kernels *k = moeq_kernels();
    *peaks = (struct moeq_peaks){
        .f32 = peak_of(k->peak_f32), .bf16 = peak_of(k->peak_bf16), .int8 = peak_of(k->peak_int8)};
    peaks->f32_all = peak_together(pool, k->peak_f32, peaks->f32);
    peaks->bf16_all = peak_together(pool, k->peak_bf16, peaks->bf16);
    return measure_memory(peaks, err);
}

/* ---- data ---- */

/* Numbers of about normal size; a congruential generator is random enough for a benchmark. */
static void fill(float *x, uint64_t n, float size)
{
    uint64_t state = 88172645463325252u;
    for (uint64_t i = 0; i < n; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            sum += (float)(state >> 40) * 0x1p-24f - 0.5f;
        }
        x[i] = sum * size;
    }
}

static enum moeq_status encode_all(struct moeq_format format, uint64_t rows, uint64_t cols, const float *w,
                                   uint8_t *packed, struct moeq_error *err)
{
    const uint64_t step = format.level->block_rows;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t r = 0; !status && r < rows; r += step)
        status = format.level->encode(&format, rows, cols, r, rows - r < step ? rows - r : step, w + r * cols,
                                      packed, err);
    return status;
}

/* ---- products ---- */

struct product {
    const struct moeq_product_case *shape;
    struct moeq_matrix w;
    struct moeq_bytes packed, x, y, decoded;
    struct moeq_activations activations;
    struct moeq_scratch scratch;
};

static void product_free(struct product *p)
{
    moeq_bytes_free(&p->packed);
    moeq_bytes_free(&p->x);
    moeq_bytes_free(&p->y);
    moeq_bytes_free(&p->decoded);
    moeq_activations_free(&p->activations);
    moeq_scratch_free(&p->scratch);
}

static enum moeq_status product_init(struct product *p, const struct moeq_product_case *c,
                                     struct moeq_error *err)
{
    uint64_t n_bytes, n_padded;
    *p = (struct product){.shape = c};
    enum moeq_status status = moeq_packed_size(c->format, c->rows, c->cols, &n_bytes, &n_padded, err);
    if (status || (status = moeq_bytes_resize(&p->packed, (size_t)n_padded, err)) ||
        (status = moeq_bytes_resize(&p->decoded, (size_t)(c->rows * c->cols * sizeof(float)), err)) ||
        (status = moeq_bytes_resize(&p->x, (size_t)(c->n_tokens * c->cols * sizeof(float)), err)) ||
        (status = moeq_bytes_resize(&p->y, (size_t)(c->n_tokens * c->rows * sizeof(float)), err)))
        return status;
    float *w = (float *)(void *)p->decoded.data;
    memset(p->packed.data, 0, p->packed.n_bytes);
    fill(w, c->rows * c->cols, 0.02f);
    fill((float *)(void *)p->x.data, c->n_tokens * c->cols, 1);
    p->w = (struct moeq_matrix){c->format, c->rows, c->cols, p->packed.data, n_bytes};
    return encode_all(c->format, c->rows, c->cols, w, p->packed.data, err);
}

static enum moeq_status multiply_once(struct product *p, struct moeq_pool *pool,
                                      enum moeq_arithmetic arithmetic, struct moeq_error *err)
{
    const struct moeq_product_case *c = p->shape;
    enum moeq_status status =
        moeq_activations_set(&p->activations, pool, arithmetic, (const float *)(const void *)p->x.data,
                             c->cols, NULL, c->n_tokens, c->cols, err);
    return status ? status
                  : moeq_matmul(pool, &p->scratch, &p->w, &p->activations, (float *)(void *)p->y.data,
                                c->rows, err);
}

static double operations(const struct moeq_product_case *c)
{
    return 2.0 * (double)c->rows * (double)c->cols * (double)c->n_tokens;
}

static enum moeq_status time_product(struct product *p, struct moeq_pool *pool,
                                     enum moeq_arithmetic arithmetic, clockid_t clock, double *rate,
                                     struct moeq_error *err)
{
    double rates[N_RUNS];
    uint64_t n = 1;
    moeq_scratch_free(&p->scratch);
    enum moeq_status status = moeq_scratch_init(&p->scratch, pool, err);
    if (!status)
        status = multiply_once(p, pool, arithmetic, err); /* warms up */
    for (int i = 0; !status && i < N_RUNS;) {
        const double begin = seconds_of(clock);
        for (uint64_t k = 0; !status && k < n; k++)
            status = multiply_once(p, pool, arithmetic, err);
        const double seconds = seconds_of(clock) - begin;
        if (seconds < LEAST_TIME)
            n *= 2;
        else
            rates[i++] = (double)n * operations(p->shape) / seconds / 1e9;
    }
    if (!status)
        *rate = median(rates);
    return status;
}

/* The C interface of a BLAS, found where it is installed: nothing here needs it. */
typedef void sgemm_function(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha,
                            const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

static sgemm_function *find_sgemm(void)
{
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return NULL;
    void (*set_threads)(int);
    sgemm_function *sgemm;
    *(void **)&set_threads = dlsym(library, "openblas_set_num_threads");
    *(void **)&sgemm = dlsym(library, "cblas_sgemm");
    if (set_threads)
        set_threads(1);
    return sgemm;
}

static double time_blas(struct product *p)
{
    enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };
    const struct moeq_product_case *c = p->shape;
    const struct moeq_kernels *k = moeq_kernels();
    const struct moeq_level *level = c->format.level;
    sgemm_function *sgemm = find_sgemm();
    float *w = (float *)(void *)p->decoded.data;
    double rates[N_RUNS];
    if (!sgemm)
        return 0;
    for (int i = 0; i < N_RUNS; i++) {
        const double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
        for (uint64_t r = 0; r < c->rows; r++)
            (k->decode[level->fast] ? k->decode[level->fast] : level->decode)(&p->w, r, 0, c->cols,
                                                                              w + r * c->cols);
        sgemm(ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE, (int)c->n_tokens, (int)c->rows, (int)c->cols, 1,
              (const float *)(const void *)p->x.data, (int)c->cols, w, (int)c->cols, 0,
              (float *)(void *)p->y.data, (int)c->rows);
        rates[i] = operations(c) / (seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin) / 1e9;
    }
    return median(rates);
}

enum moeq_status moeq_bench_product(const struct moeq_product_case *product, struct moeq_pool *pool,
                                    struct moeq_product_rate *rate, struct moeq_error *err)
{
    struct product p;
    *rate = (struct moeq_product_rate){0};
    struct moeq_pool *alone = moeq_pool_create(1, err);
    enum moeq_status status = product_init(&p, product, err);
    if (!status && !alone)
        status = MOEQ_OVER_MEMORY;
    if (!status)
        status = time_product(&p, alone, MOEQ_EXACT, CLOCK_THREAD_CPUTIME_ID, &rate->exact, err);
    if (!status)
        status = time_product(&p, alone, MOEQ_FAST, CLOCK_THREAD_CPUTIME_ID, &rate->fast, err);
    if (!status)
        status = time_product(&p, pool, MOEQ_FAST, CLOCK_MONOTONIC, &rate->all_jobs, err);
    if (!status)
        rate->blas = time_blas(&p);
    moeq_pool_join(alone);
    product_free(&p);
    return status;
}

/* ---- encoding and hashing ---- */

/* BF16 weights of about normal size. */
static enum moeq_status bf16_weights(uint64_t rows, uint64_t cols, struct moeq_bytes *bytes,
                                     struct moeq_matrix *out, struct moeq_error *err)
{
    struct moeq_bytes w = {0};
    *out = (struct moeq_matrix){
        .format = moeq_format_of_dtype(MOEQ_BF16), .rows = rows, .cols = cols, .n_bytes = rows * cols * 2};
    enum moeq_status status = moeq_bytes_resize(&w, rows * cols * sizeof(float), err);
    if (!status)
        status = moeq_bytes_resize(bytes, out->n_bytes, err);
    if (!status) {
        fill((float *)(void *)w.data, rows * cols, 0.02f);
        out->data = bytes->data;
        status = encode_all(out->format, rows, cols, (const float *)(const void *)w.data, bytes->data, err);
    }
    moeq_bytes_free(&w);
    return status;
}

/* Decodes and encodes all rows of w, some at a time in `some`. */
static enum moeq_status recode(const struct moeq_matrix *w, const struct moeq_format *format,
                               uint64_t n_at_once, float *some, uint8_t *packed, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (uint64_t row = 0; !status && row < w->rows; row += n_at_once) {
        for (uint64_t r = 0; r < n_at_once; r++)
            moeq_decode(w, row + r, 0, w->cols, some + r * w->cols);
        status = format->level->encode(format, w->rows, w->cols, row, n_at_once, some, packed, err);
    }
    return status;
}

enum moeq_status moeq_bench_encode(struct moeq_format format, double *rate, struct moeq_error *err)
{
    enum { ROWS = 512, COLS = 2048, ROWS_AT_ONCE = 8 };
    struct moeq_bytes from = {0}, some = {0}, packed = {0};
    struct moeq_matrix w;
    uint64_t n_bytes, n_padded, n = 1;
    const uint64_t n_at_once =
        format.level->block_rows > ROWS_AT_ONCE ? format.level->block_rows : ROWS_AT_ONCE;
    double rates[N_RUNS];
    enum moeq_status status = moeq_packed_size(format, ROWS, COLS, &n_bytes, &n_padded, err);
    if (!status)
        status = bf16_weights(ROWS, COLS, &from, &w, err);
    if (!status)
        status = moeq_bytes_resize(&some, n_at_once * COLS * sizeof(float), err);
    if (!status)
        status = moeq_bytes_resize(&packed, (size_t)n_padded, err);
    for (int i = 0; !status && i < N_RUNS;) {
        double seconds = 0;
        for (uint64_t k = 0; !status && k < n; k++) {
            memset(packed.data, 0, packed.n_bytes);
            const double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
            status = recode(&w, &format, n_at_once, (float *)(void *)some.data, packed.data, err);
            seconds += seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin;
        }
        if (seconds < LEAST_TIME)
            n *= 2;
        else
            rates[i++] = (double)(n * from.n_bytes) / seconds / 1e9;
    }
    if (!status)
        *rate = median(rates);
    moeq_bytes_free(&from);
    moeq_bytes_free(&some);
    moeq_bytes_free(&packed);
    return status;
}

/* The program's own file is at hand everywhere, and in the page cache. */
static enum moeq_status measure_sha256(double *rate, struct moeq_error *err)
{
    static const char self[] = "/proc/self/exe";
    struct moeq_file file;
    char hex[MOEQ_SHA256_HEX];
    double rates[N_RUNS];
    enum moeq_status status = moeq_file_open(&file, self, err);
    const double n_bytes = status ? 0 : (double)file.n_bytes;
    if (!status)
        moeq_file_close(&file);
    uint64_t n = 1;
    for (int i = 0; !status && i < N_RUNS;) {
        const double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
        for (uint64_t k = 0; !status && k < n; k++)
            status = moeq_sha256_file(self, hex, err);
        const double seconds = seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin;
        if (seconds < LEAST_TIME)
            n *= 2;
        else
            rates[i++] = (double)n * n_bytes / seconds / 1e9;
    }
    if (!status)
        *rate = median(rates);
    return status;
}

enum moeq_status moeq_bench_hashes(double *xxh3, double *sha256, struct moeq_error *err)
{
    struct moeq_bytes bytes = {0};
    double rates[N_RUNS];
    volatile uint8_t sink = 0;
    enum moeq_status status = moeq_bytes_resize(&bytes, STREAM_BYTES / 4, err);
    if (!status)
        memset(bytes.data, 1, bytes.n_bytes);
    for (int i = 0; !status && i < N_RUNS; i++) {
        const double begin = seconds_of(CLOCK_THREAD_CPUTIME_ID);
        sink = (uint8_t)(sink + moeq_hash_bytes(bytes.data, bytes.n_bytes).bytes[0]);
        rates[i] = (double)bytes.n_bytes / (seconds_of(CLOCK_THREAD_CPUTIME_ID) - begin) / 1e9;
    }
    if (!status)
        *xxh3 = median(rates);
    moeq_bytes_free(&bytes);
    return status ? status : measure_sha256(sha256, err);
}
