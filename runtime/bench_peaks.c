#include "bench.h"
#include "bench_timing.h"
#include "kernels.h"

#include <stdlib.h>

#define STREAM_BYTES (256u << 20)
#define LARGE_ENOUGH (1u << 16) /* runs of a peak loop, to begin with */

/* ---- arithmetic ---- */

static double peak_of(uint64_t (*run)(uint64_t))
{
    double rates[MOEQ_BENCH_RUNS];
    if (!run)
        return 0;
    uint64_t n = LARGE_ENOUGH;
    for (int i = 0; i < MOEQ_BENCH_RUNS;) {
        const double begin = moeq_bench_clock(CLOCK_THREAD_CPUTIME_ID);
        const uint64_t operations = run(n);
        const double seconds = moeq_bench_clock(CLOCK_THREAD_CPUTIME_ID) - begin;
        if (seconds < MOEQ_BENCH_LEAST_TIME)
            n *= 2;
        else
            rates[i++] = (double)operations / seconds / 1e9;
    }
    return moeq_bench_median(rates);
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
    double rates[MOEQ_BENCH_RUNS];
    if (!run)
        return 0;
    const double operations_of_one = (double)run(1);
    struct together t = {run, (uint64_t)(one * 1e9 * 4 * MOEQ_BENCH_LEAST_TIME / operations_of_one)};
    for (int i = 0; i < MOEQ_BENCH_RUNS; i++) {
        const double begin = moeq_bench_clock(CLOCK_MONOTONIC);
        moeq_pool_for(pool, jobs, 1, run_share, &t, NULL);
        rates[i] =
            (double)(jobs * t.n) * operations_of_one / (moeq_bench_clock(CLOCK_MONOTONIC) - begin) / 1e9;
    }
    return moeq_bench_median(rates);
}

/* ---- memory ---- */

struct stream {
    struct moeq_bytes from, to;
    uint64_t sums[MOEQ_POOL_MAX_JOBS]; /* so that nothing read is left out */
};

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

static enum moeq_status copy_share(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                   struct moeq_error *err)
{
    struct stream *s = context;
    (void)worker;
    (void)err;
    memcpy(s->to.data + begin, s->from.data + begin, end - begin);
    return MOEQ_OK;
}

static enum moeq_status read_share(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                   struct moeq_error *err)
{
    struct stream *s = context;
    (void)err;
    s->sums[worker] +=
        sum_words((const uint64_t *)(const void *)(s->to.data + begin), (end - begin) / sizeof(uint64_t));
    return MOEQ_OK;
}

/* 10^9 bytes a second of `share` over all of a stream. */
static double stream_rate(struct stream *s, struct moeq_pool *pool, clockid_t clock, moeq_pool_piece *share)
{
    const uint64_t grain = moeq_round_up(moeq_div_up(STREAM_BYTES, moeq_pool_jobs(pool)), 64);
    double rates[MOEQ_BENCH_RUNS];
    for (int i = 0; i < MOEQ_BENCH_RUNS; i++) {
        const double begin = moeq_bench_clock(clock);
        moeq_pool_for(pool, STREAM_BYTES, grain, share, s, NULL);
        rates[i] = STREAM_BYTES / (moeq_bench_clock(clock) - begin) / 1e9;
    }
    return moeq_bench_median(rates);
}

static enum moeq_status measure_memory(struct moeq_pool *pool, struct moeq_pool *alone,
                                       struct moeq_peaks *peaks, struct moeq_error *err)
{
    struct stream *s = moeq_calloc(1, sizeof *s, err);
    enum moeq_status status = s ? moeq_bytes_resize(&s->from, STREAM_BYTES, err) : MOEQ_OVER_MEMORY;
    if (!status)
        status = moeq_bytes_resize(&s->to, STREAM_BYTES, err);
    if (!status) {
        memset(s->from.data, 1, STREAM_BYTES);
        memset(s->to.data, 1, STREAM_BYTES);
        peaks->copy = stream_rate(s, alone, CLOCK_THREAD_CPUTIME_ID, copy_share);
        peaks->read = stream_rate(s, alone, CLOCK_THREAD_CPUTIME_ID, read_share);
        peaks->copy_all = stream_rate(s, pool, CLOCK_MONOTONIC, copy_share);
        peaks->read_all = stream_rate(s, pool, CLOCK_MONOTONIC, read_share);
    }
    if (s) {
        moeq_bytes_free(&s->from);
        moeq_bytes_free(&s->to);
    }
    free(s);
    return status;
}

enum moeq_status moeq_bench_peaks(struct moeq_pool *pool, struct moeq_peaks *peaks, struct moeq_error *err)
{
    const struct moeq_kernels *k = moeq_kernels();
    struct moeq_pool *alone = moeq_pool_create(1, err);
    *peaks = (struct moeq_peaks){
        .f32 = peak_of(k->peak_f32), .bf16 = peak_of(k->peak_bf16), .int8 = peak_of(k->peak_int8)};
    if (!alone)
        return MOEQ_OVER_MEMORY;
    peaks->f32_all = peak_together(pool, k->peak_f32, peaks->f32);
    peaks->bf16_all = peak_together(pool, k->peak_bf16, peaks->bf16);
    peaks->int8_all = peak_together(pool, k->peak_int8, peaks->int8);
    enum moeq_status status = measure_memory(pool, alone, peaks, err);
    moeq_pool_join(alone);
    return status;
}
