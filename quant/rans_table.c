#include "rans_rows.h"

#include <pthread.h>

#define OFFSET       128         /* of a value's place in the arrays */
#define RAREST       65536u      /* codes rarer than one in so many become exceptions */
#define MAX_LENGTH   12          /* bits of a frequency */
#define EXCEPTION    (32u << 16) /* cost */
#define N_LENGTH_BIT 4
#define LOG_DIGITS   24

/* ---- histograms ---- */

void moeq_rans_count(struct moeq_rans_histogram *histogram, const int16_t *codes, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        const unsigned place = (unsigned)(codes[i] + OFFSET);
        if (place < MOEQ_RANS_SYMBOLS)
            histogram->counts[place]++;
        else
            histogram->n_outside++;
    }
}

/* Four sets of counters, since equal codes that follow each other would wait for one. */
static void count_piece(struct moeq_rans_histogram *histogram, const int8_t *codes, uint32_t n)
{
    uint32_t counts[4][MOEQ_RANS_SYMBOLS] = {0};
    uint32_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const uint64_t eight = moeq_load_u64le((const uint8_t *)codes + i);
        for (unsigned k = 0; k < 8; k++)
            counts[k % 4][eight >> 8 * k & 0xff]++;
    }
    for (; i < n; i++)
        counts[0][(uint8_t)codes[i]]++;
    for (unsigned v = 0; v < MOEQ_RANS_SYMBOLS; v++)
        histogram->counts[v ^ OFFSET] += (uint64_t)counts[0][v] + counts[1][v] + counts[2][v] + counts[3][v];
}

void moeq_rans_count_bytes(struct moeq_rans_histogram *histogram, const int8_t *codes, uint64_t n)
{
    const uint32_t piece = 1u << 30;
    for (uint64_t i = 0; i < n; i += piece)
        count_piece(histogram, codes + i, n - i < piece ? (uint32_t)(n - i) : piece);
}

/* ---- frequencies ---- */

/* log2(f) * 2^24 for 1 <= f <= 4096, rounded down: a digit a squaring, in integers. */
static uint32_t log2_fixed(uint32_t f)
{
    const uint32_t whole = 31 - (uint32_t)__builtin_clz(f);
    uint64_t x = (uint64_t)f << (31 - whole); /* in [1, 2) * 2^31 */
    uint32_t log = whole << LOG_DIGITS;
    for (int digit = LOG_DIGITS - 1; digit >= 0; digit--) {
        x = x * x >> 31;
        if (x >> 32) {
            x >>= 1;
            log |= 1u << digit;
        }
    }
    return log;
}

static uint32_t logs[MOEQ_RANS_SLOTS + 1]; /* of small matrices they would take longer than all else */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_logs(void)
{
    for (uint32_t f = 1; f <= MOEQ_RANS_SLOTS; f++)
        logs[f] = log2_fixed(f);
}

/* What follows from the frequencies, which add up to MOEQ_RANS_SLOTS. */
static void derive(struct moeq_rans_table *t)
{
    unsigned first = 0;
    pthread_once(&once, fill_logs);
    t->lowest = t->highest = t->filler = 0;
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++) {
        const unsigned f = t->frequency[place];
        t->first[place] = (uint16_t)first;
        first += f;
        if (!f)
            continue;
        if (first == f)
            t->lowest = t->filler = place - OFFSET;
        t->highest = place - OFFSET;
        if (f > t->frequency[t->filler + OFFSET])
            t->filler = place - OFFSET;
        t->cost[place] = (MOEQ_RANS_BITS << 16) - (logs[f] >> (LOG_DIGITS - 16));
    }
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++)
        if (!t->frequency[place])
            t->cost[place] = EXCEPTION + t->cost[t->filler + OFFSET];
}

/* While the slots are divided: what a slot more would gain, and one less would lose, in bits * 2^24. */
struct division {
    struct moeq_rans_table *table;
    const uint64_t *counts;
    unsigned sum;
    uint64_t gains[MOEQ_RANS_SYMBOLS], losses[MOEQ_RANS_SYMBOLS];
};

static void set_frequency(struct division *d, int place, unsigned f)
{
    const uint32_t log = logs[f];
    d->sum = d->sum - d->table->frequency[place] + f;
    d->table->frequency[place] = (uint16_t)f;
    d->gains[place] = d->counts[place] * (logs[f + 1] - log);
    d->losses[place] = f > 1 ? d->counts[place] * (log - logs[f - 1]) : UINT64_MAX;
}

/* Of equals the lowest value; of symbols only. */
static int most_gained(const struct division *d)
{
    int best = -1;
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++)
        if (d->table->frequency[place] && (best < 0 || d->gains[place] > d->gains[best]))
            best = place;
    return best;
}

static int least_lost(const struct division *d)
{
    int best = -1;
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++)
        if (d->table->frequency[place] && (best < 0 || d->losses[place] < d->losses[best]))
            best = place;
    return best;
}

/* Begins with the nearest shares; then slots move as long as that makes the coded size smaller, which is
 * convex, so that this ends at the smallest. */
static void divide(struct moeq_rans_table *table, const uint64_t counts[MOEQ_RANS_SYMBOLS])
{
    struct division d = {.table = table, .counts = counts};
    uint64_t total = 0;
    pthread_once(&once, fill_logs);
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++) {
        total += table->frequency[place] ? counts[place] : 0;
        d.sum += table->frequency[place];
    }
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++) {
        const uint64_t share = (2 * MOEQ_RANS_SLOTS * counts[place] + total) / (2 * total);
        if (table->frequency[place])
            set_frequency(&d, place,
                          share == 0                ? 1
                          : share < MOEQ_RANS_SLOTS ? (unsigned)share
                                                    : MOEQ_RANS_SLOTS - 1);
    }
    for (;;) {
        const int from = least_lost(&d), to = most_gained(&d);
        if (d.sum > MOEQ_RANS_SLOTS)
            set_frequency(&d, from, table->frequency[from] - 1u);
        else if (d.sum < MOEQ_RANS_SLOTS)
            set_frequency(&d, to, table->frequency[to] + 1u);
        else if (d.gains[to] <= d.losses[from])
            break;
        else {
            set_frequency(&d, from, table->frequency[from] - 1u);
            set_frequency(&d, to, table->frequency[to] + 1u);
        }
    }
}

void moeq_rans_table_make(const struct moeq_rans_histogram *histogram, struct moeq_rans_table *table)
{
    uint64_t total = histogram->n_outside;
    int n_present = 0, last = OFFSET;
    *table = (struct moeq_rans_table){0};
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++)
        total += histogram->counts[place];
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++)
        if (histogram->counts[place] && histogram->counts[place] >= moeq_div_up(total, RAREST)) {
            table->frequency[place] = 1;
            last = place;
            n_present++;
        }
    if (n_present > 1) {
        divide(table, histogram->counts);
    } else { /* a frequency of 4096 would need a bit more: a neighbour gets a slot that is not used */
        table->frequency[last] = MOEQ_RANS_SLOTS - 1;
        table->frequency[last ^ 1] = 1;
    }
    derive(table);
}

uint64_t moeq_rans_cost(const struct moeq_rans_histogram *histogram, const struct moeq_rans_table *table)
{
    uint64_t cost = histogram->n_outside * (EXCEPTION + table->cost[table->filler + OFFSET]);
    for (int place = 0; place < MOEQ_RANS_SYMBOLS; place++)
        cost += histogram->counts[place] * table->cost[place];
    return cost;
}

/* ---- bytes ---- */

struct bits {
    uint8_t *bytes;
    const uint8_t *from;
    uint64_t at, n; /* bits */
};

static void put(struct bits *b, unsigned value, unsigned n)
{
    for (unsigned i = 0; i < n; i++, b->at++)
        b->bytes[b->at / 8] = (uint8_t)(b->bytes[b->at / 8] | (value >> i & 1u) << b->at % 8);
}

/* 0 behind the end, where `at` goes beyond n. */
static unsigned get(struct bits *b, unsigned n)
{
    unsigned value = 0;
    for (unsigned i = 0; i < n; i++, b->at++)
        if (b->at < b->n)
            value |= ((unsigned)b->from[b->at / 8] >> b->at % 8 & 1u) << i;
    return value;
}

static unsigned length_of(unsigned frequency)
{
    return frequency ? 32 - (unsigned)__builtin_clz(frequency) : 0;
}

size_t moeq_rans_table_write(const struct moeq_rans_table *table, uint8_t bytes[MOEQ_RANS_TABLE_BYTES])
{
    struct bits b = {.bytes = bytes, .at = 16};
    unsigned before = 1;
    memset(bytes, 0, MOEQ_RANS_TABLE_BYTES);
    bytes[0] = (uint8_t)table->lowest;
    bytes[1] = (uint8_t)(table->highest - table->lowest);
    for (int value = table->lowest; value <= table->highest; value++) {
        const unsigned f = table->frequency[value + OFFSET], length = length_of(f);
        if (length == before) {
            put(&b, 0, 1);
        } else if (length == before + 1 || length + 1 == before) {
            put(&b, length > before ? 1 : 5, 3);
        } else {
            put(&b, 3, 2);
            put(&b, length, N_LENGTH_BIT);
        }
        if (length > 1)
            put(&b, f & ((1u << (length - 1)) - 1), length - 1);
        before = length;
    }
    return (size_t)moeq_div_up(b.at, 8);
}

static unsigned get_length(struct bits *b, unsigned before)
{
    if (!get(b, 1))
        return before;
    if (get(b, 1))
        return get(b, N_LENGTH_BIT);
    return get(b, 1) ? before - 1 : before + 1; /* 0 - 1 is too large as well */
}

static enum moeq_status table_error(uint64_t offset, const char *what, struct moeq_error *err)
{
    const enum moeq_status status = moeq_fail(err, MOEQ_DAMAGED, "not a table of frequencies: %s", what);
    moeq_error_at(err, offset);
    return status;
}

enum moeq_status moeq_rans_table_read(const uint8_t *bytes, uint64_t n, struct moeq_rans_table *table,
                                      size_t *n_used, struct moeq_error *err)
{
    struct bits b = {
        .from = bytes, .at = 16, .n = 8 * (n < MOEQ_RANS_TABLE_BYTES ? n : MOEQ_RANS_TABLE_BYTES)};
    unsigned length = 1, sum = 0;
    *table = (struct moeq_rans_table){0};
    *n_used = 0;
    if (n < 2)
        return table_error(0, "it ends early", err);
    const int lowest = (int8_t)bytes[0], highest = lowest + bytes[1];
    if (highest >= OFFSET)
        return table_error(1, "values beyond 127", err);
    for (int value = lowest; value <= highest; value++) {
        const uint64_t at = b.at;
        length = get_length(&b, length);
        if (length > MAX_LENGTH)
            return table_error(at / 8, "a frequency of more than 12 bits", err);
        const unsigned f = length ? 1u << (length - 1) | get(&b, length - 1) : 0;
        if (b.at > b.n)
            return table_error(at / 8, "it ends early", err);
        if (!f && (value == lowest || value == highest))
            return table_error(at / 8, "the first and the last value need a frequency", err);
        table->frequency[value + OFFSET] = (uint16_t)f;
        sum += f;
    }
    if (sum != MOEQ_RANS_SLOTS)
        return table_error(0, "the frequencies do not add up to 4096", err);
    if (get(&b, (unsigned)(-b.at % 8)))
        return table_error(b.at / 8 - 1, "its last byte is not filled up with zeros", err);
    derive(table);
    *n_used = (size_t)(b.at / 8);
    return MOEQ_OK;
}

/* ---- what encoding and decoding need ---- */

void moeq_rans_decoder_init(struct moeq_rans_decoder *decoder, const struct moeq_rans_table *table)
{
    for (int value = table->lowest; value <= table->highest; value++) {
        const uint32_t f = table->frequency[value + OFFSET], first = table->first[value + OFFSET];
        const uint32_t slot = f << MOEQ_RANS_BITS | (uint32_t)(uint8_t)value << 24;
        for (uint32_t i = 0; i < f; i++)
            decoder->slots[first + i] = slot + i;
    }
}

void moeq_rans_encoder_init(struct moeq_rans_encoder *encoder, const struct moeq_rans_table *table)
{
    *encoder = (struct moeq_rans_encoder){0};
    for (int value = table->lowest; value <= table->highest; value++) {
        const uint32_t f = table->frequency[value + OFFSET], first = table->first[value + OFFSET];
        if (!f)
            continue;
        encoder->symbols[(uint8_t)value] =
            (struct moeq_rans_symbol){f, first, ((uint64_t)1 << 63) / f + (((uint64_t)1 << 63) % f != 0)};
        encoder->packed[(uint8_t)value] = f | first << 16;
        uint8_t *present = &encoder->present[(uint8_t)value >> 7][value & 15];
        *present = (uint8_t)(*present | 1 << (value >> 4 & 7));
    }
}
