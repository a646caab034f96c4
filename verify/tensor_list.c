#include "tensor_list.h"

#include "verb.h"

#include <stdlib.h>

#define MAX_NAME_WIDTH 64 /* longer names push the rest of their line to the right */

static void widen(int *width, const char *glob, const char *name)
{
    const int n = moeq_glob_match(glob, name) ? moeq_text_width(name) : 0;
    if (n > *width && n <= MAX_NAME_WIDTH)
        *width = n;
}

static void print_no_match(FILE *out, const char *glob)
{
    fputs("no tensor's name matches ", out);
    moeq_print_text(out, glob, 0);
    fputc('\n', out);
}

static void print_shape(FILE *out, const uint64_t *shape, size_t n_dims)
{
    fprintf(out, "[");
    for (size_t d = 0; d < n_dims; d++)
        fprintf(out, "%s%llu", d ? ", " : "", (unsigned long long)shape[d]);
    fprintf(out, "]\n");
}

/* ---- weights of a source ---- */

void moeq_weights_print(FILE *out, const struct moeq_source *source, const char *glob)
{
    char text[MOEQ_FORMAT_BYTES];
    size_t n = 0;
    int width = 0;
    for (size_t i = 0; i < source->n_weights; i++)
        widen(&width, glob, source->weights[i].name);
    for (size_t i = 0; i < source->n_weights; i++) {
        const struct moeq_weight *w = &source->weights[i];
        if (!moeq_glob_match(glob, w->name))
            continue;
        n++;
        moeq_print_text(out, w->name, width);
        fprintf(out, "  %-9s %-7s %12llu bytes  ", moeq_format_text(w->format, text),
                moeq_role_name(moeq_part_role(w->id.part)), (unsigned long long)w->n_bytes);
        print_shape(out, w->shape, w->n_dims);
    }
    if (n == 0)
        print_no_match(out, glob);
}

static json_t *weight_json(const struct moeq_weight *w)
{
    char text[MOEQ_FORMAT_BYTES];
    return json_pack("{s:s, s:s, s:s, s:o, s:I}", "name", w->name, "role",
                     moeq_role_name(moeq_part_role(w->id.part)), "level", moeq_format_text(w->format, text),
                     "shape", moeq_json_shape(w->shape, w->n_dims), "n_bytes", (json_int_t)w->n_bytes);
}

json_t *moeq_weights_json(const struct moeq_source *source, const char *glob)
{
    json_t *list = json_array();
    for (size_t i = 0; i < source->n_weights; i++)
        if (moeq_glob_match(glob, source->weights[i].name))
            moeq_json_append(&list, weight_json(&source->weights[i]));
    return list;
}

/* ---- experts ---- */

static int by_number(const void *a, const void *b)
{
    const struct moeq_name *x = &(*(const struct moeq_weight *const *)a)->id;
    const struct moeq_name *y = &(*(const struct moeq_weight *const *)b)->id;
    return x->layer != y->layer ? (x->layer > y->layer ? 1 : -1)
                                : (x->expert > y->expert) - (x->expert < y->expert);
}

/* The three matrices of an expert in one line. */
static void print_expert(FILE *out, const struct moeq_source *s, const struct moeq_name *id)
{
    static const enum moeq_part matrices[] = {MOEQ_PART_EXPERT_GATE, MOEQ_PART_EXPERT_UP,
                                              MOEQ_PART_EXPERT_DOWN};
    char name[MOEQ_NAME_BYTES], text[MOEQ_FORMAT_BYTES];
    uint64_t n_bytes = 0;
    fprintf(out, "layer %3d expert %4d ", id->layer, id->expert);
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        const struct moeq_weight *w =
            moeq_source_find(s, moeq_name_format(matrices[i], id->layer, id->expert, name, sizeof name));
        fprintf(out, " %-13s", w ? moeq_format_text(w->format, text) : "missing");
        n_bytes += w ? w->n_bytes : 0;
    }
    fprintf(out, " %12llu bytes\n", (unsigned long long)n_bytes);
}

enum moeq_status moeq_experts_print(FILE *out, const struct moeq_source *source, struct moeq_error *err)
{
    const struct moeq_weight **gates = moeq_calloc(source->n_weights, sizeof *gates, err);
    size_t n = 0;
    if (!gates)
        return MOEQ_OVER_MEMORY;
    for (size_t i = 0; i < source->n_weights; i++)
        if (source->weights[i].id.part == MOEQ_PART_EXPERT_GATE)
            gates[n++] = &source->weights[i];
    qsort(gates, n, sizeof *gates, by_number);
    for (size_t i = 0; i < n; i++)
        print_expert(out, source, &gates[i]->id);
    free(gates);
    return MOEQ_OK;
}

/* ---- the header of a file ---- */

void moeq_header_print(FILE *out, const struct moeq_safetensors *st, const char *glob)
{
    size_t n_shown = 0;
    int width = moeq_text_width("name");
    for (size_t i = 0; i < st->n_tensors; i++)
        widen(&width, glob, st->tensors[i].name);
    fprintf(out, "%-*s  %-8s %12s %12s %12s  shape\n", width, "name", "dtype", "bytes", "from", "to");
    for (size_t i = 0; i < st->n_tensors; i++) {
        const struct moeq_tensor *t = &st->tensors[i];
        if (!moeq_glob_match(glob, t->name))
            continue;
        n_shown++;
        const unsigned long long begin = t->offset - st->data_offset, n = t->n_bytes;
        moeq_print_text(out, t->name, width);
        fprintf(out, "  %-8s %12llu %12llu %12llu  ", moeq_dtype_name(t->dtype), n, begin, begin + n);
        print_shape(out, t->shape, t->n_dims);
    }
    if (n_shown == 0 && st->n_tensors)
        print_no_match(out, glob);
}

json_t *moeq_header_json(const struct moeq_safetensors *st, const char *glob)
{
    json_t *list = json_array();
    for (size_t i = 0; i < st->n_tensors; i++) {
        const struct moeq_tensor *t = &st->tensors[i];
        if (!moeq_glob_match(glob, t->name))
            continue;
        const json_int_t begin = (json_int_t)(t->offset - st->data_offset);
        moeq_json_append(&list,
                         json_pack("{s:s, s:s, s:o, s:I, s:[I,I]}", "name", t->name, "dtype",
                                   moeq_dtype_name(t->dtype), "shape", moeq_json_shape(t->shape, t->n_dims),
                                   "n_bytes", (json_int_t)t->n_bytes, "data_offsets", begin,
                                   begin + (json_int_t)t->n_bytes));
    }
    return list;
}
