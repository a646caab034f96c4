/* Calibrated codes: they must be those that the definition in gptq.h gives, whatever the machine, and worth
 * their price: a smaller error of the outputs than that of the nearest codes. */
#include "plain_factor.h"
#include "sets.h"

#include "level_planes.h"
#include "scalar.h"

#include <float.h>
#include <sys/mman.h>

static const char *const integer_formats[] = {
    "int8-g32", "int6-g64", "int5-g32",      "int4-g32",       "int4-g64-asym",
    "int3-g32", "int2-g64", "int2-g32-asym", "int4-g128-asym", "int3-g128-asym",
};

#define N_INTEGER_FORMATS (sizeof integer_formats / sizeof *integer_formats)

/* False where the level is not there. */
static bool has_format(const char *text, struct moeq_format *format)
{
    return moeq_format_parse(text, (struct moeq_format){.group = 128}, format, NULL) == MOEQ_OK;
}

/* A matrix, its factor, and what was made of them. */
struct calibrated {
    struct moeq_pool *pool;
    struct moeq_hessian h;
    struct moeq_gptq_factor factor;
    struct moeq_gptq_report report;
    struct moeq_bytes bytes;
    struct moeq_matrix m;
    float *w;
    uint64_t rows, n;
};

static struct calibrated calibrate(struct moeq_pool *pool, uint64_t rows, uint64_t n, uint64_t n_tokens,
                                   uint64_t dead, float size)
{
    struct calibrated c = {.pool = pool, .rows = rows, .n = n};
    correlated_moments(&c.h, pool, n, n_tokens, dead, 1);
    c.w = random_weights(rows * n, rows + n);
    for (uint64_t i = 0; i < rows * n; i++)
        c.w[i] *= size;
    CU_ASSERT_EQUAL_FATAL(moeq_gptq_prepare(&c.factor, &c.h,
                                            (struct moeq_gptq_options){0.01, n % 2 == 0, n_tokens % 2 == 0},
                                            pool, NULL),
                          MOEQ_OK);
    return c;
}

static void free_calibrated(struct calibrated *c)
{
    moeq_hessian_free(&c->h);
    moeq_gptq_free(&c->factor);
    moeq_bytes_free(&c->bytes);
    free(c->w);
}

static enum moeq_status encode_calibrated(struct calibrated *c, const struct moeq_format *format,
                                          struct moeq_error *err)
{
    uint64_t n_bytes, n_padded;
    CU_ASSERT_EQUAL_FATAL(moeq_packed_size(*format, c->rows, c->n, &n_bytes, &n_padded, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(&c->bytes, n_padded, NULL), MOEQ_OK);
    memset(c->bytes.data, 0, n_padded);
    c->m = (struct moeq_matrix){*format, c->rows, c->n, c->bytes.data, n_bytes};
    return moeq_gptq_encode(&c->factor, format, c->rows, c->w, true, c->pool, c->bytes.data, &c->report, err);
}

/* ---- the definition ---- */

/* Weights as they are encoded: dead ones are 0. */
static double weight_at(const struct calibrated *c, uint64_t row, uint64_t column)
{
    return c->factor.diagonal[column] > 0 ? (double)c->w[row * c->n + column] : 0;
}

struct scale {
    double scale, zero;
};

static struct scale scale_at(const struct calibrated *c, uint64_t row, uint64_t column)
{
    struct moeq_planes p = {0};
    float scales[64];
    moeq_row_scales(&c->m, row, scales);
    moeq_place_planes(&c->m.format, c->rows, c->n, &p);
    const uint64_t g = column / moeq_scale_group(&c->m.format);
    return (struct scale){(double)scales[g], (double)moeq_zero_point(&c->m, &p, row, g)};
}

static double nearest_value(double w, struct scale s, unsigned bits)
{
    const double inverse = s.scale != 0 ? 1 / s.scale : 0, last = (double)((1 << bits) - 1);
    return nearbyint(fmin(fmax(w * inverse, -s.zero), last - s.zero)) * s.scale;
}

static double nearest_fp8(double w, double scale)
{
    return (double)(moeq_e4m3_decode(moeq_e4m3_encode((float)(w / scale))) * (float)scale);
}

/* One column after the other, each correction taken on its own: what a row becomes. */
static void encode_plainly(const struct calibrated *c, uint64_t row, bool feed_back, double *values)
{
    const struct moeq_gptq_factor *f = &c->factor;
    const bool fp8 = c->m.format.level == &moeq_level_fp8;
    double *errors = malloc(c->n * sizeof *errors);
    for (uint64_t j = 0; j < c->n; j++) {
        const uint64_t column = f->order[j];
        const double w = weight_at(c, row, column);
        double moved = w;
        for (uint64_t i = 0; feed_back && i < j; i++)
            moved = fma(-f->t[j * f->ld + i], errors[i], moved);
        if (fp8)
            values[column] = nearest_fp8(moved, (double)*moeq_fp8_scales(&c->m, row, column));
        else
            values[column] = nearest_value(moved, scale_at(c, row, column), c->m.format.level->bits);
        errors[j] = values[column] - w;
    }
    free(errors);
}

/* e H e^T with the mean as it is, for W - Q of a row. */
static double error_of(const struct calibrated *c, uint64_t row, const double *values)
{
    double sum = 0;
    for (uint64_t i = 0; i < c->n; i++)
        for (uint64_t j = 0; j < c->n; j++)
            sum += (values[i] - weight_at(c, row, i)) * mean_at(&c->h, i, j) *
                   (values[j] - weight_at(c, row, j));
    return sum;
}

/* Weights that differ from the definition's; and the report, whose errors are to be those of the trace. */
static int compare_plainly(const struct calibrated *c)
{
    double *values = malloc(c->n * sizeof *values), errors[2] = {0}, damped = 1e-300;
    float *decoded = malloc(c->n * sizeof *decoded);
    int n_wrong = 0;
    for (uint64_t r = 0; r < c->rows; r++) {
        encode_plainly(c, r, false, values);
        errors[0] += error_of(c, r, values);
        for (uint64_t i = 0; i < c->n; i++)
            damped += c->factor.added * pow(values[i] - weight_at(c, r, i), 2);
        encode_plainly(c, r, true, values);
        errors[1] += error_of(c, r, values);
        moeq_decode(&c->m, r, 0, c->n, decoded);
        for (uint64_t i = 0; i < c->n; i++)
            n_wrong += (double)decoded[i] != values[i];
    }
    n_wrong += !(fabs(c->report.nearest_error - errors[0]) <= 1e-9 * (errors[0] + damped));
    n_wrong += !(fabs(c->report.error - errors[1]) <= 1e-9 * (errors[0] + damped));
    free(values);
    free(decoded);
    return n_wrong;
}

/* ---- scales by the definition ---- */

struct group {
    double w[128], weights[128];
    uint32_t n;
    unsigned bits;
    double error;
    struct scale best;
};

static double round_scale(double s)
{
    return (double)moeq_bf16_decode(moeq_bf16_encode((float)s));
}

static void offer(struct group *g, double scale, double zero)
{
    const double last = (double)((1 << g->bits) - 1);
    double error = 0;
    if (fabs(scale) < (double)FLT_MIN || zero < 0 || zero > last ||
        fabs(scale) * fmax(zero, last - zero) > (double)FLT_MAX)
        return;
    for (uint32_t i = 0; i < g->n; i++) {
        const double e = g->w[i] - nearest_value(g->w[i], (struct scale){scale, zero}, g->bits);
        error += g->weights[i] * e * e;
    }
    if (error < g->error) {
        g->error = error;
        g->best = (struct scale){scale, zero};
    }
}

static void refit(struct group *g)
{
    double products = 0, squares = 0;
    if (isinf(g->error))
        return;
    for (uint32_t i = 0; i < g->n; i++) {
        const double q = nearest_value(g->w[i], (struct scale){g->best.scale, g->best.zero}, g->bits) /
                         g->best.scale; /* exact */
        products += g->weights[i] * g->w[i] * q;
        squares += g->weights[i] * q * q;
    }
    if (squares > 0)
        offer(g, round_scale(products / squares), g->best.zero);
}

/* First factor, step and number of steps, by bits. */
static const double steps[2][9][3] = {
    {[2] = {1.15, 0.08, 9},
     [3] = {1.20, 0.06, 10},
     [4] = {1.14, 0.055, 9},
     [5] = {1.14, 0.02, 13},
     [6] = {1.16, 0.015, 14},
     [8] = {1.01, 0.005, 7}},
    {[2] = {0.95, 0.06, 9},
     [3] = {1.10, 0.05, 9},
     [4] = {1.04, 0.05, 9},
     [5] = {1.14, 0.02, 12},
     [6] = {1.12, 0.0125, 13}},
};

static struct scale search_plainly(struct group *g, bool asymmetric)
{
    const double half = (double)(1 << (g->bits - 1)), last = 2 * half - 1, *s = steps[asymmetric][g->bits];
    double above = 0, below = 0;
    g->error = (double)INFINITY;
    g->best = (struct scale){0, half};
    for (uint32_t i = 0; i < g->n; i++) {
        above = fmax(above, g->w[i]);
        below = fmax(below, -g->w[i]);
    }
    for (int i = 0; i < (int)s[2]; i++) {
        const double factor = s[0] - i * s[1];
        if (asymmetric) {
            const double scale = (above + below) / last * factor;
            const double zero = scale > 0 ? nearbyint(fmin(below / scale, last)) : -9;
            for (int z = -1; z <= 1; z++)
                offer(g, round_scale(scale), zero + z);
        } else {
            offer(g, round_scale(fmax(above, below) / half * factor), half);
            offer(g, -round_scale(fmax(above, below) / half * factor), half);
        }
    }
    refit(g);
    refit(g);
    return g->best;
}

static int compare_scales(const struct calibrated *c)
{
    const uint32_t size = c->m.format.group;
    int n_wrong = 0;
    for (uint64_t r = 0; r < c->rows; r++)
        for (uint64_t begin = 0; begin < c->n; begin += size) {
            struct group g = {.bits = c->m.format.level->bits};
            for (; g.n < size && begin + g.n < c->n; g.n++) {
                g.w[g.n] = weight_at(c, r, begin + g.n);
                g.weights[g.n] = c->factor.weights[begin + g.n];
            }
            const struct scale plain = search_plainly(&g, c->m.format.asymmetric),
                               found = scale_at(c, r, begin);
            n_wrong += plain.scale != found.scale || plain.zero != found.zero;
        }
    return n_wrong;
}

/* ---- in every set ---- */

static int check_format(struct calibrated *c, const char *text, struct moeq_pool *other)
{
    struct moeq_format format;
    struct moeq_pool *first = c->pool;
    if (!has_format(text, &format))
        return 0;
    int n_wrong = encode_calibrated(c, &format, NULL) != MOEQ_OK;
    n_wrong += compare_plainly(c);
    n_wrong += format.level->grouped ? compare_scales(c) : 0;
    uint8_t *bytes = malloc(c->bytes.n_bytes);
    memcpy(bytes, c->bytes.data, c->bytes.n_bytes);
    c->pool = other;
    n_wrong += encode_calibrated(c, &format, NULL) != MOEQ_OK;
    n_wrong += memcmp(bytes, c->bytes.data, c->bytes.n_bytes) != 0;
    c->pool = first;
    if (n_wrong)
        printf("\n    %s, %s, %llu x %llu, %llu dead: %d wrong", moeq_kernels()->name, text,
               (unsigned long long)c->rows, (unsigned long long)c->n, (unsigned long long)c->factor.n_dead,
               n_wrong);
    free(bytes);
    return n_wrong;
}

static int check_all(void)
{
    /* rows, inputs, tokens, each so many columns dead, size of the weights */
    static const struct {
        uint64_t rows, n, n_tokens, dead;
        float size;
    } cases[] = {{1, 1, 1, 0, 1},         {3, 1, 1, 1, 1},        {2, 2, 9, 0, 1},
                 {5, 5, 1, 0, 1},         {7, 31, 100, 0, 1},     {3, 64, 20, 0, 1},
                 {65, 64, 500, 6, 1},     {3, 130, 300, 0, 1},    {5, 257, 40, 9, 1},
                 {4, 257, 600, 0, 1},     {3, 130, 1, 3, 1},      {3, 130, 260, 0, 1e-30f},
                 {3, 130, 260, 0, 1e30f}, {2, 64, 99, 0, 1e-38f}, {2, 64, 99, 0, 3e38f}};
    struct moeq_pool *pools[2] = {moeq_pool_create(1, NULL), moeq_pool_create(3, NULL)};
    int n_wrong = !pools[0] || !pools[1];
    for (size_t i = 0; !n_wrong && i < sizeof cases / sizeof *cases; i++) {
        struct calibrated c = calibrate(pools[i % 2], cases[i].rows, cases[i].n, cases[i].n_tokens,
                                        cases[i].dead, cases[i].size);
        for (size_t f = 0; f < N_INTEGER_FORMATS; f++)
            n_wrong += check_format(&c, integer_formats[f], pools[(i + 1) % 2]);
        n_wrong += check_format(&c, "fp8", pools[(i + 1) % 2]);
        free_calibrated(&c);
    }
    moeq_pool_join(pools[0]);
    moeq_pool_join(pools[1]);
    return n_wrong;
}

static void test_every_set(void)
{
    in_every_set(check_all);
}

/* ---- measuring ---- */

/* Of every case's error, that of the first set; a set is a process. */
static double *first_errors;

/* The error of the codes as it was reported, and of other values; what lies in dead columns does not matter.
 */
static int check_measured(struct calibrated *c, const char *text, double *first)
{
    const struct moeq_format format = format_of(text);
    float *q = malloc(c->rows * c->n * sizeof *q);
    double error, again;
    int n_wrong = encode_calibrated(c, &format, NULL) != MOEQ_OK;
    for (uint64_t r = 0; r < c->rows; r++)
        moeq_decode(&c->m, r, 0, c->n, q + r * c->n);
    n_wrong += moeq_gptq_measure(&c->factor, c->rows, c->w, q, c->pool, &error, NULL) != MOEQ_OK;
    n_wrong += !(fabs(error - c->report.error) <= 1e-9 * c->report.error);
    *first = isnan(*first) ? error : *first;
    n_wrong += error != *first;
    for (uint64_t i = 0; i < c->rows * c->n; i++)
        if (c->factor.diagonal[i % c->n] <= 0)
            q[i] = 1000;
    n_wrong += moeq_gptq_measure(&c->factor, c->rows, c->w, q, c->pool, &again, NULL) != MOEQ_OK;
    n_wrong += again != error;
    n_wrong += moeq_gptq_measure(&c->factor, c->rows, c->w, c->w, c->pool, &error, NULL) != MOEQ_OK;
    n_wrong += error != 0;
    for (uint64_t i = 0; i < c->rows * c->n; i++)
        q[i] = 0.9f * c->w[i] + 0.001f;
    double plain = 0, *values = malloc(c->n * sizeof *values);
    for (uint64_t r = 0; r < c->rows; r++) {
        for (uint64_t i = 0; i < c->n; i++)
            values[i] = c->factor.diagonal[i] > 0 ? (double)q[r * c->n + i] : 0;
        plain += error_of(c, r, values);
    }
    n_wrong += moeq_gptq_measure(&c->factor, c->rows, c->w, q, c->pool, &error, NULL) != MOEQ_OK;
    n_wrong += !(fabs(error - plain) <= 1e-9 * plain);
    if (n_wrong)
        printf("\n    %s, %s, %llu x %llu: %d wrong", moeq_kernels()->name, text, (unsigned long long)c->rows,
               (unsigned long long)c->n, n_wrong);
    free(values);
    free(q);
    return n_wrong;
}

static int measure_all(void)
{
    /* rows, inputs, tokens, each so many columns dead */
    static const uint64_t cases[][4] = {
        {1, 1, 5, 0}, {7, 31, 100, 0}, {65, 64, 500, 6}, {3, 130, 300, 3}, {130, 257, 900, 9}};
    static const char *const formats[] = {"int2-g64", "int4-g32-asym", "int8-g128", "fp8"};
    struct moeq_pool *pools[2] = {moeq_pool_create(1, NULL), moeq_pool_create(3, NULL)};
    int n_wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t p = 0; p < 2; p++) {
            struct calibrated c = calibrate(pools[p], cases[i][0], cases[i][1], cases[i][2], cases[i][3], 1);
            for (size_t f = 0; f < 4; f++)
                n_wrong += check_measured(&c, formats[f], &first_errors[i * 4 + f]);
            free_calibrated(&c);
        }
    moeq_pool_join(pools[0]);
    moeq_pool_join(pools[1]);
    return n_wrong;
}

static void test_measure(void)
{
    const size_t n = 32 * sizeof *first_errors;
    first_errors = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_FATAL(first_errors != MAP_FAILED);
    for (size_t i = 0; i < 32; i++)
        first_errors[i] = (double)NAN;
    in_every_set(measure_all);
    munmap(first_errors, n);
}

/* ---- what it is for ---- */

static void test_lower_error(void)
{
    static const char *const formats[] = {"fp8",           "int8-g128", "int4-g128",
                                          "int4-g64-asym", "int3-g64",  "int2-g64"};
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    struct calibrated c = calibrate(pool, 96, 256, 2000, 0, 1);
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        struct moeq_format format;
        if (!has_format(formats[f], &format))
            continue;
        CU_ASSERT_EQUAL(encode_calibrated(&c, &format, NULL), MOEQ_OK);
        printf("\n    %-14s error %.3f of the nearest codes' ", formats[f],
               c.report.error / c.report.nearest_error);
        CU_ASSERT_TRUE(c.report.error < 0.7 * c.report.nearest_error);
    }
    free_calibrated(&c);
    moeq_pool_join(pool);
}

/* Without correlations there is nothing to feed back: the nearest codes, and about as good as the level's own
 * search. */
static void test_identity(void)
{
    struct moeq_pool *pool = moeq_pool_create(1, NULL);
    struct calibrated c = calibrate(pool, 16, 130, 200, 0, 1);
    moeq_gptq_free(&c.factor);
    for (uint64_t i = 0; i < c.n * c.n; i++)
        c.h.sums[i] = i % (c.n + 1) == 0;
    c.h.weight = 1;
    CU_ASSERT_EQUAL_FATAL(
        moeq_gptq_prepare(&c.factor, &c.h, (struct moeq_gptq_options){.activation_order = true}, pool, NULL),
        MOEQ_OK);
    for (size_t f = 0; f < N_INTEGER_FORMATS; f++) {
        struct moeq_format format;
        if (!has_format(integer_formats[f], &format))
            continue;
        CU_ASSERT_EQUAL(encode_calibrated(&c, &format, NULL), MOEQ_OK);
        CU_ASSERT_TRUE(c.report.error == c.report.nearest_error);
        struct moeq_matrix own;
        struct moeq_bytes bytes = {0};
        float row[130];
        double error = 0;
        CU_ASSERT_EQUAL(encode(&own, &bytes, integer_formats[f], c.w, c.rows, c.n, NULL), MOEQ_OK);
        for (uint64_t r = 0; r < c.rows; r++) {
            moeq_decode(&own, r, 0, c.n, row);
            for (uint64_t i = 0; i < c.n; i++)
                error += pow((double)row[i] - (double)c.w[r * c.n + i], 2);
        }
        CU_ASSERT_DOUBLE_EQUAL(c.report.error / error, 1, 0.02);
        moeq_bytes_free(&bytes);
    }
    free_calibrated(&c);
    moeq_pool_join(pool);
}

/* The inverse of a positive matrix, by Gauss and Jordan. */
static void invert(double *a, uint64_t n, double *inverse)
{
    for (uint64_t i = 0; i < n * n; i++)
        inverse[i] = i % (n + 1) == 0;
    for (uint64_t p = 0; p < n; p++) {
        const double pivot = a[p * n + p];
        for (uint64_t c = 0; c < n; c++) {
            a[p * n + c] /= pivot;
            inverse[p * n + c] /= pivot;
        }
        for (uint64_t r = 0; r < n; r++) {
            const double factor = r == p ? 0 : a[r * n + p];
            for (uint64_t c = 0; c < n; c++) {
                a[r * n + c] -= factor * a[p * n + c];
                inverse[r * n + c] -= factor * inverse[p * n + c];
            }
        }
    }
}

/* U upper triangular with inverse = U^T U, in place. */
static void factor_upper(double *u, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        for (uint64_t k = 0; k < i; k++)
            for (uint64_t j = i; j < n; j++)
                u[i * n + j] -= u[k * n + i] * u[k * n + j];
        const double root = sqrt(u[i * n + i]);
        for (uint64_t j = i; j < n; j++)
            u[i * n + j] /= root;
    }
}

/* GPTQ as it is published, with the inverse and its factor, gives the same codes. */
static void test_published(void)
{
    struct moeq_pool *pool = moeq_pool_create(1, NULL);
    struct calibrated c = calibrate(pool, 20, 128, 700, 0, 1);
    const struct moeq_format format = format_of("int4-g32");
    const uint64_t n = c.n;
    CU_ASSERT_EQUAL(encode_calibrated(&c, &format, NULL), MOEQ_OK);
    double *a = damped_mean(&c.h, c.factor.order, 0.01), *u = malloc(n * n * sizeof *u), w[128];
    float decoded[128];
    int n_other = 0;
    invert(a, n, u);
    factor_upper(u, n);
    for (uint64_t r = 0; r < c.rows; r++) {
        moeq_decode(&c.m, r, 0, n, decoded);
        for (uint64_t i = 0; i < n; i++)
            w[i] = weight_at(&c, r, c.factor.order[i]);
        for (uint64_t i = 0; i < n; i++) {
            const uint64_t column = c.factor.order[i];
            const double q = nearest_value(w[i], scale_at(&c, r, column), 4), e = (w[i] - q) / u[i * n + i];
            n_other += q != (double)decoded[column];
            for (uint64_t j = i; j < n; j++)
                w[j] -= e * u[i * n + j];
        }
    }
    CU_ASSERT_EQUAL(n_other, 0);
    free(a);
    free(u);
    free_calibrated(&c);
    moeq_pool_join(pool);
}

static void test_refused(void)
{
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    struct calibrated c = calibrate(pool, 130, 40, 100, 0, 1);
    static const char *const formats[] = {"int4-g32", "fp8"};
    struct moeq_format format = format_of("bf16");
    CU_ASSERT_EQUAL(encode_calibrated(&c, &format, NULL), MOEQ_UNSUPPORTED);
    c.w[129 * 40 + 7] = NAN;
    for (size_t f = 0; f < 2; f++) {
        struct moeq_error err = {0};
        format = format_of(formats[f]);
        CU_ASSERT_EQUAL(encode_calibrated(&c, &format, &err), MOEQ_DAMAGED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "row 129, column 7"));
    }
    free_calibrated(&c);
    moeq_pool_join(pool);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"the codes of the definition in every instruction set", test_every_set},
        {"errors of given values in every instruction set", test_measure},
        {"a lower error on correlated inputs", test_lower_error},
        {"nothing to feed back", test_identity},
        {"the codes of GPTQ as published", test_published},
        {"what is refused", test_refused},
        {NULL, NULL},
    };
    return unit_main("gptq", tests);
}
