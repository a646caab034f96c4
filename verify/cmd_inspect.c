#include "cmd_inspect.h"

#include "inspection.h"
#include "verb.h"

struct inspect_options {
    struct moeq_common common;
    const char *tensors;
    bool experts;
};

#define OPTION(field) offsetof(struct inspect_options, field)

static const struct moeq_option options_table[] = {
    {"tensors", 't', MOEQ_OPTION_TEXT, "GLOB", "list the tensors whose names match, '*' for all",
     OPTION(tensors), 0, 0, NULL},
    {"experts", 'e', MOEQ_OPTION_FLAG, NULL, "one line for every routed expert", OPTION(experts), 0, 0, NULL},
    MOEQ_LENIENT_OPTION,
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

static json_t *tensor_json(const struct moeq_weight *w)
{
    char text[MOEQ_FORMAT_BYTES];
    return json_pack("{s:s, s:s, s:s, s:o, s:I}", "name", w->name, "role",
                     moeq_role_name(moeq_part_role(w->id.part)), "level", moeq_format_text(w->format, text),
                     "shape", moeq_json_shape(w->shape, w->n_dims), "n_bytes", (json_int_t)w->n_bytes);
}

static void print_tensor(const struct moeq_weight *w)
{
    char text[MOEQ_FORMAT_BYTES];
    printf("%-62s %-13s %-8s %12llu bytes  [", w->name, moeq_format_text(w->format, text),
           moeq_role_name(moeq_part_role(w->id.part)), (unsigned long long)w->n_bytes);
    for (size_t d = 0; d < w->n_dims; d++)
        printf("%s%llu", d ? ", " : "", (unsigned long long)w->shape[d]);
    printf("]\n");
}

static json_t *list_tensors(const struct moeq_source *s, const char *glob, bool json)
{
    json_t *list = json ? json_array() : NULL;
    for (size_t i = 0; i < s->n_weights; i++) {
        if (!moeq_glob_match(glob, s->weights[i].name))
            continue;
        if (json)
            moeq_json_append(&list, tensor_json(&s->weights[i]));
        else
            print_tensor(&s->weights[i]);
    }
    return list;
}

/* The three matrices of an expert in one line. */
static void print_expert(const struct moeq_source *s, const struct moeq_weight *gate)
{
    static const enum moeq_part matrices[] = {MOEQ_PART_EXPERT_GATE, MOEQ_PART_EXPERT_UP,
                                              MOEQ_PART_EXPERT_DOWN};
    char name[MOEQ_NAME_BYTES], text[MOEQ_FORMAT_BYTES];
    uint64_t n_bytes = 0;
    printf("layer %3d expert %4d ", gate->id.layer, gate->id.expert);
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        const struct moeq_weight *w = moeq_source_find(
            s, moeq_name_format(matrices[i], gate->id.layer, gate->id.expert, name, sizeof name));
        printf(" %-13s", w ? moeq_format_text(w->format, text) : "missing");
        n_bytes += w ? w->n_bytes : 0;
    }
    printf(" %12llu bytes\n", (unsigned long long)n_bytes);
}

static void print_experts(const struct moeq_source *s)
{
    char name[MOEQ_NAME_BYTES];
    const struct moeq_config *c = &s->config;
    for (uint32_t layer = 0; layer < c->n_layers + c->n_mtp_layers; layer++)
        for (uint32_t e = 0; e < c->n_experts; e++) {
            const struct moeq_weight *w = moeq_source_find(
                s, moeq_name_format(MOEQ_PART_EXPERT_GATE, (int)layer, (int)e, name, sizeof name));
            if (w)
                print_expert(s, w);
        }
}

static enum moeq_status report(const struct inspect_options *o, const struct moeq_inspection *in,
                               struct moeq_error *err)
{
    if (!o->common.json) {
        moeq_inspection_print(stdout, in);
        if (in->source && o->experts)
            print_experts(in->source);
        if (in->source && o->tensors)
            list_tensors(in->source, o->tensors, false);
        return MOEQ_OK;
    }
    json_t *json = moeq_inspection_json(in);
    if (in->source && (o->tensors || o->experts))
        moeq_json_set(&json, "tensors",
                      list_tensors(in->source, o->tensors ? o->tensors : "*.mlp.experts.*", true));
    return moeq_verb_print_json(json, err);
}

/* A folder that holds only config.json. */
static enum moeq_status inspect_config(const struct inspect_options *o, const char *folder,
                                       struct moeq_error *err)
{
    struct moeq_config config;
    struct moeq_inspection inspection;
    enum moeq_status status = moeq_config_load(&config, folder, err);
    if (status)
        return status;
    moeq_inspection_take(&inspection, &config, NULL);
    return report(o, &inspection, err);
}

static enum moeq_status inspect_source(const struct inspect_options *o, const char *src,
                                       struct moeq_error *err)
{
    struct moeq_source source;
    struct moeq_inspection inspection;
    enum moeq_status status = moeq_source_open_as(&source, src, moeq_verb_strictness(&o->common), err);
    if (status)
        return status;
    moeq_inspection_take(&inspection, &source.config, &source);
    status = report(o, &inspection, err);
    moeq_source_close(&source);
    return status;
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    struct moeq_place place;
    (void)n_positional;
    enum moeq_status status = moeq_place_open(&place, positional[0], err);
    if (!status)
        status = moeq_checkpoint_is_bare(place.path) ? inspect_config(options, place.path, err)
                                                     : inspect_source(options, positional[0], err);
    moeq_place_close(&place);
    return status;
}

const struct moeq_verb moeq_verb_inspect = {
    .name = "inspect",
    .arguments = "SRC|PKG",
    .summary = "what is in it: architecture, parameters, cache, tensors",
    .details =
        "Reads config.json and headers, no tensor data. A folder that holds only config.json is inspected by "
        "that alone: total and active parameters, key-value cache, tensors of the release.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 1,
    .options_size = sizeof(struct inspect_options),
    .run = run,
};
