#include "bench.h"
#include "bench_timing.h"
#include "file.h"
#include "hash.h"

#define HASHED_BYTES (64u << 20)

/* ---- encoding ---- */

enum { ROWS = 512, COLS = 2048, ROWS_AT_ONCE = 8 };

struct recoding {
    struct moeq_matrix from; /* BF16 */
    struct moeq_format format;
    struct moeq_bytes from_bytes, packed, some;
    uint64_t n_at_once; /* rows */
};

/* Decodes and encodes all rows, some at a time. Encoding the same again gives the same bytes. */
static enum moeq_status recode(void *context, struct moeq_error *err)
{
    struct recoding *r = context;
    float *some = (float *)(void *)r->some.data;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t row = 0; !status && row < ROWS; row += r->n_at_once) {
        for (uint64_t i = 0; i < r->n_at_once; i++)
            moeq_decode(&r->from, row + i, 0, COLS, some + i * COLS);
        status =
            r->format.level->encode(&r->format, ROWS, COLS, row, r->n_at_once, some, r->packed.data, err);
    }
    return status;
}

/* BF16 weights of about normal size. */
static enum moeq_status make_weights(struct recoding *r, struct moeq_error *err)
{
    struct moeq_bytes w = {0};
    r->from = (struct moeq_matrix){moeq_format_of_dtype(MOEQ_BF16), ROWS, COLS, NULL, ROWS * COLS * 2};
    enum moeq_status status = moeq_bytes_resize(&w, ROWS * COLS * sizeof(float), err);
    if (!status)
        status = moeq_bytes_resize(&r->from_bytes, r->from.n_bytes, err);
    if (!status) {
        r->from.data = r->from_bytes.data;
        moeq_bench_fill((float *)(void *)w.data, ROWS * COLS, 0.02f);
        status = moeq_bench_pack(r->from.format, ROWS, COLS, (const float *)(const void *)w.data,
                                 &r->from_bytes, err);
    }
    moeq_bytes_free(&w);
    return status;
}

enum moeq_status moeq_bench_encode(struct moeq_format format, double *rate, struct moeq_error *err)
{
    struct recoding r = {.format = format, .n_at_once = moeq_larger(format.level->block_rows, ROWS_AT_ONCE)};
    uint64_t n_bytes, n_padded;
    double per_second = 0;
    enum moeq_status status = moeq_packed_size(format, ROWS, COLS, &n_bytes, &n_padded, err);
    if (!status)
        status = make_weights(&r, err);
    if (!status)
        status = moeq_bytes_resize(&r.some, r.n_at_once * COLS * sizeof(float), err);
    if (!status)
        status = moeq_bytes_resize(&r.packed, (size_t)n_padded, err);
    if (!status) {
        memset(r.packed.data, 0, r.packed.n_bytes);
        status = moeq_bench_rate(CLOCK_THREAD_CPUTIME_ID, recode, &r, &per_second, err);
    }
    *rate = per_second * (double)r.from.n_bytes / 1e9;
    moeq_bytes_free(&r.from_bytes);
    moeq_bytes_free(&r.some);
    moeq_bytes_free(&r.packed);
    return status;
}

/* ---- hashing ---- */

static const char self[] = "/proc/self/exe"; /* at hand everywhere, and in the page cache */

static enum moeq_status hash_bytes(void *context, struct moeq_error *err)
{
    struct moeq_bytes *bytes = context;
    (void)err;
    bytes->data[0] ^= moeq_hash_bytes(bytes->data, bytes->n_bytes).bytes[0];
    return MOEQ_OK;
}

static enum moeq_status hash_file(void *context, struct moeq_error *err)
{
    char hex[MOEQ_SHA256_HEX];
    (void)context;
    return moeq_sha256_file(self, hex, err);
}

enum moeq_status moeq_bench_hashes(double *xxh3, double *sha256, struct moeq_error *err)
{
    struct moeq_bytes bytes = {0};
    struct moeq_file file;
    double per_second = 0;
    enum moeq_status status = moeq_bytes_resize(&bytes, HASHED_BYTES, err);
    if (!status) {
        memset(bytes.data, 1, bytes.n_bytes);
        status = moeq_bench_rate(CLOCK_THREAD_CPUTIME_ID, hash_bytes, &bytes, &per_second, err);
        *xxh3 = per_second * HASHED_BYTES / 1e9;
    }
    moeq_bytes_free(&bytes);
    if (!status)
        status = moeq_file_open(&file, self, err);
    if (!status) {
        const double n_bytes = (double)file.n_bytes;
        moeq_file_close(&file);
        status = moeq_bench_rate(CLOCK_THREAD_CPUTIME_ID, hash_file, NULL, &per_second, err);
        *sha256 = per_second * n_bytes / 1e9;
    }
    return status;
}
