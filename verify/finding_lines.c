#include "finding_lines.h"

#include "bytes.h"
#include "name_groups.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_LINES  200 /* --json has all */
#define MAX_ALIKE  8   /* files of one kind that have a line each */
#define MAX_GROUPS 6   /* of names that a line spells out */
#define MARK       '\2'

static const char of_the_folder[] = "download the folder again; files that are right are kept";
static const char of_each[] = "--json says for each what to do";

/* "N files" goes in front of `text`; kinds without one are about more than a file. */
static const struct phrase {
    const char *text, *advice;
} phrases[MOEQ_N_FINDING_KINDS] = {
    [MOEQ_FOUND_MISSING_FILE] = {"are missing", of_the_folder},
    [MOEQ_FOUND_DANGLING_LINK] = {"are links that lead nowhere", of_the_folder},
    [MOEQ_FOUND_LFS_POINTER] = {"are Git LFS pointers, not what they stand for", of_each},
    [MOEQ_FOUND_ZEROS] = {"begin with zeros instead of a header", of_each},
    [MOEQ_FOUND_SIZE] = {"are not of the repository's size", of_each},
    [MOEQ_FOUND_HASH] = {"do not have the hash that they should have", of_each},
    [MOEQ_FOUND_DAMAGED] = {"are damaged in the archive", of_each},
    [MOEQ_FOUND_UNREADABLE] = {"cannot be read", "--json says why"},
    [MOEQ_FOUND_EXTRA_SHARD] = {"are not named by the index", of_each},
    [MOEQ_FOUND_LINK_OUTSIDE] = {"are links that leave the folder", "see that they are the files you mean"},
    [MOEQ_FOUND_LEFTOVER] = {"are left by downloads that did not finish", of_each},
};

static const char *label(enum moeq_finding_kind kind)
{
    static const char *const labels[] = {"FAILED ", "warning", "note   "};
    return labels[moeq_finding_severity(kind)];
}

/* "model-00012-of-00163.safetensors" with its number as a component of its own, which alone is grouped; its
 * zeros stay outside. Other names as they are. */
static char *mark_number(const char *name, struct moeq_error *err)
{
    const char *end = strstr(name, "-of-"), *digits = end;
    while (end && digits > name && digits[-1] >= '0' && digits[-1] <= '9')
        digits--;
    while (end && digits + 1 < end && *digits == '0')
        digits++;
    char *text = moeq_calloc(strlen(name) + 5, 1, err);
    if (text && end && digits < end && !strchr(name, MARK))
        sprintf(text, "%.*s%c.%.*s.%c%s", (int)(digits - name), name, MARK, (int)(end - digits), digits, MARK,
                end);
    else if (text)
        strcpy(text, name);
    return text;
}

/* Takes the marks and their dots out again, in place. */
static void unmark(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from == MARK && from[1] == '.') /* before the number */
            from++;
        else if (*from == '.' && from[1] == MARK && from[2] != '.')
            from++;
        else
            *to++ = *from;
    }
    *to = '\0';
}

static enum moeq_status print_group(const struct moeq_finding *run, size_t n, struct moeq_error *err)
{
    struct moeq_name_groups groups = {0};
    const struct phrase *p = &phrases[run->kind];
    char **names = moeq_calloc(n, sizeof *names, err), *text = NULL;
    enum moeq_status status = names ? MOEQ_OK : MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < n; i++) {
        names[i] = mark_number(run[i].file, err);
        status = names[i] ? MOEQ_OK : MOEQ_OVER_MEMORY;
    }
    if (!status)
        status = moeq_name_groups_make((const char *const *)names, n, &groups, err);
    text = status ? NULL : moeq_name_groups_text(&groups, MAX_GROUPS, err);
    if (text) {
        unmark(text);
        printf("%s  %zu files %s: %s; %s\n", label(run->kind), n, p->text, text, p->advice);
    }
    for (size_t i = 0; names && i < n; i++)
        free(names[i]);
    free(names);
    free(text);
    moeq_name_groups_free(&groups);
    return text ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

static void print_one(const struct moeq_finding *f)
{
    printf("%s  %s%s%s%s%s\n", label(f->kind), f->file, f->file[0] ? ": " : "", f->message,
           f->advice[0] ? "; " : "", f->advice);
}

enum moeq_status moeq_findings_print(const struct moeq_findings *findings, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    size_t n_lines = 0, i = 0;
    while (!status && i < findings->n_items && n_lines < MAX_LINES) {
        const struct moeq_finding *first = &findings->items[i];
        size_t n = 1;
        while (first->file[0] && i + n < findings->n_items && first[n].kind == first->kind)
            n++;
        if (!phrases[first->kind].text || n <= MAX_ALIKE)
            n = 1;
        if (n == 1)
            print_one(first);
        else
            status = print_group(first, n, err);
        i += n;
        n_lines++;
    }
    if (!status && i < findings->n_items)
        printf("… and %zu more; --json lists all\n", findings->n_items - i);
    return status;
}
