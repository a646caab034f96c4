#include "plan.h"

#include "batches.h"
#include "calibrated.h"
#include "coded.h"
#include "level_plan.h"
#include "pieces.h"

#include <stdio.h>
#include <stdlib.h>

#define MODEL_PREFIX "model."

/* ---- rules ---- */

enum moeq_status moeq_rule_parse(const char *text, struct moeq_format defaults, struct moeq_rule *out,
                                 struct moeq_error *err)
{
    const char *equals = strrchr(text, '=');
    *out = (struct moeq_rule){.text = text};
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof out->key) {
        moeq_fail(err, MOEQ_USAGE, "\"%s\" is not a rule", text);
        moeq_error_hint(err, "rules look like experts=int4-g64 or layers.0.*=bf16");
        return MOEQ_USAGE;
    }
    memcpy(out->key, text, (size_t)(equals - text));
    out->is_role = moeq_role_find(out->key, &out->role);
    if (out->is_role &&
        (out->role == MOEQ_ROLE_ROUTER || out->role == MOEQ_ROLE_NORM || out->role == MOEQ_ROLE_INDEXER ||
         out->role == MOEQ_ROLE_VISION || out->role == MOEQ_ROLE_STREAMS || out->role == MOEQ_ROLE_OTHER)) {
        moeq_fail(err, MOEQ_USAGE, "rule %s: norms, routers and indexers always keep their precision", text);
        moeq_error_hint(err, "roles: experts, shared, dense, attn, embed, head, mtp");
        return MOEQ_USAGE;
    }
    out->keep = strcmp(equals + 1, "keep") == 0;
    return out->keep ? MOEQ_OK : moeq_format_parse(equals + 1, defaults, &out->format, err);
}

static bool rule_matches(const struct moeq_rule *rule, const struct moeq_config *config,
                         const struct moeq_weight *w)
{
    if (rule->is_role) {
        bool in_mtp = w->id.layer >= 0 && (uint32_t)w->id.layer >= config->n_layers;
        return rule->role == moeq_part_role(w->id.part) || (rule->role == MOEQ_ROLE_MTP && in_mtp);
    }
    const char *name = moeq_name_in_text(w->name);
    if (moeq_glob_match(rule->key, w->name) || moeq_glob_match(rule->key, name))
        return true;
    size_t n = strlen(MODEL_PREFIX);
    return strncmp(name, MODEL_PREFIX, n) == 0 && moeq_glob_match(rule->key, name + n);
}

/* The request's rules come first, then those of its levels. */
static size_t n_rules(const struct moeq_plan_request *request)
{
    return request->n_rules + (request->levels ? request->levels->n_rules : 0);
}

static const struct moeq_rule *rule_at(const struct moeq_plan_request *request, size_t i)
{
    return i < request->n_rules ? &request->rules[i] : &request->levels->rules[i - request->n_rules];
}

static bool is_outside_layers(enum moeq_role role)
{
    return role == MOEQ_ROLE_EMBED || role == MOEQ_ROLE_HEAD;
}

/* What a weight is encoded with decides its bytes: the reason, which the plan's hash covers, says it. */
static void name_statistics(struct moeq_plan_item *item, const struct moeq_statistics *statistics)
{
    char hex[MOEQ_HASH_HEX];
    const size_t used = strlen(item->reason);
    item->is_calibrated = statistics && !moeq_format_keeps(item->format, item->weight->format) &&
                          moeq_calibrated_applies(statistics, item->weight, &item->format);
    if (!item->is_calibrated)
        return;
    moeq_hash_hex(statistics->hash, hex);
    snprintf(item->reason + used, sizeof item->reason - used, ", calibrated on %.12s", hex);
}

/* The bytes of a tensor that becomes integers depend on how its scales are found: the reason says so, and
 * through it the plan's hash. The default goes without saying. */
static void name_scales(struct moeq_plan_item *item)
{
    const size_t n = strlen(item->reason);
    if (item->format.scales != MOEQ_SCALES_SEARCH && !moeq_format_equal(item->format, item->weight->format))
        snprintf(item->reason + n, sizeof item->reason - n, ", %s scales",
                 moeq_scales_names[item->format.scales]);
}

static void keep(struct moeq_plan_item *item, const char *reason)
{
    item->format = item->weight->format;
    snprintf(item->reason, sizeof item->reason, "%s", reason);
}

/* Bytes of a rule in a reason: what is said behind it decides bytes, and must fit. */
#define MOST_OF_RULE 180

/* Of a rule: what it matched so far. */
enum { MATCHED = 1, MATCHED_FIXED = 2 };

/* Sets format and reason of one item; `used` has the matches of each rule. */
static enum moeq_status decide(struct moeq_plan_item *item, const struct moeq_config *config,
                               const struct moeq_plan_request *request, size_t *used, struct moeq_error *err)
{
    const struct moeq_weight *w = item->weight;
    const enum moeq_role role = moeq_part_role(w->id.part);
    const struct moeq_level_entry *entry =
        request->levels ? moeq_level_plan_find(request->levels, w->name) : NULL;
    const struct moeq_rule *rule = NULL;
    item->native = moeq_stored_natively(w->id.part, w->format);
    const bool is_fixed = item->native || !moeq_part_quantizable(w->id.part);
    for (size_t i = 0; !entry && !rule && i < n_rules(request); i++)
        if (rule_matches(rule_at(request, i), config, w)) {
            rule = rule_at(request, i);
            used[i] |= is_fixed ? MATCHED_FIXED : MATCHED;
        }
    if (is_fixed) {
        keep(item, role == MOEQ_ROLE_OTHER ? "kept: not part of this architecture"
                                           : "kept: always at its precision");
        return MOEQ_OK;
    }
    if (entry) {
        item->format = entry->keep ? w->format : entry->format;
        snprintf(item->reason, sizeof item->reason, "plan");
    } else if (rule) {
        item->by_rule = true;
        item->format = rule->keep ? w->format : rule->format;
        snprintf(item->reason, sizeof item->reason, "rule %.*s", MOST_OF_RULE, rule->text);
    } else if (request->has_level && !is_outside_layers(role)) {
        item->format = request->level;
        char text[MOEQ_FORMAT_BYTES];
        snprintf(item->reason, sizeof item->reason, "level %s", moeq_format_text(request->level, text));
    } else {
        keep(item, request->has_level ? "kept: embedding and head need a rule" : "kept: lossless");
    }
    if (w->n_bytes == 0 && item->format.level->is_coded) /* of nothing there is nothing to code */
        item->format = w->format;
    if (!moeq_format_keeps(item->format, w->format) && moeq_format_check_made(item->format, err)) {
        moeq_error_in_tensor(err, w->name);
        return MOEQ_USAGE;
    }
    name_scales(item);
    name_statistics(item, request->statistics);
    return MOEQ_OK;
}

/* ---- order ---- */

enum { FILE_EMBED, FILE_LAYER, FILE_HEAD, FILE_MTP, FILE_OTHER };

static int file_kind(const struct moeq_config *config, const struct moeq_name *id)
{
    if (id->layer >= 0)
        return (uint32_t)id->layer < config->n_layers ? FILE_LAYER : FILE_MTP;
    if (id->part == MOEQ_PART_EMBED)
        return FILE_EMBED;
    return id->part == MOEQ_PART_FINAL_NORM || id->part == MOEQ_PART_HEAD ? FILE_HEAD : FILE_OTHER;
}

static void file_name(const struct moeq_config *config, const struct moeq_name *id, char *dst,
                      size_t capacity)
{
    static const char *const names[] = {
        [FILE_EMBED] = "embed", [FILE_HEAD] = "head", [FILE_MTP] = "mtp", [FILE_OTHER] = "other"};
    int kind = file_kind(config, id);
    if (kind == FILE_LAYER)
        snprintf(dst, capacity, "layer-%03d.safetensors", id->layer);
    else
        snprintf(dst, capacity, "%s.safetensors", names[kind]);
}

/* Where an item lies: file, matrices before native tensors, experts after the others, parts in their order.
 */
struct sort_key {
    int keys[5];
    const char *name;
    size_t item;
};

static int by_key(const void *a, const void *b)
{
    const struct sort_key *x = a, *y = b;
    for (size_t i = 0; i < sizeof x->keys / sizeof *x->keys; i++)
        if (x->keys[i] != y->keys[i])
            return x->keys[i] < y->keys[i] ? -1 : 1;
    return strcmp(x->name, y->name);
}

static enum moeq_status sort_items(struct moeq_plan *plan, struct moeq_error *err)
{
    struct sort_key *order = moeq_calloc(plan->n_items, sizeof *order, err);
    struct moeq_plan_item *sorted = moeq_calloc(plan->n_items, sizeof *sorted, err);
    if (!order || !sorted) {
        free(order);
        free(sorted);
        return MOEQ_OVER_MEMORY;
    }
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct moeq_plan_item *item = &plan->items[i];
        const struct moeq_name *id = &item->weight->id;
        order[i] = (struct sort_key){
            {file_kind(&plan->source->config, id), id->layer, item->native, id->expert, (int)id->part},
            item->weight->name,
            i};
    }
    qsort(order, plan->n_items, sizeof *order, by_key);
    for (size_t i = 0; i < plan->n_items; i++)
        sorted[i] = plan->items[order[i].item];
    free(order);
    free(plan->items);
    plan->items = sorted;
    return MOEQ_OK;
}

/* ---- layout ---- */

static bool continues_segment(const struct moeq_plan_item *item, const struct moeq_plan_item *previous)
{
    return !item->native && !previous->native && item->weight->id.expert >= 0 &&
           item->weight->id.expert == previous->weight->id.expert &&
           item->weight->id.layer == previous->weight->id.layer;
}

static void name_segment(struct moeq_plan_segment *segment, const struct moeq_plan_item *item)
{
    const struct moeq_name *id = &item->weight->id;
    segment->name = item->weight->name;
    if (item->native || id->expert < 0)
        return;
    snprintf(segment->expert_name, sizeof segment->expert_name, "model.layers.%d.mlp.experts.%d", id->layer,
             id->expert);
    segment->name = segment->expert_name;
}

static void group_items(struct moeq_plan *plan)
{
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct moeq_plan_item *item = &plan->items[i];
        char name[sizeof plan->files->name];
        file_name(&plan->source->config, &item->weight->id, name, sizeof name);
        bool new_file = i == 0 || strcmp(name, plan->files[plan->n_files - 1].name) != 0;
        if (new_file) {
            struct moeq_plan_file *file = &plan->files[plan->n_files++];
            memcpy(file->name, name, sizeof name);
            file->first = plan->n_segments;
        }
        if (new_file || !continues_segment(item, &plan->items[i - 1])) {
            struct moeq_plan_segment *segment = &plan->segments[plan->n_segments++];
            segment->first = i;
            name_segment(segment, item);
            plan->files[plan->n_files - 1].n_segments++;
        }
        struct moeq_plan_segment *segment = &plan->segments[plan->n_segments - 1];
        segment->n_items++;
        plan->files[plan->n_files - 1].has_coded |= item->is_coded;
    }
}

bool moeq_plan_is_estimated(const struct moeq_plan *plan)
{
    for (size_t i = 0; i < plan->n_items; i++)
        if (plan->items[i].is_coded && !moeq_item_is_carried(&plan->items[i]))
            return true;
    return false;
}

uint64_t moeq_plan_padded(const struct moeq_plan *plan, size_t item, uint64_t n)
{
    const struct moeq_plan_item *it = &plan->items[item];
    uint64_t before = 0;
    if (item + 1 < plan->n_items && it[1].is_coded && continues_segment(it + 1, it))
        return n;
    for (size_t i = item; i && continues_segment(&plan->items[i], &plan->items[i - 1]); i--)
        before += plan->items[i - 1].n_bytes;
    return moeq_round_up(before + n, MOEQ_PACKED_ALIGNMENT) - before;
}

void moeq_plan_sum_file(struct moeq_plan *plan, size_t file)
{
    struct moeq_plan_file *f = &plan->files[file];
    f->n_bytes = f->n_head + f->n_segments * MOEQ_HASH_BYTES;
    for (size_t s = f->first; s < f->first + f->n_segments; s++) {
        struct moeq_plan_segment *segment = &plan->segments[s];
        segment->n_bytes = 0;
        for (size_t i = segment->first; i < segment->first + segment->n_items; i++)
            segment->n_bytes += plan->items[i].n_bytes; /* these come from files: far below 2^63 */
        f->n_bytes += segment->n_bytes;
    }
}

bool moeq_plan_adopt_sizes(struct moeq_plan *plan, size_t file, const struct moeq_safetensors *written)
{
    size_t first, n;
    moeq_plan_file_items(plan, &plan->files[file], &first, &n);
    if (written->n_tensors != n + 1)
        return false;
    for (size_t i = 0; i < n; i++)
        if (plan->items[first + i].is_coded && written->tensors[i].n_bytes > plan->items[first + i].n_room)
            return false;
    for (size_t i = 0; i < n; i++)
        if (plan->items[first + i].is_coded)
            plan->items[first + i].n_bytes = written->tensors[i].n_bytes;
    moeq_plan_sum_file(plan, file);
    return true;
}

void moeq_plan_file_items(const struct moeq_plan *plan, const struct moeq_plan_file *file, size_t *first,
                          size_t *n)
{
    const struct moeq_plan_segment *last = &plan->segments[file->first + file->n_segments - 1];
    *first = plan->segments[file->first].first;
    *n = last->first + last->n_items - *first;
}

enum moeq_status moeq_plan_file_head(const struct moeq_plan *plan, const struct moeq_plan_file *file,
                                     struct moeq_hash plan_hash, struct moeq_hash made_from,
                                     struct moeq_bytes *head, struct moeq_error *err)
{
    const uint64_t hashes_shape[2] = {file->n_segments, MOEQ_HASH_BYTES};
    char plan_hex[MOEQ_HASH_HEX], from_hex[MOEQ_HASH_HEX];
    size_t first, n;
    moeq_plan_file_items(plan, file, &first, &n);
    moeq_hash_hex(plan_hash, plan_hex);
    moeq_hash_hex(made_from, from_hex);
    struct moeq_tensor *tensors = moeq_calloc(n + 1, sizeof *tensors, err);
    json_t *metadata =
        json_pack("{s:s, s:s, s:s}", "format", "moeq", MOEQ_PLAN_KEY, plan_hex, MOEQ_MADE_FROM_KEY, from_hex);
    enum moeq_status status = tensors && metadata ? MOEQ_OK : moeq_fail_alloc(err, n);
    for (size_t i = 0; !status && i < n; i++) {
        const struct moeq_plan_item *item = &plan->items[first + i];
        const struct moeq_weight *w = item->weight;
        tensors[i] =
            item->native
                ? (struct moeq_tensor){w->name, w->format.dtype, w->n_dims, w->shape, 0, item->n_bytes}
                : (struct moeq_tensor){w->name, MOEQ_U8, 1, &item->n_bytes, 0, item->n_bytes};
    }
    if (!status) {
        tensors[n] = (struct moeq_tensor){MOEQ_HASHES_TENSOR, MOEQ_U8, 2,
                                          hashes_shape,       0,       file->n_segments * MOEQ_HASH_BYTES};
        status = moeq_safetensors_build(tensors, n + 1, metadata, head, err);
    }
    free(tensors);
    json_decref(metadata);
    return status ? status : moeq_safetensors_pad_head(head, file->n_head, err);
}

/* Bytes of the header at most: with the largest numbers that may stand in it. */
static enum moeq_status find_head(struct moeq_plan *plan, struct moeq_plan_file *file,
                                  struct moeq_bytes *head, struct moeq_error *err)
{
    uint64_t *sizes;
    size_t first, n;
    moeq_plan_file_items(plan, file, &first, &n);
    if (!(sizes = moeq_calloc(n, sizeof *sizes, err)))
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < n; i++) {
        sizes[i] = plan->items[first + i].n_bytes;
        plan->items[first + i].n_bytes = plan->items[first + i].n_room;
    }
    enum moeq_status status =
        moeq_plan_file_head(plan, file, (struct moeq_hash){{0}}, (struct moeq_hash){{0}}, head, err);
    for (size_t i = 0; i < n; i++)
        plan->items[first + i].n_bytes = sizes[i];
    free(sizes);
    file->n_head = head->n_bytes;
    return status;
}

static enum moeq_status lay_out(struct moeq_plan *plan, struct moeq_error *err)
{
    struct moeq_bytes head = {0};
    enum moeq_status status = sort_items(plan, err);
    plan->segments = moeq_calloc(plan->n_items, sizeof *plan->segments, err);
    plan->files = moeq_calloc(plan->n_items, sizeof *plan->files, err);
    if (!plan->segments || !plan->files)
        status = MOEQ_OVER_MEMORY;
    if (!status)
        group_items(plan);
    for (size_t i = 0; !status && i < plan->n_items; i++) {
        struct moeq_plan_item *item = &plan->items[i];
        if (!item->is_coded)
            continue;
        item->n_bytes = moeq_plan_padded(plan, i, item->n_bytes);
        item->n_room = moeq_round_up(moeq_larger(item->n_bytes, item->n_room) + MOEQ_PACKED_ALIGNMENT,
                                     MOEQ_PACKED_ALIGNMENT);
    }
    for (size_t i = 0; !status && i < plan->n_files; i++) {
        status = find_head(plan, &plan->files[i], &head, err);
        moeq_plan_sum_file(plan, i);
    }
    moeq_bytes_free(&head);
    return status;
}

/* ---- making ---- */

/* Bits of a weight that is coded at a step of which nothing more is known. */
#define UNKNOWN_BITS 4

/* Whether an item is coded, which of what need not be is said in its reason: it decides bytes. */
static void find_coding(struct moeq_plan_item *item, enum moeq_coding coding)
{
    const struct moeq_weight *w = item->weight;
    const size_t n = strlen(item->reason);
    struct moeq_pieces pieces;
    item->is_coded = item->format.level->is_coded;
    if (item->is_coded || item->native || !moeq_pieces_of(item->format, w->rows, w->cols, &pieces))
        return;
    item->is_coded = coding == MOEQ_CODING_KEEP ? w->is_coded && moeq_format_equal(item->format, w->format)
                                                : coding == MOEQ_CODING_CODED;
    if (item->is_coded)
        snprintf(item->reason + n, sizeof item->reason - n, ", coded");
}

/* About how many bytes an item takes that is yet to be coded. */
static uint64_t estimate_coded(const struct moeq_plan_item *item)
{
    const struct moeq_weight *w = item->weight;
    const double bits = item->format.bits > 0 ? (double)item->format.bits : UNKNOWN_BITS;
    struct moeq_pieces pieces;
    if (!moeq_pieces_of(item->format, w->rows, w->cols, &pieces))
        return (uint64_t)(bits / 8 * (double)w->rows * (double)w->cols);
    return (uint64_t)(pieces.share * (double)pieces.n_codes) + pieces.n_bytes - pieces.n_codes;
}

/* Bytes in the file; of what is coded about how many, and how many at most. */
static enum moeq_status find_size(struct moeq_plan_item *item, struct moeq_error *err)
{
    const struct moeq_weight *w = item->weight;
    uint64_t n_bytes, n_padded;
    enum moeq_status status = moeq_packed_size(item->format, w->rows, w->cols, &n_bytes, &n_padded, err);
    if (status)
        return status;
    item->n_bytes = item->n_room = item->native ? n_bytes : n_padded;
    if (!item->is_coded)
        return MOEQ_OK;
    if (moeq_item_is_carried(item)) {
        item->n_bytes = item->n_room = w->n_stored;
        return MOEQ_OK;
    }
    item->n_bytes = estimate_coded(item);
    return moeq_coded_most_bytes(item->format, w->rows, w->cols, &item->n_room, err);
}

static enum moeq_status decide_all(struct moeq_plan *plan, const struct moeq_plan_request *request,
                                   struct moeq_error *err)
{
    size_t *used = moeq_calloc(n_rules(request), sizeof *used, err);
    enum moeq_status status = used ? MOEQ_OK : MOEQ_OVER_MEMORY;
    if (!status && request->levels)
        status = moeq_level_plan_check_names(request->levels, plan->source, err);
    for (size_t i = 0; !status && i < plan->source->n_weights; i++) {
        if (request->text_only && plan->source->weights[i].id.part == MOEQ_PART_VISION)
            continue;
        struct moeq_plan_item *item = &plan->items[plan->n_items++];
        item->weight = &plan->source->weights[i];
        if (strcmp(item->weight->name, MOEQ_HASHES_TENSOR) == 0) {
            status = moeq_fail(err, MOEQ_UNSUPPORTED, "a tensor of this name cannot be put into a package");
            moeq_error_in_tensor(err, item->weight->name);
            break;
        }
        status = decide(item, &plan->source->config, request, used, err);
        if (status)
            break;
        find_coding(item, request->coding);
        status = find_size(item, err);
    }
    for (size_t i = 0; !status && i < n_rules(request); i++)
        if (!(used[i] & MATCHED)) {
            status = moeq_fail(err, MOEQ_USAGE, "the rule %s matches %s", rule_at(request, i)->text,
                               used[i]           ? "only tensors that always keep their precision"
                               : request->levels ? "no tensor that the plan or an earlier rule left"
                                                 : "no tensor that an earlier rule left");
            moeq_error_hint(err, "roles: experts, shared, dense, attn, embed, head, mtp; names: moeq convert "
                                 "--dry-run --json");
        }
    free(used);
    return status;
}

enum moeq_status moeq_plan_make(struct moeq_plan *plan, const struct moeq_source *source,
                                const struct moeq_plan_request *request, struct moeq_error *err)
{
    *plan = (struct moeq_plan){.source = source, .statistics = request->statistics, .how = request->how};
    if (!moeq_config_is_computed(&source->config) &&
        (request->has_level || request->levels || request->n_rules)) {
        moeq_fail(err, MOEQ_UNSUPPORTED, "%s cannot be quantized, only repacked as it is",
                  source->config.architecture);
        moeq_error_in_file(err, source->path);
        return MOEQ_UNSUPPORTED;
    }
    plan->items = moeq_calloc(source->n_weights, sizeof *plan->items, err);
    enum moeq_status status = plan->items ? decide_all(plan, request, err) : MOEQ_OVER_MEMORY;
    if (!status)
        status = lay_out(plan, err);
    if (status)
        moeq_plan_free(plan);
    return status;
}

void moeq_plan_free(struct moeq_plan *plan)
{
    free(plan->items);
    free(plan->segments);
    free(plan->files);
    *plan = (struct moeq_plan){0};
}
