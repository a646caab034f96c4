/* A PLAN of any bytes: what is accepted is sorted, found by name, tried on a source, and written in a form
 * that is accepted again with the same levels. */
#include "fuzz.h"
#include "level_plan.h"

#include <math.h>
#include <stdlib.h>

/* No source, but enough of one for names. */
static const struct moeq_weight weights[] = {
    {.name = "a.weight",
     .id = {MOEQ_PART_O, 0, -1},
     .format = {.level = &moeq_level_bf16, .dtype = MOEQ_BF16}},
    {.name = "model.layers.1.mlp.experts.0.gate_proj.weight",
     .id = {MOEQ_PART_EXPERT_GATE, 1, 0},
     .format = {.level = &moeq_level_bf16, .dtype = MOEQ_BF16}},
    {.name = "model.norm.weight",
     .id = {MOEQ_PART_FINAL_NORM, -1, -1},
     .format = {.level = &moeq_level_bf16, .dtype = MOEQ_BF16}},
};

static void check_source(const struct moeq_level_plan *plan)
{
    struct moeq_error err = {0};
    struct moeq_source source = {.path = "source",
                                 .weights = (struct moeq_weight *)weights,
                                 .n_weights = sizeof weights / sizeof *weights};
    const enum moeq_status status = moeq_level_plan_check_names(plan, &source, &err);
    fuzz_require_error(status, &err);
    fuzz_require(!status || status == MOEQ_USAGE);
}

static bool same_number(double a, double b)
{
    return isnan(a) ? isnan(b) : fabs(a - b) <= 1e-3 * fabs(a);
}

static void check_written(const struct moeq_level_plan *plan)
{
    struct moeq_level_plan again;
    const char **rules = calloc(plan->n_rules + 1, sizeof *rules);
    if (!rules)
        return;
    for (size_t i = 0; i < plan->n_rules; i++)
        rules[i] = plan->rules[i].text;
    const struct moeq_level_document document = {.model = plan->model,
                                                 .statistics = plan->statistics[0] ? plan->statistics : NULL,
                                                 .budget = json_object_get(plan->document, "budget"),
                                                 .predicted = json_object_get(plan->document, "predicted"),
                                                 .layers = json_object_get(plan->document, "layers"),
                                                 .rules = rules,
                                                 .n_rules = plan->n_rules,
                                                 .entries = plan->entries,
                                                 .n_entries = plan->n_entries};
    char *text = moeq_level_plan_text(&document, NULL);
    fuzz_require(text && !moeq_level_plan_parse(&again, text, strlen(text), NULL));
    fuzz_require(again.n_entries == plan->n_entries && again.n_rules == plan->n_rules);
    for (size_t i = 0; i < plan->n_entries; i++) {
        const struct moeq_level_entry *a = &plan->entries[i], *b = &again.entries[i];
        fuzz_require(strcmp(a->name, b->name) == 0 && a->keep == b->keep);
        fuzz_require(a->keep || moeq_format_equal(a->format, b->format));
        fuzz_require(same_number(a->tokens, b->tokens) && same_number(a->damage, b->damage));
    }
    moeq_level_plan_close(&again);
    free(text);
    free(rules);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct moeq_level_plan plan;
    struct moeq_error err = {0};
    const enum moeq_status status = moeq_level_plan_parse(&plan, data, n, &err);
    fuzz_require_error(status, &err);
    fuzz_require(!status || status == MOEQ_USAGE || status == MOEQ_DAMAGED || status == MOEQ_UNSUPPORTED);
    if (status)
        return 0;
    for (size_t i = 0; i < plan.n_entries; i++) {
        fuzz_require(moeq_level_plan_find(&plan, plan.entries[i].name) == &plan.entries[i]);
        fuzz_require(i == 0 || strcmp(plan.entries[i - 1].name, plan.entries[i].name) < 0);
    }
    check_source(&plan);
    check_written(&plan);
    moeq_level_plan_close(&plan);
    return 0;
}
