#include "repack.h"

#include "interrupt.h"
#include "layer_files.h"
#include "repack_manifest.h"
#include "turns.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct job {
    const struct moeq_repack *repack;
    const struct moeq_plan *plan;
    struct moeq_plan *sized; /* the same: coded items get their sizes */
    struct moeq_provenance provenance;
    struct moeq_hash plan_hash;
    struct moeq_layer_hashes *layers; /* [n_files] */
    struct moeq_hash *segment_hashes; /* [n_segments] */
    bool *kept;                       /* [n_files] */
    struct moeq_package old;          /* the finished package that is there already, or nothing */
    bool replaces;                    /* another finished package is there, and --force was given */
    struct moeq_repack_result *result;
};

/* ---- provenance ---- */

static enum moeq_status hash_source(void *context, unsigned worker, size_t i, bool is_last,
                                    struct moeq_error *err)
{
    struct job *job = context;
    struct moeq_source_file *file = &job->provenance.sources[i];
    (void)worker;
    (void)is_last;
    char *path = moeq_provenance_path(&job->provenance, i, err);
    enum moeq_status status = path ? moeq_interrupt_check(err) : MOEQ_OVER_MEMORY;
    if (!status)
        status = moeq_sha256_file(path, file->sha256, err);
    moeq_progress_add(job->repack->progress, file->n_bytes, file->name);
    free(path);
    return status;
}

static enum moeq_status hash_sources(struct job *job, struct moeq_error *err)
{
    struct moeq_turns turns = {0};
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < job->provenance.n_sources; i++) {
        char *path = moeq_provenance_path(&job->provenance, i, err);
        status = path ? moeq_turns_add(&turns, i, path, job->provenance.sources[i].n_bytes, err)
                      : MOEQ_OVER_MEMORY;
        free(path);
    }
    if (!status)
        status = moeq_turns_run(&turns, job->repack->pool, hash_source, job, err);
    moeq_turns_free(&turns);
    return status;
}

/* Reads the source of files of the plan for its hashes alone. */
static enum moeq_status read_source(void *context, unsigned worker, uint64_t i, uint64_t end,
                                    struct moeq_error *err)
{
    struct job *job = context;
    (void)worker;
    enum moeq_status status = MOEQ_OK;
    for (; !status && i < end; i++)
        status = moeq_provenance_read(&job->provenance, &job->plan->files[i], err);
    return status;
}

/* On all threads, but in the order of the plan on one where an archive must be decompressed: see turns.h. */
static enum moeq_status for_each_file(struct job *job, moeq_pool_piece *visit, struct moeq_error *err)
{
    const size_t n = job->plan->n_files;
    const bool in_order = moeq_source_is_decompressed(job->plan->source);
    return moeq_pool_for(job->repack->pool, n, in_order ? n : 1, visit, job, err);
}

static enum moeq_status job_init(struct job *job, const struct moeq_plan *plan, bool has_sha256,
                                 struct moeq_error *err)
{
    job->plan = plan;
    enum moeq_status status = moeq_provenance_list(&job->provenance, plan, has_sha256, err);
    job->layers = moeq_calloc(plan->n_files, sizeof *job->layers, err);
    job->segment_hashes = moeq_calloc(plan->n_segments, sizeof *job->segment_hashes, err);
    job->kept = moeq_calloc(plan->n_files, sizeof *job->kept, err);
    if (!status && (!job->layers || !job->segment_hashes || !job->kept))
        status = MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < plan->n_files; i++)
        job->layers[i].segments = &job->segment_hashes[plan->files[i].first];
    return status;
}

static void job_free(struct job *job)
{
    moeq_package_close(&job->old);
    moeq_provenance_free(&job->provenance);
    free(job->layers);
    free(job->segment_hashes);
    free(job->kept);
}

static uint64_t source_bytes(const struct moeq_plan *plan, const struct moeq_plan_file *file)
{
    size_t first, n;
    uint64_t n_bytes = 0;
    moeq_plan_file_items(plan, file, &first, &n);
    for (size_t i = first; i < first + n; i++)
        n_bytes += plan->items[i].weight->n_bytes;
    return n_bytes;
}

uint64_t moeq_repack_work(const struct moeq_plan *plan, const json_t *options)
{
    const struct moeq_source *source = plan->source;
    const bool is_hashed = json_is_true(json_object_get(options, MOEQ_SHA256_KEY));
    uint64_t n = 0;
    for (size_t i = 0; is_hashed && source->is_package && i < source->package.n_files; i++)
        n += source->package.files[i].file.n_bytes;
    for (size_t i = 0; is_hashed && !source->is_package && i < source->checkpoint.n_shards; i++)
        n += source->checkpoint.shards[i].file.n_bytes;
    for (size_t i = 0; i < plan->n_files; i++)
        n += source_bytes(plan, &plan->files[i]);
    return n;
}

static uint64_t package_bytes(const struct job *job, size_t n_manifest)
{
    uint64_t n = n_manifest;
    for (size_t i = 0; i < job->plan->n_files; i++)
        n += job->plan->files[i].n_bytes;
    for (size_t i = 0; i < job->provenance.n_copies; i++)
        n += job->provenance.copies[i].n_bytes;
    return n;
}

enum moeq_status moeq_repack_bytes(const struct moeq_plan *plan, json_t *options, uint64_t *n_bytes,
                                   size_t *n_files, struct moeq_error *err)
{
    struct job job = {0};
    enum moeq_status status =
        job_init(&job, plan, json_is_true(json_object_get(options, MOEQ_SHA256_KEY)), err);
    /* Hashes have a fixed width, so a manifest of zeros has the size of the real one. */
    char *text =
        status ? NULL : moeq_repack_manifest(plan, &job.provenance, job.plan_hash, job.layers, options, err);
    if (text)
        *n_bytes = package_bytes(&job, strlen(text));
    else if (!status)
        status = MOEQ_OVER_MEMORY;
    *n_files = plan->n_files + job.provenance.n_copies + 1;
    free(text);
    job_free(&job);
    return status;
}

enum moeq_status moeq_repack_bytes_alike(const struct moeq_plan *plan, const json_t *options,
                                         const struct moeq_plan *base, const json_t *base_options,
                                         uint64_t base_bytes, uint64_t *n_bytes, struct moeq_error *err)
{
    int64_t more;
    enum moeq_status status = moeq_manifest_growth(plan, options, base, base_options, &more, err);
    for (size_t i = 0; !status && i < plan->n_files; i++)
        more += (int64_t)plan->files[i].n_bytes - (int64_t)base->files[i].n_bytes;
    *n_bytes = status ? 0 : base_bytes + (uint64_t)more;
    return status;
}

json_t *moeq_repack_options(const char *level, const char *group, bool asymmetric, json_t *rules)
{
    return json_pack("{s:s, s:s, s:b, s:o}", "level", level ? level : "keep", "group", group ? group : "128",
                     "asymmetric", asymmetric, "rules", rules);
}

/* ---- what is there already ---- */

/* Writing over what is being read would destroy it. */
static enum moeq_status check_not_source(const struct job *job, struct moeq_error *err)
{
    if (!moeq_path_is_same(job->plan->source->path, job->repack->out))
        return MOEQ_OK;
    moeq_fail(err, MOEQ_USAGE, "the output is the source itself");
    moeq_error_in_file(err, job->repack->out);
    moeq_error_hint(err, "choose another output");
    return MOEQ_USAGE;
}

static enum moeq_status refuse(const char *path, struct moeq_error *err, const char *what)
{
    moeq_fail(err, MOEQ_IO, "%s", what);
    moeq_error_in_file(err, path);
    moeq_error_hint(err, "choose another output, or give --force to replace it");
    return MOEQ_IO;
}

static bool is_same_plan(const struct job *job, const struct moeq_package *package)
{
    const char *hex = json_string_value(json_object_get(package->manifest, "plan"));
    struct moeq_hash plan_hash;
    return hex && moeq_hash_parse(hex, &plan_hash) && moeq_hash_equal(plan_hash, job->plan_hash);
}

/* Whether the source has the contents that the package was made from; reads it for that. */
static enum moeq_status is_same_source(struct job *job, const struct moeq_package *package, bool *is_same,
                                       struct moeq_error *err)
{
    enum moeq_status status = for_each_file(job, read_source, err);
    if (!status)
        status = moeq_provenance_end(&job->provenance, err);
    json_t *source = status ? NULL : moeq_provenance_json(&job->provenance);
    if (!status && !source)
        status = moeq_fail_alloc(err, 0);
    *is_same = source && json_equal(source, json_object_get(package->manifest, "source"));
    json_decref(source);
    return status;
}

/* A finished package: ours (done already), or another one, which only --force replaces. */
static enum moeq_status meet_finished(struct job *job, const char *out, const char *manifest_path,
                                      struct moeq_error *err)
{
    struct moeq_package package;
    struct moeq_error problem = {0};
    bool is_ours = false;
    if (moeq_package_open(&package, out, &problem) == MOEQ_OK) {
        is_ours = !job->repack->force && is_same_plan(job, &package) &&
                  moeq_package_check_outside(&package, &problem) == MOEQ_OK;
        enum moeq_status status = is_ours ? is_same_source(job, &package, &is_ours, err) : MOEQ_OK;
        for (size_t i = 0; is_ours && i < job->plan->n_files; i++)
            if (job->plan->files[i].has_coded)
                moeq_plan_adopt_sizes(job->sized, i, &package.files[i].st);
        moeq_package_close(&package);
        if (status)
            return status;
    }
    job->result->was_complete = is_ours;
    if (problem.status && problem.status != MOEQ_DAMAGED && problem.status != MOEQ_UNSUPPORTED) {
        if (err)
            *err = problem;
        return problem.status;
    }
    if (job->result->was_complete) {
        struct stat info;
        job->result->n_bytes = package_bytes(job, stat(manifest_path, &info) == 0 ? (size_t)info.st_size : 0);
        return MOEQ_OK;
    }
    if (!job->repack->force)
        return refuse(out, err,
                      problem.status ? "the output exists, and its package is damaged"
                                     : "the output exists and holds another package");
    job->replaces = true;
    return MOEQ_OK;
}

/* From here on the old package is no package any more: not before it is known that the new one has room. */
static enum moeq_status retire_old(const struct job *job, const struct moeq_out_dir *dir,
                                   struct moeq_error *err)
{
    if (!job->replaces || unlinkat(dir->fd, MOEQ_MANIFEST_NAME, 0) == 0)
        return MOEQ_OK;
    moeq_fail_errno(err, errno, "cannot replace the old manifest");
    moeq_error_in_file(err, job->repack->out);
    return MOEQ_IO;
}

static bool is_planned_name(const struct job *job, const char *name)
{
    size_t n = strlen(name);
    const size_t part = strlen(".part");
    if (n > part && strcmp(name + n - part, ".part") == 0)
        n -= part;
#define SAME(other) (strlen(other) == n && strncmp(name, (other), n) == 0)
    if (SAME(MOEQ_MANIFEST_NAME))
        return true;
    for (size_t i = 0; i < job->plan->n_files; i++)
        if (SAME(job->plan->files[i].name))
            return true;
    for (size_t i = 0; i < job->provenance.n_copies; i++)
        if (SAME(job->provenance.copies[i].name))
            return true;
#undef SAME
    return false;
}

/* What --force replaces includes files that the new package has not. */
static bool is_old_name(const struct moeq_package *old, const char *name)
{
    for (size_t i = 0; i < old->n_files; i++)
        if (strcmp(name, old->files[i].name) == 0)
            return true;
    for (size_t i = 0; i < old->n_copies; i++)
        if (strcmp(name, old->copies[i].name) == 0)
            return true;
    return false;
}

/* Once the new package is complete, those files are of no use. */
static enum moeq_status remove_old_files(const struct job *job, const struct moeq_out_dir *dir,
                                         struct moeq_error *err)
{
    const size_t n = job->old.n_files + job->old.n_copies;
    for (size_t i = 0; i < n; i++) {
        const char *name =
            i < job->old.n_files ? job->old.files[i].name : job->old.copies[i - job->old.n_files].name;
        if (!is_planned_name(job, name) && unlinkat(dir->fd, name, 0) != 0 && errno != ENOENT) {
            moeq_fail_errno(err, errno, "cannot remove %s, which the package before had", name);
            moeq_error_in_file(err, job->repack->out);
            return MOEQ_IO;
        }
    }
    return MOEQ_OK;
}

/* A folder may hold what this plan would write, what --force replaces, and nothing else. */
static enum moeq_status meet_folder(const struct job *job, const char *out, struct moeq_error *err)
{
    DIR *folder = opendir(out);
    if (!folder) {
        moeq_fail_errno(err, errno, "cannot open the output folder");
        moeq_error_in_file(err, out);
        return MOEQ_IO;
    }
    enum moeq_status status = MOEQ_OK;
    for (struct dirent *entry; !status && (entry = readdir(folder));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            !is_planned_name(job, entry->d_name) && !is_old_name(&job->old, entry->d_name)) {
            status =
                moeq_fail(err, MOEQ_IO, "the output exists and holds %s, which is not part of this package",
                          entry->d_name);
            moeq_error_in_file(err, out);
            moeq_error_hint(err, "choose another output, or remove it");
        }
    closedir(folder);
    return status;
}

static enum moeq_status find_kept_file(struct job *job, size_t i, const char *path, struct moeq_error *err)
{
    const struct moeq_plan_file *file = &job->plan->files[i];
    struct moeq_error problem = {0};
    enum moeq_status status = moeq_provenance_read(&job->provenance, file, err);
    if (status)
        return status;
    const struct moeq_layer_check check = {job->sized, file, job->plan_hash,
                                           moeq_provenance_of_file(&job->provenance, file)};
    const enum moeq_status found = moeq_layer_file_check(&check, path, &job->layers[i], &problem);
    if (found == MOEQ_INTERRUPTED)
        return moeq_interrupt_check(err);
    if (found == MOEQ_CHECK_FAILED && !job->repack->force)
        return refuse(job->repack->out, err,
                      "the output holds an unfinished conversion with other options or another source");
    job->kept[i] = found == MOEQ_OK;
    if (job->kept[i])
        moeq_progress_add(job->repack->progress, source_bytes(job->plan, file), file->name);
    return MOEQ_OK;
}

/* Whether a file is there under its name that an earlier run of the same plan finished from the same source,
 * which is read for that. Damaged ones are written anew. */
static enum moeq_status find_kept(void *context, unsigned worker, uint64_t i, uint64_t end,
                                  struct moeq_error *err)
{
    struct job *job = context;
    (void)worker;
    enum moeq_status status = MOEQ_OK;
    for (; !status && i < end; i++) {
        const struct moeq_plan_file *file = &job->plan->files[i];
        char *path = moeq_path_join(job->repack->out, file->name, err);
        if (!path)
            return MOEQ_OVER_MEMORY;
        if (moeq_path_exists(path))
            status = find_kept_file(job, (size_t)i, path, err);
        free(path);
    }
    return status;
}

static enum moeq_status meet_output(struct job *job, struct moeq_error *err)
{
    const char *out = job->repack->out;
    char *manifest_path = moeq_path_join(out, MOEQ_MANIFEST_NAME, err);
    if (!manifest_path)
        return MOEQ_OVER_MEMORY;
    if (moeq_package_is_at(out))
        moeq_package_open(&job->old, out,
                          NULL); /* if it is damaged, only files of the new plan are replaced */
    enum moeq_status status = meet_folder(job, out, err);
    if (!status && moeq_path_exists(manifest_path))
        status = meet_finished(job, out, manifest_path, err);
    free(manifest_path);
    if (!status && !job->result->was_complete)
        status = for_each_file(job, find_kept, err);
    for (size_t i = 0; !status && !job->result->was_complete && i < job->plan->n_files; i++)
        job->result->n_files_kept += job->kept[i];
    return status;
}

/* ---- writing ---- */

static enum moeq_status check_space(const struct job *job, struct moeq_error *err)
{
    struct statvfs info;
    uint64_t needed = 0;
    for (size_t i = 0; i < job->plan->n_files; i++)
        needed += job->kept[i] ? 0 : job->plan->files[i].n_bytes;
    if (statvfs(job->repack->out, &info) != 0)
        return MOEQ_OK; /* the writes will tell */
    uint64_t available = (uint64_t)info.f_bavail * info.f_frsize;
    if (needed <= available)
        return MOEQ_OK;
    moeq_fail(err, MOEQ_IO, "no room: %llu bytes are needed, %llu are free", (unsigned long long)needed,
              (unsigned long long)available);
    moeq_error_in_file(err, job->repack->out);
    moeq_error_hint(err, "free some space and run the same command again");
    return MOEQ_IO;
}

static enum moeq_status write_copies(const struct job *job, const struct moeq_out_dir *dir,
                                     struct moeq_error *err)
{
    struct moeq_bytes bytes = {0};
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < job->provenance.n_copies; i++) {
        const struct moeq_copied_file *copy = &job->provenance.copies[i];
        char *path = moeq_path_join(job->plan->source->path, copy->name, err);
        status = path ? moeq_file_read_all(path, MOEQ_MAX_COPIED_BYTES, &bytes, err) : MOEQ_OVER_MEMORY;
        if (!status && !moeq_hash_equal(moeq_hash_bytes(bytes.data, bytes.n_bytes), copy->hash)) {
            status = moeq_fail(err, MOEQ_IO, "the file changed while it was converted");
            moeq_error_in_file(err, path);
        }
        if (!status)
            status = moeq_out_write_whole(dir, copy->name, bytes.data, bytes.n_bytes, NULL, NULL, err);
        free(path);
    }
    moeq_bytes_free(&bytes);
    return status;
}

static enum moeq_status write_layer_files(struct job *job, const struct moeq_out_dir *dir,
                                          const bool *is_kept, struct moeq_error *err)
{
    const struct moeq_layer_files files = {.plan = job->sized,
                                           .plan_hash = job->plan_hash,
                                           .is_kept = is_kept,
                                           .dir = dir,
                                           .pool = job->repack->pool,
                                           .progress = job->repack->progress,
                                           .provenance = &job->provenance,
                                           .hashes = job->layers,
                                           .supply = job->repack->supply,
                                           .errors = job->repack->errors};
    return moeq_layer_files_write(&files, err);
}

struct supplied {
    struct job *job;
    const struct moeq_out_dir *dir;
    bool *others; /* [n_files]: all true but one */
    bool *done;   /* [n_files] */
};

static enum moeq_status write_supplied(void *context, size_t file, struct moeq_error *err)
{
    const struct supplied *s = context;
    s->others[file] = false;
    enum moeq_status status = write_layer_files(s->job, s->dir, s->others, err);
    s->others[file] = true;
    s->done[file] = !status;
    return status;
}

/* The layers as they are supplied, one after the other; then the rest. */
static enum moeq_status write_supplied_layers(struct job *job, const struct moeq_out_dir *dir,
                                              struct moeq_error *err)
{
    const size_t n = job->plan->n_files;
    struct supplied s = {job, dir, moeq_calloc(n, 1, err), moeq_calloc(n, 1, err)};
    const struct moeq_supplied to = {&s, job->kept, write_supplied};
    enum moeq_status status = s.others && s.done ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (!status) {
        memset(s.others, true, n);
        memcpy(s.done, job->kept, n);
        status = job->repack->supply->run(job->repack->supply->context, &to, err);
    }
    if (!status)
        status = write_layer_files(job, dir, s.done, err);
    free(s.others);
    free(s.done);
    return status;
}

static enum moeq_status write_layers(struct job *job, const struct moeq_out_dir *dir, struct moeq_error *err)
{
    enum moeq_status status = job->repack->supply ? write_supplied_layers(job, dir, err)
                                                  : write_layer_files(job, dir, job->kept, err);
    return status ? status : moeq_provenance_end(&job->provenance, err);
}

static enum moeq_status check_manifest(void *context, const char *path, struct moeq_error *err)
{
    struct moeq_bytes text = {0};
    (void)context;
    enum moeq_status status = moeq_file_read_all(path, SIZE_MAX, &text, err);
    json_t *manifest = status ? NULL : moeq_manifest_parse(text.data, text.n_bytes, err);
    if (!status && !manifest)
        status = MOEQ_IO;
    json_decref(manifest);
    moeq_bytes_free(&text);
    return status;
}

static enum moeq_status write_manifest(struct job *job, const struct moeq_out_dir *dir,
                                       struct moeq_error *err)
{
    char *text = moeq_repack_manifest(job->plan, &job->provenance, job->plan_hash, job->layers,
                                      job->repack->options, err);
    if (!text)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status =
        moeq_out_write_whole(dir, MOEQ_MANIFEST_NAME, text, strlen(text), check_manifest, NULL, err);
    job->result->n_bytes = package_bytes(job, strlen(text));
    free(text);
    return status;
}

/* The folder is locked before it is looked at, so that two conversions into it cannot both begin. */
static enum moeq_status write_package(struct job *job, struct moeq_error *err)
{
    struct moeq_out_dir dir;
    enum moeq_status status = moeq_out_dir_open(&dir, job->repack->out, err);
    if (status)
        return status;
    status = check_not_source(job, err);
    if (!status)
        status = meet_output(job, err);
    if (!status && !job->result->was_complete) {
        status = check_space(job, err);
        if (!status)
            status = retire_old(job, &dir, err);
        if (!status)
            status = write_layers(job, &dir, err);
        if (!status)
            status = write_copies(job, &dir, err);
        if (!status)
            status = write_manifest(job, &dir, err);
        if (!status)
            status = remove_old_files(job, &dir, err);
    }
    if (status)
        moeq_out_dir_discard(&dir);
    moeq_out_dir_close(&dir);
    return status;
}

enum moeq_status moeq_repack_run(const struct moeq_repack *repack, struct moeq_repack_result *result,
                                 struct moeq_error *err)
{
    struct job job = {.repack = repack, .sized = repack->plan, .result = result};
    *result = (struct moeq_repack_result){0};
    enum moeq_status status =
        job_init(&job, repack->plan, json_is_true(json_object_get(repack->options, MOEQ_SHA256_KEY)), err);
    if (!status)
        status = moeq_provenance_begin(&job.provenance, err);
    if (!status)
        status = moeq_plan_hash(repack->plan, &job.provenance, &job.plan_hash, err);
    if (!status && job.provenance.has_sha256)
        status = hash_sources(&job, err);
    if (!status)
        status = write_package(&job, err);
    job_free(&job);
    return status;
}
