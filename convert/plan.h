/* The plan of a conversion: what every weight becomes and why, and where its bytes will lie. Made from
 * headers alone; nothing of a tensor's data is read. */
#ifndef MOEQ_PLAN_H
#define MOEQ_PLAN_H

#include "hash.h"
#include "safetensors.h"
#include "source.h"
#include "statistics.h"

/* "KEY=LEVEL": KEY is a role (experts, shared, dense, attn, embed, head, mtp) or a glob over tensor names
 * with or without "model." in front; LEVEL is a format or "keep". */
struct moeq_rule {
    const char *text; /* borrowed */
    char key[200];
    bool is_role;
    enum moeq_role role;
    bool keep;
    struct moeq_format format;
};

struct moeq_level_plan; /* level_plan.h */

/* What becomes of matrices that can be coded without loss (pieces.h). */
enum moeq_coding {
    MOEQ_CODING_KEEP, /* those stay coded that are and keep their level */
    MOEQ_CODING_CODED,
    MOEQ_CODING_PLAIN
};

struct moeq_plan_request {
    bool has_level;
    struct moeq_format level; /* of the matrices of all layers that no rule names; embedding and head stay */
    const struct moeq_rule *rules; /* first match wins */
    size_t n_rules;
    /* Levels of matrices by name, which no rule changes, and rules behind these; NULL: none. */
    const struct moeq_level_plan *levels;
    enum moeq_coding coding;
    bool text_only; /* leave out the tensors of the part that sees */
    const struct moeq_statistics
        *statistics; /* to encode with (calibrated.h), or NULL; borrowed by the plan */
    const char *how; /* statistics are used, where not matrix by matrix: it decides bytes; NULL; borrowed */
};

struct moeq_plan_item {
    const struct moeq_weight *weight;
    struct moeq_format format; /* in the package */
    bool native;               /* stored with its own dtype and shape, not as packed bytes */
    bool is_coded;             /* in the file, in as many bytes as it takes */
    uint64_t n_bytes;          /* in the file; of a coded item an estimate until it is written */
    uint64_t n_room;           /* the most that these may be */
    bool is_calibrated;        /* encoded with statistics */
    bool by_rule;              /* a rule decided */
    char reason[256];
};

struct moeq_plan_segment {
    const char *name;     /* the tensor's own, or expert_name */
    char expert_name[64]; /* "model.layers.L.mlp.experts.E" */
    size_t first, n_items;
    uint64_t n_bytes;
};

struct moeq_plan_file {
    char name[40];
    size_t first, n_segments;
    uint64_t n_bytes; /* of the whole file; an estimate where items are, until it is written */
    uint64_t n_head;  /* of which header */
    bool has_coded;   /* any items: their sizes decide where the others lie */
};

struct moeq_plan {
    const struct moeq_source *source;
    const struct moeq_statistics *statistics;
    const char *how;              /* see the request */
    struct moeq_plan_item *items; /* in the order of the package */
    size_t n_items;
    struct moeq_plan_segment *segments;
    size_t n_segments;
    struct moeq_plan_file *files;
    size_t n_files;
};

enum moeq_status moeq_rule_parse(const char *text, struct moeq_format defaults, struct moeq_rule *out,
                                 struct moeq_error *err);

/* A rule that matches nothing is MOEQ_USAGE: it is most likely misspelt. So are names of `levels` that the
 * source has not; whether they are for this model at all, moeq_level_plan_check_source says. */
enum moeq_status moeq_plan_make(struct moeq_plan *plan, const struct moeq_source *source,
                                const struct moeq_plan_request *request, struct moeq_error *err);
void moeq_plan_free(struct moeq_plan *plan);

/* Whether sizes are estimates, because items will be coded that are not yet. */
bool moeq_plan_is_estimated(const struct moeq_plan *plan);

/* The bytes of a coded item in the file, of n that it takes: coded ones of a segment follow each other
 * without a gap, and behind the last of them the next item, or segment, is aligned. Those before it in its
 * segment have their sizes. */
uint64_t moeq_plan_padded(const struct moeq_plan *plan, size_t item, uint64_t n);

/* Takes the sizes of a file's coded items from one that was written; false where that cannot be it. */
bool moeq_plan_adopt_sizes(struct moeq_plan *plan, size_t file, const struct moeq_safetensors *written);

/* Sets the sizes of segments and file by those of the items. */
void moeq_plan_sum_file(struct moeq_plan *plan, size_t file);

/* The items of a file: [first, first + n). */
void moeq_plan_file_items(const struct moeq_plan *plan, const struct moeq_plan_file *file, size_t *first,
                          size_t *n);

/* The bytes before the data of a file, with the hashes of the plan and of what it was made from
 * (moeq_provenance_of_file) in its metadata. Their number does not depend on the hashes, nor on the sizes of
 * coded items: it is filled up with spaces. */
enum moeq_status moeq_plan_file_head(const struct moeq_plan *plan, const struct moeq_plan_file *file,
                                     struct moeq_hash plan_hash, struct moeq_hash made_from,
                                     struct moeq_bytes *head, struct moeq_error *err);

#endif
