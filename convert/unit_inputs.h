/* What goes into the matrices of one unit (branches.h), as second moments, while a sweep shows it. */
#ifndef MOEQ_UNIT_INPUTS_H
#define MOEQ_UNIT_INPUTS_H

#include "branches.h"
#include "calibrated.h"
#include "moments.h"

#define MOEQ_UNIT_STREAMS 4 /* different inputs of a unit */

struct moeq_unit_inputs {
    struct moeq_moments_work work; /* the pool is the caller's */
    struct moeq_input_stream {
        enum moeq_part part;
        bool is_paired; /* moments of rows [own, twin's], twice as wide */
        struct moeq_moments moments;
        struct moeq_bytes twin; /* inputs of the twins of the tokens that come next */
    } streams[MOEQ_UNIT_STREAMS];
    size_t n;
};

/* Adds inputs as a sweep shows them; those that have twins, in pairs of calls. */
enum moeq_status moeq_unit_inputs_add(struct moeq_unit_inputs *inputs, const struct moeq_inputs *in,
                                      struct moeq_error *err);

/* Tokens that were added to the inputs of a part; 0 where there are none. */
uint64_t moeq_unit_inputs_tokens(const struct moeq_unit_inputs *inputs, enum moeq_part part);

/* The moments of a part of width n. The caller frees seen->own and seen->cross, also after a failure. */
enum moeq_status moeq_unit_inputs_take(struct moeq_unit_inputs *inputs, enum moeq_part part, uint64_t n,
                                       struct moeq_seen *seen, struct moeq_error *err);

/* Ready for another unit. */
void moeq_unit_inputs_clear(struct moeq_unit_inputs *inputs);
void moeq_unit_inputs_free(struct moeq_unit_inputs *inputs);

#endif
