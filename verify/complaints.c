#include "complaints.h"

#include "bytes.h"
#include "name_groups.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_GROUPS  6  /* of names that a finding spells out */
#define MAX_DETAILS 40 /* findings of one kind: beyond, they are counted */

static const char of_two_downloads[] = "index and shards are of different downloads: download both again";
static const char of_another_model[] =
    "config.json, index and shards are not of one release: download the folder again";

/* "N tensors" goes in front of `text`. */
static const struct phrase {
    const char *text, *advice;
} phrases[MOEQ_N_FINDING_KINDS] = {
    [MOEQ_FOUND_TENSOR_NOT_IN_SHARD] = {"the index promises here and this shard lacks", of_two_downloads},
    [MOEQ_FOUND_TENSOR_NOT_IN_INDEX] = {"of this shard that the index does not know", of_two_downloads},
    [MOEQ_FOUND_TENSOR_TWICE] = {"that another shard holds too", of_two_downloads},
    [MOEQ_FOUND_TENSOR_MISSING] = {"missing that config.json calls for", of_another_model},
    [MOEQ_FOUND_TENSOR_SHAPE] = {"of another shape than config.json calls for", of_another_model},
    [MOEQ_FOUND_TENSOR_DTYPE] = {"of a dtype that such a tensor never has", of_another_model},
    [MOEQ_FOUND_TENSOR_UNEXPECTED] = {"that config.json does not call for", of_another_model},
    [MOEQ_FOUND_TENSOR_UNKNOWN] = {"of no name that this architecture knows", ""},
    [MOEQ_FOUND_MIXED_DTYPE] = {"of another dtype than most", ""},
};

enum moeq_status moeq_complain(struct moeq_complaints *complaints, enum moeq_finding_kind kind,
                               const char *name, const char *file, const char *detail, struct moeq_error *err)
{
    struct moeq_complaints *c = complaints;
    struct moeq_complaint *items = moeq_grown(c->items, c->n_items, &c->capacity, sizeof *items, err);
    if (!items)
        return MOEQ_OVER_MEMORY;
    c->items = items;
    struct moeq_complaint *to = &c->items[c->n_items];
    *to = (struct moeq_complaint){.kind = kind, .file = file, .name = moeq_strdup(name, err)};
    if (!to->name)
        return MOEQ_OVER_MEMORY;
    snprintf(to->detail, sizeof to->detail, "%s", detail);
    c->n_items++;
    return MOEQ_OK;
}

static int compare_subjects(const struct moeq_complaint *x, const struct moeq_complaint *y)
{
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    int order = strcmp(x->file, y->file);
    return order ? order : strcmp(x->detail, y->detail);
}

static int by_subject(const void *a, const void *b)
{
    const struct moeq_complaint *x = a, *y = b;
    int order = compare_subjects(x, y);
    return order ? order : strcmp(x->name, y->name);
}

static enum moeq_status report_run(const struct moeq_complaint *run, size_t n, const char **names,
                                   struct moeq_findings *findings, struct moeq_error *err)
{
    struct moeq_name_groups groups;
    for (size_t i = 0; i < n; i++)
        names[i] = run[i].name;
    enum moeq_status status = moeq_name_groups_make(names, n, &groups, err);
    char *text = status ? NULL : moeq_name_groups_text(&groups, MAX_GROUPS, err);
    if (text) {
        const struct phrase *p = &phrases[run->kind];
        moeq_found(findings, run->kind, n, run->file, p->advice, "%zu tensor%s %s%s%s: %s", n,
                   n == 1 ? "" : "s", p->text, run->detail[0] ? ", " : "", run->detail, text);
    }
    free(text);
    moeq_name_groups_free(&groups);
    return text ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

/* Too many different things of one kind to list. */
static void report_rest(const struct moeq_complaint *run, size_t n, struct moeq_findings *findings)
{
    moeq_found(findings, run->kind, n, NULL, phrases[run->kind].advice, "%zu more tensors %s", n,
               phrases[run->kind].text);
}

enum moeq_status moeq_complaints_report(struct moeq_complaints *complaints, struct moeq_findings *findings,
                                        struct moeq_error *err)
{
    struct moeq_complaint *items = complaints->items;
    const size_t n = complaints->n_items;
    const char **names = moeq_calloc(n, sizeof *names, err);
    enum moeq_status status = names ? MOEQ_OK : MOEQ_OVER_MEMORY;
    size_t n_of_kind = 0;
    if (!status && n)
        qsort(items, n, sizeof *items, by_subject);
    for (size_t i = 0; !status && i < n;) {
        size_t end = i + 1;
        n_of_kind = i && items[i - 1].kind == items[i].kind ? n_of_kind + 1 : 1;
        if (n_of_kind > MAX_DETAILS) {
            while (end < n && items[end].kind == items[i].kind)
                end++;
            report_rest(&items[i], end - i, findings);
        } else {
            while (end < n && compare_subjects(&items[i], &items[end]) == 0)
                end++;
            status = report_run(&items[i], end - i, names, findings, err);
        }
        i = end;
    }
    free(names);
    return status;
}

void moeq_complaints_free(struct moeq_complaints *complaints)
{
    for (size_t i = 0; i < complaints->n_items; i++)
        free(complaints->items[i].name);
    free(complaints->items);
    *complaints = (struct moeq_complaints){0};
}
