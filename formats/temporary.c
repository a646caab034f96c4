#include "temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *moeq_temporary_folder(void)
{
    const char *named = getenv("TMPDIR");
    return named && *named ? named : "/var/tmp";
}

int moeq_temporary_open(void)
{
    int fd = open(moeq_temporary_folder(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) { /* the file system knows no such files */
        char name[4096];
        const int n = snprintf(name, sizeof name, "%s/moeq-XXXXXX", moeq_temporary_folder());
        fd = n > 0 && (size_t)n < sizeof name ? mkostemp(name, O_CLOEXEC) : -1;
        if (fd >= 0)
            unlink(name);
    }
    return fd;
}

enum moeq_status moeq_temporary_fail(const char *what, int error_number, const char *otherwise,
                                     struct moeq_error *err)
{
    char buffer[128];
    moeq_fail(err, MOEQ_IO, "%s: %s", what,
              strerror_r(error_number, buffer, sizeof buffer)); /* the GNU form */
    moeq_error_in_file(err, moeq_temporary_folder());
    moeq_error_hint(err, "TMPDIR names a folder with more room; %s", otherwise);
    return MOEQ_IO;
}
