#include "forecast.h"

#include "bytes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ROUNDS 40

/* ---- gains ---- */

/* Sum of squares of what is left of 1 in each point's own measure. */
static double deviation(struct moeq_gain gain, const double *errors, const double *klds, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double left = (gain.linear * errors[i] + gain.root * sqrt(errors[i])) / klds[i] - 1;
        sum += left * left;
    }
    return sum;
}

struct moeq_gain moeq_gain_fit(const double *errors, const double *klds, size_t n)
{
    double aa = 0, ab = 0, bb = 0, a = 0, b = 0;
    for (size_t i = 0; i < n; i++) {
        const double x = errors[i] / klds[i], y = sqrt(errors[i]) / klds[i];
        aa += x * x;
        ab += x * y;
        bb += y * y;
        a += x;
        b += y;
    }
    const double determinant = aa * bb - ab * ab;
    const struct moeq_gain both = {(a * bb - b * ab) / determinant, (b * aa - a * ab) / determinant};
    const struct moeq_gain linear = {.linear = aa > 0 ? a / aa : 0}, root = {.root = bb > 0 ? b / bb : 0};
    if (n > 1 && determinant > 1e-12 * aa * bb && both.linear >= 0 && both.root >= 0)
        return both;
    return deviation(linear, errors, klds, n) <= deviation(root, errors, klds, n) ? linear : root;
}

/* ---- the forecast ---- */

double moeq_forecast_kld(const struct moeq_forecast *forecast, const uint32_t *chosen, double *parts,
                         double *errors)
{
    const struct moeq_forecast *f = forecast;
    double linear = 0, roots = 0;
    for (size_t g = 0; g < f->n_groups; g++)
        errors[g] = 0;
    for (size_t i = 0; i < f->n_items; i++)
        errors[f->groups[i]] += f->errors[i * f->n_choices + chosen[i]];
    for (size_t g = 0; g < f->n_groups; g++) {
        linear += f->gains[g].linear * errors[g];
        roots += f->gains[g].root * f->gains[g].root * errors[g];
    }
    const double root = sqrt(roots);
    for (size_t g = 0; parts && g < f->n_groups; g++)
        parts[g] = f->gains[g].linear * errors[g] +
                   (root > 0 ? f->gains[g].root * f->gains[g].root * errors[g] / root : 0);
    return linear + root;
}

uint64_t moeq_forecast_bytes(const struct moeq_forecast *forecast, const uint32_t *chosen)
{
    uint64_t n = 0;
    for (size_t i = 0; i < forecast->n_items; i++)
        n += forecast->n_bytes[i * forecast->n_choices + chosen[i]];
    return n;
}

/* ---- planning ---- */

enum moeq_status moeq_forecaster_init(struct moeq_forecaster *forecaster,
                                      const struct moeq_forecast *forecast, struct moeq_error *err)
{
    const struct moeq_forecast *f = forecast;
    *forecaster = (struct moeq_forecaster){.forecast = f};
    forecaster->choices = moeq_calloc(f->n_items * f->n_choices, sizeof *forecaster->choices, err);
    forecaster->errors = moeq_calloc(f->n_groups, sizeof *forecaster->errors, err);
    forecaster->previous = moeq_calloc(f->n_items, sizeof *forecaster->previous, err);
    return forecaster->choices && forecaster->errors && forecaster->previous ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

void moeq_forecaster_free(struct moeq_forecaster *forecaster)
{
    free(forecaster->choices);
    free(forecaster->errors);
    free(forecaster->previous);
    *forecaster = (struct moeq_forecaster){0};
}

/* Damages at the tangent where the sum under the root is roots^2; without such a point, as if it were 1. */
static void set_damages(struct moeq_forecaster *fc, double roots)
{
    const struct moeq_forecast *f = fc->forecast;
    for (size_t i = 0; i < f->n_items; i++) {
        const struct moeq_gain gain = f->gains[f->groups[i]];
        const double slope = gain.linear + (roots > 0 ? gain.root * gain.root / (2 * roots) : gain.root);
        for (size_t k = i * f->n_choices; k < (i + 1) * f->n_choices; k++)
            fc->choices[k] = (struct moeq_choice){f->n_bytes[k], slope * f->errors[k]};
    }
}

static double roots_of(const struct moeq_forecaster *fc)
{
    double sum = 0;
    for (size_t g = 0; g < fc->forecast->n_groups; g++)
        sum += fc->forecast->gains[g].root * fc->forecast->gains[g].root * fc->errors[g];
    return sqrt(sum);
}

enum moeq_status moeq_forecaster_plan(struct moeq_forecaster *forecaster, uint64_t budget, uint32_t *chosen,
                                      struct moeq_error *err)
{
    struct moeq_forecaster *fc = forecaster;
    const struct moeq_forecast *f = fc->forecast;
    const struct moeq_allocation allocation = {f->n_items, f->n_choices, fc->choices};
    double best = INFINITY, roots = 0;
    enum moeq_status status = MOEQ_OK;
    for (int round = 0; !status && round < MAX_ROUNDS; round++) {
        set_damages(fc, roots);
        status = moeq_allocate(&allocation, budget, fc->previous, err);
        const double kld = status ? 0 : moeq_forecast_kld(f, fc->previous, NULL, fc->errors);
        if (status || !(kld < best))
            break;
        best = kld;
        roots = roots_of(fc);
        memcpy(chosen, fc->previous, f->n_items * sizeof *chosen);
    }
    return status;
}
