#include "cmd_pack.h"

#include "pack.h"
#include "place.h"
#include "verb.h"

struct pack_options {
    struct moeq_common common;
    const char *out;
    bool force;
};

#define OPTION(field) offsetof(struct pack_options, field)

static const struct moeq_option options_table[] = {
    {"output", 'o', MOEQ_OPTION_TEXT, "FILE", "the tar, usually NAME.tar", OPTION(out), 0, 0, NULL},
    {"force", 'f', MOEQ_OPTION_FLAG, NULL, "replace a file that is there, once the new one is complete",
     OPTION(force), 0, 0, NULL},
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

static enum moeq_status report(const struct pack_options *o, const char *package,
                               const struct moeq_pack_result *result, double seconds, struct moeq_error *err)
{
    if (o->common.json)
        return moeq_verb_print_json(json_pack("{s:s, s:i, s:s, s:s, s:I, s:I, s:{s:f, s:I}}", "moeq", "pack",
                                              "version", 1, "package", package, "output", o->out, "n_bytes",
                                              (json_int_t)result->n_bytes, "n_files",
                                              (json_int_t)result->n_files, "timing", "seconds", seconds,
                                              "peak_memory_bytes", (json_int_t)moeq_peak_memory()),
                                    err);
    char size[MOEQ_SIZE_TEXT], peak[MOEQ_SIZE_TEXT];
    printf("%s: %zu files, %s, %.1f s, peak memory %s\n", o->out, result->n_files,
           moeq_size_text((double)result->n_bytes, size), seconds,
           moeq_size_text((double)moeq_peak_memory(), peak));
    return MOEQ_OK;
}

static enum moeq_status pack_package(const struct pack_options *o, const char *folder, struct moeq_error *err)
{
    struct moeq_package package;
    struct moeq_pack_result result;
    const double begin = moeq_clock();
    enum moeq_status status = moeq_package_open(&package, folder, err);
    if (status)
        return status;
    struct moeq_pack pack = {.package = &package, .folder = folder, .out = o->out, .force = o->force};
    pack.progress = moeq_progress_start("pack", "bytes", moeq_pack_work(&package), o->common.quiet);
    status = moeq_pack_run(&pack, &result, err);
    moeq_progress_end(pack.progress);
    if (!status)
        status = report(o, folder, &result, moeq_clock() - begin, err);
    moeq_package_close(&package);
    return status;
}

/* What is written is a tar as it is, so that its parts can be read in place. */
static enum moeq_status check_name(const char *out, struct moeq_error *err)
{
    static const char *const others[] = {".gz", ".tgz", ".zst", ".xz", ".bz2", ".zip"};
    enum moeq_status status = MOEQ_OK;
    if (!out)
        status = moeq_fail(err, MOEQ_USAGE, "where to? -o is missing");
    else if (strcmp(out, "-") == 0)
        status = moeq_fail(err, MOEQ_USAGE,
                           "the tar is read back before it gets its name: it cannot go to a pipe");
    for (size_t i = 0; !status && i < sizeof others / sizeof *others; i++)
        if (moeq_has_suffix(out, others[i]))
            status =
                moeq_fail(err, MOEQ_USAGE, "what is written is an uncompressed tar, not a %s", others[i]);
    moeq_error_hint(err, "give -o NAME.tar");
    return status;
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    const struct pack_options *o = options;
    struct moeq_place place;
    (void)n_positional;
    enum moeq_status status = check_name(o->out, err);
    if (status)
        return status;
    status = moeq_place_open(&place, positional[0], err);
    if (!status)
        status = pack_package(o, place.path, err);
    moeq_place_close(&place);
    return status;
}

const struct moeq_verb moeq_verb_pack = {
    .name = "pack",
    .arguments = "PKG -o FILE",
    .summary = "a package as one uncompressed tar, which every verb reads like the folder",
    .details =
        "Every byte is copied under its hash, and the tar is read back under every hash before it gets its "
        "name. The manifest comes first. No time, owner or folder name is in it: equal packages give equal "
        "tars. 'tar -xf NAME.tar -C FOLDER' gives the folder back.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 1,
    .options_size = sizeof(struct pack_options),
    .run = run,
};
