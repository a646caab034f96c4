/* What every verb shares: the options that they all have, and the shape of what they print. For cmd_*.c
 * alone. */
#ifndef MOEQ_VERB_H
#define MOEQ_VERB_H

#include "json.h"
#include "memory.h"
#include "options.h"
#include "pool.h"
#include "safetensors.h"

/* First member of a verb's options struct. */
struct moeq_common {
    uint64_t jobs; /* 0: not given */
    bool json, quiet;
    bool lenient; /* of the verbs that read checkpoints, see MOEQ_LENIENT_OPTION */
};

#define MOEQ_COMMON_OPTIONS                                                                                  \
    {"jobs",                                                                                                 \
     'j',                                                                                                    \
     MOEQ_OPTION_NUMBER,                                                                                     \
     "N",                                                                                                    \
     "worker threads; default: the CPUs that this process may use",                                          \
     offsetof(struct moeq_common, jobs),                                                                     \
     1,                                                                                                      \
     MOEQ_POOL_MAX_JOBS,                                                                                     \
     NULL},                                                                                                  \
        {"json",                                                                                             \
         0,                                                                                                  \
         MOEQ_OPTION_FLAG,                                                                                   \
         NULL,                                                                                               \
         "print the result as one JSON object",                                                              \
         offsetof(struct moeq_common, json),                                                                 \
         0,                                                                                                  \
         0,                                                                                                  \
         NULL},                                                                                              \
    {                                                                                                        \
        "quiet", 'q', MOEQ_OPTION_FLAG, NULL, "show no progress", offsetof(struct moeq_common, quiet), 0, 0, \
            NULL                                                                                             \
    }

/* A row more for the verbs that read the headers of checkpoints. */
#define MOEQ_LENIENT_OPTION                                                                                  \
    {                                                                                                        \
        "lenient", 0, MOEQ_OPTION_FLAG, NULL,                                                                \
            "take headers that the format forbids but the reference implementation reads, as it does",       \
            offsetof(struct moeq_common, lenient), 0, 0, NULL                                                \
    }

enum moeq_strictness moeq_verb_strictness(const struct moeq_common *common);

/* A pool of the threads that the options ask for. */
struct moeq_pool *moeq_verb_pool(const struct moeq_common *common, struct moeq_error *err);

/* Prints one JSON object to stdout and releases it. MOEQ_IO where stdout refuses. */
enum moeq_status moeq_verb_print_json(json_t *object, struct moeq_error *err);

/* "4.72 MB" in decimal units; "812 bytes" below a kilobyte. Returns dst. */
#define MOEQ_SIZE_TEXT 32
const char *moeq_size_text(double n_bytes, char dst[MOEQ_SIZE_TEXT]);

/* Prints a text from a file, a name for instance, whole and with '?' for control characters, then spaces up
 * to `width` characters. */
void moeq_print_text(FILE *out, const char *text, int width);

/* The characters that it prints. */
int moeq_text_width(const char *text);

/* Memory that a verb may plan with. */
struct moeq_budget {
    uint64_t wanted; /* --mem, 0 where it was not given */
    uint64_t used; /* by the process already, by `held`, and by what no plan counts: stacks, the allocator */
    uint64_t n_bytes;
    const char *instead; /* of more memory, for a hint; NULL: a smaller --ctx */
};

/* What --mem, or otherwise most of what is free, leaves beside what is used already and `held` bytes. */
struct moeq_budget moeq_verb_budget(uint64_t wanted, uint64_t held);

/* MOEQ_OVER_MEMORY, with what to give instead, where --mem was given and a plan of `planned` bytes is over
 * the budget; `least` is the smallest that would do. Without --mem it may be tried. */
enum moeq_status moeq_verb_check_budget(const struct moeq_budget *budget, uint64_t planned, uint64_t least,
                                        const char *path, struct moeq_error *err);

/* Seconds of a clock that only goes forward. */
double moeq_clock(void);

#endif
