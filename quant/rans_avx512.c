#include "rans_rows.h"

#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))

/* Slots of 16 states, which become what they are before their words. */
INLINE __m512i step(const struct moeq_rans_decoder *decoder, __m512i *x)
{
    const __m512i mask = _mm512_set1_epi32(MOEQ_RANS_SLOTS - 1);
    const __m512i slots = _mm512_i32gather_epi32(_mm512_and_si512(*x, mask), decoder->slots, 4);
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

static void decode(const struct moeq_rans_decoder *decoder, struct moeq_rans_cursor *cursor)
{
    const __m512i low = _mm512_set1_epi32(MOEQ_RANS_LOW);
    const uint8_t *words = cursor->words;
    int8_t *out = cursor->out;
    uint64_t n_rows = cursor->n_rows;
    __m512i a = _mm512_load_si512(cursor->states), b = _mm512_load_si512(cursor->states + 16);
    for (; n_rows && words - cursor->begin >= MOEQ_RANS_ROW_READ; n_rows--, out += MOEQ_RANS_LANES) {
        const __m512i slots_a = step(decoder, &a), slots_b = step(decoder, &b);
        const __mmask16 low_a = _mm512_cmplt_epu32_mask(a, low), low_b = _mm512_cmplt_epu32_mask(b, low);
        words -= bytes_of(low_b);
        b = refill(b, low_b, words);
        words -= bytes_of(low_a);
        a = refill(a, low_a, words);
        _mm_storeu_si128((__m128i *)(void *)out, _mm512_cvtepi32_epi8(_mm512_srli_epi32(slots_a, 24)));
        _mm_storeu_si128((__m128i *)(void *)(out + 16), _mm512_cvtepi32_epi8(_mm512_srli_epi32(slots_b, 24)));
    }
    _mm512_store_si512(cursor->states, a);
    _mm512_store_si512(cursor->states + 16, b);
    cursor->words = words;
    cursor->out = out;
    cursor->n_rows = n_rows;
}

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
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)symbols);
    return _mm512_i32gather_epi32(_mm512_cvtepu8_epi32(bytes), encoder->packed, 4);
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

const struct moeq_rans_rows moeq_rans_avx512 = {decode, encode};
