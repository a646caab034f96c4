/* The levels of all routed experts under a budget, from what was measured (measured.h). */
#ifndef MOEQ_PLANNER_H
#define MOEQ_PLANNER_H

#include "level_plan.h"
#include "measured.h"
#include "request.h"

/* Bytes of the matrices that levels are chosen for, or of the whole package. */
struct moeq_plan_budget {
    uint64_t n_bytes;
    bool of_package;
};

struct moeq_planner {
    const struct moeq_source *source;
    const struct moeq_statistics *statistics; /* NULL: none */
    const struct moeq_measured *measured;     /* NULL: of a plan without choice */
    /* [n_levels]: candidates; from n_plain on those of level ec, the rungs of ladder.h. Behind all of them
     * stands the choice to keep the source's bits. */
    struct moeq_format *levels;
    size_t n_levels, n_plain;
    struct moeq_rules *rules; /* the user's; those of the other matrices are added */
    /* The matrices to be chosen for, in the order of the package: of experts of main layers, unless a rule
     * names them. */
    size_t n_items;
    uint64_t n_weights;                 /* numbers in them */
    const struct moeq_weight **weights; /* [n_items] */
    uint32_t *groups;                   /* [n_items]: layer with experts x kind */
    double *tokens, *importance;        /* [n_items] */
    uint64_t *n_bytes;                  /* [n_items, n_levels + 1]: in the package */
    double *errors;                     /* likewise, infinite where not measured */
    double *steps;                      /* [n_items, n_levels - n_plain] */
    struct moeq_forecast forecast;
    struct moeq_forecaster forecaster;
};

/* The plain levels, and whether level ec is one to choose, which was then measured last. Copies the
 * levels, borrows all else. Rules are added for the matrices outside of the experts, so that none of more
 * than 8 bits stays so: int8 for attention, shared experts, dense layers, MTP layers and the head, unless a
 * rule names them. MOEQ_USAGE where rules leave nothing to choose. The caller frees, also after a failure. */
enum moeq_status moeq_planner_init(struct moeq_planner *planner, const struct moeq_source *source,
                                   const struct moeq_statistics *statistics,
                                   const struct moeq_measured *measured, const struct moeq_format *levels,
                                   size_t n_levels, bool has_ec, struct moeq_rules *rules,
                                   struct moeq_error *err);
void moeq_planner_free(struct moeq_planner *planner);

/* The choice for each item, the best that is found within the budget. MOEQ_USAGE, with the least that will
 * do, where it is too small. */
enum moeq_status moeq_planner_choose(struct moeq_planner *planner, struct moeq_plan_budget budget,
                                     uint32_t *chosen, struct moeq_error *err);

/* Moves the steps of level ec, by a common factor, so that what was chosen takes the whole budget, by coded
 * sizes that are measured: at most the budget, and less than a thousandth below it where the matrices of that
 * level have so much of it. progress counts matrices. MOEQ_USAGE where no such step is found. */
enum moeq_status moeq_planner_refine(struct moeq_planner *planner, struct moeq_plan_budget budget,
                                     const uint32_t *chosen, struct moeq_pool *pool,
                                     struct moeq_progress *progress, struct moeq_error *err);

/* Whether a choice is of level ec, and then the step of an item's. */
static inline bool moeq_planner_is_ec(const struct moeq_planner *planner, uint32_t choice)
{
    return choice >= planner->n_plain && choice < planner->n_levels;
}

static inline double *moeq_planner_step(const struct moeq_planner *planner, size_t item, uint32_t choice)
{
    return &planner->steps[item * (planner->n_levels - planner->n_plain) + (choice - planner->n_plain)];
}

/* Bytes of the package that the choices give, exactly but for coded sizes that were measured on a sample of
 * rows (MOEQ_MEASURED_ROWS), and of them those of the matrices that were chosen for. */
enum moeq_status moeq_planner_package_bytes(const struct moeq_planner *planner, const uint32_t *chosen,
                                            uint64_t *n_bytes, uint64_t *n_planned, struct moeq_error *err);

/* Levels by name, of which all rungs of level ec are one: that of a choice, and how many there are, the last
 * to keep the bits. */
size_t moeq_planner_column(const struct moeq_planner *planner, size_t choice);
size_t moeq_planner_columns(const struct moeq_planner *planner);
const char *moeq_planner_column_name(const struct moeq_planner *planner, size_t column,
                                     char text[MOEQ_FORMAT_BYTES]);

/* Entries of the PLAN, [n_items]; errors and damages where there are measurements. */
enum moeq_status moeq_planner_entries(const struct moeq_planner *planner, const uint32_t *chosen,
                                      struct moeq_level_entry *entries, struct moeq_error *err);

/* What a quantized package's manifest says of how it was made; hashes have a fixed length. NULL where memory
 * is out. `how` is the plan's (plan.h), NULL: matrix by matrix. */
json_t *moeq_quantize_options(const struct moeq_level_plan *plan, const struct moeq_statistics *statistics,
                              const char *how, bool sha256);

#endif
