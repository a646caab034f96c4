/* What comes back is what went in, in the same bytes on every machine and for any threads, near the entropy;
 * and bytes that are not a stream are told, whatever they are. */
#include "hash.h"
#include "plain_rans.h"
#include "rans.h"
#include "sets.h"

#include <math.h>

static uint64_t random_state;

static uint32_t next_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

/* Near enough to a Gaussian of this deviation: the sum of twelve uniform numbers, in integers. */
static int16_t next_code(double deviation)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += next_random() * 0x1p-32;
    return (int16_t)lrint(sum * deviation);
}

static int16_t *gaussian(uint64_t n, double deviation, uint64_t seed)
{
    int16_t *codes = calloc(n + 1, sizeof *codes);
    random_state = seed;
    for (uint64_t i = 0; codes && i < n; i++)
        codes[i] = next_code(deviation);
    CU_ASSERT_PTR_NOT_NULL_FATAL(codes);
    return codes;
}

static double entropy_bytes(const struct moeq_rans_histogram *h, uint64_t n)
{
    double bits = 0;
    for (int i = 0; i < MOEQ_RANS_SYMBOLS; i++)
        if (h->counts[i])
            bits += (double)h->counts[i] * log2((double)n / (double)h->counts[i]);
    return bits / 8;
}

/* ---- round trips ---- */

struct coded {
    struct moeq_rans_table table;
    struct moeq_bytes bytes;
    uint64_t n;
    uint32_t chunk;
};

static int encode_with(struct coded *c, const int16_t *codes, uint64_t n, uint32_t chunk,
                       const struct moeq_rans_histogram *histogram, struct moeq_pool *pool)
{
    struct moeq_error err = {0};
    moeq_rans_table_make(histogram, &c->table);
    c->n = n;
    c->chunk = chunk;
    return moeq_rans_encode(&c->table, codes, n, chunk, pool, &c->bytes, &err) != MOEQ_OK;
}

static int encode(struct coded *c, const int16_t *codes, uint64_t n, uint32_t chunk)
{
    struct moeq_rans_histogram histogram = {0};
    moeq_rans_count(&histogram, codes, n);
    return encode_with(c, codes, n, chunk, &histogram, NULL);
}

/* Decodes by all ways that there are; the number of those that do not give the codes. */
static int count_wrong(const struct coded *c, const int16_t *codes)
{
    static struct moeq_rans_decoder decoder;
    struct moeq_rans_stream s;
    struct moeq_error err = {0};
    int16_t *wide = calloc(c->n + 1, sizeof *wide);
    int8_t *narrow = calloc(c->n + 1, sizeof *narrow);
    uint64_t n_outside = 0, n_expected = 0, n_wrong = 0;
    moeq_rans_decoder_init(&decoder, &c->table);
    if (!wide || !narrow ||
        moeq_rans_stream_open(&s, c->bytes.data, c->bytes.n_bytes, c->n, c->chunk, &err) ||
        moeq_rans_decode(&decoder, &s, 0, s.n_chunks, narrow, &n_outside, &err))
        n_wrong = 1;
    for (uint64_t i = 0; !n_wrong && i < s.n_chunks; i++)
        n_wrong = moeq_rans_decode_wide(&decoder, &s, i, wide + i * c->chunk, &err) != MOEQ_OK;
    for (uint64_t i = 0; !n_wrong && i < c->n; i++) {
        const bool is_outside = codes[i] > 127 || codes[i] < -128;
        n_expected += is_outside;
        if (wide[i] != codes[i] || narrow[i] != (!is_outside ? codes[i] : codes[i] > 0 ? 127 : -128))
            n_wrong = 1;
    }
    if (!n_wrong && n_expected != n_outside)
        n_wrong = 1;
    memset(wide, 0, c->n * sizeof *wide);
    if (!n_wrong && !plain_decode(&c->table, c->bytes.data, c->bytes.n_bytes, c->n, c->chunk, wide))
        n_wrong = 1;
    for (uint64_t i = 0; !n_wrong && i < c->n; i++)
        n_wrong = wide[i] != codes[i];
    if (err.status)
        printf("%s ", err.message);
    free(wide);
    free(narrow);
    return (int)n_wrong;
}

static int wrong_round_trip(const int16_t *codes, uint64_t n, uint32_t chunk)
{
    struct coded c = {0};
    const int n_wrong = encode(&c, codes, n, chunk) || count_wrong(&c, codes);
    if (n_wrong)
        printf("n %llu, chunk %u ", (unsigned long long)n, chunk);
    moeq_bytes_free(&c.bytes);
    return n_wrong;
}

/* ---- kinds of codes ---- */

static int16_t zero(void)
{
    return 0;
}

static int16_t lowest(void)
{
    return -128;
}

static int16_t two(void)
{
    return next_random() % 2 ? 127 : -128;
}

static int16_t uniform(void)
{
    return (int16_t)(int8_t)next_random();
}

static int16_t beyond(void)
{
    return (int16_t)(200 + (next_random() & 15));
}

static int16_t anything(void)
{
    return (int16_t)next_random();
}

static int16_t with_outliers(void)
{
    return next_random() % 100 ? next_code(1.5) : (int16_t)next_random();
}

static int16_t with_gaps(void)
{
    return (int16_t)(5 * next_code(1));
}

static int16_t rarely_one(void)
{
    return next_random() % 5000 == 0;
}

static int16_t far_from_zero(void)
{
    return (int16_t)(120 + next_random() % 8);
}

static int16_t (*const kinds[])(void) = {zero,     lowest,    two,        uniform,       beyond,
                                         anything, with_gaps, rarely_one, far_from_zero, with_outliers};

#define N_KINDS (sizeof kinds / sizeof *kinds)

static int every_kind(void)
{
    static const uint32_t sizes[] = {0, 1, 2, 15, 31, 32, 33, 63, 64, 100, 1000, 2047, 4099, 70000};
    static const uint32_t chunks[] = {1, 15, 32, 64, 1000, 2080, MOEQ_RANS_MAX_CHUNK};
    static int16_t codes[70000];
    int n_wrong = 0;
    for (size_t kind = 0; kind < N_KINDS; kind++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            random_state = kind * 1000 + i;
            for (uint32_t k = 0; k < sizes[i]; k++)
                codes[k] = kinds[kind]();
            for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++)
                if (sizes[i] < 10000 || chunks[c] > 1000)
                    n_wrong += wrong_round_trip(codes, sizes[i], chunks[c]);
        }
    return n_wrong;
}

static void round_trips(void)
{
    in_every_set(every_kind);
}

/* ---- the same bytes ---- */

/* Of all streams below; written down by a run of this test, which prints it. It changes with the layout and
 * with nothing else. */
#define ALL_BYTES "3c107081fec3feeb2c9b97e39824518c"

static int every_byte(void)
{
    static const double deviations[] = {0.4, 0.97, 2, 4, 15, 60};
    struct moeq_bytes all = {0};
    char hex[MOEQ_HASH_HEX] = "";
    moeq_bytes_resize(&all, 1 << 21, NULL);
    size_t at = 0;
    int n_wrong = 0;
    for (size_t d = 0; d < sizeof deviations / sizeof *deviations; d++) {
        const uint64_t n = 300000;
        int16_t *codes = gaussian(n, deviations[d], d);
        struct moeq_rans_histogram histogram = {0};
        struct coded c = {0}, threaded = {0};
        moeq_rans_count(&histogram, codes, n);
        struct moeq_pool *pool = moeq_pool_create(3, NULL);
        n_wrong += !pool || encode_with(&c, codes, n, 20000, &histogram, NULL) || count_wrong(&c, codes) ||
                   encode_with(&threaded, codes, n, 20000, &histogram, pool) ||
                   c.bytes.n_bytes != threaded.bytes.n_bytes ||
                   memcmp(c.bytes.data, threaded.bytes.data, c.bytes.n_bytes) != 0 ||
                   at + c.bytes.n_bytes > all.n_bytes;
        if (!n_wrong)
            memcpy(all.data + at, c.bytes.data, c.bytes.n_bytes);
        at += c.bytes.n_bytes;
        moeq_pool_join(pool);
        moeq_bytes_free(&c.bytes);
        moeq_bytes_free(&threaded.bytes);
        free(codes);
    }
    if (!n_wrong)
        moeq_hash_hex(moeq_hash_bytes(all.data, at), hex);
    moeq_bytes_free(&all);
    if (strcmp(hex, ALL_BYTES) != 0)
        printf("\"%s\" ", hex);
    return n_wrong + (strcmp(hex, ALL_BYTES) != 0);
}

static void same_bytes(void)
{
    in_every_set(every_byte);
}

/* ---- sizes ---- */

static void near_the_entropy(void)
{
    static const double deviations[] = {0.48, 0.97, 1.94, 3.88, 15.5}; /* 1.2, 2, 3, 4 and 6 bits */
    for (size_t d = 0; d < sizeof deviations / sizeof *deviations; d++)
        for (uint64_t n = 100000; n <= 1000000; n *= 10) {
            int16_t *codes = gaussian(n, deviations[d], d);
            struct moeq_rans_histogram histogram = {0};
            struct coded c = {0};
            uint8_t table[MOEQ_RANS_TABLE_BYTES];
            CU_ASSERT_EQUAL(encode(&c, codes, n, MOEQ_RANS_MAX_CHUNK), 0);
            moeq_rans_count(&histogram, codes, n);
            const double least = entropy_bytes(&histogram, n), share = (double)c.bytes.n_bytes / least - 1;
            const size_t n_table = moeq_rans_table_write(&c.table, table);
            printf("%.2f bits %+.2f%% table %zu, ", 8 * least / (double)n, 100 * share, n_table);
            CU_ASSERT_TRUE(share < 0.01);
            CU_ASSERT_TRUE(n_table < 100);
            moeq_bytes_free(&c.bytes);
            free(codes);
        }
}

/* Of a small matrix each byte counts. */
static void small_streams(void)
{
    const uint64_t n = 96 * 256;
    int16_t *codes = gaussian(n, 0.97, 1);
    struct moeq_rans_histogram histogram = {0};
    struct coded c = {0};
    CU_ASSERT_EQUAL(encode(&c, codes, n, moeq_rans_rows_chunk(256)), 0);
    moeq_rans_count(&histogram, codes, n);
    CU_ASSERT_TRUE((double)c.bytes.n_bytes < entropy_bytes(&histogram, n) + 45);
    moeq_bytes_free(&c.bytes);
    CU_ASSERT_EQUAL(encode(&c, codes, 100, 100), 0);
    CU_ASSERT_TRUE(c.bytes.n_bytes < 40);
    CU_ASSERT_EQUAL(encode(&c, codes, 0, 100), 0);
    CU_ASSERT_EQUAL(c.bytes.n_bytes, 0);
    free(codes);
    codes = calloc(1 << 20, sizeof *codes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(codes);
    CU_ASSERT_EQUAL(encode(&c, codes, 1 << 20, MOEQ_RANS_MAX_CHUNK), 0);
    CU_ASSERT_TRUE(c.bytes.n_bytes < 16 * 160);
    moeq_bytes_free(&c.bytes);
    free(codes);
}

static void costs(void)
{
    static const double deviations[] = {0.7, 1, 3};
    struct moeq_rans_histogram h[3] = {{{0}, 0}};
    struct moeq_rans_table tables[3];
    for (int i = 0; i < 3; i++) {
        struct coded c = {0};
        int16_t *codes = gaussian(500000, deviations[i], (uint64_t)i);
        codes[7] = 1000;
        codes[8] = -129;
        moeq_rans_count(&h[i], codes, 500000);
        CU_ASSERT_EQUAL(h[i].n_outside, 2);
        CU_ASSERT_EQUAL(encode(&c, codes, 500000, MOEQ_RANS_MAX_CHUNK), 0);
        tables[i] = c.table;
        const double bytes = (double)moeq_rans_cost(&h[i], &c.table) / 65536 / 8;
        CU_ASSERT_TRUE(fabs(bytes - (double)c.bytes.n_bytes) < 0.005 * bytes);
        moeq_bytes_free(&c.bytes);
        free(codes);
    }
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++)
            if (i != k)
                CU_ASSERT_TRUE(moeq_rans_cost(&h[i], &tables[i]) < moeq_rans_cost(&h[i], &tables[k]));
}

/* A table of other codes encodes these too. */
static void shared_tables(void)
{
    int16_t *codes = gaussian(50000, 3, 5), *others = gaussian(50000, 0.7, 6);
    struct moeq_rans_histogram histogram = {0};
    struct coded c = {0};
    moeq_rans_count(&histogram, others, 50000);
    CU_ASSERT_EQUAL(encode_with(&c, codes, 50000, 4096, &histogram, NULL), 0);
    CU_ASSERT_EQUAL(count_wrong(&c, codes), 0);
    moeq_bytes_free(&c.bytes);
    free(codes);
    free(others);
}

/* ---- several tables ---- */

#define MOST_RUNS 40

/* Codes whose deviation doubles from run to run, each with a table of its own, or the one before's. */
struct in_runs {
    struct moeq_rans_run runs[MOST_RUNS];
    size_t n_runs;
    uint64_t n;
    uint32_t chunk;
    int8_t *symbols, *decoded; /* [n] */
    struct moeq_rans_table tables[MOST_RUNS];
    struct moeq_rans_decoder *decoders; /* [MOST_RUNS] */
    struct moeq_bytes bytes;
};

/* A few runs that hold most codes, and many short ones, of which some begin no 32 codes. */
static const struct {
    uint32_t lengths[8], chunk;
} layouts[] = {
    {{1}, 1},
    {{31, 1}, 32},
    {{32, 32, 32}, 64},
    {{5, 1, 1, 2, 40, 3, 500}, 64},
    {{1000, 1, 1, 30, 2000, 7}, 1000},
    {{33, 64, 4095, 1, 4097, 31, 3}, 4096},
    {{60000, 9000, 1, 61000, 17, 128}, MOEQ_RANS_MAX_CHUNK},
    {{20000, 20000, 20000, 20000, 20000, 20000}, 48000},
    {{300, 300, 300, 300, 300, 300, 300, 300}, 15},
};

static void make_runs(struct in_runs *r, size_t layout, bool shares)
{
    *r = (struct in_runs){.chunk = layouts[layout].chunk};
    random_state = layout;
    for (; r->n_runs < 8 && layouts[layout].lengths[r->n_runs]; r->n_runs++)
        r->n += layouts[layout].lengths[r->n_runs];
    r->symbols = calloc(r->n, 1);
    r->decoded = calloc(r->n, 1);
    r->decoders = aligned_alloc(64, MOST_RUNS * sizeof *r->decoders);
    CU_ASSERT_FATAL(r->symbols && r->decoded && r->decoders);
    uint64_t at = 0;
    for (size_t i = 0; i < r->n_runs; i++) {
        struct moeq_rans_histogram histogram = {0};
        const uint64_t n = layouts[layout].lengths[i];
        for (uint64_t k = 0; k < n; k++)
            r->symbols[at + k] = (int8_t)next_code(0.3 * (double)(1u << i % 6));
        moeq_rans_count_bytes(&histogram, r->symbols + at, n);
        moeq_rans_table_make(&histogram, &r->tables[i]);
        const size_t table = shares && i % 2 ? i - 1 : i;
        moeq_rans_decoder_init(&r->decoders[i], &r->tables[table]);
        at += n;
        r->runs[i] = (struct moeq_rans_run){at, &r->tables[table], &r->decoders[i]};
    }
}

static void free_runs(struct in_runs *r)
{
    moeq_bytes_free(&r->bytes);
    free(r->symbols);
    free(r->decoded);
    free(r->decoders);
}

/* MOEQ_CHECK_FAILED: codes came back that are none of a byte. */
static enum moeq_status decode_runs(const struct in_runs *r, const uint8_t *bytes, uint64_t n_bytes,
                                    uint64_t first, uint64_t n_chunks, struct moeq_error *err)
{
    struct moeq_rans_stream s;
    uint64_t n_outside = 0;
    enum moeq_status status = moeq_rans_stream_open(&s, bytes, n_bytes, r->n, r->chunk, err);
    if (!status)
        status = moeq_rans_decode_runs(r->runs, &s, first, n_chunks ? n_chunks : s.n_chunks - first,
                                       r->decoded, &n_outside, err);
    return status ? status : n_outside ? MOEQ_CHECK_FAILED : MOEQ_OK;
}

/* All chunks together, each alone, and by the words of rans.h. */
static bool runs_come_back(const struct in_runs *r)
{
    const uint64_t n_chunks = (r->n + r->chunk - 1) / r->chunk;
    int16_t *wide = calloc(r->n, sizeof *wide);
    bool is_right = wide && !decode_runs(r, r->bytes.data, r->bytes.n_bytes, 0, 0, NULL) &&
                    memcmp(r->decoded, r->symbols, r->n) == 0 &&
                    plain_decode_runs(r->runs, r->bytes.data, r->bytes.n_bytes, r->n, r->chunk, wide);
    for (uint64_t i = 0; is_right && i < r->n; i++)
        is_right = wide[i] == r->symbols[i];
    for (uint64_t c = 0; is_right && c < n_chunks; c++) {
        const uint64_t left = r->n - c * r->chunk, n = left < r->chunk ? left : r->chunk;
        is_right = !decode_runs(r, r->bytes.data, r->bytes.n_bytes, c, 1, NULL) &&
                   memcmp(r->decoded, r->symbols + c * r->chunk, n) == 0;
    }
    free(wide);
    return is_right;
}

/* Of all streams with several tables; written down and changed as ALL_BYTES is. */
#define ALL_RUNS "d45605c37a7ab3ac68ff435e1eaaa130"

static int every_layout(void)
{
    struct moeq_hasher *hasher = moeq_hasher_create(NULL);
    struct moeq_pool *pool = moeq_pool_create(3, NULL);
    char hex[MOEQ_HASH_HEX] = "";
    int n_wrong = 0;
    for (size_t i = 0; i < 2 * sizeof layouts / sizeof *layouts; i++) {
        struct in_runs r;
        struct moeq_bytes threaded = {0};
        make_runs(&r, i / 2, i % 2);
        const bool is_right =
            !moeq_rans_encode_runs(r.runs, r.n_runs, r.symbols, r.chunk, NULL, &r.bytes, NULL) &&
            !moeq_rans_encode_runs(r.runs, r.n_runs, r.symbols, r.chunk, pool, &threaded, NULL) &&
            r.bytes.n_bytes == threaded.n_bytes &&
            memcmp(r.bytes.data, threaded.data, threaded.n_bytes) == 0 && runs_come_back(&r);
        moeq_hasher_update(hasher, r.bytes.data, r.bytes.n_bytes);
        if (!is_right)
            printf("[layout %zu] ", i);
        n_wrong += !is_right;
        moeq_bytes_free(&threaded);
        free_runs(&r);
    }
    moeq_hash_hex(moeq_hasher_finish(hasher), hex);
    moeq_hasher_free(hasher);
    moeq_pool_join(pool);
    if (strcmp(hex, ALL_RUNS) != 0)
        printf("\"%s\" ", hex);
    return n_wrong + (strcmp(hex, ALL_RUNS) != 0);
}

static void several_tables(void)
{
    in_every_set(every_layout);
}

/* Every bit turned round, and every length: told, but for a fiftieth, as above. Short runs make exceptions of
 * their neighbours. */
static int every_bit_of_runs(void)
{
    struct in_runs r;
    uint64_t n_silent = 0;
    make_runs(&r, 4, false);
    int n_wrong =
        moeq_rans_encode_runs(r.runs, r.n_runs, r.symbols, r.chunk, NULL, &r.bytes, NULL) != MOEQ_OK;
    const size_t n = r.bytes.n_bytes;
    for (size_t bit = 0; !n_wrong && bit < 8 * n; bit++) {
        uint8_t *copy = malloc(n); /* of its own, so that a sanitizer sees its end */
        struct moeq_error err = {0};
        if (!copy)
            break;
        memcpy(copy, r.bytes.data, n);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        const enum moeq_status status = decode_runs(&r, copy, n, 0, 0, &err);
        n_silent += status == MOEQ_OK;
        n_wrong += status && status != MOEQ_CHECK_FAILED &&
                   (status != MOEQ_DAMAGED || !err.has_offset || err.offset > n);
        free(copy);
    }
    for (size_t k = 0; k < n; k++)
        n_wrong += decode_runs(&r, r.bytes.data, k, 0, 0, NULL) != MOEQ_DAMAGED;
    printf("%llu of %llu bits told, ", (unsigned long long)(8 * n - n_silent), (unsigned long long)(8 * n));
    free_runs(&r);
    return n_wrong + (n_silent > 8 * n / 50);
}

static void damage_of_runs(void)
{
    in_every_set(every_bit_of_runs);
}

/* ---- tables ---- */

static void tables_come_back(void)
{
    struct moeq_rans_table read;
    uint8_t bytes[MOEQ_RANS_TABLE_BYTES];
    random_state = 1;
    for (int i = 0; i < 2000; i++) {
        struct moeq_rans_histogram histogram = {0};
        struct moeq_rans_table table;
        const uint32_t n = next_random() % 300, spread = next_random() % 300 + 1, shift = next_random() % 40;
        for (uint32_t k = 0; k < n; k++)
            histogram.counts[next_random() % (spread > 256 ? 256 : spread)] +=
                next_random() >> next_random() % 32 << (shift > 2 ? 0 : shift);
        moeq_rans_table_make(&histogram, &table);
        unsigned sum = 0;
        size_t n_used;
        for (int k = 0; k < MOEQ_RANS_SYMBOLS; k++)
            sum += table.frequency[k];
        CU_ASSERT_EQUAL(sum, MOEQ_RANS_SLOTS);
        const size_t n_bytes = moeq_rans_table_write(&table, bytes);
        CU_ASSERT_EQUAL_FATAL(moeq_rans_table_read(bytes, sizeof bytes, &read, &n_used, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL(n_used, n_bytes);
        CU_ASSERT_EQUAL(memcmp(&read, &table, sizeof table), 0);
        for (size_t k = 0; k < n_bytes; k++) {
            struct moeq_error err = {0};
            CU_ASSERT_EQUAL(moeq_rans_table_read(bytes, k, &read, &n_used, &err), MOEQ_DAMAGED);
            CU_ASSERT_TRUE(err.has_offset);
        }
    }
}

/* The shares that are nearest: what a slot moved from one symbol to another would cost is never a gain. */
static void tables_are_best(void)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        int16_t *codes = gaussian(30000, 0.3 + 0.5 * (double)seed, seed);
        struct moeq_rans_histogram h = {0};
        struct moeq_rans_table t;
        moeq_rans_count(&h, codes, 30000);
        moeq_rans_table_make(&h, &t);
        for (int i = 0; i < MOEQ_RANS_SYMBOLS; i++)
            for (int k = 0; k < MOEQ_RANS_SYMBOLS; k++)
                if (i != k && t.frequency[i] > 1 && t.frequency[k] > 0) {
                    const double lost = (double)h.counts[i] * log2(t.frequency[i] / (t.frequency[i] - 1.0)),
                                 won = (double)h.counts[k] * log2((t.frequency[k] + 1.0) / t.frequency[k]);
                    CU_ASSERT_TRUE(won <= lost * 1.0001 + 0.02);
                }
        free(codes);
    }
}

static void bad_tables(void)
{
    static const struct {
        uint8_t bytes[8];
        const char *why;
    } cases[] = {
        {{0x7f, 1}, "beyond 127"},
        {{0, 0, 0xf7, 0xff, 0xff}, "12 bits"}, /* 1, 1 and a length of 13 */
        {{0, 1, 0x00}, "add up"},              /* 1 and 1 */
        {{0, 0, 0x05}, "need a frequency"},    /* a length of 0 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct moeq_rans_table table;
        struct moeq_error err = {0};
        size_t n_used;
        CU_ASSERT_EQUAL(moeq_rans_table_read(cases[i].bytes, 8, &table, &n_used, &err), MOEQ_DAMAGED);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.message, cases[i].why));
    }
}

/* ---- damage ---- */

/* Every bit of a stream turned round: told, but for bits that no check can see: codes of exceptions, and
 * some of the word that is read last. */
static int every_bit(void)
{
    enum { N = 3000 };
    static struct moeq_rans_decoder decoder;
    int16_t *codes = gaussian(N, 1.2, 3);
    int8_t *out = malloc(N);
    struct coded c = {0};
    codes[5] = 500;
    codes[N - 1] = -7000;
    int n_wrong = !out || encode(&c, codes, N, 2048) || count_wrong(&c, codes);
    uint64_t n_told = 0, n_silent = 0;
    moeq_rans_decoder_init(&decoder, &c.table);
    for (size_t bit = 0; !n_wrong && bit < 8 * c.bytes.n_bytes; bit++) {
        uint8_t *copy = malloc(c.bytes.n_bytes); /* of its own, so that a sanitizer sees its end */
        struct moeq_rans_stream s;
        struct moeq_error err = {0};
        if (!copy)
            break;
        memcpy(copy, c.bytes.data, c.bytes.n_bytes);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        enum moeq_status status = moeq_rans_stream_open(&s, copy, c.bytes.n_bytes, N, 2048, &err);
        if (!status)
            status = moeq_rans_decode(&decoder, &s, 0, s.n_chunks, out, NULL, &err);
        n_told += status == MOEQ_DAMAGED && err.has_offset && err.offset <= c.bytes.n_bytes;
        n_silent += status == MOEQ_OK;
        free(copy);
    }
    n_wrong += n_told + n_silent != 8 * c.bytes.n_bytes || n_silent > 2 * 2 * 16;
    printf("%llu of %llu bits told, ", (unsigned long long)n_told, (unsigned long long)(n_told + n_silent));
    for (size_t n = 0; n < c.bytes.n_bytes; n++) {
        struct moeq_rans_stream s;
        n_wrong += moeq_rans_stream_open(&s, c.bytes.data, n, N, 2048, NULL) != MOEQ_DAMAGED;
    }
    moeq_bytes_free(&c.bytes);
    free(codes);
    free(out);
    return n_wrong;
}

static void damage(void)
{
    in_every_set(every_bit);
}

static void exceptions(void)
{
    int16_t codes[100] = {0};
    struct coded c = {0};
    struct moeq_rans_stream s;
    struct moeq_rans_exceptions e;
    codes[3] = 300;
    codes[50] = -32768;
    codes[99] = 32767;
    CU_ASSERT_EQUAL(encode(&c, codes, 100, 50), 0);
    CU_ASSERT_EQUAL(moeq_rans_stream_open(&s, c.bytes.data, c.bytes.n_bytes, 100, 50, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_rans_exceptions(&s, 1, &e, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(e.n, 2);
    CU_ASSERT_EQUAL(plain_number(e.positions, 2), 0);
    CU_ASSERT_EQUAL(plain_number(e.positions + 2, 2), 49);
    CU_ASSERT_EQUAL((int16_t)plain_number(e.codes, 2), -32768);
    CU_ASSERT_EQUAL((int16_t)plain_number(e.codes + 2, 2), 32767);
    moeq_bytes_free(&c.bytes);
}

static void chunks_of_rows(void)
{
    CU_ASSERT_EQUAL(moeq_rans_rows_chunk(1408), 46 * 1408);
    CU_ASSERT_EQUAL(moeq_rans_rows_chunk(65536), 65536);
    CU_ASSERT_EQUAL(moeq_rans_rows_chunk(65537), 65536);
    CU_ASSERT_EQUAL(moeq_rans_rows_chunk(1), 65536);
    CU_ASSERT_EQUAL(moeq_rans_rows_chunk(0), 65536);
}

int main(void)
{
    /* The first ones run in children, before this process has chosen its set. */
    static const struct unit_test tests[] = {
        {"all kinds of codes come back, in every set", round_trips},
        {"the same bytes in every set and for any threads", same_bytes},
        {"damage is told, in every set", damage},
        {"several tables in one stream, in every set", several_tables},
        {"damage of such streams is told, in every set", damage_of_runs},
        {"sizes are near the entropy", near_the_entropy},
        {"small streams", small_streams},
        {"costs are sizes", costs},
        {"codes by a table of others", shared_tables},
        {"tables come back", tables_come_back},
        {"no slot would be better elsewhere", tables_are_best},
        {"bad tables", bad_tables},
        {"exceptions can be had", exceptions},
        {"chunks of whole rows", chunks_of_rows},
        {NULL, NULL},
    };
    return unit_main("rans", tests);
}
