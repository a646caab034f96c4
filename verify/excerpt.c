#include "excerpt.h"

#include "bytes.h"

#include <math.h>
#include <stdlib.h>

#define NOISE_PERIOD 65536u
#define MAX_RANGE    200.0
#define MAX_CODE     65535.0

struct moeq_excerpt_shape moeq_excerpt_shape(uint32_t vocabulary, uint32_t top, uint32_t sample)
{
    struct moeq_excerpt_shape shape = {.top = top < vocabulary ? top : vocabulary};
    const uint32_t tail = vocabulary - shape.top;
    shape.sample = sample < tail ? sample : tail;
    return shape;
}

/* ---- making one ---- */

/* Of the sample's list: the top's entries are in it, too, and the threshold is the first that is left out. */
static uint32_t sample_candidates(struct moeq_excerpt_shape shape)
{
    return shape.top + shape.sample + 1;
}

uint32_t moeq_excerpt_entries(struct moeq_excerpt_shape shape)
{
    return moeq_top_capacity(shape.top) + (shape.sample ? moeq_top_capacity(sample_candidates(shape)) : 0);
}

/* splitmix64: a bijection that mixes all bits. */
static uint64_t mixed(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

float *moeq_excerpt_noise(struct moeq_error *err)
{
    float *noise = moeq_calloc(NOISE_PERIOD + MOEQ_EXCERPT_SLICE, sizeof *noise, err);
    for (uint64_t i = 0; noise && i < NOISE_PERIOD + MOEQ_EXCERPT_SLICE; i++)
        noise[i] = (float)-log(((double)(mixed(i) >> 12) + 0.5) * 0x1p-52);
    return noise;
}

void moeq_excerpt_begin(struct moeq_excerpt_maker *maker, struct moeq_excerpt_shape shape,
                        struct moeq_top_entry *entries)
{
    *maker = (struct moeq_excerpt_maker){0};
    moeq_top_begin(&maker->top, shape.top, entries);
    if (shape.sample)
        moeq_top_begin(&maker->sample, sample_candidates(shape), entries + moeq_top_capacity(shape.top));
}

void moeq_excerpt_add(struct moeq_excerpt_maker *maker, const float *noise, uint64_t token,
                      const float *logits, uint64_t first, uint64_t n)
{
    moeq_top_add(&maker->top, logits, NULL, first, n);
    if (maker->sample.k) /* each slice of each token from a place of its own */
        moeq_top_add(&maker->sample, logits, noise + mixed(mixed(token) + first) % NOISE_PERIOD, first, n);
}

/* Those of the candidates that are not in the top come to the front, in their order; their number. */
static uint32_t leave_out_top(struct moeq_top *sample, const struct moeq_top *top)
{
    const struct moeq_top_entry *least = &top->entries[top->n - 1];
    uint32_t n = 0;
    for (uint32_t i = 0; i < sample->n; i++) {
        const struct moeq_top_entry e = sample->entries[i];
        if (e.logit < least->logit || (e.logit == least->logit && e.id > least->id))
            sample->entries[n++] = e;
    }
    return n;
}

static int by_logit(const void *a, const void *b)
{
    const struct moeq_top_entry *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void store(struct moeq_excerpt *out, uint32_t at, const struct moeq_top_entry *e, double total)
{
    const double below = ((double)out->largest - ((double)e->logit - total)) / (double)out->step;
    out->ids[at] = e->id;
    out->codes[at] = (uint16_t)(below < 0 ? 0 : below > MAX_CODE ? MAX_CODE : below + 0.5);
}

static double least_logit(const struct moeq_top *top, const struct moeq_top *sample, uint32_t n_sample)
{
    double least = (double)top->entries[top->n - 1].logit;
    for (uint32_t i = 0; i < n_sample; i++)
        least = fmin(least, (double)sample->entries[i].logit);
    return least;
}

enum moeq_status moeq_excerpt_end(struct moeq_excerpt_maker *maker, struct moeq_excerpt_shape shape,
                                  const struct moeq_tally *tally, struct moeq_excerpt *out,
                                  struct moeq_error *err)
{
    struct moeq_top *top = &maker->top, *sample = &maker->sample;
    const double total = moeq_tally_total(tally);
    moeq_top_end(top);
    if (shape.sample)
        moeq_top_end(sample);
    const uint32_t n_tail = top->n && shape.sample ? leave_out_top(sample, top) : 0;
    if (!isfinite(total) || !isfinite(tally->target) || top->n < shape.top || n_tail < shape.sample)
        return moeq_fail(err, MOEQ_DAMAGED, "the logits are not finite: weights are damaged");
    double above = 0; /* probability of the top */
    for (uint32_t i = 0; i < top->n; i++)
        above += exp((double)top->entries[i].logit - total);
    const double largest = (double)top->entries[0].logit,
                 range = fmin(MAX_RANGE, largest - least_logit(top, sample, shape.sample));
    out->nll = (float)(total - tally->target);
    out->total = (float)total;
    out->largest = (float)(largest - total);
    out->step = (float)fmax(range / MAX_CODE, 1e-30);
    out->tail = shape.sample ? (float)fmax(0, 1 - above) : 0;
    out->threshold =
        n_tail > shape.sample ? (float)((double)sample->entries[shape.sample].key - total) : -INFINITY;
    for (uint32_t i = 0; i < shape.top; i++)
        store(out, i, &top->entries[i], total);
    if (shape.sample)
        qsort(sample->entries, shape.sample, sizeof *sample->entries, by_logit);
    for (uint32_t i = 0; i < shape.sample; i++)
        store(out, shape.top + i, &sample->entries[i], total);
    return MOEQ_OK;
}

/* ---- comparing with one ---- */

static double log_probability(const struct moeq_excerpt *e, uint32_t i)
{
    return (double)e->largest - (double)e->step * e->codes[i];
}

/* The second line of the header, over T. `rest` is U. */
static double compare_tail(const struct moeq_excerpt *e, struct moeq_excerpt_shape shape, const float *logits,
                           double total, double rest)
{
    double sum = 0;
    for (uint32_t i = shape.top; i < shape.top + shape.sample; i++) {
        const double p = log_probability(e, i) - log((double)e->tail),
                     q = (double)logits[i] - total - log(rest);
        const double weight = exp(fmax(0, (double)e->threshold - log_probability(e, i)));
        sum += weight * (exp(p) * (p - q) - exp(p) + exp(q));
    }
    return sum;
}

struct moeq_excerpt_divergence moeq_excerpt_compare(const struct moeq_excerpt *e,
                                                    struct moeq_excerpt_shape shape, const float *logits,
                                                    double total)
{
    const double tail = (double)e->tail;
    double above = 0, model_above = 0, sum = 0;
    for (uint32_t i = 0; i < shape.top; i++) {
        const double p = exp(log_probability(e, i)), q = (double)logits[i] - total;
        above += p;
        model_above += exp(q);
        sum += p * (log_probability(e, i) - q);
    }
    const double scale = (1 - tail) / above;
    struct moeq_excerpt_divergence d = {.lower = scale * sum + (1 - tail) * log(scale)};
    d.estimate = d.lower;
    if (tail > 1e-12) { /* below it, 1 - above is rounding */
        const double rest = fmax(1 - model_above, 1e-15);
        d.lower += tail * log(tail / rest);
        d.estimate = d.lower + tail * compare_tail(e, shape, logits, total, rest);
    }
    return d;
}
