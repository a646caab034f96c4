#include "repack_manifest.h"

#include <stdlib.h>

/* ---- JSON ---- */

json_t *moeq_provenance_json(const struct moeq_provenance *provenance)
{
    json_t *list = json_array();
    for (size_t i = 0; i < provenance->n_sources; i++) {
        const struct moeq_source_file *file = &provenance->sources[i];
        char hex[MOEQ_HASH_HEX];
        moeq_hash_hex(file->contents, hex);
        json_t *json = json_pack("{s:s, s:I, s:s}", "file", file->name, "n_bytes", (json_int_t)file->n_bytes,
                                 "contents_xxh3_128", hex);
        if (provenance->has_sha256)
            moeq_json_set(&json, "sha256", json_string(file->sha256));
        moeq_json_append(&list, json);
    }
    return list;
}

/* What is known of the sources before data are read. */
static json_t *headers_json(const struct moeq_provenance *p)
{
    json_t *list = json_array();
    for (size_t i = 0; i < p->n_sources; i++) {
        char hex[MOEQ_HASH_HEX], contents[MOEQ_HASH_HEX];
        moeq_hash_hex(p->sources[i].head, hex);
        moeq_hash_hex(p->sources[i].contents, contents);
        moeq_json_append(&list, json_pack("[s, I, s, s]", p->sources[i].name,
                                          (json_int_t)p->sources[i].n_bytes, hex, contents));
    }
    return list;
}

static json_t *copies_json(const struct moeq_provenance *p)
{
    json_t *list = json_array();
    for (size_t i = 0; i < p->n_copies; i++) {
        char hex[MOEQ_HASH_HEX];
        moeq_hash_hex(p->copies[i].hash, hex);
        moeq_json_append(&list, json_pack("{s:s, s:I, s:s}", "file", p->copies[i].name, "n_bytes",
                                          (json_int_t)p->copies[i].n_bytes, "xxh3_128", hex));
    }
    return list;
}

static const char *level_text(const struct moeq_plan_item *item, char text[MOEQ_FORMAT_BYTES])
{
    return moeq_format_text(item->format, text);
}

static json_t *tensor_json(const struct moeq_plan_item *item)
{
    char level[MOEQ_FORMAT_BYTES];
    json_t *json = json_pack(
        "{s:s, s:s, s:o, s:s}", "name", item->weight->name, "level", level_text(item, level), "shape",
        moeq_json_shape(item->weight->shape, item->weight->n_dims), "reason", item->reason);
    if (item->is_coded)
        moeq_json_set(&json, "coded", json_true());
    return json;
}

static json_t *segment_json(const struct moeq_plan *plan, const struct moeq_plan_segment *segment,
                            struct moeq_hash hash)
{
    char hex[MOEQ_HASH_HEX];
    moeq_hash_hex(hash, hex);
    json_t *tensors = json_array();
    for (size_t i = 0; i < segment->n_items; i++)
        moeq_json_append(&tensors, tensor_json(&plan->items[segment->first + i]));
    return json_pack("{s:s, s:I, s:s, s:o}", "name", segment->name, "n_bytes", (json_int_t)segment->n_bytes,
                     "xxh3_128", hex, "tensors", tensors);
}

static json_t *file_json(const struct moeq_plan *plan, const struct moeq_plan_file *file,
                         const struct moeq_layer_hashes *hashes)
{
    char head[MOEQ_HASH_HEX], list[MOEQ_HASH_HEX];
    moeq_hash_hex(hashes->head, head);
    moeq_hash_hex(hashes->hashes, list);
    json_t *segments = json_array();
    for (size_t i = 0; i < file->n_segments; i++)
        moeq_json_append(&segments,
                         segment_json(plan, &plan->segments[file->first + i], hashes->segments[i]));
    return json_pack("{s:s, s:I, s:s, s:s, s:o}", "file", file->name, "n_bytes", (json_int_t)file->n_bytes,
                     "head_xxh3_128", head, "hashes_xxh3_128", list, "segments", segments);
}

enum moeq_status moeq_plan_hash(const struct moeq_plan *plan, const struct moeq_provenance *provenance,
                                struct moeq_hash *out, struct moeq_error *err)
{
    char level[MOEQ_FORMAT_BYTES];
    json_t *levels = json_object();
    for (size_t i = 0; i < plan->n_items; i++)
        moeq_json_set(&levels, plan->items[i].weight->name,
                      json_pack("[s, s]", level_text(&plan->items[i], level), plan->items[i].reason));
    json_t *all = json_pack("{s:s, s:i, s:o, s:b, s:o, s:o}", "tool", MOEQ_VERSION, "version",
                            MOEQ_PACKAGE_VERSION, "source", headers_json(provenance), "sha256",
                            provenance->has_sha256, "copies", copies_json(provenance), "levels", levels);
    if (plan->how)
        moeq_json_set(&all, "how", json_string(plan->how));
    char *text = all ? moeq_json_text(all, false) : NULL;
    enum moeq_status status = text ? MOEQ_OK : moeq_fail_alloc(err, 0);
    if (text)
        *out = moeq_hash_bytes(text, strlen(text));
    free(text);
    json_decref(all);
    return status;
}

char *moeq_repack_manifest(const struct moeq_plan *plan, const struct moeq_provenance *provenance,
                           struct moeq_hash plan_hash, const struct moeq_layer_hashes *layers,
                           const json_t *options, struct moeq_error *err)
{
    char hex[MOEQ_HASH_HEX];
    moeq_hash_hex(plan_hash, hex);
    json_t *files = json_array();
    for (size_t i = 0; i < plan->n_files; i++)
        moeq_json_append(&files, file_json(plan, &plan->files[i], &layers[i]));
    json_t *manifest =
        json_pack("{s:s, s:i, s:s, s:s, s:s, s:O, s:o, s:o, s:o}", "format", MOEQ_PACKAGE_FORMAT, "version",
                  MOEQ_PACKAGE_VERSION, "tool", "moeq " MOEQ_VERSION, "architecture",
                  plan->source->config.architecture, "plan", hex, "options", (json_t *)options, "source",
                  moeq_provenance_json(provenance), "copies", copies_json(provenance), "files", files);
    char *text = NULL;
    if (manifest)
        text = moeq_manifest_seal(manifest, err);
    else
        moeq_fail_alloc(err, 0);
    json_decref(manifest);
    return text;
}

static int64_t digits(uint64_t number)
{
    return snprintf(NULL, 0, "%llu", (unsigned long long)number);
}

/* Levels and reasons are plain words: a byte each in the manifest. */
static int64_t item_length(const struct moeq_plan_item *item)
{
    char level[MOEQ_FORMAT_BYTES];
    const int64_t coded = item->is_coded ? (int64_t)strlen(",\"coded\":true") : 0;
    return (int64_t)strlen(level_text(item, level)) + (int64_t)strlen(item->reason) + coded;
}

enum moeq_status moeq_manifest_growth(const struct moeq_plan *plan, const json_t *options,
                                      const struct moeq_plan *base, const json_t *base_options, int64_t *more,
                                      struct moeq_error *err)
{
    char *text = moeq_json_text(options, false), *base_text = moeq_json_text(base_options, false);
    enum moeq_status status = text && base_text ? MOEQ_OK : moeq_fail_alloc(err, 0);
    if (!status && (plan->n_items != base->n_items || plan->n_segments != base->n_segments ||
                    plan->n_files != base->n_files))
        status = moeq_fail(err, MOEQ_BUG, "plans of two sources");
    *more = status ? 0 : (int64_t)strlen(text) - (int64_t)strlen(base_text);
    free(text);
    free(base_text);
    if (status)
        return status;
    for (size_t i = 0; i < plan->n_items; i++)
        *more += item_length(&plan->items[i]) - item_length(&base->items[i]);
    for (size_t i = 0; i < plan->n_segments; i++)
        *more += digits(plan->segments[i].n_bytes) - digits(base->segments[i].n_bytes);
    for (size_t i = 0; i < plan->n_files; i++)
        *more += digits(plan->files[i].n_bytes) - digits(base->files[i].n_bytes);
    return MOEQ_OK;
}
