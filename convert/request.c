#include "request.h"

#include <stdlib.h>

static enum moeq_status take(struct moeq_rules *rules, char *text, struct moeq_format defaults,
                             struct moeq_error *err)
{
    struct moeq_rule *more = NULL;
    char **texts = NULL;
    if (text && (more = realloc(rules->rules, (rules->n + 1) * sizeof *more)))
        rules->rules = more;
    if (more && (texts = realloc(rules->texts, (rules->n + 1) * sizeof *texts)))
        rules->texts = texts;
    if (!texts) {
        free(text);
        return moeq_fail_alloc(err, rules->n);
    }
    rules->texts[rules->n] = text;
    return moeq_rule_parse(text, defaults, &rules->rules[rules->n++], err);
}

enum moeq_status moeq_rules_append(struct moeq_rules *rules, const char *text, struct moeq_format defaults,
                                   struct moeq_error *err)
{
    return take(rules, strdup(text), defaults, err);
}

enum moeq_status moeq_rules_parse(struct moeq_rules *rules, const struct moeq_list *given,
                                  struct moeq_format defaults, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    *rules = (struct moeq_rules){0};
    for (size_t i = 0; i < given->n_items; i++)
        for (const char *p = given->items[i]; !status && p;) {
            const char *comma = strchr(p, ',');
            status = take(rules, comma ? strndup(p, (size_t)(comma - p)) : strdup(p), defaults, err);
            p = comma ? comma + 1 : NULL;
        }
    return status;
}

enum moeq_status moeq_rules_spell_out(struct moeq_rules *rules, struct moeq_error *err)
{
    for (size_t i = 0; i < rules->n; i++) {
        struct moeq_rule *rule = &rules->rules[i];
        char level[MOEQ_FORMAT_BYTES] = "keep", text[sizeof rule->key + sizeof level + 2];
        if (!rule->keep)
            moeq_format_text(rule->format, level);
        snprintf(text, sizeof text, "%s=%s", rule->key, level);
        char *copy = strdup(text);
        if (!copy)
            return moeq_fail_alloc(err, sizeof text);
        free(rules->texts[i]);
        rules->texts[i] = copy;
        rule->text = copy;
    }
    return MOEQ_OK;
}

void moeq_rules_free(struct moeq_rules *rules)
{
    for (size_t i = 0; i < rules->n; i++)
        free(rules->texts[i]);
    free(rules->texts);
    free(rules->rules);
    *rules = (struct moeq_rules){0};
}

enum moeq_status moeq_statistics_open_for(struct moeq_statistics *statistics, const char *path,
                                          const struct moeq_source *source, struct moeq_error *err)
{
    char model[MOEQ_HASH_HEX];
    enum moeq_status status = moeq_statistics_open(statistics, path, err);
    if (status)
        return status;
    status = moeq_statistics_check(statistics, err);
    if (!status)
        status = moeq_statistics_model(source, model, err);
    if (!status && strcmp(model, statistics->model) != 0) {
        status = moeq_fail(err, MOEQ_USAGE, "statistics of another model, or of another form of this one");
        moeq_error_in_file(err, path);
        moeq_error_hint(err, "calibrate %s", source->path);
    }
    if (status)
        moeq_statistics_close(statistics);
    return status;
}

void moeq_statistics_warn(const struct moeq_statistics *statistics, const struct moeq_source *source,
                          const char *verb)
{
    const uint64_t n = moeq_statistics_tokens(statistics);
    if (n < 4ull * source->config.hidden)
        fprintf(
            stderr,
            "moeq %s: note: statistics of %llu tokens; below 4 times the width of %u they can do more harm "
            "than good\n",
            verb, (unsigned long long)n, (unsigned)source->config.hidden);
}
