#include "planner.h"

#include "ladder.h"
#include "repack.h"

#include <math.h>
#include <stdlib.h>

#define LONGEST_HOW "in sequence, corrected, float32" /* of cmd_quantize.c: its bytes are in the manifest */

/* ---- rules of the other matrices ---- */

static const char *const other_rules[] = {"attn=int8-g128", "shared=int8-g128", "dense=int8-g128",
                                          "head=int8-g128"};

static bool in_mtp(const struct moeq_planner *p, const struct moeq_weight *w)
{
    return w->id.layer >= 0 && (uint32_t)w->id.layer >= p->source->config.n_layers;
}

/* Whether something of more than 8 bits is left that the rule would name. */
static bool is_needed(const struct moeq_planner *p, const struct moeq_plan *plan,
                      const struct moeq_rule *rule)
{
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct moeq_plan_item *item = &plan->items[i];
        const struct moeq_weight *w = item->weight;
        const bool named = rule->role == MOEQ_ROLE_MTP
                               ? in_mtp(p, w)
                               : !in_mtp(p, w) && moeq_part_role(w->id.part) == rule->role;
        if (named && !item->by_rule && !item->native && moeq_part_quantizable(w->id.part) &&
            w->format.level->bits > 8)
            return true;
    }
    return false;
}

static enum moeq_status add_other_rules(struct moeq_planner *p, const struct moeq_plan *plan,
                                        struct moeq_error *err)
{
    const struct moeq_format defaults = {.group = 128};
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < sizeof other_rules / sizeof *other_rules; i++) {
        struct moeq_rule rule;
        status = moeq_rule_parse(other_rules[i], defaults, &rule, err);
        if (!status && is_needed(p, plan, &rule))
            status = moeq_rules_append(p->rules, other_rules[i], defaults, err);
    }
    return status;
}

/* ---- items ---- */

static bool is_chosen_for(const struct moeq_planner *p, const struct moeq_plan_item *item)
{
    return moeq_part_role(item->weight->id.part) == MOEQ_ROLE_EXPERTS && !in_mtp(p, item->weight) &&
           !item->by_rule;
}

static enum moeq_status allocate(struct moeq_planner *p, size_t n, struct moeq_error *err)
{
    const size_t n_choices = p->n_levels + 1;
    p->weights = moeq_calloc(n, sizeof *p->weights, err);
    p->groups = moeq_calloc(n, sizeof *p->groups, err);
    p->tokens = moeq_calloc(n, sizeof *p->tokens, err);
    p->importance = moeq_calloc(n, sizeof *p->importance, err);
    p->n_bytes = moeq_calloc(n * n_choices, sizeof *p->n_bytes, err);
    p->errors = moeq_calloc(n * n_choices, sizeof *p->errors, err);
    p->steps = moeq_calloc(n * (p->n_levels - p->n_plain), sizeof *p->steps, err);
    return p->weights && p->groups && p->tokens && p->importance && p->n_bytes && p->errors && p->steps
               ? MOEQ_OK
               : MOEQ_OVER_MEMORY;
}

static size_t layer_index(const struct moeq_planner *p, int layer)
{
    size_t n = 0;
    for (int l = 0; l < layer; l++)
        n += moeq_config_layer_is_moe(&p->source->config, (uint32_t)l);
    return n;
}

static uint64_t bytes_of_bits(const struct moeq_weight *w, double bits)
{
    return (uint64_t)(bits / 8 * (double)w->rows * (double)w->cols);
}

/* What a matrix takes and loses on the rungs of level ec; `columns` are those of its measurements from the
 * first anchor on. */
static void add_rungs(struct moeq_planner *p, size_t i, const struct moeq_damage_layer *l, size_t columns)
{
    const size_t n_choices = p->n_levels + 1, n_rungs = p->n_levels - p->n_plain;
    for (size_t r = 0; r < n_rungs; r++) {
        const double bits = (double)p->levels[p->n_plain + r].bits;
        const size_t choice = i * n_choices + p->n_plain + r;
        moeq_ladder_place(l->bits + columns, l->steps + columns, l->errors + columns, bits,
                          &p->steps[i * n_rungs + r], &p->errors[choice]);
        p->n_bytes[choice] = bytes_of_bits(p->weights[i], bits);
    }
}

static enum moeq_status add_item(struct moeq_planner *p, const struct moeq_weight *w, struct moeq_error *err)
{
    const size_t i = p->n_items++, n_choices = p->n_levels + 1;
    const size_t layer = layer_index(p, w->id.layer),
                 kind = (size_t)((int)w->id.part - (int)MOEQ_PART_EXPERT_GATE);
    const size_t at = MOEQ_EXPERT_KINDS * (size_t)w->id.expert + kind;
    const struct moeq_damage_layer *l = p->measured ? &p->measured->layers[layer] : NULL;
    enum moeq_status status = MOEQ_OK;
    p->weights[i] = w;
    p->n_weights += w->rows * w->cols;
    p->groups[i] = (uint32_t)(layer * MOEQ_EXPERT_KINDS + kind);
    p->tokens[i] = l ? l->tokens[at] : NAN;
    p->importance[i] = l ? l->importance[at] : NAN;
    const double *errors = l ? l->errors + at * p->measured->n_columns : NULL;
    for (size_t k = 0; !status && k < n_choices; k++) {
        uint64_t n_bytes, *to = &p->n_bytes[i * n_choices + k];
        if (k >= p->n_plain && k < p->n_levels)
            continue;
        status =
            moeq_packed_size(k < p->n_levels ? p->levels[k] : w->format, w->rows, w->cols, &n_bytes, to, err);
        if (k < p->n_levels && p->levels[k].level->is_coded)
            *to = bytes_of_bits(w, (double)p->levels[k].bits);
        p->errors[i * n_choices + k] = k == p->n_levels ? 0 : errors ? errors[k] : INFINITY;
    }
    if (!status && p->n_levels > p->n_plain)
        add_rungs(p, i, l, at * p->measured->n_columns + p->n_plain);
    return status;
}

static enum moeq_status add_items(struct moeq_planner *p, const struct moeq_plan *plan,
                                  struct moeq_error *err)
{
    enum moeq_status status = allocate(p, plan->n_items, err);
    for (size_t i = 0; !status && i < plan->n_items; i++)
        if (is_chosen_for(p, &plan->items[i]))
            status = add_item(p, plan->items[i].weight, err);
    if (!status && !p->n_items) {
        status =
            moeq_fail(err, MOEQ_USAGE, "rules name all matrices of the experts: there is nothing to plan");
        moeq_error_hint(err, "use moeq convert, or drop a rule");
    }
    return status;
}

enum moeq_status moeq_planner_init(struct moeq_planner *planner, const struct moeq_source *source,
                                   const struct moeq_statistics *statistics,
                                   const struct moeq_measured *measured, const struct moeq_format *levels,
                                   size_t n_levels, bool has_ec, struct moeq_rules *rules,
                                   struct moeq_error *err)
{
    struct moeq_planner *p = planner;
    struct moeq_plan plan;
    *p = (struct moeq_planner){.source = source,
                               .statistics = statistics,
                               .measured = measured,
                               .n_plain = n_levels,
                               .n_levels = n_levels + (has_ec ? MOEQ_LADDER_RUNGS : 0),
                               .rules = rules};
    const struct moeq_plan_request request = {.rules = rules->rules, .n_rules = rules->n};
    if (!(p->levels = moeq_calloc(p->n_levels, sizeof *p->levels, err)))
        return MOEQ_OVER_MEMORY;
    for (size_t k = 0; k < p->n_levels; k++)
        p->levels[k] = k < n_levels ? levels[k] : moeq_ladder_rung(k - n_levels);
    enum moeq_status status = moeq_plan_make(&plan, source, &request, err);
    if (status)
        return status;
    status = add_other_rules(p, &plan, err);
    if (!status)
        status = add_items(p, &plan, err);
    moeq_plan_free(&plan);
    if (status || !measured)
        return status;
    p->forecast = (struct moeq_forecast){.n_groups = measured->n_layers * MOEQ_EXPERT_KINDS,
                                         .n_items = p->n_items,
                                         .n_choices = p->n_levels + 1,
                                         .gains = measured->gains,
                                         .groups = p->groups,
                                         .n_bytes = p->n_bytes,
                                         .errors = p->errors};
    return moeq_forecaster_init(&p->forecaster, &p->forecast, err);
}

void moeq_planner_free(struct moeq_planner *planner)
{
    moeq_forecaster_free(&planner->forecaster);
    free(planner->levels);
    free(planner->steps);
    free(planner->weights);
    free(planner->groups);
    free(planner->tokens);
    free(planner->importance);
    free(planner->n_bytes);
    free(planner->errors);
    *planner = (struct moeq_planner){0};
}

/* ---- level ec ---- */

/* Of a rung: its step, and the bits that this is known to give. */
static struct moeq_format format_of(const struct moeq_planner *p, size_t item, uint32_t choice)
{
    struct moeq_format format = p->levels[choice];
    if (!moeq_planner_is_ec(p, choice))
        return format;
    const double n = (double)p->weights[item]->rows * (double)p->weights[item]->cols;
    format.step = (float)*moeq_planner_step(p, item, choice);
    format.bits = (float)(8 * ((double)p->n_bytes[item * (p->n_levels + 1) + choice] + 0.5) / n);
    format.bits = fminf(fmaxf(format.bits, MOEQ_LEAST_EC_BITS), MOEQ_MOST_EC_BITS); /* as a PLAN may say */
    return format;
}

size_t moeq_planner_column(const struct moeq_planner *planner, size_t choice)
{
    const size_t last = moeq_planner_columns(planner) - 1;
    return choice >= planner->n_levels ? last : choice < planner->n_plain ? choice : planner->n_plain;
}

size_t moeq_planner_columns(const struct moeq_planner *planner)
{
    return planner->n_plain + (planner->n_levels > planner->n_plain) + 1;
}

const char *moeq_planner_column_name(const struct moeq_planner *planner, size_t column,
                                     char text[MOEQ_FORMAT_BYTES])
{
    if (column + 1 == moeq_planner_columns(planner))
        return "keep";
    return column < planner->n_plain ? moeq_format_text(planner->levels[column], text) : moeq_level_ec.name;
}

/* ---- the package ---- */

json_t *moeq_quantize_options(const struct moeq_level_plan *plan, const struct moeq_statistics *statistics,
                              const char *how, bool sha256)
{
    char plan_hex[MOEQ_HASH_HEX], statistics_hex[MOEQ_HASH_HEX];
    moeq_hash_hex(plan->hash, plan_hex);
    if (statistics)
        moeq_hash_hex(statistics->hash, statistics_hex);
    json_t *options = json_pack("{s:s, s:s}", "plan", plan_hex, "how", how ? how : "matrix by matrix");
    if (statistics)
        moeq_json_set(&options, "statistics", json_string(statistics_hex));
    if (sha256)
        moeq_json_set(&options, MOEQ_SHA256_KEY, json_true());
    return options;
}

/* The plan of the package as `quantize` makes it from the PLAN of these choices. */
enum moeq_status moeq_planner_package_bytes(const struct moeq_planner *planner, const uint32_t *chosen,
                                            uint64_t *n_bytes, uint64_t *n_planned, struct moeq_error *err)
{
    const struct moeq_planner *p = planner;
    struct moeq_level_entry *entries = moeq_calloc(p->n_items, sizeof *entries, err);
    struct moeq_level_plan levels;
    struct moeq_plan plan;
    char zeros[MOEQ_HASH_HEX];
    size_t n_files;
    if (!entries)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = moeq_planner_entries(p, chosen, entries, err);
    moeq_hash_hex((struct moeq_hash){{0}}, zeros);
    const struct moeq_level_document document = {.model = zeros,
                                                 .rules = (const char *const *)p->rules->texts,
                                                 .n_rules = p->rules->n,
                                                 .entries = entries,
                                                 .n_entries = p->n_items};
    char *text = status ? NULL : moeq_level_plan_text(&document, err);
    status = text ? moeq_level_plan_parse(&levels, text, strlen(text), err) : MOEQ_OVER_MEMORY;
    free(text);
    free(entries);
    if (status)
        return status;
    const struct moeq_plan_request request = {.levels = &levels, .statistics = p->statistics};
    status = moeq_plan_make(&plan, p->source, &request, err);
    json_t *options = status ? NULL : moeq_quantize_options(&levels, p->statistics, LONGEST_HOW, false);
    if (!status && !options)
        status = moeq_fail_alloc(err, 0);
    if (options) {
        status = moeq_repack_bytes(&plan, options, n_bytes, &n_files, err);
        *n_planned = 0;
        for (size_t i = 0; i < plan.n_items; i++)
            if (moeq_level_plan_find(&levels, plan.items[i].weight->name))
                *n_planned += plan.items[i].n_bytes;
        moeq_plan_free(&plan);
    }
    json_decref(options);
    moeq_level_plan_close(&levels);
    return status;
}

/* ---- choosing ---- */

/* The smallest choice for each item. */
static void choose_least(const struct moeq_planner *p, uint32_t *chosen)
{
    const size_t n = p->n_levels + 1;
    for (size_t i = 0; i < p->n_items; i++) {
        chosen[i] = (uint32_t)p->n_levels; /* to keep the bits can always be had */
        for (uint32_t k = 0; k < p->n_levels; k++)
            if (isfinite(p->errors[i * n + k]) && p->n_bytes[i * n + k] < p->n_bytes[i * n + chosen[i]])
                chosen[i] = k;
    }
}

static enum moeq_status too_small(uint64_t budget, uint64_t least, bool of_package, uint64_t n_weights,
                                  struct moeq_error *err)
{
    moeq_fail(err, MOEQ_USAGE, "a budget of %llu bytes is too small: the least is %llu",
              (unsigned long long)budget, (unsigned long long)least);
    if (of_package)
        moeq_error_hint(err, "give more, or --levels with smaller ones");
    else
        moeq_error_hint(err, "give at least %.4fbpw, or --levels with smaller ones",
                        ceil((double)least * 8e4 / (double)n_weights) / 1e4);
    return MOEQ_USAGE;
}

enum moeq_status moeq_planner_choose(struct moeq_planner *planner, struct moeq_plan_budget budget,
                                     uint32_t *chosen, struct moeq_error *err)
{
    enum { TIMES = 12 };
    struct moeq_planner *p = planner;
    uint64_t rest = 0, n_bytes = 0, n_planned;
    enum moeq_status status = MOEQ_OK;
    choose_least(p, chosen);
    const uint64_t least = moeq_forecast_bytes(&p->forecast, chosen);
    if (!budget.of_package && budget.n_bytes < least)
        return too_small(budget.n_bytes, least, false, p->n_weights, err);
    if (!budget.of_package)
        return moeq_forecaster_plan(&p->forecaster, budget.n_bytes, chosen, err);
    /* What is not the items' bytes depends a little on what they are called: their levels stand in manifest.
     */
    for (int i = 0; !status && i < TIMES; i++) {
        status = moeq_planner_package_bytes(p, chosen, &n_bytes, &n_planned, err);
        if (status || (i && n_bytes <= budget.n_bytes))
            return status;
        if (!i && n_bytes > budget.n_bytes)
            return too_small(budget.n_bytes, n_bytes, true, p->n_weights, err);
        const uint64_t more = n_bytes - moeq_forecast_bytes(&p->forecast, chosen);
        rest = moeq_larger(rest, more) + (i > 2 ? 64 * (uint64_t)i : 0);
        if (budget.n_bytes < rest + least) { /* only the least is known to fit */
            choose_least(p, chosen);
            return MOEQ_OK;
        }
        status = moeq_forecaster_plan(&p->forecaster, budget.n_bytes - rest, chosen, err);
    }
    return status ? status
                  : moeq_fail(err, MOEQ_BUG, "no plan of %llu bytes was found",
                              (unsigned long long)budget.n_bytes);
}

enum moeq_status moeq_planner_entries(const struct moeq_planner *planner, const uint32_t *chosen,
                                      struct moeq_level_entry *entries, struct moeq_error *err)
{
    const struct moeq_planner *p = planner;
    const size_t n_groups = p->forecast.n_groups;
    double *errors = p->measured ? moeq_calloc(2 * n_groups, sizeof *errors, err) : NULL;
    if (p->measured && !errors)
        return MOEQ_OVER_MEMORY;
    double *parts = errors ? errors + n_groups : NULL;
    if (errors)
        moeq_forecast_kld(&p->forecast, chosen, parts, errors);
    for (size_t i = 0; i < p->n_items; i++) {
        const uint32_t k = chosen[i], g = p->groups[i];
        const double error = p->errors[i * (p->n_levels + 1) + k];
        entries[i] = (struct moeq_level_entry){.name = p->weights[i]->name,
                                               .keep = k == p->n_levels,
                                               .tokens = p->tokens[i],
                                               .importance = p->importance[i],
                                               .error = errors ? error : NAN,
                                               .damage = NAN};
        if (k < p->n_levels)
            entries[i].format = format_of(p, i, k);
        if (errors)
            entries[i].damage = errors[g] > 0 ? parts[g] * error / errors[g] : 0;
    }
    free(errors);
    return MOEQ_OK;
}
