#include "plan_summary.h"

#include <math.h>
#include <string.h>

#define LEAST_WIDTH 6 /* of a level's column */

static bool is_used(const struct moeq_plan_summary *s, size_t level)
{
    bool used = false;
    for (size_t i = 0; !used && i < s->n_rows; i++)
        used = s->rows[i].shares[level] > 0;
    return used;
}

static int width_of(const char *level)
{
    const int n = (int)strlen(level);
    return n < LEAST_WIDTH ? LEAST_WIDTH : n;
}

static void put_share(FILE *out, const char *level, double share)
{
    if (share > 0)
        fprintf(out, "  %*.1f", width_of(level), 100 * share);
    else
        fprintf(out, "  %*s", width_of(level), "-");
}

/* A number, or a dash for one that is not known. */
static void put_number(FILE *out, int width, double x)
{
    if (isfinite(x))
        fprintf(out, "%*.3g", width, x);
    else
        fprintf(out, "%*s", width, "-");
}

/* Of all rows: sums of damage, means by weights of the rest. */
static void put_all(FILE *out, const struct moeq_plan_summary *s, double n_weights)
{
    double bits = 0, damage = 0;
    for (size_t i = 0; i < s->n_rows; i++) {
        bits += s->rows[i].bits * (double)s->rows[i].n_weights;
        damage += s->rows[i].damage;
    }
    fprintf(out, "%5s %-5s %9s %6.3f ", "all", "", "", bits / n_weights);
    put_number(out, 10, damage);
    for (size_t l = 0; l < s->n_levels; l++) {
        double share = 0;
        for (size_t i = 0; i < s->n_rows; i++)
            share += s->rows[i].shares[l] * (double)s->rows[i].n_weights;
        if (is_used(s, l))
            put_share(out, s->levels[l], share / n_weights);
    }
    fputc('\n', out);
}

void moeq_plan_summary_print(FILE *out, const struct moeq_plan_summary *summary)
{
    const struct moeq_plan_summary *s = summary;
    double n_weights = 0;
    fprintf(out, "%5s %-5s %9s %6s %10s", "layer", "kind", "gain", "bits", "KL, nats");
    for (size_t l = 0; l < s->n_levels; l++)
        if (is_used(s, l))
            fprintf(out, "  %*s", width_of(s->levels[l]), s->levels[l]);
    fputs("  (% of weights)\n", out);
    for (size_t i = 0; i < s->n_rows; i++) {
        const struct moeq_plan_row *row = &s->rows[i];
        fprintf(out, "%5d %-5s ", row->layer, row->kind);
        put_number(out, 9, row->gain);
        fprintf(out, " %6.3f ", row->bits);
        put_number(out, 10, row->damage);
        for (size_t l = 0; l < s->n_levels; l++)
            if (is_used(s, l))
                put_share(out, s->levels[l], row->shares[l]);
        fputc('\n', out);
        n_weights += (double)row->n_weights;
    }
    if (n_weights > 0)
        put_all(out, s, n_weights);
}
