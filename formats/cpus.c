#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* sched_getaffinity */
#endif
#include "cpus.h"

#include "pool.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PATH = 8192, MAX_NUMBER_TEXT = 64, MAX_MASK_CPUS = 1 << 20 };

/* --- control groups --- */

/* The decimal number at the beginning of text; 0 where there is none, or it is too large to be one. */
static unsigned long long leading_number(const char *text, const char **end)
{
    unsigned long long number = 0;
    *end = text;
    if (*text >= '0' && *text <= '9') {
        char *after;
        errno = 0;
        number = strtoull(text, &after, 10);
        *end = after;
        if (errno)
            number = 0;
    }
    return number;
}

static unsigned quota_to_cpus(unsigned long long quota, unsigned long long period)
{
    if (!quota || !period)
        return 0;
    unsigned long long n = quota / period + (quota % period != 0);
    return n < UINT_MAX ? (unsigned)n : UINT_MAX;
}

unsigned moeq_cpus_of_max(const char *text)
{
    const char *end;
    unsigned long long quota = leading_number(text, &end);
    if (*end != ' ')
        return 0;
    return quota_to_cpus(quota, leading_number(end + 1, &end));
}

unsigned moeq_cpus_of_cfs(const char *quota, const char *period)
{
    const char *end;
    return quota_to_cpus(leading_number(quota, &end), leading_number(period, &end));
}

static unsigned lower_limit(unsigned a, unsigned b)
{
    if (!a || !b)
        return a ? a : b;
    return a < b ? a : b;
}

/* The first line of "dir/name", or "" where that cannot be read. */
static void read_line(const char *dir, const char *name, char line[MAX_NUMBER_TEXT])
{
    char path[MAX_PATH + MAX_NUMBER_TEXT];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    line[0] = '\0';
    if (!file)
        return;
    if (!fgets(line, MAX_NUMBER_TEXT, file))
        line[0] = '\0';
    fclose(file);
}

static unsigned limit_of_group(const char *dir)
{
    char max[MAX_NUMBER_TEXT], quota[MAX_NUMBER_TEXT], period[MAX_NUMBER_TEXT];
    read_line(dir, "cpu.max", max);
    read_line(dir, "cpu.cfs_quota_us", quota);
    read_line(dir, "cpu.cfs_period_us", period);
    return lower_limit(moeq_cpus_of_max(max), moeq_cpus_of_cfs(quota, period));
}

/* The group at `mount` + `group` and all above it up to `mount`. In a container the path may be the one of
 * the host, of which only the mount itself exists; "/../x" names a group outside what is mounted. */
static unsigned limit_of_ancestors(const char *root, const char *mount, const char *group)
{
    char path[MAX_PATH];
    unsigned limit = 0;
    int n_mount = snprintf(path, sizeof path, "%s/sys/fs/cgroup%s", root, mount);
    if (n_mount < 0 || (size_t)n_mount >= sizeof path)
        return 0;
    int n = 0;
    if (!strstr(group, "/.."))
        n = snprintf(path + n_mount, sizeof path - (size_t)n_mount, "%s", group);
    if (n < 0 || (size_t)n >= sizeof path - (size_t)n_mount)
        path[n_mount] = '\0';
    for (;;) {
        limit = lower_limit(limit, limit_of_group(path));
        char *slash = strrchr(path + n_mount, '/');
        if (!slash)
            return limit;
        *slash = '\0';
    }
}

static bool has_word(const char *list, const char *word)
{
    size_t n_word = strlen(word);
    for (;;) {
        size_t n = strcspn(list, ",");
        if (n == n_word && memcmp(list, word, n) == 0)
            return true;
        if (!list[n])
            return false;
        list += n + 1;
    }
}

/* One line of /proc/self/cgroup, "ID:CONTROLLERS:PATH"; the unified hierarchy of v2 has no controllers. */
static unsigned limit_of_line(const char *root, char *line)
{
    char mount[256];
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group)
        return 0;
    *controllers++ = '\0';
    *group++ = '\0';
    group[strcspn(group, "\n")] = '\0';
    if (!*controllers)
        return lower_limit(limit_of_ancestors(root, "", group), limit_of_ancestors(root, "/unified", group));
    if (!has_word(controllers, "cpu"))
        return 0;
    snprintf(mount, sizeof mount, "/%s", controllers);
    return lower_limit(limit_of_ancestors(root, "/cpu", group), limit_of_ancestors(root, mount, group));
}

unsigned moeq_cpus_of_cgroups(const char *root)
{
    char path[MAX_PATH];
    char *line = NULL;
    size_t capacity = 0;
    unsigned limit = 0;
    int n = snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    if (!file)
        return 0;
    while (getline(&line, &capacity, file) > 0)
        limit = lower_limit(limit, limit_of_line(root, line));
    free(line);
    fclose(file);
    return limit;
}

/* --- affinity --- */

/* The CPUs of the affinity mask. The kernel refuses a mask that is smaller than its own (EINVAL), which is
 * how machines of more than 1024 CPUs show. */
static unsigned n_cpus_of_affinity(void)
{
    for (size_t n_cpus = 1024; n_cpus <= MAX_MASK_CPUS; n_cpus *= 2) {
        cpu_set_t *mask = CPU_ALLOC(n_cpus);
        if (!mask)
            break;
        size_t n_bytes = CPU_ALLOC_SIZE(n_cpus);
        bool done = sched_getaffinity(0, n_bytes, mask) == 0;
        bool too_small = !done && errno == EINVAL;
        int count = done ? CPU_COUNT_S(n_bytes, mask) : 0;
        CPU_FREE(mask);
        if (count > 0)
            return (unsigned)count;
        if (!too_small)
            break;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 && online < INT_MAX ? (unsigned)online : 1;
}

unsigned moeq_cpus_available(void)
{
    return lower_limit(n_cpus_of_affinity(), moeq_cpus_of_cgroups(""));
}
