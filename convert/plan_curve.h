/* What bytes buy: predicted damage against size, as a table and as a picture. */
#ifndef MOEQ_PLAN_CURVE_H
#define MOEQ_PLAN_CURVE_H

#include "status.h"

struct moeq_curve_point {
    uint64_t n_bytes; /* of the planned matrices */
    double bits;      /* of these, per weight */
    double damage;    /* predicted KL divergence, nats */
};

/* All planned matrices at one level. */
struct moeq_curve_uniform {
    const char *level;
    struct moeq_curve_point point;
};

/* All is borrowed. */
struct moeq_curve {
    const char *title;
    const struct moeq_curve_point *mixes; /* [n_mixes] plans of ascending budgets */
    size_t n_mixes;
    const struct moeq_curve_point *others; /* [n_others] plans of ascending budgets without level ec; none */
    size_t n_others;
    const struct moeq_curve_uniform *uniform; /* [n_uniform] */
    size_t n_uniform;
    const struct moeq_curve_point *chosen; /* NULL: none */
};

/* Comma-separated values: a header line with units, then a point a line, of the kinds mix, uniform and
 * chosen. A damage that is not finite is left empty. free() it; NULL and *err set where memory is out. */
char *moeq_curve_csv(const struct moeq_curve *curve, struct moeq_error *err);

/* A picture: bits from left to right, damage upwards on a logarithmic scale. Left out are points that this
 * scale has not (0, or not finite), and levels of more than MOEQ_CURVE_REACH times the bits of the largest
 * mix. Labels are put where they cover nothing; where there is no such place one is left out, and the
 * marker's title has it. free() it as above. */
#define MOEQ_CURVE_REACH 1.5
char *moeq_curve_svg(const struct moeq_curve *curve, struct moeq_error *err);

#endif
