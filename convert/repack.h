/* Writing a package: layer files in their order, each under its name once it is complete and durable; the
 * manifest last. A conversion that was stopped continues: files that are complete under the same plan are
 * kept, if the weights of the source that they were made from are still the same. */
#ifndef MOEQ_REPACK_H
#define MOEQ_REPACK_H

#include "plan.h"
#include "pool.h"
#include "progress.h"
#include "supply.h"

struct moeq_repack {
    struct moeq_plan *plan; /* its coded items get the sizes that they turn out to have */
    const char *out;        /* folder of the package */
    json_t *options;        /* what the user asked for, for the manifest; borrowed */
    bool force;             /* replace another package, or an unfinished one of another plan */
    struct moeq_pool *pool;
    struct moeq_progress *progress;   /* counts moeq_repack_work */
    const struct moeq_supply *supply; /* where calibrated items come from; NULL: each is encoded by itself, */
    double *errors; /* and gives its error here, [items of the plan]; of kept files nothing; or NULL */
};

struct moeq_repack_result {
    bool was_complete;   /* the package was there already, from the same plan */
    size_t n_files_kept; /* of an earlier, unfinished run */
    uint64_t n_bytes;    /* of the package, all files */
};

enum moeq_status moeq_repack_run(const struct moeq_repack *repack, struct moeq_repack_result *result,
                                 struct moeq_error *err);

/* Bytes and number of files of the finished package, exactly but for items that are coded, without reading
 * tensor data. */
enum moeq_status moeq_repack_bytes(const struct moeq_plan *plan, json_t *options, uint64_t *n_bytes,
                                   size_t *n_files, struct moeq_error *err);

/* The same for another plan of that source at which only levels differ, from the first one's bytes. */
enum moeq_status moeq_repack_bytes_alike(const struct moeq_plan *plan, const json_t *options,
                                         const struct moeq_plan *base, const json_t *base_options,
                                         uint64_t base_bytes, uint64_t *n_bytes, struct moeq_error *err);

/* The options of `moeq convert` that decide bytes, as the manifest keeps them, with their defaults filled in:
 * `level` and `group` are NULL where not given; `rules` is an array of texts, which is taken over. */
json_t *moeq_repack_options(const char *level, const char *group, bool asymmetric, json_t *rules);

/* In the options, where asked for: the manifest has the SHA-256 of every source file, which is read once more
 * for it. */
#define MOEQ_SHA256_KEY "sha256"

/* Bytes that the progress of a run counts: those of the weights, and of the files whose SHA-256 is asked for.
 */
uint64_t moeq_repack_work(const struct moeq_plan *plan, const json_t *options);

#endif
