#include "bytes.h"

#include <stdlib.h>

#define ALIGNMENT 64

enum moeq_status moeq_bytes_resize(struct moeq_bytes *bytes, size_t n_bytes, struct moeq_error *err)
{
    if (n_bytes > bytes->capacity || !bytes->data) {
        if (n_bytes > SIZE_MAX - ALIGNMENT)
            return moeq_fail_alloc(err, n_bytes);
        size_t capacity = moeq_round_up(n_bytes ? n_bytes : 1, ALIGNMENT);
        moeq_bytes_free(bytes);
        bytes->data = aligned_alloc(ALIGNMENT, capacity);
        if (!bytes->data)
            return moeq_fail_alloc(err, n_bytes);
        bytes->capacity = capacity;
    }
    bytes->n_bytes = n_bytes;
    return MOEQ_OK;
}

void moeq_bytes_free(struct moeq_bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct moeq_bytes){0};
}

void *moeq_calloc(size_t count, size_t size, struct moeq_error *err)
{
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p) {
        uint64_t total = SIZE_MAX;
        moeq_mul(count, size, &total);
        moeq_fail_alloc(err, total);
    }
    return p;
}

void *moeq_grown(void *array, size_t n, size_t *capacity, size_t element_size, struct moeq_error *err)
{
    if (n < *capacity)
        return array;
    uint64_t wanted = *capacity ? *capacity : 16, n_bytes;
    void *moved = NULL;
    if (moeq_mul(wanted, 2, &wanted) && moeq_mul(wanted, element_size, &n_bytes))
        moved = realloc(array, (size_t)n_bytes);
    if (moved)
        *capacity = (size_t)wanted;
    else
        moeq_fail_alloc(err, n);
    return moved;
}

char *moeq_strdup(const char *text, struct moeq_error *err)
{
    size_t n = strlen(text) + 1;
    char *copy = moeq_calloc(n, 1, err);
    if (copy)
        memcpy(copy, text, n);
    return copy;
}

/* Length of the well-formed sequence at p, or 0. Ranges after table 3-7 of the Unicode standard. */
static size_t utf8_sequence(const uint8_t *p, size_t n)
{
    uint8_t c = p[0];
    if (c < 0x80)
        return 1;
    size_t length = c >= 0xC2 && c <= 0xDF ? 2 : (c & 0xF0) == 0xE0 ? 3 : c >= 0xF0 && c <= 0xF4 ? 4 : 0;
    if (!length || length > n)
        return 0;
    uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    uint8_t high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

bool moeq_utf8_valid(const uint8_t *data, size_t n, size_t *bad_offset)
{
    for (size_t i = 0; i < n;) {
        size_t length = utf8_sequence(data + i, n - i);
        if (!length) {
            if (bad_offset)
                *bad_offset = i;
            return false;
        }
        i += length;
    }
    return true;
}

bool moeq_has_suffix(const char *name, const char *suffix)
{
    const size_t n = strlen(name), m = strlen(suffix);
    return n > m && strcmp(name + n - m, suffix) == 0;
}
