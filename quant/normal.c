#include "normal.h"

#include <math.h>
#include <pthread.h>

#define STEPS        8    /* tables in an octave */
#define FIRST_OCTAVE (-2) /* of the standard deviation */
#define OFFSET       128
#define HALVES       32 /* pieces of the integral over one code; even */
#define WIDE_SHARE   0.03
#define NEAR         4 /* tables beside the nearest that are tried */

/* 2^(i / 8) */
static const double roots[STEPS] = {1.0,
                                    1.0905077326652577,
                                    1.189207115002721,
                                    1.2968395546510096,
                                    1.4142135623730951,
                                    1.5422108254079407,
                                    1.681792830507429,
                                    1.8340080864093424};

static struct moeq_rans_table tables[MOEQ_NORMAL_TABLES];
static struct moeq_rans_decoder decoders[MOEQ_NORMAL_TABLES];
static double bits[MOEQ_NORMAL_TABLES];
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* exp(-x) for x >= 0 out of multiplications, whose rounding no library decides: (1 - x/n + …)^n. */
static double decay(double x)
{
    double small = x / 1024, y = 1 - small * (1 - small / 2 * (1 - small / 3 * (1 - small / 4)));
    for (int i = 0; i < 10; i++)
        y *= y;
    return y;
}

/* Simpson's rule, up to a constant factor. */
static double share_of(int v, double deviation)
{
    const double from = fabs((double)v) - 0.5;
    double sum = 0;
    for (int i = 0; i <= HALVES; i++) {
        const double x = (from + (double)i / HALVES) / deviation, y = x * x / 2 < 700 ? decay(x * x / 2) : 0;
        sum += i == 0 || i == HALVES ? y : i % 2 ? 4 * y : 2 * y;
    }
    return sum;
}

static void fill_shares(double deviation, double shares[MOEQ_RANS_SYMBOLS])
{
    double sum = 0;
    for (int v = -OFFSET; v < OFFSET; v++)
        sum += shares[v + OFFSET] = share_of(v, deviation);
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++)
        shares[place] /= sum;
}

static void make_table(unsigned k)
{
    const double deviation = ldexp(roots[k % STEPS], (int)(k / STEPS) + FIRST_OCTAVE);
    double narrow[MOEQ_RANS_SYMBOLS], wide[MOEQ_RANS_SYMBOLS];
    struct moeq_rans_histogram counts = {0};
    fill_shares(deviation, narrow);
    fill_shares(2 * deviation, wide);
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++)
        counts.counts[place] =
            (uint64_t)(0x1p38 * ((1 - WIDE_SHARE) * narrow[place] + WIDE_SHARE * wide[place]));
    moeq_rans_table_make(&counts, &tables[k]);
    moeq_rans_decoder_init(&decoders[k], &tables[k]);
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++)
        bits[k] += narrow[place] * (double)tables[k].cost[place] / 65536;
}

static void make_tables(void)
{
    for (unsigned k = 0; k < MOEQ_NORMAL_TABLES; k++)
        make_table(k);
}

const struct moeq_rans_table *moeq_normal_table(unsigned k)
{
    pthread_once(&once, make_tables);
    return &tables[k];
}

const struct moeq_rans_decoder *moeq_normal_decoder(unsigned k)
{
    pthread_once(&once, make_tables);
    return &decoders[k];
}

double moeq_normal_bits(unsigned k)
{
    pthread_once(&once, make_tables);
    return bits[k];
}

unsigned moeq_normal_nearest(double variance)
{
    unsigned low = 0, high = MOEQ_NORMAL_TABLES - 1; /* the first whose upper border is beyond it */
    while (low < high) {
        const unsigned k = (low + high) / 2;
        const double deviation = ldexp(roots[k % STEPS], (int)(k / STEPS) + FIRST_OCTAVE);
        if (variance > deviation * deviation * roots[1])
            low = k + 1;
        else
            high = k;
    }
    return low;
}

unsigned moeq_normal_best(const struct moeq_rans_histogram *histogram, uint64_t *cost)
{
    double n = 0, squares = 0;
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++) {
        n += (double)histogram->counts[place];
        squares += (double)histogram->counts[place] * (place - OFFSET) * (place - OFFSET);
    }
    const unsigned near = n > 0 ? moeq_normal_nearest(squares / n) : 0;
    const unsigned first = near > NEAR ? near - NEAR : 0;
    unsigned best = first;
    *cost = UINT64_MAX;
    for (unsigned k = first; k < MOEQ_NORMAL_TABLES && k <= near + NEAR; k++) {
        const uint64_t c = moeq_rans_cost(histogram, moeq_normal_table(k));
        if (c < *cost) {
            *cost = c;
            best = k;
        }
    }
    return best;
}
