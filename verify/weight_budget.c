/* What the weights of a model take. */
#include "report.h"

#include <stdlib.h>

static struct moeq_budget_row *row_of(struct moeq_weight_budget *b, size_t *capacity, enum moeq_role role,
                                      struct moeq_format format, struct moeq_error *err)
{
    for (size_t i = 0; i < b->n_rows; i++)
        if (b->rows[i].role == role && moeq_format_equal(b->rows[i].format, format))
            return &b->rows[i];
    struct moeq_budget_row *rows = moeq_grown(b->rows, b->n_rows, capacity, sizeof *rows, err);
    if (!rows)
        return NULL;
    b->rows = rows;
    rows[b->n_rows] = (struct moeq_budget_row){.role = role, .format = format};
    return &rows[b->n_rows++];
}

static int by_role(const void *a, const void *b)
{
    const struct moeq_budget_row *x = a, *y = b;
    if (x->role != y->role)
        return x->role < y->role ? -1 : 1;
    return x->n_bytes > y->n_bytes ? -1 : x->n_bytes < y->n_bytes;
}

enum moeq_status moeq_weight_budget_of(struct moeq_weight_budget *budget, const struct moeq_source *source,
                                       struct moeq_error *err)
{
    size_t capacity = 0;
    *budget = (struct moeq_weight_budget){0};
    for (size_t i = 0; i < source->n_weights; i++) {
        const struct moeq_weight *w = &source->weights[i];
        const enum moeq_role role = moeq_part_role(w->id.part);
        const uint64_t n = w->rows * w->cols;
        struct moeq_budget_row *row = row_of(budget, &capacity, role, w->format, err);
        if (!row) {
            moeq_weight_budget_free(budget);
            return MOEQ_OVER_MEMORY;
        }
        row->n_matrices++;
        row->n_weights += n;
        row->n_bytes += moeq_weight_stored_bytes(w);
        budget->n_weights += n;
        budget->n_bytes += moeq_weight_stored_bytes(w);
        budget->n_expert_weights += role == MOEQ_ROLE_EXPERTS ? n : 0;
        budget->n_expert_bytes += role == MOEQ_ROLE_EXPERTS ? moeq_weight_stored_bytes(w) : 0;
    }
    if (budget->n_rows)
        qsort(budget->rows, budget->n_rows, sizeof *budget->rows, by_role);
    return MOEQ_OK;
}

void moeq_weight_budget_free(struct moeq_weight_budget *budget)
{
    free(budget->rows);
    *budget = (struct moeq_weight_budget){0};
}

double moeq_bits_per_weight(uint64_t n_bytes, uint64_t n_weights)
{
    return n_weights ? 8.0 * (double)n_bytes / (double)n_weights : 0;
}
