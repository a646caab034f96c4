/* Owned byte buffers, checked size arithmetic and little-endian access.
 *
 * Sizes that come from a file are multiplied and added only through the checked functions below. */
#ifndef MOEQ_BYTES_H
#define MOEQ_BYTES_H

#include "status.h"

#include <string.h>

/* A buffer on the heap. {0} is a valid empty one. */
struct moeq_bytes {
    uint8_t *data;   /* 64-byte aligned */
    size_t n_bytes;  /* bytes in use */
    size_t capacity; /* bytes allocated */
};

/* Makes room for at least n_bytes and sets n_bytes; the old contents are not kept. The same buffer serves
 * many calls: it only grows. */
enum moeq_status moeq_bytes_resize(struct moeq_bytes *bytes, size_t n_bytes, struct moeq_error *err);
void moeq_bytes_free(struct moeq_bytes *bytes);

/* calloc with the product checked; NULL and *err set where it fails. A zero count gives a non-NULL pointer.
 */
void *moeq_calloc(size_t count, size_t size, struct moeq_error *err);

/* Room for one element more than n in a heap array that holds *capacity: the array, moved where it had to
 * grow. NULL and *err set where memory is out; the old array then is still the caller's to free. */
void *moeq_grown(void *array, size_t n, size_t *capacity, size_t element_size, struct moeq_error *err);

/* strdup that reports; NULL and *err set where it fails. */
char *moeq_strdup(const char *text, struct moeq_error *err);

/* True where the result fits; *out is untouched otherwise. */
static inline bool moeq_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool moeq_add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* ceil(a / b) for b > 0, without overflow. */
static inline uint64_t moeq_div_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/* a rounded up to a multiple of `multiple` > 0. The caller has bounded a. */
static inline uint64_t moeq_round_up(uint64_t a, uint64_t multiple)
{
    return moeq_div_up(a, multiple) * multiple;
}

static inline uint32_t moeq_load_u16le(const uint8_t *p)
{
    return (uint32_t)(p[0] | p[1] << 8);
}

static inline void moeq_store_u16le(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline uint32_t moeq_load_u32le(const uint8_t *p)
{
    return moeq_load_u16le(p) | moeq_load_u16le(p + 2) << 16;
}

static inline void moeq_store_u32le(uint8_t *p, uint32_t v)
{
    moeq_store_u16le(p, v);
    moeq_store_u16le(p + 2, v >> 16);
}

static inline uint64_t moeq_load_u64le(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static inline void moeq_store_u64le(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

/* A bijection that mixes all bits: the last step of splitmix64 (Steele, Lea and Flood 2014), whose i-th
 * number is moeq_mixed(seed + i * MOEQ_MIX_STEP). */
#define MOEQ_MIX_STEP 0x9e3779b97f4a7c15u

static inline uint64_t moeq_mixed(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Whether a name ends so and is longer. */
bool moeq_has_suffix(const char *name, const char *suffix);

static inline uint64_t moeq_larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* True where n bytes are well-formed UTF-8 (no overlong form, no surrogate, at most U+10FFFF); otherwise
 * *bad_offset, if not NULL, is the offset of the first byte that is not. */
bool moeq_utf8_valid(const uint8_t *data, size_t n, size_t *bad_offset);

/* Decodes one character of text that is known to be valid, and moves *p behind it. */
static inline uint32_t moeq_utf8_next(const uint8_t **p)
{
    uint32_t c = *(*p)++;
    if (c < 0x80)
        return c;
    int n_more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
    c &= 0x3Fu >> n_more;
    while (n_more--)
        c = c << 6 | (*(*p)++ & 0x3F);
    return c;
}

#endif
