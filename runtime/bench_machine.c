#include "bench.h"
#include "kernels.h"
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

/* The rest of the first line of a file that begins with `key`, behind the separator and spaces and without
 * quotes. */
static void find_line(const char *path, const char *key, char separator, char *dst, size_t capacity)
{
    FILE *file = fopen(path, "r");
    char line[512];
    while (file && fgets(line, sizeof line, file)) {
        const char *value = strchr(line, separator);
        if (strncmp(line, key, strlen(key)) != 0 || !value)
            continue;
        value += 1 + strspn(value + 1, " \t\"");
        snprintf(dst, capacity, "%.*s", (int)strcspn(value, "\"\n"), value);
        break;
    }
    if (file)
        fclose(file);
}

void moeq_machine_describe(struct moeq_machine *machine)
{
    struct utsname system;
    char distribution[128] = "unknown distribution";
    *machine = (struct moeq_machine){.cpu = "unknown CPU",
                                     .n_cpus = moeq_cpus_available(),
                                     .n_memory = moeq_machine_memory(),
                                     .kernels = moeq_kernels()->name,
                                     .compiler = MOEQ_COMPILER,
                                     .flags = MOEQ_COMPILER_FLAGS};
    find_line("/proc/cpuinfo", "model name", ':', machine->cpu, sizeof machine->cpu);
    find_line("/etc/os-release", "PRETTY_NAME", '=', distribution, sizeof distribution);
    if (getloadavg(&machine->load, 1) != 1)
        machine->load = -1;
    if (uname(&system) == 0)
        snprintf(machine->system, sizeof machine->system, "%.32s %.64s %.16s, %.100s", system.sysname,
                 system.release, system.machine, distribution);
}
