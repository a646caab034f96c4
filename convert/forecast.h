/* What errors in the experts do to the model's output: from probes to a forecast of the KL divergence, and
 * the levels that make it least.
 *
 * Of a group, the matrices of one kind in one layer, a probe (probes.h) gives the divergence for one size of
 * error. Small errors act in two ways. What they do to the values themselves grows with the squared error E;
 * and where they tip the choice of experts in a later layer, the token gets a change of a fixed size, which
 * happens with a probability that grows with the root of E. So a group alone has
 *
 *   KLD(E) = linear * E + root * sqrt(E)
 *
 * fitted to its probes (on a trained model, in exact arithmetic, within 2% over a factor of 20 in E; for the
 * last layer, behind which no expert is chosen, root comes out as 0). Errors of groups are independent:
 * squared errors add up before the root is taken,
 *
 *   KLD = sum of linear_g E_g + sqrt(sum of root_g^2 E_g)
 *
 * This is concave in the errors. Its tangent at a plan is above it, and a knapsack (allocation.h): solving
 * that again and again at the plan that came out never makes the forecast larger, and ends where it stays. */
#ifndef MOEQ_FORECAST_H
#define MOEQ_FORECAST_H

#include "allocation.h"

struct moeq_gain {
    double linear, root;
};

/* Fits n points of (E, KLD), all above 0, with both gains >= 0, so that the relative deviations have the
 * least squares. */
struct moeq_gain moeq_gain_fit(const double *errors, const double *klds, size_t n);

/* Matrices to be given levels. Borrowed. */
struct moeq_forecast {
    size_t n_groups, n_items, n_choices;
    const struct moeq_gain *gains; /* [n_groups] */
    const uint32_t *groups;        /* [n_items] */
    const uint64_t *n_bytes;       /* [n_items, n_choices] */
    const double *errors;          /* [n_items, n_choices]: not finite: not to be had */
};

/* Of choices made: the forecast, and, not NULL, what each group adds to it [n_groups] and its error. */
double moeq_forecast_kld(const struct moeq_forecast *forecast, const uint32_t *chosen, double *parts,
                         double *errors);

/* A workspace for many budgets. */
struct moeq_forecaster {
    const struct moeq_forecast *forecast;
    struct moeq_choice *choices; /* [n_items, n_choices] */
    double *errors;              /* [n_groups] */
    uint32_t *previous;          /* [n_items] */
};
enum moeq_status moeq_forecaster_init(struct moeq_forecaster *forecaster,
                                      const struct moeq_forecast *forecast, struct moeq_error *err);
void moeq_forecaster_free(struct moeq_forecaster *forecaster);

/* The choices of the least forecast that is found within a budget of bytes; MOEQ_USAGE where there are none.
 */
enum moeq_status moeq_forecaster_plan(struct moeq_forecaster *forecaster, uint64_t budget,
                                      uint32_t *chosen /* [n_items] */, struct moeq_error *err);

/* Bytes of choices. */
uint64_t moeq_forecast_bytes(const struct moeq_forecast *forecast, const uint32_t *chosen);

#endif
