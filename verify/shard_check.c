#include "shard_check.h"

#include "download_parts.h"
#include "interrupt.h"
#include "json_scan.h"

#include <stdio.h>
#include <stdlib.h>

#define CONFIG_NAME    "config.json"
#define WEIGHTS_SUFFIX ".safetensors"
#define POINTER_START  "version https://git-lfs.github.com/spec/"
#define POINTER_BYTES  1024 /* a pointer is smaller */
#define ZERO_BYTES     4096
#define MAX_NAME_BYTES 4200         /* of a shard that is looked for: archives allow 4096 */
#define MAX_JSON_BYTES (256u << 20) /* that are only looked at, without a tree */

/* Whether it says nothing about the file: memory, or an archive's budget, ran out. */
static bool is_no_finding(enum moeq_status status)
{
    return status == MOEQ_OVER_MEMORY || status == MOEQ_UNSUPPORTED;
}

static bool in_root(const char *path)
{
    return !strchr(path, '/');
}

static bool is_weights(const char *path)
{
    return moeq_has_suffix(path, WEIGHTS_SUFFIX);
}

/* ---- JSON files ---- */

/* A folder is not among the files that are listed. */
static bool is_folder(const struct moeq_download *d, const char *path)
{
    char *full = moeq_download_path(d, path, NULL);
    const bool found = full && moeq_path_is_dir(full);
    free(full);
    return found;
}

/* The file, where it is there to be read; others are told of elsewhere, but for `needed` ones. */
static struct moeq_download_file *find_readable(struct moeq_download *download, const char *path, bool needed)
{
    char advice[MOEQ_ADVICE_BYTES];
    struct moeq_download_file *file = moeq_download_find(download, path);
    if (!file && needed && is_folder(download, path))
        moeq_found(&download->findings, MOEQ_FOUND_MISSING_FILE, 1, path,
                   "move the folder away, then download the file", "a folder, where the file should be");
    else if (!file && needed)
        moeq_found(&download->findings, MOEQ_FOUND_MISSING_FILE, 1, path,
                   moeq_download_advice(download, path, false, advice), "it is missing");
    return file && !file->is_dangling && !file->is_pointer && file->problem.status != MOEQ_IO ? file : NULL;
}

static void report_json(struct moeq_download *download, const char *path, struct moeq_download_file *file,
                        const struct moeq_error *problem)
{
    char advice[MOEQ_ADVICE_BYTES];
    if (is_no_finding(problem->status))
        download->findings.stopped = *problem;
    else if (problem->status == MOEQ_IO)
        file->problem = *problem; /* reported with those of the other files, once */
    else
        moeq_found(&download->findings, MOEQ_FOUND_JSON, 1, path,
                   moeq_download_advice(download, path, true, advice), "%s",
                   file->leads_outside ? "not valid JSON" : problem->message);
}

json_t *moeq_download_json(struct moeq_download *download, const char *path, size_t max_bytes, bool needed)
{
    struct moeq_error problem = {0};
    struct moeq_download_file *file = find_readable(download, path, needed);
    if (!file)
        return NULL;
    char *full = moeq_download_path(download, path, &problem);
    json_t *json = full ? moeq_json_load(full, max_bytes, &problem) : NULL;
    free(full);
    if (json)
        file->was_parsed = true;
    else
        report_json(download, path, file, &problem);
    return json;
}

static enum moeq_status check_json(const char *path, struct moeq_bytes *text, struct moeq_error *err)
{
    size_t bad = 0;
    enum moeq_status status = moeq_file_read_all(path, MAX_JSON_BYTES, text, err);
    if (status)
        return status;
    if (!moeq_utf8_valid(text->data, text->n_bytes, &bad)) {
        moeq_fail(err, MOEQ_DAMAGED, "invalid UTF-8");
        moeq_error_at(err, bad);
        return MOEQ_DAMAGED;
    }
    return moeq_json_check((const char *)text->data, text->n_bytes, 0, err);
}

void moeq_download_is_json(struct moeq_download *download, const char *path)
{
    struct moeq_error problem = {0};
    struct moeq_bytes text = {0};
    struct moeq_download_file *file = find_readable(download, path, false);
    if (!file)
        return;
    char *full = moeq_download_path(download, path, &problem);
    if (full && check_json(full, &text, &problem) == MOEQ_OK)
        file->was_parsed = true;
    else
        report_json(download, path, file, &problem);
    free(full);
    moeq_bytes_free(&text);
}

/* ---- the index ---- */

static int by_name(const void *a, const void *b)
{
    const struct moeq_check_shard *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Tensors that the index places where no shard can be. */
struct misplaced {
    size_t n_nameless, n_below, n_outside;
    const char *nameless, *below, *outside; /* the first of each: a tensor, and two shards */
};

static void misplace(struct misplaced *m, const char *tensor, const char *shard)
{
    if (!shard || !*shard)
        m->nameless = m->n_nameless++ ? m->nameless : tensor;
    else if (moeq_path_stays_inside(shard))
        m->below = m->n_below++ ? m->below : shard;
    else
        m->outside = m->n_outside++ ? m->outside : shard;
}

static void report_misplaced(const struct misplaced *m, struct moeq_download *d)
{
    char advice[MOEQ_ADVICE_BYTES];
    moeq_download_advice(d, MOEQ_INDEX_NAME, true, advice);
    if (m->n_outside)
        moeq_found(&d->findings, MOEQ_FOUND_OUTSIDE, m->n_outside, MOEQ_INDEX_NAME,
                   "do not trust this index; nothing outside the folder was looked at",
                   "%zu %s placed in shards outside the folder, the first in %s", m->n_outside,
                   m->n_outside == 1 ? "tensor is" : "tensors are", m->outside);
    if (m->n_below)
        moeq_found(&d->findings, MOEQ_FOUND_INDEX, m->n_below, MOEQ_INDEX_NAME,
                   "shards lie beside their index: those below it were not checked",
                   "%zu %s placed in shards of a subfolder, the first in %s", m->n_below,
                   m->n_below == 1 ? "tensor is" : "tensors are", m->below);
    if (m->n_nameless)
        moeq_found(&d->findings, MOEQ_FOUND_INDEX, m->n_nameless, MOEQ_INDEX_NAME, advice,
                   "%zu %s given no shard's name, the first is %s", m->n_nameless,
                   m->n_nameless == 1 ? "tensor is" : "tensors are", m->nameless);
}

/* One row for each shard that the index names, with the number of its tensors. */
static enum moeq_status take_index(struct moeq_shards *s, struct moeq_download *d, struct moeq_error *err)
{
    const char *tensor;
    json_t *value;
    struct misplaced misplaced = {0};
    size_t n = 0;
    s->items = moeq_calloc(json_object_size(s->weight_map), sizeof *s->items, err);
    if (!s->items)
        return MOEQ_OVER_MEMORY;
    json_object_foreach((json_t *)s->weight_map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (name && moeq_name_is_plain(name))
            s->items[n++] = (struct moeq_check_shard){.name = name, .n_promised = 1};
        else
            misplace(&misplaced, tensor, name);
    }
    report_misplaced(&misplaced, d);
    if (n == 0)
        moeq_found(&d->findings, MOEQ_FOUND_INDEX, 1, MOEQ_INDEX_NAME, NULL, "it names no shard");
    else
        qsort(s->items, n, sizeof *s->items, by_name);
    for (size_t i = 0; i < n; i++)
        if (s->n_items && strcmp(s->items[s->n_items - 1].name, s->items[i].name) == 0)
            s->items[s->n_items - 1].n_promised++;
        else
            s->items[s->n_items++] = s->items[i];
    return MOEQ_OK;
}

/* Without an index: what lies there. */
static enum moeq_status take_files(struct moeq_shards *s, struct moeq_download *d, struct moeq_error *err)
{
    s->items = moeq_calloc(d->n_files, sizeof *s->items, err);
    if (!s->items)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < d->n_files; i++)
        if (in_root(d->files[i].path) && is_weights(d->files[i].path))
            s->items[s->n_items++] =
                (struct moeq_check_shard){.name = d->files[i].path, .file = &d->files[i]};
    return MOEQ_OK;
}

static enum moeq_status read_index(struct moeq_shards *s, struct moeq_download *d, struct moeq_error *err)
{
    char advice[MOEQ_ADVICE_BYTES];
    s->index = moeq_download_json(d, MOEQ_INDEX_NAME, MOEQ_MAX_INDEX_BYTES, false);
    s->weight_map = json_object_get(s->index, "weight_map");
    if (s->index && !json_is_object(s->weight_map)) {
        moeq_found(&d->findings, MOEQ_FOUND_INDEX, 1, MOEQ_INDEX_NAME,
                   moeq_download_advice(d, MOEQ_INDEX_NAME, true, advice), "it has no \"weight_map\"");
        s->weight_map = NULL;
    }
    enum moeq_status status = s->weight_map ? take_index(s, d, err) : take_files(s, d, err);
    for (size_t i = 0; i < s->n_items; i++) {
        if (!s->items[i].file)
            s->items[i].file = moeq_download_find(d, s->items[i].name);
        if (s->items[i].file)
            s->items[i].file->is_shard = true;
    }
    return status;
}

const struct moeq_check_shard *moeq_shards_find(const struct moeq_shards *shards, const char *name)
{
    const struct moeq_check_shard key = {.name = name};
    return shards->n_items ? bsearch(&key, shards->items, shards->n_items, sizeof key, by_name) : NULL;
}

/* ---- what should be there ---- */

static const struct moeq_record *in_tree(const struct moeq_download *d, const char *path)
{
    const struct moeq_record key = {.path = (char *)path};
    return d->tree.n_items ? bsearch(&key, d->tree.items, d->tree.n_items, sizeof key, moeq_record_by_path)
                           : NULL;
}

/* With an index, that names the weights which are needed. */
static bool is_needed(const struct moeq_shards *s, const char *path)
{
    return in_root(path) && moeq_is_loaded(path) && !(is_weights(path) && s->weight_map);
}

/* Files of the repository that are not here: a finding for each that is needed, a note about the others. */
static void compare_tree(const struct moeq_shards *s, struct moeq_download *d)
{
    char advice[MOEQ_ADVICE_BYTES], names[160] = "";
    size_t n_others = 0, used = 0;
    for (size_t i = 0; i < d->tree.n_items; i++) {
        const struct moeq_record *record = &d->tree.items[i];
        if (moeq_download_find(d, record->path) || moeq_shards_find(s, record->path))
            continue; /* a missing shard of the index is reported there */
        if (is_needed(s, record->path)) {
            moeq_found(&d->findings, MOEQ_FOUND_MISSING_FILE, 1, record->path,
                       moeq_download_advice(d, record->path, false, advice),
                       "missing: in the repository it has %llu bytes", (unsigned long long)record->n_bytes);
            continue;
        }
        if (n_others++ < 3 && used < sizeof names)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%.40s", used ? ", " : "",
                                     record->path);
    }
    if (n_others)
        moeq_found(&d->findings, MOEQ_FOUND_NOT_DOWNLOADED, n_others, NULL, NULL,
                   "%zu file%s of the repository that no loader needs %s not here: %s%s", n_others,
                   n_others == 1 ? "" : "s", n_others == 1 ? "is" : "are", names, n_others > 3 ? ", …" : "");
}

static void report_missing_shards(const struct moeq_shards *s, struct moeq_download *d)
{
    char advice[MOEQ_ADVICE_BYTES], size[64];
    for (size_t i = 0; i < s->n_items; i++) {
        const struct moeq_check_shard *shard = &s->items[i];
        if (shard->file)
            continue;
        if (is_folder(d, shard->name)) {
            moeq_found(&d->findings, MOEQ_FOUND_MISSING_FILE, shard->n_promised, shard->name,
                       "move the folder away, then download the shard",
                       "a folder, where the shard should be: %zu tensors", shard->n_promised);
            continue;
        }
        const struct moeq_record *record = in_tree(d, shard->name);
        snprintf(size, sizeof size, ", %llu bytes", record ? (unsigned long long)record->n_bytes : 0);
        moeq_found(&d->findings, MOEQ_FOUND_MISSING_FILE, shard->n_promised, shard->name,
                   moeq_download_advice(d, shard->name, false, advice), "the shard is missing: %zu tensors%s",
                   shard->n_promised, record ? size : "");
    }
}

/* "model-00002-of-00163.safetensors" says how many there are; used where no index does. */
static bool parse_numbering(const char *name, size_t *prefix, unsigned *number, unsigned *total, int *width)
{
    const char *of = strstr(name, "-of-");
    if (!of)
        return false;
    const char *digits = of;
    while (digits > name && digits[-1] >= '0' && digits[-1] <= '9')
        digits--;
    char tail[16];
    *width = (int)(of - digits);
    *prefix = (size_t)(digits - name);
    return *width > 0 && *width < 7 && sscanf(digits, "%6u-of-%6u%15s", number, total, tail) == 3 &&
           strcmp(tail, WEIGHTS_SUFFIX) == 0;
}

static void report_missing_numbers(struct moeq_shards *s, struct moeq_download *d)
{
    size_t prefix;
    unsigned number, total;
    int width;
    if (!s->n_items || !parse_numbering(s->items[0].name, &prefix, &number, &total, &width) ||
        total <= s->n_items)
        return;
    s->complete = false;
    unsigned first = 0;
    for (unsigned i = 1; i <= total && !first; i++) {
        char name[MAX_NAME_BYTES];
        snprintf(name, sizeof name, "%.*s%0*u%s", (int)prefix, s->items[0].name, width, i,
                 strstr(s->items[0].name, "-of-"));
        first = moeq_shards_find(s, name) ? 0 : i;
    }
    moeq_found(&d->findings, MOEQ_FOUND_MISSING_FILE, total - s->n_items, NULL,
               "download the folder again; files that are right are kept",
               "%zu of %u shards are missing by their numbers, the first is number %u", total - s->n_items,
               total, first);
}

/* What the absence of an index means. */
static void report_no_index(struct moeq_shards *s, struct moeq_download *d)
{
    char advice[MOEQ_ADVICE_BYTES];
    const bool index_is_there = moeq_download_find(d, MOEQ_INDEX_NAME) != NULL;
    if (s->weight_map || d->layout == MOEQ_LAYOUT_FILE)
        return;
    report_missing_numbers(s, d);
    s->complete = s->complete && s->n_items;
    if (s->n_items == 0 && !index_is_there)
        moeq_found(&d->findings, MOEQ_FOUND_MISSING_FILE, 1, NULL, "download the weights",
                   "no weights: neither an index nor a " WEIGHTS_SUFFIX " file");
    else if (s->n_items > 1 && !index_is_there && !in_tree(d, MOEQ_INDEX_NAME))
        moeq_found(&d->findings, MOEQ_FOUND_MISSING_FILE, 1, MOEQ_INDEX_NAME,
                   moeq_download_advice(d, MOEQ_INDEX_NAME, false, advice),
                   "missing, and there are %zu " WEIGHTS_SUFFIX " files", s->n_items);
}

static void report_extra_shards(const struct moeq_shards *s, struct moeq_download *d)
{
    for (size_t i = 0; s->weight_map && i < d->n_files; i++) {
        const char *path = d->files[i].path;
        if (in_root(path) && is_weights(path) && !d->files[i].is_shard && !in_tree(d, path))
            moeq_found(&d->findings, MOEQ_FOUND_EXTRA_SHARD, 1, path,
                       "it may be left from another version: delete it if you do not need it",
                       "the index does not name this file");
    }
}

/* ---- headers ---- */

/* The first bytes tell a Git LFS pointer, whatever the file is called. */
static void look_for_pointer(struct moeq_download_file *file, const struct moeq_file *open)
{
    char start[sizeof POINTER_START - 1];
    if (open->n_bytes < POINTER_BYTES && open->n_bytes >= sizeof start &&
        moeq_file_read(open, 0, start, sizeof start, NULL) == MOEQ_OK)
        file->is_pointer = memcmp(start, POINTER_START, sizeof start) == 0;
}

/* What a download leaves that has reserved its space and never come: zeros where the header should be. */
static void look_for_zeros(struct moeq_download_file *file, const struct moeq_file *open)
{
    uint8_t start[ZERO_BYTES];
    size_t n = open->n_bytes < sizeof start ? (size_t)open->n_bytes : sizeof start, i = 0;
    if (n < 8 || moeq_file_read(open, 0, start, n, NULL))
        return;
    while (i < n && start[i] == 0)
        i++;
    file->begins_with_zeros = i == n;
}

static enum moeq_status read_head(struct moeq_download *d, struct moeq_download_file *file,
                                  struct moeq_error *err)
{
    struct moeq_file open = {.fd = -1};
    const bool has_header = is_weights(file->path) || file->is_shard;
    if (file->is_dangling || (!has_header && file->n_bytes >= POINTER_BYTES))
        return MOEQ_OK;
    char *full = moeq_download_path(d, file->path, err);
    if (!full)
        return MOEQ_OVER_MEMORY;
    if (moeq_file_open(&open, full, &file->problem) == MOEQ_OK) {
        look_for_pointer(file, &open);
        if (has_header && !file->is_pointer)
            file->has_header =
                moeq_safetensors_read(&file->header, &open, d->strictness, &file->problem) == MOEQ_OK;
        if (file->problem.status == MOEQ_DAMAGED)
            look_for_zeros(file, &open);
    }
    moeq_file_close(&open);
    free(full);
    if (!is_no_finding(file->problem.status))
        return MOEQ_OK;
    if (err)
        *err = file->problem;
    return file->problem.status;
}

static enum moeq_status read_heads(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                   struct moeq_error *err)
{
    struct moeq_download *d = context;
    (void)worker;
    enum moeq_status status = MOEQ_OK;
    for (uint64_t i = begin; !status && i < end; i++) {
        status = moeq_interrupt_check(err);
        if (!status)
            status = read_head(d, &d->files[i], err);
    }
    return status;
}

/* ---- all of it ---- */

static enum moeq_status check_is_model(const struct moeq_shards *s, const struct moeq_download *d,
                                       struct moeq_error *err)
{
    bool found = s->n_items || moeq_download_find(d, CONFIG_NAME) || moeq_download_find(d, MOEQ_INDEX_NAME) ||
                 d->findings.n_items; /* a record that misses something is a trace */
    for (size_t i = 0; i < d->tree.n_items; i++)
        found = found || is_weights(d->tree.items[i].path);
    if (found)
        return MOEQ_OK;
    moeq_fail(err, MOEQ_DAMAGED, "no model here: no config.json, no index, no " WEIGHTS_SUFFIX " file");
    moeq_error_in_file(err, d->folder);
    moeq_error_hint(err, "give the folder of a downloaded checkpoint");
    return MOEQ_DAMAGED;
}

enum moeq_status moeq_shards_open(struct moeq_shards *shards, struct moeq_download *download,
                                  struct moeq_pool *pool, struct moeq_error *err)
{
    *shards = (struct moeq_shards){.complete = true};
    enum moeq_status status = moeq_pool_for(pool, download->n_files, 1, read_heads, download, err);
    if (!status)
        status = read_index(shards, download, err);
    /* An index may call any file a shard, whatever its name. */
    for (size_t i = 0; !status && i < shards->n_items; i++)
        if (shards->items[i].file && !is_weights(shards->items[i].name))
            status = read_head(download, shards->items[i].file, err);
    if (!status)
        status = check_is_model(shards, download, err);
    if (status)
        return status;
    for (size_t i = 0; i < shards->n_items; i++)
        shards->complete = shards->complete && shards->items[i].file && shards->items[i].file->has_header;
    report_missing_shards(shards, download);
    report_no_index(shards, download);
    report_extra_shards(shards, download);
    compare_tree(shards, download);
    return MOEQ_OK;
}

void moeq_shards_close(struct moeq_shards *shards)
{
    json_decref(shards->index);
    free(shards->items);
    *shards = (struct moeq_shards){0};
}
