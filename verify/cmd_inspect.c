#include "cmd_inspect.h"

#include "inspection.h"
#include "tensor_list.h"
#include "verb.h"

#define METADATA_BYTES 72 /* of a value that are printed */

struct inspect_options {
    struct moeq_common common;
    const char *tensors;
    bool experts;
};

#define OPTION(field) offsetof(struct inspect_options, field)

static const struct moeq_option options_table[] = {
    {"tensors", 't', MOEQ_OPTION_TEXT, "GLOB",
     "list the tensors whose names match; all of them where no GLOB follows", OPTION(tensors), 0, 0, "*"},
    {"experts", 'e', MOEQ_OPTION_FLAG, NULL, "one line for every routed expert", OPTION(experts), 0, 0, NULL},
    MOEQ_LENIENT_OPTION,
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

static unsigned n_jobs(const struct inspect_options *o)
{
    return o->common.jobs ? (unsigned)o->common.jobs : 1;
}

/* ---- a folder ---- */

static enum moeq_status report(const struct inspect_options *o, const struct moeq_inspection *in,
                               struct moeq_error *err)
{
    if (!o->common.json) {
        enum moeq_status status = MOEQ_OK;
        moeq_inspection_print(stdout, in);
        if (in->source && o->experts)
            status = moeq_experts_print(stdout, in->source, err);
        if (!status && in->source && o->tensors)
            moeq_weights_print(stdout, in->source, o->tensors);
        if (!in->source && (o->tensors || o->experts))
            puts("\nno tensors to list: there is only a config.json");
        return status;
    }
    json_t *json = moeq_inspection_json(in);
    if (in->source && (o->tensors || o->experts))
        moeq_json_set(&json, "tensors",
                      moeq_weights_json(in->source, o->tensors ? o->tensors : "*.mlp.experts.*"));
    return moeq_verb_print_json(json, err);
}

/* One that holds only config.json. */
static enum moeq_status inspect_config(const struct inspect_options *o, const char *folder,
                                       struct moeq_error *err)
{
    struct moeq_config config;
    struct moeq_inspection inspection;
    enum moeq_status status = moeq_config_load(&config, folder, err);
    if (!status)
        status = moeq_inspection_take(&inspection, &config, NULL, n_jobs(o), err);
    return status ? status : report(o, &inspection, err);
}

static enum moeq_status inspect_source(const struct inspect_options *o, const char *src,
                                       struct moeq_error *err)
{
    struct moeq_source source;
    struct moeq_inspection inspection;
    enum moeq_status status = moeq_source_open_as(&source, src, moeq_verb_strictness(&o->common), err);
    if (status)
        return status;
    status = moeq_inspection_take(&inspection, &source.config, &source, n_jobs(o), err);
    if (!status)
        status = report(o, &inspection, err);
    moeq_source_close(&source);
    return status;
}

/* ---- a single file ---- */

static bool is_header_file(const char *path)
{
    return moeq_has_suffix(path, ".safetensors") && !moeq_path_is_dir(path);
}

/* Values may be whole documents: JSON has them in full. */
static void print_metadata(const struct moeq_safetensors *st)
{
    for (size_t i = 0; i < st->n_metadata; i++) {
        char value[METADATA_BYTES + 1];
        size_t n = strlen(st->metadata[i].value);
        const bool cut = n > METADATA_BYTES;
        for (n = cut ? METADATA_BYTES : n; cut && n && (st->metadata[i].value[n] & 0xC0) == 0x80;)
            n--;
        memcpy(value, st->metadata[i].value, n);
        value[n] = '\0';
        printf("%-15s", i ? "" : "metadata");
        moeq_print_text(stdout, st->metadata[i].key, 0);
        printf(" = ");
        moeq_print_text(stdout, value, 0);
        printf("%s\n", cut ? "…" : "");
    }
}

/* What strict reading says to a file that lenient reading took: *line is empty where it takes it too. */
static enum moeq_status strict_verdict(const char *path, char *line, size_t capacity, struct moeq_error *err)
{
    struct moeq_checkpoint again;
    struct moeq_error problem = {0};
    line[0] = '\0';
    if (moeq_checkpoint_open_file(&again, path, MOEQ_STRICT, &problem) == MOEQ_OK) {
        moeq_checkpoint_close(&again);
        return MOEQ_OK;
    }
    if (problem.status != MOEQ_DAMAGED) {
        if (err)
            *err = problem;
        return problem.status;
    }
    problem.file[0] = problem.hint[0] = '\0';
    moeq_error_format(&problem, line, capacity);
    return MOEQ_OK;
}

static void print_file(const struct inspect_options *o, const char *path, const struct moeq_checkpoint *c,
                       const char *strictly)
{
    char size[MOEQ_SIZE_TEXT], a[32], b[32];
    const struct moeq_safetensors *st = &c->shards[0].st;
    const struct moeq_dtype_shares shares = moeq_dtype_shares_of(c);
    printf("file           ");
    moeq_print_text(stdout, path, 0);
    printf("\nbytes          %s: header %s, data %s\n", moeq_size_text((double)st->n_bytes, size),
           moeq_number_text(st->data_offset, a), moeq_number_text(st->n_bytes - st->data_offset, b));
    if (*strictly)
        printf("verdict        read leniently; not valid: %s\n", strictly);
    else
        printf("verdict        valid\n");
    print_metadata(st);
    printf("tensors        %s\n", moeq_number_text(st->n_tensors, a));
    moeq_dtype_shares_print(stdout, &shares);
    moeq_header_print(stdout, st, o->tensors ? o->tensors : "*");
}

static json_t *file_json(const struct inspect_options *o, const char *path, const struct moeq_checkpoint *c,
                         const char *strictly)
{
    const struct moeq_safetensors *st = &c->shards[0].st;
    const struct moeq_dtype_shares shares = moeq_dtype_shares_of(c);
    json_t *json =
        json_pack("{s:s, s:i, s:s, s:b, s:I, s:I, s:I, s:o, s:o, s:o}", "moeq", "inspect", "version", 1,
                  "file", path, "valid", !*strictly, "file_bytes", (json_int_t)st->n_bytes, "header_bytes",
                  (json_int_t)st->data_offset, "tensor_bytes", (json_int_t)shares.all.n_bytes, "dtypes",
                  moeq_dtype_shares_json(&shares), "metadata", moeq_safetensors_metadata_json(st), "tensors",
                  moeq_header_json(st, o->tensors ? o->tensors : "*"));
    if (*strictly)
        moeq_json_set(&json, "why_not", json_string(strictly));
    return json;
}

static enum moeq_status inspect_file(const struct inspect_options *o, const char *path,
                                     struct moeq_error *err)
{
    struct moeq_checkpoint checkpoint;
    char line[1600] = "";
    enum moeq_status status =
        moeq_checkpoint_open_file(&checkpoint, path, moeq_verb_strictness(&o->common), err);
    if (status)
        return status;
    if (o->common.lenient)
        status = strict_verdict(path, line, sizeof line, err);
    if (!status && o->common.json)
        status = moeq_verb_print_json(file_json(o, path, &checkpoint, line), err);
    else if (!status)
        print_file(o, path, &checkpoint, line);
    moeq_checkpoint_close(&checkpoint);
    return status;
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    struct moeq_place place;
    (void)n_positional;
    if (is_header_file(positional[0]))
        return inspect_file(options, positional[0], err);
    enum moeq_status status = moeq_place_open(&place, positional[0], err);
    if (!status)
        status = moeq_checkpoint_is_bare(place.path) ? inspect_config(options, place.path, err)
                                                     : inspect_source(options, positional[0], err);
    moeq_place_close(&place);
    return status;
}

const struct moeq_verb moeq_verb_inspect = {
    .name = "inspect",
    .arguments = "SRC|PKG|FILE.safetensors",
    .summary = "what is in it: architecture, parameters, cache, tensors",
    .details =
        "Reads config.json and headers, no tensor data. A folder that holds only config.json is inspected by "
        "that alone: total and active parameters, key-value cache, tensors of the release, and estimates.\n\n"
        "\"as a package\" gives, for some of the levels that 'moeq convert --level' makes, the bytes of the "
        "package and the memory that converting, and evaluating the result, would need with --jobs threads "
        "(1 if not "
        "given), the program itself not counted.\n\n"
        "Of a single .safetensors file it prints the header, and whether it is valid.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 1,
    .options_size = sizeof(struct inspect_options),
    .run = run,
};
