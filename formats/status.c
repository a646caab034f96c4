#include "status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool may_record(const struct moeq_error *err)
{
    return err && err->status == MOEQ_OK;
}

/* Truncation is meant: an error line is bounded whatever the input holds. */
static void copy_bounded(char *dst, size_t capacity, const char *src)
{
    snprintf(dst, capacity, "%s", src);
}

enum moeq_status moeq_fail(struct moeq_error *err, enum moeq_status status, const char *format, ...)
{
    if (may_record(err)) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        err->status = status;
    }
    return status;
}

enum moeq_status moeq_fail_errno(struct moeq_error *err, int error_number, const char *format, ...)
{
    if (!may_record(err))
        return MOEQ_IO;
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    size_t used = strlen(err->message);
    char buffer[128];
    snprintf(err->message + used, sizeof err->message - used, ": %s",
             strerror_r(error_number, buffer, sizeof buffer)); /* the GNU form, which returns the text */
    err->status = MOEQ_IO;
    if (error_number == ENOSPC || error_number == EDQUOT)
        moeq_error_hint(err, "free some space and run the same command again");
    return MOEQ_IO;
}

enum moeq_status moeq_fail_alloc(struct moeq_error *err, size_t n_bytes)
{
    return n_bytes ? moeq_fail(err, MOEQ_OVER_MEMORY, "out of memory: %zu bytes were refused", n_bytes)
                   : moeq_fail(err, MOEQ_OVER_MEMORY, "out of memory");
}

void moeq_error_in_file(struct moeq_error *err, const char *file)
{
    if (err && err->status && !err->file[0] && file)
        copy_bounded(err->file, sizeof err->file, file);
}

void moeq_error_in_tensor(struct moeq_error *err, const char *tensor)
{
    if (err && err->status && !err->tensor[0] && tensor)
        copy_bounded(err->tensor, sizeof err->tensor, tensor);
}

void moeq_error_at(struct moeq_error *err, uint64_t offset)
{
    if (err && err->status && !err->has_offset) {
        err->offset = offset;
        err->has_offset = true;
    }
}

void moeq_error_hint(struct moeq_error *err, const char *format, ...)
{
    if (!err || !err->status || err->hint[0])
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(err->hint, sizeof err->hint, format, args);
    va_end(args);
}

size_t moeq_control_length(const char *p)
{
    const unsigned char *c = (const unsigned char *)p;
    if (*c && (*c < 0x20 || *c == 0x7f))
        return 1;
    return c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0 ? 2 : 0;
}

const char *moeq_error_format(const struct moeq_error *err, char *dst, size_t capacity)
{
    char where[64] = "";
    if (err->has_offset)
        snprintf(where, sizeof where, " (byte %llu)", (unsigned long long)err->offset);
    snprintf(dst, capacity, "%s%s%s%s%s%s%s%s%s", err->file, err->file[0] ? ": " : "",
             err->tensor[0] ? "tensor " : "", err->tensor, err->tensor[0] ? ": " : "", err->message, where,
             err->hint[0] ? "; " : "", err->hint);
    for (char *c = dst; *c; c++)
        for (size_t n = moeq_control_length(c); n; n--)
            c[n - 1] = '?';
    return dst;
}
