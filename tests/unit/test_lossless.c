/* Every bit of a weight comes back, whatever it is, in fewer bytes where it is one. */
#include "lossless.h"
#include "scalar.h"
#include "sets.h"
#include "weights.h"

static struct moeq_rans_decoder decoder;

static struct moeq_rans_table table_of(enum moeq_lossless kind, const uint8_t *data, uint64_t n)
{
    struct moeq_rans_histogram histogram = {0};
    struct moeq_rans_table table;
    moeq_lossless_count(kind, data, n, &histogram);
    moeq_rans_table_make(&histogram, &table);
    moeq_rans_decoder_init(&decoder, &table);
    return table;
}

/* The number of coded bytes; 0 where what comes back is not what went in. */
static uint64_t coded_size(enum moeq_lossless kind, const uint8_t *data, uint64_t n, struct moeq_pool *pool)
{
    const struct moeq_rans_table table = table_of(kind, data, n);
    struct moeq_bytes coded = {0};
    struct moeq_error err = {0};
    uint64_t n_coded = 0;
    uint8_t *back = malloc(n + 1);
    if (back && !moeq_lossless_encode(kind, &table, data, n, pool, &coded, &err) &&
        !moeq_lossless_decode(kind, &decoder, coded.data, coded.n_bytes, n, pool, back, &err) &&
        memcmp(back, data, n) == 0)
        n_coded = coded.n_bytes;
    if (err.status)
        printf("%s ", err.message);
    moeq_bytes_free(&coded);
    free(back);
    return n_coded;
}

/* All values that there are, some of them many times. */
static int every_value(void)
{
    static uint8_t values[4 << 16];
    int n_wrong = 0;
    for (uint32_t i = 0; i < sizeof values / 2; i++) {
        const uint32_t v = i < 1 << 16 ? i : 0x3c00 + (i * 7919u >> 8) % 999;
        values[2 * i] = (uint8_t)v;
        values[2 * i + 1] = (uint8_t)(v >> 8);
    }
    for (int kind = 0; kind < MOEQ_N_LOSSLESS; kind++) {
        n_wrong += !coded_size((enum moeq_lossless)kind, values, sizeof values, NULL);
        for (uint64_t n = 1; n < 200; n++)
            if (n % 2 == 0 || kind != MOEQ_LOSSLESS_BF16)
                n_wrong += !coded_size((enum moeq_lossless)kind, values + 70000, n, NULL);
    }
    return n_wrong;
}

static void values_come_back(void)
{
    in_every_set(every_value);
}

static uint8_t *weights(enum moeq_lossless kind, uint64_t n)
{
    float *w = random_weights(n, 1);
    uint8_t *data = malloc(2 * n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(data);
    for (uint64_t i = 0; i < n; i++) {
        const uint16_t bits = moeq_bf16_encode(0.02f * w[i]);
        if (kind == MOEQ_LOSSLESS_BF16)
            memcpy(data + 2 * i, &bits, 2);
        else
            data[i] = moeq_e4m3_encode(w[i] * 100);
    }
    free(w);
    return data;
}

static void weights_are_smaller(void)
{
    static const double shares[] = {0.67, 0.83, 0.82};
    const uint64_t n = 1 << 20;
    struct moeq_pool *pool = moeq_pool_create(3, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    for (int kind = 0; kind < MOEQ_N_LOSSLESS; kind++) {
        uint8_t *data = weights((enum moeq_lossless)kind, n);
        const uint64_t n_data = kind == MOEQ_LOSSLESS_BF16 ? 2 * n : n;
        const uint64_t n_coded = coded_size((enum moeq_lossless)kind, data, n_data, NULL);
        CU_ASSERT_TRUE(n_coded > 0 && (double)n_coded < shares[kind] * (double)n_data);
        CU_ASSERT_EQUAL(coded_size((enum moeq_lossless)kind, data, n_data, pool), n_coded);
        printf("%s %.1f%%, ", moeq_lossless_names[kind], 100 * (double)n_coded / (double)n_data);
        free(data);
    }
    moeq_pool_join(pool);
}

/* The bytes that the header states, of two values. */
static void layout(void)
{
    const uint8_t bf16[] = {0x81, 0xbf}, fp8[] = {0xba, 0x45, 0x7f}; /* -1.0078125; -1.25, 3.25, NaN */
    struct moeq_rans_table table = table_of(MOEQ_LOSSLESS_BF16, bf16, 2);
    struct moeq_bytes coded = {0};
    CU_ASSERT_EQUAL(table.filler, 127 - 128);
    CU_ASSERT_EQUAL(moeq_lossless_encode(MOEQ_LOSSLESS_BF16, &table, bf16, 2, NULL, &coded, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(coded.data[0], 0x81);
    table = table_of(MOEQ_LOSSLESS_FP8_PAIRS, fp8, 3);
    CU_ASSERT_EQUAL(table.highest, 15);
    CU_ASSERT_EQUAL(table.lowest, (int8_t)0x87);
    CU_ASSERT_EQUAL(moeq_lossless_encode(MOEQ_LOSSLESS_FP8_PAIRS, &table, fp8, 3, NULL, &coded, NULL),
                    MOEQ_OK);
    CU_ASSERT_EQUAL(coded.data[0], 0x5a);
    CU_ASSERT_EQUAL(coded.data[1], 0x07);
    moeq_bytes_free(&coded);
}

/* Every bit and every length: told where it is not in the raw part (but for few: a code that is read last may
 * become another one that ends alike), and never a crash. */
static void damage(void)
{
    static uint8_t data[1001], back[1001];
    random_state = 3;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = moeq_e4m3_encode(gaussian());
    for (int kind = MOEQ_LOSSLESS_FP8_PAIRS; kind < MOEQ_N_LOSSLESS; kind++) {
        const enum moeq_lossless k = (enum moeq_lossless)kind;
        const struct moeq_rans_table table = table_of(k, data, sizeof data);
        struct moeq_bytes coded = {0};
        CU_ASSERT_EQUAL(moeq_lossless_encode(k, &table, data, sizeof data, NULL, &coded, NULL), MOEQ_OK);
        size_t n_silent = 0;
        const size_t raw = k == MOEQ_LOSSLESS_FP8_PAIRS ? 501 : 0;
        for (size_t n = 0; n < coded.n_bytes; n++) {
            struct moeq_error err = {0};
            CU_ASSERT_EQUAL(moeq_lossless_decode(k, &decoder, coded.data, n, sizeof data, NULL, back, &err),
                            MOEQ_DAMAGED);
            CU_ASSERT_TRUE(err.has_offset && err.offset <= n);
        }
        for (size_t bit = 0; bit < 8 * coded.n_bytes; bit++) {
            coded.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            struct moeq_error err = {0};
            const enum moeq_status status =
                moeq_lossless_decode(k, &decoder, coded.data, coded.n_bytes, sizeof data, NULL, back, &err);
            CU_ASSERT_TRUE(status == MOEQ_DAMAGED || status == MOEQ_OK);
            n_silent += status == MOEQ_OK && bit >= 8 * raw;
            coded.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        CU_ASSERT_TRUE(n_silent < coded.n_bytes / 10);
        moeq_bytes_free(&coded);
    }
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"all values come back, in every set", values_come_back},
        {"weights take fewer bytes", weights_are_smaller},
        {"the layout", layout},
        {"damage is told", damage},
        {NULL, NULL},
    };
    return unit_main("lossless", tests);
}
