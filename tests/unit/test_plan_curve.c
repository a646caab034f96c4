/* The table and picture of what bytes buy, and the table of a plan's layers. */
#include "unit.h"

#include "plan_curve.h"
#include "plan_summary.h"

#include <math.h>

/* ---- instances ---- */

enum { MAX_POINTS = 64 };

static const char *const levels[] = {
    "int2-g128",     "int2-g64",      "int2-g32",  "int2-g64-asym", "int3-g128", "int3-g64",
    "int3-g32",      "int3-g64-asym", "int4-g128", "int4-g64",      "int4-g32",  "int4-g128-asym",
    "int4-g64-asym", "int4-g32-asym", "int5-g128", "int5-g64",      "int5-g32",  "int5-g128-asym",
    "int6-g128",     "int6-g64",      "int8-g128", "fp8",           "bf16",
};
static const double bits_of[] = {2.125, 2.25, 2.5,   2.28, 3.125, 3.25, 3.5,   3.3,  4.125, 4.25, 4.5, 4.16,
                                 4.31,  4.62, 5.125, 5.25, 5.5,   5.16, 6.125, 6.25, 8.125, 8.0,  16};
enum { N_LEVELS = sizeof levels / sizeof *levels };

struct instance {
    struct moeq_curve curve;
    struct moeq_curve_point mixes[MAX_POINTS], chosen;
    struct moeq_curve_uniform uniform[N_LEVELS];
};

static struct moeq_curve_point point_at(double bits, double factor)
{
    return (struct moeq_curve_point){(uint64_t)(bits * 1e9), bits, factor * exp2(4 - 2 * bits)};
}

static void make(struct instance *in, size_t n_mixes, size_t n_uniform)
{
    *in = (struct instance){.curve = {.title = "nano <v3> & co",
                                      .mixes = in->mixes,
                                      .n_mixes = n_mixes,
                                      .uniform = in->uniform,
                                      .n_uniform = n_uniform}};
    for (size_t i = 0; i < n_mixes; i++)
        in->mixes[i] = point_at(2.1 + 4 * (double)i / (double)(n_mixes - 1), 0.6);
    for (size_t i = 0; i < n_uniform; i++)
        in->uniform[i] = (struct moeq_curve_uniform){levels[i], point_at(bits_of[i], 1)};
    in->chosen = in->mixes[n_mixes / 3];
    in->curve.chosen = &in->chosen;
}

/* ---- tests ---- */

static void test_csv(void)
{
    const struct moeq_curve_point mixes[] = {{1000, 2.5, 0.125}, {2000, 5, 1e-9}};
    const struct moeq_curve_uniform uniform[] = {{"int3-g64", {1300, 3.25, (double)INFINITY}}};
    const struct moeq_curve curve = {"title", mixes, 2, NULL, 0, uniform, 1, &mixes[1]};
    char *text = moeq_curve_csv(&curve, NULL);
    CU_ASSERT_STRING_EQUAL(text,
                           "kind,level,size_bytes,bits_per_planned_weight,predicted_kl_divergence_nats\n"
                           "mix,,1000,2.5,0.125\n"
                           "mix,,2000,5,1e-09\n"
                           "uniform,int3-g64,1300,3.25,\n"
                           "chosen,,2000,5,1e-09\n");
    free(text);
}

/* The labels of a picture, as they stand in it: where they begin and end. */
struct label {
    double left, right, y;
};

static size_t find_labels(const char *svg, struct label *labels, size_t most)
{
    size_t n = 0;
    for (const char *at = svg; (at = strstr(at, "<text ")) && n < most; at++) {
        char anchor[8], text[64];
        double x, y;
        CU_ASSERT_EQUAL_FATAL(
            sscanf(at, "<text x=\"%lf\" y=\"%lf\" text-anchor=\"%7[a-z]\">%63[^<]", &x, &y, anchor, text), 4);
        const double w = 6.5 * (double)strlen(text);
        const double left = strcmp(anchor, "end") == 0 ? x - w : strcmp(anchor, "start") == 0 ? x : x - w / 2;
        labels[n++] = (struct label){left, left + w, y};
    }
    return n;
}

static void test_svg(void)
{
    for (size_t n_uniform = 0; n_uniform <= N_LEVELS; n_uniform += n_uniform < 8 ? 4 : N_LEVELS - 8) {
        struct instance in;
        struct label labels[128];
        make(&in, 40, n_uniform);
        char *svg = moeq_curve_svg(&in.curve, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(svg);
        const char *folder = getenv("MOEQ_PICTURES"); /* to look at them */
        if (folder) {
            char path[512];
            snprintf(path, sizeof path, "%s/curve-%zu.svg", folder, n_uniform);
            FILE *f = fopen(path, "w");
            CU_ASSERT(f && fputs(svg, f) >= 0 && fclose(f) == 0);
        }
        CU_ASSERT_PTR_NOT_NULL(strstr(svg, "nano &lt;v3&gt; &amp; co"));
        CU_ASSERT_PTR_NULL(strstr(svg, "nan\""));
        CU_ASSERT_PTR_NULL(strstr(svg, "inf"));
        CU_ASSERT_PTR_NOT_NULL(strstr(svg, "<polyline"));
        size_t n_named = 0;
        for (size_t i = 0; i < n_uniform; i++) {
            char text[64];
            snprintf(text, sizeof text, ">%s</text>", levels[i]);
            n_named += strstr(svg, text) != NULL;
        }
        CU_ASSERT_PTR_NULL(strstr(svg, "bf16")); /* far beyond the mixes */
        CU_ASSERT(n_named == n_uniform || (n_uniform > 8 && n_named > n_uniform / 2));
        const size_t n = find_labels(svg, labels, 128);
        CU_ASSERT(n > n_named + 8 && n < 128);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < i; k++)
                CU_ASSERT(labels[i].right <= labels[k].left || labels[k].right <= labels[i].left ||
                          fabs(labels[i].y - labels[k].y) >= 10);
        for (size_t i = 0; i < n; i++)
            CU_ASSERT(labels[i].left >= 0 && labels[i].right <= 720 && labels[i].y > 0 && labels[i].y < 460);
        free(svg);
    }
}

/* No points, one, and such as a logarithm has not. */
static void test_bare(void)
{
    const struct moeq_curve_point odd[] = {
        {0, 3, 0}, {1, 4, (double)INFINITY}, {2, (double)NAN, 1}, {3, 5, 0.25}, {4, 5, -1}};
    const struct moeq_curve none = {.title = ""}, one = {"one", odd, 5, NULL, 0, NULL, 0, &odd[0]},
                            far = {.title = "far",
                                   .mixes = (const struct moeq_curve_point[]){{1, 1, 1e-300}, {2, 9, 1e300}},
                                   .n_mixes = 2};
    const struct moeq_curve *const all[] = {&none, &one, &far};
    for (size_t i = 0; i < 3; i++) {
        char *svg = moeq_curve_svg(all[i], NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(svg);
        CU_ASSERT_PTR_NULL(strstr(svg, "nan"));
        CU_ASSERT_PTR_NULL(strstr(svg, "inf"));
        CU_ASSERT(strlen(svg) < 20000);
        CU_ASSERT_EQUAL(strcmp(svg + strlen(svg) - 7, "</svg>\n"), 0);
        free(svg);
    }
}

static void test_summary(void)
{
    static const char *const names[] = {"int2-g64", "int3-g64-asym", "fp8"};
    static const double half[] = {0.5, 0, 0.5}, none[] = {1, 0, 0};
    const struct moeq_plan_row rows[] = {{1, "gate", 3000, 2.5, 5.125, 0.001, half},
                                         {12, "down", 1000, (double)NAN, 2.25, 0.02, none}};
    const struct moeq_plan_summary summary = {names, 3, rows, 2};
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    CU_ASSERT_PTR_NOT_NULL_FATAL(out);
    moeq_plan_summary_print(out, &summary);
    CU_ASSERT_EQUAL(fclose(out), 0);
    CU_ASSERT_STRING_EQUAL(text, "layer kind       gain   bits   KL, nats  int2-g64     fp8  (% of weights)\n"
                                 "    1 gate        2.5  5.125      0.001      50.0    50.0\n"
                                 "   12 down          -  2.250       0.02     100.0       -\n"
                                 "  all                  4.406      0.021      62.5    37.5\n");
    free(text);
}

int main(void)
{
    static const struct unit_test tests[] = {{"the table", test_csv},
                                             {"the picture", test_svg},
                                             {"few points and none", test_bare},
                                             {"layers", test_summary},
                                             {NULL, NULL}};
    return unit_main("plan curve", tests);
}
