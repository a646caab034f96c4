/* How every fallible function of moeq reports what went wrong.
 *
 * A fallible function returns an enum moeq_status and, when it is not MOEQ_OK, fills the caller's struct
 * moeq_error. The status is also the exit code of the program. The error pointer may be NULL. The first
 * failure wins: a later one never overwrites it, so clean-up code may fail freely.
 *
 * Nothing here allocates: an error can be reported when memory is gone. */
#ifndef MOEQ_STATUS_H
#define MOEQ_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum moeq_status {
    MOEQ_OK = 0,           /* done */
    MOEQ_CHECK_FAILED = 1, /* a check that was asked for says no */
    MOEQ_USAGE = 2,        /* the command line is wrong */
    MOEQ_DAMAGED = 3,      /* an input is not what its format requires */
    MOEQ_UNSUPPORTED = 4,  /* an input is well formed, but of a kind moeq does not handle */
    MOEQ_IO = 5,           /* the system refused: read, write, space, permission */
    MOEQ_OVER_MEMORY = 6,  /* the memory budget, or the machine's memory, is exhausted */
    MOEQ_INTERRUPTED = 7,  /* stopped by a signal; running the same command again continues */
    MOEQ_BUG = 8           /* a mistake of moeq's own */
};

struct moeq_error {
    enum moeq_status status; /* MOEQ_OK while nothing has failed */
    bool has_offset;
    uint64_t offset;   /* bytes from the start of file */
    char file[512];    /* the file concerned, or "" */
    char tensor[256];  /* the tensor concerned, or "" */
    char message[512]; /* what was expected and what was found, one line */
    char hint[256];    /* what the user can do, or "" */
};

/* Records a failure with a printf-style message and returns `status`, so that `return moeq_fail(...)` works.
 */
enum moeq_status moeq_fail(struct moeq_error *err, enum moeq_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As moeq_fail with MOEQ_IO, appending the text of `error_number` (errno). ENOSPC and EDQUOT get a hint. */
enum moeq_status moeq_fail_errno(struct moeq_error *err, int error_number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As moeq_fail with MOEQ_OVER_MEMORY, for an allocation of n_bytes (0: not known) that the system refused. */
enum moeq_status moeq_fail_alloc(struct moeq_error *err, size_t n_bytes);

/* Add where it happened, or what to do about it, to an error that is set; each keeps what is already there.
 */
void moeq_error_in_file(struct moeq_error *err, const char *file);
void moeq_error_in_tensor(struct moeq_error *err, const char *tensor);
void moeq_error_at(struct moeq_error *err, uint64_t offset);
void moeq_error_hint(struct moeq_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Bytes of the control character at p: 1 for U+0001 to U+001F and U+007F, 2 for U+0080 to U+009F, which
 * terminals obey too, 0 for anything else. What comes from a file is printed with '?' in place of each such
 * byte. */
size_t moeq_control_length(const char *p);

/* Writes the error as one line without a newline: "FILE: tensor T: message (byte N); hint". Control
 * characters of hostile names are shown as '?'. Returns dst. */
const char *moeq_error_format(const struct moeq_error *err, char *dst, size_t capacity);

#endif
