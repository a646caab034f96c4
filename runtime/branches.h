/* Branches of a sweep: some of its tokens are computed with other weights than the source's, in the same
 * sweep, so that each weight is read once for all. Tokens of a branch lie together; branches follow each
 * other, and all tokens belong to one.
 *
 * What is loaded together is replaced together: the matrices of attention, those of an MLP that all tokens go
 * through, an expert's. Routers, norms, indexers, embedding and head are the source's in all branches. */
#ifndef MOEQ_BRANCHES_H
#define MOEQ_BRANCHES_H

#include "layer.h"

/* What is loaded and replaced together. Borrowed for the call. */
struct moeq_unit {
    int layer, expert; /* expert -1 where it has none */
    const struct moeq_weight *const *weights;
    size_t n;
};

enum moeq_wish {
    MOEQ_SAME,             /* the source's matrices will do */
    MOEQ_OTHER,            /* others will be given */
    MOEQ_OTHER_FOR_INPUTS, /* the same, once what goes into the source's matrices in this branch was shown */
};

struct moeq_branches {
    void *context;
    const uint64_t
        *ends; /* [n] tokens at which branches end, ascending, whole windows, the last the end of all
                */
    size_t n;
    enum moeq_wish (*wish)(void *context, const struct moeq_unit *unit, size_t branch);
    /* Inputs of a unit that asked for them: all of one branch before its `replace`. */
    enum moeq_status (*inputs)(void *context, const struct moeq_inputs *inputs, struct moeq_error *err);
    /* Replaces matrices [unit->n], which are the source's. What their `data` points to then lives until
     * another unit is asked for. */
    enum moeq_status (*replace)(void *context, const struct moeq_unit *unit, size_t branch,
                                struct moeq_matrix *matrices, struct moeq_error *err);
    /* Not 0: the inputs of an expert are shown in pairs of calls, first those of the twins of some tokens, t
     * - twin, then their own: what the source's matrices are given with the states of an earlier branch. */
    uint64_t twin;
};

/* The branch of a token. */
size_t moeq_branch_of(const struct moeq_branches *branches, uint64_t token);

/* Its first token. */
uint64_t moeq_branch_begin(const struct moeq_branches *branches, size_t branch);

/* Computes nothing but what goes into the unit's matrices, for the tokens of a branch, and shows it. */
typedef enum moeq_status moeq_branch_show(void *context, size_t branch, struct moeq_error *err);

/* Gives sets [branches][unit->n], of which each begins as the source's `matrices`. */
enum moeq_status moeq_branches_replace(const struct moeq_branches *branches, const struct moeq_unit *unit,
                                       const struct moeq_matrix *matrices, moeq_branch_show *show,
                                       void *context, struct moeq_matrix *sets, struct moeq_error *err);

#endif
