#include "findings.h"

#include "bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *name;
    enum moeq_severity severity;
} kinds[MOEQ_N_FINDING_KINDS] = {
    [MOEQ_FOUND_MISSING_FILE] = {"missing-file", MOEQ_FAILED},
    [MOEQ_FOUND_DANGLING_LINK] = {"dangling-link", MOEQ_FAILED},
    [MOEQ_FOUND_LFS_POINTER] = {"lfs-pointer", MOEQ_FAILED},
    [MOEQ_FOUND_ZEROS] = {"zeros", MOEQ_FAILED},
    [MOEQ_FOUND_SIZE] = {"size", MOEQ_FAILED},
    [MOEQ_FOUND_HEADER] = {"header", MOEQ_FAILED},
    [MOEQ_FOUND_HASH] = {"hash", MOEQ_FAILED},
    [MOEQ_FOUND_DAMAGED] = {"damaged", MOEQ_FAILED},
    [MOEQ_FOUND_UNFINISHED] = {"unfinished", MOEQ_FAILED},
    [MOEQ_FOUND_UNREADABLE] = {"unreadable", MOEQ_FAILED},
    [MOEQ_FOUND_JSON] = {"json", MOEQ_FAILED},
    [MOEQ_FOUND_INDEX] = {"index", MOEQ_FAILED},
    [MOEQ_FOUND_OUTSIDE] = {"outside", MOEQ_FAILED},
    [MOEQ_FOUND_RECORDS_DISAGREE] = {"records-disagree", MOEQ_FAILED},
    [MOEQ_FOUND_TENSOR_NOT_IN_SHARD] = {"tensor-not-in-shard", MOEQ_FAILED},
    [MOEQ_FOUND_TENSOR_NOT_IN_INDEX] = {"tensor-not-in-index", MOEQ_FAILED},
    [MOEQ_FOUND_TENSOR_TWICE] = {"tensor-twice", MOEQ_FAILED},
    [MOEQ_FOUND_TENSOR_MISSING] = {"tensor-missing", MOEQ_FAILED},
    [MOEQ_FOUND_TENSOR_SHAPE] = {"tensor-shape", MOEQ_FAILED},
    [MOEQ_FOUND_TENSOR_DTYPE] = {"tensor-dtype", MOEQ_FAILED},
    [MOEQ_FOUND_TENSOR_UNEXPECTED] = {"tensor-unexpected", MOEQ_FAILED},
    [MOEQ_FOUND_ZERO_TENSOR] = {"zero-tensor", MOEQ_WARNING},
    [MOEQ_FOUND_ZERO_REGION] = {"zero-region", MOEQ_WARNING},
    [MOEQ_FOUND_MIXED_DTYPE] = {"mixed-dtype", MOEQ_WARNING},
    [MOEQ_FOUND_NO_MTP] = {"no-mtp", MOEQ_WARNING},
    [MOEQ_FOUND_TENSOR_UNKNOWN] = {"tensor-unknown", MOEQ_WARNING},
    [MOEQ_FOUND_EXTRA_SHARD] = {"extra-shard", MOEQ_WARNING},
    [MOEQ_FOUND_TOTAL_SIZE] = {"total-size", MOEQ_WARNING},
    [MOEQ_FOUND_LINK_OUTSIDE] = {"link-outside", MOEQ_WARNING},
    [MOEQ_FOUND_MIXED_COMMITS] = {"mixed-commits", MOEQ_WARNING},
    [MOEQ_FOUND_BAD_RECORD] = {"bad-record", MOEQ_WARNING},
    [MOEQ_FOUND_LEFTOVER] = {"leftover", MOEQ_WARNING},
    [MOEQ_FOUND_NO_HASHES] = {"no-hashes", MOEQ_NOTE},
    [MOEQ_FOUND_NOT_COMPARED] = {"not-compared", MOEQ_NOTE},
    [MOEQ_FOUND_NOT_DOWNLOADED] = {"not-downloaded", MOEQ_NOTE},
};

enum moeq_severity moeq_finding_severity(enum moeq_finding_kind kind)
{
    return kinds[kind].severity;
}

const char *moeq_finding_name(enum moeq_finding_kind kind)
{
    return kinds[kind].name;
}

const char *moeq_severity_name(enum moeq_severity severity)
{
    static const char *const names[] = {"failed", "warning", "note"};
    return names[severity];
}

/* Names come out of hostile files: nothing that a terminal obeys, nothing that JSON cannot hold. */
char *moeq_text_clean(char *text)
{
    if (!text)
        return NULL;
    size_t n = strlen(text), bad;
    for (unsigned char *rest = (unsigned char *)text; !moeq_utf8_valid(rest, n, &bad);) {
        rest[bad] = '?';
        n -= bad;
        rest += bad;
    }
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if (*c < 0x20 || *c == 0x7f)
            *c = '?';
        else if (c[0] == 0xc2 && c[1] < 0xa0) /* U+0080 to U+009F */
            c[0] = c[1] = '?';
    }
    return text;
}

static void finding_free(struct moeq_finding *finding)
{
    free(finding->file);
    free(finding->message);
    free(finding->advice);
}

static bool make_room(struct moeq_findings *f)
{
    struct moeq_finding *items = moeq_grown(f->items, f->n_items, &f->capacity, sizeof *items, NULL);
    f->items = items ? items : f->items;
    return items != NULL;
}

void moeq_found(struct moeq_findings *findings, enum moeq_finding_kind kind, uint64_t n, const char *file,
                const char *advice, const char *format, ...)
{
    va_list args;
    char *message = NULL;
    if (findings->n_of_kind[kind]++ >= MOEQ_MAX_OF_KIND)
        return;
    va_start(args, format);
    if (vasprintf(&message, format, args) < 0)
        message = NULL;
    va_end(args);
    struct moeq_finding finding = {.kind = kind, .n = n, .message = moeq_text_clean(message)};
    finding.file = moeq_text_clean(moeq_strdup(file ? file : "", NULL));
    finding.advice = moeq_text_clean(moeq_strdup(advice ? advice : "", NULL));
    if (finding.message && finding.file && finding.advice && make_room(findings)) {
        findings->items[findings->n_items++] = finding;
        return;
    }
    moeq_fail_alloc(&findings->stopped, 0);
    finding_free(&finding);
}

static int by_importance(const void *a, const void *b)
{
    const struct moeq_finding *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    int order = strcmp(x->file, y->file);
    if (!order && x->n != y->n)
        return x->n > y->n ? -1 : 1;
    return order ? order : strcmp(x->message, y->message);
}

static void add_counted(struct moeq_findings *findings)
{
    for (int kind = 0; kind < MOEQ_N_FINDING_KINDS; kind++) {
        const size_t n = findings->n_of_kind[kind];
        if (n <= MOEQ_MAX_OF_KIND)
            continue;
        findings->n_of_kind[kind] = 0; /* makes room for one */
        moeq_found(findings, (enum moeq_finding_kind)kind, n - MOEQ_MAX_OF_KIND, NULL, NULL,
                   "%zu more like those of the kind %s", n - MOEQ_MAX_OF_KIND, kinds[kind].name);
        findings->n_of_kind[kind] = n;
    }
}

void moeq_findings_sort(struct moeq_findings *findings)
{
    add_counted(findings);
    struct moeq_finding *items = findings->items;
    size_t kept = 0;
    if (findings->n_items)
        qsort(items, findings->n_items, sizeof *items, by_importance);
    for (size_t i = 0; i < findings->n_items; i++) {
        /* Index, tree and metadata may all miss the same file: the first says the most. */
        if (kept && items[i].file[0] && items[i].kind == MOEQ_FOUND_MISSING_FILE &&
            strcmp(items[i].file, items[kept - 1].file) == 0)
            finding_free(&items[i]);
        else
            items[kept++] = items[i];
    }
    findings->n_items = kept;
}

size_t moeq_findings_count(const struct moeq_findings *findings, enum moeq_severity severity)
{
    size_t n = 0;
    for (size_t i = 0; i < findings->n_items; i++)
        n += moeq_finding_severity(findings->items[i].kind) == severity;
    return n;
}

void moeq_findings_free(struct moeq_findings *findings)
{
    for (size_t i = 0; i < findings->n_items; i++)
        finding_free(&findings->items[i]);
    free(findings->items);
    *findings = (struct moeq_findings){0};
}

json_t *moeq_findings_json(const struct moeq_findings *findings)
{
    json_t *list = json_array();
    for (size_t i = 0; i < findings->n_items; i++) {
        const struct moeq_finding *f = &findings->items[i];
        moeq_json_append(
            &list, json_pack("{s:s, s:s, s:s, s:I, s:s, s:s}", "kind", moeq_finding_name(f->kind), "severity",
                             moeq_severity_name(moeq_finding_severity(f->kind)), "file", f->file, "count",
                             (json_int_t)f->n, "message", f->message, "advice", f->advice));
    }
    return list;
}
