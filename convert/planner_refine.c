/* The last step of a plan with level ec: by sizes that were measured, to the bytes of the budget. */
#include "planner.h"
#include "powers.h"

#include <math.h>
#include <stdlib.h>

#define TIMES     6
#define MOST_LEFT 0.0008 /* of the budget, that nothing more is done for */
#define AIMED     0.0003 /* of it, that is aimed to be left: sizes of other steps are not known */

/* The matrices of level ec. */
struct refining {
    struct moeq_planner *p;
    const uint32_t *chosen;
    struct moeq_ec_measurement *measurements; /* [n] */
    size_t *items;                            /* [n] */
    double *fitting;                          /* [n]: steps within the budget that leave the least */
    uint64_t n_fitting;                       /* bytes that they take; 0: there were none yet */
    size_t n;
    uint64_t n_weights;
};

static double *step_of(const struct refining *r, size_t k)
{
    return moeq_planner_step(r->p, r->items[k], r->chosen[r->items[k]]);
}

static enum moeq_status list_items(struct refining *r, struct moeq_error *err)
{
    const struct moeq_planner *p = r->p;
    r->measurements = moeq_calloc(p->n_items, sizeof *r->measurements, err);
    r->items = moeq_calloc(p->n_items, sizeof *r->items, err);
    r->fitting = moeq_calloc(p->n_items, sizeof *r->fitting, err);
    if (!r->measurements || !r->items || !r->fitting)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < p->n_items; i++) {
        if (!moeq_planner_is_ec(p, r->chosen[i]))
            continue;
        r->n_weights += p->weights[i]->rows * p->weights[i]->cols;
        r->items[r->n++] = i;
    }
    return MOEQ_OK;
}

/* Encodes all at their steps, and keeps what they take and lose. */
static enum moeq_status measure(struct refining *r, struct moeq_pool *pool, struct moeq_progress *progress,
                                struct moeq_error *err)
{
    struct moeq_planner *p = r->p;
    for (size_t k = 0; k < r->n; k++)
        r->measurements[k] = (struct moeq_ec_measurement){.weight = p->weights[r->items[k]],
                                                          .step = (double)(float)*step_of(r, k)};
    const enum moeq_status status =
        moeq_measured_steps(p->measured, r->measurements, r->n, pool, progress, err);
    for (size_t k = 0; !status && k < r->n; k++) {
        const size_t i = r->items[k], at = i * (p->n_levels + 1) + r->chosen[i];
        const double n = (double)p->weights[i]->rows * (double)p->weights[i]->cols;
        p->errors[at] = r->measurements[k].error;
        p->n_bytes[at] = (uint64_t)ceil(r->measurements[k].bits * n / 8 - 1e-3);
    }
    return status;
}

static void change_steps(const struct refining *r, double factor)
{
    for (size_t k = 0; k < r->n; k++) {
        double *step = step_of(r, k);
        *step = fmax(fmin(*step * factor, (double)MOEQ_MOST_EC_STEP), (double)MOEQ_LEAST_EC_STEP);
    }
}

/* Measures, and remembers what fits the budget best; *taken is of that budget. */
static enum moeq_status weigh(struct refining *r, struct moeq_plan_budget budget, struct moeq_pool *pool,
                              struct moeq_progress *progress, uint64_t *taken, struct moeq_error *err)
{
    uint64_t n_bytes, n_planned;
    enum moeq_status status = measure(r, pool, progress, err);
    if (!status)
        status = moeq_planner_package_bytes(r->p, r->chosen, &n_bytes, &n_planned, err);
    if (status)
        return status;
    *taken = budget.of_package ? n_bytes : n_planned;
    if (*taken > budget.n_bytes || *taken <= r->n_fitting)
        return MOEQ_OK;
    r->n_fitting = *taken;
    for (size_t k = 0; k < r->n; k++)
        r->fitting[k] = *step_of(r, k);
    return MOEQ_OK;
}

/* The budget was not met closely: what came nearest. */
static enum moeq_status settle(struct refining *r, struct moeq_plan_budget budget, uint64_t taken,
                               struct moeq_pool *pool, struct moeq_progress *progress, struct moeq_error *err)
{
    if (!r->n_fitting) {
        moeq_fail(err, MOEQ_USAGE,
                  "no steps of level ec were found for a budget of %llu bytes: %llu are taken",
                  (unsigned long long)budget.n_bytes, (unsigned long long)taken);
        moeq_error_hint(err, "give a larger budget, or other levels beside ec");
        return MOEQ_USAGE;
    }
    if (taken == r->n_fitting)
        return MOEQ_OK;
    for (size_t k = 0; k < r->n; k++)
        *step_of(r, k) = r->fitting[k];
    return measure(r, pool, progress, err);
}

static enum moeq_status refine(struct refining *r, struct moeq_plan_budget budget, struct moeq_pool *pool,
                               struct moeq_progress *progress, struct moeq_error *err)
{
    const double all = (double)budget.n_bytes;
    double aimed = AIMED;
    uint64_t taken;
    enum moeq_status status = weigh(r, budget, pool, progress, &taken, err);
    for (int i = 0; !status && i < TIMES; i++) {
        if (taken <= budget.n_bytes && (double)taken >= all * (1 - MOST_LEFT))
            return MOEQ_OK;
        /* A bit a weight is an octave of the step. */
        const double more = 8 * (all * (1 - aimed) - (double)taken) / (double)r->n_weights;
        aimed += i > 1 ? AIMED : 0;
        change_steps(r, moeq_exp2(-fmax(fmin(more, 1), -1)));
        status = weigh(r, budget, pool, progress, &taken, err);
    }
    return status ? status : settle(r, budget, taken, pool, progress, err);
}

enum moeq_status moeq_planner_refine(struct moeq_planner *planner, struct moeq_plan_budget budget,
                                     const uint32_t *chosen, struct moeq_pool *pool,
                                     struct moeq_progress *progress, struct moeq_error *err)
{
    struct refining r = {.p = planner, .chosen = chosen};
    enum moeq_status status = list_items(&r, err);
    if (!status && r.n)
        status = refine(&r, budget, pool, progress, err);
    free(r.measurements);
    free(r.items);
    free(r.fitting);
    return status;
}
