/* Levels int8 and int4: integers with one BF16 scale for each group of a row, found by search.
 *
 * The search decides codes, so its arithmetic is fixed: float32 without contraction, error sums in 16 lanes
 * (element i in lane i mod 16) that are added in the order of a binary tree. Vector code must keep this
 * order. */
#include "level_planes.h"
#include "scalar.h"

#include <math.h>

#define LANES     16
#define MAX_GROUP 128
#define MAX_BITS  8

static bool size_int(const struct moeq_format *format, uint64_t rows, uint64_t cols, uint64_t *n_bytes)
{
    struct moeq_planes p;
    if (!moeq_place_planes(format, rows, cols, &p))
        return false;
    *n_bytes = p.n_bytes;
    return true;
}

/* ---- decoding ---- */

static void decode_int(const struct moeq_matrix *matrix, uint64_t row, uint64_t col, uint64_t n, float *out)
{
    struct moeq_planes p = {0};
    moeq_place_planes(&matrix->format, matrix->rows, matrix->cols, &p);
    const uint32_t group = matrix->format.group;
    const unsigned bits = matrix->format.level->bits;
    const uint8_t *codes = matrix->data + row * p.row_bytes + col * bits / 8;
    const uint16_t *scales =
        (const uint16_t *)(const void *)(matrix->data + p.scale_offset) + row * p.n_groups;
    for (uint64_t begin = 0; begin < n; begin += group) {
        uint64_t end = n - begin < group ? n : begin + group;
        uint64_t g = (col + begin) / group;
        float scale = moeq_bf16_decode(scales[g]);
        int zero = moeq_zero_point(matrix, &p, row, g);
        if (bits == 8)
            for (uint64_t i = begin; i < end; i++)
                out[i] = (float)(codes[i] - zero) * scale;
        else
            for (uint64_t i = begin; i < end; i++)
                out[i] = (float)((codes[i / 2] >> 4 * (i % 2) & 15) - zero) * scale;
    }
}

/* ---- the search for a scale ---- */

/* Codes that a level may use, relative to the zero point, and the scales to try: largest magnitude / -low
 * times `from`, `from` - `step`, …, each with both signs: the code that has no opposite then serves the
 * longer tail, worth 0.4 dB at 4 bits. On Gaussian and Laplacian weights in groups of 32 to 128, 9 steps and
 * two refits lose at most 0.02 dB against 30 steps and are 2.6 times as fast. */
struct search {
    int low, high;
    float from, step;
    int n_steps;
};

static struct search search_for(unsigned bits)
{
    if (bits == 8)
        return (struct search){-128, 127, 1.01f, 0.005f, 7};
    return (struct search){-8, 7, 1.14f, 0.055f, 9};
}

/* Rounds to the nearest integer, ties to even; |x| is below 2^22. */
static inline float round_even(float x)
{
    return x + 0x1.8p23f - 0x1.8p23f;
}

static inline float clamp(float x, float low, float high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

static float sum_lanes(float lanes[LANES])
{
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++)
            lanes[i] += lanes[i + width];
    return lanes[0];
}

/* Squared error of a group under one scale. w is padded with zeros to n, a multiple of LANES; low and high
 * are the codes relative to the zero point. */
static float group_error(const float *w, uint32_t n, float scale, float low, float high)
{
    float lanes[LANES] = {0};
    const float inverse = 1 / scale;
    for (uint32_t i = 0; i < n; i += LANES)
        for (uint32_t j = 0; j < LANES; j++) {
            float q = round_even(clamp(w[i + j] * inverse, low, high));
            float e = w[i + j] - q * scale;
            lanes[j] += e * e;
        }
    return sum_lanes(lanes);
}

/* The scale that fits the codes of `scale` best: sum(w*q) / sum(q*q). */
static float refit(const float *w, uint32_t n, float scale, float low, float high)
{
    float wq[LANES] = {0}, qq[LANES] = {0};
    const float inverse = 1 / scale;
    for (uint32_t i = 0; i < n; i += LANES)
        for (uint32_t j = 0; j < LANES; j++) {
            float q = round_even(clamp(w[i + j] * inverse, low, high));
            wq[j] += w[i + j] * q;
            qq[j] += q * q;
        }
    float denominator = sum_lanes(qq);
    return denominator > 0 ? sum_lanes(wq) / denominator : scale;
}

struct choice {
    uint16_t scale; /* BF16 */
    int zero;       /* code of the value 0 */
    float error;
};

/* Scales are rounded to BF16 before they are judged. One whose inverse is not finite is no candidate. */
static void try_scale(const float *w, uint32_t n, float scale, int zero, int n_codes, struct choice *best)
{
    uint16_t code = moeq_bf16_encode(scale);
    float rounded = moeq_bf16_decode(code);
    if (!isfinite(1 / rounded) || !isfinite(rounded))
        return;
    float error = group_error(w, n, rounded, (float)-zero, (float)(n_codes - 1 - zero));
    if (error < best->error)
        *best = (struct choice){code, zero, error};
}

static void refine(const float *w, uint32_t n, int n_codes, struct choice *best)
{
    for (int i = 0; i < 2; i++) {
        float scale =
            refit(w, n, moeq_bf16_decode(best->scale), (float)-best->zero, (float)(n_codes - 1 - best->zero));
        try_scale(w, n, scale, best->zero, n_codes, best);
    }
}

static struct choice choose_symmetric(const float *w, uint32_t n, unsigned bits, float largest)
{
    const struct search s = search_for(bits);
    struct choice best = {0, -s.low, INFINITY};
    for (int i = 0; i < s.n_steps; i++) {
        float scale = largest / (float)-s.low * (s.from - (float)i * s.step);
        try_scale(w, n, scale, -s.low, s.high - s.low + 1, &best);
        try_scale(w, n, -scale, -s.low, s.high - s.low + 1, &best);
    }
    if (best.error < INFINITY)
        refine(w, n, s.high - s.low + 1, &best);
    return best;
}

static struct choice choose_asymmetric(const float *w, uint32_t n, unsigned bits, float smallest,
                                       float largest)
{
    const int n_codes = 1 << bits;
    struct choice best = {0, 0, INFINITY};
    smallest = smallest < 0 ? smallest : 0;
    largest = largest > 0 ? largest : 0;
    for (int i = 0; i < 9; i++) {
        float scale = (largest - smallest) / (float)(n_codes - 1) * (1.04f - (float)i * 0.05f);
        if (!(scale > 0))
            continue;
        int middle = (int)round_even(clamp(-smallest / scale, 0, (float)(n_codes - 1)));
        for (int zero = middle - 1; zero <= middle + 1; zero++)
            if (zero >= 0 && zero < n_codes)
                try_scale(w, n, scale, zero, n_codes, &best);
    }
    if (best.error < INFINITY)
        refine(w, n, n_codes, &best);
    return best;
}

/* ---- encoding ---- */

/* Squared errors of weights beyond 2^60 would overflow and of those below 2^-60 vanish: such a group is
 * judged at another magnitude. A power of two changes no code. Returns the exponent that w was multiplied by.
 */
static int bring_into_range(float *w, uint32_t n)
{
    float largest = 0;
    for (uint32_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(w[i]));
    const int exponent = largest > 0x1p60f ? -80 : largest > 0 && largest < 0x1p-60f ? 60 : 0;
    for (uint32_t i = 0; exponent && i < n; i++)
        w[i] = ldexpf(w[i], exponent);
    return exponent;
}

static struct choice choose(const struct moeq_format *format, const float *w, uint32_t n, uint32_t n_padded)
{
    float smallest = w[0], largest = w[0];
    for (uint32_t i = 1; i < n; i++) {
        smallest = w[i] < smallest ? w[i] : smallest;
        largest = w[i] > largest ? w[i] : largest;
    }
    if (format->asymmetric)
        return choose_asymmetric(w, n_padded, format->level->bits, smallest, largest);
    return choose_symmetric(w, n_padded, format->level->bits, fmaxf(-smallest, largest));
}

static void encode_group(const struct moeq_format *format, const float *row, uint32_t n, uint8_t *codes,
                         uint16_t *scale, int *zero)
{
    float w[MAX_GROUP] = {0};
    memcpy(w, row, n * sizeof *w);
    const unsigned bits = format->level->bits;
    const int exponent = bring_into_range(w, n);
    struct choice choice = choose(format, w, n, (uint32_t)moeq_round_up(n, LANES));
    const float s = moeq_bf16_decode(choice.scale), stored = ldexpf(s, -exponent);
    float inverse = 1 / s;
    if (!(choice.error < INFINITY) || !isnormal(stored)) { /* zeros, or nothing that BF16 can scale: all 0 */
        choice = (struct choice){0, 1 << (bits - 1), 0};
        inverse = 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        float q =
            round_even(clamp(w[i] * inverse, (float)-choice.zero, (float)((1 << bits) - 1 - choice.zero)));
        unsigned code = (unsigned)((int)q + choice.zero);
        if (bits == 8)
            codes[i] = (uint8_t)code;
        else
            codes[i / 2] = (uint8_t)(codes[i / 2] | code << 4 * (i % 2));
    }
    *scale = choice.scale ? moeq_bf16_encode(stored) : 0;
    *zero = choice.zero;
}

static enum moeq_status encode_int(const struct moeq_format *format, uint64_t rows, uint64_t cols,
                                   uint64_t row, uint64_t n_rows, const float *w, uint8_t *packed,
                                   struct moeq_error *err)
{
    struct moeq_planes p = {0};
    enum moeq_status status = moeq_check_finite(w, n_rows, cols, row, err);
    if (status)
        return status;
    moeq_place_planes(format, rows, cols, &p);
    for (uint64_t r = row; r < row + n_rows; r++) {
        uint16_t *scales = (uint16_t *)(void *)(packed + p.scale_offset) + r * p.n_groups;
        uint8_t *zeros = packed + p.zero_offset + r * p.zero_row_bytes;
        for (uint64_t g = 0; g < p.n_groups; g++) {
            uint64_t col = g * format->group, left = cols - col;
            uint32_t n = left < format->group ? (uint32_t)left : format->group;
            int zero;
            encode_group(format, w + (r - row) * cols + col, n,
                         packed + r * p.row_bytes + col * format->level->bits / 8, &scales[g], &zero);
            if (format->asymmetric)
                zeros[g / 2] = (uint8_t)(zeros[g / 2] | zero << 4 * (g % 2));
        }
    }
    return MOEQ_OK;
}

#define INT_LEVEL(text, n_bits, asym, quick)                                                                 \
    {                                                                                                        \
        .name = text, .bits = n_bits, .dtype = MOEQ_U8, .grouped = true, .may_be_asymmetric = asym,          \
        .lossy = true, .block_rows = 1, .fast = quick, .size = size_int, .decode = decode_int,               \
        .encode = encode_int                                                                                 \
    }

const struct moeq_level moeq_level_int8 = INT_LEVEL("int8", 8, false, MOEQ_FAST_INT8);
const struct moeq_level moeq_level_int4 = INT_LEVEL("int4", 4, true, MOEQ_FAST_INT4);
