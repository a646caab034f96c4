/* The rungs of level ec between those that are measured: in their order, exact where something was measured,
 * straight between, and none where a measurement says nothing. */
#include "ladder.h"
#include "unit.h"

#include <math.h>

/* What an ideal quantizer gives: twice the step, a bit less, four times the error. */
struct measured {
    double bits[MOEQ_LADDER_ANCHORS], steps[MOEQ_LADDER_ANCHORS], errors[MOEQ_LADDER_ANCHORS];
};

static struct measured ideal(double off)
{
    struct measured m;
    for (size_t i = 0; i < MOEQ_LADDER_ANCHORS; i++) {
        m.bits[i] = (double)moeq_ladder_anchor(i).bits + off;
        m.steps[i] = exp2(-m.bits[i]);
        m.errors[i] = 3 * exp2(-2 * m.bits[i]);
    }
    return m;
}

static void rungs_rise(void)
{
    for (size_t i = 0; i < MOEQ_LADDER_RUNGS; i++) {
        char text[MOEQ_FORMAT_BYTES];
        struct moeq_format rung = moeq_ladder_rung(i), read;
        CU_ASSERT_TRUE(rung.level == &moeq_level_ec && rung.step == 0);
        CU_ASSERT_TRUE(!i || rung.bits > moeq_ladder_rung(i - 1).bits);
        CU_ASSERT_EQUAL(moeq_format_parse(moeq_format_text(rung, text), (struct moeq_format){0}, &read, NULL),
                        MOEQ_OK);
        CU_ASSERT_EQUAL(read.bits, rung.bits);
    }
    for (size_t i = 1; i < MOEQ_LADDER_ANCHORS; i++)
        CU_ASSERT_TRUE(moeq_ladder_anchor(i).bits > moeq_ladder_anchor(i - 1).bits);
    CU_ASSERT_TRUE(moeq_ladder_rung(0).bits <= moeq_ladder_anchor(0).bits);
    CU_ASSERT_TRUE(moeq_ladder_rung(MOEQ_LADDER_RUNGS - 1).bits >=
                   moeq_ladder_anchor(MOEQ_LADDER_ANCHORS - 1).bits);
}

/* Also where the bits that came of an anchor are not quite those that were asked for. */
static void places_lie_on_the_line(void)
{
    for (int k = -1; k <= 1; k++) {
        const struct measured m = ideal(0.03 * k);
        double step, error, last = INFINITY;
        for (size_t i = 0; i < MOEQ_LADDER_RUNGS; i++) {
            const double bits = (double)moeq_ladder_rung(i).bits;
            moeq_ladder_place(m.bits, m.steps, m.errors, bits, &step, &error);
            CU_ASSERT_DOUBLE_EQUAL(step / exp2(-bits), 1, 1e-9);
            CU_ASSERT_DOUBLE_EQUAL(error / (3 * exp2(-2 * bits)), 1, 1e-9);
            CU_ASSERT_TRUE(error < last);
            last = error;
        }
        for (size_t i = 0; i < MOEQ_LADDER_ANCHORS; i++) {
            moeq_ladder_place(m.bits, m.steps, m.errors, m.bits[i], &step, &error);
            CU_ASSERT_DOUBLE_EQUAL(step / m.steps[i], 1, 1e-12);
            CU_ASSERT_DOUBLE_EQUAL(error / m.errors[i], 1, 1e-12);
        }
    }
}

/* Each piece has a slope of its own. */
static void pieces_are_straight(void)
{
    struct measured m = ideal(0);
    double step, error;
    m.steps[2] *= 1.1;
    m.errors[2] *= 1.3;
    for (size_t i = 1; i < MOEQ_LADDER_ANCHORS; i++) {
        moeq_ladder_place(m.bits, m.steps, m.errors, (m.bits[i - 1] + m.bits[i]) / 2, &step, &error);
        CU_ASSERT_DOUBLE_EQUAL(step, sqrt(m.steps[i - 1] * m.steps[i]), 1e-12);
        CU_ASSERT_DOUBLE_EQUAL(error, sqrt(m.errors[i - 1] * m.errors[i]), 1e-12);
    }
}

/* A matrix of zeros takes the same bits at every step; one without tokens loses nothing; of a tiny one, more
 * bits may have been asked for than its codes can take. */
static void nothing_is_made_up(void)
{
    struct measured m = ideal(0);
    double step, error;
    for (size_t i = 0; i < MOEQ_LADDER_ANCHORS; i++)
        m.bits[i] = 0.6;
    moeq_ladder_place(m.bits, m.steps, m.errors, 2.5, &step, &error);
    CU_ASSERT_TRUE(isinf(error));
    m = ideal(0);
    memset(m.errors, 0, sizeof m.errors);
    moeq_ladder_place(m.bits, m.steps, m.errors, 2.5, &step, &error);
    CU_ASSERT_TRUE(isinf(error));
    m = ideal(0);
    m.bits[4] = m.bits[3];
    moeq_ladder_place(m.bits, m.steps, m.errors, 5, &step, &error);
    CU_ASSERT_TRUE(isinf(error));
    m.bits[4] = m.bits[3] - 0.001;
    moeq_ladder_place(m.bits, m.steps, m.errors, 5, &step, &error);
    CU_ASSERT_TRUE(isinf(error));
    m = ideal(0);
    m.bits[4] = m.bits[3] + 1e-4; /* a slope that leads beyond every step */
    moeq_ladder_place(m.bits, m.steps, m.errors, 6.375, &step, &error);
    CU_ASSERT_TRUE(isinf(error));
    moeq_ladder_place(m.bits, m.steps, m.errors, 3.5, &step, &error);
    CU_ASSERT_TRUE(isfinite(error) && isfinite(step));
}

int main(void)
{
    const struct unit_test tests[] = {
        {"rungs rise", rungs_rise},
        {"places lie on the line", places_lie_on_the_line},
        {"pieces are straight", pieces_are_straight},
        {"nothing is made up", nothing_is_made_up},
        {NULL, NULL},
    };
    return unit_main("ladder", tests);
}
