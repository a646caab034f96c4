/* Makes the n-th call of moeq to the system fail, or ends the process there: what `moeq_fault` is linked
 * with.
 *
 * MOEQ_FAULT=CALL:N:ACTION chooses. CALL is a row of the table below; `alloc` stands for malloc, calloc,
 * realloc and aligned_alloc as moeq calls them, `malloc` for those of every library of the process but
 * libcrypto. N counts from 1. ACTION is once    the n-th call fails with the errno of the table always  that
 * and every later one rough   from the n-th on, half of the calls return EINTR and the others transfer half
 * of what was asked term    the process gets SIGTERM, and the call goes on kill    the process is killed
 * before the call cut     as kill, after all that was written and not synced has become zeros, as in a power
 * cut MOEQ_FAULT_LOG names a file that is created when call N is reached. A request that this program cannot
 * follow ends it with exit code 125. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum call { OPENAT, WRITE, ALLOCATE, TRUNCATE, FSYNC, CLOSE, RENAME, PREAD, ALLOC, MALLOC, N_CALLS };

static const struct {
    const char *name;
    int error_number;
} calls[N_CALLS] = {
    [OPENAT] = {"openat", EMFILE}, [WRITE] = {"write", ENOSPC},     [ALLOCATE] = {"fallocate", ENOSPC},
    [FSYNC] = {"fsync", EIO},      [TRUNCATE] = {"ftruncate", EIO}, [CLOSE] = {"close", EIO},
    [RENAME] = {"renameat", EIO},  [PREAD] = {"pread", EIO},        [ALLOC] = {"alloc", ENOMEM},
    [MALLOC] = {"malloc", ENOMEM},
};

enum action { NONE, ONCE, ALWAYS, ROUGH, TERM, KILL, CUT, N_ACTIONS };

static const char *const actions[N_ACTIONS] = {
    [ONCE] = "once", [ALWAYS] = "always", [ROUGH] = "rough", [TERM] = "term", [KILL] = "kill", [CUT] = "cut"};

static enum call chosen_call;
static enum action chosen_action; /* NONE until main is about to begin */
static unsigned long chosen_n;
static const char *log_path;
static atomic_ulong n_calls;

/* ---- what is written and not synced ---- */

enum { MAX_FILES = 64 };

static struct unsynced {
    dev_t device;
    ino_t inode;
    int fd; /* a duplicate, so that it outlives the program's own */
    off_t synced;
} files[MAX_FILES];
static size_t n_files;

/* For a cut, calls that change files go one by one, so that nothing happens between the loss and the end. */
static pthread_mutex_t world = PTHREAD_MUTEX_INITIALIZER;

static struct unsynced *find_file(int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return NULL;
    for (size_t i = 0; i < n_files; i++)
        if (files[i].device == info.st_dev && files[i].inode == info.st_ino)
            return &files[i];
    if (n_files == MAX_FILES)
        return NULL;
    files[n_files] = (struct unsynced){info.st_dev, info.st_ino, fcntl(fd, F_DUPFD_CLOEXEC, 512), 0};
    return &files[n_files++];
}

static void note_sync(int fd)
{
    struct unsynced *file = chosen_action == CUT ? find_file(fd) : NULL;
    struct stat info;
    if (file && fstat(fd, &info) == 0)
        file->synced = info.st_size;
}

ssize_t __real_pwrite(int fd, const void *data, size_t n, off_t offset);

static void lose_unsynced(void)
{
    static const char zeros[4096];
    for (size_t i = 0; i < n_files; i++) {
        struct stat info;
        if (fstat(files[i].fd, &info) != 0)
            continue;
        for (off_t at = files[i].synced; at < info.st_size; at += (off_t)sizeof zeros) {
            off_t left = info.st_size - at;
            size_t n = left < (off_t)sizeof zeros ? (size_t)left : sizeof zeros;
            if (__real_pwrite(files[i].fd, zeros, n, at) < 0)
                return;
        }
    }
}

/* ---- the allocator of the C library ---- */

#ifndef MOEQ_FAULT_OWN_ALLOCATOR

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t count, size_t n);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);

/* libcrypto does not survive all failures of its own allocations while it starts; that is not under test. */
static void *crypto_malloc(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return __libc_malloc(n);
}

static void *crypto_realloc(void *p, size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return __libc_realloc(p, n);
}

static void crypto_free(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    free(p);
}

#endif

/* ---- the decision ---- */

__attribute__((constructor)) static void choose(void)
{
    static char text[64];
    const char *request = getenv("MOEQ_FAULT");
    if (!request || strlen(request) >= sizeof text)
        return;
    strcpy(text, request);
    char *call = strtok(text, ":"), *n = strtok(NULL, ":"), *action = strtok(NULL, ":");
    log_path = getenv("MOEQ_FAULT_LOG");
    for (size_t i = 0; call && n && action && i < N_CALLS; i++)
        for (size_t j = ONCE; j < N_ACTIONS; j++)
            if (strcmp(call, calls[i].name) == 0 && strcmp(action, actions[j]) == 0) {
                chosen_call = (enum call)i;
                chosen_n = strtoul(n, NULL, 10);
                chosen_action = (enum action)j;
            }
#ifdef MOEQ_FAULT_OWN_ALLOCATOR
    if (chosen_call == MALLOC)
        chosen_action = NONE;
#else
    CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free);
#endif
    if (chosen_action == NONE) {
        fprintf(stderr, "moeq_fault: MOEQ_FAULT=%s cannot be done\n", request);
        _exit(125);
    }
}

/* Raw system calls only: this runs inside malloc. */
static void log_reached(void)
{
    if (log_path)
        syscall(SYS_close, syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
}

/* Counts the call; true where it must fail (*rough false) or be rough. Does not return where the process
 * ends. */
static bool strikes(enum call call, bool *rough)
{
    if (chosen_action == NONE || call != chosen_call)
        return false;
    unsigned long n = atomic_fetch_add(&n_calls, 1) + 1;
    if (n < chosen_n || (n > chosen_n && chosen_action != ALWAYS && chosen_action != ROUGH))
        return false;
    if (n == chosen_n)
        log_reached();
    if (chosen_action == CUT)
        lose_unsynced();
    if (chosen_action == CUT || chosen_action == KILL)
        kill(getpid(), SIGKILL);
    if (chosen_action == TERM) {
        kill(getpid(), SIGTERM);
        return false;
    }
    *rough = chosen_action == ROUGH;
    errno = *rough ? EINTR : calls[call].error_number;
    return !*rough || n % 2 == 0;
}

/* How many of n bytes a transfer is allowed. */
static size_t allowed(size_t n, bool rough)
{
    return rough && n > 1 ? n / 2 : n;
}

/* ---- the calls ---- */

static void enter_world(void)
{
    if (chosen_action == CUT)
        pthread_mutex_lock(&world);
}

static void leave_world(void)
{
    int error_number = errno;
    if (chosen_action == CUT)
        pthread_mutex_unlock(&world);
    errno = error_number;
}

#define WRAP(result, name, ...)                                                                              \
    result __real_##name(__VA_ARGS__);                                                                       \
    result __wrap_##name(__VA_ARGS__);                                                                       \
    result __wrap_##name(__VA_ARGS__)

WRAP(int, openat, int dir, const char *path, int flags, mode_t mode)
{
    bool rough = false;
    return strikes(OPENAT, &rough) ? -1 : __real_openat(dir, path, flags, mode);
}

WRAP(ssize_t, write, int fd, const void *data, size_t n)
{
    bool rough = false;
    enter_world();
    if (chosen_action == CUT)
        find_file(fd);
    ssize_t result = strikes(WRITE, &rough) ? -1 : __real_write(fd, data, allowed(n, rough));
    leave_world();
    return result;
}

WRAP(ssize_t, pwrite, int fd, const void *data, size_t n, off_t offset)
{
    bool rough = false;
    enter_world();
    if (chosen_action == CUT)
        find_file(fd);
    ssize_t result = strikes(WRITE, &rough) ? -1 : __real_pwrite(fd, data, allowed(n, rough), offset);
    leave_world();
    return result;
}

WRAP(ssize_t, pread, int fd, void *data, size_t n, off_t offset)
{
    bool rough = false;
    return strikes(PREAD, &rough) ? -1 : __real_pread(fd, data, allowed(n, rough), offset);
}

WRAP(int, fallocate, int fd, int mode, off_t offset, off_t n)
{
    bool rough = false;
    return strikes(ALLOCATE, &rough) ? -1 : __real_fallocate(fd, mode, offset, n);
}

WRAP(int, ftruncate, int fd, off_t n)
{
    bool rough = false;
    return strikes(TRUNCATE, &rough) ? -1 : __real_ftruncate(fd, n);
}

WRAP(int, fsync, int fd)
{
    bool rough = false;
    enter_world();
    int result = strikes(FSYNC, &rough) ? -1 : __real_fsync(fd);
    if (result == 0)
        note_sync(fd);
    leave_world();
    return result;
}

/* The descriptor is closed in any case, as Linux does. */
WRAP(int, close, int fd)
{
    bool rough = false;
    bool fails = strikes(CLOSE, &rough);
    int error_number = errno;
    int result = __real_close(fd);
    errno = fails ? error_number : errno;
    return fails ? -1 : result;
}

WRAP(int, renameat, int from_dir, const char *from, int to_dir, const char *to)
{
    bool rough = false;
    enter_world();
    int result = strikes(RENAME, &rough) ? -1 : __real_renameat(from_dir, from, to_dir, to);
    leave_world();
    return result;
}

/* ---- memory: moeq's own calls ---- */

WRAP(void *, malloc, size_t n)
{
    bool rough = false;
    return strikes(ALLOC, &rough) ? NULL : __real_malloc(n);
}

WRAP(void *, calloc, size_t count, size_t n)
{
    bool rough = false;
    return strikes(ALLOC, &rough) ? NULL : __real_calloc(count, n);
}

WRAP(void *, realloc, void *p, size_t n)
{
    bool rough = false;
    return strikes(ALLOC, &rough) ? NULL : __real_realloc(p, n);
}

WRAP(void *, aligned_alloc, size_t alignment, size_t n)
{
    bool rough = false;
    return strikes(ALLOC, &rough) ? NULL : __real_aligned_alloc(alignment, n);
}

/* ---- memory: every call of the process ---- */

#ifndef MOEQ_FAULT_OWN_ALLOCATOR /* as sanitizers have */

/* Names of the program win over those of the C library, in every library. */
void *malloc(size_t n)
{
    bool rough = false;
    return strikes(MALLOC, &rough) ? NULL : __libc_malloc(n);
}

void *calloc(size_t count, size_t n)
{
    bool rough = false;
    return strikes(MALLOC, &rough) ? NULL : __libc_calloc(count, n);
}

void *realloc(void *p, size_t n)
{
    bool rough = false;
    return strikes(MALLOC, &rough) ? NULL : __libc_realloc(p, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
    bool rough = false;
    return strikes(MALLOC, &rough) ? NULL : __libc_memalign(alignment, n);
}

#endif
