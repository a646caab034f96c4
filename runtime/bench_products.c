#include "bench.h"
#include "bench_timing.h"
#include "coded.h"
#include "ec.h"
#include "kernels.h"

#include <dlfcn.h>

struct product {
    const struct moeq_product_case *shape;
    struct moeq_matrix w; /* the first copy */
    uint64_t n_padded, n_copies;
    struct moeq_bytes packed; /* [n_copies, n_padded] */
    struct moeq_bytes x, y, decoded;
    struct moeq_activations activations;
    struct moeq_scratch scratch;
    /* Of the measurement that is running: */
    struct moeq_pool *pool;
    enum moeq_arithmetic arithmetic;
    uint64_t n_tokens, next; /* copy */
};

/* The quickest arithmetic for so many tokens. */
static enum moeq_arithmetic fast_for(uint64_t n_tokens)
{
    return n_tokens <= MOEQ_FEW_TOKENS ? MOEQ_FEW : MOEQ_FAST;
}

/* ---- a matrix, its copies and its inputs ---- */

static void product_free(struct product *p)
{
    moeq_bytes_free(&p->packed);
    moeq_bytes_free(&p->x);
    moeq_bytes_free(&p->y);
    moeq_bytes_free(&p->decoded);
    moeq_activations_free(&p->activations);
    moeq_scratch_free(&p->scratch);
}

/* As a package is written and read: entropy-coded, then unpacked. */
static enum moeq_status pack_coded(const struct moeq_product_case *c, const float *w, struct moeq_pool *pool,
                                   uint8_t *packed, struct moeq_error *err)
{
    const struct moeq_ec_goal goal = {.step = (double)c->format.step, .bits = (double)c->format.bits};
    struct moeq_bytes coded = {0}, scratch = {0};
    struct moeq_ec_report report;
    enum moeq_status status = moeq_ec_encode(NULL, c->rows, c->cols, w, goal, pool, &coded, &report, err);
    if (!status)
        status =
            moeq_bytes_resize(&scratch, (size_t)moeq_coded_scratch_bytes(c->format, c->rows, c->cols), err);
    if (!status)
        status = moeq_coded_decode(c->format, c->rows, c->cols, coded.data, coded.n_bytes, scratch.data,
                                   packed, err);
    moeq_bytes_free(&coded);
    moeq_bytes_free(&scratch);
    return status;
}

static enum moeq_status make_copies(struct product *p, bool few, struct moeq_pool *pool,
                                    struct moeq_error *err)
{
    const struct moeq_product_case *c = p->shape;
    const float *w = (const float *)(const void *)p->decoded.data;
    struct moeq_bytes one = {0};
    p->n_copies = few ? moeq_div_up(MOEQ_BENCH_STREAMED, p->n_padded) : 1;
    enum moeq_status status = moeq_bytes_resize(&one, (size_t)p->n_padded, err);
    if (!status)
        status = moeq_bytes_resize(&p->packed, (size_t)(p->n_copies * p->n_padded), err);
    if (!status)
        status = c->format.level->is_coded ? pack_coded(c, w, pool, one.data, err)
                                           : moeq_bench_pack(c->format, c->rows, c->cols, w, &one, err);
    for (uint64_t i = 0; !status && i < p->n_copies; i++)
        memcpy(p->packed.data + i * p->n_padded, one.data, p->n_padded);
    moeq_bytes_free(&one);
    p->w.data = p->packed.data;
    return status;
}

static enum moeq_status product_init(struct product *p, const struct moeq_product_case *c,
                                     struct moeq_pool *pool, struct moeq_error *err)
{
    uint64_t most = 0;
    bool few = false;
    for (size_t i = 0; i < c->n; i++) {
        most = moeq_larger(most, c->n_tokens[i]);
        few = few || c->n_tokens[i] <= MOEQ_BENCH_FEW;
    }
    *p = (struct product){.shape = c, .w = {c->format, c->rows, c->cols, NULL, 0}};
    enum moeq_status status = moeq_packed_size(c->format, c->rows, c->cols, &p->w.n_bytes, &p->n_padded, err);
    if (status || (status = moeq_bytes_resize(&p->decoded, c->rows * c->cols * sizeof(float), err)) ||
        (status = moeq_bytes_resize(&p->x, most * c->cols * sizeof(float), err)) ||
        (status = moeq_bytes_resize(&p->y, most * c->rows * sizeof(float), err)))
        return status;
    moeq_bench_fill((float *)(void *)p->decoded.data, c->rows * c->cols, 0.02f);
    moeq_bench_fill((float *)(void *)p->x.data, most * c->cols, 1);
    return make_copies(p, few, pool, err);
}

/* ---- ours ---- */

static enum moeq_status multiply_once(void *context, struct moeq_error *err)
{
    struct product *p = context;
    const struct moeq_product_case *c = p->shape;
    struct moeq_matrix w = p->w;
    if (p->n_tokens <= MOEQ_BENCH_FEW)
        w.data += p->next++ % p->n_copies * p->n_padded;
    enum moeq_status status =
        moeq_activations_set(&p->activations, p->pool, p->arithmetic, (const float *)(const void *)p->x.data,
                             c->cols, NULL, p->n_tokens, c->cols, err);
    return status ? status
                  : moeq_matmul(p->pool, &p->scratch, &w, &p->activations, (float *)(void *)p->y.data,
                                c->rows, err);
}

static double operations(const struct product *p)
{
    return 2.0 * (double)p->shape->rows * (double)p->shape->cols * (double)p->n_tokens;
}

static enum moeq_status time_product(struct product *p, struct moeq_pool *pool,
                                     enum moeq_arithmetic arithmetic, clockid_t clock, double *rate,
                                     struct moeq_error *err)
{
    double per_second = 0;
    p->pool = pool;
    p->arithmetic = arithmetic;
    moeq_scratch_free(&p->scratch);
    enum moeq_status status = moeq_scratch_init(&p->scratch, pool, err);
    if (!status)
        status = moeq_bench_rate(clock, multiply_once, p, &per_second, err);
    *rate = per_second * operations(p) / 1e9;
    return status;
}

/* ---- OpenBLAS ---- */

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

struct blas {
    struct product *product;
    sgemm_function *sgemm;
};

static enum moeq_status blas_once(void *context, struct moeq_error *err)
{
    enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };
    const struct blas *b = context;
    struct product *p = b->product;
    const struct moeq_product_case *c = p->shape;
    float *w = (float *)(void *)p->decoded.data;
    (void)err;
    for (uint64_t r = 0; r < c->rows; r++)
        moeq_kernels_decode_row(moeq_kernels(), &p->w, r, w + r * c->cols);
    b->sgemm(ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE, (int)p->n_tokens, (int)c->rows, (int)c->cols, 1,
             (const float *)(const void *)p->x.data, (int)c->cols, w, (int)c->cols, 0,
             (float *)(void *)p->y.data, (int)c->rows);
    return MOEQ_OK;
}

static enum moeq_status time_blas(struct product *p, double *rate, struct moeq_error *err)
{
    double per_second = 0;
    struct blas b = {p, find_sgemm()};
    if (!b.sgemm)
        return MOEQ_OK;
    enum moeq_status status = moeq_bench_rate(CLOCK_THREAD_CPUTIME_ID, blas_once, &b, &per_second, err);
    *rate = per_second * operations(p) / 1e9;
    return status;
}

static enum moeq_status time_tokens(struct product *p, struct moeq_pool *pool, struct moeq_pool *alone,
                                    struct moeq_product_rate *rate, struct moeq_error *err)
{
    const enum moeq_arithmetic fast = fast_for(p->n_tokens);
    *rate = (struct moeq_product_rate){0};
    enum moeq_status status = time_product(p, alone, MOEQ_EXACT, CLOCK_THREAD_CPUTIME_ID, &rate->exact, err);
    if (!status)
        status = time_product(p, alone, fast, CLOCK_THREAD_CPUTIME_ID, &rate->fast, err);
    if (!status)
        status = time_product(p, pool, fast, CLOCK_MONOTONIC, &rate->all_jobs, err);
    if (!status && p->n_tokens == p->shape->blas_tokens)
        status = time_blas(p, &rate->blas, err);
    if (p->n_tokens <= MOEQ_BENCH_FEW) {
        rate->weights = rate->fast * (double)p->w.n_bytes / operations(p);
        rate->weights_all = rate->all_jobs * (double)p->w.n_bytes / operations(p);
    }
    return status;
}

enum moeq_status moeq_bench_product(const struct moeq_product_case *product, struct moeq_pool *pool,
                                    struct moeq_product_rate *rates, struct moeq_error *err)
{
    struct product p;
    struct moeq_pool *alone = moeq_pool_create(1, err);
    enum moeq_status status = product_init(&p, product, pool, err);
    if (!status && !alone)
        status = MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < product->n; i++) {
        p.n_tokens = product->n_tokens[i];
        status = time_tokens(&p, pool, alone, &rates[i], err);
    }
    moeq_pool_join(alone);
    product_free(&p);
    return status;
}
