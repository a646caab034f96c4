/* An archive of any bytes (a tar also with the checksums that its changed headers need), mounted and read
 * like a folder: every member at its ends and across, whole where it is small, twice with the same bytes;
 * then as the model that it may be. Memory is bounded to 1 MB, so that members push each other out. */
#include "fuzz.h"
#include "mount.h"
#include "source.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_READ (64u << 10)

static void read_member(struct moeq_archive *a, struct moeq_member *m)
{
    static uint8_t first[MAX_READ], again[MAX_READ];
    const uint64_t n = moeq_member_bytes(m);
    const uint64_t offsets[] = {0, n / 2, n > MAX_READ ? n - MAX_READ : 0};
    struct moeq_error err = {0};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        uint64_t left = n - offsets[i];
        size_t want = left < MAX_READ ? (size_t)left : MAX_READ;
        enum moeq_status status = moeq_archive_read(a, m, offsets[i], first, want, &err);
        fuzz_require_error(status, &err);
        if (status)
            return;
        fuzz_require(moeq_archive_read(a, m, offsets[i], again, want, NULL) != MOEQ_OK ||
                     memcmp(first, again, want) == 0);
    }
    fuzz_require(moeq_archive_read(a, m, n, first, 1, NULL) == MOEQ_DAMAGED);
    fuzz_require(moeq_archive_read(a, m, UINT64_MAX, first, 1, NULL) == MOEQ_DAMAGED);
}

static void read_all(const char *path)
{
    const char *rest, *name, *before = NULL;
    struct moeq_archive *a = moeq_mounted(path, &rest);
    fuzz_require(a != NULL && *rest == '\0');
    for (size_t i = 0; (name = moeq_archive_name(a, i)); i++) {
        struct moeq_member *m = moeq_archive_find(a, name);
        fuzz_require(m != NULL && moeq_name_is_plain(name) && (!before || strcmp(before, name) < 0));
        before = name;
        read_member(a, m);
    }
    fuzz_require(!moeq_archive_find(a, "../x") && !moeq_archive_find(a, ""));
}

static void run(const uint8_t *data, size_t n)
{
    struct moeq_error err = {0};
    char path[64];
    const char *rest;
    int fd = memfd_create("archive", MFD_CLOEXEC);
    if (fd < 0 || (n && write(fd, data, n) != (ssize_t)n)) {
        perror("memfd");
        exit(2);
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    enum moeq_status status = moeq_mount(path, &err);
    fuzz_require_error(status, &err);
    if (!status) {
        struct moeq_source source;
        read_all(path);
        status = moeq_source_open(&source, path, &err);
        fuzz_require_error(status, &err);
        if (!status)
            moeq_source_close(&source);
        moeq_unmount(path);
    }
    fuzz_require(!moeq_mounted(path, &rest));
    close(fd);
}

/* Gives every header of a tar the checksum of what it says now; true where one had another. */
static bool mend_checksums(uint8_t *tar, size_t n)
{
    bool changed = false;
    for (uint8_t *h = tar; n >= 512; h += 512, n -= 512) {
        char text[8];
        unsigned sum = 8 * ' ';
        if (memcmp(h + 257, "ustar", 5) != 0)
            continue;
        for (size_t i = 0; i < 512; i++)
            sum += i >= 148 && i < 156 ? 0u : h[i];
        snprintf(text, sizeof text, "%06o", sum);
        changed = changed || memcmp(h + 148, text, 7) != 0;
        memcpy(h + 148, text, 7);
    }
    return changed;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    setenv("MOEQ_ARCHIVE_MEMORY", "1000000", 1);
    run(data, n);
    uint8_t *copy = malloc(n ? n : 1);
    if (copy && n) {
        memcpy(copy, data, n);
        if (mend_checksums(copy, n))
            run(copy, n);
    }
    free(copy);
    return 0;
}
