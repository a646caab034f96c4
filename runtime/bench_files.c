#include "bench.h"
#include "bench_timing.h"
#include "file.h"
#include "interrupt.h"
#include "temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PIECE_BYTES (8u << 20) /* of a read: as an expert, or a window of rows in a conversion */
#define MOST_BYTES  (1u << 30)

struct reading {
    struct moeq_file file;
    struct moeq_bytes piece;
    uint64_t n_bytes;
};

static enum moeq_status read_through(struct reading *r, struct moeq_error *err)
{
    enum moeq_status status = MOEQ_OK;
    for (uint64_t at = 0; !status && at < r->n_bytes; at += PIECE_BYTES) {
        status = moeq_interrupt_check(err);
        if (!status)
            status = moeq_file_read(&r->file, at, r->piece.data,
                                    r->n_bytes - at < PIECE_BYTES ? r->n_bytes - at : PIECE_BYTES, err);
    }
    return status;
}

/* Of the file's pages those that are in memory, as a share; 1 where the system does not say. */
static double resident_share(const struct reading *r)
{
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), n_pages = moeq_div_up(r->n_bytes, page);
    void *map = mmap(NULL, r->n_bytes, PROT_READ, MAP_SHARED, r->file.fd, 0);
    unsigned char *pages = malloc(n_pages);
    double share = 1;
    if (map != MAP_FAILED && pages && mincore(map, r->n_bytes, pages) == 0) {
        uint64_t n = 0;
        for (uint64_t i = 0; i < n_pages; i++)
            n += pages[i] & 1;
        share = (double)n / (double)n_pages;
    }
    free(pages);
    if (map != MAP_FAILED)
        munmap(map, r->n_bytes);
    return share;
}

/* Only what is written is dropped. */
static bool drop_cache(const struct reading *r)
{
    fsync(r->file.fd);
    posix_fadvise(r->file.fd, 0, 0, POSIX_FADV_DONTNEED);
    return resident_share(r) <= 0.01;
}

static enum moeq_status measure(struct reading *r, struct moeq_file_rates *rates, struct moeq_error *err)
{
    double cold[MOEQ_BENCH_RUNS] = {0}, warm[MOEQ_BENCH_RUNS];
    enum moeq_status status = MOEQ_OK;
    for (int i = 0; !status && i < MOEQ_BENCH_RUNS; i++) {
        const bool dropped = drop_cache(r);
        double begin = moeq_bench_clock(CLOCK_MONOTONIC);
        status = read_through(r, err);
        cold[i] = dropped ? (double)r->n_bytes / (moeq_bench_clock(CLOCK_MONOTONIC) - begin) / 1e9 : 0;
        begin = moeq_bench_clock(CLOCK_MONOTONIC);
        if (!status)
            status = read_through(r, err);
        warm[i] = (double)r->n_bytes / (moeq_bench_clock(CLOCK_MONOTONIC) - begin) / 1e9;
    }
    rates->cold = moeq_bench_median(cold);
    rates->warm = moeq_bench_median(warm);
    return status;
}

static enum moeq_status fail(const char *what, struct moeq_error *err)
{
    return moeq_temporary_fail(what, errno, "--file names a file that is there", err);
}

/* Numbers that no file system can shorten. */
static enum moeq_status write_own(int fd, struct reading *r, uint64_t n_own, struct moeq_error *err)
{
    moeq_bench_fill((float *)(void *)r->piece.data, PIECE_BYTES / sizeof(float), 1);
    for (uint64_t at = 0; at < n_own;) {
        const uint64_t left = n_own - at, in_piece = at % PIECE_BYTES, room = PIECE_BYTES - in_piece;
        enum moeq_status status = moeq_interrupt_check(err);
        if (status)
            return status;
        const ssize_t n = pwrite(fd, r->piece.data + in_piece, left < room ? left : room, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail("cannot write a temporary file to read", err);
        at += (uint64_t)n;
    }
    return MOEQ_OK;
}

enum moeq_status moeq_bench_file(const char *path, uint64_t n_own, struct moeq_file_rates *rates,
                                 struct moeq_error *err)
{
    struct reading r = {.file = {.fd = -1}};
    char own_path[64];
    *rates = (struct moeq_file_rates){0};
    const int own = path ? -1 : moeq_temporary_open();
    snprintf(own_path, sizeof own_path, "/proc/self/fd/%d", own);
    enum moeq_status status = moeq_bytes_resize(&r.piece, PIECE_BYTES, err);
    if (!status && !path)
        status = own < 0 ? fail("cannot create a temporary file to read", err)
                         : write_own(own, &r, n_own < MOST_BYTES ? n_own : MOST_BYTES, err);
    if (!status)
        status = moeq_file_open(&r.file, path ? path : own_path, err);
    if (!status) {
        r.n_bytes = rates->n_bytes = r.file.n_bytes < MOST_BYTES ? r.file.n_bytes : MOST_BYTES;
        if (!r.n_bytes || r.file.archive) {
            status = moeq_fail(err, MOEQ_USAGE, "nothing to measure: the file must have bytes of its own");
            moeq_error_in_file(err, path);
        }
    }
    if (!status)
        status = measure(&r, rates, err);
    moeq_file_close(&r.file);
    if (own >= 0)
        close(own);
    moeq_bytes_free(&r.piece);
    return status;
}
