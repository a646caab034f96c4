#include "summary.h"

#include "verb.h"

#include <stdlib.h>

/* Lines that a tensor is compared with, the last ones: a model has some dozens, a hostile file as many as it
 * has tensors. */
#define MAX_COMPARED 1000

/* Tensors that share a line. */
struct line {
    const struct moeq_plan_item *first;
    uint64_t n_tensors, n_weights, n_bytes_before, n_bytes;
    bool has_goals;  /* of several steps, or bits a weight, of level ec */
    char layers[64]; /* "0, 2-5" */
    int range_begin, range_end;
};

static bool same_line(const struct moeq_plan_item *a, const struct moeq_plan_item *b)
{
    return a->weight->id.part == b->weight->id.part && a->weight->rows == b->weight->rows &&
           a->weight->cols == b->weight->cols && moeq_format_equal(a->weight->format, b->weight->format) &&
           moeq_format_equal(a->format, b->format) && strcmp(a->reason, b->reason) == 0;
}

static void close_range(struct line *line)
{
    size_t n = strlen(line->layers);
    const char *comma = n ? "," : "";
    if (line->range_begin < 0)
        return;
    if (line->range_begin == line->range_end)
        snprintf(line->layers + n, sizeof line->layers - n, "%s%d", comma, line->range_begin);
    else
        snprintf(line->layers + n, sizeof line->layers - n, "%s%d-%d", comma, line->range_begin,
                 line->range_end);
}

static void add_item(struct line *line, const struct moeq_plan_item *item)
{
    const struct moeq_weight *w = item->weight;
    if (!line->first) {
        *line = (struct line){.first = item, .range_begin = w->id.layer, .range_end = w->id.layer};
    } else if (w->id.layer >= 0 && w->id.layer > line->range_end + 1) {
        close_range(line);
        line->range_begin = line->range_end = w->id.layer;
    } else if (w->id.layer >= 0) {
        line->range_end = w->id.layer;
    }
    line->has_goals |=
        item->format.bits != line->first->format.bits || item->format.step != line->first->format.step;
    line->n_tensors++;
    line->n_weights += w->rows * w->cols;
    line->n_bytes_before += w->n_bytes;
    line->n_bytes += item->n_bytes;
}

/* "mlp.experts.*.gate_proj.weight": the name without its layer, the expert as a star. */
static const char *line_name(const struct moeq_plan_item *item, char *dst, size_t capacity)
{
    const struct moeq_name *id = &item->weight->id;
    const char *tail = item->weight->name;
    if (id->part == MOEQ_PART_OTHER)
        snprintf(dst, capacity, "%s", tail);
    else if (id->part >= MOEQ_PART_VISION) /* parts of many names */
        snprintf(dst, capacity, "(%s)", moeq_role_name(moeq_part_role(id->part)));
    else {
        char prefix[64], full[MOEQ_NAME_BYTES];
        snprintf(prefix, sizeof prefix, "model.layers.%d.", id->layer);
        moeq_name_format(id->part, id->layer, 0, full, sizeof full);
        tail = id->layer >= 0 ? full + strlen(prefix) : full;
        const char *number = id->expert >= 0 ? strchr(tail, '0') : NULL;
        snprintf(dst, capacity, "%.*s%s%s", (int)(number ? number - tail : (long)strlen(tail)), tail,
                 number ? "*" : "", number ? number + 1 : "");
    }
    return dst;
}

static void print_line(FILE *out, const struct line *line)
{
    char name[MOEQ_NAME_BYTES], before[MOEQ_FORMAT_BYTES], after[MOEQ_FORMAT_BYTES], size[MOEQ_SIZE_TEXT];
    char shape[48];
    const struct moeq_weight *w = line->first->weight;
    struct moeq_format to = line->first->format;
    if (line->has_goals)
        to.bits = to.step = 0;
    snprintf(shape, sizeof shape, "%llux%llu", (unsigned long long)w->rows, (unsigned long long)w->cols);
    moeq_print_text(out, line_name(line->first, name, sizeof name), 40);
    fprintf(out, " %6llu %13s  %-5s -> %-13s %11s  %-9s  %s\n", (unsigned long long)line->n_tensors, shape,
            moeq_format_text(w->format, before), moeq_format_text(to, after),
            moeq_size_text((double)line->n_bytes, size), line->layers[0] ? line->layers : "-",
            line->first->reason);
}

enum moeq_status moeq_summary_print(FILE *out, const struct moeq_plan *plan, struct moeq_error *err)
{
    struct line *lines = moeq_calloc(plan->n_items, sizeof *lines, err);
    size_t n = 0;
    if (!lines)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < plan->n_items; i++) {
        const bool alone = plan->items[i].weight->id.part == MOEQ_PART_OTHER;
        size_t l = alone ? n : n > MAX_COMPARED ? n - MAX_COMPARED : 0;
        while (l < n && !same_line(lines[l].first, &plan->items[i]))
            l++;
        add_item(&lines[l], &plan->items[i]);
        n += l == n;
    }
    fprintf(out, "%-40s %6s %13s  %-22s %11s  %-9s  %s\n", "tensors", "number", "shape", "level", "bytes",
            "layers", "reason");
    uint64_t n_weights = 0, n_bytes = 0;
    for (size_t l = 0; l < n; l++) {
        close_range(&lines[l]);
        print_line(out, &lines[l]);
        n_weights += lines[l].n_weights;
        n_bytes += lines[l].n_bytes;
    }
    fprintf(out, "%-40s %6zu %13s  %-22s %llu bytes, %.3f bits per weight\n", "all", plan->n_items, "", "",
            (unsigned long long)n_bytes, n_weights ? 8.0 * (double)n_bytes / (double)n_weights : 0);
    free(lines);
    return MOEQ_OK;
}

json_t *moeq_summary_json(const struct moeq_plan *plan)
{
    json_t *list = json_array();
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct moeq_plan_item *item = &plan->items[i];
        char before[MOEQ_FORMAT_BYTES], after[MOEQ_FORMAT_BYTES];
        moeq_json_append(&list, json_pack("{s:s, s:o, s:s, s:s, s:I, s:I, s:s}", "name", item->weight->name,
                                          "shape", moeq_json_shape(item->weight->shape, item->weight->n_dims),
                                          "from", moeq_format_text(item->weight->format, before), "to",
                                          moeq_format_text(item->format, after), "source_bytes",
                                          (json_int_t)item->weight->n_bytes, "n_bytes",
                                          (json_int_t)item->n_bytes, "reason", item->reason));
    }
    return list;
}
