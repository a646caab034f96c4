/* Bytes for items: never more than the budget, and the damage against all there is to choose from where that
 * can be tried, against the bound of the relaxation where it cannot. */
#include "weights.h"

#include "allocation.h"

#include <math.h>
#include <time.h>

enum { MOST_CHOICES = 12 };

static double rounding(double x)
{
    return 1e-9 * (1 + fabs(x));
}

/* ---- instances ---- */

static struct moeq_choice *take(struct moeq_allocation *a, size_t n_items, size_t n_choices)
{
    struct moeq_choice *choices = calloc(n_items * n_choices, sizeof *choices);
    CU_ASSERT_PTR_NOT_NULL_FATAL(choices);
    *a = (struct moeq_allocation){n_items, n_choices, choices};
    return choices;
}

/* Anything at all: larger choices that do more damage, ties, what cannot be had (but the first). */
static struct moeq_choice *take_any(struct moeq_allocation *a, size_t n_items, size_t n_choices)
{
    struct moeq_choice *choices = take(a, n_items, n_choices);
    for (size_t i = 0; i < n_items * n_choices; i++) {
        choices[i].n_bytes = (uint64_t)(uniform() * 200);
        choices[i].damage = uniform() < 0.2 ? floor(uniform() * 4) / 4 : uniform();
        if (i % n_choices && uniform() < 0.1)
            choices[i].damage = (double)INFINITY;
    }
    return choices;
}

/* As matrices are: three shapes, damage that falls by 4 with each bit and a little at random, and spreads
 * over orders of magnitude from item to item. */
static struct moeq_choice *take_matrices(struct moeq_allocation *a, size_t n_items, size_t n_choices)
{
    static const uint64_t sizes[] = {2048ull * 1408, 1408ull * 2048, 7168ull * 512};
    struct moeq_choice *choices = take(a, n_items, n_choices);
    for (size_t i = 0; i < n_items; i++) {
        const double weight = exp(3 * (uniform() + uniform() + uniform()) - 12);
        for (size_t c = 0; c < n_choices; c++) {
            const double bits = 2 + 6.0 * (double)c / (double)n_choices;
            choices[i * n_choices + c].n_bytes =
                ((uint64_t)((double)sizes[i % 3] * (bits + 0.25) / 8) + 63) / 64 * 64;
            choices[i * n_choices + c].damage = weight * exp2(-2 * bits) * (0.8 + 0.4 * uniform());
        }
    }
    return choices;
}

/* The least damage within the budget, of all that can be chosen; INFINITY where nothing can. */
static double least(const struct moeq_allocation *a, size_t item, uint64_t budget)
{
    double best = (double)INFINITY;
    if (item == a->n_items)
        return 0;
    for (size_t c = 0; c < a->n_choices; c++) {
        const struct moeq_choice *choice = &a->choices[item * a->n_choices + c];
        if (isfinite(choice->damage) && choice->n_bytes <= budget) {
            const double damage = choice->damage + least(a, item + 1, budget - choice->n_bytes);
            best = damage < best ? damage : best;
        }
    }
    return best;
}

static void check_choices(const struct moeq_allocation *a, const uint32_t *chosen, uint64_t budget)
{
    uint64_t n_bytes = 0;
    double damage = 0;
    for (size_t i = 0; i < a->n_items; i++) {
        CU_ASSERT_FATAL(chosen[i] < a->n_choices);
        n_bytes += a->choices[i * a->n_choices + chosen[i]].n_bytes;
        damage += a->choices[i * a->n_choices + chosen[i]].damage;
    }
    CU_ASSERT(isfinite(damage));
    CU_ASSERT(n_bytes <= budget);
    CU_ASSERT_EQUAL(n_bytes, moeq_allocation_bytes(a, chosen));
    CU_ASSERT_EQUAL(damage, moeq_allocation_damage(a, chosen));
}

/* ---- tests ---- */

static void test_against_all(void)
{
    int n_best = 0, n_solved = 0;
    uint32_t chosen[6];
    random_state = 1;
    for (int round = 0; round < 1000; round++) {
        struct moeq_allocation a;
        struct moeq_allocator t;
        struct moeq_choice *choices = take_any(&a, 1 + (size_t)(uniform() * 5), 1 + (size_t)(uniform() * 5));
        CU_ASSERT_EQUAL_FATAL(moeq_allocator_init(&t, &a, NULL), MOEQ_OK);
        for (uint64_t budget = (uint64_t)(uniform() * 60); budget < 1200; budget += 97) {
            const double best = least(&a, 0, budget);
            struct moeq_error err = {0};
            const enum moeq_status status = moeq_allocator_solve(&t, budget, chosen, &err);
            CU_ASSERT_EQUAL(status, isfinite(best) ? MOEQ_OK : MOEQ_USAGE);
            if (status)
                continue;
            const double damage = moeq_allocation_damage(&a, chosen),
                         bound = moeq_allocator_bound(&t, budget);
            double step = 0;
            for (size_t s = 0; s < t.n_steps; s++)
                step = fmax(step, t.damage[s] - t.damage[s + 1]);
            check_choices(&a, chosen, budget);
            CU_ASSERT(bound <= best + rounding(best));
            CU_ASSERT(damage >= best - rounding(best));
            CU_ASSERT(damage <= bound + step + rounding(best));
            n_solved++;
            n_best += damage <= best + rounding(best);
        }
        moeq_allocator_free(&t);
        free(choices);
    }
    printf("%d of %d are the best there are ", n_best, n_solved);
    CU_ASSERT(n_solved > 5000);
    CU_ASSERT(n_best * 1000 > n_solved * 999);
}

/* Of 5000 items an average one does 2e-4 of the damage: what is lost to the bound is a tenth of that,
 * although all sizes are multiples of 16 kB, which alone keeps from meeting a budget. */
static void test_large(void)
{
    struct moeq_allocation a;
    struct moeq_allocator t;
    random_state = 2;
    struct moeq_choice *choices = take_matrices(&a, 5000, MOST_CHOICES);
    uint32_t *chosen = calloc(5000, sizeof *chosen);
    CU_ASSERT_EQUAL_FATAL(moeq_allocator_init(&t, &a, NULL), MOEQ_OK);
    const uint64_t from = moeq_allocator_least_bytes(&t), to = moeq_allocator_most_bytes(&t);
    for (int k = 0; k <= 20; k++) {
        const uint64_t budget = from + (to - from) / 20 * (uint64_t)k + (k > 0 && k < 20 ? 12345 : 0);
        CU_ASSERT_EQUAL_FATAL(moeq_allocator_solve(&t, budget, chosen, NULL), MOEQ_OK);
        check_choices(&a, chosen, budget);
        const double bound = moeq_allocator_bound(&t, budget), damage = moeq_allocation_damage(&a, chosen);
        CU_ASSERT(damage >= bound * (1 - 1e-9));
        CU_ASSERT(damage <= bound * (1 + 2e-5));
        CU_ASSERT(k == 20 || (double)(budget - moeq_allocation_bytes(&a, chosen)) <= 1e-3 * (double)budget);
    }
    moeq_allocator_free(&t);
    free(chosen);
    free(choices);
}

/* A larger budget never does more damage, byte by byte and in strides. */
static void test_monotone(void)
{
    random_state = 3;
    for (int round = 0; round < 24; round++) {
        struct moeq_allocation a;
        struct moeq_allocator t;
        uint32_t chosen[300];
        const bool is_small = round < 20;
        struct moeq_choice *choices =
            is_small ? take_any(&a, 1 + (size_t)round, 6) : take_matrices(&a, 300, 8);
        CU_ASSERT_EQUAL_FATAL(moeq_allocator_init(&t, &a, NULL), MOEQ_OK);
        const uint64_t from = moeq_allocator_least_bytes(&t), to = moeq_allocator_most_bytes(&t);
        const uint64_t stride = is_small ? 1 + (to - from) / 40 : (to - from) / 40 / (uint64_t)(round - 19);
        double before = (double)INFINITY;
        for (uint64_t k = 0; k < 40; k++) {
            const uint64_t budget = from + k * stride;
            CU_ASSERT_EQUAL_FATAL(moeq_allocator_solve(&t, budget, chosen, NULL), MOEQ_OK);
            check_choices(&a, chosen, budget);
            const double damage = moeq_allocation_damage(&a, chosen);
            CU_ASSERT(damage <= before * (1 + 1e-12));
            before = damage;
        }
        moeq_allocator_free(&t);
        free(choices);
    }
}

static void test_refusals(void)
{
    static const struct moeq_choice two[] = {{10, 1}, {20, 0.5}, {30, 2}, {40, 0}};
    static const struct moeq_choice none[] = {{10, (double)INFINITY}, {20, (double)NAN}};
    static const struct moeq_choice vast[] = {{MOEQ_MAX_CHOICE_BYTES, 1}, {MOEQ_MAX_CHOICE_BYTES, 1}};
    static const struct moeq_choice beyond[] = {{UINT64_MAX, 1}};
    struct moeq_allocation a = {2, 2, two};
    struct moeq_error err = {0};
    uint32_t chosen[2];
    CU_ASSERT_EQUAL(moeq_allocate(&a, 39, chosen, &err), MOEQ_USAGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "40 bytes"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "39"));
    CU_ASSERT_EQUAL(moeq_allocate(&a, 40, chosen, NULL), MOEQ_OK);
    CU_ASSERT(chosen[0] == 0 && chosen[1] == 0);
    a = (struct moeq_allocation){1, 2, none};
    CU_ASSERT_EQUAL(moeq_allocate(&a, UINT64_MAX, chosen, NULL), MOEQ_USAGE);
    a = (struct moeq_allocation){2, 1, vast};
    CU_ASSERT_EQUAL(moeq_allocate(&a, UINT64_MAX, chosen, NULL), MOEQ_UNSUPPORTED);
    a = (struct moeq_allocation){1, 1, beyond};
    CU_ASSERT_EQUAL(moeq_allocate(&a, UINT64_MAX, chosen, NULL), MOEQ_UNSUPPORTED);
    a = (struct moeq_allocation){0, 0, NULL};
    CU_ASSERT_EQUAL(moeq_allocate(&a, 0, chosen, NULL), MOEQ_OK);
}

/* Of equal damages the fewest bytes, of equal bytes the least damage, of equal items the first, and nothing
 * that is larger and worse. */
static void test_ties(void)
{
    static const struct moeq_choice zeros[] = {{8, 0}, {4, 0}, {2, 0}, {8, 0}, {4, 0}, {2, 0}};
    static const struct moeq_choice same_bytes[] = {{4, 3}, {4, 1}, {4, 2}, {4, 2}, {4, 2}, {4, 1}};
    static const struct moeq_choice equal_items[] = {{1, 9}, {2, 4}, {1, 9}, {2, 4}, {1, 9}, {2, 4}};
    static const struct moeq_choice worse[] = {{1, 5}, {2, 6}, {3, 5}, {1, 5}, {2, 7}, {4, 1}};
    struct moeq_allocation a = {2, 3, zeros};
    uint32_t chosen[3];
    CU_ASSERT_EQUAL(moeq_allocate(&a, 1000, chosen, NULL), MOEQ_OK);
    CU_ASSERT(chosen[0] == 2 && chosen[1] == 2);
    a.choices = same_bytes;
    CU_ASSERT_EQUAL(moeq_allocate(&a, 8, chosen, NULL), MOEQ_OK);
    CU_ASSERT(chosen[0] == 1 && chosen[1] == 2);
    a.choices = worse;
    CU_ASSERT_EQUAL(moeq_allocate(&a, 1000, chosen, NULL), MOEQ_OK);
    CU_ASSERT(chosen[0] == 0 && chosen[1] == 2);
    a = (struct moeq_allocation){3, 2, equal_items};
    CU_ASSERT_EQUAL(moeq_allocate(&a, 4, chosen, NULL), MOEQ_OK);
    CU_ASSERT(chosen[0] == 1 && chosen[1] == 0 && chosen[2] == 0);
    a = (struct moeq_allocation){3, 1, equal_items}; /* one choice each */
    CU_ASSERT_EQUAL(moeq_allocate(&a, 4, chosen, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_allocation_bytes(&a, chosen), 4);
}

/* The walk alone would leave what only an exchange, or a choice beside the hull, can use. */
static void test_fill(void)
{
    /* The next step is one of 6 bytes; 5 are left. The second choice lies beside the hull, the second item
     * has a smaller step at a worse rate. */
    static const struct moeq_choice beside[] = {{0, 100}, {5, 60}, {6, 10}, {0, 50}, {4, 45}, {9, 44.9}};
    /* Taking back the first item's step makes room for the second's, which is slightly worse per byte. */
    static const struct moeq_choice exchange[] = {{0, 100}, {4, 59.5}, {0, 100}, {6, 40}};
    struct moeq_allocation a = {2, 3, beside};
    uint32_t chosen[2];
    CU_ASSERT_EQUAL(moeq_allocate(&a, 5, chosen, NULL), MOEQ_OK);
    CU_ASSERT(chosen[0] == 1 && chosen[1] == 0);
    CU_ASSERT_EQUAL(moeq_allocate(&a, 4, chosen, NULL), MOEQ_OK);
    CU_ASSERT(chosen[0] == 0 && chosen[1] == 1);
    a = (struct moeq_allocation){2, 2, exchange};
    CU_ASSERT_EQUAL(moeq_allocate(&a, 9, chosen, NULL), MOEQ_OK);
    CU_ASSERT(chosen[0] == 0 && chosen[1] == 1);
}

/* Many equal items whose steps no longer fit, and one small step beyond the core that does. */
static void test_small_step_among_many(void)
{
    enum { N = 1000 };
    struct moeq_allocation a;
    struct moeq_choice *choices = take(&a, N, 2);
    uint32_t *chosen = calloc(N, sizeof *chosen);
    for (size_t i = 0; i < N; i++) {
        choices[2 * i] = (struct moeq_choice){0, 1000};
        choices[2 * i + 1] = (struct moeq_choice){1000, 0};
    }
    choices[2 * (N - 1)] = (struct moeq_choice){0, 5};
    choices[2 * (N - 1) + 1] = (struct moeq_choice){10, 0};
    CU_ASSERT_EQUAL(moeq_allocate(&a, 500500, chosen, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_allocation_bytes(&a, chosen), 500010);
    CU_ASSERT_EQUAL(chosen[0], 1);
    CU_ASSERT_EQUAL(chosen[500], 0);
    free(choices);
    free(chosen);
}

/* A model of 58 layers with 256 experts and more, with all levels there are. */
static void test_time(void)
{
    enum { N = 150000, CHOICES = 40 };
    struct moeq_allocation a;
    struct moeq_allocator t;
    struct timespec times[3];
    random_state = 4;
    struct moeq_choice *choices = take_matrices(&a, N, CHOICES);
    uint32_t *chosen = calloc(N, sizeof *chosen), *again = calloc(N, sizeof *again);
    clock_gettime(CLOCK_MONOTONIC, &times[0]);
    CU_ASSERT_EQUAL_FATAL(moeq_allocator_init(&t, &a, NULL), MOEQ_OK);
    clock_gettime(CLOCK_MONOTONIC, &times[1]);
    const uint64_t budget = (moeq_allocator_least_bytes(&t) + moeq_allocator_most_bytes(&t)) / 2;
    CU_ASSERT_EQUAL(moeq_allocator_solve(&t, budget, chosen, NULL), MOEQ_OK);
    clock_gettime(CLOCK_MONOTONIC, &times[2]);
    double seconds[2];
    for (int k = 0; k < 2; k++)
        seconds[k] = (double)(times[k + 1].tv_sec - times[k].tv_sec) +
                     1e-9 * (double)(times[k + 1].tv_nsec - times[k].tv_nsec);
    printf("%zu steps; %.2f s before budgets, %.3f s for one ", t.n_steps, seconds[0], seconds[1]);
    CU_ASSERT(seconds[0] + seconds[1] < 60);
    check_choices(&a, chosen, budget);
    CU_ASSERT(moeq_allocation_damage(&a, chosen) <= moeq_allocator_bound(&t, budget) * (1 + 1e-6));
    CU_ASSERT_EQUAL(moeq_allocate(&a, budget, again, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(memcmp(chosen, again, N * sizeof *chosen), 0);
    moeq_allocator_free(&t);
    free(choices);
    free(chosen);
    free(again);
}

int main(void)
{
    static const struct unit_test tests[] = {{"against all choices", test_against_all},
                                             {"against the bound", test_large},
                                             {"more budget, no more damage", test_monotone},
                                             {"refusals", test_refusals},
                                             {"ties", test_ties},
                                             {"beside the hull, and exchanges", test_fill},
                                             {"a small step among many", test_small_step_among_many},
                                             {"the size of a large model", test_time},
                                             {NULL, NULL}};
    return unit_main("allocation", tests);
}
