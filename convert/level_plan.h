/* A PLAN: the level of every matrix, as a JSON document that people may read, compare and change.
 *
 *   {"format": "moeq-plan", "version": 1,
 *    "tool": "moeq 0.1.0",
 *    "model": "32 digits",            of moeq_statistics_model: what it is for
 *    "statistics": "32 digits",       what it was made from; null: from none
 *    "budget": {}, "predicted": {}, "layers": [],   what was asked for and is expected, of any form
 *    "rules": ["attn=int8-g128"],     as for `convert --rule`, for matrices that are not named below
 *    "matrices": {"model.layers.1.mlp.experts.0.gate_proj.weight":
 *                     {"level": "int3-g64", "tokens": 123, "importance": 0.01, "damage": 1e-6, "error":
 * 1e-3}}}
 *
 * "level" is a format (level.h) or "keep", which keeps the bits of the source. "format", "version", "model"
 * and "matrices" must be there, and "level" in each matrix; a member that is not listed here is refused,
 * since it is most likely misspelt. Written is one matrix a line. */
#ifndef MOEQ_LEVEL_PLAN_H
#define MOEQ_LEVEL_PLAN_H

#include "plan.h"

#define MOEQ_LEVEL_PLAN_FORMAT  "moeq-plan"
#define MOEQ_LEVEL_PLAN_VERSION 1
#define MOEQ_MAX_PLAN_BYTES     (256u << 20)

/* NAN: not said. */
struct moeq_level_entry {
    const char *name;
    struct moeq_format format; /* none where `keep` */
    bool keep;
    double tokens;     /* that the matrix saw in calibration */
    double importance; /* mean of the squared router weight over all tokens, see calibrated.h */
    double damage;     /* its part of the forecast KL divergence, nats */
    double error;      /* of its outputs at this level, see damage.h */
};

struct moeq_level_plan {
    char *path;                                           /* "" of a text */
    json_t *document;                                     /* strings are borrowed from it */
    char model[MOEQ_HASH_HEX], statistics[MOEQ_HASH_HEX]; /* the latter "": none */
    struct moeq_level_entry *entries;                     /* [n_entries], by name */
    size_t n_entries;
    struct moeq_rule *rules; /* [n_rules], in their order; .text is what stands there */
    size_t n_rules;
    struct moeq_hash hash; /* of the document's compact text, whatever its white space */
};

/* What is not JSON is MOEQ_DAMAGED, another version MOEQ_UNSUPPORTED, and what a person may have got wrong
 * MOEQ_USAGE: an unknown, missing or double member, a wrong type, a level or rule that is none or that cannot
 * be made. On failure nothing to close. */
enum moeq_status moeq_level_plan_open(struct moeq_level_plan *plan, const char *path, struct moeq_error *err);
enum moeq_status moeq_level_plan_parse(struct moeq_level_plan *plan, const void *text, size_t n_bytes,
                                       struct moeq_error *err);
void moeq_level_plan_close(struct moeq_level_plan *plan);

/* NULL where it is not named. */
const struct moeq_level_entry *moeq_level_plan_find(const struct moeq_level_plan *plan, const char *name);

/* Whether the plan is for this source: of the same model, and with no matrix that the source has not or that
 * always keeps its precision; MOEQ_USAGE otherwise. The second function only looks at the names. */
enum moeq_status moeq_level_plan_check_source(const struct moeq_level_plan *plan,
                                              const struct moeq_source *source, struct moeq_error *err);
enum moeq_status moeq_level_plan_check_names(const struct moeq_level_plan *plan,
                                             const struct moeq_source *source, struct moeq_error *err);

/* What a document is written from; all is borrowed. */
struct moeq_level_document {
    const char *model, *statistics;            /* 32 digits; the latter may be NULL */
    const json_t *budget, *predicted, *layers; /* objects and an array; NULL: left out */
    const char *const *rules;                  /* [n_rules] */
    size_t n_rules;
    const struct moeq_level_entry *entries; /* [n_entries] in the order to be written: that of the package */
    size_t n_entries;
};

/* The text; numbers have 4 significant digits, those of the free members 6. free() it; NULL and *err set
 * where memory is out. */
char *moeq_level_plan_text(const struct moeq_level_document *document, struct moeq_error *err);
enum moeq_status moeq_level_plan_write(const char *path, const struct moeq_level_document *document,
                                       struct moeq_error *err);

#endif
