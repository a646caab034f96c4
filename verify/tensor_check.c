#include "tensor_check.h"

#include "complaints.h"
#include "config.h"
#include "expected.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_EXPECTED 500000 /* weights; the largest release has 75,000 */
#define MTP_PREFIX   "mtp." /* of DeepSeek-V4 */

/* A tensor that is really there. */
struct entry {
    const struct moeq_tensor *tensor;
    const char *shard;
    struct moeq_name id;
    bool is_expected;
};

struct tensors {
    const struct moeq_shards *shards;
    struct moeq_download *download;
    const struct moeq_config *config; /* where it could be read */
    uint32_t n_mtp;                   /* MTP layers that are there, likewise */
    struct entry *entries;            /* by name */
    size_t n_entries;
    uint64_t n_expected;
    struct moeq_complaints complaints;
};

static int compare_entry(const struct entry *entry, const char *name, const char *shard)
{
    int order = strcmp(entry->tensor->name, name);
    return order ? order : strcmp(entry->shard, shard);
}

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return compare_entry(x, y->tensor->name, y->shard);
}

/* The index of the first that is not before that name in that shard, or n_entries. */
static size_t find_place(const struct tensors *t, const char *name, const char *shard)
{
    size_t low = 0, high = t->n_entries;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_entry(&t->entries[middle], name, shard) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The first of that name; in the order of by_name, another shard's may follow. */
static struct entry *find_entry(const struct tensors *t, const char *name)
{
    const size_t i = find_place(t, name, "");
    return i < t->n_entries && strcmp(t->entries[i].tensor->name, name) == 0 ? &t->entries[i] : NULL;
}

static enum moeq_status gather(struct tensors *t, struct moeq_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < t->shards->n_items; i++)
        if (t->shards->items[i].file && t->shards->items[i].file->has_header)
            n += t->shards->items[i].file->header.n_tensors;
    t->entries = moeq_calloc(n, sizeof *t->entries, err);
    if (!t->entries)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < t->shards->n_items; i++) {
        const struct moeq_check_shard *shard = &t->shards->items[i];
        for (size_t k = 0; shard->file && shard->file->has_header && k < shard->file->header.n_tensors; k++) {
            const struct moeq_tensor *tensor = &shard->file->header.tensors[k];
            t->entries[t->n_entries++] =
                (struct entry){tensor, shard->name, moeq_name_parse(tensor->name), false};
        }
    }
    if (t->n_entries)
        qsort(t->entries, t->n_entries, sizeof *t->entries, by_name);
    return MOEQ_OK;
}

/* ---- index against shards ---- */

static enum moeq_status find_twice(struct tensors *t, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 1; !status && i < t->n_entries; i++)
        if (strcmp(t->entries[i].tensor->name, t->entries[i - 1].tensor->name) == 0)
            status = moeq_complain(&t->complaints, MOEQ_FOUND_TENSOR_TWICE, t->entries[i].tensor->name,
                                   t->entries[i].shard, t->entries[i - 1].shard, err);
    return status;
}

static bool holds(const struct tensors *t, const char *shard, const char *name)
{
    const size_t i = find_place(t, name, shard);
    return i < t->n_entries && compare_entry(&t->entries[i], name, shard) == 0;
}

static enum moeq_status compare_index(struct tensors *t, struct moeq_error *err)
{
    const json_t *map = t->shards->weight_map;
    const char *name;
    json_t *value;
    enum moeq_status status = MOEQ_OK;
    if (!map)
        return MOEQ_OK;
    json_object_foreach((json_t *)map, name, value)
    {
        const char *at = json_string_value(value);
        const struct moeq_check_shard *shard = at ? moeq_shards_find(t->shards, at) : NULL;
        if (!status && shard && shard->file && shard->file->has_header && !holds(t, shard->name, name))
            status =
                moeq_complain(&t->complaints, MOEQ_FOUND_TENSOR_NOT_IN_SHARD, name, shard->name, "", err);
    }
    for (size_t i = 0; !status && i < t->n_entries; i++) {
        const struct entry *e = &t->entries[i];
        const char *at = json_string_value(json_object_get(map, e->tensor->name));
        if (!at)
            status = moeq_complain(&t->complaints, MOEQ_FOUND_TENSOR_NOT_IN_INDEX, e->tensor->name, e->shard,
                                   "", err);
        else if (strcmp(at, e->shard) != 0 && !holds(t, at, e->tensor->name))
            status = moeq_complain(&t->complaints, MOEQ_FOUND_TENSOR_NOT_IN_INDEX, e->tensor->name, e->shard,
                                   "which places them elsewhere", err);
    }
    return status;
}

/* metadata.total_size is the bytes of all tensors; DeepSeek-V3's counts two bytes for each element. */
static void compare_total(struct tensors *t)
{
    const json_t *total = json_object_get(json_object_get(t->shards->index, "metadata"), "total_size");
    uint64_t said, n_bytes = 0, n_elements = 0;
    if (!t->shards->complete || !total || moeq_json_value_uint(total, "total_size", INT64_MAX, &said, NULL))
        return;
    for (size_t i = 0; i < t->n_entries; i++) {
        const struct moeq_tensor *tensor = t->entries[i].tensor;
        n_bytes += tensor->n_bytes; /* each is in a file: no overflow */
        n_elements += tensor->n_bytes * 8 / moeq_dtype_bits(tensor->dtype);
    }
    if (said != n_bytes && said != 2 * n_elements)
        moeq_found(&t->download->findings, MOEQ_FOUND_TOTAL_SIZE, 1, MOEQ_INDEX_NAME, NULL,
                   "total_size is %llu, the tensors have %llu bytes", (unsigned long long)said,
                   (unsigned long long)n_bytes);
}

/* ---- tensors against config.json ---- */

static const struct moeq_tensor *look_up(const void *context, const char *name)
{
    const struct entry *e = find_entry(context, name);
    return e ? e->tensor : NULL;
}

/* A tensor that cannot be seen, since its shard is missing or damaged, is not missed once more. */
static bool is_explained(const struct tensors *t, const char *name)
{
    const char *at = json_string_value(json_object_get(t->shards->weight_map, name));
    const struct moeq_check_shard *shard = at ? moeq_shards_find(t->shards, at) : NULL;
    if (at)
        return !shard || !shard->file || !shard->file->has_header;
    return !t->shards->weight_map && !t->shards->complete;
}

static void shape_text(char *dst, size_t capacity, const uint64_t *shape, size_t n_dims)
{
    size_t used = (size_t)snprintf(dst, capacity, "[");
    for (size_t i = 0; i < n_dims && used < capacity; i++)
        used += (size_t)snprintf(dst + used, capacity - used, "%s%llu", i ? ", " : "",
                                 (unsigned long long)shape[i]);
    if (used < capacity)
        snprintf(dst + used, capacity - used, "]");
}

static bool same_shape(const struct moeq_tensor *tensor, const struct moeq_expected_tensor *expected)
{
    size_t skip = tensor->n_dims == 2 && expected->n_dims == 1 && tensor->shape[0] == 1; /* a row */
    if (tensor->n_dims - skip != expected->n_dims)
        return false;
    return memcmp(tensor->shape + skip, expected->shape, expected->n_dims * sizeof *expected->shape) == 0;
}

static enum moeq_status compare_tensor(struct tensors *t, struct entry *e,
                                       const struct moeq_expected_tensor *expected, struct moeq_error *err)
{
    char detail[160], found[64], wanted[64];
    const struct moeq_tensor *tensor = e->tensor;
    enum moeq_status status = MOEQ_OK;
    e->is_expected = true;
    if (!same_shape(tensor, expected)) {
        shape_text(found, sizeof found, tensor->shape, tensor->n_dims);
        shape_text(wanted, sizeof wanted, expected->shape, expected->n_dims);
        snprintf(detail, sizeof detail, "%s instead of %s", found, wanted);
        status = moeq_complain(&t->complaints, MOEQ_FOUND_TENSOR_SHAPE, tensor->name, "", detail, err);
    }
    if (!status && !(expected->dtypes >> tensor->dtype & 1))
        status = moeq_complain(&t->complaints, MOEQ_FOUND_TENSOR_DTYPE, tensor->name, "",
                               moeq_dtype_name(tensor->dtype), err);
    return status;
}

static enum moeq_status meet_weight(void *context, const struct moeq_expected_weight *weight,
                                    struct moeq_error *err)
{
    struct tensors *t = context;
    size_t n_found = 0;
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; i < weight->n_tensors; i++)
        n_found += find_entry(t, weight->tensors[i].name) ||
                   json_object_get(t->shards->weight_map, weight->tensors[i].name);
    t->n_expected += n_found || !weight->optional ? weight->n_tensors : 0;
    for (size_t i = 0; !status && i < weight->n_tensors && (n_found || !weight->optional); i++) {
        const struct moeq_expected_tensor *expected = &weight->tensors[i];
        struct entry *e = find_entry(t, expected->name);
        if (e)
            status = compare_tensor(t, e, expected, err);
        else if (!is_explained(t, expected->name))
            status = moeq_complain(&t->complaints, MOEQ_FOUND_TENSOR_MISSING, expected->name, "", "", err);
    }
    return status;
}

static bool starts_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* The weight that a tensor is a part of by its name: "X.weight" of "X.weight_scale_inv" and the like. */
static const char *weight_of(const char *name, char *dst, size_t capacity)
{
    static const char *const suffixes[] = {"_scale_inv", "_packed", "_scale", "_shape", "_zero_point"};
    const size_t n = strlen(name);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        const size_t m = strlen(suffixes[i]);
        if (n > m && n < capacity && strcmp(name + n - m, suffixes[i]) == 0) {
            snprintf(dst, capacity, "%.*s", (int)(n - m), name);
            return dst;
        }
    }
    return name;
}

/* Parts of which config.json tells all: one more of them is of another model. */
static bool is_called_for_exactly(const struct tensors *t, enum moeq_part part, const char *name)
{
    if (part >= MOEQ_PART_V4_EMBED && part < MOEQ_PART_OTHER)
        return t->config->design == MOEQ_DESIGN_V4 && !starts_with(name, MTP_PREFIX);
    return part < MOEQ_PART_INV_FREQ;
}

/* Copies of embedding and head, which some releases leave out; tensors that nobody uses. */
static bool is_tolerated(const struct tensors *t, const struct entry *e)
{
    const bool is_copy = e->id.part == MOEQ_PART_MTP_HEAD || e->id.part == MOEQ_PART_MTP_EMBED;
    return e->id.part == MOEQ_PART_INV_FREQ || e->id.part == MOEQ_PART_VISION ||
           (is_copy && (uint32_t)e->id.layer >= t->config->n_layers &&
            (uint32_t)e->id.layer < t->config->n_layers + t->n_mtp);
}

/* What no weight of the architecture has called for. */
static enum moeq_status judge_others(struct tensors *t, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < t->n_entries; i++) {
        const struct entry *e = &t->entries[i];
        const char *name = e->tensor->name;
        char base[MOEQ_EXPECTED_NAME];
        if (e->is_expected || is_tolerated(t, e) || (i && strcmp(t->entries[i - 1].tensor->name, name) == 0))
            continue;
        const char *weight = weight_of(name, base, sizeof base);
        const struct entry *beside = weight != name ? find_entry(t, weight) : NULL;
        if (beside && beside->is_expected)
            status = moeq_complain(&t->complaints, MOEQ_FOUND_TENSOR_UNEXPECTED, name, "",
                                   "beside weights whose dtype needs none", err);
        else if (is_called_for_exactly(t, moeq_name_parse(weight).part, weight))
            status = moeq_complain(&t->complaints, MOEQ_FOUND_TENSOR_UNEXPECTED, name, "", "", err);
        else
            status = moeq_complain(&t->complaints, MOEQ_FOUND_TENSOR_UNKNOWN, name, "", "", err);
    }
    return status;
}

/* A release is BF16 or F16, not both. */
static enum moeq_status judge_mixture(struct tensors *t, struct moeq_error *err)
{
    size_t n_bf16 = 0, n_f16 = 0;
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; i < t->n_entries; i++) {
        n_bf16 += t->entries[i].tensor->dtype == MOEQ_BF16;
        n_f16 += t->entries[i].tensor->dtype == MOEQ_F16;
    }
    const enum moeq_dtype rare = n_bf16 < n_f16 ? MOEQ_BF16 : MOEQ_F16;
    const char *detail = rare == MOEQ_F16 ? "F16 instead of BF16" : "BF16 instead of F16";
    for (size_t i = 0; n_bf16 && n_f16 && !status && i < t->n_entries; i++)
        if (t->entries[i].tensor->dtype == rare)
            status = moeq_complain(&t->complaints, MOEQ_FOUND_MIXED_DTYPE, t->entries[i].tensor->name, "",
                                   detail, err);
    return status;
}

/* Whether a tensor belongs to the MTP layer `layer`. The stages that a later DeepSeek-V4 has instead are no
 * such layers: they have no e_proj. */
static bool is_of_mtp(const struct tensors *t, const char *name, uint32_t layer)
{
    char v4[48];
    if (t->config->design != MOEQ_DESIGN_V4)
        return moeq_name_parse(name).layer == (int)layer;
    snprintf(v4, sizeof v4, MTP_PREFIX "%u.e_proj.", layer - t->config->n_layers);
    return starts_with(name, v4);
}

/* Whether files or index know a tensor of this layer. */
static bool has_mtp(const struct tensors *t, uint32_t layer)
{
    const char *name;
    json_t *value;
    bool found = false;
    for (size_t i = 0; !found && i < t->n_entries; i++)
        found = is_of_mtp(t, t->entries[i].tensor->name, layer);
    if (!found)
        json_object_foreach((json_t *)t->shards->weight_map, name, value)
        {
            found = found || is_of_mtp(t, name, layer);
        }
    return found;
}

/* The names of the text part of a model that also sees have a prefix. */
static const char *find_prefix(const struct tensors *t)
{
    const char *name;
    json_t *value;
    for (size_t i = 0; i < t->n_entries; i++)
        if (starts_with(t->entries[i].tensor->name, MOEQ_TEXT_PREFIX))
            return MOEQ_TEXT_PREFIX;
    json_object_foreach((json_t *)t->shards->weight_map, name, value)
    {
        if (starts_with(name, MOEQ_TEXT_PREFIX))
            return MOEQ_TEXT_PREFIX;
    }
    return "";
}

/* MTP layers that are there. Some releases carry one and say 0; one that is left out is not needed to run. */
static uint32_t count_mtp(const struct tensors *t)
{
    const struct moeq_config *c = t->config;
    uint32_t n = 0, at_most = c->n_mtp_layers ? c->n_mtp_layers : 1;
    while (n < at_most && has_mtp(t, c->n_layers + n))
        n++;
    return n;
}

static void report_mtp(const struct tensors *t)
{
    if (t->n_mtp < t->config->n_mtp_layers)
        moeq_found(&t->download->findings, MOEQ_FOUND_NO_MTP, t->config->n_mtp_layers - t->n_mtp, NULL, NULL,
                   "MTP layers: config.json says %u, here are %u; predicting the next token needs none",
                   t->config->n_mtp_layers, t->n_mtp);
}

/* Of shards that cannot be seen, config.json is believed. */
static bool have_fp8(const struct tensors *t)
{
    bool found = !t->shards->complete;
    for (size_t i = 0; !found && i < t->n_entries; i++)
        found = t->entries[i].tensor->dtype == MOEQ_F8_E4M3;
    return found;
}

static enum moeq_status compare_model(struct tensors *t, struct moeq_tensor_report *report,
                                      struct moeq_error *err)
{
    struct moeq_findings *findings = &t->download->findings;
    t->n_mtp = count_mtp(t);
    const struct moeq_expected_files files = {look_up, t, find_prefix(t), have_fp8(t), t->n_mtp};
    const uint64_t n_weights = moeq_expected_count(t->config, t->n_mtp);
    if (n_weights > MAX_EXPECTED) {
        moeq_found(findings, MOEQ_FOUND_JSON, 1, "config.json", "download it again",
                   "it calls for %llu weights, more than any model has", (unsigned long long)n_weights);
        return MOEQ_OK;
    }
    if (!t->shards->weight_map && !t->shards->complete) {
        moeq_found(findings, MOEQ_FOUND_NOT_COMPARED, 1, NULL, NULL,
                   "the tensors were not compared with config.json: shards are missing or damaged, and no "
                   "index says what they should hold");
        return MOEQ_OK;
    }
    report->compared = true;
    report_mtp(t);
    enum moeq_status status = moeq_expected_all(t->config, &files, meet_weight, t, err);
    report->n_expected = t->n_expected;
    if (!status)
        status = judge_others(t, err);
    return status ? status : judge_mixture(t, err);
}

/* A configuration that cannot be used leaves the rest of the check as it is. */
static enum moeq_status compare_config(struct tensors *t, struct moeq_tensor_report *report,
                                       struct moeq_error *err)
{
    struct moeq_config config = {0};
    struct moeq_error problem = {0};
    char advice[MOEQ_ADVICE_BYTES];
    struct moeq_findings *findings = &t->download->findings;
    if (t->download->layout == MOEQ_LAYOUT_FILE)
        return MOEQ_OK;
    json_t *json = moeq_download_json(t->download, "config.json", 16u << 20, true);
    if (!json)
        return MOEQ_OK;
    enum moeq_status status = moeq_config_read(&config, json, &problem);
    json_decref(json);
    snprintf(report->architecture, sizeof report->architecture, "%s", config.architecture);
    t->config = &config;
    if (!status)
        status = compare_model(t, report, err);
    else if (status == MOEQ_UNSUPPORTED)
        moeq_found(findings, MOEQ_FOUND_NOT_COMPARED, 1, "config.json", NULL,
                   "the tensors were not compared with what the architecture has: %s", problem.message);
    else if (status != MOEQ_OVER_MEMORY)
        moeq_found(findings, MOEQ_FOUND_JSON, 1, "config.json",
                   moeq_download_advice(t->download, "config.json", true, advice), "%s", problem.message);
    else if (err)
        *err = problem;
    t->config = NULL;
    return status == MOEQ_OVER_MEMORY ? status : MOEQ_OK;
}

enum moeq_status moeq_tensors_check(const struct moeq_shards *shards, struct moeq_download *download,
                                    struct moeq_tensor_report *report, struct moeq_error *err)
{
    struct tensors t = {.shards = shards, .download = download};
    *report = (struct moeq_tensor_report){0};
    enum moeq_status status = gather(&t, err);
    report->n_tensors = t.n_entries;
    if (!status)
        status = find_twice(&t, err);
    if (!status)
        status = compare_index(&t, err);
    if (!status)
        compare_total(&t);
    if (!status)
        status = compare_config(&t, report, err);
    if (!status)
        status = moeq_complaints_report(&t.complaints, &download->findings, err);
    moeq_complaints_free(&t.complaints);
    free(t.entries);
    return status;
}
