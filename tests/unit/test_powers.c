/* Powers and logarithms that choose steps and levels: right to a few units in the last place, exact where the
 * result is a power of 2, and of the same bits wherever this runs. */
#include "powers.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>

static void near_the_library(void)
{
    for (int i = -4000; i <= 4000; i++) {
        const double x = i * 0.01234567;
        CU_ASSERT_TRUE(fabs(moeq_exp2(x) / exp2(x) - 1) <= 0x1p-49);
        CU_ASSERT_TRUE(fabs(moeq_log2(exp2(x)) - x) <= 0x1p-50 * fmax(fabs(x), 1));
    }
}

static void whole_powers_are_exact(void)
{
    for (int i = -1022; i <= 1023; i++) {
        CU_ASSERT_EQUAL(moeq_log2(ldexp(1, i)), i);
        CU_ASSERT_TRUE(abs(i) == 1 || moeq_exp2(i) == ldexp(1, i));
    }
}

/* These bits decide what a plan says: they must not change with a compiler or a library. */
static void the_same_bits(void)
{
    static const struct {
        double x, power, logarithm; /* of |x| */
    } known[] = {
        {0.3, 0x1.3b2c47bff8329p+0, -0x1.bca9c6f53897bp+0},
        {-0.7, 0x1.3b2c47bff8329p-1, -0x1.0776228967d12p-1},
        {1.5, 0x1.6a09e667f3bccp+1, 0x1.2b803473f7ad1p-1},
        {-20.25, 0x1.ae89f995ad3aep-21, 0x1.15c01a39fbd68p+2},
        {3.1, 0x1.125fbee250663p+3, 0x1.a1dc546bdee57p+0},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        CU_ASSERT_EQUAL(moeq_exp2(known[i].x), known[i].power);
        CU_ASSERT_EQUAL(moeq_log2(fabs(known[i].x)), known[i].logarithm);
    }
}

static void ends(void)
{
    CU_ASSERT_EQUAL(moeq_exp2(1e300), INFINITY);
    CU_ASSERT_EQUAL(moeq_exp2(-INFINITY), 0);
    CU_ASSERT_TRUE(isnan(moeq_exp2(NAN)));
    CU_ASSERT_TRUE(isnan(moeq_log2(0)) && isnan(moeq_log2(-1)) && isnan(moeq_log2(NAN)) &&
                   isnan(moeq_log2(INFINITY)));
}

int main(void)
{
    const struct unit_test tests[] = {
        {"near the library", near_the_library},
        {"whole powers are exact", whole_powers_are_exact},
        {"the same bits", the_same_bits},
        {"ends", ends},
        {NULL, NULL},
    };
    return unit_main("powers", tests);
}
