/* The CPU quota of this process' control groups; moeq_cpus_available of pool.h takes it into account. */
#ifndef MOEQ_CPUS_H
#define MOEQ_CPUS_H

#include "status.h"

/* ceil(quota / period) of cgroup v2's cpu.max ("150000 100000" is 2 CPUs), at least 1; 0 for "max 100000" and
 * for text that is not understood: no limit. */
unsigned moeq_cpus_of_max(const char *text);

/* The same of v1's cpu.cfs_quota_us ("-1": no limit) and cpu.cfs_period_us. */
unsigned moeq_cpus_of_cfs(const char *quota, const char *period);

/* The lowest limit of all control groups that ROOT/proc/self/cgroup names and their ancestors, read below
 * ROOT/sys/fs/cgroup (kernel documentation: admin-guide/cgroup-v2 and scheduler/sched-bwc); 0 where there is
 * none. What cannot be read sets no limit. `root` is "" but in tests. */
unsigned moeq_cpus_of_cgroups(const char *root);

#endif
