/* Entropy coding of small integers: static range ANS (Duda 2013, arXiv 1311.2540) over 32 interleaved states,
 * which vector instructions decode 16 or 8 at a time. Every set, and the plain loops, make and read the same
 * bytes. Nothing here says what a code means, so that levels, planes of exponents and whatever else shares
 * it.
 *
 * A code is an int16. Those of -128 to 127 that a table has are *symbols*; all others, and those that were
 * too rare for a place in the table, are *exceptions* and stand beside the stream with their positions.
 *
 * All numbers are little-endian, nothing is aligned.
 *
 * A table is 4096 divided among the symbols: 2 to 256 of them have a frequency of 1 to 4095, and those of all
 * add up to 4096. Symbol v owns the slots [first, first + frequency), in the order of the values. Its bytes:
 *
 *   int8    the lowest value that has a frequency
 *   uint8   the number of values from it to the highest that has one, less 1
 *   bits    for each of these values, least significant bit first: the length L of its frequency in bits (0
 *           for a frequency of 0, 12 at most) and the L - 1 bits below the leading one. L is coded by the
 *           difference to that of the value before (to 1 for the first): none is the bit 0; 1 more is the
 *           bits 1, 0, 0; 1 less is 1, 0, 1; another is 1, 1 and the four bits of L. Zeros up to a whole
 *           byte.
 *
 * A stream of n codes is cut into chunks of `chunk` codes, the last may be shorter: that follows from the
 * size alone. Bytes:
 *
 *   uint32  for each chunk, where it ends, counted from behind this list; the last is where the stream ends
 *   the chunks, one after the other
 *
 * A chunk of n codes, of which the last n_tail = n % 32 + 32 * k are its tail and the others its body:
 *
 *   uint32  k (8 bits) + number of exceptions << 8
 *   uint16  of each exception the position in the chunk, in rising order
 *   int16   of each exception the code; in the stream another symbol stands in its place
 *   uint16  words, read from the last to the first
 *   if there is a body, 32 states of L + 1 bits each, L being 16 to 31:
 *     bits    of each state the L bits below the leading one, least significant first; zeros up to a
 *             multiple of two bytes
 *     4 bits  of each state L - 16, that of an even state in the low half of a byte
 *
 * Code i of the body belongs to state i % 32, and codes are decoded in their order, 32 at a time: with x the
 * state, slot = x % 4096 names the symbol; x becomes frequency * (x / 4096) + slot - first. Then, from state
 * 31 down to state 0, each that is below 2^16 becomes x * 2^16 + the next word. At the end all words are read
 * and all states lie in [2^16, 2^17).
 *
 * The low 16 bits of what is left in the 32 states are no waste: they are the words of the tail, so that an
 * odd number of codes costs nothing and a chunk costs some 30 bytes more than its information. Where there is
 * no body, the tail's words are those of the chunk. The first two words, the low one first, are a state, from
 * which the tail is decoded alike, with the next word where it is below 2^16. It is 2^16 at the end, and
 * words that are left over in the states are 0. */
#ifndef MOEQ_RANS_H
#define MOEQ_RANS_H

#include "bytes.h"
#include "pool.h"

#define MOEQ_RANS_BITS        12
#define MOEQ_RANS_SLOTS       (1u << MOEQ_RANS_BITS)
#define MOEQ_RANS_LANES       32
#define MOEQ_RANS_SYMBOLS     256
#define MOEQ_RANS_TABLE_BYTES 546   /* the most that a table takes */
#define MOEQ_RANS_MAX_CHUNK   65536 /* codes */

/* How often each code occurs. {0} is an empty one; counts may be added. */
struct moeq_rans_histogram {
    uint64_t counts[MOEQ_RANS_SYMBOLS]; /* of code v at [v + 128] */
    uint64_t n_outside;                 /* codes beyond -128 to 127 */
};

void moeq_rans_count(struct moeq_rans_histogram *histogram, const int16_t *codes, uint64_t n);
/* The same for symbols of a byte. */
void moeq_rans_count_bytes(struct moeq_rans_histogram *histogram, const int8_t *codes, uint64_t n);

struct moeq_rans_table {
    uint16_t frequency[MOEQ_RANS_SYMBOLS]; /* of symbol v at [v + 128] */
    uint16_t first[MOEQ_RANS_SYMBOLS];
    uint32_t cost[MOEQ_RANS_SYMBOLS]; /* bits * 2^16 of a symbol, or of an exception */
    int lowest, highest;              /* symbols */
    int filler;                       /* the symbol that stands in an exception's place: the most frequent */
};

/* The table for a histogram: of those that give each symbol a slot the one with the smallest coded size.
 * Codes rarer than one in 65536 get none. Integers only: the same on every machine. Counts add up to less
 * than 2^39. An empty histogram gives a table too. */
void moeq_rans_table_make(const struct moeq_rans_histogram *histogram, struct moeq_rans_table *table);

/* Bits * 2^16 that codes of this histogram take under a table, without what chunks add: for choosing between
 * a table of one's own and one that is shared. Exceptions count with their 32 bits. Integers only. */
uint64_t moeq_rans_cost(const struct moeq_rans_histogram *histogram, const struct moeq_rans_table *table);

/* Returns the number of bytes. */
size_t moeq_rans_table_write(const struct moeq_rans_table *table, uint8_t bytes[MOEQ_RANS_TABLE_BYTES]);
/* Reads a table from the beginning of n bytes; *n_used are its own. MOEQ_DAMAGED with the offset. */
enum moeq_status moeq_rans_table_read(const uint8_t *bytes, uint64_t n, struct moeq_rans_table *table,
                                      size_t *n_used, struct moeq_error *err);

/* Whole rows of a matrix, as many as fit MOEQ_RANS_MAX_CHUNK; that itself where a row does not. */
uint32_t moeq_rans_rows_chunk(uint64_t cols);

#define MOEQ_RANS_WORKER_BYTES 600000 /* that a thread takes to encode */

/* Encodes n codes by a table into a stream, which takes the place of what is in out; chunk is 1 to
 * MOEQ_RANS_MAX_CHUNK. Memory: twice the stream and MOEQ_RANS_WORKER_BYTES a thread. pool may be NULL. The
 * same bytes for any threads. MOEQ_UNSUPPORTED where the stream would reach 4 GiB. */
enum moeq_status moeq_rans_encode(const struct moeq_rans_table *table, const int16_t *codes, uint64_t n,
                                  uint32_t chunk, struct moeq_pool *pool, struct moeq_bytes *out,
                                  struct moeq_error *err);

/* Codes of one stream may have several tables: a run is the codes from the end of the run before to its own
 * `end`, counted in the stream; the last ends with it, none is empty. Of 32 codes that are coded together,
 * counted from the beginning of their chunk, all have the table of the run that the first belongs to. */
struct moeq_rans_run {
    uint64_t end;
    const struct moeq_rans_table *table;     /* for encoding */
    const struct moeq_rans_decoder *decoder; /* for decoding */
};

/* Symbols [begin, begin + n), which lie where it wants or are written into room [n]. Called by any thread. */
typedef const int8_t *moeq_rans_source(const void *context, uint64_t begin, uint32_t n, int8_t *room);

/* The same for codes of -128 to 127 from a function, a chunk at a time. Those without a place in the table
 * become exceptions here too. */
enum moeq_status moeq_rans_encode_symbols(const struct moeq_rans_table *table, moeq_rans_source *source,
                                          const void *context, uint64_t n, uint32_t chunk,
                                          struct moeq_pool *pool, struct moeq_bytes *out,
                                          struct moeq_error *err);

/* The same for symbols [runs[n_runs - 1].end] with several tables. */
enum moeq_status moeq_rans_encode_runs(const struct moeq_rans_run *runs, size_t n_runs, const int8_t *symbols,
                                       uint32_t chunk, struct moeq_pool *pool, struct moeq_bytes *out,
                                       struct moeq_error *err);

/* What decoding by a table needs: 16 kB that should stay in the first-level cache. Constant after init, may
 * be shared by threads. */
struct moeq_rans_decoder {
    /* slot - first + frequency * 2^12 + value * 2^24 */
    _Alignas(64) uint32_t slots[MOEQ_RANS_SLOTS];
};

void moeq_rans_decoder_init(struct moeq_rans_decoder *decoder, const struct moeq_rans_table *table);

/* A stream in memory that the caller keeps. */
struct moeq_rans_stream {
    const uint8_t *bytes;
    uint64_t n_bytes, n_chunks, n_codes;
    uint32_t chunk;
};

/* Checks that the ends of the chunks lie in n_bytes, and that the last is the end. n and chunk are what was
 * encoded; they are not in the bytes. MOEQ_DAMAGED with the offset in the stream. */
enum moeq_status moeq_rans_stream_open(struct moeq_rans_stream *stream, const uint8_t *bytes,
                                       uint64_t n_bytes, uint64_t n, uint32_t chunk, struct moeq_error *err);

/* The length of such a stream that begins with `bytes`, of which there are n_bytes, by its list of chunks. */
enum moeq_status moeq_rans_stream_length(const uint8_t *bytes, uint64_t n_bytes, uint64_t n, uint32_t chunk,
                                         uint64_t *length, struct moeq_error *err);

/* Number of codes of a chunk. */
uint32_t moeq_rans_chunk_codes(const struct moeq_rans_stream *stream, uint64_t index);

/* Decodes chunks [index, index + n_chunks) into out, one after the other; two and more at a time are faster
 * than one. Codes beyond int8 become -128 or 127 and are counted in *n_outside (NULL: not wanted);
 * moeq_rans_exceptions has them. Thread-safe. Whatever the bytes are, nothing outside of them is read and
 * nothing outside of out is written. MOEQ_DAMAGED with the offset in the stream; out then holds anything. */
enum moeq_status moeq_rans_decode(const struct moeq_rans_decoder *decoder,
                                  const struct moeq_rans_stream *stream, uint64_t index, uint64_t n_chunks,
                                  int8_t *out, uint64_t *n_outside, struct moeq_error *err);
/* The same of a stream with several tables; its runs as they were encoded. */
enum moeq_status moeq_rans_decode_runs(const struct moeq_rans_run *runs,
                                       const struct moeq_rans_stream *stream, uint64_t index,
                                       uint64_t n_chunks, int8_t *out, uint64_t *n_outside,
                                       struct moeq_error *err);
/* One chunk, with all codes as they were. */
enum moeq_status moeq_rans_decode_wide(const struct moeq_rans_decoder *decoder,
                                       const struct moeq_rans_stream *stream, uint64_t index, int16_t *out,
                                       struct moeq_error *err);

/* The exceptions of a chunk, as they lie in the stream: n positions of 2 bytes, n codes of 2 bytes. */
struct moeq_rans_exceptions {
    const uint8_t *positions, *codes;
    uint32_t n;
};

/* MOEQ_DAMAGED where they do not fit the chunk or do not rise. */
enum moeq_status moeq_rans_exceptions(const struct moeq_rans_stream *stream, uint64_t index,
                                      struct moeq_rans_exceptions *out, struct moeq_error *err);

#endif
