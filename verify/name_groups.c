#include "name_groups.h"

#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_NUMBERS 3 /* of a name; further ones stay part of the pattern */
#define MAX_DIGITS  9
#define MAX_TAILS   4 /* of a group that are spelled out */

#define MARK '\1'

/* A name, or several that were merged: the pattern has MARK in place of each number. A name that holds that
 * character itself is left whole, and has no numbers. */
struct row {
    char *pattern;
    char *numbers[MAX_NUMBERS]; /* "7", or the text of a set, "0-255"; NULL from n_numbers on */
    unsigned long value;        /* of the number in the dimension that is merged now */
    size_t n_numbers, n_names;
};

static void row_free(struct row *row)
{
    free(row->pattern);
    for (size_t i = 0; i < MAX_NUMBERS; i++)
        free(row->numbers[i]);
    *row = (struct row){0};
}

/* Digits of a whole component, as files write numbers: no leading zero. */
static size_t number_length(const char *text, bool at_start)
{
    size_t n = strspn(text, "0123456789");
    bool whole = at_start && (text[n] == '.' || text[n] == '\0');
    return whole && n > 0 && n <= MAX_DIGITS && (n == 1 || text[0] != '0') ? n : 0;
}

static enum moeq_status split(const char *name, struct row *row, struct moeq_error *err)
{
    *row = (struct row){.n_names = 1};
    char *to = row->pattern = moeq_calloc(strlen(name) + 1, 1, err);
    if (!to)
        return MOEQ_OVER_MEMORY;
    const size_t max_numbers = strchr(name, MARK) ? 0 : MAX_NUMBERS;
    for (bool at_start = true; *name;) {
        size_t n = row->n_numbers < max_numbers ? number_length(name, at_start) : 0;
        if (n) {
            char *number = row->numbers[row->n_numbers++] = strndup(name, n);
            if (!number)
                return moeq_fail_alloc(err, n);
            *to++ = MARK;
            name += n;
        } else {
            at_start = *name == '.';
            *to++ = *name++;
        }
    }
    return MOEQ_OK;
}

/* ---- merging ---- */

/* qsort has no context; the dimension is kept in each row instead: rows compare equal in all but `value`. */
static int compare_others(const struct row *x, const struct row *y)
{
    int order = strcmp(x->pattern, y->pattern);
    if (order == 0)
        order = (x->n_numbers > y->n_numbers) - (x->n_numbers < y->n_numbers);
    for (size_t i = 0; order == 0 && i < x->n_numbers; i++)
        order = strcmp(x->numbers[i], y->numbers[i]);
    return order;
}

static int by_value(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int order = compare_others(x, y);
    return order ? order : (x->value > y->value) - (x->value < y->value);
}

/* Takes the number of a dimension out of the row: its place becomes "", so that the others decide. */
static enum moeq_status lift(struct row *row, size_t dimension, struct moeq_error *err)
{
    row->value = 0;
    if (dimension >= row->n_numbers)
        return MOEQ_OK;
    row->value = strtoul(row->numbers[dimension], NULL, 10);
    free(row->numbers[dimension]);
    row->numbers[dimension] = moeq_strdup("", err);
    return row->numbers[dimension] ? MOEQ_OK : MOEQ_OVER_MEMORY;
}

/* "3", or "{0-4,7}" for rows[0..n) in ascending order, which may repeat a value. */
static char *set_text(const struct row *rows, size_t n, struct moeq_error *err)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        moeq_fail_alloc(err, 0);
        return NULL;
    }
    const bool several = rows[0].value != rows[n - 1].value;
    fputs(several ? "{" : "", out);
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end + 1 < n && rows[end + 1].value - rows[end].value <= 1)
            end++;
        fprintf(out, "%s%lu", i ? "," : "", rows[i].value);
        if (rows[end].value > rows[i].value)
            fprintf(out, "-%lu", rows[end].value);
        i = end + 1;
    }
    fputs(several ? "}" : "", out);
    if (fclose(out) != 0) {
        free(text);
        moeq_fail_alloc(err, 0);
        return NULL;
    }
    return text;
}

/* Makes one row of each run that differs in one dimension only. */
static enum moeq_status merge(struct row *rows, size_t *n_rows, size_t dimension, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t i = 0; !status && i < *n_rows; i++)
        status = lift(&rows[i], dimension, err);
    if (status)
        return status;
    if (*n_rows)
        qsort(rows, *n_rows, sizeof *rows, by_value);
    size_t kept = 0;
    for (size_t i = 0; i < *n_rows;) {
        size_t end = i + 1, n_names = rows[i].n_names;
        for (; end < *n_rows && compare_others(&rows[i], &rows[end]) == 0; end++)
            if (rows[end].value != rows[end - 1].value)
                n_names += rows[end].n_names;
        rows[i].n_names = n_names;
        if (dimension < rows[i].n_numbers) {
            char *text = set_text(&rows[i], end - i, err);
            if (!text)
                return MOEQ_OVER_MEMORY;
            free(rows[i].numbers[dimension]);
            rows[i].numbers[dimension] = text;
        }
        for (size_t j = i + 1; j < end; j++)
            row_free(&rows[j]);
        struct row first = rows[i];
        rows[i] = (struct row){0};
        rows[kept++] = first;
        i = end;
    }
    *n_rows = kept;
    return MOEQ_OK;
}

/* ---- the result ---- */

/* What of a pattern stands behind its last number, "" where it has none. */
static const char *tail_of(const struct row *row)
{
    const char *mark = row->n_numbers ? strrchr(row->pattern, MARK) : NULL;
    return mark ? mark + 1 : "";
}

static size_t head_length(const struct row *row)
{
    return strlen(row->pattern) - strlen(tail_of(row));
}

static int compare_heads(const struct row *x, const struct row *y)
{
    const size_t n = head_length(x), m = head_length(y);
    int order = strncmp(x->pattern, y->pattern, n < m ? n : m);
    if (order == 0)
        order = (n > m) - (n < m);
    for (size_t i = 0; order == 0 && i < x->n_numbers && i < y->n_numbers; i++)
        order = strcmp(x->numbers[i], y->numbers[i]);
    return order;
}

static int by_head(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int order = compare_heads(x, y);
    return order ? order : strcmp(tail_of(x), tail_of(y));
}

/* Rows of one head as one text; tails that end alike are not worth a grammar of their own. */
static void write_text(FILE *out, const struct row *rows, size_t n)
{
    size_t next = 0;
    const size_t length = head_length(&rows[0]);
    for (size_t i = 0; i < length; i++)
        if (rows[0].pattern[i] == MARK && next < rows[0].n_numbers)
            fputs(rows[0].numbers[next++], out);
        else
            fputc(rows[0].pattern[i], out);
    const char *tail = tail_of(&rows[0]);
    if (n == 1) {
        fputs(tail, out);
        return;
    }
    fputs(".{", out);
    for (size_t i = 0; i < n && i < MAX_TAILS; i++) {
        tail = tail_of(&rows[i]);
        fprintf(out, "%s%s", i ? "," : "", *tail == '.' ? tail + 1 : tail);
    }
    if (n > MAX_TAILS)
        fprintf(out, ",… %zu more", n - MAX_TAILS);
    fputc('}', out);
}

static enum moeq_status make_group(struct moeq_name_group *group, const struct row *rows, size_t n,
                                   struct moeq_error *err)
{
    size_t size;
    FILE *out = open_memstream(&group->text, &size);
    if (!out)
        return moeq_fail_alloc(err, 0);
    write_text(out, rows, n);
    for (size_t i = 0; i < n; i++)
        group->n_names += rows[i].n_names;
    if (fclose(out) == 0 && group->text)
        return MOEQ_OK;
    free(group->text);
    group->text = NULL;
    return moeq_fail_alloc(err, 0);
}

/* Whether a name may share its group: only where a number stands in front of the tail. */
static bool same_group(const struct row *x, const struct row *y)
{
    return x->n_numbers > 0 && x->n_numbers == y->n_numbers && compare_heads(x, y) == 0;
}

static enum moeq_status make_groups(struct row *rows, size_t n_rows, struct moeq_name_groups *out,
                                    struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    if (n_rows)
        qsort(rows, n_rows, sizeof *rows, by_head);
    for (size_t i = 0; !status && i < n_rows;) {
        size_t end = i + 1;
        while (end < n_rows && same_group(&rows[i], &rows[end]))
            end++;
        status = make_group(&out->items[out->n_items], &rows[i], end - i, err);
        out->n_items += !status;
        i = end;
    }
    return status;
}

static int by_size(const void *a, const void *b)
{
    const struct moeq_name_group *x = a, *y = b;
    if (x->n_names != y->n_names)
        return x->n_names > y->n_names ? -1 : 1;
    return strcmp(x->text, y->text);
}

enum moeq_status moeq_name_groups_make(const char *const *names, size_t n, struct moeq_name_groups *out,
                                       struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    size_t n_rows = n;
    *out = (struct moeq_name_groups){0};
    struct row *rows = moeq_calloc(n, sizeof *rows, err);
    out->items = moeq_calloc(n, sizeof *out->items, err);
    if (!rows || !out->items)
        status = MOEQ_OVER_MEMORY;
    for (size_t i = 0; !status && i < n; i++)
        status = split(names[i], &rows[i], err);
    /* From behind: the experts of a layer first, then the layers that have the same experts. */
    for (size_t d = MAX_NUMBERS; !status && d-- > 0;)
        status = merge(rows, &n_rows, d, err);
    if (!status)
        status = make_groups(rows, n_rows, out, err);
    for (size_t i = 0; rows && i < n; i++)
        row_free(&rows[i]);
    free(rows);
    if (status)
        moeq_name_groups_free(out);
    else if (out->n_items)
        qsort(out->items, out->n_items, sizeof *out->items, by_size);
    return status;
}

void moeq_name_groups_free(struct moeq_name_groups *groups)
{
    for (size_t i = 0; i < groups->n_items; i++)
        free(groups->items[i].text);
    free(groups->items);
    *groups = (struct moeq_name_groups){0};
}

char *moeq_name_groups_text(const struct moeq_name_groups *groups, size_t max_groups, struct moeq_error *err)
{
    const size_t n = groups->n_items < max_groups ? groups->n_items : max_groups;
    size_t n_chars = 80, n_names = 0;
    for (size_t i = 0; i < groups->n_items; i++) {
        n_chars += i < n ? strlen(groups->items[i].text) + 2 : 0;
        n_names += i < n ? 0 : groups->items[i].n_names;
    }
    char *text = moeq_calloc(n_chars, 1, err), *to = text;
    for (size_t i = 0; to && i < n; i++) {
        to = stpcpy(to, i ? ", " : "");
        to = stpcpy(to, groups->items[i].text);
    }
    if (to && n < groups->n_items)
        sprintf(to, " and %zu more groups (%zu names)", groups->n_items - n, n_names);
    return text;
}
