/* Tables of kinds, some of which a model has: shared by the designs. */
#ifndef MOEQ_ANATOMY_ROWS_H
#define MOEQ_ANATOMY_ROWS_H

#include "anatomy.h"

#include <assert.h>

struct row {
    bool present;
    struct moeq_kind kind;
};

static inline size_t keep_present(const struct row *rows, size_t n_rows,
                                  struct moeq_kind kinds[MOEQ_MAX_KINDS], size_t n)
{
    for (size_t i = 0; i < n_rows; i++)
        if (rows[i].present) {
            assert(n < MOEQ_MAX_KINDS);
            kinds[n++] = rows[i].kind;
        }
    return n;
}

/* Appends the rows that are present to the n kinds; gives the new number. */
#define KEEP(rows, kinds, n) keep_present((rows), sizeof(rows) / sizeof *(rows), (kinds), (n))

#endif
