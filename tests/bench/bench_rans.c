/* How fast entropy coding is on one core: bench_rans [codes]. For each instruction set of this machine and
 * Gaussian codes of several entropies: bits of a code, its share above the entropy, codes encoded and decoded
 * in a second. The best of some runs. Not a test: it asserts nothing but that what comes back is what went
 * in. */
#include "kernels.h"
#include "lossless.h"
#include "scalar.h"
#include "source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define N_RUNS 9

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double uniform(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return ((double)(state >> 11) + 0.5) * 0x1p-53;
}

static double gaussian(void)
{
    return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

static void fill(int16_t *codes, uint64_t n, double deviation)
{
    for (uint64_t i = 0; i < n; i++)
        codes[i] = (int16_t)lrint(deviation * gaussian());
}

static double entropy(const struct moeq_rans_histogram *h, uint64_t n)
{
    double bits = 0;
    for (int i = 0; i < MOEQ_RANS_SYMBOLS; i++)
        if (h->counts[i])
            bits += (double)h->counts[i] * log2((double)n / (double)h->counts[i]);
    return bits / (double)n;
}

static int run(const int16_t *codes, int8_t *out, uint64_t n)
{
    const uint32_t chunk = moeq_rans_rows_chunk(2048);
    struct moeq_rans_histogram histogram = {0};
    struct moeq_rans_table table;
    struct moeq_rans_stream stream;
    struct moeq_bytes coded = {0};
    uint8_t bytes[MOEQ_RANS_TABLE_BYTES];
    static struct moeq_rans_decoder decoder;
    double encoding = 1e9, decoding = 1e9;
    moeq_rans_count(&histogram, codes, n);
    moeq_rans_table_make(&histogram, &table);
    moeq_rans_decoder_init(&decoder, &table);
    for (int i = 0; i < N_RUNS; i++) {
        double begin = now();
        if (moeq_rans_encode(&table, codes, n, chunk, NULL, &coded, NULL) ||
            moeq_rans_stream_open(&stream, coded.data, coded.n_bytes, n, chunk, NULL))
            return 1;
        encoding = fmin(encoding, now() - begin);
        begin = now();
        if (moeq_rans_decode(&decoder, &stream, 0, stream.n_chunks, out, NULL, NULL))
            return 1;
        decoding = fmin(decoding, now() - begin);
    }
    for (uint64_t i = 0; i < n; i++)
        if (out[i] != codes[i])
            return 1;
    const double bits = 8 * (double)coded.n_bytes / (double)n, least = entropy(&histogram, n);
    printf("  %.3f bits, %+.2f%% and a table of %zu bytes: encodes %.2f G/s, decodes %.2f G/s\n", bits,
           100 * (bits / least - 1), moeq_rans_table_write(&table, bytes), (double)n / encoding * 1e-9,
           (double)n / decoding * 1e-9);
    moeq_bytes_free(&coded);
    return 0;
}

/* ---- without loss ---- */

struct lossless {
    uint64_t n_data, n_coded;  /* n_coded: with its table */
    double encoding, decoding; /* seconds */
};

/* Adds what `n` bytes take; false where they do not come back. */
static bool add_lossless(enum moeq_lossless kind, const uint8_t *data, uint64_t n, uint8_t *back, int n_runs,
                         struct lossless *sum)
{
    static struct moeq_rans_decoder decoder;
    struct moeq_bytes coded = {0};
    double encoding = 1e9, decoding = 1e9;
    bool is_right = true;
    uint8_t bytes[MOEQ_RANS_TABLE_BYTES];
    size_t n_table = 0;
    for (int i = 0; is_right && i < n_runs; i++) {
        struct moeq_rans_histogram histogram = {0};
        struct moeq_rans_table table;
        double begin = now();
        moeq_lossless_count(kind, data, n, &histogram);
        moeq_rans_table_make(&histogram, &table);
        is_right = !moeq_lossless_encode(kind, &table, data, n, NULL, &coded, NULL);
        encoding = fmin(encoding, now() - begin);
        begin = now();
        moeq_rans_decoder_init(&decoder, &table);
        is_right =
            is_right && !moeq_lossless_decode(kind, &decoder, coded.data, coded.n_bytes, n, NULL, back, NULL);
        decoding = fmin(decoding, now() - begin);
        n_table = moeq_rans_table_write(&table, bytes);
    }
    is_right = is_right && memcmp(back, data, n) == 0;
    sum->n_data += n;
    sum->n_coded += coded.n_bytes + n_table;
    sum->encoding += encoding;
    sum->decoding += decoding;
    moeq_bytes_free(&coded);
    return is_right;
}

static void print_lossless(enum moeq_lossless kind, const struct lossless *s)
{
    printf("  %s: %.2f%%, encodes %.2f GB/s, decodes %.2f GB/s\n", moeq_lossless_names[kind],
           100 * (double)s->n_coded / (double)s->n_data, (double)s->n_data / s->encoding * 1e-9,
           (double)s->n_data / s->decoding * 1e-9);
}

static int run_lossless(uint64_t n)
{
    uint8_t *data = calloc(n + 1, 2), *back = calloc(n + 1, 2);
    int n_wrong = !data || !back;
    for (int kind = 0; !n_wrong && kind < MOEQ_N_LOSSLESS; kind++) {
        struct lossless sum = {0};
        for (uint64_t i = 0; i < n; i++) {
            const uint16_t bits = moeq_bf16_encode((float)(0.02 * gaussian()));
            if (kind == MOEQ_LOSSLESS_BF16)
                memcpy(data + 2 * i, &bits, sizeof bits);
            else /* as a block of 128 x 128 whose largest weight becomes 448 */
                data[i] = moeq_e4m3_encode((float)(448 / 4.0 * gaussian()));
        }
        n_wrong = !add_lossless((enum moeq_lossless)kind, data, kind == MOEQ_LOSSLESS_BF16 ? 2 * n : n, back,
                                N_RUNS, &sum);
        print_lossless((enum moeq_lossless)kind, &sum);
    }
    free(data);
    free(back);
    return n_wrong;
}

static int run_model(const char *path)
{
    struct moeq_source source;
    struct moeq_error err = {0};
    struct moeq_bytes buffer = {0}, back = {0};
    struct lossless sums[MOEQ_N_LOSSLESS] = {{0}};
    char text[1024];
    enum moeq_status status = moeq_source_open(&source, path, &err);
    bool is_right = true, is_open = !status;
    for (size_t i = 0; !status && is_right && i < source.n_weights; i++) {
        const struct moeq_weight *w = &source.weights[i];
        struct moeq_matrix m;
        const bool is_bf16 = w->format.level == &moeq_level_bf16 && w->rows > 1;
        if (!is_bf16 && w->format.level != &moeq_level_fp8)
            continue;
        const uint64_t n = w->rows * w->cols * (is_bf16 ? 2 : 1);
        status = moeq_source_load(&source, &w, 1, &buffer, &m, &err);
        if (!status)
            status = moeq_bytes_resize(&back, (size_t)n, &err);
        for (int kind = 0; !status && kind < MOEQ_N_LOSSLESS; kind++)
            if (is_bf16 == (kind == MOEQ_LOSSLESS_BF16))
                is_right =
                    is_right && add_lossless((enum moeq_lossless)kind, m.data, n, back.data, 3, &sums[kind]);
    }
    for (int kind = 0; !status && kind < MOEQ_N_LOSSLESS; kind++)
        if (sums[kind].n_data)
            print_lossless((enum moeq_lossless)kind, &sums[kind]);
    if (status)
        fprintf(stderr, "%s\n", moeq_error_format(&err, text, sizeof text));
    moeq_bytes_free(&buffer);
    moeq_bytes_free(&back);
    if (is_open)
        moeq_source_close(&source);
    return status || !is_right;
}

int main(int argc, char **argv)
{
    static const double deviations[] = {0.53, 0.97, 1.94, 3.87, 15.5};
    const uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 2048 * 1408;
    int16_t *codes = calloc(n + 1, sizeof *codes);
    int8_t *out = calloc(n + 1, sizeof *out);
    int n_wrong = !codes || !out;
    for (size_t set = 0; !n_wrong && moeq_kernels_at(set); set++) {
        const char *name = moeq_kernels_at(set + 1) ? moeq_kernels_at(set)->name : "scalar";
        printf("%s\n", name);
        fflush(stdout);
        const pid_t child = fork(); /* a process chooses its set once */
        if (child == 0) {
            setenv("MOEQ_CPU", name, 1);
            for (size_t i = 0; !n_wrong && i < sizeof deviations / sizeof *deviations; i++) {
                fill(codes, n, deviations[i]);
                n_wrong = run(codes, out, n);
            }
            n_wrong = n_wrong || run_lossless(n);
            fflush(stdout);
            _exit(n_wrong);
        }
        int status = -1;
        n_wrong = child < 0 || waitpid(child, &status, 0) != child || status != 0;
    }
    free(codes);
    free(out);
    if (!n_wrong && argc > 2) {
        printf("%s\n", argv[2]);
        n_wrong = run_model(argv[2]);
    }
    if (n_wrong)
        fprintf(stderr, "bench_rans: wrong\n");
    return n_wrong;
}
