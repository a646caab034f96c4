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
    return moeq_top_room(shape.top) + (shape.sample ? moeq_top_room(sample_candidates(shape)) : 0);
}

static uint64_t mixed(uint64_t x)
{
    return moeq_mixed(x + MOEQ_MIX_STEP);
}

/* One u of each of NOISE_PERIOD equal parts of (0, 1), in random order, and the first ones again: wherever a
 * slice begins, each of its entries is as likely to have any of them, and shares of small u are not left to
 * chance, which would be the same for all tokens. */
float *moeq_excerpt_noise(struct moeq_error *err)
{
    float *noise = moeq_calloc(NOISE_PERIOD + MOEQ_EXCERPT_SLICE, sizeof *noise, err);
    if (!noise)
        return NULL;
    for (uint32_t i = 0; i < NOISE_PERIOD; i++) {
        const double inside = ((double)(mixed(i) >> 12) + 0.5) * 0x1p-52;
        noise[i] = (float)-log((i + inside) / NOISE_PERIOD);
    }
    for (uint32_t i = NOISE_PERIOD; i > 1; i--) {
        const uint64_t other = mixed(NOISE_PERIOD + (uint64_t)i) % i;
        const float kept = noise[i - 1];
        noise[i - 1] = noise[other];
        noise[other] = kept;
    }
    memcpy(noise + NOISE_PERIOD, noise, MOEQ_EXCERPT_SLICE * sizeof *noise);
    return noise;
}

void moeq_excerpt_begin(struct moeq_excerpt_maker *maker, struct moeq_excerpt_shape shape,
                        struct moeq_top_entry *entries)
{
    *maker = (struct moeq_excerpt_maker){0};
    moeq_top_begin(&maker->top, shape.top, entries);
    if (shape.sample)
        moeq_top_begin(&maker->sample, sample_candidates(shape), entries + moeq_top_room(shape.top));
}

void moeq_excerpt_add(struct moeq_excerpt_maker *maker, const float *noise, uint64_t token,
                      const float *logits, uint64_t first, uint64_t n)
{
    moeq_top_add(&maker->top, logits, NULL, first, n);
    if (maker->sample.k) /* each slice of each token from a place of its own */
        moeq_top_add(&maker->sample, logits, noise + mixed(mixed(token) + first) % NOISE_PERIOD, first, n);
}

/* Leaves of the candidates what is not in the top, at most the sample and one more; gives their number. */
static uint32_t leave_out_top(struct moeq_top *sample, const struct moeq_top *top, uint32_t n_sample)
{
    const struct moeq_top_entry *least = &top->entries[top->n - 1];
    uint32_t n = 0;
    for (uint32_t i = 0; i < sample->n; i++) {
        const struct moeq_top_entry e = sample->entries[i];
        sample->entries[n] = e;
        n += e.logit < least->logit || (e.logit == least->logit && e.id > least->id);
    }
    sample->n = n;
    moeq_top_keep(sample, n_sample + 1);
    return sample->n;
}

/* Takes the least key, where there is one more than the sample has. */
static float take_threshold(struct moeq_top *sample, uint32_t n_sample)
{
    uint32_t least = 0;
    if (sample->n <= n_sample)
        return -INFINITY;
    for (uint32_t i = 1; i < sample->n; i++)
        least = sample->entries[i].key < sample->entries[least].key ? i : least;
    const float key = sample->entries[least].key;
    sample->entries[least] = sample->entries[--sample->n];
    return key;
}

static void store(struct moeq_excerpt *out, uint32_t at, const struct moeq_top_entry *e, double total)
{
    const double below = ((double)out->largest - ((double)e->logit - total)) / (double)out->step;
    out->ids[at] = e->id;
    out->codes[at] = (uint16_t)(below < 0 ? 0 : below > MAX_CODE ? MAX_CODE : below + 0.5);
}

static double least_logit(const struct moeq_top *top, const struct moeq_top *sample)
{
    const double least = (double)top->entries[top->n - 1].logit;
    return sample->n ? fmin(least, (double)sample->entries[sample->n - 1].logit) : least;
}

enum moeq_status moeq_excerpt_end(struct moeq_excerpt_maker *maker, struct moeq_excerpt_shape shape,
                                  const struct moeq_tally *tally, struct moeq_excerpt *out,
                                  struct moeq_error *err)
{
    struct moeq_top *top = &maker->top, *sample = &maker->sample;
    const double total = moeq_tally_total(tally);
    moeq_top_end(top);
    moeq_top_sort(top->entries, top->n);
    const uint32_t n_tail = top->n && shape.sample ? leave_out_top(sample, top, shape.sample) : 0;
    if (!isfinite(total) || !isfinite(tally->target) || top->n < shape.top || n_tail < shape.sample)
        return moeq_fail(err, MOEQ_DAMAGED, "the logits are not finite: weights are damaged");
    const float threshold = take_threshold(sample, shape.sample);
    moeq_top_sort(sample->entries, sample->n);
    double above = 0; /* probability of the top */
    for (uint32_t i = 0; i < top->n; i++)
        above += exp((double)top->entries[i].logit - total);
    const double largest = (double)top->entries[0].logit,
                 range = fmin(MAX_RANGE, largest - least_logit(top, sample));
    out->nll = (float)(total - tally->target);
    out->total = (float)total;
    out->largest = (float)(largest - total);
    out->step = (float)fmax(range / MAX_CODE, 1e-30);
    out->tail = shape.sample ? (float)fmax(0, 1 - above) : 0;
    out->threshold = (float)((double)threshold - total);
    for (uint32_t i = 0; i < shape.top; i++)
        store(out, i, &top->entries[i], total);
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
