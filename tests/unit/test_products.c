/* Products: whatever CPU a user has and however many tokens come together, y = x * W^T must be what plain
 * sums in double precision give. */
#include "sets.h"
#include "weights.h"

#include "matmul.h"
#include "scalar.h"

#include <math.h>

#define MOST_TOKENS 70
#define MOST_ROWS   97
#define MOST_COLS   301
#define BETWEEN     5 /* floats behind each row of x and y that are not of it */
#define UNTOUCHED   12345.0f
#define ERROR       2e-6 /* of the sum of magnitudes */

struct product {
    struct moeq_matrix w;
    enum moeq_arithmetic arithmetic;
    struct moeq_pool *pool;
    struct moeq_scratch scratch;
    const float *x; /* [MOST_TOKENS, ldx] */
    uint64_t ldx, ldy;
};

/* All that this file knows of how products are called: by each of the three functions, which must agree. */
static bool multiply(struct product *p, uint64_t n_tokens, float *y)
{
    struct moeq_activations activations = {0};
    const bool done = !moeq_activations_set(&activations, p->pool, p->arithmetic, p->x, p->ldx, NULL,
                                            n_tokens, p->w.cols, NULL) &&
                      !moeq_matmul(p->pool, &p->scratch, &p->w, &activations, y, p->ldy, NULL);
    moeq_activations_free(&activations);
    return done;
}

/* The same values by way of the two functions that go on computing: added to ones, and gated. Tokens are rows
 * in another order. */
static int check_others(struct product *p, uint64_t n_tokens, const float *all)
{
    static float sums[MOST_TOKENS * MOST_ROWS], weights[MOST_TOKENS];
    static uint32_t rows[MOST_TOKENS];
    const uint64_t n_rows = p->w.rows;
    struct moeq_activations x = {0}, gated = {0};
    int n_wrong = 0;
    for (uint64_t t = 0; t < n_tokens; t++) {
        rows[t] = (uint32_t)(n_tokens - 1 - t);
        weights[t] = (float)(t + 1) / 4;
    }
    for (uint64_t i = 0; i < n_tokens * n_rows; i++)
        sums[i] = 1;
    const struct moeq_sums to = {sums, n_rows, rows, weights};
    n_wrong += moeq_activations_set(&x, p->pool, p->arithmetic, p->x, p->ldx, rows, n_tokens, p->w.cols,
                                    NULL) != MOEQ_OK;
    n_wrong += moeq_matmul_add(p->pool, &p->scratch, &p->w, &x, &to, NULL) != MOEQ_OK;
    for (uint64_t t = 0; t < n_tokens; t++)
        for (uint64_t r = 0; r < n_rows; r++)
            n_wrong += sums[rows[t] * n_rows + r] != 1 + weights[t] * all[rows[t] * p->ldy + r];
    /* The gated values through a matrix that picks one of them: what they are can then be seen. */
    const uint64_t picked = n_rows / 2;
    float *unit = calloc(n_rows, sizeof *unit), out[MOST_TOKENS];
    unit[picked] = 1;
    const struct moeq_matrix pick = {moeq_format_of_dtype(MOEQ_F32), 1, n_rows, (const uint8_t *)unit,
                                     n_rows * sizeof *unit};
    n_wrong += moeq_matmul_gated(p->pool, &p->scratch, &p->w, &p->w, &x, &gated, NULL) != MOEQ_OK;
    n_wrong += moeq_matmul(p->pool, &p->scratch, &pick, &gated, out, 1, NULL) != MOEQ_OK;
    for (uint64_t t = 0; t < n_tokens; t++) {
        const double v = (double)all[rows[t] * p->ldy + picked], expected = v / (1 + exp(-v)) * v;
        n_wrong += !(fabs((double)out[t] - expected) <=
                     (p->arithmetic == MOEQ_EXACT ? 4e-6 : 5e-3) * fabs(expected) + 1e-30);
    }
    free(unit);
    moeq_activations_free(&x);
    moeq_activations_free(&gated);
    return n_wrong;
}

/* What the products make of an activation, and of a weight of a level without codes. */
static double as_multiplied(const struct product *p, float x)
{
    const bool rounded = p->arithmetic != MOEQ_EXACT && moeq_has_fast_products();
    return (double)(rounded ? moeq_bf16_decode(moeq_bf16_encode(x)) : x);
}

/* Sums, and sums of magnitudes that errors are measured against: [MOST_TOKENS, rows] each. */
static void sum_plainly(const struct product *p, double *sums, double *sizes)
{
    const bool has_codes = p->w.format.level->bits < 16 || p->arithmetic == MOEQ_FEW;
    float row[MOST_COLS];
    for (uint64_t r = 0; r < p->w.rows; r++) {
        moeq_decode(&p->w, r, 0, p->w.cols, row);
        for (uint64_t t = 0; t < MOST_TOKENS; t++) {
            double sum = 0, size = 1e-9;
            for (uint64_t c = 0; c < p->w.cols; c++) {
                const double w = has_codes ? (double)row[c] : as_multiplied(p, row[c]);
                const double product = w * as_multiplied(p, p->x[t * p->ldx + c]);
                sum += product;
                size += fabs(product);
            }
            sums[t * p->w.rows + r] = sum;
            sizes[t * p->w.rows + r] = size;
        }
    }
}

/* Errors of n_tokens tokens; `all` is the result for MOST_TOKENS, of which each token's must be the same
 * bits. */
static int compare(const struct product *p, uint64_t n_tokens, const double *sums, const double *sizes,
                   const float *all, const float *y)
{
    int n_wrong = 0;
    for (uint64_t t = 0; t < MOST_TOKENS; t++)
        for (uint64_t r = 0; r < p->ldy; r++) {
            const float found = y[t * p->ldy + r];
            const uint64_t i = t * p->w.rows + r;
            if (t >= n_tokens || r >= p->w.rows)
                n_wrong += found != UNTOUCHED;
            else
                n_wrong += !(fabs((double)found - sums[i]) <= ERROR * sizes[i]) ||
                           moeq_float_bits(found) != moeq_float_bits(all[t * p->ldy + r]);
        }
    return n_wrong;
}

static int check_tokens(struct product *p, struct moeq_pool *others)
{
    static double sums[MOST_TOKENS * MOST_ROWS], sizes[MOST_TOKENS * MOST_ROWS];
    static float all[MOST_TOKENS * (MOST_ROWS + BETWEEN)], y[MOST_TOKENS * (MOST_ROWS + BETWEEN)];
    struct moeq_pool *first = p->pool;
    const uint64_t most = p->arithmetic == MOEQ_FEW ? MOEQ_FEW_TOKENS : MOST_TOKENS;
    int n_wrong = 0;
    sum_plainly(p, sums, sizes);
    n_wrong += !multiply(p, most, all);
    n_wrong += check_others(p, most, all);
    for (uint64_t n_tokens = 0; n_tokens <= most; n_tokens++) {
        p->pool = n_tokens % 8 == 6 ? others : first; /* the number of threads changes nothing */
        for (uint64_t i = 0; i < MOST_TOKENS * p->ldy; i++)
            y[i] = UNTOUCHED;
        n_wrong += !multiply(p, n_tokens, y) + compare(p, n_tokens, sums, sizes, all, y);
    }
    p->pool = first;
    return n_wrong;
}

static int check_shape(const char *format, uint64_t rows, uint64_t cols, struct moeq_pool *pools[2])
{
    struct product p = {.pool = pools[0], .ldx = cols + BETWEEN, .ldy = rows + BETWEEN};
    struct moeq_bytes bytes = {0};
    float *w = random_weights(rows * cols, rows), *x = random_weights(MOST_TOKENS * p.ldx, cols);
    static const char *const names[] = {"exact", "fast", "few"};
    int n_wrong = 0;
    for (uint64_t t = 0; t < MOST_TOKENS; t++)
        for (uint64_t c = cols; c < p.ldx; c++)
            x[t * p.ldx + c] = NAN; /* of no row */
    p.x = x;
    n_wrong += encode(&p.w, &bytes, format, w, rows, cols, NULL) != MOEQ_OK;
    n_wrong += moeq_scratch_init(&p.scratch, pools[1], NULL) != MOEQ_OK; /* the larger serves both */
    for (int a = MOEQ_EXACT; a <= MOEQ_FEW; a++) {
        p.arithmetic = (enum moeq_arithmetic)a;
        const int n = check_tokens(&p, pools[1]);
        if (n)
            printf("\n    %s, %s, %s %llu x %llu: %d wrong", moeq_kernels()->name, names[a], format,
                   (unsigned long long)rows, (unsigned long long)cols, n);
        n_wrong += n;
    }
    moeq_scratch_free(&p.scratch);
    moeq_bytes_free(&bytes);
    free(w);
    free(x);
    return n_wrong;
}

static int check_all(void)
{
    static const char *const formats[] = {
        "f32",           "bf16",     "fp8",           "int8-g32",  "int8-g64",       "int8-g128",
        "int4-g32",      "int4-g64", "int4-g64-asym", "int4-g128", "int4-g128-asym", "int6-g64",
        "int5-g32-asym", "int3-g64", "int3-g32-asym", "int2-g32",  "int2-g128-asym"};
    static const uint64_t shapes[][2] = {{1, 1},    {1, 301},  {5, 2},   {11, 31},  {12, 32}, {13, 33},
                                         {24, 127}, {25, 128}, {36, 65}, {97, 129}, {31, 301}};
    struct moeq_pool *pools[2] = {moeq_pool_create(1, NULL), moeq_pool_create(3, NULL)};
    int n_wrong = !pools[0] || !pools[1];
    for (size_t f = 0; !n_wrong && f < sizeof formats / sizeof *formats; f++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            n_wrong += check_shape(formats[f], shapes[s][0], shapes[s][1], pools);
    moeq_pool_join(pools[0]);
    moeq_pool_join(pools[1]);
    return n_wrong;
}

static void test_every_set(void)
{
    in_every_set(check_all);
}

int main(void)
{
    const struct unit_test tests[] = {
        {"0 to 70 tokens in every instruction set", test_every_set},
        {NULL, NULL},
    };
    return unit_main("products", tests);
}
