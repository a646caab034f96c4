/* The worker threads that all work on a model runs on, and how many of them a machine or a container allows.
 */
#include "cpus.h"
#include "pool.h"

#include <CUnit/Basic.h>

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_JOBS = 7, N_ITEMS = 1000 };

/* --- results --- */

struct sums {
    float of_piece[N_ITEMS]; /* by begin / grain */
    uint64_t grain;
    uint8_t n_visits[N_ITEMS];
    atomic_int on_worker[MAX_JOBS];
    atomic_int n_overlaps; /* two pieces at once on one worker */
};

/* Float sums depend on the order of the additions: equal bits need equal pieces. */
static enum moeq_status sum_piece(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                  struct moeq_error *err)
{
    struct sums *sums = context;
    (void)err;
    if (atomic_fetch_add(&sums->on_worker[worker], 1) != 0)
        atomic_fetch_add(&sums->n_overlaps, 1);
    float sum = 0;
    for (uint64_t i = begin; i < end; i++) {
        sum += 1.0f / (float)(i + 1);
        sums->n_visits[i]++;
    }
    sums->of_piece[begin / sums->grain] = sum;
    atomic_fetch_sub(&sums->on_worker[worker], 1);
    return MOEQ_OK;
}

static void test_same_bits_for_any_number_of_jobs(void)
{
    const uint64_t grains[] = {1, 7, 64, 999, 1000, 1001, UINT64_MAX};
    for (size_t g = 0; g < sizeof grains / sizeof *grains; g++) {
        struct sums first = {.grain = grains[g]};
        for (unsigned n_jobs = 1; n_jobs <= MAX_JOBS; n_jobs++) {
            struct sums sums = {.grain = grains[g]};
            struct moeq_pool *pool = moeq_pool_create(n_jobs, NULL);
            CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
            CU_ASSERT_EQUAL(moeq_pool_jobs(pool), n_jobs);
            CU_ASSERT_EQUAL(moeq_pool_for(pool, N_ITEMS, grains[g], sum_piece, &sums, NULL), MOEQ_OK);
            moeq_pool_join(pool);
            size_t n_once = 0;
            for (size_t i = 0; i < N_ITEMS; i++)
                n_once += sums.n_visits[i] == 1;
            CU_ASSERT_EQUAL(n_once, N_ITEMS);
            CU_ASSERT_EQUAL(atomic_load(&sums.n_overlaps), 0);
            if (n_jobs == 1)
                first = sums;
            CU_ASSERT_EQUAL(memcmp(first.of_piece, sums.of_piece, sizeof sums.of_piece), 0);
        }
    }
}

static enum moeq_status count_piece(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                    struct moeq_error *err)
{
    (void)worker;
    (void)err;
    atomic_fetch_add((atomic_ullong *)context, end - begin);
    return MOEQ_OK;
}

static void test_nothing_to_do(void)
{
    atomic_ullong count = 0;
    struct moeq_pool *pool = moeq_pool_create(3, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    CU_ASSERT_EQUAL(moeq_pool_for(pool, 0, 1, count_piece, &count, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(moeq_pool_for(pool, 0, UINT64_MAX, count_piece, &count, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(atomic_load(&count), 0);
    moeq_pool_join(pool);
    moeq_pool_join(NULL);
}

static void test_a_huge_range_does_not_overflow(void)
{
    atomic_ullong count = 0;
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    CU_ASSERT_EQUAL(moeq_pool_for(pool, UINT64_MAX, UINT64_MAX / 3 + 5, count_piece, &count, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(atomic_load(&count), UINT64_MAX);
    moeq_pool_join(pool);
}

/* A sweep calls the pool for every matrix of every layer. */
static void test_one_pool_serves_many_calls(void)
{
    struct moeq_pool *pool = moeq_pool_create(MAX_JOBS, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    size_t n_wrong = 0;
    for (uint64_t call = 0; call < 5000; call++) {
        atomic_ullong count = 0; /* on this stack: no thread may touch it after the call */
        n_wrong += moeq_pool_for(pool, call % 50, 1 + call % 3, count_piece, &count, NULL) != MOEQ_OK;
        n_wrong += atomic_load(&count) != call % 50;
    }
    CU_ASSERT_EQUAL(n_wrong, 0);
    moeq_pool_join(pool);
}

static enum moeq_status check_thread(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                     struct moeq_error *err)
{
    (void)worker;
    (void)begin;
    (void)end;
    return pthread_equal(pthread_self(), *(pthread_t *)context)
               ? MOEQ_OK
               : moeq_fail(err, MOEQ_BUG, "on a thread of its own");
}

static void test_one_job_stays_on_the_calling_thread(void)
{
    pthread_t self = pthread_self();
    struct moeq_pool *pool = moeq_pool_create(1, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    CU_ASSERT_EQUAL(moeq_pool_for(pool, 100, 1, check_thread, &self, NULL), MOEQ_OK);
    moeq_pool_join(pool);
}

/* Two pieces that wait for each other end only where two threads run them. */
static enum moeq_status meet(void *context, unsigned worker, uint64_t begin, uint64_t end,
                             struct moeq_error *err)
{
    (void)worker;
    (void)begin;
    (void)end;
    (void)err;
    atomic_int *n_arrived = context;
    atomic_fetch_add(n_arrived, 1);
    while (atomic_load(n_arrived) < 2)
        sched_yield();
    return MOEQ_OK;
}

static void test_jobs_run_side_by_side(void)
{
    atomic_int n_arrived = 0;
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    CU_ASSERT_EQUAL(moeq_pool_for(pool, 2, 1, meet, &n_arrived, NULL), MOEQ_OK);
    moeq_pool_join(pool);
}

static enum moeq_status check_signals(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                      struct moeq_error *err)
{
    sigset_t blocked;
    (void)begin;
    (void)end;
    (void)err;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    if ((sigismember(&blocked, SIGINT) == 1) != (worker > 0))
        atomic_fetch_add((atomic_int *)context, 1);
    return MOEQ_OK;
}

/* Ctrl-C has to interrupt the thread that knows what to do about it. */
static void test_signals_reach_the_calling_thread(void)
{
    atomic_int n_wrong = 0;
    struct moeq_pool *pool = moeq_pool_create(4, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    CU_ASSERT_EQUAL(moeq_pool_for(pool, 1000, 1, check_signals, &n_wrong, NULL), MOEQ_OK);
    CU_ASSERT_EQUAL(atomic_load(&n_wrong), 0);
    moeq_pool_join(pool);
}

/* --- failures --- */

struct failures {
    uint64_t every, first; /* items first, first + every, … fail */
    atomic_uchar n_visits[N_ITEMS];
};

static enum moeq_status fail_piece(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                   struct moeq_error *err)
{
    struct failures *failures = context;
    (void)worker;
    for (uint64_t i = begin; i < end; i++) {
        atomic_fetch_add(&failures->n_visits[i], 1);
        if (i < failures->first || (i - failures->first) % failures->every != 0)
            continue;
        for (int n = 0; i == failures->first && n < 20; n++) /* the lowest is the last to say so */
            sched_yield();
        return moeq_fail(err, i % 2 ? MOEQ_DAMAGED : MOEQ_IO, "item %llu", (unsigned long long)i);
    }
    return MOEQ_OK;
}

static void test_the_lowest_failure_is_reported(void)
{
    for (unsigned n_jobs = 1; n_jobs <= MAX_JOBS; n_jobs++) {
        struct moeq_pool *pool = moeq_pool_create(n_jobs, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
        for (uint64_t call = 0; call < 60; call++) {
            struct failures failures = {.first = call * 11, .every = 1 + call % 4};
            struct moeq_error err = {0};
            char expected[64];
            enum moeq_status status = moeq_pool_for(pool, N_ITEMS, 1 + call % 2, fail_piece, &failures, &err);
            snprintf(expected, sizeof expected, "item %llu", (unsigned long long)failures.first);
            CU_ASSERT_EQUAL(status, failures.first % 2 ? MOEQ_DAMAGED : MOEQ_IO);
            CU_ASSERT_EQUAL(err.status, status);
            CU_ASSERT_STRING_EQUAL(err.message, expected);
            size_t n_skipped_below = 0;
            for (uint64_t i = 0; i < failures.first; i++)
                n_skipped_below += atomic_load(&failures.n_visits[i]) != 1;
            CU_ASSERT_EQUAL(n_skipped_below, 0);
            CU_ASSERT_EQUAL(moeq_pool_for(pool, N_ITEMS, 1, fail_piece, &failures, NULL),
                            status); /* NULL error */
        }
        atomic_ullong count = 0; /* a pool outlives its failures */
        CU_ASSERT_EQUAL(moeq_pool_for(pool, N_ITEMS, 3, count_piece, &count, NULL), MOEQ_OK);
        CU_ASSERT_EQUAL(atomic_load(&count), N_ITEMS);
        moeq_pool_join(pool);
    }
}

/* A damaged shard at the beginning of a 600 GB run must not cost the rest of it. */
static void test_a_failure_stops_the_work(void)
{
    struct failures failures = {.first = 0, .every = 1};
    struct moeq_pool *pool = moeq_pool_create(2, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    CU_ASSERT_EQUAL(moeq_pool_for(pool, N_ITEMS, 1, fail_piece, &failures, NULL), MOEQ_IO);
    size_t n_visited = 0;
    for (size_t i = 0; i < N_ITEMS; i++)
        n_visited += atomic_load(&failures.n_visits[i]);
    CU_ASSERT_TRUE(n_visited <= 2); /* one piece a job was under way */
    moeq_pool_join(pool);
}

static enum moeq_status fail_silently(void *context, unsigned worker, uint64_t begin, uint64_t end,
                                      struct moeq_error *err)
{
    (void)context;
    (void)worker;
    (void)end;
    (void)err;
    return begin >= 30 ? MOEQ_INTERRUPTED : MOEQ_OK;
}

static void test_error_struct_rules(void)
{
    struct moeq_error err = {0};
    struct moeq_pool *pool = moeq_pool_create(3, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(pool);
    CU_ASSERT_EQUAL(moeq_pool_for(pool, 100, 10, fail_silently, NULL, &err), MOEQ_INTERRUPTED);
    CU_ASSERT_EQUAL(err.status, MOEQ_INTERRUPTED); /* never a status without an error */
    CU_ASSERT_STRING_EQUAL(err.message, "item 30 failed");
    CU_ASSERT_EQUAL(moeq_pool_for(pool, 100, 10, fail_piece, &(struct failures){.every = 1}, &err), MOEQ_IO);
    CU_ASSERT_STRING_EQUAL(err.message, "item 30 failed"); /* the first failure wins */
    moeq_pool_join(pool);
}

static void test_number_of_jobs_is_bounded(void)
{
    struct moeq_error err = {0};
    CU_ASSERT_PTR_NULL(moeq_pool_create(0, &err));
    CU_ASSERT_EQUAL(err.status, MOEQ_BUG);
    CU_ASSERT_PTR_NULL(moeq_pool_create(MOEQ_POOL_MAX_JOBS + 1, NULL));
}

/* --- CPUs --- */

static void test_quota_texts(void)
{
    CU_ASSERT_EQUAL(moeq_cpus_of_max("max 100000\n"), 0);
    CU_ASSERT_EQUAL(moeq_cpus_of_max("200000 100000\n"), 2);
    CU_ASSERT_EQUAL(moeq_cpus_of_max("200001 100000\n"), 3); /* 2.00001 CPUs: up */
    CU_ASSERT_EQUAL(moeq_cpus_of_max("1000 100000"), 1);
    CU_ASSERT_EQUAL(moeq_cpus_of_max(""), 0);
    CU_ASSERT_EQUAL(moeq_cpus_of_max("200000"), 0);
    CU_ASSERT_EQUAL(moeq_cpus_of_max("200000 0\n"), 0);
    CU_ASSERT_EQUAL(moeq_cpus_of_max("0 100000\n"), 0);
    CU_ASSERT_EQUAL(moeq_cpus_of_max("-5 100000\n"), 0);
    CU_ASSERT_EQUAL(moeq_cpus_of_max("99999999999999999999999 1\n"), 0);
    CU_ASSERT_TRUE(moeq_cpus_of_max("18446744073709551615 1\n") > 1000000);
    CU_ASSERT_EQUAL(moeq_cpus_of_cfs("-1\n", "100000\n"), 0);
    CU_ASSERT_EQUAL(moeq_cpus_of_cfs("150000\n", "100000\n"), 2);
    CU_ASSERT_EQUAL(moeq_cpus_of_cfs("150000\n", ""), 0);
    CU_ASSERT_EQUAL(moeq_cpus_of_cfs("", ""), 0);
}

static char root[512];

/* Writes ROOT/name, with its folders. */
static void write_file(const char *name, const char *text)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = strchr(path + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        CU_ASSERT_TRUE(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void begin_root(const char *self_cgroup)
{
    const char *folder = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/test_pool_XXXXXX", folder && *folder ? folder : ".");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
    write_file("proc/self/cgroup", self_cgroup);
}

static unsigned end_root(void)
{
    unsigned n = moeq_cpus_of_cgroups(root);
    nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    return n;
}

static void test_cgroup_v2(void)
{
    begin_root("0::/user.slice/job\n"); /* the tightest of the group and its ancestors */
    write_file("sys/fs/cgroup/user.slice/job/cpu.max", "800000 100000\n");
    write_file("sys/fs/cgroup/user.slice/cpu.max", "300000 100000\n");
    CU_ASSERT_EQUAL(end_root(), 3);
    begin_root("0::/user.slice/job\n");
    write_file("sys/fs/cgroup/user.slice/job/cpu.max", "150000 100000\n");
    write_file("sys/fs/cgroup/user.slice/cpu.max", "max 100000\n");
    CU_ASSERT_EQUAL(end_root(), 2);
    begin_root("0::/\n"); /* a container with a cgroup namespace: its own group is the root */
    write_file("sys/fs/cgroup/cpu.max", "400000 100000\n");
    CU_ASSERT_EQUAL(end_root(), 4);
    begin_root("0::/../other\n"); /* outside of what is mounted */
    write_file("sys/fs/cgroup/cpu.max", "500000 100000\n");
    write_file("sys/fs/other/cpu.max", "100000 100000\n");
    CU_ASSERT_EQUAL(end_root(), 5);
    begin_root("0::/without/limit\n");
    CU_ASSERT_EQUAL(end_root(), 0);
}

static void test_cgroup_v1(void)
{
    begin_root("12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n0::/x\n");
    write_file("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "250000\n");
    write_file("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
    write_file("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n");
    write_file("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
    CU_ASSERT_EQUAL(end_root(), 3);
    begin_root("4:cpu:/docker/abc\n"); /* the path of the host: in the container only the mount is there */
    write_file("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "600000\n");
    write_file("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    CU_ASSERT_EQUAL(end_root(), 6);
    begin_root("3:cpuset:/a\n2:cpuacct:/a\n"); /* not the cpu controller */
    write_file("sys/fs/cgroup/cpuacct/a/cpu.cfs_quota_us", "100000\n");
    write_file("sys/fs/cgroup/cpuacct/a/cpu.cfs_period_us", "100000\n");
    CU_ASSERT_EQUAL(end_root(), 0);
}

static void test_unreadable_cgroups_set_no_limit(void)
{
    begin_root("nonsense\n\n:\n::\n4:cpu\n0:\n");
    CU_ASSERT_EQUAL(end_root(), 0);
    char line[20000] = "0::/";
    memset(line + 4, 'a', sizeof line - 5);
    begin_root(line);
    write_file("sys/fs/cgroup/cpu.max", "200000 100000\n");
    CU_ASSERT_EQUAL(end_root(), 2); /* a path that is too long: the mount alone counts */
    CU_ASSERT_EQUAL(moeq_cpus_of_cgroups("no-such-folder"), 0);
}

static void test_cpus_available(void)
{
    cpu_set_t mask;
    unsigned n = moeq_cpus_available();
    CU_ASSERT_TRUE(n >= 1);
    if (sched_getaffinity(0, sizeof mask, &mask) != 0)
        return;
    CU_ASSERT_TRUE(n <= (unsigned)CPU_COUNT(&mask));
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (!CPU_ISSET(cpu, &mask) || sched_setaffinity(0, sizeof one, &one) != 0)
            continue;
        CU_ASSERT_EQUAL(moeq_cpus_available(), 1); /* under taskset */
        sched_setaffinity(0, sizeof mask, &mask);
        break;
    }
}

int main(void)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("pool", NULL, NULL);
    CU_ADD_TEST(suite, test_same_bits_for_any_number_of_jobs);
    CU_ADD_TEST(suite, test_nothing_to_do);
    CU_ADD_TEST(suite, test_a_huge_range_does_not_overflow);
    CU_ADD_TEST(suite, test_one_pool_serves_many_calls);
    CU_ADD_TEST(suite, test_one_job_stays_on_the_calling_thread);
    CU_ADD_TEST(suite, test_jobs_run_side_by_side);
    CU_ADD_TEST(suite, test_signals_reach_the_calling_thread);
    CU_ADD_TEST(suite, test_the_lowest_failure_is_reported);
    CU_ADD_TEST(suite, test_a_failure_stops_the_work);
    CU_ADD_TEST(suite, test_error_struct_rules);
    CU_ADD_TEST(suite, test_number_of_jobs_is_bounded);
    suite = CU_add_suite("cpus", NULL, NULL);
    CU_ADD_TEST(suite, test_quota_texts);
    CU_ADD_TEST(suite, test_cgroup_v2);
    CU_ADD_TEST(suite, test_cgroup_v1);
    CU_ADD_TEST(suite, test_unreadable_cgroups_set_no_limit);
    CU_ADD_TEST(suite, test_cpus_available);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned n_failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return n_failures != 0;
}
