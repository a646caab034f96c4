/* Packed matrices that are coded come back bit for bit, from whatever they were made, in one piece or
 * several, in place or not; and nothing of damaged ones is believed that can be seen. */
#include "coded.h"
#include "pieces.h"
#include "weights.h"

static const char *const levels[] = {"bf16", "fp8", "int8", "int4-g64", "int4-g32-asym", "int2-g64"};
#define N_LEVELS (sizeof levels / sizeof *levels)

static struct moeq_pool *pools[2]; /* of 1 thread and of 4 */
static struct moeq_bytes workers[4];

/* Codes a packed matrix on a pool into `out`; from behind the lead of its own memory where in_place. */
static uint64_t code(const struct moeq_matrix *m, struct moeq_pool *pool, bool in_place,
                     struct moeq_bytes *out)
{
    struct moeq_pieces_job job = {0};
    uint64_t most;
    CU_ASSERT_TRUE_FATAL(moeq_pieces_of(m->format, m->rows, m->cols, &job.pieces));
    CU_ASSERT_EQUAL_FATAL(moeq_coded_most_bytes(m->format, m->rows, m->cols, &most, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(out, most + MOEQ_PACKED_ALIGNMENT, NULL), MOEQ_OK);
    job.n_bytes = job.pieces.n_codes;
    job.n_rest = m->n_bytes - job.n_bytes;
    job.out = out->data;
    job.codes = m->data;
    if (in_place)
        job.codes = memcpy(out->data + moeq_pieces_lead(&job.pieces, job.n_bytes), m->data, m->n_bytes);
    CU_ASSERT_EQUAL_FATAL(moeq_pieces_encode(&job, 1, pool, workers, NULL), MOEQ_OK);
    CU_ASSERT_TRUE(job.n_out <= most);
    memset(out->data + job.n_out, 0, MOEQ_PACKED_ALIGNMENT);
    return job.n_out;
}

static bool comes_back(const struct moeq_matrix *m, const uint8_t *coded, uint64_t n)
{
    uint64_t n_bytes, n_padded;
    struct moeq_error err = {0};
    CU_ASSERT_EQUAL_FATAL(moeq_packed_size(m->format, m->rows, m->cols, &n_bytes, &n_padded, NULL), MOEQ_OK);
    uint8_t *back = malloc(n_padded);
    CU_ASSERT_PTR_NOT_NULL_FATAL(back);
    memset(back, 0xaa, n_padded);
    bool is_right = moeq_coded_decode(m->format, m->rows, m->cols, coded, n, NULL, back, &err) == MOEQ_OK &&
                    memcmp(back, m->data, n_bytes) == 0;
    for (uint64_t i = n_bytes; i < n_padded; i++)
        is_right = is_right && back[i] == 0;
    if (err.status)
        printf("%s ", err.message);
    free(back);
    return is_right;
}

/* As a large one is loaded: the coded bytes at the end of the memory that it gets. */
static bool comes_back_in_place(const struct moeq_matrix *m, const uint8_t *coded, uint64_t n)
{
    uint64_t n_bytes, n_padded;
    struct moeq_bytes memory = {0};
    CU_ASSERT_EQUAL_FATAL(moeq_packed_size(m->format, m->rows, m->cols, &n_bytes, &n_padded, NULL), MOEQ_OK);
    const uint64_t room = n_padded + moeq_coded_slack_bytes(m->format, m->rows, m->cols);
    CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(&memory, room, NULL), MOEQ_OK);
    uint8_t *at = memory.data + room - n;
    memcpy(at, coded, n);
    const bool is_right =
        moeq_coded_decode(m->format, m->rows, m->cols, at, n, NULL, memory.data, NULL) == MOEQ_OK &&
        memcmp(memory.data, m->data, n_bytes) == 0;
    moeq_bytes_free(&memory);
    return is_right;
}

static void check_matrix(const char *level, uint64_t rows, uint64_t cols)
{
    float *w = random_weights(rows * cols, rows + cols);
    struct moeq_bytes packed = {0}, out[3] = {{0}};
    struct moeq_matrix m;
    uint64_t n[3];
    CU_ASSERT_EQUAL_FATAL(encode(&m, &packed, level, w, rows, cols, NULL), MOEQ_OK);
    for (int i = 0; i < 3; i++)
        n[i] = code(&m, pools[i > 0], i == 2, &out[i]);
    const uint64_t n_padded = moeq_round_up(n[0], MOEQ_PACKED_ALIGNMENT);
    CU_ASSERT_TRUE(n[1] == n[0] && memcmp(out[1].data, out[0].data, n[0]) == 0);
    CU_ASSERT_TRUE(n[2] == n[0] && memcmp(out[2].data, out[0].data, n[0]) == 0);
    CU_ASSERT_TRUE(comes_back(&m, out[0].data, n[0]));
    CU_ASSERT_TRUE(comes_back(&m, out[0].data, n_padded));
    CU_ASSERT_TRUE(comes_back_in_place(&m, out[0].data, n_padded));
    for (int i = 0; i < 3; i++)
        moeq_bytes_free(&out[i]);
    moeq_bytes_free(&packed);
    free(w);
}

static void matrices_come_back(void)
{
    static const uint64_t shapes[][2] = {{1, 1},    {1, 3},     {3, 1},     {7, 5},       {129, 33},
                                         {96, 256}, {130, 259}, {256, 336}, {1024, 2049}, {515, 8192}};
    for (size_t l = 0; l < N_LEVELS; l++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            check_matrix(levels[l], shapes[i][0], shapes[i][1]);
}

/* What has no pattern is stored as it is, and takes 4 bytes a piece more. */
static void noise_stays(void)
{
    static uint8_t bytes[3 << 20];
    struct moeq_bytes out = {0};
    struct moeq_matrix m = {
        .format = format_of("bf16"), .rows = 1536, .cols = 1024, .data = bytes, .n_bytes = 3 << 20};
    random_state = 5;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(256 * uniform());
    const uint64_t n = code(&m, pools[1], false, &out);
    CU_ASSERT_EQUAL(n, sizeof bytes + 3 * 4);
    CU_ASSERT_TRUE(comes_back(&m, out.data, n));
    CU_ASSERT_TRUE(comes_back_in_place(&m, out.data, moeq_round_up(n, MOEQ_PACKED_ALIGNMENT)));
    moeq_bytes_free(&out);
}

/* Large matrices of trained weights' distribution: what the documentation says of them. */
static void weights_are_smaller(void)
{
    static const struct {
        const char *level;
        double share;
    } most[] = {{"bf16", 0.67}, {"fp8", 0.825}, {"int8", 0.97}, {"int4-g64", 0.96}, {"int2-g64", 0.95}};
    const uint64_t rows = 1408, cols = 2048;
    float *w = random_weights(rows * cols, 3);
    for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
        struct moeq_bytes packed = {0}, out = {0};
        struct moeq_matrix m;
        CU_ASSERT_EQUAL_FATAL(encode(&m, &packed, most[i].level, w, rows, cols, NULL), MOEQ_OK);
        const uint64_t n = code(&m, pools[1], false, &out);
        CU_ASSERT_TRUE((double)n < most[i].share * (double)m.n_bytes);
        printf("%s %.1f%%, ", most[i].level, 100 * (double)n / (double)m.n_bytes);
        moeq_bytes_free(&packed);
        moeq_bytes_free(&out);
    }
    free(w);
}

static void some_levels_are_not(void)
{
    static const char *const others[] = {"f32", "int6-g64", "int5-g64", "int3-g64"};
    struct moeq_pieces pieces;
    struct moeq_error err = {0};
    uint64_t most;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        CU_ASSERT_FALSE(moeq_pieces_of(format_of(others[i]), 256, 256, &pieces));
    CU_ASSERT_FALSE(moeq_pieces_of(format_of("bf16"), 0, 256, &pieces));
    CU_ASSERT_FALSE(moeq_pieces_of(format_of("bf16"), 128, UINT64_C(1) << 40, &pieces));
    CU_ASSERT_FALSE(moeq_pieces_of(format_of("fp8"), UINT64_C(1) << 40, UINT64_C(1) << 40, &pieces));
    CU_ASSERT_EQUAL(moeq_coded_most_bytes(format_of("int3-g64"), 8, 9, &most, &err), MOEQ_UNSUPPORTED);
    CU_ASSERT_STRING_EQUAL(err.message, "a matrix of level int3-g64, 8 x 9, is not coded");
}

/* Cut anywhere, each bit turned: an error within the bytes, or other values, and nothing read outside. */
static void damage_is_seen(void)
{
    static uint8_t back[64 * 64 * 2 + 64];
    for (size_t l = 0; l < N_LEVELS; l++) {
        float *w = random_weights(64 * 50, 9);
        struct moeq_bytes packed = {0}, out = {0};
        struct moeq_matrix m;
        CU_ASSERT_EQUAL_FATAL(encode(&m, &packed, levels[l], w, 64, 50, NULL), MOEQ_OK);
        const uint64_t n = code(&m, pools[0], false, &out);
        uint64_t n_silent = 0;
        for (uint64_t cut = 0; cut < n; cut++) {
            struct moeq_error err = {0};
            uint8_t *exact = malloc(cut + !cut); /* for what watches memory */
            CU_ASSERT_PTR_NOT_NULL_FATAL(exact);
            memcpy(exact, out.data, cut);
            CU_ASSERT_EQUAL(moeq_coded_decode(m.format, 64, 50, exact, cut, NULL, back, &err), MOEQ_DAMAGED);
            CU_ASSERT_TRUE(err.has_offset && err.offset <= cut);
            free(exact);
        }
        for (uint64_t bit = 0; bit < 8 * n; bit++) {
            struct moeq_error err = {0};
            out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            const enum moeq_status status =
                moeq_coded_decode(m.format, 64, 50, out.data, n, NULL, back, &err);
            CU_ASSERT_TRUE(status == MOEQ_OK || (status == MOEQ_DAMAGED && err.offset <= n));
            n_silent += status == MOEQ_OK && memcmp(back, m.data, m.n_bytes) == 0;
            out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        CU_ASSERT_TRUE(n_silent < 8); /* the last bits of a table, which mean nothing */
        moeq_bytes_free(&packed);
        moeq_bytes_free(&out);
        free(w);
    }
}

/* In place, zeros behind what is coded push it into its own way: refused, not wrong. */
static void too_much_padding_is_refused(void)
{
    const uint64_t rows = 640, cols = 2048, n_zeros = 4 << 20;
    float *w = random_weights(rows * cols, 4);
    struct moeq_bytes packed = {0}, out = {0}, memory = {0};
    struct moeq_matrix m;
    struct moeq_error err = {0};
    CU_ASSERT_EQUAL_FATAL(encode(&m, &packed, "bf16", w, rows, cols, NULL), MOEQ_OK);
    const uint64_t n = code(&m, pools[1], false, &out);
    const uint64_t room = m.n_bytes + moeq_coded_slack_bytes(m.format, rows, cols);
    CU_ASSERT_TRUE_FATAL(n + n_zeros > room);
    CU_ASSERT_EQUAL_FATAL(moeq_bytes_resize(&memory, n + n_zeros, NULL), MOEQ_OK);
    memset(memory.data, 0, memory.n_bytes);
    memcpy(memory.data, out.data, n);
    CU_ASSERT_EQUAL(
        moeq_coded_decode(m.format, rows, cols, memory.data, n + n_zeros, NULL, memory.data, &err),
        MOEQ_DAMAGED);
    CU_ASSERT_STRING_EQUAL(err.message, "coded weights: more zeros behind them than padding");
    moeq_bytes_free(&packed);
    moeq_bytes_free(&out);
    moeq_bytes_free(&memory);
    free(w);
}

int main(void)
{
    pools[0] = moeq_pool_create(1, NULL);
    pools[1] = moeq_pool_create(4, NULL);
    if (!pools[0] || !pools[1])
        return 1;
    static const struct unit_test tests[] = {
        {"matrices of any shape come back, the same bytes for any threads", matrices_come_back},
        {"noise is stored as it is", noise_stays},
        {"weights are smaller", weights_are_smaller},
        {"other levels are not coded", some_levels_are_not},
        {"damage is seen, or changes values, and nothing outside is read", damage_is_seen},
        {"too much padding is refused", too_much_padding_is_refused},
        {NULL, NULL},
    };
    const int code = unit_main("pieces", tests);
    for (size_t i = 0; i < 4; i++)
        moeq_bytes_free(&workers[i]);
    moeq_pool_join(pools[0]);
    moeq_pool_join(pools[1]);
    return code;
}
