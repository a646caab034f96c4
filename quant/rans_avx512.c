#include "rans_x86.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* Slots of 16 states, which become what they are before their words. */
INLINE __m512i step(const struct moeq_rans_decoder *decoder, __m512i *x)
{
    const __m512i mask = _mm512_set1_epi32(MOEQ_RANS_SLOTS - 1);
    const __m512i places = _mm512_and_si512(*x, mask);
    const __m512i slots =
        _mm512_inserti64x4(_mm512_castsi256_si512(load_eight(decoder->slots, _mm512_castsi512_si256(places))),
                           load_eight(decoder->slots, _mm512_extracti64x4_epi64(places, 1)), 1);
    const __m512i frequency = _mm512_and_si512(_mm512_srli_epi32(slots, MOEQ_RANS_BITS), mask);
    const __m512i product = _mm512_mullo_epi32(_mm512_srli_epi32(*x, MOEQ_RANS_BITS), frequency);
    *x = _mm512_add_epi32(product, _mm512_and_si512(slots, mask));
    return slots;
}

/* Those states that are low get the words from `words` on, in the order of the lanes. */
INLINE __m512i refill(__m512i x, __mmask16 is_low, const uint8_t *words)
{
    const __m512i next = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)words));
    return _mm512_mask_or_epi32(x, is_low, _mm512_slli_epi32(x, 16), _mm512_maskz_expand_epi32(is_low, next));
}

INLINE size_t bytes_of(__mmask16 is_low)
{
    return 2 * (size_t)__builtin_popcount(is_low);
}

/* A cursor in registers. */
struct place {
    __m512i a, b; /* states */
    const uint8_t *words;
    int8_t *out;
};

INLINE struct place load(const struct moeq_rans_cursor *cursor)
{
    return (struct place){_mm512_load_si512(cursor->states), _mm512_load_si512(cursor->states + 16),
                          cursor->words, cursor->out};
}

INLINE void store(struct moeq_rans_cursor *cursor, const struct place *p)
{
    _mm512_store_si512(cursor->states, p->a);
    _mm512_store_si512(cursor->states + 16, p->b);
    cursor->words = p->words;
    cursor->n_rows -= (uint64_t)(p->out - cursor->out) / MOEQ_RANS_LANES;
    cursor->out = p->out;
}

INLINE void decode_row(const struct moeq_rans_decoder *decoder, struct place *p)
{
    const __m512i low = _mm512_set1_epi32(MOEQ_RANS_LOW);
    const __m512i slots_a = step(decoder, &p->a), slots_b = step(decoder, &p->b);
    const __mmask16 low_a = _mm512_cmplt_epu32_mask(p->a, low), low_b = _mm512_cmplt_epu32_mask(p->b, low);
    p->words -= bytes_of(low_b);
    p->b = refill(p->b, low_b, p->words);
    p->words -= bytes_of(low_a);
    p->a = refill(p->a, low_a, p->words);
    _mm_storeu_si128((__m128i *)(void *)p->out, _mm512_cvtepi32_epi8(_mm512_srli_epi32(slots_a, 24)));
    _mm_storeu_si128((__m128i *)(void *)(p->out + 16), _mm512_cvtepi32_epi8(_mm512_srli_epi32(slots_b, 24)));
    p->out += MOEQ_RANS_LANES;
}

#include "rans_two.inc"

/* Words of those states that have no room, then the symbols. A quotient of float32, rounded towards zero at
 * each step, is below 2^20, so it is the right one or one less, which the remainder shows. */
INLINE __m512i push(__m512i x, __m512i packed, uint8_t **words)
{
    const __m512i frequency = _mm512_and_si512(packed, _mm512_set1_epi32(0xffff));
    const __mmask16 is_full = _mm512_cmpge_epu32_mask(x, _mm512_slli_epi32(frequency, 32 - MOEQ_RANS_BITS));
    _mm256_storeu_si256((__m256i *)(void *)*words,
                        _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(is_full, x)));
    *words += bytes_of(is_full);
    x = _mm512_mask_srli_epi32(x, is_full, x, 16);
    enum { TO_ZERO = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC };
    const __m512 estimate =
        _mm512_div_round_ps(_mm512_cvt_roundepu32_ps(x, TO_ZERO), _mm512_cvtepi32_ps(frequency), TO_ZERO);
    const __m512i quotient = _mm512_cvttps_epi32(estimate);
    const __m512i remainder = _mm512_sub_epi32(x, _mm512_mullo_epi32(quotient, frequency));
    const __mmask16 is_less = _mm512_cmpge_epu32_mask(remainder, frequency);
    const __m512i unused = _mm512_sub_epi32(_mm512_set1_epi32(MOEQ_RANS_SLOTS), frequency);
    x = _mm512_add_epi32(x, _mm512_srli_epi32(packed, 16));
    x = _mm512_add_epi32(x, _mm512_mullo_epi32(quotient, unused));
    return _mm512_mask_add_epi32(x, is_less, x, unused);
}

INLINE __m512i look_up(const struct moeq_rans_encoder *encoder, const int8_t *symbols)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(look_up_eight(encoder, symbols)),
                              look_up_eight(encoder, symbols + 8), 1);
}

static uint8_t *encode(const struct moeq_rans_encoder *encoder, const int8_t *symbols, uint64_t n_rows,
                       uint32_t states[MOEQ_RANS_LANES], uint8_t *words)
{
    __m512i a = _mm512_loadu_si512(states), b = _mm512_loadu_si512(states + 16);
    for (const int8_t *row = symbols + n_rows * MOEQ_RANS_LANES; row != symbols;) {
        row -= MOEQ_RANS_LANES;
        a = push(a, look_up(encoder, row), &words);
        b = push(b, look_up(encoder, row + 16), &words);
    }
    _mm512_storeu_si512(states, a);
    _mm512_storeu_si512(states + 16, b);
    return words;
}

const struct moeq_rans_rows moeq_rans_avx512 = {decode, encode, find_absent};
