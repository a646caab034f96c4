/* What a baseline is of, and whether an evaluation is of the same: the same tokens, computed in the same way.
 */
#ifndef MOEQ_BASELINE_MATCH_H
#define MOEQ_BASELINE_MATCH_H

#include "baseline.h"

/* A text as it was given, and how it was cut. */
struct moeq_baseline_text {
    const char *name;
    const struct moeq_bytes *bytes; /* decompressed, JSON lines joined */
    const struct moeq_windows *windows;
    enum moeq_convention convention;
    enum moeq_arithmetic arithmetic;
};

/* The header of the baseline that an evaluation of `source` gives. */
enum moeq_status moeq_baseline_describe(struct moeq_baseline_header *header, const struct moeq_source *source,
                                        const struct moeq_baseline_text *text, struct moeq_error *err);

/* What a command asks for; NULL, 0 and false where it leaves that to the baseline. */
struct moeq_baseline_wish {
    const char *convention;
    uint64_t context, windows;
    bool exact;
    const struct moeq_bytes *text; /* or NULL: the baseline has the tokens */
};

/* MOEQ_USAGE where the baseline is of another tokenizer than the source's, of another text, cut or computed
 * in another way than is asked for or can be done here. */
enum moeq_status moeq_baseline_check(const struct moeq_baseline_header *header,
                                     const struct moeq_source *source, const struct moeq_baseline_wish *wish,
                                     struct moeq_error *err);

const char *moeq_convention_name(enum moeq_convention convention);
const char *moeq_arithmetic_name(enum moeq_arithmetic arithmetic); /* "float32" or "bf16" */

#endif
