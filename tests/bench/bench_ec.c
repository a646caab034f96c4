/* What the parts of level ec are worth: bench_ec MODEL STATS. For the matrices of the routed experts, at the
 * bytes of GPTQ's integers in groups of 64: the error of the outputs of GPTQ, and of level ec without one
 * part or another, in bits a weight that it takes more to have the error of all of it (a bit is worth a
 * factor of 4). Not a test. */
#include "bench.h"
#include "calibrated.h"
#include "ec.h"
#include "request.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *name;
    unsigned without;
} variants[] = {{"all of it", 0},
                {"without error feedback", MOEQ_EC_FEEDBACK},
                {"without steps by column (one step, one table)", MOEQ_EC_COLUMN_STEPS | MOEQ_EC_CLASSES},
                {"without tables by class of columns", MOEQ_EC_CLASSES},
                {"without a price for bits", MOEQ_EC_PRICE}};

#define N_VARIANTS (sizeof variants / sizeof *variants)

static const char *const levels[] = {"int2-g64", "int3-g64", "int4-g64"};

#define N_LEVELS (sizeof levels / sizeof *levels)

struct sums {
    double bits;                    /* of GPTQ */
    double gptq, parts[N_VARIANTS]; /* of log2 of the error over that of all of it, halved */
    uint64_t n;
};

struct bench {
    struct moeq_calibrated calibrated;
    struct moeq_pool *pool;
    struct moeq_bytes loaded, packed;
    struct sums sums[N_LEVELS];
    struct moeq_error err;
};

static void fail(const struct bench *b, enum moeq_status status)
{
    bench_check(status, &b->err);
}

/* At the bytes of one level; log2 of errors is corrected for bits that are a little off. */
static void compare(struct bench *b, size_t level, uint64_t rows, uint64_t cols, const float *w)
{
    struct moeq_format format;
    struct moeq_gptq_report gptq;
    struct sums *s = &b->sums[level];
    uint64_t n_bytes, n_padded;
    double logs[N_VARIANTS];
    fail(b, moeq_format_parse(levels[level], (struct moeq_format){.group = 64}, &format, &b->err));
    fail(b, moeq_packed_size(format, rows, cols, &n_bytes, &n_padded, &b->err));
    fail(b, moeq_bytes_resize(&b->packed, n_padded, &b->err));
    memset(b->packed.data, 0, n_padded);
    fail(b, moeq_gptq_encode(&b->calibrated.factor, &format, rows, w, false, b->pool, b->packed.data, &gptq,
                             &b->err));
    const double bits = 8 * (double)n_bytes / ((double)rows * (double)cols);
    for (size_t i = 0; i < N_VARIANTS; i++) {
        struct moeq_ec_report report;
        const struct moeq_ec_goal goal = {.bits = bits, .without = variants[i].without};
        fail(b, moeq_ec_encode(&b->calibrated.factor, rows, cols, w, goal, b->pool, NULL, &report, &b->err));
        const double taken = 8 * (double)report.n_bytes / ((double)rows * (double)cols);
        logs[i] = log2(report.error) / 2 + (taken - bits);
        s->parts[i] += logs[i] - logs[0];
    }
    s->gptq += log2(gptq.error) / 2 - logs[0];
    s->bits += bits;
    s->n++;
}

static void measure(struct bench *b, const struct moeq_source *source, const struct moeq_weight *weight)
{
    struct moeq_matrix matrix;
    float *w;
    fail(b, moeq_source_load(source, &weight, 1, &b->loaded, &matrix, &b->err));
    fail(b, moeq_calibrated_prepare(&b->calibrated, weight, &b->err));
    fail(b, moeq_calibrated_decode(&b->calibrated, &matrix, 0, 1, &w, &b->err));
    for (size_t l = 0; l < N_LEVELS; l++)
        compare(b, l, matrix.rows, matrix.cols, w);
}

static void print(const struct bench *b)
{
    printf("%-46s", "bits a weight");
    for (size_t l = 0; l < N_LEVELS; l++)
        printf(" %8.3f", b->sums[l].bits / (double)b->sums[l].n);
    printf("\n%-46s", "GPTQ in groups of 64");
    for (size_t l = 0; l < N_LEVELS; l++)
        printf(" %+8.3f", b->sums[l].gptq / (double)b->sums[l].n);
    for (size_t i = 1; i < N_VARIANTS; i++) {
        printf("\n%-46s", variants[i].name);
        for (size_t l = 0; l < N_LEVELS; l++)
            printf(" %+8.3f", b->sums[l].parts[i] / (double)b->sums[l].n);
    }
    printf("\n%llu matrices\n", (unsigned long long)b->sums[0].n);
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    struct moeq_source source;
    struct moeq_statistics statistics;
    if (argc != 3) {
        fprintf(stderr, "usage: bench_ec MODEL STATS\n");
        return 2;
    }
    fail(&b, moeq_source_open(&source, argv[1], &b.err));
    fail(&b, moeq_statistics_open_for(&statistics, argv[2], &source, &b.err));
    b.pool = moeq_pool_create(moeq_cpus_available(), &b.err);
    moeq_calibrated_init(&b.calibrated, &statistics, b.pool);
    for (size_t i = 0; i < source.n_weights; i++) {
        const struct moeq_weight *w = &source.weights[i];
        if (moeq_part_role(w->id.part) == MOEQ_ROLE_EXPERTS && (uint32_t)w->id.layer < source.config.n_layers)
            measure(&b, &source, w);
    }
    print(&b);
    moeq_calibrated_free(&b.calibrated);
    moeq_bytes_free(&b.loaded);
    moeq_bytes_free(&b.packed);
    moeq_pool_join(b.pool);
    moeq_statistics_close(&statistics);
    moeq_source_close(&source);
    return 0;
}
