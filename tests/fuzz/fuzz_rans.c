/* Entropy-coded integers. The first byte says what the others are: codes, or weights, which are encoded, come
 * back, and have the same bytes whatever the instruction set; or a table and a stream, or coded weights,
 * which need not be any. */
#include "fuzz.h"
#include "kernels.h"
#include "lossless.h"
#include "rans_rows.h"

#include <stdlib.h>

/* Of exactly n bytes, so that a sanitizer sees the first one beyond. */
static void *block(size_t n)
{
    void *made = malloc(n ? n : 1);
    if (!made)
        exit(2);
    return made;
}

static void decode_both_ways(const struct moeq_rans_decoder *decoder, const struct moeq_rans_stream *s,
                             int8_t *narrow, int16_t *wide)
{
    struct moeq_error err = {0};
    struct moeq_rans_exceptions exceptions;
    uint64_t n_outside = 0, n_expected = 0;
    enum moeq_status status = moeq_rans_decode(decoder, s, 0, s->n_chunks, narrow, &n_outside, &err),
                     each = 0;
    fuzz_require_error(status, &err);
    fuzz_require(!status || (err.has_offset && err.offset <= s->n_bytes));
    for (uint64_t c = 0; c < s->n_chunks; c++) {
        struct moeq_error own = {0};
        const enum moeq_status one = moeq_rans_decode_wide(decoder, s, c, wide + c * s->chunk, &own);
        fuzz_require_error(one, &own);
        fuzz_require(one || moeq_rans_exceptions(s, c, &exceptions, NULL) == MOEQ_OK);
        each = each ? each : one;
    }
    fuzz_require(status == each);
    for (uint64_t i = 0; !status && i < s->n_codes; i++) {
        const int nearest = wide[i] > 127 ? 127 : wide[i] < -128 ? -128 : wide[i];
        n_expected += nearest != wide[i];
        fuzz_require(narrow[i] == nearest);
    }
    fuzz_require(status || n_outside == n_expected);
}

static void decode_anything(const uint8_t *data, size_t n)
{
    static struct moeq_rans_decoder decoder;
    struct moeq_rans_table table;
    struct moeq_rans_stream s;
    struct moeq_error err = {0};
    size_t n_used;
    if (n < 4)
        return;
    const uint64_t n_codes = moeq_load_u16le(data);
    const uint32_t chunk = moeq_load_u16le(data + 2) + 1u;
    enum moeq_status status = moeq_rans_table_read(data + 4, n - 4, &table, &n_used, &err);
    fuzz_require_error(status, &err);
    if (status)
        return;
    uint8_t again[MOEQ_RANS_TABLE_BYTES];
    struct moeq_rans_table same;
    const size_t n_again = moeq_rans_table_write(&table, again); /* shorter where lengths were written out */
    fuzz_require(n_again <= n_used && moeq_rans_table_read(again, n_again, &same, &n_used, NULL) == MOEQ_OK);
    fuzz_require(n_used == n_again && memcmp(&same, &table, sizeof table) == 0);
    moeq_rans_table_read(data + 4, n - 4, &table, &n_used, NULL);
    moeq_rans_decoder_init(&decoder, &table);
    const size_t n_stream = n - 4 - n_used;
    uint8_t *stream = block(n_stream);
    int8_t *narrow = block(n_codes);
    int16_t *wide = block(2 * n_codes);
    memcpy(stream, data + 4 + n_used, n_stream);
    status = moeq_rans_stream_open(&s, stream, n_stream, n_codes, chunk, &err);
    fuzz_require_error(status, &err);
    if (!status)
        decode_both_ways(&decoder, &s, narrow, wide);
    free(stream);
    free(narrow);
    free(wide);
}

/* Any numbers, or small ones. */
static int16_t *codes_of(const uint8_t *data, size_t n, bool are_wide, size_t *n_codes)
{
    *n_codes = are_wide ? n / 2 : n;
    int16_t *codes = block(2 * *n_codes);
    for (size_t i = 0; i < *n_codes; i++)
        codes[i] = (int16_t)(are_wide ? moeq_load_u16le(data + 2 * i) : (uint32_t)((int8_t)data[i] / 16));
    return codes;
}

/* A chunk's rows by every set: the same words, and the same states. */
static void compare_sets(const struct moeq_rans_table *table, const int16_t *codes, size_t n)
{
    static struct moeq_rans_encoder encoder;
    const size_t n_rows = n / MOEQ_RANS_LANES;
    int8_t *symbols = block(n_rows * MOEQ_RANS_LANES);
    uint8_t *words[2] = {block(2 * n + MOEQ_RANS_ROW_READ), block(2 * n + MOEQ_RANS_ROW_READ)};
    uint32_t states[2][MOEQ_RANS_LANES];
    size_t n_bytes[2] = {0};
    moeq_rans_encoder_init(&encoder, table);
    for (size_t i = 0; i < n_rows * MOEQ_RANS_LANES; i++)
        symbols[i] = (int8_t)(codes[i] >= table->lowest && codes[i] <= table->highest &&
                                      table->frequency[codes[i] + 128]
                                  ? codes[i]
                                  : table->filler);
    for (size_t set = 0; moeq_kernels_at(set); set++) {
        const size_t k = set ? 1 : 0;
        for (uint32_t lane = 0; lane < MOEQ_RANS_LANES; lane++)
            states[k][lane] = MOEQ_RANS_LOW + lane;
        n_bytes[k] =
            (size_t)(moeq_kernels_at(set)->rans->encode(&encoder, symbols, n_rows, states[k], words[k]) -
                     words[k]);
        fuzz_require(n_bytes[k] == n_bytes[0] && memcmp(words[k], words[0], n_bytes[0]) == 0 &&
                     memcmp(states[k], states[0], sizeof states[0]) == 0);
    }
    free(symbols);
    free(words[0]);
    free(words[1]);
}

static void encode_and_decode(const uint8_t *data, size_t n, bool are_wide)
{
    static struct moeq_rans_decoder decoder;
    struct moeq_rans_histogram histogram = {0};
    struct moeq_rans_table table;
    struct moeq_rans_stream s;
    struct moeq_bytes coded = {0};
    size_t n_codes;
    if (n < 3)
        return;
    const uint32_t chunk = moeq_load_u16le(data) + 1u;
    int16_t *codes = codes_of(data + 3, n - 3, are_wide, &n_codes);
    int8_t *narrow = block(n_codes);
    int16_t *wide = block(2 * n_codes);
    moeq_rans_count(&histogram, codes, n_codes * (size_t)(data[2] + 1) / 256); /* of some, or of all */
    moeq_rans_table_make(&histogram, &table);
    moeq_rans_decoder_init(&decoder, &table);
    fuzz_require(moeq_rans_encode(&table, codes, n_codes, chunk, NULL, &coded, NULL) == MOEQ_OK);
    fuzz_require(moeq_rans_stream_open(&s, coded.data, coded.n_bytes, n_codes, chunk, NULL) == MOEQ_OK);
    decode_both_ways(&decoder, &s, narrow, wide);
    fuzz_require(memcmp(wide, codes, 2 * n_codes) == 0);
    compare_sets(&table, codes, n_codes);
    moeq_bytes_free(&coded);
    free(codes);
    free(narrow);
    free(wide);
}

/* Weights that come back, and coded ones that are none: their number and a table before them. */
static void lossless(const uint8_t *data, size_t n)
{
    static struct moeq_rans_decoder decoder;
    struct moeq_rans_histogram histogram = {0};
    struct moeq_rans_table table;
    struct moeq_bytes coded = {0};
    struct moeq_error err = {0};
    size_t n_used;
    if (n < 3)
        return;
    const enum moeq_lossless kind = data[0] % MOEQ_N_LOSSLESS;
    const size_t n_even = kind == MOEQ_LOSSLESS_BF16 ? (n - 3) / 2 * 2 : n - 3;
    uint8_t *back = block(n_even);
    moeq_lossless_count(kind, data + 3, n_even, &histogram);
    moeq_rans_table_make(&histogram, &table);
    moeq_rans_decoder_init(&decoder, &table);
    fuzz_require(moeq_lossless_encode(kind, &table, data + 3, n_even, NULL, &coded, NULL) == MOEQ_OK);
    fuzz_require(moeq_lossless_decode(kind, &decoder, coded.data, coded.n_bytes, n_even, NULL, back, NULL) ==
                 MOEQ_OK);
    fuzz_require(memcmp(back, data + 3, n_even) == 0);
    moeq_bytes_free(&coded);
    free(back);
    if (moeq_rans_table_read(data + 3, n - 3, &table, &n_used, NULL))
        return;
    const uint64_t n_data = moeq_load_u16le(data + 1) / (kind == MOEQ_LOSSLESS_BF16 ? 2 : 1) *
                            (kind == MOEQ_LOSSLESS_BF16 ? 2ull : 1ull);
    const size_t n_coded = n - 3 - n_used;
    uint8_t *copy = block(n_coded), *out = block(n_data);
    memcpy(copy, data + 3 + n_used, n_coded);
    moeq_rans_decoder_init(&decoder, &table);
    const enum moeq_status status =
        moeq_lossless_decode(kind, &decoder, copy, n_coded, n_data, NULL, out, &err);
    fuzz_require_error(status, &err);
    fuzz_require(!status || (err.has_offset && err.offset <= n_coded));
    free(copy);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!n)
        return 0;
    if (data[0] % 4 == 0)
        decode_anything(data + 1, n - 1);
    else if (data[0] % 4 == 3)
        lossless(data + 1, n - 1);
    else
        encode_and_decode(data + 1, n - 1, data[0] % 4 == 1);
    return 0;
}
