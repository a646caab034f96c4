/* What the sets that have AVX2 share. */
#ifndef MOEQ_RANS_X86_H
#define MOEQ_RANS_X86_H

#include "rans_rows.h"

#include <immintrin.h>

/* Entries of a table, one load after the other. On Zen 4 that is faster than a gather where registers are
 * narrow (decoding two chunks by AVX2: 2.3 G codes/s instead of 1.8; by AVX-512 both 2.0 to 2.2), and CPUs
 * whose gathers were made slow to close a leak do not suffer. */
static inline __m128i load_four(const uint32_t *table, __m128i places)
{
    const uint64_t low = (uint64_t)_mm_cvtsi128_si64(places), high = (uint64_t)_mm_extract_epi64(places, 1);
    __m128i four = _mm_cvtsi32_si128((int)table[(uint32_t)low]);
    four = _mm_insert_epi32(four, (int)table[low >> 32], 1);
    four = _mm_insert_epi32(four, (int)table[(uint32_t)high], 2);
    return _mm_insert_epi32(four, (int)table[high >> 32], 3);
}

static inline __m256i load_eight(const uint32_t *table, __m256i places)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load_four(table, _mm256_castsi256_si128(places))),
                                   load_four(table, _mm256_extracti128_si256(places, 1)), 1);
}

/* frequency + first << 16 of eight symbols. Here loads are twice as fast as a gather (encoding 2.6 G
 * symbols/s instead of 1.1). */
static inline __m256i look_up_eight(const struct moeq_rans_encoder *encoder, const int8_t *symbols)
{
    const uint32_t *packed = encoder->packed;
    const uint64_t v = moeq_load_u64le((const uint8_t *)symbols);
    __m128i low = _mm_cvtsi32_si128((int)packed[v & 255]),
            high = _mm_cvtsi32_si128((int)packed[v >> 32 & 255]);
    low = _mm_insert_epi32(low, (int)packed[v >> 8 & 255], 1);
    high = _mm_insert_epi32(high, (int)packed[v >> 40 & 255], 1);
    low = _mm_insert_epi32(low, (int)packed[v >> 16 & 255], 2);
    high = _mm_insert_epi32(high, (int)packed[v >> 48 & 255], 2);
    low = _mm_insert_epi32(low, (int)packed[v >> 24 & 255], 3);
    high = _mm_insert_epi32(high, (int)packed[v >> 56], 3);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* Symbols without a frequency, 32 at a time. A shuffle by the low four bits finds the byte, another by the
 * next three its bit; a byte whose highest bit is set makes zeros of the first, which is how the two halves
 * of the symbols are told apart. */
static inline uint32_t find_absent(const struct moeq_rans_encoder *encoder, const int8_t *symbols,
                                   uint32_t begin, uint32_t n)
{
    const __m256i half[2] = {
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)encoder->present[0])),
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)encoder->present[1]))};
    const __m256i bits = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128));
    const __m256i low_four = _mm256_set1_epi8(0x8f - 256), top = _mm256_set1_epi8(-128);
    for (; begin + 32 <= n; begin += 32) {
        const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(symbols + begin));
        const __m256i place = _mm256_and_si256(v, low_four);
        const __m256i bytes = _mm256_or_si256(_mm256_shuffle_epi8(half[0], place),
                                              _mm256_shuffle_epi8(half[1], _mm256_xor_si256(place, top)));
        const __m256i high_four = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
        const __m256i bit = _mm256_shuffle_epi8(bits, high_four);
        const __m256i are_absent = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), _mm256_setzero_si256());
        const unsigned set = (unsigned)_mm256_movemask_epi8(are_absent);
        if (set)
            return begin + (uint32_t)__builtin_ctz(set);
    }
    return moeq_rans_find_absent(encoder, symbols, begin, n);
}

#endif
