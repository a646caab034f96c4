#include "branches.h"

size_t moeq_branch_of(const struct moeq_branches *branches, uint64_t token)
{
    size_t b = 0;
    while (token >= branches->ends[b])
        b++;
    return b;
}

uint64_t moeq_branch_begin(const struct moeq_branches *branches, size_t branch)
{
    return branch ? branches->ends[branch - 1] : 0;
}

enum moeq_status moeq_branches_replace(const struct moeq_branches *branches, const struct moeq_unit *unit,
                                       const struct moeq_matrix *matrices, moeq_branch_show *show,
                                       void *context, struct moeq_matrix *sets, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t b = 0; !status && b < branches->n; b++) {
        struct moeq_matrix *set = sets + b * unit->n;
        memcpy(set, matrices, unit->n * sizeof *set);
        const enum moeq_wish wish = branches->wish(branches->context, unit, b);
        if (wish == MOEQ_OTHER_FOR_INPUTS)
            status = show(context, b, err);
        if (!status && wish != MOEQ_SAME)
            status = branches->replace(branches->context, unit, b, set, err);
    }
    return status;
}
