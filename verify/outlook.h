/* What a model would become at each level: the bytes of its package, and the memory that making and
 * evaluating it would need. From headers, package bytes are those of `moeq convert --level LEVEL`, exactly;
 * from config.json alone they are an estimate, without headers and manifest. Memory is that of DESIGN.md's
 * section in either case, without the program itself and its tables. */
#ifndef MOEQ_OUTLOOK_H
#define MOEQ_OUTLOOK_H

#include "source.h"

#define MOEQ_OUTLOOK_LEVELS  8
#define MOEQ_OUTLOOK_WINDOWS 64
#define MOEQ_OUTLOOK_CONTEXT 256

struct moeq_outlook {
    struct moeq_outlook_row {
        const char *level; /* as --level takes it; NULL: without --level, lossless */
        uint64_t package_bytes;
        uint64_t convert_bytes; /* memory of the conversion */
        uint64_t eval_bytes; /* of evaluating the package on 64 windows of 256 tokens; 0: it cannot be run */
    } rows[MOEQ_OUTLOOK_LEVELS];
    size_t n;
    struct moeq_error cannot_convert; /* status MOEQ_OK: it can be; otherwise there are no rows */
    bool exact;
    unsigned n_jobs; /* threads that memory is counted for */
};

/* `runs`: the source passed moeq_model_check. Levels that the source cannot be converted to are left out. */
enum moeq_status moeq_outlook_of_source(struct moeq_outlook *outlook, const struct moeq_source *source,
                                        bool runs, unsigned n_jobs, struct moeq_error *err);

void moeq_outlook_of_config(struct moeq_outlook *outlook, const struct moeq_config *config, unsigned n_jobs);

#endif
