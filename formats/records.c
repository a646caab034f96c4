#include "records.h"

#include "json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TREE_VERSION 1
#define SHA256_CHARS (MOEQ_SHA256_HEX - 1)
#define SHA1_CHARS   (MOEQ_SHA1_HEX - 1)

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool moeq_digest_parse(const char *from, size_t n, char sha256[MOEQ_SHA256_HEX], char git_sha1[MOEQ_SHA1_HEX])
{
    sha256[0] = git_sha1[0] = '\0';
    char *to = n == SHA256_CHARS ? sha256 : n == SHA1_CHARS ? git_sha1 : NULL;
    for (size_t i = 0; to && i < n; i++)
        if (!is_hex(from[i]))
            return false;
    for (size_t i = 0; to && i < n; i++)
        to[i] = from[i] >= 'A' && from[i] <= 'F' ? (char)(from[i] - 'A' + 'a') : from[i];
    if (to)
        to[n] = '\0';
    return to != NULL;
}

void moeq_records_free(struct moeq_records *records)
{
    for (size_t i = 0; i < records->n_items; i++)
        free(records->items[i].path);
    free(records->items);
    *records = (struct moeq_records){0};
}

/* The first of each kind is kept as an example; cutting it is meant. */
static void leave_out(size_t *count, char example[256], const char *text, size_t n)
{
    if ((*count)++ == 0)
        snprintf(example, 256, "%.*s", (int)(n < 255 ? n : 255), text);
}

static enum moeq_status append(struct moeq_records *records, const struct moeq_record *record,
                               struct moeq_error *err)
{
    if (!moeq_path_stays_inside(record->path)) {
        leave_out(&records->n_outside, records->outside, record->path, strlen(record->path));
        return MOEQ_OK;
    }
    struct moeq_record *items =
        moeq_grown(records->items, records->n_items, &records->capacity, sizeof *items, err);
    if (!items)
        return MOEQ_OVER_MEMORY;
    records->items = items;
    struct moeq_record *to = &records->items[records->n_items];
    *to = *record;
    to->path = moeq_strdup(record->path, err);
    if (!to->path)
        return MOEQ_OVER_MEMORY;
    records->n_items++;
    return MOEQ_OK;
}

/* ---- SHA256SUMS ---- */

/* Splits a line of n characters into hash and path (path_n 0: the line is a bare hash). */
static bool split_line(const char *line, size_t n, const char **hex, const char **path, size_t *path_n)
{
    static const char bsd[] = "SHA256 (", middle[] = ") = ";
    const size_t n_bsd = strlen(bsd), n_middle = strlen(middle);
    if (n > n_bsd + n_middle + SHA256_CHARS && memcmp(line, bsd, n_bsd) == 0) {
        *hex = line + n - SHA256_CHARS;
        *path = line + n_bsd;
        *path_n = n - n_bsd - n_middle - SHA256_CHARS;
        return memcmp(*hex - n_middle, middle, n_middle) == 0;
    }
    *hex = line;
    *path_n = 0;
    if (n == SHA256_CHARS)
        return true;
    if (n < SHA256_CHARS + 3 || line[SHA256_CHARS] != ' ' ||
        (line[SHA256_CHARS + 1] != ' ' && line[SHA256_CHARS + 1] != '*'))
        return false;
    *path = line + SHA256_CHARS + 2;
    *path_n = n - SHA256_CHARS - 2;
    return true;
}

static enum moeq_status add_sum(const char *line, size_t n, const char *bare, struct moeq_records *records,
                                struct moeq_error *err)
{
    struct moeq_record record = {0};
    const char *hex, *path = NULL;
    size_t path_n;
    bool good = split_line(line, n, &hex, &path, &path_n) &&
                moeq_digest_parse(hex, SHA256_CHARS, record.sha256, record.git_sha1) &&
                (path_n ? !memchr(path, '\0', path_n) : bare != NULL);
    if (!good) {
        leave_out(&records->n_bad, records->bad, line, n);
        return MOEQ_OK;
    }
    while (path_n > 2 && path[0] == '.' && path[1] == '/') {
        path += 2;
        path_n -= 2;
    }
    record.path = path_n ? strndup(path, path_n) : strdup(bare);
    if (!record.path)
        return moeq_fail_alloc(err, path_n);
    enum moeq_status status = append(records, &record, err);
    free(record.path);
    return status;
}

enum moeq_status moeq_sums_parse(const char *text, size_t n, const char *bare, struct moeq_records *records,
                                 struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (size_t at = 0; !status && at < n;) {
        const char *line = text + at, *end = memchr(line, '\n', n - at);
        size_t length = end ? (size_t)(end - line) : n - at;
        at += length + 1;
        while (length && (line[length - 1] == '\r' || line[length - 1] == ' '))
            length--;
        if (length && line[0] != '#')
            status = add_sum(line, length, bare, records, err);
    }
    return status;
}

/* ---- trees/COMMIT.json ---- */

/* False where the entry is not of the format. An LFS file's blob_id is that of its pointer. */
static bool read_entry(const json_t *entry, struct moeq_record *record)
{
    const char *lfs = NULL, *blob = NULL;
    char none[MOEQ_SHA256_HEX];
    if (!json_is_object(entry) || moeq_json_uint(entry, "size", INT64_MAX, &record->n_bytes, NULL) ||
        moeq_json_string_or(entry, "lfs_sha256", "", &lfs, NULL) ||
        moeq_json_string_or(entry, "blob_id", "", &blob, NULL))
        return false;
    record->has_size = true;
    if (*lfs)
        return moeq_digest_parse(lfs, strlen(lfs), record->sha256, record->git_sha1) && record->sha256[0];
    return moeq_digest_parse(blob, strlen(blob), none, record->git_sha1) && record->git_sha1[0];
}

static enum moeq_status add_entries(const json_t *files, struct moeq_records *records, struct moeq_error *err)
{
    const char *path;
    json_t *entry;
    enum moeq_status status = MOEQ_OK;
    json_object_foreach((json_t *)files, path, entry)
    {
        struct moeq_record record = {.path = (char *)path};
        if (read_entry(entry, &record))
            status = append(records, &record, err);
        else
            leave_out(&records->n_bad, records->bad, path, strlen(path));
        if (status)
            break;
    }
    return status;
}

enum moeq_status moeq_tree_parse(const void *text, size_t n, struct moeq_records *records,
                                 struct moeq_error *err)
{
    struct moeq_error local = {0};
    err = err ? err : &local;
    uint64_t version;
    json_t *json = moeq_json_parse(text, n, err);
    if (!json)
        return err->status;
    enum moeq_status status = json_is_object(json)
                                  ? moeq_json_uint(json, "format_version", INT64_MAX, &version, err)
                                  : moeq_fail(err, MOEQ_DAMAGED, "expected a JSON object at the top level");
    if (!status && version != TREE_VERSION)
        status =
            moeq_fail(err, MOEQ_UNSUPPORTED, "format_version %llu is not known", (unsigned long long)version);
    const json_t *files = status ? NULL : moeq_json_object_at(json, "files", err);
    if (!status)
        status = files ? add_entries(files, records, err) : MOEQ_DAMAGED;
    json_decref(json);
    return status;
}

/* ---- FILE.metadata ---- */

/* The next line without white space at its ends; false where there is none. */
static bool next_line(const char **text, size_t *n, const char **line, size_t *length)
{
    if (*n == 0)
        return false;
    const char *end = memchr(*text, '\n', *n);
    size_t whole = end ? (size_t)(end - *text) : *n;
    *line = *text;
    *length = whole;
    *text += whole + (end != NULL);
    *n -= whole + (end != NULL);
    while (*length && ((*line)[*length - 1] == '\r' || (*line)[*length - 1] == ' '))
        (*length)--;
    return true;
}

enum moeq_status moeq_hf_metadata_parse(const char *text, size_t n, struct moeq_hf_metadata *out,
                                        struct moeq_error *err)
{
    const char *line;
    size_t length;
    char none[MOEQ_SHA256_HEX], number[40], *end = number;
    *out = (struct moeq_hf_metadata){0};
    if (!next_line(&text, &n, &line, &length) || !moeq_digest_parse(line, length, none, out->commit) ||
        !out->commit[0])
        return moeq_fail(err, MOEQ_DAMAGED, "the first line is not a commit");
    if (!next_line(&text, &n, &line, &length) || !moeq_digest_parse(line, length, out->sha256, out->git_sha1))
        return moeq_fail(err, MOEQ_DAMAGED, "the second line is neither a SHA-256 nor a git SHA-1");
    if (!next_line(&text, &n, &line, &length) || length == 0 || length >= sizeof number)
        return moeq_fail(err, MOEQ_DAMAGED, "the third line is not a time");
    memcpy(number, line, length);
    number[length] = '\0';
    out->seconds = strtod(number, &end);
    if (*end || !isfinite(out->seconds))
        return moeq_fail(err, MOEQ_DAMAGED, "the third line is not a time");
    return MOEQ_OK;
}

int moeq_record_by_path(const void *a, const void *b)
{
    const struct moeq_record *x = a, *y = b;
    return strcmp(x->path, y->path);
}
