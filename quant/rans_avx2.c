#include "rans_x86.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define PARTS  4 /* of 8 lanes */

/* For each set of 8 lanes: in byte l the number of its lanes below l, which is where lane l finds its word;
 * and its lanes from the lowest on, which is where a word comes from. */
#define BELOW(set, l)  ((uint64_t)__builtin_popcount((set) & ((1u << (l)) - 1)))
#define EXPAND(set, l) (BELOW(set, l) << 8 * (l))
#define PICK(set, l)   ((set) >> (l)&1 ? (uint64_t)(l) << 8 * BELOW(set, l) : 0)
#define LANES(of, set)                                                                                       \
    (of(set, 0) | of(set, 1) | of(set, 2) | of(set, 3) | of(set, 4) | of(set, 5) | of(set, 6) | of(set, 7))
#define FOUR(of, s)    LANES(of, (s) + 0u), LANES(of, (s) + 1u), LANES(of, (s) + 2u), LANES(of, (s) + 3u)
#define SIXTEEN(of, s) FOUR(of, (s) + 0u), FOUR(of, (s) + 4u), FOUR(of, (s) + 8u), FOUR(of, (s) + 12u)
#define SETS(of)                                                                                             \
    {                                                                                                        \
        SIXTEEN(of, 0u), SIXTEEN(of, 16u), SIXTEEN(of, 32u), SIXTEEN(of, 48u), SIXTEEN(of, 64u),             \
            SIXTEEN(of, 80u), SIXTEEN(of, 96u), SIXTEEN(of, 112u), SIXTEEN(of, 128u), SIXTEEN(of, 144u),     \
            SIXTEEN(of, 160u), SIXTEEN(of, 176u), SIXTEEN(of, 192u), SIXTEEN(of, 208u), SIXTEEN(of, 224u),   \
            SIXTEEN(of, 240u)                                                                                \
    }

static const uint64_t places[256] = SETS(EXPAND), picks[256] = SETS(PICK);

INLINE __m256i eight_of(const uint64_t *bytes)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes));
}

INLINE __m256i all(uint32_t value)
{
    return _mm256_set1_epi32((int)value);
}

/* ---- decoding ---- */

INLINE __m256i step(const struct moeq_rans_decoder *decoder, __m256i *x)
{
    const __m256i mask = all(MOEQ_RANS_SLOTS - 1);
    const __m256i slots = load_eight(decoder->slots, _mm256_and_si256(*x, mask));
    const __m256i frequency = _mm256_and_si256(_mm256_srli_epi32(slots, MOEQ_RANS_BITS), mask);
    const __m256i product = _mm256_mullo_epi32(_mm256_srli_epi32(*x, MOEQ_RANS_BITS), frequency);
    *x = _mm256_add_epi32(product, _mm256_and_si256(slots, mask));
    return _mm256_srli_epi32(slots, 24);
}

INLINE const uint8_t *refill(__m256i *x, const uint8_t *words)
{
    const __m256i is_low = _mm256_cmpeq_epi32(_mm256_srli_epi32(*x, 16), _mm256_setzero_si256());
    const unsigned set = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(is_low));
    words -= 2 * (size_t)__builtin_popcount(set);
    const __m256i next = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)words));
    const __m256i own = _mm256_permutevar8x32_epi32(next, eight_of(places + set));
    *x = _mm256_blendv_epi8(*x, _mm256_or_si256(_mm256_slli_epi32(*x, 16), own), is_low);
    return words;
}

/* The values of a row, from a lane each. */
INLINE void store_row(int8_t *out, const __m256i values[PARTS])
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i low = _mm256_packus_epi32(values[0], values[1]),
                  high = _mm256_packus_epi32(values[2], values[3]);
    _mm256_storeu_si256((__m256i *)(void *)out,
                        _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order));
}

/* A cursor in registers. */
struct place {
    __m256i x[PARTS]; /* states */
    const uint8_t *words;
    int8_t *out;
};

INLINE struct place load(const struct moeq_rans_cursor *cursor)
{
    struct place p = {.words = cursor->words, .out = cursor->out};
    for (int i = 0; i < PARTS; i++)
        p.x[i] = _mm256_load_si256((const __m256i *)(const void *)(cursor->states + 8 * i));
    return p;
}

INLINE void store(struct moeq_rans_cursor *cursor, const struct place *p)
{
    for (int i = 0; i < PARTS; i++)
        _mm256_store_si256((__m256i *)(void *)(cursor->states + 8 * i), p->x[i]);
    cursor->words = p->words;
    cursor->n_rows -= (uint64_t)(p->out - cursor->out) / MOEQ_RANS_LANES;
    cursor->out = p->out;
}

INLINE void decode_row(const struct moeq_rans_decoder *decoder, struct place *p)
{
    __m256i values[PARTS];
    for (int i = 0; i < PARTS; i++)
        values[i] = step(decoder, &p->x[i]);
    for (int i = PARTS - 1; i >= 0; i--)
        p->words = refill(&p->x[i], p->words);
    store_row(p->out, values);
    p->out += MOEQ_RANS_LANES;
}

#include "rans_two.inc"

/* ---- encoding ---- */

/* x / frequency, or one less, for x < frequency * 2^20: of float32, whose four roundings are up to 2^-22 of
 * the quotient, which is therefore made smaller by more than that. */
INLINE __m256i estimate(__m256i x, __m256i frequency)
{
    const __m256 high = _mm256_cvtepi32_ps(_mm256_srli_epi32(x, 16)),
                 low = _mm256_cvtepi32_ps(_mm256_and_si256(x, all(0xffff)));
    const __m256 sum = _mm256_add_ps(_mm256_mul_ps(high, _mm256_set1_ps(65536)), low);
    const __m256 smaller = _mm256_mul_ps(sum, _mm256_set1_ps(1 - 0x1p-22f));
    return _mm256_cvttps_epi32(_mm256_div_ps(smaller, _mm256_cvtepi32_ps(frequency)));
}

INLINE __m256i push(__m256i x, __m256i packed, uint8_t **words)
{
    const __m256i frequency = _mm256_and_si256(packed, all(0xffff));
    const __m256i limit = _mm256_slli_epi32(frequency, 32 - MOEQ_RANS_BITS);
    const __m256i is_full = _mm256_cmpeq_epi32(_mm256_max_epu32(x, limit), x);
    const unsigned set = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(is_full));
    const __m256i taken =
        _mm256_and_si256(_mm256_permutevar8x32_epi32(x, eight_of(picks + set)), all(0xffff));
    _mm_storeu_si128((__m128i *)(void *)*words,
                     _mm_packus_epi32(_mm256_castsi256_si128(taken), _mm256_extracti128_si256(taken, 1)));
    *words += 2 * (size_t)__builtin_popcount(set);
    x = _mm256_blendv_epi8(x, _mm256_srli_epi32(x, 16), is_full);
    const __m256i quotient = estimate(x, frequency);
    const __m256i remainder = _mm256_sub_epi32(x, _mm256_mullo_epi32(quotient, frequency));
    const __m256i is_less = _mm256_cmpeq_epi32(_mm256_max_epu32(remainder, frequency), remainder);
    const __m256i unused = _mm256_sub_epi32(all(MOEQ_RANS_SLOTS), frequency);
    x = _mm256_add_epi32(x, _mm256_srli_epi32(packed, 16));
    x = _mm256_add_epi32(x, _mm256_mullo_epi32(_mm256_sub_epi32(quotient, is_less), unused));
    return x;
}

static uint8_t *encode(const struct moeq_rans_encoder *encoder, const int8_t *symbols, uint64_t n_rows,
                       uint32_t states[MOEQ_RANS_LANES], uint8_t *words)
{
    __m256i x[PARTS];
    for (int p = 0; p < PARTS; p++)
        x[p] = _mm256_loadu_si256((const __m256i *)(const void *)(states + 8 * p));
    for (const int8_t *row = symbols + n_rows * MOEQ_RANS_LANES; row != symbols;) {
        row -= MOEQ_RANS_LANES;
        for (int p = 0; p < PARTS; p++)
            x[p] = push(x[p], look_up_eight(encoder, row + 8 * p), &words);
    }
    for (int p = 0; p < PARTS; p++)
        _mm256_storeu_si256((__m256i *)(void *)(states + 8 * p), x[p]);
    return words;
}

const struct moeq_rans_rows moeq_rans_avx2 = {decode, encode, find_absent};
