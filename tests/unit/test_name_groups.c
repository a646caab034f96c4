/* Grouped names: a report of 40,000 missing tensors must fit on a screen, and must not say of any tensor what
 * is not so. */
#include "unit.h"

#include "name_groups.h"

#define MAX_NAMES 20000

static char *names[MAX_NAMES];
static size_t n_names;

static void add(const char *format, int a, int b)
{
    CU_ASSERT_FATAL(n_names < MAX_NAMES);
    CU_ASSERT_FATAL(asprintf(&names[n_names++], format, a, b) >= 0);
}

/* Compares the groups with lines "N TEXT", and forgets the names. */
static void expect(const char *const *lines, size_t n)
{
    struct moeq_name_groups groups;
    CU_ASSERT_EQUAL_FATAL(moeq_name_groups_make((const char *const *)names, n_names, &groups, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(groups.n_items, n);
    for (size_t i = 0; i < n && i < groups.n_items; i++) {
        char line[600];
        snprintf(line, sizeof line, "%zu %s", groups.items[i].n_names, groups.items[i].text);
        if (strcmp(line, lines[i]) != 0)
            printf("\n  %s\n  instead of %s", line, lines[i]);
        CU_ASSERT_STRING_EQUAL(line, lines[i]);
    }
    moeq_name_groups_free(&groups);
    while (n_names)
        free(names[--n_names]);
}

#define EXPECT(...)                                                                                          \
    do {                                                                                                     \
        static const char *const lines[] = {__VA_ARGS__};                                                    \
        expect(lines, sizeof lines / sizeof *lines);                                                         \
    } while (0)

static void test_grid(void)
{
    for (int e = 255; e >= 0; e--)
        for (int l = 12; l <= 51; l++)
            add("model.layers.%d.mlp.experts.%d.down_proj.weight", l, e);
    EXPECT("10240 model.layers.{12-51}.mlp.experts.{0-255}.down_proj.weight");
}

static void test_gaps(void)
{
    static const int layers[] = {3, 4, 5, 9, 11, 12};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        add("a.%d.b", layers[i], 0);
    EXPECT("6 a.{3-5,9,11-12}.b");
    add("a.7.b", 0, 0);
    EXPECT("1 a.7.b");
}

/* Layers with other experts are other groups: a group says nothing that is not so. */
static void test_no_grid(void)
{
    for (int e = 0; e < 8; e++) {
        add("l.%d.e.%d.w", 1, e);
        add("l.%d.e.%d.w", 2, e);
        if (e != 5)
            add("l.%d.e.%d.w", 3, e);
    }
    EXPECT("16 l.{1-2}.e.{0-7}.w", "7 l.3.e.{0-4,6-7}.w");
}

static void test_tails(void)
{
    for (int l = 0; l < 3; l++) {
        add("l.%d.norm", l, 0);
        add("l.%d.up.weight", l, 0);
        add("l.%d", l, 0);
    }
    add("l.0.other", 0, 0);
    EXPECT("9 l.{0-2}.{,norm,up.weight}", "1 l.0.other");
    for (int t = 0; t < 7; t++)
        add("l.5.t%d", t, 0);
    EXPECT("7 l.5.{t0,t1,t2,t3,… 3 more}");
}

static void test_numbers_that_are_none(void)
{
    add("head", 0, 0);
    add("a.01.b", 0, 0);
    add("a.x1.b", 0, 0);
    add("a.1234567890.b", 0, 0);
    add("", 0, 0);
    EXPECT("1 ", "1 a.01.b", "1 a.1234567890.b", "1 a.x1.b", "1 head");
    add("a.01.b", 0, 0);
    add("1", 0, 0);
    add("2", 0, 0);
    add("7.1.2.3.4", 0, 0);
    add("7.1.2.3.5", 0, 0);
    EXPECT("2 7.1.2.{3.4,3.5}", "2 {1-2}", "1 a.01.b");
}

static void test_duplicates(void)
{
    for (int i = 0; i < 3; i++) {
        add("a.1.b", 0, 0);
        add("plain", 0, 0);
        add("x.1.y.2", 0, 0);
    }
    EXPECT("1 a.1.b", "1 plain", "1 x.1.y.2");
}

static void test_none(void)
{
    struct moeq_name_groups groups;
    CU_ASSERT_EQUAL(moeq_name_groups_make(NULL, 0, &groups, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(groups.n_items, 0);
    moeq_name_groups_free(&groups);
}

/* The character that stands for a number inside. */
static void test_names_with_the_mark(void)
{
    add("a.%d.%d", 10, 5);
    add("a.%d.\1", 2, 0);
    add("a.%d.%d", 3, 7);
    EXPECT("1 a.10.5", "1 a.2.\1", "1 a.3.7");
    add("a.\1", 0, 0);
    add("a.%d", 5, 0);
    add("a.%d", 6, 0);
    EXPECT("2 a.{5-6}", "1 a.\1");
}

static void test_text(void)
{
    static const char *const some[] = {"a.1.x", "a.2.x", "b", "c", "d.4", "d.5", "d.6"};
    struct moeq_name_groups groups;
    CU_ASSERT_EQUAL_FATAL(moeq_name_groups_make(some, 7, &groups, NULL), MOEQ_OK);
    char *all = moeq_name_groups_text(&groups, 9, NULL), *two = moeq_name_groups_text(&groups, 2, NULL);
    CU_ASSERT_STRING_EQUAL(all, "d.{4-6}, a.{1-2}.x, b, c");
    CU_ASSERT_STRING_EQUAL(two, "d.{4-6}, a.{1-2}.x and 2 more groups (2 names)");
    free(all);
    free(two);
    moeq_name_groups_free(&groups);
}

int main(void)
{
    static const struct unit_test tests[] = {
        {"a full grid is one line", test_grid},
        {"gaps", test_gaps},
        {"what is no grid stays apart", test_no_grid},
        {"tails of the same numbers", test_tails},
        {"numbers that are none", test_numbers_that_are_none},
        {"a name given twice", test_duplicates},
        {"no names", test_none},
        {"names that hold the mark of a number", test_names_with_the_mark},
        {"as one text", test_text},
        {NULL, NULL},
    };
    return unit_main("name_groups", tests);
}
