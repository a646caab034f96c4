/* Scalar number formats: BF16, F16, FP8 E4M3 and their conversions to and from float32. All rounding is to
 * the nearest, ties to even.
 *
 * FP8 E4M3 (the "FN" variant of the OCP 8-bit floating point specification, as in DeepSeek's files): bias 7,
 * no infinities, 0x7F and 0xFF are NaN, largest value 448, subnormals are multiples of 2^-9. */
#ifndef MOEQ_SCALAR_H
#define MOEQ_SCALAR_H

#include <stdint.h>
#include <string.h>

#define MOEQ_E4M3_MAX 448.0f

static inline uint32_t moeq_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float moeq_bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float moeq_bf16_decode(uint16_t x)
{
    return moeq_bits_float((uint32_t)x << 16);
}

static inline uint16_t moeq_bf16_encode(float x)
{
    uint32_t bits = moeq_float_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) /* keep a NaN a NaN */
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static inline float moeq_f16_decode(uint16_t x)
{
    uint32_t sign = (uint32_t)(x & 0x8000u) << 16;
    uint32_t exponent = x >> 10 & 0x1fu, mantissa = x & 0x3ffu;
    if (exponent == 0x1f)
        return moeq_bits_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent)
        return moeq_bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

static inline float moeq_e4m3_decode(uint8_t x)
{
    uint32_t sign = (uint32_t)(x & 0x80u) << 24;
    uint32_t exponent = x >> 3 & 0xfu, mantissa = x & 7u;
    if (exponent == 15 && mantissa == 7)
        return moeq_bits_float(sign | 0x7fc00000u);
    if (exponent)
        return moeq_bits_float(sign | (exponent + 120) << 23 | mantissa << 20);
    float magnitude = (float)mantissa * 0x1p-9f;
    return sign ? -magnitude : magnitude;
}

/* Values beyond 448 saturate; NaN stays NaN. */
static inline uint8_t moeq_e4m3_encode(float x)
{
    uint32_t bits = moeq_float_bits(x);
    uint32_t sign = bits >> 24 & 0x80u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint8_t)(sign | 0x7f);
    if (magnitude < 0x3c800000u) { /* below 2^-6: multiples of 2^-9; adding 2^14 rounds at that bit */
        float shifted = moeq_bits_float(magnitude) + 0x1p14f;
        return (uint8_t)(sign | (moeq_float_bits(shifted) & 0xffu));
    }
    if (magnitude >= 0x43e80000u) /* 464, half-way to the value that 480 would have */
        return (uint8_t)(sign | 0x7e);
    magnitude += 0x7ffffu + (magnitude >> 20 & 1);
    uint32_t code = (magnitude >> 20) - (120u << 3);
    return (uint8_t)(sign | (code > 0x7e ? 0x7e : code));
}

#endif
