#include "powers.h"

#include <math.h>

#define LN_2      0.6931471805599453
#define ROOT_HALF 0.7071067811865476
#define FARTHEST  1100 /* any power of 2 beyond is infinite or 0 */
#define TERMS     20   /* (ln 2)^20 / 20! is below 2^-70 */
#define ODD_TERMS 12   /* (3 - 2^1.5)^25 / 25 is below 2^-66 */

double moeq_exp2(double x)
{
    if (isnan(x))
        return x;
    const double bounded = x > FARTHEST ? FARTHEST : x < -FARTHEST ? -FARTHEST : x;
    const double whole = fabs(bounded) <= 1 ? 0 : rint(bounded), y = (bounded - whole) * LN_2;
    double term = 1, sum = 1;
    for (int i = 1; i < TERMS; i++)
        sum += term *= y / i;
    return ldexp(sum, (int)whole);
}

/* With m in [2^-1/2, 2^1/2): ln m = 2 (z + z^3/3 + z^5/5 + …), z = (m - 1) / (m + 1). */
double moeq_log2(double x)
{
    int exponent;
    if (!(x > 0) || isinf(x))
        return NAN;
    double m = frexp(x, &exponent);
    if (m < ROOT_HALF) {
        m *= 2;
        exponent--;
    }
    const double z = (m - 1) / (m + 1);
    double sum = 0;
    for (int i = ODD_TERMS; i >= 0; i--)
        sum = sum * z * z + 1.0 / (2 * i + 1);
    return exponent + 2 * z * sum / LN_2;
}
