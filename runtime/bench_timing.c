#include "bench_timing.h"

#include "interrupt.h"

#include <stdlib.h>

double moeq_bench_clock(clockid_t clock)
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

double moeq_bench_median(double values[MOEQ_BENCH_RUNS])
{
    qsort(values, MOEQ_BENCH_RUNS, sizeof *values, by_value);
    return values[MOEQ_BENCH_RUNS / 2];
}

enum moeq_status moeq_bench_rate(clockid_t clock, moeq_bench_call *call, void *context, double *per_second,
                                 struct moeq_error *err)
{
    double rates[MOEQ_BENCH_RUNS];
    uint64_t n = 1;
    enum moeq_status status = call(context, err);
    for (int i = 0; !status && i < MOEQ_BENCH_RUNS;) {
        const double begin = moeq_bench_clock(clock);
        for (uint64_t k = 0; !status && k < n; k++) {
            status = moeq_interrupt_check(err);
            if (!status)
                status = call(context, err);
        }
        const double seconds = moeq_bench_clock(clock) - begin;
        if (seconds < MOEQ_BENCH_LEAST_TIME)
            n *= 2;
        else
            rates[i++] = (double)n / seconds;
    }
    if (!status)
        *per_second = moeq_bench_median(rates);
    return status;
}

/* A congruential generator is random enough for a benchmark. */
void moeq_bench_fill(float *x, uint64_t n, float size)
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

enum moeq_status moeq_bench_pack(struct moeq_format format, uint64_t rows, uint64_t cols, const float *w,
                                 struct moeq_bytes *packed, struct moeq_error *err)
{
    const uint64_t step = format.level->block_rows;
    enum moeq_status status = MOEQ_OK;
    memset(packed->data, 0, packed->n_bytes);
    for (uint64_t r = 0; !status && r < rows; r += step)
        status = format.level->encode(&format, rows, cols, r, rows - r < step ? rows - r : step, w + r * cols,
                                      packed->data, err);
    return status;
}
