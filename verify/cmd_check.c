#include "cmd_check.h"

#include "check.h"
#include "download_parts.h"
#include "finding_lines.h"
#include "package.h"
#include "place.h"
#include "verb.h"

#include <stdlib.h>

struct check_options {
    struct moeq_common common;
    bool quick, strict;
};

#define OPTION(field) offsetof(struct check_options, field)

static const struct moeq_option options_table[] = {
    {"quick", 0, MOEQ_OPTION_FLAG, NULL, "structure only: read headers, sizes and names, no tensor data",
     OPTION(quick), 0, 0, NULL},
    {"strict", 0, MOEQ_OPTION_FLAG, NULL, "warnings fail the check too", OPTION(strict), 0, 0, NULL},
    MOEQ_LENIENT_OPTION,
    MOEQ_COMMON_OPTIONS,
    {NULL, 0, 0, NULL, NULL, 0, 0, 0, NULL},
};

struct checking {
    const struct check_options *options;
    const char *src;
    struct moeq_place place; /* open while its files are read; path NULL for one file */
    struct moeq_download download;
    struct moeq_check_report report;
    unsigned n_jobs;
    double seconds;
};

/* ---- text ---- */

static const char *plural(size_t n)
{
    return n == 1 ? "" : "s";
}

static void print_origin(const struct checking *c)
{
    static const char *const words[MOEQ_N_LAYOUTS] = {
        [MOEQ_LAYOUT_HUB_CACHE] = "Hugging Face cache",
        [MOEQ_LAYOUT_HUB_LOCAL] = "hf download --local-dir",
        [MOEQ_LAYOUT_MODELSCOPE] = "ModelScope",
        [MOEQ_LAYOUT_GIT] = "git clone",
        [MOEQ_LAYOUT_ARCHIVE] = "archive",
        [MOEQ_LAYOUT_PLAIN] = "plain folder",
        [MOEQ_LAYOUT_FILE] = "one file",
    };
    const struct moeq_download *d = &c->download;
    printf("%s: %s%s%s%s%s\n", c->src, words[d->layout], d->repository.path ? " of " : "",
           d->repository.path ? d->repository.name : "", *d->commit ? ", commit " : "", d->commit);
}

static void print_files(const struct moeq_check_report *r)
{
    static const char *const words[MOEQ_N_PROOFS] = {"by SHA-256", "by git SHA-1", "by structure alone",
                                                     "not checked", "wrong"};
    char size[MOEQ_SIZE_TEXT];
    printf("%zu file%s, %s", r->all.n_files, plural(r->all.n_files),
           moeq_size_text((double)r->all.n_bytes, size));
    for (size_t i = 0, n = 0; i < MOEQ_N_PROOFS; i++)
        if (r->proofs[i].n_files)
            printf("%s%zu %s (%s)", n++ ? ", " : ": ", r->proofs[i].n_files, words[i],
                   moeq_size_text((double)r->proofs[i].n_bytes, size));
    printf("\n%zu tensor%s in %zu shard%s", r->tensors.n_tensors, plural(r->tensors.n_tensors), r->n_shards,
           plural(r->n_shards));
    if (r->tensors.compared)
        printf("; %s calls for %llu", r->tensors.architecture, (unsigned long long)r->tensors.n_expected);
    printf("\n");
}

static bool is_bound_by_disk(const struct moeq_check_report *r)
{
    return r->read_seconds > r->hash_seconds;
}

static void print_rate(const struct checking *c)
{
    char size[MOEQ_SIZE_TEXT];
    const struct moeq_check_report *r = &c->report;
    if (r->n_read && c->seconds > 0)
        printf("read %s in %.1f s, %.0f MB/s with %u threads; limited by %s\n",
               moeq_size_text((double)r->n_read, size), c->seconds, (double)r->n_read / c->seconds / 1e6,
               c->n_jobs, is_bound_by_disk(r) ? "the disk" : "hashing");
}

static bool passed(const struct checking *c)
{
    return c->report.n_failed == 0 && !(c->options->strict && c->report.n_warnings);
}

/* Every byte that a loader reads is the one of the record, and there is nothing else to be known. */
static bool is_proved(const struct checking *c)
{
    const struct moeq_check_report *r = &c->report;
    return passed(c) && r->n_shards_hashed == r->n_shards && r->n_others_hashed == r->n_others &&
           r->tensors.compared && !c->download.findings.n_of_kind[MOEQ_FOUND_MIXED_COMMITS];
}

static void print_passed(const struct moeq_check_report *r)
{
    const size_t n_without = r->n_others - r->n_others_hashed;
    if (r->n_shards_hashed < r->n_shards)
        printf("verdict: nothing wrong found, as far as structure tells");
    else if (n_without)
        printf("verdict: nothing wrong found; every shard's hash is right, %zu other file%s that a loader "
               "reads %s none",
               n_without, plural(n_without), n_without == 1 ? "has" : "have");
    else
        printf("verdict: every hash is right");
    if (r->n_shards_hashed == r->n_shards && !r->tensors.compared)
        printf("; the set of tensors is not known");
}

static void print_verdict(const struct checking *c)
{
    const struct moeq_check_report *r = &c->report;
    if (r->n_failed && r->n_failed == r->n_unreadable)
        printf("verdict: none, since %zu file%s could not be read", r->n_unreadable, plural(r->n_unreadable));
    else if (r->n_failed)
        printf("verdict: FAILED, %zu problem%s", r->n_failed, plural(r->n_failed));
    else if (!passed(c))
        printf("verdict: FAILED under --strict");
    else if (is_proved(c))
        printf("verdict: whole and right");
    else
        print_passed(r);
    if (r->n_warnings)
        printf(", %zu warning%s", r->n_warnings, plural(r->n_warnings));
    printf("\n");
}

/* ---- JSON ---- */

static json_t *check_json(const struct checking *c)
{
    const struct moeq_download *d = &c->download;
    const struct moeq_check_report *r = &c->report;
    json_t *files = json_object();
    for (int i = 0; i < MOEQ_N_PROOFS; i++)
        moeq_json_set(&files, moeq_proof_name((enum moeq_proof)i),
                      json_pack("{s:I, s:I}", "files", (json_int_t)r->proofs[i].n_files, "bytes",
                                (json_int_t)r->proofs[i].n_bytes));
    json_t *json = json_pack(
        "{s:s, s:i, s:s, s:b, s:b, s:b, s:s, s:s, s:s, s:I, s:I, s:o}", "moeq", "check", "version", 1,
        "source", c->src, "passed", passed(c), "quick", c->options->quick, "strict", c->options->strict,
        "layout", moeq_layout_name(d->layout), "repository", d->repository.name, "commit", d->commit, "files",
        (json_int_t)r->all.n_files, "bytes", (json_int_t)r->all.n_bytes, "verified_by", files);
    moeq_json_set(&json, "shards", json_integer((json_int_t)r->n_shards));
    moeq_json_set(&json, "shards_hashed", json_integer((json_int_t)r->n_shards_hashed));
    moeq_json_set(&json, "others", json_integer((json_int_t)r->n_others));
    moeq_json_set(&json, "others_hashed", json_integer((json_int_t)r->n_others_hashed));
    moeq_json_set(&json, "whole_and_right", json_boolean(is_proved(c)));
    moeq_json_set(&json, "tensors", json_integer((json_int_t)r->tensors.n_tensors));
    moeq_json_set(&json, "architecture", json_string(r->tensors.architecture));
    moeq_json_set(&json, "tensors_expected",
                  r->tensors.compared ? json_integer((json_int_t)r->tensors.n_expected) : json_null());
    moeq_json_set(&json, "failed", json_integer((json_int_t)r->n_failed));
    moeq_json_set(&json, "warnings", json_integer((json_int_t)r->n_warnings));
    moeq_json_set(&json, "findings", moeq_findings_json(&d->findings));
    moeq_json_set(&json, "timing",
                  json_pack("{s:f, s:I, s:f, s:f, s:i, s:s}", "seconds", c->seconds, "bytes_read",
                            (json_int_t)r->n_read, "reading_seconds", r->read_seconds, "hashing_seconds",
                            r->hash_seconds, "threads", (int)c->n_jobs, "limited_by",
                            is_bound_by_disk(r) ? "disk" : "hashing"));
    return json;
}

/* ---- the run ---- */

static enum moeq_status report(const struct checking *c, struct moeq_error *err)
{
    const struct moeq_check_report *r = &c->report;
    enum moeq_status status = MOEQ_OK;
    if (c->options->common.json) {
        status = moeq_verb_print_json(check_json(c), err);
    } else if ((status = moeq_findings_print(&c->download.findings, err)) == MOEQ_OK) {
        print_origin(c);
        print_files(r);
        print_rate(c);
        print_verdict(c);
    }
    if (status)
        return status;
    if (r->n_failed && r->n_failed == r->n_unreadable) /* no verdict about the files: the system refused */
        return moeq_fail(err, MOEQ_IO, "%zu file%s could not be read", r->n_unreadable,
                         plural(r->n_unreadable));
    return passed(c) ? MOEQ_OK : MOEQ_CHECK_FAILED;
}

static enum moeq_status check(struct checking *c, struct moeq_error *err)
{
    const double begin = moeq_clock();
    struct moeq_pool *pool = moeq_verb_pool(&c->options->common, err);
    if (!pool)
        return MOEQ_OVER_MEMORY;
    c->n_jobs = moeq_pool_jobs(pool);
    struct moeq_progress *progress = moeq_progress_start("check", "bytes", moeq_bytes_work(&c->download),
                                                         c->options->common.quiet || c->options->quick);
    enum moeq_status status =
        moeq_check_run(&c->download, c->options->quick, pool, progress, &c->report, err);
    moeq_progress_end(progress);
    moeq_pool_join(pool);
    c->seconds = moeq_clock() - begin;
    return status;
}

static enum moeq_status open_folder(struct checking *c, struct moeq_error *err)
{
    enum moeq_status status = moeq_place_open(&c->place, c->src, err);
    if (!status && moeq_package_is_at(c->place.path)) {
        status = moeq_fail(err, MOEQ_DAMAGED, "a moeq package, not a download");
        moeq_error_in_file(err, c->src);
        moeq_error_hint(err, "check it with 'moeq verify'");
    }
    return status ? status : moeq_download_open(&c->download, c->place.path, err);
}

static enum moeq_status run(void *options, const char *const *positional, size_t n_positional,
                            struct moeq_error *err)
{
    struct checking c = {.options = options, .src = positional[0]};
    (void)n_positional;
    const bool is_file = !moeq_path_is_dir(c.src) && moeq_has_suffix(c.src, ".safetensors");
    enum moeq_status status =
        is_file ? moeq_download_open_file(&c.download, c.src, err) : open_folder(&c, err);
    c.download.strictness = c.options->common.lenient ? MOEQ_LENIENT : MOEQ_STRICT;
    if (!status)
        status = check(&c, err);
    if (!status)
        status = report(&c, err);
    moeq_download_close(&c.download);
    moeq_place_close(&c.place);
    return status;
}

const struct moeq_verb moeq_verb_check = {
    .name = "check",
    .arguments = "SRC",
    .summary = "is a download whole and right? without a network",
    .details =
        "SRC is a folder of a checkpoint, one .safetensors file, a tar or zip, or an entry of the Hugging "
        "Face "
        "cache (models--ORG--NAME, or ORG/NAME[@REVISION]). Files are compared with what the download tool "
        "left: "
        "the "
        "names of Hugging Face blobs, trees/*.json, *.metadata of hf download --local-dir, SHA256SUMS and "
        "*.sha256. Where nothing is left, only the structure is checked, and the report says so.\n\n"
        "Structure means: the index and the shards agree both ways, every header is strictly right, and the "
        "tensors are those that config.json calls for. Git LFS pointers, unfinished downloads, links that "
        "lead "
        "nowhere or out of the folder, and zeros where weights should be are recognised.\n\n"
        "All problems are listed, the most important first; the exit code is then 1. It is 3 only where "
        "there "
        "is "
        "no trace of a model, and 5 where nothing is wrong but that a file cannot be read.",
    .options = options_table,
    .n_positional_min = 1,
    .n_positional_max = 1,
    .options_size = sizeof(struct check_options),
    .run = run,
};
