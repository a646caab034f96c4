/* How fast entropy coding is on one core: bench_rans [codes]. For each instruction set of this machine and
 * Gaussian codes of several entropies: bits of a code, its share above the entropy, codes encoded and decoded
 * in a second. The best of some runs. Not a test: it asserts nothing but that what comes back is what went
 * in. */
#include "kernels.h"
#include "rans.h"

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

static void fill(int16_t *codes, uint64_t n, double deviation)
{
    for (uint64_t i = 0; i < n; i++)
        codes[i] = (int16_t)lrint(deviation * sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()));
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
            fflush(stdout);
            _exit(n_wrong);
        }
        int status = -1;
        n_wrong = child < 0 || waitpid(child, &status, 0) != child || status != 0;
    }
    free(codes);
    free(out);
    if (n_wrong)
        fprintf(stderr, "bench_rans: wrong\n");
    return n_wrong;
}
