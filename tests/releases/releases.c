/* moeq on the header sets of real releases: what `moeq inspect` counts and what `moeq convert --dry-run`
 * plans, against the published figures; and how much memory they need for it.
 *
 * Usage: releases               the tests; MOEQ and MOEQ_PEAK name the programs
 *        releases NAME DIR      writes one release's header set into DIR, to look at */
#include "unit.h"

#include "../fuzz/fixture.h"
#include "release.h"

#include <dirent.h>
#include <inttypes.h>
#include <jansson.h>
#include <time.h>

#define MAX_MEMORY (300ull << 20) /* of inspecting or planning a release, R1 above all */
#define MAX_SPARE  1000           /* a lossless package is at most so much smaller part larger */

static const char *moeq, *peak;
static bool is_sanitized;

struct outcome {
    int status;
    double seconds;
    uint64_t peak_bytes;
    char *output; /* standard output; freed by the caller */
};

/* Runs moeq under the program that measures its memory. */
static struct outcome run(const char *dir, const char *arguments)
{
    struct outcome o = {0};
    struct timespec begin, end;
    char command[4096];
    size_t n;
    snprintf(command, sizeof command, "'%s' '%s/peak' '%s' %s >'%s/output'", peak, dir, moeq, arguments, dir);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    o.status = system(command);
    clock_gettime(CLOCK_MONOTONIC, &end);
    o.seconds = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    char *text = fixture_read(dir, "peak", &n);
    o.peak_bytes = strtoull(text, NULL, 10);
    free(text);
    o.output = fixture_read(dir, "output", &n);
    return o;
}

static void report(const char *what, const struct outcome *o)
{
    printf("\n    %-22s %5.2f s, peak memory %6.1f MB", what, o->seconds, (double)o->peak_bytes / 1e6);
    CU_ASSERT_EQUAL(o->status, 0);
    if (!is_sanitized)
        CU_ASSERT(o->peak_bytes > 1u << 20 && o->peak_bytes <= MAX_MEMORY);
}

static uint64_t number(const json_t *json, const char *object, const char *key)
{
    const json_t *value = json_object_get(object ? json_object_get(json, object) : json, key);
    CU_ASSERT(json_is_integer(value));
    return (uint64_t)json_integer_value(value);
}

/* 0: nothing is stated. */
static void expect(const char *what, uint64_t found, uint64_t stated)
{
    if (!stated)
        return;
    if (found != stated)
        printf("\n    %s: %" PRIu64 ", the reference says %" PRIu64, what, found, stated);
    CU_ASSERT_EQUAL(found, stated);
}

/* From config.json alone: no more than headers and manifest off, at every level. */
static void check_estimate(const char *dir, const json_t *exact)
{
    char arguments[FIXTURE_PATH + 64], folder[FIXTURE_PATH], release[FIXTURE_PATH];
    size_t n, n_rows = json_array_size(exact);
    fixture_need(mkdir(fixture_path(folder, dir, "bare"), 0755) == 0, folder);
    char *config = fixture_read(fixture_path(release, dir, "release"), "config.json", &n);
    fixture_write(folder, "config.json", config, n);
    free(config);
    snprintf(arguments, sizeof arguments, "inspect '%s' --json", folder);
    struct outcome o = run(dir, arguments);
    report("inspect config.json", &o);
    json_t *json = json_loads(o.output, 0, NULL);
    const json_t *rows = json_object_get(json_object_get(json, "as_package"), "levels");
    CU_ASSERT(n_rows >= 6 && json_array_size(rows) == n_rows);
    for (size_t i = 0; i < n_rows; i++) {
        const double stated = (double)number(json_array_get(exact, i), NULL, "bytes");
        const double estimated = (double)number(json_array_get(rows, i), NULL, "bytes");
        CU_ASSERT(estimated < stated && stated - estimated < stated / MAX_SPARE);
    }
    json_decref(json);
    free(o.output);
}

static void check_inspect(const struct release *r, const char *dir)
{
    char arguments[FIXTURE_PATH + 64];
    snprintf(arguments, sizeof arguments, "inspect '%s/release' --json", dir);
    struct outcome o = run(dir, arguments);
    report("inspect", &o);
    json_t *json = json_loads(o.output, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(json);
    expect("parameters", number(json, "parameters", "total"), r->total);
    expect("active parameters", number(json, "parameters", "active"), r->active);
    expect("MTP parameters", number(json, "parameters", "mtp"), r->mtp);
    expect("tensors by config.json", number(json, "parameters", "release_tensors"), r->tensors_in_files);
    expect("tensors", number(json, NULL, "file_tensors"), r->tensors_in_files);
    expect("bytes of tensors", number(json, NULL, "tensor_bytes"), r->tensor_bytes);
    expect("shards", number(json, NULL, "files"), r->shards);
    expect("bytes of cache", number(json, "parameters", "kv_bytes_per_token"), r->cache_bytes);
    CU_ASSERT(json_is_true(json_object_get(json, "runs")));
    CU_ASSERT(number(json, NULL, "file_bytes") > r->tensor_bytes);
    free(o.output);
    check_estimate(dir, json_object_get(json_object_get(json, "as_package"), "levels"));
    json_decref(json);
}

/* A lossless package: the tensors' bytes, the headers and hashes, and nothing else. */
static void check_dry_run(const struct release *r, const char *dir)
{
    char arguments[FIXTURE_PATH + 64];
    snprintf(arguments, sizeof arguments, "convert '%s/release' --dry-run", dir);
    struct outcome o = run(dir, arguments);
    report("convert --dry-run", &o);
    uint64_t n_bytes = 0;
    unsigned n_files = 0;
    const char *line = strstr(o.output, "the package would have");
    CU_ASSERT_PTR_NOT_NULL_FATAL(line);
    CU_ASSERT_EQUAL(
        sscanf(line, "the package would have %" SCNu64 " bytes (%*[^)]) in %u files", &n_bytes, &n_files), 2);
    CU_ASSERT(n_bytes > r->tensor_bytes && n_bytes - r->tensor_bytes < r->tensor_bytes / MAX_SPARE);
    /* layers, embedding, head, MTP layers if there are any, config.json, manifest.json */
    expect("files of the package", n_files, r->layers + 2 + (r->mtp_layers > 0) + 2);
    free(o.output);
}

/* The generated set itself: what its index promises, and what its files hold. */
static void check_sums(const struct release *r, const char *folder)
{
    size_t n;
    uint64_t n_bytes = 0;
    char *text = fixture_read(folder, "model.safetensors.index.json", &n);
    json_t *index = json_loads(text, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(index);
    expect("bytes of the index", number(index, "metadata", "total_size"), r->tensor_bytes);
    expect("tensors of the index", json_object_size(json_object_get(index, "weight_map")),
           r->tensors_in_files);
    json_decref(index);
    free(text);
    DIR *files = opendir(folder);
    CU_ASSERT_PTR_NOT_NULL_FATAL(files);
    for (struct dirent *entry; (entry = readdir(files));) {
        char path[FIXTURE_PATH];
        struct stat info;
        if (strstr(entry->d_name, ".safetensors") && !strstr(entry->d_name, ".json") &&
            stat(fixture_path(path, folder, entry->d_name), &info) == 0)
            n_bytes += (uint64_t)info.st_size;
    }
    closedir(files);
    CU_ASSERT(n_bytes > r->tensor_bytes && n_bytes - r->tensor_bytes < r->tensor_bytes / MAX_SPARE);
}

static void check_release(const struct release *r)
{
    char dir[FIXTURE_PATH], folder[FIXTURE_PATH];
    fixture_make(dir);
    fixture_path(folder, dir, "release");
    fixture_need(mkdir(folder, 0755) == 0, folder);
    fixture_need(release_write(r, folder), r->name);
    printf("\n  %s", r->name);
    check_sums(r, folder);
    check_inspect(r, dir);
    check_dry_run(r, dir);
    fixture_remove(dir);
}

static void test_releases(void)
{
    for (const struct release *r = releases; r->name; r++)
        check_release(r);
}

static int write_one(const char *name, const char *dir)
{
    for (const struct release *r = releases; r->name; r++)
        if (strcmp(r->name, name) == 0)
            return release_write(r, dir) ? 0 : 1;
    fprintf(stderr, "there is no release %s\n", name);
    return 2;
}

int main(int argc, char **argv)
{
    static const struct unit_test tests[] = {{"published figures", test_releases}, {NULL, NULL}};
    if (argc == 3)
        return write_one(argv[1], argv[2]);
    const char *sanitizers = getenv("MOEQ_SANITIZED");
    moeq = getenv("MOEQ");
    peak = getenv("MOEQ_PEAK");
    is_sanitized = sanitizers && *sanitizers;
    fixture_need(moeq && peak, "MOEQ and MOEQ_PEAK");
    return unit_main("releases", tests);
}
