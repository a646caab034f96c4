#include "text.h"

#include "interrupt.h"
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char separator[] = "\n\n";

/* ---- JSON lines ---- */

static bool is_blank(const uint8_t *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            return false;
    return true;
}

enum moeq_status moeq_json_lines_fail(const struct moeq_json_lines *lines, const struct moeq_error *why,
                                      struct moeq_error *err)
{
    return moeq_fail(err, why->status, "line %zu: %s", lines->number, why->message);
}

json_t *moeq_json_lines_next(struct moeq_json_lines *lines, struct moeq_error *err)
{
    while (lines->at < lines->n_bytes) {
        const uint8_t *line = lines->data + lines->at;
        const uint8_t *end = memchr(line, '\n', lines->n_bytes - lines->at);
        const size_t n = end ? (size_t)(end - line) : lines->n_bytes - lines->at;
        lines->at += n + (end != NULL);
        lines->number++;
        if (is_blank(line, n))
            continue;
        struct moeq_error why = {0};
        json_t *json = moeq_json_parse(line, n, &why);
        if (json && json_is_object(json))
            return json;
        if (json)
            moeq_fail(&why, MOEQ_DAMAGED, "not a JSON object");
        json_decref(json);
        moeq_json_lines_fail(lines, &why, err);
        return NULL;
    }
    return NULL;
}

/* A line is longer than its document and a separator, so what is written stays behind what is read. */
enum moeq_status moeq_text_join_lines(struct moeq_bytes *bytes, struct moeq_error *err)
{
    struct moeq_json_lines lines = {.data = bytes->data, .n_bytes = bytes->n_bytes};
    struct moeq_error why = {0};
    size_t n_out = 0;
    bool is_first = true;
    json_t *json;
    while ((json = moeq_json_lines_next(&lines, &why))) {
        const char *text = NULL;
        struct moeq_error what = {0};
        if (moeq_json_string(json, "text", &text, &what)) {
            json_decref(json);
            moeq_json_lines_fail(&lines, &what, &why);
            break;
        }
        if (!is_first) {
            memcpy(bytes->data + n_out, separator, sizeof separator - 1);
            n_out += sizeof separator - 1;
        }
        is_first = false;
        memcpy(bytes->data + n_out, text, strlen(text));
        n_out += strlen(text);
        json_decref(json);
    }
    if (why.status) {
        moeq_fail(err, why.status, "%s", why.message);
        moeq_error_hint(err, "a .jsonl text has one object with a string \"text\" on every line");
        return why.status;
    }
    bytes->n_bytes = n_out;
    return MOEQ_OK;
}

/* ---- bytes ---- */

/* All of a stream, decompressed where it begins as gzip. Closes the stream. */
static enum moeq_status read_stream(struct moeq_stream *stream, size_t max_bytes, struct moeq_bytes *out,
                                    struct moeq_error *err)
{
    uint8_t first[MOEQ_GZIP_MAGIC];
    size_t n = 0;
    if (!stream)
        return MOEQ_OVER_MEMORY;
    enum moeq_status status = moeq_stream_read(stream, first, sizeof first, &n, err);
    if (!status && moeq_is_gzip(first, n)) {
        stream = moeq_stream_gunzip(stream, first, n, err);
        n = 0;
        status = stream ? MOEQ_OK : MOEQ_OVER_MEMORY;
    }
    if (!status)
        status = moeq_stream_rest(stream, first, n, max_bytes, out, err);
    if (status == MOEQ_DAMAGED)
        moeq_error_hint(err, "give a whole file, or the text as it is");
    moeq_stream_close(stream);
    return status;
}

/* A plain file is read at once, into exactly as much memory as it needs. */
static enum moeq_status read_file(const char *path, size_t max_bytes, struct moeq_bytes *out,
                                  struct moeq_error *err)
{
    struct moeq_file file;
    uint8_t first[MOEQ_GZIP_MAGIC];
    enum moeq_status status = moeq_file_open(&file, path, err);
    if (status)
        return status;
    size_t n = file.n_bytes < sizeof first ? (size_t)file.n_bytes : sizeof first;
    status = moeq_file_read(&file, 0, first, n, err);
    if (!status)
        status = moeq_is_gzip(first, n) ? read_stream(moeq_stream_file(&file, err), max_bytes, out, err)
                                        : moeq_file_read_all(path, max_bytes, out, err);
    moeq_file_close(&file);
    return status;
}

/* Waits for a writer, as every program does that reads a pipe. */
static enum moeq_status open_pipe(const char *path, int *fd, struct moeq_error *err)
{
    enum moeq_status status;
    do {
        *fd = strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                     : open(path, O_RDONLY | O_CLOEXEC);
        if (*fd >= 0)
            return MOEQ_OK;
        if (errno != EINTR)
            return moeq_fail_errno(err, errno, "cannot open");
    } while (!(status = moeq_interrupt_check(err)));
    return status;
}

static enum moeq_status read_pipe(const char *path, size_t max_bytes, struct moeq_bytes *out,
                                  struct moeq_error *err)
{
    int fd = -1;
    struct stat info;
    enum moeq_status status = open_pipe(path, &fd, err);
    if (status)
        return status;
    if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
        close(fd);
        return moeq_fail(err, MOEQ_IO, "a folder, not a text");
    }
    return read_stream(moeq_stream_fd(fd, path, err), max_bytes, out, err);
}

enum moeq_status moeq_text_read_bytes(const char *path, size_t max_bytes, struct moeq_bytes *out,
                                      struct moeq_error *err)
{
    struct stat info;
    const bool is_file = strcmp(path, "-") != 0 && stat(path, &info) == 0 && S_ISREG(info.st_mode);
    enum moeq_status status =
        is_file ? read_file(path, max_bytes, out, err) : read_pipe(path, max_bytes, out, err);
    if (status == MOEQ_DAMAGED || status == MOEQ_IO)
        moeq_error_in_file(err, moeq_text_name(path));
    return status;
}

const char *moeq_text_name(const char *path)
{
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

enum moeq_status moeq_text_read(const char *path, size_t max_bytes, struct moeq_bytes *out,
                                struct moeq_error *err)
{
    enum moeq_status status = moeq_text_read_bytes(path, max_bytes, out, err);
    if (!status && (moeq_has_suffix(path, ".jsonl") || moeq_has_suffix(path, ".jsonl.gz")))
        status = moeq_text_join_lines(out, err);
    if (status == MOEQ_DAMAGED)
        moeq_error_in_file(err, moeq_text_name(path));
    return status;
}
